//! The planner that flags, variables and settings describe, made ready to ask.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sinopia_layout::Canvas;
use sinopia_layout::limits::TEMPLATE_BYTES;
use sinopia_planner::address::{ApiKey, BaseUrl};
use sinopia_planner::built_in::BuiltIn;
use sinopia_planner::gguf::{Gguf, GgufOptions};
use sinopia_planner::openai::{OpenAi, OpenAiOptions};
use sinopia_planner::presets::{self, Endpoint};
use sinopia_planner::provider::{Completion, Identity, Message};
use sinopia_planner::template::{AnswerFormat, Template};
use sinopia_planner::{Cache, CallError, Plan, PlanOptions, Planner, Prices, Provider, Usage};

use super::args::{EndpointArg, FormatArg, PlannerArgs, PlannerKind};
use super::failure::{Given, bad_request};
use super::progress::Bars;
use super::{input, settings};

const NO_MODEL: &str = "\
no language model is named
hint: name one with `--llm-model NAME` (or SINOPIA_LLM_MODEL, or `llm-model` in sinopia.toml), and its server with `--llm-base-url`:
      an address, or one of openai, vllm, llama.cpp, ollama, lm-studio";
const NO_FILE: &str = "\
no model file is named
hint: name one with `--llm-model FILE.gguf`";
const NO_TEMPLATE: &str = "\
the built-in planner takes no template and no answer format
hint: name a language model for them with `--llm-model`";

/// How often the built-in planner tries. An answer takes a fraction of a second, and it learns nothing from being told what is wrong.
const BUILT_IN_CANDIDATES: usize = 16;
const BUILT_IN_STARTS: usize = 2;

/// Everything a planner borrows.
pub(crate) struct Planning {
    provider: Box<dyn Provider>,
    template: Template,
    options: PlanOptions,
    cache: Option<Cache>,
    prices: Option<Prices>,
    /// Whether answers are held to the canvas of the options.
    is_held_to_canvas: bool,
    /// Whether it changes layouts as it is told in words.
    can_edit: bool,
    name: String,
}

impl Planning {
    /// Checks the settings, reads the model if it is a file, and opens the cache. Nothing is sent yet.
    pub(crate) fn new(args: PlannerArgs, bars: &Bars) -> anyhow::Result<Self> {
        let options = plan_options(&args);
        let kind = kind(&args);
        let (provider, template, options): (Box<dyn Provider>, _, _) = match kind {
            PlannerKind::BuiltIn => {
                let (provider, template) = built_in(&args)?;
                let candidates = args.candidates.map_or(BUILT_IN_CANDIDATES, |n| n as usize);
                (
                    Box::new(provider),
                    template,
                    PlanOptions { candidates, starts: BUILT_IN_STARTS, repairs: 0, ..options },
                )
            }
            PlannerKind::Gguf => {
                let (provider, template) = model_file(&args, &options, bars)?;
                (Box::new(provider), template, options)
            }
            PlannerKind::Openai => {
                let (provider, template) = server(&args, bars)?;
                (Box::new(provider), template, options)
            }
        };
        // The built-in planner answers alike every time, and faster than a disk may.
        let is_cached = !args.no_plan_cache && (kind != PlannerKind::BuiltIn || args.plan_cache.is_some());
        let cache = if is_cached { Some(Cache::open(&cache_path(&args))?) } else { None };
        let is_held_to_canvas = kind == PlannerKind::Gguf;
        let can_edit = kind != PlannerKind::BuiltIn;
        let (name, prices) = (name(&args, kind), args.llm_price);
        Ok(Self { provider, template, options, cache, prices, is_held_to_canvas, can_edit, name })
    }

    pub(crate) fn planner(&self) -> Planner<'_> {
        Planner::new(self.provider.as_ref(), &self.template, self.options.clone(), self.cache.as_ref())
    }

    /// The layout for a caption. Once `is_over` is set, nothing more is asked, and a model in process gives up what it was asked.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    pub(crate) fn plan_until(&self, is_over: &AtomicBool, caption: &str) -> sinopia_planner::Result<Plan> {
        Planner::new(&self.until(is_over), &self.template, self.options.clone(), self.cache.as_ref()).plan(
            caption,
            0,
            &|_| {},
        )
    }

    /// Who is asked, and asked nothing any more once `is_over` is set.
    pub(crate) fn until<'a>(&'a self, is_over: &'a AtomicBool) -> Endable<'a> {
        Endable { provider: self.provider.as_ref(), is_over }
    }

    /// The planner on another canvas, which asks `provider` and takes the best answer even if it fails a check.
    ///
    /// # Errors
    /// If the planner is held to its canvas: a model file's answers are, token by token.
    pub(crate) fn lenient_planner<'a>(
        &'a self,
        provider: &'a Endable<'a>,
        canvas: Option<Canvas>,
    ) -> anyhow::Result<Planner<'a>> {
        let own = self.options.canvas;
        let canvas = canvas.unwrap_or(own);
        if self.is_held_to_canvas && canvas != own {
            return Err(bad_request(format!("this planner lays out on {own} only, not on {canvas}")));
        }
        let options = PlanOptions { canvas, lenient: true, ..self.options.clone() };
        Ok(Planner::new(provider, &self.template, options, self.cache.as_ref()))
    }

    /// Whether it changes layouts as it is told in words.
    pub(crate) fn can_edit(&self) -> bool {
        self.can_edit
    }

    /// Who plans, in words: no address and no path.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Requests and tokens, with their cost if the prices are known.
    pub(crate) fn told(&self, usage: &Usage) -> String {
        let cost = self.prices.map(|prices| format!(", cost {:.6}", usage.cost(prices)));
        format!("{usage}{}", cost.unwrap_or_default())
    }

    /// The cost for reports.
    pub(crate) fn cost(&self, usage: &Usage) -> Option<f64> {
        self.prices.map(|prices| usage.cost(prices))
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
            bars.line(&format!("planned with {}", self.told(&plan.usage)));
        }
    }
}

/// A provider that is asked nothing any more once nobody waits for the answer.
pub(crate) struct Endable<'a> {
    provider: &'a dyn Provider,
    is_over: &'a AtomicBool,
}

impl Provider for Endable<'_> {
    fn identity(&self) -> Identity {
        self.provider.identity()
    }

    fn complete(&self, conversation: &[Message], draw: u64, timeout: Duration) -> Result<Completion, CallError> {
        let is_over = || self.is_over.load(Ordering::Relaxed);
        if is_over() {
            return Err(CallError::Unable("nobody waits for the layout any more".to_owned()));
        }
        self.provider.complete_unless(conversation, draw, timeout, &is_over)
    }
}

/// Who plans: whom the flag names, or whoever goes by such a model name, or the built-in planner.
pub(crate) fn kind(args: &PlannerArgs) -> PlannerKind {
    let of_model = |model: &String| match is_model_file(model) {
        true => PlannerKind::Gguf,
        false => PlannerKind::Openai,
    };
    args.planner.unwrap_or_else(|| args.llm_model.as_ref().map_or(PlannerKind::BuiltIn, of_model))
}

fn name(args: &PlannerArgs, kind: PlannerKind) -> String {
    let model = args.llm_model.as_deref().unwrap_or_default();
    match kind {
        PlannerKind::BuiltIn => "the built-in planner".to_owned(),
        PlannerKind::Gguf => Path::new(model).file_name().unwrap_or_default().to_string_lossy().into_owned(),
        PlannerKind::Openai => model.to_owned(),
    }
}

fn is_model_file(model: &str) -> bool {
    Path::new(model).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

fn built_in(args: &PlannerArgs) -> anyhow::Result<(BuiltIn, Template)> {
    if args.template.is_some() || args.llm_format.is_some() {
        return Err(bad_request(NO_TEMPLATE));
    }
    Ok((BuiltIn::new(sinopia_miniature::PLANNER)?, Template::caption_only()?))
}

fn model_file(args: &PlannerArgs, plan: &PlanOptions, bars: &Bars) -> anyhow::Result<(Gguf, Template)> {
    let Some(model) = &args.llm_model else { return Err(bad_request(NO_FILE)) };
    let template = template(args, AnswerFormat::Json)?;
    let mut options = GgufOptions::new(Path::new(model));
    options.format = template.format();
    options.canvas = plan.canvas;
    options.temperature = args.llm_temperature.unwrap_or(options.temperature);
    options.max_tokens = args.llm_max_tokens.unwrap_or(options.max_tokens);
    bars.line(&format!("reading {model}"));
    Ok((Gguf::open(options)?, template))
}

fn server(args: &PlannerArgs, bars: &Bars) -> anyhow::Result<(OpenAi, Template)> {
    let Some(model) = &args.llm_model else { return Err(bad_request(NO_MODEL)) };
    let mut options = language_model(model, args.llm_base_url.as_deref(), bars)?;
    let template = template(args, options.preset.format)?;
    options.preset.format = template.format();
    if template.format() != AnswerFormat::Text {
        options.preset.stop = None; // JSON may have blank lines
    }
    options.preset.endpoint = match args.llm_endpoint {
        Some(EndpointArg::Chat) => Endpoint::Chat,
        Some(EndpointArg::Completions) => Endpoint::Completions,
        Some(EndpointArg::Responses) => Endpoint::Responses,
        None => options.preset.endpoint,
    };
    options.preset.temperature = args.llm_temperature.or(options.preset.temperature);
    options.preset.max_tokens = args.llm_max_tokens.unwrap_or(options.preset.max_tokens);
    Ok((OpenAi::new(options), template))
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
            Some(FormatArg::TwoStep) => AnswerFormat::TwoStep,
            None => preset,
        };
        return Ok(Template::built_in(format)?);
    };
    let name = path.display().to_string();
    let source = input::text(path, TEMPLATE_BYTES as u64);
    let source = source.given(|| format!("cannot read the prompt template `{name}`"))?;
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
