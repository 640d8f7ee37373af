//! The forward pass: a walk through the units, ended early where nothing behind is wanted.

use candle_core::{DType, Tensor};
use sinopia_layout::Grid;

use super::conditions::{Conditions, Windows};
use super::request::Plan;
use super::transformer::Outcome;
use super::{AttnMaps, DenoiserReply, DenoiserRequest, UNet2DConditionModel};
use crate::{CancellationToken, Error, Result, cancellation};

/// A unit that a walk has come to, and all that is needed to run it, once or again.
pub(super) struct Visit<'a> {
    pub(super) unit: usize,
    pub(super) inputs: &'a [Tensor],
    pub(super) skip_grid: Option<(usize, usize)>,
}

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
        let run = |Visit { unit, inputs, skip_grid }: Visit| self.units[unit].forward(inputs, skip_grid, &conditions);
        if let Some(deep) = request.deep {
            return self.forward_shallow(request, deep, &conditions);
        }
        let Walk { prediction, maps, deep, .. } = self.walk(request.latents, request.cancellation, run)?;
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
    fn last_layer(&self) -> usize {
        self.units.iter().rposition(|unit| unit.takes_skip).unwrap_or(0)
    }

    /// Has unit after unit run by `run`.
    pub(super) fn walk(
        &self,
        latents: &Tensor,
        cancellation: Option<&CancellationToken>,
        mut run: impl FnMut(Visit) -> sinopia_nn::Result<Outcome>,
    ) -> Result<Walk> {
        let mut hidden = latents.clone(); // (B, H, W, C), all three changing on the way
        let mut skips: Vec<Tensor> = Vec::new();
        let (mut maps, mut deep) = (AttnMaps::new(), None);
        let last_layer = self.last_layer();
        for (index, unit) in self.units.iter().enumerate() {
            if index == last_layer {
                deep = Some(hidden.clone());
            }
            cancellation::check(cancellation)?;
            let mut inputs = vec![hidden];
            if unit.takes_skip {
                inputs.extend(skips.pop());
            }
            let skip_grid = skips.last().map(|skip| (skip.dims()[1], skip.dims()[2]));
            let outcome = run(Visit { unit: index, inputs: &inputs, skip_grid })?;
            maps.extend(outcome.maps);
            let Some(output) = outcome.hidden else {
                return Ok(Walk { prediction: None, maps, deep, num_open_skips: skips.len() });
            };
            if unit.keeps_skip {
                skips.push(output.clone());
            }
            hidden = output;
        }
        Ok(Walk { prediction: Some(hidden), maps, deep, num_open_skips: skips.len() })
    }

    /// What is the same for all units.
    pub(super) fn conditions<'a>(&self, request: &DenoiserRequest<'a>, plan: &'a Plan<'a>) -> Result<Conditions<'a>> {
        let time = self.time_embedding.activated(request.timestep, request.text.added(), request.latents.device())?;
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
        if text.batch_size() != latents.dims()[0] {
            let expected = format!("as many as latents, {}", latents.dims()[0]);
            return input("text embeddings", expected, text.batch_size().to_string());
        }
        let added = text.added().map(|added| added.text_embeds.dims()[1]);
        if added != self.added_text_width() {
            let described = |width: Option<usize>| width.map_or("none".to_owned(), |width| format!("width {width}"));
            return input("pooled text embeddings", described(self.added_text_width()), described(added));
        }
        if let Some(grounding) = request.grounding
            && grounding.batch_size() != latents.dims()[0]
        {
            let expected = format!("for as many images as latents, {}", latents.dims()[0]);
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
