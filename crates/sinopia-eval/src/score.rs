//! Stage 2: an evaluator judges the images of a run by its predictions, under both protocols.
//!
//! `scores.json` remembers each image by its hash, so that scoring goes on where it was stopped and looks again only at what changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::benchmark::{Benchmark, ImageSize, Prediction, Protocol, Sample, Verdict};
use crate::evaluators::{Evaluator, EvaluatorId, Predictor, Question};
use crate::run::{RunFolder, sha256};
use crate::{Error, Result, files};

const FILE: &str = "scores.json";
const LOCK: &str = "scores.lock";
/// Batches between two saves.
const BATCHES_PER_SAVE: usize = 4;

/// `scores.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// The file's format, [`Scores::FORMAT`].
    pub format: u32,
    /// The version of Sinopia that judged.
    pub sinopia: String,
    /// What looked.
    pub detector: EvaluatorId,
    /// What was seen.
    pub images: Vec<ImageScore>,
}

/// What was seen in an image and how it was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageScore {
    /// The caption's number.
    pub index: usize,
    /// Which of its images.
    pub repeat: usize,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its size.
    pub size: ImageSize,
    /// By the published protocol.
    pub published: Judged,
    /// By the strict protocol.
    pub strict: Judged,
}

impl ImageScore {
    /// By a protocol.
    pub fn by(&self, protocol: Protocol) -> &Judged {
        match protocol {
            Protocol::Published => &self.published,
            Protocol::Strict => &self.strict,
        }
    }
}

/// Boxes and verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// Right or wrong, and why.
    pub verdict: Verdict,
    /// What was predicted, by descending score.
    pub seen: Vec<SeenBox>,
}

/// A named box in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenBox {
    /// The query that fits best.
    pub name: String,
    /// How well, 0..=1.
    pub score: f64,
    /// Left, top, width, height in pixels.
    pub bbox: [f64; 4],
}

impl From<Prediction> for SeenBox {
    fn from(seen: Prediction) -> Self {
        let bbox = [seen.bbox.x(), seen.bbox.y(), seen.bbox.width(), seen.bbox.height()];
        Self { name: seen.label, score: seen.score, bbox }
    }
}

impl Scores {
    /// The newest format.
    pub const FORMAT: u32 = 1;

    /// The scores in a run folder, if there are any that this build reads.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Json`] for a file that cannot be read.
    pub fn load(run: &RunFolder) -> Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        let path = run.root().join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let header: Header = files::read_json(&path)?;
        if header.format != Self::FORMAT {
            return Ok(None); // scores of another format are made again from the images
        }
        files::read_json(&path).map(Some)
    }

    /// The verdicts that a protocol counts: the published one the first image of each caption that has one, the strict one every planned
    /// image, missing ones as failures.
    pub fn verdicts(&self, run: &RunFolder, protocol: Protocol) -> Vec<(usize, Verdict)> {
        let by_image: HashMap<(usize, usize), &ImageScore> =
            self.images.iter().map(|image| ((image.index, image.repeat), image)).collect();
        let verdict = |index, repeat| by_image.get(&(index, repeat)).map(|image| image.by(protocol).verdict.clone());
        let planned = run.manifest().planned.iter().copied();
        match protocol {
            Protocol::Published => planned.filter_map(|index| Some((index, verdict(index, 0)?))).collect(),
            Protocol::Strict => {
                let repeats = run.manifest().settings.repeats;
                let images = planned.flat_map(|index| (0..repeats).map(move |repeat| (index, repeat)));
                let missing = || Verdict::new(false, "there is no image");
                images.map(|(index, repeat)| (index, verdict(index, repeat).unwrap_or_else(missing))).collect()
            }
        }
    }
}

/// Scores every image of a run that is not scored yet and saves as it goes; a second process waits for the first.
///
/// `progress` is told how many images are scored, out of how many.
///
/// # Errors
/// [`Error::Image`] or [`Error::ImageSize`] for an image that the run did not make, [`Error::Write`], and the detector's. What was
/// scored before is saved.
pub fn score(
    run: &RunFolder,
    benchmark: &dyn Benchmark,
    evaluator: &dyn Evaluator,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Scores> {
    if evaluator.capability() != benchmark.capability() {
        let (needed, found) = (benchmark.capability().name(), evaluator.capability().name());
        return Err(Error::OtherCapability {
            benchmark: benchmark.name(),
            needed,
            evaluator: evaluator.id().id.clone(),
            found,
        });
    }
    let _lock = run.lock(LOCK)?;
    let mut known = Known::load(run, evaluator.id())?;
    let result = known.judge_all(run, benchmark, evaluator, progress);
    known.save(run)?;
    result.map(|()| known.scores())
}

/// The scores so far.
struct Known {
    detector: EvaluatorId,
    images: BTreeMap<(usize, usize), ImageScore>,
}

impl Known {
    fn load(run: &RunFolder, detector: &EvaluatorId) -> Result<Self> {
        let saved = Scores::load(run)?
            .filter(|saved| saved.detector.hash == detector.hash && saved.sinopia == env!("CARGO_PKG_VERSION"));
        let images = saved.map(|saved| saved.images).unwrap_or_default();
        let images = images.into_iter().map(|image| ((image.index, image.repeat), image)).collect();
        Ok(Self { detector: detector.clone(), images })
    }

    fn needs(&self, picture: &Picture) -> bool {
        let known = self.images.get(&(picture.sample.index, picture.repeat));
        known.is_none_or(|known| known.sha256 != picture.sha256)
    }

    /// Scores what is not scored yet. What was seen before an error stays known.
    fn judge_all(
        &mut self,
        run: &RunFolder,
        benchmark: &dyn Benchmark,
        evaluator: &dyn Evaluator,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<()> {
        let planned = run.manifest().planned.iter();
        let samples: Vec<&Sample> = planned.filter_map(|index| benchmark.samples().get(*index)).collect();
        let repeats = run.manifest().settings.repeats;
        let images = samples.iter().flat_map(|sample| (0..repeats).map(|repeat| (*sample, repeat)));
        let images: Vec<(&Sample, usize)> =
            images.filter(|(sample, repeat)| run.image(sample.index, *repeat).is_file()).collect();
        let predictor = evaluator.prepare(&texts(benchmark, &samples), None)?;
        let mut batch = Vec::new();
        let mut unsaved = 0;
        for (position, (sample, repeat)) in images.iter().enumerate() {
            let picture = match Picture::read(run, sample, *repeat) {
                Ok(picture) => picture,
                Err(error) => {
                    self.judge(&mut batch, benchmark, predictor.as_ref())?;
                    return Err(error);
                }
            };
            batch.extend(self.needs(&picture).then_some(picture));
            let is_last = position + 1 == images.len();
            if batch.len() >= evaluator.images_at_once() || (is_last && !batch.is_empty()) {
                self.judge(&mut batch, benchmark, predictor.as_ref())?;
                progress(position + 1, images.len());
                unsaved += 1;
            }
            if unsaved == BATCHES_PER_SAVE {
                self.save(run)?;
                unsaved = 0;
            }
        }
        self.keep_only(&images);
        Ok(())
    }

    /// Scores a batch and empties it.
    fn judge(&mut self, batch: &mut Vec<Picture>, benchmark: &dyn Benchmark, predictor: &dyn Predictor) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let question =
            |picture: &Picture, protocol| Question { protocol, queries: benchmark.queries(&picture.sample, protocol) };
        let questions: Vec<_> =
            batch.iter().map(|picture| Protocol::ALL.map(|protocol| question(picture, protocol))).collect();
        let images: Vec<_> = batch.iter().map(|picture| &picture.image).collect();
        let seen = predictor.predict(&images, &questions)?;
        for (picture, [published, strict]) in batch.iter().zip(seen) {
            let size = ImageSize::from(picture.image.dimensions());
            let judged = |seen: Vec<Prediction>, protocol| Judged {
                verdict: benchmark.judge(&picture.sample, &seen, size, protocol),
                seen: seen.into_iter().map(SeenBox::from).collect(),
            };
            let image = ImageScore {
                index: picture.sample.index,
                repeat: picture.repeat,
                sha256: picture.sha256.clone(),
                size,
                published: judged(published, Protocol::Published),
                strict: judged(strict, Protocol::Strict),
            };
            self.images.insert((image.index, image.repeat), image);
        }
        batch.clear();
        Ok(())
    }

    /// Forgets images that are no longer there.
    fn keep_only(&mut self, images: &[(&Sample, usize)]) {
        let there: HashSet<_> = images.iter().map(|(sample, repeat)| (sample.index, *repeat)).collect();
        self.images.retain(|key, _| there.contains(key));
    }

    fn scores(&self) -> Scores {
        Scores {
            format: Scores::FORMAT,
            sinopia: env!("CARGO_PKG_VERSION").to_owned(),
            detector: self.detector.clone(),
            images: self.images.values().cloned().collect(),
        }
    }

    fn save(&self, run: &RunFolder) -> Result<()> {
        files::write_json(&run.root().join(FILE), &self.scores())
    }
}

/// Every query of a benchmark, once.
fn texts(benchmark: &dyn Benchmark, samples: &[&Sample]) -> Vec<String> {
    let mut known = HashSet::new();
    let both = samples.iter().flat_map(|sample| Protocol::ALL.map(|protocol| benchmark.queries(sample, protocol)));
    both.flatten().map(|query| query.text).filter(|text| known.insert(text.clone())).collect()
}

/// An image of a run.
struct Picture {
    sample: Sample,
    repeat: usize,
    sha256: String,
    image: image::RgbImage,
}

impl Picture {
    fn read(run: &RunFolder, sample: &Sample, repeat: usize) -> Result<Self> {
        let path = run.image(sample.index, repeat);
        let bytes = files::read_picture(&path)?;
        let image = files::picture(&path, &bytes)?.into_rgb8();
        let sampling = &run.manifest().settings.sampling;
        let found = ImageSize::from(image.dimensions());
        let expected = ImageSize { width: sampling.width as u32, height: sampling.height as u32 };
        if found != expected {
            return Err(Error::ImageSize { path, found, expected });
        }
        Ok(Self { sample: sample.clone(), repeat, sha256: sha256(&bytes), image })
    }
}
