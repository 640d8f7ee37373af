//! Single-file checkpoints: from the names of the original training code (LDM) to those of diffusers and transformers.
//!
//! A file holds the UNet under `model.diffusion_model.`, the VAE under `first_stage_model.` and the text encoder under
//! `cond_stage_model.`. Blocks are numbered through; where one ends and the next begins follows from the down- and upsamplers,
//! so any number of blocks and layers is understood. [`config`](self::config) reads the configuration off the shapes.

pub(crate) mod config;

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::kinds::OtherModel;
use crate::weights::Transform;
use crate::{Error, Result, Weights};

const UNET: &str = "model.diffusion_model";
const VAE: &str = "first_stage_model";
/// The text encoder of Stable Diffusion 1, in transformers' names.
const CLIP: &str = "cond_stage_model.transformer";
/// The text encoder of Stable Diffusion 2, in OpenCLIP's names.
const OPEN_CLIP: &str = "cond_stage_model.model";
/// Before the tensor that OpenCLIP's text encoder has in stable-diffusion.cpp's names and that of Stable Diffusion 1 has not.
const FUSED: &str = "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.in_proj";

/// The three networks of a single file under the names that the models use.
pub(crate) struct LdmParts {
    pub(crate) unet: Weights,
    pub(crate) vae: Weights,
    pub(crate) text_encoder: Weights,
    pub(crate) is_open_clip: bool,
}

/// Splits a single file into its networks.
///
/// # Errors
/// If it is a kind of file that we do not run, or a part is missing.
pub(crate) fn split(file: &Weights) -> Result<LdmParts> {
    refuse_other_kinds(file)?;
    let text_encoder = match () {
        () if file.contains_prefix(OPEN_CLIP) => open_clip(&file.pp(OPEN_CLIP)),
        () if file.contains_prefix(FUSED) => fused_open_clip(&file.pp(CLIP)),
        () => clip(&file.pp(CLIP)),
    };
    let is_open_clip = file.contains_prefix(OPEN_CLIP) || file.contains_prefix(FUSED);
    Ok(LdmParts { unet: unet(&file.pp(UNET)), vae: vae(&file.pp(VAE)), text_encoder, is_open_clip })
}

fn refuse_other_kinds(file: &Weights) -> Result<()> {
    if let Some(kind) = OtherModel::of_tensors(file) {
        return Err(kind.refusal(file.origin()));
    }
    let names: BTreeSet<String> = file.names().into_iter().collect();
    let holds = |prefix: &str| names.range(prefix.to_owned()..).next().is_some_and(|name| name.starts_with(prefix));
    let missing = [(UNET, "UNet"), (VAE, "VAE"), ("cond_stage_model", "text encoder")]
        .into_iter()
        .filter(|(prefix, _)| !holds(&format!("{prefix}.")))
        .map(|(prefix, part)| format!("no {part} (`{prefix}.…`)"))
        .collect::<Vec<_>>();
    if !missing.is_empty() {
        let first =
            names.first().map_or_else(|| "and no tensor at all".into(), |name| format!("its first tensor is `{name}`"));
        let whole = match missing.len() {
            2 if holds(UNET) => "; a UNet alone belongs into the `unet/` of a whole model's folder",
            _ => "",
        };
        let problem = format!("it has {}; {first}{whole}", missing.join(", "));
        return Err(Error::NotACheckpoint { origin: file.origin().to_owned(), problem });
    }
    Ok(())
}

/// Renames by a function of the name alone.
fn renamed(weights: &Weights, rename: impl Fn(&str) -> Option<String>) -> Weights {
    weights.renamed(|name, _| rename(name).map(|name| (name, Transform::AsIs)).into_iter().collect())
}

// ---- UNet ----

/// What the numbered blocks of a UNet are.
struct UNetBlocks {
    inputs: BTreeMap<usize, Input>,
    outputs: BTreeMap<usize, Layer>,
}

enum Input {
    ConvIn,
    Layer(Layer),
    Downsampler { block: usize },
}

#[derive(Clone, Copy)]
struct Layer {
    block: usize,
    layer: usize,
}

/// A UNet in diffusers' names, whose file may have those of LDM, with or without its prefix: GGUF files do.
pub(crate) fn modern_unet(weights: &Weights) -> Weights {
    match () {
        () if weights.contains_prefix(UNET) => unet(&weights.pp(UNET)),
        () if weights.contains_prefix("input_blocks") => unet(weights),
        () => weights.clone(),
    }
}

fn unet(weights: &Weights) -> Weights {
    let blocks = UNetBlocks::find(weights);
    renamed(weights, |name| blocks.rename(name))
}

impl UNetBlocks {
    fn find(weights: &Weights) -> Self {
        let mut inputs = BTreeMap::new();
        let mut at = Layer { block: 0, layer: 0 };
        for i in (0..).take_while(|i| weights.contains_prefix(&format!("input_blocks.{i}"))) {
            let input = if weights.contains(&format!("input_blocks.{i}.0.op.weight")) {
                let ended = at.block;
                at = Layer { block: ended + 1, layer: 0 };
                Input::Downsampler { block: ended }
            } else if weights.contains(&format!("input_blocks.{i}.0.in_layers.0.weight")) {
                let here = at;
                at.layer += 1;
                Input::Layer(here)
            } else {
                Input::ConvIn
            };
            inputs.insert(i, input);
        }

        let mut outputs = BTreeMap::new();
        let mut at = Layer { block: 0, layer: 0 };
        for i in (0..).take_while(|i| weights.contains_prefix(&format!("output_blocks.{i}"))) {
            outputs.insert(i, at);
            let has_upsampler = (1..=2).any(|j| weights.contains(&format!("output_blocks.{i}.{j}.conv.weight")));
            at = if has_upsampler {
                Layer { block: at.block + 1, layer: 0 }
            } else {
                Layer { layer: at.layer + 1, ..at }
            };
        }
        Self { inputs, outputs }
    }

    fn rename(&self, name: &str) -> Option<String> {
        let (group, rest) = name.split_once('.')?;
        match group {
            "time_embed" => {
                let (index, rest) = numbered(rest)?;
                Some(format!("time_embedding.linear_{}.{rest}", index / 2 + 1))
            }
            "input_blocks" => self.rename_input(rest),
            "middle_block" => {
                let (index, rest) = numbered(rest)?;
                match index {
                    1 => Some(format!("mid_block.attentions.0.{rest}")),
                    _ => Some(format!("mid_block.resnets.{}.{}", index / 2, resnet(rest)?)),
                }
            }
            "output_blocks" => self.rename_output(rest),
            "out" => match numbered(rest)? {
                (0, rest) => Some(format!("conv_norm_out.{rest}")),
                (_, rest) => Some(format!("conv_out.{rest}")),
            },
            // GLIGEN's network has the same name in both.
            "position_net" => Some(name.to_owned()),
            _ => None,
        }
    }

    fn rename_input(&self, rest: &str) -> Option<String> {
        let (index, rest) = numbered(rest)?;
        let (part, rest) = numbered(rest)?;
        match (self.inputs.get(&index)?, part) {
            (Input::ConvIn, _) => Some(format!("conv_in.{rest}")),
            (Input::Downsampler { block }, _) => {
                Some(format!("down_blocks.{block}.downsamplers.0.conv.{}", rest.strip_prefix("op.")?))
            }
            (Input::Layer(Layer { block, layer }), 0) => {
                Some(format!("down_blocks.{block}.resnets.{layer}.{}", resnet(rest)?))
            }
            (Input::Layer(Layer { block, layer }), _) => Some(format!("down_blocks.{block}.attentions.{layer}.{rest}")),
        }
    }

    fn rename_output(&self, rest: &str) -> Option<String> {
        let (index, rest) = numbered(rest)?;
        let (part, rest) = numbered(rest)?;
        let Layer { block, layer } = self.outputs.get(&index)?;
        match (part, rest.strip_prefix("conv.")) {
            (0, _) => Some(format!("up_blocks.{block}.resnets.{layer}.{}", resnet(rest)?)),
            (_, Some(rest)) => Some(format!("up_blocks.{block}.upsamplers.0.conv.{rest}")),
            (_, None) => Some(format!("up_blocks.{block}.attentions.{layer}.{rest}")),
        }
    }
}

fn resnet(rest: &str) -> Option<String> {
    const NAMES: [(&str, &str); 6] = [
        ("in_layers.0", "norm1"),
        ("in_layers.2", "conv1"),
        ("emb_layers.1", "time_emb_proj"),
        ("out_layers.0", "norm2"),
        ("out_layers.3", "conv2"),
        ("skip_connection", "conv_shortcut"),
    ];
    replace_first(rest, &NAMES)
}

// ---- VAE ----

fn vae(weights: &Weights) -> Weights {
    let levels = (0..).take_while(|i| weights.contains_prefix(&format!("decoder.up.{i}"))).count();
    renamed(weights, |name| vae_name(name, levels))
}

fn vae_name(name: &str, levels: usize) -> Option<String> {
    let (half, rest) = name.split_once('.')?;
    if matches!(half, "quant_conv" | "post_quant_conv") {
        return Some(name.to_owned());
    }
    let inner = match (half, rest.split_once('.')?) {
        ("encoder" | "decoder", ("mid", rest)) => vae_mid(rest)?,
        ("encoder", ("down", rest)) => {
            let (level, rest) = numbered(rest)?;
            format!("down_blocks.{level}.{}", vae_level(rest)?)
        }
        ("decoder", ("up", rest)) => {
            let (level, rest) = numbered(rest)?;
            // The original counts from the finest level, diffusers in the order of use.
            format!("up_blocks.{}.{}", levels.checked_sub(level + 1)?, vae_level(rest)?)
        }
        ("encoder" | "decoder", ("norm_out", rest)) => format!("conv_norm_out.{rest}"),
        ("encoder" | "decoder", ("conv_in" | "conv_out", _)) => rest.to_owned(),
        _ => return None,
    };
    Some(format!("{half}.{inner}"))
}

fn vae_level(rest: &str) -> Option<String> {
    let (kind, rest) = rest.split_once('.')?;
    match kind {
        "block" => {
            let (layer, rest) = numbered(rest)?;
            Some(format!("resnets.{layer}.{}", vae_resnet(rest)))
        }
        "downsample" => Some(format!("downsamplers.0.{rest}")),
        "upsample" => Some(format!("upsamplers.0.{rest}")),
        _ => None,
    }
}

fn vae_mid(rest: &str) -> Option<String> {
    const ATTENTION: [(&str, &str); 5] =
        [("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];
    match rest.split_once('.')? {
        ("block_1", rest) => Some(format!("mid_block.resnets.0.{}", vae_resnet(rest))),
        ("block_2", rest) => Some(format!("mid_block.resnets.1.{}", vae_resnet(rest))),
        ("attn_1", rest) => Some(format!("mid_block.attentions.0.{}", replace_first(rest, &ATTENTION)?)),
        _ => None,
    }
}

fn vae_resnet(rest: &str) -> String {
    replace_first(rest, &[("nin_shortcut", "conv_shortcut")]).unwrap_or_else(|| rest.to_owned())
}

/// A VAE in diffusers' names, whose attention may still have the names of its first years.
pub(crate) fn modern_vae(weights: &Weights) -> Weights {
    const OLD: [(&str, &str); 4] = [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];
    renamed(weights, |name| {
        let Some((block, rest)) = name.split_once(".attentions.0.") else {
            return Some(name.to_owned());
        };
        let rest = replace_first(rest, &OLD).unwrap_or_else(|| rest.to_owned());
        Some(format!("{block}.attentions.0.{rest}"))
    })
}

// ---- text encoders ----

/// A CLIP text encoder in transformers' names, whose `text_model.` may have been left out.
pub(crate) fn clip(weights: &Weights) -> Weights {
    renamed(weights, |name| match name.split_once('.')? {
        ("text_model" | "text_projection", _) => Some(name.to_owned()),
        _ => Some(format!("text_model.{name}")),
    })
}

/// An OpenCLIP text encoder. Its last block is left out: Stable Diffusion 2 reads the output of the one before.
fn open_clip(weights: &Weights) -> Weights {
    let num_layers = (0..).take_while(|i| weights.contains_prefix(&format!("transformer.resblocks.{i}"))).count();
    weights.renamed(|name, shape| open_clip_names(name, shape, num_layers.saturating_sub(1)))
}

fn open_clip_names(name: &str, shape: &[usize], kept_layers: usize) -> Vec<(String, Transform)> {
    const TOP: [(&str, &str); 3] = [
        ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        ("token_embedding", "text_model.embeddings.token_embedding"),
        ("ln_final", "text_model.final_layer_norm"),
    ];
    const LAYER: [(&str, &str); 5] = [
        ("ln_1", "layer_norm1"),
        ("ln_2", "layer_norm2"),
        ("attn.out_proj", "self_attn.out_proj"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
    ];
    if name == "text_projection" {
        return vec![("text_projection.weight".into(), Transform::Transpose)];
    }
    let Some((layer, rest)) = name.strip_prefix("transformer.resblocks.").and_then(numbered) else {
        return replace_first(name, &TOP).map(|name| (name, Transform::AsIs)).into_iter().collect();
    };
    if layer >= kept_layers {
        return Vec::new();
    }
    let prefix = format!("text_model.encoder.layers.{layer}");
    match rest.strip_prefix("attn.in_proj_") {
        Some(kind) if shape.first().is_some_and(|rows| rows.is_multiple_of(3)) => projections(&prefix, kind),
        _ => {
            replace_first(rest, &LAYER).map(|rest| (format!("{prefix}.{rest}"), Transform::AsIs)).into_iter().collect()
        }
    }
}

/// An OpenCLIP text encoder in the names that stable-diffusion.cpp gives it: transformers', but for the fused projections.
fn fused_open_clip(weights: &Weights) -> Weights {
    const LAYERS: &str = "text_model.encoder.layers";
    let num_layers = (0..).take_while(|i| weights.contains_prefix(&format!("{LAYERS}.{i}"))).count();
    weights.renamed(|name, _| {
        let layer = name.strip_prefix(LAYERS).and_then(|name| name.strip_prefix('.')).and_then(numbered);
        let Some((layer, rest)) = layer else {
            // The projection of pooled states is not read.
            let is_kept = name != "text_model.text_projection";
            return is_kept.then(|| (name.to_owned(), Transform::AsIs)).into_iter().collect();
        };
        match rest.strip_prefix("self_attn.in_proj.") {
            _ if layer + 1 >= num_layers => Vec::new(),
            Some(kind) => projections(&format!("{LAYERS}.{layer}"), kind),
            None => vec![(name.to_owned(), Transform::AsIs)],
        }
    })
}

/// The three projections that a fused one is, in this order.
fn projections(layer: &str, kind: &str) -> Vec<(String, Transform)> {
    let part = |(index, part)| (format!("{layer}.self_attn.{part}.{kind}"), Transform::Part { index, count: 3 });
    ["q_proj", "k_proj", "v_proj"].into_iter().enumerate().map(part).collect()
}

// ---- names ----

/// `12.rest` as 12 and `rest`.
fn numbered(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// Replaces the first whole components of a name, if they are in the table.
fn replace_first(name: &str, table: &[(&str, &str)]) -> Option<String> {
    table.iter().find_map(|(from, to)| {
        let rest = name.strip_prefix(from)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{to}{rest}"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor};

    use super::*;

    #[test]
    fn grounding_adapters_keep_their_names_below_their_blocks() {
        let names = [
            "input_blocks.0.0.weight",
            "input_blocks.1.0.in_layers.0.weight",
            "input_blocks.1.1.transformer_blocks.0.fuser.alpha_attn",
            "input_blocks.2.0.op.weight",
            "middle_block.1.transformer_blocks.0.fuser.attn.to_out.0.bias",
            "output_blocks.0.0.in_layers.0.weight",
            "output_blocks.0.1.conv.weight",
            "output_blocks.1.1.transformer_blocks.0.fuser.ff.net.0.proj.weight",
            "position_net.linears.0.weight",
        ];
        let scalar = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
        let tensors: HashMap<String, Tensor> = names.iter().map(|name| ((*name).to_owned(), scalar.clone())).collect();
        let renamed = unet(&Weights::from_tensors("gligen", tensors));
        for name in [
            "down_blocks.0.attentions.0.transformer_blocks.0.fuser.alpha_attn",
            "mid_block.attentions.0.transformer_blocks.0.fuser.attn.to_out.0.bias",
            "up_blocks.1.attentions.0.transformer_blocks.0.fuser.ff.net.0.proj.weight",
            "position_net.linears.0.weight",
        ] {
            assert!(renamed.contains(name), "{name} is not among {:?}", renamed.names());
        }
    }

    #[test]
    fn vae_names_follow_diffusers() {
        let check = |ldm: &str, diffusers: &str| assert_eq!(vae_name(ldm, 4).as_deref(), Some(diffusers), "{ldm}");
        check("encoder.down.1.block.0.nin_shortcut.bias", "encoder.down_blocks.1.resnets.0.conv_shortcut.bias");
        check("encoder.down.2.downsample.conv.weight", "encoder.down_blocks.2.downsamplers.0.conv.weight");
        check("decoder.up.3.block.2.conv1.weight", "decoder.up_blocks.0.resnets.2.conv1.weight");
        check("decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight");
        check("decoder.mid.attn_1.proj_out.bias", "decoder.mid_block.attentions.0.to_out.0.bias");
        check("decoder.mid.attn_1.norm.weight", "decoder.mid_block.attentions.0.group_norm.weight");
        check("encoder.mid.block_2.norm1.weight", "encoder.mid_block.resnets.1.norm1.weight");
        check("encoder.norm_out.weight", "encoder.conv_norm_out.weight");
        check("decoder.conv_in.bias", "decoder.conv_in.bias");
        check("post_quant_conv.weight", "post_quant_conv.weight");
        assert_eq!(vae_name("loss.logvar", 4), None);
        assert_eq!(vae_name("decoder.up.9.block.0.conv1.weight", 4), None, "a level that does not exist");
    }

    #[test]
    fn open_clip_names_follow_transformers() {
        let check = |name: &str, expected: &str| {
            assert_eq!(open_clip_names(name, &[6], 2), [(expected.to_owned(), Transform::AsIs)], "{name}");
        };
        check("token_embedding.weight", "text_model.embeddings.token_embedding.weight");
        check("positional_embedding", "text_model.embeddings.position_embedding.weight");
        check("ln_final.bias", "text_model.final_layer_norm.bias");
        check("transformer.resblocks.1.mlp.c_proj.weight", "text_model.encoder.layers.1.mlp.fc2.weight");
        check("transformer.resblocks.0.attn.out_proj.bias", "text_model.encoder.layers.0.self_attn.out_proj.bias");
        assert_eq!(open_clip_names("transformer.resblocks.2.ln_1.bias", &[6], 2), [], "the last block is not used");
        let parts = open_clip_names("transformer.resblocks.0.attn.in_proj_bias", &[6], 2);
        assert_eq!(
            parts[1],
            ("text_model.encoder.layers.0.self_attn.k_proj.bias".into(), Transform::Part { index: 1, count: 3 })
        );
    }
}
