//! The loop: attempts, then rounds of repairs on the best of them.

use std::time::Instant;

use sinopia_diffusion::{Edit, EditOptions};
use sinopia_layout::Layout;

use super::budget::{Budget, Cost};
use super::faults::{Fault, FaultKey, Tries, batch, faults};
use super::report::{AttemptReport, Checked, Ended, Rejected};
use super::{CheckOptions, Eye, Hand, Repainted};
use crate::{Error, Result, Verdict};

/// Most repairs that one picture keeps: each writes its layout into the recipe, which has to stay short enough to be read.
const MAX_EDITS: usize = 16;
/// What each further try of the same repair adds to its strength.
const STRENGTH_STEP: f64 = 0.1;

/// Paints attempts until one is right, and repairs the best of them. `wanted` is the layout that the pictures are painted from; `tell` hears of every try, with its
/// picture, once it was looked at.
///
/// Once there is a picture that was looked at, neither cancellation nor anything that fails is an error: the best picture comes back, and what ended the loop.
///
/// # Errors
/// Those of the first painting and of the first look.
pub fn check<H: Hand>(
    hand: &H,
    eye: &dyn Eye<H::Picture>,
    wanted: &Layout,
    options: &CheckOptions,
    tell: &dyn Fn(&AttemptReport, &H::Picture),
) -> Result<Checked<H::Picture>> {
    let cycle = Cycle { hand, eye, wanted, options, tell, budget: Budget::new(options), tries: Vec::new() };
    cycle.run()
}

struct Cycle<'a, H: Hand> {
    hand: &'a H,
    eye: &'a dyn Eye<H::Picture>,
    wanted: &'a Layout,
    options: &'a CheckOptions,
    tell: &'a dyn Fn(&AttemptReport, &H::Picture),
    budget: Budget,
    tries: Vec<AttemptReport>,
}

/// The best picture so far.
struct Best<P> {
    attempt: u32,
    picture: P,
    verdict: Verdict,
    edits: Vec<Edit>,
}

/// Something measured: what came of it, and what it took.
struct Measured<T> {
    value: T,
    cost: Cost,
}

impl<H: Hand> Cycle<'_, H> {
    fn run(mut self) -> Result<Checked<H::Picture>> {
        let mut best = self.attempt(0)?;
        // Whatever goes wrong from here on, there is a picture.
        let (ended, problem) = match self.improve(&mut best) {
            Ok(ended) => (ended, None),
            Err(error) if error.is_cancelled() => (Ended::Cancelled, None),
            Err(error) => (Ended::Failed, Some(in_full(&error))),
        };
        let Best { attempt, picture, verdict, edits } = best;
        Ok(Checked { picture, verdict, attempt, edits, tries: self.tries, ended, problem })
    }

    fn improve(&mut self, best: &mut Best<H::Picture>) -> Result<Ended> {
        let mut next = 1;
        while !best.verdict.is_right() && self.wants_attempt(next, &best.verdict) {
            match self.budget.refusal() {
                Some(_) if self.options.repair => break, // what is left is for repairs
                Some(ended) => return Ok(ended),
                None => {}
            }
            let attempt = self.attempt(next)?;
            if attempt.verdict.loss() < best.verdict.loss() {
                *best = attempt;
            }
            next += 1;
        }
        match () {
            () if best.verdict.is_right() => Ok(Ended::Right),
            () if self.options.repair => self.repair(best),
            () => Ok(Ended::Attempts),
        }
    }

    /// Whether attempt number `next` is to be made: while there are attempts, and while so little is right that a repair has hardly anything to keep.
    fn wants_attempt(&self, next: u32, verdict: &Verdict) -> bool {
        let wrong = verdict.objects.len() - verdict.num_right();
        let is_mostly_wrong = wrong >= 2 && 2 * wrong >= verdict.objects.len();
        next < self.options.attempts || (next < self.options.most_attempts() && is_mostly_wrong)
    }

    /// Paints an attempt and looks at it.
    fn attempt(&mut self, attempt: u32) -> Result<Best<H::Picture>> {
        let Measured { value: (picture, verdict), cost } = self.measured(|hand, eye| {
            let picture = hand.paint(attempt)?;
            let verdict = eye.look(&picture)?;
            Ok((picture, verdict))
        })?;
        let best = Best { attempt, picture, verdict, edits: Vec::new() };
        let earlier = self.tries.iter().map(|report| report.verdict.loss());
        let accepted = earlier.min().is_none_or(|least| best.verdict.loss() < least);
        self.report(AttemptReport { accepted, ..report_of(&best, self.hand, cost) }, &best.picture);
        Ok(best)
    }

    /// Goes through what is wrong, several times if need be, until nothing is or nothing is left to try.
    fn repair(&mut self, best: &mut Best<H::Picture>) -> Result<Ended> {
        self.budget.begin_repairs();
        let mut tries = Tries::default();
        let mut number = self.hand.num_edits();
        for _ in 0..self.options.rounds {
            let mut of_round: Vec<FaultKey> = Vec::new();
            loop {
                let faults = batch(self.open(&best.verdict, &tries, &of_round), &tries);
                if faults.is_empty() {
                    break;
                }
                if best.edits.len() >= MAX_EDITS {
                    return Ok(Ended::Repairs);
                }
                if let Some(ended) = self.budget.refusal() {
                    return Ok(ended);
                }
                let tried = faults.iter().map(|fault| tries.of(&fault.key)).max().unwrap_or(0);
                let seed = self.hand.seed(best.attempt);
                self.try_edit(
                    best,
                    edit_of(
                        &faults,
                        Edit {
                            attempt: number,
                            strength_boost: STRENGTH_STEP * f64::from(tried),
                            grow_cells: tried as usize,
                            ..Edit::new(Vec::new(), self.wanted.clone(), seed)
                        },
                    ),
                )?;
                number += 1;
                faults.iter().for_each(|fault| tries.count(&fault.key));
                of_round.extend(faults.into_iter().map(|fault| fault.key));
            }
            if best.verdict.is_right() {
                return Ok(Ended::Right);
            }
            if of_round.is_empty() {
                break;
            }
        }
        Ok(Ended::Repairs)
    }

    /// What is wrong and was neither tried in this round nor too often.
    fn open(&self, verdict: &Verdict, tries: &Tries, of_round: &[FaultKey]) -> Vec<Fault> {
        let mut in_round = Tries::default();
        of_round.iter().for_each(|key| in_round.count(key));
        let mut faults = faults(verdict, self.wanted.canvas, tries);
        faults.retain(|fault| tries.of(&fault.key) < self.options.tries && in_round.of(&fault.key) == 0);
        faults
    }

    /// Does an edit, looks, and keeps it only if the picture is better for it.
    fn try_edit(&mut self, best: &mut Best<H::Picture>, edit: Edit) -> Result<()> {
        let before = (&best.picture, &best.verdict);
        let measured = self.measured(|hand, eye| match hand.edit(before.0, &edit) {
            Ok(Repainted { picture, seam }) => {
                let verdict = eye.look(&picture)?;
                Ok(Ok((picture, verdict, seam)))
            }
            Err(error) if error.is_cancelled() => Err(error),
            Err(error) => Ok(Err(error)),
        })?;
        let cost = measured.cost;
        let tried = AttemptReport { operations: edit.operations.clone(), ..report_of(best, self.hand, cost) };
        match measured.value {
            Err(error) => {
                let rejected = Some(Rejected::Failed(in_full(&error)));
                self.report(AttemptReport { rejected, ..tried }, &best.picture);
            }
            Ok((picture, verdict, seam)) => {
                let rejected = rejection(&verdict, &best.verdict, seam);
                let accepted = rejected.is_none();
                let verdict_seen = verdict.clone();
                let report = AttemptReport { verdict: verdict_seen, accepted, rejected, seam: Some(seam), ..tried };
                self.report(report, &picture);
                if accepted {
                    best.edits.push(edit);
                    (best.picture, best.verdict) = (picture, verdict);
                }
            }
        }
        Ok(())
    }

    fn measured<T>(&self, work: impl FnOnce(&H, &dyn Eye<H::Picture>) -> Result<T>) -> Result<Measured<T>> {
        let (begun, before) = (Instant::now(), self.hand.work());
        let value = work(self.hand, self.eye)?;
        let cost = Cost { work: self.hand.work() - before, seconds: begun.elapsed().as_secs_f64() };
        Ok(Measured { value, cost })
    }

    fn report(&mut self, report: AttemptReport, picture: &H::Picture) {
        self.budget.spend(Cost { work: report.work, seconds: report.seconds });
        (self.tell)(&report, picture);
        self.tries.push(report);
    }
}

/// All operations of the faults in one edit.
fn edit_of(faults: &[Fault], edit: Edit) -> Edit {
    Edit { operations: faults.iter().flat_map(|fault| fault.operations.clone()).collect(), ..edit }
}

/// An error with its causes in one line.
fn in_full(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

/// Why a repair is not kept, if it is not.
fn rejection(verdict: &Verdict, before: &Verdict, seam: f64) -> Option<Rejected> {
    match () {
        () if !verdict.keeps_right_of(before) => Some(Rejected::Lost),
        () if verdict.loss() >= before.loss() => Some(Rejected::NotBetter),
        () if seam > EditOptions::SEEN_SEAM => Some(Rejected::Seam),
        () => None,
    }
}

fn report_of<H: Hand>(best: &Best<H::Picture>, hand: &H, Cost { work, seconds }: Cost) -> AttemptReport {
    AttemptReport {
        attempt: best.attempt,
        seed: hand.seed(best.attempt),
        operations: Vec::new(),
        verdict: best.verdict.clone(),
        accepted: false,
        rejected: None,
        seam: None,
        work,
        seconds,
    }
}
