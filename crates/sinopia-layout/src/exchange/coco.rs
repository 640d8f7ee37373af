//! COCO object detection files: images, categories, and boxes as `[x, y, width, height]` in pixels.
//!
//! A category is a phrase. COCO has no place for the background and the negative prompt; they are written as fields of the image
//! that other readers pass over.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{check_objects, read_json, refused};
use crate::error::Result;
use crate::geometry::{Canvas, PixelBox};
use crate::layout::{Layout, LayoutObject};

const FORMAT: &str = "COCO file";

/// Reads the boxes of one image; `image` is its id and can be left out if there is only one image.
///
/// # Errors
/// [`Error::Text`](crate::Error::Text) where it is no JSON of that form, [`Error::Exchange`](crate::Error::Exchange) for a missing
/// image or category, [`Error::TooManyBoxes`](crate::Error::TooManyBoxes).
pub fn read(text: &str, image: Option<u64>) -> Result<Layout> {
    let file: File = read_json(text, FORMAT)?;
    let image = match (image, file.images.as_slice()) {
        (Some(id), images) => images.iter().find(|image| image.id == id),
        (None, [only]) => Some(only),
        (None, images) => return Err(refused(FORMAT, format!("it has {} images; say which by its id", images.len()))),
    };
    let image = image.ok_or_else(|| refused(FORMAT, "it has no image with that id"))?;
    let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
    let canvas = Canvas::new(side(image.width), side(image.height))?;
    let name = |id: u64| {
        let category = file.categories.iter().find(|category| category.id == id);
        category
            .map(|category| category.name.clone())
            .ok_or_else(|| refused(FORMAT, format!("it has no category {id}")))
    };
    let mut objects = Vec::new();
    for annotation in file.annotations.iter().filter(|annotation| annotation.image_id == image.id) {
        let [x, y, width, height] = annotation.bbox;
        objects.push(LayoutObject { phrase: name(annotation.category_id)?, bbox: PixelBox::new(x, y, width, height)? });
    }
    check_objects(&objects)?;
    Ok(Layout { canvas, objects, background: image.background.clone(), negative: image.negative.clone() })
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
            "area": bbox.width() * bbox.height(),
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

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    width: u64,
    height: u64,
    #[serde(default)]
    background: String,
    #[serde(default)]
    negative: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_answer;

    #[test]
    fn a_layout_comes_back_as_it_was() {
        let answer = "[('a cat', [1, 2.5, 30, 40]), ('a dog', [100, 2, 30, 40]), ('a cat', [200, 2, 30, 40])]\nBackground prompt: A \"room\"\nNegative prompt: birds";
        let layout = parse_answer(answer).unwrap();
        let written = write(&layout);
        assert_eq!(read(&written, None).unwrap(), layout);
        assert_eq!(read(&written, Some(1)).unwrap(), layout);
        let file: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(file["categories"].as_array().unwrap().len(), 2);
        assert_eq!(file["annotations"][0]["bbox"], json!([1, 2.5, 30, 40]));
    }

    #[test]
    fn a_file_of_others_is_read_by_image() {
        let text = r#"{"info": {}, "licenses": [], "images": [{"id": 7, "width": 640, "height": 480, "file_name": "a.jpg"},
            {"id": 9, "width": 100, "height": 200, "file_name": "b.jpg"}],
            "annotations": [{"id": 1, "image_id": 9, "category_id": 18, "bbox": [10.5, 20, 30, 40], "segmentation": [], "iscrowd": 0}],
            "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}]}"#;
        let layout = read(text, Some(9)).unwrap();
        assert_eq!((layout.canvas.to_string().as_str(), layout.objects[0].phrase.as_str()), ("100×200", "dog"));
        assert!(read(text, Some(7)).unwrap().objects.is_empty());
        assert!(read(text, None).unwrap_err().to_string().contains("2 images"));
        assert!(read(text, Some(8)).unwrap_err().to_string().contains("no image"));
        assert!(
            read(&text.replace("\"id\": 18", "\"id\": 19"), Some(9)).unwrap_err().to_string().contains("category 18")
        );
        assert!(read("{\"images\": 3}", None).unwrap_err().fault().is_some());
    }
}
