//! Layers from a pack, where there is one, or from the checkpoint, kept for a pack that is being made.

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;
use sinopia_nn::SharedBytes;
use sinopia_nn::packed::PackedWeight;
use sinopia_nn::{Conv2d, Conv2dOptions, Linear};

use super::{MappedRows, Weights};
use crate::Result;
use crate::packs::{Pack, Recorder};

/// What a pack is to weights.
#[derive(Clone)]
pub(crate) enum PackAccess {
    /// It has some of them.
    Reads(Arc<Pack>),
    /// It gets those that are asked for.
    Records(Arc<Recorder>),
}

/// The part of a pack that belongs to one network.
#[derive(Clone)]
pub(super) struct PackView {
    access: PackAccess,
    network: &'static str,
}

impl fmt::Debug for PackView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            PackAccess::Reads(_) => "reads",
            PackAccess::Records(_) => "records",
        };
        write!(f, "{access} {}", self.network)
    }
}

impl Weights {
    /// The same weights, those of `network`, with a pack.
    pub(crate) fn with_pack(&self, access: PackAccess, network: &'static str) -> Self {
        Self { pack: Some(PackView { access, network }), ..self.clone() }
    }

    /// The linear layer whose weight is `name`, (out, in).
    pub(crate) fn linear(&self, name: &str, shape: [usize; 2], bias: Option<&Tensor>) -> Result<Linear> {
        let kept = self.kept_weight(name).and_then(|weight| Linear::from_packed(weight, shape, bias).ok());
        if let Some(layer) = kept {
            return Ok(layer);
        }
        let layer = self.parameter(name, &shape)?.linear(bias)?;
        self.record(name, layer.packed());
        Ok(layer)
    }

    /// The convolution whose weight is `name`, (out, in, kernel, kernel).
    pub(crate) fn conv2d(
        &self,
        name: &str,
        shape: [usize; 4],
        bias: Option<&Tensor>,
        options: Conv2dOptions,
    ) -> Result<Conv2d> {
        let kept = self.kept_weight(name).and_then(|weight| Conv2d::from_packed(weight, shape, bias, options).ok());
        if let Some(layer) = kept {
            return Ok(layer);
        }
        let layer = self.parameter(name, &shape)?.conv2d(bias, options)?;
        self.record(name, layer.packed());
        Ok(layer)
    }

    /// The tensor `name` as a pack has it.
    pub(super) fn kept_tensor(&self, name: &str, shape: &[usize]) -> Option<Tensor> {
        match &self.pack.as_ref()?.access {
            PackAccess::Reads(pack) => pack.tensor(&self.kept_name(name)?, shape),
            PackAccess::Records(_) => None,
        }
    }

    /// The rows of the tensor `name` as they lie in a pack.
    pub(super) fn kept_rows(&self, name: &str, shape: [usize; 2]) -> Option<MappedRows> {
        match &self.pack.as_ref()?.access {
            PackAccess::Reads(pack) => pack.rows(&self.kept_name(name)?, shape),
            PackAccess::Records(_) => None,
        }
    }

    /// Keeps a tensor that was read for a pack that is being made.
    pub(super) fn record_tensor(&self, name: &str, tensor: &Tensor) -> Result<()> {
        match (self.pack.as_ref().map(|pack| &pack.access), self.kept_name(name)) {
            (Some(PackAccess::Records(recorder)), Some(name)) => Ok(recorder.add_tensor(&name, tensor)?),
            _ => Ok(()),
        }
    }

    fn kept_weight(&self, name: &str) -> Option<PackedWeight<SharedBytes>> {
        match &self.pack.as_ref()?.access {
            PackAccess::Reads(pack) => pack.weight(&self.kept_name(name)?),
            PackAccess::Records(_) => None,
        }
    }

    fn record(&self, name: &str, weight: Option<PackedWeight<&[u8]>>) {
        let access = self.pack.as_ref().map(|pack| &pack.access);
        if let (Some(PackAccess::Records(recorder)), Some(name), Some(weight)) = (access, self.kept_name(name), weight)
        {
            recorder.add_weight(&name, &weight);
        }
    }

    /// The name of a tensor in packs. What a patch changes is in none.
    fn kept_name(&self, name: &str) -> Option<String> {
        let full_name = self.full_name(name);
        match self.patches.iter().any(|patch| patch.changes(&full_name)) {
            true => None,
            false => Some(format!("{}/{full_name}", self.pack.as_ref()?.network)),
        }
    }
}
