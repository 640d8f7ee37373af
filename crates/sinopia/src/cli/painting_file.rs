//! PNG files that remember how they were made: the recipe is a text chunk, readable by any PNG tool.

use std::path::Path;

use image::RgbImage;
use sinopia::pictures::{self, Origin};
use sinopia_diffusion::Recipe;
use sinopia_layout::limits::PICTURE_BYTES;

use super::failure::{Given, bad_request, with_hint};
use super::input;
use super::kinds::{self, Kind};

/// Encodes an image with its recipe. The same image and recipe give the same bytes.
pub(crate) fn encode(image: &RgbImage, caption: &str, recipe_json: &str) -> anyhow::Result<Vec<u8>> {
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

/// How the picture at `path` was made.
pub(crate) fn read(path: &Path) -> anyhow::Result<Origin> {
    let hinted = |error| with_hint(error, kinds::hint(path, Kind::Png));
    let bytes = input::bytes(path, PICTURE_BYTES).map_err(hinted)?;
    pictures::read(&bytes).given(|| format!("cannot read how `{}` was made", path.display())).map_err(hinted)
}

/// The recipe inside the picture of ours at `path`, as JSON text.
pub(crate) fn recipe_of(path: &Path) -> anyhow::Result<String> {
    let hinted = |error| with_hint(error, kinds::hint(path, Kind::Png));
    let bytes = input::bytes(path, PICTURE_BYTES).map_err(hinted)?;
    recipe_in(&bytes).given(|| format!("cannot read the recipe in `{}`", path.display())).map_err(hinted)
}

/// The recipe inside a PNG of ours, as JSON text.
pub(crate) fn recipe_in(bytes: &[u8]) -> anyhow::Result<String> {
    match pictures::read(bytes)? {
        Origin::Sinopia { recipe } => Ok(recipe),
        Origin::Foreign(made) => {
            Err(bad_request(format!("this picture was not made by Sinopia but by {}", made.program)))
        }
    }
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
        RgbImage::new(2, 2).write_to(&mut std::io::Cursor::new(&mut plain), image::ImageFormat::Png).unwrap();
        assert!(format!("{:#}", recipe_in(&plain).unwrap_err()).contains("not made by Sinopia"));
        let cut = &encode(&RgbImage::new(64, 64), "", "{}").unwrap()[..80];
        assert!(recipe_in(cut).is_err());
    }
}
