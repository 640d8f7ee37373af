//! 16-bit numbers to f32, exactly.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "vector instructions"))]

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

#[cfg(target_arch = "x86_64")]
use crate::cpu::isa::Isa;
use crate::cpu::isa::for_each_isa;

for_each_isa! {
    /// Widens the bits of bf16. Both have the same length.
    pub(super) fn widen_bf16(bits: &[u16], out: &mut [f32]) {
        for (out, &bits) in out.iter_mut().zip(bits) {
            *out = f32::from_bits(u32::from(bits) << 16);
        }
    }
}

/// Widens the bits of f16. Both have the same length.
pub(super) fn widen_f16(bits: &[u16], out: &mut [f32]) {
    assert_eq!(bits.len(), out.len());
    #[cfg(target_arch = "x86_64")]
    if Isa::best() >= Isa::Avx2 {
        // SAFETY: the processor has the instructions, and both slices have the same length.
        return unsafe { widen_f16c(bits, out) };
    }
    let numbers: &[f16] = bits.reinterpret_cast();
    numbers.convert_to_f32_slice(out);
}

/// # Safety
/// The processor needs AVX2 and F16C; the slices need one length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
unsafe fn widen_f16c(bits: &[u16], out: &mut [f32]) {
    use std::arch::x86_64::*;
    let (eights, rest) = bits.as_chunks::<8>();
    let (out_eights, out_rest) = out.as_chunks_mut::<8>();
    for (bits, out) in eights.iter().zip(out_eights) {
        // SAFETY: eight elements on either side.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().cast()))) }
    }
    for (out, &bits) in out_rest.iter_mut().zip(rest) {
        *out = f16::from_bits(bits).to_f32();
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::{widen_bf16, widen_f16};

    #[test]
    fn all_numbers_of_16_bits_are_widened_exactly() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let mut found = vec![0.0; bits.len()];
        let same = |found: f32, expected: f32| found == expected || found.is_nan() && expected.is_nan();
        widen_f16(&bits, &mut found);
        assert!(bits.iter().zip(&found).all(|(&bits, &found)| same(found, f16::from_bits(bits).to_f32())));
        widen_bf16(&bits, &mut found);
        assert!(bits.iter().zip(&found).all(|(&bits, &found)| same(found, bf16::from_bits(bits).to_f32())));
        widen_f16(&bits[15_360..15_363], &mut found[..3]);
        assert_eq!(found[0], 1.0);
    }
}
