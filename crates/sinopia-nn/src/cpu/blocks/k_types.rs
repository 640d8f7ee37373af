//! Blocks of 256 numbers, whose groups have scales that are small multiples of the block's.
//!
//! The numbers stand in halves or quarters of the block: bits of number `i`, `i + 32`, … share a byte.

use super::{Block, GROUP, f16_at, sixteen};

/// `scale · s · q − offset · o`, q of two bits, s and o of four for each group.
pub(super) struct Q2K;
/// `scale · s · (q − 4)`, q of three bits, whose third stand apart, s of six for each group.
pub(super) struct Q3K;
/// `scale · s · q − offset · o`, q of four bits, s and o of six for two groups.
pub(super) struct Q4K;
/// `scale · s · q − offset · o`, q of five bits, whose fifth stand apart, s and o of six for two groups.
pub(super) struct Q5K;
/// `scale · s · (q − 32)`, q of six bits, whose upper two stand apart, s of eight for each group.
pub(super) struct Q6K;

impl Block for Q2K {
    const BYTES: usize = 84;
    const GROUPS: usize = 16;
    const SCALES: &'static [usize] = &[80, 82];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let Place { half, quarter, side } = Place::of(group);
        let scales = block[group];
        let scale = f16_at(block, 80) * f32::from(scales & 15);
        let offset = f16_at(block, 82) * f32::from(scales >> 4);
        for (out, &byte) in out.iter_mut().zip(sixteen(block, 16 + 32 * half + GROUP * side)) {
            *out = scale * i32::from(byte >> (2 * quarter) & 3) as f32 - offset;
        }
    }
}

impl Block for Q3K {
    const BYTES: usize = 110;
    const GROUPS: usize = 16;
    const SCALES: &'static [usize] = &[108];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let Place { half, quarter, side } = Place::of(group);
        let low = block[96 + group % 8] >> (4 * (group / 8)) & 15;
        let high = block[104 + group % 4] >> (2 * (group / 4)) & 3;
        let scale = f16_at(block, 108) * (i32::from(low | high << 4) - 32) as f32;
        let third = sixteen(block, GROUP * side);
        let bytes = sixteen(block, 32 + 32 * half + GROUP * side);
        for (out, (&byte, &third)) in out.iter_mut().zip(bytes.iter().zip(third)) {
            let q = byte >> (2 * quarter) & 3 | (third >> (4 * half + quarter) & 1) << 2;
            *out = scale * (i32::from(q) - 4) as f32;
        }
    }
}

impl Block for Q4K {
    const BYTES: usize = 144;
    const GROUPS: usize = 16;
    const SCALES: &'static [usize] = &[0, 2];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let (scale, offset) = scale_and_offset(block, group / 2);
        let (pair, half) = (group / 4, group / 2 % 2);
        for (out, &byte) in out.iter_mut().zip(sixteen(block, 16 + 32 * pair + GROUP * (group % 2))) {
            *out = scale * i32::from(byte >> (4 * half) & 15) as f32 - offset;
        }
    }
}

impl Block for Q5K {
    const BYTES: usize = 176;
    const GROUPS: usize = 16;
    const SCALES: &'static [usize] = &[0, 2];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let (scale, offset) = scale_and_offset(block, group / 2);
        let (pair, half) = (group / 4, group / 2 % 2);
        let fifth = sixteen(block, 16 + GROUP * (group % 2));
        let bytes = sixteen(block, 48 + 32 * pair + GROUP * (group % 2));
        for (out, (&byte, &fifth)) in out.iter_mut().zip(bytes.iter().zip(fifth)) {
            let q = byte >> (4 * half) & 15 | (fifth >> (group / 2) & 1) << 4;
            *out = scale * i32::from(q) as f32 - offset;
        }
    }
}

impl Block for Q6K {
    const BYTES: usize = 210;
    const GROUPS: usize = 16;
    const SCALES: &'static [usize] = &[208];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let Place { half, quarter, side } = Place::of(group);
        let scale = f16_at(block, 208) * f32::from(block[192 + group] as i8);
        let low = sixteen(block, 64 * half + 32 * (quarter % 2) + GROUP * side);
        let high = sixteen(block, 128 + 32 * half + GROUP * side);
        for (out, (&low, &high)) in out.iter_mut().zip(low.iter().zip(high)) {
            let q = low >> (4 * (quarter / 2)) & 15 | (high >> (2 * quarter) & 3) << 4;
            *out = scale * (i32::from(q) - 32) as f32;
        }
    }
}

/// Where a group stands: in a half of 128 numbers, a quarter of that, and a side of that.
struct Place {
    half: usize,
    quarter: usize,
    side: usize,
}

impl Place {
    #[inline(always)]
    fn of(group: usize) -> Self {
        Self { half: group / 8, quarter: group / 2 % 4, side: group % 2 }
    }
}

/// Scale and offset of the `index`-th of eight stretches of 32 numbers: six bits each, the last four of which have their upper bits with the first.
#[inline(always)]
fn scale_and_offset(block: &[u8], index: usize) -> (f32, f32) {
    let byte = |i: usize| block[4 + i];
    let (scale, offset) = match index {
        0..4 => (byte(index) & 63, byte(index + 4) & 63),
        _ => (byte(index + 4) & 15 | byte(index - 4) >> 6 << 4, byte(index + 4) >> 4 | byte(index) >> 6 << 4),
    };
    (f16_at(block, 0) * f32::from(scale), f16_at(block, 2) * f32::from(offset))
}
