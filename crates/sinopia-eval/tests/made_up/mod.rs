//! Run folders with made-up scores, for tests of reports.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::{Value, json};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{ModelId, Sampling};
use sinopia_eval::run::captions_sha256;
use sinopia_eval::{RunFolder, RunSettings, benchmarks};

/// A run of captions 200, 201, … with one image each but the last, scored right or wrong by both protocols.
pub fn run(root: &Path, name: &str, verdicts: &[bool]) -> PathBuf {
    let folder = root.join(name);
    let settings = RunSettings {
        benchmark: "lmd".to_owned(),
        captions_sha256: captions_sha256(benchmarks::open("lmd").unwrap().as_ref()),
        method: "sd".to_owned(),
        options: json!({}),
        model: ModelId { id: "miniature".to_owned(), hash: "00112233445566778899".to_owned() },
        sam: None,
        ella: None,
        precision: "auto".to_owned(),
        sampling: Sampling::new(Seed(0), 300, 150),
        negative: None,
        layouts: None,
        repeats: 1,
        check: None,
    };
    let run = RunFolder::begin(&folder, &settings, 200..=200 + verdicts.len()).unwrap();
    let judged = |right: bool| {
        let reason = if right { "both are there" } else { "</script><b>a dog & a cat" };
        json!({ "verdict": { "score": u8::from(right), "reason": reason },
                "seen": [{ "name": "a photo of a dog", "score": 0.5, "bbox": [10.0, 20.0, 30.0, 40.0] }] })
    };
    let image = |(position, right): (usize, &bool)| {
        let path = run.image(200 + position, 0);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(300, 150, image::Rgb([200, 30, 30])).save(path).unwrap();
        json!({ "index": 200 + position, "repeat": 0, "sha256": "x", "size": [300, 150], "published": judged(*right), "strict": judged(*right) })
    };
    let images: Vec<Value> = verdicts.iter().enumerate().map(image).collect();
    let detector = json!({ "id": "owlvit", "hash": "aa" });
    let scores = json!({ "format": 1, "sinopia": env!("CARGO_PKG_VERSION"), "detector": detector, "images": images });
    std::fs::write(folder.join("scores.json"), scores.to_string()).unwrap();
    folder
}

/// Says that a run's pictures were checked.
pub fn checked(folder: &Path, attempts: u32, repair: bool) {
    let path = folder.join("run.json");
    let mut manifest: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let evaluator = json!({ "id": "eye", "hash": "e0" });
    manifest["settings"]["check"] = json!({ "attempts": attempts, "repair": repair, "evaluator": evaluator });
    std::fs::write(path, manifest.to_string()).unwrap();
}

/// Records `work` for each of the first `count` pictures of a run, of which a painting takes 10.
pub fn record(folder: &Path, count: usize, work: u64) {
    for index in 200..200 + count {
        let record = json!({ "seconds": 1.5, "work": work, "first_painting": 10, "attempts": 1, "edits_tried": 0, "edits_kept": 0 });
        std::fs::write(folder.join(format!("{index}/img_0.json")), record.to_string()).unwrap();
    }
}
