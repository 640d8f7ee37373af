//! Grounding: conditioning on boxes for models with GLIGEN's adapters, which phrase stands where and for how many steps the adapters are on.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinopia_layout::{BBox, Scene, excerpt};
use sinopia_models::unet::{Grounding, GroundingWiring};

use crate::Result;
use crate::observer::{Run, SHOWN_CHARS};

/// A box and what should stand in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// In words; the text encoder reads them on their own, not in a prompt.
    pub phrase: String,
    /// Where, in proportions.
    pub bbox: BBox,
}

/// What is written into an object's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotPhrase {
    /// Its name, as the adapters were trained: `a white cat`.
    Name,
    /// The prompt with which it would be painted alone: `A realistic scene with a white cat`.
    ObjectPrompt,
    /// Its phrase in the whole picture's prompt: `two white cats` in each of the two slots.
    OverallPhrase,
}

/// What guidance passes, which have the conditional text alone, are conditioned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuidanceGrounding {
    /// The boxes, as the conditional half of a denoising step.
    #[default]
    Conditional,
    /// Empty slots, as the unconditional half.
    Unconditional,
    /// Nothing: the adapters are off.
    None,
}

/// How boxes reach the adapters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroundingOptions {
    /// Share of the calls, from the first on, at which the adapters are on: scheduled sampling.
    pub beta: f64,
    /// What guidance passes are conditioned on.
    pub guidance: GuidanceGrounding,
    /// How the adapters are wired.
    pub wiring: GroundingWiring,
}

/// The boxes of one picture, ready for the denoiser.
#[derive(Debug)]
pub struct ScheduledGrounding {
    /// [empty, the boxes] under classifier-free guidance, else the boxes alone.
    both: Grounding,
    /// The conditional half alone.
    conditional: Grounding,
    /// The unconditional half alone.
    unconditional: Grounding,
    /// For guidance passes, which have a batch of 1.
    guidance: Option<Grounding>,
    beta: f64,
}

/// Every object of a scene in its place.
pub fn slots(scene: &Scene, phrase: SlotPhrase) -> Vec<Slot> {
    let overall = |index: usize| {
        let phrases = &scene.overall().phrases;
        phrases.iter().find(|phrase| phrase.objects.contains(&index)).map(|phrase| phrase.text.clone())
    };
    let objects = scene.objects().iter().enumerate();
    let slot = objects.map(|(index, object)| Slot {
        phrase: match phrase {
            SlotPhrase::Name => object.name().to_owned(),
            SlotPhrase::ObjectPrompt => object.prompt().text.clone(),
            SlotPhrase::OverallPhrase => overall(index).unwrap_or_else(|| object.name().to_owned()),
        },
        bbox: *object.bbox(),
    });
    slot.collect()
}

/// The slots that the adapters have room for; those beyond are left out, with a warning.
pub(crate) fn slots_that_fit<'a>(slots: &'a [Slot], run: &Run) -> &'a [Slot] {
    let (kept, left_out) = slots.split_at(slots.len().min(Grounding::SLOTS));
    if !left_out.is_empty() {
        let names: Vec<String> = left_out.iter().map(|slot| format!("`{}`", slot.phrase)).collect();
        run.warn(format!(
            "the model can be conditioned on {} boxes: the place of {} is not grounded",
            Grounding::SLOTS,
            excerpt(&names.join(", "), SHOWN_CHARS)
        ));
    }
    kept
}

impl ScheduledGrounding {
    /// From slots and the text encoder's states of their phrases (N, D); `is_guided` says whether denoising steps have an unconditional half.
    ///
    /// # Errors
    /// When the numbers of slots and states disagree, or there are more than the adapters have room for.
    pub fn new(slots: &[Slot], phrases: &Tensor, options: GroundingOptions, is_guided: bool) -> Result<Self> {
        let corners = |slot: &Slot| {
            let (x0, y0, x1, y1) = slot.bbox.corners();
            [x0 as f32, y0 as f32, x1 as f32, y1 as f32]
        };
        let boxes: Vec<[f32; 4]> = slots.iter().map(corners).collect();
        let conditional = Grounding::of_boxes(&boxes, phrases)?.wired(options.wiring);
        let both = if is_guided { conditional.with_unconditional()? } else { conditional };
        let guidance = match options.guidance {
            GuidanceGrounding::Conditional => Some(both.last()?),
            GuidanceGrounding::Unconditional => Some(both.last()?.emptied()?),
            GuidanceGrounding::None => None,
        };
        let conditional = both.last()?;
        let unconditional = conditional.emptied()?;
        Ok(Self { conditional, unconditional, both, guidance, beta: options.beta })
    }

    /// What a denoising step sees at call `index` of `count`, with an unconditional half or without; nothing once the share of grounded
    /// calls, rounded down, is over.
    pub(crate) fn at(&self, index: usize, count: usize, is_guided: bool) -> Option<&Grounding> {
        self.is_on(index, count).then_some(if is_guided { &self.both } else { &self.conditional })
    }

    /// The halves of guidance there, unconditional first, for calls of their own.
    pub(crate) fn halves_at(&self, index: usize, count: usize) -> Option<[&Grounding; 2]> {
        self.is_on(index, count).then_some([&self.unconditional, &self.conditional])
    }

    /// What a guidance pass sees there.
    pub(crate) fn of_guidance_at(&self, index: usize, count: usize) -> Option<&Grounding> {
        self.guidance.as_ref().filter(|_| self.is_on(index, count))
    }

    fn is_on(&self, index: usize, count: usize) -> bool {
        index < num_grounding_steps(self.beta, count)
    }
}

/// `⌊beta · count⌋`, where multistep schedulers count each of their calls.
fn num_grounding_steps(beta: f64, count: usize) -> usize {
    (beta * count as f64) as usize
}

/// The wiring that the option `reground` asks for.
pub(crate) fn wiring(reground: bool) -> GroundingWiring {
    if reground { GroundingWiring::Parallel } else { GroundingWiring::Sequential }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::parse::parse_answer;

    use super::*;

    #[test]
    fn the_share_of_grounded_steps_is_rounded_down() {
        for (beta, count, expected) in
            [(0.4, 50, 20), (0.3, 50, 15), (0.3, 5, 1), (0.7, 6, 4), (1.0, 7, 7), (0.0, 9, 0)]
        {
            assert_eq!(num_grounding_steps(beta, count), expected, "{beta} of {count}");
        }
    }

    #[test]
    fn each_object_has_a_slot_with_its_phrase() {
        let answer = "[('a white cat', [0, 0, 64, 64]), ('a dog', [64, 0, 64, 64]), ('a white cat', [128, 0, 64, 64])]\n\
            Background prompt: A park\nNegative prompt: ";
        let scene = Scene::compose(&parse_answer(answer).unwrap()).unwrap();
        let phrases = |kind| slots(&scene, kind).into_iter().map(|slot| slot.phrase).collect::<Vec<_>>();
        assert_eq!(phrases(SlotPhrase::Name), ["a dog", "a white cat", "a white cat"]);
        assert_eq!(phrases(SlotPhrase::OverallPhrase), ["a dog", "two white cats", "two white cats"]);
        assert_eq!(phrases(SlotPhrase::ObjectPrompt)[1], "A park with a white cat");
        assert_eq!(slots(&scene, SlotPhrase::Name)[0].bbox.corners(), (0.125, 0.0, 0.25, 0.125));
    }
}
