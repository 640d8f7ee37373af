//! T2I-CompBench's two-dimensional relations: "a suitcase on the left of a frog".
//!
//! Huang et al. 2023, arXiv 2307.06350. The captions are the user's copy of `spatial_val.txt`, one a line. Published figures are by UniDet, with
//! nouns by spaCy; here the nouns are the last words of the phrases around the relation and the judge is an OWL-ViT detector.

use std::path::Path;

use super::lines::numbered_lines;
use crate::benchmark::{Benchmark, ImageSize, Prediction, Protocol, Query, Sample, Verdict};
use crate::names::{with_article, words};
use crate::{Error, Result};

/// The side of the pictures that the published distances are meant for, in pixels.
const PUBLISHED_SIDE: f64 = 512.0;
/// Nearer than this is near, in pixels of such a picture.
const NEAR: f64 = 150.0;
/// Boxes that overlap by more have only part of their relation.
const MAX_IOU: f64 = 0.1;
/// Fewer points than this are none.
const MIN_SCORE: f64 = 0.5;

/// The phrases, longest first so that none hides another.
const RELATIONS: [(&str, Relation); 9] = [
    ("on the bottom of", Relation::Bottom),
    ("on the right of", Relation::Right),
    ("on the left of", Relation::Left),
    ("on the side of", Relation::Near),
    ("on the top of", Relation::Top),
    ("on side of", Relation::Near),
    ("on top of", Relation::OnTop),
    ("next to", Relation::Near),
    ("near", Relation::Near),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Left,
    Right,
    Top,
    Bottom,
    Near,
    /// "on top of": the published scorer knows the phrase and gives no points for it.
    OnTop,
}

impl Relation {
    /// How well it holds, 0..=1.
    fn score(self, a: &Prediction, b: &Prediction, size: ImageSize, protocol: Protocol) -> f64 {
        let scale = PUBLISHED_SIDE / f64::from(size.width.max(size.height));
        let ((ax, ay), (bx, by)) = (a.bbox.center(), b.bbox.center());
        let (dx, dy) = ((ax - bx) * scale, (ay - by) * scale);
        let holds = match self {
            Self::Near => {
                let far = dx.abs().max(dy.abs());
                let near = dx.abs() < NEAR || dy.abs() < NEAR;
                return if near { 1.0 } else { NEAR / far };
            }
            Self::OnTop if protocol == Protocol::Published => false,
            Self::Left => dx < 0.0 && dx.abs() > dy.abs(),
            Self::Right => dx > 0.0 && dx.abs() > dy.abs(),
            Self::Top | Self::OnTop => dy < 0.0 && dy.abs() > dx.abs(),
            Self::Bottom => dy > 0.0 && dy.abs() > dx.abs(),
        };
        let overlap = a.bbox.iou(&b.bbox);
        match holds {
            false => 0.0,
            true if overlap < MAX_IOU => 1.0,
            true => MAX_IOU / overlap,
        }
    }
}

/// The benchmark over a file of captions.
#[derive(Debug)]
pub struct T2iSpatial {
    samples: Vec<Sample>,
    /// (first thing, relation, second thing) of each caption.
    truths: Vec<(String, Relation, String)>,
}

impl T2iSpatial {
    /// The name on the command line, before the file.
    pub const NAME: &'static str = "t2i-spatial";

    /// Reads captions, one a line; `path` stands for the file in messages.
    ///
    /// # Errors
    /// [`Error::Caption`] for a line without a relation between two things, [`Error::NoCaptions`] if there is none.
    pub fn from_lines(path: &Path, text: &str) -> Result<Self> {
        let lines = numbered_lines(path, text)?;
        let read = |(line, caption): &(usize, &str)| {
            truth(caption).ok_or_else(|| Error::Caption {
                path: path.to_owned(),
                line: *line,
                problem: format!("`{caption}` does not place one thing by another (on the left of, next to, …)"),
            })
        };
        let truths = lines.iter().map(read).collect::<Result<_>>()?;
        let samples = Sample::number(lines.iter().map(|(_, caption)| ("spatial".to_owned(), (*caption).to_owned())));
        Ok(Self { samples, truths })
    }
}

fn truth(caption: &str) -> Option<(String, Relation, String)> {
    let caption = format!("{} ", words(caption).join(" "));
    RELATIONS.into_iter().find_map(|(phrase, relation)| {
        let (before, after) = caption.split_once(&format!(" {phrase} "))?;
        Some((noun(before)?, relation, noun(after)?))
    })
}

/// The last word, as the detector knows it; people are one class in the published scorer.
fn noun(phrase: &str) -> Option<String> {
    let last = phrase.split_whitespace().last()?;
    let person = ["girl", "boy", "man", "woman"].contains(&last);
    Some(if person { "person".to_owned() } else { last.to_owned() })
}

fn query_text(noun: &str) -> String {
    format!("a photo of {}", with_article(noun))
}

impl Benchmark for T2iSpatial {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn note(&self) -> &'static str {
        "T2I-CompBench's spatial captions (arXiv 2307.06350) scored by its rule on what an OWL-ViT detector sees: not comparable with \
         published figures, which are by UniDet."
    }

    fn samples(&self) -> &[Sample] {
        &self.samples
    }

    fn queries(&self, sample: &Sample, _protocol: Protocol) -> Vec<Query> {
        let (first, _, second) = &self.truths[sample.index];
        let mut queries = vec![Query { text: query_text(first), group: 0 }];
        if first != second {
            queries.push(Query { text: query_text(second), group: 1 });
        }
        queries
    }

    /// A quarter for each thing and half for the relation; the published rule then drops what is below a half, and the strict one gives
    /// the point for everything or nothing.
    fn judge(&self, sample: &Sample, seen: &[Prediction], size: ImageSize, protocol: Protocol) -> Verdict {
        let (first, relation, second) = &self.truths[sample.index];
        let find = |noun: &str, skip| seen.iter().filter(|seen| seen.label == query_text(noun)).nth(skip);
        let (a, b) = (find(first, 0), find(second, usize::from(first == second)));
        let (score, reason) = match (a, b) {
            (Some(a), Some(b)) => {
                let holds = relation.score(a, b, size, protocol);
                (
                    0.25 * a.score + 0.25 * b.score + 0.5 * holds,
                    format!("both are there, the relation holds to {holds:.2}"),
                )
            }
            (Some(a), None) => (0.25 * a.score, format!("no {second}")),
            (None, Some(b)) => (0.25 * b.score, format!("no {first}")),
            (None, None) => (0.0, format!("neither {first} nor {second}")),
        };
        match protocol {
            Protocol::Published => Verdict { score: if score < MIN_SCORE { 0.0 } else { score }, reason },
            Protocol::Strict => {
                let alone =
                    [first, second].iter().all(|noun| find(noun, if first == second { 2 } else { 1 }).is_none());
                let holds = a.zip(b).is_some_and(|(a, b)| relation.score(a, b, size, protocol) >= 1.0);
                Verdict::new(holds && alone, if alone { reason } else { format!("{reason}, and more than asked for") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::PixelBox;

    use super::*;

    const CAPTIONS: &str = "a suitcase on the left of a frog\na girl next to a big dog.\na cup on top of a desk\n";

    fn seen(name: &str, [x, y, w, h]: [f64; 4], score: f64) -> Prediction {
        Prediction { label: query_text(name), score, bbox: PixelBox::new(x, y, w, h).unwrap() }
    }

    fn score(index: usize, things: &[Prediction], protocol: Protocol) -> f64 {
        let benchmark = T2iSpatial::from_lines(Path::new("spatial_val.txt"), CAPTIONS).unwrap();
        benchmark.judge(&benchmark.samples()[index], things, (512, 512).into(), protocol).score
    }

    #[track_caller]
    fn check(index: usize, things: &[Prediction], published: f64, strict: f64) {
        let found = Protocol::ALL.map(|protocol| score(index, things, protocol));
        assert!((found[0] - published).abs() < 1e-9 && found[1] == strict, "{found:?}");
    }

    #[test]
    fn captions_are_taken_apart() {
        assert_eq!(truth("a girl next to a big dog."), Some(("person".into(), Relation::Near, "dog".into())));
        assert_eq!(truth("A cup on the bottom of a desk"), Some(("cup".into(), Relation::Bottom, "desk".into())));
        let error = T2iSpatial::from_lines(Path::new("x.txt"), "a cup on top of a desk\n\na lonely dog").unwrap_err();
        assert!(error.to_string().contains("line 3") && error.to_string().contains("a lonely dog"), "{error}");
    }

    #[test]
    fn presence_and_relation_share_the_point() {
        let (case, frog) =
            (seen("suitcase", [0.0, 200.0, 100.0, 100.0], 0.8), seen("frog", [300.0, 200.0, 100.0, 100.0], 0.6));
        check(0, &[case.clone(), frog.clone()], 0.25 * 1.4 + 0.5, 1.0);
        check(0, std::slice::from_ref(&case), 0.0, 0.0); // 0.2 is below a half
        let wrong = seen("frog", [0.0, 20.0, 100.0, 100.0], 0.6);
        check(0, &[case.clone(), wrong], 0.0, 0.0);
        let overlapping = seen("frog", [50.0, 200.0, 100.0, 100.0], 1.0);
        check(0, &[case.clone(), overlapping], 0.25 * 1.8 + 0.5 * 0.3, 0.0); // IoU 1/3
        check(0, &[case, frog.clone(), frog], 0.25 * 1.4 + 0.5, 0.0); // one frog too many
    }

    #[test]
    fn near_has_a_distance_and_on_top_of_a_quirk() {
        let (girl, dog) = (seen("person", [0.0, 0.0, 10.0, 10.0], 1.0), seen("dog", [300.0, 400.0, 10.0, 10.0], 1.0));
        check(1, &[girl.clone(), dog], 0.5 + 0.5 * 150.0 / 400.0, 0.0);
        check(1, &[girl, seen("dog", [100.0, 0.0, 10.0, 10.0], 1.0)], 1.0, 1.0);
        let (cup, desk) = (seen("cup", [100.0, 0.0, 50.0, 50.0], 1.0), seen("desk", [50.0, 60.0, 150.0, 80.0], 1.0));
        check(2, &[cup, desk], 0.5, 1.0);
    }
}
