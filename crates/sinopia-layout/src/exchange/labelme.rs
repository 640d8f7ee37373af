//! labelme annotations: shapes of points in pixels of one image, each with a label.
//!
//! A rectangle is a box, and every shape around something (polygon, circle, mask) is read as the box around it; points and lines are
//! around nothing. Shapes of one label and one group are one thing. labelme has no place for the background and the negative prompt;
//! they are written as fields of the file that it passes over.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::notes::Notes;
use super::reading::{
    Hints, Imported, canvas_of, check_count, list, looked_at, phrase_of, quoted, read_json, take, unknown_size, wrong,
};
use super::values::{id, number, numbers, says_something, shown, text as text_of};
use crate::error::Result;
use crate::geometry::PixelBox;
use crate::layout::{Layout, LayoutObject};
use crate::wording::counted;

const FORMAT: &str = "labelme file";

/// Reads the shapes of an annotated image. Shapes that are no boxes are told, and those that are around nothing left out.
///
/// # Errors
/// [`Error::Text`](crate::Error::Text) where it is no JSON of that form, [`Error::Exchange`](crate::Error::Exchange) if neither it nor
/// `hints` say how large the image is, [`Error::TooManyBoxes`](crate::Error::TooManyBoxes).
pub fn read(text: &str, hints: &Hints) -> Result<Imported> {
    let Value::Object(file) = read_json(text, FORMAT)? else { return Err(wrong(text, "shapes", "there")) };
    if !file.contains_key("shapes") {
        return Err(wrong(text, "shapes", "there"));
    }
    let side = |key: &str| file.get(key).and_then(number).filter(|side| *side != 0.0); // 0 is what some writers have for unknown
    let canvas = match (side("imageWidth"), side("imageHeight"), hints.canvas) {
        (Some(width), Some(height), _) => canvas_of(width, height)?,
        (_, _, Some(canvas)) => canvas,
        _ => return Err(unknown_size(FORMAT)),
    };
    let mut notes = Notes::default();
    let mut objects: Vec<LayoutObject> = Vec::new();
    let mut groups: HashMap<(String, String), Group> = HashMap::new(); // by label and id
    let mut descriptions = 0;
    for shape in looked_at(list(text, &file, "shapes")?, "shape", &mut notes) {
        let Some(shape) = shape.as_object() else {
            notes.add(format!("{} is left out: it is no shape", shown(shape)));
            continue;
        };
        let label = label(shape);
        let corners = match corners(shape) {
            Ok(corners) => corners,
            Err(reason) => {
                notes.add(format!("{} is left out: {reason}", quoted(&label)));
                continue;
            }
        };
        let group = id(shape.get("group_id")).map(|id| (label.clone(), id));
        if let Some(known) = group.as_ref().and_then(|group| groups.get_mut(group)) {
            known.corners = known.corners.joined(&corners);
            objects[known.place].bbox = known.corners.pixels()?;
            continue;
        }
        let written = shape.get("points").map(shown).unwrap_or_default();
        let taken = objects.len();
        take(&mut objects, &mut notes, &label, corners.pixels(), &written);
        if objects.len() > taken {
            groups.extend(group.map(|group| (group, Group { place: taken, corners })));
            descriptions += usize::from(shape.get("description").is_some_and(says_something));
            let kind = kind(shape);
            if kind != "rectangle" {
                notes.add(format!("the {kind} of {} is read as the box around it", quoted(&label)));
            }
        }
    }
    if descriptions > 0 {
        notes.add(format!("the descriptions of {} are lost", counted(descriptions, "object")));
    }
    check_count(&objects)?;
    let own = |key: &str| file.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let layout = Layout { canvas, objects, background: own("background"), negative: own("negative") };
    Ok(Imported { layout, notes: notes.into_lines() })
}

/// Writes a layout as the annotation of an image `layout.png` that is not there. [`read`] gives it back as it was, but for the last
/// digits of its numbers: the format has corners, not sides.
pub fn write(layout: &Layout) -> String {
    let shapes: Vec<Value> = layout
        .objects
        .iter()
        .map(|LayoutObject { phrase, bbox }| {
            let right_bottom =
                PixelBox::new(bbox.right(), bbox.bottom(), 0.0, 0.0).map(|corner| corner.rounded(layout.canvas));
            let (right, bottom) = right_bottom.map_or((bbox.right(), bbox.bottom()), |corner| (corner.x(), corner.y()));
            json!({
                "label": phrase,
                "points": [[bbox.x(), bbox.y()], [right, bottom]],
                "group_id": null,
                "description": "",
                "shape_type": "rectangle",
                "flags": {},
            })
        })
        .collect();
    let file = json!({
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": "layout.png",
        "imageData": null,
        "imageHeight": layout.canvas.height(),
        "imageWidth": layout.canvas.width(),
        "background": layout.background,
        "negative": layout.negative,
    });
    format!("{file:#}\n")
}

/// Shapes that are one thing.
struct Group {
    /// Which object it is.
    place: usize,
    corners: Corners,
}

/// Left, top, right and bottom in pixels.
#[derive(Debug, Clone, Copy)]
struct Corners([f64; 4]);

impl Corners {
    /// Around some points, in whatever order they were drawn.
    fn around(points: &[[f64; 2]]) -> Self {
        points
            .iter()
            .fold(Corners([f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY]), |corners, [x, y]| {
                corners.joined(&Corners([*x, *y, *x, *y]))
            })
    }

    fn joined(&self, other: &Self) -> Self {
        let (Corners([l, t, r, b]), Corners([l2, t2, r2, b2])) = (self, other);
        Corners([l.min(*l2), t.min(*t2), r.max(*r2), b.max(*b2)])
    }

    fn pixels(&self) -> Result<PixelBox> {
        let Corners([left, top, right, bottom]) = self;
        PixelBox::new(*left, *top, right - left, bottom - top)
    }
}

fn label(shape: &Map<String, Value>) -> String {
    let label = shape.get("label");
    let text = label.and_then(Value::as_str).map(str::to_owned).or_else(|| id(label));
    phrase_of(&text.unwrap_or_default())
}

/// The kind of a shape; files of the first versions have polygons alone and do not say so.
fn kind(shape: &Map<String, Value>) -> &str {
    match text_of(shape.get("shape_type")) {
        "" => "polygon",
        kind => kind,
    }
}

/// The corners around a shape, or why it has none.
fn corners(shape: &Map<String, Value>) -> std::result::Result<Corners, String> {
    let points = shape.get("points").and_then(Value::as_array);
    let points = points.filter(|points| !points.is_empty()).ok_or("it has no points")?;
    let points = points.iter().map(|point| numbers::<2>(Some(point))).collect::<std::result::Result<Vec<_>, _>>();
    let points = points.map_err(|reason| format!("its point {reason}"))?;
    match (kind(shape), points.as_slice()) {
        // The centre, and a point on the edge.
        ("circle", [[x, y], [edge_x, edge_y]]) => {
            let radius = (edge_x - x).hypot(edge_y - y);
            Ok(Corners([x - radius, y - radius, x + radius, y + radius]))
        }
        ("circle", _) => Err(format!("a circle has 2 points, it has {}", points.len())),
        ("point" | "points" | "line" | "linestrip", _) => Err(format!("a {} is around nothing", kind(shape))),
        (kind, [_]) => Err(format!("a {kind} has more than 1 point")),
        (_, points) => Ok(Corners::around(points)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Canvas;
    use crate::parse::parse_answer;

    fn told(shapes: &str) -> (Vec<String>, Vec<String>) {
        let text = format!(
            r#"{{"version": "5.5.0", "flags": {{}}, "shapes": [{shapes}], "imagePath": "a.jpg", "imageHeight": 480, "imageWidth": 640}}"#
        );
        let Imported { layout, notes } = read(&text, &Hints::default()).unwrap();
        assert_eq!(layout.canvas.to_string(), "640×480");
        (layout.objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox)).collect(), notes)
    }

    #[test]
    fn a_layout_comes_back_as_it_was() {
        let answer = "[('a cat', [1, 2.5, 30, 40]), ('a dog', [100, 2, 30.7, 40])]\nBackground prompt: A room\nNegative prompt: birds";
        let layout = parse_answer(answer).unwrap();
        let written = write(&layout);
        assert!(written.contains("130.7"));
        let back = read(&written, &Hints::default()).unwrap();
        assert_eq!((back.layout.rounded(), back.notes), (layout, Vec::new()));
    }

    #[test]
    fn every_shape_around_something_is_a_box() {
        for (shape, expected, note) in [
            (r#""shape_type": "rectangle", "points": [[30, 40], [10, 20]]"#, "[10, 20, 20, 20]", None),
            (
                r#""shape_type": "rectangle", "points": [[10, 20], [30, 20], [30, 40], [10, 40]]"#,
                "[10, 20, 20, 20]",
                None,
            ),
            (r#""points": [[10, 20], [30, 25], [20, 40]]"#, "[10, 20, 20, 20]", Some("polygon")),
            (r#""shape_type": "circle", "points": [[100, 100], [103, 104]]"#, "[95, 95, 10, 10]", Some("circle")),
            (r#""shape_type": "mask", "points": [[1, 2], [3, 5]], "mask": "iVBOR""#, "[1, 2, 2, 3]", Some("mask")),
        ] {
            let (objects, notes) = told(&format!(r#"{{"label": "a cat", {shape}}}"#));
            assert_eq!(objects, [format!("a cat {expected}")]);
            let expected: Vec<String> =
                note.map(|kind| format!("the {kind} of `a cat` is read as the box around it")).into_iter().collect();
            assert_eq!(notes, expected);
        }
    }

    #[test]
    fn odd_shapes_are_left_out_and_told() {
        let good = r#"{"label": 7, "points": [["10", 20], [30, 40]], "shape_type": "rectangle"}"#;
        for (shape, reason) in [
            (r#""shape_type": "point", "points": [[1, 2]]"#, "a point is around nothing"),
            (r#""shape_type": "line", "points": [[1, 2], [3, 4]]"#, "a line is around nothing"),
            (r#""shape_type": "linestrip", "points": [[1, 2], [3, 4], [5, 6]]"#, "a linestrip is around nothing"),
            (r#""shape_type": "rectangle", "points": [[1, 2], [1, 9]]"#, "its box [[1,2],[1,9]] has no area"),
            (r#""shape_type": "rectangle", "points": [[1, 2]]"#, "more than 1 point"),
            (r#""shape_type": "circle", "points": [[1, 2]]"#, "a circle has 2 points"),
            (r#""shape_type": "rectangle", "points": []"#, "it has no points"),
            (r#""shape_type": "rectangle", "points": null"#, "it has no points"),
            (r#""shape_type": "polygon", "points": [[1, 2], [3], [4, 5]]"#, "its point [3] is not 2 numbers"),
        ] {
            let (objects, notes) = told(&format!(r#"{{"label": "a cat", {shape}}}, {good}"#));
            assert_eq!(objects, ["7 [10, 20, 20, 20]"], "{shape}");
            assert!(
                matches!(&notes[..], [note] if note.starts_with("`a cat` is left out") && note.contains(reason)),
                "{notes:?}"
            );
        }
    }

    #[test]
    fn shapes_of_a_group_are_one_thing() {
        let shape = |label: &str, group: &str, x: f64| {
            format!(
                r#"{{"label": "{label}", "group_id": {group}, "shape_type": "rectangle", "points": [[{x}, 10], [{}, 20]]}}"#,
                x + 5.0
            )
        };
        let shapes = [
            shape("a cat", "1", 10.0),
            shape("a dog", "1", 90.0),
            shape("a cat", "1", 30.0),
            shape("a cat", "null", 50.0),
        ];
        assert_eq!(
            told(&shapes.join(",")).0,
            ["a cat [10, 10, 25, 10]", "a dog [90, 10, 5, 10]", "a cat [50, 10, 5, 10]"]
        );
    }

    #[test]
    fn many_shapes_of_many_groups_are_read_to_their_limit() {
        let shape = |group: usize| {
            format!(
                r#"{{"label": "a cat", "group_id": {}, "shape_type": "rectangle", "points": [[1, 1], [{group}, 9]]}}"#,
                group % 150
            )
        };
        let shapes: Vec<String> = (2..20_002).map(shape).collect();
        let (objects, notes) = told(&shapes.join(","));
        assert_eq!((objects.len(), notes), (150, vec!["only the first 10000 of 20000 shapes are read".to_owned()]));
    }

    #[test]
    fn a_file_without_a_size_needs_one() {
        let text = r#"{"shapes": [], "imageHeight": null, "imageWidth": 0, "imagePath": "a.jpg"}"#;
        assert!(read(text, &Hints::default()).unwrap_err().to_string().contains("--canvas"));
        let canvas = Some(Canvas::PUBLISHED);
        assert!(read(text, &Hints { canvas, image: None }).is_ok());
        assert!(read("{\"shapes\": 3}", &Hints { canvas, image: None }).unwrap_err().fault().is_some());
        assert!(read("[]", &Hints::default()).unwrap_err().fault().is_some());
    }
}
