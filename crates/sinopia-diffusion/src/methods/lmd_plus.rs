//! LMD+: [LMD](super::lmd) with other options and an adapter.
//!
//! Lian et al. 2023, arXiv 2305.13655. Each object's own picture and the whole one are conditioned on the boxes by GLIGEN's adapters for their first
//! steps, so that objects come out in their boxes at once: they are neither guided nor centred while they are painted alone, nor moved afterwards.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::lmd::{Adapters, Lmd, LmdOptions};
use super::{Method, check_values, find, read_options, write_options};
use crate::grounding::{GroundingOptions, GuidanceGrounding, SlotPhrase, wiring};
use crate::losses::OverHeads;
use crate::masks::MaskPrompt;
use crate::observer::Run;
use crate::painting::{PaintRequest, Painting};
use crate::pipeline::Pipeline;
use crate::settings::{Group, Setting, described};

/// Options of [`LmdPlus`]: those of LMD, with its own defaults, and those of the adapters, in one JSON object.
///
/// Read from JSON, what is left out has LMD+'s defaults, also where LMD has others.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LmdPlusOptions {
    /// What LMD has too.
    #[serde(flatten)]
    pub lmd: LmdOptions,
    /// What the adapters add.
    #[serde(flatten)]
    pub adapters: AdapterOptions,
}

/// How LMD+ uses GLIGEN's adapters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterOptions {
    /// Share of the steps at which the adapters are on while an object is painted alone.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Adapters, "x-unit" = "share of the steps"))]
    pub so_gligen_scheduled_sampling_beta: f64,
    /// Share of the steps at which the adapters are on in the whole picture.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Adapters, "x-unit" = "share of the steps"))]
    pub overall_gligen_scheduled_sampling_beta: f64,
    /// What guidance passes are conditioned on.
    ///
    /// As published the gradient is taken through a network conditioned on empty slots; by default on what the denoising step is conditioned on.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub guidance_grounding: GuidanceGrounding,
    /// What a slot of the whole picture holds; the adapters were trained with names.
    ///
    /// As published, each of three slots holds `three cats`.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub slot_phrase: SlotPhrase,
    /// Whether attention to the boxes runs in parallel with cross-attention to the text, not before it, which keeps unboxed parts of the prompt from being lost.
    ///
    /// ReGround, arXiv 2403.13589.
    #[schemars(extend("x-group" = Group::Adapters))]
    pub reground: bool,
}

impl Default for AdapterOptions {
    fn default() -> Self {
        Self {
            so_gligen_scheduled_sampling_beta: 0.4,
            overall_gligen_scheduled_sampling_beta: 0.4,
            guidance_grounding: GuidanceGrounding::Conditional,
            slot_phrase: SlotPhrase::Name,
            reground: false,
        }
    }
}

impl<'de> Deserialize<'de> for LmdPlusOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Value::deserialize(deserializer)?;
        let all = find(LmdPlus::NAME).and_then(|method| method.complete(given));
        all.and_then(Self::from_complete).map_err(serde::de::Error::custom)
    }
}

impl AdapterOptions {
    /// The published behaviour.
    pub fn reference() -> Self {
        Self {
            guidance_grounding: GuidanceGrounding::Unconditional,
            slot_phrase: SlotPhrase::OverallPhrase,
            ..Self::default()
        }
    }

    /// As LMD uses them.
    fn for_lmd(self) -> Adapters {
        let overall = GroundingOptions {
            beta: self.overall_gligen_scheduled_sampling_beta,
            guidance: self.guidance_grounding,
            wiring: wiring(self.reground),
        };
        let of_objects = GroundingOptions { beta: self.so_gligen_scheduled_sampling_beta, ..overall };
        Adapters { method: LmdPlus::NAME, slot_phrase: self.slot_phrase, overall, of_objects }
    }
}

impl Default for LmdPlusOptions {
    fn default() -> Self {
        Self { lmd: with_adapter(LmdOptions::default()), adapters: AdapterOptions::default() }
    }
}

/// Where LMD+ departs from LMD: the adapters put objects into their boxes.
fn with_adapter(lmd: LmdOptions) -> LmdOptions {
    LmdOptions {
        max_index_step: 0,
        so_center_box: false,
        so_horizontal_center_only: true,
        align_with_overall_bboxes: false,
        horizontal_shift_only: true,
        fg_blending_ratio: 0.1,
        mask_prompt: MaskPrompt::Box,
        ..lmd
    }
}

impl LmdPlusOptions {
    /// From all options: LMD's own, and the others, which are the adapters'.
    fn from_complete(all: Map<String, Value>) -> crate::Result<Self> {
        let of_lmd = find(Lmd::NAME)?.settings();
        let (lmd, adapters): (Map<String, Value>, Map<String, Value>) =
            all.into_iter().partition(|(name, _)| of_lmd.iter().any(|setting| setting.name == *name));
        let (lmd, adapters) = (Value::Object(lmd), Value::Object(adapters));
        Ok(Self { lmd: read_options(LmdPlus::NAME, lmd)?, adapters: read_options(LmdPlus::NAME, adapters)? })
    }

    /// The published behaviour with its oddities; see [`LmdOptions::reference`] for what is not an option.
    pub fn reference() -> Self {
        Self { lmd: with_adapter(LmdOptions::reference()), adapters: AdapterOptions::reference() }
    }

    /// The preset `diffusers-lmd-plus`: the one-pass LMD+ of diffusers' community pipeline `llm_grounded_diffusion`.
    ///
    /// No objects painted alone; the caption is the prompt; every box is an object of its own; a stronger and shorter guidance without boxes.
    pub fn diffusers() -> Self {
        let lmd = LmdOptions {
            frozen_step_ratio: 0.0,
            use_ref_ca: false,
            overall_loss_scale: 20.0,
            overall_loss_threshold: 5.0,
            overall_max_iter: [[3; 5], [2; 5], [1; 5]].concat(),
            overall_max_index_step: 15,
            overall_fg_weight: 1.0,
            overall_bg_weight: 1.0,
            caption_as_prompt: true,
            boxes_as_objects: true,
            bare_negative: true,
            over_heads: OverHeads::Sum,
            ..Self::reference().lmd
        };
        let adapters = AdapterOptions {
            overall_gligen_scheduled_sampling_beta: 0.3,
            guidance_grounding: GuidanceGrounding::None,
            slot_phrase: SlotPhrase::Name,
            ..AdapterOptions::reference()
        };
        Self { lmd, adapters }
    }
}

/// LMD with grounding adapters.
#[derive(Debug, Clone)]
pub struct LmdPlus {
    options: LmdPlusOptions,
    lmd: Lmd,
}

impl LmdPlus {
    /// The name on the command line.
    pub const NAME: &'static str = "lmd-plus";

    /// With options.
    ///
    /// # Errors
    /// [`Error::MethodOption`](crate::Error::MethodOption) for a value outside its range.
    pub fn new(options: LmdPlusOptions) -> crate::Result<Self> {
        check_values(Self::NAME, &options)?;
        let lmd = Lmd::new(options.lmd.clone())?.with_adapters(options.adapters.for_lmd());
        Ok(Self { options, lmd })
    }

    pub(super) fn build(options: Value) -> crate::Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&LmdPlusOptions::reference())
    }

    pub(super) fn settings() -> Vec<Setting> {
        described::<LmdPlusOptions>(Self::NAME, &Self::reference())
    }
}

impl Method for LmdPlus {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> crate::Result<Painting> {
        pipeline.require_adapters(Self::NAME)?;
        let painting = self.lmd.paint(request, pipeline, run)?;
        Ok(Painting { options: self.options(), ..painting })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::methods::build;

    fn read(options: Value) -> LmdPlusOptions {
        serde_json::from_value(options).unwrap()
    }

    #[test]
    fn what_is_not_given_has_the_defaults_of_lmd_plus() {
        let options = read(json!({"frozen_step_ratio": 0.2, "reground": true}));
        let mut expected = LmdPlusOptions::default();
        (expected.lmd.frozen_step_ratio, expected.adapters.reground) = (0.2, true);
        assert_eq!(options, expected);
        assert_eq!((options.lmd.max_index_step, options.lmd.fg_blending_ratio), (0, 0.1));
        assert_eq!(read(Value::Null), LmdPlusOptions::default());
    }

    #[test]
    fn the_only_way_in_is_strict_and_the_same_for_all() {
        let built = build(LmdPlus::NAME, json!({"reground": true})).unwrap().options();
        let mut expected = LmdPlusOptions::default();
        expected.adapters.reground = true;
        assert_eq!(built, write_options(&expected));
        assert_eq!(read(json!({"reground": true})), expected);
        for wrong in [json!({"regrounded": true}), json!({"fast_rate": 0}), json!({"reground": 1})] {
            assert!(serde_json::from_value::<LmdPlusOptions>(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(serde_json::from_value::<AdapterOptions>(json!({"loss_scale": 1})).is_err());
        assert!(serde_json::from_value::<LmdOptions>(json!({"reground": true})).is_err());
    }

    #[test]
    fn options_survive_writing() {
        for options in [LmdPlusOptions::default(), LmdPlusOptions::reference(), LmdPlusOptions::diffusers()] {
            assert_eq!(read(write_options(&options)), options);
        }
    }

    #[test]
    fn bad_options_are_named() {
        for (options, part) in [
            (json!({"beta": 0.3}), "beta"),
            (json!({"slot_phrase": "whatever"}), "whatever"),
            (json!([1]), "lmd-plus"),
            (json!({"so_gligen_scheduled_sampling_beta": 1.5}), "so_gligen_scheduled_sampling_beta"),
            (json!({"frozen_step_ratio": -1.0}), "frozen_step_ratio"),
        ] {
            let message = build(LmdPlus::NAME, options).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
