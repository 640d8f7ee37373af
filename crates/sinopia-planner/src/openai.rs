//! Any server that speaks OpenAI's protocol: OpenAI, vLLM, llama.cpp, Ollama, LM Studio and others.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use sinopia_layout::limits::{LLM_ERROR_BYTES, LLM_REPLY_BYTES};
use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Body};

use crate::address::{ApiKey, BaseUrl};
use crate::presets::{self, Endpoint, Preset};
use crate::provider::{CallError, Completion, CompletionRequest, Identity, Message, Provider, Role, Usage, is_limit};
use crate::refused::{Dropped, LIMITS, Refused};
use crate::reply::{self, Reply, Said};

/// Longest part of an error page that a message repeats, in characters.
const SHOWN_CHARS: usize = 300;

/// Redirects followed on the same server.
const MAX_REDIRECTS: usize = 3;

/// How a model is asked.
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// Where.
    pub base_url: BaseUrl,
    /// The model's name, as the server knows it.
    pub model: String,
    /// The key, for servers that want one.
    pub key: Option<ApiKey>,
    /// Endpoint, format and sampling.
    pub preset: Preset,
    /// Whether the server is asked to hold JSON answers to their schema. Servers that refuse that are asked without.
    pub use_schema: bool,
}

impl OpenAiOptions {
    /// The settings that suit `model`, at `base_url`.
    pub fn new(model: &str, base_url: BaseUrl) -> Self {
        let model = presets::full_name(model).to_owned();
        let preset = presets::preset(&model);
        Self { base_url, model, key: None, preset, use_schema: true }
    }
}

/// A model behind OpenAI's protocol.
#[derive(Debug)]
pub struct OpenAi {
    options: OpenAiOptions,
    agent: Agent,
    /// How many of [`Dialect`]s the server has refused, from the first on.
    refused_dialects: AtomicU8,
    /// The parameters that it has refused.
    refused: Refused,
    /// Whether the `responses` endpoint wants to be told that the answer is a text.
    wants_text_format: AtomicBool,
}

/// A call that failed, and the parameter that the server names as its reason.
struct Failed {
    error: CallError,
    param: Option<String>,
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self { error, param: None }
    }
}

impl OpenAi {
    /// A client; nothing is sent yet.
    pub fn new(options: OpenAiOptions) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("sinopia/", env!("CARGO_PKG_VERSION")));
        // A proxy cannot reach this machine.
        let config = if options.base_url.is_loopback() { config.proxy(None) } else { config };
        let agent = Agent::new_with_config(config.build());
        Self {
            options,
            agent,
            refused_dialects: AtomicU8::new(0),
            refused: Refused::default(),
            wants_text_format: AtomicBool::new(false),
        }
    }

    /// Where the server is.
    pub fn base_url(&self) -> &BaseUrl {
        &self.options.base_url
    }

    /// How the server is to be told of the schema, as far as is known.
    fn dialect(&self) -> Dialect {
        let preset = &self.options.preset;
        let wants = preset.format.schema().is_some() && preset.endpoint != Endpoint::Completions;
        match self.refused_dialects.load(Ordering::Relaxed) {
            _ if !wants || !self.options.use_schema => Dialect::None,
            0 => Dialect::JsonSchema,
            1 if preset.endpoint == Endpoint::Chat => Dialect::JsonObject,
            _ => Dialect::None,
        }
    }

    fn body(&self, conversation: &[Message], dialect: Dialect) -> Value {
        let preset = &self.options.preset;
        let mut body = Map::new();
        body.insert("model".to_owned(), self.options.model.clone().into());
        match preset.endpoint {
            Endpoint::Chat => {
                let message = |message: &Message| json!({"role": message.role, "content": content(message)});
                body.insert("messages".to_owned(), conversation.iter().map(message).collect());
            }
            Endpoint::Completions => {
                body.insert("prompt".to_owned(), one_text(conversation).into());
            }
            Endpoint::Responses => {
                body.insert("input".to_owned(), conversation.iter().map(input_item).collect());
                if !self.refused.has(Dropped::Store) {
                    body.insert("store".to_owned(), false.into());
                }
            }
        }
        if !self.refused.has(Dropped::Limit) {
            body.insert(self.name_of_limit().to_owned(), preset.max_tokens.into());
        }
        if let Some(temperature) = preset.temperature.filter(|_| !self.refused.has(Dropped::Temperature)) {
            body.insert("temperature".to_owned(), temperature.into());
        }
        let takes_stop = preset.endpoint != Endpoint::Responses && !self.refused.has(Dropped::Stop);
        if let Some(stop) = preset.stop.filter(|_| takes_stop) {
            body.insert("stop".to_owned(), stop.into());
        }
        let schema = || serde_json::from_str(preset.format.schema().unwrap_or("true")).unwrap_or(Value::Bool(true));
        match (dialect, preset.endpoint) {
            (Dialect::None, Endpoint::Responses) if self.wants_text_format.load(Ordering::Relaxed) => {
                body.insert("text".to_owned(), json!({"format": {"type": "text"}}));
            }
            (Dialect::None, _) => {}
            (Dialect::JsonSchema, Endpoint::Responses) => {
                let format = json!({"type": "json_schema", "name": "layout", "strict": true, "schema": schema()});
                body.insert("text".to_owned(), json!({"format": format}));
            }
            (Dialect::JsonSchema, _) => {
                let named = json!({"name": "layout", "strict": true, "schema": schema()});
                body.insert("response_format".to_owned(), json!({"type": "json_schema", "json_schema": named}));
            }
            (Dialect::JsonObject, _) => {
                body.insert("response_format".to_owned(), json!({"type": "json_object", "schema": schema()}));
            }
        }
        Value::Object(body)
    }

    /// What the limit on tokens is called.
    fn name_of_limit(&self) -> &'static str {
        let preset = &self.options.preset;
        let is_newer = preset.is_reasoning != self.refused.has(Dropped::LimitName);
        match preset.endpoint {
            Endpoint::Responses => LIMITS[2],
            _ if is_newer => LIMITS[1],
            _ => LIMITS[0],
        }
    }

    fn ask(&self, body: &Value, timeout: Duration) -> Result<Completion, Failed> {
        let path = match self.options.preset.endpoint {
            Endpoint::Chat => "chat/completions",
            Endpoint::Completions => "completions",
            Endpoint::Responses => "responses",
        };
        let started = std::time::Instant::now();
        let mut url = self.options.base_url.join(path);
        for _ in 0..=MAX_REDIRECTS {
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(CallError::Timeout(timeout).into());
            }
            let mut response = self.post(&url, body, left).map_err(|error| self.call_error(&error, timeout))?;
            let status = response.status().as_u16();
            match status {
                200..=299 => return Ok(self.completion(&mut response, timeout)?),
                300..=399 => url = self.follow(&response)?,
                _ => return Err(self.refusal(&mut response)),
            }
        }
        Err(CallError::Redirect { status: 310, target: "itself, again and again".to_owned() }.into())
    }

    /// Whether a refusal tells of a part of the request that the server does not take, so that the next one is without it. What was learnt is told.
    fn learn(&self, failed: &Failed, body: &Value, dialect: Dialect, notes: &mut Vec<String>) -> bool {
        // 500: what some servers say of a request that they cannot read.
        let CallError::Status { status: status @ (400 | 404 | 415 | 422 | 500 | 501), message, .. } = &failed.error
        else {
            return false;
        };
        let param = failed.param.as_deref();
        if param.is_some_and(|param| param.starts_with("text")) && body.get("text").is_none() {
            return !self.wants_text_format.swap(true, Ordering::Relaxed);
        }
        if dialect != Dialect::None && (is_about_schema(*status, message) || param.is_some_and(is_schema_parameter)) {
            self.refused_dialects.fetch_max(dialect as u8 + 1, Ordering::Relaxed);
            return true;
        }
        // A server that failed for another reason may quote the request.
        let learnt = if *status == 500 { None } else { self.refused.learn(body, param, message) };
        let is_learnt = learnt.is_some();
        notes.extend(learnt);
        is_learnt
    }

    fn post(&self, url: &str, body: &Value, timeout: Duration) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.post(url).header(header::ACCEPT, "application/json");
        if let Some(key) = &self.options.key {
            request = request.header(header::AUTHORIZATION, key.header());
        }
        let request = request.content_type("application/json").config().timeout_global(Some(timeout)).build();
        request.send(body.to_string().as_bytes())
    }

    /// Where a redirect leads, if it keeps the method and stays on the server.
    fn follow(&self, response: &Response<Body>) -> Result<String, CallError> {
        let status = response.status().as_u16();
        let location = text_header(response.headers(), header::LOCATION.as_str()).unwrap_or_default();
        let target = self.options.base_url.resolve(&location);
        match target {
            Ok(url) if matches!(status, 307 | 308) => Ok(url),
            Ok(url) => Err(CallError::Redirect { status, target: self.redact(&url) }),
            Err(target) => Err(CallError::Redirect { status, target: self.redact(&target) }),
        }
    }

    fn completion(&self, response: &mut Response<Body>, timeout: Duration) -> Result<Completion, CallError> {
        let content_type = text_header(response.headers(), header::CONTENT_TYPE.as_str());
        if let Some(found) = content_type.filter(|found| !found.to_ascii_lowercase().contains("json")) {
            return Err(CallError::ContentType { found: excerpt(&self.redact(&found)) });
        }
        let bytes = read(response, LLM_REPLY_BYTES).map_err(|error| self.call_error(&error, timeout))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| CallError::Malformed(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))?;
        let reply: Reply =
            serde_json::from_str(&text).map_err(|error| CallError::Malformed(self.redact(&error.to_string())))?;
        if let Some(error) = &reply.error {
            let message = excerpt(&self.redact(&error_message(error)));
            return Err(CallError::Malformed(match error.get("code").and_then(Value::as_u64) {
                Some(code) => format!("there is an error in it, {code}: {message}"),
                None => message,
            }));
        }
        let counted = reply.usage.unwrap_or_default();
        let usage = Usage {
            requests: 0,
            prompt_tokens: counted.prompt_tokens.or(counted.input_tokens).unwrap_or(0),
            completion_tokens: counted.completion_tokens.or(counted.output_tokens).unwrap_or(0),
        };
        let said = match self.options.preset.endpoint {
            Endpoint::Responses => reply::of_items(reply.output, reply.incomplete_details)?,
            Endpoint::Chat | Endpoint::Completions => reply::of_choice(reply.choices)?,
        };
        self.judged(said, usage)
    }

    /// What was said as an answer, if it is one.
    fn judged(&self, said: Said, usage: Usage) -> Result<Completion, CallError> {
        let Said { text, reasoning, refusal, reason } = said;
        let is_cut = is_limit(&reason);
        if let Some(refusal) = refusal.or_else(|| (reason == "content_filter").then_some(reason.clone())) {
            return Err(CallError::Declined(excerpt(&self.redact(&refusal))));
        }
        let has_reasoning = !reasoning.trim().is_empty();
        let is_reasoning = text.trim().is_empty();
        // A server that takes the whole answer for thoughts has ended it as models end answers.
        if is_reasoning && (!has_reasoning || is_cut) {
            return Err(CallError::Empty { reason: excerpt(&reason), has_reasoning });
        }
        let text = if is_reasoning { reasoning } else { text };
        Ok(Completion { text: self.redact(&text), is_cut, is_reasoning, notes: Vec::new(), usage })
    }

    fn refusal(&self, response: &mut Response<Body>) -> Failed {
        let status = response.status().as_u16();
        let retry_after = text_header(response.headers(), header::RETRY_AFTER.as_str())
            .and_then(|value| parse_retry_after(&value, SystemTime::now()));
        let bytes = read(response, LLM_ERROR_BYTES).unwrap_or_default();
        let text = self.redact(&String::from_utf8_lossy(&bytes));
        let page: Option<Value> = serde_json::from_str(&text).ok();
        let error = page.as_ref().map(|page| page.get("error").unwrap_or(page));
        let code = error.and_then(|error| error.get("code")).and_then(Value::as_str).unwrap_or_default();
        let mut message = excerpt(&error.map_or(text.clone(), error_message));
        let param = error.and_then(|error| error.get("param")).and_then(Value::as_str).map(excerpt);
        if let Some(param) = param.as_ref().filter(|param| !message.contains(param.as_str())) {
            message.push_str(&format!(" (parameter `{param}`)"));
        }
        let error = CallError::Status { status, message, retry_after, is_quota: code == "insufficient_quota" };
        Failed { error, param }
    }

    fn call_error(&self, error: &ureq::Error, timeout: Duration) -> CallError {
        match error {
            ureq::Error::Timeout(_) => CallError::Timeout(timeout),
            ureq::Error::Io(io)
                if matches!(io.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock) =>
            {
                CallError::Timeout(timeout)
            }
            ureq::Error::BodyExceedsLimit(limit) => CallError::TooLarge { limit: *limit },
            other if is_absence(other) => CallError::Absent(excerpt(&self.redact(&other.to_string()))),
            other => CallError::Connection(excerpt(&self.redact(&other.to_string()))),
        }
    }

    fn redact(&self, text: &str) -> String {
        self.options.key.as_ref().map_or_else(|| text.to_owned(), |key| key.redact(text))
    }
}

impl Provider for OpenAi {
    fn identity(&self) -> Identity {
        let preset = &self.options.preset;
        let settings = json!({
            "endpoint": preset.endpoint,
            "format": preset.format,
            "temperature": preset.temperature,
            "max_tokens": preset.max_tokens,
            "stop": preset.stop,
            "schema": self.options.use_schema,
        });
        Identity {
            provider: format!("openai {}", self.options.base_url),
            model: self.options.model.clone(),
            settings: settings.to_string(),
        }
    }

    fn complete(&self, request: &CompletionRequest<'_>) -> Result<Completion, CallError> {
        let CompletionRequest { conversation, timeout, .. } = *request;
        let started = std::time::Instant::now();
        let mut notes = Vec::new();
        let mut refusals = 0;
        loop {
            let dialect = self.dialect();
            let body = self.body(conversation, dialect);
            let left = if refusals == 0 { timeout } else { timeout.saturating_sub(started.elapsed()) };
            let failed = match self.ask(&body, left) {
                Ok(completion) => {
                    let usage = Usage { requests: refusals as u64, ..completion.usage };
                    return Ok(Completion { notes, usage, ..completion });
                }
                Err(failed) => failed,
            };
            refusals += 1;
            if refusals > MOST_REFUSALS || !self.learn(&failed, &body, dialect, &mut notes) {
                return Err(failed.error);
            }
        }
    }
}

/// Requests that are refused for a part that can be left out, one a part.
const MOST_REFUSALS: usize = Refused::MOST + 3;

/// Whether there is no such server: waiting does not change that.
fn is_absence(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound => true,
        // The standard library has no kind for a name that is not found.
        ureq::Error::Io(error) => {
            error.kind() == std::io::ErrorKind::ConnectionRefused
                || error.to_string().contains("failed to lookup address")
        }
        _ => false,
    }
}

/// How a server is told of the schema that its answer must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// As OpenAI has it.
    JsonSchema,
    /// As llama.cpp's older servers have it: `{"type": "json_object", "schema": …}`.
    JsonObject,
    /// Not at all; the prompt alone says what is wanted.
    None,
}

/// Whether a refusal is about the schema rather than about the request.
fn is_about_schema(status: u16, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let named = ["response_format", "json_schema"];
    let meant = ["schema", "guided", "grammar", "structured output"];
    // A server that failed for another reason may name its grammar, too.
    let is_meant = status != 500 && meant.iter().any(|word| message.contains(word));
    is_meant || named.iter().any(|word| message.contains(word))
}

/// Whether a parameter is how the schema is told.
fn is_schema_parameter(param: &str) -> bool {
    ["response_format", "text.format", "text"]
        .iter()
        .any(|name| param == *name || param.starts_with(&format!("{name}.")))
}

/// What is said: a text, or a text and a picture as a list of parts.
fn content(message: &Message) -> Value {
    match &message.picture {
        None => message.text.clone().into(),
        Some(url) => json!([{"type": "text", "text": message.text}, {"type": "image_url", "image_url": {"url": url}}]),
    }
}

/// A turn of a conversation as the `responses` endpoint takes it.
fn input_item(message: &Message) -> Value {
    let kind = match message.role {
        Role::User => "input_text",
        Role::Assistant => "output_text",
    };
    let mut parts = vec![json!({"type": kind, "text": message.text})];
    parts.extend(message.picture.as_ref().map(|url| json!({"type": "input_image", "image_url": url})));
    json!({"role": message.role, "content": parts})
}

/// A conversation for a model that continues texts.
fn one_text(conversation: &[Message]) -> String {
    let mut text = String::new();
    for message in conversation {
        match message.role {
            // The prompt ends with the label that the answer stands behind.
            Role::Assistant => text.push_str(&format!(" {}\n\n", message.text.trim())),
            Role::User => text.push_str(message.text.trim()),
        }
    }
    text
}

fn read(response: &mut Response<Body>, limit: u64) -> Result<Vec<u8>, ureq::Error> {
    response.body_mut().with_config().limit(limit).read_to_vec()
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Seconds, or a date.
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn error_message(error: &Value) -> String {
    let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
    let whole = || error.as_str().map_or_else(|| error.to_string(), str::to_owned);
    text("message").or_else(|| text("detail")).unwrap_or_else(whole)
}

/// The beginning of a text on one line.
fn excerpt(text: &str) -> String {
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut short: String = line.chars().take(SHOWN_CHARS).collect();
    if line.chars().count() > SHOWN_CHARS {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(model: &str) -> OpenAi {
        OpenAi::new(OpenAiOptions::new(model, BaseUrl::parse("http://localhost:1/v1").unwrap()))
    }

    #[test]
    fn published_models_are_asked_as_published() {
        let conversation = [Message::user("Caption: a cat\nObjects:")];
        let body = provider("gpt-3.5").body(&conversation, Dialect::None);
        let messages = json!([{"role": "user", "content": "Caption: a cat\nObjects:"}]);
        assert_eq!(
            body,
            json!({"model": "gpt-3.5-turbo", "messages": messages, "max_tokens": 900, "temperature": 0.25, "stop": "\n\n"})
        );
        let body = provider("StableBeluga2").body(&conversation, Dialect::None);
        assert_eq!(body["prompt"], "Caption: a cat\nObjects:");
        assert_eq!(body.get("messages"), None);
    }

    #[test]
    fn newer_models_are_held_to_the_schema() {
        let body = provider("o3").body(&[Message::user("x")], Dialect::JsonSchema);
        assert_eq!((body["max_completion_tokens"].as_u64(), body.get("temperature")), (Some(8192), None));
        assert_eq!(body["response_format"]["json_schema"]["schema"]["required"][0], "objects");
    }

    #[test]
    fn responses_have_names_of_their_own() {
        let mut options = OpenAiOptions::new("gpt-5", BaseUrl::parse("openai").unwrap());
        options.preset.endpoint = Endpoint::Responses;
        let body = OpenAi::new(options)
            .body(&[Message::user("x"), Message::assistant("y"), Message::user("z")], Dialect::JsonSchema);
        assert_eq!(body["input"][1], json!({"role": "assistant", "content": [{"type": "output_text", "text": "y"}]}));
        assert_eq!(
            (body["max_output_tokens"].as_u64(), body["text"]["format"]["name"].as_str()),
            (Some(8192), Some("layout"))
        );
        assert!(body.get("messages").is_none() && body.get("stop").is_none() && body.get("response_format").is_none());
    }

    #[test]
    fn a_conversation_becomes_one_text() {
        let conversation =
            [Message::user("Caption: a cat\nObjects:"), Message::assistant(" []\n"), Message::user("No.\nObjects:")];
        assert_eq!(one_text(&conversation), "Caption: a cat\nObjects: []\n\nNo.\nObjects:");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let wait = |value: &str| parse_retry_after(value, now);
        assert_eq!(wait(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(wait("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:07 GMT"), Some(Duration::ZERO));
        assert_eq!((wait("-1"), wait("soon"), wait("NaN")), (None, None, None));
    }
}
