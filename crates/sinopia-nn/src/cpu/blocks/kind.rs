//! The types of blocks.

use super::sizes;

/// A type of blocks, as GGUF files name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// 32 numbers of 4 bits with a scale: 4.5 bits each.
    Q4_0,
    /// 32 numbers of 4 bits with a scale and an offset: 5 bits each.
    Q4_1,
    /// 32 numbers of 5 bits with a scale: 5.5 bits each.
    Q5_0,
    /// 32 numbers of 5 bits with a scale and an offset: 6 bits each.
    Q5_1,
    /// 32 numbers of 8 bits with a scale: 8.5 bits each.
    Q8_0,
    /// 256 numbers of 2 bits with scales and offsets of 4: 2.6 bits each.
    Q2K,
    /// 256 numbers of 3 bits with scales of 6: 3.4 bits each.
    Q3K,
    /// 256 numbers of 4 bits with scales and offsets of 6: 4.5 bits each.
    Q4K,
    /// 256 numbers of 5 bits with scales and offsets of 6: 5.5 bits each.
    Q5K,
    /// 256 numbers of 6 bits with scales of 8: 6.6 bits each.
    Q6K,
}

impl BlockKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// As files and their makers spell it, `Q4_K`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// The type with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Numbers of a block.
    pub const fn elements(self) -> usize {
        sizes(self).1
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        sizes(self).0
    }
}
