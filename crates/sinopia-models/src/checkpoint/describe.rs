//! What a checkpoint holds, in figures that people ask for.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::contents::Checkpoint;
use super::family::Family;
use crate::Weights;
use crate::unet::holds_adapters;

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
    /// Whether the UNet has GLIGEN's adapters, so that it can be conditioned on boxes.
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

impl Checkpoint {
    /// What is in it, for people.
    pub fn describe(&self) -> Description {
        let text =
            |key: &str, default: &str| self.scheduler.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
        let unet = &self.unet.config;
        let latent_size = unet.sample_size.as_ref().and_then(|size| size.get(0));
        let vae_scale_factor = self.vae.config.scale_factor();
        Description {
            name: self.name.clone(),
            family: self.family,
            components: vec![
                summary("text_encoder", &self.text_encoder.weights),
                summary("unet", &self.unet.weights),
                summary("vae", &self.vae.weights),
            ],
            bytes: self.used.iter().map(|file| self.files.size(file)).sum(),
            scheduler: text("_class_name", ""),
            prediction_type: text("prediction_type", "epsilon"),
            cross_attention_dim: unet.cross_attention_dim.get(0).unwrap_or_default(),
            has_grounding_adapters: unet.is_gated() || holds_adapters(&self.unet.weights),
            latent_channels: self.vae.config.latent_channels,
            latent_size,
            vae_scale_factor,
            image_size: latent_size.map(|size| size * vae_scale_factor),
        }
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
