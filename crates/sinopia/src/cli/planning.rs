//! The planner that flags, variables and settings describe, made ready to ask.

use std::path::PathBuf;

use sinopia_layout::limits::TEMPLATE_BYTES;
use sinopia_planner::config::{self, ApiKeys, Memory, NamedKey, OpenEvent, PlannerConfig, TemplateSource};
use sinopia_planner::openai::OpenAiOptions;
use sinopia_planner::{Plan, PlanEvent, PlanNote, Planner, local_servers};
use sinopia_studio::LlmDiscovery;

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
        None => Memory::At(cache_path(choice)),
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

/// Who hears of language models on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Somebody who waits at a terminal, if anybody does.
    Terminal,
    /// Whoever starts a server, and reads its first lines.
    Operator,
    /// Nobody: many captions, one after another.
    Batch,
}

impl Audience {
    /// Whether it is to hear; `is_watched` says whether a terminal shows what is told.
    fn hears(self, discovery: LlmDiscovery, is_watched: bool) -> bool {
        match (discovery, self) {
            (LlmDiscovery::Never, _) | (LlmDiscovery::Auto, Audience::Batch) => false,
            (LlmDiscovery::Always, _) | (LlmDiscovery::Auto, Audience::Operator) => true,
            (LlmDiscovery::Auto, Audience::Terminal) => is_watched,
        }
    }
}

/// Where nobody has said who plans: tells how a language model that runs on this machine is used. It is told, not taken: what plans stays what it was.
pub(crate) fn tell_of_local_servers(choice: &PlannerChoice, audience: Audience, bars: &Bars) {
    let settings = &choice.settings;
    let is_said = settings.planner.is_some() || settings.llm_model.is_some() || settings.llm_base_url.is_some();
    let discovery = settings.llm_discovery.unwrap_or_default();
    if !is_said && audience.hears(discovery, bars.is_watched()) {
        for server in local_servers::find() {
            bars.line(&server.to_string());
        }
    }
}

/// Shows what could be better about a plan, and what it cost.
pub(crate) fn show(planner: &dyn Planner, plan: &Plan, bars: &Bars) {
    for PlanNote { is_fault, text } in plan.notes() {
        match is_fault {
            true => bars.warn(&format!("the layout is not the caption's: {text}")),
            false => bars.line(&format!("remark: {text}")),
        }
    }
    if plan.usage.requests > 0 {
        bars.line(&format!("planned with {}", planner.info().format_usage(&plan.usage)));
    }
}

/// Shows what happens while a layout is planned: what is new in a line, what happens again and again as a bar.
pub(crate) fn progress(bars: &Bars) -> impl Fn(&PlanEvent) {
    |event| match event {
        PlanEvent::Asking { planner, candidate, candidates } if *candidate > 1 => {
            bars.advance(&format!("layouts by {planner}"), *candidate as u64, *candidates as u64);
        }
        PlanEvent::Reading { planner, read, tokens } => {
            bars.advance(&format!("tokens read by {planner}"), *read as u64, *tokens as u64);
        }
        other => bars.line(&other.to_string()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_who_does_not_read_it() {
        use Audience::{Batch, Operator, Terminal};
        for (discovery, audience, is_watched, hears) in [
            (LlmDiscovery::Auto, Terminal, true, true),
            (LlmDiscovery::Auto, Terminal, false, false),
            (LlmDiscovery::Auto, Operator, false, true),
            (LlmDiscovery::Auto, Batch, true, false),
            (LlmDiscovery::Always, Batch, false, true),
            (LlmDiscovery::Never, Operator, true, false),
        ] {
            assert_eq!(audience.hears(discovery, is_watched), hears, "{discovery:?} {audience:?}");
        }
    }
}
