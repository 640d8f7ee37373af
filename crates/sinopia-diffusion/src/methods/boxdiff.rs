//! BoxDiff: Stable Diffusion whose latents are moved once a step so that phrases fill their boxes, edge to edge.
//!
//! Xie et al. 2023, arXiv 2307.10816, in the form in which LMD compares itself with it, and with the refinement of its own code as an option. Start
//! reading at [`BoxDiff::paint`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sinopia_layout::Grid;
use sinopia_models::denoiser::{AttentionLayer, AttnKey, Denoiser};

use super::one_pass::{OnePass, PromptOptions};
use super::{MAX_ITERATIONS, MAX_STEP, Method, check_values, read_options, rounding, write_options};
use crate::Result;
use crate::guidance::{GuidanceOptions, Guide, GuidedStep, StepSize, stretched};
use crate::losses::{BoxDiffLoss, BoxDiffLossOptions, GroundedTokens, TokenSet, WorstBox};
use crate::observer::{Run, Stage};
use crate::painting::{PaintRequest, Painting};
use crate::pipeline::Pipeline;
use crate::settings::{Group, Setting, described};

/// Which tokens of a phrase are held to its boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlledTokens {
    /// All of them, articles and number words too, as in LMD's code. The loss is a sum, so longer phrases pull harder.
    Phrase,
    /// The noun's last token alone, as people choose it in BoxDiff's own code.
    Word,
}

/// Options of [`BoxDiff`]. The last group deviates from the published behaviour, each with its own switch; [`BoxDiffOptions::reference`] has
/// them all off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BoxDiffOptions {
    /// Length of the first update, in multiples of the loss's gradient.
    #[schemars(range(min = 0), extend("x-group" = Group::Guidance))]
    pub scale_factor: f64,
    /// Square of the last step's length against the first's; in between it falls evenly.
    #[schemars(range(min = 0, max = 1), extend("x-group" = Group::Guidance))]
    pub scale_range_end: f64,
    /// No updates from this step on.
    #[schemars(range(max = MAX_STEP), extend("x-group" = Group::Guidance, "x-unit" = "steps of 50"))]
    pub max_index_step: usize,
    /// Share of the cells inside that should light up and of those outside that should not.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0, "x-group" = Group::Guidance, "x-unit" = "share of the cells"))]
    pub top_p: f64,
    /// Cells on either side of a box's edge in which the phrase's edge is looked for.
    #[schemars(extend("x-group" = Group::Guidance, "x-unit" = "cells"))]
    pub corner_reach: usize,
    /// Which tokens of a phrase are held to its boxes.
    #[schemars(extend("x-group" = Group::Guidance))]
    pub controlled_tokens: ControlledTokens,
    /// Whether the prompt's end token and the padding behind it take no part in the competition for cells.
    ///
    /// BoxDiff's own code has it so for Stable Diffusion 2.
    #[schemars(extend("x-group" = Group::Guidance))]
    pub normalize_eot: bool,
    /// Whether, at some early steps, the worst box is worked on until it is good enough.
    ///
    /// BoxDiff's own code can.
    #[schemars(extend("x-group" = Group::Guidance))]
    pub refine: bool,
    /// Updates of such a refinement at most.
    ///
    /// The value is BoxDiff's own.
    #[schemars(range(max = MAX_ITERATIONS), extend("x-group" = Group::Guidance, "x-unit" = "updates"))]
    pub max_refinement_steps: usize,
    /// At which steps (of 50) a refinement begins, and which share of its brightest cells' attention the worst token must win: `{"0": 0.05, "10": 0.5}`.
    ///
    /// The values are BoxDiff's own.
    #[schemars(extend("patternProperties" = json!({"^\\d+$": {"type": "number", "minimum": 0, "maximum": 1}}), "x-largest-key" = MAX_STEP, "x-group" = Group::Guidance))]
    pub refinement_thresholds: BTreeMap<usize, f64>,
    /// Takes the place of the composed prompt.
    #[schemars(extend("x-group" = Group::Prompts))]
    pub overall_prompt: Option<String>,

    /// Whether boxes too small for the grid get a cell.
    ///
    /// As published they vanish and their phrase is pushed away from everywhere.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub keep_small_boxes: bool,
    /// Whether at least one cell is chosen inside and outside.
    ///
    /// As published, boxes of fewer than five cells choose none; the mean of nothing is not a number, which the code turns into 0 without a word, so that nothing draws
    /// the phrase into its box.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub choose_a_cell: bool,
    /// Whether step numbers, written for 50 steps, are stretched to the number of steps.
    #[schemars(extend("x-group" = Group::Deviations))]
    pub stretch_schedule: bool,
    /// Whether articles are removed from the front of counted names only.
    ///
    /// As published they are removed everywhere: `pandbears`.
    #[schemars(extend("x-group" = Group::Deviations, "x-aliases" = ["fix_plurals"]))]
    pub mend_plurals: bool,
}

impl Default for BoxDiffOptions {
    fn default() -> Self {
        Self {
            keep_small_boxes: true,
            choose_a_cell: true,
            stretch_schedule: true,
            mend_plurals: true,
            ..Self::reference()
        }
    }
}

impl BoxDiffOptions {
    /// The behaviour of LMD's code.
    pub fn reference() -> Self {
        Self {
            scale_factor: 20.0,
            scale_range_end: 0.5,
            max_index_step: 25,
            top_p: 0.2,
            corner_reach: 1,
            controlled_tokens: ControlledTokens::Phrase,
            normalize_eot: false,
            refine: false,
            max_refinement_steps: 20,
            refinement_thresholds: BTreeMap::from([(0, 0.05), (10, 0.5), (20, 0.8)]),
            overall_prompt: None,
            keep_small_boxes: false,
            choose_a_cell: false,
            stretch_schedule: false,
            mend_plurals: false,
        }
    }

    /// One update a step, whatever the loss.
    fn guidance(&self) -> GuidanceOptions {
        GuidanceOptions {
            loss_scale: self.scale_factor,
            loss_threshold: f64::NEG_INFINITY,
            max_iter: vec![1],
            min_index_step: 0,
            max_index_step: self.max_index_step,
            stretches_schedule: self.stretch_schedule,
            refreshes_loss: false,
        }
    }

    /// What the worst inner-box term may be at each of `count` steps, and how many updates may bring it there.
    fn refinement(&self, count: usize) -> (Vec<f64>, GuidanceOptions) {
        let (mut allowed, mut max_iter) = (vec![1.0; count], vec![0; count + 1]);
        for (step, share) in self.refinement_thresholds.iter().filter(|_| self.refine) {
            let index = if self.stretch_schedule { stretched(*step, count) } else { *step };
            if index < count {
                (allowed[index], max_iter[index]) = (1.0 - share, self.max_refinement_steps);
            }
        }
        let options = GuidanceOptions {
            loss_threshold: 0.0,
            max_iter,
            max_index_step: count,
            stretches_schedule: false,
            refreshes_loss: true,
            ..self.guidance()
        };
        (allowed, options)
    }

    fn loss(&self, num_prompt_tokens: usize, window: usize) -> BoxDiffLossOptions {
        let whole = BoxDiffLossOptions::new(window);
        // The start token is position 0, the end token stands behind the prompt's own.
        let end = if self.normalize_eot { num_prompt_tokens + 1 } else { whole.competitors.end };
        BoxDiffLossOptions {
            top_p: self.top_p,
            corner_reach: self.corner_reach,
            competitors: 1..end.min(whole.competitors.end),
            rounding: rounding(self.keep_small_boxes),
            chooses_a_cell: self.choose_a_cell,
        }
    }
}

/// BoxDiff.
#[derive(Debug, Clone)]
pub struct BoxDiff {
    options: BoxDiffOptions,
}

impl BoxDiff {
    /// The name on the command line.
    pub const NAME: &'static str = "boxdiff";

    /// With options.
    ///
    /// # Errors
    /// [`Error::MethodOption`](crate::Error::MethodOption) for a value outside its range.
    pub fn new(options: BoxDiffOptions) -> Result<Self> {
        check_values(Self::NAME, &options)?;
        Ok(Self { options })
    }

    pub(super) fn build(options: Value) -> Result<Box<dyn Method>> {
        Ok(Box::new(Self::new(read_options(Self::NAME, options)?)?))
    }

    pub(super) fn reference() -> Value {
        write_options(&BoxDiffOptions::reference())
    }

    pub(super) fn settings() -> Vec<Setting> {
        described::<BoxDiffOptions>(Self::NAME, &Self::reference())
    }

    /// The phrases with the tokens that are held to their boxes.
    fn controlled(&self, objects: &[GroundedTokens]) -> Vec<GroundedTokens> {
        let controlled = |object: &GroundedTokens| match self.options.controlled_tokens {
            ControlledTokens::Phrase => object.clone(),
            ControlledTokens::Word => GroundedTokens { positions: vec![object.word], ..object.clone() },
        };
        objects.iter().map(controlled).collect()
    }
}

impl Method for BoxDiff {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn options(&self) -> Value {
        write_options(&self.options)
    }

    fn paint(&self, request: &PaintRequest, pipeline: &Pipeline, run: &Run) -> Result<Painting> {
        let options = &self.options;
        let prompt = PromptOptions {
            method: Self::NAME,
            overall_prompt: options.overall_prompt.clone(),
            fixes_plurals: options.mend_plurals,
        };
        let pass = OnePass::new(prompt, request, pipeline, run)?;

        let (denoiser, text) = (pipeline.denoiser(), &pass.prompt.text);
        let keys = boxdiff_keys(denoiser);
        let grid = pass.grids(&keys).values().next().copied().unwrap_or(Grid::new(1, 1));
        let first = text.conditional().first_word_column();
        let window = text.conditional().num_tokens() - first;
        let objects = self.controlled(&pass.prompt.tokens);
        let tokens = TokenSet::window(first..first + window, &objects);
        let loss_options = options.loss(pass.prompt.num_tokens, window);
        let in_window: Vec<_> = objects.iter().map(|object| object.moved_back(first)).collect();
        let loss = BoxDiffLoss::new(&in_window, &tokens, &keys, grid, &loss_options);
        let (allowed, refinement) = options.refinement(request.sampling.num_inference_steps);
        let worst = WorstBox::new(loss.clone(), allowed);

        let step_size = StepSize::Declining { end: options.scale_range_end };
        let guide = |options, stage| Guide::new(denoiser, &keys, &tokens, options, stage).with_step_size(step_size);
        let mut refine = guide(refinement, "refining the worst box".to_owned());
        let mut guide = guide(options.guidance(), Stage::Picture.to_string());
        let latents = pass.paint(|latents, index, sampler| {
            let step = GuidedStep { index, sampler, text, loss: &worst };
            let latents = refine.update(latents, &step, run)?;
            let latents = guide.update(latents, &GuidedStep { loss: &loss, ..step }, run)?;
            Ok((latents, guide.last_loss()))
        })?;
        let refined = options.refine.then(|| refine.report());
        pass.finish(&latents, self.options(), refined.into_iter().chain([guide.report()]).collect())
    }
}

/// The layers whose attention BoxDiff moves: all on the grid of the first up block with attention.
///
/// In Stable Diffusion 1 and 2 those are the five of 16×16, `down.2.0`, `down.2.1`, `up.1.0`, `up.1.1` and `up.1.2`. A UNet without attention on its
/// way up, or another denoiser, has those of the grid of its [object-mask key](Denoiser::object_mask_key).
fn boxdiff_keys(denoiser: &dyn Denoiser) -> Vec<AttnKey> {
    // On a large grid no two levels round to the same size.
    let layers = denoiser.attention_layers(Grid::new(1 << 12, 1 << 12));
    let is_up = |layer: &&AttentionLayer| matches!(layer.key, AttnKey::Up { .. });
    let mask_key = denoiser.object_mask_key();
    let model = layers.iter().find(is_up).or_else(|| layers.iter().find(|layer| layer.key == mask_key));
    let is_wanted = |layer: &&AttentionLayer| model.is_some_and(|model| model.grid == layer.grid);
    layers.iter().filter(is_wanted).map(|layer| layer.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refinement_comes_at_its_steps_of_runs_of_any_length() {
        let options = BoxDiffOptions { refine: true, ..BoxDiffOptions::default() };
        let steps = |count: usize| {
            let (allowed, guidance) = options.refinement(count);
            let steps = (0..count).filter(|index| guidance.iterations(*index, count) > 0);
            steps.map(|index| (index, allowed[index])).collect::<Vec<_>>()
        };
        let allowed = [0.95, 0.5, 1.0 - 0.8];
        assert_eq!(steps(50), [(0, allowed[0]), (10, allowed[1]), (20, allowed[2])]);
        assert_eq!(steps(25), [(0, allowed[0]), (5, allowed[1]), (10, allowed[2])]);
        let own = BoxDiffOptions { stretch_schedule: false, ..options.clone() };
        assert_eq!(own.refinement(15).1.max_iter.iter().sum::<usize>(), 40);
        assert_eq!(BoxDiffOptions::default().refinement(50).1.max_iter.iter().sum::<usize>(), 0);
    }

    #[test]
    fn one_update_a_step_in_the_first_half() {
        let guidance = BoxDiffOptions::default().guidance();
        assert_eq!((0..50).map(|index| guidance.iterations(index, 50)).sum::<usize>(), 25);
        assert_eq!((0..10).map(|index| guidance.iterations(index, 10)).sum::<usize>(), 5);
    }

    #[test]
    fn all_but_the_first_and_last_position_compete_or_only_the_prompts_own() {
        let options = BoxDiffOptions::default();
        assert_eq!(options.loss(9, 77).competitors, 1..76);
        let own = BoxDiffOptions { normalize_eot: true, ..options };
        assert_eq!(own.loss(9, 77).competitors, 1..10);
        assert_eq!(own.loss(200, 77).competitors, 1..76);
    }
}
