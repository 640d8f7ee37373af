//! f32 to bf16, rounded to the nearest, ties to even.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "vector instructions"))]

use half::bf16;

#[cfg(target_arch = "x86_64")]
use crate::cpu::isa::Isa;

/// Rounds `source` to bf16 bits. Both have the same length. NaN stays NaN.
pub(crate) fn round_to_bf16(source: &[f32], target: &mut [u16]) {
    assert_eq!(source.len(), target.len());
    #[cfg(target_arch = "x86_64")]
    if Isa::best() == Isa::Avx512Bf16 {
        // SAFETY: the processor has the instructions, and both slices have the same length.
        return unsafe { round_avx512bf16(source, target) };
    }
    round_portable(source, target);
}

/// Rounds `scale · source`.
pub(crate) fn round_scaled_to_bf16(source: &[f32], scale: f32, target: &mut [u16]) {
    for (source, target) in source.chunks(64).zip(target.chunks_mut(64)) {
        let mut scaled = [0.0; 64];
        for (scaled, source) in scaled.iter_mut().zip(source) {
            *scaled = source * scale;
        }
        round_to_bf16(&scaled[..source.len()], target);
    }
}

fn round_portable(source: &[f32], target: &mut [u16]) {
    for (target, &source) in target.iter_mut().zip(source) {
        *target = bf16::from_f32(source).to_bits();
    }
}

/// # Safety
/// The processor needs AVX-512 F, BW, VL and BF16; the slices need one length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn round_avx512bf16(source: &[f32], target: &mut [u16]) {
    use std::arch::x86_64::*;
    let len = source.len();
    let mut i = 0;
    while i + 32 <= len {
        // SAFETY: 32 more elements lie in both slices.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(source.as_ptr().add(i)), _mm512_loadu_ps(source.as_ptr().add(i + 16)));
            let rounded: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(target.as_mut_ptr().add(i).cast(), rounded);
        }
        i += 32;
    }
    while i < len {
        let mask: __mmask16 = if len - i >= 16 { 0xFFFF } else { (1 << (len - i)) - 1 };
        // SAFETY: the mask ends with the slices.
        unsafe {
            let values = _mm512_maskz_loadu_ps(mask, source.as_ptr().add(i));
            let rounded: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(values));
            _mm256_mask_storeu_epi16(target.as_mut_ptr().add(i).cast(), mask, rounded);
        }
        i += 16;
    }
}

#[cfg(test)]
mod tests {
    use super::{round_portable, round_to_bf16};

    #[test]
    fn both_ways_round_alike() {
        for len in [0, 1, 15, 16, 17, 31, 32, 49, 100] {
            let source: Vec<f32> = (0..len).map(|i| ((i * 7919) % 1009) as f32 * 0.0137 - 5.0).collect();
            let (mut fast, mut plain) = (vec![0; len], vec![0; len]);
            round_to_bf16(&source, &mut fast);
            round_portable(&source, &mut plain);
            assert_eq!(fast, plain);
        }
    }

    #[test]
    fn ties_go_to_even_and_nan_stays() {
        // 1 + 2⁻⁸ lies between 1 and 1 + 2⁻⁷; 1 + 3·2⁻⁸ between 1 + 2⁻⁷ and 1 + 2⁻⁶.
        let mut found = [0; 3];
        round_to_bf16(&[1.0 + 0.003_906_25, 1.0 + 3.0 * 0.003_906_25, f32::NAN], &mut found);
        assert_eq!(found[..2], [0x3F80, 0x3F82]);
        assert!(half::bf16::from_bits(found[2]).is_nan());
    }
}
