//! Stages 1 and 2 for one object that is added to a picture painted before.

use candle_core::Tensor;
use sinopia_layout::{BBox, Layout, LayoutObject};

use super::scene_context::SceneContext;
use super::{Lmd, LmdOptions};
use crate::Result;
use crate::collage::Cutout;
use crate::methods::lmd_plus::{LmdPlus, LmdPlusOptions};
use crate::observer::Run;
use crate::painting::{PaintRequest, Sampling};
use crate::pipeline::Pipeline;

/// An object to be painted alone, and the picture that it is for.
#[derive(Debug)]
pub(crate) struct LoneObject<'a> {
    /// In words.
    pub(crate) phrase: &'a str,
    /// Where it is to stand.
    pub(crate) bbox: &'a BBox,
    /// The picture's layout: its canvas, what surrounds the object, and what must not be seen.
    pub(crate) layout: &'a Layout,
    /// The picture's negative keywords, where they replace the default ones.
    pub(crate) negative: Option<&'a str>,
    /// As the picture was sampled; the seed is the object's.
    pub(crate) sampling: &'a Sampling,
    /// The noise around the object, in the scheduler's scale: (1, H, W, C).
    pub(crate) noise: &'a Tensor,
    /// The share of its own noise in its box, 0..=1.
    pub(crate) own_noise: f64,
}

impl LoneObject<'_> {
    /// Painted alone by LMD, or LMD+ where the model has adapters, cut out and moved to its box.
    ///
    /// # Errors
    /// As painting by these methods.
    pub(crate) fn paint(&self, pipeline: &Pipeline, run: &Run) -> Result<Cutout> {
        let lmd = self.method(pipeline)?;
        let object = LayoutObject { phrase: self.phrase.to_owned(), bbox: self.bbox.to_pixels(self.layout.canvas) };
        let request = PaintRequest {
            layout: Some(Layout { objects: vec![object], ..self.layout.clone() }),
            negative: self.negative.map(str::to_owned),
            caption: None,
            init: None,
            sampling: self.sampling.clone(),
        };
        let scene = lmd.compose_scene(&request)?;
        let context = SceneContext::new(&lmd, &scene, &request, pipeline, run)?;
        let prompts = context.read_prompts(&scene, &request)?;
        let solo = context.paint_solos(&scene, self.noise, &prompts)?.swap_remove(0);
        Ok(solo.cutout)
    }

    fn method(&self, pipeline: &Pipeline) -> Result<Lmd> {
        // Nothing but its states is used of it, and its mask.
        let with = |lmd: LmdOptions| LmdOptions {
            fg_blending_ratio: self.own_noise,
            object_images: false,
            use_ref_ca: false,
            ..lmd
        };
        if !pipeline.denoiser().has_grounding_adapters() {
            return Lmd::new(with(LmdOptions::default()));
        }
        let options = LmdPlusOptions::default();
        Ok(LmdPlus::new(LmdPlusOptions { lmd: with(options.lmd), ..options })?.into_lmd())
    }
}
