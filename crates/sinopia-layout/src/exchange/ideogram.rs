//! Ideogram-style JSON captions: a description, a background, and elements with `[y_min, x_min, y_max, x_max]` in 0..=1000.
//!
//! **The order is y before x**, and the numbers are thousandths of the picture's height and width, whatever its size in pixels.
//! Such a caption has no negative prompt. An element without a box stands anywhere, so its description joins the background's. Also
//! read are captions whose `background` and `elements` stand at the top, and a bare list of elements.

use serde_json::{Map, Value, json};

use super::notes::Notes;
use super::reading::{Imported, check_count, list, looked_at, phrase_of, quoted, read_json, take, wrong};
use super::units::{self, UNITS};
use super::values::{numbers, says_something, shown, text as text_of};
use crate::error::Result;
use crate::geometry::{Canvas, PixelBox};
use crate::layout::{Layout, LayoutObject};
use crate::limits::CAPTION_CHARS;
use crate::wording::{self, counted, excerpt};

const FORMAT: &str = "Ideogram caption";

/// Bytes of a background that nothing more joins: no fewer than a background's characters have.
const CAPTION_BYTES: usize = CAPTION_CHARS * 4;

/// Most of a lost description that a note repeats.
const DESCRIBED_CHARS: usize = 120;

/// The keys of an element that are used or told by themselves.
const ELEMENT_KEYS: [&str; 6] = ["type", "id", "bbox", "text", "desc", "color_palette"];

/// Reads a caption as a layout on `canvas`. Elements that cannot be used, styles, palettes and whatever else a layout has no place for
/// are left out and told.
///
/// # Errors
/// [`Error::Text`](crate::Error::Text) where it is no JSON of that form, [`Error::TooManyBoxes`](crate::Error::TooManyBoxes).
pub fn read(text: &str, canvas: Canvas) -> Result<Imported> {
    let mut notes = Notes::default();
    let (caption, elements) = match read_json(text, FORMAT)? {
        Value::Array(elements) => (Map::new(), elements),
        Value::Object(caption) => {
            let elements = list(text, composition(text, &caption)?, "elements")?.to_vec();
            (caption, elements)
        }
        _ => return Err(wrong(text, "compositional_deconstruction", "there")),
    };
    let background = match composition(text, &caption) {
        Ok(composition) => text_of(composition.get("background")),
        Err(_) => "", // a bare list of elements
    };
    tell_of_the_whole(&caption, background, canvas, &mut notes);
    let mut background = background.to_owned();
    let mut objects = Vec::new();
    let mut palettes = 0;
    for element in looked_at(&elements, "element", &mut notes) {
        let Some(element) = element.as_object() else {
            notes.add(format!("{} is left out: it is no element", shown(element)));
            continue;
        };
        let taken = objects.len();
        let phrase = phrase(element);
        match element.get("bbox").filter(|bbox| !bbox.is_null()) {
            Some(bbox) => take_box(&mut objects, &mut notes, &phrase, bbox, canvas),
            None if !wording::says_something(&phrase) => {
                notes.add("an element without description and box is left out")
            }
            // A background that is too long already is refused or cut; there is no use in a longer one.
            None if background.len() > CAPTION_BYTES => {
                notes.add(format!("{} has no box and is left out: the background is full", quoted(&phrase)))
            }
            None => {
                notes.add(format!("{} has no box and joins the background", quoted(&phrase)));
                join(&mut background, &phrase);
            }
        }
        if objects.len() > taken {
            tell_of_the_element(element, &phrase, &mut notes);
            palettes += usize::from(element.get("color_palette").is_some_and(says_something));
        }
    }
    if palettes > 0 {
        notes.add(format!("the palettes of {} are lost", counted(palettes, "object")));
    }
    check_count(&objects)?;
    Ok(Imported { layout: Layout { canvas, objects, background, negative: String::new() }, notes: notes.into_lines() })
}

/// Where background and elements stand: in `compositional_deconstruction`, or at the top.
fn composition<'a>(text: &str, caption: &'a Map<String, Value>) -> Result<&'a Map<String, Value>> {
    match caption.get("compositional_deconstruction") {
        Some(Value::Object(composition)) => Ok(composition),
        None if caption.contains_key("elements") || caption.contains_key("background") => Ok(caption),
        _ => Err(wrong(text, "compositional_deconstruction", "there")),
    }
}

/// Puts something more into the background.
fn join(background: &mut String, phrase: &str) {
    if background.is_empty() {
        return background.push_str(phrase);
    }
    let article = ["A ", "An ", "The "].into_iter().find(|article| phrase.starts_with(article)).unwrap_or_default();
    background.truncate(background.trim_end_matches(['.', ' ']).len());
    background.extend([", ", &article.to_lowercase(), &phrase[article.len()..]]);
}

/// What an element shows, in words.
fn phrase(element: &Map<String, Value>) -> String {
    let words = text_of(element.get("text"));
    if text_of(element.get("type")) == "text" && !words.is_empty() {
        return format!("the words \"{words}\"");
    }
    phrase_of(text_of(element.get("desc")))
}

fn take_box(objects: &mut Vec<LayoutObject>, notes: &mut Notes, phrase: &str, bbox: &Value, canvas: Canvas) {
    let written = shown(bbox);
    let [y_min, x_min, y_max, x_max] = match numbers::<4>(Some(bbox)) {
        Ok(corners) => corners,
        Err(reason) => return notes.add(format!("{} is left out: its box {reason}", quoted(phrase))),
    };
    let inside = |units: f64| units.clamp(0.0, UNITS);
    let (left, right, top, bottom) = (inside(x_min), inside(x_max), inside(y_min), inside(y_max));
    let has_area = x_min < x_max && y_min < y_max;
    if has_area && (left >= right || top >= bottom) {
        return notes.add(format!("{} is left out: its box {written} lies outside 0 to 1000", quoted(phrase)));
    }
    if has_area && [left, right, top, bottom] != [x_min, x_max, y_min, y_max] {
        notes.add(format!("the box {written} of {} is cut at 0 and 1000", quoted(phrase)));
    }
    let (width, height) = canvas.sides();
    let across = |units: f64| units * width / UNITS;
    let down = |units: f64| units * height / UNITS;
    let bbox = PixelBox::new(across(left), down(top), across(right - left), down(bottom - top));
    // The sum of corner and side may have been rounded up.
    take(objects, notes, phrase, bbox.map(|bbox| if has_area { bbox.clipped_to(canvas) } else { bbox }), &written);
}

/// What the caption says of the whole picture and a layout does not.
fn tell_of_the_whole(caption: &Map<String, Value>, background: &str, canvas: Canvas, notes: &mut Notes) {
    let whole = text_of(caption.get("high_level_description"));
    if !whole.is_empty() && whole != background {
        notes.add(format!("the description of the whole is lost: {}", excerpt(whole, DESCRIBED_CHARS)));
    }
    if let Some(style) = caption.get("style_description").filter(|style| says_something(style)) {
        let has_palette = style.get("color_palette").is_some_and(says_something);
        notes.add(format!("the style description{} is lost", if has_palette { ", with its palette," } else { "" }));
    }
    let aspect = text_of(caption.get("aspect_ratio"));
    if !aspect.is_empty() && !is_aspect_of(aspect, canvas) {
        notes.add(format!("the aspect ratio {} is lost: the canvas is {canvas}", excerpt(aspect, DESCRIBED_CHARS)));
    }
    let known = [
        "high_level_description",
        "style_description",
        "aspect_ratio",
        "compositional_deconstruction",
        "background",
        "elements",
    ];
    tell_of_others(caption, &known, "the caption", notes);
    if let Some(composition) = caption.get("compositional_deconstruction").and_then(Value::as_object) {
        tell_of_others(composition, &["background", "elements"], "the caption", notes);
    }
}

/// What an element says and an object does not.
fn tell_of_the_element(element: &Map<String, Value>, phrase: &str, notes: &mut Notes) {
    let description = text_of(element.get("desc"));
    if !description.is_empty() && phrase != phrase_of(description) {
        notes.add(format!("the description of {} is lost: {}", quoted(phrase), excerpt(description, DESCRIBED_CHARS)));
    }
    tell_of_others(element, &ELEMENT_KEYS, &quoted(phrase), notes);
}

/// Keys that are not known at all.
fn tell_of_others(map: &Map<String, Value>, known: &[&str], of: &str, notes: &mut Notes) {
    for (key, _) in map.iter().filter(|(key, value)| !known.contains(&key.as_str()) && says_something(value)) {
        notes.add(format!("{} of {of} is lost", quoted(key)));
    }
}

/// Whether `16:9` is the shape of the canvas, within a hundredth.
fn is_aspect_of(aspect: &str, canvas: Canvas) -> bool {
    let sides = aspect.split_once([':', 'x', '/']);
    let side = |text: &str| text.trim().parse::<f64>().ok().filter(|side| *side > 0.0);
    let ratio = sides.and_then(|(width, height)| Some(side(width)? / side(height)?));
    let (width, height) = canvas.sides();
    ratio.is_some_and(|ratio| (ratio * height / width - 1.0).abs() < 0.01)
}

/// Writes a layout as a caption whose whole is described by `description`; the negative prompt is lost.
///
/// # Errors
/// [`Error::BBox`](crate::Error::BBox) if a box leaves the canvas or has no area; repair the layout first.
pub fn write(layout: &Layout, description: &str) -> Result<String> {
    let mut elements: Vec<Value> = Vec::new();
    for LayoutObject { phrase, bbox } in &layout.objects {
        elements.push(json!({"type": "obj", "bbox": units::yxyx(bbox, layout.canvas)?, "desc": phrase}));
    }
    let caption = json!({
        "high_level_description": description,
        "compositional_deconstruction": {"background": layout.background, "elements": elements},
    });
    Ok(format!("{caption:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(canvas: Canvas, bbox: [f64; 4]) -> Layout {
        let [x, y, width, height] = bbox;
        let object = LayoutObject { phrase: "a cat".to_owned(), bbox: PixelBox::new(x, y, width, height).unwrap() };
        Layout { canvas, objects: vec![object], background: "A room".to_owned(), negative: String::new() }
    }

    /// A wide canvas and a box far from its diagonal: swapped axes would show.
    #[test]
    fn y_comes_before_x() {
        let canvas = Canvas::new(2000, 500).unwrap();
        let written = write(&layout(canvas, [1600., 50., 200., 100.]), "A cat in a room").unwrap();
        let value: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(value["compositional_deconstruction"]["elements"][0]["bbox"], json!([100, 800, 300, 900]));
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["high_level_description", "compositional_deconstruction"]);
        let read_back = read(&written, canvas).unwrap();
        assert_eq!(read_back.layout, layout(canvas, [1600., 50., 200., 100.]));
        assert_eq!(read_back.notes, ["the description of the whole is lost: A cat in a room"]);
        assert!(read(&write(&read_back.layout, "A room").unwrap(), canvas).unwrap().notes.is_empty());
    }

    #[test]
    fn boxes_come_back_within_half_a_unit() {
        for canvas in [Canvas::PUBLISHED, Canvas::new(1024, 768).unwrap(), Canvas::new(8, 16384).unwrap()] {
            let (width, height) = (f64::from(canvas.width()), f64::from(canvas.height()));
            for (x, y, w, h) in
                [(0., 0., 1., 1.), (0.1, 0.2, 0.333, 0.777), (0.5, 0.25, 0.00001, 0.75), (0.9999, 0., 0.0001, 0.4)]
            {
                let before = layout(canvas, [x * width, y * height, w * width, h * height]);
                let after = read(&write(&before, "").unwrap(), canvas).unwrap().layout;
                let (a, b) = (&before.objects[0].bbox, &after.objects[0].bbox);
                let unit = 1.0 / UNITS;
                assert!(
                    (a.x() - b.x()).abs() <= unit * width && (a.right() - b.right()).abs() <= unit * width,
                    "{a} {b}"
                );
                assert!(
                    (a.y() - b.y()).abs() <= 0.5001 * unit * height
                        && (a.bottom() - b.bottom()).abs() <= 0.5001 * unit * height,
                    "{a} {b}"
                );
                assert!(b.has_area() && after.is_inside_canvas());
            }
        }
    }

    fn caption(elements: &str) -> String {
        format!(r#"{{"compositional_deconstruction": {{"background": "A street.", "elements": [{elements}]}}}}"#)
    }

    fn told(text: &str) -> (Vec<String>, String, Vec<String>) {
        let Imported { layout, notes } = read(text, Canvas::PUBLISHED).unwrap();
        let objects = layout.objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox));
        (objects.collect(), layout.background, notes)
    }

    #[test]
    fn what_a_layout_cannot_say_is_told() {
        let text = r##"{"aspect_ratio": "16:9", "high_level_description": "A shop.", "style_description": {"lighting": "dim", "color_palette": ["#FF0000"]},
            "mood": "calm", "compositional_deconstruction": {"background": "A street.", "elements": [
                {"type": "text", "bbox": [0, 250, 100, 750], "text": "OPEN", "desc": "a sign", "color_palette": ["#FF0000"], "font": "serif"},
                {"type": "obj", "desc": "fog."}, {"type": "obj", "bbox": null, "desc": "The rain"}]}}"##;
        let (objects, background, notes) = told(text);
        assert_eq!(objects, ["the words \"OPEN\" [128, 0, 256, 51.2]"]);
        assert_eq!(background, "A street, fog, the rain");
        assert_eq!(
            notes,
            [
                "the description of the whole is lost: A shop.",
                "the style description, with its palette, is lost",
                "the aspect ratio 16:9 is lost: the canvas is 512×512",
                "`mood` of the caption is lost",
                "the description of `the words \"OPEN\"` is lost: a sign",
                "`font` of `the words \"OPEN\"` is lost",
                "`fog` has no box and joins the background",
                "`The rain` has no box and joins the background",
                "the palettes of 1 object are lost",
            ]
        );
        let wide = read(text, Canvas::new(1024, 576).unwrap()).unwrap();
        assert!(!wide.notes.iter().any(|note| note.contains("aspect")), "{:?}", wide.notes);
    }

    #[test]
    fn a_bad_element_is_left_out_and_told() {
        let good = r#"{"type": "obj", "bbox": [0, "250", 500, 750.0], "desc": "A red car."}"#;
        for (bad, reason) in [
            (
                r#"{"bbox": [905, 250, 905, 750], "desc": "a line"}"#,
                "`a line` is left out: its box [905,250,905,750] has no area",
            ),
            (r#"{"bbox": [500, 0, 100, 100], "desc": "a cat"}"#, "its box [500,0,100,100] has no area"),
            (r#"{"bbox": [], "desc": "a cat"}"#, "`a cat` is left out: its box [] is not 4 numbers"),
            (r#"{"bbox": [1, 2, 3], "desc": "a cat"}"#, "[1,2,3] is not 4 numbers"),
            (r#"{"bbox": "here", "desc": "a cat"}"#, "\"here\" is not 4 numbers"),
            (r#"{"bbox": [1, NaN, 3, 4], "desc": "a cat"}"#, "[1,null,3,4] is not 4 numbers"),
            (r#"{"bbox": [1100, 0, 1200, 100], "desc": "a cat"}"#, "its box [1100,0,1200,100] lies outside 0 to 1000"),
            (r#"{"bbox": [1, 2, 3, 4], "desc": " "}"#, "an object without a name is left out"),
            (r#"{"type": "obj"}"#, "an element without description and box is left out"),
            (r#""a cat""#, "\"a cat\" is left out: it is no element"),
        ] {
            let (objects, background, notes) = told(&caption(&format!("{bad}, {good}")));
            assert_eq!((objects, background.as_str()), (vec!["A red car [128, 0, 256, 256]".to_owned()], "A street."));
            assert!(matches!(&notes[..], [note] if note.contains(reason)), "{notes:?} without {reason}");
        }
    }

    #[test]
    fn boxes_beyond_a_thousand_are_cut_and_told() {
        let (objects, _, notes) = told(&caption(r#"{"bbox": [-10, 500, 1024, 1024], "desc": "a tree"}"#));
        assert_eq!(objects, ["a tree [256, 0, 256, 512]"]);
        assert_eq!(notes, ["the box [-10,500,1024,1024] of `a tree` is cut at 0 and 1000"]);
    }

    #[test]
    fn flat_captions_and_fenced_ones_are_read() {
        let elements = r#"[{"type": "obj", "bbox": [0, 250, 500, 750], "desc": "a car"}]"#;
        let flat =
            format!(r#"{{"high_level_description": "A street.", "background": "A street.", "elements": {elements}}}"#);
        let car = vec!["a car [128, 0, 256, 256]".to_owned()];
        assert_eq!(told(&flat), (car.clone(), "A street.".to_owned(), vec![]));
        assert_eq!(told(elements), (car.clone(), String::new(), vec![]));
        let fenced = format!("Here is the caption:\n```json\n{flat}\n```\nEnjoy!");
        assert_eq!(told(&fenced).0, car);
    }

    #[test]
    fn what_is_no_caption_is_refused_with_its_place() {
        assert!(read("{}", Canvas::PUBLISHED).unwrap_err().fault().is_some());
        let elements = read(r#"{"background": "", "elements": 3}"#, Canvas::PUBLISHED).unwrap_err();
        assert!(elements.to_string().contains("`elements` is not a list"), "{elements}");
        let fenced = read("```json\n{\"elements\": [\n1 2]}\n```", Canvas::PUBLISHED).unwrap_err();
        assert_eq!(fenced.fault().map(crate::error::TextFault::line), Some(3));
        assert!(write(&layout(Canvas::PUBLISHED, [500., 0., 100., 100.]), "").is_err());
    }

    /// Copying the whole background for each would take gigabytes.
    #[test]
    fn many_elements_without_boxes_join_until_the_background_is_full() {
        let element = |id: usize| format!(r#"{{"desc": "A thing {id}."}}"#);
        let elements: Vec<String> = (0..500_000).map(element).collect();
        let Imported { layout, notes } = read(&format!("[{}]", elements.join(",")), Canvas::PUBLISHED).unwrap();
        assert!(layout.background.starts_with("A thing 0, a thing 1, a thing 2, "), "{}", layout.background);
        assert!((CAPTION_BYTES..CAPTION_BYTES + 20).contains(&layout.background.len()), "{}", layout.background.len());
        assert_eq!(notes[0], "only the first 10000 of 500000 elements are read");
        let long = format!(r#"[{{"desc": "{}"}}, {{"desc": "a cat"}}]"#, "x".repeat(CAPTION_BYTES + 1));
        let notes = read(&long, Canvas::PUBLISHED).unwrap().notes;
        assert_eq!(notes[1], "`a cat` has no box and is left out: the background is full");
    }
}
