//! Everything needed to paint a picture again: what a PNG's text chunk holds.

use std::fmt;

use serde::{Deserialize, Serialize};
use sinopia_layout::Layout;
use sinopia_models::t5::StateRange;

use crate::checked::CheckedRecord;
use crate::edit::Edit;
use crate::inversion::InversionOptions;
use crate::methods::{self, Method};
use crate::model_id::ModelId;
use crate::painting::{PaintRequest, Painting, Sampling};
use crate::pipeline::Pipeline;
use crate::{Error, Result};

/// How a picture was made. The same build, checkpoint and recipe give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The oldest recipe format that has all that it says, at most [`Recipe::FORMAT`].
    pub format: u32,
    /// The version of Sinopia that painted it.
    pub sinopia: String,
    /// The user's caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// The layout that it was painted from. What it shows after its edits says [`final_layout`](Self::final_layout).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// The user's negative keywords, if they replaced the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<String>,
    /// The method's name.
    pub method: String,
    /// All of its options, defaults included.
    pub options: serde_json::Value,
    /// Seed, size, steps, guidance, scheduler.
    pub sampling: Sampling,
    /// What it began with, if not with noise alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitRecord>,
    /// The checkpoint.
    pub model: ModelId,
    /// The segmentation model that made its objects' masks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sam: Option<ModelId>,
    /// What read the prompts besides the checkpoint's own text encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ella: Option<EllaId>,
    /// How the weights were kept in memory: `f32`, `bf16`, `int8` or `auto`.
    pub precision: String,
    /// With `int8`, the instructions that multiplied bytes, as `sinopia bench` names them: what is multiplied in 8 bits and what in f32 differs between
    /// them, and so do pictures a little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_in_8_bits: Option<String>,
    /// The picture that it was made of, where that was not painted but inverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inverted: Option<InvertedSource>,
    /// What was done to the painting afterwards, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// How it was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<CheckedRecord>,
}

/// A picture that was not painted here, by content, and how it was followed back to its noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvertedSource {
    /// SHA-256 of its file.
    pub sha256: String,
    /// [`InversionOptions::max_iterations`].
    pub max_iterations: usize,
    /// [`InversionOptions::tolerance`].
    pub tolerance: f64,
}

impl InvertedSource {
    /// A file and how it was inverted.
    pub fn new(sha256: impl Into<String>, options: InversionOptions) -> Self {
        let InversionOptions { max_iterations, tolerance } = options;
        Self { sha256: sha256.into(), max_iterations, tolerance }
    }

    /// How it was inverted.
    pub fn options(&self) -> InversionOptions {
        InversionOptions { max_iterations: self.max_iterations, tolerance: self.tolerance }
    }
}

/// An ELLA, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EllaId {
    /// The T5 folder that it was asked for by.
    pub t5: String,
    /// The connector's file or folder.
    pub connector: String,
    /// SHA-256 of the content of both.
    pub hash: String,
    /// In which range the T5's states were.
    pub range: StateRange,
}

/// What a picture began with. The files are not in the recipe: who repeats it brings them again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitRecord {
    /// The picture.
    pub image: FileId,
    /// What of it changed; all of it without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<FileId>,
    /// The share of the denoiser's calls that were made, above 0, at most 1.
    pub strength: f64,
}

/// A file, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileId {
    /// Its name, without its folder.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// Why a picture cannot begin as the recipe's did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitMismatch {
    /// Picture or mask.
    pub what: &'static str,
    /// The flag that names it.
    pub flag: &'static str,
    /// In the recipe; none for a recipe without it.
    pub expected: Option<FileId>,
    /// What is at hand, if anything is.
    pub found: Option<FileId>,
}

impl fmt::Display for InitMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, flag, expected, found } = self;
        match (expected, found) {
            (Some(FileId { name, sha256 }), None) => write!(
                f,
                "the recipe's picture was painted with the {what} `{name}`, which is not in the recipe: name it with {flag} (SHA-256 {sha256})"
            ),
            (Some(expected), Some(found)) => write!(
                f,
                "the recipe's picture was painted with the {what} `{}` with SHA-256 {}, and `{}` has {}: name the same with {flag}",
                expected.name, expected.sha256, found.name, found.sha256
            ),
            (None, _) => {
                write!(f, "the recipe's picture began with no {what}: leave {flag} out, or paint without --from")
            }
        }
    }
}

/// Most steps of a picture: what models are trained on.
const MAX_STEPS: usize = 1000;

impl Recipe {
    /// The newest recipe format: 2 has edits, checks, pictures to begin with and pictures that were inverted, 1 has none of them.
    pub const FORMAT: u32 = 2;

    /// Most edits of one picture.
    pub const MAX_EDITS: usize = 1000;

    /// The keyword of the PNG text chunk that holds a recipe.
    pub const KEYWORD: &'static str = "sinopia";

    /// The recipe of a finished picture.
    pub fn new(
        request: &PaintRequest,
        method: &dyn Method,
        painting: &Painting,
        model: ModelId,
        precision: &str,
    ) -> Self {
        Self {
            format: 1,
            sinopia: env!("CARGO_PKG_VERSION").to_owned(),
            caption: request.caption.clone(),
            layout: request.layout.clone(),
            negative: request.negative.clone(),
            method: method.name().to_owned(),
            options: painting.options.clone(),
            sampling: painting.sampling.clone(),
            init: None,
            model,
            sam: None,
            ella: None,
            precision: precision.to_owned(),
            used_in_8_bits: (precision == "int8").then(|| sinopia_nn::instructions().used_in_8_bits.to_owned()),
            inverted: None,
            edits: Vec::new(),
            checked: None,
        }
    }

    /// With the picture that it was made of, if that was inverted.
    #[must_use]
    pub fn with_inverted(self, inverted: Option<InvertedSource>) -> Self {
        Self { inverted, ..self }.in_oldest_format()
    }

    /// With what was done to the painting since.
    #[must_use]
    pub fn with_edits(self, edits: Vec<Edit>) -> Self {
        Self { edits, ..self }.in_oldest_format()
    }

    /// With how it was checked.
    #[must_use]
    pub fn with_checked(self, checked: Option<CheckedRecord>) -> Self {
        Self { checked, ..self }.in_oldest_format()
    }

    /// With what it began with.
    #[must_use]
    pub fn with_init(self, init: Option<InitRecord>) -> Self {
        Self { init, ..self }.in_oldest_format()
    }

    /// In the oldest format that has all that it says, so that older programs read what they can repeat.
    fn in_oldest_format(self) -> Self {
        Self { format: if self.is_plain() { 1 } else { 2 }, ..self }
    }

    /// Whether it has nothing that format 1 did not have.
    fn is_plain(&self) -> bool {
        self.edits.is_empty() && self.checked.is_none() && self.init.is_none() && self.inverted.is_none()
    }

    /// What the picture shows: the layout after its last edit.
    pub fn final_layout(&self) -> Option<&Layout> {
        self.edits.last().map(|edit| &edit.layout).or(self.layout.as_ref())
    }

    /// With the segmentation model at hand, if it made a mask for `painting`.
    #[must_use]
    pub fn with_sam(self, sam: Option<ModelId>, painting: &Painting) -> Self {
        Self { sam: sam.filter(|_| !painting.objects.is_empty()), ..self }
    }

    /// With the segmentation model that said where objects are that were edited, if there was one.
    #[must_use]
    pub fn with_sam_of_edits(self, sam: Option<ModelId>) -> Self {
        Self { sam: sam.or(self.sam), ..self }
    }

    /// With the ELLA at hand, if it read anything.
    #[must_use]
    pub fn with_ella(self, ella: Option<EllaId>) -> Self {
        let is_used = self.sampling.text_encoding.needs_ella();
        Self { ella: ella.filter(|_| is_used), ..self }
    }

    /// The recipe as one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_value(self).map(|value| value.to_string()).unwrap_or_default()
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// [`Error::RecipeFormat`] if it was written by a newer format, [`Error::Recipe`] if it is no recipe.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
            #[serde(default)]
            sinopia: String,
        }
        let read = |source| Error::Recipe { source };
        let header: Header = serde_json::from_str(text).map_err(read)?;
        if header.format > Self::FORMAT {
            return Err(Error::RecipeFormat { found: header.format, known: Self::FORMAT, writer: header.sinopia });
        }
        let recipe: Self = serde_json::from_str(text).map_err(read)?;
        match recipe.impossible() {
            None => Ok(recipe),
            Some(what) => Err(read(serde::de::Error::custom(what))),
        }
    }

    /// What no recipe says.
    fn impossible(&self) -> Option<&'static str> {
        let Sampling { width, height, num_inference_steps, .. } = self.sampling;
        if self.format == 0 {
            return Some("`format` is 0, and formats begin at 1");
        }
        if self.format < 2 && !self.is_plain() {
            return Some("`format` is 1, and edits, checks and pictures to begin with are of format 2");
        }
        if self.inverted.as_ref().is_some_and(|inverted| inverted.max_iterations > MAX_STEPS) {
            return Some("`inverted` asks for more iterations than any inversion has");
        }
        if self.init.as_ref().is_some_and(|init| !(init.strength > 0.0 && init.strength <= 1.0)) {
            return Some("`init` has a strength that is not above 0, at most 1");
        }
        if self.edits.len() > Self::MAX_EDITS {
            return Some("`edits` are more than any picture has");
        }
        if !self.options.is_object() {
            return Some("`options` is no object of names and values");
        }
        if width.max(height) > Pipeline::MAX_SIDE || num_inference_steps > MAX_STEPS {
            return Some("`sampling` asks for more pixels or steps than any picture has");
        }
        None
    }

    /// What to ask the method for. What it began with is not in the recipe, but for its name.
    pub fn request(&self) -> PaintRequest {
        PaintRequest {
            caption: self.caption.clone(),
            layout: self.layout.clone(),
            negative: self.negative.clone(),
            init: None,
            sampling: self.sampling.clone(),
        }
    }

    /// The method with its options.
    ///
    /// # Errors
    /// When this build does not know the method or one of its options.
    pub fn build_method(&self) -> Result<Box<dyn Method>> {
        methods::build(&self.method, self.options.clone())
    }

    /// Refuses a segmentation model whose content is not the recipe's; `None` is none.
    ///
    /// # Errors
    /// [`Error::RecipeModel`].
    pub fn check_sam(&self, sam: Option<&ModelId>) -> Result<()> {
        let Some(expected) = &self.sam else { return Ok(()) };
        let found = sam.map_or("none", |sam| &sam.hash).to_owned();
        if found == expected.hash {
            return Ok(());
        }
        Err(Error::RecipeModel { id: expected.id.clone(), expected: expected.hash.clone(), found })
    }

    /// Refuses what a picture is to begin with, if the recipe's began with something else; `None` is nothing.
    ///
    /// # Errors
    /// [`Error::RecipeInit`], for the first of picture and mask that is missing, another, or too much.
    pub fn check_init(&self, init: Option<&InitRecord>) -> Result<()> {
        let files =
            |init: Option<&InitRecord>| [init.map(|init| init.image.clone()), init.and_then(|init| init.mask.clone())];
        let pairs = files(self.init.as_ref()).into_iter().zip(files(init));
        for ((expected, found), (what, flag)) in pairs.zip([("picture", "--init"), ("mask", "--mask")]) {
            let content = |file: &Option<FileId>| file.as_ref().map(|file| file.sha256.clone());
            if content(&expected) != content(&found) {
                let problem = Box::new(InitMismatch { what, flag, expected, found });
                return Err(Error::RecipeInit { problem });
            }
        }
        Ok(())
    }

    /// Refuses an ELLA whose content or range is not the recipe's; `None` is none.
    ///
    /// # Errors
    /// [`Error::RecipeModel`].
    pub fn check_ella(&self, ella: Option<&EllaId>) -> Result<()> {
        let Some(expected) = &self.ella else { return Ok(()) };
        let content = |ella: &EllaId| format!("{} in {}", ella.hash, ella.range.as_str());
        let found = ella.map_or("none".to_owned(), content);
        if found == content(expected) {
            return Ok(());
        }
        Err(Error::RecipeModel { id: expected.connector.clone(), expected: content(expected), found })
    }

    /// Refuses a checkpoint whose content is not the recipe's.
    ///
    /// # Errors
    /// [`Error::RecipeModel`].
    pub fn check_model(&self, hash: &str) -> Result<()> {
        if self.model.hash == hash {
            return Ok(());
        }
        Err(Error::RecipeModel { id: self.model.id.clone(), expected: self.model.hash.clone(), found: hash.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::BBox;

    use super::*;
    use crate::checked::TryRecord;
    use crate::edit::Operation;
    use crate::noise::Seed;
    use crate::schedulers::SchedulerKind;

    fn recipe() -> Recipe {
        let layout = Layout::from_json(
            r#"{"canvas": {"width": 512, "height": 512}, "objects": [{"phrase": "a \"blue\" dog", "bbox": [0.1, 2.5, 333.3333333333333, 4]}],
            "background": "söme scene", "negative": ""}"#,
        )
        .unwrap();
        let mut sampling = Sampling::new(Seed(u64::MAX), 128, 256);
        sampling.guidance_scale = 7.3;
        sampling.scheduler = Some(SchedulerKind::DpmSolverPlusPlus);
        Recipe {
            format: 1,
            sinopia: "0.1.0".to_owned(),
            caption: Some("a dog\nand more".to_owned()),
            layout: Some(layout),
            negative: None,
            method: "lmd".to_owned(),
            options: methods::build("lmd", serde_json::json!({})).unwrap().options(),
            sampling,
            model: ModelId { id: "miniature".to_owned(), hash: "00ff".to_owned() },
            sam: Some(ModelId { id: "sam-vit-base".to_owned(), hash: "0a0b".to_owned() }),
            ella: Some(EllaId {
                t5: "flan-t5-xl".to_owned(),
                connector: "ella.safetensors".to_owned(),
                hash: "0c0d".to_owned(),
                range: StateRange::F16,
            }),
            init: None,
            precision: "auto".to_owned(),
            used_in_8_bits: None,
            inverted: None,
            edits: Vec::new(),
            checked: None,
        }
    }

    fn edited() -> Recipe {
        let recipe = recipe();
        let layout = recipe.layout.clone().unwrap();
        let operation = Operation::Remove { phrase: "a dog".to_owned(), bbox: BBox::new(0.1, 0.2, 0.3, 0.45).unwrap() };
        let background = "a meadow".to_owned();
        let edit = Edit::new(vec![operation.clone()], Layout { background, ..layout }, Seed(u64::MAX));
        let tried =
            |operations, accepted| TryRecord { seed: Seed(3), operations, accepted, summary: "1 of 1".to_owned() };
        let checked = CheckedRecord {
            evaluator: ModelId { id: "miniature".to_owned(), hash: "0e0f".to_owned() },
            thresholds: [("sure".to_owned(), 0.5)].into(),
            tries: vec![tried(Vec::new(), true), tried(vec![operation], true)],
        };
        recipe.with_edits(vec![edit]).with_checked(Some(checked))
    }

    #[test]
    fn edits_and_checks_are_of_format_two_and_nothing_else_is() {
        assert_eq!(recipe().with_edits(Vec::new()).with_checked(None), recipe());
        assert!(!recipe().to_json().contains("edits"), "{}", recipe().to_json());
        let edited = edited();
        assert_eq!(edited.format, 2);
        assert_eq!(Recipe::from_json(&edited.to_json()).unwrap(), edited);
        assert_eq!(edited.final_layout().unwrap().background, "a meadow");
        assert_eq!(recipe().final_layout(), recipe().layout.as_ref());
        let inverted = recipe().with_inverted(Some(InvertedSource::new("0a", InversionOptions::default())));
        assert_eq!((inverted.format, Recipe::from_json(&inverted.to_json()).unwrap()), (2, inverted.clone()));
        let older = edited.to_json().replace(r#""format":2"#, r#""format":1"#);
        assert!(Recipe::from_json(&older).unwrap_err().to_string().contains("format 2"));
    }

    #[test]
    fn what_multiplied_bytes_is_written_down() {
        let told = Recipe { precision: "int8".to_owned(), used_in_8_bits: Some("avx2".to_owned()), ..recipe() };
        assert!(told.to_json().contains(r#""used_in_8_bits":"avx2""#) && !recipe().to_json().contains("8_bits"));
        assert_eq!(Recipe::from_json(&told.to_json()).unwrap(), told);
    }

    #[test]
    fn no_more_edits_and_tries_are_read_than_there_can_be() {
        let many = |key: &str, count: usize| {
            let mut value: serde_json::Value = serde_json::from_str(&edited().to_json()).unwrap();
            let list = value.pointer_mut(key).and_then(serde_json::Value::as_array_mut).unwrap();
            *list = vec![list[0].clone(); count];
            Recipe::from_json(&value.to_string())
        };
        assert!(many("/edits", Recipe::MAX_EDITS).is_ok() && many("/checked/tries", CheckedRecord::MAX_TRIES).is_ok());
        assert!(many("/edits", Recipe::MAX_EDITS + 1).unwrap_err().to_string().contains("edits"));
        let error = many("/checked/tries", CheckedRecord::MAX_TRIES + 1).unwrap_err().to_string();
        assert!(error.contains("1001 tries"), "{error}");
    }

    #[test]
    fn a_recipe_survives_json() -> Result<()> {
        let recipe = recipe();
        let text = recipe.to_json();
        assert!(!text.contains('\n'));
        let again = Recipe::from_json(&text)?;
        assert_eq!(again, recipe);
        assert_eq!(again.to_json(), text);
        assert_eq!(again.build_method()?.options(), recipe.options);
        assert_eq!(again.request().sampling.seed, Seed(u64::MAX));
        Ok(())
    }

    /// JSON readers may be a last bit off; serde_json's `float_roundtrip` is not.
    #[test]
    fn numbers_survive_to_the_last_bit() -> Result<()> {
        let mut recipe = recipe();
        for value in crate::noise::Generator::new(Seed(0)).normals(1000) {
            recipe.sampling.guidance_scale = (f64::from(value) * 1.234_567_890_123).exp();
            assert_eq!(Recipe::from_json(&recipe.to_json())?, recipe);
        }
        Ok(())
    }

    #[test]
    fn a_newer_format_is_named() {
        let text = r#"{"format": 9, "sinopia": "3.1.0", "something": "new"}"#;
        let message = Recipe::from_json(text).unwrap_err().to_string();
        assert_eq!(message, "the recipe has format 9, this build reads up to 2: use sinopia 3.1.0 or newer");
        let message = Recipe::from_json(r#"{"format": 9}"#).unwrap_err().to_string();
        assert!(message.ends_with("use a newer sinopia (it does not say which wrote it)"), "{message}");
    }

    #[test]
    fn what_is_no_recipe_is_refused() {
        for text in ["", "{}", "[1]", r#"{"format": 1}"#] {
            assert!(matches!(Recipe::from_json(text), Err(Error::Recipe { .. })), "{text}");
        }
        let mut value: serde_json::Value = serde_json::from_str(&recipe().to_json()).unwrap();
        value["surprise"] = 1.into();
        assert!(Recipe::from_json(&value.to_string()).unwrap_err().to_string().contains("surprise"));
    }

    #[test]
    fn an_unknown_method_or_option_is_named_and_never_becomes_another() {
        let changed = |key: &str, to: serde_json::Value| {
            let mut value: serde_json::Value = serde_json::from_str(&recipe().to_json()).unwrap();
            *value.pointer_mut(key).unwrap() = to;
            Recipe::from_json(&value.to_string())
        };
        let method = changed("/method", "dreamt-up".into()).unwrap().build_method().unwrap_err().to_string();
        assert!(method.contains("unknown method `dreamt-up`"), "{method}");
        let option = changed("/options", serde_json::json!({"dreamt_up": 1})).unwrap().build_method().unwrap_err();
        assert!(option.to_string().contains("no option `dreamt_up`"), "{option}");
        for options in [serde_json::Value::Null, serde_json::json!([]), serde_json::json!("all")] {
            let error = changed("/options", options).unwrap_err();
            assert!(error.to_string().contains("options"), "{error}");
        }
        let scheduler = changed("/sampling/scheduler", "dreamt-up".into()).unwrap_err().to_string();
        assert!(scheduler.contains("dreamt-up"), "{scheduler}");
        for (key, part) in
            [("/format", "format"), ("/sampling/width", "pixels"), ("/sampling/num_inference_steps", "steps")]
        {
            let to = if key == "/format" { 0.into() } else { (1_u64 << 33).into() };
            let error = changed(key, to).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_a_picture_began_with_is_told_by_name_and_compared_by_content() {
        let file = |name: &str, sha256: &str| FileId { name: name.to_owned(), sha256: sha256.to_owned() };
        let begun = |image, mask| InitRecord { image, mask, strength: 0.6 };
        let init = begun(file("photo.jpg", "1a"), Some(file("hole.png", "2b")));
        let plain = recipe();
        let recipe = plain.clone().with_init(Some(init.clone()));
        assert_eq!(recipe.format, 2);
        assert_eq!(Recipe::from_json(&recipe.to_json()).unwrap(), recipe);
        assert!(recipe.check_init(Some(&begun(file("renamed.jpg", "1a"), Some(file("b.png", "2b"))))).is_ok());
        let refused = |init: Option<&InitRecord>| recipe.check_init(init).unwrap_err().to_string();
        let missing = refused(None);
        assert!(
            missing.contains("picture `photo.jpg`") && missing.contains("--init") && missing.contains("1a"),
            "{missing}"
        );
        let other = refused(Some(&begun(file("other.jpg", "3c"), init.mask.clone())));
        assert!(other.contains("`other.jpg`") && other.contains("3c") && other.contains("1a"), "{other}");
        let unmasked = refused(Some(&begun(init.image.clone(), None)));
        assert!(unmasked.contains("mask `hole.png`") && unmasked.contains("--mask"), "{unmasked}");
        let too_much = plain.check_init(Some(&init)).unwrap_err().to_string();
        assert!(too_much.contains("began with no picture") && too_much.contains("--init"), "{too_much}");
        let strength = recipe.to_json().replace(r#""strength":0.6"#, r#""strength":0.0"#);
        assert!(Recipe::from_json(&strength).unwrap_err().to_string().contains("strength"));
        let older = recipe.to_json().replace(r#""format":2"#, r#""format":1"#);
        assert!(Recipe::from_json(&older).unwrap_err().to_string().contains("format 2"));
    }

    #[test]
    fn another_checkpoint_is_refused() {
        let recipe = recipe();
        assert!(recipe.check_model("00ff").is_ok());
        let message = recipe.check_model("0bad").unwrap_err().to_string();
        assert!(message.contains("00ff") && message.contains("0bad") && message.contains("miniature"), "{message}");
        assert!(recipe.check_sam(recipe.sam.as_ref()).is_ok());
        let message = recipe.check_sam(None).unwrap_err().to_string();
        assert!(message.contains("0a0b") && message.contains("none") && message.contains("sam-vit-base"), "{message}");
        assert!(recipe.check_ella(recipe.ella.as_ref()).is_ok());
        let other = recipe.ella.clone().map(|ella| EllaId { range: StateRange::F32, ..ella });
        let message = recipe.check_ella(other.as_ref()).unwrap_err().to_string();
        assert!(message.contains("0c0d in f16") && message.contains("0c0d in f32"), "{message}");
    }
}
