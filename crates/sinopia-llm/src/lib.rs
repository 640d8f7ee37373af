//! Language models from GGUF files, run in process, with answers that keep to a grammar.
//!
//! Everything comes from the one file: weights, vocabulary, chat template. One network is all that can be run (`llama`, which Mistral and Mixtral are too,
//! `qwen2`, `qwen3`, `gemma3`, `phi3`), multiplied by sinopia-nn's kernels with weights as the file has them. A prompt is read by products of matrices, and
//! what it begins with is not read again where the one before began alike. Answers are decoded under a [`Constraint`], so that one which does not fit cannot be
//! written.
//!
//! ```no_run
//! use sinopia_llm::{Constraint, Generation, LanguageModel, Role};
//!
//! let model = LanguageModel::open("qwen3-4b-q4_k_m.gguf".as_ref())?;
//! let schema = serde_json::json!({"type": "array", "items": {"type": "string"}});
//! let generation = Generation { constraint: Constraint::JsonSchema(&schema), ..Generation::default() };
//! let answer = model.answer(&[(Role::User, "Three colours, as a JSON list.")], &generation)?;
//! println!("{}", answer.text);
//! # Ok::<(), sinopia_llm::Error>(())
//! ```
//!
//! Start reading at [`LanguageModel::answer`].

mod error;
mod model;

#[cfg(test)]
mod against_candle;
mod architecture;
mod chat;
mod constraint;
mod file;
mod network;
mod sampling;
mod transformer;
mod vocabulary;
mod weights;

pub use chat::Role;
pub use constraint::Constraint;
pub use error::{Error, Result};
pub use model::{Answer, Generation, LanguageModel, Observer, PromptProgress};
pub use sampling::TokenSampling;
