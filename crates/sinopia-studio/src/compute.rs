//! What the networks compute in, and on which device.

use serde::{Deserialize, Serialize};
use sinopia_models::{DeviceKind, OpenOptions, Precision};
use sinopia_nn::Arithmetic;

use crate::{Error, Result};

/// What the networks compute in, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// bf16 where the processor multiplies it faster, else as stored.
    #[default]
    Auto,
    /// As the checkpoint stores its weights.
    Stored,
    /// 32-bit floats: the reference.
    F32,
    /// 16-bit brain floats, sums in 32 bits: half the memory, about twice the speed with AVX-512 BF16.
    Bf16,
    /// 8-bit whole numbers in the UNet, 16 bits at its ends and elsewhere: the least memory, and the fastest with VNNI.
    Int8,
}

impl PrecisionChoice {
    /// All, in the order of their names on the command line.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Stored, Self::F32, Self::Bf16, Self::Int8];

    /// What to compute in on this machine: never [`Auto`](Self::Auto).
    #[must_use]
    pub fn resolved(self) -> Self {
        match self {
            Self::Auto if Arithmetic::fastest() == Arithmetic::Bf16 => Self::Bf16,
            Self::Auto => Self::Stored,
            other => other,
        }
    }

    /// The word on the command line and in recipes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Stored => "stored",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

impl PrecisionChoice {
    /// What other programs call it.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Auto | Self::Stored => &[],
            Self::F32 => &["fp32", "float32"],
            Self::Bf16 => &["bfloat16"],
            Self::Int8 => &["w8a8"],
        }
    }
}

impl std::fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for PrecisionChoice {
    type Err = Error;

    /// Reads the word, also as other programs write it.
    fn from_str(name: &str) -> Result<Self> {
        let is_called = |word: &str| word.eq_ignore_ascii_case(name);
        let known = Self::ALL
            .into_iter()
            .find(|kind| is_called(kind.as_str()) || kind.aliases().iter().any(|word| is_called(word)));
        known.ok_or_else(|| Error::UnknownPrecision { name: name.to_owned() })
    }
}

/// Where the networks run, and what they compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Compute {
    /// Where they run.
    pub device: DeviceKind,
    /// What they compute in.
    pub precision: PrecisionChoice,
}

impl Compute {
    /// The same with [`PrecisionChoice::Auto`] decided.
    #[must_use]
    pub fn resolved(self) -> Self {
        Self { precision: self.precision.resolved(), ..self }
    }

    /// How weights are opened for it.
    pub(crate) fn open_options(self) -> OpenOptions {
        OpenOptions {
            device: self.device.device(),
            precision: self.precision.resolved().into(),
            ..OpenOptions::default()
        }
    }
}

impl From<PrecisionChoice> for Precision {
    fn from(choice: PrecisionChoice) -> Self {
        match choice {
            PrecisionChoice::Auto | PrecisionChoice::Stored => Self::Auto,
            PrecisionChoice::F32 => Self::F32,
            PrecisionChoice::Bf16 => Self::Bf16,
            PrecisionChoice::Int8 => Self::Int8,
        }
    }
}
