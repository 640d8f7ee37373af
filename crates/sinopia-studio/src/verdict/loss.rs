//! Which of two verdicts is the better one.

use std::cmp::Ordering;

use super::answers::bare;
use super::colours::is_colour;
use super::{ObjectState, ObjectVerdict, RelationState, SeenThing, Verdict};

/// How far a picture is from what was wanted; less is better. Surely wrong things count first, then by how much they are wrong, then what is unsure.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// Things that are surely wrong: objects that are missing, elsewhere or of another colour, extra and excluded things, relations.
    pub fails: usize,
    /// By how much: at most 1 each. The share of a sure score that is lacking, of an overlap that is lacking, of an excluded thing its score.
    pub deficit: f64,
    /// Objects and relations of which the evaluator is unsure.
    pub unsure: usize,
}

impl PartialEq for Loss {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Loss {}

impl PartialOrd for Loss {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Loss {
    fn cmp(&self, other: &Self) -> Ordering {
        let fails = self.fails.cmp(&other.fails);
        fails.then(self.deficit.total_cmp(&other.deficit)).then(self.unsure.cmp(&other.unsure))
    }
}

impl Verdict {
    /// How far the picture is from what was wanted.
    pub fn loss(&self) -> Loss {
        let wrong = self.objects.iter().filter(|object| object.state.is_wrong());
        let failed = self.relations.iter().filter(|relation| relation.state == RelationState::Fail).count();
        let unsure_objects = self.objects.iter().filter(|object| object.state == ObjectState::Unsure).count();
        let unsure = self.relations.iter().filter(|relation| relation.state == RelationState::Unsure).count();
        let of_objects: f64 = wrong.clone().map(|object| self.deficit(object)).sum();
        let of_excluded: f64 = self.excluded.iter().map(|seen| share(seen.score)).sum();
        Loss {
            fails: wrong.count() + self.extra.len() + self.excluded.len() + failed,
            deficit: of_objects + of_excluded + (self.extra.len() + failed) as f64,
            unsure: unsure_objects + unsure,
        }
    }

    /// By how much a wrong object is wrong, 0..=1.
    fn deficit(&self, object: &ObjectVerdict) -> f64 {
        match object.state {
            ObjectState::Right | ObjectState::Unsure => 0.0,
            ObjectState::Missing | ObjectState::WrongAttribute => 1.0 - share(object.score / self.thresholds.sure),
            ObjectState::Misplaced => 1.0 - share(object.iou),
        }
    }

    /// Whether all that was right in the picture `before`, of the same program, is right in this one too: its objects, its counts, what it left out, how its objects stand.
    ///
    /// What an evaluator says of one thing flickers by what is painted elsewhere. So an object that is only just unsure now, and was only just right, is kept; where one of several alike was right, so
    /// is one that another is now in its stead; and things too many are counted by kind, whatever colour they seem to have.
    pub fn keeps_right_of(&self, before: &Verdict) -> bool {
        let mut right = before.objects.iter().enumerate().filter(|(_, object)| object.is_right());
        let passed = before.relations.iter().filter(|relation| relation.state == RelationState::Pass);
        let fails = |relation: &super::RelationVerdict| {
            let same = |other: &&super::RelationVerdict| {
                (other.subject, other.relation, other.object) == (relation.subject, relation.relation, relation.object)
            };
            self.relations.iter().find(same).is_none_or(|now| now.state == RelationState::Fail)
        };
        right.all(|(index, was)| self.keeps(index, was, before))
            && !has_more(&self.extra, &before.extra)
            && !has_more(&self.excluded, &before.excluded)
            && !passed.into_iter().any(fails)
    }

    /// Whether a right object of `before` still is.
    fn keeps(&self, index: usize, was: &ObjectVerdict, before: &Verdict) -> bool {
        let Some(now) = self.objects.get(index) else { return false };
        let is_in_its_stead = |(other, before): (&ObjectVerdict, &ObjectVerdict)| {
            let is_same = was.detected.zip(other.detected).is_some_and(|(was, now)| was.iou(&now) >= SAME_THING_IOU);
            other.phrase == was.phrase && other.is_right() && !before.is_right() && is_same
        };
        now.is_right() || flickers(was, now) || self.objects.iter().zip(&before.objects).any(is_in_its_stead)
    }
}

/// Boxes that overlap by this much, intersection over union, are of one thing.
pub(crate) const SAME_THING_IOU: f64 = 0.5;
/// By how much score and overlap of an untouched thing may change with what is painted elsewhere: our choice, not measured.
const FLICKER: f64 = 0.05;

/// Whether an object is unsure now and was right by no more than a flicker.
fn flickers(was: &ObjectVerdict, now: &ObjectVerdict) -> bool {
    now.state == ObjectState::Unsure && was.score - now.score <= FLICKER && was.iou - now.iou <= FLICKER
}

/// Whether of any kind there are more now than before.
fn has_more(now: &[SeenThing], before: &[SeenThing]) -> bool {
    let count = |seen: &[SeenThing], kind: &str| seen.iter().filter(|seen| kind_of(seen) == kind).count();
    now.iter().any(|seen| count(now, kind_of(seen)) > count(before, kind_of(seen)))
}

/// What a thing is called without article and colours: `apple` of `a red apple`.
fn kind_of(seen: &SeenThing) -> &str {
    let mut name = bare(&seen.phrase);
    while let Some((first, rest)) = name.split_once(' ')
        && is_colour(first)
    {
        name = rest;
    }
    name
}

/// 0..=1; 0 for what is no number.
fn share(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use sinopia_english::RelationKind;

    use super::super::RelationVerdict;
    use super::super::testing::{object, seen, verdict};
    use super::*;
    use ObjectState::*;

    fn of(states: &[ObjectState]) -> Verdict {
        verdict(states.iter().map(|state| object("a cat", *state)).collect())
    }

    #[test]
    fn fails_come_before_deficits_and_those_before_what_is_unsure() {
        let faint = |score: f64| verdict(vec![ObjectVerdict { score, ..object("a cat", Missing) }]);
        let order = [
            of(&[Right]).loss(),
            of(&[Unsure]).loss(),
            of(&[Unsure, Unsure, Unsure]).loss(),
            faint(0.4).loss(),
            faint(0.2).loss(),
            of(&[Missing]).loss(),
            of(&[Missing, Unsure]).loss(),
            of(&[Missing, Missing]).loss(),
        ];
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
        assert_eq!(of(&[Right, Right]).loss(), of(&[]).loss());
    }

    #[test]
    fn what_is_too_much_is_a_fail_each() {
        let relation = |state| RelationVerdict { subject: 0, relation: RelationKind::LeftOf, object: 1, state };
        let all = Verdict {
            extra: vec![seen("a cat")],
            excluded: vec![seen("a dog")],
            relations: vec![relation(RelationState::Fail), relation(RelationState::Unsure)],
            ..of(&[Right, Misplaced])
        };
        let loss = all.loss();
        assert_eq!((loss.fails, loss.unsure), (4, 1));
        assert!((loss.deficit - 2.8).abs() < 1e-9, "{loss:?}"); // the misplaced one overlaps wholly, the dog has 0.8
    }

    #[test]
    fn scores_that_are_no_numbers_count_as_none() {
        let odd = |score| verdict(vec![ObjectVerdict { score, iou: score, ..object("a cat", Missing) }]).loss();
        assert_eq!(odd(f64::NAN), odd(0.0));
        assert!(odd(f64::INFINITY).deficit.is_finite());
    }

    #[test]
    fn what_was_right_must_stay_right() {
        let before = Verdict { extra: vec![seen("a cat")], ..of(&[Right, Missing]) };
        assert!(of(&[Right, Missing]).keeps_right_of(&before));
        assert!(of(&[Right, Right]).keeps_right_of(&before));
        assert!(!of(&[]).keeps_right_of(&before));
        let with = |extra: usize, excluded: usize| Verdict {
            extra: vec![seen("a cat"); extra],
            excluded: vec![seen("a dog"); excluded],
            ..of(&[Right, Right])
        };
        assert!(with(1, 0).keeps_right_of(&before));
        assert!(!with(2, 0).keeps_right_of(&before), "one cat more");
        assert!(!with(0, 1).keeps_right_of(&before), "what was left out came");
    }

    #[test]
    fn what_flickers_is_kept() {
        let before = of(&[Right, Missing]);
        let unsure = |score, iou| {
            let first = ObjectVerdict { score, iou, ..object("a cat", Unsure) };
            verdict(vec![first, object("a dog", Right)])
        };
        assert!(unsure(0.86, 0.97).keeps_right_of(&before));
        assert!(!unsure(0.7, 1.0).keeps_right_of(&before), "it lost much of its score");
        assert!(!unsure(0.9, 0.8).keeps_right_of(&before), "it lost much of its place");
        // The same cat is the second one now.
        assert!(of(&[Missing, Right]).keeps_right_of(&before));
        let mut elsewhere = of(&[Missing, Right]);
        elsewhere.objects[1].detected = Some(seen("").bbox);
        assert!(!elsewhere.keeps_right_of(&before));
    }

    #[test]
    fn what_is_too_much_is_counted_by_kind() {
        let with = |phrases: &[&str]| Verdict { extra: phrases.iter().map(|p| seen(p)).collect(), ..of(&[Right]) };
        assert!(with(&["a gray cat"]).keeps_right_of(&with(&["a cat"])));
        assert!(!with(&["a gray cat", "a cat"]).keeps_right_of(&with(&["a cat"])));
        assert!(!with(&["a gray dog"]).keeps_right_of(&with(&["a gray cat"])));
    }

    #[test]
    fn a_relation_that_held_must_not_fail() {
        let with = |state| {
            let relation = RelationVerdict { subject: 0, relation: RelationKind::On, object: 1, state };
            Verdict { relations: vec![relation], ..of(&[Right, Right]) }
        };
        let before = with(RelationState::Pass);
        assert!(with(RelationState::Unsure).keeps_right_of(&before));
        assert!(!with(RelationState::Fail).keeps_right_of(&before));
        assert!(!of(&[Right, Right]).keeps_right_of(&before), "it is not told any more");
        assert!(with(RelationState::Fail).keeps_right_of(&with(RelationState::Unsure)));
    }
}
