//! Layout-grounded image generation: a facade over the workspace's crates, for programs that paint. [`studio`] is where to begin.
//!
//! ```no_run
//! use sinopia::studio::{PaintSpec, Studio};
//!
//! let studio = Studio::new()?;
//! let picture = studio.paint(&PaintSpec::new("two red apples to the left of a sleeping cat, no dogs"))?;
//! std::fs::write("cat.png", &picture.png)?;
//! println!("as the caption says: {}", studio.verify(&picture)?.is_right());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use sinopia_diffusion as diffusion;
pub use sinopia_eval as eval;
pub use sinopia_layout as layout;
pub use sinopia_models as models;
pub use sinopia_planner as planner;
pub use sinopia_studio as studio;
pub use sinopia_studio::pictures;
