//! CLIP's two towers against transformers, from pixels and words to cosines; fixtures by `parity/make_clip_pair.py`.

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::{DType, Device};
use sinopia_models::Precision;
use sinopia_models::clip_pair::ClipPair;
use sinopia_models::owlvit::Pixels;

/// f32 sums in another order: the largest difference seen is far below this.
const TOLERANCE: f64 = 1e-4;

#[test]
fn images_and_texts_are_as_alike_as_in_transformers() {
    let fixture = Fixture::open("clip_pair/clip.safetensors");
    let clip = ClipPair::open(&model_folder("clip"), &Device::Cpu, Precision::F32).unwrap();

    let texts: Vec<String> = serde_json::from_value(fixture.header("texts")).unwrap();
    let ids: Vec<Vec<u32>> = fixture.get("ids").to_dtype(DType::U32).unwrap().to_vec2().unwrap();
    let found: Vec<Vec<u32>> = texts.iter().map(|text| clip.tokenize(text).unwrap()).collect();
    assert_eq!(found, ids, "tokens, one text longer than the window");
    let text_embeds = clip.encode_texts(&texts).unwrap();
    assert_close("texts", &text_embeds, &fixture.get("text_embeds"), TOLERANCE);

    let images = [0, 1, 2].map(|i| fixture.get(&format!("images.{i}")));
    let bytes = images.each_ref().map(|image| image.flatten_all().unwrap().to_vec1::<u8>().unwrap());
    let pixels = images.iter().zip(&bytes).map(|(image, bytes)| {
        let (height, width, _) = image.dims3().unwrap();
        Pixels::new(width, height, bytes).unwrap()
    });
    let image_embeds = clip.encode_images(&pixels.collect::<Vec<_>>()).unwrap();
    assert_close("images", &image_embeds, &fixture.get("image_embeds"), TOLERANCE);
    let cosines = image_embeds.matmul(&text_embeds.t().unwrap()).unwrap();
    assert_close("cosines", &cosines, &fixture.get("cosines"), TOLERANCE);
}

#[test]
fn folders_that_hold_no_clip_are_told_apart() {
    let open = |folder: &std::path::Path| ClipPair::open(folder, &Device::Cpu, Precision::F32).unwrap_err().to_string();
    let folder = tempfile::tempdir().unwrap();
    assert!(open(&folder.path().join("nowhere")).contains("does not exist"));
    assert!(open(folder.path()).contains("it has no config.json"));
    assert!(open(&model_folder("owlvit")).contains("`model_type`"));
    std::fs::copy(model_folder("clip").join("config.json"), folder.path().join("config.json")).unwrap();
    assert!(open(folder.path()).contains("it holds no weights (`model.safetensors`"));
}
