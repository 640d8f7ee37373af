//! The prompt encoder: points, boxes and masks as tokens and as something to add to the image.

use std::f64::consts::TAU;

use candle_core::{D, DType, Tensor};
use sinopia_nn::{Conv2d, Conv2dOptions, LayerNorm, Padding, activation};

use super::config::{MASK_CELL, POINT_KINDS, SamConfig};
use crate::layers::{ConvSizes, conv1x1, conv2d, layer_norm};
use crate::{Error, Result, Weights};

/// A pixel's centre, seen from its corner.
const PIXEL_CENTRE: f64 = 0.5;

/// Kinds of points, as their embeddings are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PointKind {
    Background = 0,
    Foreground = 1,
    TopLeft = 2,
    BottomRight = 3,
}

/// The prompt encoder with frozen weights.
#[derive(Debug, Clone)]
pub(super) struct PromptEncoder {
    positions: PositionalEncoding,
    /// (1, P) f32 each, by [`PointKind`].
    point_embed: Vec<Tensor>,
    /// (1, P) f32
    not_a_point_embed: Tensor,
    /// (1, 1, 1, P) f32
    no_mask_embed: Tensor,
    mask_embed: MaskEmbedding,
    image_size: usize,
    grid_side: usize,
}

impl PromptEncoder {
    /// Reads `prompt_encoder.*` and `shared_image_embedding.*`.
    pub(super) fn load(config: &SamConfig, weights: &Weights) -> Result<Self> {
        let width = config.prompt_encoder_config.hidden_size;
        let prompts = weights.pp("prompt_encoder");
        let embedding = |name: &str| Ok::<_, Error>(prompts.get(name, &[1, width])?.to_dtype(DType::F32)?);
        let points = (0..POINT_KINDS).map(|kind| embedding(&format!("point_embed.{kind}.weight")));
        Ok(Self {
            positions: PositionalEncoding::load(config.vision_config.num_pos_feats, weights)?,
            point_embed: points.collect::<Result<_>>()?,
            not_a_point_embed: embedding("not_a_point_embed.weight")?,
            no_mask_embed: embedding("no_mask_embed.weight")?.reshape((1, 1, 1, width))?,
            mask_embed: MaskEmbedding::load(config, &prompts.pp("mask_embed"))?,
            image_size: config.vision_config.image_size,
            grid_side: config.grid_side(),
        })
    }

    /// Where the cells of the grid are, (1, HW, P).
    pub(super) fn grid_positions(&self) -> Result<Tensor> {
        let side = self.grid_side;
        let at = |cell: usize| (cell as f64 + 0.5) / side as f64;
        let cells = (0..side).flat_map(|row| (0..side).map(move |column| (at(column), at(row))));
        Ok(self.positions.encode(&cells.collect::<Vec<_>>())?.unsqueeze(0)?)
    }

    /// Points as tokens (1, T, P), coordinates (x, y) in pixels of the square image.
    ///
    /// Without a box a point that is none is added at the end, as in training.
    pub(super) fn tokens(&self, points: &[((f64, f64), PointKind)], has_box: bool) -> Result<Tensor> {
        let scaled = |x: f64| (x + PIXEL_CENTRE) / self.image_size as f64;
        let mut tokens = Vec::with_capacity(points.len() + 1);
        for ((x, y), kind) in points {
            let position = self.positions.encode(&[(scaled(*x), scaled(*y))])?; // (1, P)
            tokens.push((position + &self.point_embed[*kind as usize])?);
        }
        if !has_box {
            tokens.push(self.not_a_point_embed.clone());
        }
        Ok(Tensor::cat(&tokens, 0)?.unsqueeze(0)?)
    }

    /// What is added to the image's embedding: (1, H, W, P), or (1, 1, 1, P) for no mask.
    ///
    /// A mask is logits (S, S), four pixels along a cell.
    pub(super) fn dense(&self, mask: Option<&Tensor>) -> Result<Tensor> {
        let Some(mask) = mask else { return Ok(self.no_mask_embed.clone()) };
        let side = MASK_CELL * self.grid_side;
        if mask.dims() != [side, side] {
            return Err(Error::Input {
                what: "the shape of a mask prompt",
                expected: format!("[{side}, {side}]"),
                found: format!("{:?}", mask.dims()),
            });
        }
        self.mask_embed.forward(&mask.reshape((1, side, side, 1))?)
    }
}

/// Random Fourier features: `(sin 2πv, cos 2πv)` with `v = (2x − 1, 2y − 1) · G`, G (2, P/2) (arXiv 2006.10739).
#[derive(Debug, Clone)]
struct PositionalEncoding {
    gaussian: Tensor,
}

impl PositionalEncoding {
    fn load(features: usize, weights: &Weights) -> Result<Self> {
        let gaussian = weights.get("shared_image_embedding.positional_embedding", &[2, features])?;
        Ok(Self { gaussian: gaussian.to_dtype(DType::F32)? })
    }

    /// Points in proportions of the square image, as rows (N, P).
    fn encode(&self, points: &[(f64, f64)]) -> Result<Tensor> {
        let centred = points.iter().flat_map(|(x, y)| [2.0 * x - 1.0, 2.0 * y - 1.0]).map(|value| value as f32);
        let centred = Tensor::from_iter(centred, self.gaussian.device())?.reshape((points.len(), 2))?;
        let turns = (centred.matmul(&self.gaussian)? * TAU)?; // (N, P/2)
        Ok(Tensor::cat(&[turns.sin()?, turns.cos()?], D::Minus1)?)
    }
}

/// A mask's logits, four pixels a cell, as channels of the grid.
#[derive(Debug, Clone)]
struct MaskEmbedding {
    conv1: Conv2d,
    layer_norm1: LayerNorm,
    conv2: Conv2d,
    layer_norm2: LayerNorm,
    conv3: Conv2d,
}

impl MaskEmbedding {
    fn load(config: &SamConfig, weights: &Weights) -> Result<Self> {
        let prompt = &config.prompt_encoder_config;
        let (inner, width, eps) = (prompt.mask_input_channels, prompt.hidden_size, prompt.layer_norm_eps);
        let halving = Conv2dOptions { stride: 2, padding: Padding::default() };
        Ok(Self {
            conv1: conv2d(
                &weights.pp("conv1"),
                ConvSizes { in_channels: 1, out_channels: inner / 4, kernel: 2 },
                halving,
            )?,
            layer_norm1: layer_norm(&weights.pp("layer_norm1"), inner / 4, eps)?,
            conv2: conv2d(
                &weights.pp("conv2"),
                ConvSizes { in_channels: inner / 4, out_channels: inner, kernel: 2 },
                halving,
            )?,
            layer_norm2: layer_norm(&weights.pp("layer_norm2"), inner, eps)?,
            conv3: conv1x1(&weights.pp("conv3"), inner, width)?,
        })
    }

    /// (1, 4H, 4W, 1) to (1, H, W, P).
    fn forward(&self, mask: &Tensor) -> Result<Tensor> {
        let x = activation::gelu(&self.layer_norm1.forward(&self.conv1.forward(mask)?)?)?;
        let x = activation::gelu(&self.layer_norm2.forward(&self.conv2.forward(&x)?)?)?;
        Ok(self.conv3.forward(&x)?)
    }
}
