//! What a model is that cannot be painted with, told by its tensors or its configuration, and what to do with it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{Error, Weights};

/// What could be loaded instead.
pub(crate) const SUPPORTED: &str = "Stable Diffusion 1.x and 2.x";

/// A kind of model: what it is, and what to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherModel {
    pub(crate) found: String,
    pub(crate) remedy: Option<&'static str>,
}

const TAKE_ANOTHER: &str = "take a checkpoint of Stable Diffusion 1.x or 2.x, or of a model trained from one";
const FUSE_LORA: &str = "merge it into its base model first: in diffusers `pipe.load_lora_weights(…)`, `pipe.fuse_lora()`, `pipe.save_pretrained(folder)`";
const SAVE_EMBEDDING: &str = "put it into its base model first: in diffusers `pipe.load_textual_inversion(…)`, `pipe.save_pretrained(folder)`; its word then counts in prompts";
const BASE_ALONE: &str = "it steers another model; that one can be painted with, without it";
const PUT_INTO_FOLDER: &str =
    "it is one part of a model: put it into the folder of a whole one, in place of the part there";
const UNET_INTO_FOLDER: &str = "it is one part of a model: put it into the `unet/` of a whole one's folder, in place of the weights there (a `.gguf` under its own name)";
const TAKE_SAFETENSORS: &str = "take it in safetensors, for `--t5`";
const SAM: &str = "give it to `--sam`, beside a model to paint with";
const DETECTOR: &str = "give it to `--detector`, which looks at pictures that were painted";
const T5: &str = "give it to `--t5`, beside a model to paint with and a connector, `--ella`";
const ELLA: &str = "give it to `--ella`, beside a model to paint with and a T5, `--t5`";
const GLIGEN: &str = "put it beside the weights of its UNet, as `unet/gligen.safetensors`";
const LANGUAGE_MODEL: &str = "language models plan layouts: take one as GGUF, `--llm-model FILE.gguf`, or a server's";

impl OtherModel {
    fn new(found: impl Into<String>, remedy: &'static str) -> Self {
        Self { found: found.into(), remedy: Some(remedy) }
    }

    /// The refusal of a model of this kind.
    pub(crate) fn refusal(self, origin: &str) -> Error {
        Error::UnsupportedModel {
            origin: origin.to_owned(),
            found: self.found,
            supported: SUPPORTED,
            remedy: self.remedy,
        }
    }

    /// What a file of weights holds that holds no Stable Diffusion 1 or 2, by the names of its tensors.
    pub(crate) fn of_tensors(weights: &Weights) -> Option<Self> {
        let names = Names(weights.names().into_iter().collect());
        let any = |prefixes: &[&str]| prefixes.iter().any(|prefix| names.begin(prefix));
        // Many files have the diffusion model under a prefix, as Stable Diffusion does.
        let denoiser =
            |part: &str| any(&[part, &format!("model.diffusion_model.{part}"), &format!("diffusion_model.{part}")]);
        let found = |found: &str, remedy| Some(Self::new(found, remedy));
        if any(&["lora_", "lycoris_"])
            || names.contain(&[
                "_lora.",
                ".lora_",
                ".lora.",
                ".hada_w",
                ".lokr_w",
                ".dora_scale",
                "lora_A",
                "lora_down",
            ])
        {
            return found("a LoRA, which changes a checkpoint and is none itself", FUSE_LORA);
        }
        if any(&["control_model.", "controlnet_"]) {
            return found("a ControlNet", BASE_ALONE);
        }
        if any(&["adapter.body.", "adapter.conv_in.", "image_proj.", "ip_adapter."]) {
            return found("an adapter for pictures as prompts", BASE_ALONE);
        }
        if denoiser("double_blocks.") || denoiser("single_transformer_blocks.") {
            return found("Flux, or a model built as it is", TAKE_ANOTHER);
        }
        if denoiser("joint_blocks.") || names.contain(&[".attn.add_k_proj."]) {
            return found("Stable Diffusion 3, or a model built as it is", TAKE_ANOTHER);
        }
        if any(&["conditioner.embedders."]) || denoiser("label_emb.") || any(&["add_embedding."]) {
            return found("Stable Diffusion XL", TAKE_ANOTHER);
        }
        let is_unet = UNET_PARTS.iter().any(|part| names.begin(&format!("model.diffusion_model.{part}.")));
        if any(&["model.diffusion_model."]) && !is_unet {
            return found("another kind of diffusion model", TAKE_ANOTHER);
        }
        if any(&["model.diffusion_model."]) {
            return None;
        }
        Self::of_part(weights, &names)
    }

    /// A part of a model, or a model of another task.
    fn of_part(weights: &Weights, names: &Names) -> Option<Self> {
        let any = |prefixes: &[&str]| prefixes.iter().any(|prefix| names.begin(prefix));
        let found = |found: &str, remedy| Some(Self::new(found, remedy));
        if any(&["owlvit.", "owlv2."]) {
            return found("a detector", DETECTOR);
        }
        if any(&["mask_decoder."]) {
            return found("a SAM, which segments objects", SAM);
        }
        if any(&["position_net."]) {
            return found("GLIGEN's adapters", GLIGEN);
        }
        if any(&["connector.", "perceiver_blocks.", "time_aware_linear."]) {
            return found("an ELLA", ELLA);
        }
        if any(&["encoder.block.", "shared.weight"]) {
            return found("a T5", T5);
        }
        if any(&["vision_model.", "visual."]) {
            return found("a CLIP, which compares pictures with texts", DETECTOR);
        }
        if any(&["input_blocks.", "down_blocks.", "unet."]) {
            return found("a UNet alone", UNET_INTO_FOLDER);
        }
        if any(&["first_stage_model.", "decoder.conv_in.", "decoder.up.", "encoder.conv_in.", "post_quant_conv."]) {
            return found("a VAE alone", PUT_INTO_FOLDER);
        }
        if any(&["text_model.", "cond_stage_model.", "transformer.resblocks.", "transformer.text_model."]) {
            return found("a text encoder alone", PUT_INTO_FOLDER);
        }
        if any(&["enc.blk."]) {
            return found("a T5 in llama.cpp's form", TAKE_SAFETENSORS);
        }
        if any(&["model.layers.", "model.embed_tokens.", "blk.", "token_embd."]) {
            return found("a language model", LANGUAGE_MODEL);
        }
        if any(&["conv_first.", "model.0.weight", "params_ema.", "body.0.rdb1."]) {
            return found("an upscaler", TAKE_ANOTHER);
        }
        // Textual inversions: one or two vectors, or matrices of a few.
        let is_vector = |name: &String| weights.shape(name).is_some_and(|shape| (1..=2).contains(&shape.len()));
        let is_embedding = any(&["emb_params", "string_to_param."])
            || (1..=MOST_EMBEDDINGS).contains(&names.0.len())
                && names.0.iter().all(|name| !name.contains('.') && is_vector(name));
        if is_embedding { found("a textual inversion, a word learned for a model", SAVE_EMBEDDING) } else { None }
    }

    /// What a folder without a `model_index.json` holds, by its `config.json` and the names of its files.
    pub(crate) fn of_folder(config: Option<&Value>, names: &[String]) -> Option<Self> {
        let found = |found: &str, remedy| Some(Self::new(found, remedy));
        let has = |wanted: &str| names.iter().any(|name| name == wanted || name.starts_with(&format!("{wanted}.")));
        if has("adapter_config.json") || has("pytorch_lora_weights") {
            return found("a LoRA, which changes a checkpoint and is none itself", FUSE_LORA);
        }
        if has("learned_embeds") {
            return found("a textual inversion, a word learned for a model", SAVE_EMBEDDING);
        }
        let text = |key: &str| config.and_then(|config| config.get(key)).and_then(Value::as_str).unwrap_or_default();
        match (text("_class_name"), text("model_type")) {
            (class, _) if class.contains("ControlNet") => found("a ControlNet", BASE_ALONE),
            ("T2IAdapter" | "MultiAdapter", _) => found("an adapter for pictures as prompts", BASE_ALONE),
            (class, _) if class.starts_with("UNet") => found("a UNet alone", PUT_INTO_FOLDER),
            (class, _) if class.starts_with("Autoencoder") => found("a VAE alone", PUT_INTO_FOLDER),
            (class, _) if class.contains("Transformer") => found(&format!("a {class}"), TAKE_ANOTHER),
            (_, "clip_text_model") => found("a text encoder alone", PUT_INTO_FOLDER),
            (_, "clip") => found("a CLIP, which compares pictures with texts", DETECTOR),
            (_, "t5") => found("a T5", T5),
            (_, "sam") => found("a SAM, which segments objects", SAM),
            (_, "owlvit" | "owlv2") => found("a detector", DETECTOR),
            (_, "") => None,
            (_, kind) => Some(Self::new(format!("a model of the type `{kind}`"), TAKE_ANOTHER)),
        }
    }

    /// What a pipeline's class is, if it is not Stable Diffusion 1 or 2.
    pub(crate) fn of_pipeline(class: &str) -> Option<Self> {
        let named = |name: &str| Some(Self::new(format!("{name} (a {class})"), TAKE_ANOTHER));
        match class {
            "" => None,
            _ if class.starts_with("StableDiffusionXL") => named("Stable Diffusion XL"),
            _ if class.starts_with("StableDiffusion3") => named("Stable Diffusion 3"),
            _ if class.starts_with("StableCascade") => named("Stable Cascade"),
            _ if class.starts_with("Flux") => Some(Self::new(format!("a {class}"), TAKE_ANOTHER)),
            _ => None,
        }
    }
}

/// What the UNet of a single file is made of.
const UNET_PARTS: [&str; 5] = ["input_blocks", "middle_block", "output_blocks", "out", "time_embed"];
/// The most tensors that a textual inversion has.
const MOST_EMBEDDINGS: usize = 4;

/// Names of tensors, sorted.
struct Names(BTreeSet<String>);

impl Names {
    /// Whether one of them begins so.
    fn begin(&self, prefix: &str) -> bool {
        self.0.range(prefix.to_owned()..).next().is_some_and(|name| name.starts_with(prefix))
    }

    /// Whether one of them has one of these parts.
    fn contain(&self, parts: &[&str]) -> bool {
        self.0.iter().any(|name| parts.iter().any(|part| name.contains(part)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor};
    use serde_json::json;

    use super::*;

    fn of(names: &[&str], shape: &[usize]) -> Option<String> {
        let tensor = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let tensors: HashMap<String, Tensor> = names.iter().map(|name| ((*name).to_owned(), tensor.clone())).collect();
        OtherModel::of_tensors(&Weights::from_tensors("x", tensors)).map(|kind| kind.found)
    }

    #[test]
    fn models_are_told_by_their_tensors() {
        for (name, found) in [
            ("conditioner.embedders.0.transformer.x", "Stable Diffusion XL"),
            ("model.diffusion_model.label_emb.0.0.weight", "Stable Diffusion XL"),
            (
                "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",
                "Stable Diffusion 3, or a model built as it is",
            ),
            ("transformer_blocks.0.attn.add_k_proj.weight", "Stable Diffusion 3, or a model built as it is"),
            ("double_blocks.0.img_attn.qkv.weight", "Flux, or a model built as it is"),
            ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "Flux, or a model built as it is"),
            ("single_transformer_blocks.3.attn.to_q.weight", "Flux, or a model built as it is"),
            ("model.diffusion_model.blocks.0.cross_attn.k.weight", "another kind of diffusion model"),
            ("lora_unet_down_blocks_0.lora_up.weight", "a LoRA, which changes a checkpoint and is none itself"),
            ("unet.down_blocks.0.attn1.to_q.lora_A.weight", "a LoRA, which changes a checkpoint and is none itself"),
            (
                "down_blocks.0.attn1.processor.to_q_lora.down.weight",
                "a LoRA, which changes a checkpoint and is none itself",
            ),
            ("lora_te_x.hada_w1_a", "a LoRA, which changes a checkpoint and is none itself"),
            ("control_model.input_blocks.0.0.weight", "a ControlNet"),
            ("controlnet_cond_embedding.conv_in.weight", "a ControlNet"),
            ("decoder.conv_in.weight", "a VAE alone"),
            ("first_stage_model.decoder.conv_in.weight", "a VAE alone"),
            ("down_blocks.0.resnets.0.conv1.weight", "a UNet alone"),
            ("text_model.encoder.layers.0.mlp.fc1.weight", "a text encoder alone"),
            ("encoder.block.0.layer.0.SelfAttention.q.weight", "a T5"),
            ("owlvit.text_model.final_layer_norm.weight", "a detector"),
            ("mask_decoder.iou_token.weight", "a SAM, which segments objects"),
            ("model.layers.0.self_attn.q_proj.weight", "a language model"),
            ("blk.0.attn_q.weight", "a language model"),
            ("enc.blk.0.attn_q.weight", "a T5 in llama.cpp's form"),
        ] {
            assert_eq!(of(&[name], &[1, 1]).as_deref(), Some(found), "{name}");
        }
        assert_eq!(of(&["model.diffusion_model.input_blocks.0.0.weight"], &[1]), None);
        assert_eq!(of(&["layer.0.weight"], &[1, 1]), None);
    }

    #[test]
    fn learned_words_are_a_few_vectors() {
        let word = "a textual inversion, a word learned for a model";
        for (names, shape) in [
            (&["<cat-toy>"][..], &[768][..]),
            (&["emb_params"], &[4, 1024]),
            (&["string_to_param.*"], &[2, 768]),
            (&["clip_g", "clip_l"], &[3, 768]),
        ] {
            assert_eq!(of(names, shape).as_deref(), Some(word), "{names:?}");
        }
        assert_eq!(of(&["weight"], &[3, 3, 3, 3]), None);
        assert_eq!(of(&["a", "b", "c", "d", "e"], &[3]), None);
    }

    #[test]
    fn folders_are_told_by_their_configuration_and_files() {
        let folder = |config: Value, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            OtherModel::of_folder(Some(&config), &names).map(|kind| kind.found)
        };
        assert_eq!(folder(json!({"_class_name": "AutoencoderKL"}), &[]).as_deref(), Some("a VAE alone"));
        assert_eq!(folder(json!({"_class_name": "ControlNetModel"}), &[]).as_deref(), Some("a ControlNet"));
        assert_eq!(
            folder(json!({"_class_name": "FluxTransformer2DModel"}), &[]).as_deref(),
            Some("a FluxTransformer2DModel")
        );
        assert_eq!(folder(json!({"model_type": "llama"}), &[]).as_deref(), Some("a model of the type `llama`"));
        assert!(folder(json!({}), &["pytorch_lora_weights.safetensors"]).unwrap().starts_with("a LoRA"));
        assert!(folder(json!({}), &["learned_embeds.bin"]).unwrap().starts_with("a textual inversion"));
        assert_eq!(folder(json!({}), &["x.safetensors"]), None);
    }
}
