//! What of an edit cannot be done, and what to do instead.

use std::path::PathBuf;

use sinopia_layout::limits::PHRASE_CHARS;
use sinopia_layout::{Canvas, names};

/// What of an edit cannot be done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Neither operations nor a layout.
    #[error(
        "there is nothing to do yet: say what to change, with `--move`, `--remove`, `--add`, `--replace`, `--recolour`, `--resize` or `--layout`"
    )]
    Nothing,
    /// Everything is as it is asked for already.
    #[error("there is nothing to do: the picture is {why}")]
    NoChange {
        /// As what it is.
        why: String,
    },
    /// Words that say nothing.
    #[error("`--{operation}`: the phrase is empty; say which object is meant, in its own words")]
    EmptyPhrase {
        /// The flag without its dashes.
        operation: &'static str,
    },
    /// Too many words.
    #[error("`--{operation}`: the phrase has {found} characters; at most {PHRASE_CHARS} are read")]
    LongPhrase {
        /// The flag without its dashes.
        operation: &'static str,
        /// Its characters.
        found: usize,
    },
    /// Nothing is called so.
    #[error("there is no `{phrase}` in the picture: {}", of_nothing(known))]
    Unknown {
        /// What was typed.
        phrase: String,
        /// What there is.
        known: KnownNames,
    },
    /// An object of the layout that is not seen in its place, so that what is there instead would be moved.
    #[error("`{phrase}` is not seen at {bbox}, where the picture's layout has it: {}", of_absent(phrase, bbox, seen_at.as_deref()))]
    NotThere {
        /// The object.
        phrase: String,
        /// Where the layout has it.
        bbox: String,
        /// Where it is seen instead.
        seen_at: Option<String>,
    },
    /// Several are called so.
    #[error("`{phrase}` may be any of {}: {}; say which, as `{phrase} #1`, `the left {phrase}` or `{phrase}@X,Y,W,H`", choices.len(), choices.join("; "))]
    Ambiguous {
        /// What was typed.
        phrase: String,
        /// The objects that it may be, in words.
        choices: Vec<String>,
    },
    /// Words for more than one object.
    #[error("`{phrase}` names more than one thing: say each of them by itself, with the flag again for each")]
    Several {
        /// What was typed.
        phrase: String,
    },
    /// A number that none of those has who are called so.
    #[error("there is no `{phrase} #{number}`: {}", choices.join("; "))]
    NoSuchNumber {
        /// What was typed, without the number.
        phrase: String,
        /// The number.
        number: usize,
        /// Those who are called so, in words.
        choices: Vec<String>,
    },
    /// Text that is no box.
    #[error(
        "`{text}` is no box: four numbers X,Y,W,H are expected, in pixels of the {canvas} canvas or as shares up to 1, such as 40,60,120,90"
    )]
    Box {
        /// What was typed.
        text: String,
        /// The canvas.
        canvas: Canvas,
    },
    /// A box without any part in the picture.
    #[error("the box {text} lies outside the picture, whose canvas is {canvas}")]
    BoxOutside {
        /// What was typed.
        text: String,
        /// The canvas.
        canvas: Canvas,
    },
    /// Text that says no place to move to.
    #[error("`--move \"{phrase}\" {text}`: left, right, up, down or a box X,Y,W,H is expected")]
    Destination {
        /// Which object.
        phrase: String,
        /// What was typed.
        text: String,
    },
    /// Text that says no size.
    #[error("`--resize \"{phrase}\" {text}`: larger, smaller or a box X,Y,W,H is expected")]
    Size {
        /// Which object.
        phrase: String,
        /// What was typed.
        text: String,
    },
    /// No way further in that direction.
    #[error("`{phrase}` is at the {edge} of the picture already: give a box, as `--move \"{phrase}\" X,Y,W,H`")]
    AtEdge {
        /// Which object.
        phrase: String,
        /// Which edge.
        edge: &'static str,
    },
    /// Two changes of one object that cannot both be.
    #[error("`{object}` is to be {first} and {second}: one of the two at most")]
    Contradiction {
        /// The object.
        object: String,
        /// The first change, as a participle.
        first: &'static str,
        /// The second one.
        second: &'static str,
    },
    /// A new object that is what was there.
    #[error("`{phrase}` is what it is already: say what it is to become")]
    SameAsBefore {
        /// The phrase.
        phrase: String,
    },
    /// No place for a new object.
    #[error(
        "there is no free place for `{phrase}`: say where, as `--add \"{phrase}\" X,Y,W,H`, or remove or shrink something first"
    )]
    NoRoom {
        /// The object.
        phrase: String,
    },
    /// A strength that is none.
    #[error("`--strength` is {found}, expected a number above 0, at most 1")]
    Strength {
        /// What was given.
        found: String,
    },
    /// More operations than are done together.
    #[error("{found} operations at once are too many: at most {max}")]
    TooMany {
        /// How many.
        found: usize,
        /// The most.
        max: usize,
    },
    /// More objects than a layout has.
    #[error("the picture would have more than {max} objects")]
    TooManyObjects {
        /// The most.
        max: usize,
    },
    /// A picture that is too small to show anything.
    #[error(
        "the picture has {width} × {height} pixels: the shorter side must have {min}, so that there is something to change"
    )]
    TooSmall {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// The least.
        min: u32,
    },
    /// A picture so long that no model paints in its shape.
    #[error(
        "the picture is {width} × {height}: one side is more than {most} times the other, in whose shape no model paints; cut a part out of it"
    )]
    TooLong {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// The largest ratio.
        most: u32,
    },
    /// A recipe that starts from a picture which is not there.
    #[error(
        "this picture was made by editing another one, which its recipe names by SHA-256 {sha256} and does not hold"
    )]
    NeedsSource {
        /// The hash of the other one's file.
        sha256: String,
        /// The picture.
        picture: PathBuf,
    },
    /// A recipe whose edits are not of a picture that was given.
    #[error("nothing was done to a picture of others there: `sinopia generate --from` makes that picture again")]
    NotOfASource,
    /// A source that is not the one of the recipe.
    #[error("this is another picture than the one that was edited: its SHA-256 is {found}, the recipe's {expected}")]
    AnotherSource {
        /// Of the file that was given.
        found: String,
        /// Of the recipe.
        expected: String,
    },
}

impl EditError {
    /// What to do about it, if something is known to help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsSource { picture, .. } => Some(format!(
                "`sinopia edit SOURCE --from \"{}\"`, SOURCE being that other picture, does the same to it again",
                picture.display()
            )),
            Self::Nothing => Some(SAY_WHAT.to_owned()),
            _ => None,
        }
    }
}

const SAY_WHAT: &str = "\
`sinopia edit dog.png --move \"the dog\" left`, `--remove \"the bowl\"`, `--recolour \"the dog\" \"a red dog\"`;
`sinopia inspect dog.png` tells what a picture made here shows, and where";

/// What there is to be called by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNames {
    /// The word that was looked for.
    pub wanted: String,
    /// The objects in words.
    pub phrases: Vec<String>,
    /// Whether a detector looked, too.
    pub is_looked_for: bool,
}

/// What to do where something is elsewhere or gone.
fn of_absent(phrase: &str, bbox: &str, seen_at: Option<&str>) -> String {
    match seen_at {
        Some(place) => format!("it is seen at {place}, and is moved from there as `{phrase}@{place}`"),
        None => format!("`--add \"{phrase}\" X,Y,W,H` paints one, and `{phrase}@{bbox}` is whatever is there"),
    }
}

/// What to do where nothing is called so.
fn of_nothing(known: &KnownNames) -> String {
    let KnownNames { wanted, phrases, is_looked_for } = known;
    let mut distinct: Vec<&str> = Vec::new();
    for phrase in phrases {
        if !distinct.contains(&phrase.as_str()) {
            distinct.push(phrase);
        }
    }
    let what = match distinct.is_empty() {
        true => "it names no objects".to_owned(),
        false => {
            let quoted: Vec<String> = distinct.iter().map(|phrase| format!("`{phrase}`")).collect();
            let near = names::nearest(wanted, distinct.iter().copied());
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            format!("{near}it has {}", quoted.join(", "))
        }
    };
    let seen = if *is_looked_for { ", and the detector sees none" } else { "" };
    let detector = if *is_looked_for { "" } else { ", or name a detector that looks for it, with `--detector`" };
    format!("{what}{seen}; say where it is, as `{wanted}@X,Y,W,H`{detector}")
}
