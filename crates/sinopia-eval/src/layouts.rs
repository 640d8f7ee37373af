//! Layouts from a cache of answers: found for every caption before any work, and judged as stage 1.

use sinopia_layout::{Layout, LayoutCache, RepairMode, repair, repair_with};

use crate::benchmark::{Benchmark, ImageSize, Prediction, Protocol, Sample, Verdict};
use crate::{Error, Result};

/// The cached layout of every sample, as it was answered.
///
/// # Errors
/// [`Error::LayoutsMissing`] if any caption has no (or too few) answers, saying how many; [`Error::Layout`] for an answer that is no layout.
pub fn find_all<'a>(cache: &LayoutCache, samples: &[&'a Sample]) -> Result<Vec<(&'a Sample, Layout)>> {
    let missing: Vec<_> = samples
        .iter()
        .filter_map(|sample| Some((sample, cache.answer(&sample.caption, sample.occurrence).err()?)))
        .collect();
    let count = missing.len();
    if let Some((sample, first)) = missing.into_iter().next() {
        return Err(Error::LayoutsMissing { missing: count, wanted: samples.len(), index: sample.index, first });
    }
    let parse = |sample: &&'a Sample| {
        let layout = cache.layout(&sample.caption, sample.occurrence).map_err(|source| Error::Layout {
            index: sample.index,
            caption: sample.caption.clone(),
            source,
        })?;
        Ok((*sample, layout))
    };
    samples.iter().map(parse).collect()
}

/// Judges a layout by the same rules as an image: what a perfect painter would score.
///
/// The published protocol repairs boxes by the published rule, the strict one by Sinopia's own, which is what its methods paint.
pub fn judge(benchmark: &dyn Benchmark, sample: &Sample, layout: Layout, protocol: Protocol) -> Verdict {
    let (layout, _) = match protocol {
        Protocol::Published => repair_with(layout, RepairMode::Published { scale: false }),
        Protocol::Strict => repair(layout),
    };
    let size = ImageSize { width: layout.canvas.width(), height: layout.canvas.height() };
    let seen: Vec<Prediction> = layout
        .objects
        .into_iter()
        .map(|object| Prediction { label: object.phrase, score: 1.0, bbox: object.bbox })
        .collect();
    benchmark.judge(sample, &seen, size, protocol)
}
