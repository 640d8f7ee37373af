//! The planner that flags, variables and settings describe, made ready to ask.

use std::path::PathBuf;

use sinopia_layout::limits::TEMPLATE_BYTES;
use sinopia_planner::config::{self, ApiKeys, Memory, NamedKey, OpenEvent, PlannerConfig, TemplateSource};
use sinopia_planner::openai::OpenAiOptions;
use sinopia_planner::{Plan, Planner};

use super::args::PlannerChoice;
use super::failure::Given;
use super::progress::Bars;
use super::{input, settings};

/// Opens the planner. Nothing is sent yet.
pub(crate) fn open(choice: &PlannerChoice, bars: &Bars) -> anyhow::Result<Box<dyn Planner>> {
    Ok(config::open(&config(choice)?, &tell(bars))?)
}

/// The settings in the planner's words.
pub(crate) fn config(choice: &PlannerChoice) -> anyhow::Result<PlannerConfig> {
    let settings = &choice.settings;
    let template = settings.template.as_ref().map(|path| {
        let name = path.display().to_string();
        let text = input::text(path, TEMPLATE_BYTES as u64);
        let text = text.given(|| format!("cannot read the prompt template `{name}`"))?;
        anyhow::Ok(TemplateSource { name, text })
    });
    let memory = match &settings.plan_cache {
        _ if choice.no_plan_cache => Memory::None,
        Some(path) => Memory::At(path.clone()),
        None => Memory::WhereUseful(cache_path(choice)),
    };
    let config = settings.config()?;
    Ok(PlannerConfig { keys: keys(), template: template.transpose()?, is_lenient: choice.lenient, memory, ..config })
}

/// A model at an address, or at its preset's, with the key that goes there.
pub(super) fn language_model(model: &str, base_url: Option<&str>, bars: &Bars) -> anyhow::Result<OpenAiOptions> {
    Ok(config::openai_options(model, base_url, &keys(), &tell(bars))?)
}

/// The file that remembers plans.
pub(crate) fn cache_path(choice: &PlannerChoice) -> PathBuf {
    choice.settings.plan_cache.clone().unwrap_or_else(|| settings::user_cache_folder().join("plans.sqlite"))
}

/// Shows what could be better about a plan, and what it cost.
pub(crate) fn show(planner: &dyn Planner, plan: &Plan, bars: &Bars) {
    for finding in &plan.findings {
        match finding.is_fault() {
            true => bars.warn(&format!("the layout is not the caption's: {finding}")),
            false => bars.line(&format!("remark: {finding}")),
        }
    }
    if !plan.is_cached {
        bars.line(&format!("planned with {}", planner.info().format_usage(&plan.usage)));
    }
}

fn tell(bars: &Bars) -> impl Fn(&OpenEvent) {
    |event| match event {
        OpenEvent::Warning(warning) => bars.warn(warning),
        other => bars.line(&other.to_string()),
    }
}

fn keys() -> ApiKeys {
    let key = |(value, variable): (String, &str)| NamedKey { value, variable: variable.to_owned() };
    ApiKeys { any_server: settings::llm_key().map(key), openai: settings::openai_key().map(key) }
}
