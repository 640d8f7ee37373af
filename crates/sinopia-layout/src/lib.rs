//! Layouts for grounded image generation: parse, repair, compose, draw.
//!
//! An LLM lays out a caption as named boxes, a background and a negative caption. This crate reads that answer, repairs
//! it, turns it into prompts with boxes for a diffusion method to paint, and draws it. It has no tensors and does no
//! input or output; the same text gives the same result on every machine.
//!
//! ```
//! use sinopia_layout::{Scene, parse_answer, repair, svg};
//!
//! let answer = "[('a blue dog', [40, 210, 180, 200]), ('a white bowl', [300, 330, 230, 80])]\n\
//!               Background prompt: A realistic photo of a scene\n\
//!               Negative prompt: ";
//! let (layout, report) = repair(parse_answer(answer)?);
//! assert_eq!(report.to_string(), "cut `a white bowl` at the edge of the canvas: [300, 330, 230, 80] to [300, 330, 212, 80]");
//! let scene = Scene::compose(&layout)?;
//! assert_eq!(scene.overall().text, "A realistic photo of a scene with a blue dog, a white bowl");
//! assert!(svg::render(&layout).contains("a blue dog"));
//! # Ok::<(), sinopia_layout::Error>(())
//! ```
//!
//! Three box types keep the units apart: [`PixelBox`] (pixels, as written; may leave the canvas), [`BBox`] (corners in
//! proportions, always inside), [`GridMask`] (cells, for losses). Start reading at [`Layout`] and [`Scene`].

mod error;
pub mod geometry;
pub mod gguf;
pub mod layout;
pub mod limits;
pub mod media;

pub mod hex;

mod literal;

pub mod cache;
pub mod exchange;
pub mod json;
pub mod parse;
pub mod python_json;
pub mod render;
pub mod repair;

pub mod names;
pub mod nouns;
pub mod scene;
pub mod svg;
pub mod tokens;
mod wording;

pub use cache::LayoutCache;
pub use error::{Error, Result, TextFault};
pub use geometry::{BBox, Canvas, Grid, GridMask, GridRect, GridRounding, PixelBox, Placement};
pub use layout::{Layout, LayoutObject};
pub use parse::{Answer, parse_answer, parse_answer_on, read_answer, spoken};
pub use render::write_answer;
pub use repair::{RepairMode, RepairReport, lost_all, repair, repair_with};
pub use scene::{GroundedPhrase, GroundedPrompt, Scene, SceneObject, SceneOptions};
pub use tokens::{LocatedPrompt, PhraseTokens, find_phrase, locate_phrases};
pub use wording::{brief, counted, excerpt, says_something};
