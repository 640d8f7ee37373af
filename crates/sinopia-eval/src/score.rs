//! Stage 2: a detector looks at the images of a run, and both protocols judge what it sees.
//!
//! `scores.json` remembers each image by its hash, so that scoring goes on where it was stopped and looks again only at what changed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::Device;
use serde::{Deserialize, Serialize};
use sinopia_layout::PixelBox;
use sinopia_models::checkpoint::EmbeddedFiles;
use sinopia_models::owlvit::{self, Candidates, Detection, OwlVit, Pixels, QueryEmbeds};

use crate::benchmark::{Benchmark, Protocol, Query, Sample, Seen, Verdict};
use crate::run::{RunFolder, sha256};
use crate::{Error, Result, files};

const FILE: &str = "scores.json";
const LOCK: &str = "scores.lock";
/// Candidates below this are not seen.
pub const SCORE_THRESHOLD: f32 = 0.15;
/// Detections of one group that overlap by this much are one thing.
pub const MAX_IOU: f32 = 0.15;
/// Strictly, detections of different groups that overlap by this much are one thing too.
pub const MAX_IOU_ACROSS: f32 = 0.5;
/// Images looked at together.
const IMAGES_AT_ONCE: usize = 8;
/// Queries read together.
const QUERIES_AT_ONCE: usize = 64;
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
    pub detector: DetectorId,
    /// What was seen.
    pub images: Vec<ImageScore>,
}

/// A detector, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorId {
    /// The folder's name.
    pub id: String,
    /// SHA-256 of its weights.
    pub hash: String,
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
    /// (width, height) in pixels.
    pub size: (u32, u32),
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
    /// What was seen, the surest first.
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

/// A detector that is ready to look.
#[derive(Debug)]
pub struct Detector {
    model: OwlVit,
    id: DetectorId,
}

impl Detector {
    /// Opens a folder of OWL-ViT or OWLv2 weights.
    ///
    /// # Errors
    /// As [`OwlVit::open`].
    pub fn open(folder: &Path, precision: sinopia_models::Precision) -> Result<Self> {
        let model = OwlVit::open(folder, &Device::Cpu, precision)?;
        let name =
            folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned());
        Ok(Self { model, id: DetectorId { id: name, hash: owlvit::content_hash(folder)? } })
    }

    /// Opens a detector that is part of the program. It is small: f32, so that verdicts are the same on every processor.
    ///
    /// # Errors
    /// As [`OwlVit::from_embedded`].
    pub fn from_embedded(name: &str, files: EmbeddedFiles) -> Result<Self> {
        let model = OwlVit::from_embedded(name, files, &Device::Cpu, sinopia_models::Precision::F32)?;
        let hash = owlvit::embedded_content_hash(name, files)?;
        Ok(Self { model, id: DetectorId { id: name.to_owned(), hash } })
    }

    /// What it is.
    pub fn id(&self) -> &DetectorId {
        &self.id
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
    detector: &Detector,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Scores> {
    let _lock = run.lock(LOCK)?;
    let mut known = Known::load(run, &detector.id)?;
    let samples: Vec<&Sample> =
        run.manifest().planned.iter().filter_map(|index| benchmark.samples().get(*index)).collect();
    let repeats = run.manifest().settings.repeats;
    let images = samples.iter().flat_map(|sample| (0..repeats).map(|repeat| (*sample, repeat)));
    let images: Vec<(&Sample, usize)> =
        images.filter(|(sample, repeat)| run.image(sample.index, *repeat).is_file()).collect();
    let vocabulary = Vocabulary::encode(&detector.model, benchmark, &samples)?;
    let mut batch = Vec::new();
    let mut unsaved = 0;
    for (position, (sample, repeat)) in images.iter().enumerate() {
        let result = Picture::read(run, sample, *repeat).map(|picture| known.needs(&picture).then_some(picture));
        match result {
            Ok(picture) => batch.extend(picture),
            Err(error) => {
                known.look(&mut batch, benchmark, &detector.model, &vocabulary)?;
                known.save(run)?;
                return Err(error);
            }
        }
        let is_last = position + 1 == images.len();
        if batch.len() == IMAGES_AT_ONCE || (is_last && !batch.is_empty()) {
            known.look(&mut batch, benchmark, &detector.model, &vocabulary)?;
            progress(position + 1, images.len());
            unsaved += 1;
        }
        if unsaved == BATCHES_PER_SAVE {
            known.save(run)?;
            unsaved = 0;
        }
    }
    known.keep_only(&images);
    known.save(run)?;
    Ok(known.scores())
}

/// The scores so far.
struct Known {
    detector: DetectorId,
    images: BTreeMap<(usize, usize), ImageScore>,
}

impl Known {
    fn load(run: &RunFolder, detector: &DetectorId) -> Result<Self> {
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

    /// Scores a batch and empties it.
    fn look(
        &mut self,
        batch: &mut Vec<Picture>,
        benchmark: &dyn Benchmark,
        model: &OwlVit,
        vocabulary: &Vocabulary,
    ) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let pixels = batch.iter().map(Picture::pixels).collect::<Result<Vec<_>>>()?;
        let candidates = model.encode_images(&pixels)?;
        for (position, picture) in batch.iter().enumerate() {
            let candidates = candidates.image(position)?;
            let judge = |protocol| judge(benchmark, picture, model, &candidates, vocabulary, protocol);
            let image = ImageScore {
                index: picture.sample.index,
                repeat: picture.repeat,
                sha256: picture.sha256.clone(),
                size: picture.image.dimensions(),
                published: judge(Protocol::Published)?,
                strict: judge(Protocol::Strict)?,
            };
            self.images.insert((image.index, image.repeat), image);
        }
        batch.clear();
        Ok(())
    }

    /// Forgets images that are no longer there.
    fn keep_only(&mut self, images: &[(&Sample, usize)]) {
        let there: std::collections::HashSet<_> =
            images.iter().map(|(sample, repeat)| (sample.index, *repeat)).collect();
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

fn judge(
    benchmark: &dyn Benchmark,
    picture: &Picture,
    model: &OwlVit,
    candidates: &Candidates,
    vocabulary: &Vocabulary,
    protocol: Protocol,
) -> Result<Judged> {
    let queries = benchmark.queries(&picture.sample, protocol);
    let found = model.detect(candidates, &vocabulary.select(&queries)?, SCORE_THRESHOLD)?.pop().unwrap_or_default();
    let mut found = owlvit::suppress(found, |label| queries[label].group, MAX_IOU);
    if protocol == Protocol::Strict {
        found = owlvit::suppress(found, |_| 0, MAX_IOU_ACROSS);
    }
    let size = picture.image.dimensions();
    let seen: Vec<Seen> = found.iter().filter_map(|detection| seen(detection, &queries, size)).collect();
    let verdict = benchmark.judge(&picture.sample, &seen, size, protocol);
    let boxes = seen.into_iter().map(|seen| SeenBox {
        name: seen.name,
        score: seen.score,
        bbox: [seen.bbox.x(), seen.bbox.y(), seen.bbox.width(), seen.bbox.height()],
    });
    Ok(Judged { verdict, seen: boxes.collect() })
}

/// A detection as a named box, cut at the picture's edges; nothing if it lies outside.
fn seen(detection: &Detection, queries: &[Query], (width, height): (u32, u32)) -> Option<Seen> {
    let [x0, y0, x1, y1] = detection.corners.map(f64::from);
    let (x0, x1) = (x0.clamp(0.0, width.into()), x1.clamp(0.0, width.into()));
    let (y0, y1) = (y0.clamp(0.0, height.into()), y1.clamp(0.0, height.into()));
    let bbox = PixelBox::new(x0, y0, x1 - x0, y1 - y0).ok().filter(PixelBox::has_area)?;
    Some(Seen { name: queries[detection.label].text.clone(), score: detection.score.into(), bbox })
}

/// Every query of a benchmark, read once.
struct Vocabulary {
    positions: HashMap<String, u32>,
    embeds: Option<QueryEmbeds>,
}

impl Vocabulary {
    fn encode(model: &OwlVit, benchmark: &dyn Benchmark, samples: &[&Sample]) -> Result<Self> {
        let mut positions = HashMap::new();
        let mut texts = Vec::new();
        for (sample, protocol) in samples.iter().flat_map(|sample| Protocol::ALL.map(|protocol| (*sample, protocol))) {
            for query in benchmark.queries(sample, protocol) {
                if !positions.contains_key(&query.text) {
                    positions.insert(query.text.clone(), texts.len() as u32);
                    texts.push(query.text);
                }
            }
        }
        let parts =
            texts.chunks(QUERIES_AT_ONCE).map(|texts| model.encode_queries(texts)).collect::<Result<Vec<_>, _>>()?;
        let embeds = if parts.is_empty() { None } else { Some(QueryEmbeds::concat(&parts)?) };
        Ok(Self { positions, embeds })
    }

    fn select(&self, queries: &[Query]) -> Result<QueryEmbeds> {
        let positions: Vec<u32> = queries.iter().filter_map(|query| self.positions.get(&query.text).copied()).collect();
        let embeds = self.embeds.as_ref().ok_or(sinopia_models::Error::Input {
            what: "queries",
            expected: "at least one".to_owned(),
            found: "none".to_owned(),
        })?;
        Ok(embeds.select(&positions)?)
    }
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
        let bytes = files::read(&path)?;
        let image = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)
            .map_err(|error| Error::Image { path: path.clone(), problem: error.to_string() })?
            .into_rgb8();
        let sampling = &run.manifest().settings.sampling;
        let (found, expected) = (image.dimensions(), (sampling.width as u32, sampling.height as u32));
        if found != expected {
            return Err(Error::ImageSize { path, found, expected });
        }
        Ok(Self { sample: sample.clone(), repeat, sha256: sha256(&bytes), image })
    }

    fn pixels(&self) -> Result<Pixels<'_>> {
        let (width, height) = self.image.dimensions();
        Ok(Pixels::new(width as usize, height as usize, self.image.as_raw())?)
    }
}
