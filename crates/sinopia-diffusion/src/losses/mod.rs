//! Losses on cross-attention maps: what an attention-guided method wants of the picture. One loss a file.
//!
//! A loss is taken of the maps of one call of the denoiser, `maps[key]` being (1, heads, HW, L'), probabilities, with one column for each of the
//! [`TokenSet`]'s positions. It returns a differentiable scalar.

mod attention_transfer;
mod box_loss;
mod boxdiff_loss;
mod key_targets;
mod ratio_loss;

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Device, Tensor};
use sinopia_layout::{BBox, Grid};
use sinopia_models::denoiser::{AttnKey, AttnMaps, Denoiser, TokenColumns};

pub use attention_transfer::{AttentionTransfer, ReferenceMaps, TransferOptions};
pub use box_loss::{BoxLoss, BoxLossOptions, OverHeads};
pub use boxdiff_loss::{BoxDiffLoss, BoxDiffLossOptions, WorstBox, boxdiff_smoothed};
pub use ratio_loss::RatioLoss;

use crate::Result;

/// A guidance loss.
pub trait GuidanceLoss {
    /// The loss of the maps at step `index`, a scalar that carries its gradient.
    ///
    /// # Errors
    /// When a map is missing or has another shape than expected.
    fn loss(&self, index: usize, maps: &AttnMaps) -> Result<Tensor>;
}

/// The sum of several losses.
#[derive(Default)]
pub struct LossSum<'a>(Vec<Box<dyn GuidanceLoss + 'a>>);

impl std::fmt::Debug for LossSum<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LossSum of {}", self.0.len())
    }
}

impl<'a> LossSum<'a> {
    /// With one more loss.
    #[must_use]
    pub fn plus(mut self, loss: impl GuidanceLoss + 'a) -> Self {
        self.0.push(Box::new(loss));
        self
    }
}

impl GuidanceLoss for LossSum<'_> {
    fn loss(&self, index: usize, maps: &AttnMaps) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for loss in &self.0 {
            let value = loss.loss(index, maps)?;
            sum = Some(match sum {
                None => value,
                Some(sum) => (sum + value)?,
            });
        }
        match sum {
            Some(sum) => Ok(sum),
            None => no_loss(maps),
        }
    }
}

/// The token positions whose attention is recorded: sorted, each once.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSet {
    positions: Vec<usize>,
    objects: Vec<GroundedTokens>,
}

impl TokenSet {
    /// All positions that some objects use.
    pub fn of(objects: &[GroundedTokens]) -> Self {
        let mut positions: Vec<usize> = objects.iter().flat_map(|object| object.positions.iter().copied()).collect();
        positions.extend(objects.iter().map(|object| object.word));
        positions.sort_unstable();
        positions.dedup();
        Self { positions, objects: objects.to_vec() }
    }

    /// The first `len` positions, whatever the objects use: for losses that compare tokens with each other.
    pub fn first(len: usize, objects: &[GroundedTokens]) -> Self {
        Self::window(0..len, objects)
    }

    /// All positions of a range, likewise.
    pub fn window(positions: Range<usize>, objects: &[GroundedTokens]) -> Self {
        Self { positions: positions.collect(), objects: objects.to_vec() }
    }

    /// The objects whose tokens they are.
    pub fn objects(&self) -> &[GroundedTokens] {
        &self.objects
    }

    /// For a recording.
    pub fn columns(&self) -> TokenColumns {
        TokenColumns::Some(self.positions.clone())
    }

    /// The column of a position in the recorded maps.
    pub(crate) fn column(&self, position: usize) -> Option<usize> {
        self.positions.binary_search(&position).ok()
    }

    fn len(&self) -> usize {
        self.positions.len()
    }
}

/// A phrase as losses see it: its tokens and the boxes that their attention should be in.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundedTokens {
    /// The words, for people.
    pub phrase: String,
    /// Positions of all tokens of the phrase; never empty.
    pub positions: Vec<usize>,
    /// Position of the noun's last token.
    pub word: usize,
    /// The phrase's boxes; never empty.
    pub bboxes: Vec<BBox>,
}

impl GroundedTokens {
    /// The same, positions counted from `first` on.
    pub(crate) fn moved_back(&self, first: usize) -> Self {
        let positions = self.positions.iter().map(|position| position - first).collect();
        Self { positions, word: self.word - first, ..self.clone() }
    }
}

/// The query grid of each guidance key.
pub type KeyGrids = BTreeMap<AttnKey, Grid>;

/// The query grids of some of a denoiser's layers for latents of a grid.
pub(crate) fn key_grids(denoiser: &dyn Denoiser, keys: &[AttnKey], latents: Grid) -> KeyGrids {
    let layers = denoiser.attention_layers(latents).into_iter();
    let wanted = layers.filter(|layer| keys.contains(&layer.key));
    wanted.map(|layer| (layer.key, layer.grid)).collect()
}

/// A loss of 0 where the maps are, to add to.
fn no_loss(maps: &AttnMaps) -> Result<Tensor> {
    Ok(Tensor::new(0f32, maps.values().next().map_or(&Device::Cpu, Tensor::device))?)
}

/// What a recorded map must have for a loss: its HW and L'.
#[derive(Debug, Clone, Copy)]
struct MapShape {
    cells: usize,
    columns: usize,
}

/// The recorded map of a key, with its batch axis removed: (heads, HW, L').
fn map_of(maps: &AttnMaps, key: AttnKey, shape: MapShape) -> Result<Tensor> {
    let MapShape { cells, columns } = shape;
    let wrong = |found: Vec<usize>| crate::Error::AttentionMap {
        key: key.to_string(),
        found,
        expected: format!("(1, heads, {cells}, {columns})"),
    };
    let map = maps.get(&key).ok_or_else(|| wrong(Vec::new()))?;
    match *map.dims() {
        [1, heads, hw, l] if heads > 0 && hw == cells && l == columns => Ok(map.squeeze(0)?),
        _ => Err(wrong(map.dims().to_vec())),
    }
}
