//! What is read out of a caption. All spans are byte offsets into the caption as it was given.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::nouns::NounClass;

/// Bytes of the caption.
pub type Span = Range<usize>;

/// A caption, read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CaptionAnalysis {
    /// What is to be seen and has a place of its own, in the caption's order.
    pub things: Vec<Thing>,
    /// Where it is: `in the snow`, `on a beach`, `white background`.
    pub places: Vec<Setting>,
    /// Rain, snow, fog.
    pub weather: Vec<Setting>,
    /// Time of day or season.
    pub times: Vec<Setting>,
    /// How it is made or looks: `a photo of`, `watercolour`, `highly detailed`.
    pub styles: Vec<Setting>,
    /// What is not to be seen.
    pub exclusions: Vec<Exclusion>,
    /// How things lie and what they do to each other.
    pub relations: Vec<Relation>,
    /// Where in the picture, or how arranged.
    pub positions: Vec<Position>,
    /// Text in quotation marks, which is to be written in the picture.
    pub quotes: Vec<Quote>,
    /// What commands a program rather than describing a picture: weights, `<lora:…>`, `--ar 16:9`, `BREAK`.
    pub controls: Vec<Control>,
    /// What no rule read, and was not left out as grammar.
    pub not_understood: Vec<Span>,
    /// Whether it ends before the caption does, at [`sinopia_layout::limits::CAPTION_CHARS`].
    pub is_cut: bool,
    /// The language, as far as letters and small words tell.
    pub language: Language,
}

impl CaptionAnalysis {
    /// Whether the caption is English, as far as can be told; an empty one is. Of another only known nouns are read.
    pub fn is_english(&self) -> bool {
        self.language == Language::English
    }
}

/// What a caption is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English, or too little to tell.
    #[default]
    English,
    /// Latin letters with small words of another language: `un chat sur une chaise`.
    OtherWords,
    /// Mostly letters of another script.
    OtherScript,
}

/// How sure a reading is. What rests on an unsure one may be remarked upon, never refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Guessed: an unknown noun, a number that is not written, an attachment by nearness.
    Unsure,
    /// The grammar says so.
    Sure,
}

/// How many, from `min` to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
    /// Whether the caption has a number; a bare plural has none.
    pub is_written: bool,
}

impl Count {
    /// A number that is written.
    pub fn exactly(count: u32) -> Self {
        Self { min: count, max: count, is_written: true }
    }

    /// A range that is written.
    pub fn between(min: u32, max: u32) -> Self {
        Self { min: min.min(max), max: max.max(min), is_written: true }
    }

    /// A plural without a number: two to five.
    pub fn plural() -> Self {
        Self { min: 2, max: 5, is_written: false }
    }

    /// A singular without a number.
    pub fn singular() -> Self {
        Self { min: 1, max: 1, is_written: false }
    }
}

/// Something to be seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Thing {
    /// From its article to its noun, or to the end of `of …`.
    pub span: Span,
    /// As written, without article and number: `red balloons`, `bowl of ramen`.
    pub phrase: String,
    /// Its noun in the singular, with the nouns before it: `wine glass`.
    pub name: String,
    /// The last word of the name: `glass`.
    pub head: String,
    /// What it holds or is a pile of: `ramen` of `bowl of ramen`.
    pub contents: Option<String>,
    /// How many.
    pub count: Count,
    /// Colours, in one spelling.
    pub colours: Vec<String>,
    /// Other adjectives, as written.
    pub adjectives: Vec<String>,
    /// What it wears, has, or is made like, which is no thing of its own.
    pub parts: Vec<Part>,
    /// What it does or how it stands, without another thing: `sleeping`, `flying`, `perched`, `playing football`.
    pub doing: Option<String>,
    /// What class of thing.
    pub class: NounClass,
    /// Whether the noun and its class are known.
    pub certainty: Certainty,
}

/// How a part belongs to its thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Clothes: `wearing a hat`, `in a red shirt`.
    Wears,
    /// A part: `with a long beard`.
    Has,
    /// Material, likeness or surface: `made of cheese`, `shaped like a dragon`.
    Is,
}

/// What belongs to a thing and is drawn with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// From its article to its noun.
    pub span: Span,
    /// As written, without article and number.
    pub phrase: String,
    /// With its article or number: `a red shirt`, `two towers`; a possessive is an article.
    pub counted: String,
    /// Its noun in the singular.
    pub name: String,
    /// How it belongs.
    pub kind: PartKind,
    /// The words that say so: `wearing`, `with`, `made of`; empty where none does.
    pub words: String,
}

impl Part {
    /// Puts an adjective before its noun, where it has none that says so.
    pub(crate) fn describe(&mut self, adjective: &str) {
        if self.phrase.split(' ').any(|word| word == adjective) {
            return;
        }
        let start = self.counted.len().saturating_sub(self.phrase.len());
        let article = match self.counted.get(..start).unwrap_or("") {
            "a " | "an " if adjective.starts_with(['a', 'e', 'i', 'o', 'u']) => "an ",
            "a " | "an " => "a ",
            other => other,
        };
        self.counted = format!("{article}{adjective} {}", self.phrase);
        self.phrase = format!("{adjective} {}", self.phrase);
    }
}

/// A place, a time, the weather or a style.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// From its article to its noun.
    pub span: Span,
    /// As written, without article.
    pub phrase: String,
    /// Its noun in the singular, or the one word for it that the list has (`night` for `midnight`).
    pub name: String,
    /// The word before it: `in`, `on`; empty where there is none.
    pub preposition: String,
}

/// Something that is not to be seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exclusion {
    /// Its noun with its adjectives; of `nobody` the word itself.
    pub span: Span,
    /// As written, without article; `people` for `nobody`.
    pub phrase: String,
    /// Its noun in the singular.
    pub name: String,
}

/// What a relation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// An index of [`CaptionAnalysis::things`].
    Thing(usize),
    /// An index of [`CaptionAnalysis::places`].
    Place(usize),
}

/// `subject` stands so to `object`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Relation {
    /// Who does or lies so.
    pub subject: End,
    /// How.
    pub kind: RelationKind,
    /// To what.
    pub object: End,
    /// The words that say so, as written; of an action its verb.
    pub words: String,
    /// Those words; empty where none says it (a colon, `with`).
    pub span: Span,
    /// Whether grammar or nearness found the ends.
    pub certainty: Certainty,
}

/// The ways in which two things stand to each other. All are read from the subject: the cat is `LeftOf` the dog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum RelationKind {
    LeftOf,
    RightOf,
    Above,
    Below,
    On,
    Under,
    In,
    InFrontOf,
    Behind,
    Between,
    Among,
    NextTo,
    Around,
    Against,
    At,
    Along,
    Across,
    Through,
    Past,
    Toward,
    From,
    Outside,
    With,
    Holding,
    FollowedBy,
    BiggerThan,
    SmallerThan,
    /// A verb with an object: `chase`, `riding`.
    Action,
}

impl RelationKind {
    /// Its name in the list of words and in JSON.
    pub fn name(self) -> &'static str {
        use RelationKind::*;
        match self {
            LeftOf => "left_of",
            RightOf => "right_of",
            Above => "above",
            Below => "below",
            On => "on",
            Under => "under",
            In => "in",
            InFrontOf => "in_front_of",
            Behind => "behind",
            Between => "between",
            Among => "among",
            NextTo => "next_to",
            Around => "around",
            Against => "against",
            At => "at",
            Along => "along",
            Across => "across",
            Through => "through",
            Past => "past",
            Toward => "toward",
            From => "from",
            Outside => "outside",
            With => "with",
            Holding => "holding",
            FollowedBy => "followed_by",
            BiggerThan => "bigger_than",
            SmallerThan => "smaller_than",
            Action => "action",
        }
    }

    /// By its name in the list of words and in JSON.
    pub fn from_name(name: &str) -> Option<Self> {
        use RelationKind::*;
        Some(match name {
            "left_of" => LeftOf,
            "right_of" => RightOf,
            "above" => Above,
            "below" => Below,
            "on" => On,
            "under" => Under,
            "in" => In,
            "in_front_of" => InFrontOf,
            "behind" => Behind,
            "between" => Between,
            "among" => Among,
            "next_to" => NextTo,
            "around" => Around,
            "against" => Against,
            "at" => At,
            "along" => Along,
            "across" => Across,
            "through" => Through,
            "past" => Past,
            "toward" => Toward,
            "from" => From,
            "outside" => Outside,
            "with" => With,
            "holding" => Holding,
            "followed_by" => FollowedBy,
            "bigger_than" => BiggerThan,
            "smaller_than" => SmallerThan,
            _ => return None,
        })
    }
}

/// Where in the picture a thing is, or how several are arranged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Position {
    /// An index of [`CaptionAnalysis::things`].
    pub thing: usize,
    /// The words that say so.
    pub span: Span,
    /// What they say.
    pub at: PositionKind,
}

/// Places in the picture and arrangements of several things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum PositionKind {
    Left,
    Right,
    Top,
    Bottom,
    Middle,
    TopLeft,
    TopRight,
    BottomLeft,
    BottomRight,
    Foreground,
    Background,
    /// Side by side: `in a row`.
    Row,
    /// One above the other.
    Column,
    Circle,
    Stack,
    Group,
}

/// Text to be written in the picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quote {
    /// With its quotation marks.
    pub span: Span,
    /// Without them.
    pub text: String,
    /// The thing that it is written on, an index of [`CaptionAnalysis::things`]: the last one before it.
    pub thing: Option<usize>,
}

/// A command to a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Control {
    /// Its bytes.
    pub span: Span,
    /// As written.
    pub text: String,
}
