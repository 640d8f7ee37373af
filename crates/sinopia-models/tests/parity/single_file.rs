//! Single-file checkpoints hold the same weights as folders, under the names that diffusers' own reader understands
//! (`parity/make_ldm.py`).

use std::collections::HashMap;

use crate::fixture::{assert_close, json, model_folder};
use candle_core::Tensor;
use serde_json::Value;
use sinopia_models::Weights;
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::hub::NoProgress;

/// The vocabulary a single file must have: it brings no tokenizer.
const CLIP_VOCABULARY: usize = 49408;

fn open(source: ModelSource) -> Checkpoint {
    Checkpoint::open(&source, &OpenOptions::default(), &NoProgress).unwrap()
}

fn parts(checkpoint: &Checkpoint) -> [(&'static str, &Weights); 3] {
    [
        ("unet", &checkpoint.unet.weights),
        ("vae", &checkpoint.vae.weights),
        ("text_encoder", &checkpoint.text_encoder.weights),
    ]
}

fn get(weights: &Weights, name: &str) -> Tensor {
    let shape = weights.shape(name).unwrap_or_else(|| panic!("{} has no `{name}`", weights.origin()));
    weights.get(name, &shape).unwrap()
}

fn only_in(one: &Weights, other: &Weights) -> Vec<String> {
    one.names().into_iter().filter(|name| !other.contains(name)).collect()
}

/// One tensor of the single file, as the fixture's row says.
fn build(row: &Value, folder: &HashMap<&str, &Weights>) -> (String, Tensor) {
    let row = row.as_array().unwrap();
    let [name, how, component] = [0, 1, 2].map(|i| row[i].as_str().unwrap());
    let weights = folder[component];
    let prefix = if component == "text_encoder" { "text_model." } else { "" };
    let sources: Vec<String> = serde_json::from_value(row[3].clone()).unwrap();
    let tensors: Vec<Tensor> = sources.iter().map(|source| get(weights, &format!("{prefix}{source}"))).collect();
    let whole = Tensor::cat(&tensors, 0).unwrap();
    let whole = match how {
        "conv" => whole.unsqueeze(2).unwrap().unsqueeze(3).unwrap(),
        "like" | "concat_like" => whole.zeros_like().unwrap(),
        _ if name.contains("token_embedding") => {
            whole.pad_with_zeros(0, 0, CLIP_VOCABULARY - whole.dim(0).unwrap()).unwrap()
        }
        _ => whole,
    };
    (name.to_owned(), whole)
}

#[track_caller]
fn check(model: &str) {
    let folder = open(ModelSource::Folder(model_folder(model)));
    let by_name = HashMap::from(parts(&folder));
    let rows = json(&format!("ldm/{model}.json"));
    let tensors: HashMap<String, Tensor> =
        rows["rows"].as_array().unwrap().iter().map(|row| build(row, &by_name)).collect();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.safetensors");
    candle_core::safetensors::save(&tensors, &path).unwrap();

    let single = open(ModelSource::File(path));
    for ((component, expected), (_, found)) in parts(&folder).into_iter().zip(parts(&single)) {
        assert_eq!(only_in(expected, found), [""; 0], "{component} lacks");
        assert_eq!(only_in(found, expected), [""; 0], "{component} has besides");
        for name in expected.names() {
            let expected = get(expected, &name);
            let found = get(found, &name);
            let found = found.narrow(0, 0, expected.dim(0).unwrap()).unwrap(); // the vocabulary is longer
            let found = found.reshape(expected.dims()).unwrap();
            assert_close(&format!("{component} {name}"), &found, &expected, 0.0);
        }
    }
}

#[test]
fn stable_diffusion_1_files_hold_the_folders_weights() {
    check("sd1");
}

#[test]
fn stable_diffusion_2_files_hold_the_folders_weights() {
    check("sd2");
}
