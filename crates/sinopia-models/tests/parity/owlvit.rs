//! The detector against transformers, from pixels and words to boxes; fixtures by `parity/make_owlvit.py`.

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::{DType, Device, Tensor};
use sinopia_models::Precision;
use sinopia_models::owlvit::{OwlKind, OwlVit, Pixels, preprocess};

/// f32 sums in another order: the largest difference seen is far below this.
const TOLERANCE: f64 = 1e-4;
/// Weights of a Gaussian and of pixel centres are computed in other orders.
const PIXEL_TOLERANCE: f64 = 1e-5;

/// The bytes of an image (H, W, 3) and its (width, height).
fn image(fixture: &Fixture, name: &str) -> (Vec<u8>, usize, usize) {
    let image = fixture.get(name);
    let (height, width, _) = image.dims3().unwrap();
    (image.flatten_all().unwrap().to_vec1().unwrap(), width, height)
}

fn check(name: &str) {
    let fixture = Fixture::open(&format!("owlvit/{name}.safetensors"));
    let detector = OwlVit::open(&model_folder(name), &Device::Cpu, Precision::F32).unwrap();
    let config = detector.config().clone();

    let texts: Vec<String> = serde_json::from_value(fixture.header("texts")).unwrap();
    let ids: Vec<Vec<u32>> = fixture.get("queries").to_dtype(DType::U32).unwrap().to_vec2().unwrap();
    let found: Vec<Vec<u32>> = texts.iter().map(|text| detector.tokenize(text).unwrap()).collect();
    assert_eq!(found, ids, "tokens");
    let queries = detector.encode_queries(&texts).unwrap();
    assert_close(&format!("{name} queries"), queries.embeds(), &fixture.get("query_embeds"), TOLERANCE);

    let images: Vec<_> = (0..3).map(|i| image(&fixture, &format!("images.{i}"))).collect();
    let pixels: Vec<Pixels> = images.iter().map(|(bytes, w, h)| Pixels::new(*w, *h, bytes).unwrap()).collect();
    let side = config.vision_config.image_size;
    let prepared = preprocess(&pixels, config.model_type, side, &Device::Cpu).unwrap();
    assert_close(&format!("{name} pixels"), &prepared, &fixture.get_channels_last("pixels"), PIXEL_TOLERANCE);

    let candidates = detector.encode_images(&pixels).unwrap();
    assert_close(&format!("{name} boxes"), candidates.boxes(), &fixture.get("boxes"), TOLERANCE);
    let logits = candidates.logits(&queries).unwrap();
    assert_close(&format!("{name} logits"), &logits, &fixture.get("logits"), TOLERANCE);

    let threshold = fixture.header("threshold").as_f64().unwrap() as f32;
    let detections = detector.detect(&candidates, &queries, threshold).unwrap();
    for (i, found) in detections.iter().enumerate() {
        let labels: Vec<i64> = found.iter().map(|detection| detection.label as i64).collect();
        assert_eq!(labels, fixture.get(&format!("labels.{i}")).to_vec1::<i64>().unwrap(), "labels of image {i}");
        let scores: Vec<f32> = found.iter().map(|detection| detection.score).collect();
        let scores = Tensor::new(scores, &Device::Cpu).unwrap();
        assert_close(&format!("{name} scores.{i}"), &scores, &fixture.get(&format!("scores.{i}")), TOLERANCE);
        let corners: Vec<Vec<f32>> = found.iter().map(|detection| detection.corners.to_vec()).collect();
        let corners = Tensor::new(corners, &Device::Cpu).unwrap();
        assert_close(&format!("{name} corners.{i}"), &corners, &fixture.get(&format!("corners.{i}")), TOLERANCE);
        let alone = detector.detect(&candidates.image(i).unwrap(), &queries, threshold).unwrap();
        assert_eq!(alone[0], *found, "image {i} alone");
    }
}

#[test]
fn owlvit_sees_what_transformers_sees() {
    check("owlvit");
}

#[test]
fn owlv2_sees_what_transformers_sees() {
    check("owlv2");
}

#[test]
fn bicubic_resizes_are_pillows_byte_for_byte() {
    let fixture = Fixture::open("owlvit/preprocess.safetensors");
    for case in fixture.names_after("from.") {
        let (bytes, width, height) = image(&fixture, &format!("from.{case}"));
        let (expected, side, _) = image(&fixture, &format!("to.{case}"));
        let pixels = Pixels::new(width, height, &bytes).unwrap();
        let prepared = preprocess(&[pixels], OwlKind::OwlVit, side, &Device::Cpu).unwrap();
        let same = Pixels::new(side, side, &expected).unwrap(); // already of that size: normalised only
        let expected = preprocess(&[same], OwlKind::OwlVit, side, &Device::Cpu).unwrap();
        let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values(&prepared) == values(&expected), "{width}×{height} to {side}");
    }
}

#[test]
fn folders_that_hold_no_detector_are_told_apart() {
    let open = |folder: &std::path::Path| OwlVit::open(folder, &Device::Cpu, Precision::F32).unwrap_err().to_string();
    let folder = tempfile::tempdir().unwrap();
    assert!(open(&folder.path().join("nowhere")).contains("does not exist"));
    assert!(open(folder.path()).contains("it has no config.json"));
    std::fs::copy(model_folder("owlvit").join("config.json"), folder.path().join("config.json")).unwrap();
    assert!(open(folder.path()).contains("it holds no weights (`model.safetensors`"));
    let other = model_folder("owlv2").join("model.safetensors");
    std::fs::copy(other, folder.path().join("model.safetensors")).unwrap();
    let message = open(folder.path());
    assert!(message.contains("no tokenizer") || message.contains("vocab.json"), "{message}");
    for file in ["vocab.json", "merges.txt"] {
        std::fs::copy(model_folder("owlvit").join(file), folder.path().join(file)).unwrap();
    }
    let message = open(folder.path());
    assert!(message.contains("owlvit.") && message.contains("no tensor"), "{message}");
}
