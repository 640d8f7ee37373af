//! PNG files that remember how they were made: the recipe is a text chunk, readable by any PNG tool.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, bail};
use image::RgbImage;

use super::failure::Given;

/// Keyword of the text chunk that holds the recipe as JSON.
const RECIPE_KEYWORD: &str = "sinopia";

/// Encodes an image with its recipe. The same image and recipe give the same bytes.
pub(crate) fn encode(image: &RgbImage, caption: &str, recipe_json: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.add_itxt_chunk("Software".to_owned(), concat!("Sinopia ", env!("CARGO_PKG_VERSION")).to_owned())?;
    encoder.add_itxt_chunk("Description".to_owned(), caption.to_owned())?;
    encoder.add_itxt_chunk(RECIPE_KEYWORD.to_owned(), recipe_json.to_owned())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// The recipe inside the image at `path`, as JSON text.
pub(crate) fn read_recipe(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).given(|| format!("cannot read `{}`", path.display()))?;
    recipe_in(&bytes).given(|| format!("cannot read the recipe in `{}`", path.display()))
}

/// The recipe inside a PNG, as JSON text.
pub(crate) fn recipe_in(bytes: &[u8]) -> anyhow::Result<String> {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().context("this is not a PNG image")?;
    // Chunks may stand behind the picture: read to the end before asking for the text.
    reader.finish().context("the PNG image is damaged")?;
    for chunk in &reader.info().utf8_text {
        if chunk.keyword == RECIPE_KEYWORD {
            return chunk.get_text().context("the text chunk `sinopia` is damaged");
        }
    }
    bail!("it holds no text chunk `sinopia`: it was not made by Sinopia, or a program that edited it dropped the text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_comes_back_and_the_bytes_are_the_same_twice() {
        let image = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let bytes = encode(&image, "ein Hund – 犬", r#"{"seed":1}"#).unwrap();
        assert_eq!(recipe_in(&bytes).unwrap(), r#"{"seed":1}"#);
        assert_eq!(bytes, encode(&image, "ein Hund – 犬", r#"{"seed":1}"#).unwrap());
    }

    #[test]
    fn other_files_are_told_apart() {
        assert!(format!("{:#}", recipe_in(b"hello").unwrap_err()).contains("not a PNG"));
        let mut plain = Vec::new();
        RgbImage::new(2, 2).write_to(&mut Cursor::new(&mut plain), image::ImageFormat::Png).unwrap();
        assert!(format!("{:#}", recipe_in(&plain).unwrap_err()).contains("not made by Sinopia"));
        let cut = &encode(&RgbImage::new(64, 64), "", "{}").unwrap()[..80];
        assert!(recipe_in(cut).is_err());
    }
}
