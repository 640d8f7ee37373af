//! Folders whose `preprocessor_config.json` says other things than what was published, against transformers; fixtures by
//! `parity/make_preprocessing.py`.

use std::path::Path;

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::{Device, Tensor};
use serde_json::Value;
use sinopia_models::Precision;
use sinopia_models::clip_pair::{self, ClipPair};
use sinopia_models::image::Pixels;
use sinopia_models::owlvit::{self, OwlVit};
use sinopia_models::sam::{self, Prompt, Sam};

/// f32 sums in another order.
const TOLERANCE: f64 = 1e-4;

/// A copy of a model's folder with a configuration of its own.
fn folder(model: &str, file: &str, config: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model_folder(model)).unwrap().map(|entry| entry.unwrap()) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    std::fs::write(copy.path().join(file), config).unwrap();
    copy
}

/// What the model makes of an image.
fn seen(model: &str, folder: &Path, image: Pixels) -> Tensor {
    match model {
        "clip" => {
            let clip = ClipPair::open(folder, &Device::Cpu, Precision::F32).unwrap();
            clip.encode_images(&[image]).unwrap().get(0).unwrap()
        }
        "owlvit" => {
            let detector = OwlVit::open(folder, &Device::Cpu, Precision::F32).unwrap();
            detector.encode_images(&[image]).unwrap().boxes().get(0).unwrap()
        }
        _ => {
            let sam = Sam::open(folder, &Device::Cpu, Precision::F32).unwrap();
            let encoded = sam.encode(image).unwrap();
            sam.segment(&encoded, &Prompt::point(20.0, 11.0)).unwrap().low_res().clone()
        }
    }
}

fn hash(model: &str, folder: &Path) -> String {
    match model {
        "clip" => clip_pair::content_hash(folder).unwrap(),
        "owlvit" => owlvit::content_hash(folder).unwrap(),
        _ => sam::content_hash(folder).unwrap(),
    }
}

#[test]
fn images_are_prepared_as_the_folder_says() {
    let fixture = Fixture::open("preprocessing/images.safetensors");
    let image = fixture.get("image");
    let (height, width, _) = image.dims3().unwrap();
    let bytes: Vec<u8> = image.flatten_all().unwrap().to_vec1().unwrap();
    let cases: Vec<(String, Value)> = serde_json::from_value(fixture.header("cases")).unwrap();
    assert_eq!(cases.len(), 18);
    for (index, (model, config)) in cases.iter().enumerate() {
        let folder = folder(model, "preprocessor_config.json", &config.to_string());
        let found = seen(model, folder.path(), Pixels::new(width, height, &bytes).unwrap());
        assert_close(&format!("{model} {config}"), &found, &fixture.get(&format!("out.{index}")), TOLERANCE);
    }
}

#[test]
fn scores_of_other_preparations_are_another_models() {
    for model in ["clip", "owlvit", "sam"] {
        let published = hash(model, &model_folder(model));
        let same = folder(
            model,
            "preprocessor_config.json",
            r#"{"do_normalize": true, "rescale_factor": 0.00392156862745098}"#,
        );
        assert_eq!(hash(model, same.path()), published, "{model}");
        let other = folder(model, "preprocessor_config.json", r#"{"image_mean": [0.5, 0.5, 0.5]}"#);
        assert_ne!(hash(model, other.path()), published, "{model}");
        let newer = folder(model, "processor_config.json", r#"{"image_processor": {"image_mean": [0.5, 0.5, 0.5]}}"#);
        assert_eq!(hash(model, newer.path()), hash(model, other.path()), "{model}");
    }
}

#[test]
fn preparations_that_the_network_cannot_take_are_refused() {
    for (model, config, expected) in [
        ("clip", r#"{"crop_size": 56, "size": 56}"#, "`crop_size`"),
        ("owlvit", r#"{"size": {"height": 32, "width": 32}}"#, "is 32 × 32, expected the model's 64 × 64"),
        ("owlv2", r#"{"do_pad": false}"#, "`do_pad`"),
        ("sam", r#"{"size": {"longest_edge": 9}}"#, "is 9 × 9"),
        ("sam", r#"{"do_resize": false}"#, "as large as each image"),
        ("clip", r#"{"image_mean": "grey"}"#, "`image_mean`"),
        ("clip", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a Git LFS pointer"),
    ] {
        let folder = folder(model, "preprocessor_config.json", config);
        let error = match model {
            "clip" => ClipPair::open(folder.path(), &Device::Cpu, Precision::F32).unwrap_err(),
            "sam" => Sam::open(folder.path(), &Device::Cpu, Precision::F32).unwrap_err(),
            _ => OwlVit::open(folder.path(), &Device::Cpu, Precision::F32).unwrap_err(),
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
}
