//! From a caption to a layout: ask, read, check, ask again. Start reading at [`Planner::plan`].

use std::fmt;
use std::thread;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use sinopia_layout::{Canvas, Layout, LayoutCache, RepairReport, repair};

use crate::cache::{Cache, Entry, Key};
use crate::checks::{self, Finding};
use crate::error::{Error, Result};
use crate::provider::{CallError, Message, Provider, Usage};
use crate::retry::{Budget, RetryPolicy};
use crate::template::Template;

/// More answers than are ever asked for one occurrence of a caption.
const DRAWS_PER_OCCURRENCE: u64 = 1000;

/// How hard the planner tries.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOptions {
    /// The canvas that boxes are asked for on.
    pub canvas: Canvas,
    /// Layouts to choose from. A perfect one ends the search.
    pub candidates: usize,
    /// Fresh starts for a candidate whose answers cannot be used.
    pub starts: usize,
    /// Turns in which the model is told what is wrong with its answer, for each start.
    pub repairs: usize,
    /// The longest wait for one answer.
    pub request_timeout: Duration,
    /// The longest time for the whole plan, pauses included.
    pub total_timeout: Duration,
    /// How failed calls are repeated.
    pub retry: RetryPolicy,
    /// Take the best answer that is a layout at all, even if it fails a check.
    pub lenient: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            canvas: Canvas::PUBLISHED,
            candidates: 1,
            starts: 2,
            repairs: 1,
            request_timeout: Duration::from_secs(120),
            total_timeout: Duration::from_secs(600),
            retry: RetryPolicy::default(),
            lenient: false,
        }
    }
}

/// What happens while a plan is made, for people who wait.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PlanEvent {
    /// The answer was in the cache.
    Cached,
    /// The model is asked.
    Asking,
    /// A call failed and is repeated after a pause.
    Waiting {
        /// Why.
        reason: String,
        /// How long.
        pause: Duration,
    },
    /// An answer cannot be used; the model is told why.
    Repairing {
        /// What is wrong.
        problems: Vec<String>,
    },
    /// The model did not mend its answer; it is asked from the beginning.
    StartingOver,
}

impl fmt::Display for PlanEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanEvent::Cached => f.write_str("the layout is in the cache of plans"),
            PlanEvent::Asking => f.write_str("asking the model for a layout"),
            PlanEvent::Waiting { reason, pause } => write!(f, "{reason}; trying again in {:.1} s", pause.as_secs_f64()),
            PlanEvent::Repairing { problems } => {
                write!(f, "asking the model to mend its layout: {}", problems.join("; "))
            }
            PlanEvent::StartingOver => f.write_str("asking the model afresh"),
        }
    }
}

/// A layout for a caption, and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The layout, every box inside the canvas.
    pub layout: Layout,
    /// The model's answer.
    pub answer: String,
    /// What could be better; faults only if [`PlanOptions::lenient`].
    pub findings: Vec<Finding>,
    /// What was changed in the answer's boxes.
    pub changes: RepairReport,
    /// What this plan cost now; nothing if it was cached.
    pub usage: Usage,
    /// Whether the answer comes from the cache.
    pub is_cached: bool,
}

/// Turns captions into layouts with a language model.
pub struct Planner<'a> {
    provider: &'a dyn Provider,
    template: &'a Template,
    options: PlanOptions,
    cache: Option<&'a Cache>,
}

/// What is asked: a layout for a caption, or a change to one.
enum Task<'a> {
    Caption(&'a str),
    Edit { layout: &'a Layout, instruction: &'a str },
}

/// An answer that is a layout.
struct Candidate {
    layout: Layout,
    answer: String,
    findings: Vec<Finding>,
}

/// What a search has come to.
#[derive(Default)]
struct Search {
    /// The number of the first answer; captions that occur several times begin far apart.
    first_draw: u64,
    usage: Usage,
    answers: usize,
    last_answer: String,
    last_problems: Vec<String>,
    /// The best layout with faults.
    best_faulty: Option<Candidate>,
}

impl<'a> Planner<'a> {
    /// A planner that asks `provider` with `template` and remembers good answers in `cache`.
    pub fn new(
        provider: &'a dyn Provider,
        template: &'a Template,
        options: PlanOptions,
        cache: Option<&'a Cache>,
    ) -> Self {
        Self { provider, template, options, cache }
    }

    /// The layout for `caption`. Captions that occur several times have an answer for each `occurrence`, counted from 0.
    ///
    /// # Errors
    /// [`Error::Call`] if the provider cannot be asked, [`Error::OutOfTime`], [`Error::Unusable`] with the last answer if the
    /// model gives no layout that passes the checks, [`Error::Cache`].
    pub fn plan(&self, caption: &str, occurrence: usize, tell: &dyn Fn(&PlanEvent)) -> Result<Plan> {
        let key = self.key(caption, occurrence, None);
        self.cached_or_new(&Task::Caption(caption), &key, tell)
    }

    /// `layout` with `instruction` carried out, such as *move the dog left*. The result has the layout's canvas.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    pub fn edit(
        &self,
        layout: &Layout,
        instruction: &str,
        occurrence: usize,
        tell: &dyn Fn(&PlanEvent),
    ) -> Result<Plan> {
        let key = self.key(instruction, occurrence, Some(layout));
        self.cached_or_new(&Task::Edit { layout, instruction }, &key, tell)
    }

    /// Stores an answer of another origin as if this planner had got it. Returns whether it was new.
    ///
    /// # Errors
    /// [`Error::Layout`] or [`Error::Unusable`] if it is not a good layout for the caption, [`Error::Cache`].
    pub fn import(&self, caption: &str, occurrence: usize, answer: &str) -> Result<bool> {
        let task = Task::Caption(caption);
        let candidate = self.judge(&task, answer)?;
        let problems = faults(&candidate.findings);
        if !problems.is_empty() {
            return Err(Error::Unusable { answers: 1, problems, last_answer: answer.to_owned() });
        }
        let Some(cache) = self.cache else { return Ok(false) };
        cache.put(&self.key(caption, occurrence, None), &entry(&candidate, Usage::default()))
    }

    /// The cache key of a caption.
    pub fn key(&self, caption: &str, occurrence: usize, edited: Option<&Layout>) -> Key {
        let identity = self.provider.identity();
        let canvas = edited.map_or(self.options.canvas, |layout| layout.canvas);
        let edited = edited.map(|layout| {
            let hash = Sha256::digest(layout.to_json().as_bytes());
            hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        });
        let settings = json!({
            "provider": identity.settings,
            "canvas": [canvas.width(), canvas.height()],
            "candidates": self.options.candidates,
            "edited": edited,
        });
        Key {
            provider: identity.provider,
            model: identity.model,
            template: self.template.hash().to_owned(),
            settings: settings.to_string(),
            caption: LayoutCache::key(caption).to_owned(),
            occurrence,
        }
    }

    fn cached_or_new(&self, task: &Task<'_>, key: &Key, tell: &dyn Fn(&PlanEvent)) -> Result<Plan> {
        if let Some(plan) = self.cached(task, key)? {
            tell(&PlanEvent::Cached);
            return Ok(plan);
        }
        let first_draw = DRAWS_PER_OCCURRENCE.saturating_mul(key.occurrence as u64);
        let mut search = Search { first_draw, ..Search::default() };
        let candidate = self.search(task, &mut search, tell)?;
        if let Some(cache) = self.cache
            && !candidate.findings.iter().any(Finding::is_fault)
        {
            cache.put(key, &entry(&candidate, search.usage))?;
            // Another process may have been first; then its answer is the answer.
            if let Some(plan) = self.cached(task, key)? {
                return Ok(Plan { usage: search.usage, is_cached: false, ..plan });
            }
        }
        Ok(finished(candidate, search.usage, false))
    }

    /// The cached plan, if there is one that still passes.
    fn cached(&self, task: &Task<'_>, key: &Key) -> Result<Option<Plan>> {
        let Some(cache) = self.cache else { return Ok(None) };
        let Some(entry) = cache.get(key)? else { return Ok(None) };
        let candidate = self.judge(task, &entry.answer).ok();
        let passing = candidate.filter(|candidate| !candidate.findings.iter().any(Finding::is_fault));
        Ok(passing.map(|candidate| finished(candidate, Usage::default(), true)))
    }

    /// The best of the candidates.
    fn search(&self, task: &Task<'_>, search: &mut Search, tell: &dyn Fn(&PlanEvent)) -> Result<Candidate> {
        let budget = Budget::new(self.options.total_timeout);
        let mut best: Option<Candidate> = None;
        for _ in 0..self.options.candidates.max(1) {
            match self.candidate(task, search, &budget, tell) {
                Ok(candidate) => best = Some(better(best, candidate)),
                // What was found so far is worth more than what went wrong later.
                Err(error) if best.is_none() && !matches!(error, Error::Unusable { .. }) => return Err(error),
                Err(Error::Unusable { .. }) => {}
                Err(_) => break,
            }
            if best.as_ref().is_some_and(|candidate| candidate.findings.is_empty()) {
                break;
            }
        }
        if let Some(candidate) = best {
            return Ok(candidate);
        }
        match search.best_faulty.take() {
            Some(candidate) if self.options.lenient => Ok(candidate),
            _ => Err(search.unusable()),
        }
    }

    /// One layout without faults: from a fresh start, or from a repair turn after it.
    fn candidate(
        &self,
        task: &Task<'_>,
        search: &mut Search,
        budget: &Budget,
        tell: &dyn Fn(&PlanEvent),
    ) -> Result<Candidate> {
        for start in 0..self.options.starts.max(1) {
            if start > 0 {
                tell(&PlanEvent::StartingOver);
            }
            let mut conversation = vec![Message::user(self.opening(task)?)];
            for turn in 0..=self.options.repairs {
                let answer = self.ask(&conversation, search, budget, tell)?;
                let problems = match self.judge(task, &answer) {
                    Ok(candidate) => {
                        let problems = faults(&candidate.findings);
                        if problems.is_empty() {
                            return Ok(candidate);
                        }
                        search.best_faulty = Some(better(search.best_faulty.take(), candidate));
                        problems
                    }
                    Err(error) => vec![unreadable(&error)],
                };
                search.last_answer = answer.clone();
                search.last_problems = problems.clone();
                if turn < self.options.repairs {
                    tell(&PlanEvent::Repairing { problems: problems.clone() });
                    conversation.push(Message::assistant(answer));
                    conversation.push(Message::user(self.template.repair(
                        task.text(),
                        self.canvas(task),
                        &problems,
                    )?));
                }
            }
        }
        Err(search.unusable())
    }

    fn opening(&self, task: &Task<'_>) -> Result<String> {
        match task {
            Task::Caption(caption) => self.template.prompt(LayoutCache::key(caption), self.options.canvas),
            Task::Edit { layout, instruction } => self.template.edit(layout, instruction.trim()),
        }
    }

    fn canvas(&self, task: &Task<'_>) -> Canvas {
        match task {
            Task::Caption(_) => self.options.canvas,
            Task::Edit { layout, .. } => layout.canvas,
        }
    }

    /// One answer, with calls repeated as the policy says.
    fn ask(
        &self,
        conversation: &[Message],
        search: &mut Search,
        budget: &Budget,
        tell: &dyn Fn(&PlanEvent),
    ) -> Result<String> {
        let out_of_time = |last: String| Error::OutOfTime { limit: budget.limit(), last };
        tell(&PlanEvent::Asking);
        let mut failures = 0;
        loop {
            let timeout = self.options.request_timeout.min(budget.left());
            if timeout.is_zero() {
                let last = search.last_problems.first().cloned();
                return Err(out_of_time(last.unwrap_or_else(|| "the model was asked".to_owned())));
            }
            search.usage.requests += 1;
            let draw = search.first_draw + search.answers as u64;
            let error = match self.provider.complete(conversation, draw, timeout) {
                Ok(completion) => {
                    search.usage += completion.usage;
                    search.answers += 1;
                    return Ok(completion.text);
                }
                Err(error) => error,
            };
            if let CallError::Unable(problem) = error {
                return Err(Error::Unable { planner: self.provider.identity().provider, problem });
            }
            failures += 1;
            let Some(pause) = self.options.retry.pause(&error, failures, fastrand::f64()) else {
                let server = self.provider.identity().provider;
                return Err(Error::Call { server, calls: failures as usize, source: error });
            };
            if pause >= budget.left() {
                return Err(out_of_time(error.to_string()));
            }
            tell(&PlanEvent::Waiting { reason: error.to_string(), pause });
            thread::sleep(pause);
        }
    }

    /// Reads an answer and checks it.
    fn judge(&self, task: &Task<'_>, answer: &str) -> Result<Candidate> {
        let canvas = self.canvas(task);
        let (layout, answer) = self.template.read(answer, canvas)?;
        let mut findings = match task {
            Task::Caption(caption) => checks::check(caption, &layout),
            Task::Edit { .. } => checks::check_boxes(&layout),
        };
        if layout.canvas != canvas {
            findings.push(Finding::OtherCanvas { expected: canvas, found: layout.canvas });
        }
        Ok(Candidate { layout, answer, findings })
    }
}

impl Task<'_> {
    fn text(&self) -> &str {
        match self {
            Task::Caption(caption) => caption,
            Task::Edit { instruction, .. } => instruction,
        }
    }
}

impl Search {
    fn unusable(&self) -> Error {
        Error::Unusable {
            answers: self.answers,
            problems: self.last_problems.clone(),
            last_answer: self.last_answer.clone(),
        }
    }
}

fn better(best: Option<Candidate>, other: Candidate) -> Candidate {
    match best {
        Some(best) if checks::penalty(&best.findings) <= checks::penalty(&other.findings) => best,
        _ => other,
    }
}

fn faults(findings: &[Finding]) -> Vec<String> {
    findings.iter().filter(|finding| finding.is_fault()).map(ToString::to_string).collect()
}

/// What the model is told about an answer that is no layout.
fn unreadable(error: &Error) -> String {
    match error {
        Error::Layout(sinopia_layout::Error::Text(fault)) => {
            format!(
                "it does not have the form that was asked for; at line {}, column {}: {}",
                fault.line(),
                fault.column(),
                fault.message()
            )
        }
        other => other.to_string(),
    }
}

fn entry(candidate: &Candidate, usage: Usage) -> Entry {
    Entry { answer: candidate.answer.clone(), canvas: candidate.layout.canvas, usage }
}

fn finished(candidate: Candidate, usage: Usage, is_cached: bool) -> Plan {
    let (layout, changes) = repair(candidate.layout);
    Plan { layout, answer: candidate.answer, findings: candidate.findings, changes, usage, is_cached }
}
