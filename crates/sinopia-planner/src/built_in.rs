//! The built-in planner: reads the caption as English ([`sinopia_english`]) and lays it out by rules ([`sinopia_solver`]). No model, no text between the two.

use serde_json::json;
use sinopia_english::{CaptionAnalysis, READER_VERSION};
use sinopia_layout::{Canvas, LayoutCache, limits};
use sinopia_solver::{Remark, SOLVER_VERSION, SolveOptions, solve};

use crate::answer;
use crate::checks::{self, Problem, RelationProblem};
use crate::error::{Error, Result};
use crate::planner::{
    Plan, PlanContext, PlanEvent, PlanGoal, PlanOptions, PlanTask, Planner, PlannerIdentity, PlannerInfo,
};
use crate::provider::Usage;
use crate::remark::PlanRemark;
use crate::search::{Candidate, DRAWS_PER_OCCURRENCE};

/// Who plans, in words.
const NAME: &str = "the built-in planner";

/// What a remark of the solver counts in the choice between layouts: as much as one of the checks.
const LEFT_OUT_PENALTY: f64 = 0.1;

/// The planner that reads and solves. It asks nobody, and gives the same layout for the same caption, canvas and occurrence every time.
#[derive(Debug, Clone)]
pub struct BuiltInPlanner {
    options: PlanOptions,
    info: PlannerInfo,
}

impl BuiltInPlanner {
    /// A planner that lays out on the options' canvas and chooses from as many candidates as they say. Their time limits and fresh starts mean nothing to it.
    pub fn new(options: PlanOptions) -> Self {
        let info = PlannerInfo {
            name: NAME.to_owned(),
            canvas: options.canvas,
            is_canvas_fixed: false,
            can_edit: false,
            prices: None,
        };
        Self { options, info }
    }

    /// How hard it tries by default. A layout takes milliseconds, and few of them have anything that another seed would better.
    pub fn default_options() -> PlanOptions {
        PlanOptions { candidates: 4, ..PlanOptions::default() }
    }
}

impl Planner for BuiltInPlanner {
    fn info(&self) -> &PlannerInfo {
        &self.info
    }

    fn identity(&self) -> PlannerIdentity {
        PlannerIdentity {
            provider: NAME.to_owned(),
            model: format!("reader {READER_VERSION}, solver {SOLVER_VERSION}"),
            template: String::new(),
            settings: json!({"reader": READER_VERSION, "solver": SOLVER_VERSION}).to_string(),
            candidates: self.options.candidates,
        }
    }

    /// The layout with the least to be said against it. Faults of it are told in the plan, as for the lenient: whoever sees the layout can mend it, whoever is refused cannot.
    fn plan(&self, task: &PlanTask<'_>, context: &PlanContext<'_>) -> Result<Plan> {
        let PlanGoal::Caption(caption) = task.goal else {
            return Err(unable("it lays out captions, and cannot change a layout"));
        };
        context.tell(&PlanEvent::Solving { planner: NAME.to_owned() });
        let caption = LayoutCache::key(caption).trim();
        let analysis = sinopia_english::read(caption);
        if !analysis.is_english() && !knows_a_word(&analysis) {
            return Err(unable("it reads English captions, and knows no word of this one"));
        }
        let mut remarks = remarks(caption, &analysis);
        let canvas = task.canvas_or(self.options.canvas);
        let solving = Solving { task, context, caption, analysis: &analysis, canvas };
        let solved = solving.best_of(self.options.candidates)?;
        // The checks tell of two relations that exclude each other; the solver also knows of longer circles.
        let is_told = solved
            .candidate
            .findings
            .iter()
            .any(|finding| matches!(finding.problem, Problem::Relations(RelationProblem::Contradiction { .. })));
        let is_new = |remark: &Remark| !(is_told && matches!(remark, Remark::Contradiction { .. }));
        remarks.extend(solved.left_out.into_iter().filter(is_new).map(PlanRemark::LeftOut));
        Ok(Plan { remarks, ..solved.candidate.into_plan(Usage::default()) })
    }
}

/// Laying out one caption with several seeds.
struct Solving<'a> {
    task: &'a PlanTask<'a>,
    context: &'a PlanContext<'a>,
    caption: &'a str,
    analysis: &'a CaptionAnalysis,
    canvas: Canvas,
}

/// A layout, and what it leaves out.
struct Solved {
    candidate: Candidate,
    left_out: Vec<Remark>,
}

impl Solved {
    /// How far it is from a perfect one: what it leaves out counts as a remark of the checks does.
    fn penalty(&self) -> f64 {
        self.candidate.penalty() + LEFT_OUT_PENALTY * self.left_out.len() as f64
    }
}

impl Solving<'_> {
    /// The best of at most `candidates` layouts, the first of them that is perfect.
    fn best_of(&self, candidates: usize) -> Result<Solved> {
        let first_seed = DRAWS_PER_OCCURRENCE.saturating_mul(self.task.occurrence as u64);
        let mut best = self.with_seed(first_seed)?;
        for seed in (first_seed..first_seed.saturating_add(candidates as u64)).skip(1) {
            if best.penalty() <= 0.0 {
                break;
            }
            let other = self.with_seed(seed)?;
            if other.penalty() < best.penalty() {
                best = other;
            }
        }
        Ok(best)
    }

    fn with_seed(&self, seed: u64) -> Result<Solved> {
        if self.context.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let options = SolveOptions { canvas: self.canvas, seed };
        let solution = solve(self.caption, self.analysis, &options);
        let solution = solution.map_err(|problem| unable(problem.to_string()))?;
        // What a plan's reader may want to keep; nothing here reads it again.
        let written = answer::json(&solution.layout);
        // By the reading that it was laid out by: a caption is read once, however many seeds are tried.
        let findings = checks::check_reading(self.caption, self.analysis, &solution.layout);
        let candidate = Candidate::checked(solution.layout, written, findings);
        Ok(Solved { candidate, left_out: solution.remarks })
    }
}

/// Whether anything that the caption names is known: of another language the reader keeps known nouns only.
fn knows_a_word(analysis: &CaptionAnalysis) -> bool {
    let CaptionAnalysis { things, places, weather, times, .. } = analysis;
    !things.is_empty() || [places, weather, times].iter().any(|settings| !settings.is_empty())
}

/// What the reading leaves out.
fn remarks(caption: &str, analysis: &CaptionAnalysis) -> Vec<PlanRemark> {
    let mut remarks = Vec::new();
    if !analysis.is_english() {
        remarks.push(PlanRemark::NotEnglish);
    }
    if analysis.is_cut {
        remarks.push(PlanRemark::Cut { read: limits::CAPTION_CHARS });
    }
    // Of `(red car:1.2)` the weight is told, and not each of its brackets.
    let controls = analysis.controls.iter().map(|control| control.text.trim());
    let controls: Vec<String> =
        controls.filter(|text| text.contains(char::is_alphanumeric)).map(str::to_owned).collect();
    if !controls.is_empty() {
        remarks.push(PlanRemark::Controls(controls));
    }
    let words = analysis.not_understood.iter().filter_map(|span| caption.get(span.clone()));
    let words: Vec<String> = words.filter(|words| words.contains(char::is_alphabetic)).map(str::to_owned).collect();
    if !words.is_empty() {
        remarks.push(PlanRemark::NotUnderstood(words));
    }
    remarks
}

fn unable(problem: impl Into<String>) -> Error {
    Error::Unable { planner: NAME.to_owned(), problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Finding, Problem, ThingProblem};

    fn planned(caption: &str, occurrence: usize) -> Plan {
        let task = PlanTask { occurrence, ..PlanTask::caption(caption) };
        let planner = BuiltInPlanner::new(BuiltInPlanner::default_options());
        planner.plan(&task, &PlanContext::default()).unwrap()
    }

    fn refused(task: &PlanTask<'_>) -> String {
        let planner = BuiltInPlanner::new(BuiltInPlanner::default_options());
        planner.plan(task, &PlanContext::default()).unwrap_err().to_string()
    }

    fn remarks_on(caption: &str) -> Vec<PlanRemark> {
        remarks(caption, &sinopia_english::read(caption))
    }

    #[test]
    fn a_lost_word_is_told_once() {
        let mut plan = planned("a cat", 0);
        let unmentioned =
            |words: &str| Finding::remark(Problem::Things(ThingProblem::Unmentioned { words: words.to_owned() }));
        plan.findings = vec![unmentioned("draw"), unmentioned("grue")];
        plan.remarks = vec![PlanRemark::NotUnderstood(vec!["draw".to_owned()])];
        let told: Vec<String> = plan.notes().into_iter().map(|note| note.text).collect();
        assert_eq!(
            told,
            [
                "the caption mentions `grue`, but the layout does not",
                "`draw` was not understood, and not in the layout",
            ]
        );
    }

    #[test]
    fn a_caption_is_laid_out_the_same_way_every_time_and_otherwise_for_another_occurrence() {
        let caption = "two dogs and a red ball on a beach, no people";
        let plan = planned(caption, 0);
        assert_eq!(plan, planned(caption, 0));
        assert_eq!((plan.layout.objects.len(), plan.layout.negative.as_str()), (3, "people"));
        assert_eq!((plan.usage, plan.is_cached, plan.remarks), (Usage::default(), false, Vec::new()));
        assert_ne!(plan.layout, planned(caption, 1).layout);
    }

    #[test]
    fn a_plan_has_the_canvas_of_its_task() {
        let wide = Canvas::new(768, 512).unwrap();
        let planner = BuiltInPlanner::new(BuiltInPlanner::default_options());
        let task = PlanTask { canvas: Some(wide), ..PlanTask::caption("a horse in a field") };
        assert_eq!(planner.plan(&task, &PlanContext::default()).unwrap().layout.canvas, wide);
        assert_eq!(planned("a horse in a field", 0).layout.canvas, Canvas::PUBLISHED);
    }

    #[test]
    fn progress_is_one_line() {
        let told = std::cell::RefCell::new(Vec::new());
        let tell = |event: &PlanEvent| told.borrow_mut().push(event.to_string());
        let planner = BuiltInPlanner::new(BuiltInPlanner::default_options());
        let _plan = planner.plan(&PlanTask::caption("a cat"), &PlanContext::default().on_event(&tell));
        assert_eq!(*told.borrow(), ["laying out the caption with the built-in planner"]);
    }

    #[test]
    fn what_is_left_out_is_told() {
        assert_eq!(remarks_on("a cat on a sofa"), []);
        let controls = remarks_on("a (red car:1.2), <lora:x:1> --ar 16:9");
        assert!(matches!(&controls[..], [PlanRemark::Controls(texts)] if texts.len() == 3), "{controls:?}");
        let long = "a cat and ".repeat(limits::CAPTION_CHARS / 10 + 1);
        assert!(remarks_on(&long).contains(&PlanRemark::Cut { read: limits::CAPTION_CHARS }));
        assert_eq!(remarks_on("zwei Katzen und ein Hund")[0], PlanRemark::NotEnglish);
    }

    #[test]
    fn what_cannot_be_laid_out_is_refused_by_what_is_wrong() {
        let layout =
            sinopia_layout::parse_answer("[('a cat', [10, 10, 90, 90])]\nBackground prompt: A room\nNegative prompt: ")
                .unwrap();
        assert!(refused(&PlanTask::edit(&layout, "add a hat")).contains("cannot change a layout"));
        assert!(refused(&PlanTask::caption(" … ")).contains("nothing in the caption that could be drawn"));
    }

    #[test]
    fn a_caption_without_an_english_word_is_refused_as_that() {
        for caption in ["zwei Katzen und ein Hund", "二只猫"] {
            assert!(refused(&PlanTask::caption(caption)).contains("it reads English captions"), "{caption}");
        }
        assert_eq!(planned("un chat noir sur une chaise", 0).remarks[0], PlanRemark::NotEnglish);
    }

    #[test]
    fn a_plan_that_nobody_waits_for_is_called_off() {
        let planner = BuiltInPlanner::new(BuiltInPlanner::default_options());
        let context = PlanContext::default().cancelled_by(&|| true);
        assert!(planner.plan(&PlanTask::caption("a cat"), &context).unwrap_err().is_cancelled());
    }
}
