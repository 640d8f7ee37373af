//! The gradient of a loss on attention maps with respect to the latents.
//!
//! The forward pass keeps of each unit either a trace of its run, while there is room for traces, or nothing but its inputs. The loss is
//! differentiated with respect to the maps; then a sweep from the last unit to the first turns the cotangents of each unit's outputs into
//! those of its inputs, running the unit once more where there is no trace. The text and the time embedding are constants.

use candle_core::{Tensor, Var};
use sinopia_nn::Traced;

use super::conditions::Conditions;
use super::start::Position;
use super::transformer::Outcome;
use super::unit::Unit;
use super::unit::Visit;
use super::{AttnKey, AttnMaps, DenoiserRequest, UNet2DConditionModel};
use crate::{CancellationToken, Error, Result, cancellation};

/// Bytes that the traces of one pass may take, estimated: all of Stable Diffusion 1 at 512 × 512 pixels, about 0.9 GB, which spares a
/// third of the work. Larger pictures have their finest grids run again.
pub const TRACE_BYTES: usize = 1 << 30;

/// What is kept of a unit for the way back.
struct Saved {
    unit: usize,
    run: SavedRun,
}

enum SavedRun {
    Trace(Traced),
    Inputs { inputs: Vec<Tensor>, skip_grid: Option<(usize, usize)> },
}

/// What the way back starts from.
struct Sweep {
    /// In the order of the way forward.
    saved: Vec<Saved>,
    map_cotangents: AttnMaps,
    /// Skip connections that nothing took.
    num_open_skips: usize,
}

impl UNet2DConditionModel {
    /// The value of `loss` on the recorded maps, and its gradient with respect to the latents, (B, H, W, C).
    ///
    /// `loss` gets the maps that `request` records and returns a scalar computed from them by differentiable operations. The pass
    /// ends at `last_key`, or at the last recorded key if there is none.
    ///
    /// # Errors
    /// [`Error::Input`] if the request does not fit the network, records nothing, or the loss is not a scalar; [`Error::Cancelled`]; whatever `loss` returns.
    pub fn gradient<E: From<Error>>(
        &self,
        request: &DenoiserRequest,
        loss: &mut dyn FnMut(&AttnMaps) -> Result<Tensor, E>,
    ) -> Result<(f32, Tensor), E> {
        let request = &DenoiserRequest { start: None, ..*request };
        let plan = self.check(request)?.stop_after_maps();
        if plan.keys().is_empty() {
            return Err(E::from(nothing_recorded()));
        }
        let conditions = self.conditions(request, &plan)?;
        let mut saved: Vec<Saved> = Vec::with_capacity(self.units.len());
        let mut room = TRACE_BYTES;
        let run = |visit: Visit| {
            let (outcome, run) = self.run_and_save(visit, &conditions, &mut room)?;
            saved.push(run);
            Ok(outcome)
        };
        let walk = self.walk(Position::first(&request.latents.detach()), request.cancellation, run)?;
        let (value, map_cotangents) = differentiate(&walk.maps, loss)?;
        let sweep = Sweep { saved, map_cotangents, num_open_skips: walk.num_open_skips };
        let gradient = self.sweep_back(sweep, &conditions, request.cancellation)?;
        let gradient = match gradient {
            Some(gradient) => gradient,
            None => request.latents.zeros_like().map_err(Error::from)?,
        };
        Ok((value, gradient))
    }

    /// Runs a unit and keeps what its way back needs.
    fn run_and_save(
        &self,
        Visit { unit: index, inputs, skip_grid }: Visit,
        conditions: &Conditions,
        room: &mut usize,
    ) -> sinopia_nn::Result<(Outcome, Saved)> {
        let unit = &self.units[index];
        let bytes = unit.trace_bytes(inputs);
        if bytes > *room {
            let outcome = unit.forward(inputs, skip_grid, conditions)?;
            let run = SavedRun::Inputs { inputs: inputs.to_vec(), skip_grid };
            return Ok((outcome, Saved { unit: index, run }));
        }
        *room -= bytes;
        let mut keys = Vec::new();
        let mut has_hidden = false;
        let trace = Traced::run(inputs, |inputs| {
            let outcome = unit.forward(inputs, skip_grid, conditions)?;
            (has_hidden, keys) = (outcome.hidden.is_some(), outcome.maps.iter().map(|(key, _)| *key).collect());
            Ok(outcome.into_tensors())
        })?;
        let mut outputs = trace.outputs().into_iter();
        let hidden = if has_hidden { outputs.next() } else { None };
        let outcome = Outcome { hidden, maps: keys.into_iter().zip(outputs).collect() };
        Ok((outcome, Saved { unit: index, run: SavedRun::Trace(trace) }))
    }

    /// From the cotangents of the maps to that of the latents; `None` if the loss does not depend on them.
    fn sweep_back(
        &self,
        Sweep { saved, mut map_cotangents, num_open_skips }: Sweep,
        conditions: &Conditions,
        cancellation: Option<&CancellationToken>,
    ) -> Result<Option<Tensor>> {
        let mut cotangent: Option<Tensor> = None;
        // The stack of the forward walk in reverse: what was taken is put back. Nothing flows through what was never taken.
        let mut skip_cotangents: Vec<Option<Tensor>> = vec![None; num_open_skips];
        for Saved { unit, run } in saved.into_iter().rev() {
            cancellation::check(cancellation)?;
            let unit = &self.units[unit];
            if unit.keeps_skip {
                cotangent = sum(cotangent, skip_cotangents.pop().flatten())?;
            }
            let of_maps = unit
                .keys()
                .into_iter()
                .filter(|key| conditions.plan.records(*key))
                .map(|key| (key, map_cotangents.remove(&key)))
                .collect();
            let mut gradients = unit.pull(run, conditions, cotangent, of_maps)?.into_iter();
            cotangent = gradients.next().flatten();
            if unit.takes_skip {
                skip_cotangents.push(gradients.next().flatten());
            }
        }
        Ok(cotangent)
    }
}

impl Unit {
    /// The cotangents of the unit's inputs, given those of its output and of its recorded maps.
    fn pull(
        &self,
        run: SavedRun,
        conditions: &Conditions,
        of_hidden: Option<Tensor>,
        of_maps: Vec<(AttnKey, Option<Tensor>)>,
    ) -> sinopia_nn::Result<Vec<Option<Tensor>>> {
        if of_hidden.is_none() && of_maps.iter().all(|(_, cotangent)| cotangent.is_none()) {
            return Ok(vec![None; if self.takes_skip { 2 } else { 1 }]);
        }
        let ends_here = self.keys().into_iter().any(|key| conditions.plan.stops_at(key));
        let of_hidden = (!ends_here).then_some(of_hidden);
        let cotangents: Vec<Option<Tensor>> =
            of_hidden.into_iter().chain(of_maps.into_iter().map(|(_, cotangent)| cotangent)).collect();
        let trace = match run {
            SavedRun::Trace(trace) => trace,
            SavedRun::Inputs { inputs, skip_grid } => {
                Traced::run(&inputs, |inputs| Ok(self.forward(inputs, skip_grid, conditions)?.into_tensors()))?
            }
        };
        Ok(trace.pull(&cotangents)?.into_iter().map(Some).collect())
    }

    /// Roughly the bytes that a trace of the unit keeps, given its inputs.
    fn trace_bytes(&self, inputs: &[Tensor]) -> usize {
        let input: usize = inputs.iter().map(Tensor::elem_count).sum();
        size_of::<f32>() * (input + self.kept_between(input))
    }
}

/// The loss, and its gradient with respect to each map it depends on.
fn differentiate<E: From<Error>>(
    maps: &AttnMaps,
    loss: &mut dyn FnMut(&AttnMaps) -> Result<Tensor, E>,
) -> Result<(f32, AttnMaps), E> {
    let leaves = maps
        .iter()
        .map(|(key, map)| Ok((*key, Var::from_tensor(map)?.as_tensor().clone())))
        .collect::<Result<AttnMaps>>()?;
    let loss = loss(&leaves)?;
    let (value, mut gradients) = scalar_gradients(&loss)?;
    let cotangents = leaves.iter().filter_map(|(key, leaf)| Some((*key, gradients.remove(leaf)?))).collect();
    Ok((value, cotangents))
}

fn scalar_gradients(loss: &Tensor) -> Result<(f32, candle_core::backprop::GradStore)> {
    if loss.elem_count() != 1 {
        return Err(Error::Input {
            what: "the loss of a gradient call",
            expected: "a scalar".into(),
            found: format!("shape {:?}", loss.dims()),
        });
    }
    let loss = loss.flatten_all()?.squeeze(0)?;
    Ok((loss.to_dtype(candle_core::DType::F32)?.to_scalar()?, loss.backward()?))
}

fn sum(a: Option<Tensor>, b: Option<Tensor>) -> sinopia_nn::Result<Option<Tensor>> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some((a + b)?),
        (a, b) => a.or(b),
    })
}

fn nothing_recorded() -> Error {
    Error::Input {
        what: "the recording of a gradient call",
        expected: "at least one attention key, for the loss to look at".into(),
        found: "none".into(),
    }
}
