//! GenEval's six tasks with an open-vocabulary detector as judge.
//!
//! Ghosh et al. 2023, arXiv 2310.11513. The captions come from the user's copy of `evaluation_metadata.jsonl`: one JSON object a line with
//! `tag`, `prompt`, `include` and `exclude`. The published judge is Mask2Former with CLIP for colours; here one detector is asked for
//! things and for things in each colour, so figures compare methods with each other, not with the published table.

use std::path::Path;

use serde::Deserialize;

use super::lines::numbered_lines;
use crate::benchmark::{Benchmark, ImageSize, Prediction, Protocol, Query, Sample, Verdict};
use crate::names::with_article;
use crate::{Error, Result};

/// The colours that GenEval tells apart.
const COLOURS: [&str; 10] = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"];
/// Share of both sizes by which centres must differ before a place counts.
const POSITION_SLACK: f64 = 0.1;
/// The share of the offset's length that its axis must have.
const POSITION_SHARE: f64 = 0.5;
/// Offsets shorter than this have no direction, in pixels.
const MIN_OFFSET: f64 = 1e-3;

/// One line of the file.
#[derive(Debug, Clone, Deserialize)]
struct Line {
    tag: String,
    prompt: String,
    include: Vec<Wanted>,
    #[serde(default)]
    exclude: Vec<Unwanted>,
}

/// At least `count` of a class, in a colour, placed as said to the things of an earlier entry.
#[derive(Debug, Clone, Deserialize)]
struct Wanted {
    class: String,
    count: usize,
    #[serde(default)]
    color: Option<String>,
    #[serde(default)]
    position: Option<(String, usize)>,
}

/// Fewer than `count` of a class.
#[derive(Debug, Clone, Deserialize)]
struct Unwanted {
    class: String,
    count: usize,
}

/// The benchmark over a file of captions.
#[derive(Debug)]
pub struct GenEval {
    samples: Vec<Sample>,
    lines: Vec<Line>,
}

impl GenEval {
    /// The name on the command line, before the file.
    pub const NAME: &'static str = "geneval";

    /// Reads the text of `evaluation_metadata.jsonl`; `path` stands for it in messages.
    ///
    /// # Errors
    /// [`Error::Caption`] for a line that is not of this kind, [`Error::NoCaptions`] if there is none.
    pub fn from_json_lines(path: &Path, text: &str) -> Result<Self> {
        let read = |(number, line): (usize, &str)| {
            let problem = |problem| Error::Caption { path: path.to_owned(), line: number, problem };
            let line: Line = serde_json::from_str(line).map_err(|error| problem(error.to_string()))?;
            line.check().map_err(problem)?;
            Ok(line)
        };
        let lines: Vec<Line> = numbered_lines(path, text)?.into_iter().map(read).collect::<Result<_>>()?;
        let samples = Sample::number(lines.iter().map(|line| (line.tag.clone(), line.prompt.clone())));
        Ok(Self { samples, lines })
    }
}

impl Line {
    fn check(&self) -> std::result::Result<(), String> {
        if self.include.is_empty() {
            return Err("`include` is empty".to_owned());
        }
        for (index, wanted) in self.include.iter().enumerate() {
            if let Some(colour) = wanted.color.as_ref().filter(|colour| !COLOURS.contains(&colour.as_str())) {
                return Err(format!("unknown color `{colour}`: {} are known", COLOURS.join(", ")));
            }
            let Some((relation, target)) = &wanted.position else { continue };
            if Relation::parse(relation).is_none() {
                return Err(format!("unknown position `{relation}`: left of, right of, above and below are known"));
            }
            if *target >= index {
                return Err(format!("`position` points to entry {target}, which does not come before entry {index}"));
            }
        }
        Ok(())
    }

    /// The classes spoken of, each once, with whether their colour matters.
    fn classes(&self) -> Vec<(&str, bool)> {
        let mut classes: Vec<(&str, bool)> = Vec::new();
        let wanted = self.include.iter().map(|wanted| (wanted.class.as_str(), wanted.color.is_some()));
        let unwanted = self.exclude.iter().map(|unwanted| (unwanted.class.as_str(), false));
        for (class, coloured) in wanted.chain(unwanted) {
            match classes.iter_mut().find(|(known, _)| *known == class) {
                Some((_, any)) => *any |= coloured,
                None => classes.push((class, coloured)),
            }
        }
        classes
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Left,
    Right,
    Above,
    Below,
}

impl Relation {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "left of" => Some(Self::Left),
            "right of" => Some(Self::Right),
            "above" => Some(Self::Above),
            "below" => Some(Self::Below),
            _ => None,
        }
    }

    /// Whether `a` stands so to `b`: each axis of the offset of centres is shortened by a tenth of both sizes, then must be more
    /// than half of the whole offset's length.
    fn holds(self, a: &Prediction, b: &Prediction) -> bool {
        let ((ax, ay), (bx, by)) = (a.bbox.center(), b.bbox.center());
        let (dx, dy) = (ax - bx, ay - by);
        let shorten = |offset: f64, sizes: f64| (offset.abs() - POSITION_SLACK * sizes).max(0.0) * offset.signum();
        let x = shorten(dx, a.bbox.width() + b.bbox.width());
        let y = shorten(dy, a.bbox.height() + b.bbox.height());
        if x.abs() < MIN_OFFSET && y.abs() < MIN_OFFSET {
            return false;
        }
        let length = dx.hypot(dy);
        match self {
            Self::Left => x / length < -POSITION_SHARE,
            Self::Right => x / length > POSITION_SHARE,
            Self::Above => y / length < -POSITION_SHARE,
            Self::Below => y / length > POSITION_SHARE,
        }
    }
}

fn query_text(class: &str, colour: Option<&str>) -> String {
    let bare = colour.map_or(class.to_owned(), |colour| format!("{colour} {class}"));
    format!("a photo of {}", with_article(&bare))
}

/// The things of a class, plain or in any colour, by descending score.
fn of_class<'a>(seen: &'a [Prediction], class: &str) -> Vec<&'a Prediction> {
    seen.iter().filter(|seen| seen.label == query_text(class, None) || colour_of(seen, class).is_some()).collect()
}

fn colour_of(seen: &Prediction, class: &str) -> Option<&'static str> {
    COLOURS.into_iter().find(|colour| seen.label == query_text(class, Some(colour)))
}

impl Benchmark for GenEval {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn note(&self) -> &'static str {
        "GenEval's captions (arXiv 2310.11513) judged by an OWL-ViT detector, colours by its queries: not comparable with published figures, \
         which are by Mask2Former and CLIP."
    }

    fn samples(&self) -> &[Sample] {
        &self.samples
    }

    fn queries(&self, sample: &Sample, _protocol: Protocol) -> Vec<Query> {
        let classes = self.lines[sample.index].classes();
        let of_class = |(group, (class, coloured)): (usize, (&str, bool))| -> Vec<Query> {
            match coloured {
                true => COLOURS.map(|colour| Query { text: query_text(class, Some(colour)), group }).to_vec(),
                false => vec![Query { text: query_text(class, None), group }],
            }
        };
        classes.into_iter().enumerate().flat_map(of_class).collect()
    }

    fn judge(&self, sample: &Sample, seen: &[Prediction], _size: ImageSize, protocol: Protocol) -> Verdict {
        let line = &self.lines[sample.index];
        let mut matched: Vec<Vec<&Prediction>> = Vec::new();
        for wanted in &line.include {
            let mut found = of_class(seen, &wanted.class);
            let (class, count) = (&wanted.class, wanted.count);
            let same_class: usize = line.include.iter().filter(|w| w.class == *class).map(|w| w.count).sum();
            if found.len() < count || (protocol == Protocol::Strict && found.len() != same_class) {
                return Verdict::new(false, format!("{} × {class}, {count} expected", found.len()));
            }
            found.truncate(count); // the published rule looks at the highest scores only
            if let Some(colour) = &wanted.color {
                let right = found.iter().filter(|seen| colour_of(seen, class) == Some(colour)).count();
                if right < count {
                    return Verdict::new(false, format!("{right} × {colour} {class}, {count} expected"));
                }
            }
            if let Some((relation, target)) = &wanted.position {
                let relation_holds =
                    |a: &Prediction, b: &Prediction| Relation::parse(relation).is_some_and(|r| r.holds(a, b));
                let targets = &matched[*target]; // an earlier entry: the line was checked
                if !found.iter().all(|a| targets.iter().all(|b| relation_holds(a, b))) {
                    return Verdict::new(
                        false,
                        format!("the {class} is not {relation} the {}", line.include[*target].class),
                    );
                }
            }
            matched.push(found);
        }
        for unwanted in &line.exclude {
            let found = of_class(seen, &unwanted.class).len();
            if found >= unwanted.count {
                return Verdict::new(
                    false,
                    format!("{found} × {}, fewer than {} expected", unwanted.class, unwanted.count),
                );
            }
        }
        Verdict::new(true, "as asked")
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::PixelBox;

    use super::*;

    const LINES: &str = r#"
        {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
        {"tag": "two_object", "include": [{"class": "cup", "count": 1}, {"class": "tie", "count": 1}], "prompt": "a photo of a cup and a tie"}
        {"tag": "counting", "include": [{"class": "clock", "count": 2}], "exclude": [{"class": "clock", "count": 3}], "prompt": "a photo of two clocks"}
        {"tag": "colors", "include": [{"class": "orange", "count": 1, "color": "red"}], "prompt": "a photo of a red orange"}
        {"tag": "position", "include": [{"class": "cow", "count": 1}, {"class": "dog", "count": 1, "position": ["left of", 0]}], "prompt": "a photo of a dog left of a cow"}
        {"tag": "color_attr", "include": [{"class": "car", "count": 1, "color": "red"}, {"class": "cat", "count": 1, "color": "black"}], "prompt": "a photo of a red car and a black cat"}
    "#;

    fn benchmark() -> GenEval {
        GenEval::from_json_lines(Path::new("captions.jsonl"), LINES).unwrap()
    }

    fn seen(name: &str, x: f64, y: f64) -> Prediction {
        Prediction { label: format!("a photo of {name}"), score: 0.9, bbox: PixelBox::new(x, y, 100.0, 100.0).unwrap() }
    }

    #[track_caller]
    fn check(task: &str, things: &[Prediction], expected: (bool, bool)) {
        let benchmark = benchmark();
        let sample = benchmark.samples().iter().find(|sample| sample.task == task).unwrap();
        let judge = |protocol| benchmark.judge(sample, things, (512, 512).into(), protocol);
        let found = Protocol::ALL.map(|protocol| judge(protocol).passed());
        assert_eq!(found, [expected.0, expected.1], "{task}: {:?}", Protocol::ALL.map(judge));
    }

    #[test]
    fn each_of_the_six_tasks_has_its_rule() {
        let at = |name| seen(name, 0.0, 0.0);
        check("single_object", &[at("a bench")], (true, true));
        check("single_object", &[at("a bench"), at("a bench")], (true, false));
        check("single_object", &[], (false, false));
        check("two_object", &[at("a cup")], (false, false));
        check("two_object", &[at("a cup"), at("a tie")], (true, true));
        check("counting", &[at("a clock"), at("a clock")], (true, true));
        check("counting", &[at("a clock")], (false, false));
        check("counting", &[at("a clock"), at("a clock"), at("a clock")], (false, false));
        check("colors", &[at("a red orange")], (true, true));
        check("colors", &[at("an orange orange"), at("a red orange")], (false, false));
        check("color_attr", &[at("a red car"), at("a black cat")], (true, true));
        check("color_attr", &[at("a black car"), at("a red cat")], (false, false));
    }

    #[test]
    fn places_need_a_clear_offset_on_their_axis() {
        let cow = || seen("a cow", 200.0, 200.0);
        check("position", &[cow(), seen("a dog", 20.0, 200.0)], (true, true));
        check("position", &[cow(), seen("a dog", 185.0, 200.0)], (false, false)); // less than a tenth of both widths
        check("position", &[cow(), seen("a dog", 380.0, 200.0)], (false, false));
        check("position", &[cow(), seen("a dog", 150.0, 20.0)], (false, false)); // above, not left
    }

    #[test]
    fn colours_are_asked_for_only_where_they_matter() {
        let benchmark = benchmark();
        let count = |index: usize| benchmark.queries(&benchmark.samples()[index], Protocol::Published).len();
        assert_eq!((count(0), count(1), count(2), count(3), count(5)), (1, 2, 1, 10, 20));
        assert_eq!(crate::benchmark::tasks(&benchmark).len(), 6);
    }

    #[track_caller]
    fn refuses(text: &str, part: &str) {
        let message = GenEval::from_json_lines(Path::new("captions.jsonl"), text).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("captions.jsonl"), "{message}");
    }

    #[test]
    fn bad_lines_are_named() {
        refuses("", "no captions");
        refuses("\n{\"tag\": 1}", "line 2");
        refuses(
            r#"{"tag": "colors", "prompt": "p", "include": [{"class": "car", "count": 1, "color": "mauve"}]}"#,
            "mauve",
        );
        refuses(
            r#"{"tag": "t", "prompt": "p", "include": [{"class": "car", "count": 1, "position": ["left of", 0]}]}"#,
            "entry 0",
        );
        refuses(r#"{"tag": "t", "prompt": "p", "include": []}"#, "`include` is empty");
    }
}
