//! What is found, how bad it is, and the sentence that goes back to the model.

use std::fmt;

use sinopia_layout::{Canvas, LayoutObject, PixelBox};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The layout can be used, though a better one is possible, or the caption may mean something else.
    Remark,
    /// The layout must not be used: it is not what the caption says.
    Fault,
}

/// Something about a layout that should be otherwise. The text of it is a sentence for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// How bad it is. The same problem is a fault where the caption is surely read, and a remark where it may mean something else.
    pub severity: Severity,
    /// What it is.
    pub problem: Problem,
}

impl Finding {
    pub(crate) fn fault(problem: Problem) -> Self {
        Self { severity: Severity::Fault, problem }
    }

    pub(crate) fn remark(problem: Problem) -> Self {
        Self { severity: Severity::Remark, problem }
    }

    /// A fault if it is sure, else a remark.
    pub(super) fn new(is_sure: bool, problem: Problem) -> Self {
        if is_sure { Self::fault(problem) } else { Self::remark(problem) }
    }

    /// Whether the layout can be used all the same.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Whether this is a fault.
    pub fn is_fault(&self) -> bool {
        self.severity == Severity::Fault
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

/// What can be wrong with a layout.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// Of the boxes, whatever the caption.
    Boxes(BoxProblem),
    /// Of the things of the caption and their boxes.
    Things(ThingProblem),
    /// Of what the caption excludes.
    Excluded(ExclusionProblem),
    /// Of how things stand.
    Relations(RelationProblem),
    /// Of the background.
    Background(BackgroundProblem),
    /// There is more to be said than [`limits::FINDINGS`](sinopia_layout::limits::FINDINGS) sentences.
    More {
        /// How many findings are not told.
        count: usize,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Boxes(problem) => problem.fmt(f),
            Problem::Things(problem) => problem.fmt(f),
            Problem::Excluded(problem) => problem.fmt(f),
            Problem::Relations(problem) => problem.fmt(f),
            Problem::Background(problem) => problem.fmt(f),
            Problem::More { count } => write!(f, "there are {count} further findings"),
        }
    }
}

/// What can be wrong with boxes, whatever the caption.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum BoxProblem {
    /// No width or no height.
    NoArea(LayoutObject),
    /// It leaves the canvas by more than can be cut.
    Outside(LayoutObject, Canvas),
    /// It leaves the canvas a little; it will be cut.
    Cut(LayoutObject, Canvas),
    /// It covers the whole canvas.
    CoversCanvas(LayoutObject),
    /// Nothing can be painted in it.
    Tiny(LayoutObject),
    /// It has no name.
    Unnamed(PixelBox),
    /// One box stands for several things.
    SeveralInOne(String),
    /// Two lie in the same place.
    SamePlace(LayoutObject, LayoutObject),
    /// Two overlap widely.
    Overlap(LayoutObject, LayoutObject),
    /// The layout is for a canvas of another size.
    OtherCanvas {
        /// The canvas asked for.
        expected: Canvas,
        /// The layout's.
        found: Canvas,
    },
}

impl fmt::Display for BoxProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoArea(LayoutObject { phrase, bbox }) => {
                write!(f, "the box {bbox} of `{phrase}` needs a width and a height above zero")
            }
            Self::Outside(LayoutObject { phrase, bbox }, canvas) => write!(
                f,
                "the box {bbox} of `{phrase}` leaves the canvas of {canvas}: its right edge is at {} and its lower edge at {}",
                bbox.right(),
                bbox.bottom()
            ),
            Self::Cut(LayoutObject { phrase, bbox }, canvas) => {
                write!(f, "the box {bbox} of `{phrase}` leaves the canvas of {canvas} by a little")
            }
            Self::CoversCanvas(LayoutObject { phrase, .. }) => write!(
                f,
                "the box of `{phrase}` covers the whole canvas: make it smaller, or put it into the background prompt"
            ),
            Self::Tiny(LayoutObject { phrase, bbox }) => {
                write!(f, "the box {bbox} of `{phrase}` is too small to paint")
            }
            Self::Unnamed(bbox) => write!(f, "the box {bbox} has no name"),
            Self::SeveralInOne(phrase) => write!(
                f,
                "the box `{phrase}` stands for several things: give each its own box with a name in the singular"
            ),
            Self::SamePlace(a, b) => {
                write!(f, "`{}` and `{}` have the same box {}: move them apart", a.phrase, b.phrase, b.bbox)
            }
            Self::Overlap(a, b) => write!(f, "the boxes of `{}` and `{}` overlap widely", a.phrase, b.phrase),
            Self::OtherCanvas { expected, found } => {
                write!(f, "the canvas is {expected}, but the layout is for one of {found}")
            }
        }
    }
}

/// How many of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{} to {}", self.min, self.max) }
    }
}

/// What can be wrong with the boxes of the caption's things. Things are named as the caption has them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ThingProblem {
    /// The caption names things, and there is no box at all.
    NoObject {
        /// The first of them.
        things: Vec<String>,
    },
    /// A thing is nowhere in the layout.
    Missing {
        /// The thing.
        thing: String,
    },
    /// A thing is only in the background prompt.
    OnlyInBackground {
        /// The thing.
        thing: String,
    },
    /// The number of boxes is not the caption's.
    Count {
        /// What is counted.
        thing: String,
        /// What the caption says.
        expected: Range,
        /// How many boxes there are.
        found: usize,
    },
    /// A box of it is not named with the caption's colour.
    Colour {
        /// The thing.
        thing: String,
        /// Its colour.
        colour: String,
        /// The box's name.
        phrase: String,
    },
    /// What somebody wears or what is a part of something has a box of its own.
    PartApart {
        /// The whole.
        thing: String,
        /// Its part.
        part: String,
        /// The name of the part's box.
        phrase: String,
    },
    /// What somebody wears or what a thing has is nowhere in the layout.
    PartLost {
        /// The whole.
        thing: String,
        /// Its part.
        part: String,
    },
    /// A wanted thing is in the negative prompt.
    InNegative {
        /// The thing.
        thing: String,
    },
    /// Text that shall be written is nowhere in the layout.
    TextLost {
        /// The text.
        text: String,
    },
    /// A word that was not understood is nowhere in the layout.
    Unmentioned {
        /// The words.
        words: String,
    },
}

impl fmt::Display for ThingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObject { things } => {
                write!(f, "there is no box, but the caption names `{}`: draw a box for each thing", things.join("`, `"))
            }
            Self::Missing { thing } => {
                write!(f, "the caption names `{thing}`, but no box is named so: draw a box for it")
            }
            Self::OnlyInBackground { thing } => {
                write!(f, "`{thing}` is only in the background prompt: draw a box for it")
            }
            Self::Count { thing, expected, found } => {
                let (are, boxes) = if *found == 1 { ("is", "box") } else { ("are", "boxes") };
                let each = if expected.max == 1 { "draw one" } else { "draw one box for each" };
                write!(f, "the caption says {expected} × {thing}, but there {are} {found} {boxes} for it: {each}")
            }
            Self::Colour { thing, colour, phrase } => {
                write!(f, "the caption says that the {thing} is {colour}: put the colour into the name of `{phrase}`")
            }
            Self::PartApart { thing, part, phrase } => {
                write!(f, "`{part}` belongs to `{thing}`: name it in that box, and leave out the box `{phrase}`")
            }
            Self::PartLost { thing, part } => {
                write!(f, "the caption says that `{thing}` has `{part}`, but its box is not named so")
            }
            Self::InNegative { thing } => {
                write!(f, "the caption wants `{thing}`, which must not be in the negative prompt")
            }
            Self::TextLost { text } => write!(f, "the caption wants the text \"{text}\", which no box has in its name"),
            Self::Unmentioned { words } => write!(f, "the caption mentions `{words}`, but the layout does not"),
        }
    }
}

/// What can be wrong with what the caption excludes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExclusionProblem {
    /// It is not in the negative prompt.
    NotInNegative(String),
    /// It has a box: what is excluded, and the box's name.
    Box(String, String),
    /// It is in the background prompt.
    Background(String),
}

impl fmt::Display for ExclusionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInNegative(what) => {
                write!(f, "the caption excludes `{what}`, which must be in the negative prompt")
            }
            Self::Box(what, phrase) => write!(f, "the caption excludes `{what}`, so `{phrase}` must not have a box"),
            Self::Background(what) => {
                write!(f, "the caption excludes `{what}`, so the background prompt must not name it")
            }
        }
    }
}

/// What can be wrong with how things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelationProblem {
    /// Things stand otherwise than the caption says.
    Relation {
        /// Who stands so.
        subject: String,
        /// How, in words.
        how: String,
        /// To what.
        object: String,
    },
    /// A thing is not where in the picture the caption says.
    Position {
        /// The thing.
        thing: String,
        /// Where, in words.
        place: &'static str,
    },
    /// The caption says two things that cannot both be.
    Contradiction {
        /// What it says first.
        first: String,
        /// What it says then.
        second: String,
    },
}

impl fmt::Display for RelationProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relation { subject, how, object } => {
                write!(
                    f,
                    "the caption has `{subject}` {how} `{object}`, but the boxes have not: move or resize one of them"
                )
            }
            Self::Position { thing, place } => {
                write!(f, "the caption has `{thing}` {place}, but its box is not there: move it")
            }
            Self::Contradiction { first, second } => {
                write!(f, "the caption says `{first}` and `{second}`, which cannot both be: either will do")
            }
        }
    }
}

/// What can be wrong with the background prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackgroundProblem {
    /// It is empty.
    Empty,
    /// It names something that has a box.
    Repeats(String),
    /// It lacks a place, the weather, a time or a style of the caption.
    Lacks(String),
}

impl fmt::Display for BackgroundProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the background prompt is empty"),
            Self::Repeats(noun) => write!(f, "`{noun}` has a box, so the background prompt should not name it"),
            Self::Lacks(what) => write!(f, "the caption says `{what}`, which belongs into the background prompt"),
        }
    }
}
