//! What a picture has to show, compiled once from its layout and caption.

use sinopia_diffusion::methods;
use sinopia_english::RelationKind;
use sinopia_layout::{Canvas, Layout, PixelBox};
use sinopia_planner::checks::{BoxDescription, BoxRelation, ExcludedKind, bindings};

use super::colours::is_colour;
use crate::Result;

/// What a picture has to show. Compiled by rule: nobody is asked, and the same layout and caption give the same program.
///
/// ```
/// use sinopia_layout::parse_answer;
/// use sinopia_studio::verdict::Program;
///
/// let layout = parse_answer("[('a red apple', [10, 10, 90, 90]), ('a green apple', [200, 10, 90, 90])]\nBackground prompt: A table\nNegative prompt: ")?;
/// let program = Program::compile(&layout, Some("a red apple to the left of a green apple, no cups"));
/// assert_eq!((program.count(0), program.kinds()[0].name.as_str()), (2, "apple"));
/// assert_eq!(program.objects()[1].colours, ["green"]);
/// assert_eq!(program.excluded()[0].phrase, "cups");
/// assert_eq!(program.relations().len(), 1);
/// # Ok::<(), sinopia_layout::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    canvas: Canvas,
    kinds: Vec<Kind>,
    objects: Vec<WantedObject>,
    excluded: Vec<ExcludedThing>,
    relations: Vec<WantedRelation>,
    is_placed: bool,
}

/// A kind of things that are wanted or excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its noun in the singular: `wine glass`.
    pub name: String,
    /// What else such a thing is, from near to far: a puppy is a dog.
    pub more_general: Vec<String>,
}

/// One object that has to be there.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedObject {
    /// In words, as the layout has it: `a small red apple`.
    pub phrase: String,
    /// Where, in pixels of the canvas.
    pub bbox: PixelBox,
    /// What it is: an index of [`Program::kinds`].
    pub kind: usize,
    /// In which colours, in one spelling. It must have one of them rather than any other.
    pub colours: Vec<String>,
    /// What else describes it: `wooden`, `sleeping`.
    pub details: Vec<String>,
    /// Whether its box is of several things, `two chairs`: they are not counted.
    pub is_several: bool,
}

/// What must not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExcludedThing {
    /// As it was written: `red hats`.
    pub phrase: String,
    /// What it is: an index of [`Program::kinds`].
    pub kind: usize,
    /// In these colours alone; every thing of the kind, if there are none.
    pub colours: Vec<String>,
    /// Only those of these words: `wooden`.
    pub details: Vec<String>,
}

/// How an object has to stand to another, both as indices of [`Program::objects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedRelation {
    /// Who stands so.
    pub subject: usize,
    /// How.
    pub relation: RelationKind,
    /// To whom.
    pub object: usize,
}

impl Program {
    /// What a picture of `layout` has to show: its objects, of each kind as many as it has, none of what its negative prompt names. Of the caption, where there is one: colours that the layout
    /// leaves out, what it denies, and how it has objects stand to each other, as far as the layout has them stand so.
    pub fn compile(layout: &Layout, caption: Option<&str>) -> Self {
        let wanted = bindings(caption, layout);
        let mut kinds = Vec::new();
        let described = layout.objects.iter().zip(wanted.boxes);
        let objects = described.map(|(object, description)| {
            let kind = number_of(&mut kinds, &description.name, &description.kinds);
            let BoxDescription { colours, mut details, is_several, .. } = description;
            // `colourful` is no colour.
            let (colours, others): (Vec<_>, Vec<_>) = colours.into_iter().partition(|colour| colour != "many");
            details.extend(others.into_iter().map(|_| "colourful".to_owned()));
            WantedObject { phrase: object.phrase.clone(), bbox: object.bbox, kind, colours, details, is_several }
        });
        let objects = objects.collect();
        let excluded = wanted.excluded.into_iter().map(|ExcludedKind { phrase, name, marks }| {
            let (colours, details) = marks.into_iter().partition(|mark| is_colour(mark));
            ExcludedThing { phrase, kind: number_of(&mut kinds, &name, &[]), colours, details }
        });
        let excluded = excluded.collect();
        let relation = |BoxRelation { subject, kind, object }| WantedRelation { subject, relation: kind, object };
        let relations = wanted.relations.into_iter().map(relation).collect();
        Self { canvas: layout.canvas, kinds, objects, excluded, relations, is_placed: true }
    }

    /// The same for a picture by a method: places count where the method paints layouts, and not where it paints captions alone.
    ///
    /// # Errors
    /// If there is no such method.
    pub fn for_method(layout: &Layout, caption: Option<&str>, method: &str) -> Result<Self> {
        let program = Self::compile(layout, caption);
        let paints_layouts = methods::find(method)?.needs_layout;
        Ok(if paints_layouts { program } else { program.without_places() })
    }

    /// The same wherever things are.
    #[must_use]
    pub fn without_places(self) -> Self {
        Self { is_placed: false, ..self }
    }

    /// The canvas that boxes refer to.
    pub fn canvas(&self) -> Canvas {
        self.canvas
    }

    /// Everything that is wanted or excluded, by name, each once.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// What has to be there, in the layout's order.
    pub fn objects(&self) -> &[WantedObject] {
        &self.objects
    }

    /// What must not be there.
    pub fn excluded(&self) -> &[ExcludedThing] {
        &self.excluded
    }

    /// How objects have to stand to each other.
    pub fn relations(&self) -> &[WantedRelation] {
        &self.relations
    }

    /// Whether an object has to be in its box.
    pub fn is_placed(&self) -> bool {
        self.is_placed
    }

    /// How many things of a kind are wanted.
    pub fn count(&self, kind: usize) -> usize {
        self.objects.iter().filter(|object| object.kind == kind).count()
    }

    /// Whether things of one kind may be of the other: the same, or the more general one.
    pub(super) fn are_kin(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.kinds[a], &self.kinds[b]);
        a.name == b.name || a.more_general.contains(&b.name) || b.more_general.contains(&a.name)
    }
}

/// The number of a kind by its name; it is added, if it is new.
fn number_of(kinds: &mut Vec<Kind>, name: &str, more_general: &[String]) -> usize {
    kinds.iter().position(|kind| kind.name == name).unwrap_or_else(|| {
        kinds.push(Kind { name: name.to_owned(), more_general: more_general.to_vec() });
        kinds.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinopia_layout::parse_answer;

    fn program(caption: &str, boxes: &str, negative: &str) -> Program {
        let answer = format!("[{boxes}]\nBackground prompt: A table\nNegative prompt: {negative}");
        Program::compile(&parse_answer(&answer).unwrap(), Some(caption).filter(|caption| !caption.is_empty()))
    }

    const THREE: &str =
        "('a red apple', [0, 0, 90, 90]), ('an apple', [100, 0, 90, 90]), ('a green apple', [200, 0, 90, 90])";

    #[test]
    fn things_of_a_kind_are_counted_whatever_their_colour() {
        let program = program("", THREE, "");
        assert_eq!((program.kinds().len(), program.count(0)), (1, 3));
        let colours: Vec<&[String]> = program.objects().iter().map(|object| object.colours.as_slice()).collect();
        assert_eq!(colours, [&["red".to_owned()][..], &[], &["green".to_owned()]]);
    }

    #[test]
    fn a_colour_of_the_caption_is_wanted_where_the_layout_has_none() {
        let program = program("two red apples and a green apple", THREE, "");
        let colours: Vec<&str> = program.objects().iter().map(|object| object.colours[0].as_str()).collect();
        assert_eq!(colours, ["red", "red", "green"]);
    }

    #[test]
    fn what_is_denied_is_excluded_and_what_a_box_shows_is_not() {
        let excluded = |caption: &str, negative: &str| -> Vec<String> {
            let program = program(caption, "('a blue hat', [0, 0, 90, 90]), ('a puppy', [100, 0, 90, 90])", negative);
            program.excluded().iter().map(|excluded| excluded.phrase.clone()).collect()
        };
        assert_eq!(excluded("a blue hat and a puppy without any cats", "cars, blurry, bad quality"), ["cats", "cars"]);
        assert_eq!(excluded("", "cats, dogs, a hat"), ["cats"]);
        assert_eq!(excluded("a blue hat, no cats", "cats"), ["cats"]);
        assert_eq!(excluded("a blue hat and a puppy, no books and no people", ""), ["books", "people"]);
        assert_eq!(excluded("", "artifacts, smooth texture, bad proportions, unrealistic, duplicate, frame"), [""; 0]);
    }

    #[test]
    fn only_things_of_a_colour_are_excluded_by_it() {
        let program = program("a blue hat, no red cups and no wooden chairs", "('a blue hat', [0, 0, 90, 90])", "");
        let colours: Vec<(&str, &[String], &[String])> = program
            .excluded()
            .iter()
            .map(|excluded| (excluded.phrase.as_str(), &excluded.colours[..], &excluded.details[..]))
            .collect();
        let word = |word: &str| vec![word.to_owned()];
        assert_eq!(colours, [("red cups", &word("red")[..], &[][..]), ("wooden chairs", &[], &word("wooden")[..])]);
    }

    #[test]
    fn relations_are_of_pairs_that_the_layout_has_so() {
        let boxes = "('a cat', [0, 0, 90, 90]), ('a dog', [200, 0, 90, 90]), ('a dog', [400, 0, 90, 90])";
        let pairs = |caption: &str| -> Vec<(usize, RelationKind, usize)> {
            let program = program(caption, boxes, "");
            program.relations().iter().map(|r| (r.subject, r.relation, r.object)).collect()
        };
        use RelationKind::*;
        assert_eq!(pairs("a cat to the left of two dogs"), [(0, LeftOf, 1), (0, LeftOf, 2)]);
        assert_eq!(pairs("a cat to the right of two dogs"), [], "the layout has it otherwise");
        assert_eq!(pairs("a cat chasing two dogs"), [], "no box shows it");
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn what_describes_a_thing_is_kept_apart_from_its_colours() {
        let program =
            program("", "('a colorful sleeping cat', [0, 0, 90, 90]), ('two wooden chairs', [0, 0, 9, 9])", "");
        let cat = &program.objects()[0];
        assert!(cat.colours.is_empty() && cat.details.contains(&"colourful".to_owned()), "{cat:?}");
        assert!(cat.details.contains(&"sleeping".to_owned()), "{cat:?}");
        assert!(program.objects()[1].is_several && !cat.is_several);
    }

    #[test]
    fn a_layout_without_words_is_a_program_without_objects() {
        let empty = program("", "", "");
        assert!(empty.objects().is_empty() && empty.kinds().is_empty());
        let unnamed = Program::compile(
            &Layout {
                objects: vec![sinopia_layout::LayoutObject {
                    phrase: String::new(),
                    bbox: PixelBox::new(0.0, 0.0, 0.0, -1.0).unwrap(),
                }],
                canvas: Canvas::PUBLISHED,
                background: String::new(),
                negative: String::new(),
            },
            Some(""),
        );
        assert_eq!(unnamed.objects().len(), 1);
    }
}
