//! What half precision does to hidden states, apart from its speed.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

/// The largest finite f16.
const MAX: f64 = 65504.0;
/// The limit of hidden states once one of them has overflowed (transformers' `T5Block`).
const LIMIT_AFTER_OVERFLOW: f64 = MAX - 1000.0;

/// In which number format hidden states live between operations.
///
/// ELLA's connector was trained on states of a FLAN-T5-XL that ran in f16, where feed-forward outputs beyond 65504 become infinite and are
/// then clamped in each layer; it does worse on states that were never clamped (TencentQQGYLab/ELLA#23). [`F16`](Self::F16) computes in
/// f32 and rounds to f16 wherever that model stored something, which gives the same values on processors without f16 arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateRange {
    /// As stored in f16, overflow and clamping included.
    #[default]
    F16,
    /// As computed.
    F32,
}

impl StateRange {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// What is left of `x` once it is stored: rounded, infinite beyond f16's range.
    pub(super) fn store(self, x: Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::F16 => x.to_dtype(DType::F16)?.to_dtype(DType::F32),
            Self::F32 => Ok(x),
        }
    }

    /// `max(−limit, min(limit, x))`, where the limit is lower once anything in `x` is infinite.
    pub(super) fn clamp(self, x: Tensor) -> candle_core::Result<Tensor> {
        if self == Self::F32 {
            return Ok(x);
        }
        let has_overflowed = !x.abs()?.max_all()?.to_scalar::<f32>()?.is_finite();
        let limit = if has_overflowed { LIMIT_AFTER_OVERFLOW } else { MAX };
        x.clamp(-limit, limit)?.to_dtype(DType::F32)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn check(range: StateRange, values: &[f32], expected: &[f32]) {
        let x = Tensor::new(values, &Device::Cpu).unwrap();
        let found = range.clamp(range.store(x).unwrap()).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(found, expected);
    }

    #[test]
    fn one_overflow_lowers_the_limit_for_all() {
        check(StateRange::F16, &[65504.0, -3.0], &[65504.0, -3.0]);
        check(StateRange::F16, &[70000.0, 65504.0, -1e9], &[64504.0, 64504.0, -64504.0]);
        check(StateRange::F16, &[0.1], &[0.099_975_586]);
    }

    #[test]
    fn without_emulation_nothing_changes() {
        check(StateRange::F32, &[70000.0, 0.1], &[70000.0, 0.1]);
    }
}
