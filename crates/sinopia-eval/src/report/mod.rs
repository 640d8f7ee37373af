//! Reports of one or more runs: tables for people ([`markdown()`]), data for programs ([`json()`]), a web page with every image ([`html()`]).

mod html;
mod json;
mod markdown;
mod runs;

pub use html::html;
pub use json::json;
pub use markdown::{comparison_table, markdown, rates_table};
pub use runs::{Comparison, Report, RunReport};
