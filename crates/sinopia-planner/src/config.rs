//! From settings to a planner: whoever a model's name means, with the prompt, the limits and the memory that suit it. Start reading at [`open`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sinopia_layout::Canvas;

use crate::address::{ApiKey, BaseUrl};
use crate::built_in::BuiltInPlanner;
use crate::cache::Cache;
use crate::cached::CachedPlanner;
use crate::chat::{ChatOptions, ChatPlanner};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, GgufOptions};
use crate::openai::{OpenAi, OpenAiOptions};
use crate::planner::{PlanOptions, Planner};
use crate::presets::{self, Endpoint};
use crate::provider::Prices;
use crate::template::{AnswerFormat, Template};

/// Kinds of planners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannerKind {
    /// The one inside the program, which reads English captions and lays them out by rules: no model, no network.
    BuiltIn,
    /// A model file, run in process.
    Gguf,
    /// A server with OpenAI's protocol.
    #[serde(rename = "openai")]
    OpenAi,
}

/// Who plans, and how. What is `None` is as suits the model; by default the built-in planner does, without a memory.
#[derive(Debug, Clone, Default)]
pub struct PlannerConfig {
    /// Who plans; by the model's name if it is not said.
    pub kind: Option<PlannerKind>,
    /// The language model, by the name its server knows, or a GGUF file.
    pub model: Option<String>,
    /// The server's address, or one of [`KNOWN_SERVERS`](crate::address::KNOWN_SERVERS) by its name.
    pub base_url: Option<String>,
    /// The keys that there are for servers.
    pub keys: ApiKeys,
    /// Which endpoint of the server is asked.
    pub endpoint: Option<Endpoint>,
    /// How the model writes a layout; a template says that itself.
    pub format: Option<AnswerFormat>,
    /// A prompt template other than the built-in ones.
    pub template: Option<TemplateSource>,
    /// Randomness of the answers, 0..=2.
    pub temperature: Option<f64>,
    /// Longest answer in tokens.
    pub max_tokens: Option<u32>,
    /// What tokens cost.
    pub prices: Option<Prices>,
    /// The longest wait for one answer.
    pub request_timeout: Option<Duration>,
    /// The longest time for a whole layout.
    pub total_timeout: Option<Duration>,
    /// Layouts to choose the best from.
    pub candidates: Option<usize>,
    /// The canvas to lay out on.
    pub canvas: Option<Canvas>,
    /// Take the best answer even if it fails a check.
    pub is_lenient: bool,
    /// Where layouts are remembered.
    pub memory: Memory,
}

/// Where layouts are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Memory {
    /// Nowhere.
    #[default]
    None,
    /// In this file, unless the built-in planner plans: its layouts are the same every time, and made sooner than they are found.
    At(PathBuf),
}

/// A prompt template as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateSource {
    /// Its name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The keys that there are. Each goes only where it belongs.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys {
    /// For whichever server is asked.
    pub any_server: Option<NamedKey>,
    /// For OpenAI alone, if there is no other: it is on many machines for other programs.
    pub openai: Option<NamedKey>,
}

/// A key, and where it comes from.
#[derive(Clone)]
pub struct NamedKey {
    /// The key.
    pub value: String,
    /// The environment variable, for messages.
    pub variable: String,
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedKey").field("variable", &self.variable).finish_non_exhaustive()
    }
}

/// What people are told while a planner is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenEvent {
    /// A model file is read, which takes a while.
    Reading {
        /// The file.
        model: String,
    },
    /// Something works, and is perhaps not meant so.
    Warning(String),
}

impl fmt::Display for OpenEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenEvent::Reading { model } => write!(f, "reading {model}"),
            OpenEvent::Warning(warning) => f.write_str(warning),
        }
    }
}

impl PlannerConfig {
    /// Who plans: whom the settings name, or whoever goes by such a model name, or the built-in planner.
    pub fn kind(&self) -> PlannerKind {
        let of_model = |model: &String| match is_model_file(model) {
            true => PlannerKind::Gguf,
            false => PlannerKind::OpenAi,
        };
        self.kind.unwrap_or_else(|| self.model.as_ref().map_or(PlannerKind::BuiltIn, of_model))
    }

    /// Opens the file that remembers this planner's layouts, if there is to be one.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub fn open_cache(&self) -> Result<Option<Cache>> {
        match &self.memory {
            Memory::None => Ok(None),
            Memory::At(_) if self.kind() == PlannerKind::BuiltIn => Ok(None),
            Memory::At(path) => Cache::open(path).map(Some),
        }
    }

    /// The settings that differ from `defaults`.
    fn plan_options(&self, defaults: PlanOptions) -> PlanOptions {
        PlanOptions {
            canvas: self.canvas.unwrap_or(defaults.canvas),
            candidates: self.candidates.unwrap_or(defaults.candidates),
            starts: defaults.starts,
            request_timeout: self.request_timeout.unwrap_or(defaults.request_timeout),
            total_timeout: self.total_timeout.unwrap_or(defaults.total_timeout),
            is_lenient: self.is_lenient || defaults.is_lenient,
        }
    }

    fn chat_options(&self) -> ChatOptions {
        ChatOptions { plan: self.plan_options(PlanOptions::default()), ..ChatOptions::default() }
    }

    /// The template that is named, or the built-in one for the form of answers that is named, or for `format`.
    fn template(&self, format: AnswerFormat) -> Result<Template> {
        match &self.template {
            Some(TemplateSource { name, text }) => Template::new(name, text),
            None => Template::built_in(self.format.unwrap_or(format)),
        }
    }
}

/// Opens the planner that the settings describe: they are checked, and the model is read if it is a file. Nothing is sent yet.
///
/// # Errors
/// [`Error::NoModel`], [`Error::NoModelFile`], [`Error::NoTemplateTaken`], [`Error::BaseUrl`], [`Error::Key`]; as [`Template::new`], [`Gguf::open`] and
/// [`Cache::open`].
pub fn open(config: &PlannerConfig, tell: &dyn Fn(&OpenEvent)) -> Result<Box<dyn Planner>> {
    match config.kind() {
        PlannerKind::BuiltIn => Ok(Box::new(built_in(config)?)),
        PlannerKind::Gguf => remembering(model_file(config, tell)?, config),
        PlannerKind::OpenAi => remembering(server(config, tell)?, config),
    }
}

fn remembering(planner: impl Planner + 'static, config: &PlannerConfig) -> Result<Box<dyn Planner>> {
    Ok(match config.open_cache()? {
        Some(cache) => Box::new(CachedPlanner::new(planner, Arc::new(cache))),
        None => Box::new(planner),
    })
}

fn built_in(config: &PlannerConfig) -> Result<BuiltInPlanner> {
    if config.template.is_some() || config.format.is_some() {
        return Err(Error::NoTemplateTaken);
    }
    Ok(BuiltInPlanner::new(config.plan_options(BuiltInPlanner::default_options())))
}

fn model_file(config: &PlannerConfig, tell: &dyn Fn(&OpenEvent)) -> Result<ChatPlanner> {
    let model = config.model.as_ref().ok_or(Error::NoModelFile)?;
    let path = Path::new(model);
    let template = config.template(AnswerFormat::Json)?;
    let chat = config.chat_options();
    let defaults = GgufOptions::new(path);
    let options = GgufOptions {
        format: template.format(),
        canvas: chat.plan.canvas,
        temperature: config.temperature.unwrap_or(defaults.temperature),
        max_tokens: config.max_tokens.unwrap_or(defaults.max_tokens),
        ..defaults
    };
    tell(&OpenEvent::Reading { model: model.clone() });
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(ChatPlanner::new(Gguf::open(options)?, template, chat).named(name).with_prices(config.prices))
}

fn server(config: &PlannerConfig, tell: &dyn Fn(&OpenEvent)) -> Result<ChatPlanner> {
    let model = config.model.as_ref().ok_or(Error::NoModel)?;
    let mut options = openai_options(model, config.base_url.as_deref(), &config.keys, tell)?;
    let template = config.template(options.preset.format)?;
    options.preset.format = template.format();
    if template.format() != AnswerFormat::Text {
        options.preset.stop = None; // JSON may have blank lines
    }
    options.preset.endpoint = config.endpoint.unwrap_or(options.preset.endpoint);
    options.preset.temperature = config.temperature.or(options.preset.temperature);
    options.preset.max_tokens = config.max_tokens.unwrap_or(options.preset.max_tokens);
    let planner = ChatPlanner::new(OpenAi::new(options), template, config.chat_options());
    Ok(planner.named(model).with_prices(config.prices))
}

/// How a model is asked at an address, or at its preset's, with the key that goes there.
///
/// # Errors
/// [`Error::BaseUrl`], [`Error::Key`].
pub fn openai_options(
    model: &str,
    base_url: Option<&str>,
    keys: &ApiKeys,
    tell: &dyn Fn(&OpenEvent),
) -> Result<OpenAiOptions> {
    let base_url = BaseUrl::parse(base_url.unwrap_or(presets::preset(model).base_url))?;
    if let Some(warning) = base_url.warning() {
        tell(&OpenEvent::Warning(warning));
    }
    let openai = keys.openai.as_ref().filter(|_| base_url.is_openai());
    let key = keys.any_server.as_ref().or(openai);
    let key = key.map(|NamedKey { value, variable }| ApiKey::new(value, variable)).transpose()?;
    Ok(OpenAiOptions { key, ..OpenAiOptions::new(model, base_url) })
}

fn is_model_file(model: &str) -> bool {
    Path::new(model).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(model: Option<&str>) -> PlannerConfig {
        PlannerConfig { model: model.map(str::to_owned), ..PlannerConfig::default() }
    }

    fn named(value: &str) -> Option<NamedKey> {
        Some(NamedKey { value: value.to_owned(), variable: "KEY".to_owned() })
    }

    #[test]
    fn a_models_name_says_who_plans() {
        assert_eq!(config(None).kind(), PlannerKind::BuiltIn);
        assert_eq!(config(Some("mixtral.GGUF")).kind(), PlannerKind::Gguf);
        assert_eq!(config(Some("gpt-4")).kind(), PlannerKind::OpenAi);
        let said = PlannerConfig { kind: Some(PlannerKind::BuiltIn), ..config(Some("gpt-4")) };
        assert_eq!(said.kind(), PlannerKind::BuiltIn);
    }

    #[test]
    fn the_key_for_openai_goes_to_openai_alone() {
        let keys = ApiKeys { any_server: None, openai: named("sk-openai") };
        let key = |url: &str, keys: &ApiKeys| openai_options("gpt-4", Some(url), keys, &|_| {}).unwrap().key.is_some();
        assert!(key("openai", &keys) && !key("vllm", &keys));
        let keys = ApiKeys { any_server: named("sk-any"), openai: None };
        assert!(key("openai", &keys) && key("vllm", &keys));
        assert!(!format!("{keys:?}").contains("sk-any"));
    }

    #[test]
    fn what_is_missing_is_told_with_a_way_out() {
        let refused = |config: PlannerConfig| open(&config, &|_| {}).map(|_| ()).unwrap_err();
        let cases = [
            (PlannerConfig { kind: Some(PlannerKind::OpenAi), ..config(None) }, "no language model is named"),
            (PlannerConfig { kind: Some(PlannerKind::Gguf), ..config(None) }, "no model file is named"),
            (PlannerConfig { format: Some(AnswerFormat::Json), ..config(None) }, "takes no template"),
        ];
        for (config, told) in cases {
            let error = refused(config);
            assert!(error.to_string().contains(told) && error.hint().is_some() && error.is_bad_input(), "{error}");
        }
    }

    #[test]
    fn a_memory_is_opened_for_language_models() {
        let folder = tempfile::tempdir().unwrap();
        let at = Memory::At(folder.path().join("plans.sqlite"));
        let opened = |model, memory: &Memory| {
            PlannerConfig { memory: memory.clone(), ..config(model) }.open_cache().unwrap().is_some()
        };
        assert!(!opened(None, &at) && opened(Some("gpt-4"), &at));
        assert!(!opened(Some("gpt-4"), &Memory::None));
    }
}
