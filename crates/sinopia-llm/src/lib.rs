//! Language models from GGUF files, run in process, with answers that keep to a grammar.
//!
//! Everything comes from the one file: weights, vocabulary, chat template. The networks are candle's quantized ones (`llama`, which Mistral and
//! Mixtral are too, `qwen2`, `qwen3`, `gemma3`, `phi3`); what is added here is the tokenizer out of the file's metadata, the conversation, and
//! decoding under a [`Constraint`], so that an answer which does not fit cannot be written.
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

mod chat;
mod constraint;
mod file;
mod gemma3;
mod head_limits;
mod network;
mod sampling;
mod vocabulary;

pub use chat::Role;
pub use constraint::Constraint;
pub use error::{Error, Result};
pub use model::{Answer, Generation, LanguageModel};
pub use sampling::TokenSampling;
