//! CLIP's text encoder: what turns a prompt into the embeddings that a UNet attends to.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use sinopia_nn::{LayerNorm, Linear, activation, attention};

use crate::layers::{layer_norm, linear, linear_no_bias};
use crate::weights::Rows;
use crate::{CancellationToken, Error, Result, Tokens, Weights, cancellation, config};

/// Where the configuration comes from, for messages.
const FILE: &str = "text_encoder/config.json";

/// `text_encoder/config.json`, in transformers' words; absent keys have transformers' defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Number of tokens the model knows.
    pub vocab_size: usize,
    /// Width of embeddings and hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Width of the projected pooled state, in models that have one.
    pub projection_dim: Option<usize>,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads in each layer.
    pub num_attention_heads: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// `quick_gelu` or `gelu`.
    pub hidden_act: String,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// The token that ends a text; 2 in old files, where it means the largest id of the text.
    pub eos_token_id: u32,
    /// Whether padding is masked. diffusers' word, not transformers': Stable Diffusion was trained without.
    pub use_attention_mask: Option<bool>,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: Some(512),
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
            use_attention_mask: None,
        }
    }
}

impl ClipTextConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If it is not JSON, or a value has the wrong kind, or [`ClipTextConfig::validate`] refuses it.
    pub fn from_json(text: &str) -> Result<Self> {
        /// A file of the whole of CLIP has the encoder's configuration inside.
        #[derive(Deserialize)]
        struct Whole {
            text_config: Option<ClipTextConfig>,
        }
        let config = match config::read(text, FILE)? {
            Whole { text_config: Some(config) } => config,
            Whole { text_config: None } => config::read(text, FILE)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// Whether this is an encoder that we build.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key that is out of range or not supported.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        config::require_sizes(FILE, &sizes)?;
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let expected = format!("a divisor of hidden_size, {}", self.hidden_size);
            return Err(refused("num_attention_heads", self.num_attention_heads.to_string(), expected));
        }
        Activation::parse(&self.hidden_act).map(|_| ())
    }

    /// What each layer is like.
    fn layer(&self) -> EncoderLayerConfig<'_> {
        EncoderLayerConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_attention_heads: self.num_attention_heads,
            hidden_act: &self.hidden_act,
            layer_norm_eps: self.layer_norm_eps,
            causal: true,
        }
    }
}

/// What a [`ClipTextModel`] makes of a batch of texts.
#[derive(Debug, Clone)]
pub struct ClipOutput {
    /// (B, L, C): the last layer's output after the final layer norm; what Stable Diffusion 1 and 2 condition on.
    pub last_hidden_state: Tensor,
    /// (B, C): `last_hidden_state` at the token that ends the text. Not projected.
    pub pooled: Tensor,
    /// (B, P): `pooled` through the text projection, in checkpoints that have one.
    pub text_embeds: Option<Tensor>,
    /// (B, L, C) each: the embeddings and every layer's output, before the final layer norm.
    hidden_states: Vec<Tensor>,
}

impl ClipOutput {
    /// The output of the layer `clip_skip` before the last, (B, L, C), before the final layer norm.
    ///
    /// 0 is the last layer, 1 the penultimate (Stable Diffusion XL's choice). [`ClipTextModel::final_layer_norm`] applies the norm, which
    /// Stable Diffusion 1 does after skipping.
    ///
    /// # Errors
    /// [`Error::Input`] if there are not so many layers.
    pub fn hidden_state(&self, clip_skip: usize) -> Result<&Tensor> {
        let last = self.hidden_states.len() - 1;
        last.checked_sub(clip_skip).and_then(|index| self.hidden_states.get(index)).ok_or_else(|| Error::Input {
            what: "clip skip",
            expected: format!("at most {last}, the number of layers"),
            found: clip_skip.to_string(),
        })
    }
}

/// The text encoder with frozen weights.
#[derive(Debug, Clone)]
pub struct ClipTextModel {
    config: ClipTextConfig,
    /// (vocabulary, C), in the precision of the weights.
    token_embedding: Rows,
    /// (positions, C) f32
    position_embedding: Tensor,
    layers: Vec<EncoderLayer>,
    final_layer_norm: LayerNorm,
    text_projection: Option<Linear>,
}

impl ClipTextModel {
    /// Builds the encoder that `config` describes, from names with or without the prefix `text_model.`.
    ///
    /// # Errors
    /// [`Error::Config`] if the encoder is not supported, and those of [`Weights::get`].
    pub fn load(config: &ClipTextConfig, weights: &Weights) -> Result<Self> {
        config.validate()?;
        let width = config.hidden_size;
        let inner = if weights.contains("text_model.final_layer_norm.weight") {
            weights.pp("text_model")
        } else {
            weights.clone()
        };
        let embeddings = inner.pp("embeddings");
        let positions = [config.max_position_embeddings, width];
        let layers = (0..config.num_hidden_layers)
            .map(|layer| EncoderLayer::load(config.layer(), &inner.pp(format!("encoder.layers.{layer}"))))
            .collect::<Result<_>>()?;
        let projection = weights.pp("text_projection");
        let projection_dim = config.projection_dim.filter(|_| projection.contains("weight"));
        Ok(Self {
            token_embedding: embeddings.rows("token_embedding.weight", [config.vocab_size, width])?,
            position_embedding: embeddings.get("position_embedding.weight", &positions)?.to_dtype(DType::F32)?,
            layers,
            final_layer_norm: layer_norm(&inner.pp("final_layer_norm"), width, config.layer_norm_eps)?,
            text_projection: projection_dim.map(|out| linear_no_bias(&projection, width, out)).transpose()?,
            config: config.clone(),
        })
    }

    /// What the encoder was built from.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// Encodes texts of equal length, each a list of token ids with its start, end and padding.
    ///
    /// Every token sees itself and those before it; padding is not masked.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no text, lengths differ or exceed the model's, or an id is outside the vocabulary.
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<ClipOutput> {
        self.run(ids, None, None)
    }

    /// The same of tokenized texts, with their padding masked if the configuration says so (`use_attention_mask`); given up between two layers if it is
    /// cancelled.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Cancelled`].
    pub fn encode(&self, texts: &[Tokens], cancellation: Option<&CancellationToken>) -> Result<ClipOutput> {
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| text.ids.clone()).collect();
        let lengths: Vec<usize> = texts.iter().map(|text| text.length).collect();
        let is_masked = self.config.use_attention_mask.unwrap_or(false);
        self.run(&ids, is_masked.then_some(lengths.as_slice()), cancellation)
    }

    /// As [`forward`](Self::forward), given up between two layers if it is cancelled.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Cancelled`].
    pub fn forward_cancellable(
        &self,
        ids: &[Vec<u32>],
        cancellation: Option<&CancellationToken>,
    ) -> Result<ClipOutput> {
        self.run(ids, None, cancellation)
    }

    /// With `lengths`, what comes behind them is seen by nobody.
    fn run(
        &self,
        ids: &[Vec<u32>],
        lengths: Option<&[usize]>,
        cancellation: Option<&CancellationToken>,
    ) -> Result<ClipOutput> {
        let length = self.check(ids)?;
        let mut hidden = self.embed(ids, length)?; // (B, L, C), so all the way
        let mut hidden_states = vec![hidden.clone()];
        for layer in &self.layers {
            cancellation::check(cancellation)?;
            hidden = layer.forward_masked(&hidden, lengths)?;
            hidden_states.push(hidden.clone());
        }
        let last_hidden_state = self.final_layer_norm.forward(&hidden)?;
        let pooled = self.pool(ids, &last_hidden_state)?;
        let text_embeds = self.text_projection.as_ref().map(|project| project.forward(&pooled)).transpose()?;
        Ok(ClipOutput { last_hidden_state, pooled, text_embeds, hidden_states })
    }

    /// The norm behind the last layer, for a [`ClipOutput::hidden_state`].
    ///
    /// # Errors
    /// If `hidden_state` is not (…, C).
    pub fn final_layer_norm(&self, hidden_state: &Tensor) -> Result<Tensor> {
        Ok(self.final_layer_norm.forward(hidden_state)?)
    }

    fn check(&self, ids: &[Vec<u32>]) -> Result<usize> {
        let input = |expected: String, found: String| Err(Error::Input { what: "token ids", expected, found });
        let max = self.config.max_position_embeddings;
        let length = ids.first().map_or(0, Vec::len);
        if length == 0 || length > max {
            return input(format!("1 to {max} for each text"), length.to_string());
        }
        if let Some(other) = ids.iter().find(|text| text.len() != length) {
            return input(format!("{length} for every text of the batch"), other.len().to_string());
        }
        match ids.iter().flatten().find(|id| **id as usize >= self.config.vocab_size) {
            Some(id) => input(format!("below the vocabulary's {}", self.config.vocab_size), id.to_string()),
            None => Ok(length),
        }
    }

    /// Token plus position embeddings, (B, L, C) f32.
    fn embed(&self, ids: &[Vec<u32>], length: usize) -> Result<Tensor> {
        let tokens = self.token_embedding.select(&ids.concat())?;
        let tokens = tokens.reshape((ids.len(), length, self.config.hidden_size))?;
        Ok(tokens.broadcast_add(&self.position_embedding.narrow(0, 0, length)?)?)
    }

    /// The state (B, C) at the token that ends each text.
    fn pool(&self, ids: &[Vec<u32>], last_hidden_state: &Tensor) -> Result<Tensor> {
        let rows = ids
            .iter()
            .enumerate()
            .map(|(row, ids)| last_hidden_state.get(row)?.get(end_of_text(ids, self.config.eos_token_id)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::stack(&rows, 0)?)
    }
}

/// The `eos_token_id` of files from before transformers 4.32, which was wrong: the end is then the largest id of the text.
const LEGACY_EOS: u32 = 2;

/// The position of the token that ends a text; the first, since padding may repeat it, and 0 if there is none, as in transformers.
fn end_of_text(ids: &[u32], eos_token_id: u32) -> usize {
    let end = if eos_token_id == LEGACY_EOS { ids.iter().max().copied() } else { Some(eos_token_id) };
    ids.iter().position(|id| Some(*id) == end).unwrap_or(0)
}

/// What an [`EncoderLayer`] is built from; text and vision towers spell their configurations alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EncoderLayerConfig<'a> {
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) hidden_act: &'a str,
    pub(crate) layer_norm_eps: f64,
    /// Whether a token sees itself and those before it only: texts do, patches of an image see all.
    pub(crate) causal: bool,
}

/// Self-attention and a feed-forward, each after a layer norm and added to its input.
#[derive(Debug, Clone)]
pub(crate) struct EncoderLayer {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    causal: bool,
    activation: Activation,
}

impl EncoderLayer {
    pub(crate) fn load(config: EncoderLayerConfig, weights: &Weights) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let attention = |name: &str| linear(&weights.pp("self_attn").pp(name), width, width);
        let norm = |name: &str| layer_norm(&weights.pp(name), width, config.layer_norm_eps);
        Ok(Self {
            layer_norm1: norm("layer_norm1")?,
            q_proj: attention("q_proj")?,
            k_proj: attention("k_proj")?,
            v_proj: attention("v_proj")?,
            out_proj: attention("out_proj")?,
            layer_norm2: norm("layer_norm2")?,
            fc1: linear(&weights.pp("mlp.fc1"), width, inner)?,
            fc2: linear(&weights.pp("mlp.fc2"), inner, width)?,
            heads: config.num_attention_heads,
            causal: config.causal,
            activation: Activation::parse(config.hidden_act)?,
        })
    }

    /// (B, L, C) to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_masked(x, None)
    }

    /// The same; with `lengths`, of each row of the batch only so many tokens are seen.
    fn forward_masked(&self, x: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
        let normal = self.layer_norm1.forward(x)?;
        let (query, key, value) =
            (self.q_proj.forward(&normal)?, self.k_proj.forward(&normal)?, self.v_proj.forward(&normal)?);
        let seen = match lengths {
            None => attention::attention(&query, &key, &value, self.heads, self.causal)?,
            Some(lengths) => self.see_up_to(lengths, [&query, &key, &value])?,
        };
        let x = (x + self.out_proj.forward(&seen)?)?;
        let inner = self.activation.apply(&self.fc1.forward(&self.layer_norm2.forward(&x)?)?)?;
        Ok((self.fc2.forward(&inner)? + x)?)
    }

    /// Attention to the first tokens of each row: those see as ever, the padding behind them sees them all.
    fn see_up_to(&self, lengths: &[usize], [query, key, value]: [&Tensor; 3]) -> Result<Tensor> {
        let total = query.dim(1)?;
        let row = |(row, length): (usize, &usize)| -> Result<Tensor> {
            let part =
                |x: &Tensor, start: usize, end: usize| x.narrow(0, row, 1)?.narrow(1, start, end - start)?.contiguous();
            let seen = (*length).clamp(1, total);
            let (key, value) = (part(key, 0, seen)?, part(value, 0, seen)?);
            let text = attention::attention(&part(query, 0, seen)?, &key, &value, self.heads, self.causal)?;
            if seen == total {
                return Ok(text);
            }
            let padding = attention::attention(&part(query, seen, total)?, &key, &value, self.heads, false)?;
            Ok(Tensor::cat(&[text, padding], 1)?)
        };
        let rows = lengths.iter().enumerate().map(row).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&rows, 0)?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    QuickGelu,
    Gelu,
}

impl Activation {
    fn parse(name: &str) -> Result<Self> {
        match name {
            "quick_gelu" => Ok(Self::QuickGelu),
            "gelu" => Ok(Self::Gelu),
            _ => Err(refused("hidden_act", format!("\"{name}\""), "\"quick_gelu\" or \"gelu\"")),
        }
    }

    fn apply(self, x: &Tensor) -> sinopia_nn::Result<Tensor> {
        match self {
            Self::QuickGelu => activation::quick_gelu(x),
            Self::Gelu => activation::gelu(x),
        }
    }
}

fn refused(key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    config::refused(FILE, key, found, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_first_end_token_or_the_largest_id_in_old_files() {
        assert_eq!(end_of_text(&[0, 5, 9, 9, 9], 9), 2);
        assert_eq!(end_of_text(&[7, 3, 9, 1, 1], LEGACY_EOS), 2);
        assert_eq!(end_of_text(&[7, 2, 8, 9, 9], LEGACY_EOS), 3);
        assert_eq!(end_of_text(&[7, 3, 1], 9), 0);
    }

    #[test]
    fn bad_configurations_are_named() {
        for (json, part) in [
            (r#"{"hidden_act": "relu"}"#, "`hidden_act` in `text_encoder/config.json` is \"relu\""),
            (r#"{"num_attention_heads": 7}"#, "a divisor of hidden_size, 512"),
            (r#"{"num_hidden_layers": 0}"#, "`num_hidden_layers`"),
        ] {
            let message = ClipTextConfig::from_json(json).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    fn tiny() -> ClipTextConfig {
        ClipTextConfig {
            vocab_size: 20,
            hidden_size: 8,
            intermediate_size: 12,
            projection_dim: Some(6),
            num_hidden_layers: 2,
            num_attention_heads: 2,
            max_position_embeddings: 5,
            eos_token_id: 19,
            ..ClipTextConfig::default()
        }
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_token_sees_only_those_before_it() {
        let model = ClipTextModel::load(&tiny(), &Weights::random(1)).unwrap();
        let states = |ids: Vec<u32>| model.forward(&[ids]).unwrap().last_hidden_state;
        let (a, b) = (states(vec![18, 3, 4, 19, 19]), states(vec![18, 3, 5, 19, 0]));
        let start = |x: &Tensor| values(&x.narrow(1, 0, 2).unwrap());
        assert_eq!(start(&a), start(&b));
        let third = |x: &Tensor| values(&x.narrow(1, 2, 1).unwrap());
        assert_ne!(third(&a), third(&b));
    }

    #[test]
    fn masked_padding_is_seen_by_nobody() {
        let config = ClipTextConfig { use_attention_mask: Some(true), ..tiny() };
        let model = ClipTextModel::load(&config, &Weights::random(1)).unwrap();
        let text = |ids: [u32; 5], length| Tokens { ids: ids.to_vec(), length, truncated: None };
        let states = |texts: &[Tokens]| model.encode(texts, None).unwrap().last_hidden_state;
        let one = states(&[text([18, 3, 19, 19, 19], 3)]);
        // Without the mask the last state would see the token before it.
        let other = states(&[text([18, 3, 19, 4, 19], 3)]);
        let at = |x: &Tensor, row: usize, start: usize, len: usize| {
            values(&x.narrow(0, row, 1).unwrap().narrow(1, start, len).unwrap())
        };
        assert_eq!(at(&one, 0, 4, 1), at(&other, 0, 4, 1));
        let plain = model.forward(&[vec![18, 3, 19, 19, 19]]).unwrap().last_hidden_state;
        assert_eq!(at(&one, 0, 0, 3), at(&plain, 0, 0, 3));
        assert_ne!(at(&one, 0, 3, 2), at(&plain, 0, 3, 2));
        // Each row by its own length.
        let both = states(&[text([18, 3, 4, 5, 19], 5), text([18, 3, 19, 19, 19], 3)]);
        assert_eq!(at(&both, 1, 0, 5), at(&one, 0, 0, 5));
    }

    #[test]
    fn padding_is_masked_only_if_the_configuration_says_so() {
        let model = ClipTextModel::load(&tiny(), &Weights::random(1)).unwrap();
        let ids = vec![18, 3, 19, 19, 19];
        let text = Tokens { ids: ids.clone(), length: 3, truncated: None };
        let states = |output: ClipOutput| values(&output.last_hidden_state);
        assert_eq!(states(model.encode(&[text], None).unwrap()), states(model.forward(&[ids]).unwrap()));
    }

    #[test]
    fn a_text_projection_is_used_where_there_is_one() {
        let weights = Weights::random(1);
        let model = ClipTextModel::load(&tiny(), &weights).unwrap();
        let ids = [vec![18, 7, 19], vec![18, 19, 19]];
        let plain = model.forward(&ids).unwrap();
        assert!(plain.text_embeds.is_none());
        let mut tensors = weights.made_up();
        tensors.insert("text_projection.weight".into(), crate::testing::normal(2, (6, 8)).unwrap());
        let model = ClipTextModel::load(&tiny(), &Weights::from_tensors("tiny", tensors)).unwrap();
        let projected = model.forward(&ids).unwrap();
        assert_eq!(values(&projected.pooled), values(&plain.pooled));
        assert_eq!(projected.text_embeds.unwrap().dims(), [2, 6]);
    }

    #[test]
    fn skipping_counts_from_the_last_layer() {
        let model = ClipTextModel::load(&tiny(), &Weights::random(1)).unwrap();
        let output = model.forward(&[vec![18, 19]]).unwrap();
        let last = model.final_layer_norm(output.hidden_state(0).unwrap()).unwrap();
        assert_eq!(values(&last), values(&output.last_hidden_state));
        let message = output.hidden_state(3).unwrap_err().to_string();
        assert!(message.contains("clip skip must be at most 2") && message.contains("found 3"), "{message}");
    }

    #[test]
    fn ids_that_do_not_fit_are_answered() {
        let model = ClipTextModel::load(&tiny(), &Weights::random(1)).unwrap();
        for (ids, part) in [
            (vec![], "1 to 5 for each text"),
            (vec![vec![1; 6]], "found 6"),
            (vec![vec![1, 2], vec![1]], "2 for every text of the batch"),
            (vec![vec![1, 20]], "below the vocabulary's 20"),
        ] {
            let message = model.forward(&ids).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn absent_keys_have_the_defaults_and_unknown_ones_are_ignored() {
        let config = ClipTextConfig::from_json(r#"{"hidden_size": 768, "model_type": "clip_text_model"}"#).unwrap();
        assert_eq!(config, ClipTextConfig { hidden_size: 768, ..ClipTextConfig::default() });
    }

    #[test]
    fn the_file_of_a_whole_clip_has_the_encoder_inside() {
        let json = r#"{"model_type": "clip", "hidden_size": 3, "text_config": {"hidden_size": 768}}"#;
        assert_eq!(ClipTextConfig::from_json(json).unwrap().hidden_size, 768);
    }
}
