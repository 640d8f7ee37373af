//! What the detector reads off a patch: how well each query fits it, and where the thing it belongs to stands.

use candle_core::{D, Device, Tensor};
use sinopia_nn::{Linear, activation};

use super::config::OwlVitConfig;
use crate::layers::linear;
use crate::{Result, Weights};

/// Added to lengths that are divided by.
const NORM_EPS: f64 = 1e-6;
/// Keeps the biases of boxes at the edge finite.
const BIAS_EPS: f32 = 1e-4;

/// Fit of queries to patches.
#[derive(Debug, Clone)]
pub(super) struct ClassHead {
    dense0: Linear,
    logit_shift: Linear,
    logit_scale: Linear,
}

/// What the class head knows of patches before it knows the queries.
#[derive(Debug, Clone)]
pub(super) struct PatchClasses {
    /// (B, N, D), of length 1
    embeds: Tensor,
    /// (B, N, 1)
    shift: Tensor,
    /// (B, N, 1), above 0
    scale: Tensor,
}

impl ClassHead {
    pub(super) fn load(config: &OwlVitConfig, weights: &Weights) -> Result<Self> {
        let width = config.vision_config.hidden_size;
        let part = |name: &str, out| linear(&weights.pp("class_head").pp(name), width, out);
        Ok(Self {
            dense0: part("dense0", config.text_config.hidden_size)?,
            logit_shift: part("logit_shift", 1)?,
            logit_scale: part("logit_scale", 1)?,
        })
    }

    /// Reads patch features (B, N, C).
    pub(super) fn read(&self, features: &Tensor) -> Result<PatchClasses> {
        let scale = self.logit_scale.forward(features)?;
        Ok(PatchClasses {
            embeds: normalised(&self.dense0.forward(features)?)?,
            shift: self.logit_shift.forward(features)?,
            scale: (scale.elu(1.0)? + 1.0)?,
        })
    }
}

impl PatchClasses {
    /// Those of one image, (1, N, …).
    pub(super) fn image(&self, index: usize) -> Result<Self> {
        let one = |x: &Tensor| x.narrow(0, index, 1);
        Ok(Self { embeds: one(&self.embeds)?, shift: one(&self.shift)?, scale: one(&self.scale)? })
    }

    /// Logits (B, N, Q) of queries (Q, D): `(g·q + shift) · (elu(scale) + 1)`, patch g and query q of length 1.
    pub(super) fn logits(&self, queries: &Tensor) -> Result<Tensor> {
        let queries = normalised(queries)?.t()?.contiguous()?; // (D, Q)
        let cosines = self.embeds.broadcast_matmul(&queries)?; // (B, N, Q)
        Ok(cosines.broadcast_add(&self.shift)?.broadcast_mul(&self.scale)?)
    }
}

/// `x / (|x| + ε)` along the last axis.
pub(super) fn normalised(x: &Tensor) -> Result<Tensor> {
    let length = (x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()? + NORM_EPS)?;
    Ok(x.broadcast_div(&length)?)
}

/// Boxes of patches.
#[derive(Debug, Clone)]
pub(super) struct BoxHead {
    layers: [Linear; 3],
    /// (N, 4)
    bias: Tensor,
}

impl BoxHead {
    pub(super) fn load(config: &OwlVitConfig, weights: &Weights) -> Result<Self> {
        let width = config.vision_config.hidden_size;
        let part = |name: &str, out| linear(&weights.pp("box_head").pp(name), width, out);
        Ok(Self {
            layers: [part("dense0", width)?, part("dense1", width)?, part("dense2", 4)?],
            bias: box_bias(config.grid_side(), weights.device())?,
        })
    }

    /// Boxes (B, N, 4) of patch features (B, N, C): centre x, centre y, width, height in proportions of the square image.
    pub(super) fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let hidden = activation::gelu(&self.layers[0].forward(features)?)?;
        let hidden = activation::gelu(&self.layers[1].forward(&hidden)?)?;
        let boxes = self.layers[2].forward(&hidden)?.broadcast_add(&self.bias)?;
        Ok(((boxes.neg()?.exp()? + 1.0)?.recip())?) // the logistic function
    }
}

/// Where boxes start from, (N, 4) before the logistic function: each at its patch's lower right corner, of a patch's size.
///
/// `ln(p + ε) − ln(1 − p + ε)` with p from 1/n to 1 along a side; x varies fastest.
fn box_bias(side: usize, device: &Device) -> Result<Tensor> {
    let logit = |p: f32| (p + BIAS_EPS).ln() - (BIAS_EPS - p).ln_1p();
    let step = |i: usize| i as f32 / side as f32;
    let size = logit(step(1));
    let patch = |row: usize, column: usize| [logit(step(column)), logit(step(row)), size, size];
    let rows = (1..=side).flat_map(|row| (1..=side).flat_map(move |column| patch(row, column)));
    let values: Vec<f32> = rows.collect();
    Ok(Tensor::from_vec(values, (side * side, 4), device)?)
}
