//! How the built-in planner writes a layout: it quotes the caption and adds numbers, so that it need not spell.
//!
//! ```text
//! square: two red apples to the left of a sleeping cat, no dogs
//!  2 two red apples: 14 14 10 40 26 40; 1 a sleeping cat: 26 24 48 42 | | | dogs
//! ```
//!
//! Kinds of things, separated by `;`: how many, the caption's words, `:`, width and height in cells of a grid of [`GRID`] × [`GRID`], then
//! the cell of each centre. After each `|` follow the style, the settings, and what must not be there, quoted too. [`grammar`] lets nothing
//! else be written: whatever the model's weights say, every name is the caption's and every kind has as many boxes as its number says.
//!
//! # Source
//! `training/planner_world.py`, which the model has learned this from.

use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox, nouns};

use crate::words;

/// Cells on a side of the grid, whatever the canvas.
const GRID: f64 = 64.0;

/// Most things of one kind, and most kinds.
const MOST_THINGS: usize = 20;
const MOST_KINDS: usize = 8;

/// Most styles, settings and exclusions.
const MOST_QUOTES: usize = 6;

/// Width by height from which a canvas is wide; its inverse is tall.
const WIDE: f64 = 1.25;

/// What is asked for a caption on a canvas.
pub(crate) fn prompt(caption: &str, canvas: Canvas) -> String {
    let aspect = f64::from(canvas.width()) / f64::from(canvas.height());
    let shape = match aspect {
        aspect if aspect >= WIDE => "wide",
        aspect if aspect <= 1.0 / WIDE => "tall",
        _ => "square",
    };
    format!("{shape}: {}", plain(caption))
}

/// The caption on one line, without the signs that separate parts of an answer.
fn plain(caption: &str) -> String {
    let letters = caption.chars().map(|c| match c {
        ';' | ':' | '|' => ',',
        c if c.is_control() => ' ',
        '’' | '‘' => '\'',
        '“' | '”' | '„' => '"',
        c => c,
    });
    letters.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The answers that a caption can have, in llguidance's dialect of Lark.
pub(crate) fn grammar(caption: &str) -> String {
    let chunks = serde_json::json!({ "substring_chunks": chunks(&plain(caption)) });
    let kinds = (1..=MOST_THINGS).map(|count| format!("\" {count}\" QUOTE \":\" size at{{{count}}}"));
    let kinds = kinds.collect::<Vec<_>>().join("\n    | ");
    let (more_kinds, more_quotes) = (MOST_KINDS - 1, MOST_QUOTES - 1);
    format!(
        r#"start: things " |" quotes " |" quotes " |" quotes
things: (kind (";" kind){{0,{more_kinds}}})?
kind: {kinds}
size: LENGTH LENGTH
at: CELL CELL
quotes: (QUOTE (";" QUOTE){{0,{more_quotes}}})?
LENGTH: / (6[0-4]|[1-5][0-9]|[2-9])/
CELL: / (6[0-3]|[1-5]?[0-9])/
QUOTE: PART & / [^ ](.*[\p{{L}}\p{{N}}])?/
PART: %regex {chunks}
"#
    )
}

/// The caption in pieces that a quotation may begin and end with: words with the space before them, and signs.
fn chunks(caption: &str) -> Vec<String> {
    let mut chunks = Vec::new();
    for word in caption.split(' ') {
        let bare = word.trim_start_matches(is_sign);
        let lead = &word[..word.len() - bare.len()];
        let bare = bare.trim_end_matches(is_sign);
        let tail = &word[lead.len() + bare.len()..];
        chunks.push(format!(" {lead}"));
        match lead.is_empty() {
            true => chunks[..].last_mut().into_iter().for_each(|chunk| chunk.push_str(bare)),
            false => chunks.push(bare.to_owned()),
        }
        chunks.push(tail.to_owned());
    }
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}

fn is_sign(c: char) -> bool {
    !c.is_alphanumeric()
}

/// The layout that an answer describes; `None` if it has not the form that [`grammar`] enforces.
pub(crate) fn read(answer: &str, canvas: Canvas) -> Option<Layout> {
    let parts: Vec<&str> = answer.split(" |").collect();
    let [things, style, settings, negative] = parts.as_slice() else { return None };
    let mut objects = Vec::new();
    for kind in list(things) {
        objects.extend(read_kind(kind, canvas)?);
    }
    let negative = list(negative).map(|quote| bare(quote).text).collect::<Vec<_>>().join(", ");
    Some(Layout { canvas, objects, background: background(style, settings), negative })
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty())
}

fn read_kind(kind: &str, canvas: Canvas) -> Option<Vec<LayoutObject>> {
    let (name, numbers) = kind.split_once(':')?;
    let (count, quote) = name.trim().split_once(' ')?;
    let count: usize = count.parse().ok()?;
    let numbers: Option<Vec<f64>> = numbers.split_whitespace().map(|number| number.parse().ok()).collect();
    let numbers = numbers?;
    let (size, centers) = numbers.split_at_checked(2)?;
    let phrase = phrase(quote, count);
    let (centers, rest) = centers.as_chunks::<2>();
    if centers.len() != count || !rest.is_empty() {
        return None;
    }
    let object = |center: &[f64; 2]| {
        let bbox = pixels((size[0], size[1]), *center, canvas)?;
        Some(LayoutObject { phrase: phrase.clone(), bbox })
    };
    centers.iter().map(object).collect()
}

/// Cells to pixels, edges rounded half to even; a box that would leave the canvas is moved inside.
fn pixels((width, height): (f64, f64), [x, y]: [f64; 2], canvas: Canvas) -> Option<PixelBox> {
    let edges = |center: f64, length: f64, side: u32| {
        let length = length.clamp(1.0, GRID);
        let start = (center - length / 2.0).clamp(0.0, GRID - length);
        let pixel = |cell: f64| (cell / GRID * f64::from(side)).round_ties_even();
        (pixel(start), pixel(start + length))
    };
    let (left, right) = edges(x, width, canvas.width());
    let (top, bottom) = edges(y, height, canvas.height());
    PixelBox::new(left, top, (right - left).max(1.0), (bottom - top).max(1.0)).ok()
}

/// Words before a noun that say how many there are, or which; the longest first.
const LEADS: [&str; 41] = [
    "a pair of", "a couple of", "a group of", "lots of", "a lot of", "a bunch of", "a row of", "a number of", "a handful of", "a few", "a dozen", "a single",
    "pair of", "couple of", "group of", "dozens of", "another", "several", "various", "multiple", "some", "many", "both", "each", "every", "this", "that",
    "these", "those", "his", "her", "its", "their", "my", "your", "our", "the", "any", "an", "a", "single",
];

/// A quotation without what stands before its noun.
struct Bare {
    text: String,
    /// Whether something stood there, so that the noun can be counted.
    is_counted: bool,
}

fn bare(quote: &str) -> Bare {
    let mut rest = quote.trim();
    let mut is_counted = false;
    loop {
        let lead = LEADS.iter().find(|lead| starts_with_words(rest, lead)).map(|lead| lead.len());
        let number = rest.split(' ').next().filter(|word| words::Words::of(word).number(0).is_some()).map(str::len);
        let Some(length) = lead.or(number).filter(|&length| length < rest.len()) else { break };
        rest = rest[length..].trim_start();
        is_counted = true;
    }
    Bare { text: uncapitalised(rest, quote), is_counted }
}

/// Whether `text` begins with these words and goes on after them.
fn starts_with_words(text: &str, words: &str) -> bool {
    text.get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words)) && text[words.len()..].starts_with(' ')
}

/// `Two Red Apples` as `red apples` and `Three cats` as `cats`, but `Anna` as it is: only where a lower-case form is sure.
fn uncapitalised(rest: &str, quote: &str) -> String {
    let shouts = quote.chars().any(char::is_alphabetic) && !quote.chars().any(char::is_lowercase);
    let is_title = quote.split(' ').count() > 1
        && quote.split(' ').all(|word| word.chars().next().is_none_or(|c| c.is_uppercase() || !c.is_alphabetic()));
    if (shouts && quote.len() > 4) || is_title { rest.to_lowercase() } else { rest.to_owned() }
}

/// The name of one thing: `a red apple` of `two red apples`, `a cat` of `The cat`.
fn phrase(quote: &str, count: usize) -> String {
    let Bare { text, is_counted } = bare(quote);
    let one = if count > 1 { nouns::singular(&text) } else { text };
    match is_counted || count > 1 {
        true => format!("{} {one}", if one.starts_with(is_vowel) { "an" } else { "a" }),
        false => one,
    }
}

fn is_vowel(c: char) -> bool {
    "aeiouAEIOU".contains(c)
}

/// What is said when the caption tells no setting, and before a setting without a style.
const NOWHERE: &str = "A realistic scene";
const PHOTO: &str = "A realistic photo";

/// Words that a setting begins with if it is no noun of its own.
const PREPOSITIONS: [&str; 15] = [
    "in", "on", "at", "inside", "under", "underwater", "during", "by", "against", "near", "across", "over", "amid", "outside", "within",
];

/// Prepositions that name the whole place: `in a park` is a park.
const WITHIN: [&str; 5] = ["in", "on", "at", "inside", "within"];

/// What one is in without its being a place.
const CONDITIONS: [&str; 16] = [
    "rain", "snow", "fog", "mist", "dark", "darkness", "morning", "evening", "afternoon", "night", "moonlight", "sunlight", "day", "background",
    "air", "wind",
];

/// The background prompt: `An oil painting of a park at night`.
fn background(style: &str, settings: &str) -> String {
    let styles: Vec<&str> = list(style).collect();
    let (mut places, mut circumstances) = (Vec::new(), Vec::new());
    for setting in list(settings) {
        match place_of(setting) {
            Some(place) => places.push(place),
            None => circumstances.push(setting),
        }
    }
    let has_noun = list(settings).next().is_some_and(|setting| !is_circumstance(setting));
    let mut text = match (styles.first(), places.first()) {
        (None, None) => NOWHERE.to_owned(),
        (None, Some(place)) if has_noun => (*place).to_owned(),
        (style, Some(place)) => format!("{} of {}", style.unwrap_or(&PHOTO), lower_first(place)),
        (Some(style), None) => format!("{style} of a scene"),
    };
    for circumstance in circumstances {
        text = format!("{text} {}", lower_first(circumstance));
    }
    for style in styles.iter().skip(1) {
        text = format!("{text}, {}", lower_first(style));
    }
    upper_first(&text)
}

/// The noun of a setting that is a place: all of `a kitchen`, the last two words of `in a park`, nothing of `at night`.
fn place_of(setting: &str) -> Option<&str> {
    if !is_circumstance(setting) {
        return Some(setting);
    }
    let (preposition, place) = setting.split_once(' ')?;
    let (article, noun) = place.split_once(' ')?;
    let is_one_of = |word: &str, list: &[&str]| list.iter().any(|known| word.eq_ignore_ascii_case(known));
    let last = noun.rsplit(' ').next().unwrap_or_default();
    let is_place = is_one_of(preposition, &WITHIN)
        && is_one_of(article, words::ARTICLES)
        && !is_one_of(last, &CONDITIONS)
        && !noun.to_lowercase().starts_with("front of");
    is_place.then_some(place)
}

fn is_circumstance(setting: &str) -> bool {
    let first = setting.split(' ').next().unwrap_or_default();
    PREPOSITIONS.iter().any(|preposition| first.eq_ignore_ascii_case(preposition))
}

fn upper_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expected: &str) {
        let layout = read(answer, Canvas::PUBLISHED).unwrap();
        assert_eq!(sinopia_layout::write_answer(&layout), expected);
    }

    #[test]
    fn answers_are_read() {
        check(
            " 2 two red apples: 14 14 10 40 26 40; 1 a sleeping cat: 26 24 48 42 | | | dogs",
            "[('a red apple', [24, 264, 112, 112]), ('a red apple', [152, 264, 112, 112]), ('a sleeping cat', [280, 240, 208, 192])]\nBackground prompt: A realistic scene\nNegative prompt: dogs",
        );
        check(
            " 1 The old king: 20 40 1 63 | an oil painting; cubism | on a beach; at night | any people; a dog",
            "[('a old king', [0, 192, 160, 320])]\nBackground prompt: An oil painting of a beach at night, cubism\nNegative prompt: people, dog".replace("a old", "an old").as_str(),
        );
        check(
            " | A watercolor | an empty street at night |",
            "[]\nBackground prompt: A watercolor of an empty street at night\nNegative prompt: ",
        );
    }

    #[test]
    fn boxes_fill_any_canvas_and_stay_inside() {
        let canvas = Canvas::new(1024, 300).unwrap();
        let layout = read(" 3 3 cats: 64 10 0 0 32 32 63 63 | | |", canvas).unwrap();
        assert!(layout.is_inside_canvas());
        assert_eq!(layout.objects[2].bbox, PixelBox::new(0.0, 253.0, 1024.0, 47.0).unwrap());
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        for answer in ["", " |", " 2 two cats: 9 9 1 1 | | |", " 1 a cat: 9 9 1 | | |", " x a cat: 9 9 1 1 | | |", " a cat | | |", " | | | | |"] {
            assert_eq!(read(answer, Canvas::PUBLISHED), None, "{answer}");
        }
    }

    #[test]
    fn quotations_become_names_of_one_thing() {
        for (quote, count, expected) in [
            ("two red apples", 2, "a red apple"),
            ("5 cups of tea", 5, "a cup of tea"),
            ("a cat", 1, "a cat"),
            ("One dog", 1, "a dog"),
            ("the old man", 1, "an old man"),
            ("a pair of blorfs", 2, "a blorf"),
            ("several mice", 4, "a mouse"),
            ("birds", 3, "a bird"),
            ("bread", 1, "bread"),
            ("Anna", 1, "Anna"),
            ("Two Red Apples", 2, "a red apple"),
            ("A BIG DOG", 1, "a big dog"),
            ("a dozen eggs", 12, "an egg"),
            ("three girls reading a book", 3, "a girl reading a book"),
            ("one", 1, "one"),
        ] {
            assert_eq!(phrase(quote, count), expected, "{quote}");
        }
    }

    #[test]
    fn captions_are_cut_at_words_and_signs() {
        assert_eq!(plain("a  cat;\ta “dog”: x|y"), "a cat, a \"dog\", x,y");
        assert_eq!(chunks("a (red) cat, x-wings."), [" a", " (", "red", ")", " cat", ",", " x-wings", "."]);
        assert_eq!(prompt("a cat", Canvas::new(768, 512).unwrap()), "wide: a cat");
        assert_eq!(prompt("a cat", Canvas::new(512, 768).unwrap()), "tall: a cat");
    }

    #[test]
    fn backgrounds() {
        for (style, settings, expected) in [
            ("", "", "A realistic scene"),
            ("", " in a park", "A realistic photo of a park"),
            ("", " in the rain", "A realistic scene in the rain"),
            ("", " in a park; on a rainy day", "A realistic photo of a park on a rainy day"),
            ("", " a kitchen; at night", "A kitchen at night"),
            (" A realistic photo", "", "A realistic photo of a scene"),
            (" A sketch", " In an indoor scene", "A sketch of an indoor scene"),
        ] {
            assert_eq!(background(style, settings), expected);
        }
    }
}
