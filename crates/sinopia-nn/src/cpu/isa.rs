//! Which instructions this processor has: the one place where that is asked.

use std::sync::OnceLock;

/// A set of instructions that kernels are written or compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Isa {
    /// What every processor of the target has.
    Portable,
    /// x86 with AVX2, FMA and F16C.
    Avx2,
    /// x86 with AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// x86 with AVX-512 and its products of bf16 pairs.
    Avx512Bf16,
}

/// Instructions for products of 8-bit numbers. They come beside [`Isa`]'s, not in its order: processors with AVX2 alone may have them, and
/// such with AVX-512 may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ByteIsa {
    /// What every processor of the target has.
    Portable,
    /// AVX2: numbers are widened to 16 bits and multiplied in pairs.
    Avx2,
    /// AVX-VNNI: four products in one instruction, in 256 bits.
    AvxVnni,
    /// AVX-512 (F, BW, DQ, VL), as AVX2 in 512 bits.
    Avx512,
    /// AVX-512 VNNI: as AVX-VNNI in 512 bits.
    Avx512Vnni,
}

/// The environment variable that hides instructions from us: so that a processor with AVX-512 can show what one without it does.
pub(crate) const LIMIT_VARIABLE: &str = "SINOPIA_MAX_CPU_ISA";

/// What [`LIMIT_VARIABLE`] may say, and what each word leaves.
pub(crate) const LIMITS: [(&str, Isa, ByteIsa); 6] = [
    ("portable", Isa::Portable, ByteIsa::Portable),
    ("avx2", Isa::Avx2, ByteIsa::Avx2),
    ("avx-vnni", Isa::Avx2, ByteIsa::AvxVnni),
    ("avx512", Isa::Avx512, ByteIsa::Avx512),
    ("avx512-vnni", Isa::Avx512, ByteIsa::Avx512Vnni),
    ("avx512-bf16", Isa::Avx512Bf16, ByteIsa::Avx512Vnni),
];

/// What the variable leaves, if it says something known.
fn limit() -> Option<(Isa, ByteIsa)> {
    let name = std::env::var(LIMIT_VARIABLE).ok()?;
    let (_, isa, byte_isa) = LIMITS.into_iter().find(|(known, ..)| *known == name)?;
    Some((isa, byte_isa))
}

impl Isa {
    /// The best of this processor that is not hidden; looked up once.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| limit().map_or_else(detect, |(limit, _)| detect().min(limit)))
    }

    /// The best of this processor, hidden or not.
    pub(crate) fn detected() -> Self {
        detect()
    }

    /// Its name in reports and files, and what the variable calls it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
        }
    }
}

impl ByteIsa {
    const ALL: [Self; 5] = [Self::Portable, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Avx512Vnni];

    /// The best of this processor that is not hidden; looked up once.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<ByteIsa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().last().unwrap_or(Self::Portable))
    }

    /// Its name in reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
        }
    }

    /// All of this processor that are not hidden, the best one last.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        let limit = limit().map_or(Self::Avx512Vnni, |(_, limit)| limit);
        Self::ALL.into_iter().filter(move |isa| *isa <= limit && isa.is_here())
    }

    /// Has this processor got it?
    #[cfg(target_arch = "x86_64")]
    fn is_here(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => detect() >= Isa::Avx2,
            Self::AvxVnni => detect() >= Isa::Avx2 && is_x86_feature_detected!("avxvnni"),
            Self::Avx512 => detect() >= Isa::Avx512,
            Self::Avx512Vnni => detect() >= Isa::Avx512 && is_x86_feature_detected!("avx512vnni"),
        }
    }

    /// Has this processor got it?
    #[cfg(not(target_arch = "x86_64"))]
    fn is_here(self) -> bool {
        self == Self::Portable
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    // f16 weights are widened by an instruction of its own, which a virtual machine may hide.
    let has_avx2 =
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let has_avx512 = has_avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    if has_avx512 && is_x86_feature_detected!("avx512bf16") {
        Isa::Avx512Bf16
    } else if has_avx512 {
        Isa::Avx512
    } else if has_avx2 {
        Isa::Avx2
    } else {
        Isa::Portable
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Portable
}

/// Compiles a function for AVX2, AVX-512 and any processor, and calls the best. Its body may ask `FUSED`: whether `f32::mul_add` is one
/// instruction there (elsewhere it is a slow call).
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(unsafe_code, reason = "a function compiled for instructions that were found")]
        $vis fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn plain<const FUSED: bool>($($arg: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) $(-> $result)? {
                    plain::<true>($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $result)? {
                    plain::<true>($($arg),*)
                }
                match $crate::cpu::isa::Isa::best() {
                    // SAFETY: the processor has these instructions.
                    $crate::cpu::isa::Isa::Avx512 | $crate::cpu::isa::Isa::Avx512Bf16 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::cpu::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::cpu::isa::Isa::Portable => {}
                }
            }
            plain::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(crate) use for_each_isa;

#[cfg(test)]
mod tests {
    use super::{ByteIsa, Isa, LIMITS};

    #[test]
    fn limits_leave_more_and_more() {
        for pair in LIMITS.windows(2) {
            let ((_, isa, byte_isa), (_, next_isa, next_byte_isa)) = (pair[0], pair[1]);
            assert!(isa <= next_isa && byte_isa <= next_byte_isa && (isa, byte_isa) != (next_isa, next_byte_isa));
        }
    }

    #[test]
    fn what_is_used_of_bytes_is_available() {
        let available: Vec<_> = ByteIsa::available().collect();
        assert_eq!((available.first(), available.last()), (Some(&ByteIsa::Portable), Some(&ByteIsa::best())));
        assert!(Isa::best() == Isa::Portable || ByteIsa::best() >= ByteIsa::Avx2);
    }
}
