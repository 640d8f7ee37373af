//! Real answers of two language models: all of them parse, and become scenes once repaired. And answers in thirty shapes that models give them.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use serde_json::Value;
use sinopia_layout::{
    Canvas, Layout, LayoutCache, RepairMode, Scene, parse_answer, read_answer, repair, repair_with, write_answer,
};

const SAMPLE: &str = include_str!("data/answers.json");
/// Answers by a name of their shape, with the canvas they are for and the layout that is meant; `null` where none is.
const SHAPES: &str = include_str!("data/shapes.json");

#[test]
fn answers_of_all_shapes_are_understood() {
    let shapes: Vec<Value> = serde_json::from_str(SHAPES).unwrap();
    let side = |shape: &Value, index: usize| u32::try_from(shape["canvas"][index].as_u64().unwrap()).unwrap();
    for shape in &shapes {
        let canvas = Canvas::new(side(shape, 0), side(shape, 1)).unwrap();
        let read = read_answer(shape["answer"].as_str().unwrap(), canvas);
        let Some(objects) = shape["objects"].as_array() else {
            assert!(read.is_err(), "{}: {read:?}", shape["name"]);
            continue;
        };
        let Layout { objects: found, background, negative, .. } = read.unwrap().layout;
        assert_eq!(
            (background.as_str(), negative.as_str()),
            (shape["background"].as_str().unwrap(), shape["negative"].as_str().unwrap())
        );
        assert_eq!(found.len(), objects.len(), "{}", shape["name"]);
        for (object, expected) in found.iter().zip(objects) {
            let sides = [object.bbox.x(), object.bbox.y(), object.bbox.width(), object.bbox.height()];
            let is_near =
                sides.iter().zip(expected[1].as_array().unwrap()).all(|(a, b)| (a - b.as_f64().unwrap()).abs() < 0.01);
            assert!(is_near && object.phrase == expected[0].as_str().unwrap(), "{}: {object:?}", shape["name"]);
        }
    }
    assert_eq!(shapes.len(), 30);
}

#[test]
fn every_answer_becomes_a_scene() {
    let cache = LayoutCache::from_json(SAMPLE).unwrap();
    let mut count = 0;
    for (caption, answers) in cache.iter() {
        for occurrence in 0..answers.len() {
            let layout = cache.layout(caption, occurrence).unwrap_or_else(|error| panic!("{caption}: {error}"));
            let (repaired, report) = repair(layout.clone());
            assert!(repaired.is_inside_canvas(), "{caption}: {report}");
            Scene::compose(&repaired).unwrap_or_else(|error| panic!("{caption}: {error}"));
            let (published, _) = repair_with(layout, RepairMode::Published { scale: false });
            assert!(published.is_inside_canvas(), "{caption}");
            count += 1;
        }
    }
    assert_eq!(count, 35);
}

/// The recorded answers are in normal form, so writing them again gives the same bytes.
#[test]
fn every_answer_is_written_as_it_was() {
    let cache = LayoutCache::from_json(SAMPLE).unwrap();
    for answer in cache.iter().flat_map(|(_, answers)| answers) {
        assert_eq!(&write_answer(&parse_answer(answer).unwrap()), answer);
    }
}

#[test]
fn a_full_canvas_box_named_after_the_background_is_dropped() {
    let cache = LayoutCache::from_json(SAMPLE).unwrap();
    let layout = cache.layout("A realistic photo of a scene without laptops", 0).unwrap();
    assert_eq!(layout.objects.len(), 1);
    assert!(repair(layout).0.objects.is_empty());
}

#[test]
fn the_composed_prompts() {
    let cache = LayoutCache::from_json(SAMPLE).unwrap();
    let caption = "A realistic image of a white deer and a gray bear in an empty factory scene";
    let scene = Scene::compose(&repair(cache.layout(caption, 0).unwrap()).0).unwrap();
    assert_eq!(scene.overall().text, "A realistic image of an empty factory scene with a gray bear, a white deer");
    let caption = "A realistic photo of a wooden table without bananas in an indoor scene";
    let scene = Scene::compose(&repair(cache.layout(caption, 0).unwrap()).0).unwrap();
    assert!(scene.overall_negative().starts_with("bananas, artifacts"));
}
