//! What looks at images: a detector that finds boxes, a model that answers questions, one that compares image and text.
//!
//! All of them say what they saw as [`Seen`] things, so that one rule judges them: a question that is answered with yes is seen everywhere, a likeness
//! is seen everywhere with its cosine as the score.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::Path;

use candle_core::Device;
use image::RgbImage;
use sinopia_layout::PixelBox;
use sinopia_models::Interrupt;
use sinopia_models::checkpoint::EmbeddedFiles;
use sinopia_models::clip_pair::{self, ClipPair};
use sinopia_models::owlvit::{self, Candidates, Detection, OwlVit, Pixels, QueryEmbeds};

use crate::benchmark::{Protocol, Query, Seen, Sight};
use crate::score::DetectorId;
use crate::{Error, Result};

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

/// Something that can look at images.
pub trait Eye: Debug {
    /// What tells its scores from another's.
    fn id(&self) -> &DetectorId;

    /// What it can tell.
    fn sight(&self) -> Sight;

    /// Images it looks at together; scores are saved between.
    fn images_at_once(&self) -> usize {
        IMAGES_AT_ONCE
    }

    /// Reads every query that will be asked.
    ///
    /// # Errors
    /// If a query cannot be read.
    fn read(&self, texts: &[String]) -> Result<Box<dyn Look + '_>> {
        self.read_unless(texts, None)
    }

    /// The same; reading and looking are given up between two layers of a network if they are interrupted.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`sinopia_models::Error::Interrupted`].
    fn read_unless<'a>(&'a self, texts: &[String], interrupt: Interrupt<'a>) -> Result<Box<dyn Look + 'a>>;
}

/// An eye that has read its queries.
pub trait Look {
    /// What is seen in each image for both protocols, the surest first. Every query is one of those that were read.
    ///
    /// # Errors
    /// If a model refuses, or does not answer.
    fn look(&self, images: &[&RgbImage], questions: &[[Question; 2]]) -> Result<Vec<[Vec<Seen>; 2]>>;
}

/// What a protocol asks of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub protocol: Protocol,
    /// What for.
    pub queries: Vec<Query>,
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
        Ok(Self { model, id: DetectorId { id: name_of(folder), hash: owlvit::content_hash(folder)? } })
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
}

impl Eye for Detector {
    fn id(&self) -> &DetectorId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::Boxes
    }

    fn read_unless<'a>(&'a self, texts: &[String], interrupt: Interrupt<'a>) -> Result<Box<dyn Look + 'a>> {
        let read = |texts| self.model.encode_queries_unless(texts, interrupt);
        let parts = texts.chunks(QUERIES_AT_ONCE).map(read);
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let embeds = if parts.is_empty() { None } else { Some(QueryEmbeds::concat(&parts)?) };
        Ok(Box::new(DetectorLook { model: &self.model, positions: positions(texts), embeds, interrupt }))
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Places of texts in a list.
fn positions(texts: &[String]) -> HashMap<String, u32> {
    texts.iter().cloned().zip(0..).collect()
}

struct DetectorLook<'a> {
    model: &'a OwlVit,
    positions: HashMap<String, u32>,
    embeds: Option<QueryEmbeds>,
    interrupt: Interrupt<'a>,
}

impl Look for DetectorLook<'_> {
    fn look(&self, images: &[&RgbImage], questions: &[[Question; 2]]) -> Result<Vec<[Vec<Seen>; 2]>> {
        let pixels = images.iter().map(|image| pixels(image)).collect::<Result<Vec<_>>>()?;
        let candidates = self.model.encode_images_unless(&pixels, self.interrupt)?;
        let of_image = |(position, [published, strict]): (usize, &[Question; 2])| {
            let (candidates, size) = (candidates.image(position)?, images[position].dimensions());
            Ok([self.find(&candidates, published, size)?, self.find(&candidates, strict, size)?])
        };
        questions.iter().enumerate().map(of_image).collect()
    }
}

impl DetectorLook<'_> {
    fn find(&self, candidates: &Candidates, question: &Question, size: (u32, u32)) -> Result<Vec<Seen>> {
        let queries = &question.queries;
        let found = self.model.detect(candidates, &self.select(queries)?, SCORE_THRESHOLD)?.pop().unwrap_or_default();
        let mut found = owlvit::suppress(found, |label| queries[label].group, MAX_IOU);
        if question.protocol == Protocol::Strict {
            found = owlvit::suppress(found, |_| 0, MAX_IOU_ACROSS);
        }
        Ok(found.iter().filter_map(|detection| seen(detection, queries, size)).collect())
    }

    fn select(&self, queries: &[Query]) -> Result<QueryEmbeds> {
        let positions: Vec<u32> = queries.iter().filter_map(|query| self.positions.get(&query.text).copied()).collect();
        let embeds = self.embeds.as_ref().ok_or_else(no_queries)?;
        Ok(embeds.select(&positions)?)
    }
}

fn no_queries() -> sinopia_models::Error {
    sinopia_models::Error::Input { what: "queries", expected: "at least one".to_owned(), found: "none".to_owned() }
}

fn pixels(image: &RgbImage) -> Result<Pixels<'_>> {
    Ok(Pixels::new(image.width() as usize, image.height() as usize, image.as_raw())?)
}

/// A detection as a named box, cut at the picture's edges; nothing if it lies outside.
fn seen(detection: &Detection, queries: &[Query], (width, height): (u32, u32)) -> Option<Seen> {
    let [x0, y0, x1, y1] = detection.corners.map(f64::from);
    let (x0, x1) = (x0.clamp(0.0, width.into()), x1.clamp(0.0, width.into()));
    let (y0, y1) = (y0.clamp(0.0, height.into()), y1.clamp(0.0, height.into()));
    let bbox = PixelBox::new(x0, y0, x1 - x0, y1 - y0).ok().filter(PixelBox::has_area)?;
    Some(Seen { name: queries[detection.label].text.clone(), score: detection.score.into(), bbox })
}

/// The whole of a picture, where something is seen that has no place.
fn everywhere(name: &str, score: f64, (width, height): (u32, u32)) -> Option<Seen> {
    let bbox = PixelBox::new(0.0, 0.0, width.into(), height.into()).ok()?;
    Some(Seen { name: name.to_owned(), score, bbox })
}

/// A CLIP model as an eye: it sees every text in every image, as sure as they are alike.
#[derive(Debug)]
pub struct Likeness {
    model: ClipPair,
    id: DetectorId,
}

impl Likeness {
    /// Opens a folder of CLIP weights.
    ///
    /// # Errors
    /// As [`ClipPair::open`].
    pub fn open(folder: &Path, precision: sinopia_models::Precision) -> Result<Self> {
        let model = ClipPair::open(folder, &Device::Cpu, precision)?;
        Ok(Self { model, id: DetectorId { id: name_of(folder), hash: clip_pair::content_hash(folder)? } })
    }
}

impl Eye for Likeness {
    fn id(&self) -> &DetectorId {
        &self.id
    }

    fn sight(&self) -> Sight {
        Sight::Likeness
    }

    fn read_unless<'a>(&'a self, texts: &[String], interrupt: Interrupt<'a>) -> Result<Box<dyn Look + 'a>> {
        let mut embeds = Vec::new();
        for texts in texts.chunks(QUERIES_AT_ONCE) {
            let read = self.model.encode_texts_unless(texts, interrupt)?;
            embeds.extend(read.to_vec2::<f32>().map_err(sinopia_models::Error::from)?);
        }
        let embeds = texts.iter().cloned().zip(embeds).collect();
        Ok(Box::new(LikenessLook { model: &self.model, embeds, interrupt }))
    }
}

struct LikenessLook<'a> {
    model: &'a ClipPair,
    embeds: HashMap<String, Vec<f32>>,
    interrupt: Interrupt<'a>,
}

impl Look for LikenessLook<'_> {
    fn look(&self, images: &[&RgbImage], questions: &[[Question; 2]]) -> Result<Vec<[Vec<Seen>; 2]>> {
        let pixels = images.iter().map(|image| pixels(image)).collect::<Result<Vec<_>>>()?;
        let images_embeds = self.model.encode_images_unless(&pixels, self.interrupt)?;
        let images_embeds = images_embeds.to_vec2::<f32>().map_err(sinopia_models::Error::from)?;
        let of_image = |((image, embed), questions): ((&&RgbImage, &Vec<f32>), &[Question; 2])| {
            [0, 1].map(|i| {
                let likeness = |query: &Query| {
                    let text = self.embeds.get(&query.text)?;
                    let cosine: f32 = text.iter().zip(embed).map(|(a, b)| a * b).sum();
                    everywhere(&query.text, cosine.into(), image.dimensions())
                };
                questions[i].queries.iter().filter_map(likeness).collect()
            })
        };
        Ok(images.iter().zip(&images_embeds).zip(questions).map(of_image).collect())
    }
}

/// A model that answers questions about pictures with yes or no. The caller brings it; asking may take long and may fail.
pub trait Answerer: Debug {
    /// What tells its answers from another's.
    fn id(&self) -> &DetectorId;

    /// Whether the answer to `question` about a picture, the bytes of a PNG, is yes.
    ///
    /// # Errors
    /// Whatever kept it from answering.
    fn says_yes(&self, png: &[u8], question: &str) -> Result<bool, AnswerError>;
}

/// Why there is no answer.
pub type AnswerError = Box<dyn std::error::Error + Send + Sync>;

/// An [`Answerer`] as an eye: it sees what it answers with yes.
#[derive(Debug)]
pub struct Questioner<A>(pub A);

impl<A: Answerer> Eye for Questioner<A> {
    fn id(&self) -> &DetectorId {
        self.0.id()
    }

    fn sight(&self) -> Sight {
        Sight::Answers
    }

    /// Answers cost time and money: each picture's are kept as soon as they are complete.
    fn images_at_once(&self) -> usize {
        1
    }

    fn read_unless<'a>(&'a self, _texts: &[String], _interrupt: Interrupt<'a>) -> Result<Box<dyn Look + 'a>> {
        Ok(Box::new(QuestionerLook(&self.0)))
    }
}

struct QuestionerLook<'a>(&'a dyn Answerer);

impl Look for QuestionerLook<'_> {
    /// Each question is asked once, whoever wants to know.
    fn look(&self, images: &[&RgbImage], questions: &[[Question; 2]]) -> Result<Vec<[Vec<Seen>; 2]>> {
        let of_image = |(image, questions): (&&RgbImage, &[Question; 2])| {
            let mut png = std::io::Cursor::new(Vec::new());
            let encoded = image.write_to(&mut png, image::ImageFormat::Png);
            encoded.map_err(|error| Error::Answer { question: "the picture".to_owned(), source: error.into() })?;
            let mut known: HashMap<&str, bool> = HashMap::new();
            for query in questions.iter().flat_map(|question| &question.queries) {
                if !known.contains_key(query.text.as_str()) {
                    let answer = self.0.says_yes(png.get_ref(), &query.text);
                    let answer = answer.map_err(|source| Error::Answer { question: query.text.clone(), source })?;
                    known.insert(&query.text, answer);
                }
            }
            Ok([0, 1].map(|i| {
                let queries = questions[i].queries.iter().filter(|query| known.get(query.text.as_str()) == Some(&true));
                queries.filter_map(|query| everywhere(&query.text, 1.0, image.dimensions())).collect()
            }))
        };
        images.iter().zip(questions).map(of_image).collect()
    }
}
