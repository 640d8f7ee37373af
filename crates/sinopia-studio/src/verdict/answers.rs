//! The verdict of a model that answers questions with yes or no: what is there, how many, how it looks and how it stands, without boxes.

use sinopia_english::RelationKind;
use sinopia_layout::{PixelBox, nouns};

use super::program::{ExcludedThing, WantedObject, WantedRelation};
use super::queries::with_article;
use super::{ObjectState, ObjectVerdict, Program, RelationState, RelationVerdict, SeenThing, Thresholds, Verdict};

/// Beyond this nobody counts, neither does a model: more alike are there if so many are.
const COUNTED: usize = 8;

/// Everything that is asked, each question once.
pub(super) fn questions(program: &Program) -> Vec<String> {
    let mut questions: Vec<String> = Vec::new();
    for object in program.objects() {
        let count = alike(program, object).min(COUNTED);
        questions.extend((1..=count).map(|count| at_least(count, &object.phrase)));
        questions.push(at_least(1, &program.kinds()[object.kind].name));
        questions.extend(more_than_wanted(program, object.kind));
    }
    questions.extend(program.excluded().iter().map(|excluded| any_excluded(program, excluded)));
    questions.extend(program.relations().iter().filter_map(|wanted| stands_so(program, wanted)));
    let mut known = std::collections::HashSet::new();
    questions.retain(|question| known.insert(question.clone()));
    questions
}

/// What the answers say.
pub(super) fn verdict(program: &Program, thresholds: Thresholds, is_yes: impl Fn(&str) -> bool) -> Verdict {
    let objects = program.objects().iter().enumerate();
    let objects: Vec<ObjectVerdict> =
        objects.map(|(index, object)| self::object(program, index, object, &is_yes)).collect();
    let excluded: Vec<&ExcludedThing> =
        program.excluded().iter().filter(|excluded| is_yes(&any_excluded(program, excluded))).collect();
    let mut kinds: Vec<usize> = program.objects().iter().map(|object| object.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    // What must not be there is no second time too much.
    kinds.retain(|kind| excluded.iter().all(|excluded| excluded.kind != *kind));
    let too_many =
        kinds.into_iter().filter(|kind| more_than_wanted(program, *kind).is_some_and(|question| is_yes(&question)));
    let extra = too_many.filter_map(|kind| anywhere(program, &program.kinds()[kind].name)).collect();
    let excluded = excluded.into_iter().filter_map(|excluded| anywhere(program, &name_of(program, excluded))).collect();
    let relations = program.relations().iter().map(|wanted| {
        // Of the place of what is not there as it was asked for, no answer tells.
        let are_there = [wanted.subject, wanted.object].iter().all(|index| objects[*index].is_right());
        let state = match stands_so(program, wanted).filter(|_| are_there) {
            None => RelationState::Unsure,
            Some(question) if is_yes(&question) => RelationState::Pass,
            Some(_) => RelationState::Fail,
        };
        RelationVerdict { subject: wanted.subject, relation: wanted.relation, object: wanted.object, state }
    });
    let relations = relations.collect();
    Verdict { objects, extra, excluded, relations, ..Verdict::of_nothing(thresholds) }
}

/// Of several alike, the first ones are there.
fn object(program: &Program, index: usize, object: &WantedObject, is_yes: &impl Fn(&str) -> bool) -> ObjectVerdict {
    let before = program.objects()[..index].iter().filter(|other| other.phrase == object.phrase).count();
    let place = (before + 1).min(COUNTED);
    let is_there = (1..=place).all(|count| is_yes(&at_least(count, &object.phrase)));
    let kind = &program.kinds()[object.kind].name;
    let is_described = !object.colours.is_empty() || !object.details.is_empty();
    let is_other = !is_there && before == 0 && is_described && is_yes(&at_least(1, kind));
    let state = match (is_there, is_other) {
        (true, _) => ObjectState::Right,
        (false, true) => ObjectState::WrongAttribute,
        (false, false) => ObjectState::Missing,
    };
    ObjectVerdict {
        phrase: object.phrase.clone(),
        bbox: object.bbox,
        state,
        score: f64::from(u8::from(is_there)),
        detected: None,
        iou: 0.0,
        seen_as: is_other.then(|| with_article(kind)),
    }
}

/// How many objects are called the same.
fn alike(program: &Program, object: &WantedObject) -> usize {
    program.objects().iter().filter(|other| other.phrase == object.phrase).count()
}

fn at_least(count: usize, phrase: &str) -> String {
    match count {
        1 => format!("Is there {} in this picture?", with_article(phrase)),
        _ => format!("Are there at least {count} {} in this picture?", several(phrase)),
    }
}

/// Whether there are more of a kind than are wanted; not asked where one box is of several.
fn more_than_wanted(program: &Program, kind: usize) -> Option<String> {
    let mut objects = program.objects().iter().filter(|object| object.kind == kind);
    let is_counted = objects.all(|object| !object.is_several) && program.count(kind) < COUNTED;
    let question = || match program.count(kind) {
        1 => format!("Is there more than one {} in this picture?", program.kinds()[kind].name),
        count => format!("Are there more than {count} {} in this picture?", several(&program.kinds()[kind].name)),
    };
    is_counted.then(question)
}

fn any_excluded(program: &Program, excluded: &ExcludedThing) -> String {
    at_least(1, &name_of(program, excluded))
}

/// In the singular, with what describes it: `red hat`.
fn name_of(program: &Program, excluded: &ExcludedThing) -> String {
    let words = excluded.details.iter().chain(&excluded.colours).map(String::as_str);
    words.chain([program.kinds()[excluded.kind].name.as_str()]).collect::<Vec<_>>().join(" ")
}

/// The question for a relation; none where several are called the same, or there is no word for it.
fn stands_so(program: &Program, wanted: &WantedRelation) -> Option<String> {
    let (subject, object) = (&program.objects()[wanted.subject], &program.objects()[wanted.object]);
    let are_single = alike(program, subject) == 1 && alike(program, object) == 1;
    let words = are_single.then(|| relation_words(wanted.relation)).flatten()?;
    Some(format!("Is {} {words} {} in this picture?", definite(&subject.phrase), definite(&object.phrase)))
}

/// How a subject stands, after `is`.
pub(super) fn relation_words(relation: RelationKind) -> Option<&'static str> {
    use RelationKind::*;
    Some(match relation {
        LeftOf => "to the left of",
        RightOf => "to the right of",
        Above => "above",
        Below => "below",
        On => "on",
        Under => "under",
        In => "in",
        NextTo => "next to",
        BiggerThan => "bigger than",
        SmallerThan => "smaller than",
        _ => return None,
    })
}

/// `the red apple` of `a red apple`.
pub(super) fn definite(phrase: &str) -> String {
    format!("the {}", bare(phrase))
}

/// Without its article.
pub(super) fn bare(phrase: &str) -> &str {
    let phrase = phrase.trim();
    match phrase.split_once(char::is_whitespace) {
        Some((first, rest)) if ["a", "an", "the", "one"].contains(&first.to_lowercase().as_str()) => rest.trim_start(),
        _ => phrase,
    }
}

/// `red apples` of `a red apple`.
pub(super) fn several(phrase: &str) -> String {
    nouns::plural(bare(phrase))
}

/// Something that is somewhere.
fn anywhere(program: &Program, name: &str) -> Option<SeenThing> {
    let canvas = program.canvas();
    let bbox = PixelBox::new(0.0, 0.0, canvas.width().into(), canvas.height().into()).ok()?;
    Some(SeenThing { phrase: with_article(name), bbox, score: 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ObjectState::*;

    fn program(caption: &str, boxes: &str) -> Program {
        let answer = format!("[{boxes}]\nBackground prompt: A table\nNegative prompt: ");
        Program::compile(&sinopia_layout::parse_answer(&answer).unwrap(), Some(caption))
    }

    const BOXES: &str =
        "('a red apple', [0, 0, 90, 90]), ('a red apple', [100, 0, 90, 90]), ('a cup', [300, 0, 90, 90])";
    const CAPTION: &str = "two red apples to the left of a cup, no dogs";

    #[test]
    fn presence_number_surplus_and_what_is_excluded_are_asked_once_each() {
        assert_eq!(
            questions(&program(CAPTION, BOXES)),
            [
                "Is there a red apple in this picture?",
                "Are there at least 2 red apples in this picture?",
                "Is there an apple in this picture?",
                "Are there more than 2 apples in this picture?",
                "Is there a cup in this picture?",
                "Is there more than one cup in this picture?",
                "Is there a dog in this picture?",
            ]
        );
        let single =
            questions(&program("a cat to the left of a dog", "('a cat', [0, 0, 9, 9]), ('a dog', [20, 0, 9, 9])"));
        assert!(single.contains(&"Is the cat to the left of the dog in this picture?".to_owned()), "{single:?}");
    }

    #[track_caller]
    fn check(yes: &[&str], states: &[ObjectState]) -> Verdict {
        let is_yes = |question: &str| yes.iter().any(|part| question.contains(part));
        let verdict = verdict(&program(CAPTION, BOXES), Thresholds::ANSWERS, is_yes);
        assert_eq!(verdict.objects.iter().map(|object| object.state).collect::<Vec<_>>(), states, "{yes:?}");
        verdict
    }

    #[test]
    fn of_several_alike_as_many_are_right_as_are_there() {
        check(&["a red apple", "2 red apples", "an apple", "a cup"], &[Right, Right, Right]);
        check(&["a red apple", "an apple"], &[Right, Missing, Missing]);
        let green = check(&["an apple"], &[WrongAttribute, Missing, Missing]);
        assert_eq!(green.objects[0].seen_as.as_deref(), Some("an apple"));
    }

    #[test]
    fn surplus_and_what_must_not_be_there_are_somewhere() {
        let verdict = check(&["red apple", "a cup", "one cup", "a dog"], &[Right, Right, Right]);
        assert_eq!((verdict.extra[0].phrase.as_str(), verdict.excluded[0].phrase.as_str()), ("a cup", "a dog"));
        assert_eq!(verdict.extra[0].bbox.width(), 512.0);
        assert!(!verdict.is_right());
        // Which of the two apples is left of the cup nobody can ask.
        assert!(verdict.relations.iter().all(|relation| relation.state == RelationState::Unsure));
    }

    #[test]
    fn of_what_is_not_there_no_relation_fails() {
        let program = program("a cat to the left of a dog", "('a cat', [0, 0, 9, 9]), ('a dog', [20, 0, 9, 9])");
        let state = |yes: &[&str]| {
            let is_yes = |question: &str| yes.contains(&question);
            verdict(&program, Thresholds::ANSWERS, is_yes).relations[0].state
        };
        let (cat, dog) = ("Is there a cat in this picture?", "Is there a dog in this picture?");
        assert_eq!(state(&[cat]), RelationState::Unsure);
        assert_eq!(state(&[cat, dog]), RelationState::Fail);
        assert_eq!(state(&[cat, dog, "Is the cat to the left of the dog in this picture?"]), RelationState::Pass);
    }

    #[test]
    fn what_must_not_be_there_is_not_too_much_besides() {
        let answer = "[('a cup', [0, 0, 9, 9])]\nBackground prompt: A table\nNegative prompt: red cups";
        let program = Program::compile(&sinopia_layout::parse_answer(answer).unwrap(), None);
        let verdict = verdict(&program, Thresholds::ANSWERS, |_| true);
        assert_eq!((verdict.extra.len(), verdict.excluded.len()), (0, 1));
    }
}
