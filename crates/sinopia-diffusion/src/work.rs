//! How much work the denoiser had in a run: multiply-accumulates, by what they were for and by part of the network.

use std::collections::BTreeMap;

use serde::Serialize;
use sinopia_layout::Grid;
use sinopia_models::denoiser::{CallShape, NetworkCost, NetworkPart, TextConditioning};
use sinopia_models::unet::{Grounding, GroundingShape};

/// The denoiser's work in a run. Counted from shapes, so it depends on no machine and can be compared between methods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DenoiserWork {
    /// Denoising steps, both halves of classifier-free guidance.
    pub sampling: WorkCount,
    /// Guidance on its way to the attention maps.
    pub guidance_forward: WorkCount,
    /// Guidance on its way back to the latents, with what had to be computed once more.
    pub guidance_backward: WorkCount,
}

/// Work for one purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WorkCount {
    /// Calls of the network, whatever the batch.
    pub calls: u64,
    /// Multiply-accumulates in all.
    pub multiply_accumulates: u64,
    /// Of these in each part of the network.
    pub parts: BTreeMap<NetworkPart, u64>,
}

impl WorkCount {
    /// One call more.
    pub fn add(&mut self, cost: &NetworkCost) {
        self.calls += 1;
        self.multiply_accumulates += cost.total();
        cost.parts().for_each(|(part, work)| *self.parts.entry(part).or_default() += work);
    }

    fn join(&mut self, other: &Self) {
        self.calls += other.calls;
        self.multiply_accumulates += other.multiply_accumulates;
        other.parts.iter().for_each(|(part, work)| *self.parts.entry(*part).or_default() += work);
    }
}

impl DenoiserWork {
    /// Multiply-accumulates of everything.
    pub fn total(&self) -> u64 {
        [&self.sampling, &self.guidance_forward, &self.guidance_backward]
            .map(|count| count.multiply_accumulates)
            .iter()
            .sum()
    }

    /// Adds what another part of the run did.
    pub fn join(&mut self, other: &Self) {
        self.sampling.join(&other.sampling);
        self.guidance_forward.join(&other.guidance_forward);
        self.guidance_backward.join(&other.guidance_backward);
    }
}

/// The shapes of a call on one picture's latents of a grid, before it is made: afterwards text and boxes are projected.
pub(crate) fn call_shape(latents: Grid, text: &TextConditioning, grounding: Option<&Grounding>) -> CallShape {
    CallShape {
        projects_text: !text.is_projected(),
        grounding: grounding.map(GroundingShape::from),
        ..CallShape::new(latents, text.num_tokens())
    }
}
