//! Layout JSON: the layout format for people, files and other programs.
//!
//! ```json
//! {"canvas": {"width": 512, "height": 512},
//!  "objects": [{"phrase": "a blue dog", "bbox": [40, 210, 180, 200]}],
//!  "background": "A realistic photo of a scene", "negative": ""}
//! ```
//!
//! A box is `[x, y, width, height]` in canvas pixels. `background` and `negative` may be left out. Unknown fields,
//! empty phrases, sides of zero or less and more than [`Layout::MAX_BOXES`] boxes are refused; boxes that leave the
//! canvas are read as they are, for [`repair`](crate::repair::repair) to change. [`SCHEMA`] says the same to machines.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result, TextFault};
use crate::geometry::{Canvas, PixelBox};
use crate::layout::{Layout, LayoutObject};
use crate::limits::LAYOUT_JSON_BYTES;

/// The JSON Schema (draft 2020-12) of layout JSON.
pub const SCHEMA: &str = include_str!("../schema/layout.schema.json");

impl Layout {
    /// Reads layout JSON.
    ///
    /// # Errors
    /// [`Error::Text`] with line and column for anything that is not layout JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        if text.len() > LAYOUT_JSON_BYTES {
            let message = format!("the layout has {} bytes; at most {LAYOUT_JSON_BYTES} are read", text.len());
            return Err(Error::Text(TextFault::at(text, 0, message)));
        }
        serde_json::from_str(text).map_err(|error| Error::Text(fault(text, &error)))
    }

    /// Writes layout JSON, one line a box, ending with a line break. [`Layout::from_json`] reads back the same layout.
    pub fn to_json(&self) -> String {
        let boxes: Vec<String> = self.objects.iter().map(|object| format!("\n    {}", object_json(object))).collect();
        let end = if boxes.is_empty() { "" } else { "\n  " };
        format!(
            "{{\n  \"canvas\": {{\"width\": {}, \"height\": {}}},\n  \"objects\": [{}{end}],\n  \"background\": {},\n  \"negative\": {}\n}}\n",
            self.canvas.width(),
            self.canvas.height(),
            boxes.join(","),
            quoted(&self.background),
            quoted(&self.negative),
        )
    }
}

fn object_json(object: &LayoutObject) -> String {
    format!("{{\"phrase\": {}, \"bbox\": {}}}", quoted(&object.phrase), object.bbox)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The message of `serde_json` without the place it appends, and the place apart.
pub(crate) fn fault(text: &str, error: &serde_json::Error) -> TextFault {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&place).unwrap_or(&message);
    TextFault::at_line(text, error.line(), error.column(), message)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a layout, an object with `canvas` and `objects`")]
struct WireLayout {
    canvas: Canvas,
    #[serde(deserialize_with = "few_objects")]
    objects: Vec<LayoutObject>,
    #[serde(default)]
    background: String,
    #[serde(default)]
    negative: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a box, an object with `phrase` and `bbox`")]
struct WireObject {
    #[serde(deserialize_with = "named")]
    phrase: String,
    bbox: PixelBox,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a canvas, an object with `width` and `height` in pixels")]
struct WireCanvas {
    width: u64,
    height: u64,
}

fn few_objects<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<LayoutObject>, D::Error> {
    deserializer.deserialize_seq(FewObjects)
}

/// Objects are read up to the limit; those beyond it are only counted.
struct FewObjects;

impl<'de> Visitor<'de> for FewObjects {
    type Value = Vec<LayoutObject>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of boxes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Self::Value, A::Error> {
        let mut objects = Vec::new();
        while objects.len() < Layout::MAX_BOXES {
            let Some(object) = items.next_element()? else { return Ok(objects) };
            objects.push(object);
        }
        let mut found = objects.len();
        while items.next_element::<IgnoredAny>()?.is_some() {
            found += 1;
        }
        match found > Layout::MAX_BOXES {
            true => Err(A::Error::custom(Error::TooManyBoxes { found, max: Layout::MAX_BOXES })),
            false => Ok(objects),
        }
    }
}

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    let phrase = String::deserialize(deserializer)?;
    if phrase.trim().is_empty() {
        return Err(D::Error::custom("the phrase is empty; every box needs a name"));
    }
    Ok(phrase)
}

impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let WireLayout { canvas, objects, background, negative } = WireLayout::deserialize(deserializer)?;
        Ok(Layout { canvas, objects, background, negative })
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Layout { canvas, objects, background, negative } = self.clone();
        WireLayout { canvas, objects, background, negative }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LayoutObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let WireObject { phrase, bbox } = WireObject::deserialize(deserializer)?;
        Ok(LayoutObject { phrase, bbox })
    }
}

impl Serialize for LayoutObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        WireObject { phrase: self.phrase.clone(), bbox: self.bbox }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Canvas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let WireCanvas { width, height } = WireCanvas::deserialize(deserializer)?;
        let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
        Canvas::new(side(width), side(height))
            .map_err(|_| D::Error::custom(Error::Canvas { width, height, max: Canvas::MAX_SIDE }))
    }
}

impl Serialize for Canvas {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        WireCanvas { width: self.width().into(), height: self.height().into() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PixelBox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let numbers = Vec::<f64>::deserialize(deserializer)?;
        let [x, y, width, height] = numbers[..] else {
            let found = numbers.len();
            return Err(D::Error::custom(format!("a box has four numbers [x, y, width, height], found {found}")));
        };
        let bbox = PixelBox::new(x, y, width, height).map_err(D::Error::custom)?;
        if !bbox.has_area() {
            return Err(D::Error::custom(format!(
                "the box {bbox} [x, y, width, height] needs a width and a height above zero"
            )));
        }
        Ok(bbox)
    }
}

impl Serialize for PixelBox {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        [self.x(), self.y(), self.width(), self.height()].map(JsonNumber).serialize(serializer)
    }
}

/// A whole number is written without `.0`.
struct JsonNumber(f64);

impl Serialize for JsonNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let whole = self.0 as i64; // exact: coordinates are at most a million pixels
        if whole as f64 == self.0 { serializer.serialize_i64(whole) } else { serializer.serialize_f64(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(objects: &str) -> String {
        format!(
            "{{\"canvas\": {{\"width\": 512, \"height\": 512}},\n \"objects\": [{objects}],\n \"background\": \"A beach\", \"negative\": \"\"}}"
        )
    }

    fn fault(text: &str) -> String {
        Layout::from_json(text).unwrap_err().fault().unwrap().snippet("layout.json")
    }

    #[test]
    fn what_is_written_is_easy_to_edit() {
        let read = Layout::from_json(&layout(
            r#"{"phrase": "a \"dog\"", "bbox": [1, 2.5, 3e1, 4]}, {"phrase": "a cat", "bbox": [-1, 2, 3, 4]}"#,
        ));
        insta::assert_snapshot!(read.unwrap().to_json(), @r#"
        {
          "canvas": {"width": 512, "height": 512},
          "objects": [
            {"phrase": "a \"dog\"", "bbox": [1, 2.5, 30, 4]},
            {"phrase": "a cat", "bbox": [-1, 2, 3, 4]}
          ],
          "background": "A beach",
          "negative": ""
        }
        "#);
        let empty = Layout::from_json(r#"{"canvas": {"width": 8, "height": 9}, "objects": []}"#).unwrap();
        assert_eq!(Layout::from_json(&empty.to_json()).unwrap(), empty);
        assert!(empty.to_json().contains("\"objects\": [],"));
    }

    #[test]
    fn serde_and_to_json_agree() {
        let read = Layout::from_json(&layout(r#"{"phrase": "a dog", "bbox": [0.1, 2, 3, 4]}"#)).unwrap();
        let value = serde_json::to_value(&read).unwrap();
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(&read.to_json()).unwrap());
        assert_eq!(serde_json::from_value::<Layout>(value).unwrap(), read);
    }

    #[test]
    fn faults_show_their_place() {
        insta::assert_snapshot!(fault(&layout(r#"{"phrase": "a dog", "bbox": [1, 2, 3]}"#)), @r#"
         --> layout.json:2:51
          |
        2 |  "objects": [{"phrase": "a dog", "bbox": [1, 2, 3]}],
          |                                                   ^ a box has four numbers [x, y, width, height], found 3
        "#);
        insta::assert_snapshot!(fault(&layout(r#"{"phrase": "a dog", "bbox": [1, 2, -3, 4]}"#)), @r#"
         --> layout.json:2:55
          |
        2 |  "objects": [{"phrase": "a dog", "bbox": [1, 2, -3, 4]}],
          |                                                       ^ the box [1, 2, -3, 4] [x, y, width, height] needs a width and a height above zero
        "#);
        insta::assert_snapshot!(fault(&layout(r#"{"phrase": " ", "bbox": [1, 2, 3, 4]}"#)), @r#"
         --> layout.json:2:27
          |
        2 |  "objects": [{"phrase": " ", "bbox": [1, 2, 3, 4]}],
          |                           ^ the phrase is empty; every box needs a name
        "#);
        insta::assert_snapshot!(fault(&layout(r#"{"phrase": "a dog", "bbox": [1, 2, 3, 4], "colour": "blue"}"#)), @r#"
         --> layout.json:2:63
          |
        2 |  "objects": [{"phrase": "a dog", "bbox": [1, 2, 3, 4], "colour": "blue"}],
          |                                                               ^ unknown field `colour`, expected `phrase` or `bbox`
        "#);
        insta::assert_snapshot!(fault("{\"canvas\": {\"width\": 0, \"height\": 512}, \"objects\": []}"), @r#"
         --> layout.json:1:38
          |
        1 | {"canvas": {"width": 0, "height": 512}, "objects": []}
          |                                      ^ a canvas of 0×512 pixels is not possible: each side must be 1 to 16384 pixels
        "#);
        assert!(fault(r#"{"canvas": "512x512", "objects": []}"#).contains(
            "invalid type: string \"512x512\", expected a canvas, an object with `width` and `height` in pixels"
        ));
        for text in [r#"[1]"#, r#"{"canvas": [1], "objects": [1]}"#, &layout("1"), &layout("[1]")] {
            assert!(!fault(text).contains("Wire"), "{}", fault(text));
        }
        insta::assert_snapshot!(fault("{\"canvas\""), @r#"
         --> layout.json:1:9
          |
        1 | {"canvas"
          |         ^ EOF while parsing an object
        "#);
        insta::assert_snapshot!(fault(""), @r"
         --> layout.json:1:1
          |
        1 |
          | ^ EOF while parsing a value
        ");
    }

    #[test]
    fn limits() {
        let many = |count| layout(&vec![r#"{"phrase": "a dog", "bbox": [1, 2, 3, 4]}"#; count].join(","));
        assert_eq!(Layout::from_json(&many(100)).unwrap().objects.len(), 100);
        assert!(fault(&many(1000)).contains("the layout has 1000 boxes; at most 200 are allowed"));
        assert!(fault(&layout(r#"{"phrase": "a dog", "bbox": [1, 2, NaN, 4]}"#)).contains("expected value"));
        assert!(fault(&layout(r#"{"phrase": "a dog", "bbox": [1, 2, 1e999, 4]}"#)).contains("number out of range"));
        assert!(fault(&layout(r#"{"phrase": "a dog", "bbox": [1, 2, 1e9, 4]}"#)).contains("at most 1000000 pixels"));
        assert!(fault(&"[".repeat(100_000)).contains("layout.json:1:"));
        assert!(fault(&" ".repeat(LAYOUT_JSON_BYTES + 1)).contains("at most 1048576 are read"));
    }
}
