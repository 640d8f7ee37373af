//! What is said to the model: prompt templates with their examples, versioned and replaceable.
//!
//! A template is a MiniJinja file with three blocks, `prompt`, `repair` and `edit`, and two variables set at its top, `version` and
//! `format` (`text`, `json` or `two-step`). It is given `canvas.width`, `canvas.height`, `caption`, `examples` (each with `caption` and
//! `answer`), `findings`, `layout` and `instruction`. A file may start from a built-in one: `{% extends "lmd-json" %}`.

use std::collections::HashSet;

use minijinja::value::{Rest, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sinopia_layout::limits::{TEMPLATE_BYTES, TEMPLATE_STEPS};
use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox, hex, names, write_answer};

use crate::answer;
use crate::error::{Error, Result};

/// The JSON Schema of an answer in [`AnswerFormat::Json`], for servers that hold a model to it.
pub const ANSWER_SCHEMA: &str = include_str!("../templates/answer.schema.json");

/// The JSON Schema of an answer in [`AnswerFormat::TwoStep`].
pub const TWO_STEP_SCHEMA: &str = include_str!("../templates/two-step.schema.json");

const TEXT: (&str, &str) = ("lmd-text", include_str!("../templates/lmd-text.jinja"));
const JSON: (&str, &str) = ("lmd-json", include_str!("../templates/lmd-json.jinja"));
const TWO_STEP: (&str, &str) = ("two-step", include_str!("../templates/two-step.jinja"));
const RULES: (&str, &str) = ("rules", include_str!("../templates/rules.jinja"));
const EXAMPLES: &str = include_str!("../templates/examples.json");

/// What a template is given.
const GIVEN: [&str; 6] = ["canvas", "caption", "examples", "findings", "layout", "instruction"];
/// What the canvas has.
const SIDES: [&str; 2] = ["canvas.width", "canvas.height"];
/// What MiniJinja gives to every block.
const BUILT_IN_NAMES: [&str; 4] = ["self", "super", "loop", "caller"];

/// Most filters that are told to be unknown.
const MAX_UNKNOWN_FILTERS: usize = 20;

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

    /// A template from its source; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Template`] if it is no MiniJinja; [`Error::TemplateFaults`] with everything else that is wrong with it: `version`, `format` or a block
    /// that is missing, names that stand for nothing.
    pub fn new(name: &str, source: &str) -> Result<Self> {
        let refused = |faults| Err(Error::TemplateFaults { name: name.to_owned(), faults });
        if source.len() > TEMPLATE_BYTES {
            return refused(vec!["it is larger than 256 KiB".to_owned()]);
        }
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // Until the settings are read: they are there in a template whose blocks are wrong, too.
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(TEMPLATE_STEPS));
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
        let mut faults = template.replace_unknown_filters();
        faults.extend(template.read_settings());
        faults.extend(template.block_faults());
        template.environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let undefined = template.block_faults();
        // Rendering ends at the first name that stands for nothing: the template says which others it has. Where all that fails has been told, a name
        // is at most asked for with `is defined`, which is no fault.
        match template.unknown_names(source) {
            _ if undefined.iter().all(|fault| faults.contains(fault)) => {}
            unknown if unknown.is_empty() => faults.extend(undefined),
            unknown => faults.extend(unknown),
        }
        // What is wrong outside of the blocks is met by each of them.
        let mut seen = HashSet::new();
        faults.retain(|fault| seen.insert(fault.split_once(": ").map_or(fault.clone(), |(_, what)| what.to_owned())));
        if faults.is_empty() { Ok(template) } else { refused(faults) }
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
            AnswerFormat::Json | AnswerFormat::TwoStep => answer::json(layout),
        }
    }

    /// Rendering ends at the first filter that is not there: each is told, and one that does nothing takes its place.
    fn replace_unknown_filters(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        while faults.len() < MAX_UNKNOWN_FILTERS {
            let context = self.context(Canvas::PUBLISHED, &Filling::default());
            let rendered = self.environment.get_template(&self.name).and_then(|template| template.render(context));
            let Err(error) = rendered else { break };
            let detail = error.detail().unwrap_or_default();
            let name = detail.strip_prefix("filter ").and_then(|rest| rest.strip_suffix(" is unknown"));
            let Some(name) = name.filter(|_| error.kind() == ErrorKind::UnknownFilter) else { break };
            faults.push(format!("line {}: there is no filter `{name}`", error.line().unwrap_or_default()));
            self.environment.add_filter(name.to_owned(), |value: Value, _: Rest<Value>| value);
        }
        faults
    }

    /// Reads version and format; returns what is wrong with them.
    fn read_settings(&mut self) -> Vec<String> {
        let settings = self.environment.get_template(&self.name).and_then(|template| {
            let captured = template.render_captured(self.context(Canvas::PUBLISHED, &Filling::default()))?;
            let setting = |name| {
                captured.state().lookup(name).filter(|value| !value.is_undefined()).map(|value| value.to_string())
            };
            Ok((setting("version"), setting("format")))
        });
        let (version, format) = match settings {
            Ok(settings) => settings,
            Err(error) => return vec![format!("it does not render: {error}")],
        };
        let mut faults = Vec::new();
        match version {
            Some(version) => self.version = version,
            None => faults.push("it has no version: `{% set version = \"1\" %}` at its top".to_owned()),
        }
        let forms = "`{% set format = \"json\" %}`, \"text\" or \"two-step\"";
        match format.as_deref() {
            Some("text") => self.format = AnswerFormat::Text,
            Some("json") => self.format = AnswerFormat::Json,
            Some("two-step") => self.format = AnswerFormat::TwoStep,
            Some(other) => faults.push(format!("its format is `{other}`: {forms} is expected")),
            None => faults.push(format!("it has no format: {forms} at its top")),
        }
        faults
    }

    /// What is wrong with the blocks, as far as rendering them tells.
    fn block_faults(&self) -> Vec<String> {
        let render = |block| self.render_or(block, Canvas::PUBLISHED, &Filling::default());
        let fault = |block| Some(format!("block `{block}`: {}", render(block).err()?));
        ["prompt", "repair", "edit"].into_iter().filter_map(fault).collect()
    }

    /// The names in the template's own `source` that stand for nothing, each with its line.
    fn unknown_names(&self, source: &str) -> Vec<String> {
        let Ok(template) = self.environment.get_template(&self.name) else { return Vec::new() };
        let globals: Vec<String> = self.environment.globals().map(|(name, _)| name.to_owned()).collect();
        let is_known = |name: &str| {
            GIVEN.contains(&name) || BUILT_IN_NAMES.contains(&name) || globals.iter().any(|known| known == name)
        };
        let is_given = |name: &String| match name.split_once('.') {
            Some(("canvas", _)) => SIDES.contains(&name.as_str()),
            Some((base, _)) => is_known(base),
            None => is_known(name),
        };
        let mut unknown: Vec<String> = template.undeclared_variables(true).into_iter().collect();
        unknown.retain(|name| !is_given(name));
        unknown.sort();
        let fault = |name: &String| {
            let line = source.lines().position(|line| line.contains(name.as_str()));
            let line = line.map(|line| format!("line {}: ", line + 1)).unwrap_or_default();
            let known: &[&str] = if name.starts_with("canvas.") { &SIDES } else { &GIVEN };
            format!("{line}`{name}` stands for nothing: {}", names::choice(name, known))
        };
        unknown.iter().map(fault).collect()
    }

    fn render(&self, block: &'static str, canvas: Canvas, filling: &Filling<'_>) -> Result<String> {
        self.render_or(block, canvas, filling).map_err(|source| self.failed(source))
    }

    fn render_or(
        &self,
        block: &'static str,
        canvas: Canvas,
        filling: &Filling<'_>,
    ) -> std::result::Result<String, minijinja::Error> {
        let template = self.environment.get_template(&self.name)?;
        let mut captured = template.render_captured(self.context(canvas, filling))?;
        let rendered = captured.with_state_mut(|state| state.render_block(block))?;
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
    hex::encode(&hasher.finalize())
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
    use sinopia_layout::parse_answer_on;

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
    fn templates_end() {
        let long = " ".repeat(TEMPLATE_BYTES + 1);
        let error = Template::new("long", &long).unwrap_err().to_string();
        assert!(error.contains("256 KiB"), "{error}");
        let endless = "{% extends 'lmd-json' %}{% block prompt %}\
            {% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{{ caption }}{% endblock %}";
        let error = Template::new("endless", endless).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error}: {cause}").contains("fuel"), "{error}: {cause}");
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
    fn everything_that_is_wrong_with_a_template_is_told_at_once() {
        let source = "{% set format = 'xml' %}\n{% block prompt %}{{ captoin }}, {{ mood }}\n{{ canvas.widht }}{% endblock %}\n{% block edit %}{{ layout|shout }}{% endblock %}";
        let error = Template::new("mine.jinja", source).unwrap_err();
        insta::assert_snapshot!(error, @r#"
        the prompt template `mine.jinja` cannot be used:
          - line 4: there is no filter `shout`
          - it has no version: `{% set version = "1" %}` at its top
          - its format is `xml`: `{% set format = "json" %}`, "text" or "two-step" is expected
          - block `repair`: unknown block: block 'repair' not found
          - line 3: `canvas.widht` stands for nothing: did you mean `canvas.width`? There are canvas.width, canvas.height
          - line 2: `captoin` stands for nothing: did you mean `caption`? There are canvas, caption, examples, findings, layout, instruction
          - line 2: `mood` stands for nothing: choose one of canvas, caption, examples, findings, layout, instruction
        "#);
        insta::assert_snapshot!(Template::new("mine.jinja", "hello").unwrap_err(), @r#"
        the prompt template `mine.jinja` cannot be used:
          - it has no version: `{% set version = "1" %}` at its top
          - it has no format: `{% set format = "json" %}`, "text" or "two-step" at its top
          - block `prompt`: unknown block: block 'prompt' not found
          - block `repair`: unknown block: block 'repair' not found
          - block `edit`: unknown block: block 'edit' not found
        "#);
    }

    #[test]
    fn a_broken_template_says_what_is_wrong() {
        let message = |source: &str| {
            let error = Template::new("mine.jinja", source).unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {cause}")
        };
        let rest = "{% set version = 1 %}{% set format = 'text' %}{% block prompt %}{{ caption }}{% endblock %}";
        assert!(message(rest).contains("repair"), "{}", message(rest));
        // Of a name that is asked for with care nothing is said.
        let careful =
            "{% extends \"lmd-json\" %}{% block prompt %}{% if mood is defined %}{{ mood }}{% endif %}{% endblock %}";
        assert!(Template::new("mine.jinja", careful).is_ok());
        assert!(message("{% if %}").contains("mine.jinja"));
        // A caption is data: it is never rendered.
        let template = Template::built_in(AnswerFormat::Text).unwrap();
        assert!(template.prompt("{{ 7 * 7 }} cats", Canvas::PUBLISHED).unwrap().contains("{{ 7 * 7 }} cats"));
    }
}
