//! How many CPU threads the operations share.

#![expect(unsafe_code, reason = "an environment variable is the only switch of the tensor library's threads")]

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Leaves all cores to our operations: the tensor library's own workers spin for a while after each of its additions and copies, on cores that
/// operations need. Call it first in `main`. `CANDLE_NUM_THREADS`, if set, wins.
pub fn quiet_tensor_library() {
    const VARIABLE: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: no other thread reads or writes the environment yet, as the call comes first.
        unsafe { std::env::set_var(VARIABLE, "1") }
    }
}

/// Fixes the number of worker threads for the whole process; 0 means one for each core.
///
/// Results do not depend on it. Call it before the first computation: the pool is built once.
///
/// # Errors
/// [`Error::Threads`] if the pool is already there.
pub fn set_num_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(Error::Threads)
}

/// The number of worker threads in use.
pub fn num_threads() -> usize {
    rayon::current_num_threads()
}

/// Runs `f` on `threads` worker threads of its own, beside everything else that the process does.
///
/// # Errors
/// [`Error::Threads`] if the system gives no more threads.
pub fn with_own_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build().map_err(Error::Threads)?;
    Ok(pool.install(f))
}

/// Runs `f` on a worker thread. From outside, every operation has to wake a worker and wait for it, which costs small operations more than
/// their work.
pub fn on_worker<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| f())
}

/// `f(0)..f(count)`, side by side on the worker threads; results in order. The first error of the lowest index is returned.
///
/// # Errors
/// What `f` returns.
pub fn side_by_side<T: Send, E: Send>(
    count: usize,
    f: impl Fn(usize) -> std::result::Result<T, E> + Send + Sync,
) -> std::result::Result<Vec<T>, E> {
    let results: Vec<_> = (0..count).into_par_iter().with_max_len(1).map(f).collect();
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use crate::check::noise;
    use crate::{Conv2d, Conv2dOptions, GroupNorm, LayerNorm, Linear, Padding, Result, activation, attention, vjp};

    /// Sizes at which every operation hands work to other threads, forward and backward.
    fn everything(x: &[Tensor]) -> Result<Vec<Tensor>> {
        let (b, h, w, c) = x[0].dims4()?;
        let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
        let conv = Conv2d::new(&noise(1, &[c, c, 3, 3]), None, options)?;
        let group_norm = GroupNorm::new(&noise(2, &[c]), &noise(3, &[c]), 8, 1e-5)?;
        let layer_norm = LayerNorm::new(&noise(2, &[c]), &noise(3, &[c]), 1e-5)?;
        let linear = Linear::new(&noise(4, &[2 * c, c]), Some(&noise(5, &[2 * c])))?;
        let hidden = conv.forward(&group_norm.forward_silu(&x[0])?)?;
        let tokens = layer_norm.forward(&hidden.reshape((b, h * w, c))?)?;
        let gated = activation::geglu(&linear.forward(&tokens)?)?;
        let mixed = attention::attention(&gated, &tokens, &gated, 4, false)?;
        let (recorded, probs) =
            attention::attention_recorded(&mixed, &tokens.narrow(1, 0, 77)?, &mixed.narrow(1, 0, 77)?, 4)?;
        let conv_down = Conv2d::new(&noise(6, &[c, c, 3, 3]), None, Conv2dOptions { stride: 2, ..options })?;
        let down = conv_down.forward(&recorded.reshape((b, h, w, c))?)?;
        let conv_int8 = Conv2d::int8(&noise(7, &[c, c, 3, 3]), None, options)?;
        let linear_int8 = Linear::int8(&noise(8, &[c, c]), Some(&noise(5, &[c])))?;
        let bytes = linear_int8.forward(&conv_int8.forward(&x[0])?)?;
        Ok(vec![crate::upsample::nearest_2x(&down)?, probs, bytes])
    }

    #[test]
    fn results_are_the_same_bits_for_any_number_of_threads() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let x = noise(9, &[2, 32, 30, 32]);
                let outputs = everything(std::slice::from_ref(&x)).unwrap();
                let cotangents: Vec<_> = outputs.iter().map(|y| Some(noise(10, y.dims()))).collect();
                let gradient = vjp(&[x], everything, &cotangents).unwrap();
                let bits = |x: &Tensor| -> Vec<u32> {
                    let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    values.into_iter().map(f32::to_bits).collect()
                };
                outputs.iter().chain(&gradient).map(bits).collect::<Vec<_>>()
            })
        };
        let one = run(1);
        for threads in [2, 3, 5] {
            assert!(run(threads) == one, "{threads} threads give other bits than one");
        }
    }
}
