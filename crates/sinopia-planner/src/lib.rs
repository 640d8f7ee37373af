//! Layouts from captions: by any language model, or by the small one that comes with the program.
//!
//! A [`Planner`] turns a [`PlanTask`] into a [`Plan`]. A language model is asked for a layout, its answer is read and checked against the caption, it is told
//! what is wrong, and what passed is remembered. It ends: calls, turns and time are bounded.
//!
//! ```no_run
//! use sinopia_planner::config::{self, PlannerConfig};
//! use sinopia_planner::{PlanContext, PlanTask};
//!
//! let config = PlannerConfig {
//!     model: Some("mistralai/Mixtral-8x7B-Instruct-v0.1".to_owned()),
//!     base_url: Some("vllm".to_owned()),
//!     ..PlannerConfig::new(&[])
//! };
//! let planner = config::open(&config, &|event| eprintln!("{event}"))?;
//! let task = PlanTask::caption("two red apples to the left of a sleeping cat, no dogs");
//! let plan = planner.plan(&task, &PlanContext::default().on_event(&|event| eprintln!("{event}")))?;
//! println!("{}", plan.layout.to_json());
//! # Ok::<(), sinopia_planner::Error>(())
//! ```
//!
//! Start reading at [`Planner`], then at one of its implementations: [`chat::ChatPlanner`] asks a language model, which is a [`Provider`];
//! [`built_in::BuiltInPlanner`] has its own; [`cached::CachedPlanner`] adds a memory to any.

pub mod error;
pub mod planner;
mod search;

pub mod caption;
pub mod checks;
mod words;

mod answer;
pub mod chat;
pub mod template;
mod two_step;

pub mod address;
pub mod gguf;
mod in_process;
pub mod openai;
pub mod presets;
pub mod provider;
pub mod retry;

pub mod built_in;
mod places;
mod quoted;

pub mod batch;
pub mod cache;
pub mod cached;
pub mod config;

pub use cache::Cache;
pub use config::{PlannerConfig, PlannerKind, open};
pub use error::{Error, Result};
pub use planner::{
    Plan, PlanContext, PlanEvent, PlanGoal, PlanOptions, PlanTask, Planner, PlannerIdentity, PlannerInfo,
};
pub use provider::{CallError, Prices, Provider, Usage};
