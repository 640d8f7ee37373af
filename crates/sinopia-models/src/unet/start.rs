//! What calls have in common that see the same latents at the same timestep: the beginning of a pass, run once for all of them.
//!
//! No numbers are compared: a network knows from how it is built where text, boxes and erasers come in, and up to there calls that differ in those alone are the
//! same call. That they see the very tensors that the beginning was made of is checked.

use candle_core::{Tensor, TensorId};

use super::conditions::Conditions;
use super::transformer::Outcome;
use super::unit::{UnitKind, Visit};
use super::{AttnKey, DenoiserRequest, GroundingWiring, UNet2DConditionModel};
use crate::{Result, cancellation};

/// In what calls differ that see the same latents at the same timestep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// In their texts and boxes, as the halves of classifier-free guidance do: they part at the first transformer, behind its first self-attention.
    Text,
    /// In their erasers alone: they part at the first transformer on the way up.
    Eraser,
}

/// The beginning of a pass that several calls have in common.
#[derive(Debug, Clone)]
pub struct SharedStart {
    pub(super) parting: Parting,
    /// The walk before the unit that they part in.
    pub(super) position: Position,
    /// How far they are one in that unit: (B, HW, C); `None` if they part before it.
    pub(super) seen: Option<Tensor>,
    /// The timestep's embedding, activated: (1, T).
    pub(super) time: Tensor,
    /// What it was made of.
    pub(super) origin: Origin,
}

/// What a start was made of: the very tensors, not others of their shapes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Origin {
    latents: TensorId,
    timestep: f64,
    merge_tokens: usize,
    /// What the beginning has seen besides, where calls part behind it.
    seen: Option<Seen>,
}

/// Text and boxes that a beginning has seen.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    text: TensorId,
    /// Boxes, phrases and mask.
    boxes: Option<([TensorId; 3], GroundingWiring)>,
}

impl Origin {
    /// That a start of this request has for calls that differ in `parting`.
    pub(super) fn of(request: &DenoiserRequest, parting: Parting) -> Self {
        let boxes = request.grounding.map(|grounding| (grounding.ids(), grounding.wiring()));
        let seen = Seen { text: request.text.embeds().id(), boxes };
        Self {
            latents: request.latents.id(),
            timestep: request.timestep,
            merge_tokens: request.merge_tokens,
            seen: (parting == Parting::Eraser).then_some(seen),
        }
    }
}

/// Where a walk through the units stands.
#[derive(Debug, Clone)]
pub(super) struct Position {
    /// The unit that is run next.
    pub(super) unit: usize,
    /// What it is given: (B, H, W, C).
    pub(super) hidden: Tensor,
    /// Skip connections that nothing has taken yet: (B, H', W', C') each.
    pub(super) skips: Vec<Tensor>,
}

impl Position {
    /// Before the first unit, with latents (B, H, W, C).
    pub(super) fn first(latents: &Tensor) -> Self {
        Self { unit: 0, hidden: latents.clone(), skips: Vec::new() }
    }
}

impl SharedStart {
    /// The walk for `copies` texts a picture, all pictures for one text after all pictures for another.
    pub(super) fn spread(&self, copies: usize) -> sinopia_nn::Result<(Position, Option<Tensor>)> {
        let spread = |x: &Tensor| match copies {
            1 => Ok::<_, sinopia_nn::Error>(x.clone()),
            _ => Ok(Tensor::cat(&vec![x; copies], 0)?),
        };
        let Position { unit, hidden, skips } = &self.position;
        let skips = skips.iter().map(spread).collect::<sinopia_nn::Result<_>>()?;
        let position = Position { unit: *unit, hidden: spread(hidden)?, skips };
        Ok((position, self.seen.as_ref().map(spread).transpose()?))
    }
}

impl UNet2DConditionModel {
    /// The beginning that calls as `request` have in common which differ in `parting`; `None` if they have none. Where they differ in their texts, the request's
    /// may be as many as one likes.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn shared_start(&self, request: &DenoiserRequest, parting: Parting) -> Result<Option<SharedStart>> {
        // Where something is erased nothing is merged, on the way down neither.
        let merges = parting == Parting::Eraser && request.merge_tokens > 1;
        let Some(unit) = self.parting_unit(parting).filter(|_| !merges) else { return Ok(None) };
        let plan = match parting {
            Parting::Text => self.check_parts(request)?,
            Parting::Eraser => self.check(request)?,
        };
        let conditions = self.conditions(request, &plan)?;
        let run = |visit: Visit| self.run(visit, &conditions);
        let position = self.walk_to(unit, request.latents, request.cancellation, run)?;
        cancellation::check(request.cancellation)?;
        let seen = match parting {
            Parting::Text => self.units[unit].start(&position.hidden, &conditions)?,
            Parting::Eraser => None,
        };
        Ok(Some(SharedStart { parting, position, seen, time: conditions.time, origin: Origin::of(request, parting) }))
    }

    /// The unit in which calls part. What is added to the timestep's embedding with a text makes them differ from the first residual block on.
    fn parting_unit(&self, parting: Parting) -> Option<usize> {
        let parts = |kind: &UnitKind| match (kind, parting) {
            (UnitKind::Transformer(_), Parting::Text) => true,
            (UnitKind::Transformer(transformer), Parting::Eraser) => {
                transformer.keys().any(|key| matches!(key, AttnKey::Up { .. }))
            }
            _ => false,
        };
        let unit = self.units.iter().position(|unit| parts(&unit.kind))?;
        let is_one = parting == Parting::Eraser || self.added_text_width().is_none();
        (is_one && unit <= self.last_layer()).then_some(unit)
    }

    /// Runs a unit.
    pub(super) fn run(&self, visit: Visit, conditions: &Conditions) -> sinopia_nn::Result<Outcome> {
        self.units[visit.unit].forward(visit.inputs, visit.skip_grid, conditions)
    }
}
