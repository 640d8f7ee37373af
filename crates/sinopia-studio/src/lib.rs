//! From a caption to a checked picture: what every program that paints with Sinopia has in common.
//!
//! ```
//! use sinopia_studio::{PaintSettings, PaintSpec, Studio};
//!
//! let studio = Studio::new()?; // the built-in planner, models and detector
//! let quick = PaintSettings { steps: Some(4), method: Some("gligen".to_owned()), ..PaintSettings::default() };
//! let spec = PaintSpec::new("a red apple to the left of a blue cup").with(quick);
//! let picture = studio.paint(&spec)?;
//! let verdict = studio.verify(&picture)?;
//! println!("{} of the layout's objects: all found: {}", verdict.objects.len(), verdict.is_right());
//! assert!(picture.png.starts_with(b"\x89PNG"));
//! # assert_eq!(verdict.objects.len(), 2);
//! # Ok::<(), sinopia_studio::Error>(())
//! ```
//!
//! What is in between, in reading order: a [`PaintSpec`] says what somebody wants, its [`PaintSettings`] how, as far as anybody said. [`PaintSpec::resolve`]
//! answers every open question; the [`ResolvedSpec`] asks its method, on a [model](models) in memory, for a [`Picture`], which carries the
//! [`Recipe`](sinopia_diffusion::Recipe) that [`PaintSpec::repeat`] makes it again from. A [`Painter`] does all of that: [`Studio`] here, a server elsewhere.

mod compute;
mod error;
mod init;
mod painter;
mod picture;
mod repeat;
mod settings;
mod spec;
mod studio;

pub mod assignment;
pub mod checked;
pub mod editing;
pub mod models;
pub mod pictures;
pub mod verdict;
pub mod vocabulary;

pub use checked::{AttemptReport, CheckOptions, Checked};
pub use compute::{Compute, PrecisionChoice};
pub use error::{Error, Result};
pub use init::{InitPicture, NamedBytes};
pub use painter::{Painted, Painter};
pub use picture::{Picture, encode_png, recipe_in, rgb};
pub use repeat::newer_version_warning;
pub use settings::{
    CheckSettings, Described, InitSettings, LlmDiscovery, MachineSettings, PaintSettings, PlannerSettings, RunSetting,
    Settings, SourceError, parse_canvas, parse_size,
};
pub use spec::{
    AUTO, DEFAULT_METHOD, DEFAULT_MODEL, DEFAULT_SEED, DEFAULT_STEPS, PaintSpec, RequestedMethod, ResolvedSpec,
    parse_scheduler,
};
pub use studio::{Studio, detector_for, open_detector};
pub use verdict::{ObjectVerdict, Verdict};
