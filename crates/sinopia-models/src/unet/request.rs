//! What one call of a denoiser is asked for and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Tensor};
use sinopia_nn::Linear;

use super::config::NUM_TIME_IDS;
use super::per_layer::{KeyValue, LayerId, PerLayer};
use super::{AttnKey, Eraser, Grounding, SharedStart};
use crate::{CancellationToken, Error, Result};

/// One call of a [`Denoiser`](crate::denoiser::Denoiser), described by data: what it sees and what is wanted back.
///
/// What only some networks know (`grounding`, `deep`, `merge_tokens`, `eraser`) is left out by [`new`](Self::new); a network that does not know it refuses it.
#[derive(Debug, Clone, Copy)]
pub struct DenoiserRequest<'a> {
    /// (B, H, W, C) f32.
    pub latents: &'a Tensor,
    /// The noise level, 0..1000 in published models; fractions are allowed. The same for the whole batch.
    pub timestep: f64,
    /// The prompts, one for each of the batch; with a `start`, perhaps several.
    pub text: &'a TextConditioning,
    /// What should stand where, for models with grounding adapters.
    pub grounding: Option<&'a Grounding>,
    /// Which attention maps to return.
    pub record: Option<&'a Recording>,
    /// Stop as soon as this key's probabilities are known; the reply then carries no prediction.
    pub last_key: Option<AttnKey>,
    /// [Deep features](DenoiserReply::deep) of a call at a timestep nearby, in whose place only the first convolution and the last layer are run
    /// (DeepCache, Ma et al. 2023, arXiv 2312.00858). Nothing can be recorded then.
    pub deep: Option<&'a Tensor>,
    /// On the latents' own grid, pixels attend to windows of this side instead of to each other: keys and values of self-attention are made of the
    /// windows' means (token downsampling, Smith et al. 2024, arXiv 2402.13573). 1 merges nothing, and neither does a side that does not divide the grid.
    pub merge_tokens: usize,
    /// What no pixel is to attend to, in networks that [can erase](crate::Denoiser::can_erase). Nothing is merged then: windows would mix what is erased
    /// into what is not.
    pub eraser: Option<&'a Eraser>,
    /// What the call has in common with others and need not run again: made of these very latents (a clone, not their equal), at this timestep with this
    /// `merge_tokens`. Maps of layers before it cannot be had. One for several texts a picture, as the halves of guidance are: `text` then has as many for each of
    /// the latents, all pictures' for one half after all pictures' for another. Gradients run whole.
    pub start: Option<&'a SharedStart>,
    /// Looked at before each part of the network; the call then ends with [`Error::Cancelled`].
    pub cancellation: Option<&'a CancellationToken>,
}

impl<'a> DenoiserRequest<'a> {
    /// A plain call: the prediction and nothing else.
    pub fn new(latents: &'a Tensor, timestep: f64, text: &'a TextConditioning) -> Self {
        Self {
            latents,
            timestep,
            text,
            grounding: None,
            record: None,
            last_key: None,
            deep: None,
            merge_tokens: 1,
            eraser: None,
            start: None,
            cancellation: None,
        }
    }
}

/// Recorded cross-attention: for each key the probabilities (B', heads, HW, L') f32.
pub type AttnMaps = BTreeMap<AttnKey, Tensor>;

/// The answer to a [`DenoiserRequest`].
#[derive(Debug, Clone)]
pub struct DenoiserReply {
    /// The prediction (B, H, W, C), noise or velocity as the model was trained; `None` if the pass stopped before its end.
    pub prediction: Option<Tensor>,
    /// The maps of the recorded keys; B' and L' are the parts of batch and tokens asked for.
    pub maps: AttnMaps,
    /// What the last layer was given besides the first skip connection, (B, H, W, C); `None` if the pass stopped before.
    pub deep: Option<Tensor>,
}

/// Which cross-attention maps a call returns, and which part of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The layers.
    pub keys: Vec<AttnKey>,
    /// The columns: which tokens of the text.
    pub tokens: TokenColumns,
    /// The rows: which images of the batch.
    pub batch: BatchPart,
    /// The first column among those whose shares are wanted: 0 for all. Behind tokens that stand for no words, the maps are what attention would be
    /// without those: the columns from here on sum to 1.
    pub words_from: usize,
}

impl Recording {
    /// Whole maps of the given layers.
    pub fn new(keys: impl Into<Vec<AttnKey>>) -> Self {
        Self { keys: keys.into(), tokens: TokenColumns::All, batch: BatchPart::All, words_from: 0 }
    }
}

/// Which tokens' columns of an attention map are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TokenColumns {
    /// All of them; each row of the map sums to 1.
    #[default]
    All,
    /// These positions, in this order.
    Some(Vec<usize>),
}

/// Which images of a batch are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchPart {
    /// All of them.
    #[default]
    All,
    /// The second half: under classifier-free guidance a batch is [unconditional, conditional].
    Conditional,
}

/// What a network is conditioned on besides the states that it attends to: diffusers' `added_cond_kwargs` of Stable Diffusion XL.
#[derive(Debug, Clone)]
pub struct AddedConditioning {
    /// Pooled text states, (B, P).
    pub text_embeds: Tensor,
    /// Six numbers a picture, in pixels: original height and width, top and left of the crop, target height and width; (B, 6).
    pub time_ids: Tensor,
}

/// Text embeddings and what every cross-attention layer makes of them.
///
/// What else a network is conditioned on goes with them, so that texts are batched, cut and passed on in one place, whatever they carry.
///
/// Keys and values depend on the text alone, so each layer computes them once, on its first call, and finds them here afterwards.
/// One conditioning can serve any number of calls and of UNets.
#[derive(Debug)]
pub struct TextConditioning {
    /// (B, L, D) f32.
    embeds: Tensor,
    added: Option<AddedConditioning>,
    keys: PerLayer<Tensor>,
    values: PerLayer<Tensor>,
}

impl TextConditioning {
    /// From text embeddings (B, L, D); whatever graph they belong to is left out.
    ///
    /// # Errors
    /// [`Error::Input`] if they do not have three axes, or one is empty.
    pub fn new(embeds: &Tensor) -> Result<Self> {
        if embeds.rank() != 3 || embeds.elem_count() == 0 {
            return Err(Error::Input {
                what: "text embeddings",
                expected: "(batch, tokens, width), none of them 0".into(),
                found: format!("{:?}", embeds.dims()),
            });
        }
        let embeds = embeds.detach().to_dtype(DType::F32)?.contiguous()?;
        Ok(Self { embeds, added: None, keys: PerLayer::default(), values: PerLayer::default() })
    }

    /// With pooled states and sizes for each of the batch.
    ///
    /// # Errors
    /// [`Error::Input`] if there are not as many as texts, or not six numbers for each.
    pub fn with_added(self, added: &AddedConditioning) -> Result<Self> {
        let b = self.batch_size();
        let fits = matches!(*added.text_embeds.dims(), [texts, width] if texts == b && width > 0);
        if !fits || added.time_ids.dims() != [b, NUM_TIME_IDS] {
            return Err(Error::Input {
                what: "pooled text embeddings and sizes",
                expected: format!("({b}, width) and ({b}, {NUM_TIME_IDS})"),
                found: format!("{:?} and {:?}", added.text_embeds.dims(), added.time_ids.dims()),
            });
        }
        let read = |x: &Tensor| Ok::<_, Error>(x.detach().to_dtype(DType::F32)?.contiguous()?);
        let added = AddedConditioning { text_embeds: read(&added.text_embeds)?, time_ids: read(&added.time_ids)? };
        Ok(Self { added: Some(added), ..self })
    }

    /// Several as one batch, in order.
    ///
    /// # Errors
    /// If there is none, their lengths or widths differ, or only some of them have pooled states.
    pub fn cat(texts: &[&Self]) -> Result<Self> {
        let embeds = Tensor::cat(&texts.iter().map(|text| &text.embeds).collect::<Vec<_>>(), 0)?;
        let together = Self::new(&embeds)?;
        let added: Vec<&AddedConditioning> = texts.iter().filter_map(|text| text.added.as_ref()).collect();
        if added.is_empty() {
            return Ok(together);
        }
        together.with_added(&AddedConditioning {
            text_embeds: Tensor::cat(&added.iter().map(|added| &added.text_embeds).collect::<Vec<_>>(), 0)?,
            time_ids: Tensor::cat(&added.iter().map(|added| &added.time_ids).collect::<Vec<_>>(), 0)?,
        })
    }

    /// What goes with the text embeddings.
    pub fn added(&self) -> Option<&AddedConditioning> {
        self.added.as_ref()
    }

    /// The text embeddings (B, L, D).
    pub fn embeds(&self) -> &Tensor {
        &self.embeds
    }

    /// `len` of the batch from `start`: the conditional half of a guidance batch, for example.
    ///
    /// # Errors
    /// If the batch is shorter.
    pub fn narrow(&self, start: usize, len: usize) -> Result<Self> {
        let part = Self::new(&self.embeds.narrow(0, start, len)?)?;
        match &self.added {
            None => Ok(part),
            Some(added) => part.with_added(&AddedConditioning {
                text_embeds: added.text_embeds.narrow(0, start, len)?,
                time_ids: added.time_ids.narrow(0, start, len)?,
            }),
        }
    }

    /// B.
    pub fn batch_size(&self) -> usize {
        self.embeds.dims()[0]
    }

    /// L.
    pub fn num_tokens(&self) -> usize {
        self.embeds.dims()[1]
    }

    /// D.
    pub fn width(&self) -> usize {
        self.embeds.dims()[2]
    }

    /// Whether some layer has computed its keys already.
    pub fn is_projected(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The text's keys in a layer: all that attention probabilities need.
    pub(super) fn project_key(&self, layer: LayerId, key: &Linear) -> sinopia_nn::Result<Tensor> {
        self.keys.get(layer, || key.forward(&self.embeds))
    }

    /// The text's keys and values in a layer.
    pub(super) fn project(&self, layer: LayerId, key: &Linear, value: &Linear) -> sinopia_nn::Result<KeyValue> {
        let key = self.project_key(layer, key)?;
        Ok(KeyValue { key, value: self.values.get(layer, || value.forward(&self.embeds))? })
    }
}

/// A [`Recording`] and a last key that were found to fit the network and each other.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    keys: BTreeSet<AttnKey>,
    tokens: &'a TokenColumns,
    batch: BatchPart,
    words_from: usize,
    last_key: Option<AttnKey>,
}

impl<'a> Plan<'a> {
    /// Checks against the network's `known` keys, the batch size and the number of tokens.
    pub(super) fn new(request: &DenoiserRequest<'a>, known: &[AttnKey]) -> Result<Self> {
        let last_key = request.last_key;
        if let Some(key) = last_key {
            require_known(key, known)?;
        }
        let Some(record) = request.record else {
            return Ok(Self {
                keys: BTreeSet::new(),
                tokens: &TokenColumns::All,
                batch: BatchPart::All,
                words_from: 0,
                last_key,
            });
        };
        for key in &record.keys {
            require_known(*key, known)?;
            if let Some(last_key) = last_key.filter(|last_key| last_key < key) {
                return Err(Error::Input {
                    what: "a recorded attention key",
                    expected: format!("at or before the last key, {last_key}"),
                    found: key.to_string(),
                });
            }
        }
        let num_tokens = request.text.num_tokens();
        check_tokens(&record.tokens, num_tokens)?;
        if record.words_from >= num_tokens {
            return Err(Error::Input {
                what: "the first column of words",
                expected: format!("below the {num_tokens} tokens of the text"),
                found: record.words_from.to_string(),
            });
        }
        if record.batch == BatchPart::Conditional && !request.text.batch_size().is_multiple_of(2) {
            return Err(Error::Input {
                what: "the batch of a call that records the conditional half",
                expected: "an even number of images".into(),
                found: request.text.batch_size().to_string(),
            });
        }
        let keys = record.keys.iter().copied().collect();
        Ok(Self { keys, tokens: &record.tokens, batch: record.batch, words_from: record.words_from, last_key })
    }

    /// The recorded keys.
    pub(super) fn keys(&self) -> &BTreeSet<AttnKey> {
        &self.keys
    }

    /// Stops after the last recorded key, if nothing else was asked for.
    pub(super) fn stop_after_maps(mut self) -> Self {
        self.last_key = self.last_key.or(self.keys.last().copied());
        self
    }

    pub(super) fn records(&self, key: AttnKey) -> bool {
        self.keys.contains(&key)
    }

    pub(super) fn stops_at(&self, key: AttnKey) -> bool {
        self.last_key == Some(key)
    }

    /// The part of (B, heads, HW, L) that was asked for.
    pub(super) fn select(&self, probs: &Tensor) -> sinopia_nn::Result<Tensor> {
        let b = probs.dim(0)?;
        let part = match self.batch {
            BatchPart::All => probs.clone(),
            BatchPart::Conditional => probs.narrow(0, b / 2, b / 2)?,
        };
        let part = match self.words_from {
            0 => part,
            first => {
                let of_words = part.narrow(3, first, part.dim(3)? - first)?.sum_keepdim(3)?; // (B', heads, HW, 1)
                part.broadcast_div(&of_words)?
            }
        };
        let TokenColumns::Some(tokens) = self.tokens else {
            return Ok(part);
        };
        let columns: Vec<u32> = tokens.iter().map(|token| *token as u32).collect();
        let columns = Tensor::new(columns, probs.device())?;
        Ok(part.contiguous()?.index_select(&columns, 3)?)
    }
}

fn require_known(key: AttnKey, known: &[AttnKey]) -> Result<()> {
    if known.contains(&key) {
        return Ok(());
    }
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    Err(Error::Input {
        what: "an attention key of this UNet",
        expected: format!("one of {}", known.join(", ")),
        found: key.to_string(),
    })
}

fn check_tokens(tokens: &TokenColumns, num_tokens: usize) -> Result<()> {
    let TokenColumns::Some(tokens) = tokens else { return Ok(()) };
    match tokens.iter().find(|token| **token >= num_tokens) {
        None if !tokens.is_empty() => Ok(()),
        outside => Err(Error::Input {
            what: "recorded token positions",
            expected: format!("at least one, each below the {num_tokens} of the text"),
            found: outside.map_or_else(|| "none".into(), ToString::to_string),
        }),
    }
}
