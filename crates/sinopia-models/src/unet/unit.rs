//! The smallest parts that a UNet is run, differentiated and counted in.

use candle_core::Tensor;
use sinopia_nn::{Conv2d, GroupNorm};

use super::AttnKey;
use super::conditions::Conditions;
use super::transformer::{Outcome, SpatialTransformer};
use crate::resnet::{Downsample, ResnetBlock, Upsample};

/// One step of the walk through a UNet.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) kind: UnitKind,
    /// Whether its input is joined, along the channels, with the last image on the stack of skip connections.
    pub(super) takes_skip: bool,
    /// Whether its output is put on that stack.
    pub(super) keeps_skip: bool,
}

/// A unit that a walk has come to, and all that is needed to run it, once or again.
pub(super) struct Visit<'a> {
    pub(super) unit: usize,
    pub(super) inputs: &'a [Tensor],
    pub(super) skip_grid: Option<(usize, usize)>,
}

/// What a unit computes.
#[derive(Debug, Clone)]
pub(super) enum UnitKind {
    ConvIn(Conv2d),
    Resnet(Box<ResnetBlock>),
    Transformer(Box<SpatialTransformer>),
    Downsample(Downsample),
    Upsample(Upsample),
    Out { norm: GroupNorm, conv: Conv2d },
}

impl Unit {
    /// The cross-attention layers in it.
    pub(super) fn keys(&self) -> Vec<AttnKey> {
        match &self.kind {
            UnitKind::Transformer(transformer) => transformer.keys().collect(),
            _ => Vec::new(),
        }
    }

    /// Roughly the numbers that lie between an input of `input` numbers and the output, and are needed for a gradient.
    pub(super) fn kept_between(&self, input: usize) -> usize {
        match &self.kind {
            // Norms, projections and their inputs (6), self-attention (5), cross-attention (4), feed-forward (4 × 3 + 3).
            UnitKind::Transformer(transformer) => (6 + 24 * transformer.keys().count()) * input,
            UnitKind::Resnet(_) => 5 * input,
            UnitKind::Upsample(_) => 8 * input,
            UnitKind::ConvIn(_) | UnitKind::Downsample(_) | UnitKind::Out { .. } => 2 * input,
        }
    }

    /// What calls that see other texts have in common of a transformer of this input: (B, HW, C). Other units are the same or not, as a whole.
    pub(super) fn start(&self, input: &Tensor, conditions: &Conditions) -> sinopia_nn::Result<Option<Tensor>> {
        match &self.kind {
            UnitKind::Transformer(transformer) => Ok(Some(transformer.start(input, conditions)?)),
            _ => Ok(None),
        }
    }

    /// Applies a unit to its one input, whose [`start`](Self::start) is known.
    pub(super) fn forward_from(
        &self,
        inputs: &[Tensor],
        start: Tensor,
        conditions: &Conditions,
    ) -> sinopia_nn::Result<Outcome> {
        match (&self.kind, inputs) {
            (UnitKind::Transformer(transformer), [x]) => transformer.forward_from(x, start, conditions),
            _ => self.forward(inputs, None, conditions),
        }
    }

    /// Applies the unit to its one or two inputs; `skip_grid` is the grid of the next skip connection, which upsampling aims at.
    pub(super) fn forward(
        &self,
        inputs: &[Tensor],
        skip_grid: Option<(usize, usize)>,
        conditions: &Conditions,
    ) -> sinopia_nn::Result<Outcome> {
        let joined;
        let x = match inputs {
            [x] => x,
            _ => {
                joined = Tensor::cat(inputs, 3)?; // (B, H, W, C + C')
                &joined
            }
        };
        let hidden = match &self.kind {
            UnitKind::ConvIn(conv) => conv.forward(x)?,
            UnitKind::Resnet(resnet) => resnet.forward(x, Some(&conditions.time))?,
            UnitKind::Transformer(transformer) => return transformer.forward(x, conditions),
            UnitKind::Downsample(downsample) => downsample.forward(x)?,
            UnitKind::Upsample(upsample) => match skip_grid {
                Some((h, w)) => upsample.forward_to(x, h, w)?,
                None => upsample.forward(x)?,
            },
            UnitKind::Out { norm, conv } => conv.forward(&norm.forward_silu(x)?)?,
        };
        Ok(Outcome { hidden: Some(hidden), maps: Vec::new() })
    }
}
