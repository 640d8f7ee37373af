//! GGUF files of diffusion models: what they hold, what they are multiplied with, and what is said of those that cannot be read.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests, and their figures are worth seeing")]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::hub::NoProgress;
use sinopia_models::unet::{DenoiserRequest, TextConditioning, UNet2DConditionModel};
use sinopia_models::weights::{LowRank, Parameter, WeightPatch};
use sinopia_models::{Error, Precision, Result, Weights};
use tempfile::TempDir;

#[path = "../../../parity/fixture.rs"]
mod fixture;

const ON_CPU: Device = Device::Cpu;

/// A file written for a test.
struct Example {
    folder: TempDir,
    path: PathBuf,
}

impl Example {
    /// A file of these tensors, each in a type, and of texts by key.
    fn new(tensors: &[(&str, &Tensor, GgmlDType)], metadata: &[(&str, gguf_file::Value)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        write(&path, tensors, metadata);
        Self { folder, path }
    }

    fn weights(&self, precision: Precision) -> Result<Weights> {
        Weights::open(std::slice::from_ref(&self.path), &ON_CPU, precision)
    }

    /// The same bytes with some changed.
    fn edited(self, edit: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = std::fs::read(&self.path).unwrap();
        edit(&mut bytes);
        std::fs::write(&self.path, bytes).unwrap();
        self
    }
}

fn write(path: &Path, tensors: &[(&str, &Tensor, GgmlDType)], metadata: &[(&str, gguf_file::Value)]) {
    let quantised: Vec<(&str, QTensor)> =
        tensors.iter().map(|(name, tensor, kind)| (*name, QTensor::quantize(tensor, *kind).unwrap())).collect();
    let tensors: Vec<(&str, &QTensor)> = quantised.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let metadata: Vec<(&str, &gguf_file::Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    gguf_file::write(&mut File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

fn noise(seed: u64, shape: &[usize]) -> Tensor {
    sinopia_models::testing::normal(seed, shape).unwrap()
}

fn list(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// What a tensor becomes in a type and back.
fn roundtrip(tensor: &Tensor, kind: GgmlDType) -> Tensor {
    QTensor::quantize(tensor, kind).unwrap().dequantize(&ON_CPU).unwrap()
}

// ---- tensors ----

#[test]
fn the_reference_reads_the_same_numbers() {
    let expected = fixture::Fixture::open("gguf/blocks.safetensors");
    let weights = Weights::open(&[fixture::fixture_path("gguf/blocks.gguf")], &ON_CPU, Precision::F32).unwrap();
    let names = weights.names();
    assert_eq!(names.len(), 13, "{names:?}");
    for name in names {
        let expected = expected.get(&name);
        let found = weights.get(&name, expected.dims()).unwrap();
        assert_eq!(list(&found), list(&expected), "{name}");
    }
    assert_eq!(weights.format("Q4_K").as_deref(), Some("Q4_K"));
    assert_eq!(weights.format("BF16").as_deref(), Some("BF16"));
    // A kernel whose rows were made to fill blocks.
    assert_eq!(weights.shape("kernel").unwrap(), [32, 8, 3, 3]);
}

#[test]
fn blocks_stay_in_the_file_unless_something_else_is_asked_for() {
    let (matrix, vector) = (noise(1, &[6, 64]), noise(2, &[64]));
    let example = Example::new(&[("m.weight", &matrix, GgmlDType::Q8_0), ("m.bias", &vector, GgmlDType::Q8_0)], &[]);
    let weights = example.weights(Precision::Auto).unwrap();
    match weights.pp("m").parameter("weight", &[6, 64, 1, 1]).unwrap() {
        Parameter::Quantized(weight) => {
            assert_eq!((weight.kind().as_str(), weight.shape()), ("Q8_0", &[6, 64, 1, 1][..]))
        }
        other => panic!("{other:?}"),
    }
    let expected = roundtrip(&matrix, GgmlDType::Q8_0);
    for (precision, dtype) in
        [(Precision::F32, DType::F32), (Precision::Bf16, DType::BF16), (Precision::Auto, DType::F16)]
    {
        let weights = example.weights(precision).unwrap();
        let found = weights.get("m.weight", &[6, 64]).unwrap();
        assert_eq!((found.dtype(), list(&found)), (dtype, list(&expected.to_dtype(dtype).unwrap())));
        assert_eq!(weights.get("m.bias", &[64]).unwrap().dtype(), DType::F32);
        let is_tensor = matches!(weights.parameter("m.weight", &[6, 64]).unwrap(), Parameter::Tensor(_));
        assert_eq!(is_tensor, !weights.keeps_blocks());
        assert!(precision == Precision::Bf16 || weights.keeps_blocks() == (precision == Precision::Auto));
    }
    assert!(matches!(weights.parameter("m.weight", &[64, 6]), Err(Error::TensorShape { .. })));
    assert!(matches!(weights.parameter("n.weight", &[64, 6]), Err(Error::MissingTensor { .. })));
}

#[test]
fn an_adapter_changes_the_numbers_of_its_layer_and_of_no_other() {
    let (a, b) = (noise(1, &[4, 32]), noise(2, &[4, 32]));
    let example = Example::new(&[("a.weight", &a, GgmlDType::Q4_0), ("b.weight", &b, GgmlDType::Q4_0)], &[]);
    let (up, down) = (noise(3, &[4, 2]), noise(4, &[2, 32]));
    let mut patch = WeightPatch::new("style.safetensors", 0.5);
    patch.insert("a.weight", LowRank::new(&up, &down, None).unwrap());
    let weights = example.weights(Precision::Auto).unwrap().patched(patch).unwrap();
    assert!(matches!(weights.parameter("b.weight", &[4, 32]).unwrap(), Parameter::Quantized(_)));
    let Parameter::Tensor(found) = weights.parameter("a.weight", &[4, 32]).unwrap() else { panic!("blocks") };
    let change = (up.matmul(&down).unwrap() * 0.5).unwrap();
    let expected = (roundtrip(&a, GgmlDType::Q4_0) + change).unwrap();
    fixture::assert_close("patched", &found.to_dtype(DType::F32).unwrap(), &expected, 1e-3); // kept in f16
}

// ---- what cannot be read ----

#[test]
fn files_that_lie_are_refused() {
    let tensor = noise(1, &[4, 64]);
    let example = || Example::new(&[("t", &tensor, GgmlDType::Q8_0)], &[("general.name", gguf_file::Value::U32(1))]);
    let refusal = |example: Example| example.weights(Precision::Auto).unwrap_err().to_string();
    // Behind the name: its axes, their sizes, the type and the place.
    let after_name = |bytes: &[u8]| bytes.windows(9).position(|part| part == b"\x01\0\0\0\0\0\0\0t").unwrap() + 9;

    let cut = refusal(example().edited(|bytes| bytes.truncate(bytes.len() - 50)));
    assert!(cut.contains("it is cut short: tensor `t` ends at byte"), "{cut}");
    let head = refusal(example().edited(|bytes| bytes.truncate(30)));
    assert!(head.contains("is damaged: the file announces"), "{head}");
    let version = refusal(example().edited(|bytes| bytes[4] = 9));
    assert!(version.contains("is a GGUF file of version 9"), "{version}");
    let sizes = refusal(example().edited(|bytes| {
        let at = after_name(bytes);
        bytes[at + 4] = 65;
    }));
    assert!(sizes.contains("tensor `t` (Q8_0) has 260 numbers, which are no whole blocks"), "{sizes}");
    let empty = refusal(example().edited(|bytes| {
        let at = after_name(bytes);
        bytes[at + 4] = 0;
    }));
    assert!(empty.contains("tensor `t` has the impossible sizes [0, 4]"), "{empty}");
    let place = refusal(example().edited(|bytes| {
        let at = after_name(bytes);
        bytes[at + 24..at + 32].fill(0xFF);
    }));
    assert!(place.contains("impossible place"), "{place}");
    let shape = gguf_file::Value::Array(vec![gguf_file::Value::I32(4), gguf_file::Value::I32(65)]);
    let wrong = refusal(Example::new(&[("t", &tensor, GgmlDType::Q8_0)], &[("comfy.gguf.orig_shape.t", shape)]));
    assert!(wrong.contains("tensor `t` has 256 numbers, in its metadata the shape [4, 65]"), "{wrong}");
}

#[test]
fn scales_that_are_no_numbers_are_refused() {
    // 16 blocks of 34 bytes end where the file does: nothing is filled up behind them.
    let tensor = noise(1, &[8, 64]);
    let example = Example::new(&[("t", &tensor, GgmlDType::Q8_0)], &[]).edited(|bytes| {
        let last_block = bytes.len() - 34;
        bytes[last_block + 1] = 0x7C;
    });
    let weights = example.weights(Precision::Auto).unwrap();
    for result in [weights.parameter("t", &[8, 64]).map(drop), weights.get("t", &[8, 64]).map(drop)] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("tensor `t`") && error.contains("at position 480"), "{error}");
    }
}

// ---- checkpoints ----

/// The tensors of a tiny model under LDM's names, f32; the vocabulary is CLIP's.
fn ldm_tensors(model: &str) -> BTreeMap<String, Tensor> {
    let rows = fixture::json(&format!("ldm/{model}.json"));
    let stems = [("text_encoder", "model"), ("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model")];
    let parts: HashMap<&str, HashMap<String, Tensor>> = stems
        .into_iter()
        .map(|(network, stem)| {
            let path = fixture::model_folder(model).join(network).join(format!("{stem}.safetensors"));
            let tensors = candle_core::safetensors::load(path, &ON_CPU).unwrap().into_iter();
            (
                network,
                tensors.map(|(name, tensor)| (name.trim_start_matches("text_model.").to_owned(), tensor)).collect(),
            )
        })
        .collect();
    let mut file = BTreeMap::new();
    for row in rows["rows"].as_array().unwrap() {
        let [name, how, network] = [0, 1, 2].map(|i| row[i].as_str().unwrap());
        let tensors: Vec<&Tensor> =
            row[3].as_array().unwrap().iter().map(|old| &parts[network][old.as_str().unwrap()]).collect();
        let mut tensor = Tensor::cat(&tensors, 0).unwrap().to_dtype(DType::F32).unwrap();
        if how == "conv" {
            tensor = tensor.unsqueeze(2).unwrap().unsqueeze(3).unwrap();
        } else if how.ends_with("like") {
            tensor = tensor.zeros_like().unwrap();
        } else if name.ends_with("token_embedding.weight") {
            tensor = tensor.pad_with_zeros(0, 0, 49408 - tensor.dim(0).unwrap()).unwrap();
        }
        file.insert(name.to_owned(), tensor);
    }
    file
}

/// The type that stable-diffusion.cpp converts a tensor to: `kind` where rows divide into its blocks and it is none of those that it leaves.
fn converted(name: &str, tensor: &Tensor, kind: GgmlDType) -> GgmlDType {
    let row = tensor.dims().last().copied().unwrap_or(1);
    let is_left = name.ends_with(".bias") || name.contains("time_embed.") || name.contains("embedding");
    match row.is_multiple_of(kind.block_size()) && !is_left && tensor.rank() > 1 {
        true => kind,
        false if tensor.rank() > 1 => GgmlDType::F16,
        false => GgmlDType::F32,
    }
}

/// Writes tensors as stable-diffusion.cpp does, without metadata.
fn write_sd_cpp(path: &Path, tensors: &BTreeMap<String, Tensor>, kind: GgmlDType) {
    let typed: Vec<(&str, &Tensor, GgmlDType)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor, converted(name, tensor, kind))).collect();
    write(path, &typed, &[]);
}

/// Writes the UNet alone as ComfyUI's converter does: kernels in rows of 256, their shapes in the metadata.
fn write_comfy(path: &Path, tensors: &BTreeMap<String, Tensor>, kind: GgmlDType) {
    let mut typed = Vec::new();
    let mut metadata = vec![("general.architecture".to_owned(), gguf_file::Value::String("sd1".to_owned()))];
    for (name, tensor) in tensors {
        let Some(name) = name.strip_prefix("model.diffusion_model.") else { continue };
        let is_reshaped = tensor.rank() > 1
            && tensor.elem_count().is_multiple_of(256)
            && !tensor.dims().last().unwrap().is_multiple_of(256);
        if is_reshaped {
            let shape = tensor.dims().iter().map(|&size| gguf_file::Value::I32(size as i32)).collect();
            metadata.push((format!("comfy.gguf.orig_shape.{name}"), gguf_file::Value::Array(shape)));
            typed.push((name.to_owned(), tensor.reshape(((), 256)).unwrap(), kind));
        } else {
            let kind = if tensor.rank() > 1 { GgmlDType::F16 } else { GgmlDType::F32 };
            typed.push((name.to_owned(), tensor.clone(), kind));
        }
    }
    let typed: Vec<(&str, &Tensor, GgmlDType)> =
        typed.iter().map(|(name, tensor, kind)| (name.as_str(), tensor, *kind)).collect();
    let metadata: Vec<(&str, gguf_file::Value)> =
        metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    write(path, &typed, &metadata);
}

fn open(path: &Path, precision: Precision) -> Result<Checkpoint> {
    let source = if path.is_dir() { ModelSource::Folder(path.to_owned()) } else { ModelSource::File(path.to_owned()) };
    Checkpoint::open(&source, &OpenOptions { precision, device: ON_CPU, ..OpenOptions::default() }, &NoProgress)
}

/// The noise that a checkpoint's UNet predicts for some latents.
fn predicted(checkpoint: &Checkpoint) -> Tensor {
    let unet = UNet2DConditionModel::load(&checkpoint.unet.config, &checkpoint.unet.weights).unwrap();
    let width = checkpoint.unet.config.cross_attention_dim.get(0).unwrap();
    let (latents, text) = (noise(5, &[1, 16, 16, 4]), noise(6, &[1, 77, width]));
    let text = TextConditioning::new(&text).unwrap();
    unet.forward(&DenoiserRequest::new(&latents, 500.0, &text)).unwrap().prediction.unwrap()
}

/// ‖found − expected‖ / ‖expected‖.
fn distance(found: &Tensor, expected: &Tensor) -> f32 {
    let square = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
    (square(&(found - expected).unwrap()) / square(expected)).sqrt()
}

#[test]
fn a_file_of_stable_diffusion_cpp_is_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = ldm_tensors("sd1");
    let whole = open(&fixture::model_folder("sd1"), Precision::F32).unwrap();
    // A single file does not say how many heads there are: its rules stand against themselves.
    let plain = folder.path().join("v1-5-F32.gguf");
    write_sd_cpp(&plain, &tensors, GgmlDType::F32);
    let expected = predicted(&open(&plain, Precision::F32).unwrap());
    for (kind, name, bound) in
        [(GgmlDType::Q8_0, "Q8_0", 0.1), (GgmlDType::Q5_0, "Q5_0", 0.6), (GgmlDType::Q4_0, "Q4_0", 0.8)]
    {
        let path = folder.path().join(format!("v1-5-{name}.gguf"));
        write_sd_cpp(&path, &tensors, kind);
        let checkpoint = open(&path, Precision::Auto).unwrap();
        assert_eq!(checkpoint.unet.config.block_out_channels, whole.unet.config.block_out_channels);
        let unet = &checkpoint.describe().components[1];
        assert_eq!(unet.formats, ["F16", "F32", name], "{unet:?}");
        assert_eq!(unet.parameters, whole.describe().components[1].parameters);
        let (found, widened) = (predicted(&checkpoint), predicted(&open(&path, Precision::F32).unwrap()));
        let (from_f32, from_widened) = (distance(&found, &expected), distance(&found, &widened));
        println!("{name}: {from_f32:.4} from f32, {from_widened:.5} from the same numbers in f32");
        // Random networks are rough: bf16 products alone are a few percent away.
        assert!(from_f32 < bound && from_widened < 0.06, "{name}: {from_f32} {from_widened}");
    }
}

/// The name that stable-diffusion.cpp gives a tensor of OpenCLIP's text encoder.
fn fused_name(name: &str) -> String {
    const PARTS: [(&str, &str); 10] = [
        ("positional_embedding", "embeddings.position_embedding.weight"),
        ("token_embedding.", "embeddings.token_embedding."),
        ("ln_final.", "final_layer_norm."),
        ("transformer.resblocks.", "encoder.layers."),
        ("attn.in_proj_", "self_attn.in_proj."),
        ("attn.out_proj.", "self_attn.out_proj."),
        ("ln_1.", "layer_norm1."),
        ("ln_2.", "layer_norm2."),
        ("mlp.c_fc.", "mlp.fc1."),
        ("mlp.c_proj.", "mlp.fc2."),
    ];
    match name.strip_prefix("cond_stage_model.model.") {
        Some(name) => {
            let name = PARTS.iter().fold(name.to_owned(), |name, (from, to)| name.replacen(from, to, 1));
            format!("cond_stage_model.transformer.text_model.{name}")
        }
        None => name.to_owned(),
    }
}

#[test]
fn its_names_of_stable_diffusion_2_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v2-1.gguf");
    let tensors: BTreeMap<String, Tensor> =
        ldm_tensors("sd2").into_iter().map(|(name, tensor)| (fused_name(&name), tensor)).collect();
    let typed: Vec<(&str, &Tensor, GgmlDType)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor, GgmlDType::F32)).collect();
    write(&path, &typed, &[]);
    let (single, whole) =
        (open(&path, Precision::F32).unwrap(), open(&fixture::model_folder("sd2"), Precision::F32).unwrap());
    assert_eq!(single.text_encoder.config.hidden_act, whole.text_encoder.config.hidden_act);
    assert_eq!(single.scheduler["prediction_type"], "v_prediction");
    let layers = |checkpoint: &Checkpoint| checkpoint.text_encoder.weights.pp("text_model.encoder");
    let (found, expected) = (layers(&single), layers(&whole));
    assert_eq!(found.names(), expected.names());
    for name in expected.names() {
        let shape = expected.shape(&name).unwrap();
        assert_eq!(list(&found.get(&name, &shape).unwrap()), list(&expected.get(&name, &shape).unwrap()), "{name}");
    }
}

#[test]
fn a_unet_alone_belongs_into_the_folder_of_a_whole_model() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("v1-5-Q4_K_S.gguf");
    write_comfy(&alone, &ldm_tensors("sd1"), GgmlDType::Q4K);
    let error = open(&alone, Precision::Auto).unwrap_err();
    assert!(error.to_string().contains("holds a UNet alone"), "{error}");
    assert!(error.hint().unwrap().contains("put it into the `unet/` of a whole one's folder"), "{:?}", error.hint());

    let model = folder.path().join("model");
    copy_folder(&fixture::model_folder("sd1"), &model);
    std::fs::remove_file(model.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    std::fs::rename(&alone, model.join("unet/v1-5-Q4_K_S.gguf")).unwrap();
    let checkpoint = open(&model, Precision::Auto).unwrap();
    assert_eq!(checkpoint.describe().components[1].formats, ["F16", "F32", "Q4_K"]);
    let (found, widened) = (predicted(&checkpoint), predicted(&open(&model, Precision::F32).unwrap()));
    let expected = predicted(&open(&fixture::model_folder("sd1"), Precision::F32).unwrap());
    let (from_f32, from_widened) = (distance(&found, &expected), distance(&found, &widened));
    println!("Q4_K: {from_f32:.4} from f32, {from_widened:.5} from the same numbers in f32");
    assert!(from_f32 < 0.7 && from_widened < 0.06, "{from_f32} {from_widened}");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() { copy_folder(&from, &to) } else { std::fs::copy(&from, &to).map(drop).unwrap() }
    }
}

#[test]
fn models_of_other_kinds_are_told_by_their_tensors() {
    let tensor = noise(1, &[32, 32]);
    for (name, found) in [
        ("blk.0.attn_q.weight", "a language model"),
        ("token_embd.weight", "a language model"),
        ("double_blocks.0.img_attn.qkv.weight", "Flux"),
        ("model.diffusion_model.label_emb.0.0.weight", "Stable Diffusion XL"),
        ("enc.blk.0.attn_q.weight", "a T5 in llama.cpp's form"),
    ] {
        let example = Example::new(&[(name, &tensor, GgmlDType::Q4_0)], &[]);
        let error = open(&example.path, Precision::Auto).unwrap_err();
        assert!(error.to_string().contains(found), "{name}: {error}");
        assert!(error.hint().is_some(), "{name}");
        assert!(example.folder.path().exists());
    }
}

#[test]
fn types_that_are_not_read_are_named_on_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v1-5.gguf");
    write_sd_cpp(&path, &ldm_tensors("sd1"), GgmlDType::Q4_0);
    let name = b"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight";
    for (kind, format) in [(23_u8, "IQ4_XS"), (200, "GGUF type 200")] {
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(name.len()).position(|part| part == name).unwrap() + name.len();
        bytes[at + 4 + 2 * 8] = kind;
        std::fs::write(&path, bytes).unwrap();
        let error = open(&path, Precision::Auto).unwrap_err();
        assert!(error.to_string().contains("to_q.weight") && error.to_string().contains(format), "{error}");
        assert!(error.hint().unwrap().contains("Q4_K"), "{:?}", error.hint());
    }
}
