//! Cutting large latents into tiles that overlap, and blending the decoded tiles into one image.

use candle_core::{Device, Tensor};

use crate::{Error, Result};

/// When and how large latents are decoded in tiles. All lengths are in latent cells.
///
/// A tile is decoded without knowing the others, so its colours differ a little from those of the whole: group norms and the middle
/// block's attention see the tile alone. In the overlap each tile fades linearly into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// Latents whose longer side is at most this are decoded whole.
    pub above: usize,
    /// The side of a tile.
    pub tile: usize,
    /// How far neighbours overlap, less than half a tile.
    pub overlap: usize,
}

impl Default for Tiling {
    /// Whole up to 96 cells (768 pixels in Stable Diffusion, about 3 GB of activations), then tiles of 64 that overlap by a quarter.
    fn default() -> Self {
        Self { above: 96, tile: 64, overlap: 16 }
    }
}

impl Tiling {
    /// Never tile.
    pub const OFF: Self = Self { above: usize::MAX, tile: 64, overlap: 16 };

    /// # Errors
    /// [`Error::Input`] if a tile is empty or neighbours overlap by half a tile or more.
    pub(super) fn validate(&self) -> Result<()> {
        if self.tile > 0 && self.overlap * 2 < self.tile {
            return Ok(());
        }
        Err(Error::Input {
            what: "the overlap of tiles",
            expected: format!("less than half of the tile, {}", self.tile),
            found: self.overlap.to_string(),
        })
    }

    /// Whether latents of this grid are cut.
    pub(super) fn applies(&self, h: usize, w: usize) -> bool {
        h.max(w) > self.above && h.max(w) > self.tile
    }

    /// The tiles along an axis of `len` cells; the last is moved back to end with the axis.
    pub(super) fn spans(&self, len: usize) -> Vec<Span> {
        if len <= self.tile {
            return vec![Span { start: 0, len }];
        }
        let step = self.tile - self.overlap;
        let count = (len - self.overlap).div_ceil(step);
        (0..count).map(|index| Span { start: (index * step).min(len - self.tile), len: self.tile }).collect()
    }
}

/// Part of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Span {
    /// The same part on a grid `factor` times as fine.
    fn scaled(self, factor: usize) -> Self {
        Self { start: self.start * factor, len: self.len * factor }
    }

    fn end(self) -> usize {
        self.start + self.len
    }
}

/// How much each tile counts at each of its pixels along one axis: for every span a weight a pixel, and all weights of a pixel add
/// up to 1. Where two tiles overlap, one rises linearly as the other falls.
pub(super) fn blend_weights(spans: &[Span], factor: usize) -> Vec<Vec<f32>> {
    let spans: Vec<Span> = spans.iter().map(|span| span.scaled(factor)).collect();
    let total = spans.last().map_or(0, |span| span.end());
    let ramps: Vec<Vec<f32>> = (0..spans.len()).map(|index| ramp(&spans, index)).collect();
    let mut sums = vec![0.0_f32; total];
    for (span, ramp) in spans.iter().zip(&ramps) {
        sums[span.start..span.end()].iter_mut().zip(ramp).for_each(|(sum, weight)| *sum += weight);
    }
    let normal = |(span, ramp): (&Span, Vec<f32>)| {
        ramp.iter().zip(&sums[span.start..span.end()]).map(|(weight, sum)| weight / sum).collect()
    };
    spans.iter().zip(ramps).map(normal).collect()
}

/// 1 in the middle of a span, falling towards a neighbour over the pixels shared with it.
fn ramp(spans: &[Span], index: usize) -> Vec<f32> {
    let span = spans[index];
    let shared = |other: Option<&Span>| {
        other.map_or(0, |other| span.end().min(other.end()).saturating_sub(span.start.max(other.start)))
    };
    let before = shared(index.checked_sub(1).and_then(|previous| spans.get(previous)));
    let after = shared(spans.get(index + 1));
    let rise = |distance: usize, length: usize| ((distance as f32 + 0.5) / length as f32).min(1.0);
    (0..span.len)
        .map(|pixel| {
            let from_left = if before == 0 { 1.0 } else { rise(pixel, before) };
            let from_right = if after == 0 { 1.0 } else { rise(span.len - 1 - pixel, after) };
            from_left.min(from_right)
        })
        .collect()
}

/// Adds up decoded tiles, each multiplied by its weights.
pub(super) struct TileBlend {
    rows: Vec<Span>,
    columns: Vec<Span>,
    row_weights: Vec<Vec<f32>>,
    column_weights: Vec<Vec<f32>>,
    factor: usize,
    sum: Option<Tensor>,
}

impl TileBlend {
    /// For an image `factor` times as fine as the spans' grid.
    pub(super) fn new(rows: Vec<Span>, columns: Vec<Span>, factor: usize) -> Self {
        let (row_weights, column_weights) = (blend_weights(&rows, factor), blend_weights(&columns, factor));
        Self { rows, columns, row_weights, column_weights, factor, sum: None }
    }

    /// Adds tile (B, H, W, 3), the one of span `row` of the rows and `column` of the columns.
    pub(super) fn add(&mut self, row: usize, column: usize, tile: &Tensor) -> Result<()> {
        let weight = |weights: &[f32], shape: (usize, usize, usize, usize), device: &Device| {
            Tensor::from_slice(weights, shape, device)
        };
        let (row_weights, column_weights) = (&self.row_weights[row], &self.column_weights[column]);
        let tile = tile
            .broadcast_mul(&weight(row_weights, (1, row_weights.len(), 1, 1), tile.device())?)?
            .broadcast_mul(&weight(column_weights, (1, 1, column_weights.len(), 1), tile.device())?)?;
        let whole = pad_to(&pad_to(&tile, 1, &self.rows, row, self.factor)?, 2, &self.columns, column, self.factor)?;
        self.sum = Some(match self.sum.take() {
            Some(sum) => (sum + whole)?,
            None => whole,
        });
        Ok(())
    }

    /// The image, once all tiles are in; `None` if there were none.
    pub(super) fn finish(self) -> Option<Tensor> {
        self.sum
    }
}

/// Surrounds a tile with zeros along one axis, so that it stands where it belongs.
fn pad_to(tile: &Tensor, axis: usize, spans: &[Span], index: usize, factor: usize) -> Result<Tensor> {
    let span = spans[index].scaled(factor);
    let total = spans.last().map_or(0, |last| last.scaled(factor).end());
    Ok(tile.pad_with_zeros(axis, span.start, total - span.end())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILING: Tiling = Tiling { above: 8, tile: 8, overlap: 2 };

    #[test]
    fn spans_cover_the_axis_and_overlap_enough() {
        for len in 1..60 {
            let spans = TILING.spans(len);
            assert_eq!((spans[0].start, spans[spans.len() - 1].end()), (0, len));
            for pair in spans.windows(2) {
                assert!(
                    pair[0].end() >= pair[1].start + TILING.overlap && pair[0].start < pair[1].start,
                    "{len}: {spans:?}"
                );
            }
        }
    }

    #[test]
    fn weights_of_a_pixel_add_up_to_one() {
        for (len, factor) in [(8, 1), (9, 4), (20, 8), (31, 2)] {
            let spans = TILING.spans(len);
            let mut sums = vec![0.0; len * factor];
            for (span, weights) in spans.iter().zip(blend_weights(&spans, factor)) {
                assert_eq!(weights.len(), span.len * factor);
                weights.iter().enumerate().for_each(|(pixel, weight)| sums[span.start * factor + pixel] += weight);
            }
            assert!(sums.iter().all(|sum: &f32| (sum - 1.0).abs() < 1e-6), "{len} × {factor}: {sums:?}");
        }
    }

    #[test]
    fn a_tile_fades_linearly_into_the_next() {
        let spans = TILING.spans(14);
        let weights = blend_weights(&spans, 2);
        assert_eq!(weights[0][11..], [1.0, 0.875, 0.625, 0.375, 0.125]);
        assert_eq!(weights[1][..5], [0.125, 0.375, 0.625, 0.875, 1.0]);
    }

    #[test]
    fn pieces_of_an_image_are_blended_into_it() {
        let image = crate::testing::normal(1, (2, 4 * 13, 4 * 21, 3)).unwrap();
        let (rows, columns) = (TILING.spans(13), TILING.spans(21));
        let mut blend = TileBlend::new(rows.clone(), columns.clone(), 4);
        for (row, row_span) in rows.iter().enumerate() {
            for (column, column_span) in columns.iter().enumerate() {
                let (down, across) = (row_span.scaled(4), column_span.scaled(4));
                let piece = image.narrow(1, down.start, down.len).unwrap().narrow(2, across.start, across.len).unwrap();
                blend.add(row, column, &piece).unwrap();
            }
        }
        let difference = (blend.finish().unwrap() - image).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
    }

    #[test]
    fn wide_overlaps_are_refused() {
        let message = Tiling { above: 8, tile: 8, overlap: 4 }.validate().unwrap_err().to_string();
        assert!(message.contains("less than half of the tile, 8"), "{message}");
    }
}
