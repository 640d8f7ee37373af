//! The methods: ways to turn a caption or a layout into a picture. One file or folder each, one line each in [`METHODS`].
//!
//! An option of a method is a field of its option struct, and nothing else: [`MethodInfo::settings`] describes it from there.

mod backward_guidance;
mod boxdiff;
pub mod gligen;
pub mod lmd;
pub mod lmd_plus;
mod multidiffusion;
mod one_pass;
mod options;
pub(crate) mod presets;
mod sd;

use std::sync::LazyLock;

use serde_json::Value;
use sinopia_layout::{GridRounding, names};
use sinopia_models::checkpoint::Constructor;

pub use backward_guidance::{BackwardGuidance, BackwardGuidanceOptions};
pub use boxdiff::{BoxDiff, BoxDiffOptions, ControlledTokens};
pub use gligen::{Gligen, GligenOptions};
pub use lmd::{Lmd, LmdOptions, VerticalPlacement};
pub use lmd_plus::{AdapterOptions, LmdPlus, LmdPlusOptions};
pub use multidiffusion::{MultiDiffusion, MultiDiffusionOptions};
pub use presets::{PRESETS, Preset, find_preset};
pub use sd::{Sd, SdOptions};

use crate::observer::Run;
use crate::painting::{PaintRequest, Painting};
use crate::pipeline::Pipeline;
use crate::settings::Setting;
use crate::{Error, Result};
use options::{check_values, read_options, write_options};

/// A way to paint.
pub trait Method: Send + Sync + std::fmt::Debug {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// All options with their values, defaults included: [`build`] makes the same method of them.
    fn options(&self) -> Value;

    /// Whose reading of the scheduler's config it paints with: diffusers' pipelines differ in that.
    fn constructor(&self) -> Constructor {
        Constructor::StableDiffusion
    }

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
    /// Whether it can begin with a picture in the place of noise.
    pub takes_init: bool,
    build: fn(Value) -> Result<Box<dyn Method>>,
    reference: fn() -> Value,
    describe: fn() -> Vec<Setting>,
}

/// What [`MethodInfo::settings`] answers, for each of [`METHODS`].
static DESCRIBED: LazyLock<Vec<Vec<Setting>>> =
    LazyLock::new(|| METHODS.iter().map(|info| (info.describe)()).collect());

impl MethodInfo {
    /// The descriptions of its options, in their order.
    pub fn settings(&self) -> &'static [Setting] {
        let index = METHODS.iter().position(|info| info.name == self.name);
        index.and_then(|index| DESCRIBED.get(index)).map(Vec::as_slice).unwrap_or_default()
    }
}

impl std::fmt::Debug for MethodInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MethodInfo").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every method. A new one is a new file and a line here.
#[rustfmt::skip]
pub static METHODS: &[MethodInfo] = &[
    MethodInfo { name: Sd::NAME, help: "Plain Stable Diffusion: paints the caption, without regard to boxes", needs_layout: false, needs_adapters: false, takes_init: true, build: Sd::build, reference: Sd::reference, describe: Sd::settings },
    MethodInfo { name: MultiDiffusion::NAME, help: "MultiDiffusion: each box and the background denoised with a prompt of its own", needs_layout: true, needs_adapters: false, takes_init: true, build: MultiDiffusion::build, reference: MultiDiffusion::reference, describe: MultiDiffusion::settings },
    MethodInfo { name: BackwardGuidance::NAME, help: "Backward Guidance: latents moved until each phrase's cross-attention lies in its boxes", needs_layout: true, needs_adapters: false, takes_init: true, build: BackwardGuidance::build, reference: BackwardGuidance::reference, describe: BackwardGuidance::settings },
    MethodInfo { name: BoxDiff::NAME, help: "BoxDiff: latents moved so that phrases fill their boxes, edge to edge", needs_layout: true, needs_adapters: false, takes_init: true, build: BoxDiff::build, reference: BoxDiff::reference, describe: BoxDiff::settings },
    MethodInfo { name: Lmd::NAME, help: "LLM-grounded diffusion, training-free: each object alone first, then the scene around them", needs_layout: true, needs_adapters: false, takes_init: false, build: Lmd::build, reference: Lmd::reference, describe: Lmd::settings },
    MethodInfo { name: LmdPlus::NAME, help: "LMD on a model with GLIGEN's adapters, which is conditioned on the boxes", needs_layout: true, needs_adapters: true, takes_init: false, build: LmdPlus::build, reference: LmdPlus::reference, describe: LmdPlus::settings },
    MethodInfo { name: Gligen::NAME, help: "GLIGEN: one pass of a model with adapters, conditioned on the boxes", needs_layout: true, needs_adapters: true, takes_init: true, build: Gligen::build, reference: Gligen::reference, describe: Gligen::settings },
];

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

/// What the best method for a picture depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoChoice {
    /// Whether there is a layout to paint.
    pub has_layout: bool,
    /// Whether the model has GLIGEN's grounding adapters.
    pub has_adapters: bool,
    /// Whether the picture begins with another.
    pub has_init: bool,
}

/// The best method that a checkpoint can do: with a layout `lmd-plus` if it has GLIGEN's grounding adapters, else `lmd`; without one `sd`. Of those that begin with a picture
/// `gligen`, else `backward-guidance`.
pub fn auto(choice: AutoChoice) -> &'static MethodInfo {
    let name = match choice {
        AutoChoice { has_layout: false, .. } => Sd::NAME,
        AutoChoice { has_init: true, has_adapters: true, .. } => Gligen::NAME,
        AutoChoice { has_init: true, .. } => BackwardGuidance::NAME,
        AutoChoice { has_adapters: true, .. } => LmdPlus::NAME,
        _ => Lmd::NAME,
    };
    METHODS.iter().find(|info| info.name == name).unwrap_or(&METHODS[0])
}

/// A method with options: a JSON object in which any may be left out, or `null` for all defaults. Names may be written in any spelling.
///
/// # Errors
/// [`Error::UnknownMethod`]; [`Error::UnknownOption`], [`Error::MethodOption`] or [`Error::MethodOptions`] for options that cannot be read.
pub fn build(name: &str, options: Value) -> Result<Box<dyn Method>> {
    let info = find(name)?;
    (info.build)(Value::Object(info.complete(options)?))
}

/// The options with which a method behaves as published, oddities included: what `--reference` sets.
///
/// # Errors
/// [`Error::UnknownMethod`].
pub fn reference_options(name: &str) -> Result<Value> {
    Ok((find(name)?.reference)())
}

/// How boxes become cells: `keep_small_boxes` of all methods that have it.
fn rounding(keeps_small_boxes: bool) -> GridRounding {
    if keeps_small_boxes { GridRounding::AtLeastOneCell } else { GridRounding::Published }
}

/// Most updates that a step of guidance may have. The published methods have at most 20; beyond, a run would seem to hang.
const MAX_ITERATIONS: usize = 1000;

/// Largest number of a step that an option may name: no run has more steps.
const MAX_STEP: usize = 1000;

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
    fn unknown_names_and_options_are_refused_by_name() {
        let message = build("magic", Value::Null).unwrap_err().to_string();
        let names = "sd, multidiffusion, backward-guidance, boxdiff, lmd, lmd-plus, gligen";
        assert_eq!(message, format!("unknown method `magic`: choose one of {names}"));
        for info in METHODS {
            let message = build(info.name, serde_json::json!({"no_such_option": 1})).unwrap_err().to_string();
            assert!(message.contains("no_such_option") && message.contains(info.name), "{message}");
        }
    }

    #[test]
    fn every_option_is_described_with_its_default_and_takes_the_published_value() {
        for info in METHODS {
            let options = build(info.name, Value::Null).unwrap().options();
            let reference = reference_options(info.name).unwrap();
            let names: Vec<&str> = info.settings().iter().map(|setting| &*setting.name).collect();
            let fields: Vec<&str> = options.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(
                names, fields,
                "{}: an option lacks its doc comment or its group, or has a type of no kind",
                info.name
            );
            for setting in info.settings() {
                let (default, published) = (&options[&*setting.name], &reference[&*setting.name]);
                assert_eq!((&setting.default, &setting.check(default).unwrap()), (default, default));
                assert_eq!(setting.published.as_ref().unwrap_or(default), published, "{}", setting.name);
                assert_eq!(setting.check(published).unwrap(), *published);
                assert!(setting.help.len() > 15 && setting.help.ends_with('.'), "{}: {}", setting.name, setting.help);
                assert_eq!(setting.methods, [info.name]);
            }
        }
    }

    #[test]
    fn descriptions_have_the_ranges_words_and_units_of_their_fields() {
        let described = |name| crate::settings::find(find("lmd").unwrap().settings(), name).unwrap();
        let expected = |name| described(name).expected();
        assert_eq!(expected("frozen_step_ratio"), "a number from 0 to 1");
        assert_eq!(expected("fg_top_p"), "a number above 0, at most 1");
        assert_eq!(expected("loss_scale"), "a number from 0");
        assert_eq!(expected("max_iter"), "a list of whole numbers from 0 to 1000");
        assert_eq!(expected("fast_rate"), "a whole number from 1 to 1000");
        assert_eq!(expected("mask_prompt"), "`box` or `point`");
        assert_eq!(expected("object_weights"), "a JSON object of numbers from 0 to 100 by texts");
        assert_eq!(expected("fg_seed_start"), "a whole number from 0, or null");
        assert_eq!(expected("overall_prompt"), "text, or null");
        assert_eq!(described("max_index_step").unit.as_deref(), Some("steps of 50"));
        let thresholds = crate::settings::find(find("boxdiff").unwrap().settings(), "refinement_thresholds").unwrap();
        assert_eq!(thresholds.expected(), "a JSON object of numbers from 0 to 1 by whole numbers from 0 to 1000");
    }

    #[test]
    fn auto_is_the_best_that_the_checkpoint_can_do() {
        let names = |has_layout, has_init| {
            [true, false].map(|has_adapters| auto(AutoChoice { has_layout, has_adapters, has_init }).name)
        };
        assert_eq!(names(true, false), ["lmd-plus", "lmd"]);
        assert_eq!(names(true, true), ["gligen", "backward-guidance"]);
        assert_eq!([names(false, false), names(false, true)], [["sd"; 2]; 2]);
    }
}
