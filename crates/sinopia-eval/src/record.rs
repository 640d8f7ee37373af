//! What a picture of a run cost: `200/img_0.json` beside `200/img_0.png`.
//!
//! Pictures of runs that kept no records have none; everything that reads records goes without them then.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Result, files};

/// A finished picture, before it lies in its run folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Painted {
    /// Its file.
    pub png: Vec<u8>,
    /// What it cost.
    pub record: PictureRecord,
}

/// What a picture cost, all attempts and edits together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureRecord {
    /// Seconds from the first step to the last look. Pictures that are painted at once share a machine.
    pub seconds: f64,
    /// Multiply-accumulates of the denoiser.
    pub work: u64,
    /// Those of the first painting alone: `work` in units of it is the number of paintings that the picture cost.
    pub first_painting: u64,
    /// Paintings from a seed of their own.
    pub attempts: u32,
    /// Edits that were tried.
    pub edits_tried: u32,
    /// Edits that made the picture better and were kept.
    pub edits_kept: u32,
    /// Whether the evaluator that chose the picture takes it to be right; nothing where nothing was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_as_right: Option<bool>,
}

impl PictureRecord {
    /// What the picture cost in paintings, 1 for one that is painted once; nothing if there was no work.
    pub fn paintings(&self) -> Option<f64> {
        (self.first_painting > 0).then(|| self.work as f64 / self.first_painting as f64)
    }

    /// The record of the picture in `image`, if there is one.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read) or [`Error::Json`](crate::Error::Json) for a file that is no record.
    pub fn beside(image: &Path) -> Result<Option<Self>> {
        let path = path_beside(image);
        if path.is_file() { files::read_json(&path).map(Some) } else { Ok(None) }
    }

    /// Writes it beside the picture, which comes after it: a picture that is there has its record.
    pub(crate) fn write_beside(&self, image: &Path) -> Result<()> {
        files::write_json(&path_beside(image), self)
    }
}

fn path_beside(image: &Path) -> PathBuf {
    image.with_extension("json")
}
