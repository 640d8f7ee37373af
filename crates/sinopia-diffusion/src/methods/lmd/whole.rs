//! Stage 4: the whole picture, its objects frozen at first, its attention guided into the boxes.

use candle_core::Tensor;

use super::scene_context::SceneContext;
use super::solo::Solo;
use crate::Result;
use crate::collage::Collage;
use crate::guidance::{Guide, GuidedStep};
use crate::losses::{AttentionTransfer, BoxLoss, LossSum, TokenSet, TransferOptions};
use crate::noise::NoiseSource;
use crate::observer::Stage;
use crate::painting::GuidanceReport;
use crate::pipeline::FinishedStep;
use crate::prompts::GroundedText;

impl SceneContext<'_> {
    /// Stage 4: the whole picture.
    pub(super) fn paint_scene(
        &self,
        prompt: &GroundedText,
        collage: &Collage,
        solos: &[Solo],
    ) -> Result<(Tensor, GuidanceReport)> {
        let options = self.options();
        let token_set = TokenSet::of(&prompt.tokens);
        let loss = self.scene_loss(prompt, &token_set, solos)?;
        let stage = Stage::Picture;
        let mut guide = Guide::new(
            self.pipeline.denoiser(),
            &self.keys(),
            &token_set,
            options.overall_guidance(),
            stage.to_string(),
        );
        let mut noise = NoiseSource::new(self.seeds.bg_seed);
        noise.draw(self.plan.size, self.pipeline.device())?; // the start was drawn before; what follows goes on from there
        let mut sampler = self.sampler(noise)?;
        let num_frozen = options.num_frozen_steps(sampler.num_calls());

        let mut latents = collage.start().clone(); // (1, H, W, C)
        self.run.keep_state(&latents);
        self.run.stage(&stage, || {
            for index in 0..sampler.num_calls() {
                self.run.check()?;
                let mut now = latents.clone();
                if !prompt.tokens.is_empty() {
                    let step = GuidedStep { index, sampler: &sampler, text: &prompt.text, loss: &loss };
                    now = guide.update(now, &step, self.run)?;
                }
                now = sampler.denoise(&now, index, &prompt.text, None)?.latents;
                if index < num_frozen {
                    now = collage.restore_foreground(now, index)?;
                }
                latents = now;
                self.run.keep_state(&latents);
                let step = FinishedStep { stage: &stage, index, loss: guide.last_loss(), latents: &latents };
                sampler.report(&step, self.run)?;
            }
            Ok(())
        })?;
        Ok((latents, guide.report()))
    }

    /// The box loss, and the attention transfer if it is wanted.
    fn scene_loss(&self, prompt: &GroundedText, tokens: &TokenSet, solos: &[Solo]) -> Result<LossSum<'static>> {
        let options = self.options();
        let weights: Vec<f64> = prompt.objects.iter().map(|objects| self.object_weights[objects.start]).collect();
        let boxes = BoxLoss::new(&prompt.tokens, tokens, &self.grids, options.overall_loss()).with_weights(&weights);
        let loss = LossSum::default().plus(boxes);
        if !options.use_ref_ca || options.ref_ca_loss_weight == 0.0 || solos.is_empty() {
            return Ok(loss);
        }
        let of_objects = prompt.objects.iter().flat_map(|objects| solos[objects.clone()].iter());
        let references = of_objects.map(|solo| solo.reference.clone()).collect();
        let transfer = TransferOptions { rounding: options.rounding(), weight: options.ref_ca_loss_weight };
        let transfer = AttentionTransfer::new(references, tokens, &self.grids, transfer, self.pipeline.device())?;
        Ok(loss.plus(transfer))
    }
}
