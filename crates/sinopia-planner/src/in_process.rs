//! What models in process say, in the words for models that are called.

use crate::provider::{CallError, Usage};

/// Failures as failures of calls.
pub(crate) fn call_error(error: sinopia_llm::Error) -> CallError {
    match error {
        sinopia_llm::Error::OutOfTime(limit) => CallError::Timeout(limit),
        sinopia_llm::Error::Cancelled => CallError::Cancelled,
        error => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let problem = format!("{error}{cause}");
            if error.is_bad_input() { CallError::Unable(problem) } else { CallError::Failed(problem) }
        }
    }
}

/// Tokens read and written.
pub(crate) fn usage(answer: &sinopia_llm::Answer) -> Usage {
    Usage { requests: 0, prompt_tokens: answer.prompt_tokens as u64, completion_tokens: answer.tokens.len() as u64 }
}
