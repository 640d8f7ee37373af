//! Bytes that somebody else keeps in memory: a part of a mapped file.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A part of what `owner` holds, which lives as long as any part of it. Cloning is cheap.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl SharedBytes {
    /// The bytes `range` of `owner`, nothing if it does not have them. The owner has to give the same bytes whenever it is asked.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<Self> {
        (*owner).as_ref().get(range.clone())?;
        Some(Self { owner, range })
    }

    /// A part of this part, nothing if it does not have it.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        self.get(range.clone())?;
        Some(Self {
            owner: Arc::clone(&self.owner),
            range: self.range.start + range.start..self.range.start + range.end,
        })
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::SharedBytes;

    #[test]
    fn parts_end_with_the_whole() {
        let whole = SharedBytes::new(Arc::new(vec![1_u8, 2, 3, 4, 5]), 1..5).unwrap();
        assert_eq!(*whole, [2, 3, 4, 5]);
        assert_eq!(*whole.part(1..3).unwrap(), [3, 4]);
        assert!(whole.part(1..5).is_none());
        assert!(SharedBytes::new(Arc::new(vec![0_u8; 3]), 2..4).is_none());
    }
}
