//! Prompts of FLUX 3 Image (klein too): a description that cites each thing by an id, and behind it a table of the ids with their boxes.
//!
//! ```text
//! A field. a red car <red_car_1>, a green apple <green_apple_1>
//! [{"id": "red_car_1", "bbox": [410, 80, 830, 460], "desc": "a red car"}, …]
//! ```
//!
//! A box is `[top, left, bottom, right]`, whole numbers in 0..=1000 from the top left corner, whatever the size of the picture. Such a prompt has no
//! negative caption. Its rows are those of an Ideogram caption's list of elements; what stands before the things that are cited is the background.
//!
//! # Source
//! docs.bfl.ai/flux_3/flux3_image_bounding_boxes (the order, the grid, the ids).

use std::collections::HashMap;

use serde_json::json;

use super::ideogram;
use super::reading::Imported;
use super::units;
use crate::error::Result;
use crate::geometry::Canvas;
use crate::layout::Layout;
use crate::wording::excerpt;

/// Most characters of a name in an id; the number follows.
const ID_CHARS: usize = 40;
/// Most bytes of an id that is looked for.
const ID_BYTES: usize = 100;
/// Most of a lost description that a note repeats.
const DESCRIBED_CHARS: usize = 120;

/// Writes a layout as a prompt; `description` says what the whole picture shows.
///
/// # Errors
/// [`Error::BBox`](crate::Error::BBox) if a box leaves the canvas or has no area; repair the layout first.
pub fn write(layout: &Layout, description: &str) -> Result<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let (mut cited, mut rows) = (Vec::new(), Vec::new());
    for object in &layout.objects {
        let name = id_name(&object.phrase);
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        let id = format!("{name}_{count}");
        cited.push(format!("{} <{id}>", object.phrase));
        let row = json!({"id": id, "bbox": units::yxyx(&object.bbox, layout.canvas)?, "desc": object.phrase});
        rows.push(row.to_string());
    }
    let description = description.trim().trim_end_matches('.');
    let sentences = [description.to_owned(), cited.join(", ")];
    let text: Vec<String> = sentences.into_iter().filter(|sentence| !sentence.is_empty()).collect();
    Ok(format!("{}\n[{}]\n", text.join(". "), rows.join(", ")))
}

/// Reads a prompt as a layout on `canvas`. A description that cites its things among other words is lost and told: a background that named them would
/// paint them twice.
///
/// # Errors
/// As [`ideogram::read`].
pub fn read(text: &str, canvas: Canvas) -> Result<Imported> {
    let mut imported = ideogram::read(text, canvas)?;
    let prose = text.split_once('[').map_or("", |(prose, _)| prose).trim();
    match before_citations(prose, &imported.layout) {
        Some(background) => imported.layout.background = background.to_owned(),
        None => imported.notes.push(format!("the description is lost: {}", excerpt(prose, DESCRIBED_CHARS))),
    }
    Ok(imported)
}

/// What stands before a list of all things with their ids, as [`write`] has it.
fn before_citations<'a>(prose: &'a str, layout: &Layout) -> Option<&'a str> {
    let mut rest = prose;
    for object in layout.objects.iter().rev() {
        rest = rest.trim_end_matches([' ', ',', '.']).strip_suffix('>')?;
        let (before, _id) = rest.rsplit_once('<')?;
        rest = before.trim_end().strip_suffix(object.phrase.as_str())?;
    }
    let background = rest.trim_end();
    (!background.contains('<')).then(|| background.strip_suffix('.').unwrap_or(background))
}

/// Whether a text cites an id of its own rows before them.
pub(super) fn cites_ids(text: &str) -> bool {
    let Some((prose, rows)) = text.split_once('[') else { return false };
    let mut ids = prose.split('<').skip(1).take(Layout::MAX_BOXES).filter_map(|behind| behind.split_once('>'));
    ids.any(|(id, _)| !id.is_empty() && id.len() <= ID_BYTES && rows.contains(&format!("\"{id}\"")))
}

/// What an id may be made of: small letters, digits and `_`. Names in other scripts are called `object`.
fn id_name(phrase: &str) -> String {
    let words = phrase.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_ascii_lowercase).skip_while(|word| is_article(word)).collect();
    let name: String = words.join("_").chars().take(ID_CHARS).collect();
    if name.is_empty() { "object".to_owned() } else { name }
}

fn is_article(word: &str) -> bool {
    matches!(word, "a" | "an" | "the")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::PixelBox;
    use crate::layout::LayoutObject;

    fn layout(objects: &[(&str, [f64; 4])]) -> Layout {
        let objects = objects.iter().map(|(phrase, [x, y, width, height])| LayoutObject {
            phrase: (*phrase).to_owned(),
            bbox: PixelBox::new(*x, *y, *width, *height).unwrap(),
        });
        let canvas = Canvas::new(2000, 500).unwrap();
        Layout { canvas, objects: objects.collect(), background: "A room".to_owned(), negative: String::new() }
    }

    /// A wide canvas and a box far from its diagonal: swapped axes would show, and so would another corner.
    #[test]
    fn top_comes_before_left_and_both_are_counted_from_the_top_left() {
        let written = write(&layout(&[("a cat", [1600., 50., 200., 100.])]), "A cat in a room.").unwrap();
        assert_eq!(
            written,
            "A cat in a room. a cat <cat_1>\n[{\"id\":\"cat_1\",\"bbox\":[100,800,300,900],\"desc\":\"a cat\"}]\n"
        );
        assert!(write(&layout(&[("a cat", [1900., 0., 200., 100.])]), "").is_err());
    }

    #[test]
    fn each_thing_has_an_id_of_its_own() {
        let place = [0., 0., 10., 10.];
        let things = [("a red cat", place), ("The red cat", place), ("猫", place), ("\"A\" b", place)];
        let written = write(&layout(&things), "").unwrap();
        for id in ["red_cat_1", "red_cat_2", "object_1", "b_1"] {
            assert!(written.contains(&format!("<{id}>")) && written.contains(&format!("\"{id}\"")), "{written}");
        }
        assert!(written.starts_with("a red cat <"), "{written}");
    }

    #[test]
    fn a_prompt_comes_back_as_its_rows() {
        let written = write(&layout(&[("a cat", [1600., 50., 200., 100.])]), "A room").unwrap();
        let hints = super::super::Hints { canvas: Some(Canvas::new(2000, 500).unwrap()), image: None };
        let back = super::super::read(&written, None, &hints).unwrap();
        assert_eq!(back.layout, layout(&[("a cat", [1600., 50., 200., 100.])]));
        assert_eq!(back.notes, ["it is read as a prompt of FLUX 3 Image"]);
    }

    #[test]
    fn what_stands_before_the_things_is_the_background() {
        let rows = r#"[{"id": "cat_1", "bbox": [0, 0, 500, 500], "desc": "a cat"}, {"id": "dog_1", "bbox": [500, 0, 900, 500], "desc": "a dog"}]"#;
        let read = |prose: &str| read(&format!("{prose}\n{rows}"), Canvas::PUBLISHED).unwrap();
        let known = read("A room. At night. a cat <cat_1>, a dog <dog_1>.");
        assert_eq!((known.layout.background.as_str(), known.notes.len()), ("A room. At night", 0));
        assert_eq!(read("a cat <cat_1>, a dog <dog_1>").layout.background, "");
        let woven = read("A room where a cat <cat_1> chases a dog <dog_1> around.");
        assert_eq!(woven.layout.background, "");
        let told = "the description is lost: A room where a cat <cat_1> chases a dog <dog_1> around.";
        assert_eq!(woven.notes, [told]);
        assert!(
            cites_ids(&format!("a <cat_1>\n{rows}")) && !cites_ids(&format!("a <cow_1>\n{rows}")) && !cites_ids(rows)
        );
    }
}
