//! From what somebody wants changed to operations: each object found, each box checked, nothing asked for twice.

use sinopia_diffusion::{Edit, Operation};
use sinopia_layout::limits::{BOXES, PHRASE_CHARS};
use sinopia_layout::{BBox, Canvas, Layout, LayoutObject, nouns, says_something};

use super::change::Direction;
use super::context::{EditContext, Object};
use super::diff::diff;
use super::find::{Finder, Found, is_determiner, objects_of};
use super::free_place::free_place;
use super::place::{Place, shown};
use super::seen::{AsSeen, IfAbsent, as_seen};
use super::{Change, EditError};
use crate::Result;
use crate::verdict::is_colour;

/// How much of its steps is taken again of what is recoloured, if nobody says. Who asks for another colour means to see it, at some risk to the shape: repairs begin
/// with [`Operation::RECOLOUR_STRENGTH`] and take more where that was not enough.
pub const DEFAULT_STRENGTH: f64 = 0.9;

/// How much longer the sides of something become that is to be larger. Its area doubles, nearly.
const LARGER: f64 = 1.35;

/// What will be done.
#[derive(Debug, Clone, PartialEq)]
pub struct EditPlan {
    /// To the picture, together.
    pub operations: Vec<Operation>,
    /// What the picture shows afterwards.
    pub layout: Layout,
    /// What whoever asked should know, in words: places that were found, boxes that were cut.
    pub notes: Vec<String>,
}

/// What makes a picture as `changes` want it.
///
/// # Errors
/// [`EditError`], for whatever cannot be done; those of who looks.
pub fn plan(changes: &[Change], context: EditContext, strength: f64) -> Result<EditPlan> {
    if changes.is_empty() {
        return Err(EditError::Nothing.into());
    }
    changes.iter().try_for_each(check_phrases)?;
    check_strength(strength)?;
    let mut planner = Planner::new(context, strength);
    let (new, of_objects): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| matches!(change, Change::Add { .. }));
    for change in of_objects {
        planner.take(change)?;
    }
    planner.settle()?;
    for change in new {
        if let Change::Add { phrase, place } = change {
            planner.add(phrase, place.as_deref())?;
        }
    }
    planner.finish()
}

/// What makes a picture one of another layout.
///
/// # Errors
/// [`EditError::NoChange`] if it is that already; [`EditError::TooMany`], [`EditError::Strength`].
pub fn plan_layout(new: &Layout, context: EditContext, strength: f64) -> Result<EditPlan> {
    check_strength(strength)?;
    let old = context.layout;
    let operations = diff(old, new, context.cell, strength);
    if operations.is_empty() {
        return Err(EditError::NoChange { why: "as the layout has it already".to_owned() }.into());
    }
    let mut notes = Vec::new();
    let ratio = |canvas: Canvas| f64::from(canvas.width()) / f64::from(canvas.height());
    if (ratio(old.canvas) / ratio(new.canvas) - 1.0).abs() > 0.01 {
        notes.push(format!(
            "the layout's canvas is {} and the picture's {}: boxes are stretched with the canvas",
            new.canvas, old.canvas
        ));
    }
    for (name, old, new) in
        [("background", &old.background, &new.background), ("negative caption", &old.negative, &new.negative)]
    {
        if old != new {
            notes.push(format!("the layout's {name} is another: only what is painted anew follows it"));
        }
    }
    let seen = as_seen(operations, context, IfAbsent::Tell)?;
    notes.extend(seen.notes);
    finished(EditPlan { operations: seen.operations, layout: new.clone(), notes })
}

fn finished(plan: EditPlan) -> Result<EditPlan> {
    let found = plan.operations.len();
    if found > Edit::MAX_OPERATIONS {
        return Err(EditError::TooMany { found, max: Edit::MAX_OPERATIONS }.into());
    }
    if plan.layout.objects.len() > BOXES {
        return Err(EditError::TooManyObjects { max: BOXES }.into());
    }
    Ok(plan)
}

fn check_phrases(change: &Change) -> Result<()> {
    let operation = change.flag();
    for phrase in change.phrases() {
        let found = phrase.chars().count();
        if !says_something(phrase) {
            return Err(EditError::EmptyPhrase { operation }.into());
        }
        if found > PHRASE_CHARS {
            return Err(EditError::LongPhrase { operation, found }.into());
        }
    }
    Ok(())
}

fn check_strength(strength: f64) -> Result<()> {
    match 0.0 < strength && strength <= 1.0 {
        true => Ok(()),
        false => Err(EditError::Strength { found: strength.to_string() }.into()),
    }
}

/// An object of the picture, and what is to become of it.
struct Subject {
    was: Object,
    /// Where it will be.
    bbox: BBox,
    /// What it is called afterwards.
    phrase: String,
    is_removed: bool,
    /// The changes of it, in order: at most one of each kind.
    changes: Vec<Change>,
    /// Its place in the layout, if it has one.
    listed: Option<usize>,
}

struct Planner<'a> {
    context: EditContext<'a>,
    strength: f64,
    objects: Vec<Object>,
    subjects: Vec<Subject>,
    operations: Vec<Operation>,
    added: Vec<Object>,
    /// Boxes of the layout's objects that were not only named but pointed at.
    pointed_at: Vec<BBox>,
    notes: Vec<String>,
}

impl<'a> Planner<'a> {
    fn new(context: EditContext<'a>, strength: f64) -> Self {
        Self {
            context,
            strength,
            objects: objects_of(context.layout),
            subjects: Vec::new(),
            operations: Vec::new(),
            added: Vec::new(),
            pointed_at: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn canvas(&self) -> Canvas {
        self.context.layout.canvas
    }

    /// One change of an object.
    fn take(&mut self, change: &Change) -> Result<()> {
        let typed = change.object().unwrap_or_default();
        let index = self.subject(typed)?;
        self.refuse_contradiction(index, change)?;
        match change {
            Change::Move { to, .. } => {
                let bbox = match Direction::parse(to) {
                    Some(direction) => Some(self.shifted(index, direction)?),
                    None => self.box_of(to)?,
                };
                let refused = |phrase, text| EditError::Destination { phrase, text };
                self.put(index, bbox, to, refused)?;
            }
            Change::Resize { to, .. } => {
                let bbox = match factor_of(to) {
                    Some(factor) => Some(self.scaled(index, factor)),
                    None => self.box_of(to)?,
                };
                let refused = |phrase, text| EditError::Size { phrase, text };
                self.put(index, bbox, to, refused)?;
            }
            Change::Remove { .. } => self.subjects[index].is_removed = true,
            Change::Recolour { phrase, .. } => {
                let phrase = recoloured(&self.subjects[index].was.phrase, phrase);
                self.rename(index, &phrase)?;
            }
            Change::Replace { phrase, .. } => self.rename(index, phrase)?,
            Change::Add { .. } => {}
        }
        self.subjects[index].changes.push(change.clone());
        Ok(())
    }

    /// The subject that was meant, which may have been changed before.
    fn subject(&mut self, typed: &str) -> Result<usize> {
        let finder = Finder { objects: &self.objects, canvas: self.canvas(), search: self.context.search };
        let (was, listed) = match finder.find(typed)? {
            Found::Listed(index) => (self.objects[index].clone(), Some(index)),
            Found::PointedAt(index) => {
                self.pointed_at.push(self.objects[index].bbox);
                (self.objects[index].clone(), Some(index))
            }
            Found::Seen(object) => (object, None),
        };
        let same = |subject: &Subject| match (subject.listed, listed) {
            (None, None) => self.context.cell.holds(&subject.was.bbox, &was.bbox),
            (a, b) => a == b,
        };
        if let Some(index) = self.subjects.iter().position(same) {
            return Ok(index);
        }
        let (bbox, phrase) = (was.bbox, was.phrase.clone());
        self.subjects.push(Subject { was, bbox, phrase, is_removed: false, changes: Vec::new(), listed });
        Ok(self.subjects.len() - 1)
    }

    /// An object can be put elsewhere, made larger and recoloured; whatever else is said of it twice cannot all be.
    fn refuse_contradiction(&self, index: usize, change: &Change) -> Result<()> {
        let subject = &self.subjects[index];
        let goes_with = |before: &Change| match (before, change) {
            (Change::Move { .. }, Change::Resize { .. }) | (Change::Resize { .. }, Change::Move { .. }) => {
                // A box says place and size at once.
                let is_box = |change: &Change| matches!(change, Change::Move { to, .. } | Change::Resize { to, .. } if Place::parse(to).is_some());
                !is_box(before) && !is_box(change)
            }
            (Change::Move { .. } | Change::Resize { .. }, Change::Recolour { .. })
            | (Change::Recolour { .. }, Change::Move { .. } | Change::Resize { .. }) => true,
            _ => false,
        };
        match subject.changes.iter().find(|before| !goes_with(before)) {
            None => Ok(()),
            Some(before) => Err(EditError::Contradiction {
                object: subject.was.phrase.clone(),
                first: before.participle(),
                second: change.participle(),
            }
            .into()),
        }
    }

    /// The subject's box from here on; `refused` is told of one that was not understood.
    fn put(
        &mut self,
        index: usize,
        bbox: Option<BBox>,
        text: &str,
        refused: impl FnOnce(String, String) -> EditError,
    ) -> Result<()> {
        let subject = &mut self.subjects[index];
        subject.bbox = bbox.ok_or_else(|| refused(subject.was.phrase.clone(), text.to_owned()))?;
        Ok(())
    }

    /// The box that somebody typed; nothing if it is none.
    fn box_of(&mut self, text: &str) -> Result<Option<BBox>> {
        let Some(place) = Place::parse(text) else { return Ok(None) };
        let (bbox, is_cut) = place.on(self.canvas())?;
        self.note_if_cut(is_cut, text);
        Ok(Some(bbox))
    }

    /// By its own width or height, as far as the picture goes.
    fn shifted(&self, index: usize, direction: Direction) -> Result<BBox> {
        let subject = &self.subjects[index];
        let BBoxSides { x0, y0, width, height } = BBoxSides::of(&subject.bbox);
        let (dx, dy, cell) = match direction {
            Direction::Left => (-width.min(x0), 0.0, self.context.cell.across),
            Direction::Right => (width.min(1.0 - x0 - width), 0.0, self.context.cell.across),
            Direction::Up => (0.0, -height.min(y0), self.context.cell.down),
            Direction::Down => (0.0, height.min(1.0 - y0 - height), self.context.cell.down),
        };
        if dx.abs().max(dy.abs()) < cell {
            let (phrase, edge) = (subject.was.phrase.clone(), direction.edge());
            return Err(EditError::AtEdge { phrase, edge }.into());
        }
        Ok(BBoxSides { x0: x0 + dx, y0: y0 + dy, width, height }.inside().unwrap_or(subject.bbox))
    }

    /// Larger or smaller. Things stand: what grows, grows upwards.
    fn scaled(&self, index: usize, factor: f64) -> BBox {
        let bbox = self.subjects[index].bbox;
        let BBoxSides { x0, y0, width, height } = BBoxSides::of(&bbox);
        let (wide, high) = ((width * factor).min(1.0), (height * factor).min(1.0));
        let scaled = BBoxSides { x0: x0 + (width - wide) / 2.0, y0: y0 + height - high, width: wide, height: high };
        scaled.inside().unwrap_or(bbox)
    }

    fn rename(&mut self, index: usize, phrase: &str) -> Result<()> {
        let subject = &mut self.subjects[index];
        if sinopia_layout::names::folded(&subject.was.phrase) == sinopia_layout::names::folded(phrase) {
            return Err(EditError::SameAsBefore { phrase: phrase.trim().to_owned() }.into());
        }
        subject.phrase = phrase.trim().to_owned();
        Ok(())
    }

    /// What all changes of objects come to, as operations.
    fn settle(&mut self) -> Result<()> {
        for subject in &self.subjects {
            if subject.is_removed {
                let Object { phrase, bbox } = subject.was.clone();
                self.operations.push(Operation::Remove { phrase, bbox });
                continue;
            }
            let is_moved = !self.context.cell.holds(&subject.was.bbox, &subject.bbox);
            if is_moved {
                let phrase = subject.was.phrase.clone();
                self.operations.push(Operation::Move { phrase, from: subject.was.bbox, to: subject.bbox });
            }
            let as_it_is = Object { phrase: subject.phrase.clone(), bbox: subject.bbox };
            match subject
                .changes
                .iter()
                .find(|change| matches!(change, Change::Recolour { .. } | Change::Replace { .. }))
            {
                // What was asked for counts, whatever the nouns say.
                Some(Change::Replace { .. }) => {
                    self.operations.push(Operation::Replace { phrase: as_it_is.phrase, bbox: as_it_is.bbox });
                }
                Some(_) => self.operations.push(Operation::Recolour {
                    phrase: as_it_is.phrase,
                    bbox: as_it_is.bbox,
                    strength: self.strength,
                }),
                None if !is_moved => {
                    let why = format!("such that `{}` stands there, to within a cell of 8 pixels", subject.was.phrase);
                    return Err(EditError::NoChange { why }.into());
                }
                None => {}
            }
        }
        Ok(())
    }

    /// As many things as the words count, each where there is room; one in a box.
    fn add(&mut self, phrase: &str, place: Option<&str>) -> Result<()> {
        let phrase = phrase.trim();
        match (counted(phrase), place) {
            (None, _) => self.add_one(phrase, place),
            (Some(_), Some(_)) => Err(EditError::Several { phrase: phrase.to_owned() }.into()),
            (Some(Counted { count, one }), None) => (0..count).try_for_each(|_| self.add_one(&one, None)),
        }
    }

    fn add_one(&mut self, phrase: &str, place: Option<&str>) -> Result<()> {
        let bbox = match place {
            Some(text) => {
                let (bbox, is_cut) = Place::read(text, self.canvas())?.on(self.canvas())?;
                self.note_if_cut(is_cut, text);
                bbox
            }
            None => {
                let there: Vec<Object> = self.objects_after();
                let no_room = || EditError::NoRoom { phrase: phrase.to_owned() };
                let bbox = free_place(phrase, self.context.layout, &there).ok_or_else(no_room)?;
                let room = match self.context.layout.objects.is_empty() {
                    true => {
                        "the picture's file says nothing of what is where, so that it may cover something: a box X,Y,W,H says where"
                    }
                    false => "where there is room",
                };
                self.notes.push(format!("`{phrase}` comes to {}, {room}", shown(&bbox, self.canvas())));
                bbox
            }
        };
        let object = Object { phrase: phrase.to_owned(), bbox };
        self.operations.push(Operation::Add { phrase: object.phrase.clone(), bbox });
        self.added.push(object);
        Ok(())
    }

    fn note_if_cut(&mut self, is_cut: bool, text: &str) {
        if is_cut {
            self.notes.push(format!("the box {} was cut at the edge of the {} canvas", text.trim(), self.canvas()));
        }
    }

    /// What is where afterwards.
    fn objects_after(&self) -> Vec<Object> {
        let changed = |index: usize| self.subjects.iter().find(|subject| subject.listed == Some(index));
        let after = |subject: &Subject| {
            let object = Object { phrase: subject.phrase.clone(), bbox: subject.bbox };
            (!subject.is_removed).then_some(object)
        };
        let listed = self.objects.iter().enumerate().filter_map(|(index, object)| match changed(index) {
            Some(subject) => after(subject),
            None => Some(object.clone()),
        });
        let seen = self.subjects.iter().filter(|subject| subject.listed.is_none()).filter_map(after);
        listed.chain(seen).chain(self.added.iter().cloned()).collect()
    }

    fn finish(self) -> Result<EditPlan> {
        let canvas = self.canvas();
        let object =
            |Object { phrase, bbox }: Object| LayoutObject { phrase, bbox: bbox.to_pixels(canvas).rounded(canvas) };
        let after = self.objects_after();
        let covered = self.operations.iter().flat_map(|operation| covers(operation, &after));
        let notes = self.notes.iter().cloned().chain(covered).collect();
        let objects = after.iter().cloned().map(object).collect();
        let layout = Layout { objects, ..self.context.layout.clone() };
        let AsSeen { operations, .. } = as_seen(self.operations, self.context, IfAbsent::Refuse(&self.pointed_at))?;
        finished(EditPlan { operations, layout, notes })
    }
}

/// What an object is called in another colour: as it was typed, or, of a colour alone, by its own words.
fn recoloured(phrase: &str, typed: &str) -> String {
    let is_colours = |words: &str| words.split_whitespace().all(|word| is_colour(&word.to_lowercase()));
    if !is_colours(typed) {
        return typed.to_owned();
    }
    let colour = typed.trim().to_lowercase();
    let (determiners, rest): (Vec<&str>, Vec<&str>) = phrase
        .split_whitespace()
        .filter(|word| !is_colours(word))
        .partition(|word| is_determiner(&word.to_lowercase()));
    let determiner = match determiners.first() {
        Some(&("a" | "an" | "A" | "An")) => Some(nouns::article(&colour)),
        other => other.copied(),
    };
    determiner.into_iter().chain([colour.as_str()]).chain(rest).collect::<Vec<_>>().join(" ")
}

/// What an object that comes to a place hides there, in words: most of which its box holds.
fn covers(operation: &Operation, after: &[Object]) -> Vec<String> {
    const MOST: f64 = 0.5;
    let (Operation::Add { phrase, bbox } | Operation::Move { phrase, to: bbox, .. }) = operation else {
        return Vec::new();
    };
    let others = after.iter().filter(|other| other.bbox != *bbox);
    let hidden = others.filter(|other| bbox.intersection(&other.bbox) > MOST * other.bbox.area());
    hidden.map(|other| format!("`{phrase}` covers `{}`", other.phrase)).collect()
}

/// Several things of a kind.
#[derive(Debug, PartialEq)]
struct Counted {
    count: usize,
    /// One of them, in words.
    one: String,
}

/// `two red balls` as what they are one by one: a number from two on before a plural.
fn counted(phrase: &str) -> Option<Counted> {
    let (first, rest) = phrase.split_once(char::is_whitespace)?;
    let rest = rest.trim();
    let number = first.to_lowercase();
    let count =
        (2..=Edit::MAX_OPERATIONS).find(|count| nouns::number_word(*count) == number || count.to_string() == number)?;
    let one = nouns::singular(rest);
    (one != rest).then(|| Counted { count, one: format!("{} {one}", nouns::article(&one)) })
}

/// What a word of size makes of something's sides.
fn factor_of(text: &str) -> Option<f64> {
    match text.trim().to_lowercase().as_str() {
        "larger" | "bigger" | "large" | "big" => Some(LARGER),
        "smaller" | "small" => Some(1.0 / LARGER),
        _ => None,
    }
}

/// A box as its corner and its sides.
struct BBoxSides {
    x0: f64,
    y0: f64,
    width: f64,
    height: f64,
}

impl BBoxSides {
    fn of(bbox: &BBox) -> Self {
        Self { x0: bbox.x0(), y0: bbox.y0(), width: bbox.width(), height: bbox.height() }
    }

    /// Brought inside the picture; nothing if it has no area.
    fn inside(self) -> Option<BBox> {
        let Self { width, height, .. } = self;
        let (x0, y0) = (self.x0.clamp(0.0, 1.0 - width), self.y0.clamp(0.0, 1.0 - height));
        BBox::new(x0, y0, (x0 + width).min(1.0), (y0 + height).min(1.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::PixelBox;

    use super::*;
    use crate::Error;
    use crate::editing::Cell;

    fn layout() -> Layout {
        let object = |(phrase, [x, y, w, h]): (&str, [f64; 4])| LayoutObject {
            phrase: phrase.to_owned(),
            bbox: PixelBox::new(x, y, w, h).unwrap(),
        };
        let objects = [
            ("a red apple", [32.0, 320.0, 96.0, 96.0]),
            ("a blue dog", [256.0, 192.0, 192.0, 256.0]),
            ("a bowl", [160.0, 384.0, 80.0, 64.0]),
        ];
        let (background, negative) = ("a photo of a table".to_owned(), String::new());
        Layout { canvas: Canvas::PUBLISHED, objects: objects.into_iter().map(object).collect(), background, negative }
    }

    fn context(layout: &Layout) -> EditContext<'_> {
        EditContext { layout, cell: Cell { across: 1.0 / 64.0, down: 1.0 / 64.0 }, search: None }
    }

    fn changes(lines: &[&[&str]]) -> Vec<Change> {
        let change = |line: &&[&str]| {
            let word = |index: usize| line[index].to_owned();
            match line[0] {
                "move" => Change::Move { object: word(1), to: word(2) },
                "remove" => Change::Remove { object: word(1) },
                "resize" => Change::Resize { object: word(1), to: word(2) },
                "recolour" => Change::Recolour { object: word(1), phrase: word(2) },
                "replace" => Change::Replace { object: word(1), phrase: word(2) },
                _ => Change::Add { phrase: word(1), place: line.get(2).map(|place| (*place).to_owned()) },
            }
        };
        lines.iter().map(change).collect()
    }

    #[test]
    fn a_colour_alone_is_the_objects_new_one() {
        for (phrase, typed, expected) in [
            ("a blue dog", "green", "a green dog"),
            ("a dog", "Orange", "an orange dog"),
            ("the big red balls", "navy", "the navy big balls"),
            ("white bowl", "black", "black bowl"),
            ("a blue dog", "a green cat", "a green cat"),
            ("a blue dog", "wooden", "wooden"),
        ] {
            assert_eq!(recoloured(phrase, typed), expected);
        }
    }

    #[test]
    fn what_is_covered_is_told_and_what_is_unknown_too() {
        let layout = layout();
        let over = [&["add", "a hat", "150,370,100,90"][..]];
        let covering = plan(&changes(&over), context(&layout), DEFAULT_STRENGTH).unwrap();
        assert_eq!(covering.notes, ["`a hat` covers `a bowl`"]);
        let empty = Layout { objects: Vec::new(), ..layout };
        let blind = plan(&changes(&[&["add", "a hat"]]), context(&empty), DEFAULT_STRENGTH).unwrap();
        assert!(blind.notes[0].contains("says nothing of what is where"), "{:?}", blind.notes);
    }

    /// Operations as lines, boxes in pixels of the canvas.
    fn told(plan: &EditPlan) -> Vec<String> {
        let at = |bbox: &BBox| shown(bbox, Canvas::PUBLISHED);
        let line = |operation: &Operation| match operation {
            Operation::Move { phrase, from, to } => format!("move {phrase} {} to {}", at(from), at(to)),
            Operation::Add { phrase, bbox }
            | Operation::Remove { phrase, bbox }
            | Operation::Replace { phrase, bbox }
            | Operation::Recolour { phrase, bbox, .. } => format!("{} {phrase} {}", operation.name(), at(bbox)),
        };
        plan.operations.iter().map(line).collect()
    }

    #[track_caller]
    fn planned(lines: &[&[&str]]) -> EditPlan {
        plan(&changes(lines), context(&layout()), DEFAULT_STRENGTH).unwrap()
    }

    #[track_caller]
    fn refused(lines: &[&[&str]]) -> String {
        match plan(&changes(lines), context(&layout()), DEFAULT_STRENGTH) {
            Err(error @ Error::Editing(_)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_change_is_an_operation_and_the_layout_follows() {
        let plan = planned(&[
            &["move", "the apple", "right"],
            &["remove", "bowl"],
            &["recolour", "dog", "a green dog"],
            &["add", "a hat", "300,100,90,80"],
        ]);
        let expected = [
            "move a red apple 32,320,96,96 to 128,320,96,96",
            "remove a bowl 160,384,80,64",
            "recolour a green dog 256,192,192,256",
            "add a hat 300,100,90,80",
        ];
        assert_eq!(told(&plan), expected);
        let after: Vec<&str> = plan.layout.objects.iter().map(|object| object.phrase.as_str()).collect();
        assert_eq!(after, ["a red apple", "a green dog", "a hat"]);
        assert_eq!((plan.layout.objects[0].bbox.x(), plan.layout.background.as_str()), (128.0, "a photo of a table"));
        assert!(plan.layout.is_inside_canvas() && plan.notes.is_empty(), "{plan:?}");
    }

    #[test]
    fn things_move_as_far_as_the_picture_goes() {
        assert_eq!(
            told(&planned(&[&["move", "dog", "right"]])),
            ["move a blue dog 256,192,192,256 to 320,192,192,256"]
        );
        assert_eq!(told(&planned(&[&["move", "dog", "UP"]])), ["move a blue dog 256,192,192,256 to 256,0,192,256"]);
        let bottom: &[&[&str]] = &[&["move", "bowl", "160,448,80,64"]];
        assert_eq!(told(&planned(bottom)), ["move a bowl 160,384,80,64 to 160,448,80,64"]);
        let mut there = layout();
        there.objects[2].bbox = PixelBox::new(160.0, 448.0, 80.0, 64.0).unwrap();
        let error = plan(&changes(&[&["move", "bowl", "down"]]), context(&there), 0.6).unwrap_err().to_string();
        assert!(error.contains("`a bowl` is at the bottom of the picture already"), "{error}");
    }

    #[test]
    fn what_grows_stays_on_its_ground() {
        assert_eq!(
            told(&planned(&[&["resize", "apple", "larger"]])),
            ["move a red apple 32,320,96,96 to 15,286,130,130"]
        );
        let smaller = told(&planned(&[&["resize", "dog", "smaller"]]));
        assert_eq!(smaller, ["move a blue dog 256,192,192,256 to 281,258,142,190"]);
        assert!(refused(&[&["resize", "dog", "purple"]]).contains("larger, smaller or a box"));
        // The largest there is.
        let huge = planned(&[&["resize", "dog", "0,0,9000,9000"]]);
        assert_eq!(told(&huge), ["move a blue dog 256,192,192,256 to 0,0,512,512"]);
        assert_eq!(huge.notes[0], "the box 0,0,9000,9000 was cut at the edge of the 512×512 canvas");
        assert_eq!(huge.notes[1..], ["`a blue dog` covers `a red apple`", "`a blue dog` covers `a bowl`"]);
    }

    #[test]
    fn an_object_can_be_moved_resized_and_recoloured_at_once() {
        let plan =
            planned(&[&["resize", "apple", "larger"], &["move", "apple", "right"], &["recolour", "apple", "a pear"]]);
        assert_eq!(
            told(&plan),
            ["move a red apple 32,320,96,96 to 145,286,130,130", "recolour a pear 145,286,130,130"]
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for (lines, words) in [
            ([&["remove", "dog"][..], &["move", "dog", "left"]], "`a blue dog` is to be removed and moved"),
            ([&["remove", "dog"], &["remove", "the blue dog"]], "removed and removed"),
            ([&["replace", "dog", "a cat"], &["recolour", "dog", "a red dog"]], "replaced and recoloured"),
            ([&["move", "dog", "left"], &["move", "dog", "right"]], "moved and moved"),
            ([&["move", "dog", "0,0,50,50"], &["resize", "dog", "larger"]], "moved and resized"),
        ] {
            let message = refused(&lines);
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn what_changes_nothing_or_says_nothing_is_refused() {
        for (line, words) in [
            (&["recolour", "dog", " A blue dog"][..], "`A blue dog` is what it is already"),
            (&["move", "dog", "256,192,193,256"], "to within a cell"),
            (&["move", "dog", "sideways"], "left, right, up, down or a box X,Y,W,H"),
            (&["move", "dog", "600,0,10,10"], "lies outside the picture"),
            (&["add", "a hat", "0,0,-5,10"], "is no box"),
            (&["add", "a hat", "here"], "is no box"),
            (&["add", " "], "`--add`: the phrase is empty"),
            (&["remove", ""], "`--remove`: the phrase is empty"),
            (&["remove", "unicorn"], "there is no `unicorn`"),
        ] {
            let message = refused(&[line]);
            assert!(message.contains(words), "{line:?}: {message}");
        }
        assert!(refused(&[]).contains("there is nothing to do yet"));
        assert!(refused(&[&["add", &"x".repeat(301)]]).contains("301 characters"));
        let error = plan(&changes(&[&["remove", "dog"]]), context(&layout()), 1.5).unwrap_err().to_string();
        assert!(error.contains("`--strength` is 1.5"), "{error}");
    }

    #[test]
    fn a_place_is_found_for_what_is_added_without_one() {
        let plan = planned(&[&["remove", "dog"], &["add", "a blue cup"]]);
        let [_, Operation::Add { bbox, .. }] = plan.operations.as_slice() else { panic!("{plan:?}") };
        let apple = BBox::new(0.0625, 0.625, 0.25, 0.8125).unwrap();
        assert!(bbox.x0() >= apple.x1() - 0.02 || bbox.y1() <= apple.y0() + 0.02, "{bbox:?}");
        assert!(plan.notes[0].starts_with("`a blue cup` comes to "), "{:?}", plan.notes);
    }

    #[test]
    fn several_things_are_added_one_by_one_and_not_into_one_box() {
        let plan = planned(&[&["remove", "dog"], &["add", "two blue cups"]]);
        let [_, Operation::Add { phrase, bbox }, Operation::Add { phrase: other, bbox: beside }] =
            plan.operations.as_slice()
        else {
            panic!("{plan:?}")
        };
        assert_eq!((phrase.as_str(), other.as_str()), ("a blue cup", "a blue cup"));
        assert!(bbox.iou(beside) < 0.1, "{bbox:?} {beside:?}");
        assert_eq!(plan.layout.objects.len(), 4);
        assert!(refused(&[&["add", "two blue cups", "10,10,90,90"]]).contains("names more than one thing"));
        for (phrase, expected) in [
            ("two red balls", Some((2, "a red ball"))),
            ("3 orange cats", Some((3, "an orange cat"))),
            ("a red ball", None),
            ("one red ball", None),
            ("two-seater", None),
            ("red balls", None),
        ] {
            let found = counted(phrase).map(|Counted { count, one }| (count, one));
            assert_eq!(found, expected.map(|(count, one)| (count, one.to_owned())), "{phrase}");
        }
    }

    #[test]
    fn a_layout_of_another_canvas_is_compared_by_shares_and_its_stretching_told() {
        let old = layout();
        let mut new = layout();
        new.canvas = Canvas::new(1024, 512).unwrap();
        for object in &mut new.objects {
            let bbox = object.bbox;
            object.bbox = PixelBox::new(2.0 * bbox.x(), bbox.y(), 2.0 * bbox.width(), bbox.height()).unwrap();
        }
        let alike = plan_layout(&new, context(&old), 0.6).unwrap_err().to_string();
        assert!(alike.contains("as the layout has it already"), "{alike}");
        new.objects.pop();
        new.background = "a beach".to_owned();
        let plan = plan_layout(&new, context(&old), 0.6).unwrap();
        assert_eq!(told(&plan), ["remove a bowl 160,384,80,64"]);
        assert!(
            plan.notes[0].contains("1024×512") && plan.notes[1].contains("background is another"),
            "{:?}",
            plan.notes
        );
        assert_eq!(plan.layout, new);
    }
}
