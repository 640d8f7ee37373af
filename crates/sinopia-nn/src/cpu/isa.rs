//! Which instructions this processor has: the one place where that is asked.

use std::sync::OnceLock;

/// A set of instructions that kernels are written or compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Isa {
    /// What every processor of the target has.
    Portable,
    /// x86 with AVX2 and FMA.
    Avx2,
    /// x86 with AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// x86 with AVX-512 and its products of bf16 pairs.
    Avx512Bf16,
}

/// The environment variable that hides instructions from us: so that a processor with AVX-512 can show what one without it does.
pub(crate) const LIMIT_VARIABLE: &str = "SINOPIA_MAX_CPU_ISA";

impl Isa {
    const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The best of this processor that is not hidden; looked up once.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let limit = std::env::var(LIMIT_VARIABLE).ok().and_then(|name| Self::named(&name));
            limit.map_or_else(detect, |limit| detect().min(limit))
        })
    }

    /// As the variable and reports spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
        }
    }

    /// The set with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.as_str() == name)
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let has_avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    if has_avx512 && is_x86_feature_detected!("avx512bf16") {
        Isa::Avx512Bf16
    } else if has_avx512 {
        Isa::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Isa::Avx2
    } else {
        Isa::Portable
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Portable
}

/// Compiles a function for AVX2, AVX-512 and any processor, and calls the best.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(unsafe_code, reason = "a function compiled for instructions that were found")]
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn plain($($arg: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) $(-> $result)? {
                    plain($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $result)? {
                    plain($($arg),*)
                }
                match $crate::cpu::isa::Isa::best() {
                    // SAFETY: the processor has these instructions.
                    $crate::cpu::isa::Isa::Avx512 | $crate::cpu::isa::Isa::Avx512Bf16 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::cpu::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::cpu::isa::Isa::Portable => {}
                }
            }
            plain($($arg),*)
        }
    };
}
pub(crate) use for_each_isa;
