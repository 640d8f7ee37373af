//! A vision model behind OpenAI's protocol that answers a benchmark's questions with yes or no.

use std::time::Duration;

use serde_json::json;
use sinopia_eval::evaluators::EvaluatorId;
use sinopia_eval::evaluators::{AnswerError, VqaModel};
use sinopia_eval::run::sha256;
use sinopia_planner::openai::OpenAi;
use sinopia_planner::presets::Endpoint;
use sinopia_planner::provider::{Message, Provider};
use sinopia_planner::retry::RetryPolicy;
use sinopia_planner::template::AnswerFormat;

use super::args::VqaArgs;
use crate::cli::failure::bad_request;
use crate::cli::planning;
use crate::cli::progress::Bars;

const NO_MODEL: &str = "\
this benchmark asks questions about its pictures, and no vision model is named
hint: name one with `--llm-model NAME`, and its server with `--llm-base-url`: an address, or one of openai, vllm, llama.cpp, ollama, lm-studio";
/// The longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Answers that are neither yes nor no, before the question is given up.
const TRIES: usize = 2;

/// The model, ready to be asked.
#[derive(Debug)]
pub(crate) struct Vqa {
    provider: OpenAi,
    id: EvaluatorId,
}

impl Vqa {
    /// Checks the settings. Nothing is sent yet.
    pub(crate) fn new(args: &VqaArgs, bars: &Bars) -> anyhow::Result<Self> {
        let Some(model) = &args.llm_model else { return Err(bad_request(NO_MODEL)) };
        let mut options = planning::language_model(model, args.llm_base_url.as_deref(), bars)?;
        options.use_schema = false;
        options.preset.format = AnswerFormat::Text;
        options.preset.endpoint = Endpoint::Chat;
        options.preset.stop = None;
        options.preset.temperature = options.preset.temperature.map(|_| 0.0); // the same answer every time, where that can be had
        let provider = OpenAi::new(options);
        let identity = provider.identity();
        let decides = json!([identity.provider, identity.model, identity.settings, asked("")]).to_string();
        let id = EvaluatorId { id: identity.model, hash: sha256(decides.as_bytes()) };
        Ok(Self { provider, id })
    }
}

fn asked(question: &str) -> String {
    format!("{question}\nLook at the picture and answer with one word, yes or no.")
}

/// An answer that is neither yes nor no.
#[derive(Debug)]
struct NeitherYesNorNo(String);

impl std::fmt::Display for NeitherYesNorNo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: String = self.0.trim().chars().take(80).collect();
        write!(f, "the model said neither yes nor no: `{shown}`")
    }
}

impl std::error::Error for NeitherYesNorNo {}

impl VqaModel for Vqa {
    fn id(&self) -> &EvaluatorId {
        &self.id
    }

    fn says_yes(&self, png: &[u8], question: &str) -> Result<bool, AnswerError> {
        let conversation = [Message::about_png(asked(question), png)];
        let mut last = String::new();
        for _ in 0..TRIES {
            let completion = RetryPolicy::default().complete(&self.provider, &conversation, TIMEOUT)?;
            match yes_or_no(&completion.text) {
                Some(answer) => return Ok(answer),
                None => last = completion.text,
            }
        }
        Err(Box::new(NeitherYesNorNo(last)))
    }
}

/// What an answer says: its first word, or its last behind a model's thoughts.
fn yes_or_no(text: &str) -> Option<bool> {
    let text = text.to_lowercase();
    let mut words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let (first, last) = (words.next()?, words.next_back());
    let read = |word: &str| match word {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    };
    read(first).or_else(|| read(last?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_first_word_or_its_last() {
        for (text, expected) in [
            ("yes", Some(true)),
            (" **No.**", Some(false)),
            ("Yes, there is no doubt", Some(true)),
            ("<think>a dog, I see</think> Yes", Some(true)),
            ("perhaps", None),
            ("Not at all", None),
            ("", None),
        ] {
            assert_eq!(yes_or_no(text), expected, "{text}");
        }
    }
}
