//! The verdict of an evaluator that sees boxes.
//!
//! Every kind is looked for, those whose colour matters in every colour ([`queries`]); what is seen becomes things ([`things`]); things are given to the wanted objects so that the whole fits
//! best; what is left over is too much.

use sinopia_eval::{ImageSize, Prediction};
use sinopia_layout::PixelBox;

use super::colours::are_rivals;
use super::program::{ExcludedThing, WantedObject};
use super::queries::{Asked, with_article};
use super::relations::judge;
use super::things::{KindSeen, Thing, things};
use super::{ObjectState, ObjectVerdict, Program, RelationVerdict, SeenThing, Thresholds, Verdict};
use crate::assignment::assign;

/// What a detector's predictions for `asked` say of a picture of that size. Nothing is said of kinds that it does not know.
pub(super) fn verdict(
    program: &Program,
    thresholds: Thresholds,
    asked: &[Asked],
    predictions: &[Prediction],
    size: ImageSize,
    knows: impl Fn(usize) -> bool,
) -> Verdict {
    let things = things(program, asked, predictions, size, thresholds);
    let seen = Seen { program, thresholds, things: &things };
    let matches = seen.assign();
    let is_anothers = |index: usize| matches.iter().flatten().any(|found| found.thing == index);
    let objects = program.objects().iter().zip(&matches).map(|(object, found)| match found {
        Some(found) => seen.found(object, found),
        None if !knows(object.kind) => unknown_object(object),
        None => ObjectVerdict { score: seen.nearest(object, is_anothers), ..missing(object) },
    });
    let objects: Vec<ObjectVerdict> = objects.collect();
    // What an object only may be is judged by what it surely is.
    let taken: Vec<usize> = matches.iter().flatten().filter(|found| found.is_sure).map(|found| found.thing).collect();
    let (excluded, left) = seen.left(&taken).into_iter().partition(|seen_thing| seen.is_excluded(seen_thing));
    let relations = program.relations().iter().map(|wanted| {
        let place = |index: usize| objects.get(index).and_then(|object: &ObjectVerdict| object.detected);
        let state = judge(wanted.relation, place(wanted.subject), place(wanted.object), program.canvas());
        RelationVerdict { subject: wanted.subject, relation: wanted.relation, object: wanted.object, state }
    });
    let relations = relations.collect();
    Verdict {
        extra: seen.extra(left, &taken),
        excluded: seen.named(&excluded),
        relations,
        unknown: Vec::new(),
        objects,
        ..Verdict::of_nothing(thresholds)
    }
}

/// An object that the detector has no word for.
fn unknown_object(object: &WantedObject) -> ObjectVerdict {
    ObjectVerdict { state: ObjectState::Unsure, ..missing(object) }
}

fn missing(object: &WantedObject) -> ObjectVerdict {
    ObjectVerdict {
        phrase: object.phrase.clone(),
        bbox: object.bbox,
        state: ObjectState::Missing,
        score: 0.0,
        detected: None,
        iou: 0.0,
        seen_as: None,
    }
}

/// What is wanted, and what is there.
struct Seen<'a> {
    program: &'a Program,
    thresholds: Thresholds,
    things: &'a [Thing],
}

/// A thing that may be an object.
#[derive(Clone)]
struct Match<'a> {
    /// An index of [`Seen::things`].
    thing: usize,
    /// It, as the object's kind.
    seen: &'a KindSeen,
    /// Whether it surely is of that kind.
    is_sure: bool,
    place: Place,
    /// Of its box and the object's.
    iou: f64,
    look: Appearance,
}

impl<'a> Seen<'a> {
    /// For each object the thing that it is, if there is one.
    fn assign(&self) -> Vec<Option<Match<'a>>> {
        let objects = self.program.objects().iter();
        let mut matches: Vec<Vec<Option<Match<'_>>>> =
            objects.map(|object| (0..self.things.len()).map(|thing| self.matching(object, thing)).collect()).collect();
        let fits = matches
            .iter()
            .map(|row| row.iter().map(|found| found.as_ref().map_or(0.0, |found| self.fit(found))).collect());
        let fits: Vec<Vec<f64>> = fits.collect();
        let assigned = assign(&fits);
        matches.iter_mut().zip(assigned).map(|(row, thing)| row.get_mut(thing?)?.take()).collect()
    }

    /// A thing as an object; nothing where it is of another kind, or stands elsewhere and is not surely of that kind.
    fn matching(&self, object: &WantedObject, thing: usize) -> Option<Match<'a>> {
        let (index, thing) = (thing, &self.things[thing]);
        let seen = thing.as_kind(object.kind)?;
        let iou = object.bbox.clipped_to(self.program.canvas()).iou(&seen.bbox);
        let place = self.place(object, &seen.bbox, iou);
        let is_sure = seen.score >= self.thresholds.sure && self.program.are_kin(thing.top().kind, object.kind);
        let may_be = is_sure || place != Place::Elsewhere;
        may_be.then(|| Match { thing: index, seen, is_sure, place, iou, look: self.look(object, thing, seen) })
    }

    /// How well a thing fits an object. A sure thing fits better than a faint one, wherever it is; then its place counts, then its colour, then its score.
    fn fit(&self, found: &Match<'_>) -> f64 {
        let base = if found.is_sure { 4.0 } else { 1.0 };
        let place = if self.program.is_placed() { found.iou } else { 0.0 };
        let look = if found.look.is_own { 1.0 } else { 0.0 };
        base + place + 0.5 * look + 0.1 * found.seen.score
    }

    /// What became of an object that is this thing.
    fn found(&self, object: &WantedObject, found: &Match<'_>) -> ObjectVerdict {
        let look = &found.look;
        let state = match () {
            () if !found.is_sure => ObjectState::Unsure,
            () if found.place == Place::Elsewhere => ObjectState::Misplaced,
            () if look.other.is_some() => ObjectState::WrongAttribute,
            () if look.is_own && found.place == Place::Right => ObjectState::Right,
            () => ObjectState::Unsure,
        };
        let (detected, seen_as) = (Some(found.seen.bbox), look.other.clone());
        ObjectVerdict { state, score: look.score, detected, iou: found.iou, seen_as, ..missing(object) }
    }

    /// How nearly an object is there that is not: the score of the likeliest thing of its kind that is no other object.
    fn nearest(&self, object: &WantedObject, is_anothers: impl Fn(usize) -> bool) -> f64 {
        let free = self.things.iter().enumerate().filter(|(index, _)| !is_anothers(*index));
        let scores = free.filter_map(|(_, thing)| Some(self.look(object, thing, thing.as_kind(object.kind)?).score));
        scores.fold(0.0, f64::max)
    }

    /// Its centre lies in the object's box, and it overlaps it well. Of several in one box, one is somewhere in it.
    fn place(&self, object: &WantedObject, bbox: &PixelBox, iou: f64) -> Place {
        match () {
            () if !self.program.is_placed() => Place::Right,
            () if !holds_centre(&object.bbox, bbox) => Place::Elsewhere,
            () if object.is_several || iou >= self.thresholds.min_iou => Place::Right,
            () if iou >= self.thresholds.elsewhere_iou => Place::Unsure,
            () => Place::Elsewhere,
        }
    }

    /// Whether a thing looks as an object should: in its colour, and in none in which nothing of its kind may be.
    fn look(&self, object: &WantedObject, thing: &Thing, seen: &KindSeen) -> Appearance {
        let is_own = |colour: &str| object.colours.iter().any(|own| own == colour);
        if let Some(forbidden) = self.forbidden(thing, is_own) {
            return Appearance { is_own: false, other: Some(forbidden), score: 0.0 };
        }
        if object.colours.is_empty() {
            return Appearance { is_own: true, other: None, score: seen.score };
        }
        let is_rival = |colour: &str| object.colours.iter().all(|own| are_rivals(own, colour));
        let own = seen.best_of(is_own).map_or(0.0, |(_, score)| score);
        let (rival, of_rival) = seen.best_of(is_rival).unwrap_or(("", 0.0));
        let Thresholds { present, sure, margin, .. } = self.thresholds;
        let is_other = of_rival >= sure && of_rival - own >= margin;
        let other = is_other.then(|| with_article(&format!("{rival} {}", self.name(seen))));
        Appearance { is_own: own >= present && own - of_rival >= margin, other, score: own }
    }

    /// What a thing surely is that must not be there, unless that is one of an object's own colours: `a red cup` where a cup is wanted and no red cups.
    fn forbidden(&self, thing: &Thing, is_own: impl Fn(&str) -> bool) -> Option<String> {
        let mut excluded = self.program.excluded().iter();
        let is_own = |excluded: &ExcludedThing| excluded.colours.iter().any(|colour| is_own(colour));
        let is_it = excluded.any(|excluded| !is_own(excluded) && self.is_of_excluded(excluded, thing.top()));
        is_it.then(|| self.seen_thing(thing.top()).phrase)
    }

    /// What surely is there beside the things that objects have, by descending score.
    fn left(&self, taken: &[usize]) -> Vec<&'a KindSeen> {
        let left = self.things.iter().enumerate().filter(|(index, _)| !taken.contains(index));
        left.map(|(_, thing)| thing.top()).filter(|seen| seen.score >= self.thresholds.sure).collect()
    }

    /// Of what is left, things that are too many: of a wanted kind, and no doubles of one that an object has.
    fn extra(&self, left: Vec<&KindSeen>, taken: &[usize]) -> Vec<SeenThing> {
        let is_double = |seen: &KindSeen| {
            let mut kinds = taken.iter().flat_map(|thing| &self.things[*thing].kinds);
            kinds.any(|other| self.program.are_kin(other.kind, seen.kind) && seen.is_double_of(&other.bbox))
        };
        let objects = self.program.objects();
        let is_wanted = |kind: usize| {
            let mut of_kind = objects.iter().filter(|object| self.program.are_kin(object.kind, kind)).peekable();
            of_kind.peek().is_some() && of_kind.all(|object| !object.is_several)
        };
        let extra: Vec<&KindSeen> = left.into_iter().filter(|seen| is_wanted(seen.kind) && !is_double(seen)).collect();
        self.named(&extra)
    }

    /// Whether it surely must not be there.
    fn is_excluded(&self, seen: &KindSeen) -> bool {
        self.program.excluded().iter().any(|excluded| self.is_of_excluded(excluded, seen))
    }

    /// Whether a thing surely is of an excluded kind, and of the colour where only things of a colour are excluded. Whether other details are its own nobody sees.
    fn is_of_excluded(&self, excluded: &ExcludedThing, seen: &KindSeen) -> bool {
        let is_own = |colour: &str| excluded.colours.iter().any(|own| own == colour);
        let own = seen.best_of(is_own).map_or(0.0, |(_, score)| score);
        let other = seen.best_of(|colour| !is_own(colour)).map_or(0.0, |(_, score)| score);
        let Thresholds { sure, margin, .. } = self.thresholds;
        let is_coloured = excluded.colours.is_empty() || (own >= sure && own - other >= margin);
        excluded.kind == seen.kind && excluded.details.is_empty() && seen.score >= sure && is_coloured
    }

    fn named(&self, seen: &[&KindSeen]) -> Vec<SeenThing> {
        seen.iter().map(|seen| self.seen_thing(seen)).collect()
    }

    fn seen_thing(&self, seen: &KindSeen) -> SeenThing {
        let colour = seen.best_of(|_| true).filter(|(_, score)| *score >= self.thresholds.sure);
        let name = self.name(seen);
        let phrase = with_article(&colour.map_or_else(|| name.to_owned(), |(colour, _)| format!("{colour} {name}")));
        SeenThing { phrase, bbox: seen.bbox, score: seen.score }
    }

    fn name(&self, seen: &KindSeen) -> &str {
        &self.program.kinds()[seen.kind].name
    }
}

/// Whether a thing is in an object's box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Right,
    Unsure,
    Elsewhere,
}

/// How a thing looks beside what an object should look like.
#[derive(Clone)]
struct Appearance {
    /// Whether its own colour leads all others, or no colour is wanted.
    is_own: bool,
    /// What it surely looks like instead: `a green apple`.
    other: Option<String>,
    /// The score of its own colour, or of the thing.
    score: f64,
}

fn holds_centre(bbox: &PixelBox, of: &PixelBox) -> bool {
    let (x, y) = of.center();
    (bbox.x()..=bbox.right()).contains(&x) && (bbox.y()..=bbox.bottom()).contains(&y)
}

#[cfg(test)]
mod tests {
    use super::super::RelationState;
    use super::super::queries::queries;
    use super::super::testing::bbox;
    use super::*;
    use ObjectState::*;

    /// A picture as large as the canvas, of which a detector predicts these.
    struct Picture {
        program: Program,
        predictions: Vec<Prediction>,
    }

    impl Picture {
        fn of(caption: &str, boxes: &str, negative: &str) -> Self {
            let answer = format!("[{boxes}]\nBackground prompt: A table\nNegative prompt: {negative}");
            let layout = sinopia_layout::parse_answer(&answer).unwrap();
            Self { program: Program::compile(&layout, Some(caption)), predictions: Vec::new() }
        }

        fn with(mut self, words: &str, score: f64, sides: [f64; 4]) -> Self {
            let label = format!("a photo of {}", with_article(words));
            self.predictions.push(Prediction { label, score, bbox: bbox(sides) });
            self
        }

        fn verdict(&self) -> Verdict {
            let (asked, size) = (queries(&self.program), ImageSize { width: 512, height: 512 });
            verdict(&self.program, THRESHOLDS, &asked, &self.predictions, size, |_| true)
        }

        #[track_caller]
        fn check(&self, states: &[ObjectState], extra: &[&str], excluded: &[&str]) -> Verdict {
            let verdict = self.verdict();
            let phrases = |seen: &[SeenThing]| seen.iter().map(|seen| seen.phrase.clone()).collect::<Vec<_>>();
            assert_eq!(verdict.objects.iter().map(|object| object.state).collect::<Vec<_>>(), states);
            assert_eq!((phrases(&verdict.extra), phrases(&verdict.excluded)), (strings(extra), strings(excluded)));
            verdict
        }
    }

    const THRESHOLDS: Thresholds =
        Thresholds { present: 0.15, sure: 0.5, min_iou: 0.3, elsewhere_iou: 0.2, margin: 0.1 };
    const A: [f64; 4] = [0.0, 0.0, 200.0, 200.0];
    const B: [f64; 4] = [300.0, 0.0, 200.0, 200.0];
    const C: [f64; 4] = [0.0, 300.0, 200.0, 200.0];

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn cat() -> Picture {
        Picture::of("", "('a cat', [0, 0, 200, 200])", "")
    }

    #[test]
    fn one_thing_is_right_unsure_missing_or_elsewhere() {
        cat().with("cat", 0.9, A).check(&[Right], &[], &[]);
        cat().with("cat", 0.3, A).check(&[Unsure], &[], &[]);
        cat().with("cat", 0.9, B).check(&[Misplaced], &[], &[]);
        cat().with("cat", 0.9, [90.0, 90.0, 30.0, 30.0]).check(&[Misplaced], &[], &[]);
        cat().with("cat", 0.9, [50.0, 50.0, 100.0, 100.0]).check(&[Unsure], &[], &[]); // a quarter of its box
        cat().check(&[Missing], &[], &[]);
        let faint = cat().with("cat", 0.3, B).check(&[Missing], &[], &[]);
        assert_eq!((faint.objects[0].score, faint.objects[0].detected), (0.3, None), "how nearly it is there");
    }

    #[test]
    fn without_places_a_thing_is_right_wherever_it_is() {
        let picture = cat().with("cat", 0.9, B);
        let picture = Picture { program: picture.program.without_places(), predictions: picture.predictions };
        picture.check(&[Right], &[], &[]);
    }

    #[test]
    fn the_whole_fits_best_even_if_one_thing_would_fit_better_elsewhere() {
        // The first object overlaps both things, the second one of them alone.
        let two = Picture::of("", "('a cat', [0, 0, 200, 200]), ('a cat', [0, 60, 200, 200])", "");
        let verdict =
            two.with("cat", 0.9, [0.0, 40.0, 200.0, 200.0]).with("cat", 0.9, [0.0, -90.0, 200.0, 200.0]).verdict();
        let tops: Vec<f64> = verdict.objects.iter().map(|object| object.detected.unwrap().y()).collect();
        assert_eq!(tops, [0.0, 40.0]);
    }

    #[test]
    fn a_sure_thing_elsewhere_is_the_object_rather_than_a_faint_one_in_its_place() {
        cat().with("cat", 0.3, A).with("cat", 0.9, B).check(&[Misplaced], &[], &[]);
    }

    #[test]
    fn a_colour_is_told_by_its_lead_over_the_others() {
        let apple = || Picture::of("", "('a red apple', [0, 0, 200, 200])", "").with("apple", 0.9, A);
        apple().with("red apple", 0.9, A).with("orange apple", 0.4, A).check(&[Right], &[], &[]);
        let green = apple().with("red apple", 0.3, A).with("green apple", 0.9, A).check(&[WrongAttribute], &[], &[]);
        assert_eq!(green.objects[0].seen_as.as_deref(), Some("a green apple"));
        assert_eq!(green.objects[0].score, 0.3, "of what was wanted");
        apple().with("red apple", 0.8, A).with("orange apple", 0.75, A).check(&[Unsure], &[], &[]);
        apple().check(&[Unsure], &[], &[]);
        apple().with("green apple", 0.4, A).check(&[Unsure], &[], &[]);
    }

    #[test]
    fn things_of_two_colours_go_to_the_objects_of_those_colours() {
        let apples = "('a red apple', [0, 0, 200, 200]), ('a green apple', [300, 0, 200, 200])";
        let picture = |red, green| {
            let at = |picture: Picture, colour: &str, place| {
                picture.with("apple", 0.9, place).with(&format!("{colour} apple"), 0.9, place)
            };
            at(at(Picture::of("", apples, ""), "red", red), "green", green)
        };
        picture(A, B).check(&[Right, Right], &[], &[]);
        picture(B, A).check(&[WrongAttribute, WrongAttribute], &[], &[]);
        let anywhere = picture(B, A);
        let anywhere = Picture { program: anywhere.program.without_places(), predictions: anywhere.predictions };
        anywhere.check(&[Right, Right], &[], &[]);
    }

    #[test]
    fn what_is_left_of_a_wanted_kind_is_too_much() {
        cat().with("cat", 0.9, A).with("cat", 0.8, B).with("cat", 0.3, C).check(&[Right], &["a cat"], &[]);
        let inside = cat().with("cat", 0.9, A).with("cat", 0.8, [20.0, 20.0, 40.0, 40.0]);
        inside.check(&[Right], &[], &[]); // a part of it
        let several = Picture::of("", "('two cats', [0, 0, 200, 200])", "").with("cat", 0.9, A).with("cat", 0.8, B);
        several.check(&[Right], &[], &[]);
    }

    #[test]
    fn what_must_not_be_there_is_found_by_kind_and_colour() {
        let picture = || Picture::of("a cat, no dogs", "('a cat', [0, 0, 200, 200])", "").with("cat", 0.9, A);
        picture().with("dog", 0.8, B).check(&[Right], &[], &["a dog"]);
        picture().with("dog", 0.4, B).check(&[Right], &[], &[]);
        picture().with("dog", 0.6, A).check(&[Right], &[], &[]); // it is a cat, by the higher score
        let cups = || Picture::of("a cat, no red cups", "('a cat', [0, 0, 200, 200])", "").with("cup", 0.9, B);
        cups().with("red cup", 0.9, B).check(&[Missing], &[], &["a red cup"]);
        cups().with("blue cup", 0.9, B).check(&[Missing], &[], &[]);
    }

    #[test]
    fn what_looks_more_like_something_else_is_unsure() {
        let pets = Picture::of("", "('a cat', [0, 0, 200, 200]), ('a dog', [300, 0, 200, 200])", "");
        // Of two dogs one is too many.
        pets.with("cat", 0.6, A).with("dog", 0.9, A).with("dog", 0.8, B).check(&[Unsure, Right], &["a dog"], &[]);
    }

    #[test]
    fn a_thing_that_stands_for_nothing_hides_nothing() {
        let no_dogs = || Picture::of("a cat, no dogs", "('a cat', [0, 0, 200, 200])", "");
        // A dog, and faintly a cat: elsewhere no cat at all, in its place perhaps one.
        no_dogs().with("dog", 0.9, B).with("cat", 0.2, B).check(&[Missing], &[], &["a dog"]);
        no_dogs().with("dog", 0.9, A).with("cat", 0.2, A).check(&[Unsure], &[], &["a dog"]);
        let pets = || Picture::of("", "('a cat', [0, 0, 200, 200]), ('a dog', [300, 0, 200, 200])", "");
        let surplus = pets().with("dog", 0.9, B).with("dog", 0.8, C).with("cat", 0.2, C);
        surplus.check(&[Missing, Right], &["a dog"], &[]);
        // What is surely the dog is not left to a cat that it hardly is.
        let one = pets().with("dog", 0.9, B).with("cat", 0.3, B).with("dog", 0.8, C);
        one.check(&[Missing, Right], &["a dog"], &[]);
    }

    #[test]
    fn one_thing_is_one_fault() {
        let cups = || Picture::of("", "('a cup', [0, 0, 200, 200])", "red cups").with("cup", 0.9, A);
        let red = cups().with("red cup", 0.9, A).check(&[WrongAttribute], &[], &[]);
        assert_eq!(red.objects[0].seen_as.as_deref(), Some("a red cup"));
        cups().with("blue cup", 0.9, A).check(&[Right], &[], &[]);
        // What must not be there is not too much besides.
        cups().with("cup", 0.9, B).with("red cup", 0.9, B).check(&[Right], &[], &["a red cup"]);
        let dog = Picture::of("", "('a dog', [0, 0, 200, 200])", "puppies").with("dog", 0.6, A);
        dog.with("puppy", 0.9, A).check(&[Unsure], &[], &["a puppy"]);
    }

    #[test]
    fn a_colour_does_not_lead_those_that_are_only_just_too_faint() {
        let apple = || Picture::of("", "('a red apple', [0, 0, 200, 200])", "").with("apple", 0.9, A);
        apple().with("red apple", 0.2, A).with("orange apple", 0.14, A).check(&[Unsure], &[], &[]);
        apple().with("red apple", 0.2, A).with("orange apple", 0.07, A).check(&[Right], &[], &[]);
        apple().with("red apple", 0.14, A).check(&[Unsure], &[], &[]); // it is too faint itself
        cat().with("cat", 0.14, A).check(&[Missing], &[], &[]);
        let green = apple().with("green apple", 0.5, A).with("red apple", 0.14, A).check(&[WrongAttribute], &[], &[]);
        assert_eq!(green.objects[0].score, 0.14);
    }

    #[test]
    fn relations_are_judged_by_what_was_seen() {
        let boxes = "('a cat', [0, 0, 200, 200]), ('a dog', [300, 0, 200, 200])";
        let picture = || Picture::of("a cat to the left of a dog", boxes, "");
        let state = |picture: Picture| picture.verdict().relations[0].state;
        assert_eq!(state(picture().with("cat", 0.9, A).with("dog", 0.9, B)), RelationState::Pass);
        assert_eq!(state(picture().with("cat", 0.9, B).with("dog", 0.9, A)), RelationState::Fail);
        assert_eq!(state(picture().with("cat", 0.9, B)), RelationState::Unsure);
    }

    #[test]
    fn predictions_that_make_no_sense_are_passed_over() {
        let picture = cat()
            .with("cat", f64::NAN, A)
            .with("cat", 0.9, [900.0, 900.0, 50.0, 50.0])
            .with("cat", 0.9, [10.0, 10.0, -5.0, 50.0])
            .with("unicorn", 0.9, A);
        picture.check(&[Missing], &[], &[]);
        let size = ImageSize { width: 0, height: 0 };
        let seen = cat().with("cat", 0.9, A);
        let verdict = verdict(&seen.program, THRESHOLDS, &queries(&seen.program), &seen.predictions, size, |_| true);
        assert_eq!(verdict.objects[0].state, Missing);
        let endless = cat().with("cat", f64::INFINITY, A).check(&[Right], &[], &[]);
        assert_eq!(endless.objects[0].score, 1.0);
    }

    #[test]
    fn what_the_detector_has_no_word_for_is_unsure() {
        let picture = cat();
        let size = ImageSize { width: 512, height: 512 };
        let verdict = verdict(&picture.program, THRESHOLDS, &[], &[], size, |_| false);
        assert_eq!(verdict.objects[0].state, Unsure);
    }
}
