//! LMD+: [LMD](super::lmd) with other options and an adapter.
//!
//! Lian et al. 2023, arXiv 2305.13655. Each object's own picture and the whole one are told of the boxes by GLIGEN's adapters for their first steps, so
//! that objects come out in their boxes at once: they are neither guided nor centred while they are painted alone, nor moved afterwards.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lmd::{Lmd, LmdOptions};
use super::{Method, read_options, write_options};
use crate::grounding::{GroundingOptions, GuidanceGrounding, SlotPhrase, check_beta, wiring};
use crate::losses::OverHeads;
use crate::masks::MaskPrompt;
use crate::observer::Run;
use crate::painting::{PaintRequest, Painting};
use crate::pipeline::Pipeline;
use crate::{Error, Result};

/// Options of [`LmdPlus`]: those of LMD, with its own defaults, and those of the adapters, side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LmdPlusOptions {
    /// What LMD has too.
    #[serde(flatten)]
    pub lmd: LmdOptions,
    /// What the adapters add.
    #[serde(flatten)]
    pub adapters: AdapterOptions,
}

/// How LMD+ uses GLIGEN's adapters. The last two before `reground` are mends of the published behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterOptions {
    /// Share of the steps, 0..=1, at which the adapters are on while an object is painted alone. Published: 0.4.
    pub so_gligen_scheduled_sampling_beta: f64,
    /// The same in the whole picture. Published: 0.4.
    pub overall_gligen_scheduled_sampling_beta: f64,
    /// Mend: guidance passes see the boxes, as the denoising steps they prepare do. Published: `unconditional`, the gradient is taken through a network
    /// that was told of empty slots.
    pub guidance_grounding: GuidanceGrounding,
    /// Mend: a slot of the whole picture holds the name of its one object. Published: `overall_phrase`, `three cats` in each of three slots.
    pub slot_phrase: SlotPhrase,
    /// Whether text and boxes are looked at side by side, which keeps unboxed parts of the prompt from being lost (ReGround, arXiv 2403.13589).
    /// Published: false.
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

impl AdapterOptions {
    /// The published behaviour.
    pub fn reference() -> Self {
        Self {
            guidance_grounding: GuidanceGrounding::Unconditional,
            slot_phrase: SlotPhrase::OverallPhrase,
            ..Self::default()
        }
    }

    /// For the whole picture.
    pub(super) fn overall(self) -> GroundingOptions {
        GroundingOptions {
            beta: self.overall_gligen_scheduled_sampling_beta,
            guidance: self.guidance_grounding,
            wiring: wiring(self.reground),
        }
    }

    /// For objects painted alone.
    pub(super) fn of_objects(self) -> GroundingOptions {
        GroundingOptions { beta: self.so_gligen_scheduled_sampling_beta, ..self.overall() }
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
    /// The published behaviour with its oddities; see [`LmdOptions::reference`] for what is not an option.
    pub fn reference() -> Self {
        Self { lmd: with_adapter(LmdOptions::reference()), adapters: AdapterOptions::reference() }
    }

    /// The preset `diffusers-lmd-plus`: the one-pass LMD+ of diffusers' community pipeline `llm_grounded_diffusion`.
    ///
    /// No objects painted alone; the caption is the prompt; every box is an object of its own; a stronger and shorter guidance that is told of no boxes.
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

    /// Reads options as they are written: in one object, any left out. An option that neither half knows is refused by LMD's.
    fn read(options: Value) -> Result<Self> {
        let given: Map<String, Value> = match options {
            Value::Null => Map::new(),
            options => serde_json::from_value(options)
                .map_err(|source| Error::MethodOptions { method: LmdPlus::NAME, source })?,
        };
        let Self { lmd, adapters } = Self::default();
        let (mut lmd, mut adapters) = (write_options(&lmd), write_options(&adapters));
        for (name, value) in given {
            let half = if adapters.get(&name).is_some() { &mut adapters } else { &mut lmd };
            half[name] = value;
        }
        Ok(Self { lmd: read_options(LmdPlus::NAME, lmd)?, adapters: read_options(LmdPlus::NAME, adapters)? })
    }

    fn validate(&self) -> Result<()> {
        let AdapterOptions { so_gligen_scheduled_sampling_beta, overall_gligen_scheduled_sampling_beta, .. } =
            self.adapters;
        check_beta("so_gligen_scheduled_sampling_beta", so_gligen_scheduled_sampling_beta)?;
        check_beta("overall_gligen_scheduled_sampling_beta", overall_gligen_scheduled_sampling_beta)?;
        self.lmd.validate()
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
    /// [`Error::Setting`] for a value outside its range.
    pub fn new(options: LmdPlusOptions) -> Result<Self> {
        options.validate()?;
        let lmd = Lmd::new(options.lmd.clone())?.with_adapters(options.adapters);
        Ok(Self { options, lmd })
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(LmdPlusOptions::read(options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&LmdPlusOptions::reference())
    }

    pub(super) fn diffusers() -> Value {
        write_options(&LmdPlusOptions::diffusers())
    }
}

impl Method for LmdPlus {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        pipeline.require_adapters(Self::NAME)?;
        let painting = self.lmd.paint(request, pipeline, run)?;
        Ok(Painting { options: self.options(), ..painting })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_given_has_the_defaults_of_lmd_plus() {
        let options = LmdPlusOptions::read(json!({"frozen_step_ratio": 0.2, "reground": true})).unwrap();
        let mut expected = LmdPlusOptions::default();
        (expected.lmd.frozen_step_ratio, expected.adapters.reground) = (0.2, true);
        assert_eq!(options, expected);
        assert_eq!((options.lmd.max_index_step, options.lmd.fg_blending_ratio), (0, 0.1));
        assert_eq!(LmdPlusOptions::read(Value::Null).unwrap(), LmdPlusOptions::default());
    }

    #[test]
    fn options_survive_writing() {
        for options in [LmdPlusOptions::default(), LmdPlusOptions::reference(), LmdPlusOptions::diffusers()] {
            assert_eq!(LmdPlusOptions::read(write_options(&options)).unwrap(), options);
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
            let message = LmdPlus::build(options).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
