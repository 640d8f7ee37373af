//! Whole checkpoints: folders, single files, embedded ones, and everything that can be wrong with them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../../parity/fixture.rs"]
mod fixture;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use sinopia_models::checkpoint::{Checkpoint, Family, ModelSource, OpenOptions, PredictionType};
use sinopia_models::hub::NoProgress;
use sinopia_models::unet::UNet2DConditionModel;
use sinopia_models::vae::AutoencoderKl;
use sinopia_models::{Error, Precision, Result, Weights};

const NETWORKS: [(&str, &str); 3] =
    [("text_encoder", "model"), ("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model")];

fn open_with(path: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    Checkpoint::open(&ModelSource::parse(path.to_str().unwrap())?, options, &NoProgress)
}

fn open(path: &Path) -> Result<Checkpoint> {
    open_with(path, &OpenOptions::default())
}

/// A copy of a tiny checkpoint that a test may spoil.
struct Copy(tempfile::TempDir);

impl Copy {
    fn of(model: &str) -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        copy_folder(&fixture::model_folder(model), copy.0.path());
        copy
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, text: &str) -> &Self {
        std::fs::write(self.path(file), text).unwrap();
        self
    }

    fn edit_json(&self, file: &str, edit: impl FnOnce(&mut Value)) -> &Self {
        let mut json: Value = serde_json::from_str(&std::fs::read_to_string(self.path(file)).unwrap()).unwrap();
        edit(&mut json);
        self.write(file, &json.to_string())
    }

    fn remove(&self, file: &str) -> &Self {
        std::fs::remove_file(self.path(file)).unwrap();
        self
    }

    fn open(&self) -> Result<Checkpoint> {
        open(self.0.path())
    }

    fn refusal(&self) -> String {
        let mut error: &dyn std::error::Error = &self.open().unwrap_err();
        let mut text = error.to_string();
        while let Some(source) = error.source() {
            text += &format!(": {source}");
            error = source;
        }
        text
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn same_tensors(found: &Weights, expected: &Weights) {
    let names = expected.names();
    assert!(!names.is_empty());
    for name in names.iter().filter(|name| !name.ends_with("position_ids")) {
        let shape = expected.shape(name).unwrap();
        let expected = expected.get(name, &shape).unwrap();
        let found = found.get(name, &shape).unwrap();
        let as_f32 =
            |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(as_f32(&found), as_f32(&expected), "{name}");
    }
}

// ---- folders ----

#[test]
fn folders_open_and_their_networks_load() {
    for model in ["sd1", "sd2", "small"] {
        let checkpoint = open(&fixture::model_folder(model)).unwrap();
        UNet2DConditionModel::load(&checkpoint.unet.config, &checkpoint.unet.weights).unwrap();
        AutoencoderKl::load(&checkpoint.vae.config, &checkpoint.vae.weights).unwrap();
        assert!(checkpoint.text_encoder.weights.contains("text_model.final_layer_norm.weight"), "{model}");
        assert!(checkpoint.scheduler["_class_name"].as_str().unwrap().ends_with("Scheduler"));
        assert_eq!(checkpoint.tokenizer.max_length(), 77);
    }
}

#[test]
fn a_description_says_what_people_ask() {
    let description = open(&fixture::model_folder("sd1")).unwrap().describe();
    assert_eq!(description.family, Family::Custom);
    assert_eq!(
        description.components.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["text_encoder", "unet", "vae"]
    );
    assert!(description.components.iter().all(|c| c.parameters > 1000 && c.formats == ["F16"]), "{description:?}");
    assert_eq!(description.latent_channels, 4);
    assert!(description.bytes > 900_000);
    assert_eq!(serde_json::to_value(&description).unwrap()["family"], "custom");
}

#[test]
fn the_prediction_type_can_be_overridden() {
    let options = OpenOptions { prediction_type: Some(PredictionType::VPrediction), ..OpenOptions::default() };
    let checkpoint = open_with(&fixture::model_folder("sd1"), &options).unwrap();
    assert_eq!(checkpoint.scheduler["prediction_type"], "v_prediction");
}

#[test]
fn the_hash_is_of_what_is_used_and_of_nothing_else() {
    let copy = Copy::of("small");
    let hash = copy.open().unwrap().content_hash().unwrap().to_owned();
    assert_eq!(hash.len(), 64);
    copy.write("README.md", "hello");
    assert_eq!(copy.open().unwrap().content_hash().unwrap(), hash);
    copy.edit_json("scheduler/scheduler_config.json", |json| json["beta_end"] = 0.013.into());
    assert_ne!(copy.open().unwrap().content_hash().unwrap(), hash);
}

#[test]
fn the_index_says_which_scheduler_is_built_from_the_file() {
    let copy = Copy::of("sd1");
    copy.edit_json("model_index.json", |json| json["scheduler"][1] = "EulerDiscreteScheduler".into());
    let checkpoint = copy.open().unwrap();
    assert_eq!(checkpoint.scheduler["_class_name"], "EulerDiscreteScheduler");
    assert_eq!(checkpoint.describe().scheduler, "EulerDiscreteScheduler");
}

#[test]
fn parts_of_other_classes_are_refused_by_name() {
    for (part, class) in
        [("vae", "AutoencoderTiny"), ("unet", "UNet2DModel"), ("text_encoder", "CLIPTextModelWithProjection")]
    {
        let copy = Copy::of("sd1");
        copy.edit_json("model_index.json", |json| json[part][1] = class.into());
        let refusal = copy.refusal();
        assert!(refusal.contains(&format!("a {part} of the class {class}")), "{refusal}");
    }
}

#[test]
fn configurations_are_read_as_python_writes_them() {
    let copy = Copy::of("sd1");
    for (file, key) in [
        ("scheduler/scheduler_config.json", "lambda_min_clipped"),
        ("unet/config.json", "unknown"),
        ("vae/config.json", "unknown"),
        ("text_encoder/config.json", "unknown"),
        ("tokenizer/tokenizer_config.json", "unknown"),
        ("model_index.json", "unknown"),
    ] {
        let text = std::fs::read_to_string(copy.path(file)).unwrap();
        let text = text.replacen('{', &format!("{{\"{key}\": -Infinity, \"x\": [NaN, Infinity], "), 1);
        copy.write(file, &text);
    }
    assert_eq!(copy.open().unwrap().scheduler["lambda_min_clipped"], "-Infinity");
    let vae = std::fs::read_to_string(copy.path("vae/config.json")).unwrap();
    let refusal = copy.write("vae/config.json", &vae.replace("0.18215", "NaN")).refusal();
    assert!(refusal.contains("vae/config.json") && refusal.contains("NaN"), "{refusal}");
}

#[test]
fn old_unets_are_for_latents_of_64() {
    let side = |version: &str| {
        let copy = Copy::of("sd1");
        copy.edit_json("unet/config.json", |json| {
            json["sample_size"] = 32.into();
            json["_diffusers_version"] = version.into();
        });
        copy.open().unwrap().describe().latent_size
    };
    assert_eq!(side("0.6.0"), Some(64));
    assert_eq!(side("0.9.0"), Some(32));
}

#[test]
fn embedded_files_are_a_folder_too() {
    let files: &'static [(&'static str, &'static [u8])] = embed(&fixture::model_folder("small"));
    let options = OpenOptions::default();
    let embedded = Checkpoint::from_embedded("miniature", files, &options).unwrap();
    let folder = open(&fixture::model_folder("small")).unwrap();
    assert_eq!(embedded.content_hash().unwrap(), folder.content_hash().unwrap());
    assert_eq!(embedded.describe().family, Family::Embedded);
    same_tensors(&embedded.unet.weights, &folder.unet.weights);

    let error = Checkpoint::from_embedded("miniature", &files[..0], &options).unwrap_err();
    assert_eq!(error.to_string(), "`miniature` is not a checkpoint: the folder is empty");
}

fn embed(folder: &Path) -> &'static [(&'static str, &'static [u8])] {
    let mut files: Vec<(&'static str, &'static [u8])> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let inner = if entry.is_dir() {
            std::fs::read_dir(entry).unwrap().map(|e| e.unwrap().path()).collect()
        } else {
            vec![entry]
        };
        for path in inner {
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            files.push((String::leak(name), Vec::leak(std::fs::read(&path).unwrap())));
        }
    }
    Vec::leak(files)
}

#[test]
fn shards_and_variants_are_found() {
    let copy = Copy::of("small");
    let whole = open(&fixture::model_folder("small")).unwrap();
    split(&copy.path("unet"), "diffusion_pytorch_model");
    std::fs::rename(
        copy.path("vae/diffusion_pytorch_model.safetensors"),
        copy.path("vae/diffusion_pytorch_model.fp16.safetensors"),
    )
    .unwrap();
    let sharded = copy.open().unwrap();
    same_tensors(&sharded.unet.weights, &whole.unet.weights);
    same_tensors(&sharded.vae.weights, &whole.vae.weights);

    copy.remove("unet/diffusion_pytorch_model-00002-of-00002.safetensors");
    assert!(
        copy.refusal()
            .contains("1 of the 2 parts of `unet/diffusion_pytorch_model-00001-of-00002.safetensors` are there")
    );
}

fn split(folder: &Path, stem: &str) {
    let path = folder.join(format!("{stem}.safetensors"));
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let (first, second): (HashMap<_, _>, HashMap<_, _>) =
        tensors.into_iter().partition(|(name, _)| name.starts_with("down"));
    for (i, part) in [first, second].into_iter().enumerate() {
        candle_core::safetensors::save(&part, folder.join(format!("{stem}-0000{}-of-00002.safetensors", i + 1)))
            .unwrap();
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn old_attention_names_and_bare_text_models_are_understood() {
    let copy = Copy::of("small");
    let whole = open(&fixture::model_folder("small")).unwrap();
    rename(&copy.path("vae/diffusion_pytorch_model.safetensors"), |name| {
        [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]
            .iter()
            .fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
    });
    for strip in [true, false] {
        rename(&copy.path("text_encoder/model.safetensors"), |name| {
            let bare = name.strip_prefix("text_model.").unwrap_or(name);
            if strip { bare.to_owned() } else { format!("text_model.{bare}") }
        });
        let old = copy.open().unwrap();
        same_tensors(&old.vae.weights, &whole.vae.weights);
        same_tensors(&old.text_encoder.weights, &whole.text_encoder.weights);
    }
}

fn rename(path: &Path, rename: impl Fn(&str) -> String) {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let renamed: HashMap<String, Tensor> = tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
    candle_core::safetensors::save(&renamed, path).unwrap();
}

// ---- single files ----

/// The weights of a tiny folder in a single file, by the names that diffusers' own reader accepts (`parity/make_ldm.py`).
///
/// The text encoder gets rows for CLIP's whole vocabulary, since a single file brings no tokenizer.
fn single_file(model: &str, path: &Path) {
    let rows = fixture::json(&format!("ldm/{model}.json"));
    let parts: HashMap<&str, HashMap<String, Tensor>> = NETWORKS
        .iter()
        .map(|(network, stem)| {
            let path = fixture::model_folder(model).join(network).join(format!("{stem}.safetensors"));
            let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
            (
                *network,
                tensors
                    .into_iter()
                    .map(|(name, tensor)| (name.trim_start_matches("text_model.").to_owned(), tensor))
                    .collect(),
            )
        })
        .collect();
    let mut file = HashMap::new();
    for row in rows["rows"].as_array().unwrap() {
        let [name, how, network] = [0, 1, 2].map(|i| row[i].as_str().unwrap());
        let tensors: Vec<&Tensor> =
            row[3].as_array().unwrap().iter().map(|old| &parts[network][old.as_str().unwrap()]).collect();
        let mut tensor = Tensor::cat(&tensors, 0).unwrap();
        if how == "conv" {
            tensor = tensor.unsqueeze(2).unwrap().unsqueeze(3).unwrap();
        } else if how.ends_with("like") {
            tensor = tensor.zeros_like().unwrap();
        } else if name.ends_with("token_embedding.weight") {
            let (rows, width) = tensor.dims2().unwrap();
            let more = Tensor::zeros((49408 - rows, width), tensor.dtype(), &Device::Cpu).unwrap();
            tensor = Tensor::cat(&[tensor, more], 0).unwrap();
        }
        file.insert(name.to_owned(), tensor);
    }
    candle_core::safetensors::save(&file, path).unwrap();
}

fn check_single_file(model: &str, file_name: &str, class: &str, prediction_type: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file_name);
    single_file(model, &path);
    let file = open(&path).unwrap();
    let whole = open(&fixture::model_folder(model)).unwrap();
    same_tensors(&file.unet.weights, &whole.unet.weights);
    same_tensors(&file.vae.weights, &whole.vae.weights);
    let layers = file.text_encoder.weights.pp("text_model.encoder");
    same_tensors(&layers, &whole.text_encoder.weights.pp("text_model.encoder"));

    UNet2DConditionModel::load(&file.unet.config, &file.unet.weights).unwrap();
    AutoencoderKl::load(&file.vae.config, &file.vae.weights).unwrap();
    let (found, expected) = (&file.unet.config, &whole.unet.config);
    assert_eq!(found.block_out_channels, expected.block_out_channels);
    assert_eq!(found.down_block_types, expected.down_block_types);
    assert_eq!(found.up_block_types, expected.up_block_types);
    assert_eq!(found.layers_per_block.get(0), expected.layers_per_block.get(0));
    assert_eq!(found.cross_attention_dim.get(0), expected.cross_attention_dim.get(0));
    assert_eq!(found.use_linear_projection, expected.use_linear_projection);
    assert_eq!(file.vae.config.block_out_channels, whole.vae.config.block_out_channels);
    assert_eq!(file.text_encoder.config.num_hidden_layers, whole.text_encoder.config.num_hidden_layers);
    assert_eq!(file.text_encoder.config.hidden_act, whole.text_encoder.config.hidden_act);
    assert_eq!(file.scheduler["_class_name"], class);
    assert_eq!(file.scheduler["prediction_type"], prediction_type);
    let sha256 = {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(std::fs::read(&path).unwrap());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(file.content_hash().unwrap(), sha256);
}

#[test]
fn a_single_file_of_stable_diffusion_1() {
    check_single_file("sd1", "v1-5-pruned.safetensors", "PNDMScheduler", "epsilon");
}

#[test]
fn a_single_file_of_stable_diffusion_2() {
    check_single_file("sd2", "v2-1_768-ema-pruned.safetensors", "DDIMScheduler", "v_prediction");
}

#[test]
fn files_that_are_something_else_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, expected: &str| {
        let path = folder.path().join("x.safetensors");
        let tensor = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).unwrap();
        candle_core::safetensors::save(&HashMap::from([(name, tensor)]), &path).unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    };
    check("conditioner.embedders.0.transformer.x", "Stable Diffusion XL");
    check("lora_unet_down_blocks_0.lora_up.weight", "a LoRA");
    check("control_model.input_blocks.0.0.weight", "a ControlNet");
    check("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3");
    check("double_blocks.0.img_attn.qkv.weight", "Flux");
    check("decoder.conv_in.weight", "a VAE alone");
    check("<cat-toy>", "a textual inversion");
    check("blk.0.attn_q.weight", "a language model");
    check("x.weight", "no UNet (`model.diffusion_model.…`), no VAE (`first_stage_model.…`), no text encoder");
    check("model.diffusion_model.out.0.weight", "it has no VAE (`first_stage_model.…`), no text encoder");
}

#[test]
fn files_that_were_never_weights_say_what_they_are_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4265380512\n";
    for (name, contents, found, remedy) in [
        ("a.safetensors", pointer, "is a Git LFS pointer", "git lfs pull"),
        ("b.ckpt", pointer, "is a Git LFS pointer", "git lfs pull"),
        ("c.safetensors", "<!doctype html>\n<html><head>", "is a web page", "download the file itself"),
        ("d.ckpt", "  <HTML>", "is a web page", "download the file itself"),
        ("e.safetensors", "{\"error\": \"Invalid credentials\"}", "is a JSON text", "a server that refuses"),
        ("f.gguf", "GGUF\u{3}\0\0\0", "is damaged: the file announces 8 bytes where 0 are left", "fetch it again"),
        ("g.safetensors", "", "is empty", "fetch the file again"),
        ("h.safetensors", "hello, I am a note", "is no safetensors file", "a diffusers folder"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains(found), "{name}: {error}");
        assert!(error.hint().unwrap().contains(remedy), "{name}: {:?}", error.hint());
    }
    for (file, expected) in [
        ("unet/diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors` is a Git LFS pointer"),
        ("unet/config.json", "config.json` is a Git LFS pointer"),
        ("tokenizer/vocab.json", "vocab.json` is a Git LFS pointer"),
        ("model_index.json", "model_index.json` is a Git LFS pointer"),
    ] {
        let refusal = Copy::of("small").write(file, pointer).refusal();
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn floats_of_8_bits_are_named_on_opening() {
    let copy = Copy::of("small");
    let file = "unet/diffusion_pytorch_model.safetensors";
    let bytes = std::fs::read(copy.path(file)).unwrap();
    // Two tensors of f16 bytes each become twice as many of 8 bits: the header's sizes still add up.
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let entry = &mut header["conv_in.weight"];
    entry["dtype"] = "F8_E4M3".into();
    entry["shape"][0] = (entry["shape"][0].as_u64().unwrap() * 2).into();
    let header = header.to_string();
    let changed = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    std::fs::write(copy.path(file), changed).unwrap();
    let error = copy.open().unwrap_err();
    assert!(error.to_string().contains("tensor `conv_in.weight`") && error.to_string().contains("F8_E4M3"), "{error}");
    assert!(error.hint().unwrap().contains("fp16 or bf16 edition"), "{:?}", error.hint());
}

#[test]
fn a_variant_is_taken_where_it_is_and_the_rest_is_told() {
    let copy = Copy::of("small");
    let plain = "unet/diffusion_pytorch_model.safetensors";
    std::fs::copy(copy.path(plain), copy.path("unet/diffusion_pytorch_model.bf16.safetensors")).unwrap();
    let options = OpenOptions { variant: Some("bf16".to_owned()), ..OpenOptions::default() };
    let checkpoint = open_with(copy.0.path(), &options).unwrap();
    assert!(checkpoint.unet.weights.origin().ends_with("diffusion_pytorch_model.bf16.safetensors"));
    assert_eq!(
        checkpoint.notes(),
        ["there are no weights of variant `bf16` in text_encoder and vae: those without a variant are taken"]
    );
    assert!(copy.open().unwrap().unet.weights.origin().ends_with("model.safetensors"));
    let options = OpenOptions { variant: Some("fp16".to_owned()), ..OpenOptions::default() };
    let error = open_with(copy.0.path(), &options).unwrap_err().to_string();
    assert!(error.contains("none of its networks has weights of variant `fp16`"), "{error}");
    copy.remove(plain);
    let checkpoint = copy.open().unwrap();
    assert!(checkpoint.unet.weights.origin().ends_with(".bf16.safetensors") && checkpoint.notes().is_empty());
}

#[test]
fn learned_words_are_read_where_the_text_encoder_has_their_vectors() {
    let copy = Copy::of("small");
    let rows = copy.open().unwrap().tokenizer.vocab_size() as u32;
    copy.write("tokenizer/added_tokens.json", &format!(r#"{{"<toy>": {rows}}}"#));
    let without = copy.open().unwrap();
    assert!(without.tokenizer.encode("a cat").is_ok());
    let error = without.tokenizer.encode("a <toy>").unwrap_err().to_string();
    assert!(error.contains(&format!("the word `<toy>` as token {rows}")), "{error}");
    copy.edit_json("text_encoder/config.json", |json| json["vocab_size"] = (rows + 1).into());
    assert!(copy.open().unwrap().tokenizer.encode("a <toy>").unwrap().ids.contains(&rows));
}

// ---- bad folders ----

#[test]
fn folders_that_are_not_checkpoints() {
    let empty = tempfile::tempdir().unwrap();
    assert!(open(empty.path()).unwrap_err().to_string().ends_with("is not a checkpoint: the folder is empty"));
    std::fs::write(empty.path().join("notes.txt"), "").unwrap();
    assert!(open(empty.path()).unwrap_err().to_string().ends_with("it has no model_index.json"));
    std::fs::write(empty.path().join("v1-5.safetensors"), "").unwrap();
    assert!(open(empty.path()).unwrap_err().to_string().ends_with("open one of its files instead: v1-5.safetensors"));
    let gone = empty.path().join("gone");
    assert!(matches!(open(&gone), Err(Error::NotFound { .. })));
}

#[test]
fn pipelines_of_other_kinds() {
    let copy = Copy::of("small");
    copy.edit_json("model_index.json", |json| json["_class_name"] = "StableDiffusionXLPipeline".into());
    assert!(copy.refusal().contains("Stable Diffusion XL (a StableDiffusionXLPipeline), which is not supported"));
    // Three text encoders, as XL has two: the class is looked at first.
    copy.write("model_index.json", r#"{"_class_name": "StableDiffusion3Pipeline", "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}"#);
    assert!(copy.refusal().contains("Stable Diffusion 3 (a StableDiffusion3Pipeline), which is not supported"));
    copy.write("model_index.json", r#"{"_class_name": "FluxPipeline"}"#);
    assert!(copy.refusal().contains("a FluxPipeline, which is not supported"));
    let other = Copy::of("small");
    other.edit_json("model_index.json", |json| json["vae"][1] = "AutoencoderTiny".into());
    assert!(other.refusal().contains("a vae of the class AutoencoderTiny"), "{}", other.refusal());
    copy.write("model_index.json", r#"{"_class_name": "StableDiffusionPipeline"}"#);
    assert!(copy.refusal().contains("model_index.json names no text_encoder, no tokenizer"));
}

#[test]
fn missing_files_are_named() {
    for (file, expected) in [
        ("unet/config.json", "unet/config.json is missing"),
        ("vae/diffusion_pytorch_model.safetensors", "vae/ holds no weights"),
        ("scheduler/scheduler_config.json", "scheduler/scheduler_config.json is missing"),
        ("tokenizer/merges.txt", "neither vocab.json and merges.txt nor tokenizer.json"),
    ] {
        let refusal = Copy::of("small").remove(file).refusal();
        assert!(refusal.contains(expected), "{file}: {refusal}");
    }
}

#[test]
fn json_of_the_wrong_kind_names_file_and_place() {
    for (file, text, expected) in [
        ("model_index.json", "{", "EOF"),
        ("model_index.json", "[1]", "is a list, expected a JSON object"),
        ("unet/config.json", r#"{"block_out_channels": "wide"}"#, "invalid type: string"),
        ("vae/config.json", r#"{"latent_channels": -4}"#, "latent_channels"),
        ("scheduler/scheduler_config.json", "3", "is a number, expected a JSON object"),
        ("scheduler/scheduler_config.json", r#"{"num_train_timesteps": "many"}"#, "num_train_timesteps"),
        ("tokenizer/vocab.json", r#"{"a": "b"}"#, "invalid type"),
    ] {
        let refusal = Copy::of("small").write(file, text).refusal();
        assert!(refusal.contains(file), "{file}: {refusal}");
        assert!(refusal.contains(expected) || refusal.contains("invalid value"), "{file} {text}: {refusal}");
    }
}

#[test]
fn truncated_weights_are_noticed_on_opening() {
    let copy = Copy::of("small");
    let path = copy.path("unet/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let refusal = copy.refusal();
    assert!(
        refusal.contains("unet/diffusion_pytorch_model.safetensors` is damaged: it is cut short: tensor `"),
        "{refusal}"
    );
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_refused_on_loading() {
    let copy = Copy::of("small");
    copy.edit_json("unet/config.json", |json| json["cross_attention_dim"] = 48.into());
    let checkpoint = copy.open().unwrap();
    let error = UNet2DConditionModel::load(&checkpoint.unet.config, &checkpoint.unet.weights).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("attn2.to_k.weight") && text.contains("diffusion_pytorch_model.safetensors"), "{text}");
    assert!(error.hint().unwrap().contains("the configuration says 48"), "{:?}", error.hint());
}

#[test]
fn an_inpainting_unet_is_refused_on_opening() {
    let refusal = Copy::of("small").edit_json("unet/config.json", |json| json["in_channels"] = 9.into()).refusal();
    assert!(refusal.contains("9 input channels for latents of 4, that is for inpainting"), "{refusal}");
}

#[test]
fn a_tokenizer_larger_than_the_text_encoder_is_refused() {
    let copy = Copy::of("small");
    copy.edit_json("tokenizer/vocab.json", |json| json["extra"] = 5000.into());
    assert!(copy.refusal().contains("it has 5001 tokens, the text encoder knows"));
}

#[test]
fn precision_reaches_the_tensors() {
    let options = OpenOptions { precision: Precision::F32, ..OpenOptions::default() };
    let weights = open_with(&fixture::model_folder("small"), &options).unwrap().unet.weights;
    let shape = weights.shape("conv_in.weight").unwrap();
    assert_eq!(weights.get("conv_in.weight", &shape).unwrap().dtype(), DType::F32);
}
