//! What is asked of a method, and what it answers.

use serde::{Deserialize, Serialize};
use sinopia_layout::{BBox, GridMask, Layout, brief};

use crate::collage::Shift;
use crate::conditioning::TextEncoding;
pub use crate::image::{Image, ImageSize};
use crate::init::Init;
use crate::noise::Seed;
use crate::observer::Timing;
use crate::schedulers::{PUBLISHED_STEPS, SchedulerKind, SchedulerName, SigmaSchedule};
use crate::trajectory::Trajectory;
use crate::{Error, Result};

/// How a picture is sampled, whatever the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Where the noise starts.
    pub seed: Seed,
    /// Pixels, a multiple of the autoencoder's factor (8).
    pub width: usize,
    /// Pixels, likewise.
    pub height: usize,
    /// Denoising steps, at least 1. Published: 50.
    pub num_inference_steps: usize,
    /// How strictly the picture follows the prompt; 1 or less turns classifier-free guidance off. Published: 7.5.
    pub guidance_scale: f64,
    /// Share of the guided prediction whose contrast is set back to the conditional one's (arXiv 2305.08891, equation 16); 0 is off.
    #[serde(default)]
    pub guidance_rescale: f64,
    /// The scheduler; `None` leaves it to the method.
    #[serde(default)]
    pub scheduler: Option<SchedulerKind>,
    /// The scheduler's noise levels, by name; `None` leaves them to the model's config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigmas: Option<SigmaSchedule>,
    /// What trades a little quality for time; all off by default.
    #[serde(default)]
    pub shortcuts: Shortcuts,
    /// What reads the prompts: CLIP by default.
    #[serde(default, skip_serializing_if = "TextEncoding::is_default")]
    pub text_encoding: TextEncoding,
}

/// Ways to spend less time on a picture that is a little worse for it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shortcuts {
    /// Where classifier-free guidance is on, as shares of the steps, first and end; elsewhere steps cost half. Default: 0 and 1, always
    /// (Kynkäänniemi et al. 2024, arXiv 2404.07724).
    pub guidance_interval: (f64, f64),
    /// The deep layers are run in every n-th step, and their features are used in the steps between. Default: 1, in every step (DeepCache, Ma et
    /// al. 2023, arXiv 2312.00858). Attention is guided in steps that run them, and nowhere else.
    pub deep_every: usize,
    /// On the finest grid, keys and values of self-attention are the means of windows of this side. Default: 1, every pixel (token downsampling, Smith et al.
    /// 2024, arXiv 2402.13573), in guidance passes too.
    pub merge_tokens: usize,
}

impl Default for Shortcuts {
    fn default() -> Self {
        Self { guidance_interval: (0.0, 1.0), deep_every: 1, merge_tokens: 1 }
    }
}

impl Shortcuts {
    /// Whether classifier-free guidance is on in step `index` of `count`.
    pub fn guides(&self, index: usize, count: usize) -> bool {
        let (first, end) = self.guidance_interval;
        let at = |share: f64| (share * count as f64).round() as usize;
        (at(first)..at(end)).contains(&index)
    }

    /// Whether the deep layers are run in step `index`.
    pub fn runs_deep(&self, index: usize) -> bool {
        index.is_multiple_of(self.deep_every.max(1))
    }
}

impl Sampling {
    /// The published settings for a picture of a size: 50 steps, guidance 7.5.
    pub fn new(seed: Seed, width: usize, height: usize) -> Self {
        Self {
            seed,
            width,
            height,
            num_inference_steps: PUBLISHED_STEPS,
            guidance_scale: 7.5,
            guidance_rescale: 0.0,
            scheduler: None,
            sigmas: None,
            shortcuts: Shortcuts::default(),
            text_encoding: TextEncoding::default(),
        }
    }

    /// The size of the picture.
    pub fn size(&self) -> ImageSize {
        ImageSize { width: self.width, height: self.height }
    }

    /// The scheduler and its noise levels, if the scheduler is known.
    pub fn scheduler_name(&self) -> Option<SchedulerName> {
        Some(SchedulerName { kind: self.scheduler?, sigmas: self.sigmas })
    }

    /// Refuses settings outside their ranges (sizes and steps are checked against the model).
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn validate(&self) -> Result<()> {
        let setting = |name, found: f64, expected| Err(Error::Setting { name, found: brief(found), expected });
        if !self.guidance_scale.is_finite() || !(0.0..=100.0).contains(&self.guidance_scale) {
            return setting("guidance_scale", self.guidance_scale, "a number from 0 to 100");
        }
        if !(0.0..=1.0).contains(&self.guidance_rescale) {
            return setting("guidance_rescale", self.guidance_rescale, "a number from 0 to 1");
        }
        let (first, end) = self.shortcuts.guidance_interval;
        if !(0.0..=1.0).contains(&first) || !(first..=1.0).contains(&end) {
            return setting(
                "guidance_interval",
                if (0.0..=1.0).contains(&first) { end } else { first },
                "two rising numbers from 0 to 1",
            );
        }
        if !(1..=1000).contains(&self.shortcuts.deep_every) {
            return setting("deep_every", self.shortcuts.deep_every as f64, "a whole number from 1 to 1000");
        }
        if !(1..=8).contains(&self.shortcuts.merge_tokens) {
            return setting("merge_tokens", self.shortcuts.merge_tokens as f64, "a whole number from 1 to 8");
        }
        Ok(())
    }
}

/// A picture that someone wants.
#[derive(Debug, Clone, PartialEq)]
pub struct PaintRequest {
    /// What the picture shows, in the user's words.
    pub caption: Option<String>,
    /// What stands where. Repaired: every box inside its canvas.
    pub layout: Option<Layout>,
    /// Takes the place of the method's default negative keywords; the layout's own negative prompt still comes first.
    pub negative: Option<String>,
    /// What it begins with, if not with noise alone.
    pub init: Option<Init>,
    /// How it is sampled.
    pub sampling: Sampling,
}

/// The prompts that a method gave to the text encoder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompts {
    /// Of the whole picture.
    pub overall: String,
    /// What the whole picture must not show.
    pub overall_negative: String,
    /// Of each object painted alone.
    pub objects: Vec<String>,
    /// What an object's picture must not show.
    pub object_negative: String,
}

/// An object as it was painted alone.
#[derive(Debug, Clone)]
pub struct PaintedObject {
    /// The object in words.
    pub name: String,
    /// The box it was painted into, in proportions.
    pub bbox: BBox,
    /// Its picture, if the method was asked for it.
    pub image: Option<Image>,
    /// Its segmentation mask on the latent grid of that picture.
    pub mask: GridMask,
    /// Where it was moved for the whole picture.
    pub shift: Shift,
}

/// How the guidance of a stage went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuidanceReport {
    /// The stage in words.
    pub stage: String,
    /// Updates of the latents.
    pub updates: usize,
    /// The first loss and the last.
    pub first_loss: Option<f32>,
    /// The loss before the last update, or at the last check.
    pub last_loss: Option<f32>,
}

/// A finished picture and how it came about.
#[derive(Debug, Clone)]
pub struct Painting {
    /// The picture.
    pub image: Image,
    /// The objects that were painted alone, in the scene's order.
    pub objects: Vec<PaintedObject>,
    /// The prompts used.
    pub prompts: Prompts,
    /// The sampling settings with the method's scheduler filled in.
    pub sampling: Sampling,
    /// All options of the method, defaults included.
    pub options: serde_json::Value,
    /// How guidance went, stage by stage.
    pub guidance: Vec<GuidanceReport>,
    /// What the person who asked should know.
    pub warnings: Vec<String>,
    /// How long each stage took.
    pub timings: Vec<Timing>,
    /// Every state of its latents, if the run was [asked to keep them](crate::Run::keeping_trajectory).
    pub trajectory: Option<Trajectory>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outside_their_range_are_refused() {
        let good = Sampling::new(Seed(1), 64, 64);
        assert!(good.validate().is_ok());
        for scale in [f64::NAN, -1.0, 1e9] {
            let message =
                Sampling { guidance_scale: scale, ..good.clone() }.validate().map_err(|error| error.to_string());
            assert!(message.as_ref().is_err_and(|message| message.contains("guidance_scale")), "{message:?}");
        }
    }
}
