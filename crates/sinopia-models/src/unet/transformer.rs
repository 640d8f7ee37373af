//! Spatial transformers: pixels attend to each other, then to the text.

use candle_core::{Device, Tensor};
use sinopia_layout::Grid;
use sinopia_nn::{GroupNorm, LayerNorm, Linear, attention};

use super::conditions::Conditions;
use super::eraser::ErasedGrid;
use super::fuser::Fuser;
use super::per_layer::{LayerId, next_layer_id};
use super::request::TextConditioning;
use super::transformer_parts::{FeedForward, LAYER_NORM_EPS, TransformerOptions};
use super::{AttnKey, GroundingWiring};
use crate::layers::{group_norm, layer_norm, linear, linear_no_bias};
use crate::{Result, Weights};

/// Of the group norm in front of a transformer; the residual blocks' comes from the configuration.
const GROUP_NORM_EPS: f64 = 1e-6;

/// `x + proj_out(layers(proj_in(norm(x))))` over the pixels of an image, diffusers' `Transformer2DModel`.
///
/// The projections are linear layers here whatever the checkpoint calls them: over channels-last pixels a 1×1 convolution is one.
#[derive(Debug, Clone)]
pub(super) struct SpatialTransformer {
    /// The key of the first layer.
    key: AttnKey,
    norm: GroupNorm,
    proj_in: Linear,
    layers: Vec<TransformerLayer>,
    proj_out: Linear,
}

/// What a block leaves behind: its output unless the pass ended inside it, and the maps recorded on the way.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// (B, H, W, C)
    pub(super) hidden: Option<Tensor>,
    /// (B', heads, HW, L') each, in the order of the pass.
    pub(super) maps: Vec<(AttnKey, Tensor)>,
}

impl Outcome {
    /// The output, if there is one, and then the maps.
    pub(super) fn into_tensors(self) -> Vec<Tensor> {
        self.hidden.into_iter().chain(self.maps.into_iter().map(|(_, map)| map)).collect()
    }
}

impl SpatialTransformer {
    pub(super) fn load(weights: &Weights, key: AttnKey, options: TransformerOptions) -> Result<Self> {
        let channels = options.channels;
        let layers = (0..options.num_layers)
            .map(|layer| TransformerLayer::load(&weights.pp(format!("transformer_blocks.{layer}")), options))
            .collect::<Result<_>>()?;
        Ok(Self {
            key,
            norm: group_norm(&weights.pp("norm"), channels, options.num_groups, GROUP_NORM_EPS)?,
            proj_in: linear(&weights.pp("proj_in").in_16_bits(), channels, channels)?,
            layers,
            proj_out: linear(&weights.pp("proj_out").in_16_bits(), channels, channels)?,
        })
    }

    /// The keys of all layers.
    pub(super) fn keys(&self) -> impl Iterator<Item = AttnKey> {
        let first = self.key;
        (0..self.layers.len()).map(move |layer| first.with_layer(layer))
    }

    /// (B, H, W, C) to the same.
    pub(super) fn forward(&self, x: &Tensor, conditions: &Conditions) -> sinopia_nn::Result<Outcome> {
        self.forward_from(x, self.start(x, conditions)?, conditions)
    }

    /// The way of (B, H, W, C) to where the first layer meets text or boxes, (B, HW, C): it knows of neither.
    pub(super) fn start(&self, x: &Tensor, conditions: &Conditions) -> sinopia_nn::Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let pixels = self.norm.forward(x)?.reshape((b, h * w, c))?; // (B, HW, C)
        let hidden = self.proj_in.forward(&pixels)?;
        let erased = self.erased(Grid::new(h, w), conditions, x.device())?;
        match self.layers.first() {
            Some(layer) => layer.attend_to_pixels(&hidden, conditions, erased.as_ref()),
            None => Ok(hidden),
        }
    }

    /// What [`forward`](Self::forward) makes of `x`, whose [`start`](Self::start) is known.
    pub(super) fn forward_from(
        &self,
        x: &Tensor,
        start: Tensor,
        conditions: &Conditions,
    ) -> sinopia_nn::Result<Outcome> {
        let (b, h, w, c) = x.dims4()?;
        let erased = self.erased(Grid::new(h, w), conditions, x.device())?;
        let mut hidden = start; // (B, HW, C)
        let mut maps = Vec::new();
        for (index, (layer, key)) in self.layers.iter().zip(self.keys()).enumerate() {
            if index > 0 {
                hidden = layer.attend_to_pixels(&hidden, conditions, erased.as_ref())?;
            }
            match layer.attend_to_text(hidden, conditions, key, &mut maps)? {
                Some(output) => hidden = output,
                None => return Ok(Outcome { hidden: None, maps }),
            }
        }
        let hidden = self.proj_out.forward_onto(&hidden.reshape((b, h, w, c))?, x)?;
        Ok(Outcome { hidden: Some(hidden), maps })
    }

    /// What is erased of the pixels, which is something in the decoder only.
    fn erased(&self, grid: Grid, conditions: &Conditions, device: &Device) -> sinopia_nn::Result<Option<ErasedGrid>> {
        match (conditions.eraser, self.key) {
            (Some(eraser), AttnKey::Up { .. }) => eraser.on(grid, device),
            _ => Ok(None),
        }
    }
}

/// Self-attention, cross-attention and feed-forward, each after a layer norm and added to its input: `BasicTransformerBlock`. Where the network has
/// grounding adapters, boxes are attended to before the text, or in parallel.
#[derive(Debug, Clone)]
struct TransformerLayer {
    norm1: LayerNorm,
    attn1: Attention,
    fuser: Option<Fuser>,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    feed_forward: FeedForward,
}

impl TransformerLayer {
    fn load(weights: &Weights, options: TransformerOptions) -> Result<Self> {
        let TransformerOptions { channels, heads, text_width, .. } = options;
        let norm = |name: &str| layer_norm(&weights.pp(name), channels, LAYER_NORM_EPS);
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: Attention::load(&weights.pp("attn1"), channels, channels, heads)?,
            fuser: options.is_gated.then(|| Fuser::load(&weights.pp("fuser"), options)).transpose()?,
            norm2: norm("norm2")?,
            attn2: Attention::load(&weights.pp("attn2"), channels, text_width, heads)?,
            norm3: norm("norm3")?,
            feed_forward: FeedForward::load(&weights.pp("ff"), channels)?,
        })
    }

    /// Self-attention, which knows of neither text nor boxes: (B, HW, C) to the same.
    fn attend_to_pixels(
        &self,
        x: &Tensor,
        conditions: &Conditions,
        erased: Option<&ErasedGrid>,
    ) -> sinopia_nn::Result<Tensor> {
        match erased {
            None => self.attn1.self_attention(&self.norm1.forward(x)?, x, conditions),
            Some(erased) => self.attn1.erased_self_attention(&self.norm1.forward(x)?, x, erased),
        }
    }

    /// Boxes, text and feed-forward: (B, HW, C) to the same; `None` if the pass ends at the layer's key.
    fn attend_to_text(
        &self,
        x: Tensor,
        conditions: &Conditions,
        key: AttnKey,
        maps: &mut Vec<(AttnKey, Tensor)>,
    ) -> sinopia_nn::Result<Option<Tensor>> {
        let Conditions { text, plan, .. } = conditions;
        // In parallel wiring the queries for the text are what comes in, not what the boxes made of it.
        let is_parallel = conditions.grounding.as_ref().is_some_and(|(_, g)| g.wiring() == GroundingWiring::Parallel);
        let x = if is_parallel { x } else { self.ground(x, conditions)? };
        let query = self.norm2.forward(&x)?;
        if plan.stops_at(key) {
            if plan.records(key) {
                maps.push((key, plan.select(&self.attn2.probs(&query, text)?)?));
            }
            return Ok(None);
        }
        let base = if is_parallel { self.ground(x, conditions)? } else { x };
        let seen = if plan.records(key) {
            let (seen, probs) = self.attn2.cross_attention_recorded(&query, text, &base)?;
            maps.push((key, plan.select(&probs)?));
            seen
        } else {
            self.attn2.cross_attention(&query, text, &base)?
        };
        Ok(Some(self.feed_forward.forward_onto(&self.norm3.forward(&seen)?, &seen)?))
    }

    /// What the fuser makes of `x`, where there is one and something to ground.
    fn ground(&self, x: Tensor, conditions: &Conditions) -> sinopia_nn::Result<Tensor> {
        match (&self.fuser, &conditions.grounding) {
            (Some(fuser), Some((tokens, grounding))) => fuser.forward(&x, tokens, grounding),
            _ => Ok(x),
        }
    }
}

/// Multi-head attention with projections; queries from the pixels, keys and values from pixels or text.
#[derive(Debug, Clone)]
struct Attention {
    id: LayerId,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    fn load(weights: &Weights, channels: usize, source_width: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            id: next_layer_id(),
            to_q: linear_no_bias(&weights.pp("to_q"), channels, channels)?,
            to_k: linear_no_bias(&weights.pp("to_k"), source_width, channels)?,
            to_v: linear_no_bias(&weights.pp("to_v"), source_width, channels)?,
            to_out: linear(&weights.pp("to_out.0"), channels, channels)?,
            heads,
        })
    }

    /// `base` and self-attention, (B, HW, C) to the same.
    fn self_attention(&self, x: &Tensor, base: &Tensor, conditions: &Conditions) -> sinopia_nn::Result<Tensor> {
        let seen = conditions.merging.map(|windows| windows.merge(x)).transpose()?;
        let seen = seen.as_ref().unwrap_or(x);
        let (query, key, value) = (self.to_q.forward(x)?, self.to_k.forward(seen)?, self.to_v.forward(seen)?);
        let seen = attention::attention_with(&query, &key, &value, self.heads, self.to_q.arithmetic())?;
        self.to_out.forward_onto(&seen, base)
    }

    /// `base` and self-attention that does not see what is erased, (B, HW, C) to the same.
    fn erased_self_attention(&self, x: &Tensor, base: &Tensor, erased: &ErasedGrid) -> sinopia_nn::Result<Tensor> {
        let query = erased.scaled(self.to_q.forward(x)?)?;
        let seen = erased.seen(x)?; // (B, K, C)
        let (key, value) = (self.to_k.forward(&seen)?, self.to_v.forward(&seen)?);
        let seen = attention::attention_with(&query, &key, &value, self.heads, self.to_q.arithmetic())?;
        self.to_out.forward_onto(&seen, base)
    }

    /// `base` and cross-attention, (B, HW, C) to the same.
    fn cross_attention(&self, x: &Tensor, text: &TextConditioning, base: &Tensor) -> sinopia_nn::Result<Tensor> {
        let text = text.project(self.id, &self.to_k, &self.to_v)?;
        let query = self.to_q.forward(x)?;
        let seen = attention::attention_with(&query, &text.key, &text.value, self.heads, self.to_q.arithmetic())?;
        self.to_out.forward_onto(&seen, base)
    }

    /// [`Self::cross_attention`] with its probabilities (B, heads, HW, L).
    fn cross_attention_recorded(
        &self,
        x: &Tensor,
        text: &TextConditioning,
        base: &Tensor,
    ) -> sinopia_nn::Result<(Tensor, Tensor)> {
        let text = text.project(self.id, &self.to_k, &self.to_v)?;
        let query = self.to_q.forward(x)?;
        let (seen, probs) = attention::attention_recorded(&query, &text.key, &text.value, self.heads)?;
        Ok((self.to_out.forward_onto(&seen, base)?, probs))
    }

    /// The probabilities alone.
    fn probs(&self, x: &Tensor, text: &TextConditioning) -> sinopia_nn::Result<Tensor> {
        let key = text.project_key(self.id, &self.to_k)?;
        attention::attention_probs(&self.to_q.forward(x)?, &key, self.heads)
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::GridMask;

    use super::*;
    use crate::testing::normal;
    use crate::unet::Eraser;

    /// Pixels of a 2 × 4 grid, 8 channels.
    const GRID: Grid = Grid { height: 2, width: 4 };

    #[test]
    fn pixels_that_stay_do_not_see_erased_ones_at_all() {
        let attention = Attention::load(&Weights::random(1), 8, 8, 2).unwrap();
        let erased: Vec<bool> = (0..8).map(|cell| cell == 1 || cell == 6).collect();
        let mask = GridMask::from_cells(GRID, erased.clone()).unwrap();
        let on_grid = Eraser::new(mask, 0.3).unwrap().on(GRID, &Device::Cpu).unwrap().unwrap();
        let base = Tensor::zeros((1, 8, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        let seen = |x: &Tensor| {
            attention.erased_self_attention(x, &base, &on_grid).unwrap().to_vec3::<f32>().unwrap().remove(0)
        };
        let x = normal(2, (1, 8, 8)).unwrap();
        let factors: Vec<f32> = erased.iter().map(|erased| if *erased { -1e4 } else { 1.0 }).collect();
        let changed = x.broadcast_mul(&Tensor::from_vec(factors, (1, 8, 1), &Device::Cpu).unwrap()).unwrap();
        for (cell, (before, after)) in seen(&x).into_iter().zip(seen(&changed)).enumerate() {
            assert_eq!(before == after, !erased[cell], "cell {cell}");
            assert!(after.iter().all(|value| value.is_finite()));
        }
    }
}
