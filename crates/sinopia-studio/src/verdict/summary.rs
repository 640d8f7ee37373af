//! A verdict in one line for people.

use std::collections::HashSet;

use sinopia_layout::nouns::number_word;

use super::answers::{bare, definite, relation_words, several};
use super::{ObjectState, ObjectVerdict, RelationState, SeenThing, Verdict};

impl Verdict {
    /// One line for people: `2 of 3 right: no blue bowl; a second cat`, and where every object is right and something else is not, `2 of 2 right, but a second cat`. Without objects it tells
    /// of what must not be there alone.
    pub fn summary(&self) -> String {
        let remarks: Vec<String> = self.remarks();
        let right = match (self.objects.is_empty(), remarks.is_empty()) {
            (true, true) => return "nothing was asked for".to_owned(),
            (true, false) => return remarks.join("; "),
            (false, _) => format!("{} of {} right", self.num_right(), self.objects.len()),
        };
        match (remarks.is_empty(), self.num_right() == self.objects.len()) {
            (true, _) => right,
            (false, true) => format!("{right}, but {}", remarks.join("; ")),
            (false, false) => format!("{right}: {}", remarks.join("; ")),
        }
    }

    /// What is wrong, then what is unsure.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = self.of_state(ObjectState::Missing, |phrase, alike, all| match alike == all {
            true => format!("no {}", if all == 1 { bare(phrase).to_owned() } else { several(phrase) }),
            false => format!("{} of {} {} missing", number_word(alike), number_word(all), several(phrase)),
        });
        let wrong = self.objects.iter().filter(|object| object.state == ObjectState::WrongAttribute);
        remarks.extend(once(wrong.map(wrong_attribute)));
        remarks.extend(self.of_state(ObjectState::Misplaced, |phrase, alike, all| match (alike, alike == all) {
            (1, true) => format!("{} elsewhere", definite(phrase)),
            (_, true) => format!("the {} elsewhere", several(phrase)),
            (_, false) => format!("{} of {} {} elsewhere", number_word(alike), number_word(all), several(phrase)),
        }));
        remarks.extend(self.too_many());
        remarks.extend(once(self.excluded.iter().map(|seen| format!("{}, which must not be there", seen.phrase))));
        let failed = self.relations.iter().filter(|relation| relation.state == RelationState::Fail);
        let failed = failed.filter_map(|relation| {
            let (subject, object) = (self.objects.get(relation.subject)?, self.objects.get(relation.object)?);
            let how = relation_words(relation.relation)?;
            Some(format!("{} is not {how} {}", definite(&subject.phrase), definite(&object.phrase)))
        });
        remarks.extend(once(failed));
        remarks.extend(self.of_state(ObjectState::Unsure, |phrase, alike, all| match (alike, alike == all) {
            (1, true) => format!("{} unsure", definite(phrase)),
            (_, true) => format!("the {} unsure", several(phrase)),
            (_, false) => format!("{} of {} {} unsure", number_word(alike), number_word(all), several(phrase)),
        }));
        remarks
    }

    /// Each phrase that has objects of a state once, with how many they are and how many are called so.
    fn of_state(&self, state: ObjectState, say: impl Fn(&str, usize, usize) -> String) -> Vec<String> {
        let mut known = HashSet::new();
        let of_state = self.objects.iter().filter(|object| object.state == state);
        let first = of_state.filter(|object| known.insert(object.phrase.as_str()));
        first
            .map(|object| {
                let alike = || self.objects.iter().filter(|other| other.phrase == object.phrase);
                say(&object.phrase, alike().filter(|other| other.state == state).count(), alike().count())
            })
            .collect()
    }

    /// `a second cat`, `two more cats`; of things that are called otherwise than any object what they are.
    fn too_many(&self) -> Vec<String> {
        let mut known = HashSet::new();
        let first = self.extra.iter().filter(|seen| known.insert(seen.phrase.as_str()));
        first
            .map(|seen| {
                let extra = self.extra.iter().filter(|other| other.phrase == seen.phrase).count();
                let is_it = |object: &&ObjectVerdict| bare(&object.phrase) == bare(&seen.phrase);
                more(seen, self.objects.iter().filter(is_it).count(), extra)
            })
            .collect()
    }
}

fn wrong_attribute(object: &ObjectVerdict) -> String {
    match &object.seen_as {
        Some(seen_as) => format!("{} is {seen_as}", definite(&object.phrase)),
        None => format!("{} looks otherwise", definite(&object.phrase)),
    }
}

fn more(seen: &SeenThing, wanted: usize, extra: usize) -> String {
    const ORDINALS: [&str; 8] = ["second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"];
    let ordinal = wanted.checked_sub(1).and_then(|index| ORDINALS.get(index));
    match (extra, ordinal) {
        (1, Some(ordinal)) => {
            let article = if ordinal.starts_with('e') { "an" } else { "a" };
            format!("{article} {ordinal} {}", bare(&seen.phrase))
        }
        (1, None) => format!("{} too many", seen.phrase),
        _ => format!("{} {} too many", number_word(extra), several(&seen.phrase)),
    }
}

/// Each sentence once.
fn once(sentences: impl Iterator<Item = String>) -> Vec<String> {
    let mut known = HashSet::new();
    sentences.filter(|sentence| known.insert(sentence.clone())).collect()
}

#[cfg(test)]
mod tests {
    use sinopia_english::RelationKind;

    use super::super::testing::{object, seen, verdict};
    use super::super::{RelationVerdict, Verdict};
    use super::*;
    use ObjectState::*;

    #[track_caller]
    fn check(verdict: &Verdict, expected: &str) {
        assert_eq!(verdict.summary(), expected);
    }

    #[test]
    fn what_is_missing_comes_before_what_is_too_much() {
        let objects = vec![object("a cat", Right), object("a red apple", Right), object("a blue bowl", Missing)];
        let all = verdict(objects);
        check(&all, "2 of 3 right: no blue bowl");
        check(&Verdict { extra: vec![seen("a cat")], ..all }, "2 of 3 right: no blue bowl; a second cat");
    }

    #[test]
    fn several_alike_are_told_once() {
        let apples =
            |states: &[ObjectState]| verdict(states.iter().map(|state| object("a red apple", *state)).collect());
        check(&apples(&[Right, Missing, Missing]), "1 of 3 right: two of three red apples missing");
        check(&apples(&[Missing, Missing]), "0 of 2 right: no red apples");
        check(&apples(&[Right, Unsure]), "1 of 2 right: one of two red apples unsure");
        check(&apples(&[Misplaced, Misplaced]), "0 of 2 right: the red apples elsewhere");
        let extra = vec![seen("a red apple"), seen("a red apple"), seen("an apple")];
        let more = Verdict { extra, ..apples(&[Right, Right]) };
        check(&more, "2 of 2 right, but two red apples too many; an apple too many");
    }

    #[test]
    fn a_wrong_colour_an_excluded_thing_and_a_relation_are_told() {
        let green =
            ObjectVerdict { seen_as: Some("a green apple".to_owned()), ..object("a red apple", WrongAttribute) };
        let relation =
            RelationVerdict { subject: 0, relation: RelationKind::LeftOf, object: 1, state: RelationState::Fail };
        let all = Verdict {
            excluded: vec![seen("a dog")],
            relations: vec![relation],
            ..verdict(vec![green, object("the cat", Misplaced)])
        };
        check(
            &all,
            "0 of 2 right: the red apple is a green apple; the cat elsewhere; a dog, which must not be there; \
             the red apple is not to the left of the cat",
        );
    }

    #[test]
    fn nothing_asked_for_and_all_right_are_said_plainly() {
        check(&verdict(Vec::new()), "nothing was asked for");
        check(&verdict(vec![object("a cat", Right)]), "1 of 1 right");
        let cut = Verdict { excluded: vec![seen("a dog")], ..verdict(Vec::new()) };
        check(&cut, "a dog, which must not be there");
        let far = RelationVerdict { subject: 7, relation: RelationKind::On, object: 9, state: RelationState::Fail };
        check(
            &Verdict { relations: vec![far], ..verdict(vec![object("a cat", Unsure)]) },
            "0 of 1 right: the cat unsure",
        );
    }
}
