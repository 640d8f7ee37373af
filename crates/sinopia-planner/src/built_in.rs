//! The built-in planner: a small model that was trained to lay out English captions, run in process. It needs no instructions.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use sinopia_layout::Canvas;
use sinopia_llm::{Constraint, Generation, LanguageModel, Role, Sampling};

use crate::caption::{self, Claim};
use crate::places::put_in_place;
use crate::provider::{CallError, Completion, Identity, Message, Provider, Usage};
use crate::quoted::{MOST_THINGS, MOST_WORDS, PLAIN_BACKGROUND, Quotable};
use crate::template::hex;
use crate::{gguf, words};

/// Randomness of all answers but the first, which is the likeliest one.
const TEMPERATURE: f32 = 0.6;

/// Tokens of an answer with the most boxes there can be.
const MAX_TOKENS: usize = 400;

/// The model; made for [`crate::template::Template::caption_only`].
#[derive(Debug)]
pub struct BuiltIn {
    model: LanguageModel,
    hash: String,
}

impl BuiltIn {
    /// The model in the bytes of a GGUF file that `training/export_planner.py` wrote.
    ///
    /// # Errors
    /// [`crate::Error::Model`] if it is none.
    pub fn new(gguf: &[u8]) -> crate::Result<Self> {
        let model = LanguageModel::from_bytes(gguf, "the built-in planner")?;
        let hash = hex(&Sha256::digest(gguf)[..8]);
        Ok(Self { model, hash })
    }

    /// The model's own answer, before it is read.
    fn answer(
        &self,
        caption: &Quotable,
        canvas: Canvas,
        draw: u64,
        timeout: Duration,
    ) -> Result<sinopia_llm::Answer, CallError> {
        let grammar = caption.grammar();
        let generation = Generation {
            constraint: Constraint::Lark(&grammar),
            sampling: Sampling { temperature: if draw == 0 { 0.0 } else { TEMPERATURE }, top_p: 0.95, seed: draw },
            max_tokens: MAX_TOKENS,
            stop: None,
            timeout: Some(timeout),
        };
        let prompt = caption.prompt(canvas);
        self.model.answer(&[(Role::User, &prompt)], &generation).map_err(gguf::call_error)
    }
}

impl Provider for BuiltIn {
    fn identity(&self) -> Identity {
        let settings = json!({"temperature": TEMPERATURE, "weights": self.hash});
        Identity {
            provider: "the built-in planner".to_owned(),
            model: self.model.name().to_owned(),
            settings: settings.to_string(),
        }
    }

    /// The answer as JSON, as other models are asked for it.
    fn complete(&self, conversation: &[Message], draw: u64, timeout: Duration) -> Result<Completion, CallError> {
        let asked = conversation.first().map(|message| message.text.as_str()).unwrap_or_default();
        let Some((canvas, caption)) = read_prompt(asked) else {
            return Err(CallError::Unable("it lays out captions, and cannot change a layout".to_owned()));
        };
        if let Some(count) = most_counted(caption).filter(|count| *count > MOST_THINGS) {
            return Err(CallError::Unable(format!(
                "the caption counts {count} of a kind, and it draws up to {MOST_THINGS}"
            )));
        }
        if !caption.contains(char::is_alphabetic) {
            return Err(CallError::Unable("there are no words in the caption".to_owned()));
        }
        if !words::is_english(caption) {
            return Err(CallError::Unable("it reads English captions only".to_owned()));
        }
        let told = caption;
        let caption = Quotable::new(told);
        if caption.len() > MOST_WORDS {
            let problem = format!("the caption has {} words, and it reads up to {MOST_WORDS}", caption.len());
            return Err(CallError::Unable(problem));
        }
        let answer = self.answer(&caption, canvas, draw, timeout)?;
        let Some(layout) = caption.read(&answer.text, canvas) else {
            return Err(CallError::Malformed(format!("`{}` is no layout", answer.text)));
        };
        if layout.objects.is_empty() && layout.negative.is_empty() && layout.background == PLAIN_BACKGROUND {
            return Err(CallError::Unable("it finds nothing in the caption that it could draw".to_owned()));
        }
        let layout = put_in_place(told, layout);
        let text = json!({"objects": layout.objects, "background": layout.background, "negative": layout.negative});
        Ok(Completion { text: text.to_string(), is_cut: answer.is_cut, usage: usage(&answer) })
    }
}

pub(crate) fn usage(answer: &sinopia_llm::Answer) -> Usage {
    Usage { requests: 0, prompt_tokens: answer.prompt_tokens as u64, completion_tokens: answer.tokens.len() as u64 }
}

/// The largest number of things that a caption asks for.
fn most_counted(caption: &str) -> Option<usize> {
    let counted = caption::claims(caption).into_iter().filter_map(|claim| match claim {
        Claim::Count { count, .. } | Claim::AtLeast { count, .. } => Some(count),
        _ => None,
    });
    counted.max()
}

/// Canvas and caption of what the template `caption` makes of them.
fn read_prompt(text: &str) -> Option<(Canvas, &str)> {
    let (size, caption) = text.split_once(':')?;
    let (width, height) = size.split_once('x')?;
    let canvas = Canvas::new(width.parse().ok()?, height.parse().ok()?).ok()?;
    Some((canvas, caption.trim()))
}
