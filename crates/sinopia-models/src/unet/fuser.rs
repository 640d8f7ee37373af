//! GLIGEN's gated self-attention: pixels attend to each other and to the grounding tokens, behind a gate that was shut before training.

use candle_core::{DType, Tensor};
use sinopia_nn::{LayerNorm, Linear, attention};

use super::grounding::Grounding;
use super::per_layer::{KeyValue, LayerId, next_layer_id};
use super::transformer_parts::{FeedForward, LAYER_NORM_EPS, TransformerOptions};
use crate::layers::{layer_norm, linear, linear_no_bias};
use crate::{Result, Weights};

/// `y = x + tanh(α)·SA(LN₁([x; W·o]))` at the pixels alone, then `y + tanh(β)·FF(LN₂(y))`, between a layer's self-attention and its cross-attention.
///
/// The norm is taken token by token and only pixels ask, so keys and values of the tokens o depend on nothing else: each grounding keeps
/// them for each layer. Empty slots are attended to like others. They could be one token with ln n added to its score, which would save
/// at most 2 % of the adapters' work.
///
/// # Source
/// arXiv 2301.07093; gligen/GLIGEN@f9dccb9:ldm/modules/attention.py.
#[derive(Debug, Clone)]
pub(super) struct Fuser {
    id: LayerId,
    linear: Linear,
    norm1: LayerNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
    /// tanh α
    attn_gate: f64,
    norm2: LayerNorm,
    feed_forward: FeedForward,
    /// tanh β
    dense_gate: f64,
}

impl Fuser {
    pub(super) fn load(weights: &Weights, options: TransformerOptions) -> Result<Self> {
        let TransformerOptions { channels, heads, text_width, .. } = options;
        let attn = weights.pp("attn");
        let gate = |name: &str| -> Result<f64> {
            Ok(f64::from(weights.get(name, &[])?.to_dtype(DType::F32)?.to_scalar::<f32>()?).tanh())
        };
        Ok(Self {
            id: next_layer_id(),
            linear: linear(&weights.pp("linear"), text_width, channels)?,
            norm1: layer_norm(&weights.pp("norm1"), channels, LAYER_NORM_EPS)?,
            to_q: linear_no_bias(&attn.pp("to_q"), channels, channels)?,
            to_k: linear_no_bias(&attn.pp("to_k"), channels, channels)?,
            to_v: linear_no_bias(&attn.pp("to_v"), channels, channels)?,
            to_out: linear(&attn.pp("to_out.0"), channels, channels)?,
            heads,
            attn_gate: gate("alpha_attn")?,
            norm2: layer_norm(&weights.pp("norm2"), channels, LAYER_NORM_EPS)?,
            feed_forward: FeedForward::load(&weights.pp("ff"), channels)?,
            dense_gate: gate("alpha_dense")?,
        })
    }

    /// (B, HW, C) and the grounding's tokens (B, N, D) to (B, HW, C).
    pub(super) fn forward(&self, x: &Tensor, tokens: &Tensor, grounding: &Grounding) -> sinopia_nn::Result<Tensor> {
        let of_tokens = grounding.project(self.id, || {
            let tokens = self.norm1.forward(&self.linear.forward(tokens)?)?; // (B, N, C)
            Ok(KeyValue { key: self.to_k.forward(&tokens)?, value: self.to_v.forward(&tokens)? })
        })?;
        let pixels = self.norm1.forward(x)?;
        let key = Tensor::cat(&[&self.to_k.forward(&pixels)?, &of_tokens.key], 1)?; // (B, HW + N, C)
        let value = Tensor::cat(&[&self.to_v.forward(&pixels)?, &of_tokens.value], 1)?;
        let seen =
            attention::attention_with(&self.to_q.forward(&pixels)?, &key, &value, self.heads, self.to_q.arithmetic())?;
        let x = (x + (self.to_out.forward(&seen)? * self.attn_gate)?)?;
        let dense = self.feed_forward.forward(&self.norm2.forward(&x)?)?;
        Ok((x + (dense * self.dense_gate)?)?)
    }
}

#[cfg(test)]
#[path = "../../../../parity/fixture.rs"]
mod fixture;

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Precision;
    use crate::testing::normal;

    #[test]
    fn one_fuser_is_diffusers() {
        let golden = fixture::Fixture::open("gligen/unet.safetensors");
        let header = golden.header("fuser");
        let file = fixture::model_folder("gligen").join("unet/diffusion_pytorch_model.safetensors");
        let weights = Weights::open(&[file], &Device::Cpu, Precision::F32).unwrap();
        let options =
            TransformerOptions { channels: 16, heads: 4, num_layers: 1, num_groups: 8, text_width: 16, is_gated: true };
        let fuser = Fuser::load(&weights.pp(header[0].as_str().unwrap()).pp("fuser"), options).unwrap();
        let grounding = Grounding::new(&golden.get("boxes"), &golden.get("phrases"), &golden.get("mask")).unwrap();
        let found = fuser.forward(&golden.get("fuser.x"), &golden.get("tokens"), &grounding).unwrap();
        fixture::assert_close("fuser", &found, &golden.get("fuser.y"), 1e-5);
    }

    #[test]
    fn a_shut_gate_changes_nothing() {
        let options =
            TransformerOptions { channels: 8, heads: 2, num_layers: 1, num_groups: 2, text_width: 6, is_gated: true };
        let random = Weights::random(1);
        Fuser::load(&random, options).unwrap();
        let mut tensors = random.made_up();
        for gate in ["alpha_attn", "alpha_dense"] {
            tensors.insert(gate.into(), Tensor::new(0_f32, &Device::Cpu).unwrap());
        }
        let fuser = Fuser::load(&Weights::from_tensors("shut", tensors), options).unwrap();
        let (x, tokens) = (normal(2, (1, 5, 8)).unwrap(), normal(3, (1, 4, 6)).unwrap());
        let grounding = Grounding::of_boxes(&[], &Tensor::zeros((0, 6), DType::F32, &Device::Cpu).unwrap()).unwrap();
        let found = fuser.forward(&x, &tokens, &grounding).unwrap();
        assert_eq!(found.to_vec3::<f32>().unwrap(), x.to_vec3::<f32>().unwrap());
    }
}
