//! In which numbers activations and weights are multiplied.

use crate::cpu::isa::Isa;

/// The numbers that are multiplied. Sums, norms, activation functions and everything that is stored are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arithmetic {
    /// 24 significant bits.
    #[default]
    F32,
    /// 8 significant bits; on the CPU only.
    Bf16,
}

impl Arithmetic {
    /// The fastest on this processor: bf16 where it multiplies pairs of them in one instruction, f32 elsewhere.
    pub fn fastest() -> Self {
        if Isa::best() == Isa::Avx512Bf16 { Self::Bf16 } else { Self::F32 }
    }
}
