//! All states of one painting, so that it can be gone on with, or changed in one place, without being inverted.

use candle_core::{DType, Device, Tensor};
use sinopia_layout::GridMask;

use crate::noise::LatentSize;
use crate::{Error, Result};

/// The latents of one painting, in the scheduler's scale: (1, H, W, C) f32, before the first call of the denoiser and after each. One more than there are calls;
/// the last is z₀, which the picture was decoded from.
///
/// At 512 × 512 pixels and 50 steps these are 3.3 MB. A state is what the method left: where objects are frozen, with the objects pasted.
#[derive(Debug, Clone)]
pub struct Trajectory {
    states: Vec<Tensor>,
}

impl Trajectory {
    /// From its states, first to last.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there is none, or when they are not of one shape (1, H, W, C).
    pub fn new(states: Vec<Tensor>) -> Result<Self> {
        let refused = |found: String| Error::Mismatch {
            what: "the states of a trajectory",
            found,
            expected: "at least one, all (1, H, W, C) alike".to_owned(),
        };
        let Some(first) = states.first() else { return Err(refused("none".to_owned())) };
        let is_wrong = |state: &&Tensor| state.dims() != first.dims() || state.rank() != 4 || state.dims()[0] != 1;
        match states.iter().find(is_wrong) {
            None => Ok(Self { states }),
            Some(state) => Err(refused(format!("{:?} beside {:?}", state.dims(), first.dims()))),
        }
    }

    /// Before the first call, and after each: (1, H, W, C).
    pub fn states(&self) -> &[Tensor] {
        &self.states
    }

    /// z₀: (1, H, W, C).
    pub fn last(&self) -> &Tensor {
        &self.states[self.states.len() - 1]
    }

    /// How often the denoiser was called.
    pub fn num_calls(&self) -> usize {
        self.states.len() - 1
    }

    /// The size of each state.
    pub fn size(&self) -> LatentSize {
        let dims = self.last().dims(); // (1, H, W, C)
        LatentSize { height: dims[1], width: dims[2], channels: dims[3] }
    }

    /// Inside the mask the states of `other`, outside exactly these.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when their numbers of states differ, or their sizes or the mask's.
    pub fn spliced(&self, other: &Self, mask: &GridMask) -> Result<Self> {
        if self.states.len() != other.states.len() {
            return Err(Error::Mismatch {
                what: "the states of the trajectory that is spliced in",
                found: other.states.len().to_string(),
                expected: self.states.len().to_string(),
            });
        }
        let select = CellSelect::new(mask, self.last().device())?;
        let states = self.states.iter().zip(&other.states).map(|(outside, inside)| select.of(inside, outside));
        Self::new(states.collect::<Result<_>>()?)
    }
}

/// A choice between two latents for each cell. It copies, so that what is kept is kept to the bit, whatever stands on the other side.
#[derive(Debug, Clone)]
pub(crate) struct CellSelect {
    mask: GridMask,
    /// 1 inside: (1, H, W, 1) u8.
    inside: Tensor,
}

impl CellSelect {
    /// Inside the mask one, outside the other.
    pub(crate) fn new(mask: &GridMask, device: &Device) -> Result<Self> {
        let grid = mask.grid();
        let inside: Vec<u8> = mask.cells().iter().map(|inside| u8::from(*inside)).collect();
        let inside = Tensor::from_vec(inside, (1, grid.height, grid.width, 1), &Device::Cpu)?.to_device(device)?;
        Ok(Self { mask: mask.clone(), inside })
    }

    /// Latents (1, H, W, C) that are `inside` in the mask and `outside` beyond it.
    pub(crate) fn of(&self, inside: &Tensor, outside: &Tensor) -> Result<Tensor> {
        let size = LatentSize::of(outside)?;
        if size.grid() != self.mask.grid() || inside.dims() != outside.dims() {
            return Err(Error::Mismatch {
                what: "the latents on either side of a mask",
                found: format!("{:?} and {:?} with a mask of {}", inside.dims(), outside.dims(), self.mask.grid()),
                expected: "one size for all".to_owned(),
            });
        }
        let chosen = self.inside.broadcast_as(outside.shape())?;
        Ok(chosen.where_cond(&inside.to_dtype(DType::F32)?, &outside.to_dtype(DType::F32)?)?)
    }

    /// The mean square of latents (1, H, W, C) in the mask, which is not empty.
    pub(crate) fn mean_square(&self, latents: &Tensor) -> Result<f64> {
        let channels = LatentSize::of(latents)?.channels;
        let inside = self.of(latents, &latents.zeros_like()?)?;
        let sum: f64 = inside.sqr()?.sum_all()?.to_scalar::<f32>()?.into();
        Ok(sum / (self.mask.count() * channels) as f64)
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::Grid;

    use super::*;

    fn states(values: &[f32]) -> Trajectory {
        let state = |value: &f32| Tensor::full(*value, (1, 2, 3, 4), &Device::Cpu).unwrap();
        Trajectory::new(values.iter().map(state).collect()).unwrap()
    }

    #[test]
    fn outside_the_mask_a_spliced_trajectory_is_the_old_one_to_the_bit() -> Result<()> {
        let mask = GridMask::from_cells(Grid::new(2, 3), vec![false, true, false, true, false, false]).unwrap();
        // Not a number and minus zero survive a choice; they would not survive a sum.
        let (old, new) = (states(&[f32::NAN, -0.0, 3.0]), states(&[1.0, f32::INFINITY, 5.0]));
        let spliced = old.spliced(&new, &mask)?;
        assert_eq!(spliced.num_calls(), 2);
        for ((state, old), new) in spliced.states().iter().zip(old.states()).zip(new.states()) {
            let bits = |state: &Tensor| -> Vec<u32> {
                state.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
            };
            let (found, old, new) = (bits(state), bits(old), bits(new));
            for (cell, inside) in mask.cells().iter().enumerate() {
                let expected = if *inside { &new } else { &old };
                assert_eq!(found[cell * 4..cell * 4 + 4], expected[cell * 4..cell * 4 + 4]);
            }
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let mask = |grid| GridMask::empty(grid);
        let (two, three) = (states(&[1.0, 2.0]), states(&[1.0, 2.0, 3.0]));
        let message = two.spliced(&three, &mask(Grid::new(2, 3))).unwrap_err().to_string();
        assert!(message.contains("3") && message.contains("2"), "{message}");
        let message = two.spliced(&two, &mask(Grid::new(3, 2))).unwrap_err().to_string();
        assert!(message.contains("3×2"), "{message}");
        assert!(matches!(Trajectory::new(Vec::new()), Err(Error::Mismatch { .. })));
        let zeros = |shape| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert!(Trajectory::new(vec![zeros((1, 2, 2, 4)), zeros((1, 2, 3, 4))]).is_err());
        assert!(Trajectory::new(vec![zeros((2, 2, 2, 4))]).is_err());
    }
}
