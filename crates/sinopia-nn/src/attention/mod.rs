//! Scaled dot-product attention over channels-last sequences whose heads lie side by side in the channels.
//!
//! [`attention`] never holds a whole matrix of probabilities; [`attention_recorded`] hands it out.

mod plain;

use candle_core::Tensor;

use crate::error::{Error, Result, expect_f32};

const OP: &str = "attention";

/// `softmax(q · kᵀ / √D) · v` for every head: q (B, M, heads·D), k (B, N, heads·D), v (B, N, heads·Dv) to (B, M, heads·Dv).
///
/// With `causal`, query i sees keys 0..=i + N − M. Memory is near that of the result in both directions: the backward
/// pass computes the probabilities again.
///
/// # Errors
/// [`Error::Shape`] if the arguments do not fit each other or `heads`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, causal: bool) -> Result<Tensor> {
    check_scores(q, k, heads, causal)?;
    check_values(k, v, heads)?;
    let probs = plain::probabilities(q, k, heads, causal)?;
    plain::values(&probs, v)
}

/// [`attention`] without a mask that also returns its probabilities (B, heads, M, N); both carry gradients.
///
/// # Errors
/// As [`attention`].
pub fn attention_recorded(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<(Tensor, Tensor)> {
    check_scores(q, k, heads, false)?;
    check_values(k, v, heads)?;
    let probs = plain::probabilities(q, k, heads, false)?;
    let output = plain::values(&probs, v)?;
    Ok((output, probs))
}

/// The probabilities `softmax(q · kᵀ / √D)` alone, (B, heads, M, N), where a caller can stop before the values.
///
/// # Errors
/// As [`attention`].
pub fn attention_probs(q: &Tensor, k: &Tensor, heads: usize) -> Result<Tensor> {
    check_scores(q, k, heads, false)?;
    plain::probabilities(q, k, heads, false)
}

/// Do queries and keys fit each other?
fn check_scores(q: &Tensor, k: &Tensor, heads: usize, causal: bool) -> Result<()> {
    expect_f32(OP, "query", q)?;
    expect_f32(OP, "key", k)?;
    let &[b, m, c] = q.dims() else {
        return Err(Error::shape(OP, "query", "[B, M, C]", q));
    };
    if heads == 0 || c % heads != 0 || c == 0 {
        return Err(Error::Option {
            op: OP,
            what: "heads",
            expected: format!("a divisor of the {c} channels"),
            found: heads.to_string(),
        });
    }
    match *k.dims() {
        [key_b, n, key_c] if key_b == b && key_c == c && n > 0 && (!causal || n >= m) => Ok(()),
        _ => Err(Error::shape(OP, "key", format!("[{b}, N, {c}]"), k)),
    }
}

/// Do keys and values fit each other?
fn check_values(k: &Tensor, v: &Tensor, heads: usize) -> Result<()> {
    expect_f32(OP, "value", v)?;
    match (k.dims(), v.dims()) {
        (&[b, n, _], &[value_b, value_n, value_c]) if value_b == b && value_n == n && value_c % heads == 0 => Ok(()),
        _ => {
            let expected = format!("keys' batch and length {:?}, {heads} heads", &k.dims()[..2]);
            Err(Error::shape(OP, "value", expected, v))
        }
    }
}
