//! Images on their way into a product: bands of rows quantised once, windows gathered as bytes.
//!
//! A window's elements have to share one grid, as its sum runs over them. A grid for each window would be the finest, but would round every pixel
//! nine times, and one for the whole image would let one bright spot spoil everything. So the windows of some rows of results, as many as a block
//! of the product has, share one: that of all pixels that they see. Bands never reach over the end of an image, so that a picture does not depend
//! on what else is in its batch.

use std::ops::Range;

use rayon::prelude::*;

use super::product::Rows;
use super::quantize::{Bounds, Grid};
use crate::conv2d::Geometry;

/// The windows of images (B, H, W, C), one for each pixel of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows<'a> {
    pub(crate) geometry: Geometry,
    /// Images.
    pub(crate) batch: usize,
    pub(crate) image: &'a [f32],
}

/// The pixels that some rows of windows see, as bytes.
pub(crate) struct Band {
    /// Its rows, counted over the batch.
    rows: Range<usize>,
    grid: Grid,
    /// (rows, W, C filled up to a multiple of four)
    bytes: Vec<u8>,
}

impl Windows<'_> {
    fn channels(&self) -> usize {
        self.geometry.c.next_multiple_of(4)
    }

    /// The image's rows, counted over the batch, under the windows of these results, which belong to one image.
    fn image_rows(&self, results: Range<usize>) -> Range<usize> {
        let Geometry { h, kh, stride, top, .. } = self.geometry;
        let ((b, first, _), (_, last, _)) = (self.geometry.place(results.start), self.geometry.place(results.end - 1));
        let start = (first * stride).saturating_sub(top).min(h);
        let end = (last * stride + kh).saturating_sub(top).min(h);
        b * h + start..b * h + end.max(start)
    }
}

impl Rows for Windows<'_> {
    type Band = Band;

    fn len(&self) -> usize {
        self.batch * self.geometry.out_h * self.geometry.out_w
    }

    /// Whole rows of one image, of nearly equal numbers.
    fn block_end(&self, first: usize, most: usize) -> usize {
        let Geometry { out_h, out_w, .. } = self.geometry;
        let bands = out_h.div_ceil((most / out_w).max(1));
        let rows = out_h.div_ceil(bands);
        let (b, y, _) = self.geometry.place(first);
        (b * out_h + (y + rows).min(out_h)) * out_w
    }

    fn band(&self, rows: Range<usize>, parallel: bool) -> Band {
        let rows = self.image_rows(rows);
        let Geometry { w, c, .. } = self.geometry;
        let source = &self.image[rows.start * w * c..rows.end * w * c];
        let bounds = match parallel && !source.is_empty() {
            true => source.par_chunks(w * c).map(Bounds::of).reduce(|| Bounds::NONE, Bounds::and),
            false => Bounds::of(source),
        };
        let (grid, channels) = (bounds.grid(), self.channels());
        let mut bytes = vec![0; rows.len() * w * channels];
        let place = |(source, bytes): (&[f32], &mut [u8])| match channels == c {
            true => grid.place(source, bytes),
            false => source.chunks_exact(c).zip(bytes.chunks_exact_mut(channels)).for_each(|(source, bytes)| {
                grid.place(source, &mut bytes[..c]);
            }),
        };
        match parallel && !source.is_empty() {
            true => source.par_chunks(w * c).zip(bytes.par_chunks_mut(w * channels)).for_each(place),
            false => place((source, &mut bytes)),
        }
        Band { rows, grid, bytes }
    }

    fn write(&self, band: &Band, row: usize, out: &mut [u8]) -> Grid {
        let Geometry { h, w, kw, .. } = self.geometry;
        let channels = self.channels();
        let (b, y, x) = self.geometry.place(row);
        let (columns, image_column) = self.geometry.columns_on_image(x);
        let inside = columns.start * channels..columns.end * channels;
        for (u, span) in out.chunks_exact_mut(kw * channels).enumerate() {
            let Some(image_row) = self.geometry.row_on_image(y, u) else {
                span.fill(band.grid.zero);
                continue;
            };
            let from = ((b * h + image_row - band.rows.start) * w + image_column) * channels;
            span[..inside.start].fill(band.grid.zero);
            span[inside.end..].fill(band.grid.zero);
            span[inside.clone()].copy_from_slice(&band.bytes[from..from + inside.len()]);
        }
        band.grid
    }
}
