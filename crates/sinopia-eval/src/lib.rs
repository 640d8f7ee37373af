//! Benchmarks of whether pictures show what their captions say, run folders, scores and reports.
//!
//! A [`Benchmark`] is a list of captions with a rule for each. Stage 1 asks whether the layouts are right ([`layouts`]); stage 2 paints every
//! caption into a [`run`] folder, lets an evaluator look, most often a detector, and asks the same rule.
//!
//! ```
//! use sinopia_eval::{Protocol, benchmarks, layouts, tally};
//! use sinopia_layout::LayoutCache;
//!
//! let benchmark = benchmarks::open("lmd")?;
//! let sample = &benchmark.samples()[200];
//! assert_eq!(sample.caption, "A realistic photo of a scene with a blue dog and a white bowl");
//! let cache = LayoutCache::from_json(
//!     r#"{"A realistic photo of a scene with a blue dog and a white bowl":
//!         ["[('a blue dog', [40, 210, 180, 200]), ('a white bowl', [300, 330, 130, 80])]\nBackground prompt: A realistic scene\nNegative prompt: "]}"#,
//! )?;
//! let (sample, layout) = layouts::find_all(&cache, &[sample])?.remove(0);
//! let verdict = layouts::judge(benchmark.as_ref(), sample, layout, Protocol::Strict);
//! assert!(verdict.passed());
//! assert_eq!(tally::tally(benchmark.as_ref(), &[(sample.index, verdict)])[0].task, "attribution");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Start reading at [`benchmark`], then [`benchmarks`] (one file each).

pub mod benchmark;
pub mod benchmarks;

pub mod edits;
pub mod evaluators;
pub mod layouts;
pub mod record;
pub mod run;
pub mod score;

pub mod published;
pub mod report;
pub mod stats;
pub mod tally;

mod error;
mod files;
mod names;
mod random;

pub use benchmark::{Benchmark, Capability, ImageSize, Prediction, Protocol, Query, Sample, Verdict};
pub use error::{Error, Result};
pub use evaluators::{Detector, Evaluator};
pub use files::picture;
pub use record::{Painted, PictureRecord};
pub use run::{RunFolder, RunSettings};
pub use score::Scores;
