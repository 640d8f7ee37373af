//! The activation between the two halves of a gated feed-forward layer.

use crate::cpu::isa::for_each_isa;
use crate::cpu::numeric::sigmoid;

/// `f(gate) · up`, f being one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatedActivation {
    /// `x · σ(x)`.
    Silu,
    /// `x · Φ(x)` by its approximation with tanh, as Gemma has it.
    GeluTanh,
}

impl GatedActivation {
    /// Replaces each element of `gate` by `f(gate) · up`.
    pub fn apply(self, gate: &mut [f32], up: &[f32]) {
        match self {
            Self::Silu => silu(gate, up),
            Self::GeluTanh => gelu_tanh(gate, up),
        }
    }
}

for_each_isa! {
    fn silu(gate: &mut [f32], up: &[f32]) {
        for (x, up) in gate.iter_mut().zip(up) {
            *x = *x * sigmoid(*x) * up;
        }
    }
}

for_each_isa! {
    fn gelu_tanh(gate: &mut [f32], up: &[f32]) {
        // (1 + tanh z) / 2 is σ(2z), z = √(2/π) · (x + 0.044715 x³).
        const TWICE_ROOT: f32 = 1.595_769;
        for (x, up) in gate.iter_mut().zip(up) {
            let z = TWICE_ROOT * (*x + 0.044_715 * *x * *x * *x);
            *x = *x * sigmoid(z) * up;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_what_their_formulas_say() {
        let x: Vec<f32> = (-80..=80).map(|i| i as f32 / 8.0).collect();
        let up: Vec<f32> = x.iter().map(|x| 0.5 - x).collect();
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let gelu = |x: f64| {
            let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + z.tanh())
        };
        let check = |activation: GatedActivation, f: &dyn Fn(f64) -> f64| {
            let mut gate = x.clone();
            activation.apply(&mut gate, &up);
            for ((y, x), up) in gate.iter().zip(&x).zip(&up) {
                let expected = f(f64::from(*x)) * f64::from(*up);
                assert!(
                    (f64::from(*y) - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                    "{activation:?} at {x}: {y}"
                );
            }
        };
        check(GatedActivation::Silu, &silu);
        check(GatedActivation::GeluTanh, &gelu);
    }
}
