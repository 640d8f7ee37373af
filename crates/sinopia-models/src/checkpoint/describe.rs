//! What a checkpoint holds, in figures that people ask for.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::Checkpoint;
use crate::Weights;
use crate::unet::holds_adapters;

/// Which line of models a checkpoint belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Part of the program: the miniature.
    Embedded,
    /// Stable Diffusion 1.x: text embeddings of width 768.
    StableDiffusion1,
    /// Stable Diffusion 2.x: text embeddings of width 1024.
    StableDiffusion2,
    /// Built of the same blocks in other sizes.
    Custom,
}

impl Family {
    pub(super) fn of(cross_attention_dim: usize) -> Self {
        match cross_attention_dim {
            768 => Self::StableDiffusion1,
            1024 => Self::StableDiffusion2,
            _ => Self::Custom,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Embedded => "miniature",
            Self::StableDiffusion1 => "Stable Diffusion 1.x",
            Self::StableDiffusion2 => "Stable Diffusion 2.x",
            Self::Custom => "custom",
        })
    }
}

/// A checkpoint in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// What the user asked for.
    pub name: String,
    /// The line of models.
    pub family: Family,
    /// The networks.
    pub components: Vec<ComponentSummary>,
    /// The size of all files that are used, in bytes.
    pub bytes: u64,
    /// The scheduler's class.
    pub scheduler: String,
    /// `epsilon` or `v_prediction`.
    pub prediction_type: String,
    /// Width of the text embeddings.
    pub cross_attention_dim: usize,
    /// Whether the UNet has GLIGEN's adapters, so that it can be told what stands where.
    pub has_grounding_adapters: bool,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// The latents' side for which the model was trained, if the configuration says.
    pub latent_size: Option<usize>,
    /// Pixels to a latent cell along each axis.
    pub vae_scale_factor: usize,
    /// The image's side for which the model was trained, if the configuration says.
    pub image_size: Option<usize>,
}

/// A network in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentSummary {
    /// `text_encoder`, `unet` or `vae`.
    pub name: String,
    /// How many numbers its tensors hold.
    pub parameters: u64,
    /// The number formats of its tensors (`F16`), sorted.
    pub formats: Vec<String>,
    /// The file it is read from, or the first of them.
    pub file: String,
}

pub(super) fn describe(checkpoint: &Checkpoint) -> Description {
    let text =
        |key: &str, default: &str| checkpoint.scheduler.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
    let unet = &checkpoint.unet.config;
    let latent_size = unet.sample_size.as_ref().and_then(|size| size.get(0));
    let vae_scale_factor = checkpoint.vae.config.scale_factor();
    Description {
        name: checkpoint.name.clone(),
        family: checkpoint.family,
        components: vec![
            summary("text_encoder", &checkpoint.text_encoder.weights),
            summary("unet", &checkpoint.unet.weights),
            summary("vae", &checkpoint.vae.weights),
        ],
        bytes: checkpoint.used.iter().map(|file| checkpoint.files.size(file)).sum(),
        scheduler: text("_class_name", ""),
        prediction_type: text("prediction_type", "epsilon"),
        cross_attention_dim: unet.cross_attention_dim.get(0).unwrap_or_default(),
        has_grounding_adapters: unet.is_gated() || holds_adapters(&checkpoint.unet.weights),
        latent_channels: checkpoint.vae.config.latent_channels,
        latent_size,
        vae_scale_factor,
        image_size: latent_size.map(|size| size * vae_scale_factor),
    }
}

fn summary(name: &str, weights: &Weights) -> ComponentSummary {
    let formats: BTreeSet<String> = weights.names().iter().filter_map(|name| weights.format(name)).collect();
    ComponentSummary {
        name: name.to_owned(),
        parameters: weights.num_parameters(),
        formats: formats.into_iter().collect(),
        file: weights.origin().to_owned(),
    }
}
