//! Attention composed from the tensor library's operations: whole matrices of scores, every step in its graph.

use candle_core::Tensor;

use crate::error::Result;
use crate::softmax;

/// The operation's name in errors, however it is computed.
pub(super) const OP: &str = "attention";

/// `softmax(q · kᵀ / √D)`, (B, heads, M, N).
pub(crate) fn probabilities(q: &Tensor, k: &Tensor, heads: usize, causal: bool) -> Result<Tensor> {
    let q = split_heads(q, heads)?;
    let k = split_heads(k, heads)?;
    let (_, _, m, d) = q.dims4()?;
    let n = k.dim(2)?;
    let scale = 1.0 / (d as f64).sqrt();
    let scores = (q.matmul(&k.t()?.contiguous()?)? * scale)?;
    if !causal {
        return softmax::plain(&scores);
    }
    let mask: Vec<f32> =
        (0..m * n).map(|cell| if cell % n > cell / n + n - m { f32::NEG_INFINITY } else { 0.0 }).collect();
    let mask = Tensor::from_vec(mask, (1, 1, m, n), q.device())?;
    softmax::plain(&scores.broadcast_add(&mask)?)
}

/// `probs · v` with the heads side by side again: (B, heads, M, N), (B, N, C) to (B, M, C).
pub(crate) fn values(probs: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (b, heads, m, _) = probs.dims4()?;
    let per_head = probs.contiguous()?.matmul(&split_heads(v, heads)?)?; // (B, heads, M, D)
    Ok(per_head.transpose(1, 2)?.reshape((b, m, ()))?)
}

/// (B, L, heads·D) to (B, heads, L, D).
fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, l, c) = x.dims3()?;
    Ok(x.reshape((b, l, heads, c / heads))?.transpose(1, 2)?.contiguous()?)
}
