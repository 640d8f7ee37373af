//! What an answer's boxes are as they are written, before anything is understood of their numbers.

use super::scale::Numbers;
use crate::geometry::Canvas;
use crate::literal::Fault;

/// Most keys that are told.
const MAX_UNUSED: usize = 8;

/// Most objects whose faults are told.
const MAX_LEFT_OUT: usize = 20;

/// An object as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenBox {
    pub(super) phrase: String,
    pub(super) numbers: Numbers,
    /// Where its numbers stand.
    pub(super) offset: usize,
}

/// The boxes of one value, and what else is written beside them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Written {
    pub(super) boxes: Vec<WrittenBox>,
    pub(super) canvas: Option<Canvas>,
    pub(super) background: Option<String>,
    pub(super) negative: Option<String>,
    /// Whether it is JSON or like it, which may be whole without captions.
    pub(super) is_record: bool,
    /// Keys that nothing was made of; the first of them.
    pub(super) unused: Vec<String>,
    /// What is wrong with objects that are no boxes, where others are; the first of them, if there are many.
    pub(super) left_out: Vec<Fault>,
    /// Where lines hold four numbers that were not read as a box.
    pub(super) unread: Vec<usize>,
}

impl Written {
    /// Notes what is wrong with an object that is no box.
    pub(super) fn leave_out(&mut self, fault: Fault) {
        if self.left_out.len() < MAX_LEFT_OUT {
            self.left_out.push(fault);
        }
    }

    /// Notes a key that nothing is made of.
    pub(super) fn leave_unused(&mut self, key: &str) {
        if self.unused.len() < MAX_UNUSED && !self.unused.iter().any(|known| known == key) {
            self.unused.push(key.to_owned());
        }
    }
}
