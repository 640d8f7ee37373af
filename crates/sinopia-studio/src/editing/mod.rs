//! A finished picture changed in one place, the rest of it kept.
//!
//! Start reading at [`Studio::edit`](crate::Studio::edit). What is to be changed comes as [`Change`]s in people's words or as another layout; [`plan`] finds the objects that are
//! meant and makes operations of them, which `sinopia_diffusion::edit` does to a picture whose trajectory is known: painted again from the recipe in its file, or, of pictures that were
//! not painted here, found by inversion ([`Source`]).

mod change;
mod context;
mod diff;
mod error;
mod find;
mod free_place;
mod job;
mod place;
mod plan;
mod rescale;
mod search;
mod seen;
mod source;

pub use change::Change;
pub use context::{Cell, EditContext, Object, ObjectSearch, Sighting};
pub use diff::diff;
pub use error::EditError;
pub use job::{EditJob, EditResources, EditSpec, EditedPicture, Wanted};
pub use place::Place;
pub use plan::{DEFAULT_STRENGTH, EditPlan, plan, plan_layout};
pub use search::DetectorSearch;
pub use source::Source;
