//! The loop against scripted eyes and hands: no model, no pixels.

use std::cell::{Cell, RefCell};

use sinopia_diffusion::noise::{Generator, Seed};
use sinopia_diffusion::{CheckedRecord, Edit};
use sinopia_eval::evaluators::EvaluatorId;
use sinopia_layout::{Layout, PixelBox};

use super::*;
use crate::Error;
use crate::verdict::{ObjectState, ObjectVerdict, RelationState, RelationVerdict, SeenThing, Thresholds};

use ObjectState::{Misplaced, Missing, Right, Unsure, WrongAttribute};

/// A picture is a name: `2` for an attempt, `2+1` for the second edit that was tried on it.
type Name = String;

/// Paints and edits names, and writes down what it was asked for.
#[derive(Default)]
struct Scripted {
    log: RefCell<Vec<String>>,
    edits: RefCell<Vec<Edit>>,
    seams: Vec<f64>,
    /// The number of the call, from 0, that is cancelled.
    cancelled_at: Option<usize>,
    /// The number of the call, from 0, that fails.
    broken_at: Option<usize>,
    /// The number of the edit, from 0, that fails.
    fails_at: Option<usize>,
    work: Cell<u64>,
}

impl Scripted {
    fn call(&self, line: String, work: u64) -> Result<()> {
        self.work.set(self.work.get() + work);
        self.log.borrow_mut().push(line);
        let number = Some(self.log.borrow().len() - 1);
        match number {
            number if number == self.cancelled_at => Err(sinopia_diffusion::Error::Cancelled.into()),
            number if number == self.broken_at => Err(Error::Pixels),
            _ => Ok(()),
        }
    }
}

impl Hand for Scripted {
    type Picture = Name;

    fn seed(&self, attempt: u32) -> Seed {
        Seed(40 + u64::from(attempt))
    }

    fn paint(&self, attempt: u32) -> Result<Name> {
        self.call(format!("paint {attempt}"), 100)?;
        Ok(attempt.to_string())
    }

    fn edit(&self, picture: &Name, edit: &Edit) -> Result<Repainted<Name>> {
        let names: Vec<String> =
            edit.operations.iter().map(|done| format!("{} {}", done.name(), done.phrase())).collect();
        let number = self.edits.borrow().len();
        self.edits.borrow_mut().push(edit.clone());
        self.call(
            format!("edit {picture}: {} (boost {}, grow {})", names.join(", "), edit.strength_boost, edit.grow_cells),
            80,
        )?;
        match self.fails_at == Some(number) {
            true => Err(Error::Pixels),
            false => {
                let seam = self.seams.get(number).copied().unwrap_or_default();
                Ok(Repainted { picture: format!("{picture}+{}", edit.attempt), seam })
            }
        }
    }

    fn work(&self) -> u64 {
        self.work.get()
    }
}

/// Sees what the script says of the picture of a name.
struct Script(Vec<(&'static str, Verdict)>);

impl Eye<Name> for Script {
    fn look(&self, picture: &Name) -> Result<Verdict> {
        let found = self.0.iter().find(|(name, _)| name == picture);
        Ok(found.unwrap_or_else(|| panic!("nothing is scripted for `{picture}`")).1.clone())
    }
}

const PHRASES: [&str; 4] = ["a red apple", "a blue bowl", "a cat", "a dog"];

/// Where object `index` of four should stand: quarters of a canvas of 512.
fn quarter(index: usize) -> PixelBox {
    let at = |second: bool| if second { 306.0 } else { 50.0 };
    PixelBox::new(at(index % 2 == 1), at(index >= 2), 156.0, 156.0).unwrap()
}

fn layout(objects: usize) -> Layout {
    let boxes: Vec<String> = (0..objects)
        .map(|index| format!("('{}', [{}, {}, 156, 156])", PHRASES[index], quarter(index).x(), quarter(index).y()))
        .collect();
    sinopia_layout::parse_answer(&format!("[{}]\nBackground prompt: A table", boxes.join(", "))).unwrap()
}

fn verdict(states: &[ObjectState]) -> Verdict {
    let object = |(index, state): (usize, &ObjectState)| {
        let bbox = quarter(index);
        let elsewhere = PixelBox::new(200.0, 200.0, 110.0, 110.0).unwrap();
        let (score, detected, iou) = match state {
            Right => (0.9, Some(bbox), 0.9),
            Unsure => (0.3, Some(bbox), 0.9),
            Missing => (0.0, None, 0.0),
            WrongAttribute => (0.1, Some(bbox), 0.9),
            Misplaced => (0.9, Some(elsewhere), 0.1),
        };
        let (phrase, state, seen_as) = (PHRASES[index].to_owned(), *state, None);
        ObjectVerdict { phrase, bbox, state, score, detected, iou, seen_as }
    };
    Verdict {
        evaluator: EvaluatorId { id: "script".to_owned(), hash: "00".to_owned() },
        objects: states.iter().enumerate().map(object).collect(),
        ..Verdict::of_nothing(Thresholds::BUILT_IN)
    }
}

fn thing(phrase: &str, [x, y, width, height]: [f64; 4]) -> SeenThing {
    SeenThing { phrase: phrase.to_owned(), bbox: PixelBox::new(x, y, width, height).unwrap(), score: 0.8 }
}

const REPAIR: CheckOptions =
    CheckOptions { attempts: 1, repair: true, resamples: 2, rounds: 3, tries: 2, max_seconds: None, max_work: None };

fn run(hand: &Scripted, script: Vec<(&'static str, Verdict)>, options: &CheckOptions) -> Checked<Name> {
    let objects = script[0].1.objects.len();
    check(hand, &Script(script), &layout(objects), options, &|_, _| ()).unwrap()
}

fn attempts(attempts: u32) -> CheckOptions {
    CheckOptions { attempts, repair: false, ..REPAIR }
}

#[test]
fn the_first_right_attempt_ends_the_loop() {
    let hand = Scripted::default();
    let script = vec![("0", verdict(&[Missing, Right])), ("1", verdict(&[Right, Right]))];
    let checked = run(&hand, script, &attempts(4));
    assert_eq!((checked.picture.as_str(), checked.attempt, checked.ended), ("1", 1, Ended::Right));
    assert_eq!(*hand.log.borrow(), ["paint 0", "paint 1"]);
    assert_eq!(checked.tries.iter().map(|report| report.seed.0).collect::<Vec<_>>(), [40, 41]);
    assert_eq!(checked.tries.iter().map(|report| report.accepted).collect::<Vec<_>>(), [true, true]);
    assert!(checked.edits.is_empty() && checked.shortfall().is_none());
}

#[test]
fn a_right_first_attempt_costs_a_painting_and_nothing_else() {
    let hand = Scripted::default();
    let checked = run(&hand, vec![("0", verdict(&[Right, Right]))], &CheckOptions { attempts: 9, ..REPAIR });
    assert_eq!((checked.ended, hand.work()), (Ended::Right, 100));
}

#[test]
fn of_equals_the_earlier_is_kept() {
    let hand = Scripted::default();
    let script = vec![
        ("0", verdict(&[Missing, Missing])),
        ("1", verdict(&[Missing, Right])),
        ("2", verdict(&[Right, Missing])),
        ("3", verdict(&[Missing, Right])),
    ];
    let checked = run(&hand, script, &attempts(4));
    assert_eq!((checked.picture.as_str(), checked.ended), ("1", Ended::Attempts));
    assert_eq!(checked.tries.iter().map(|report| report.accepted).collect::<Vec<_>>(), [true, true, false, false]);
    assert!(checked.shortfall().is_some_and(|line| line.contains("--repair")));
}

#[test]
fn what_is_missing_is_added_and_the_rest_is_kept() {
    let hand = Scripted::default();
    let script = vec![("0", verdict(&[Right, Missing, Right])), ("0+0", verdict(&[Right, Right, Right]))];
    let checked = run(&hand, script, &REPAIR);
    assert_eq!(*hand.log.borrow(), ["paint 0", "edit 0: add a blue bowl (boost 0, grow 0)"]);
    assert_eq!((checked.picture.as_str(), checked.ended), ("0+0", Ended::Right));
    assert_eq!(checked.edits, *hand.edits.borrow());
    let edit = &checked.edits[0];
    assert_eq!((&edit.layout, edit.seed, edit.attempt), (&layout(3), Seed(40), 0));
    let lines: Vec<String> = checked.tries.iter().map(AttemptReport::line).collect();
    assert!(lines[0].starts_with("attempt 1, seed 40: 2 of 3 right"), "{lines:?}");
    assert!(lines[1].starts_with("repair: added a blue bowl at the top right: 3 of 3 right"), "{lines:?}");
}

#[test]
fn each_state_has_its_operation_and_what_lies_apart_is_one_pass() {
    let hand = Scripted::default();
    let mut wrong = verdict(&[WrongAttribute, Right, Right, Missing]);
    wrong.extra = vec![thing("a red apple", [240.0, 10.0, 30.0, 30.0])];
    let script = vec![("0", wrong), ("0+0", verdict(&[Right, Right, Right, Right]))];
    let checked = run(&hand, script, &CheckOptions { resamples: 0, ..REPAIR });
    let edit = "edit 0: remove a red apple, recolour a red apple, add a dog (boost 0, grow 0)";
    assert_eq!(*hand.log.borrow(), ["paint 0", edit]);
    assert_eq!(checked.ended, Ended::Right);
}

#[test]
fn what_failed_is_tried_once_more_in_another_way_alone_and_then_no_more() {
    let hand = Scripted::default();
    let wrong = || verdict(&[WrongAttribute, Right, Right, Missing]);
    let names = ["0", "0+0", "0+1", "0+2"];
    let script = names.into_iter().map(|name| (name, wrong())).collect();
    let checked = run(&hand, script, &CheckOptions { resamples: 0, ..REPAIR });
    assert_eq!(
        *hand.log.borrow(),
        [
            "paint 0",
            "edit 0: recolour a red apple, add a dog (boost 0, grow 0)",
            "edit 0: replace a red apple (boost 0.1, grow 1)",
            "edit 0: replace a dog (boost 0.1, grow 1)",
        ]
    );
    assert_eq!((checked.picture.as_str(), checked.ended), ("0", Ended::Repairs));
    assert!(checked.edits.is_empty());
    let rejected: Vec<_> = checked.tries.iter().filter_map(|report| report.rejected.clone()).collect();
    assert_eq!(rejected, [Rejected::NotBetter, Rejected::NotBetter, Rejected::NotBetter]);
}

#[test]
fn what_is_elsewhere_is_moved_and_then_painted_anew() {
    let hand = Scripted::default();
    let wrong = || verdict(&[Right, Misplaced, Right]);
    let script = vec![("0", wrong()), ("0+0", wrong()), ("0+1", verdict(&[Right, Right, Right]))];
    let checked = run(&hand, script, &REPAIR);
    assert_eq!(
        *hand.log.borrow(),
        [
            "paint 0",
            "edit 0: move a blue bowl (boost 0, grow 0)",
            "edit 0: remove a blue bowl, add a blue bowl (boost 0.1, grow 1)",
        ]
    );
    assert_eq!((checked.edits.len(), checked.ended), (1, Ended::Right));
}

#[test]
fn what_became_a_part_of_another_is_replaced() {
    let hand = Scripted::default();
    let mut merged = verdict(&[Right, Missing, Right]);
    merged.objects[0].detected = PixelBox::new(50.0, 50.0, 412.0, 156.0).ok();
    let checked = run(&hand, vec![("0", merged), ("0+0", verdict(&[Right, Right, Right]))], &REPAIR);
    assert_eq!(hand.log.borrow()[1], "edit 0: replace a blue bowl (boost 0, grow 0)");
    assert_eq!(checked.ended, Ended::Right);
}

#[test]
fn what_stands_in_the_place_of_something_missing_is_replaced_by_it() {
    let hand = Scripted::default();
    let mut instead = verdict(&[Right, Missing, Right]);
    instead.extra = vec![thing("a blue apple", [330.0, 60.0, 60.0, 60.0])];
    run(&hand, vec![("0", instead), ("0+0", verdict(&[Right, Right, Right]))], &REPAIR);
    assert_eq!(*hand.log.borrow(), ["paint 0", "edit 0: replace a blue bowl (boost 0, grow 0)"]);
}

#[test]
fn what_the_eye_is_unsure_of_is_left_alone() {
    let hand = Scripted::default();
    let checked = run(&hand, vec![("0", verdict(&[Right, Unsure, Right]))], &REPAIR);
    assert_eq!((checked.ended, hand.log.borrow().len()), (Ended::Repairs, 1));
    let told = checked.shortfall().unwrap();
    assert!(told.contains("nothing in it is surely wrong") && !told.contains("was tried"), "{told}");
}

#[test]
fn a_repair_that_loses_what_was_right_leaves_no_trace() {
    let hand = Scripted { seams: vec![0.0, 7.0], ..Scripted::default() };
    // Less is wrong than before, and still the cat is gone; then all is right, and the seam is seen.
    let script = vec![
        ("0", verdict(&[Missing, Missing, Right, Right])),
        ("0+0", verdict(&[Right, Right, Missing, Right])),
        ("0+1", verdict(&[Right, Missing, Right, Right])),
        ("0+2", verdict(&[Missing, Right, Right, Right])),
        ("0+2+3", verdict(&[Right, Right, Right, Right])),
    ];
    let checked = run(&hand, script, &CheckOptions { resamples: 0, ..REPAIR });
    let rejected: Vec<_> = checked.tries.iter().map(|report| report.rejected.clone()).collect();
    assert_eq!(rejected, [None, Some(Rejected::Lost), Some(Rejected::Seam), None]);
    assert_eq!((checked.picture.as_str(), checked.edits.len()), ("0+2", 1));
    let lines: Vec<String> = checked.tries.iter().map(AttemptReport::line).collect();
    assert!(lines[1].starts_with("repair: tried to add a red apple at the top left, add a blue bowl"), "{lines:?}");
    assert!(lines[1].contains("lost") && lines[2].contains("edge"), "{lines:?}");
}

#[test]
fn a_thing_seen_twice_is_not_removed() {
    let hand = Scripted::default();
    let mut twice = verdict(&[Right, Right, Right]);
    let of_apple = thing("a red apple", [50.0, 50.0, 150.0, 150.0]);
    twice.extra = vec![of_apple.clone()];
    assert_eq!(run(&hand, vec![("0", twice.clone())], &REPAIR).ended, Ended::Repairs);
    assert_eq!(hand.log.borrow().len(), 1, "to remove it would remove the apple");
    // What must not be there at all is removed wherever it is; a whole picture is not.
    twice.extra = Vec::new();
    twice.excluded =
        vec![SeenThing { phrase: "a person".to_owned(), ..of_apple }, thing("a beach", [0.0, 0.0, 512.0, 512.0])];
    let hand = Scripted::default();
    let mut beach = verdict(&[Right, Right, Right]);
    beach.excluded = vec![twice.excluded[1].clone()];
    run(&hand, vec![("0", twice), ("0+0", beach)], &CheckOptions { resamples: 0, ..REPAIR });
    assert_eq!(*hand.log.borrow(), ["paint 0", "edit 0: remove a person (boost 0, grow 0)"]);
}

#[test]
fn a_failed_relation_of_things_in_their_places_moves_the_worse_placed_one() {
    let hand = Scripted::default();
    let relation =
        |state| RelationVerdict { subject: 0, relation: sinopia_english::RelationKind::LeftOf, object: 1, state };
    let mut wrong = verdict(&[Right, Right, Right]);
    wrong.objects[1].iou = 0.4;
    wrong.relations = vec![relation(RelationState::Fail)];
    let mut right = verdict(&[Right, Right, Right]);
    right.relations = vec![relation(RelationState::Pass)];
    let checked = run(&hand, vec![("0", wrong), ("0+0", right)], &REPAIR);
    assert_eq!(hand.log.borrow()[1], "edit 0: move a blue bowl (boost 0, grow 0)");
    assert_eq!(checked.ended, Ended::Right);
}

#[test]
fn where_little_is_right_other_seeds_come_first() {
    let hand = Scripted::default();
    let script = vec![
        ("0", verdict(&[Missing, Missing, Right])),
        ("1", verdict(&[Missing, Missing, Missing])),
        ("2", verdict(&[Misplaced, Right, Misplaced])),
        ("0+0", verdict(&[Right, Right, Right])),
        ("2+0", verdict(&[Right, Right, Right])),
    ];
    let checked = run(&hand, script, &REPAIR);
    assert_eq!(hand.log.borrow()[..3], ["paint 0", "paint 1", "paint 2"]);
    assert_eq!((checked.attempt, checked.picture.as_str()), (2, "2+0"), "{:?}", hand.log.borrow());
    assert_eq!(checked.edits[0].seed, Seed(42));
    assert_eq!(REPAIR.seeds_a_picture(), 3);
    assert_eq!(attempts(4).seeds_a_picture(), 4);
}

#[test]
fn the_budget_ends_the_loop_with_the_best_so_far() {
    let wrong = || verdict(&[Missing, Right, Right]);
    let script = || ["0", "1", "2", "0+0", "0+1"].into_iter().map(|name| (name, wrong())).collect::<Vec<_>>();
    for (options, calls, ended) in [
        (CheckOptions { max_work: Some(2.0), ..attempts(9) }, 2, Ended::Work),
        (CheckOptions { max_work: Some(1.0), ..REPAIR }, 1, Ended::Work),
        (CheckOptions { max_work: Some(2.6), ..REPAIR }, 3, Ended::Repairs),
        (CheckOptions { max_work: Some(2.5), ..REPAIR }, 2, Ended::Work),
        (CheckOptions { max_seconds: Some(0.0), ..REPAIR }, 1, Ended::Seconds),
    ] {
        let hand = Scripted::default();
        let checked = run(&hand, script(), &options);
        assert_eq!((hand.log.borrow().len(), checked.ended), (calls, ended), "{options:?}");
        assert_eq!(checked.picture, "0");
        assert!(checked.shortfall().is_some());
    }
}

#[test]
fn whoever_stops_gets_the_best_so_far_and_nothing_before_the_first() {
    let script = || vec![("0", verdict(&[Missing, Right, Right])), ("0+0", verdict(&[Missing, Right, Right]))];
    let stopped = |cancelled_at| Scripted { cancelled_at: Some(cancelled_at), ..Scripted::default() };
    let checked = run(&stopped(1), script(), &REPAIR);
    assert_eq!((checked.picture.as_str(), checked.ended, checked.tries.len()), ("0", Ended::Cancelled, 1));
    let first = check(&stopped(0), &Script(script()), &layout(3), &REPAIR, &|_, _| ());
    assert!(first.is_err_and(|error| error.is_cancelled()));
}

#[test]
fn an_attempt_that_fails_after_a_picture_was_there_ends_the_loop_with_that() {
    let hand = Scripted { broken_at: Some(1), ..Scripted::default() };
    let checked = run(&hand, vec![("0", verdict(&[Missing, Right]))], &attempts(4));
    assert_eq!((checked.picture.as_str(), checked.ended), ("0", Ended::Failed));
    assert!(checked.shortfall().is_some_and(|line| line.contains("pixels do not match")), "{:?}", checked.problem);
    let hand = Scripted { broken_at: Some(0), ..Scripted::default() };
    let first = check(&hand, &Script(Vec::new()), &layout(1), &attempts(4), &|_, _| ());
    assert!(matches!(first, Err(Error::Pixels)));
}

#[test]
fn what_stands_in_front_of_another_is_added_first() {
    let hand = Scripted::default();
    let mut front = verdict(&[Right, Missing, Right]);
    // The plate's own box holds the bowl's.
    front.objects[0].bbox = PixelBox::new(20.0, 20.0, 470.0, 250.0).unwrap();
    front.objects[0].detected = Some(front.objects[0].bbox);
    let script = vec![("0", front.clone()), ("0+0", front), ("0+1", verdict(&[Right, Right, Right]))];
    run(&hand, script, &REPAIR);
    assert_eq!(
        hand.log.borrow()[1..],
        ["edit 0: add a blue bowl (boost 0, grow 0)", "edit 0: replace a blue bowl (boost 0.1, grow 1)"]
    );
}

#[test]
fn one_wrong_object_of_two_is_repaired_at_once() {
    let hand = Scripted::default();
    let checked = run(&hand, vec![("0", verdict(&[Right, Missing])), ("0+0", verdict(&[Right, Right]))], &REPAIR);
    assert_eq!((hand.log.borrow().len(), checked.ended), (2, Ended::Right));
}

#[test]
fn a_repair_that_cannot_be_done_is_told_and_the_next_is_tried() {
    let hand = Scripted { fails_at: Some(0), ..Scripted::default() };
    let script = vec![("0", verdict(&[Right, Missing, Right])), ("0+1", verdict(&[Right, Right, Right]))];
    let checked = run(&hand, script, &REPAIR);
    assert_eq!((checked.picture.as_str(), checked.ended), ("0+1", Ended::Right));
    assert!(checked.tries[1].line().contains("could not be done: a picture's pixels"), "{}", checked.tries[1].line());
}

#[test]
fn the_same_verdicts_lead_to_the_same_picture() {
    let script = || {
        let wrong = verdict(&[WrongAttribute, Misplaced, Missing, Right]);
        ["0", "1", "2", "0+0", "0+1", "0+2", "0+3", "0+4", "0+5"]
            .into_iter()
            .map(|name| (name, wrong.clone()))
            .collect::<Vec<_>>()
    };
    let (one, other) = (Scripted::default(), Scripted::default());
    let told = RefCell::new(Vec::new());
    let tell = |report: &AttemptReport, picture: &Name| told.borrow_mut().push((report.line(), picture.clone()));
    let checked = check(&one, &Script(script()), &layout(4), &REPAIR, &tell).unwrap();
    let again = run(&other, script(), &REPAIR);
    assert_eq!(one.log, other.log);
    assert_eq!(checked.record(), again.record());
    assert_eq!(told.borrow().len(), checked.tries.len());
    let record: CheckedRecord = serde_json::from_str(&serde_json::to_string(&checked.record()).unwrap()).unwrap();
    assert_eq!(record, checked.record());
    assert_eq!((record.evaluator.id.as_str(), record.thresholds["sure"]), ("script", Thresholds::BUILT_IN.sure));
    // Noise is drawn by seed and number of the edit: no two edits of a picture have the same.
    let numbers: Vec<u32> = one.edits.borrow().iter().map(|edit| edit.attempt).collect();
    assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>());
}

/// A picture of one object that is right or not, whatever an eye that errs says of it.
struct Chance {
    draws: RefCell<Box<dyn FnMut() -> f64>>,
    /// How often a painting is right.
    right: f64,
    /// How often a right picture is seen to be right.
    sees_right: f64,
    /// How often a wrong one is.
    mistakes: f64,
    /// How often an edit mends a wrong one, and how often it spoils a right one.
    mends: f64,
    spoils: f64,
}

impl Chance {
    fn happens(&self, share: f64) -> bool {
        (self.draws.borrow_mut())() < share
    }

    fn of(right: f64, sees_right: f64, mistakes: f64) -> Self {
        let mut generator = Generator::new(Seed(7));
        let mut drawn = Vec::new();
        let draws = move || {
            if drawn.is_empty() {
                drawn = generator.uniforms(1 << 16);
            }
            drawn.pop().map_or(0.0, f64::from)
        };
        Self { draws: RefCell::new(Box::new(draws)), right, sees_right, mistakes, mends: 0.0, spoils: 0.0 }
    }
}

impl Hand for Chance {
    type Picture = bool;

    fn seed(&self, attempt: u32) -> Seed {
        Seed(attempt.into())
    }

    fn paint(&self, _: u32) -> Result<bool> {
        Ok(self.happens(self.right))
    }

    fn edit(&self, picture: &bool, _: &Edit) -> Result<Repainted<bool>> {
        let picture = if *picture { !self.happens(self.spoils) } else { self.happens(self.mends) };
        Ok(Repainted { picture, seam: 0.0 })
    }

    fn work(&self) -> u64 {
        0
    }
}

impl Eye<bool> for Chance {
    fn look(&self, picture: &bool) -> Result<Verdict> {
        let seen = self.happens(if *picture { self.sees_right } else { self.mistakes });
        Ok(verdict(&[if seen { Right } else { Missing }]))
    }
}

/// The share of right pictures after the loop, of many.
fn success(chance: &Chance, options: &CheckOptions) -> f64 {
    const PICTURES: usize = 20_000;
    let wanted = layout(1);
    let right = (0..PICTURES).filter(|_| check(chance, chance, &wanted, options, &|_, _| ()).unwrap().picture);
    right.count() as f64 / PICTURES as f64
}

/// `q = pa + (1−p)b`, `π = pa/q`, `S_N = (1−(1−q)^N)·π + (1−q)^N·p(1−a)/(1−q)`.
#[test]
fn attempts_succeed_as_often_as_theory_says() {
    for (p, a, b, n) in
        [(0.4, 0.9, 0.1, 1), (0.4, 0.9, 0.1, 4), (0.4, 0.9, 0.3, 8), (0.15, 0.9, 0.1, 16), (0.7, 0.9, 0.1, 2)]
    {
        let q: f64 = p * a + (1.0 - p) * b;
        let none_seen = (1.0 - q).powi(n);
        let expected = (1.0 - none_seen) * p * a / q + none_seen * p * (1.0 - a) / (1.0 - q);
        let found = success(&Chance::of(p, a, b), &attempts(n as u32));
        // Three standard deviations of 20 000 draws are 0.0106 at most.
        assert!((found - expected).abs() < 0.011, "p {p}, a {a}, b {b}, {n} attempts: {found}, expected {expected}");
    }
}

/// An eye that sees right pictures more often than wrong ones makes repairs that help on the whole, even where edits spoil as much as they mend.
#[test]
fn repairs_do_not_make_worse_what_the_eye_can_tell() {
    for (p, a, b) in [(0.4, 0.9, 0.1), (0.7, 0.8, 0.3), (0.2, 0.6, 0.4)] {
        for (mends, spoils) in [(0.5, 0.1), (0.3, 0.5)] {
            let chance = Chance { mends, spoils, ..Chance::of(p, a, b) };
            let plain = success(&chance, &attempts(1));
            let repaired = success(&chance, &CheckOptions { resamples: 0, ..REPAIR });
            assert!(
                repaired > plain - 0.011,
                "p {p}, a {a}, b {b}, mends {mends}, spoils {spoils}: {plain} to {repaired}"
            );
        }
    }
    let chance = Chance { mends: 0.6, spoils: 0.1, ..Chance::of(0.4, 0.9, 0.1) };
    let (attempted, repaired) =
        (success(&chance, &attempts(1)), success(&chance, &CheckOptions { resamples: 0, ..REPAIR }));
    assert!(repaired > attempted + 0.25, "{attempted} to {repaired}");
}
