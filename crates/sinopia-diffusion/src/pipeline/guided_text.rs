//! A prompt and what it is weighed against, ready for the denoiser.

use std::sync::Arc;

use sinopia_models::unet::Grounding;

use super::Pipeline;
use crate::Result;
use crate::conditioning::Conditioning;
use crate::grounding::{GroundingOptions, ScheduledGrounding, Slot, slots_that_fit};
use crate::observer::Run;
use crate::painting::Sampling;

/// A prompt and what it is weighed against, ready for the denoiser; for models with grounding adapters perhaps with boxes.
#[derive(Debug)]
pub struct GuidedText {
    /// What classifier-free guidance weighs against: (B, L, D); none without guidance.
    pub(super) unconditional: Option<Arc<Conditioning>>,
    pub(super) conditional: Arc<Conditioning>,
    /// [unconditional, conditional] as one batch, unless their numbers of tokens differ.
    pub(super) both: Option<Arc<Conditioning>>,
    /// Whether these are several prompts, which one call of the denoiser serves best.
    pub(super) is_batch: bool,
    pub(super) guidance_scale: f64,
    pub(super) guidance_rescale: f64,
    pub(super) grounding: Option<ScheduledGrounding>,
}

impl GuidedText {
    /// The same prompt with boxes for the grounding adapters. Without a box their slots are all empty, which is not the same as no grounding.
    ///
    /// # Errors
    /// When the text encoder refuses.
    pub fn grounded(self, slots: &[Slot], options: GroundingOptions, pipeline: &Pipeline, run: &Run) -> Result<Self> {
        let slots = slots_that_fit(slots, run);
        let phrases: Vec<&str> = slots.iter().map(|slot| slot.phrase.as_str()).collect();
        let states = pipeline.encode_phrases(&phrases, run)?; // (N, D)
        let grounding = ScheduledGrounding::new(slots, &states, options, self.is_guided())?;
        Ok(Self { grounding: Some(grounding), ..self })
    }

    /// The boxes for a guidance pass at call `index` of `count`.
    pub(crate) fn guidance_grounding(&self, index: usize, count: usize) -> Option<&Grounding> {
        self.grounding.as_ref()?.of_guidance_at(index, count)
    }

    /// A prompt against a negative one, if there is guidance.
    pub(super) fn pair(
        conditional: Arc<Conditioning>,
        unconditional: Option<Arc<Conditioning>>,
        sampling: &Sampling,
    ) -> Result<Self> {
        let both = match &unconditional {
            Some(unconditional) if unconditional.num_tokens() == conditional.num_tokens() => {
                Some(Arc::new(Conditioning::batch(vec![unconditional.clone(), conditional.clone()])?))
            }
            _ => None,
        };
        Ok(Self {
            unconditional,
            conditional,
            both,
            is_batch: false,
            guidance_scale: sampling.guidance_scale,
            guidance_rescale: sampling.guidance_rescale,
            grounding: None,
        })
    }

    /// The prompt alone, for guidance passes.
    pub fn conditional(&self) -> &Conditioning {
        &self.conditional
    }

    /// Several prompts as a batch: what they are weighed against first, then the prompts. Strength is the first one's; boxes are left out.
    ///
    /// # Errors
    /// When there is none, or the prompts' lengths differ, or those of what they are weighed against.
    pub fn batch(texts: &[&GuidedText]) -> Result<Self> {
        let conditional = || texts.iter().map(|text| text.conditional.clone());
        let unconditional = || texts.iter().filter_map(|text| text.unconditional.clone());
        let is_guided = unconditional().next().is_some();
        let first = texts.first();
        let lengths = |text: &&GuidedText| text.unconditional.as_ref().map(|text| text.num_tokens());
        let fit = first.is_some_and(|first| lengths(first) == Some(first.conditional.num_tokens()));
        let both = if fit { Some(Conditioning::batch(unconditional().chain(conditional()).collect())?) } else { None };
        let unconditional = is_guided.then(|| Conditioning::batch(unconditional().collect())).transpose()?;
        Ok(Self {
            unconditional: unconditional.map(Arc::new),
            conditional: Arc::new(Conditioning::batch(conditional().collect())?),
            both: both.map(Arc::new),
            is_batch: true,
            guidance_scale: first.map_or(1.0, |text| text.guidance_scale),
            guidance_rescale: first.map_or(0.0, |text| text.guidance_rescale),
            grounding: None,
        })
    }

    /// Whether classifier-free guidance is on.
    pub fn is_guided(&self) -> bool {
        self.unconditional.is_some()
    }
}
