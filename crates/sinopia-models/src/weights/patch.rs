//! Where adapters merge into a checkpoint: changes of single weights, made between reading and packing.
//!
//! A file of adapters (LoRA, LoCon, LoHa, …) is a [`WeightPatch`]: for each weight that it changes a [`WeightDelta`], and how strongly all of them
//! count. [`Weights::patched`](super::Weights::patched) takes it; networks are built as from any other weights and know nothing of it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// A change of one weight.
pub trait WeightDelta: Debug + Send + Sync {
    /// The shape of the weight that it changes, as checkpoints have it: (O, I), (O, I, kernel, kernel) or (O).
    fn shape(&self) -> Vec<usize>;

    /// The weight, f32, with the change merged in `strength` times; 0 leaves it as it is, negative strengths are allowed.
    ///
    /// # Errors
    /// If the tensor library refuses.
    fn merge(&self, weight: &Tensor, strength: f64) -> Result<Tensor>;
}

/// What an adapter changes in a network. ComfyUI calls it so too; diffusers calls applying it `fuse_lora`.
#[derive(Debug)]
pub struct WeightPatch {
    origin: String,
    strength: f64,
    deltas: BTreeMap<String, Box<dyn WeightDelta>>,
}

impl WeightPatch {
    /// An empty patch; `origin` stands for it in messages. `strength` is the user's: 1 is what the adapter was trained for.
    pub fn new(origin: impl Into<String>, strength: f64) -> Self {
        Self { origin: origin.into(), strength, deltas: BTreeMap::new() }
    }

    /// Adds the change of a weight, under the whole name that the network has for it (`mid_block.attentions.0.proj_in.weight`).
    pub fn insert(&mut self, name: impl Into<String>, delta: impl WeightDelta + 'static) {
        self.deltas.insert(name.into(), Box::new(delta));
    }

    /// Where it comes from, for messages.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// What it changes: names and the shapes of the weights.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&str, Vec<usize>)> {
        self.deltas.iter().map(|(name, delta)| (name.as_str(), delta.shape()))
    }

    /// Whether it changes the weight `name`.
    pub(super) fn changes(&self, name: &str) -> bool {
        self.deltas.contains_key(name)
    }

    /// The weight `name`, f32, with its change if there is one.
    pub(super) fn merge(&self, name: &str, weight: Tensor) -> Result<Tensor> {
        match self.deltas.get(name) {
            Some(delta) => delta.merge(&weight, self.strength),
            None => Ok(weight),
        }
    }
}

/// LoRA's change, a product of two narrow matrices: `ΔW = scale · up · down`, `scale = alpha / rank`.
///
/// Hu et al. 2021, arXiv 2106.09685; of convolutions as in LyCORIS's LoCon, where `down` has the kernel.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// (O, R) f32
    up: Tensor,
    /// (R, I) or (R, I, kernel, kernel) f32
    down: Tensor,
    scale: f64,
}

impl LowRank {
    /// `up` is (O, R) or (O, R, 1, 1), `down` (R, I) or (R, I, kernel, kernel), both of any float type; without `alpha` the scale is 1.
    ///
    /// # Errors
    /// [`Error::Input`] if they do not fit each other.
    pub fn new(up: &Tensor, down: &Tensor, alpha: Option<f64>) -> Result<Self> {
        let refused = || Error::Input {
            what: "a low-rank change",
            expected: "up (O, R) or (O, R, 1, 1) and down (R, I) or (R, I, kernel, kernel)".to_owned(),
            found: format!("up {:?} and down {:?}", up.dims(), down.dims()),
        };
        let (rows, rank) = match *up.dims() {
            [rows, rank] | [rows, rank, 1, 1] if rank > 0 => (rows, rank),
            _ => return Err(refused()),
        };
        if !matches!(down.dims(), [found, _] | [found, _, _, _] if *found == rank) {
            return Err(refused());
        }
        Ok(Self {
            up: up.reshape((rows, rank))?.to_dtype(DType::F32)?,
            down: down.to_dtype(DType::F32)?,
            scale: alpha.map_or(1.0, |alpha| alpha / rank as f64),
        })
    }
}

impl WeightDelta for LowRank {
    fn shape(&self) -> Vec<usize> {
        self.up.dims()[..1].iter().chain(&self.down.dims()[1..]).copied().collect()
    }

    fn merge(&self, weight: &Tensor, strength: f64) -> Result<Tensor> {
        let up = self.up.to_device(weight.device())?;
        let down = self.down.to_device(weight.device())?.flatten_from(1)?; // (R, I · kernel²)
        let change = (up.matmul(&down)? * (strength * self.scale))?;
        Ok((weight + change.reshape(weight.dims())?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    #[test]
    fn shapes_are_those_of_the_weight() {
        let shape = |up: &[usize], down: &[usize]| {
            let (up, down) = (normal(1, up).unwrap(), normal(2, down).unwrap());
            LowRank::new(&up, &down, None).map(|delta| delta.shape())
        };
        assert_eq!(shape(&[6, 2], &[2, 4]).unwrap(), [6, 4]);
        assert_eq!(shape(&[6, 2, 1, 1], &[2, 4, 3, 3]).unwrap(), [6, 4, 3, 3]);
        for (up, down) in [(&[6, 2][..], &[3, 4][..]), (&[6, 0], &[0, 4]), (&[6], &[2, 4]), (&[6, 2], &[2])] {
            let message = shape(up, down).unwrap_err().to_string();
            assert!(message.contains(&format!("up {up:?} and down {down:?}")), "{message}");
        }
    }
}
