//! The planner that flags, variables and settings describe, made ready to ask.

use std::path::PathBuf;
use std::time::Duration;

use sinopia_planner::address::{ApiKey, BaseUrl};
use sinopia_planner::openai::{OpenAi, OpenAiOptions};
use sinopia_planner::presets::{self, Endpoint};
use sinopia_planner::template::{AnswerFormat, Template};
use sinopia_planner::{Cache, Plan, PlanOptions, Planner};

use super::args::{EndpointArg, FormatArg, PlannerArgs};
use super::failure::{Given, bad_request};
use super::progress::Bars;
use super::settings;

const NO_MODEL: &str = "\
no language model is named
hint: name one with `--llm-model NAME` (or SINOPIA_LLM_MODEL, or `llm-model` in sinopia.toml), and its server with `--llm-base-url`:
      an address, or one of openai, vllm, llama.cpp, ollama, lm-studio";

/// Everything a planner borrows.
pub(crate) struct Planning {
    provider: OpenAi,
    template: Template,
    options: PlanOptions,
    cache: Option<Cache>,
}

impl Planning {
    /// Whether somebody said who should plan.
    pub(crate) fn is_configured(args: &PlannerArgs) -> bool {
        args.planner.is_some() || args.llm_model.is_some()
    }

    /// Checks the settings and opens the cache. Nothing is sent yet.
    pub(crate) fn new(args: PlannerArgs, bars: &Bars) -> anyhow::Result<Self> {
        let Some(model) = &args.llm_model else { return Err(bad_request(NO_MODEL)) };
        let mut options = language_model(model, args.llm_base_url.as_deref(), bars)?;
        let template = template(&args, options.preset.format)?;
        options.preset.format = template.format();
        if template.format() == AnswerFormat::Json {
            options.preset.stop = None; // JSON may have blank lines
        }
        options.preset.endpoint = match args.llm_endpoint {
            Some(EndpointArg::Chat) => Endpoint::Chat,
            Some(EndpointArg::Completions) => Endpoint::Completions,
            None => options.preset.endpoint,
        };
        options.preset.temperature = args.llm_temperature.or(options.preset.temperature);
        options.preset.max_tokens = args.llm_max_tokens.unwrap_or(options.preset.max_tokens);
        let cache = match args.no_plan_cache {
            true => None,
            false => Some(Cache::open(&cache_path(&args))?),
        };
        Ok(Self { provider: OpenAi::new(options), template, options: plan_options(&args), cache })
    }

    pub(crate) fn planner(&self) -> Planner<'_> {
        Planner::new(&self.provider, &self.template, self.options.clone(), self.cache.as_ref())
    }

    /// What could be better about a plan, and what it cost.
    pub(crate) fn tell(&self, plan: &Plan, bars: &Bars) {
        for finding in &plan.findings {
            match finding.is_fault() {
                true => bars.warn(&format!("the layout is not the caption's: {finding}")),
                false => bars.line(&format!("remark: {finding}")),
            }
        }
        if !plan.is_cached {
            bars.line(&format!("planned with {}", plan.usage));
        }
    }
}

/// A model at an address, or at its preset's, with the key that goes there.
pub(super) fn language_model(model: &str, base_url: Option<&str>, bars: &Bars) -> anyhow::Result<OpenAiOptions> {
    let base_url = BaseUrl::parse(base_url.unwrap_or(presets::preset(model).base_url))?;
    if let Some(warning) = base_url.warning() {
        bars.warn(&warning);
    }
    let mut options = OpenAiOptions::new(model, base_url);
    if let Some((value, variable)) = settings::llm_key(options.base_url.is_openai()) {
        options.key = Some(ApiKey::new(&value, variable)?);
    }
    Ok(options)
}

/// The file that remembers plans.
pub(crate) fn cache_path(args: &PlannerArgs) -> PathBuf {
    args.plan_cache.clone().unwrap_or_else(|| settings::user_cache_folder().join("plans.sqlite"))
}

fn template(args: &PlannerArgs, preset: AnswerFormat) -> anyhow::Result<Template> {
    let Some(path) = &args.template else {
        let format = match args.llm_format {
            Some(FormatArg::Text) => AnswerFormat::Text,
            Some(FormatArg::Json) => AnswerFormat::Json,
            None => preset,
        };
        return Ok(Template::built_in(format)?);
    };
    let name = path.display().to_string();
    let source = std::fs::read_to_string(path).given(|| format!("cannot read the prompt template `{name}`"))?;
    Ok(Template::new(&name, &source)?)
}

fn plan_options(args: &PlannerArgs) -> PlanOptions {
    let defaults = PlanOptions::default();
    PlanOptions {
        canvas: args.canvas.unwrap_or(defaults.canvas),
        candidates: args.candidates.map_or(defaults.candidates, |n| n as usize),
        request_timeout: args.llm_timeout.map_or(defaults.request_timeout, Duration::from_secs_f64),
        total_timeout: args.plan_timeout.map_or(defaults.total_timeout, Duration::from_secs_f64),
        lenient: args.lenient,
        ..defaults
    }
}
