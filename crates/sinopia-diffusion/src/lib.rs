//! Schedulers, noise, guidance losses and generation methods.

mod error;
pub mod noise;
pub mod schedulers;

pub use error::{Error, Result};
