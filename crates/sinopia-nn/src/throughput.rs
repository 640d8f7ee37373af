//! How fast the kernels multiply on this machine: for reports.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use crate::arithmetic::Arithmetic;
use crate::error::Result;
use crate::linear::Linear;

/// Rows of the product that is timed: the pixels of a 32 × 64 grid.
const ROWS: usize = 2048;
/// Its inner side and its columns: the widest layers of Stable Diffusion.
const WIDTH: usize = 1280;
/// Floating-point operations of the product: a multiplication and an addition each.
const OPERATIONS: usize = 2 * ROWS * WIDTH * WIDTH;

/// 10⁹ floating-point operations a second of a product of matrices, (2048, 1280) · (1280, 1280), weights packed before: the best of as many products as `budget`
/// has time for, one at least. Threads are those that it is called on ([`threads::with_own_threads`](crate::threads::with_own_threads)).
///
/// # Errors
/// What [`Linear`] returns.
pub fn product_gflops(arithmetic: Arithmetic, budget: Duration) -> Result<f64> {
    let weight = Tensor::full(1f32, (WIDTH, WIDTH), &Device::Cpu)?;
    let layer = match arithmetic {
        Arithmetic::F32 => Linear::new(&weight, None)?,
        Arithmetic::Bf16 => Linear::new(&weight.to_dtype(DType::BF16)?, None)?,
        Arithmetic::Int8 => Linear::int8(&weight, None)?,
    };
    let x = Tensor::full(1f32, (ROWS, WIDTH), &Device::Cpu)?;
    let begun = Instant::now();
    let mut shortest = Duration::MAX;
    while shortest == Duration::MAX || begun.elapsed() < budget {
        let start = Instant::now();
        layer.forward(&x)?;
        shortest = shortest.min(start.elapsed());
    }
    Ok(OPERATIONS as f64 / shortest.as_secs_f64() / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_positive_number() {
        for arithmetic in [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8] {
            let rate = product_gflops(arithmetic, Duration::ZERO).unwrap();
            assert!(rate.is_finite() && rate > 0.0, "{arithmetic:?}: {rate}");
        }
    }
}
