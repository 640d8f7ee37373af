//! In which numbers activations and weights are multiplied.

use crate::cpu::isa::Isa;

/// The numbers that are multiplied. Sums, norms, activation functions and everything that is stored are f32 in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arithmetic {
    /// 24 significant bits. Weights of 16 bits stay so in memory and are widened, exactly, where they are multiplied.
    #[default]
    F32,
    /// 8 significant bits; on the CPU only, and only where it multiplies pairs of bf16 in one instruction. Elsewhere bf16 weights are
    /// multiplied in f32.
    Bf16,
    /// 8 bits: 255 steps for each output channel of the weights, 256 for each token of the activations; on the CPU only. Gradients are
    /// multiplied in the fastest of the others.
    Int8,
}

impl Arithmetic {
    /// How activations are multiplied with each other where this is how they are multiplied with weights: 8 bits are for weights, which can be
    /// looked at beforehand.
    pub(crate) fn between_activations(self) -> Self {
        match self {
            Self::F32 | Self::Bf16 => self,
            Self::Int8 => Self::fastest(),
        }
    }

    /// The fastest on this processor whose rounding nobody has to think of: bf16 where it multiplies pairs of them in one instruction, f32 elsewhere.
    pub fn fastest() -> Self {
        if Isa::best() == Isa::Avx512Bf16 { Self::Bf16 } else { Self::F32 }
    }

    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}
