//! A language model as a planner: ask, read, check, ask again. Start reading at [`Planner::plan`] of [`ChatPlanner`].

use std::fmt;

use sinopia_layout::{Canvas, LayoutCache};

use crate::answer;
use crate::error::{Error, Result};
use crate::planner::{
    Plan, PlanContext, PlanEvent, PlanGoal, PlanOptions, PlanTask, Planner, PlannerIdentity, PlannerInfo,
};
use crate::provider::{CallError, Completion, CompletionRequest, Message, Prices, PromptProgress, Provider};
use crate::retry::RetryPolicy;
use crate::search::{Budget, Candidate, Search};
use crate::template::Template;

/// How a language model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatOptions {
    /// How hard is tried.
    pub plan: PlanOptions,
    /// Turns in which the model is told what is wrong with its answer, for each start.
    pub repairs: usize,
    /// How failed calls are repeated.
    pub retry: RetryPolicy,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self { plan: PlanOptions::default(), repairs: 1, retry: RetryPolicy::default() }
    }
}

/// A language model that is told in words how to write a layout.
pub struct ChatPlanner {
    provider: Box<dyn Provider>,
    template: Template,
    options: ChatOptions,
    info: PlannerInfo,
}

impl ChatPlanner {
    /// A planner that asks `provider` with `template`.
    pub fn new(provider: impl Provider + 'static, template: Template, options: ChatOptions) -> Self {
        let info = PlannerInfo {
            name: provider.identity().model,
            canvas: options.plan.canvas,
            is_canvas_fixed: provider.is_canvas_fixed(),
            can_edit: true,
            prices: None,
        };
        Self { provider: Box::new(provider), template, options, info }
    }

    /// The same under a name of the caller's.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { info: PlannerInfo { name: name.into(), ..self.info }, ..self }
    }

    /// The same with what its tokens cost.
    pub fn with_prices(self, prices: Option<Prices>) -> Self {
        Self { info: PlannerInfo { prices, ..self.info }, ..self }
    }
}

impl Planner for ChatPlanner {
    fn info(&self) -> &PlannerInfo {
        &self.info
    }

    fn identity(&self) -> PlannerIdentity {
        let identity = self.provider.identity();
        PlannerIdentity {
            provider: identity.provider,
            model: identity.model,
            template: self.template.hash().to_owned(),
            settings: identity.settings,
            candidates: self.options.plan.candidates,
        }
    }

    fn plan(&self, task: &PlanTask<'_>, context: &PlanContext<'_>) -> Result<Plan> {
        let canvas = task.canvas_or(self.info.canvas);
        if self.info.is_canvas_fixed && matches!(task.goal, PlanGoal::Caption(_)) && canvas != self.info.canvas {
            return Err(Error::FixedCanvas { planner: self.info.name.clone(), own: self.info.canvas, asked: canvas });
        }
        let PlanOptions { candidates, total_timeout, is_lenient, .. } = self.options.plan;
        let talk = Talk { planner: self, task, canvas, budget: Budget::new(total_timeout), context };
        let mut search = Search::new(&self.info.name, task);
        let next = |search: &mut Search, index| talk.candidate(search, index);
        let candidate = search.best_of(candidates, is_lenient || task.is_lenient, next)?;
        Ok(candidate.into_plan(search.usage))
    }
}

impl fmt::Debug for ChatPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatPlanner").field("info", &self.info).field("options", &self.options).finish_non_exhaustive()
    }
}

/// Talking with a model about one task.
struct Talk<'a> {
    planner: &'a ChatPlanner,
    task: &'a PlanTask<'a>,
    canvas: Canvas,
    budget: Budget,
    context: &'a PlanContext<'a>,
}

impl Talk<'_> {
    /// One layout without faults: from a fresh start, or from a repair turn after it.
    fn candidate(&self, search: &mut Search, index: usize) -> Result<Candidate> {
        let ChatOptions { plan, repairs, .. } = &self.planner.options;
        for start in 0..plan.starts.max(1) {
            let planner = self.name();
            self.context.tell(&match start {
                0 => PlanEvent::Asking { planner, candidate: index + 1, candidates: plan.candidates },
                _ => PlanEvent::StartingOver { planner, problems: search.last_problems().to_vec() },
            });
            let mut conversation = vec![Message::user(self.opening()?)];
            for turn in 0..=*repairs {
                let completion = self.ask(&conversation, search)?;
                let (problems, faulty) = match self.read(&completion) {
                    Ok(candidate) => {
                        let faults = candidate.faults();
                        if faults.is_empty() {
                            return Ok(candidate);
                        }
                        (faults, Some(candidate))
                    }
                    // Thoughts that hold no layout are no answer.
                    Err(_) if completion.is_reasoning => return Err(self.only_reasoned()),
                    Err(error) => (problems_of(&error, completion.is_cut), None),
                };
                let answer = completion.text;
                let is_last = turn == *repairs;
                search.reject(answer.clone(), problems.clone(), faulty);
                if search.is_hopeless() {
                    return Err(search.unusable());
                }
                if !is_last {
                    self.context.tell(&PlanEvent::Repairing { planner: self.name(), problems: problems.clone() });
                    let complaint = self.planner.template.repair(self.task.text(), self.canvas, &problems)?;
                    conversation.extend([Message::assistant(answer), Message::user(complaint)]);
                }
            }
        }
        Err(search.unusable())
    }

    fn name(&self) -> String {
        self.planner.info.name.clone()
    }

    /// What is said first.
    fn opening(&self) -> Result<String> {
        let template = &self.planner.template;
        match self.task.goal {
            PlanGoal::Caption(caption) => template.prompt(LayoutCache::key(caption), self.canvas),
            PlanGoal::Edit { layout, instruction } => template.edit(layout, instruction.trim()),
        }
    }

    /// One answer, with calls repeated as the policy says.
    fn ask(&self, conversation: &[Message], search: &mut Search) -> Result<Completion> {
        let ChatOptions { plan, retry, .. } = &self.planner.options;
        let is_cancelled = || self.context.is_cancelled();
        let on_prompt = |PromptProgress { read, tokens }: PromptProgress| {
            self.context.tell(&PlanEvent::Reading { planner: self.name(), read, tokens });
        };
        let mut failures = 0;
        loop {
            if is_cancelled() {
                return Err(Error::Cancelled);
            }
            let timeout = plan.request_timeout.min(self.budget.left());
            if timeout.is_zero() {
                let last = search.last_problems().first().cloned();
                return Err(self.out_of_time(last.unwrap_or_else(|| "it was asked".to_owned())));
            }
            search.usage.requests += 1;
            let draw = search.draw();
            let request =
                CompletionRequest { conversation, draw, timeout, is_cancelled: &is_cancelled, on_prompt: &on_prompt };
            let error = match self.planner.provider.complete(&request) {
                Ok(completion) => {
                    search.count_answer(completion.usage);
                    return Ok(completion);
                }
                Err(CallError::Unable(problem)) => return Err(Error::Unable { planner: self.name(), problem }),
                Err(CallError::Cancelled) => return Err(Error::Cancelled),
                Err(error) => error,
            };
            failures += 1;
            let Some(pause) = retry.pause(&error, failures, fastrand::f64()) else {
                let server = self.planner.provider.identity().to_string();
                return Err(Error::Call { server, calls: failures as usize, source: error });
            };
            if pause >= self.budget.left() {
                return Err(self.out_of_time(error.to_string()));
            }
            self.context.tell(&PlanEvent::Waiting { planner: self.name(), reason: error.to_string(), pause });
            self.context.sleep(pause);
        }
    }

    fn out_of_time(&self, last: String) -> Error {
        Error::OutOfTime { planner: self.name(), limit: self.budget.limit(), last }
    }

    /// Reads an answer and checks it. What was cut off, or was meant as a thought, is not certain even if it can be read.
    fn read(&self, completion: &Completion) -> Result<Candidate> {
        let answer = answer::read(&completion.text, self.canvas)?;
        let mut candidate = Candidate::of_answer(self.task, self.canvas, answer);
        candidate.is_doubtful |= completion.is_cut || completion.is_reasoning;
        candidate.understood.extend(completion.notes.iter().cloned());
        candidate.understood.extend(completion.is_cut.then(|| CUT.to_owned()));
        candidate.understood.extend(completion.is_reasoning.then(|| REASONED.to_owned()));
        Ok(candidate)
    }

    /// The error of a model that has thought and not answered.
    fn only_reasoned(&self) -> Error {
        let server = self.planner.provider.identity().to_string();
        let source =
            CallError::Empty { reason: "there is no layout in what it thought".to_owned(), has_reasoning: true };
        Error::Call { server, calls: 1, source }
    }
}

/// What is told of an answer that ended at the limit on tokens.
const CUT: &str = "the answer was cut off at the limit on its length; `--llm-max-tokens` allows more";

/// What is told of an answer that the server took for thoughts.
const REASONED: &str = "the server sent the whole answer as the model's reasoning";

/// What was wrong with an answer that cannot be read.
fn problems_of(error: &Error, is_cut: bool) -> Vec<String> {
    let mut problems = vec![unreadable(error)];
    problems.extend(is_cut.then(|| CUT.to_owned()));
    problems
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
