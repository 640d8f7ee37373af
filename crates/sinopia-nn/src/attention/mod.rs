//! Scaled dot-product attention over channels-last sequences whose heads lie side by side in the channels.
//!
//! [`attention`] never holds a whole matrix of probabilities; [`attention_recorded`] hands it out.

mod bf16;
mod f32;
mod plain;
mod recorded;
mod sizes;

use candle_core::Tensor;

use self::plain::OP;
use crate::Arithmetic;
use crate::cpu::elements::{apply2, apply3};
use crate::error::{Error, Result, expect_f32};

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
    if q.device().is_cpu() {
        return Ok(apply3(f32::Flash::new(heads, causal), [q, k, v])?);
    }
    let probs = plain::probabilities(q, k, heads, causal)?;
    plain::values(&probs, v)
}

/// [`attention`] without a mask, its products in the arithmetic of the layers around it.
///
/// With [`Arithmetic::Bf16`] queries, keys, values and probabilities are rounded to bf16 before they are multiplied, and so are the gradients
/// between them; sums and the softmax are f32.
///
/// # Errors
/// As [`attention`].
pub fn attention_with(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, arithmetic: Arithmetic) -> Result<Tensor> {
    if arithmetic.between_activations() == Arithmetic::F32 || !q.device().is_cpu() {
        return attention(q, k, v, heads, false);
    }
    check_scores(q, k, heads, false)?;
    check_values(k, v, heads)?;
    Ok(apply3(bf16::Bf16::new(heads), [q, k, v])?)
}

/// [`attention`] without a mask that also returns its probabilities (B, heads, M, N); both carry gradients.
///
/// # Errors
/// As [`attention`].
pub fn attention_recorded(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<(Tensor, Tensor)> {
    let probs = attention_probs(q, k, heads)?;
    check_values(k, v, heads)?;
    let output = match q.device().is_cpu() {
        true => apply2(recorded::Values, &probs, v)?,
        false => plain::values(&probs, v)?,
    };
    Ok((output, probs))
}

/// The probabilities `softmax(q · kᵀ / √D)` alone, (B, heads, M, N), where a caller can stop before the values.
///
/// # Errors
/// As [`attention`].
pub fn attention_probs(q: &Tensor, k: &Tensor, heads: usize) -> Result<Tensor> {
    check_scores(q, k, heads, false)?;
    if q.device().is_cpu() {
        return Ok(apply2(recorded::Probabilities { heads }, q, k)?);
    }
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

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};

    use super::{attention, attention_probs, attention_recorded, attention_with, plain};
    use crate::Arithmetic;
    use crate::check::{assert_close, assert_gradient, noise};
    use crate::error::{Error, Result};
    use crate::vjp;

    /// Queries, keys and values of B sequences with M queries, N keys and heads · (D, Dv) channels.
    fn arguments([b, m, n, heads, d, dv]: [usize; 6]) -> [Tensor; 3] {
        // Twice normal: scores far enough apart to matter.
        let twice = |x: Tensor| (x * 2.0).unwrap();
        [twice(noise(1, &[b, m, heads * d])), twice(noise(2, &[b, n, heads * d])), noise(3, &[b, n, heads * dv])]
    }

    #[test]
    fn bf16_is_near_f32_forward_and_backward() {
        let sizes = [
            [1, 1, 1, 1, 1, 1],
            [2, 5, 7, 3, 4, 2],
            [1, 130, 77, 2, 40, 40],
            [1, 300, 1100, 2, 33, 64],
            [1, 16, 600, 1, 160, 48],
        ];
        for sizes in sizes {
            let [q, k, v] = arguments(sizes);
            let (q, heads) = ((q * 0.5).unwrap(), sizes[3]);
            let run = |arithmetic| {
                let f = move |x: &[Tensor]| Ok(vec![attention_with(&x[0], &x[1], &x[2], heads, arithmetic)?]);
                let inputs = [q.clone(), k.clone(), v.clone()];
                let y = f(&inputs).unwrap().remove(0);
                let mut all = vjp(&inputs, f, &[Some(noise(9, y.dims()))]).unwrap();
                all.push(y);
                all
            };
            for (found, expected) in run(Arithmetic::Bf16).iter().zip(run(Arithmetic::F32)) {
                let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
                let error = norm(&(found - &expected).unwrap());
                assert!(error <= 0.012 * norm(&expected) + 1e-5, "{sizes:?}: {error} of {}", norm(&expected));
            }
        }
    }

    fn oracle(x: &[Tensor], heads: usize, causal: bool) -> Result<Tensor> {
        plain::values(&plain::probabilities(&x[0], &x[1], heads, causal)?, &x[2])
    }

    const SIZES: [[usize; 6]; 7] = [
        [1, 1, 1, 1, 1, 1],
        [2, 5, 7, 3, 4, 4],
        [2, 9, 3, 2, 5, 3],
        [1, 64, 77, 8, 40, 40],
        [3, 33, 77, 1, 16, 24],
        [2, 131, 131, 2, 8, 8],
        // More keys than fit a block of 128 queries.
        [1, 150, 3001, 1, 5, 6],
    ];

    #[test]
    fn blocked_and_recorded_equal_plain() {
        for sizes in SIZES {
            let (x, heads) = (arguments(sizes), sizes[3]);
            let [q, k, v] = &x;
            let expected = oracle(&x, heads, false).unwrap();
            assert_close(&attention(q, k, v, heads, false).unwrap(), &expected, 2e-6);
            let (output, probs) = attention_recorded(q, k, v, heads).unwrap();
            assert_close(&output, &expected, 2e-6);
            assert_close(&probs, &plain::probabilities(q, k, heads, false).unwrap(), 2e-6);
            let early = attention_probs(q, k, heads).unwrap();
            assert_close(&early, &probs, 0.0);
        }
    }

    #[test]
    fn causal_equals_plain_and_sees_no_later_key() {
        for sizes in [[2, 77, 77, 3, 8, 8], [1, 5, 9, 2, 3, 4], [1, 1, 4, 1, 2, 2], [2, 300, 300, 4, 4, 4]] {
            let (x, heads) = (arguments(sizes), sizes[3]);
            let [q, k, v] = &x;
            assert_close(&attention(q, k, v, heads, true).unwrap(), &oracle(&x, heads, true).unwrap(), 2e-6);
            // The first query sees the keys up to its own only.
            let own = sizes[2] - sizes[1] + 1;
            let first = attention(
                &q.narrow(1, 0, 1).unwrap(),
                &k.narrow(1, 0, own).unwrap(),
                &v.narrow(1, 0, own).unwrap(),
                heads,
                false,
            );
            let all = attention(q, k, v, heads, true).unwrap();
            assert_close(&all.narrow(1, 0, 1).unwrap().contiguous().unwrap(), &first.unwrap(), 1e-6);
        }
    }

    #[test]
    fn gradients_match_plain_and_finite_differences() {
        for sizes in SIZES {
            let heads = sizes[3];
            for causal in [false, true] {
                if causal && sizes[2] < sizes[1] {
                    continue;
                }
                let fast = |x: &[Tensor]| attention(&x[0], &x[1], &x[2], heads, causal);
                assert_gradient(&arguments(sizes), fast, |x| oracle(x, heads, causal), 1e-5);
            }
            let fast = |x: &[Tensor]| Ok(attention_recorded(&x[0], &x[1], &x[2], heads)?.0);
            assert_gradient(&arguments(sizes), fast, |x| oracle(x, heads, false), 1e-5);
            let fast = |x: &[Tensor]| Ok(attention_recorded(&x[0], &x[1], &x[2], heads)?.1);
            let probs = |x: &[Tensor]| plain::probabilities(&x[0], &x[1], heads, false);
            assert_gradient(&arguments(sizes), fast, probs, 1e-5);
        }
    }

    #[test]
    fn output_and_probabilities_add_their_gradients() {
        let sizes = [2, 6, 5, 2, 3, 4];
        let both = |(output, probs): (Tensor, Tensor)| -> Result<Tensor> {
            Ok(Tensor::cat(&[output.flatten_all()?, (probs * 3.0)?.flatten_all()?], 0)?)
        };
        assert_gradient(
            &arguments(sizes),
            |x| both(attention_recorded(&x[0], &x[1], &x[2], 2)?),
            |x| {
                let probs = plain::probabilities(&x[0], &x[1], 2, false)?;
                both((plain::values(&probs, &x[2])?, probs))
            },
            1e-5,
        );
    }

    #[test]
    fn self_attention_uses_its_input_three_times() {
        let x = noise(1, &[2, 7, 6]);
        assert_gradient(
            &[x],
            |x| attention(&x[0], &x[0], &x[0], 2, false),
            |x| oracle(&[x[0].clone(), x[0].clone(), x[0].clone()], 2, false),
            1e-5,
        );
    }

    #[test]
    fn frozen_keys_and_values_get_no_gradient() {
        let [q, k, v] = arguments([1, 4, 5, 2, 3, 3]);
        let q = Var::from_tensor(&q).unwrap();
        for output in [attention(&q, &k, &v, 2, false).unwrap(), attention_recorded(&q, &k, &v, 2).unwrap().0] {
            let gradients = output.sum_all().unwrap().backward().unwrap();
            assert!(gradients.get(&q).is_some());
            assert!(gradients.get(&k).is_none() && gradients.get(&v).is_none());
        }
    }

    #[test]
    fn views_are_taken_as_they_look() {
        let qkv = noise(1, &[2, 9, 18]); // three projections side by side
        let part = |i: usize| qkv.narrow(2, 6 * i, 6).unwrap();
        let copy = |i: usize| part(i).contiguous().unwrap();
        let found = attention(&part(0), &part(1), &part(2), 2, false).unwrap();
        let expected = oracle(&[copy(0), copy(1), copy(2)], 2, false).unwrap();
        assert_close(&found, &expected, 2e-6);
    }

    #[test]
    fn huge_scores_do_not_overflow() {
        let [q, k, v] = arguments([1, 4, 5, 1, 4, 4]);
        let q = (q * 1e4).unwrap();
        let found = attention(&q, &k, &v, 1, false).unwrap();
        assert_close(&found, &oracle(&[q, k, v], 1, false).unwrap(), 1e-5);
    }

    #[test]
    fn wrong_shapes_are_named() {
        let [q, k, v] = arguments([1, 4, 5, 2, 3, 3]);
        let error = attention(&q, &k, &v, 4, false).unwrap_err();
        assert_eq!(error.to_string(), "attention: heads is 4, expected a divisor of the 6 channels");
        let error = attention(&q, &noise(1, &[1, 5, 8]), &v, 2, false).unwrap_err();
        assert_eq!(error.to_string(), "attention: key has shape [1, 5, 8], expected [1, N, 6]");
        let error = attention(&q, &k, &noise(1, &[1, 4, 6]), 2, false);
        assert!(matches!(error, Err(Error::Shape { what: "value", .. })));
    }
}
