//! Layouts from captions, by any language model.
//!
//! A planner asks a model for a layout, reads the answer, checks it against the caption, tells the model what is wrong, and
//! remembers what passed. It ends: calls, turns and time are bounded.
//!
//! ```no_run
//! use sinopia_planner::address::BaseUrl;
//! use sinopia_planner::openai::{OpenAi, OpenAiOptions};
//! use sinopia_planner::template::Template;
//! use sinopia_planner::{PlanOptions, Planner};
//!
//! let options = OpenAiOptions::new("mistralai/Mixtral-8x7B-Instruct-v0.1", BaseUrl::parse("vllm")?);
//! let template = Template::built_in(options.preset.format)?;
//! let model = OpenAi::new(options);
//! let planner = Planner::new(&model, &template, PlanOptions::default(), None);
//! let plan = planner.plan("two red apples to the left of a sleeping cat, no dogs", 0, &|event| eprintln!("{event}"))?;
//! println!("{}", plan.layout.to_json());
//! # Ok::<(), sinopia_planner::Error>(())
//! ```
//!
//! Start reading at [`Planner::plan`]; a model of another kind is a [`Provider`].

pub mod error;
pub mod planner;

pub mod caption;
pub mod checks;
mod words;

pub mod template;
mod two_step;

pub mod address;
pub mod built_in;
pub mod gguf;
pub mod openai;
mod places;
pub mod presets;
pub mod provider;
mod quoted;
pub mod retry;

pub mod batch;
pub mod cache;

pub use cache::Cache;
pub use error::{Error, Result};
pub use planner::{Plan, PlanEvent, PlanOptions, Planner};
pub use provider::{CallError, Prices, Provider, Usage};
