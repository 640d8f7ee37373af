//! Everything needed to paint a picture again: what a PNG's text chunk holds.

use serde::{Deserialize, Serialize};
use sinopia_layout::Layout;
use sinopia_models::t5::StateRange;

use crate::methods::{self, Method};
use crate::painting::{PaintRequest, Painting, Sampling};
use crate::pipeline::Pipeline;
use crate::{Error, Result};

/// How a picture was made. The same build, checkpoint and recipe give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The recipe format, [`Recipe::FORMAT`].
    pub format: u32,
    /// The version of Sinopia that painted it.
    pub sinopia: String,
    /// The user's caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// The layout.
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
    /// The checkpoint.
    pub model: ModelId,
    /// The segmentation model that made its objects' masks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sam: Option<ModelId>,
    /// What read the prompts besides the checkpoint's own text encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ella: Option<EllaId>,
    /// How the weights were kept in memory: `f32`, `bf16` or `auto`.
    pub precision: String,
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

/// A checkpoint, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelId {
    /// The name, path or Hub id it was asked for by.
    pub id: String,
    /// SHA-256 of its content.
    pub hash: String,
}

/// Most steps of a picture: what models are trained on.
const MAX_STEPS: usize = 1000;

impl Recipe {
    /// The newest recipe format.
    pub const FORMAT: u32 = 1;

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
            format: Self::FORMAT,
            sinopia: env!("CARGO_PKG_VERSION").to_owned(),
            caption: request.caption.clone(),
            layout: request.layout.clone(),
            negative: request.negative.clone(),
            method: method.name().to_owned(),
            options: painting.options.clone(),
            sampling: painting.sampling.clone(),
            model,
            sam: None,
            ella: None,
            precision: precision.to_owned(),
        }
    }

    /// With the segmentation model at hand, if it made a mask for `painting`.
    #[must_use]
    pub fn with_sam(self, sam: Option<ModelId>, painting: &Painting) -> Self {
        Self { sam: sam.filter(|_| !painting.objects.is_empty()), ..self }
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
        if !self.options.is_object() {
            return Some("`options` is no object of names and values");
        }
        if width.max(height) > Pipeline::MAX_SIDE || num_inference_steps > MAX_STEPS {
            return Some("`sampling` asks for more pixels or steps than any picture has");
        }
        None
    }

    /// What to ask the method for.
    pub fn request(&self) -> PaintRequest {
        PaintRequest {
            caption: self.caption.clone(),
            layout: self.layout.clone(),
            negative: self.negative.clone(),
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
    use super::*;
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
            format: Recipe::FORMAT,
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
            precision: "auto".to_owned(),
        }
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
        assert_eq!(message, "the recipe has format 9, this build reads up to 1: use sinopia 3.1.0 or newer");
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
