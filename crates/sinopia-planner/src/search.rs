//! The best of several layouts: what planners have in common that draw answers until one passes.

use std::time::{Duration, Instant};

use sinopia_layout::{Canvas, Layout, repair};

use crate::answer::PlainAnswer;
use crate::checks::{self, Finding};
use crate::error::{Error, Result};
use crate::planner::{Plan, PlanTask};
use crate::provider::Usage;

/// More answers than are ever drawn for one occurrence of a caption.
pub(crate) const DRAWS_PER_OCCURRENCE: u64 = 1000;

/// An answer that is a layout.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) layout: Layout,
    /// The answer that it was read from.
    pub(crate) answer: String,
    pub(crate) findings: Vec<Finding>,
    /// What was understood of the answer, and what happened on the way.
    pub(crate) understood: Vec<String>,
    /// Whether the layout rests on a guess, or on an answer that may not be whole.
    pub(crate) is_doubtful: bool,
}

impl Candidate {
    /// A layout, checked as the result of a task.
    pub(crate) fn check(task: &PlanTask<'_>, canvas: Canvas, layout: Layout, answer: String) -> Self {
        let findings = task.check(&layout, canvas);
        Self::checked(layout, answer, findings)
    }

    /// A layout that was checked already.
    pub(crate) fn checked(layout: Layout, answer: String, findings: Vec<Finding>) -> Self {
        Self { layout, answer, findings, understood: Vec::new(), is_doubtful: false }
    }

    /// An answer, checked as the result of a task.
    pub(crate) fn of_answer(task: &PlanTask<'_>, canvas: Canvas, answer: PlainAnswer) -> Self {
        let PlainAnswer { layout, text, notes, is_doubtful } = answer;
        Self { understood: notes, is_doubtful, ..Self::check(task, canvas, layout, text) }
    }

    /// Why it cannot be used, in sentences; empty if it can.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.findings.iter().filter(|finding| finding.is_fault()).map(ToString::to_string).collect()
    }

    /// The plan that it is, with every box inside the canvas.
    pub(crate) fn into_plan(self, usage: Usage) -> Plan {
        let (layout, changes) = repair(self.layout);
        let Self { answer, findings, understood, is_doubtful, .. } = self;
        Plan {
            layout,
            answer,
            findings,
            remarks: Vec::new(),
            changes,
            understood,
            is_doubtful,
            usage,
            is_cached: false,
        }
    }

    fn is_perfect(&self) -> bool {
        self.findings.is_empty()
    }

    /// How far it is from a perfect one, as [`checks::penalty`].
    pub(crate) fn penalty(&self) -> f64 {
        checks::penalty(&self.findings)
    }

    fn better(best: Option<Self>, other: Self) -> Self {
        match best {
            Some(best) if best.penalty() <= other.penalty() => best,
            _ => other,
        }
    }
}

/// What a search has come to.
pub(crate) struct Search {
    /// Who is asked.
    planner: String,
    /// The caption or the instruction.
    asked: String,
    /// The number of the first answer; captions that occur several times begin far apart.
    first_draw: u64,
    pub(crate) usage: Usage,
    /// Answers that were read.
    answers: usize,
    last_answer: String,
    last_problems: Vec<String>,
    /// The best layout with faults.
    best_faulty: Option<Candidate>,
    /// Answers that said that there will be none.
    refusals: usize,
    /// Whether asking again is of no use.
    is_hopeless: bool,
}

impl Search {
    pub(crate) fn new(planner: &str, task: &PlanTask<'_>) -> Self {
        Self {
            planner: planner.to_owned(),
            asked: task.text().to_owned(),
            first_draw: DRAWS_PER_OCCURRENCE.saturating_mul(task.occurrence as u64),
            usage: Usage::default(),
            answers: 0,
            last_answer: String::new(),
            last_problems: Vec::new(),
            best_faulty: None,
            refusals: 0,
            is_hopeless: false,
        }
    }

    /// The number of the next answer.
    pub(crate) fn draw(&self) -> u64 {
        self.first_draw.saturating_add(self.answers as u64)
    }

    /// Counts an answer that was read.
    pub(crate) fn count_answer(&mut self, usage: Usage) {
        self.usage += usage;
        self.answers += 1;
    }

    /// Keeps what was wrong with an answer, and its layout for the lenient. Whoever gives the same wrong answer again, or says twice that there will be
    /// none, is not asked any more.
    pub(crate) fn reject(&mut self, answer: String, mut problems: Vec<String>, candidate: Option<Candidate>) {
        if candidate.is_none() && is_refusal(&answer) {
            self.refusals += 1;
            self.is_hopeless |= self.refusals > 1;
        }
        if !self.last_problems.is_empty() && self.last_answer.trim() == answer.trim() {
            problems.push("it is the same answer as before".to_owned());
            self.is_hopeless = true;
        }
        if let Some(candidate) = candidate {
            self.best_faulty = Some(Candidate::better(self.best_faulty.take(), candidate));
        }
        self.last_answer = answer;
        self.last_problems = problems;
    }

    /// Whether asking again is of no use.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.is_hopeless
    }

    /// What was wrong with the last answer that could not be used.
    pub(crate) fn last_problems(&self) -> &[String] {
        &self.last_problems
    }

    /// The best of at most `candidates` layouts, the first of them that is perfect. If none can be used, the least faulty one for the lenient.
    ///
    /// # Errors
    /// [`Error::Unusable`]; whatever else `next` says before there is a layout.
    pub(crate) fn best_of(
        &mut self,
        candidates: usize,
        is_lenient: bool,
        mut next: impl FnMut(&mut Self, usize) -> Result<Candidate>,
    ) -> Result<Candidate> {
        let mut best: Option<Candidate> = None;
        for index in 0..candidates.max(1) {
            match next(self, index) {
                Ok(candidate) => best = Some(Candidate::better(best, candidate)),
                Err(Error::Unusable { .. }) => {}
                Err(error) if best.is_none() || error.is_cancelled() => return Err(error),
                // What was found so far is worth more than what went wrong later.
                Err(_) => break,
            }
            if self.is_hopeless || best.as_ref().is_some_and(Candidate::is_perfect) {
                break;
            }
        }
        match best.or_else(|| self.best_faulty.take().filter(|_| is_lenient)) {
            Some(candidate) => Ok(candidate),
            None => Err(self.unusable()),
        }
    }

    /// That no answer could be used.
    pub(crate) fn unusable(&self) -> Error {
        Error::Unusable {
            planner: self.planner.clone(),
            asked: self.asked.clone(),
            answers: self.answers,
            problems: self.last_problems.clone(),
            last_answer: self.last_answer.clone(),
        }
    }
}

/// Most of an answer that is looked at for words of refusal: they come first.
const REFUSED_IN_CHARS: usize = 400;

/// Whether an answer that is no layout says that there will be none.
fn is_refusal(answer: &str) -> bool {
    let start: String =
        answer.trim().chars().take(REFUSED_IN_CHARS).collect::<String>().to_lowercase().replace('’', "'");
    let words = [
        "sorry",
        "i can't",
        "i cannot",
        "i can not",
        "i'm unable",
        "i am unable",
        "i won't",
        "not able to",
        "as an ai",
    ];
    !start.contains('[') && words.iter().any(|word| start.contains(word))
}

/// Time that is spent on one plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    end: Instant,
    limit: Duration,
}

impl Budget {
    pub(crate) fn new(limit: Duration) -> Self {
        let now = Instant::now();
        // A limit beyond what the clock can tell is a year.
        let end = now.checked_add(limit).unwrap_or(now + Duration::from_secs(366 * 24 * 3600));
        Self { end, limit }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// What is left; zero once it is over.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_by_their_first_words() {
        assert!(is_refusal("I’m sorry, but I can't help with that."));
        assert!(is_refusal("As an AI language model, I do not draw."));
        assert!(!is_refusal("Here is the layout: [('a cat', [1, 2"));
        assert!(!is_refusal("A cat on the left."));
    }

    #[test]
    fn the_same_wrong_answer_again_ends_the_search() {
        let mut search = Search::new("a model", &PlanTask::caption("a cat"));
        search.reject("x".to_owned(), vec!["no".to_owned()], None);
        search.reject("y".to_owned(), vec!["no".to_owned()], None);
        assert!(!search.is_hopeless());
        search.reject(" y\n".to_owned(), vec!["no".to_owned()], None);
        assert!(search.is_hopeless() && search.last_problems() == ["no", "it is the same answer as before"]);
    }
}
