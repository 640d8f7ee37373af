//! Dense captions: several sentences, four to six things in them, each with a colour and a place; scored thing by thing.
//!
//! Sinopia's own, 200 captions in the miniature's words (`training/dense_benchmark.py` writes them). It asks what ELLA's authors ask with DPG-Bench
//! (arXiv 2403.05135), whether all of a long caption reaches the picture, of a detector instead of a vision model.

use serde::Deserialize;

use super::lmd::COLOURS;
use crate::benchmark::{Benchmark, ImageSize, Prediction, Protocol, Query, Sample, Verdict};
use crate::names::with_article;

/// The captions and what each asks for.
const CAPTIONS: &str = include_str!("../../data/dense.json");
/// By how much of a picture's side a centre may be outside its third.
const MARGIN: f64 = 1.0 / 12.0;

#[derive(Debug, Deserialize)]
struct Row {
    caption: String,
    things: Vec<Thing>,
}

/// Something that a caption asks for.
#[derive(Debug, Deserialize)]
struct Thing {
    color: String,
    kind: String,
    /// The third of the picture, from the left and from the top, that its centre belongs in.
    region: [u8; 2],
}

impl Thing {
    fn phrase(&self, colour: &str) -> String {
        with_article(&format!("{colour} {}", self.kind))
    }

    /// Whether a box's centre is in its region of a picture of `size` pixels, or close to it.
    fn is_at(&self, seen: &Prediction, size: ImageSize) -> bool {
        let (x, y) = seen.bbox.center();
        let place = [x / f64::from(size.width), y / f64::from(size.height)];
        place.iter().zip(self.region).all(|(at, third)| {
            let (from, to) = (f64::from(third) / 3.0 - MARGIN, f64::from(third + 1) / 3.0 + MARGIN);
            (from..=to).contains(at)
        })
    }
}

/// The benchmark.
#[derive(Debug)]
pub struct Dense {
    samples: Vec<Sample>,
    things: Vec<Vec<Thing>>,
}

impl Dense {
    /// The name on the command line.
    pub const NAME: &'static str = "dense";

    /// All captions.
    pub fn new() -> Self {
        // Its content is part of the program, and a test reads it.
        let rows: Vec<Row> = serde_json::from_str(CAPTIONS).unwrap_or_default();
        let task = |row: &Row| format!("{} things", row.things.len());
        let samples = Sample::number(rows.iter().map(|row| (task(row), row.caption.clone())));
        Self { samples, things: rows.into_iter().map(|row| row.things).collect() }
    }
}

impl Default for Dense {
    fn default() -> Self {
        Self::new()
    }
}

impl Benchmark for Dense {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn note(&self) -> &'static str {
        "Sinopia's own: 200 captions of 34 to 74 words in the miniature's words, four to six things each. The score is the share of things that are right: \
         by `published` those found in their colour, by `strict` those found in their colour in the right third of the picture, across and down."
    }

    fn samples(&self) -> &[Sample] {
        &self.samples
    }

    fn queries(&self, sample: &Sample, _protocol: Protocol) -> Vec<Query> {
        let in_all_colours =
            |(group, thing): (usize, &Thing)| COLOURS.map(|colour| Query { text: thing.phrase(colour), group });
        self.things[sample.index].iter().enumerate().flat_map(in_all_colours).collect()
    }

    fn judge(&self, sample: &Sample, seen: &[Prediction], size: ImageSize, protocol: Protocol) -> Verdict {
        let things = &self.things[sample.index];
        let mut missing = Vec::new();
        for thing in things {
            let phrase = thing.phrase(&thing.color);
            let mut found = seen.iter().filter(|seen| seen.label == phrase).peekable();
            let is_there = found.peek().is_some();
            match (is_there, protocol == Protocol::Strict && !found.any(|seen| thing.is_at(seen, size))) {
                (false, _) => missing.push(format!("no {} {}", thing.color, thing.kind)),
                (true, true) => missing.push(format!("{} {} elsewhere", thing.color, thing.kind)),
                (true, false) => {}
            }
        }
        let right = things.len() - missing.len();
        let reason = match missing.is_empty() {
            true => format!("all {} things", things.len()),
            false => format!("{right} of {}: {}", things.len(), missing.join(", ")),
        };
        Verdict { score: right as f64 / things.len().max(1) as f64, reason }
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::PixelBox;

    use super::*;

    fn seen(name: &str, (x, y): (f64, f64)) -> Prediction {
        Prediction { label: name.to_owned(), score: 0.9, bbox: PixelBox::new(x - 10.0, y - 10.0, 20.0, 20.0).unwrap() }
    }

    #[test]
    fn there_are_200_captions_of_four_to_six_things() {
        let benchmark = Dense::new();
        assert_eq!(benchmark.samples().len(), 200);
        assert_eq!(crate::benchmark::tasks(&benchmark).len(), 3);
        for (sample, things) in benchmark.samples().iter().zip(&benchmark.things) {
            assert!((4..=6).contains(&things.len()));
            for thing in things {
                assert!(sample.caption.contains(&thing.kind) && sample.caption.contains(&thing.color), "{sample:?}");
                assert!(COLOURS.contains(&thing.color.as_str()) && thing.region.iter().all(|third| *third < 3));
            }
        }
    }

    #[test]
    fn each_thing_counts_by_its_colour_and_strictly_by_its_place() {
        // A purple dog at the bottom, a red cup on the left, a red chair at the top left, a yellow ball at the top right, …
        let benchmark = Dense::new();
        let sample = &benchmark.samples()[0];
        let scores = |seen: &[Prediction]| {
            Protocol::ALL.map(|protocol| benchmark.judge(sample, seen, (120, 120).into(), protocol).score * 6.0)
        };
        assert_eq!(scores(&[]), [0.0, 0.0]);
        let (dog, cup) = (seen("a purple dog", (60.0, 100.0)), seen("a red cup", (100.0, 60.0)));
        assert_eq!(scores(&[dog.clone(), cup.clone()]), [2.0, 1.0], "the cup is on the wrong side");
        assert_eq!(scores(&[dog.clone(), cup, seen("a red cup", (49.0, 60.0))]), [2.0, 2.0], "within the margin");
        assert_eq!(scores(&[seen("a black dog", (60.0, 100.0))]), [0.0, 0.0]);
        let reason = benchmark.judge(sample, &[dog], (120, 120).into(), Protocol::Strict).reason;
        assert!(reason.starts_with("1 of 6: no red cup, no gray apple"), "{reason}");
    }

    #[test]
    fn a_perfect_layout_has_every_point() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/dense-layouts.json");
        let cache = sinopia_layout::LayoutCache::from_json(&std::fs::read_to_string(path).unwrap()).unwrap();
        let benchmark = Dense::new();
        let samples: Vec<&Sample> = benchmark.samples().iter().collect();
        for (sample, layout) in crate::layouts::find_all(&cache, &samples).unwrap() {
            for protocol in Protocol::ALL {
                let verdict = crate::layouts::judge(&benchmark, sample, layout.clone(), protocol);
                assert!(verdict.passed(), "{}: {}", sample.index, verdict.reason);
            }
        }
    }
}
