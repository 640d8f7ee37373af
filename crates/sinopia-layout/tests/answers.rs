//! Real answers of two language models: all of them parse, and become scenes once repaired.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use sinopia_layout::{LayoutCache, RepairMode, Scene, parse_answer, repair, repair_with, write_answer};

const SAMPLE: &str = include_str!("data/answers.json");

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
