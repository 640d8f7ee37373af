//! SAM against transformers, from pixels and prompts to masks; fixtures by `parity/make_sam.py`.

use std::collections::HashMap;
use std::path::Path;

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::{Device, Tensor};
use serde::Deserialize;
use sinopia_models::image::Pixels;
use sinopia_models::sam::{EncodedImage, Masks, Prompt, Sam};
use sinopia_models::{Error, Precision};

/// f32 sums in another order, and scores of attention as one product where the original adds three.
const TOLERANCE: f64 = 1e-4;
/// Pixels of a mask that may flip: those whose logits are next to zero.
const FLIPPED: usize = 2;
const NUM_IMAGES: usize = 3;

#[derive(Deserialize)]
struct Asked {
    image: usize,
    points: Vec<((f64, f64), u8)>,
    #[serde(rename = "box")]
    bbox: Option<[f64; 4]>,
    mask: bool,
}

fn fixture() -> Fixture {
    Fixture::open("sam/sam.safetensors")
}

fn open(path: &Path) -> sinopia_models::Result<Sam> {
    Sam::open(path, &Device::Cpu, Precision::F32)
}

fn tiny() -> Sam {
    open(&model_folder("sam")).unwrap()
}

fn encoded(sam: &Sam, fixture: &Fixture) -> Vec<EncodedImage> {
    let encode = |index: usize| {
        let image = fixture.get(&format!("images.{index}"));
        let (height, width, _) = image.dims3().unwrap();
        let bytes: Vec<u8> = image.flatten_all().unwrap().to_vec1().unwrap();
        sam.encode(Pixels::new(width, height, &bytes).unwrap()).unwrap()
    };
    (0..NUM_IMAGES).map(encode).collect()
}

/// The prompts of the fixture with the images that they are about and what is made of them, in order.
fn answers(sam: &Sam, fixture: &Fixture) -> Vec<(Prompt, usize, Masks)> {
    let images = encoded(sam, fixture);
    let asked: Vec<Asked> = serde_json::from_value(fixture.header("prompts")).unwrap();
    let mut answers: Vec<(Prompt, usize, Masks)> = Vec::new();
    for Asked { image, points, bbox, mask } in asked {
        let before = || answers.last().unwrap().2.low_res().get(0).unwrap();
        let points = points.into_iter().map(|(place, label)| (place, label == 1)).collect();
        let prompt = Prompt { points, bbox, mask: mask.then(before) };
        let masks = sam.segment(&images[image], &prompt).unwrap();
        answers.push((prompt, image, masks));
    }
    answers
}

#[test]
fn images_are_encoded_as_transformers_does() {
    let (sam, fixture) = (tiny(), fixture());
    for (index, image) in encoded(&sam, &fixture).iter().enumerate() {
        let name = format!("embeddings.{index}");
        let expected = fixture.get(&name).unsqueeze(0).unwrap().permute((0, 2, 3, 1)).unwrap();
        assert_close(&name, image.embedding(), &expected.contiguous().unwrap(), TOLERANCE);
    }
}

#[test]
fn points_boxes_and_masks_are_outlined_as_transformers_does() {
    let (sam, fixture) = (tiny(), fixture());
    for (index, (_, _, masks)) in answers(&sam, &fixture).iter().enumerate() {
        assert_close(&format!("prompt {index}"), masks.low_res(), &fixture.get(&format!("low_res.{index}")), TOLERANCE);
        let scores = Tensor::new(masks.iou_scores(), &Device::Cpu).unwrap();
        assert_close(&format!("scores {index}"), &scores, &fixture.get(&format!("scores.{index}")), TOLERANCE);
        let expected: Vec<Vec<u8>> = fixture.get(&format!("masks.{index}")).flatten_from(1).unwrap().to_vec2().unwrap();
        for (number, expected) in expected.iter().enumerate() {
            let found = masks.cells(number);
            assert_eq!(found.len(), expected.len());
            let flipped = found.iter().zip(expected).filter(|(found, expected)| **found != (**expected == 1)).count();
            assert!(flipped <= FLIPPED, "prompt {index}, mask {number}: {flipped} pixels differ");
        }
    }
}

#[test]
fn logits_come_back_to_the_images_size_as_transformers_brings_them() {
    let (sam, fixture) = (tiny(), fixture());
    let (prompt, image, masks) = answers(&sam, &fixture).swap_remove(0);
    let (width, height) = masks.size();
    let logits = Tensor::from_slice(masks.logits(0), (height, width), &Device::Cpu).unwrap();
    assert_close("logits", &logits, &fixture.get("logits.0"), TOLERANCE);
    let one = sam.segment_one(&encoded(&sam, &fixture)[image], &prompt).unwrap();
    assert_close("one mask", one.low_res(), &fixture.get("one.0"), TOLERANCE);
    let score = Tensor::new(one.iou_scores(), &Device::Cpu).unwrap();
    assert_close("its score", &score, &fixture.get("one_score.0"), TOLERANCE);
}

#[test]
fn metas_names_without_a_configuration_are_the_same_model() {
    let (sam, fixture) = (tiny(), fixture());
    let folder = tempfile::tempdir().unwrap();
    let tensors = candle_core::safetensors::load(model_folder("sam").join("model.safetensors"), &Device::Cpu).unwrap();
    let names: HashMap<String, String> = serde_json::from_value(fixture.header("meta_names")).unwrap();
    let renamed: HashMap<String, Tensor> =
        names.into_iter().map(|(meta, name)| (meta, tensors[&name].clone())).collect();
    assert_eq!(renamed.len(), tensors.len());
    let file = folder.path().join("sam_vit_t.safetensors");
    candle_core::safetensors::save(&renamed, &file).unwrap();

    // Four heads in the tiny decoder, which shapes do not show: a file alone is taken to have the published eight.
    let mut expected = sam.config().clone();
    expected.mask_decoder_config.num_attention_heads = 8;
    let found = open(&file).unwrap();
    assert_eq!(found.config(), &expected);
    let images = encoded(&sam, &fixture);
    for (found, expected) in encoded(&found, &fixture).iter().zip(&images) {
        assert_close("embedding", found.embedding(), expected.embedding(), 0.0);
    }
    let masks = found.segment(&images[0], &Prompt::point(20.0, 11.0)).unwrap();
    assert_eq!(masks.low_res().dims(), [3, 32, 32]);
}

#[test]
fn what_is_no_sam_is_told_apart() {
    let message = |path: &Path| open(path).unwrap_err().to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(message(&path.join("nowhere")).contains("does not exist"));
    assert!(message(path).contains("it has no config.json"));
    std::fs::copy(model_folder("sam").join("config.json"), path.join("config.json")).unwrap();
    assert!(message(path).contains("it holds no weights (`model.safetensors`"));
    let weights = model_folder("owlvit").join("model.safetensors");
    std::fs::copy(&weights, path.join("model.safetensors")).unwrap();
    let other = message(&weights);
    assert!(
        other.contains("vision_encoder.patch_embed.projection.weight") && other.contains("as every SAM does"),
        "{other}"
    );
    std::fs::copy(model_folder("owlvit").join("config.json"), path.join("config.json")).unwrap();
    assert!(message(path).contains("`model_type` in `config.json` is \"owlvit\""));

    let config = std::fs::read_to_string(model_folder("sam").join("config.json")).unwrap();
    std::fs::write(path.join("config.json"), config.replace("\"window_size\": 3", "\"window_size\": 4")).unwrap();
    std::fs::copy(model_folder("sam").join("model.safetensors"), path.join("model.safetensors")).unwrap();
    let error = open(path).unwrap_err();
    let Error::TensorShape { tensor, found, expected, .. } = &error else { panic!("{error}") };
    assert_eq!(tensor, "vision_encoder.layers.0.attn.rel_pos_h");
    assert_eq!((found.as_slice(), expected.as_slice()), ([5, 8].as_slice(), [7, 8].as_slice()));
}

#[test]
fn prompts_that_say_nothing_are_refused() {
    let (sam, fixture) = (tiny(), fixture());
    let image = &encoded(&sam, &fixture)[1];
    let refused = |prompt: &Prompt| sam.segment(image, prompt).unwrap_err().to_string();
    assert!(refused(&Prompt::default()).contains("a point, a box or a mask"));
    assert!(refused(&Prompt::point(f64::NAN, 1.0)).contains("(NaN, 1)"));
    let mask = Some(Tensor::zeros((3, 3), candle_core::DType::F32, &Device::Cpu).unwrap());
    assert!(refused(&Prompt { mask, ..Prompt::default() }).contains("[32, 32], found [3, 3]"));
}

#[test]
fn images_smaller_than_a_patch_and_boxes_beside_the_image_are_outlined_too() {
    let sam = tiny();
    let image = sam.encode(Pixels::new(1, 3, &[7; 9]).unwrap()).unwrap();
    for prompt in [Prompt::bbox([-5.0, -5.0, 50.0, 50.0]), Prompt::bbox([2.0, 2.0, 2.0, 2.0]), Prompt::point(-1e9, 1e9)]
    {
        let masks = sam.segment(&image, &prompt).unwrap();
        assert_eq!((masks.size(), masks.cells(masks.best()).len()), ((1, 3), 3));
        assert!(masks.iou_scores().iter().all(|score| score.is_finite()));
    }
}
