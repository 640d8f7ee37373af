//! Blocks of 32 numbers with one scale, or a scale and an offset.

use super::{Block, GROUP, f16_at, sixteen};

/// `scale · (q − 8)`, q of four bits: the first sixteen in the low halves of the bytes.
pub(super) struct Q4_0;
/// `scale · q + offset`, q of four bits.
pub(super) struct Q4_1;
/// `scale · (q − 16)`, q of five bits, whose fifth stand together.
pub(super) struct Q5_0;
/// `scale · q + offset`, q of five bits.
pub(super) struct Q5_1;
/// `scale · q`, q of eight bits with a sign.
pub(super) struct Q8_0;

impl Block for Q4_0 {
    const BYTES: usize = 18;
    const GROUPS: usize = 2;
    const SCALES: &'static [usize] = &[0];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let scale = f16_at(block, 0);
        for (out, &byte) in out.iter_mut().zip(sixteen(block, 2)) {
            *out = (i32::from(byte >> (4 * group) & 15) - 8) as f32 * scale;
        }
    }
}

impl Block for Q4_1 {
    const BYTES: usize = 20;
    const GROUPS: usize = 2;
    const SCALES: &'static [usize] = &[0, 2];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let (scale, offset) = (f16_at(block, 0), f16_at(block, 2));
        for (out, &byte) in out.iter_mut().zip(sixteen(block, 4)) {
            *out = i32::from(byte >> (4 * group) & 15) as f32 * scale + offset;
        }
    }
}

impl Block for Q5_0 {
    const BYTES: usize = 22;
    const GROUPS: usize = 2;
    const SCALES: &'static [usize] = &[0];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let scale = f16_at(block, 0);
        for (out, q) in out.iter_mut().zip(five_bits(block, 2, group)) {
            *out = (i32::from(q) - 16) as f32 * scale;
        }
    }
}

impl Block for Q5_1 {
    const BYTES: usize = 24;
    const GROUPS: usize = 2;
    const SCALES: &'static [usize] = &[0, 2];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let (scale, offset) = (f16_at(block, 0), f16_at(block, 2));
        for (out, q) in out.iter_mut().zip(five_bits(block, 4, group)) {
            *out = f32::from(q) * scale + offset;
        }
    }
}

impl Block for Q8_0 {
    const BYTES: usize = 34;
    const GROUPS: usize = 2;
    const SCALES: &'static [usize] = &[0];

    #[inline(always)]
    fn group(block: &[u8], group: usize, out: &mut [f32; GROUP]) {
        let scale = f16_at(block, 0);
        for (out, &byte) in out.iter_mut().zip(sixteen(block, 2 + GROUP * group)) {
            *out = f32::from(byte as i8) * scale;
        }
    }
}

/// A group's sixteen numbers of five bits. The fifth bits stand from byte `at` on, four bytes for both groups, and the others behind them.
#[inline(always)]
fn five_bits(block: &[u8], at: usize, group: usize) -> [u8; GROUP] {
    let (four, _) = sixteen(block, at + 4).as_chunks::<8>();
    let mut numbers = [0; GROUP];
    let (halves, _) = numbers.as_chunks_mut::<8>();
    for (half, numbers) in halves.iter_mut().enumerate() {
        let four = u64::from_le_bytes(four[half]) >> (4 * group) & 0x0F0F_0F0F_0F0F_0F0F;
        *numbers = (four | FIFTH_BITS[usize::from(block[at + 2 * group + half])]).to_le_bytes();
    }
    numbers
}

/// The bits of a byte, each the fifth of a byte of its own, the lowest first: looked up, as picking them one by one does not become vector instructions.
static FIFTH_BITS: [u64; 256] = {
    let mut table = [0; 256];
    let mut place = 0;
    while place < 2048 {
        let (byte, bit) = (place / 8, place % 8);
        table[byte] |= (byte as u64 >> bit & 1) << (8 * bit + 4);
        place += 1;
    }
    table
};
