//! What can go wrong in an operation, with the shapes that were found.

use candle_core::{DType, Tensor};

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor does not have the shape that the operation needs.
    #[error("{op}: {what} has shape {found:?}, expected {expected}")]
    Shape {
        /// The operation, as its function or type is called.
        op: &'static str,
        /// Which of its arguments.
        what: &'static str,
        /// The shape wanted, in words or with letters for free axes.
        expected: String,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A tensor holds elements of a type that the operation does not take.
    #[error("{op}: {what} holds {found:?}, expected {expected}")]
    DType {
        /// The operation, as its function or type is called.
        op: &'static str,
        /// Which of its arguments.
        what: &'static str,
        /// The types wanted.
        expected: &'static str,
        /// The type found.
        found: DType,
    },
    /// An option has a value outside its range.
    #[error("{op}: {what} is {found}, expected {expected}")]
    Option {
        /// The operation, as its function or type is called.
        op: &'static str,
        /// Which option.
        what: &'static str,
        /// The values allowed.
        expected: String,
        /// The value given.
        found: String,
    },
    /// Bytes that should be a layer's packed weight are not.
    #[error("no packed weight in the order {order}: {problem}")]
    Packed {
        /// The order of the bytes.
        order: &'static str,
        /// What is wrong with them.
        problem: String,
    },
    /// The number of worker threads was already fixed.
    #[error("the number of threads can only be set once, before the first computation")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    /// The tensor library refused an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// A [`Error::Shape`] for `tensor`.
    pub(crate) fn shape(op: &'static str, what: &'static str, expected: impl Into<String>, tensor: &Tensor) -> Self {
        Self::Shape { op, what, expected: expected.into(), found: tensor.dims().to_vec() }
    }
}

/// Activations are f32 everywhere; anything else is refused rather than converted behind the caller's back.
pub(crate) fn expect_f32(op: &'static str, what: &'static str, tensor: &Tensor) -> Result<()> {
    if tensor.dtype() == DType::F32 {
        return Ok(());
    }
    Err(Error::DType { op, what, expected: "f32", found: tensor.dtype() })
}
