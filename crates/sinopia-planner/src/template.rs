//! What is said to the model: prompt templates with their examples, versioned and replaceable.
//!
//! A template is a MiniJinja file with three blocks, `prompt`, `repair` and `edit`, and two variables set at its top, `version` and
//! `format` (`text`, `json` or `two-step`). It is given `canvas.width`, `canvas.height`, `caption`, `examples` (each with `caption` and
//! `answer`), `findings`, `layout` and `instruction`. A file may start from a built-in one: `{% extends "lmd-json" %}`.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox, parse_answer_on, write_answer};

use crate::error::{Error, Result};
use crate::two_step;

/// The JSON Schema of an answer in [`AnswerFormat::Json`], for servers that hold a model to it.
pub const ANSWER_SCHEMA: &str = include_str!("../templates/answer.schema.json");

/// The JSON Schema of an answer in [`AnswerFormat::TwoStep`].
pub const TWO_STEP_SCHEMA: &str = include_str!("../templates/two-step.schema.json");

const TEXT: (&str, &str) = ("lmd-text", include_str!("../templates/lmd-text.jinja"));
const JSON: (&str, &str) = ("lmd-json", include_str!("../templates/lmd-json.jinja"));
const TWO_STEP: (&str, &str) = ("two-step", include_str!("../templates/two-step.jinja"));
const CAPTION: (&str, &str) = ("caption", include_str!("../templates/caption.jinja"));
const RULES: (&str, &str) = ("rules", include_str!("../templates/rules.jinja"));
const EXAMPLES: &str = include_str!("../templates/examples.json");

/// Longest template read, in bytes.
const MAX_TEMPLATE_BYTES: usize = 256 * 1024;

/// How the model writes a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerFormat {
    /// The list of pairs and the two prompts of LLM-grounded Diffusion.
    Text,
    /// One JSON object: `objects`, `background`, `negative`.
    Json,
    /// One JSON object with boxes for the core of the picture only; the rest is told in words and placed by rules.
    TwoStep,
}

impl AnswerFormat {
    /// The schema that servers and models can be held to.
    pub fn schema(self) -> Option<&'static str> {
        match self {
            AnswerFormat::Text => None,
            AnswerFormat::Json => Some(ANSWER_SCHEMA),
            AnswerFormat::TwoStep => Some(TWO_STEP_SCHEMA),
        }
    }
}

/// A caption and the layout that is right for it, shown to the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The caption.
    pub caption: String,
    /// Its layout.
    pub layout: Layout,
}

/// A prompt template.
#[derive(Debug)]
pub struct Template {
    name: String,
    version: String,
    format: AnswerFormat,
    hash: String,
    environment: Environment<'static>,
}

/// What a template is filled with; what does not apply is empty.
#[derive(Debug, Clone, Default)]
struct Filling<'a> {
    caption: &'a str,
    findings: &'a [String],
    layout: &'a str,
    instruction: &'a str,
}

impl Template {
    /// The built-in template for a format.
    ///
    /// # Errors
    /// Never on a sound build; the type is that of every template.
    pub fn built_in(format: AnswerFormat) -> Result<Self> {
        let (name, source) = match format {
            AnswerFormat::Text => TEXT,
            AnswerFormat::Json => JSON,
            AnswerFormat::TwoStep => TWO_STEP,
        };
        Self::new(name, source)
    }

    /// The template for the built-in planner, which needs to be told nothing but canvas and caption.
    ///
    /// # Errors
    /// Never on a sound build; the type is that of every template.
    pub fn caption_only() -> Result<Self> {
        Self::new(CAPTION.0, CAPTION.1)
    }

    /// A template from its source; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Template`] if it is no MiniJinja or uses what is not there, [`Error::TemplateLacks`] if `version`, `format` or
    /// a block is missing.
    pub fn new(name: &str, source: &str) -> Result<Self> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(Error::TemplateLacks { name: name.to_owned(), what: "a size of at most 256 KiB" });
        }
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        let failed = |source| Error::Template { name: name.to_owned(), source: Box::new(source) };
        for (built_in, source) in [TEXT, JSON, TWO_STEP, RULES] {
            environment.add_template(built_in, source).map_err(failed)?;
        }
        environment.add_template_owned(name.to_owned(), source.to_owned()).map_err(failed)?;
        let mut template = Self {
            name: name.to_owned(),
            version: String::new(),
            format: AnswerFormat::Text,
            hash: hash(source),
            environment,
        };
        template.read_settings()?;
        for block in ["prompt", "repair", "edit"] {
            template.render(block, Canvas::PUBLISHED, &Filling::default())?;
        }
        Ok(template)
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, as it says itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How it asks for answers.
    pub fn format(&self) -> AnswerFormat {
        self.format
    }

    /// SHA-256 over the template, the built-in parts it may use, and the examples, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What is asked for a caption.
    ///
    /// # Errors
    /// [`Error::Template`] if the template fails on this caption.
    pub fn prompt(&self, caption: &str, canvas: Canvas) -> Result<String> {
        self.render("prompt", canvas, &Filling { caption, ..Filling::default() })
    }

    /// What is said about an answer that cannot be used.
    ///
    /// # Errors
    /// As [`Template::prompt`].
    pub fn repair(&self, caption: &str, canvas: Canvas, findings: &[String]) -> Result<String> {
        self.render("repair", canvas, &Filling { caption, findings, ..Filling::default() })
    }

    /// What is asked to change a layout.
    ///
    /// # Errors
    /// As [`Template::prompt`].
    pub fn edit(&self, layout: &Layout, instruction: &str) -> Result<String> {
        let written = self.answer(layout);
        self.render("edit", layout.canvas, &Filling { layout: &written, instruction, ..Filling::default() })
    }

    /// A layout as the model is asked to write it.
    pub fn answer(&self, layout: &Layout) -> String {
        match self.format {
            AnswerFormat::Text => write_answer(layout),
            AnswerFormat::Json | AnswerFormat::TwoStep => {
                let objects = &layout.objects;
                json!({"objects": objects, "background": layout.background, "negative": layout.negative}).to_string()
            }
        }
    }

    /// The layout that an answer describes, and the answer in a form that every reader of layouts knows.
    ///
    /// # Errors
    /// [`Error::Layout`] if it is no layout.
    pub fn read(&self, answer: &str, canvas: Canvas) -> Result<(Layout, String)> {
        match self.format {
            AnswerFormat::Text | AnswerFormat::Json => Ok((parse_answer_on(answer, canvas)?, answer.to_owned())),
            AnswerFormat::TwoStep => {
                let layout = two_step::read(answer, canvas)?;
                let plain = self.answer(&layout);
                Ok((layout, plain))
            }
        }
    }

    fn read_settings(&mut self) -> Result<()> {
        let lacks = |what| Error::TemplateLacks { name: self.name.clone(), what };
        let (version, format) = {
            let template = self.environment.get_template(&self.name).map_err(|source| self.failed(source))?;
            let context = self.context(Canvas::PUBLISHED, &Filling::default());
            let captured = template.render_captured(context).map_err(|source| self.failed(source))?;
            let setting = |name| {
                captured.state().lookup(name).filter(|value| !value.is_undefined()).map(|value| value.to_string())
            };
            (setting("version"), setting("format"))
        };
        let version = version.ok_or_else(|| lacks("a version: `{% set version = \"1\" %}`"))?;
        let format = match format.as_deref() {
            Some("text") => AnswerFormat::Text,
            Some("json") => AnswerFormat::Json,
            Some("two-step") => AnswerFormat::TwoStep,
            _ => return Err(lacks("a format: `{% set format = \"json\" %}`, \"text\" or \"two-step\"")),
        };
        self.version = version;
        self.format = format;
        Ok(())
    }

    fn render(&self, block: &'static str, canvas: Canvas, filling: &Filling<'_>) -> Result<String> {
        let failed = |source| self.failed(source);
        let template = self.environment.get_template(&self.name).map_err(failed)?;
        let mut captured = template.render_captured(self.context(canvas, filling)).map_err(failed)?;
        let rendered = captured.with_state_mut(|state| state.render_block(block)).map_err(failed)?;
        Ok(rendered.trim().to_owned())
    }

    fn context(&self, canvas: Canvas, filling: &Filling<'_>) -> minijinja::Value {
        let examples: Vec<_> = examples(canvas)
            .into_iter()
            .map(|example| context! { caption => example.caption, answer => self.answer(&example.layout) })
            .collect();
        context! {
            canvas => context! { width => canvas.width(), height => canvas.height() },
            examples => examples,
            caption => filling.caption,
            findings => filling.findings,
            layout => filling.layout,
            instruction => filling.instruction,
        }
    }

    fn failed(&self, source: minijinja::Error) -> Error {
        Error::Template { name: self.name.clone(), source: Box::new(source) }
    }
}

fn hash(source: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [source, TEXT.1, JSON.1, TWO_STEP.1, RULES.1, EXAMPLES] {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The examples that the built-in templates show, with their boxes in pixels of `canvas`.
///
/// They are written for 512×512; edges are scaled and rounded to whole pixels, half to even, so that boxes stay inside and apart.
pub fn examples(canvas: Canvas) -> Vec<Example> {
    #[derive(Deserialize)]
    struct Wire {
        caption: String,
        objects: Vec<LayoutObject>,
        background: String,
        negative: String,
    }
    // The file is part of the program, and a test reads it.
    let wire: Vec<Wire> = serde_json::from_str(EXAMPLES).unwrap_or_default();
    let scaled = |bbox: PixelBox| {
        let (width, height) = (f64::from(canvas.width()), f64::from(canvas.height()));
        let across = |x: f64| (x / 512.0 * width).round_ties_even();
        let down = |y: f64| (y / 512.0 * height).round_ties_even();
        let (x, y) = (across(bbox.x()), down(bbox.y()));
        PixelBox::new(x, y, across(bbox.right()) - x, down(bbox.bottom()) - y).unwrap_or(bbox)
    };
    let example = |wire: Wire| {
        let objects =
            wire.objects.into_iter().map(|LayoutObject { phrase, bbox }| LayoutObject { phrase, bbox: scaled(bbox) });
        let layout =
            Layout { canvas, objects: objects.collect(), background: wire.background, negative: wire.negative };
        Example { caption: wire.caption, layout }
    };
    wire.into_iter().map(example).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::check;

    /// What is shown to a model must be what is asked of it.
    #[test]
    fn the_examples_pass_the_checks_on_any_canvas() {
        for (width, height) in [(512, 512), (1024, 768), (640, 1136), (128, 128)] {
            let canvas = Canvas::new(width, height).unwrap();
            let shown = examples(canvas);
            assert_eq!(shown.len(), 7);
            for Example { caption, layout } in shown {
                let findings: Vec<String> = check(&caption, &layout).iter().map(ToString::to_string).collect();
                assert!(findings.is_empty(), "{caption}: {findings:?}");
                assert!(layout.is_inside_canvas());
            }
        }
    }

    #[test]
    fn the_examples_do_not_overlap_at_all() {
        for Example { caption, layout } in examples(Canvas::PUBLISHED) {
            for (i, a) in layout.objects.iter().enumerate() {
                for b in &layout.objects[i + 1..] {
                    let apart = a.bbox.right() <= b.bbox.x()
                        || b.bbox.right() <= a.bbox.x()
                        || a.bbox.bottom() <= b.bbox.y()
                        || b.bbox.bottom() <= a.bbox.y();
                    assert!(apart, "{caption}: {} and {}", a.phrase, b.phrase);
                }
            }
        }
    }

    #[test]
    fn answers_are_read_back_in_both_formats() {
        for format in [AnswerFormat::Text, AnswerFormat::Json] {
            let template = Template::built_in(format).unwrap();
            assert_eq!(template.format(), format);
            for example in examples(Canvas::PUBLISHED) {
                let answer = template.answer(&example.layout);
                assert_eq!(parse_answer_on(&answer, Canvas::PUBLISHED).unwrap(), example.layout, "{answer}");
            }
        }
    }

    #[test]
    fn what_is_sent_for_a_caption() {
        let template = Template::built_in(AnswerFormat::Text).unwrap();
        insta::assert_snapshot!("prompt_text", template.prompt("a cat and a dog", Canvas::PUBLISHED).unwrap());
        let findings = ["`a cat` leaves the canvas".to_owned(), "there is no dog".to_owned()];
        let template = Template::built_in(AnswerFormat::Json).unwrap();
        let canvas = Canvas::new(1024, 768).unwrap();
        insta::assert_snapshot!("prompt_json", template.prompt("a cat and a dog", canvas).unwrap());
        insta::assert_snapshot!("repair_json", template.repair("a cat and a dog", canvas, &findings).unwrap());
        let layout = &examples(canvas)[4].layout;
        let two_step = Template::built_in(AnswerFormat::TwoStep).unwrap();
        insta::assert_snapshot!("prompt_two_step", two_step.prompt("a cat and a dog", canvas).unwrap());
        insta::assert_snapshot!("edit_json", template.edit(layout, "move the tent left").unwrap());
    }

    #[test]
    fn a_template_of_ones_own_can_start_from_a_built_in_one() {
        let source = "{% extends \"lmd-json\" %}{% block prompt %}Plan: {{ caption }}{% endblock %}";
        let template = Template::new("mine.jinja", source).unwrap();
        assert_eq!(template.prompt("a cat", Canvas::PUBLISHED).unwrap(), "Plan: a cat");
        assert_eq!((template.format(), template.version()), (AnswerFormat::Json, "1"));
        assert!(template.repair("a cat", Canvas::PUBLISHED, &["x".to_owned()]).unwrap().contains("- x"));
        assert_ne!(template.hash(), Template::built_in(AnswerFormat::Json).unwrap().hash());
    }

    #[test]
    fn a_broken_template_says_what_is_wrong() {
        let message = |source: &str| {
            let error = Template::new("mine.jinja", source).unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {cause}")
        };
        assert!(message("hello").contains("version"), "{}", message("hello"));
        assert!(message("{% set version = 1 %}").contains("format"));
        let rest = "{% set version = 1 %}{% set format = 'text' %}{% block prompt %}{{ captoin }}{% endblock %}";
        assert!(message(rest).contains("mine.jinja"), "{}", message(rest));
        let rest = "{% set version = 1 %}{% set format = 'text' %}{% block prompt %}{{ caption }}{% endblock %}";
        assert!(message(rest).contains("repair"), "{}", message(rest));
        assert!(message("{% if %}").contains("mine.jinja"));
        // A caption is data: it is never rendered.
        let template = Template::built_in(AnswerFormat::Text).unwrap();
        assert!(template.prompt("{{ 7 * 7 }} cats", Canvas::PUBLISHED).unwrap().contains("{{ 7 * 7 }} cats"));
    }
}
