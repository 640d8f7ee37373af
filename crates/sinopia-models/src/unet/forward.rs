//! The forward pass: a walk through the units, ended early where nothing behind is wanted.

use candle_core::{DType, Tensor};
use sinopia_layout::Grid;

use super::conditions::{Conditions, Windows};
use super::request::Plan;
use super::start::{Origin, Position};
use super::transformer::Outcome;
use super::unit::{Unit, Visit};
use super::{AttnKey, AttnMaps, DenoiserReply, DenoiserRequest, Parting, UNet2DConditionModel};
use crate::{CancellationToken, Error, Result, cancellation};

/// Where a walk ended.
pub(super) struct Walk {
    /// (B, H, W, C); `None` if the walk stopped early.
    pub(super) prediction: Option<Tensor>,
    pub(super) maps: AttnMaps,
    /// The input of the last layer.
    pub(super) deep: Option<Tensor>,
    /// Skip connections that nothing has taken yet.
    pub(super) num_open_skips: usize,
}

impl UNet2DConditionModel {
    /// Predicts the noise (or velocity, as the model was trained) and records what `request` asks for.
    ///
    /// Differentiable: if the latents are tracked, noise and maps carry their gradient. For guidance
    /// [`gradient`](Self::gradient) needs far less memory.
    ///
    /// # Errors
    /// [`Error::Input`] if latents, text, keys or tokens do not fit the network or each other; [`Error::Cancelled`].
    pub fn forward(&self, request: &DenoiserRequest) -> Result<DenoiserReply> {
        let plan = self.check(request)?;
        let conditions = self.conditions(request, &plan)?;
        if let Some(deep) = request.deep {
            return self.forward_shallow(request, deep, &conditions);
        }
        let (position, mut seen) = match request.start {
            None => (Position::first(request.latents), None),
            Some(start) => start.spread(request.text.batch_size() / request.latents.dims()[0])?,
        };
        let run = |visit: Visit| match seen.take() {
            Some(seen) => self.units[visit.unit].forward_from(visit.inputs, seen, &conditions),
            None => self.run(visit, &conditions),
        };
        let Walk { prediction, maps, deep, .. } = self.walk(position, request.cancellation, run)?;
        Ok(DenoiserReply { prediction, maps, deep })
    }

    /// The first unit, and from the one that takes its skip connection on the last ones.
    fn forward_shallow(
        &self,
        request: &DenoiserRequest,
        deep: &Tensor,
        conditions: &Conditions,
    ) -> Result<DenoiserReply> {
        if request.record.is_some() || request.last_key.is_some() {
            let (expected, found) = ("no keys to record".to_owned(), "some".to_owned());
            return Err(Error::Input { what: "a call with deep features", expected, found });
        }
        let run = |unit: usize, inputs: &[Tensor]| -> Result<Option<Tensor>> {
            cancellation::check(request.cancellation)?;
            Ok(self.units[unit].forward(inputs, None, conditions)?.hidden)
        };
        let skip = run(0, std::slice::from_ref(request.latents))?;
        let mut inputs: Vec<Tensor> = std::iter::once(deep.clone()).chain(skip).collect();
        for unit in self.last_layer()..self.units.len() {
            inputs = run(unit, &inputs)?.into_iter().collect();
        }
        Ok(DenoiserReply { prediction: inputs.pop(), maps: AttnMaps::new(), deep: Some(deep.clone()) })
    }

    /// The last unit that takes a skip connection.
    pub(super) fn last_layer(&self) -> usize {
        self.units.iter().rposition(|unit| unit.takes_skip).unwrap_or(0)
    }

    /// Has unit after unit run by `run`, from where a walk stands on.
    pub(super) fn walk(
        &self,
        from: Position,
        cancellation: Option<&CancellationToken>,
        mut run: impl FnMut(Visit) -> sinopia_nn::Result<Outcome>,
    ) -> Result<Walk> {
        let mut position = from;
        let (mut maps, mut deep) = (AttnMaps::new(), None);
        let last_layer = self.last_layer();
        while position.unit < self.units.len() {
            if position.unit == last_layer {
                deep = Some(position.hidden.clone());
            }
            cancellation::check(cancellation)?;
            let (outcome_maps, ended) = self.step(&mut position, &mut run)?;
            maps.extend(outcome_maps);
            if ended {
                return Ok(Walk { prediction: None, maps, deep, num_open_skips: position.skips.len() });
            }
        }
        Ok(Walk { prediction: Some(position.hidden), maps, deep, num_open_skips: position.skips.len() })
    }

    /// Has the units before `end` run by `run`, none of which is a pass's last.
    pub(super) fn walk_to(
        &self,
        end: usize,
        latents: &Tensor,
        cancellation: Option<&CancellationToken>,
        mut run: impl FnMut(Visit) -> sinopia_nn::Result<Outcome>,
    ) -> Result<Position> {
        let mut position = Position::first(latents);
        while position.unit < end {
            cancellation::check(cancellation)?;
            self.step(&mut position, &mut run)?;
        }
        Ok(position)
    }

    /// Has one unit run: its maps, and whether the pass ended in it.
    fn step(
        &self,
        position: &mut Position,
        run: &mut impl FnMut(Visit) -> sinopia_nn::Result<Outcome>,
    ) -> sinopia_nn::Result<(Vec<(AttnKey, Tensor)>, bool)> {
        let (index, unit) = (position.unit, &self.units[position.unit]);
        let mut inputs = vec![position.hidden.clone()]; // (B, H, W, C) each
        if unit.takes_skip {
            inputs.extend(position.skips.pop());
        }
        let skip_grid = position.skips.last().map(|skip| (skip.dims()[1], skip.dims()[2]));
        let Outcome { hidden, maps } = run(Visit { unit: index, inputs: &inputs, skip_grid })?;
        let Some(output) = hidden else { return Ok((maps, true)) };
        if unit.keeps_skip {
            position.skips.push(output.clone());
        }
        (position.unit, position.hidden) = (index + 1, output);
        Ok((maps, false))
    }

    /// What is the same for all units.
    pub(super) fn conditions<'a>(&self, request: &DenoiserRequest<'a>, plan: &'a Plan<'a>) -> Result<Conditions<'a>> {
        let time = match request.start {
            Some(start) => start.time.clone(),
            None => self.time_embedding.activated(request.timestep, request.text.added(), request.latents.device())?,
        };
        let grounding = match request.grounding {
            Some(grounding) => Some((self.grounding_tokens(grounding)?, grounding)),
            None => None,
        };
        let (_, h, w, _) = request.latents.dims4()?;
        let merging = Windows::new(Grid::new(h, w), request.merge_tokens).filter(|_| request.eraser.is_none());
        Ok(Conditions { time, text: request.text, grounding, plan, merging, eraser: request.eraser })
    }

    /// Whether the request fits the network.
    pub(super) fn check<'a>(&self, request: &DenoiserRequest<'a>) -> Result<Plan<'a>> {
        let plan = self.check_parts(request)?;
        check_start(request)?;
        self.check_wanted_maps(request, &plan)?;
        Ok(plan)
    }

    /// Whether the maps asked for, and the end, lie behind the start.
    fn check_wanted_maps(&self, request: &DenoiserRequest, plan: &Plan) -> Result<()> {
        let Some(start) = request.start else { return Ok(()) };
        let mut passed = self.units[..start.position.unit].iter().flat_map(Unit::keys);
        match passed.find(|key| plan.records(*key) || plan.stops_at(*key)) {
            None => Ok(()),
            Some(key) => {
                let expected = "one before the layers that are asked for".to_owned();
                Err(Error::Input { what: "the start of a call", expected, found: format!("one that is past {key}") })
            }
        }
    }

    /// Whether each part of the request fits the network, whatever there are of texts for each of the latents.
    pub(super) fn check_parts<'a>(&self, request: &DenoiserRequest<'a>) -> Result<Plan<'a>> {
        let input = |what, expected: String, found: String| Err(Error::Input { what, expected, found });
        let (latents, text) = (request.latents, request.text);
        let channels = self.config.in_channels;
        let fits = matches!(*latents.dims(), [b, h, w, c] if b > 0 && h > 0 && w > 0 && c == channels);
        if !fits || latents.dtype() != DType::F32 {
            let found = format!("{:?} {:?}", latents.dims(), latents.dtype());
            return input("latents", format!("(batch, height, width, {channels}) F32"), found);
        }
        if !request.timestep.is_finite() {
            return input("timestep", "a finite number".into(), request.timestep.to_string());
        }
        if text.width() != self.text_width {
            let expected = format!("of width {} for this UNet", self.text_width);
            return input("text embeddings", expected, format!("width {}", text.width()));
        }
        let added = text.added().map(|added| added.text_embeds.dims()[1]);
        if added != self.added_text_width() {
            let described = |width: Option<usize>| width.map_or("none".to_owned(), |width| format!("width {width}"));
            return input("pooled text embeddings", described(self.added_text_width()), described(added));
        }
        if let Some(grounding) = request.grounding
            && grounding.batch_size() != text.batch_size()
        {
            let expected = format!("for as many images as texts, {}", text.batch_size());
            return input("grounding", expected, grounding.batch_size().to_string());
        }
        if let Some(eraser) = request.eraser
            && let (erased, latents) = (eraser.mask().grid(), Grid::new(latents.dims()[1], latents.dims()[2]))
            && erased != latents
        {
            return input("the eraser's mask", format!("on the latents' grid, {latents}"), erased.to_string());
        }
        Plan::new(request, &self.keys)
    }
}

/// Whether the texts are as many as the latents, or several times as many where these have a start in common.
fn check_start(request: &DenoiserRequest) -> Result<()> {
    let (pictures, texts) = (request.latents.dims()[0], request.text.batch_size());
    let input = |what, expected: String, found: String| Err(Error::Input { what, expected, found });
    let Some(start) = request.start else {
        return match texts == pictures {
            true => Ok(()),
            false => input("text embeddings", format!("as many as latents, {pictures}"), texts.to_string()),
        };
    };
    if request.deep.is_some() {
        return input("a call with deep features", "no start".to_owned(), "one".to_owned());
    }
    if start.origin != Origin::of(request, start.parting) {
        let expected = "that of these very latents, and of all else that calls have in common up to there".to_owned();
        return input("the start of a call", expected, "that of another call".to_owned());
    }
    match (start.parting, texts.is_multiple_of(pictures)) {
        (Parting::Text, true) => Ok(()),
        (Parting::Eraser, _) if texts == pictures => Ok(()),
        _ => {
            input("text embeddings", format!("as many as latents, {pictures}, or several for each"), texts.to_string())
        }
    }
}
