//! Reports of one or more runs: tables for people ([`markdown()`]), data for programs ([`json()`]), a web page with every image ([`html()`]).

mod cost;
mod equal_work;
mod html;
mod json;
mod markdown;
mod runs;

pub use cost::Cost;
pub use equal_work::EqualWork;
pub use html::html;
pub use json::json;
pub use markdown::{comparison_table, markdown, rates_table};
pub use runs::{Comparison, Report, RunReport};
