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

impl Isa {
    /// The best of this processor; looked up once.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(detect)
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
