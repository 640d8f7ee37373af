//! Models by name, opened, loaded and kept: the built-in ones, folders, files, the Hub.
//!
//! A name ([`names`]) leads to an [`OpenedModel`], whose files were looked at; [`LoadedModel`] has its networks in memory; [`ModelCache`] keeps those.

pub mod built_in;
mod cache;
mod ella;
mod info;
mod loaded;
pub mod memory;
pub mod names;
mod opened;
mod sam;

pub use cache::{Cached, ModelCache, ModelKey};
pub use ella::EllaSource;
pub use info::ModelInfo;
pub use loaded::{LoadedModel, PUBLISHED_GUIDANCE_SCALE, SMALL_GUIDANCE_SCALE};
pub use opened::{OpenedModel, check_file};
pub use sam::{NO_SAM, check_sam};
