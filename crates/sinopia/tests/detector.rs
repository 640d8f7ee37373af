//! The built-in detector on held-out drawn scenes, asked as the benchmark asks: things, colours, boxes, counts; and that it finds nothing that is not there.
//!
//! `training/evaluate_detector.py --scenes` draws the scenes; `training/REPORT.md` has the figures over all 600.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;

use image::RgbImage;
use serde::Deserialize;
use sinopia_eval::evaluators::Question;
use sinopia_eval::{Detector, Evaluator, Prediction, Protocol, Query};
use sinopia_layout::PixelBox;

const SCENES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenes");

#[derive(Deserialize)]
struct World {
    kinds: Vec<String>,
    colors: Vec<String>,
    scenes: Vec<Scene>,
}

#[derive(Deserialize)]
struct Scene {
    file: String,
    things: Vec<Thing>,
}

#[derive(Deserialize)]
struct Thing {
    kind: String,
    color: String,
    bbox: [f64; 4],
}

impl Scene {
    fn picture(&self) -> RgbImage {
        image::open(Path::new(SCENES).join(&self.file)).unwrap().into_rgb8()
    }
}

fn world() -> World {
    serde_json::from_slice(&std::fs::read(Path::new(SCENES).join("scenes.json")).unwrap()).unwrap()
}

fn detector() -> Detector {
    Detector::from_embedded(sinopia_miniature::NAME, sinopia_miniature::DETECTOR_FILES).unwrap()
}

fn article(words: &str) -> String {
    format!("{} {words}", if words.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

/// What is seen when these texts are asked for together, each group's doubles suppressed.
fn look(detector: &Detector, picture: &RgbImage, texts: &[(String, usize)], protocol: Protocol) -> Vec<Prediction> {
    let queries = || texts.iter().map(|(text, group)| Query { text: text.clone(), group: *group }).collect();
    let texts: Vec<String> = texts.iter().map(|(text, _)| text.clone()).collect();
    let predictor = detector.prepare(&texts, None).unwrap();
    let question = || Question { protocol, queries: queries() };
    let [seen, _] = predictor.predict(&[picture], &[[question(), question()]]).unwrap().remove(0);
    seen
}

#[test]
fn things_are_found_in_their_colours_and_places() {
    let (world, detector) = (world(), detector());
    let looks: Vec<(String, usize)> = world
        .kinds
        .iter()
        .enumerate()
        .flat_map(|(group, kind)| {
            world.colors.iter().map(move |color| (format!("a photo of {}", article(&format!("{color} {kind}"))), group))
        })
        .collect();
    let (mut hits, mut seen_in_all, mut things_in_all) = (0, 0, 0);
    for scene in &world.scenes {
        let seen = look(&detector, &scene.picture(), &looks, Protocol::Strict);
        seen_in_all += seen.len();
        things_in_all += scene.things.len();
        for thing in &scene.things {
            let name = format!("a photo of {}", article(&format!("{} {}", thing.color, thing.kind)));
            let [x, y, width, height] = thing.bbox;
            let bbox = PixelBox::new(x, y, width, height).unwrap();
            hits += usize::from(seen.iter().any(|seen| seen.label == name && seen.bbox.iou(&bbox) >= 0.5));
        }
    }
    let f1 = 2.0 * hits as f64 / (seen_in_all + things_in_all) as f64;
    assert!(
        things_in_all >= 24 && f1 >= 0.97,
        "F1 {f1:.3}: {hits} of {things_in_all} things found, {seen_in_all} seen"
    );
}

#[test]
fn things_are_counted_by_plain_and_by_other_names() {
    let (world, detector) = (world(), detector());
    let count =
        |scene: &Scene, text: String| look(&detector, &scene.picture(), &[(text, 0)], Protocol::Published).len();
    let mut right = [0; 2];
    for scene in &world.scenes {
        let kind = &scene.things[0].kind;
        let expected = scene.things.iter().filter(|thing| thing.kind == *kind).count();
        right[0] += usize::from(count(scene, format!("a photo of {}", article(kind))) == expected);
        right[1] += usize::from(count(scene, format!("image of {}", article(kind))) == expected);
    }
    assert!(right.iter().all(|right| *right * 100 >= world.scenes.len() * 97), "{right:?} of {}", world.scenes.len());
}

#[test]
fn what_is_not_there_is_not_found() {
    let (world, detector) = (world(), detector());
    let mut found = 0;
    for scene in &world.scenes {
        let absent = world.kinds.iter().find(|kind| scene.things.iter().all(|thing| thing.kind != **kind)).unwrap();
        for noun in [absent.as_str(), "giraffe", "traffic light"] {
            found +=
                look(&detector, &scene.picture(), &[(format!("a photo of {}", article(noun)), 0)], Protocol::Published)
                    .len();
        }
    }
    assert!(
        found * 50 <= world.scenes.len() * 3,
        "{found} things that are not there in {} looks",
        world.scenes.len() * 3
    );
}
