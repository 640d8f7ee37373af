//! Images in bands of rows, for layers whose whole images would not fit in memory side by side.
//!
//! A layer makes the bands of its result one after the other and gives up what it no longer needs of its input, so that hardly more than one of the
//! two exists at a time. The result has the bits of the whole image: a band is computed with [`MARGIN`] rows more on either side, which are then cut
//! off, and bands begin where tiles of a convolution begin.

use std::collections::VecDeque;
use std::ops::Range;

use candle_core::Tensor;
use sinopia_nn::memory::give_back;
use sinopia_nn::{Conv2d, GroupNorm, Moments};

/// Rows that a 3×3 convolution sees beyond a band, rounded up to the tiles of its kernels (Winograd's are 4 or 2 rows high).
const MARGIN: usize = 4;
/// Elements of a band, about: 16 MiB, of which a layer has four or five under way.
const BAND_ELEMENTS: usize = 1 << 22;
/// Fewest rows of a band, so that its margins do not cost more than itself.
const MIN_ROWS: usize = 32;

/// One image (1, H, W, C), or what is left of it.
pub(crate) struct Bands {
    /// Rows of the whole image.
    height: usize,
    /// Elements of a band, about.
    band_elements: usize,
    bands: VecDeque<Band>,
}

/// Of what a layer makes.
#[derive(Clone, Copy)]
struct Sizes {
    height: usize,
    width: usize,
    channels: usize,
    band_elements: usize,
}

/// Some of an image's rows.
struct Band {
    first: usize,
    rows: Tensor,
}

impl Band {
    fn end(&self) -> sinopia_nn::Result<usize> {
        Ok(self.first + self.rows.dim(1)?)
    }
}

impl Bands {
    /// An image in one band, of which layers will make bands of about 16 MiB.
    pub(crate) fn whole(image: Tensor) -> sinopia_nn::Result<Self> {
        Self::with_band_elements(image, BAND_ELEMENTS)
    }

    fn with_band_elements(image: Tensor, band_elements: usize) -> sinopia_nn::Result<Self> {
        let (height, bands) = (image.dim(1)?, VecDeque::from([Band { first: 0, rows: image }]));
        Ok(Self { height, band_elements, bands })
    }

    /// The image in one piece.
    pub(crate) fn into_whole(self) -> sinopia_nn::Result<Tensor> {
        let rows: Vec<Tensor> = self.bands.into_iter().map(|band| band.rows).collect();
        join(rows)
    }

    fn width(&self) -> sinopia_nn::Result<usize> {
        Ok(self.bands.front().map(|band| band.rows.dim(2)).transpose()?.unwrap_or(0))
    }

    /// Rows of the image, which must not have been forgotten: (1, rows, W, C).
    fn rows(&self, wanted: Range<usize>) -> sinopia_nn::Result<Tensor> {
        let mut parts = Vec::new();
        for band in &self.bands {
            let (start, end) = (band.first.max(wanted.start), band.end()?.min(wanted.end));
            if start < end {
                parts.push(band.rows.narrow(1, start - band.first, end - start)?);
            }
        }
        join(parts)
    }

    /// Lets go of the bands that end before a row.
    fn forget_before(&mut self, row: usize) -> sinopia_nn::Result<()> {
        while let Some(band) = self.bands.front()
            && band.end()? <= row
        {
            self.bands.pop_front();
        }
        Ok(())
    }

    /// The result (1, H, W, C) of a layer, of which `band` makes the rows that it is given.
    fn make(
        sizes: Sizes,
        mut band: impl FnMut(Range<usize>) -> sinopia_nn::Result<Tensor>,
    ) -> sinopia_nn::Result<Self> {
        let Sizes { height, width, channels, band_elements } = sizes;
        let rows = (band_elements / (width * channels).max(1) / MARGIN * MARGIN).max(MIN_ROWS);
        let mut bands = VecDeque::new();
        for first in (0..height).step_by(rows) {
            bands.push_back(Band { first, rows: band(first..(first + rows).min(height))? });
        }
        if bands.len() > 1 {
            give_back(); // The next layer's bands have other sizes, for which what was freed is too small or in pieces.
        }
        Ok(Self { height, band_elements, bands })
    }

    /// The sizes of a result on the same grid.
    fn sizes(&self, channels: usize) -> sinopia_nn::Result<Sizes> {
        Ok(Sizes { height: self.height, width: self.width()?, channels, band_elements: self.band_elements })
    }

    /// Mean and deviation of the groups of the whole image.
    fn moments(&self, norm: &GroupNorm) -> sinopia_nn::Result<Moments> {
        norm.moments(&self.bands.iter().map(|band| &band.rows).collect::<Vec<_>>())
    }

    /// `silu(norm(x))` of some rows. They are not held beside it.
    fn normalised(&self, rows: Range<usize>, norm: &GroupNorm, moments: &Moments) -> sinopia_nn::Result<Tensor> {
        norm.normalise_silu(&self.rows(rows)?, moments)
    }

    /// `silu(norm(x))` and a 3×3 convolution of it.
    pub(crate) fn normalise_and_convolve(mut self, norm: &GroupNorm, conv: &Conv2d) -> sinopia_nn::Result<Self> {
        let moments = self.moments(norm)?;
        let sizes = self.sizes(conv.out_channels())?;
        Self::make(sizes, |rows| {
            let (seen, cut) = with_margin(&rows, self.height);
            let made = conv.forward(&self.normalised(seen, norm, &moments)?)?;
            self.forget_before(rows.end.saturating_sub(MARGIN))?;
            keep(&made, cut)
        })
    }

    /// A residual block: `shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))`.
    pub(crate) fn residual(
        mut self,
        [norm1, norm2]: [&GroupNorm; 2],
        [conv1, conv2]: [&Conv2d; 2],
        shortcut: Option<&Conv2d>,
    ) -> sinopia_nn::Result<Self> {
        let moments = self.moments(norm1)?;
        let sizes = self.sizes(conv1.out_channels())?;
        // Where there is a shortcut, what it makes stands for `x` from then on.
        let mut base = VecDeque::new();
        let mut hidden = Self::make(sizes, |rows| {
            let (seen, cut) = with_margin(&rows, self.height);
            let made = conv1.forward(&self.normalised(seen, norm1, &moments)?)?;
            if let Some(shortcut) = shortcut {
                base.push_back(Band { first: rows.start, rows: shortcut.forward(&self.rows(rows.clone())?)? });
                self.forget_before(rows.end.saturating_sub(MARGIN))?;
            }
            keep(&made, cut)
        })?;
        if shortcut.is_some() {
            self.bands = base;
        }
        let moments = hidden.moments(norm2)?;
        Self::make(sizes, |rows| {
            let (seen, cut) = with_margin(&rows, self.height);
            let normal = hidden.normalised(seen.clone(), norm2, &moments)?;
            let made = conv2.forward_onto(&normal, &self.rows(seen)?)?;
            for image in [&mut self, &mut hidden] {
                image.forget_before(rows.end.saturating_sub(MARGIN))?;
            }
            keep(&made, cut)
        })
    }

    /// Twice the rows and columns, each pixel repeated, and a 3×3 convolution of them.
    pub(crate) fn upsample(mut self, conv: &Conv2d) -> sinopia_nn::Result<Self> {
        let sizes = self.sizes(conv.out_channels())?;
        let height = 2 * sizes.height;
        Self::make(Sizes { height, width: 2 * sizes.width, ..sizes }, |rows| {
            let (seen, cut) = with_margin(&rows, height);
            // Bands and margins are even.
            let made = conv.forward(&sinopia_nn::upsample::nearest_2x(&self.rows(seen.start / 2..seen.end / 2)?)?)?;
            self.forget_before(rows.end.saturating_sub(MARGIN) / 2)?;
            keep(&made, cut)
        })
    }

    /// A 3×3 convolution of stride 2 with zeros on the right and below: h to ⌊h/2⌋.
    pub(crate) fn downsample(mut self, conv: &Conv2d) -> sinopia_nn::Result<Self> {
        let sizes = self.sizes(conv.out_channels())?;
        Self::make(Sizes { height: sizes.height / 2, width: sizes.width / 2, ..sizes }, |rows| {
            // The last window of a band reads one row of the next.
            let made = conv.forward(&self.rows(2 * rows.start..(2 * rows.end + 1).min(self.height))?)?;
            self.forget_before(2 * rows.end)?;
            Ok(made)
        })
    }

    /// A 3×3 convolution.
    pub(crate) fn convolve(mut self, conv: &Conv2d) -> sinopia_nn::Result<Self> {
        let sizes = self.sizes(conv.out_channels())?;
        Self::make(sizes, |rows| {
            let (seen, cut) = with_margin(&rows, self.height);
            let made = conv.forward(&self.rows(seen)?)?;
            self.forget_before(rows.end.saturating_sub(MARGIN))?;
            keep(&made, cut)
        })
    }
}

/// Rows that are seen for a band of an image of `height` rows, and where the band lies among them.
fn with_margin(rows: &Range<usize>, height: usize) -> (Range<usize>, Range<usize>) {
    let seen = rows.start.saturating_sub(MARGIN)..(rows.end + MARGIN).min(height);
    (seen.clone(), rows.start - seen.start..rows.end - seen.start)
}

/// A band without its margins, in memory of its own.
fn keep(made: &Tensor, rows: Range<usize>) -> sinopia_nn::Result<Tensor> {
    if rows == (0..made.dim(1)?) {
        return Ok(made.clone());
    }
    Ok(made.narrow(1, rows.start, rows.len())?.force_contiguous()?)
}

/// Parts of an image, one below the other.
fn join(mut parts: Vec<Tensor>) -> sinopia_nn::Result<Tensor> {
    match parts.len() {
        1 => Ok(parts.swap_remove(0)),
        _ => Ok(Tensor::cat(&parts, 1)?),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;
    use sinopia_nn::{Conv2d, Conv2dOptions, GroupNorm, Padding, upsample};

    use super::Bands;
    use crate::Result;
    use crate::testing::normal;

    const DOWN: Padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };

    fn conv([inputs, outputs]: [usize; 2], kernel: usize, stride: usize, padding: Padding) -> Result<Conv2d> {
        let (weight, bias) = (normal(7, (outputs, inputs, kernel, kernel))?, normal(8, outputs)?);
        Ok(Conv2d::new(&weight, Some(&bias), Conv2dOptions { stride, padding })?)
    }

    fn norm(channels: usize) -> Result<GroupNorm> {
        Ok(GroupNorm::new(&normal(5, channels)?, &normal(6, channels)?, 4, 1e-6)?)
    }

    /// In bands of the fewest rows.
    fn bands(x: &Tensor) -> Result<Bands> {
        Ok(Bands::with_band_elements(x.clone(), 1)?)
    }

    fn assert_same(found: Bands, expected: &Tensor, num_bands: usize) -> Result<()> {
        assert_eq!(found.bands.len(), num_bands);
        let found = found.into_whole()?;
        assert_eq!(found.dims(), expected.dims());
        let bits = |x: &Tensor| -> Result<Vec<u32>> {
            Ok(x.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
        };
        assert_eq!(bits(&found)?, bits(expected)?);
        Ok(())
    }

    #[test]
    fn layers_in_bands_have_the_bits_of_whole_images() -> Result<()> {
        let same = Padding::same(1);
        // Channels for plain windows and for tiles; heights that do and do not end with a tile, a band, a pair of rows.
        for (height, width, c) in [(96, 9, 4), (131, 10, 32), (70, 33, 32), (33, 8, 8)] {
            let (x, num_bands) = (normal(1, (1, height, width, c))?, height.div_ceil(32));
            let (norm1, conv1) = (norm(c)?, conv([c, c], 3, 1, same)?);

            let convolved = conv1.forward(&x)?;
            assert_same(bands(&x)?.convolve(&conv1)?, &convolved, num_bands)?;
            // Once more, from bands.
            assert_same(bands(&x)?.convolve(&conv1)?.convolve(&conv1)?, &conv1.forward(&convolved)?, num_bands)?;

            let expected = conv1.forward(&norm1.forward_silu(&x)?)?;
            assert_same(bands(&x)?.normalise_and_convolve(&norm1, &conv1)?, &expected, num_bands)?;

            let enlarged = conv1.forward(&upsample::nearest_2x(&x)?)?;
            assert_same(bands(&x)?.upsample(&conv1)?, &enlarged, (2 * height).div_ceil(32))?;
            assert_same(
                bands(&x)?.convolve(&conv1)?.upsample(&conv1)?,
                &conv1.forward(&upsample::nearest_2x(&convolved)?)?,
                (2 * height).div_ceil(32),
            )?;

            let smaller = conv([c, c], 3, 2, DOWN)?;
            assert_same(bands(&x)?.downsample(&smaller)?, &smaller.forward(&x)?, (height / 2).div_ceil(32))?;
            assert_same(
                bands(&x)?.convolve(&conv1)?.downsample(&smaller)?,
                &smaller.forward(&convolved)?,
                (height / 2).div_ceil(32),
            )?;
        }
        Ok(())
    }

    #[test]
    fn residual_blocks_in_bands_have_the_bits_of_whole_images() -> Result<()> {
        let same = Padding::same(1);
        for (height, width, [c, d]) in [(99, 9, [4, 8]), (99, 9, [8, 8]), (72, 17, [64, 32]), (65, 12, [32, 32])] {
            let x = normal(1, (1, height, width, c))?;
            let (norms, convs) = ([norm(c)?, norm(d)?], [conv([c, d], 3, 1, same)?, conv([d, d], 3, 1, same)?]);
            let shortcut = (c != d).then(|| conv([c, d], 1, 1, Padding::same(0))).transpose()?;
            let hidden = norms[1].forward_silu(&convs[0].forward(&norms[0].forward_silu(&x)?)?)?;
            let base = shortcut.as_ref().map(|shortcut| shortcut.forward(&x)).transpose()?;
            let expected = convs[1].forward_onto(&hidden, base.as_ref().unwrap_or(&x))?;
            let residual = |x: Bands| x.residual(norms.each_ref(), convs.each_ref(), shortcut.as_ref());
            assert_same(residual(bands(&x)?)?, &expected, height.div_ceil(32))?;
        }
        Ok(())
    }
}
