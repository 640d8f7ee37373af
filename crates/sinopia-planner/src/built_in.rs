//! The built-in planner: a small model that was trained to lay out English captions, run in process. It needs no instructions.

use std::fmt;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use sinopia_layout::{Canvas, Layout, LayoutCache, hex, parse_answer_on};
use sinopia_llm::{Constraint, Generation, LanguageModel, Role, TokenSampling};

use crate::caption::{self, Claim};
use crate::error::{Error, Result};
use crate::places::put_in_place;
use crate::planner::{
    Plan, PlanContext, PlanEvent, PlanGoal, PlanOptions, PlanTask, Planner, PlannerIdentity, PlannerInfo,
};
use crate::provider::CallError;
use crate::quoted::{IndexedCaption, MOST_THINGS, MOST_WORDS, PLAIN_BACKGROUND};
use crate::search::{Budget, Candidate, Search};
use crate::{answer, in_process, words};

/// Who plans, in words.
const NAME: &str = "the built-in planner";

/// Randomness of all answers but the first, which is the likeliest one.
const TEMPERATURE: f32 = 0.6;

/// Tokens of an answer with the most boxes there can be.
const MAX_TOKENS: usize = 400;

/// The planner around the small model.
pub struct BuiltInPlanner {
    model: LanguageModel,
    /// Tells the weights from others.
    hash: String,
    options: PlanOptions,
    info: PlannerInfo,
}

impl BuiltInPlanner {
    /// The model in the bytes of a GGUF file that `training/export_planner.py` wrote.
    ///
    /// # Errors
    /// [`Error::Model`] if it is none.
    pub fn new(gguf: &[u8], options: PlanOptions) -> Result<Self> {
        let model = LanguageModel::from_bytes(gguf, NAME)?;
        let hash = hex::encode(&Sha256::digest(gguf)[..8]);
        let info = PlannerInfo {
            name: NAME.to_owned(),
            canvas: options.canvas,
            is_canvas_fixed: false,
            can_edit: false,
            prices: None,
        };
        Ok(Self { model, hash, options, info })
    }

    /// How hard it tries by default. An answer takes a fraction of a second, and it learns nothing from being told what is wrong: so it draws more often.
    pub fn default_options() -> PlanOptions {
        PlanOptions { candidates: 16, starts: 2, ..PlanOptions::default() }
    }
}

impl Planner for BuiltInPlanner {
    fn info(&self) -> &PlannerInfo {
        &self.info
    }

    fn identity(&self) -> PlannerIdentity {
        let settings = json!({"temperature": TEMPERATURE, "weights": self.hash});
        PlannerIdentity {
            provider: NAME.to_owned(),
            model: self.model.name().to_owned(),
            template: String::new(),
            settings: settings.to_string(),
            candidates: self.options.candidates,
        }
    }

    fn plan(&self, task: &PlanTask<'_>, context: &PlanContext<'_>) -> Result<Plan> {
        let PlanGoal::Caption(caption) = task.goal else {
            return Err(unable("it lays out captions, and cannot change a layout"));
        };
        let caption = LayoutCache::key(caption).trim();
        if let Some(problem) = beyond_it(caption) {
            return Err(unable(problem));
        }
        let drawing = Drawing {
            planner: self,
            task,
            canvas: task.canvas_or(self.options.canvas),
            caption,
            indexed: IndexedCaption::new(caption),
            budget: Budget::new(self.options.total_timeout),
            context,
        };
        if drawing.indexed.len() > MOST_WORDS {
            let problem = format!("the caption has {} words, and it reads up to {MOST_WORDS}", drawing.indexed.len());
            return Err(unable(problem));
        }
        let PlanOptions { candidates, is_lenient, .. } = self.options;
        let mut search = Search::new(NAME, task);
        let next = |search: &mut Search, index| drawing.candidate(search, index);
        let candidate = search.best_of(candidates, is_lenient || task.is_lenient, next)?;
        Ok(candidate.into_plan(search.usage))
    }
}

impl fmt::Debug for BuiltInPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuiltInPlanner")
            .field("hash", &self.hash)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Drawing layouts for one caption.
struct Drawing<'a> {
    planner: &'a BuiltInPlanner,
    task: &'a PlanTask<'a>,
    canvas: Canvas,
    caption: &'a str,
    indexed: IndexedCaption,
    budget: Budget,
    context: &'a PlanContext<'a>,
}

impl Drawing<'_> {
    /// One layout without faults.
    fn candidate(&self, search: &mut Search, index: usize) -> Result<Candidate> {
        let PlanOptions { candidates, starts, .. } = self.planner.options;
        for start in 0..starts.max(1) {
            let is_first = (index, start) == (0, 0);
            if is_first {
                self.context.tell(&PlanEvent::Asking { planner: NAME.to_owned(), candidate: 1, candidates });
            }
            let (answer, layout) = self.draw(search)?;
            let Some(layout) = layout else {
                let problem = format!("`{answer}` is no layout");
                search.reject(answer, vec![problem], None);
                continue;
            };
            let candidate = Candidate::check(self.task, self.canvas, layout, answer);
            if is_first && candidates > 1 && !candidate.findings.is_empty() {
                let problems = candidate.findings.iter().map(ToString::to_string).collect();
                let planner = NAME.to_owned();
                self.context.tell(&PlanEvent::DrawingMore { planner, candidates: candidates - 1, problems });
            }
            let faults = candidate.faults();
            if faults.is_empty() {
                return Ok(candidate);
            }
            search.reject(candidate.answer.clone(), faults, Some(candidate));
        }
        Err(search.unusable())
    }

    /// The next answer, and the layout that it is, if it is one.
    fn draw(&self, search: &mut Search) -> Result<(String, Option<Layout>)> {
        let timeout = self.planner.options.request_timeout.min(self.budget.left());
        if timeout.is_zero() {
            let last = search.last_problems().first().cloned().unwrap_or_else(|| "it was asked".to_owned());
            return Err(Error::OutOfTime { planner: NAME.to_owned(), limit: self.budget.limit(), last });
        }
        search.usage.requests += 1;
        let written = self.write(search.draw(), timeout)?;
        search.count_answer(in_process::usage(&written));
        let Some(layout) = self.indexed.read(&written.text, self.canvas) else { return Ok((written.text, None)) };
        if layout.objects.is_empty() && layout.negative.is_empty() && layout.background == PLAIN_BACKGROUND {
            return Err(unable("it finds nothing in the caption that it could draw"));
        }
        // As text and back, so that a remembered answer is the very same layout.
        let answer = answer::json(&put_in_place(self.caption, layout));
        let layout = parse_answer_on(&answer, self.canvas).ok();
        Ok((answer, layout))
    }

    /// The model's own answer, before it is read.
    fn write(&self, draw: u64, timeout: Duration) -> Result<sinopia_llm::Answer> {
        let grammar = self.indexed.grammar();
        let generation = Generation {
            constraint: Constraint::Lark(&grammar),
            sampling: TokenSampling { temperature: if draw == 0 { 0.0 } else { TEMPERATURE }, top_p: 0.95, seed: draw },
            max_tokens: MAX_TOKENS,
            stop: None,
            timeout: Some(timeout),
        };
        let prompt = self.indexed.prompt(self.canvas);
        let is_cancelled = || self.context.is_cancelled();
        let written = self.planner.model.answer_cancellable(&[(Role::User, &prompt)], &generation, &is_cancelled);
        written.map_err(|error| match in_process::call_error(error) {
            CallError::Cancelled => Error::Cancelled,
            CallError::Unable(problem) => unable(problem),
            source => Error::Call { server: NAME.to_owned(), calls: 1, source },
        })
    }
}

/// What a caption asks for that the planner cannot do.
fn beyond_it(caption: &str) -> Option<String> {
    if let Some(count) = most_counted(caption).filter(|count| *count > MOST_THINGS) {
        return Some(format!("the caption counts {count} of a kind, and it draws up to {MOST_THINGS}"));
    }
    if !caption.contains(char::is_alphabetic) {
        return Some("there are no words in the caption".to_owned());
    }
    (!words::is_english(caption)).then(|| "it reads English captions only".to_owned())
}

fn unable(problem: impl Into<String>) -> Error {
    Error::Unable { planner: NAME.to_owned(), problem: problem.into() }
}

/// The largest number of things that a caption asks for.
fn most_counted(caption: &str) -> Option<usize> {
    let counted = caption::claims(caption).into_iter().filter_map(|claim| match claim {
        Claim::Count { count, .. } | Claim::AtLeast { count, .. } => Some(count),
        _ => None,
    });
    counted.max()
}
