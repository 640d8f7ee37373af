//! Everything that can go wrong between a text and a scene, with the place in the text where it did.

use std::fmt;
use std::ops::Range;

use crate::wording::{brief, counted};

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// What was wrong with a layout, an answer, a cache or a request about them.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text does not follow the grammar, or a value in it is not allowed.
    #[error("{0}")]
    Text(TextFault),
    /// A canvas side is zero or too large.
    #[error("a canvas of {width}×{height} pixels is not possible: each side must be 1 to {max} pixels")]
    Canvas {
        /// Width asked for, in pixels.
        width: u64,
        /// Height asked for, in pixels.
        height: u64,
        /// Longest side allowed, in pixels.
        max: u32,
    },
    /// A pixel box has a coordinate that is not a number or is absurdly large.
    #[error("box [{}, {}, {}, {}] has a coordinate that is not a finite number of at most {max} pixels", brief(*x), brief(*y), brief(*width), brief(*height))]
    PixelBox {
        /// Left edge in pixels.
        x: f64,
        /// Top edge in pixels.
        y: f64,
        /// Width in pixels.
        width: f64,
        /// Height in pixels.
        height: f64,
        /// Largest value allowed, in pixels.
        max: f64,
    },
    /// Corners in proportions that do not make a box.
    #[error(
        "corners ({x0}, {y0}) and ({x1}, {y1}) do not make a box: proportions must lie in 0..=1 with x0 < x1 and y0 < y1"
    )]
    BBox {
        /// Left edge.
        x0: f64,
        /// Top edge.
        y0: f64,
        /// Right edge.
        x1: f64,
        /// Bottom edge.
        y1: f64,
    },
    /// A box of a layout does not lie inside the canvas; repair changes that.
    #[error(
        "the box [{}, {}, {}, {}] of `{phrase}` has no area inside the canvas of {width}×{height} pixels or leaves it; repair the layout first",
        bbox[0], bbox[1], bbox[2], bbox[3]
    )]
    BoxOutsideCanvas {
        /// The object's name.
        phrase: String,
        /// Its box: left, top, width and height in pixels.
        bbox: [f64; 4],
        /// Canvas width in pixels.
        width: u32,
        /// Canvas height in pixels.
        height: u32,
    },
    /// Masks of different grids were combined.
    #[error("cannot combine a mask of {}×{} cells with one of {}×{} cells (height×width)", expected[0], expected[1], found[0], found[1])]
    GridMismatch {
        /// Height and width of the first mask, in cells.
        expected: [usize; 2],
        /// Height and width of the other mask, in cells.
        found: [usize; 2],
    },
    /// An object has no name.
    #[error("object {number} has an empty phrase; every box needs a name")]
    EmptyPhrase {
        /// Position in the layout, counted from 1.
        number: usize,
    },
    /// More boxes than a layout may have.
    #[error("the layout has {found} boxes; at most {max} are allowed")]
    TooManyBoxes {
        /// Number of boxes found.
        found: usize,
        /// Most boxes allowed.
        max: usize,
    },
    /// A layout has boxes, and none of them can be painted.
    #[error("none of its boxes can be painted: `{phrase}` is left out, as {reason}{}", others(*found))]
    AllBoxesLost {
        /// How many boxes there were.
        found: usize,
        /// The first of them.
        phrase: String,
        /// Why it is left out.
        reason: String,
    },
    /// A text is longer than is read.
    #[error("{what} has {found} characters; at most {max} are read")]
    TooLong {
        /// Which text.
        what: String,
        /// Characters found.
        found: usize,
        /// Most characters.
        max: usize,
    },
    /// A text of another program's format says something that cannot be.
    #[error("cannot read this as {format}: {problem}", format = with_article(format))]
    Exchange {
        /// The format.
        format: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The cache has no answer for the caption at all.
    #[error("the cache has no answer for the caption `{caption}`{}", Nearest(nearest))]
    CaptionNotCached {
        /// The caption looked for, trimmed as the cache trims it.
        caption: String,
        /// The cached captions most like it, best first.
        nearest: Vec<String>,
    },
    /// The cache has answers for the caption, but not that many.
    #[error("the cache has {} for the caption `{caption}`; number {number} was asked for", counted(*available, "answer"))]
    AnswerNotCached {
        /// The caption, trimmed as the cache trims it.
        caption: String,
        /// How many answers there are.
        available: usize,
        /// The answer asked for, counted from 1.
        number: usize,
    },
    /// A phrase has no token.
    #[error("the phrase `{phrase}` has no token in this tokenizer; name the object in another way")]
    PhraseWithoutTokens {
        /// The phrase.
        phrase: String,
    },
    /// A phrase is not in the prompt although it was appended to it.
    #[error("the tokens of the phrase `{phrase}` do not occur in the prompt `{prompt}`")]
    PhraseNotFound {
        /// The phrase.
        phrase: String,
        /// The prompt searched, with appended phrases.
        prompt: String,
    },
    /// A phrase lies behind the part of the prompt that the text encoder sees.
    #[error(
        "the phrase `{phrase}` takes token positions {}–{} of the prompt, but the text encoder reads {max_length} tokens and its last is the end token; shorten the prompt or use fewer objects",
        range.start, range.end.saturating_sub(1)
    )]
    PhraseTruncated {
        /// The phrase.
        phrase: String,
        /// Token positions; the start token is position 0.
        range: Range<usize>,
        /// Tokens the encoder reads, start and end token included.
        max_length: usize,
    },
}

impl Error {
    /// The place in the text, if the error has one.
    pub fn fault(&self) -> Option<&TextFault> {
        match self {
            Error::Text(fault) => Some(fault),
            _ => None,
        }
    }
}

fn others(found: usize) -> String {
    match found.saturating_sub(1) {
        0 => String::new(),
        others => format!(", and so are {} more", others),
    }
}

fn with_article(format: &str) -> String {
    let article = if format.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
    format!("{article} {format}")
}

/// Shows the nearest captions of a failed look-up.
struct Nearest<'a>(&'a [String]);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("; it is empty"),
            captions => write!(f, "; nearest: `{}`", captions.join("`, `")),
        }
    }
}

/// A place in a text and what should have been there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFault {
    line: usize,
    column: usize,
    message: String,
    excerpt: String,
    caret: usize,
}

impl TextFault {
    /// Most characters of a line that [`TextFault::snippet`] shows.
    const EXCERPT_CHARS: usize = 96;

    /// Points at byte `offset` of `text`; an offset inside a character points at that character.
    pub(crate) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line_start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[..offset].matches('\n').count() + 1;
        let column = text[line_start..offset].chars().count() + 1;
        let line_text = text[line_start..].lines().next().unwrap_or_default();
        let skipped = (column - 1).saturating_sub(Self::EXCERPT_CHARS * 3 / 4);
        let excerpt: String = line_text.chars().skip(skipped).take(Self::EXCERPT_CHARS).map(printable).collect();
        TextFault { line, column, message: message.into(), excerpt, caret: column - 1 - skipped }
    }

    /// Points at a line and column, both counted from 1, the column in bytes as `serde_json` counts it.
    pub(crate) fn at_line(text: &str, line: usize, column_bytes: usize, message: impl Into<String>) -> Self {
        let line_start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        Self::at(text, line_start + column_bytes.saturating_sub(1), message)
    }

    /// Line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Column in characters, counted from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What was expected there and what was found.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line of the text with a caret below the fault, as compilers show it. `name` says where the text is from.
    pub fn snippet(&self, name: &str) -> String {
        let gutter = " ".repeat(self.line.to_string().len());
        let caret = " ".repeat(self.caret);
        let (line, column, message) = (self.line, self.column, &self.message);
        let excerpt = format!("{line} | {}", self.excerpt);
        format!(
            "{gutter}--> {name}:{line}:{column}\n{gutter} |\n{excerpt}\n{gutter} | {caret}^ {message}",
            excerpt = excerpt.trim_end()
        )
    }
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// A control character would move the caret or the terminal's cursor.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_fault() {
        let fault = TextFault::at("one\n  twö three", 9, "expected four");
        assert_eq!((fault.line(), fault.column()), (2, 5));
        insta::assert_snapshot!(fault.snippet("answer"), @r"
         --> answer:2:5
          |
        2 |   twö three
          |     ^ expected four
        ");
    }

    #[test]
    fn long_lines_are_cut_around_the_fault() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let snippet = TextFault::at(&text, 500, "here").snippet("t");
        let lines: Vec<&str> = snippet.lines().collect();
        let column = lines[3].find('^').unwrap();
        assert_eq!(lines[2].as_bytes()[column], b'X');
        assert!(lines[2].len() < 120);
    }

    #[test]
    fn an_offset_behind_the_text_points_at_its_end() {
        assert_eq!(TextFault::at("ab\n", 99, "more").line(), 2);
        assert_eq!(TextFault::at_line("ab", 7, 9, "more").line(), 1);
    }
}
