//! CLIPScore: how alike are an image and its caption?
//!
//! Hessel et al. 2021, arXiv 2104.08718: `2.5 · max(cos(image, "A photo depicts …"), 0)`, published with CLIP ViT-B/32. It says little of counts and places, and
//! nothing of what stands behind the 77th token.

use std::path::Path;

use super::lines::numbered_lines;
use crate::Result;
use crate::benchmark::{Benchmark, Capability, ImageSize, Prediction, Protocol, Query, Sample, Verdict};

/// What every caption is asked with.
const PREFIX: &str = "A photo depicts";
/// Cosines of images and texts are seldom above 0.4; this brings them to 0..=1.
const SCALE: f64 = 2.5;

/// The benchmark over a file of captions.
#[derive(Debug)]
pub struct ClipScore {
    samples: Vec<Sample>,
}

impl ClipScore {
    /// The name on the command line, before the file.
    pub const NAME: &'static str = "clipscore";

    /// Reads captions, one a line; `path` stands for the file in messages.
    ///
    /// # Errors
    /// [`crate::Error::NoCaptions`] if there is none.
    pub fn from_lines(path: &Path, text: &str) -> Result<Self> {
        let lines = numbered_lines(path, text)?;
        Ok(Self {
            samples: Sample::number(lines.iter().map(|(_, caption)| ("captions".to_owned(), (*caption).to_owned()))),
        })
    }
}

impl Benchmark for ClipScore {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn note(&self) -> &'static str {
        "CLIPScore (arXiv 2104.08718): 2.5 times the cosine of image and \u{201c}A photo depicts\u{201d} caption, 0 where it is negative; published figures are by CLIP ViT-B/32. \
         The strict protocol counts a missing image as 0. Intervals are those of a share and too wide for a mean of scores."
    }

    fn capability(&self) -> Capability {
        Capability::ClipScore
    }

    fn samples(&self) -> &[Sample] {
        &self.samples
    }

    fn queries(&self, sample: &Sample, _protocol: Protocol) -> Vec<Query> {
        vec![Query { text: format!("{PREFIX} {}", sample.caption), group: 0 }]
    }

    fn judge(&self, _sample: &Sample, seen: &[Prediction], _size: ImageSize, _protocol: Protocol) -> Verdict {
        let cosine = seen.first().map_or(0.0, |seen| seen.score);
        Verdict { score: (SCALE * cosine).clamp(0.0, 1.0), reason: format!("cosine {cosine:.3}") }
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::PixelBox;

    use super::*;

    #[test]
    fn the_cosine_is_scaled_and_never_negative() {
        let benchmark = ClipScore::from_lines(Path::new("captions.txt"), "a dog\n\na blue cat\n").unwrap();
        let sample = &benchmark.samples()[1];
        let queries = benchmark.queries(sample, Protocol::Published);
        assert_eq!(queries[0].text, "A photo depicts a blue cat");
        for (cosine, expected) in [(0.3, 0.75), (-0.1, 0.0), (0.5, 1.0)] {
            let seen = Prediction {
                label: queries[0].text.clone(),
                score: cosine,
                bbox: PixelBox::new(0.0, 0.0, 9.0, 9.0).unwrap(),
            };
            assert!((benchmark.judge(sample, &[seen], (9, 9).into(), Protocol::Strict).score - expected).abs() < 1e-9);
        }
        assert!(ClipScore::from_lines(Path::new("captions.txt"), "\n").is_err());
    }
}
