//! The settings of a planner, each described where it is declared.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sinopia_diffusion::settings::{Bounds, Choice, Group, Kind};
use sinopia_layout::Canvas;
use sinopia_planner::presets::Endpoint;
use sinopia_planner::template::AnswerFormat;
use sinopia_planner::{PlannerConfig, PlannerKind, Prices};

use super::combined;
use super::run_setting::{Described, RunSetting};
use crate::{Error, Result};

combined! {
    /// Who lays out a caption, and how, as far as anybody said.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct PlannerSettings {
        /// Who plans.
        planner: Option<PlannerKind>,
        /// The language model, by the name its server knows, or a GGUF file.
        llm_model: Option<String>,
        /// Its server.
        llm_base_url: Option<String>,
        /// By which of a server's ways it is asked.
        llm_endpoint: Option<Endpoint>,
        /// How it writes a layout.
        llm_format: Option<AnswerFormat>,
        /// Randomness of its answers.
        llm_temperature: Option<f64>,
        /// Longest answer in tokens.
        llm_max_tokens: Option<u32>,
        /// What a million tokens cost, read and written.
        llm_price: Option<String>,
        /// Longest wait for one answer, in seconds.
        llm_timeout: Option<f64>,
        /// Longest time for a whole layout, in seconds.
        plan_timeout: Option<f64>,
        /// Prompt template of one's own.
        template: Option<PathBuf>,
        /// Whether language models on this machine are looked for.
        llm_discovery: Option<LlmDiscovery>,
        /// Layouts to choose the best from.
        candidates: Option<u32>,
        /// Canvas to lay out on, as `WIDTHxHEIGHT` in pixels.
        canvas: Option<String>,
        /// File that remembers good layouts.
        plan_cache: Option<PathBuf>,
    }
    beside {}
}

/// When language models that run on this machine are looked for, to tell how they are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LlmDiscovery {
    /// Where somebody is there to read it.
    #[default]
    Auto,
    /// Whoever reads it.
    Always,
    /// Not at all.
    Never,
}

impl Described for PlannerSettings {
    fn described() -> &'static [RunSetting] {
        &PLANNER
    }
}

impl PlannerSettings {
    /// These settings, and where they say nothing those of `base`. A template has a format of its own: whoever names one of the two decides about both.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        let base = match self.template.is_some() || self.llm_format.is_some() {
            true => Self { template: None, llm_format: None, ..base },
            false => base,
        };
        self.over(base)
    }

    /// The planner that they describe. Its template, its keys and what remembers its plans are the caller's to read and to name.
    ///
    /// # Errors
    /// [`Error::Canvas`], [`Error::Price`].
    pub fn config(&self) -> Result<PlannerConfig> {
        let seconds = |seconds: Option<f64>| seconds.map(Duration::from_secs_f64);
        Ok(PlannerConfig {
            kind: self.planner,
            model: self.llm_model.clone(),
            base_url: self.llm_base_url.clone(),
            endpoint: self.llm_endpoint,
            format: self.llm_format,
            temperature: self.llm_temperature,
            max_tokens: self.llm_max_tokens,
            prices: self.llm_price.as_deref().map(parse_prices).transpose()?,
            request_timeout: seconds(self.llm_timeout),
            total_timeout: seconds(self.plan_timeout),
            candidates: self.candidates.map(|count| count as usize),
            canvas: self.canvas.as_deref().map(parse_canvas).transpose()?,
            ..PlannerConfig::default()
        })
    }
}

/// What a million tokens cost: `0.15/0.60`, read and written.
fn parse_prices(text: &str) -> Result<Prices> {
    let price = |text: &str| text.trim().parse().ok().filter(|price| (0.0..=1e6).contains(price));
    let both = text.split_once('/').and_then(|(prompt, completion)| Some((price(prompt)?, price(completion)?)));
    let (prompt, completion) = both.ok_or_else(|| Error::Price { text: text.to_owned() })?;
    Ok(Prices { prompt, completion })
}

/// A canvas as it is typed: `768x512`, or one number for a square.
///
/// # Errors
/// [`Error::Size`], [`Error::Canvas`].
pub fn parse_canvas(text: &str) -> Result<Canvas> {
    let (width, height) = parse_size(text)?;
    Canvas::new(width, height).map_err(|source| Error::Canvas { source })
}

/// Width and height in pixels as they are typed: `768x512`, or one number for a square.
///
/// # Errors
/// [`Error::Size`].
pub fn parse_size(text: &str) -> Result<(u32, u32)> {
    let side = |text: &str| text.trim().parse().ok();
    let sides = match text.split_once(['x', 'X', '×', '*']) {
        Some((width, height)) => side(width).zip(side(height)),
        None => side(text).map(|side| (side, side)),
    };
    sides.ok_or_else(|| Error::Size { text: text.to_owned() })
}

/// Of a wait.
const SECONDS: Kind = Kind::Number(Bounds::closed(0.001, 86_400.0));

static PLANNER: LazyLock<Vec<RunSetting>> = LazyLock::new(|| {
    let kept = |name, kind, default, help| RunSetting::kept(name, Group::Planning, kind, default, help);
    vec![
        kept("planner", planners(), Value::Null, "Who plans.")
            .value("KIND")
            .or_else("openai or gguf by the name of `--llm-model`, built-in without one"),
        kept(
            "llm_model",
            Kind::Text,
            Value::Null,
            "The language model, by the name its server knows, or a GGUF file (llama, mistral, mixtral, qwen 2 and 3, gemma 3, phi 3).",
        )
        .value("NAME|FILE.gguf"),
        kept(
            "llm_base_url",
            Kind::Text,
            Value::Null,
            "The server: an address such as `http://localhost:8000/v1`, or openai, vllm, llama.cpp, ollama or lm-studio.",
        )
        .value("URL")
        .or_else("by model"),
        kept(
            "llm_endpoint",
            endpoints(),
            Value::Null,
            "Ask for a chat message, for the continuation of a text, or by the Responses API.",
        )
        .value("KIND")
        .or_else("by model")
        .rare(),
        kept("llm_format", formats(), Value::Null, "How the model writes a layout.").value("KIND").or_else("by model").rare(),
        kept("llm_temperature", Kind::number(0.0, 2.0), json!(0.25), "Randomness of the model's answers.").value("X").rare(),
        kept("llm_max_tokens", Kind::integer(16, 100_000), Value::Null, "Longest answer in tokens.")
            .value("N")
            .in_units_of("tokens")
            .or_else("by model, 900 or more")
            .rare(),
        kept(
            "llm_price",
            Kind::Text,
            Value::Null,
            "What a million tokens cost, read and written, as IN/OUT (such as `0.15/0.60`): reports then tell the cost.",
        )
        .value("IN/OUT")
        .that_is("two prices of a million tokens, as `0.15/0.60`", |text| parse_prices(text).is_ok())
        .rare(),
        kept("llm_timeout", SECONDS, json!(120), "Longest wait for one answer.").value("SECONDS").in_units_of("seconds").rare(),
        kept("plan_timeout", SECONDS, json!(600), "Longest time for a whole layout, pauses and repairs included.")
            .value("SECONDS")
            .in_units_of("seconds")
            .rare(),
        kept(
            "template",
            Kind::Text,
            Value::Null,
            "Prompt template of your own (MiniJinja); it may extend `lmd-text`, `lmd-json` or `two-step`.",
        )
        .value("FILE")
        .excluding(&["llm_format"])
        .rare(),
        kept(
            "llm_discovery",
            discovery(),
            json!("auto"),
            "Where nobody says who plans: look on this machine for Ollama, LM Studio, llama.cpp and vLLM at their usual ports, and say how to use what is there.",
        )
        .value("WHEN")
        .explained("This machine only, 0.2 seconds at most. What is found is told, never used by itself.")
        .rare(),
        kept("candidates", Kind::integer(1, 20), Value::Null, "Layouts to choose the best from.")
            .value("N")
            .or_else("1; 4 from the built-in planner"),
        RunSetting::of_picture("canvas", Group::Planning, Kind::Text, Value::Null, "Canvas to lay out on, as WIDTHxHEIGHT in pixels.")
            .value("SIZE")
            .or_else("512x512, or the picture's shape with 512 pixels on its shorter side")
        .that_is("WIDTHxHEIGHT in pixels, such as 768x512", |text| parse_canvas(text).is_ok())
            .rare(),
        kept("plan_cache", Kind::Text, Value::Null, "File that remembers good layouts.")
            .value("FILE")
            .or_else("sinopia/plans.sqlite in the user's cache folder")
            .rare(),
    ]
});

fn planners() -> Kind {
    Kind::choice(&[
        ("built-in", "The planner inside the program, by rules: English captions, no network, no model."),
        ("gguf", "A model file of your own, run in process."),
        ("openai", "A server with OpenAI's protocol."),
    ])
}

fn discovery() -> Kind {
    Kind::Choice(vec![
        Choice::new("auto", "If stderr is a terminal, and when a server starts; not for a batch."),
        Choice::new("always", "In any case.").also(&["on", "yes", "true"]),
        Choice::new("never", "Not at all.").also(&["off", "no", "false"]),
    ])
}

fn endpoints() -> Kind {
    Kind::choice(&[("chat", "`chat/completions`."), ("completions", "`completions`."), ("responses", "`responses`.")])
}

fn formats() -> Kind {
    Kind::choice(&[
        ("text", "The list of pairs of LLM-grounded Diffusion."),
        ("json", "JSON, held to a schema where the server can."),
        (
            "two-step",
            "JSON with boxes for the core of the picture only; the rest is told in words and placed by rules.",
        ),
    ])
}
