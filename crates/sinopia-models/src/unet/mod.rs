//! The network that predicts the noise: Stable Diffusion's `UNet2DConditionModel`, built from its `config.json`.
//!
//! A UNet is a list of units, each with one input from the unit before it and perhaps a second one from a stack of
//! skip connections; [`forward`](UNet2DConditionModel::forward) walks that list and
//! [`gradient`](UNet2DConditionModel::gradient) walks it forth and back. Start reading at [`DenoiserRequest`].
//!
//! Activations are (B, H, W, C) f32.

mod blocks;
mod conditions;
mod config;
mod cost;
mod eraser;
mod forward;
mod fuser;
mod gradient;
mod grounding;
mod key;
mod model;
mod per_layer;
mod request;
mod start;
#[cfg(test)]
mod start_tests;
#[cfg(test)]
mod tests;
mod time;
mod transformer;
mod transformer_parts;
mod unit;

pub use config::{PerBlock, UNetConfig};
pub use cost::{CallPart, CallShape, GroundingShape, NetworkCost, NetworkPart};
pub use eraser::Eraser;
pub use gradient::TRACE_BYTES;
pub use grounding::{Grounding, GroundingWiring};
pub use key::AttnKey;
pub use model::UNet2DConditionModel;
pub(crate) use model::holds_adapters;
pub use request::{
    AddedConditioning, AttnMaps, BatchPart, DenoiserReply, DenoiserRequest, Recording, TextConditioning, TokenColumns,
};
pub use start::{Parting, SharedStart};
