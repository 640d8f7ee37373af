//! T5's text encoder, version 1.1 (Raffel et al. 2020, arXiv 1910.10683): what ELLA reads captions with.
//!
//! Shapes: B texts (always one), L tokens, D = `d_model`, H heads. No biases; attention is not scaled by 1/√d; where tokens are to each other
//! enters as a bias of the attention, learned in the first layer and shared by all.

mod config;
mod range;
mod sentencepiece;
mod tokenizer;

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use sinopia_nn::{Linear, softmax};

pub use config::T5Config;
pub use range::StateRange;
pub use tokenizer::{FIXED_LENGTH, T5Tokenizer, T5Tokens};

use crate::checkpoint::files::{Files, FilesBelow};
use crate::layers::linear_no_bias;
use crate::{CancellationToken, Error, Precision, Result, Weights, cancellation};

/// What is taken from the attention to padding, so that nothing of it is left: the least f32.
const MASKED: f32 = f32::MIN;

/// The encoder with frozen weights.
#[derive(Debug, Clone)]
pub struct T5EncoderModel {
    config: T5Config,
    range: StateRange,
    /// (vocabulary, D), in the precision of the weights.
    shared: Tensor,
    /// (buckets, H)
    relative_attention_bias: Tensor,
    blocks: Vec<Block>,
    final_layer_norm: RmsNorm,
}

impl T5EncoderModel {
    /// Opens the weights of a folder in transformers' layout; sharded or not, the whole model or its encoder alone.
    ///
    /// # Errors
    /// If files are missing, damaged or do not fit `config.json`.
    pub fn open(folder: &Path, device: &Device, precision: Precision, range: StateRange) -> Result<Self> {
        let files = FilesBelow { files: &Files::Folder(folder.to_owned()), folder: "" };
        Self::from_files(files, device, precision, range)
    }

    pub(crate) fn from_files(
        from: FilesBelow,
        device: &Device,
        precision: Precision,
        range: StateRange,
    ) -> Result<Self> {
        let FilesBelow { files, folder } = from;
        let at = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let origin = || files.display(folder);
        let missing = |what: &str| Error::NotACheckpoint { origin: origin(), problem: format!("it has no {what}") };
        let file = files.display(&at("config.json"));
        let text = files.read(&at("config.json"))?.ok_or_else(|| missing("config.json"))?;
        let config = T5Config::from_json(&String::from_utf8_lossy(&text), &file)?;
        Self::load(&config, &files.weights(&files.weight_files(folder, None)?, device, precision)?, range)
    }

    /// Builds the encoder that `config` describes; all weights are rounded to f16 where states are to be in [`StateRange::F16`].
    ///
    /// # Errors
    /// [`Error::Config`], and those of [`Weights::get`].
    pub fn load(config: &T5Config, weights: &Weights, range: StateRange) -> Result<Self> {
        config.validate(weights.origin())?;
        let shape = [config.vocab_size, config.d_model];
        let shared = match weights.contains("encoder.embed_tokens.weight") && !weights.contains("shared.weight") {
            true => weights.get("encoder.embed_tokens.weight", &shape)?,
            false => weights.get("shared.weight", &shape)?,
        };
        let encoder = weights.pp("encoder");
        let first = encoder.pp("block.0.layer.0.SelfAttention.relative_attention_bias");
        let bias = first.get("weight", &[config.relative_attention_num_buckets, config.num_heads])?;
        let blocks = (0..config.num_layers)
            .map(|layer| Block::load(config, &encoder.pp(format!("block.{layer}")), range))
            .collect::<Result<_>>()?;
        Ok(Self {
            shared,
            relative_attention_bias: range.store(bias.to_dtype(DType::F32)?)?,
            blocks,
            final_layer_norm: RmsNorm::load(config, &encoder.pp("final_layer_norm"), range)?,
            range,
            config: config.clone(),
        })
    }

    /// What the encoder was built from.
    pub fn config(&self) -> &T5Config {
        &self.config
    }

    /// In which range its states are.
    pub fn range(&self) -> StateRange {
        self.range
    }

    /// The last states (1, L, D) of a text, paddings included: nothing attends to them, but they attend to the text.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no token, more are seen than there are, or an id is outside the vocabulary.
    pub fn forward(&self, tokens: &T5Tokens) -> Result<Tensor> {
        self.forward_cancellable(tokens, None)
    }

    /// The same, given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Cancelled`].
    pub fn forward_cancellable(&self, tokens: &T5Tokens, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        self.check(tokens)?;
        let ids = Tensor::new(tokens.ids.as_slice(), self.shared.device())?; // (L)
        let embedded = self.shared.index_select(&ids, 0)?.to_dtype(DType::F32)?.unsqueeze(0)?;
        let mut hidden = self.range.store(embedded)?; // (1, L, D), so all the way
        let bias = self.position_bias(tokens)?; // (1, H, L, L)
        for block in &self.blocks {
            cancellation::check(cancellation)?;
            hidden = block.forward(&hidden, &bias)?;
        }
        self.final_layer_norm.forward(&hidden)
    }

    fn check(&self, tokens: &T5Tokens) -> Result<()> {
        let input = |expected: String, found: String| Err(Error::Input { what: "token ids", expected, found });
        let length = tokens.ids.len();
        if length == 0 || tokens.length == 0 || tokens.length > length {
            return input("at least one, and no more of them seen than there are".into(), format!("{length}"));
        }
        match tokens.ids.iter().find(|id| **id as usize >= self.config.vocab_size) {
            Some(id) => input(format!("below the vocabulary's {}", self.config.vocab_size), id.to_string()),
            None => Ok(()),
        }
    }

    /// The bias of each distance, minus everything for keys that are padding: (1, H, L, L).
    fn position_bias(&self, tokens: &T5Tokens) -> Result<Tensor> {
        let (length, device) = (tokens.ids.len(), self.shared.device());
        let buckets: Vec<u32> = (0..length)
            .flat_map(|query| (0..length).map(move |key| key as i64 - query as i64))
            .map(|distance| bucket(distance, &self.config))
            .collect();
        let bias = self.relative_attention_bias.index_select(&Tensor::new(buckets, device)?, 0)?; // (L·L, H)
        let bias = bias.reshape((length, length, self.config.num_heads))?.permute((2, 0, 1))?.unsqueeze(0)?;
        if tokens.length == length {
            return Ok(bias.contiguous()?);
        }
        let mask: Vec<f32> = (0..length).map(|key| if key < tokens.length { 0.0 } else { MASKED }).collect();
        let mask = Tensor::from_vec(mask, (1, 1, 1, length), device)?;
        Ok(bias.broadcast_add(&mask)?)
    }
}

/// The class of a distance, key minus query, in tokens: below a quarter of the buckets each has its own, beyond that they widen logarithmically
/// up to the largest distance; keys to the right have the second half. Rounded in f32 as in transformers.
fn bucket(distance: i64, config: &T5Config) -> u32 {
    let half = config.relative_attention_num_buckets / 2;
    let exact = half / 2;
    let length = distance.unsigned_abs() as usize;
    let within = if length < exact {
        length
    } else {
        let way = (length as f32 / exact as f32).ln();
        let whole = (config.relative_attention_max_distance as f64 / exact as f64).ln() as f32;
        (exact + (way / whole * (half - exact) as f32) as usize).min(half - 1)
    };
    (if distance > 0 { half + within } else { within }) as u32
}

/// `w · x / √(mean(x²) + ε)`: no mean is taken off and nothing is added.
#[derive(Debug, Clone)]
struct RmsNorm {
    /// (D) f32
    weight: Tensor,
    eps: f64,
    range: StateRange,
}

impl RmsNorm {
    fn load(config: &T5Config, weights: &Weights, range: StateRange) -> Result<Self> {
        let weight = range.store(weights.get("weight", &[config.d_model])?.to_dtype(DType::F32)?)?;
        Ok(Self { weight, eps: config.layer_norm_epsilon, range })
    }

    /// (1, L, D) to the same.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?.recip()?;
        let normal = self.range.store(x.broadcast_mul(&scale)?)?;
        Ok(self.range.store(normal.broadcast_mul(&self.weight)?)?)
    }
}

/// A linear layer whose output is stored.
#[derive(Debug, Clone)]
struct Stored {
    linear: Linear,
    range: StateRange,
}

impl Stored {
    fn load(weights: &Weights, in_features: usize, out_features: usize, range: StateRange) -> Result<Self> {
        let stored_in_f16 = matches!(weights.format("weight").as_deref(), Some("F16" | "BF16"));
        let linear = match range {
            StateRange::F16 if !stored_in_f16 => {
                let weight = weights.get("weight", &[out_features, in_features])?;
                let dtype = weight.dtype();
                Linear::new(&range.store(weight.to_dtype(DType::F32)?)?.to_dtype(dtype)?, None)?
            }
            _ => linear_no_bias(weights, in_features, out_features)?,
        };
        Ok(Self { linear, range })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.range.store(self.linear.forward(x)?)?)
    }
}

/// Self-attention and a gated feed-forward, each after a norm and added to its input.
#[derive(Debug, Clone)]
struct Block {
    attention_norm: RmsNorm,
    q: Stored,
    k: Stored,
    v: Stored,
    o: Stored,
    num_heads: usize,
    feed_forward_norm: RmsNorm,
    wi_0: Stored,
    wi_1: Stored,
    wo: Stored,
    range: StateRange,
}

impl Block {
    fn load(config: &T5Config, weights: &Weights, range: StateRange) -> Result<Self> {
        let (width, inner) = (config.d_model, config.num_heads * config.d_kv);
        let (attention, dense) = (weights.pp("layer.0.SelfAttention"), weights.pp("layer.1.DenseReluDense"));
        let stored = |weights: Weights, from, to| Stored::load(&weights, from, to, range);
        Ok(Self {
            attention_norm: RmsNorm::load(config, &weights.pp("layer.0.layer_norm"), range)?,
            q: stored(attention.pp("q"), width, inner)?,
            k: stored(attention.pp("k"), width, inner)?,
            v: stored(attention.pp("v"), width, inner)?,
            o: stored(attention.pp("o"), inner, width)?,
            num_heads: config.num_heads,
            feed_forward_norm: RmsNorm::load(config, &weights.pp("layer.1.layer_norm"), range)?,
            wi_0: stored(dense.pp("wi_0"), width, config.d_ff)?,
            wi_1: stored(dense.pp("wi_1"), width, config.d_ff)?,
            wo: stored(dense.pp("wo"), config.d_ff, width)?,
            range,
        })
    }

    /// (1, L, D) to the same; `bias` is (1, H, L, L).
    fn forward(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let x = self.onto(x, self.attend(&self.attention_norm.forward(x)?, bias)?)?;
        let normal = self.feed_forward_norm.forward(&x)?;
        // candle's `gelu` is the tanh form, transformers' gelu_new.
        let gate = self.range.store(self.wi_0.forward(&normal)?.gelu()?)?;
        let inner = self.range.store((gate * self.wi_1.forward(&normal)?)?)?;
        self.onto(&x, self.wo.forward(&inner)?)
    }

    fn onto(&self, x: &Tensor, change: Tensor) -> Result<Tensor> {
        Ok(self.range.clamp(self.range.store((x + change)?)?)?)
    }

    fn attend(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (_, length, _) = x.dims3()?;
        let heads = |x: Tensor| x.reshape((1, length, self.num_heads, ()))?.transpose(1, 2)?.contiguous(); // (1, H, L, d)
        let (q, k, v) = (heads(self.q.forward(x)?)?, heads(self.k.forward(x)?)?, heads(self.v.forward(x)?)?);
        let scores = self.range.store(q.matmul(&k.t()?.contiguous()?)?)?; // (1, H, L, L)
        let probs = self.range.store(softmax::softmax_last_dim(&scores.broadcast_add(bias)?)?)?;
        let seen = self.range.store(probs.matmul(&v)?)?.transpose(1, 2)?.contiguous()?; // (1, L, H, d)
        self.o.forward(&seen.reshape((1, length, ()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> T5Config {
        T5Config { vocab_size: 20, d_model: 8, d_kv: 4, d_ff: 12, num_layers: 2, num_heads: 2, ..T5Config::default() }
    }

    #[test]
    fn distances_have_transformers_buckets() {
        // transformers 5.23: T5Attention._relative_position_bucket(tensor, bidirectional=True, num_buckets=32, max_distance=128)
        let expected = [
            (0, 0),
            (-1, 1),
            (-7, 7),
            (-8, 8),
            (-11, 8),
            (-12, 9),
            (-16, 10),
            (-64, 14),
            (-91, 15),
            (-500, 15),
            (1, 17),
            (8, 24),
            (127, 31),
        ];
        for (distance, expected) in expected {
            assert_eq!(bucket(distance, &T5Config::default()), expected, "{distance}");
        }
    }

    #[test]
    fn words_do_not_see_the_padding_behind_them() {
        let model = T5EncoderModel::load(&tiny(), &Weights::random(1), StateRange::F32).unwrap();
        let alone = model.forward(&T5Tokens { ids: vec![5, 9, 1], length: 3 }).unwrap();
        let padded = model.forward(&T5Tokens { ids: vec![5, 9, 1, 0, 0], length: 3 }).unwrap();
        let difference = (alone - padded.narrow(1, 0, 3).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);
        assert_eq!(padded.dims(), [1, 5, 8]);
    }

    #[test]
    fn impossible_ids_are_refused() {
        let model = T5EncoderModel::load(&tiny(), &Weights::random(1), StateRange::F32).unwrap();
        for (ids, length, part) in
            [(vec![], 0, "at least one"), (vec![1], 2, "no more of them"), (vec![20], 1, "the vocabulary's 20")]
        {
            let message = model.forward(&T5Tokens { ids, length }).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
