//! The picture that a painting begins with, as its files have it.

use std::sync::Arc;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Luma, RgbImage};
use sha2::{Digest, Sha256};
use sinopia_diffusion::recipe::{FileId, InitRecord};
use sinopia_diffusion::{Image, ImageSize, Init, PixelMask, Recipe};
use sinopia_layout::hex;
use sinopia_layout::limits::PICTURE_PIXELS;

use crate::pictures::{DecodeError, decode};
use crate::{Error, Result};

/// A file's content under its name.
#[derive(Debug, Clone, Copy)]
pub struct NamedBytes<'a> {
    /// Its name, without its folder.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// What a picture is to begin with: another picture and, if not all of it is to change, a mask of the same size. Scaled once the size of the picture is known.
#[derive(Debug, Clone, PartialEq)]
pub struct InitPicture {
    image: RgbImage,
    image_id: FileId,
    /// 255 where it changes, else 0.
    mask: Option<(GrayImage, FileId)>,
    /// How much of it changes, if somebody said.
    pub strength: Option<f64>,
}

impl InitPicture {
    /// How much changes if nobody says.
    pub const STRENGTH: f64 = 0.8;

    /// Opacity below which a pixel of a mask counts as transparent.
    pub const OPAQUE: u8 = 128;

    /// Sides of a picture that has its shape are multiples of so many pixels.
    const SIDE_MULTIPLE: usize = 8;

    /// Of the content of their files: PNG, JPEG or WebP. A mask changes what is transparent in it or, if nothing is, what is rather white than black.
    ///
    /// # Errors
    /// [`Error::InitFile`] for what is no picture; [`Error::Diffusion`] for a mask of another size, or one that changes nothing.
    pub fn new(image: NamedBytes, mask: Option<NamedBytes>, strength: Option<f64>) -> Result<Self> {
        let picture = read(image)?.into_rgb8();
        let mask = match mask {
            None => None,
            Some(file) => {
                let levels = mask_levels(&read(file)?);
                check_mask(&levels, size_of(picture.dimensions()))?;
                Some((levels, id(file)))
            }
        };
        Ok(Self { image: picture, image_id: id(image), mask, strength })
    }

    /// What a recipe tells of it.
    pub fn record(&self) -> InitRecord {
        let mask = self.mask.as_ref().map(|(_, id)| id.clone());
        InitRecord { image: self.image_id.clone(), mask, strength: self.strength() }
    }

    /// How much of it changes, the share of the denoiser's calls that are made.
    pub fn strength(&self) -> f64 {
        self.strength.unwrap_or(Self::STRENGTH)
    }

    /// The same; where nobody said how much changes, as much as in the recipe's picture.
    #[must_use]
    pub fn as_strong_as(&self, recipe: &Recipe) -> Self {
        let recorded = recipe.init.as_ref().map(|init| init.strength);
        Self { strength: self.strength.or(recorded), ..self.clone() }
    }

    /// Its sides, as its file has them.
    pub fn size(&self) -> ImageSize {
        size_of(self.image.dimensions())
    }

    /// The size of a picture that has its shape: about as many pixels as `native`, or where one side is given what the shape makes of the other.
    pub fn shaped(&self, width: Option<usize>, height: Option<usize>, native: ImageSize) -> ImageSize {
        let ImageSize { width: own_width, height: own_height } = self.size();
        let (own_width, own_height) = (own_width as f64, own_height as f64);
        let scale = match (width, height) {
            (Some(width), _) => width as f64 / own_width,
            (None, Some(height)) => height as f64 / own_height,
            (None, None) => ((native.width * native.height) as f64 / (own_width * own_height)).sqrt(),
        };
        let multiple = Self::SIDE_MULTIPLE;
        let side = |own: f64| ((own * scale / multiple as f64).round() as usize).max(1) * multiple;
        ImageSize {
            width: width.unwrap_or_else(|| side(own_width)),
            height: height.unwrap_or_else(|| side(own_height)),
        }
    }

    /// What to say of it at this size, if it has to be scaled.
    pub fn scaling(&self, to: ImageSize) -> Option<String> {
        let name = &self.image_id.name;
        (self.size() != to).then(|| format!("`{name}` is scaled from {} to {to}", self.size()))
    }

    /// The same at the size of the picture that begins with it. Of a mask no pixel is lost.
    ///
    /// # Errors
    /// [`Error::Diffusion`] for a strength that is none.
    pub fn scaled(&self, to: ImageSize) -> Result<Init> {
        let (width, height) = (to.width as u32, to.height as u32);
        let is_same = self.size() == to;
        let image = if is_same {
            self.image.clone()
        } else {
            imageops::resize(&self.image, width, height, FilterType::Lanczos3)
        };
        let mask = self.mask.as_ref().map(|(mask, _)| match is_same {
            true => mask.clone(),
            false => any_of(imageops::resize(mask, width, height, FilterType::Triangle)),
        });
        let init = Init {
            image: Arc::new(Image::from_pixels(to, image.into_raw())?),
            strength: self.strength(),
            mask: mask.map(|mask| PixelMask::new(to, mask.into_raw()).map(Arc::new)).transpose()?,
        };
        init.check(to)?;
        Ok(init)
    }
}

fn read(file: NamedBytes) -> Result<DynamicImage> {
    let name = || file.name.to_owned();
    decode(file.bytes, PICTURE_PIXELS).map_err(|source: DecodeError| Error::InitFile { name: name(), source })
}

fn id(file: NamedBytes) -> FileId {
    FileId { name: file.name.to_owned(), sha256: hex::encode(&Sha256::digest(file.bytes)) }
}

fn size_of((width, height): (u32, u32)) -> ImageSize {
    ImageSize { width: width as usize, height: height as usize }
}

/// 255 where a mask says that something changes, else 0.
fn mask_levels(mask: &DynamicImage) -> GrayImage {
    let (pixels, luma) = (mask.to_rgba8(), mask.to_luma8());
    let is_cut_out = pixels.pixels().any(|pixel| pixel[3] < InitPicture::OPAQUE);
    GrayImage::from_fn(mask.width(), mask.height(), |x, y| {
        let changes =
            if is_cut_out { pixels.get_pixel(x, y)[3] < InitPicture::OPAQUE } else { luma.get_pixel(x, y)[0] >= 128 };
        Luma([if changes { 255 } else { 0 }])
    })
}

/// 255 wherever anything is not black.
fn any_of(mut levels: GrayImage) -> GrayImage {
    levels.pixels_mut().for_each(|level| level[0] = if level[0] > 0 { 255 } else { 0 });
    levels
}

/// Refuses a mask of another size than the picture's, and one that changes nothing.
fn check_mask(levels: &GrayImage, picture: ImageSize) -> Result<()> {
    let mask = PixelMask::new(size_of(levels.dimensions()), levels.as_raw().clone())?;
    if mask.size() == picture {
        return Ok(());
    }
    let (found, expected) = (mask.size().to_string(), format!("the picture's {picture}"));
    Err(sinopia_diffusion::Error::Mismatch { what: "the mask", found, expected }.into())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, Rgb, Rgba, RgbaImage};
    use sinopia_diffusion::methods;

    use super::*;

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn photo() -> Vec<u8> {
        png(RgbImage::from_fn(48, 32, |x, y| Rgb([x as u8 * 5, y as u8 * 7, 90])))
    }

    fn named<'a>(name: &'a str, bytes: &'a [u8]) -> NamedBytes<'a> {
        NamedBytes { name, bytes }
    }

    #[test]
    fn a_mask_says_by_white_or_by_holes_what_changes() {
        let (photo, size) = (photo(), ImageSize { width: 48, height: 32 });
        let white = GrayImage::from_fn(48, 32, |x, _| Luma([if x < 9 { 200 } else { 100 }]));
        let holes = RgbaImage::from_fn(48, 32, |x, _| Rgba([255, 255, 255, if x < 9 { 0 } else { 255 }]));
        for mask in [png(white), png(holes)] {
            let init = InitPicture::new(named("a.png", &photo), Some(named("m.png", &mask)), Some(0.4)).unwrap();
            let scaled = init.scaled(size).unwrap();
            let levels = scaled.mask.unwrap();
            assert!(levels.levels().iter().enumerate().all(|(at, level)| (*level == 255) == (at % 48 < 9)));
            assert_eq!((scaled.strength, scaled.image.size()), (0.4, size));
            assert_eq!(scaled.image.pixels()[..6], [0, 0, 90, 5, 0, 90], "nothing is scaled that has its size");
        }
    }

    #[test]
    fn it_is_scaled_to_the_picture_and_so_is_its_mask() {
        let photo = photo();
        let dot = png(GrayImage::from_fn(48, 32, |x, y| Luma([if (x, y) == (20, 7) { 255 } else { 0 }])));
        let init = InitPicture::new(named("a.png", &photo), Some(named("m.png", &dot)), None).unwrap();
        let native = ImageSize { width: 64, height: 64 };
        let size = init.shaped(None, None, native);
        assert_eq!((size.width, size.height), (80, 56));
        assert_eq!(init.scaling(size).unwrap(), "`a.png` is scaled from 48 × 32 pixels to 80 × 56 pixels");
        assert_eq!(init.scaling(init.size()), None);
        let by_width = init.shaped(Some(96), None, native);
        assert_eq!((by_width.width, by_width.height), (96, 64));
        let by_height = init.shaped(None, Some(64), native);
        assert_eq!((by_height.width, by_height.height), (96, 64));
        for to in [size, ImageSize { width: 8, height: 8 }] {
            let scaled = init.scaled(to).unwrap();
            assert_eq!((scaled.image.size(), scaled.strength), (to, InitPicture::STRENGTH));
            assert!(scaled.mask.unwrap().levels().contains(&255), "the dot is lost at {to}");
        }
    }

    #[test]
    fn what_is_no_picture_or_does_not_fit_is_refused_by_name() {
        let photo = photo();
        let refused = |image: NamedBytes, mask: Option<NamedBytes>| {
            let error = InitPicture::new(image, mask, None).unwrap_err();
            assert!(error.is_bad_input());
            let source = std::error::Error::source(&error).map(|source| source.to_string()).unwrap_or_default();
            format!("{error}: {source}")
        };
        let text = refused(named("notes.txt", b"hello"), None);
        assert!(text.contains("`notes.txt`") && text.contains("no picture"), "{text}");
        assert!(refused(named("cut.png", &photo[..60]), None).contains("`cut.png`"));
        let small = png(GrayImage::from_pixel(8, 8, Luma([255])));
        let other = refused(named("a.png", &photo), Some(named("m.png", &small)));
        assert!(other.contains("the mask: 8 × 8 pixels, expected the picture's 48 × 32 pixels"), "{other}");
        let black = png(GrayImage::from_pixel(48, 32, Luma([0])));
        assert!(refused(named("a.png", &photo), Some(named("m.png", &black))).contains("black everywhere"));
    }

    #[test]
    fn files_are_known_by_their_content() {
        let photo = photo();
        let init = InitPicture::new(named("a.png", &photo), None, None).unwrap();
        let (record, renamed) = (init.record(), InitPicture::new(named("b.png", &photo), None, None).unwrap().record());
        assert_eq!((record.image.name.as_str(), record.strength), ("a.png", InitPicture::STRENGTH));
        assert_eq!(record.image.sha256, renamed.image.sha256);
        assert_eq!(record.image.sha256.len(), 64);
    }

    /// The help of `--init` says which methods take one.
    #[test]
    fn the_methods_that_take_one_are_those_that_the_help_says() {
        let without: Vec<&str> =
            methods::METHODS.iter().filter(|method| !method.takes_init).map(|method| method.name).collect();
        assert_eq!(without, ["lmd", "lmd-plus"]);
    }
}
