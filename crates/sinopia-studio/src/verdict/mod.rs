//! What an evaluator sees of what was wanted: a picture's verdict.
//!
//! A [`Program`] says what the picture has to show: objects with places and colours, how many of each kind, kinds that must not be there, how objects stand to each other. It is compiled once,
//! by rule, from the layout and the caption. [`Look`] is somebody who looks at the picture with it, a detector or a model that answers questions; the answer is a [`Verdict`], the same for the
//! command line, the server, the page and the benchmarks. Start reading at [`Program::compile`], then [`Look`].
//!
//! Between *there* and *not there* is *unsure*: scores between two thresholds make no tick and no edit.

mod data;
mod json;
mod loss;
mod summary;

mod program;
mod reasons;

mod look;
mod unknown;

mod answers;
mod boxes;
mod colours;
mod queries;
mod relations;
mod things;

#[cfg(test)]
mod testing;

pub(crate) use colours::is_colour;
pub use data::{ObjectState, ObjectVerdict, RelationState, RelationVerdict, SeenThing, Verdict};
pub use look::Look;
pub use loss::Loss;
pub(crate) use loss::SAME_THING_IOU;
pub use program::{ExcludedThing, Kind, Program, WantedObject, WantedRelation};
pub use sinopia_eval::evaluators::Thresholds;
