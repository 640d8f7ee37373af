//! What the planner needs of a language model: text in, text out, and an honest account of why not.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A language model somewhere.
pub trait Provider: Send + Sync {
    /// What tells its answers from those of others.
    fn identity(&self) -> Identity;

    /// Whether its answers are held to one canvas, token by token.
    fn is_canvas_fixed(&self) -> bool {
        false
    }

    /// The model's answer.
    ///
    /// # Errors
    /// [`CallError`]; whoever calls decides whether to try again.
    fn complete(&self, request: &CompletionRequest<'_>) -> Result<Completion, CallError>;
}

/// What a model is asked, and for how long.
#[derive(Clone, Copy)]
pub struct CompletionRequest<'a> {
    /// What was said so far; the last message is the user's.
    pub conversation: &'a [Message],
    /// Counts the answers that were asked for: 0 for the first one to a caption. Models that draw for themselves take it for their seed, so that the
    /// same draw is the same answer; servers draw as they like.
    pub draw: u64,
    /// The longest wait for the answer.
    pub timeout: Duration,
    /// Whether nobody waits any more. Models in process give up soon after it says so; what a server was asked ends by its `timeout`.
    pub is_cancelled: &'a dyn Fn() -> bool,
    /// Told how far a model in process has read the prompt.
    pub on_prompt: &'a dyn Fn(PromptProgress),
}

/// Tokens of a prompt that a model has read, and all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptProgress {
    /// Read so far.
    pub read: usize,
    /// To be read.
    pub tokens: usize,
}

impl fmt::Debug for CompletionRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conversation, draw, timeout, .. } = self;
        f.debug_struct("CompletionRequest")
            .field("conversation", conversation)
            .field("draw", draw)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// The parts of a cache key that belong to the provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Kind and address: `openai https://api.openai.com/v1`.
    pub provider: String,
    /// The model's name.
    pub model: String,
    /// Everything else that changes answers, as JSON.
    pub settings: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.model, self.provider)
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The planner, or whoever else asks.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: String,
    /// A picture that goes with it, as a `data:` address; for models that see.
    pub picture: Option<String>,
}

impl Message {
    /// Something the planner says.
    pub fn user(text: impl Into<String>) -> Self {
        Message { role: Role::User, text: text.into(), picture: None }
    }

    /// Something said about a picture, the bytes of a PNG.
    pub fn about_png(text: impl Into<String>, png: &[u8]) -> Self {
        use base64::Engine;
        let picture = format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png));
        Message { picture: Some(picture), ..Self::user(text) }
    }

    /// Something the model said.
    pub fn assistant(text: impl Into<String>) -> Self {
        Message { role: Role::Assistant, text: text.into(), picture: None }
    }
}

/// An answer and what it took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// Whether the model was stopped by the limit on tokens.
    pub is_cut: bool,
    /// Whether the text is the model's reasoning, as it answered nothing else.
    pub is_reasoning: bool,
    /// What happened on the way that is worth telling, a sentence each.
    pub notes: Vec<String>,
    /// Tokens as the server counts them, zero where it does not say; and requests that it refused before.
    pub usage: Usage,
}

/// Requests and tokens, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Requests sent, failed ones included.
    pub requests: u64,
    /// Tokens read by the model.
    pub prompt_tokens: u64,
    /// Tokens written by the model.
    pub completion_tokens: u64,
}

/// What a million tokens cost, in whatever money.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prices {
    /// A million tokens read.
    pub prompt: f64,
    /// A million tokens written.
    pub completion: f64,
}

impl Usage {
    /// What this came to, in the prices' money.
    pub fn cost(&self, prices: Prices) -> f64 {
        (self.prompt_tokens as f64 * prices.prompt + self.completion_tokens as f64 * prices.completion) / 1e6
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(other.completion_tokens);
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { requests, prompt_tokens, completion_tokens } = self;
        let requests = sinopia_layout::counted(*requests as usize, "request");
        write!(f, "{requests}, {prompt_tokens} tokens in, {completion_tokens} tokens out")
    }
}

/// Why a call brought no answer. No message holds a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The connection broke off.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// There is nobody at the address.
    #[error("nobody answers there: {0}")]
    Absent(String),
    /// Nothing (or not everything) came in time.
    #[error("no complete answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The server answered with an error.
    #[error("the server answered {status}{}", after_colon(message))]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the server says about it, with the parameter that it names.
        message: String,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
        /// Whether the account has nothing left, which waiting does not change.
        is_quota: bool,
    },
    /// The server wants the request, and the key with it, to go somewhere else.
    #[error("the server redirects ({status}) to {target}, which is not followed")]
    Redirect {
        /// The HTTP status.
        status: u16,
        /// Scheme and host it names.
        target: String,
    },
    /// The answer is longer than any layout.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// Most bytes read.
        limit: u64,
    },
    /// The answer is a web page or something else that is no JSON.
    #[error("the server answered with `{found}` instead of JSON")]
    ContentType {
        /// The content type.
        found: String,
    },
    /// The answer is not what the protocol says.
    #[error("the server's answer cannot be read: {0}")]
    Malformed(String),
    /// The model cannot do what is asked, however often.
    #[error("{0}")]
    Unable(String),
    /// A model in process broke down while it answered.
    #[error("{0}")]
    Failed(String),
    /// Nobody waits for the answer any more.
    #[error("nobody waits for the answer any more")]
    Cancelled,
    /// The answer has no text.
    #[error("the model answered nothing{}{}", after_colon(reason), if *has_reasoning { ", though it reasoned" } else { "" })]
    Empty {
        /// Why it ended, in the server's words; `length` is the limit on tokens.
        reason: String,
        /// Whether it wrote down what it thought.
        has_reasoning: bool,
    },
    /// The model or its server does not want to answer this.
    #[error("the model refuses to answer{}", after_colon(.0))]
    Declined(String),
}

/// Whether a model ended because of the limit on tokens, in the words of the protocol's endpoints.
pub(crate) fn is_limit(reason: &str) -> bool {
    matches!(reason, "length" | "max_output_tokens" | "max_tokens")
}

/// Whether a refusal says that the prompt is too long for the model.
fn is_about_context(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("context") && ["exceed", "length", "size", "window"].iter().any(|word| message.contains(word))
}

fn after_colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl CallError {
    /// Whether the same call may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            CallError::Connection(_) | CallError::Timeout(_) | CallError::Malformed(_) => true,
            // What was thought until there was no room left is thought again.
            CallError::Empty { reason, has_reasoning } => !(*has_reasoning || is_limit(reason)),
            CallError::Status { status, is_quota, .. } => {
                !is_quota && matches!(status, 408 | 409 | 425 | 429 | 500..=599)
            }
            CallError::Absent(_)
            | CallError::Redirect { .. }
            | CallError::TooLarge { .. }
            | CallError::ContentType { .. }
            | CallError::Cancelled
            | CallError::Unable(_)
            | CallError::Declined(_)
            | CallError::Failed(_) => false,
        }
    }

    /// How often the same call is made again at most: an answer that came whole and says nothing rarely gets better, a busy server does.
    pub fn most_retries(&self) -> u32 {
        match self {
            CallError::Malformed(_) | CallError::Empty { .. } => 1,
            _ => u32::MAX,
        }
    }

    /// Whether a call for any other caption would fail in the same way: no server, no access, no such model.
    pub fn concerns_all_captions(&self) -> bool {
        match self {
            CallError::Connection(_)
            | CallError::Absent(_)
            | CallError::Redirect { .. }
            | CallError::ContentType { .. } => true,
            CallError::Status { status, is_quota, .. } => *is_quota || matches!(status, 401..=404),
            _ => false,
        }
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            CallError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What to do about it, if something is known to help.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            CallError::Connection(_) | CallError::Absent(_) => {
                "is the server running, and is `--llm-base-url` its address? The built-in planner needs none: leave `--llm-model` out"
            }
            CallError::Timeout(_) => "`--llm-timeout SECONDS` allows more time for an answer",
            CallError::Status { is_quota: true, .. } => "the account has no credit left",
            CallError::Status { status: 401 | 403, .. } => {
                "the key comes from the environment variable SINOPIA_LLM_API_KEY; OPENAI_API_KEY is sent to api.openai.com only"
            }
            CallError::Status { status: 404, .. } => {
                "check `--llm-model`, and that `--llm-base-url` ends where the server's API begins, most often in `/v1`"
            }
            CallError::ContentType { .. } => {
                "`--llm-base-url` must be the address of the API, most often ending in `/v1`"
            }
            CallError::Status { status: 400 | 413 | 422, message, .. } if is_about_context(message) => {
                "the prompt and the longest answer have to fit into the server's context: start it with a larger one (`-c 8192` of llama.cpp, \
                 `OLLAMA_CONTEXT_LENGTH=8192`), or ask for shorter answers with `--llm-max-tokens`"
            }
            CallError::Empty { reason, has_reasoning } if *has_reasoning || is_limit(reason) => {
                "`--llm-max-tokens NUMBER` gives the model room to think and to answer, 8192 for instance"
            }
            CallError::Declined(_) => "another wording, or another model with `--llm-model`, may be answered",
            CallError::Redirect { .. } => "if the new place is right, name it with `--llm-base-url`",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
