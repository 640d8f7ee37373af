//! A planner with a memory: what it laid out once is the same layout ever after.

use std::fmt;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};
use sinopia_english::READER_VERSION;
use sinopia_layout::{LayoutCache, hex};

use crate::answer;
use crate::cache::{Cache, EDITED, Entry, Key, READER};
use crate::checks::Finding;
use crate::error::{Error, Result};
use crate::planner::{Plan, PlanContext, PlanEvent, PlanGoal, PlanTask, Planner, PlannerIdentity, PlannerInfo};
use crate::provider::Usage;
use crate::search::Candidate;

/// A planner whose good layouts are remembered. What is remembered is checked again before it is used.
pub struct CachedPlanner {
    planner: Box<dyn Planner>,
    cache: Arc<Cache>,
}

impl CachedPlanner {
    /// `planner` with a memory.
    pub fn new(planner: impl Planner + 'static, cache: Arc<Cache>) -> Self {
        Self { planner: Box::new(planner), cache }
    }

    /// The remembered plan, if there is one that still passes.
    fn remembered(&self, task: &PlanTask<'_>, key: &Key) -> Result<Option<Plan>> {
        let Some(entry) = self.cache.get(key)? else { return Ok(None) };
        let passing = read(self, task, &entry.answer).ok().filter(|candidate| candidate.faults().is_empty());
        Ok(passing.map(|candidate| Plan { is_cached: true, ..candidate.into_plan(Usage::default()) }))
    }
}

impl Planner for CachedPlanner {
    fn info(&self) -> &PlannerInfo {
        self.planner.info()
    }

    fn identity(&self) -> PlannerIdentity {
        self.planner.identity()
    }

    /// # Errors
    /// [`Error::Cache`]; as the planner inside.
    fn plan(&self, task: &PlanTask<'_>, context: &PlanContext<'_>) -> Result<Plan> {
        let key = key(self, task);
        if let Some(plan) = self.remembered(task, &key)? {
            context.tell(&PlanEvent::Cached);
            return Ok(plan);
        }
        let plan = self.planner.plan(task, context)?;
        if plan.is_doubtful || plan.findings.iter().any(Finding::is_fault) {
            return Ok(plan);
        }
        let entry = Entry { answer: plan.answer.clone(), canvas: plan.layout.canvas, usage: plan.usage };
        self.cache.put(&key, &entry)?;
        // Another process may have been first; then its answer is the answer.
        Ok(match self.remembered(task, &key)? {
            Some(first) => Plan { usage: plan.usage, is_cached: false, ..first },
            None => plan,
        })
    }
}

impl fmt::Debug for CachedPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedPlanner").field("info", self.info()).field("cache", &self.cache).finish()
    }
}

/// Stores an answer of another origin as if `planner` had given it. Returns whether it was new.
///
/// # Errors
/// [`Error::Layout`] or [`Error::Unusable`] if it is not a good layout for the task, [`Error::Cache`].
pub fn import(planner: &dyn Planner, cache: &Cache, task: &PlanTask<'_>, answer: &str) -> Result<bool> {
    let candidate = read(planner, task, answer)?;
    let mut problems = candidate.faults();
    if candidate.is_doubtful {
        problems.extend(candidate.understood.iter().cloned());
    }
    if !problems.is_empty() {
        let (planner, asked) = (planner.info().name.clone(), task.text().to_owned());
        return Err(Error::Unusable { planner, asked, answers: 1, problems, last_answer: answer.to_owned() });
    }
    let entry = Entry { answer: candidate.answer, canvas: candidate.layout.canvas, usage: Usage::default() };
    cache.put(&key(planner, task), &entry)
}

/// Reads an answer in any form and checks it.
fn read(planner: &dyn Planner, task: &PlanTask<'_>, text: &str) -> Result<Candidate> {
    let canvas = task.canvas_or(planner.info().canvas);
    Ok(Candidate::of_answer(task, canvas, answer::read(text, canvas)?))
}

/// Where the layout of a task is stored.
fn key(planner: &dyn Planner, task: &PlanTask<'_>) -> Key {
    let PlannerIdentity { provider, model, template, settings, candidates } = planner.identity();
    let canvas = task.canvas_or(planner.info().canvas);
    let edited = match task.goal {
        PlanGoal::Caption(_) => None,
        PlanGoal::Edit { layout, .. } => Some(hex::encode(&Sha256::digest(layout.to_json().as_bytes()))),
    };
    let settings = json!({
        "provider": settings,
        "canvas": [canvas.width(), canvas.height()],
        "candidates": candidates,
        EDITED: edited,
        READER: READER_VERSION,
    });
    Key {
        provider,
        model,
        template,
        settings: settings.to_string(),
        caption: LayoutCache::key(task.text()).to_owned(),
        occurrence: task.occurrence,
    }
}
