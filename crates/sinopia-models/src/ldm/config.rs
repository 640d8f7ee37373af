//! Configurations of networks that come without one, read off the shapes of their tensors.
//!
//! Shapes say how many blocks there are, how wide, and which attend to the text. They do not say how many heads share a width
//! or how many channels are normalised together; those follow the rules of the Stable Diffusion family.

use serde_json::{Value, json};

use crate::{Error, Result, Weights};

/// Head width of all attention in Stable Diffusion 2, and of both CLIP text encoders.
const HEAD_WIDTH: usize = 64;
/// Heads in every block of Stable Diffusion 1, whatever the width.
const SD1_HEADS: usize = 8;
/// Channels are normalised in this many groups.
const NORM_GROUPS: usize = 32;

/// The configuration of a UNet in diffusers' names.
pub(crate) fn unet(weights: &Weights) -> Result<Value> {
    let down_blocks = count(weights, |i| format!("down_blocks.{i}"));
    let mut block_out_channels = Vec::new();
    for i in 0..down_blocks {
        block_out_channels.push(dim(weights, &format!("down_blocks.{i}.resnets.0.conv2.weight"), 0)?);
    }
    let cross_attention = weights
        .names()
        .into_iter()
        .find(|name| name.ends_with("attn2.to_k.weight"))
        .ok_or_else(|| missing(weights, "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"))?;
    let mid_attention = "mid_block.attentions.0";
    let use_linear_projection =
        weights.shape(&format!("{mid_attention}.proj_in.weight")).is_some_and(|shape| shape.len() == 2);
    let heads: Vec<usize> = block_out_channels
        .iter()
        .map(|channels| if use_linear_projection { (channels / HEAD_WIDTH).max(1) } else { SD1_HEADS })
        .collect();
    let kind = |side: &str, class: &str, i: usize| {
        let attends = weights.contains_prefix(&format!("{side}_blocks.{i}.attentions"));
        if attends { format!("CrossAttn{class}") } else { class.to_owned() }
    };
    Ok(json!({
        "_class_name": "UNet2DConditionModel",
        "in_channels": dim(weights, "conv_in.weight", 1)?,
        "out_channels": dim(weights, "conv_out.weight", 0)?,
        "block_out_channels": block_out_channels,
        "down_block_types": (0..down_blocks).map(|i| kind("down", "DownBlock2D", i)).collect::<Vec<_>>(),
        "up_block_types": (0..down_blocks).map(|i| kind("up", "UpBlock2D", i)).collect::<Vec<_>>(),
        "layers_per_block": count(weights, |layer| format!("down_blocks.0.resnets.{layer}")),
        "transformer_layers_per_block": count(weights, |layer| format!("{mid_attention}.transformer_blocks.{layer}")).max(1),
        "cross_attention_dim": dim(weights, &cross_attention, 1)?,
        "attention_head_dim": heads,
        "use_linear_projection": use_linear_projection,
        "norm_num_groups": groups(&block_out_channels),
    }))
}

/// The configuration of an autoencoder in diffusers' names.
pub(crate) fn vae(weights: &Weights) -> Result<Value> {
    let levels = count(weights, |i| format!("encoder.down_blocks.{i}"));
    let mut block_out_channels = Vec::new();
    for i in 0..levels {
        block_out_channels.push(dim(weights, &format!("encoder.down_blocks.{i}.resnets.0.conv2.weight"), 0)?);
    }
    Ok(json!({
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": dim(weights, "decoder.conv_in.weight", 1)?,
        "block_out_channels": block_out_channels,
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
        "layers_per_block": count(weights, |layer| format!("encoder.down_blocks.0.resnets.{layer}")),
        "norm_num_groups": groups(&block_out_channels),
        "scaling_factor": 0.18215,
    }))
}

/// The configuration of a CLIP text encoder in transformers' names.
pub(crate) fn text_encoder(weights: &Weights, is_open_clip: bool) -> Result<Value> {
    const TOKENS: &str = "text_model.embeddings.token_embedding.weight";
    let hidden_size = dim(weights, TOKENS, 1)?;
    let vocab_size = dim(weights, TOKENS, 0)?;
    let projection_dim = weights.shape("text_projection.weight").and_then(|shape| shape.first().copied());
    Ok(json!({
        "architectures": ["CLIPTextModel"],
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": dim(weights, "text_model.encoder.layers.0.mlp.fc1.weight", 0)?,
        "num_hidden_layers": count(weights, |layer| format!("text_model.encoder.layers.{layer}")),
        "num_attention_heads": (hidden_size / HEAD_WIDTH).max(1),
        "max_position_embeddings": dim(weights, "text_model.embeddings.position_embedding.weight", 0)?,
        "hidden_act": if is_open_clip { "gelu" } else { "quick_gelu" },
        "layer_norm_eps": 1e-5,
        "projection_dim": projection_dim.unwrap_or(hidden_size),
        "bos_token_id": vocab_size.saturating_sub(2),
        "eos_token_id": vocab_size.saturating_sub(1),
    }))
}

/// The scheduler that a single file does not name: the one it was published with.
pub(crate) fn scheduler(prediction_type: &str) -> Value {
    json!({
        "_class_name": if prediction_type == "epsilon" { "PNDMScheduler" } else { "DDIMScheduler" },
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": false,
        "set_alpha_to_one": false,
        "skip_prk_steps": true,
        "steps_offset": 1,
        "prediction_type": prediction_type,
    })
}

fn count(weights: &Weights, prefix: impl Fn(usize) -> String) -> usize {
    (0..).take_while(|i| weights.contains_prefix(&prefix(*i))).count()
}

fn dim(weights: &Weights, name: &str, axis: usize) -> Result<usize> {
    weights.shape(name).and_then(|shape| shape.get(axis).copied()).ok_or_else(|| missing(weights, name))
}

fn missing(weights: &Weights, name: &str) -> Error {
    Error::MissingTensor { file: weights.origin().to_owned(), tensor: weights.full_name(name), near: None }
}

/// 32 groups, or for narrow networks the largest power of two below that divides every width.
fn groups(widths: &[usize]) -> usize {
    std::iter::successors(Some(NORM_GROUPS), |groups| Some(groups / 2))
        .find(|groups| *groups <= 1 || widths.iter().all(|width| width.is_multiple_of(*groups)))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::groups;

    #[test]
    fn narrow_networks_have_fewer_groups() {
        assert_eq!(groups(&[320, 640]), 32);
        assert_eq!(groups(&[16, 48]), 16);
        assert_eq!(groups(&[7]), 1);
    }
}
