//! COCO object detection files: images, categories, and boxes as `[x, y, width, height]` in pixels; and lists of detections, which are
//! annotations without a file around them.
//!
//! A category is a phrase. COCO has no place for the background and the negative prompt; they are written as fields of the image
//! that other readers pass over.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::coco_names;
use super::notes::Notes;
use super::reading::{
    Hints, Imported, canvas_of, check_count, list, looked_at, phrase_of, quoted, read_json, refused, take,
    unknown_size, wrong,
};
use super::values::{self, id, number, numbers, shown};
use crate::error::Result;
use crate::geometry::{Canvas, PixelBox};
use crate::layout::{Layout, LayoutObject};
use crate::wording::counted;

const FORMAT: &str = "COCO file";

/// Most ids that a message names.
const SHOWN_IDS: usize = 8;

/// What an annotation has and a layout does not.
const LOST: [(&str, &str); 4] = [
    ("segmentation", "the segmentation masks"),
    ("keypoints", "the key points"),
    ("score", "the scores"),
    ("attributes", "the attributes"),
];

/// Reads the boxes of one image, the only one or the only one with annotations unless `hints` name another. Annotations that cannot be
/// used, crowds and those of other images are left out and told.
///
/// # Errors
/// [`Error::Text`](crate::Error::Text) where it is no JSON of that form, [`Error::Exchange`](crate::Error::Exchange) if it is not clear
/// which image is meant or how large it is, [`Error::TooManyBoxes`](crate::Error::TooManyBoxes).
pub fn read(text: &str, hints: &Hints) -> Result<Imported> {
    let mut notes = Notes::default();
    let file = File::parse(text)?;
    let image = file.image(hints.image.as_deref(), &mut notes)?;
    let canvas = match (image.canvas()?, hints.canvas) {
        (Some(canvas), _) | (None, Some(canvas)) => canvas,
        (None, None) => return Err(unknown_size(FORMAT)),
    };
    let mut objects = Vec::new();
    let mut lost = [0; LOST.len()];
    let is_of_image = |one: &&Annotation| one.image.as_ref().is_none_or(|other| *other == image.id);
    let annotations: Vec<&Annotation> = file.annotations.iter().filter(is_of_image).collect();
    let of_others = file.annotations.len() - annotations.len();
    for annotation in looked_at(&annotations, "annotation", &mut notes) {
        let name = match file.name(annotation) {
            Ok(name) => name,
            Err(reason) => {
                notes.add(format!("{} is left out: {reason}", annotation.told()));
                continue;
            }
        };
        if annotation.fields.get("iscrowd").is_some_and(values::says_something) {
            notes.add(format!("a crowd of {} is left out: its box is not around one thing", quoted(name)));
            continue;
        }
        let bbox = annotation.fields.get("bbox");
        let taken = objects.len();
        match numbers::<4>(bbox) {
            Ok([x, y, width, height]) => {
                let written = bbox.map(shown).unwrap_or_default();
                take(&mut objects, &mut notes, name, PixelBox::new(x, y, width, height), &written);
            }
            Err(reason) => notes.add(format!("{} is left out: its box {reason}", quoted(name))),
        }
        if objects.len() > taken {
            for (count, (key, _)) in lost.iter_mut().zip(LOST) {
                *count += usize::from(annotation.fields.get(key).is_some_and(values::says_something));
            }
        }
    }
    if of_others > 0 {
        let is = if of_others == 1 { "is" } else { "are" };
        notes.add(format!("{} of other images {is} left out", counted(of_others, "annotation")));
    }
    if file.categories.is_empty() && !objects.is_empty() {
        notes.add("there are no categories in it: the names are those that COCO gives to the ids");
    }
    for (count, (_, what)) in lost.into_iter().zip(LOST).filter(|(count, _)| *count > 0) {
        notes.add(format!("{what} of {} are lost", counted(count, "object")));
    }
    check_count(&objects)?;
    let layout = Layout { canvas, objects, background: image.background.clone(), negative: image.negative.clone() };
    Ok(Imported { layout, notes: notes.into_lines() })
}

/// Writes a layout as the only image of a COCO file. [`read`] gives it back as it was.
pub fn write(layout: &Layout) -> String {
    let mut phrases: Vec<&str> = Vec::new();
    let mut annotations = Vec::new();
    for (index, LayoutObject { phrase, bbox }) in layout.objects.iter().enumerate() {
        let category = phrases.iter().position(|known| known == phrase).unwrap_or_else(|| {
            phrases.push(phrase);
            phrases.len() - 1
        });
        annotations.push(json!({
            "id": index + 1,
            "image_id": 1,
            "category_id": category + 1,
            "bbox": bbox,
            "area": (bbox.width() * bbox.height() * 1e3).round() / 1e3, // in few digits
            "iscrowd": 0,
        }));
    }
    let categories: Vec<Value> = phrases
        .iter()
        .enumerate()
        .map(|(index, name)| json!({"id": index + 1, "name": name, "supercategory": ""}))
        .collect();
    let file = json!({
        "images": [{
            "id": 1,
            "file_name": "layout.png",
            "width": layout.canvas.width(),
            "height": layout.canvas.height(),
            "background": layout.background,
            "negative": layout.negative,
        }],
        "annotations": annotations,
        "categories": categories,
    });
    format!("{file:#}\n")
}

/// What is read of a file.
struct File {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    /// Names by id.
    categories: HashMap<String, String>,
}

#[derive(Debug, Default, Clone)]
struct Image {
    id: String,
    width: Option<f64>,
    height: Option<f64>,
    background: String,
    negative: String,
}

#[derive(Debug)]
struct Annotation {
    image: Option<String>,
    fields: Map<String, Value>,
}

impl File {
    fn parse(text: &str) -> Result<Self> {
        match read_json(text, FORMAT)? {
            // A list of detections.
            Value::Array(results) => Ok(Self::new(Vec::new(), results.iter(), HashMap::new())),
            Value::Object(map) => {
                let images = list(text, &map, "images")?.iter().filter_map(Image::of).collect();
                let mut categories = HashMap::new();
                for category in list(text, &map, "categories")? {
                    let name = category.get("name");
                    let name = name.and_then(Value::as_str).map(str::to_owned).or_else(|| id(name));
                    if let (Some(id), Some(name)) = (id(category.get("id")), name) {
                        categories.entry(id).or_insert_with(|| named(&name)); // of two of one id the first
                    }
                }
                let annotations = list(text, &map, "annotations")?;
                if !map.contains_key("images") && annotations.is_empty() {
                    return Err(wrong(text, "images", "there"));
                }
                Ok(Self::new(images, annotations.iter(), categories))
            }
            _ => Err(wrong(text, "images", "there")),
        }
    }

    fn new<'a>(
        images: Vec<Image>,
        annotations: impl Iterator<Item = &'a Value>,
        categories: HashMap<String, String>,
    ) -> Self {
        let annotations: Vec<Annotation> = annotations.flat_map(Annotation::of).collect();
        let mut file = Self { images, annotations, categories };
        if file.images.is_empty() {
            // Images that only their annotations speak of have no size.
            let ids: BTreeSet<&String> = file.annotations.iter().filter_map(|one| one.image.as_ref()).collect();
            let image = |id: &str| Image { id: id.to_owned(), ..Image::default() };
            file.images = ids.into_iter().map(|id| image(id)).collect();
            if file.images.is_empty() && !file.annotations.is_empty() {
                file.images = vec![image("")];
            }
        }
        file
    }

    /// The image of this id; without one the only image, or the only one that has annotations.
    fn image(&self, wanted: Option<&str>, notes: &mut Notes) -> Result<&Image> {
        if let Some(wanted) = wanted {
            let found = self.images.iter().find(|image| image.id == wanted.trim());
            let problem = || format!("it has no image with the id `{wanted}`{}", self.shown_ids());
            return found.ok_or_else(|| refused(FORMAT, problem()));
        }
        let spoken_of: BTreeSet<&String> = self.annotations.iter().filter_map(|one| one.image.as_ref()).collect();
        let annotated: Vec<&Image> = self.images.iter().filter(|image| spoken_of.contains(&image.id)).collect();
        match (self.images.as_slice(), annotated.as_slice()) {
            ([], _) => Err(refused(FORMAT, "it has no images")),
            ([only], _) => Ok(only),
            (all, [only]) => {
                let others = counted(all.len() - 1, "other image");
                notes.add(format!("the image `{}` is read; {others} without annotations left out", only.id));
                Ok(only)
            }
            (all, _) => {
                let problem = format!("it has {} images; say which by its id{}", all.len(), self.shown_ids());
                Err(refused(FORMAT, problem))
            }
        }
    }

    fn shown_ids(&self) -> String {
        let ids: Vec<&str> = self.images.iter().take(SHOWN_IDS).map(|image| image.id.as_str()).collect();
        let more = if self.images.len() > SHOWN_IDS { ", …" } else { "" };
        format!(" ({}{more})", ids.join(", "))
    }

    /// The name of an annotation's category, or why it has none.
    fn name(&self, annotation: &Annotation) -> std::result::Result<&str, String> {
        let fields = &annotation.fields;
        let Some(category) = id(fields.get("category_id")) else {
            return Err("it has no `category_id`".to_owned());
        };
        let known = self.categories.get(&category).map(String::as_str);
        let name = if self.categories.is_empty() { coco_names::name(&category) } else { known };
        name.ok_or_else(|| format!("there is no category {category}"))
    }
}

/// A category's name as a phrase. Every annotation of the category is told by it, so it is no longer than repairing needs to cut and tell it.
fn named(name: &str) -> String {
    phrase_of(name).chars().take(Layout::MAX_PHRASE_CHARS + 1).collect()
}

impl Image {
    fn of(value: &Value) -> Option<Self> {
        let own = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let side = |key: &str| value.get(key).and_then(number);
        Some(Self {
            id: id(value.get("id"))?,
            width: side("width"),
            height: side("height"),
            background: own("background"),
            negative: own("negative"),
        })
    }

    /// Its size, if the file says it.
    fn canvas(&self) -> Result<Option<Canvas>> {
        let (Some(width), Some(height)) = (self.width, self.height) else { return Ok(None) };
        if width <= 0.0 && height <= 0.0 {
            return Ok(None); // unknown, as some writers have it
        }
        canvas_of(width, height).map(Some)
    }
}

impl Annotation {
    /// The annotations of an entry: itself, or the segments of a panoptic one.
    fn of(value: &Value) -> Vec<Self> {
        let fields = value.as_object().cloned().unwrap_or_default();
        let image = id(fields.get("image_id"));
        match fields.get("segments_info").and_then(Value::as_array) {
            Some(segments) => {
                let segments = segments.iter().map(|segment| segment.as_object().cloned().unwrap_or_default());
                segments.map(|fields| Self { image: image.clone(), fields }).collect()
            }
            None => vec![Self { image, fields }],
        }
    }

    fn told(&self) -> String {
        match id(self.fields.get("id")) {
            Some(id) => format!("the annotation `{id}`"),
            None => "an annotation".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::parse::parse_answer;

    fn read_image(text: &str, image: &str) -> Result<Imported> {
        read(text, &Hints { canvas: None, image: Some(image.to_owned()) })
    }

    fn read_only(text: &str) -> Result<Imported> {
        read(text, &Hints::default())
    }

    fn told(imported: &Imported) -> Vec<String> {
        imported.layout.objects.iter().map(|object| format!("{} {}", object.phrase, object.bbox)).collect()
    }

    #[test]
    fn a_layout_comes_back_as_it_was() {
        let answer = "[('a cat', [1, 2.5, 30, 40]), ('a dog', [100, 2, 30, 40]), ('a cat', [200, 2, 30, 40])]\nBackground prompt: A \"room\"\nNegative prompt: birds";
        let layout = parse_answer(answer).unwrap();
        let written = write(&layout);
        let whole = Imported { layout, notes: Vec::new() };
        assert_eq!(read_only(&written).unwrap(), whole);
        assert_eq!(read_image(&written, "1").unwrap(), whole);
        let file: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(file["categories"].as_array().unwrap().len(), 2);
        assert_eq!(file["annotations"][0]["bbox"], json!([1, 2.5, 30, 40]));
        let thin = parse_answer("[('a cat', [0, 0, 0.1, 3])]\nBackground prompt: x").unwrap();
        assert!(write(&thin).contains("\"area\": 0.3,"));
    }

    #[test]
    fn a_file_of_others_is_read_by_image() {
        let text = r#"{"info": {}, "licenses": [], "images": [{"id": 7, "width": 640, "height": 480, "file_name": "a.jpg"},
            {"id": 9, "width": 100, "height": 200, "file_name": "b.jpg"}],
            "annotations": [{"id": 1, "image_id": 9, "category_id": 18, "bbox": [10.5, 20, 30, 40], "segmentation": [], "iscrowd": 0},
                {"id": 2, "image_id": 7, "category_id": 18, "bbox": [1, 2, 3, 4], "iscrowd": 0}],
            "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}]}"#;
        let of_nine = read_image(text, "9").unwrap();
        assert_eq!(
            (of_nine.layout.canvas.to_string().as_str(), told(&of_nine)),
            ("100×200", vec!["dog [10.5, 20, 30, 40]".to_owned()])
        );
        assert_eq!(of_nine.notes, ["1 annotation of other images is left out"]);
        assert!(read_only(text).unwrap_err().to_string().contains("2 images; say which by its id (7, 9)"));
        assert!(read_image(text, "8").unwrap_err().to_string().contains("no image with the id `8` (7, 9)"));
        assert!(read_only("{\"images\": 3}").unwrap_err().fault().is_some());
        assert!(read_only("{\"images\": []}").unwrap_err().to_string().contains("no images"));
        // The only image with annotations is meant.
        let one = read_only(&text.replace("\"image_id\": 7", "\"image_id\": \"9\"")).unwrap();
        assert_eq!((told(&one).len(), one.notes.len()), (2, 1));
        assert!(one.notes[0].contains("`9` is read; 1 other image without"), "{:?}", one.notes);
    }

    #[test]
    fn a_bad_annotation_is_left_out_and_told() {
        let good = r#"{"id": 1, "image_id": "a7", "category_id": "2", "bbox": ["300", 200, 200, 150.5], "segmentation": [[1, 2, 3, 4, 5, 6]]}"#;
        for (bad, reason) in [
            (
                r#"{"image_id": "a7", "category_id": 2, "bbox": [50.73, 89.65, 198.14, 0.0]}"#,
                "`car` is left out: its box [50.73,89.65,198.14,0.0] has no area",
            ),
            (r#"{"image_id": "a7", "category_id": 2, "bbox": [50, 60, -7, 8]}"#, "has no area"),
            (r#"{"image_id": "a7", "category_id": 2, "bbox": []}"#, "`car` is left out: its box [] is not 4 numbers"),
            (r#"{"image_id": "a7", "category_id": 2, "bbox": null}"#, "its box null is not 4 numbers"),
            (
                r#"{"image_id": "a7", "category_id": 2, "bbox": [NaN, 1, 2, 3]}"#,
                "its box [null,1,2,3] is not 4 numbers",
            ),
            (r#"{"image_id": "a7", "category_id": 2}"#, "its box is missing"),
            (
                r#"{"image_id": "a7", "category_id": 2, "bbox": [1e12, 1, 2, 3]}"#,
                "`car` is left out: box [1000000000000, 1, 2, 3]",
            ),
            (
                r#"{"image_id": "a7", "category_id": 2, "bbox": [1, 1, 2, 3], "iscrowd": 1}"#,
                "a crowd of `car` is left out",
            ),
            (
                r#"{"id": 5, "image_id": "a7", "category_id": 3, "bbox": [1, 1, 2, 3]}"#,
                "the annotation `5` is left out: there is no category 3",
            ),
            (r#"{"image_id": "a7", "bbox": [1, 1, 2, 3]}"#, "it has no `category_id`"),
            (r#"{"image_id": 12, "category_id": 2, "bbox": [1, 1, 2, 3]}"#, "1 annotation of other images is left out"),
            (r#"{"image_id": "a7", "category_id": 4, "bbox": [1, 1, 2, 3]}"#, "an object without a name is left out"),
            ("7", "an annotation is left out"),
        ] {
            let text = format!(
                r#"{{"images": [{{"id": "a7", "width": 640, "height": 480}}], "annotations": [{bad}, {good}],
                "categories": [{{"id": 2, "name": "car"}}, {{"id": 4, "name": ""}}]}}"#
            );
            let imported = read_only(&text).unwrap();
            assert_eq!(told(&imported), ["car [300, 200, 200, 150.5]"], "{bad}");
            let [told, masks] = imported.notes.as_slice() else { panic!("{:?}", imported.notes) };
            assert!([told, masks].iter().any(|note| note.contains(reason)), "{:?} without {reason}", imported.notes);
            assert!(imported.notes.contains(&"the segmentation masks of 1 object are lost".to_owned()));
        }
    }

    /// Looking through the categories for every annotation would take minutes, and copying the name for each gigabytes.
    #[test]
    fn many_categories_and_long_names_are_no_work() {
        let of = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(",");
        let file = |categories: String, annotations: String| {
            read_only(&format!(
                r#"{{"images": [{{"id": 1, "width": 64, "height": 48}}], "categories": [{categories}], "annotations": [{annotations}]}}"#
            ))
        };
        let categories = of(200_000, &|id| format!(r#"{{"id": {id}, "name": "a"}}"#));
        let annotations = of(20_000, &|_| r#"{"category_id": 199999, "bbox": [1, 2, 0, 4]}"#.to_owned());
        let notes = file(categories, annotations).unwrap().notes;
        assert_eq!(notes[0], "only the first 10000 of 20000 annotations are read");
        assert_eq!(notes.last().unwrap(), "and 9961 more of this kind");
        let long = format!(r#"{{"id": 7, "name": "{}"}}"#, "x".repeat(8_000_000));
        let annotations = |count| of(count, &|_| r#"{"category_id": 7, "bbox": [1, 2, 3, 4]}"#.to_owned());
        let error = file(long.clone(), annotations(9000)).unwrap_err();
        assert!(matches!(error, Error::TooManyBoxes { found: 9000, .. }), "{error}");
        // Repairing cuts such a name and tells it.
        let one = file(long, annotations(1)).unwrap().layout.objects;
        assert_eq!(one[0].phrase.len(), Layout::MAX_PHRASE_CHARS + 1);
        // One image's id that all segments of an entry have.
        let panoptic = format!(
            r#"[{{"image_id": "{}", "segments_info": [{}]}}]"#,
            "x".repeat(8_000_000),
            of(200_000, &|_| "{}".to_owned())
        );
        assert!(
            read(&panoptic, &Hints { canvas: Some(Canvas::PUBLISHED), image: None }).unwrap().layout.objects.is_empty()
        );
    }

    #[test]
    fn detections_need_a_size_and_have_cocos_names() {
        let text = r#"[{"image_id": 42, "category_id": 18, "bbox": [258.15, 41.29, 348.26, 243.78], "score": 0.236}]"#;
        assert!(read_only(text).unwrap_err().to_string().contains("--canvas"));
        let canvas = Some(Canvas::new(640, 480).unwrap());
        let imported = read(text, &Hints { canvas, image: None }).unwrap();
        assert_eq!(told(&imported), ["dog [258.15, 41.29, 348.26, 243.78]"]);
        assert!(
            imported.notes.iter().any(|note| note.contains("COCO"))
                && imported.notes.iter().any(|note| note.contains("scores"))
        );
        let panoptic = r#"{"images": [{"id": 1, "width": 64, "height": 48}], "categories": [{"id": 5, "name": "sky"}, {"id": 6, "name": "dog"}],
            "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": [
                {"id": 9, "category_id": 5, "bbox": [0, 0, 64, 20], "iscrowd": 0}, {"id": 8, "category_id": 6, "bbox": [5, 5, 6, 7], "iscrowd": 1}]}]}"#;
        let imported = read_only(panoptic).unwrap();
        assert_eq!((told(&imported), imported.notes.len()), (vec!["sky [0, 0, 64, 20]".to_owned()], 1));
    }

    #[test]
    fn sizes_are_the_files_own() {
        let text = |size: &str| {
            format!(
                r#"{{"images": [{{"id": 1{size}}}], "annotations": [{{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}}]}}"#
            )
        };
        let canvas = |size: &str| {
            read(&text(size), &Hints { canvas: Some(Canvas::PUBLISHED), image: None })
                .map(|read| read.layout.canvas.to_string())
        };
        assert_eq!(canvas(r#", "width": "64", "height": 48.0"#).unwrap(), "64×48");
        assert_eq!(canvas(r#", "width": null, "height": null"#).unwrap(), "512×512");
        assert_eq!(canvas(r#", "width": 0, "height": 0"#).unwrap(), "512×512");
        assert!(matches!(canvas(r#", "width": 99999, "height": 48"#), Err(Error::Canvas { width: 99999, .. })));
        assert!(matches!(canvas(r#", "width": -5, "height": 48"#), Err(Error::Canvas { .. })));
    }
}
