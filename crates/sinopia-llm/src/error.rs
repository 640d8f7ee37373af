//! What can be wrong with a model file, and with a question to it.

use std::time::Duration;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a model cannot be read or does not answer. `origin` is the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read at all.
    #[error("cannot read the language model `{origin}`")]
    Read {
        /// The file.
        origin: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is no GGUF file, or is cut off or damaged.
    #[error("`{origin}` is not a sound GGUF file")]
    NotGguf {
        /// The file.
        origin: String,
        /// What the reader says.
        #[source]
        source: candle_core::Error,
    },
    /// The file is something else.
    #[error("`{origin}` is {found}, not a language model in GGUF")]
    OtherFile {
        /// The file.
        origin: String,
        /// What it is.
        found: &'static str,
    },
    /// The network is of a kind that cannot be run.
    #[error("`{origin}` holds a model of the architecture `{found}`; the ones that can be run are {known}")]
    Architecture {
        /// The file.
        origin: String,
        /// What it holds.
        found: String,
        /// What would do.
        known: String,
    },
    /// The metadata lacks something, or it says something that cannot be.
    #[error("the metadata of `{origin}` cannot be used: `{key}` {problem}")]
    Metadata {
        /// The file.
        origin: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The weights do not make up the network that the metadata describes.
    #[error("the weights of `{origin}` do not fit its description")]
    Weights {
        /// The file.
        origin: String,
        /// Which tensor, and what is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The chat template does not work.
    #[error("the chat template of `{origin}` does not work")]
    ChatTemplate {
        /// The file.
        origin: String,
        /// What was wrong, with its line.
        #[source]
        source: Box<minijinja::Error>,
    },
    /// The conversation does not fit into the model.
    #[error("the prompt has {tokens} tokens, and the model reads {context}, its answer included")]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// What the model was made for.
        context: usize,
    },
    /// The grammar cannot be used.
    #[error("the grammar for the answer cannot be used: {problem}")]
    Grammar {
        /// What the grammar engine says.
        problem: String,
    },
    /// The answer was not finished in time.
    #[error("no complete answer within {} s", .0.as_secs_f64())]
    OutOfTime(Duration),
    /// Nobody waits for the answer any more.
    #[error("cancelled")]
    Cancelled,
    /// Arithmetic failed.
    #[error("the model could not be run")]
    Run(#[from] sinopia_nn::Error),
}

impl Error {
    /// Whether what was given cannot be used (the file, or a question that does not fit it), so that the same again would fail again; what is left are
    /// failures on the way: time, arithmetic, a cancellation.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::OutOfTime(_) | Self::Run(_) | Self::Cancelled => false,
            Self::Read { .. }
            | Self::NotGguf { .. }
            | Self::OtherFile { .. }
            | Self::Architecture { .. }
            | Self::Metadata { .. }
            | Self::Weights { .. }
            | Self::ChatTemplate { .. }
            | Self::TooLong { .. }
            | Self::Grammar { .. } => true,
        }
    }

    /// Whether somebody asked for the end.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_told_from_what_failed() {
        assert!(Error::TooLong { tokens: 9, context: 8 }.is_bad_input());
        assert!(!Error::OutOfTime(Duration::from_secs(1)).is_bad_input());
        assert!(Error::Cancelled.is_cancelled() && !Error::Cancelled.is_bad_input());
    }
}
