//! Layouts from captions: by rules, or by any language model.
//!
//! A [`Planner`] turns a [`PlanTask`] into a [`Plan`]. The built-in one reads the caption and solves for a layout. A language model is asked for one, its answer is read
//! and checked against the caption, it is told what is wrong, and what passed is remembered. It ends: calls, turns and time are bounded.
//!
//! ```no_run
//! use sinopia_planner::config::{self, PlannerConfig};
//! use sinopia_planner::{PlanContext, PlanTask};
//!
//! let config = PlannerConfig {
//!     model: Some("mistralai/Mixtral-8x7B-Instruct-v0.1".to_owned()),
//!     base_url: Some("vllm".to_owned()),
//!     ..PlannerConfig::default()
//! };
//! let planner = config::open(&config, &|event| eprintln!("{event}"))?;
//! let task = PlanTask::caption("two red apples to the left of a sleeping cat, no dogs");
//! let plan = planner.plan(&task, &PlanContext::default().on_event(&|event| eprintln!("{event}")))?;
//! println!("{}", plan.layout.to_json());
//! # Ok::<(), sinopia_planner::Error>(())
//! ```
//!
//! Start reading at [`Planner`], then at one of its implementations: [`chat::ChatPlanner`] asks a language model, which is a [`Provider`];
//! [`built_in::BuiltInPlanner`] asks nobody; [`cached::CachedPlanner`] adds a memory to any.

pub mod error;
pub mod planner;
mod remark;
mod search;

pub mod checks;

mod answer;
pub mod chat;
pub mod template;
mod two_step;

pub mod address;
pub mod gguf;
pub mod local_servers;
pub mod openai;
pub mod presets;
pub mod provider;
mod refused;
mod reply;
pub mod retry;

pub mod built_in;

pub mod batch;
pub mod cache;
pub mod cached;
pub mod config;

pub use cache::Cache;
pub use config::{PlannerConfig, PlannerKind, open};
pub use error::{Error, Result};
pub use planner::{
    Plan, PlanContext, PlanEvent, PlanGoal, PlanNote, PlanOptions, PlanTask, Planner, PlannerIdentity, PlannerInfo,
};
pub use provider::{CallError, Prices, Provider, Usage};
pub use remark::PlanRemark;
