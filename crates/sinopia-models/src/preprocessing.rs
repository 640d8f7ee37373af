//! What a folder's `preprocessor_config.json` says is done to images before a network sees them.
//!
//! Most folders say what the model was published with. Those of models that were trained with other colours, sizes or filters say that, and a score
//! that ignores it means nothing. Newer folders have the same under `image_processor` in `processor_config.json`.

use serde_json::{Map, Value};

use crate::checkpoint::files::Files;
use crate::image::Filter;
use crate::sha256::sha256_hex;
use crate::{Error, Result};

const FILE: &str = "preprocessor_config.json";
const NEWER_FILE: &str = "processor_config.json";
/// The part of the newer file.
const NEWER_KEY: &str = "image_processor";

/// The largest side that an image is resized to.
const MAX_SIDE: usize = 4096;
/// Of bytes to 0..=1.
const RESCALE_FACTOR: f64 = 1.0 / 255.0;

/// How an image is resized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Resize {
    /// Not at all.
    No,
    /// To a width and a height.
    To(usize, usize),
    /// Until its shorter side has so many pixels.
    ShortestEdge(usize),
    /// Until its longer side has so many pixels.
    LongestEdge(usize),
}

/// What is done to an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preprocessing {
    pub(crate) resize: Resize,
    pub(crate) filter: Filter,
    /// Width and height of what is cut out of the middle.
    pub(crate) center_crop: Option<(usize, usize)>,
    /// What bytes are multiplied by; 1 where they are not rescaled.
    pub(crate) rescale_factor: f64,
    /// Taken off rescaled values, and what they are then divided by; 0 and 1 where they are not normalised.
    pub(crate) image_mean: [f64; 3],
    pub(crate) image_std: [f64; 3],
    /// Whether it is filled up to a square.
    pub(crate) pad: bool,
}

/// CLIP's mean colour and the deviation from it, 0..=1.
const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];
/// ImageNet's.
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

impl Preprocessing {
    /// CLIP's: the shorter side resized (bicubic), the middle square.
    pub(crate) fn clip(side: usize) -> Self {
        let center_crop = Some((side, side));
        Self { resize: Resize::ShortestEdge(side), center_crop, ..Self::owlvit(side) }
    }

    /// OWL-ViT's: resized to a square (bicubic).
    pub(crate) fn owlvit(side: usize) -> Self {
        Self {
            resize: Resize::To(side, side),
            filter: Filter::Bicubic,
            center_crop: None,
            rescale_factor: RESCALE_FACTOR,
            image_mean: CLIP_MEAN,
            image_std: CLIP_STD,
            pad: false,
        }
    }

    /// OWLv2's: padded to a square, then resized (bilinear).
    pub(crate) fn owlv2(side: usize) -> Self {
        Self { filter: Filter::Bilinear, pad: true, ..Self::owlvit(side) }
    }

    /// SAM's: the longer side resized (bilinear), then padded to a square.
    pub(crate) fn sam(side: usize) -> Self {
        let (image_mean, image_std) = (IMAGENET_MEAN, IMAGENET_STD);
        Self { resize: Resize::LongestEdge(side), image_mean, image_std, ..Self::owlv2(side) }
    }

    /// What a folder says, and `published` for all that it does not say.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key that is of the wrong kind.
    pub(crate) fn of_folder(files: &Files, published: Self) -> Result<Self> {
        if let Some(object) = files.read_object(FILE)? {
            return Self::from_object(&object, &files.display(FILE), published);
        }
        match files.read_object(NEWER_FILE)?.unwrap_or_default().get(NEWER_KEY) {
            Some(Value::Object(object)) => Self::from_object(object, &files.display(NEWER_FILE), published),
            _ => Ok(published),
        }
    }

    fn from_object(object: &Map<String, Value>, file: &str, published: Self) -> Result<Self> {
        let reader = Reader { object, file };
        let resize = match (reader.flag("do_resize")?, reader.size()?) {
            (Some(false), _) => Resize::No,
            (_, Some(size)) => size,
            (_, None) => published.resize,
        };
        let center_crop = match (reader.flag("do_center_crop")?, reader.sides("crop_size")?) {
            (Some(false), _) => None,
            (None, _) if published.center_crop.is_none() => None,
            (_, Some(size)) => Some(size),
            // What is cut out has the size that was resized to, if nothing else is said.
            (Some(true), None) if published.center_crop.is_none() => {
                return Err(reader.refused("crop_size", "width and height"));
            }
            (_, None) => published.center_crop,
        };
        let rescale_factor = match (reader.flag("do_rescale")?, reader.number("rescale_factor")?) {
            (Some(false), _) => 1.0,
            (_, factor) => factor.unwrap_or(published.rescale_factor),
        };
        if !(rescale_factor > 0.0 && rescale_factor.is_finite()) {
            return Err(reader.refused("rescale_factor", "a number above 0"));
        }
        let (image_mean, image_std) = match reader.flag("do_normalize")? {
            Some(false) => ([0.0; 3], [1.0; 3]),
            _ => (
                reader.colours("image_mean")?.unwrap_or(published.image_mean),
                reader.colours("image_std")?.unwrap_or(published.image_std),
            ),
        };
        if image_std.iter().any(|deviation| *deviation <= 0.0) {
            return Err(reader.refused("image_std", "numbers above 0"));
        }
        let filter = match reader.number("resample")? {
            None => published.filter,
            Some(number) => {
                Filter::of_pillow(number).ok_or_else(|| reader.refused("resample", "the number of a filter, 0 to 5"))?
            }
        };
        let pad = reader.flag("do_pad")?.unwrap_or(published.pad);
        Ok(Self { resize, filter, center_crop, rescale_factor, image_mean, image_std, pad })
    }

    /// Refuses what does not make images of `expected`'s size, or in another way than the network's boxes and masks are undone.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn require_geometry(&self, expected: &Self, origin: &str) -> Result<()> {
        let refused = |key: &str, found: String, expected: String| Error::Config {
            file: format!("{origin}/{FILE}"),
            key: key.to_owned(),
            found,
            expected,
        };
        if self.pad != expected.pad {
            return Err(refused("do_pad", self.pad.to_string(), expected.pad.to_string()));
        }
        let (found, wanted) = (self.output(), expected.output());
        if found != wanted {
            let told = |output: Option<(usize, usize)>| match output {
                Some((width, height)) => format!("{width} × {height}"),
                None => "as large as each image".to_owned(),
            };
            let key = if self.center_crop.is_some() { "crop_size" } else { "size" };
            return Err(refused(key, told(found), format!("the model's {}", told(wanted))));
        }
        Ok(())
    }

    /// What identifies a model with this preprocessing: [`Files::weights_hash`], and with it what is done to images if that is not what was published.
    pub(crate) fn model_hash(&self, files: &Files, published: &Self) -> Result<String> {
        let hash = files.weights_hash()?;
        Ok(if self.is_like(published) { hash } else { sha256_hex(format!("{hash} {self:?}")) })
    }

    /// Whether the same is done, but for the last digits of a factor.
    fn is_like(&self, other: &Self) -> bool {
        let is_near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-6;
        is_near(self.rescale_factor, other.rescale_factor)
            && Self { rescale_factor: other.rescale_factor, ..self.clone() } == *other
    }

    /// The size of what comes out, if it is the same for all images.
    fn output(&self) -> Option<(usize, usize)> {
        match (self.center_crop, self.resize) {
            (Some(size), _) => Some(size),
            (None, Resize::To(width, height)) => Some((width, height)),
            (None, Resize::LongestEdge(side)) if self.pad => Some((side, side)),
            (None, _) => None,
        }
    }

    /// A byte of a colour as the network takes it.
    pub(crate) fn normalised(&self, byte: u8, colour: usize) -> f32 {
        self.normalised_value(self.rescaled(byte), colour)
    }

    /// A byte rescaled, mostly to 0..=1.
    pub(crate) fn rescaled(&self, byte: u8) -> f32 {
        // A division rounds otherwise than a product, and it is what the published weights were tested with.
        if (self.rescale_factor / RESCALE_FACTOR - 1.0).abs() < 1e-9 {
            f32::from(byte) / 255.0
        } else {
            (f64::from(byte) * self.rescale_factor) as f32
        }
    }

    /// A rescaled value as the network takes it.
    pub(crate) fn normalised_value(&self, value: f32, colour: usize) -> f32 {
        (value - self.image_mean[colour] as f32) / self.image_std[colour] as f32
    }
}

/// The keys of a configuration, each of the right kind or refused.
struct Reader<'a> {
    object: &'a Map<String, Value>,
    file: &'a str,
}

impl Reader<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key).map(|value| value.as_bool().ok_or_else(|| self.refused(key, "true or false"))).transpose()
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key).map(|value| value.as_f64().ok_or_else(|| self.refused(key, "a number"))).transpose()
    }

    /// Three numbers, or one for all colours.
    fn colours(&self, key: &str) -> Result<Option<[f64; 3]>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = |value: &Value| value.as_f64().filter(|number| (*number as f32).is_finite());
        let colours = match value {
            Value::Array(list) => match list.as_slice() {
                [red, green, blue] => number(red).zip(number(green)).zip(number(blue)).map(|((r, g), b)| [r, g, b]),
                _ => None,
            },
            one => number(one).map(|one| [one; 3]),
        };
        colours.map(Some).ok_or_else(|| self.refused(key, "three numbers"))
    }

    /// `size`: a number (the shorter side), `{"shortest_edge"}`, `{"longest_edge"}`, `{"height", "width"}` or `[height, width]`.
    fn size(&self) -> Result<Option<Resize>> {
        let Some(value) = self.get("size") else { return Ok(None) };
        let edge = |key: &str| value.get(key).and_then(side);
        let resize = match (side(value), edge("shortest_edge"), edge("longest_edge")) {
            (Some(side), ..) | (_, Some(side), None) => Some(Resize::ShortestEdge(side)),
            (_, None, Some(side)) => Some(Resize::LongestEdge(side)),
            _ => both(value).map(|(width, height)| Resize::To(width, height)),
        };
        resize
            .map(Some)
            .ok_or_else(|| self.refused("size", "`shortest_edge`, or `longest_edge`, or `height` and `width`"))
    }

    /// A width and a height, or one number for both.
    fn sides(&self, key: &str) -> Result<Option<(usize, usize)>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let sides = side(value).map(|side| (side, side)).or_else(|| both(value));
        sides.map(Some).ok_or_else(|| self.refused(key, "`height` and `width`"))
    }

    fn refused(&self, key: &str, expected: &str) -> Error {
        Error::Config {
            file: self.file.to_owned(),
            key: key.to_owned(),
            found: self.object.get(key).map_or_else(|| "missing".to_owned(), Value::to_string),
            expected: expected.to_owned(),
        }
    }
}

/// Pixels along a side.
fn side(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|side| usize::try_from(side).ok()).filter(|side| (1..=MAX_SIDE).contains(side))
}

/// (width, height) of an object, or of a list that has the height first.
fn both(value: &Value) -> Option<(usize, usize)> {
    match value {
        Value::Array(list) => match list.as_slice() {
            [height, width] => side(width).zip(side(height)),
            _ => None,
        },
        _ => value.get("width").and_then(side).zip(value.get("height").and_then(side)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: Value, published: Preprocessing) -> Result<Preprocessing> {
        Preprocessing::from_object(json.as_object().unwrap(), "p.json", published)
    }

    #[test]
    fn what_is_not_said_is_as_published() {
        for published in
            [Preprocessing::clip(224), Preprocessing::owlvit(768), Preprocessing::owlv2(960), Preprocessing::sam(1024)]
        {
            assert_eq!(
                read(json!({"feature_extractor_type": "x", "size": null}), published.clone()).unwrap(),
                published
            );
        }
        let said = json!({"do_resize": true, "size": {"shortest_edge": 224}, "resample": 3, "do_center_crop": true,
            "crop_size": {"height": 224, "width": 224}, "do_rescale": true, "rescale_factor": 0.00392156862745098, "do_normalize": true,
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]});
        let found = read(said, Preprocessing::clip(224)).unwrap();
        assert_eq!(Preprocessing { rescale_factor: RESCALE_FACTOR, ..found.clone() }, Preprocessing::clip(224));
        assert_eq!(found.normalised(77, 1), Preprocessing::clip(224).normalised(77, 1));
    }

    #[test]
    fn every_key_counts() {
        let found = read(
            json!({"image_mean": [0.5, 0.25, 0.0], "image_std": 0.5, "rescale_factor": 0.0078125, "resample": 2,
                "size": 256, "crop_size": 224}),
            Preprocessing::clip(224),
        )
        .unwrap();
        assert_eq!((found.resize, found.center_crop), (Resize::ShortestEdge(256), Some((224, 224))));
        assert_eq!(found.filter, Filter::Bilinear);
        assert_eq!([0, 1, 2].map(|colour| found.normalised(128, colour)), [1.0, 1.5, 2.0]);
        let plain = json!({"do_normalize": false, "do_rescale": false, "do_resize": false, "do_center_crop": false});
        let plain = read(plain, Preprocessing::clip(224)).unwrap();
        assert_eq!((plain.normalised(128, 0), plain.resize, plain.center_crop), (128.0, Resize::No, None));
        let sizes =
            [(json!([600, 800]), Resize::To(800, 600)), (json!({"longest_edge": 512}), Resize::LongestEdge(512))];
        for (size, expected) in sizes {
            assert_eq!(read(json!({"size": size}), Preprocessing::owlvit(768)).unwrap().resize, expected);
        }
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        for (json, expected) in [
            (
                json!({"image_std": [0.2, 0.0, 0.2]}),
                "`image_std` in `p.json` is [0.2,0.0,0.2], expected numbers above 0",
            ),
            (json!({"image_mean": [0.5]}), "`image_mean`"),
            (json!({"size": {"height": 3}}), "`size`"),
            (json!({"size": {"height": 1e9, "width": 3}}), "`size`"),
            (json!({"resample": 9}), "`resample` in `p.json` is 9"),
            (json!({"do_resize": "yes"}), "true or false"),
            (json!({"rescale_factor": 0}), "a number above 0"),
        ] {
            let message = read(json, Preprocessing::clip(224)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn images_must_come_out_as_the_network_takes_them() {
        let expected = Preprocessing::clip(224);
        let check = |json: Value| match read(json, expected.clone()).unwrap().require_geometry(&expected, "folder") {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(check(json!({"size": 256})), "");
        assert_eq!(check(json!({"do_center_crop": false, "size": [224, 224]})), "");
        assert_eq!(
            check(json!({"crop_size": 336, "size": 336})),
            "`crop_size` in `folder/preprocessor_config.json` is 336 × 336, expected the model's 224 × 224"
        );
        assert!(
            check(json!({"do_center_crop": false})).contains("`size`"),
            "{}",
            check(json!({"do_center_crop": false}))
        );
        assert!(check(json!({"do_pad": true})).contains("`do_pad`"));
    }
}
