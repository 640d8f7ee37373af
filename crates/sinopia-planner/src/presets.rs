//! What suits a model when nothing is said: endpoint, answer format, sampling.

use serde::{Deserialize, Serialize};

use crate::template::AnswerFormat;

/// Which endpoint of the protocol is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `chat/completions`: messages in, a message out.
    Chat,
    /// `completions`: a text in, its continuation out. For models that were not trained to chat.
    Completions,
    /// `responses`: items in, items out; OpenAI's newer one, which some other servers offer too.
    Responses,
}

/// Settings for a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// The endpoint to use.
    pub endpoint: Endpoint,
    /// How answers are written.
    pub format: AnswerFormat,
    /// The server such a model is usually found at.
    pub base_url: &'static str,
    /// Randomness, 0..=2; `None` for models that do not take one. The published value is 0.25.
    pub temperature: Option<f64>,
    /// Longest answer in tokens. The published value is 900; models that think first need room for that.
    pub max_tokens: u32,
    /// Texts that end the answer. Published: a blank line.
    pub stop: Option<&'static str>,
    /// Whether the limit goes by its newer name, `max_completion_tokens`.
    pub is_reasoning: bool,
}

/// Names of the published experiments that mean another model.
const ALIASES: &[(&str, &str)] = &[("gpt-3.5", "gpt-3.5-turbo"), ("FreeWilly2", "StableBeluga2")];

/// The model's full name.
pub fn full_name(model: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == model).map_or(model, |(_, name)| name)
}

/// The settings that suit `model`, by its name.
///
/// gpt-3.5-turbo and gpt-4 are asked as published (chat, text form, 0.25, a blank line ends the answer); StableBeluga2 and
/// Mixtral-8x7B-Instruct as published too (text completion) on vLLM's address; newer OpenAI models and all others are asked for
/// JSON in a chat.
///
/// # Source
/// TonyLianLong/LLM-groundedDiffusion@cef2a90:utils/llm.py
pub fn preset(model: &str) -> Preset {
    let name = full_name(model).to_ascii_lowercase();
    let has = |part: &str| name.contains(part);
    let chat = Preset {
        endpoint: Endpoint::Chat,
        format: AnswerFormat::Json,
        base_url: "https://api.openai.com/v1",
        temperature: Some(0.25),
        max_tokens: 900,
        stop: None,
        is_reasoning: false,
    };
    let is_thinker = ["gpt-5", "o1", "o3", "o4"].iter().any(|family| name.starts_with(family));
    if is_thinker {
        return Preset { temperature: None, max_tokens: 8192, is_reasoning: true, ..chat };
    }
    if has("gpt-4o") || has("gpt-4.1") || has("gpt-4.5") {
        return chat;
    }
    if has("gpt-3.5") || name.starts_with("gpt-4") {
        return Preset { format: AnswerFormat::Text, stop: Some("\n\n"), ..chat };
    }
    let vllm = Preset { base_url: "http://localhost:8000/v1", ..chat };
    // Ollama's names have a colon (`mixtral:8x7b-instruct`), and its models are asked in a chat.
    let is_published = ["beluga", "mixtral", "vicuna", "llama-2", "text-davinci"].iter().any(|family| has(family));
    if is_published && !has(":") {
        return Preset { endpoint: Endpoint::Completions, format: AnswerFormat::Text, stop: Some("\n\n"), ..vllm };
    }
    if has(":") {
        return Preset { base_url: "http://localhost:11434/v1", max_tokens: 2048, ..chat };
    }
    Preset { max_tokens: 2048, ..vllm }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_their_names() {
        let told = |model: &str| {
            let preset = preset(model);
            (preset.endpoint, preset.format, preset.base_url.split("//").nth(1).unwrap_or_default())
        };
        let (chat, text) = (Endpoint::Chat, Endpoint::Completions);
        assert_eq!(told("gpt-3.5"), (chat, AnswerFormat::Text, "api.openai.com/v1"));
        assert_eq!(told("gpt-4"), (chat, AnswerFormat::Text, "api.openai.com/v1"));
        assert_eq!(told("gpt-4o-mini"), (chat, AnswerFormat::Json, "api.openai.com/v1"));
        assert_eq!(told("stabilityai/StableBeluga2"), (text, AnswerFormat::Text, "localhost:8000/v1"));
        assert_eq!(told("mistralai/Mixtral-8x7B-Instruct-v0.1"), (text, AnswerFormat::Text, "localhost:8000/v1"));
        assert_eq!(told("mixtral:8x7b-instruct-v0.1-q4_K_M"), (chat, AnswerFormat::Json, "localhost:11434/v1"));
        assert_eq!(told("Qwen/Qwen3-8B"), (chat, AnswerFormat::Json, "localhost:8000/v1"));
        assert!(preset("o3-mini").is_reasoning && preset("gpt-5").temperature.is_none());
        assert_eq!((full_name("gpt-3.5"), full_name("gpt-4")), ("gpt-3.5-turbo", "gpt-4"));
    }
}
