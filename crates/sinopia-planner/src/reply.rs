//! What a server's reply says: text, reasoning, a refusal, and why it ended.

use serde::Deserialize;
use serde_json::Value;

use crate::provider::CallError;

/// A reply of any endpoint.
#[derive(Deserialize)]
pub(crate) struct Reply {
    #[serde(default)]
    pub(crate) choices: Option<Vec<Choice>>,
    #[serde(default)]
    pub(crate) output: Option<Vec<OutputItem>>,
    pub(crate) incomplete_details: Option<Incomplete>,
    pub(crate) usage: Option<Counted>,
    pub(crate) error: Option<Value>,
}

/// What a model said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) text: String,
    /// What it thought, where the server tells that apart.
    pub(crate) reasoning: String,
    /// That it does not want to answer, where the server tells that apart.
    pub(crate) refusal: Option<String>,
    /// Why it ended.
    pub(crate) reason: String,
}

/// What the first choice says.
pub(crate) fn of_choice(choices: Option<Vec<Choice>>) -> Result<Said, CallError> {
    let Some(choice) = choices.unwrap_or_default().into_iter().next() else {
        return Err(CallError::Malformed("there is no choice in it".to_owned()));
    };
    let message = choice.message.unwrap_or_default();
    let text = match &message.content {
        Some(content) => text_of(content),
        None => choice.text.unwrap_or_default(),
    };
    let reasoning = message.reasoning_content.or(message.reasoning).as_ref().map(text_of).unwrap_or_default();
    let refusal = message.refusal.filter(|refusal| !refusal.trim().is_empty());
    Ok(Said { text, reasoning, refusal, reason: choice.finish_reason.unwrap_or_default() })
}

/// What the items of a `responses` reply say.
pub(crate) fn of_items(items: Option<Vec<OutputItem>>, incomplete: Option<Incomplete>) -> Result<Said, CallError> {
    let items = items.unwrap_or_default();
    let reason = incomplete.and_then(|incomplete| incomplete.reason).unwrap_or_default();
    if items.is_empty() && reason.is_empty() {
        return Err(CallError::Malformed("there is no output in it".to_owned()));
    }
    let mut said = Said { reason, ..Said::default() };
    for item in items {
        match item.kind.as_str() {
            "message" => {
                said.text.push_str(&text_of(&item.content));
                said.refusal = said.refusal.or_else(|| refusal_in(&item.content));
            }
            "reasoning" => said.reasoning.extend([&item.content, &item.summary].map(text_of)),
            _ => {}
        }
    }
    Ok(said)
}

/// A text, or the parts of one; thoughts and pictures among them are left out.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text_of).collect(),
        Value::Object(part) => {
            let is_text = match part.get("type").and_then(Value::as_str) {
                Some(kind) => matches!(kind, "text" | "output_text" | "reasoning_text" | "summary_text"),
                None => true,
            };
            // Some servers have the text in an object of its own, `{"text": {"value": …}}`.
            let text = part.get("text").or_else(|| part.get("value")).filter(|_| is_text);
            text.map(text_of).unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn refusal_in(content: &Value) -> Option<String> {
    let mut parts = content.as_array()?.iter();
    parts.find_map(|part| part.get("refusal")?.as_str().map(str::to_owned))
}

#[derive(Deserialize)]
pub(crate) struct Choice {
    message: Option<ReplyMessage>,
    text: Option<String>,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct ReplyMessage {
    content: Option<Value>,
    /// DeepSeek's, vLLM's and llama.cpp's name.
    reasoning_content: Option<Value>,
    /// OpenRouter's and Ollama's name.
    reasoning: Option<Value>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct OutputItem {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    summary: Value,
}

#[derive(Deserialize)]
pub(crate) struct Incomplete {
    reason: Option<String>,
}

/// Tokens, by the names of the chat endpoint and by those of `responses`.
#[derive(Deserialize, Default)]
pub(crate) struct Counted {
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) completion_tokens: Option<u64>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(message: Value, text: &str, reasoning: &str) {
        let reply: Reply = serde_json::from_value(json!({"choices": [{"message": message}]})).unwrap();
        let said = of_choice(reply.choices).unwrap();
        assert_eq!((said.text.as_str(), said.reasoning.as_str()), (text, reasoning));
    }

    #[test]
    fn a_message_is_a_text_or_its_parts() {
        check(json!({"content": "yes"}), "yes", "");
        check(json!({"content": [{"type": "text", "text": "ye"}, {"text": {"value": "s"}}]}), "yes", "");
        check(
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "no"}]}, "yes"]}),
            "yes",
            "",
        );
        check(json!({"content": null, "reasoning_content": "hm"}), "", "hm");
        check(json!({"content": "", "reasoning": "hm", "reasoning_content": null}), "", "hm");
    }

    #[test]
    fn items_are_texts_thoughts_and_refusals() {
        let items = json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "yes"}, {"type": "refusal", "refusal": "no"}]}, {"type": "web_search_call"}]);
        let said = of_items(serde_json::from_value(items).unwrap(), None).unwrap();
        let expected = ("yes".to_owned(), "hm".to_owned(), Some("no".to_owned()), String::new());
        assert_eq!((said.text, said.reasoning, said.refusal, said.reason), expected);
    }
}
