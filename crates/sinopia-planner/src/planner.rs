//! What a planner is: from a task to a layout. Start reading at [`Planner`].

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use sinopia_layout::{Canvas, Layout, RepairReport};

use crate::checks::{self, BoxProblem, Finding, Problem, ThingProblem};
use crate::error::Result;
use crate::provider::{Prices, Usage};
use crate::remark::PlanRemark;

/// How often a pause looks whether the plan was called off.
const CANCELLATION_INTERVAL: Duration = Duration::from_millis(50);

/// Whoever lays out captions: a language model, or rules.
pub trait Planner: Send + Sync {
    /// Who plans, and what it can do.
    fn info(&self) -> &PlannerInfo;

    /// What tells its layouts from those of others. Layouts are remembered under it.
    fn identity(&self) -> PlannerIdentity;

    /// The layout of a caption, or a layout with a change carried out.
    ///
    /// # Errors
    /// [`Error::Unable`](crate::Error::Unable) if the task is beyond it, [`Error::Unusable`](crate::Error::Unusable) with the last answer if it finds
    /// no layout that passes the checks, [`Error::Call`](crate::Error::Call) if it cannot be asked, [`Error::OutOfTime`](crate::Error::OutOfTime),
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    fn plan(&self, task: &PlanTask<'_>, context: &PlanContext<'_>) -> Result<Plan>;
}

/// Who plans, and what it can do.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannerInfo {
    /// Who plans, in words: no address and no path.
    pub name: String,
    /// The canvas of tasks that name none.
    pub canvas: Canvas,
    /// Whether it lays out captions on no other canvas.
    pub is_canvas_fixed: bool,
    /// Whether it changes layouts as it is told in words.
    pub can_edit: bool,
    /// What its tokens cost, if that is known.
    pub prices: Option<Prices>,
}

impl PlannerInfo {
    /// The cost for reports.
    pub fn cost(&self, usage: &Usage) -> Option<f64> {
        self.prices.map(|prices| usage.cost(prices))
    }

    /// Requests and tokens, with their cost if the prices are known.
    pub fn format_usage(&self, usage: &Usage) -> String {
        let cost = self.cost(usage).map(|cost| format!(", cost {cost:.6}"));
        format!("{usage}{}", cost.unwrap_or_default())
    }
}

/// What tells a planner's layouts from those of others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlannerIdentity {
    /// Its kind and where it is: `openai https://api.openai.com/v1`.
    pub provider: String,
    /// The model's name.
    pub model: String,
    /// Hash of the prompt template; empty if there is none.
    pub template: String,
    /// Everything else that changes its answers, as JSON.
    pub settings: String,
    /// Layouts that it chooses from.
    pub candidates: usize,
}

/// What a planner is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanTask<'a> {
    /// A layout for a caption, or a change to one.
    pub goal: PlanGoal<'a>,
    /// The canvas to lay a caption out on; the planner's own if there is none. A changed layout keeps its canvas.
    pub canvas: Option<Canvas>,
    /// Which of several layouts for the same caption, counted from 0.
    pub occurrence: usize,
    /// Take the best layout even if it fails a check, whatever [`PlanOptions::is_lenient`] says.
    pub is_lenient: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlanGoal<'a> {
    /// Lay out a caption.
    Caption(&'a str),
    /// Carry out an instruction, such as *move the dog left*.
    Edit {
        /// The layout as it is.
        layout: &'a Layout,
        /// What is to become different.
        instruction: &'a str,
    },
}

impl<'a> PlanTask<'a> {
    /// The first layout for a caption, on the planner's canvas.
    pub fn caption(caption: &'a str) -> Self {
        Self { goal: PlanGoal::Caption(caption), canvas: None, occurrence: 0, is_lenient: false }
    }

    /// A layout with an instruction carried out.
    pub fn edit(layout: &'a Layout, instruction: &'a str) -> Self {
        Self { goal: PlanGoal::Edit { layout, instruction }, canvas: None, occurrence: 0, is_lenient: false }
    }

    /// The caption or the instruction.
    pub fn text(&self) -> &'a str {
        match self.goal {
            PlanGoal::Caption(caption) => caption,
            PlanGoal::Edit { instruction, .. } => instruction,
        }
    }

    /// The canvas of the result, if a planner's own is `own`.
    pub fn canvas_or(&self, own: Canvas) -> Canvas {
        match self.goal {
            PlanGoal::Caption(_) => self.canvas.unwrap_or(own),
            PlanGoal::Edit { layout, .. } => layout.canvas,
        }
    }

    /// What is wrong with a layout as the result on `canvas`. Of a change only the boxes are checked: nobody knows the caption that it leads to.
    pub fn check(&self, layout: &Layout, canvas: Canvas) -> Vec<Finding> {
        let mut findings = match self.goal {
            PlanGoal::Caption(caption) => checks::check(caption, layout),
            PlanGoal::Edit { .. } => checks::check_boxes(layout),
        };
        if layout.canvas != canvas {
            findings.push(Finding::fault(Problem::Boxes(BoxProblem::OtherCanvas {
                expected: canvas,
                found: layout.canvas,
            })));
        }
        findings
    }
}

/// A layout for a caption, and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The layout, every box inside the canvas.
    pub layout: Layout,
    /// The planner's answer, as [`sinopia_layout::parse_answer_on`] reads it; of the built-in planner the layout, written down.
    pub answer: String,
    /// What could be better; faults only if the task or [`PlanOptions`] is lenient, or the planner is the built-in one.
    pub findings: Vec<Finding>,
    /// What else is to be said: what of the caption was left out.
    pub remarks: Vec<PlanRemark>,
    /// What was changed in the answer's boxes.
    pub changes: RepairReport,
    /// What was understood of the answer that it does not say in the form asked for, and what happened on the way to it; a sentence each.
    pub understood: Vec<String>,
    /// Whether the layout rests on a guess, or on an answer that may not be whole. Such a plan is not remembered.
    pub is_doubtful: bool,
    /// What this plan cost now; nothing if it was cached.
    pub usage: Usage,
    /// Whether the answer comes from the cache.
    pub is_cached: bool,
}

/// A sentence about a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanNote {
    /// Whether the layout is not what the caption says.
    pub is_fault: bool,
    /// The sentence.
    pub text: String,
}

impl Plan {
    /// Everything that is to be said of it, once: findings, then remarks.
    pub fn notes(&self) -> Vec<PlanNote> {
        let findings = self.findings.iter().filter(|finding| !self.is_remarked(finding));
        let findings = findings.map(|finding| PlanNote { is_fault: finding.is_fault(), text: finding.to_string() });
        let remarks = self.remarks.iter().map(|remark| PlanNote { is_fault: false, text: remark.to_string() });
        findings.chain(remarks).collect()
    }

    /// Whether a remark says what a finding says: whoever read the caption knows that a word was not understood, and the checks miss it in the layout.
    fn is_remarked(&self, finding: &Finding) -> bool {
        let Problem::Things(ThingProblem::Unmentioned { words }) = &finding.problem else { return false };
        self.remarks.iter().any(|remark| matches!(remark, PlanRemark::NotUnderstood(lost) if lost.contains(words)))
    }
}

/// How hard a planner tries.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOptions {
    /// The canvas that boxes are asked for on.
    pub canvas: Canvas,
    /// Layouts to choose from. A perfect one ends the search.
    pub candidates: usize,
    /// Fresh starts for a candidate whose answers cannot be used.
    pub starts: usize,
    /// The longest wait for one answer.
    pub request_timeout: Duration,
    /// The longest time for the whole plan, pauses included.
    pub total_timeout: Duration,
    /// Take the best answer that is a layout at all, even if it fails a check.
    pub is_lenient: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            canvas: Canvas::PUBLISHED,
            candidates: 1,
            starts: 2,
            request_timeout: Duration::from_secs(120),
            total_timeout: Duration::from_secs(600),
            is_lenient: false,
        }
    }
}

/// Who waits for a plan: what they are told meanwhile, and how they call it off.
#[derive(Clone, Copy, Default)]
pub struct PlanContext<'a> {
    tell: Option<&'a dyn Fn(&PlanEvent)>,
    is_cancelled: Option<&'a dyn Fn() -> bool>,
}

impl<'a> PlanContext<'a> {
    /// Calls `tell` with all that happens.
    pub fn on_event(self, tell: &'a dyn Fn(&PlanEvent)) -> Self {
        Self { tell: Some(tell), ..self }
    }

    /// Asks for nothing more once `is_cancelled` says so. A model in process gives up what it was asked; what a server was asked ends by its time limit.
    pub fn cancelled_by(self, is_cancelled: &'a dyn Fn() -> bool) -> Self {
        Self { is_cancelled: Some(is_cancelled), ..self }
    }

    /// Tells those who wait.
    pub fn tell(&self, event: &PlanEvent) {
        if let Some(tell) = self.tell {
            tell(event);
        }
    }

    /// Whether nobody waits any more.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.is_some_and(|is_cancelled| is_cancelled())
    }

    /// Waits for `pause`, or until the plan is called off.
    pub(crate) fn sleep(&self, pause: Duration) {
        let start = Instant::now();
        while let Some(left) = pause.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            if self.is_cancelled() {
                return;
            }
            thread::sleep(left.min(CANCELLATION_INTERVAL));
        }
    }
}

impl fmt::Debug for PlanContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanContext").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// What happens while a plan is made, for people who wait.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PlanEvent {
    /// The answer was in the cache.
    Cached,
    /// A planner is asked for a layout.
    Asking {
        /// Who is asked.
        planner: String,
        /// For which layout, counted from 1.
        candidate: usize,
        /// Of how many at most.
        candidates: usize,
    },
    /// A model in process reads what it is asked, which takes it a while; told again and again.
    Reading {
        /// Who reads.
        planner: String,
        /// Tokens read.
        read: usize,
        /// All tokens to be read.
        tokens: usize,
    },
    /// The caption is laid out by rules, which takes a moment.
    Solving {
        /// Who does.
        planner: String,
    },
    /// A call failed and is repeated after a pause.
    Waiting {
        /// Who was asked.
        planner: String,
        /// Why there is no answer.
        reason: String,
        /// How long.
        pause: Duration,
    },
    /// An answer cannot be used; the planner is told why.
    Repairing {
        /// Who is told.
        planner: String,
        /// What is wrong.
        problems: Vec<String>,
    },
    /// The planner did not repair its answer; it is asked from the beginning.
    StartingOver {
        /// Who is asked.
        planner: String,
        /// What was wrong in the end.
        problems: Vec<String>,
    },
}

impl fmt::Display for PlanEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanEvent::Cached => f.write_str("the layout is in the cache of plans"),
            PlanEvent::Asking { planner, candidates: 0 | 1, .. } => write!(f, "asking {planner} for a layout"),
            PlanEvent::Asking { planner, candidate: 1, candidates } => {
                write!(f, "asking {planner} for up to {candidates} layouts to choose from")
            }
            PlanEvent::Asking { planner, candidate, candidates } => {
                write!(f, "asking {planner} for layout {candidate} of at most {candidates}")
            }
            PlanEvent::Reading { planner, read, tokens } => {
                write!(f, "{planner} has read {read} of {tokens} tokens")
            }
            PlanEvent::Solving { planner } => write!(f, "laying out the caption with {planner}"),
            PlanEvent::Waiting { planner, reason, pause } => {
                write!(f, "{planner} gave no answer: {reason}; trying again in {:.1} s", pause.as_secs_f64())
            }
            PlanEvent::Repairing { planner, problems } => {
                write!(f, "asking {planner} to repair its layout: {}", problems.join("; "))
            }
            PlanEvent::StartingOver { planner, problems } => {
                write!(
                    f,
                    "asking {planner} from the beginning, as its layout still cannot be used: {}",
                    problems.join("; ")
                )
            }
        }
    }
}
