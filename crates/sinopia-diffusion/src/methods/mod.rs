//! The methods: ways to turn a caption or a layout into a picture. One file or folder each, one line each in [`METHODS`].

mod backward_guidance;
mod boxdiff;
pub mod gligen;
pub mod lmd;
pub mod lmd_plus;
mod multidiffusion;
mod one_pass;
mod sd;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sinopia_layout::{GridRounding, brief, names};

pub use backward_guidance::{BackwardGuidance, BackwardGuidanceOptions};
pub use boxdiff::{BoxDiff, BoxDiffOptions, ControlledTokens};
pub use gligen::{Gligen, GligenOptions};
pub use lmd::{Lmd, LmdOptions, VerticalPlacement};
pub use lmd_plus::{AdapterOptions, LmdPlus, LmdPlusOptions};
pub use multidiffusion::{MultiDiffusion, MultiDiffusionOptions};
pub use sd::{Sd, SdOptions};

use crate::observer::Run;
use crate::painting::{PaintRequest, Painting};
use crate::pipeline::Pipeline;
use crate::{Error, Result};

/// A way to paint.
pub trait Method: Send + Sync + std::fmt::Debug {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// All options with their values, defaults included: [`build`] makes the same method of them.
    fn options(&self) -> Value;

    /// Paints, on the calling thread.
    ///
    /// # Errors
    /// When the request lacks what the method paints from, does not fit the model, or the run is cancelled.
    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting>;

    /// Paints, on one of the worker threads, where handing work to the others costs least.
    ///
    /// # Errors
    /// As [`paint`](Self::paint).
    fn generate(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        sinopia_nn::threads::on_worker(|| self.paint(request, pipeline, run))
    }
}

/// A registered method.
pub struct MethodInfo {
    /// The name on the command line.
    pub name: &'static str,
    /// One sentence of help.
    pub help: &'static str,
    /// Whether it paints a layout (or else a caption alone).
    pub needs_layout: bool,
    /// Whether it needs a model with GLIGEN's grounding adapters.
    pub needs_adapters: bool,
    build: fn(Value) -> Result<Box<dyn Method>>,
    reference: fn() -> Value,
}

impl std::fmt::Debug for MethodInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MethodInfo").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every method. A new one is a new file and a line here.
#[rustfmt::skip]
pub static METHODS: &[MethodInfo] = &[
    MethodInfo { name: Sd::NAME, help: "Plain Stable Diffusion: paints the caption, looks at no boxes", needs_layout: false, needs_adapters: false, build: Sd::build, reference: Sd::reference },
    MethodInfo { name: MultiDiffusion::NAME, help: "MultiDiffusion: each box and the background denoised with a prompt of its own", needs_layout: true, needs_adapters: false, build: MultiDiffusion::build, reference: MultiDiffusion::reference },
    MethodInfo { name: BackwardGuidance::NAME, help: "Backward Guidance: latents moved until each phrase looks into its boxes", needs_layout: true, needs_adapters: false, build: BackwardGuidance::build, reference: BackwardGuidance::reference },
    MethodInfo { name: BoxDiff::NAME, help: "BoxDiff: latents moved so that phrases fill their boxes, edge to edge", needs_layout: true, needs_adapters: false, build: BoxDiff::build, reference: BoxDiff::reference },
    MethodInfo { name: Lmd::NAME, help: "LLM-grounded diffusion, training-free: each object alone first, then the scene around them", needs_layout: true, needs_adapters: false, build: Lmd::build, reference: Lmd::reference },
    MethodInfo { name: LmdPlus::NAME, help: "LMD on a model with GLIGEN's adapters, which is told of the boxes", needs_layout: true, needs_adapters: true, build: LmdPlus::build, reference: LmdPlus::reference },
    MethodInfo { name: Gligen::NAME, help: "GLIGEN: one pass of a model with adapters that is told of the boxes", needs_layout: true, needs_adapters: true, build: Gligen::build, reference: Gligen::reference },
];

/// A method's options as someone else has them, under a name of their own.
pub struct Preset {
    /// The name on the command line.
    pub name: &'static str,
    /// The method that it sets.
    pub method: &'static str,
    /// One sentence of help.
    pub help: &'static str,
    options: fn() -> Value,
}

impl std::fmt::Debug for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preset").field("name", &self.name).field("method", &self.method).finish_non_exhaustive()
    }
}

impl Preset {
    /// All options of the method, as the preset sets them.
    pub fn options(&self) -> Value {
        (self.options)()
    }
}

/// Every preset.
#[rustfmt::skip]
pub static PRESETS: &[Preset] = &[
    Preset { name: "diffusers-lmd-plus", method: LmdPlus::NAME, help: "The one-pass LMD+ of diffusers' community pipeline", options: LmdPlus::diffusers },
];

/// The registered preset of a name, however it is written.
///
/// # Errors
/// [`Error::UnknownPreset`].
pub fn find_preset(name: &str) -> Result<&'static Preset> {
    let known = names::find(name, PRESETS.iter().map(|preset| preset.name));
    let preset = known.and_then(|known| PRESETS.iter().find(|preset| preset.name == known));
    preset.ok_or_else(|| Error::UnknownPreset { name: name.to_owned() })
}

/// The registered method of a name, however it is written: `LMD+` is `lmd-plus`.
///
/// # Errors
/// [`Error::UnknownMethod`].
pub fn find(name: &str) -> Result<&'static MethodInfo> {
    let known = names::find(name, METHODS.iter().map(|method| method.name));
    let method = known.and_then(|known| METHODS.iter().find(|method| method.name == known));
    method.ok_or_else(|| Error::UnknownMethod { name: name.to_owned() })
}

/// What to say of a name that is no method's.
pub(crate) fn choice(name: &str) -> String {
    match find_preset(name) {
        Ok(preset) => format!("it is a preset, `--preset {}`", preset.name),
        Err(_) => names::choice(name, &METHODS.iter().map(|method| method.name).collect::<Vec<_>>()),
    }
}

/// What to say of a name that is no preset's.
pub(crate) fn preset_choice(name: &str) -> String {
    match find(name) {
        Ok(method) => format!("it is a method, `--method {}`", method.name),
        Err(_) => names::choice(name, &PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>()),
    }
}

/// A method with options: a JSON object in which any may be left out, or `null` for all defaults.
///
/// # Errors
/// [`Error::UnknownMethod`]; [`Error::UnknownOption`], [`Error::MethodOption`] or [`Error::MethodOptions`] for options that cannot be read.
pub fn build(name: &str, options: Value) -> Result<Box<dyn Method>> {
    (find(name)?.build)(options)
}

/// The options with which a method behaves as published, oddities included: what `--reference` sets.
///
/// # Errors
/// [`Error::UnknownMethod`].
pub fn reference_options(name: &str) -> Result<Value> {
    Ok((find(name)?.reference)())
}

/// Reads a method's options; `null` means the defaults.
fn read_options<T: DeserializeOwned + Serialize + Default>(method: &'static str, options: Value) -> Result<T> {
    if options.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(options.clone()).map_err(|source| match the_wrong_one::<T>(&options) {
        Some((option, source)) if is_known::<T>(&option) => Error::MethodOption { method, option, source },
        Some((option, _)) => Error::UnknownOption { method, hint: likest::<T>(&option), option },
        None => Error::MethodOptions { method, source },
    })
}

/// The first option that cannot be read even by itself.
fn the_wrong_one<T: DeserializeOwned>(options: &Value) -> Option<(String, serde_json::Error)> {
    options.as_object()?.iter().find_map(|(name, value)| {
        let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        serde_json::from_value::<T>(alone).err().map(|error| (name.clone(), error))
    })
}

fn names_of<T: Serialize + Default>() -> Vec<String> {
    write_options(&T::default()).as_object().map(|options| options.keys().cloned().collect()).unwrap_or_default()
}

fn is_known<T: Serialize + Default>(name: &str) -> bool {
    names_of::<T>().iter().any(|known| known == name)
}

/// What somebody probably meant, in words, or all that there is.
fn likest<T: Serialize + Default>(name: &str) -> String {
    let known = names_of::<T>();
    match names::nearest(name, known.iter().map(String::as_str)) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "it has none".to_owned(),
        None => format!("it has {}", known.join(", ")),
    }
}

/// How boxes become cells: `keep_small_boxes` of all methods that have it.
fn rounding(keeps_small_boxes: bool) -> GridRounding {
    if keeps_small_boxes { GridRounding::AtLeastOneCell } else { GridRounding::Published }
}

/// Refuses the first of some named values that is not good.
fn check_settings(values: &[(&'static str, f64)], is_good: impl Fn(f64) -> bool, expected: &'static str) -> Result<()> {
    match values.iter().find(|(_, value)| !is_good(*value)) {
        None => Ok(()),
        Some((name, value)) => Err(Error::Setting { name, found: brief(*value), expected }),
    }
}

/// Most updates that a step of guidance may have. The published methods have at most 20; beyond, a run would seem to hang.
const MAX_ITERATIONS: usize = 1000;

/// Refuses schedules of updates with an entry that nobody would wait for.
fn check_iterations(schedules: &[(&'static str, &[usize])]) -> Result<()> {
    let entries = |(name, schedule): &(&'static str, &[usize])| {
        schedule.iter().map(|count| (*name, *count as f64)).collect::<Vec<_>>()
    };
    let entries: Vec<_> = schedules.iter().flat_map(entries).collect();
    check_settings(&entries, |count| count <= MAX_ITERATIONS as f64, "at most 1000 in every entry")
}

/// Options as JSON. They are plain structs, so nothing can fail.
fn write_options(options: &impl Serialize) -> Value {
    serde_json::to_value(options).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_built_by_its_name_and_from_its_own_options() {
        for info in METHODS {
            let method = build(info.name, Value::Null).unwrap();
            assert_eq!(method.name(), info.name);
            assert_eq!(build(info.name, method.options()).unwrap().options(), method.options());
            assert!(!info.help.ends_with('.') && !info.help.is_empty());
            let reference = reference_options(info.name).unwrap();
            assert_eq!(build(info.name, reference.clone()).unwrap().options(), reference);
        }
    }

    #[test]
    fn a_preset_sets_every_option_of_its_method() {
        for preset in PRESETS {
            assert_eq!(build(preset.method, preset.options()).unwrap().options(), preset.options());
        }
        let message = find_preset("magic").unwrap_err().to_string();
        assert_eq!(message, "unknown preset `magic`: choose one of diffusers-lmd-plus");
    }

    #[test]
    fn unknown_names_and_options_are_refused_by_name() {
        let message = build("magic", Value::Null).unwrap_err().to_string();
        let names = "sd, multidiffusion, backward-guidance, boxdiff, lmd, lmd-plus, gligen";
        assert_eq!(message, format!("unknown method `magic`: choose one of {names}"));
        for info in METHODS {
            let message = build(info.name, serde_json::json!({"no_such_option": 1})).unwrap_err().to_string();
            assert!(message.contains("no_such_option") && message.contains(info.name), "{message}");
        }
    }
}
