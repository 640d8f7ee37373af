//! A painting as a file that remembers how it was made: the recipe is a text chunk, readable by any PNG tool.

use image::RgbImage;
use sinopia_diffusion::{CheckedRecord, Image, Painting, Recipe};

use crate::pictures::{self, Origin};
use crate::{Error, Result};

/// A finished picture.
#[derive(Debug, Clone)]
pub struct Picture {
    /// How it came about: objects painted alone, prompts, guidance, warnings, times.
    pub painting: Painting,
    /// All that makes it again.
    pub recipe: Recipe,
    /// Its file, the recipe in it. The same painting and recipe give the same bytes.
    pub png: Vec<u8>,
}

impl Picture {
    /// A painting with its recipe.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub fn new(painting: Painting, recipe: Recipe) -> Result<Self> {
        let caption = recipe.caption.as_deref().unwrap_or(&painting.prompts.overall);
        let png = encode_png(&rgb(&painting.image)?, caption, &recipe.to_json())?;
        Ok(Self { painting, recipe, png })
    }

    /// The same with how it was checked.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub fn checked_as(self, checked: Option<CheckedRecord>) -> Result<Self> {
        match checked {
            None => Ok(self),
            checked => Self::new(self.painting, self.recipe.with_checked(checked)),
        }
    }
}

/// An image as the `image` crate has it.
///
/// # Errors
/// [`Error::Pixels`].
pub fn rgb(image: &Image) -> Result<RgbImage> {
    let (width, height) = (image.width() as u32, image.height() as u32);
    RgbImage::from_raw(width, height, image.pixels().to_vec()).ok_or(Error::Pixels)
}

/// Encodes an image with its recipe.
///
/// # Errors
/// [`Error::Encode`].
pub fn encode_png(image: &RgbImage, caption: &str, recipe_json: &str) -> Result<Vec<u8>> {
    try_encode_png(image, caption, recipe_json).map_err(|source| Error::Encode { source })
}

fn try_encode_png(image: &RgbImage, caption: &str, recipe_json: &str) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.add_itxt_chunk("Software".to_owned(), concat!("Sinopia ", env!("CARGO_PKG_VERSION")).to_owned())?;
    encoder.add_itxt_chunk("Description".to_owned(), caption.to_owned())?;
    encoder.add_itxt_chunk(Recipe::KEYWORD.to_owned(), recipe_json.to_owned())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// The recipe inside a PNG of ours, as JSON text.
///
/// # Errors
/// [`Error::Picture`], [`Error::ForeignPicture`].
pub fn recipe_in(png: &[u8]) -> Result<String> {
    match pictures::read(png)? {
        Origin::Sinopia { recipe } => Ok(recipe),
        Origin::Foreign(made) => Err(Error::ForeignPicture { program: made.program }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_comes_back_and_the_bytes_are_the_same_twice() {
        let image = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let bytes = encode_png(&image, "ein Hund – 犬", r#"{"seed":1}"#).unwrap();
        assert_eq!(recipe_in(&bytes).unwrap(), r#"{"seed":1}"#);
        assert_eq!(bytes, encode_png(&image, "ein Hund – 犬", r#"{"seed":1}"#).unwrap());
    }

    #[test]
    fn other_files_are_told_apart() {
        assert!(recipe_in(b"hello").unwrap_err().to_string().contains("not a PNG"));
        let mut plain = Vec::new();
        RgbImage::new(2, 2).write_to(&mut std::io::Cursor::new(&mut plain), image::ImageFormat::Png).unwrap();
        assert!(recipe_in(&plain).unwrap_err().to_string().contains("not made by Sinopia"));
        let cut = &encode_png(&RgbImage::new(64, 64), "", "{}").unwrap()[..80];
        assert!(recipe_in(cut).is_err());
    }
}
