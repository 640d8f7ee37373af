//! GGUF's blocks of quantised numbers, read sixteen numbers at a time.
//!
//! A block holds 32 numbers (of the first types) or 256 (of the `K` types) with one or two scales; of the `K` types each sixteen or thirty-two have
//! scales of their own, stored as small multiples of the block's. The layouts and the order of the operations, which is that of the reference to
//! the last bit, are those of ggml's `dequantize_row_*` (ggml/src/ggml-quants.c).

mod k_types;
mod kind;
mod types;

use crate::cpu::isa::for_each_isa;
use k_types::{Q2K, Q3K, Q4K, Q5K, Q6K};
use types::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

pub use kind::BlockKind;

/// Numbers that are read together: no two scales of any type meet within.
pub(crate) const GROUP: usize = 16;

/// A type of blocks.
pub(crate) trait Block {
    /// Bytes of a block.
    const BYTES: usize;
    /// Groups of numbers in it.
    const GROUPS: usize;
    /// Where the f16 scales stand that count for the whole block.
    const SCALES: &'static [usize];

    /// The numbers of a group.
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]);
}

/// What is asked of a type that is known only at run time.
macro_rules! with_block {
    ($kind:expr, $function:ident $(, $argument:expr)*) => {
        match $kind {
            BlockKind::Q4_0 => $function::<Q4_0>($($argument),*),
            BlockKind::Q4_1 => $function::<Q4_1>($($argument),*),
            BlockKind::Q5_0 => $function::<Q5_0>($($argument),*),
            BlockKind::Q5_1 => $function::<Q5_1>($($argument),*),
            BlockKind::Q8_0 => $function::<Q8_0>($($argument),*),
            BlockKind::Q2K => $function::<Q2K>($($argument),*),
            BlockKind::Q3K => $function::<Q3K>($($argument),*),
            BlockKind::Q4K => $function::<Q4K>($($argument),*),
            BlockKind::Q5K => $function::<Q5K>($($argument),*),
            BlockKind::Q6K => $function::<Q6K>($($argument),*),
        }
    };
}

/// Bytes and numbers of a block.
pub(crate) const fn sizes(kind: BlockKind) -> (usize, usize) {
    const fn of<B: Block>() -> (usize, usize) {
        (B::BYTES, B::GROUPS * GROUP)
    }
    with_block!(kind, of)
}

/// The first block with a scale that is no number, of whole blocks.
pub(crate) fn first_not_finite(kind: BlockKind, blocks: &[u8]) -> Option<usize> {
    fn find<B: Block>(blocks: &[u8]) -> Option<usize> {
        // f16 has infinities and NaN where all five bits of the exponent are set.
        let is_finite = |block: &[u8], at: usize| block[at + 1] & 0x7C != 0x7C;
        blocks.chunks_exact(B::BYTES).position(|block| !B::SCALES.iter().all(|&at| is_finite(block, at)))
    }
    with_block!(kind, find, blocks)
}

for_each_isa! {
    /// Writes the groups from `first` on, counted from the first block of `blocks`, until `out` is full: a whole number of groups.
    pub(crate) fn dequantise_groups(kind: BlockKind, blocks: &[u8], first: usize, out: &mut [f32]) {
        with_block!(kind, groups, blocks, first, out)
    }
}

#[inline(always)]
fn groups<B: Block>(blocks: &[u8], first: usize, out: &mut [f32]) {
    let (groups, rest) = out.as_chunks_mut::<GROUP>();
    assert!(rest.is_empty(), "whole groups");
    for (group, out) in (first..).zip(groups) {
        let block = &blocks[group / B::GROUPS * B::BYTES..][..B::BYTES];
        B::group(block, group % B::GROUPS, out);
    }
}

for_each_isa! {
    /// The sum of the products of the numbers of whole blocks with `x`, in an order that depends on their number alone.
    pub(crate) fn dot(kind: BlockKind, blocks: &[u8], x: &[f32]) -> f32 {
        with_block!(kind, dot_blocks, blocks, x)
    }
}

#[inline(always)]
fn dot_blocks<B: Block>(blocks: &[u8], x: &[f32]) -> f32 {
    let mut sums = [0.0_f32; GROUP];
    let (x, _) = x.as_chunks::<GROUP>();
    for (block, x) in blocks.chunks_exact(B::BYTES).zip(x.chunks_exact(B::GROUPS)) {
        for (group, x) in x.iter().enumerate() {
            let mut numbers = [0.0; GROUP];
            B::group(block, group, &mut numbers);
            for lane in 0..GROUP {
                sums[lane] += numbers[lane] * x[lane];
            }
        }
    }
    sums.iter().sum()
}

/// The f16 at byte `at`, which is finite.
#[inline(always)]
fn f16_at(block: &[u8], at: usize) -> f32 {
    let bits = u32::from(u16::from_le_bytes([block[at], block[at + 1]]));
    // Exponents of f16 begin 112 later; the product is exact, of subnormal numbers too.
    let size = f32::from_bits((bits & 0x7FFF) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
}

/// The sixteen bytes from `at` on.
#[inline(always)]
fn sixteen(block: &[u8], at: usize) -> &[u8; GROUP] {
    block[at..].first_chunk().unwrap_or(&[0; GROUP]) // a block is longer
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::f16_at;

    #[test]
    fn every_finite_f16_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let expected = f16::from_bits(bits).to_f32();
            if expected.is_finite() {
                assert_eq!(f16_at(&bits.to_le_bytes(), 0).to_bits(), expected.to_bits(), "{bits:#06x}");
            }
        }
    }
}
