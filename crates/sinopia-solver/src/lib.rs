//! Lays out a caption that was read: boxes of sensible sizes that stand as the caption says, a background, a negative caption.
//!
//! ```
//! use sinopia_english::read;
//! use sinopia_solver::{SolveOptions, solve};
//!
//! let caption = "three cats and a dog in the snow, no people";
//! let solution = solve(caption, &read(caption), &SolveOptions::default())?;
//! assert_eq!(solution.layout.objects.len(), 4);
//! assert!(solution.layout.background.contains("snow"));
//! assert_eq!(solution.layout.negative, "people");
//! # Ok::<(), sinopia_solver::Unsolvable>(())
//! ```

mod arrange;
mod carriers;
mod forest;
pub mod geometry;
mod group;
mod order;
mod phrases;
mod piece;
mod rect;
mod rows;
mod rule;
mod scene;
mod sizes;
mod solve;
mod version;

pub use solve::{MOST_BOXES, Remark, Solution, SolveOptions, Unsolvable, solve};
pub use version::SOLVER_VERSION;
