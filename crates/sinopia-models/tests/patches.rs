//! Low-rank changes (LoRA) merged into weights as they are read: the same as a checkpoint that was saved with them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use sinopia_models::testing::normal;
use sinopia_models::unet::{DenoiserRequest, TextConditioning, UNet2DConditionModel, UNetConfig};
use sinopia_models::weights::{LowRank, WeightPatch};
use sinopia_models::{Error, Precision, Weights};
use sinopia_nn::{Conv2d, Conv2dOptions, Linear, Padding};

const LINEAR: &str = "attn1.to_q.weight"; // (6, 8)
const CONV: &str = "conv1.weight"; // (6, 8, 3, 3)
const RANK: usize = 3;
const STRENGTH: f64 = 0.75;
const ALPHA: f64 = 1.5; // scale 0.5

/// The folder of a test's checkpoints.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn save(&self, name: &str, tensors: &HashMap<String, Tensor>) -> PathBuf {
        let path = self.0.path().join(name);
        candle_core::safetensors::save(tensors, &path).unwrap();
        path
    }
}

fn open(path: PathBuf, precision: Precision) -> Weights {
    Weights::open(&[path], &Device::Cpu, precision).unwrap()
}

/// `up` and `down` of the change of a weight of this shape.
fn factors(shape: &[usize]) -> (Tensor, Tensor) {
    let narrow = |count: usize| vec![1; count.saturating_sub(2)];
    let up = [vec![shape[0], RANK], narrow(shape.len())].concat();
    let down = [&[RANK], &shape[1..]].concat();
    (normal(3, up).unwrap(), normal(4, down).unwrap())
}

/// `W + m · s · up · down` in f64, cell by cell.
fn merged(weight: &Tensor, up: &Tensor, down: &Tensor, factor: f64) -> Tensor {
    let rows = |x: &Tensor| x.flatten_from(1).unwrap().to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
    let (w, up, down) = (rows(weight), rows(up), rows(down));
    let mut cells = Vec::new();
    for (weight_row, up_row) in w.iter().zip(&up) {
        for (column, cell) in weight_row.iter().enumerate() {
            let change: f64 = up_row.iter().zip(&down).map(|(up, down_row)| up * down_row[column]).sum();
            cells.push((cell + factor * change) as f32);
        }
    }
    Tensor::from_vec(cells, weight.dims(), weight.device()).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!((found.dims(), found.dtype()), (expected.dims(), expected.dtype()));
    for (place, (found, expected)) in values(found).iter().zip(values(expected)).enumerate() {
        assert!((found - expected).abs() <= tolerance * (1.0 + expected.abs()), "{place}: {found}, not {expected}");
    }
}

/// A checkpoint of two weights, and a patch of both with the checkpoint that it should make of it.
struct Example {
    plain: HashMap<String, Tensor>,
    merged: HashMap<String, Tensor>,
}

impl Example {
    fn new() -> Self {
        let plain: HashMap<String, Tensor> = [(LINEAR, vec![6, 8]), (CONV, vec![6, 8, 3, 3])]
            .map(|(name, shape)| (name.to_owned(), normal(shape.len() as u64, shape).unwrap()))
            .into();
        let merge = |(name, weight): (&String, &Tensor)| {
            let (up, down) = factors(weight.dims());
            (name.clone(), merged(weight, &up, &down, STRENGTH * ALPHA / RANK as f64))
        };
        Self { merged: plain.iter().map(merge).collect(), plain }
    }

    fn patch(&self) -> WeightPatch {
        let mut patch = WeightPatch::new("style.safetensors", STRENGTH);
        for (name, weight) in &self.plain {
            let (up, down) = factors(weight.dims());
            patch.insert(name, LowRank::new(&up, &down, Some(ALPHA)).unwrap());
        }
        patch
    }
}

/// Rounded sums of f32 against those of f64; in bf16 the two may fall on either side of a half.
const ROUNDING_F32: f32 = 1e-6;
const ROUNDING_BF16: f32 = 8e-3;

#[test]
fn a_patched_weight_is_the_one_of_a_merged_checkpoint() {
    let (folder, example) = (Folder::new(), Example::new());
    let plain = folder.save("plain.safetensors", &example.plain);
    let merged = folder.save("merged.safetensors", &example.merged);
    for (precision, tolerance) in [(Precision::F32, ROUNDING_F32), (Precision::Bf16, ROUNDING_BF16)] {
        let patched = open(plain.clone(), precision).patched(example.patch()).unwrap();
        let expected = open(merged.clone(), precision);
        for (name, shape) in [(LINEAR, &[6, 8][..]), (CONV, &[6, 8, 3, 3])] {
            assert_close(&patched.get(name, shape).unwrap(), &expected.get(name, shape).unwrap(), tolerance);
        }
        let inner = patched.pp("attn1").get("to_q.weight", &[6, 8, 1, 1]).unwrap();
        assert_close(&inner, &expected.get(LINEAR, &[6, 8, 1, 1]).unwrap(), tolerance);
    }
}

#[test]
fn small_changes_are_merged_before_they_are_rounded_away() {
    // 1 + 1/512 is 1 in bf16; four such changes are 1 + 1/128, which bf16 has.
    let weights = HashMap::from([("x.weight".to_owned(), Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap())]);
    let (folder, factor) = (Folder::new(), Tensor::ones((2, 1), DType::BF16, &Device::Cpu).unwrap());
    let mut patched = open(folder.save("ones.safetensors", &weights), Precision::Bf16);
    for _ in 0..4 {
        let mut patch = WeightPatch::new("small", 1.0 / 512.0);
        patch.insert("x.weight", LowRank::new(&factor, &factor.t().unwrap(), None).unwrap());
        patched = patched.patched(patch).unwrap();
    }
    let found = patched.get("x.weight", &[2, 2]).unwrap();
    assert_eq!((found.dtype(), values(&found)), (DType::BF16, vec![1.0 + 1.0 / 128.0; 4]));
}

#[test]
fn layers_pack_what_was_merged() {
    let (folder, example) = (Folder::new(), Example::new());
    let plain = folder.save("plain.safetensors", &example.plain);
    let merged = folder.save("merged.safetensors", &example.merged);
    let (tokens, image) = (normal(7, (1, 5, 8)).unwrap(), normal(8, (1, 4, 4, 8)).unwrap());
    let linear = |weights: &Weights| {
        let weight = weights.get(LINEAR, &[6, 8]).unwrap();
        Linear::new(&weight, None).unwrap().forward(&tokens).unwrap()
    };
    let conv = |weights: &Weights| {
        let weight = weights.get(CONV, &[6, 8, 3, 3]).unwrap();
        let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
        Conv2d::new(&weight, None, options).unwrap().forward(&image).unwrap()
    };
    for precision in [Precision::F32, Precision::Bf16] {
        let unpatched = open(plain.clone(), precision);
        let patched = unpatched.patched(example.patch()).unwrap();
        let expected = open(merged.clone(), precision);
        assert_close(&linear(&patched), &linear(&expected), LAYER_ROUNDING);
        assert_far(&linear(&patched), &linear(&unpatched));
        assert_close(&conv(&patched), &conv(&expected), LAYER_ROUNDING);
        assert_far(&conv(&patched), &conv(&unpatched));
    }
}

/// Weights that were rounded the other way, summed up.
const LAYER_ROUNDING: f32 = 5e-2;

/// The patch is no small one.
#[track_caller]
fn assert_far(found: &Tensor, other: &Tensor) {
    let difference = (found - other).unwrap().abs().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(difference > 0.5, "{difference}");
}

const UNET: &str = r#"{"in_channels": 4, "out_channels": 4, "sample_size": 8, "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1, "cross_attention_dim": 12, "attention_head_dim": 2, "norm_num_groups": 4}"#;

#[test]
fn a_network_with_an_adapter_is_the_network_of_the_merged_checkpoint() {
    let config = UNetConfig::from_json(UNET).unwrap();
    let random = Weights::random(11);
    UNet2DConditionModel::load(&config, &random).unwrap();
    let (folder, plain) = (Folder::new(), random.made_up());
    let mut merged_weights = plain.clone();
    let mut patch = WeightPatch::new("lora", 1.0);
    for name in ["conv_in.weight", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"] {
        let weight = &plain[name];
        let up = normal(5, (weight.dim(0).unwrap(), 1)).unwrap();
        let down = normal(6, [&[1], &weight.dims()[1..]].concat()).unwrap();
        // A sum of one product has no order.
        let change = up.matmul(&down.flatten_from(1).unwrap()).unwrap().reshape(weight.dims()).unwrap();
        merged_weights.insert(name.to_owned(), (weight + change).unwrap());
        patch.insert(name, LowRank::new(&up, &down, None).unwrap());
    }
    let plain = open(folder.save("plain.safetensors", &plain), Precision::Bf16);
    let merged = open(folder.save("merged.safetensors", &merged_weights), Precision::Bf16);
    let text = TextConditioning::new(&normal(2, (1, 7, 12)).unwrap()).unwrap();
    let noise = |weights: &Weights| {
        let unet = UNet2DConditionModel::load(&config, weights).unwrap();
        let latents = normal(1, (1, 8, 8, 4)).unwrap();
        values(&unet.forward(&DenoiserRequest::new(&latents, 500.0, &text)).unwrap().prediction.unwrap())
    };
    let found = noise(&plain.patched(patch).unwrap());
    assert!(found == noise(&merged) && found != noise(&plain));
}

#[test]
fn a_patch_for_another_network_is_refused() {
    let (folder, example) = (Folder::new(), Example::new());
    let weights = open(folder.save("plain.safetensors", &example.plain), Precision::F32);
    let refusal = |name: &str, shape: &[usize]| {
        let (up, down) = factors(shape);
        let mut patch = WeightPatch::new("style.safetensors", 1.0);
        patch.insert(name, LowRank::new(&up, &down, None).unwrap());
        weights.patched(patch).unwrap_err()
    };
    let error = refusal("attn1.to_z.weight", &[6, 8]);
    assert!(matches!(&error, Error::MissingTensor { near: Some(near), .. } if near == LINEAR), "{error}");
    let error = refusal(LINEAR, &[6, 4]);
    assert_eq!(
        error.to_string(),
        format!("tensor `{LINEAR}` in `style.safetensors` has shape [6, 4], expected [6, 8]")
    );
    let infinite = Tensor::full(f32::INFINITY, (6, 1), &Device::Cpu).unwrap();
    let mut patch = WeightPatch::new("style.safetensors", 1.0);
    patch.insert(LINEAR, LowRank::new(&infinite, &normal(1, (1, 8)).unwrap(), None).unwrap());
    let error = weights.patched(patch).unwrap().get(LINEAR, &[6, 8]).unwrap_err();
    assert!(matches!(&error, Error::NotFinite { file, .. } if file == "style.safetensors"), "{error}");
}
