//! The picture that is to be edited, as its file has it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::imageops::FilterType;
use image::{DynamicImage, RgbImage};
use sha2::{Digest, Sha256};
use sinopia_diffusion::{ImageSize, Recipe};
use sinopia_english::read;
use sinopia_layout::limits::UPLOAD_PIXELS;
use sinopia_layout::{Canvas, Layout, hex};
use sinopia_solver::{SolveOptions, solve};

use super::EditError;
use crate::Result;
use crate::pictures::{self, Origin, decode};

/// The least pixels of a side: four cells of latents, in which an object can be told from what is around it.
const MIN_SIDE: u32 = 32;
/// What twice as many pixels weigh against sides that are stretched twice as much, where a size is chosen.
const PIXELS_MISFIT: f64 = 0.2;
/// How many times as long as the other one side may be.
const MOST_STRETCHED: u32 = 4;

const OF_ANOTHER: &str =
    "it was made of another picture, which its file does not hold: it is taken as any other picture is, by inversion";
const UPON_ANOTHER: &str = "it was painted upon another picture, which its file does not hold: it is taken as any other picture is, by inversion";
const OTHER_SIZE: &str = "it has another size than its recipe says: it is taken as any other picture is, by inversion";

/// A picture that was read, and what its file says about how it was made.
#[derive(Debug, Clone)]
pub struct Source {
    name: PathBuf,
    image: RgbImage,
    /// As it was read, where it was scaled.
    as_read: Option<Arc<RgbImage>>,
    sha256: String,
    recipe: Option<Recipe>,
    /// What another program was asked for.
    prompt: Option<String>,
    notes: Vec<String>,
}

impl Source {
    /// Reads a PNG, JPEG or WebP file's bytes; `name` is its file, for messages.
    ///
    /// # Errors
    /// [`pictures::DecodeError`]; [`EditError`] for a picture that is too small, or too long.
    pub fn read(bytes: &[u8], name: &Path) -> Result<Self> {
        let image = upon_white(&decode(bytes, UPLOAD_PIXELS)?);
        let (width, height) = image.dimensions();
        if width.min(height) < MIN_SIDE {
            return Err(EditError::TooSmall { width, height, min: MIN_SIDE }.into());
        }
        if width.max(height) > MOST_STRETCHED * width.min(height) {
            return Err(EditError::TooLong { width, height, most: MOST_STRETCHED }.into());
        }
        let sha256 = hex::encode(&Sha256::digest(bytes));
        let mut source =
            Self { name: name.to_owned(), image, as_read: None, sha256, recipe: None, prompt: None, notes: Vec::new() };
        match pictures::read(bytes) {
            Ok(Origin::Sinopia { recipe }) => match Recipe::from_json(&recipe) {
                Ok(recipe) => source.recipe = Some(recipe),
                Err(error) => source.notes.push(format!("its recipe cannot be read: {error}")),
            },
            Ok(Origin::Foreign(made)) => source.prompt = made.prompt,
            Err(_) => {} // It does not say how it was made, and need not.
        }
        Ok(source)
    }

    /// Its file.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Its pixels.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }

    /// SHA-256 of its file.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The recipe in its file, if it has one.
    pub fn recipe(&self) -> Option<&Recipe> {
        self.recipe.as_ref()
    }

    /// What is to be told of its file.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why painting its recipe again cannot lead to it, if it has one: something else went into it, or it has another size.
    pub(super) fn why_not_painted_again(&self) -> Option<&'static str> {
        let recipe = self.recipe.as_ref()?;
        let (width, height) = self.image.dimensions();
        let size = ImageSize { width: width as usize, height: height as usize };
        if recipe.inverted.is_some() {
            Some(OF_ANOTHER)
        } else if recipe.init.is_some() {
            Some(UPON_ANOTHER)
        } else {
            (recipe.sampling.size() != size).then_some(OTHER_SIZE)
        }
    }

    /// What it shows in words, as its file says.
    pub fn caption(&self) -> Option<&str> {
        self.recipe.as_ref().and_then(|recipe| recipe.caption.as_deref()).or(self.prompt.as_deref())
    }

    /// What stands where, as its file says; without objects where it does not say.
    pub fn layout(&self, caption: Option<&str>) -> Layout {
        match self.recipe.as_ref().and_then(Recipe::final_layout) {
            Some(layout) => layout.clone(),
            None => without_objects(caption, self.canvas()),
        }
    }

    /// In pixels of the picture. Sides of pictures that are read are sides of canvases, too.
    fn canvas(&self) -> Canvas {
        Canvas::new(self.image.width(), self.image.height()).unwrap_or(Canvas::PUBLISHED)
    }

    /// The picture at another size.
    #[must_use]
    pub(super) fn scaled(self, size: ImageSize) -> Self {
        let (width, height) = (size.width as u32, size.height as u32);
        if self.image.dimensions() == (width, height) {
            return self;
        }
        let (old_width, old_height) = self.image.dimensions();
        let note = format!(
            "the picture is scaled from {old_width} × {old_height} to {width} × {height}, which the model paints; what is new is scaled back into the picture, which keeps its size"
        );
        let image = image::imageops::resize(&self.image, width, height, FilterType::Lanczos3);
        let as_read = Some(Arc::new(self.image));
        Self { image, as_read, notes: self.notes.into_iter().chain([note]).collect(), ..self }
    }

    /// The picture as it was read, where it was [scaled](Self::scaled).
    pub(super) fn as_read(&self) -> Option<&RgbImage> {
        self.as_read.as_deref()
    }

    /// The size at which a model that learned from pictures of `native` size sees this picture best: nearly in its shape, of about as many pixels, sides multiples of an eighth of the
    /// model's own (and of `multiple`).
    pub(super) fn size_for(&self, native: ImageSize, multiple: usize) -> ImageSize {
        let multiple = multiple.max(1);
        let step = (native.width.min(native.height) / 8).next_multiple_of(multiple).max(multiple);
        let (width, height) = self.image.dimensions();
        let (shape, pixels) = (f64::from(width) / f64::from(height), (native.width * native.height) as f64);
        let misfit = |size: &ImageSize| {
            let (width, height) = (size.width as f64, size.height as f64);
            (width / height / shape).ln().abs() + PIXELS_MISFIT * (width * height / pixels).ln().abs()
        };
        // A side that is `MOST_STRETCHED` times the other is twice the square's.
        let most = 3 * native.width.max(native.height) / step;
        let sizes = (1..=most).flat_map(|across| (1..=most).map(move |down| (across, down)));
        let sizes = sizes.map(|(across, down)| ImageSize { width: across * step, height: down * step });
        sizes.min_by(|one, other| misfit(one).total_cmp(&misfit(other))).unwrap_or(native)
    }
}

/// A layout of nothing but what is around the things of a caption.
fn without_objects(caption: Option<&str>, canvas: Canvas) -> Layout {
    let caption = caption.unwrap_or_default();
    let solved = solve(caption, &read(caption), &SolveOptions { canvas, seed: 0 });
    let (background, negative) = match solved {
        Ok(solution) => (solution.layout.background, solution.layout.negative),
        Err(_) => (caption.to_owned(), String::new()),
    };
    Layout { canvas, objects: Vec::new(), background, negative }
}

/// Transparent pixels show white.
fn upon_white(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let rgba = picture.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0;
        let over = |c: u8| ((u32::from(c) * u32::from(a) + 255 * (255 - u32::from(a)) + 127) / 255) as u8;
        image::Rgb([over(r), over(g), over(b)])
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, Rgba, RgbaImage};

    use super::*;

    fn bytes(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn plain(width: u32, height: u32) -> DynamicImage {
        DynamicImage::from(RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90])))
    }

    fn read(bytes: &[u8]) -> Result<Source> {
        Source::read(bytes, Path::new("x.png"))
    }

    #[test]
    fn pictures_of_others_are_read_and_transparent_parts_are_white() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let source = read(&bytes(&plain(64, 48), format)).unwrap();
            assert_eq!(source.image().dimensions(), (64, 48));
            assert!(
                source.recipe().is_none() && source.caption().is_none() && source.why_not_painted_again().is_none()
            );
            assert_eq!(source.sha256().len(), 64);
            let layout = source.layout(None);
            assert_eq!((layout.canvas.to_string(), layout.objects.len()), ("64×48".to_owned(), 0));
        }
        let mut clear = RgbaImage::from_pixel(40, 40, Rgba([10, 20, 30, 255]));
        clear.put_pixel(0, 0, Rgba([10, 20, 30, 0]));
        let source = read(&bytes(&DynamicImage::from(clear), ImageFormat::Png)).unwrap();
        assert_eq!((source.image().get_pixel(0, 0).0, source.image().get_pixel(1, 0).0), ([255; 3], [10, 20, 30]));
    }

    #[test]
    fn what_is_no_picture_to_change_is_refused_by_what_it_is() {
        for (bytes, words) in [
            (b"just a text".to_vec(), "no picture"),
            (Vec::new(), "no picture"),
            (b"GIF89a\x01\x00\x01\x00".to_vec(), "GIF"),
            (bytes(&plain(1, 1), ImageFormat::Png), "1 × 1 pixels: the shorter side must have 32"),
            (bytes(&plain(400, 40), ImageFormat::Png), "more than 4 times"),
            (bytes(&plain(64, 64), ImageFormat::Png)[..80].to_vec(), "damaged"),
        ] {
            let error = read(&bytes).unwrap_err();
            let message = format!("{error}");
            assert!(message.contains(words) && error.is_bad_input(), "{words}: {message}");
        }
    }

    #[test]
    fn a_picture_is_scaled_to_the_models_number_of_pixels_in_its_own_shape() {
        let size = |(width, height): (u32, u32), native: usize| {
            let source = read(&bytes(&plain(width, height), ImageFormat::Png)).unwrap();
            let size = source.size_for(ImageSize { width: native, height: native }, 8);
            (size.width, size.height)
        };
        assert_eq!(size((640, 480), 512), (576, 448));
        assert_eq!(size((64, 64), 512), (512, 512));
        assert_eq!(size((512, 512), 128), (128, 128));
        assert_eq!(size((400, 100), 128), (256, 64));
        assert_eq!(size((300, 200), 128), (144, 96), "160 × 112 has more pixels, and another shape");
        let scaled =
            read(&bytes(&plain(80, 60), ImageFormat::Png)).unwrap().scaled(ImageSize { width: 40, height: 32 });
        assert_eq!(scaled.image().dimensions(), (40, 32));
        assert!(scaled.notes()[0].contains("from 80 × 60 to 40 × 32"), "{:?}", scaled.notes());
        let same = scaled.scaled(ImageSize { width: 40, height: 32 });
        assert_eq!(same.notes().len(), 1);
        assert_eq!(same.as_read().map(RgbImage::dimensions), Some((80, 60)));
        let enlarged =
            read(&bytes(&plain(40, 32), ImageFormat::Png)).unwrap().scaled(ImageSize { width: 80, height: 64 });
        assert_eq!(enlarged.as_read().map(RgbImage::dimensions), Some((40, 32)));
        assert!(enlarged.notes()[0].contains("keeps its size"), "{:?}", enlarged.notes());
    }

    #[test]
    fn of_a_caption_only_what_is_around_its_things_is_kept() {
        let layout = without_objects(Some("a red dog on a beach, no people"), Canvas::PUBLISHED);
        assert!(layout.objects.is_empty() && layout.background.contains("beach"), "{layout:?}");
        assert!(!layout.background.contains("dog"), "{layout:?}");
        assert_eq!(without_objects(None, Canvas::PUBLISHED).background, "");
    }
}
