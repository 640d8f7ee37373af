//! A language model from a GGUF file, run in process; it cannot write an answer that is no layout.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sinopia_layout::{Canvas, hex};
use sinopia_llm::{Constraint, Generation, LanguageModel, Observer, Role as LlmRole, TokenSampling};

use crate::provider::{
    CallError, Completion, CompletionRequest, Identity, Message, PromptProgress, Provider, Role, Usage,
};
use crate::template::{AnswerFormat, TWO_STEP_SCHEMA};

/// Bytes at the beginning of a file, where its metadata lies, that tell it from others in the cache.
const IDENTIFYING_BYTES: u64 = 1 << 20;

/// Most boxes of a layout, and longest texts in characters: whatever keeps to them fits into [`GgufOptions::max_tokens`].
const MOST_BOXES: usize = 20;
const LONGEST_PHRASE: usize = 60;
const LONGEST_PROMPT: usize = 160;

/// How a model file is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufOptions {
    /// The file.
    pub path: PathBuf,
    /// How answers are written.
    pub format: AnswerFormat,
    /// The canvas of the layouts.
    pub canvas: Canvas,
    /// Randomness, 0..=2; 0 takes the likeliest token. The published value is 0.25.
    pub temperature: f64,
    /// Longest answer in tokens.
    pub max_tokens: u32,
}

impl GgufOptions {
    /// JSON, the published temperature, and room for the longest layout.
    pub fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path, format: AnswerFormat::Json, canvas: Canvas::PUBLISHED, temperature: 0.25, max_tokens: 2048 }
    }
}

/// A model from a file.
#[derive(Debug)]
pub struct Gguf {
    options: GgufOptions,
    model: LanguageModel,
    identity: String,
    schema: Value,
}

impl Gguf {
    /// Reads the file.
    ///
    /// # Errors
    /// [`crate::Error::Model`] if it cannot be read or run.
    pub fn open(options: GgufOptions) -> crate::Result<Self> {
        let model = LanguageModel::open(&options.path)?;
        let identity = identify(&options.path)
            .map_err(|source| sinopia_llm::Error::Read { origin: options.path.display().to_string(), source })?;
        let schema = match options.format {
            AnswerFormat::TwoStep => two_step_schema(options.canvas),
            AnswerFormat::Json | AnswerFormat::Text => schema(options.canvas),
        };
        Ok(Self { options, model, identity, schema })
    }
}

/// A name for the file's content: a hash of its beginning and its length.
fn identify(path: &Path) -> std::io::Result<String> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut start = Vec::new();
    file.take(IDENTIFYING_BYTES).read_to_end(&mut start)?;
    let hash = Sha256::new().chain_update(&start).chain_update(length.to_le_bytes()).finalize();
    Ok(hex::encode(&hash[..8]))
}

impl Provider for Gguf {
    fn identity(&self) -> Identity {
        let GgufOptions { format, temperature, max_tokens, .. } = &self.options;
        let settings =
            json!({"format": format, "temperature": temperature, "max_tokens": max_tokens, "file": self.identity});
        Identity {
            provider: format!("the model file {}", self.options.path.display()),
            model: self.model.name().to_owned(),
            settings: settings.to_string(),
        }
    }

    fn is_canvas_fixed(&self) -> bool {
        true
    }

    fn complete(&self, request: &CompletionRequest<'_>) -> Result<Completion, CallError> {
        let CompletionRequest { conversation, draw, timeout, is_cancelled, on_prompt } = *request;
        let turn = |message: &Message| match message.role {
            Role::User => LlmRole::User,
            Role::Assistant => LlmRole::Assistant,
        };
        let turns: Vec<(LlmRole, &str)> =
            conversation.iter().map(|message| (turn(message), message.text.as_str())).collect();
        let constraint = match self.options.format {
            AnswerFormat::Json | AnswerFormat::TwoStep => Constraint::JsonSchema(&self.schema),
            AnswerFormat::Text => Constraint::Lark(TEXT_GRAMMAR),
        };
        let generation = Generation {
            constraint,
            sampling: TokenSampling { temperature: self.options.temperature as f32, top_p: 1.0, seed: draw },
            max_tokens: self.options.max_tokens as usize,
            stop: None,
            timeout: Some(timeout),
        };
        let on_prompt = |sinopia_llm::PromptProgress { read, tokens }| on_prompt(PromptProgress { read, tokens });
        let observer = Observer { is_cancelled, on_prompt: &on_prompt };
        let answer = self.model.answer_observed(&turns, &generation, &observer).map_err(call_error)?;
        let usage = Usage {
            requests: 0,
            prompt_tokens: answer.prompt_tokens as u64,
            completion_tokens: answer.tokens.len() as u64,
        };
        Ok(Completion { text: answer.text, is_cut: answer.is_cut, usage, ..Completion::default() })
    }
}

/// A failure as the failure of a call.
fn call_error(error: sinopia_llm::Error) -> CallError {
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

/// The schema of an answer, narrowed to what can be painted on a canvas and to lengths that end.
fn schema(canvas: Canvas) -> Value {
    let number = |least: u32, most: u32| json!({"type": "integer", "minimum": least, "maximum": most});
    let (width, height) = (canvas.width(), canvas.height());
    let text = |least: usize, most: usize| json!({"type": "string", "minLength": least, "maxLength": most});
    json!({
        "type": "object",
        "properties": {
            "objects": {
                "type": "array",
                "maxItems": MOST_BOXES,
                "items": {
                    "type": "object",
                    "properties": {
                        "phrase": text(1, LONGEST_PHRASE),
                        "bbox": {
                            "type": "array",
                            "prefixItems": [
                                number(0, width.saturating_sub(1)), number(0, height.saturating_sub(1)),
                                number(1, width), number(1, height)
                            ],
                            "items": false,
                            "minItems": 4
                        }
                    },
                    "required": ["phrase", "bbox"],
                    "additionalProperties": false
                }
            },
            "background": text(1, LONGEST_PROMPT),
            "negative": text(0, LONGEST_PROMPT)
        },
        "required": ["objects", "background", "negative"],
        "additionalProperties": false,
        "x-guidance": {"whitespace_flexible": false, "item_separator": ",", "key_separator": ":"}
    })
}

/// The same for answers in two steps: the narrowed objects are the core.
fn two_step_schema(canvas: Canvas) -> Value {
    let narrow = schema(canvas);
    let mut two_step: Value = serde_json::from_str(TWO_STEP_SCHEMA).unwrap_or(Value::Bool(true));
    let properties = &mut two_step["properties"];
    properties["core"] = narrow["properties"]["objects"].clone();
    properties["rest"]["maxItems"] = MOST_BOXES.into();
    for name in ["phrase", "of"] {
        properties["rest"]["items"]["properties"][name]["maxLength"] = LONGEST_PHRASE.into();
    }
    for name in ["background", "negative"] {
        properties[name] = narrow["properties"][name].clone();
    }
    two_step["x-guidance"] = narrow["x-guidance"].clone();
    two_step
}

/// The text form of LLM-grounded Diffusion.
const TEXT_GRAMMAR: &str = r#"start: list "\nBackground prompt: " LINE "\nNegative prompt:" (" " LINE)?
list: "[" (pair (", " pair){0,19})? "]"
pair: "(" NAME ", [" NUMBER ", " NUMBER ", " NUMBER ", " NUMBER "])"
NAME: /'[^'"\\\n]{1,60}'/ | /"[^"\\\n]{1,60}"/
NUMBER: /0|[1-9][0-9]{0,3}/
LINE: /[^\n]{1,160}/
"#;
