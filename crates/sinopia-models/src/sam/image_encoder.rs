//! The image encoder: patches that look through windows and, in a few layers, at everything.

use candle_core::{DType, Device, Tensor};
use sinopia_nn::{Conv2d, Conv2dOptions, LayerNorm, Linear, Padding, activation, attention};

use super::config::{SamConfig, SamVisionConfig};
use crate::layers::{ConvSizes, conv2d, layer_norm, linear};
use crate::{CancellationToken, Result, Weights, cancellation};

/// Colours of a pixel.
const RGB: usize = 3;
/// Added to the variance in the neck's norms, whatever the configuration says of the others.
const NECK_EPS: f64 = 1e-6;

/// Patches, layers and the neck that narrows them to the embedding.
#[derive(Debug, Clone)]
pub(super) struct ImageEncoder {
    patch_embed: Conv2d,
    /// (1, H, W, C) f32
    pos_embed: Tensor,
    layers: Vec<EncoderLayer>,
    neck: Neck,
}

impl ImageEncoder {
    /// Reads `vision_encoder.*`.
    pub(super) fn load(config: &SamConfig, weights: &Weights) -> Result<Self> {
        let vision = &config.vision_config;
        let (width, patch, side) = (vision.hidden_size, vision.patch_size, config.grid_side());
        let patches = ConvSizes { in_channels: RGB, out_channels: width, kernel: patch };
        let stride = Conv2dOptions { stride: patch, padding: Padding::default() };
        let layer = |index: usize| {
            let window = vision.window_of(index);
            let seen_side = if window == 0 { side } else { window };
            EncoderLayer::load(vision, window, seen_side, &weights.pp(format!("layers.{index}")))
        };
        Ok(Self {
            patch_embed: conv2d(&weights.pp("patch_embed.projection"), patches, stride)?,
            pos_embed: weights.get("pos_embed", &[1, side, side, width])?.to_dtype(DType::F32)?,
            layers: (0..vision.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            neck: Neck::load(vision, &weights.pp("neck"))?,
        })
    }

    /// Normalised images (B, S, S, 3) to embeddings (B, H, W, C), a cell a patch; given up between two layers if it is cancelled.
    pub(super) fn forward(&self, images: &Tensor, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let patches = self.patch_embed.forward(images)?; // (B, H, W, C), so all the way
        let mut hidden = patches.broadcast_add(&self.pos_embed)?;
        for layer in &self.layers {
            cancellation::check(cancellation)?;
            hidden = layer.forward(&hidden)?;
        }
        cancellation::check(cancellation)?;
        self.neck.forward(&hidden)
    }
}

/// Self-attention and a feed-forward, each after a layer norm and added to its input.
#[derive(Debug, Clone)]
struct EncoderLayer {
    layer_norm1: LayerNorm,
    attn: RelativeAttention,
    layer_norm2: LayerNorm,
    lin1: Linear,
    lin2: Linear,
    /// Side of the windows; 0 for one that holds everything.
    window: usize,
}

impl EncoderLayer {
    fn load(config: &SamVisionConfig, window: usize, seen_side: usize, weights: &Weights) -> Result<Self> {
        let width = config.hidden_size;
        let norm = |name: &str| layer_norm(&weights.pp(name), width, config.layer_norm_eps);
        Ok(Self {
            layer_norm1: norm("layer_norm1")?,
            attn: RelativeAttention::load(width, config.num_attention_heads, seen_side, &weights.pp("attn"))?,
            layer_norm2: norm("layer_norm2")?,
            lin1: linear(&weights.pp("mlp.lin1"), width, config.mlp_dim())?,
            lin2: linear(&weights.pp("mlp.lin2"), config.mlp_dim(), width)?,
            window,
        })
    }

    /// (B, H, W, C) to the same.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normal = self.layer_norm1.forward(x)?;
        let seen = match self.window {
            0 => self.attn.forward(&normal)?,
            window => {
                let (_, h, w, _) = x.dims4()?;
                join_windows(&self.attn.forward(&split_windows(&normal, window)?)?, h, w)?
            }
        };
        let x = (x + seen)?;
        let inner = activation::gelu(&self.lin1.forward(&self.layer_norm2.forward(&x)?)?)?;
        Ok(self.lin2.forward_onto(&inner, &x)?)
    }
}

/// (B, H, W, C) to (B · windows, S, S, C); zeros fill the last windows right and below.
fn split_windows(x: &Tensor, side: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let (rows, columns) = (h.div_ceil(side), w.div_ceil(side));
    let x = x.pad_with_zeros(1, 0, rows * side - h)?.pad_with_zeros(2, 0, columns * side - w)?;
    let x = x.reshape(vec![b, rows, side, columns, side, c])?.permute(vec![0, 1, 3, 2, 4, 5])?;
    Ok(x.contiguous()?.reshape((b * rows * columns, side, side, c))?)
}

/// The way back, to a grid of (H, W).
fn join_windows(x: &Tensor, h: usize, w: usize) -> Result<Tensor> {
    let (windows, side, _, c) = x.dims4()?;
    let (rows, columns) = (h.div_ceil(side), w.div_ceil(side));
    let b = windows / (rows * columns);
    let x = x.reshape(vec![b, rows, columns, side, side, c])?.permute(vec![0, 1, 3, 2, 4, 5])?.contiguous()?;
    let x = x.reshape((b, rows * side, columns * side, c))?;
    Ok(x.narrow(1, 0, h)?.narrow(2, 0, w)?.contiguous()?)
}

/// Self-attention on a square grid whose scores know how far apart query and key are: MViTv2's decomposed relative positions (arXiv 2112.01526).
///
/// `score(q, k) = q·k / √D + q·Rh[row_q − row_k] + q·Rw[column_q − column_k]`, with tables of 2S − 1 vectors. It is computed as one product of longer
/// vectors: the query beside its S dot products with Rh and S with Rw, the key beside which of the S rows and columns it stands in. So the matrix
/// of scores, 4096 × 4096 a head for the published models, never exists.
#[derive(Debug, Clone)]
struct RelativeAttention {
    qkv: Linear,
    proj: Linear,
    /// (S, D, S) f32: for a query's row, the vectors of all keys' rows.
    rel_pos_h: Tensor,
    /// (S, D, S) f32: the same for columns.
    rel_pos_w: Tensor,
    /// (S · S, 2S) f32: ones at a key's row and column.
    places: Tensor,
    heads: usize,
}

impl RelativeAttention {
    fn load(width: usize, heads: usize, side: usize, weights: &Weights) -> Result<Self> {
        let head = width / heads;
        let table = |name: &str| -> Result<Tensor> {
            let vectors = weights.get(name, &[2 * side - 1, head])?.to_dtype(DType::F32)?;
            let distances = (0..side).flat_map(|query| (0..side).map(move |key| (query + side - 1 - key) as u32));
            let distances = Tensor::from_iter(distances, vectors.device())?;
            let table = vectors.index_select(&distances, 0)?.reshape((side, side, head))?; // (S, keys, D)
            Ok(table.transpose(1, 2)?.contiguous()?)
        };
        Ok(Self {
            qkv: linear(&weights.pp("qkv"), width, 3 * width)?,
            proj: linear(&weights.pp("proj"), width, width)?,
            rel_pos_h: table("rel_pos_h")?,
            rel_pos_w: table("rel_pos_w")?,
            places: places(side, weights.device())?,
            heads,
        })
    }

    /// (B, S, S, C) to the same.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, s, _, c) = x.dims4()?;
        let (heads, d) = (self.heads, c / self.heads);
        let qkv = self.qkv.forward(x)?; // (B, S, S, 3C)
        let part = |index: usize| Ok::<_, crate::Error>(qkv.narrow(3, index * c, c)?.contiguous()?);
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);

        let query = query.reshape(vec![b, s, s, heads, d])?;
        let rows = query.permute(vec![1, 0, 2, 3, 4])?.contiguous()?.reshape((s, b * s * heads, d))?;
        let rows = rows.matmul(&self.rel_pos_h)?.reshape(vec![s, b, s, heads, s])?.permute(vec![1, 0, 2, 3, 4])?;
        let columns = query.permute(vec![2, 0, 1, 3, 4])?.contiguous()?.reshape((s, b * s * heads, d))?;
        let columns =
            columns.matmul(&self.rel_pos_w)?.reshape(vec![s, b, s, heads, s])?.permute(vec![1, 2, 0, 3, 4])?;

        // The attention divides by the root of the long vectors' width: the query's own part was to be divided by that of D, the others not at all.
        let long = d + 2 * s;
        let (own, others) = ((long as f64 / d as f64).sqrt(), (long as f64).sqrt());
        let query = Tensor::cat(&[&(query * own)?, &(rows * others)?, &(columns * others)?], 4)?;
        let query = query.reshape((b, s * s, heads * long))?;
        let key = key.reshape((b, s * s, heads, d))?;
        let places = self.places.reshape((1, s * s, 1, 2 * s))?.broadcast_as((b, s * s, heads, 2 * s))?;
        let key = Tensor::cat(&[&key, &places], 3)?.reshape((b, s * s, heads * long))?;
        let value = value.reshape((b, s * s, c))?;
        let seen = attention::attention(&query, &key, &value, heads, false)?; // (B, HW, C)
        Ok(self.proj.forward(&seen.reshape((b, s, s, c))?)?)
    }
}

/// (S · S, 2S): a one at the row of a cell and one at its column.
fn places(side: usize, device: &Device) -> Result<Tensor> {
    let mut places = vec![0f32; side * side * 2 * side];
    for (cell, place) in places.chunks_exact_mut(2 * side).enumerate() {
        place[cell / side] = 1.0;
        place[side + cell % side] = 1.0;
    }
    Ok(Tensor::from_vec(places, (side * side, 2 * side), device)?)
}

/// Two convolutions without bias, each normalised over channels.
#[derive(Debug, Clone)]
struct Neck {
    conv1: Linear,
    layer_norm1: LayerNorm,
    conv2: Conv2d,
    layer_norm2: LayerNorm,
}

impl Neck {
    fn load(config: &SamVisionConfig, weights: &Weights) -> Result<Self> {
        let (width, out) = (config.hidden_size, config.output_channels);
        let same = Conv2dOptions { stride: 1, padding: Padding::same(1) };
        Ok(Self {
            conv1: Linear::new(&weights.get("conv1.weight", &[out, width])?, None)?,
            layer_norm1: layer_norm(&weights.pp("layer_norm1"), out, NECK_EPS)?,
            conv2: Conv2d::new(&weights.get("conv2.weight", &[out, out, 3, 3])?, None, same)?,
            layer_norm2: layer_norm(&weights.pp("layer_norm2"), out, NECK_EPS)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.layer_norm1.forward(&self.conv1.forward(x)?)?;
        Ok(self.layer_norm2.forward(&self.conv2.forward(&x)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_come_back_as_they_went() -> Result<()> {
        let x = Tensor::arange(0f32, 2.0 * 5.0 * 7.0 * 3.0, &Device::Cpu)?.reshape((2, 5, 7, 3))?;
        let windows = split_windows(&x, 3)?;
        assert_eq!(windows.dims(), [2 * 2 * 3, 3, 3, 3]);
        let back = join_windows(&windows, 5, 7)?;
        assert_eq!(back.flatten_all()?.to_vec1::<f32>()?, x.flatten_all()?.to_vec1::<f32>()?);
        // Window 2 of the first row holds columns 6 and, of zeros, 7 and 8.
        let last = windows.get(2)?.get(0)?.to_vec2::<f32>()?;
        assert_eq!(last, [vec![18.0, 19.0, 20.0], vec![0.0; 3], vec![0.0; 3]]);
        Ok(())
    }
}
