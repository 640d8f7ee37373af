//! ELLA's connector: makes, at each timestep, a fixed number of tokens for the UNet out of a text encoder's states (Hu et al. 2024, arXiv
//! 2403.05135, the "timestep-aware semantic connector").
//!
//! Shapes: L tokens of text of width D', N latents (64) of width D; one text at a time. The time enters everywhere as s = silu(MLP(waves(t))).

use candle_core::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use sinopia_nn::{LayerNorm, Linear, activation, attention};

use crate::layers::linear;
use crate::{Error, Result, Weights, config};

/// The norms' ε.
const EPS: f64 = 1e-6;
/// The slowest wave of the time's features has this period over 2π.
const MAX_PERIOD: f64 = 10_000.0;

/// The connector's shape. The released file has no configuration, so absent keys are that file's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EllaConfig {
    /// Width of its tokens: the UNet's text width.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads in each block.
    pub heads: usize,
    /// How many tokens it makes.
    pub num_latents: usize,
    /// Width of the text encoder's states.
    pub input_dim: usize,
    /// Width of the time's features.
    pub time_channel: usize,
}

impl Default for EllaConfig {
    fn default() -> Self {
        Self { width: 768, layers: 6, heads: 8, num_latents: 64, input_dim: 2048, time_channel: 320 }
    }
}

impl EllaConfig {
    /// Reads the text of a configuration; `file` is its name in messages.
    ///
    /// # Errors
    /// If it is not JSON, has unknown keys, or [`EllaConfig::validate`] refuses it.
    pub fn from_json(text: &str, file: &str) -> Result<Self> {
        let config: Self = config::read(text, file)?;
        config.validate(file)?;
        Ok(config)
    }

    /// Whether this is a connector that can be built.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key that is out of range.
    pub fn validate(&self, file: &str) -> Result<()> {
        let refused =
            |key: &str, found: usize, expected: String| Err(config::refused(file, key, found.to_string(), expected));
        let sizes = [
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("num_latents", self.num_latents),
            ("input_dim", self.input_dim),
        ];
        config::require_sizes(file, &sizes)?;
        if !self.width.is_multiple_of(self.heads) {
            return refused("heads", self.heads, format!("a divisor of width, {}", self.width));
        }
        if self.time_channel == 0 || !self.time_channel.is_multiple_of(2) {
            return refused("time_channel", self.time_channel, "an even number above 0".to_owned());
        }
        Ok(())
    }

    /// Every tensor of a connector's file, by name.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (width, mut found) = (self.width, Vec::new());
        let mut linear = |name: &str, input: usize, output: usize| {
            found.push((format!("{name}.weight"), vec![output, input]));
            found.push((format!("{name}.bias"), vec![output]));
        };
        linear("time_embedding.linear_1", self.time_channel, width);
        linear("time_embedding.linear_2", width, width);
        linear("connector.time_aware_linear", width, width);
        linear("connector.proj_in", self.input_dim, width);
        for layer in 0..self.layers {
            let block = format!("connector.perceiver_blocks.{layer}");
            linear(&format!("{block}.attn.out_proj"), width, width);
            linear(&format!("{block}.mlp.c_fc"), width, 4 * width);
            linear(&format!("{block}.mlp.c_proj"), 4 * width, width);
            for norm in ["ln_1", "ln_2", "ln_ff"] {
                linear(&format!("{block}.{norm}.linear"), width, 2 * width);
            }
        }
        for layer in 0..self.layers {
            let attention = format!("connector.perceiver_blocks.{layer}.attn");
            found.push((format!("{attention}.in_proj_weight"), vec![3 * width, width]));
            found.push((format!("{attention}.in_proj_bias"), vec![3 * width]));
        }
        found.push(("connector.latents".to_owned(), vec![self.num_latents, width]));
        found
    }
}

/// What the connector keeps of a text for all timesteps.
#[derive(Debug, Clone)]
pub struct ProjectedText {
    /// (1, L, D): the projected states, normalised, before any time enters.
    normal: Tensor,
}

/// The connector with frozen weights.
#[derive(Debug, Clone)]
pub struct EllaConnector {
    config: EllaConfig,
    linear_1: Linear,
    linear_2: Linear,
    /// (1, N, D)
    latents: Tensor,
    time_aware_linear: Linear,
    proj_in: Linear,
    norm: PlainNorm,
    perceiver_blocks: Vec<PerceiverBlock>,
    device: Device,
}

impl EllaConnector {
    /// Builds the connector that `config` describes.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] if there are tensors that no such connector has; those of [`Weights::get`].
    pub fn load(config: &EllaConfig, weights: &Weights) -> Result<Self> {
        config.validate(weights.origin())?;
        refuse_others(config, weights)?;
        let (width, time, inner) = (config.width, weights.pp("time_embedding"), weights.pp("connector"));
        let norm = PlainNorm::new(width, weights.device())?;
        let blocks = (0..config.layers)
            .map(|layer| PerceiverBlock::load(config, &inner.pp(format!("perceiver_blocks.{layer}")), &norm))
            .collect::<Result<_>>()?;
        let latents = inner.get("latents", &[config.num_latents, width])?;
        Ok(Self {
            linear_1: linear(&time.pp("linear_1"), config.time_channel, width)?,
            linear_2: linear(&time.pp("linear_2"), width, width)?,
            latents: latents.to_dtype(DType::F32)?.unsqueeze(0)?,
            time_aware_linear: linear(&inner.pp("time_aware_linear"), width, width)?,
            proj_in: linear(&inner.pp("proj_in"), config.input_dim, width)?,
            perceiver_blocks: blocks,
            norm,
            device: weights.device().clone(),
            config: config.clone(),
        })
    }

    /// What the connector was built from.
    pub fn config(&self) -> &EllaConfig {
        &self.config
    }

    /// What all timesteps share, from a text's states (1, L, D'), paddings included.
    ///
    /// # Errors
    /// If the states have another width.
    pub fn project(&self, states: &Tensor) -> Result<ProjectedText> {
        let (_, _, width) = states.dims3()?;
        if width != self.config.input_dim {
            return Err(Error::Input {
                what: "the width of the text's states",
                expected: format!("the connector's {}", self.config.input_dim),
                found: width.to_string(),
            });
        }
        Ok(ProjectedText { normal: self.norm.forward(&self.proj_in.forward(states)?)? })
    }

    /// The tokens (1, N, D) for a timestep, 0 to 999.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn tokens(&self, text: &ProjectedText, timestep: f64) -> Result<Tensor> {
        let time = self.time(timestep)?; // (1, D)
        let mut z = self.latents.broadcast_add(&self.time_aware_linear.forward(&time)?.unsqueeze(1)?)?;
        for block in &self.perceiver_blocks {
            z = block.forward(&z, &text.normal, &time)?;
        }
        Ok(z)
    }

    /// `silu(linear_2(silu(linear_1([cos(t·f), sin(t·f)]))))` with `f_k = 10000^(−k/half)`, (1, D).
    fn time(&self, timestep: f64) -> Result<Tensor> {
        let half = self.config.time_channel / 2;
        let phases: Vec<f32> =
            (0..half).map(|k| timestep as f32 * (-(MAX_PERIOD.ln() as f32) * k as f32 / half as f32).exp()).collect();
        let waves: Vec<f32> = phases.iter().map(|p| p.cos()).chain(phases.iter().map(|p| p.sin())).collect();
        let waves = Tensor::from_vec(waves, (1, 2 * half), &self.device)?;
        let hidden = activation::silu(&self.linear_1.forward(&waves)?)?;
        Ok(activation::silu(&self.linear_2.forward(&hidden)?)?)
    }
}

/// Refuses a file that holds more than the connector: another model, or one of another depth.
fn refuse_others(config: &EllaConfig, weights: &Weights) -> Result<()> {
    let expected = config.tensors();
    let unknown = weights.names().into_iter().find(|name| !expected.iter().any(|(known, _)| known == name));
    match unknown {
        None => Ok(()),
        Some(name) => Err(Error::NotACheckpoint {
            origin: weights.origin().to_owned(),
            problem: format!("an ELLA connector of {} blocks has no tensor `{name}`", config.layers),
        }),
    }
}

/// A layer norm without weight and bias.
#[derive(Debug, Clone)]
struct PlainNorm(LayerNorm);

impl PlainNorm {
    fn new(width: usize, device: &Device) -> Result<Self> {
        let (one, zero) = (Tensor::ones(width, DType::F32, device)?, Tensor::zeros(width, DType::F32, device)?);
        Ok(Self(LayerNorm::new(&one, &zero, EPS)?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.0.forward(x)?)
    }
}

/// `x · (1 + scale) + shift` for a normalised x; a linear layer of the time makes shift (first half) and scale (second half).
#[derive(Debug, Clone)]
struct Modulation {
    linear: Linear,
    width: usize,
}

impl Modulation {
    fn load(weights: &Weights, width: usize) -> Result<Self> {
        Ok(Self { linear: linear(&weights.pp("linear"), width, 2 * width)?, width })
    }

    fn forward(&self, normal: &Tensor, time: &Tensor) -> Result<Tensor> {
        let both = self.linear.forward(time)?.unsqueeze(1)?; // (1, 1, 2D)
        let (shift, scale) = (both.narrow(D::Minus1, 0, self.width)?, both.narrow(D::Minus1, self.width, self.width)?);
        Ok(normal.broadcast_mul(&(scale + 1.0)?)?.broadcast_add(&shift)?)
    }
}

/// The latents attend to themselves and to the text, then a feed-forward with `relu(x)²`; both are added.
#[derive(Debug, Clone)]
struct PerceiverBlock {
    norm: PlainNorm,
    ln_1: Modulation,
    ln_2: Modulation,
    ln_ff: Modulation,
    query: Linear,
    key: Linear,
    value: Linear,
    out_proj: Linear,
    heads: usize,
    c_fc: Linear,
    c_proj: Linear,
}

impl PerceiverBlock {
    fn load(config: &EllaConfig, weights: &Weights, norm: &PlainNorm) -> Result<Self> {
        let (width, attn) = (config.width, weights.pp("attn"));
        let [query, key, value] = in_projections(&attn, width)?;
        let modulation = |name: &str| Modulation::load(&weights.pp(name), width);
        Ok(Self {
            norm: norm.clone(),
            ln_1: modulation("ln_1")?,
            ln_2: modulation("ln_2")?,
            ln_ff: modulation("ln_ff")?,
            query,
            key,
            value,
            out_proj: linear(&attn.pp("out_proj"), width, width)?,
            heads: config.heads,
            c_fc: linear(&weights.pp("mlp.c_fc"), width, 4 * width)?,
            c_proj: linear(&weights.pp("mlp.c_proj"), 4 * width, width)?,
        })
    }

    /// z (1, N, D), text (1, L, D) normalised, time (1, D).
    fn forward(&self, z: &Tensor, text: &Tensor, time: &Tensor) -> Result<Tensor> {
        let own = self.ln_1.forward(&self.norm.forward(z)?, time)?;
        let seen = Tensor::cat(&[&own, &self.ln_2.forward(text, time)?], 1)?; // (1, N + L, D)
        let (q, k, v) = (self.query.forward(&own)?, self.key.forward(&seen)?, self.value.forward(&seen)?);
        let z = (z + self.out_proj.forward(&attention::attention(&q, &k, &v, self.heads, false)?)?)?;
        let inner = self.c_fc.forward(&self.ln_ff.forward(&self.norm.forward(&z)?, time)?)?.relu()?.sqr()?;
        Ok((self.c_proj.forward(&inner)? + z)?)
    }
}

/// Query, key and value of PyTorch's packed `in_proj_weight` and `in_proj_bias`, rows in this order.
fn in_projections(attn: &Weights, width: usize) -> Result<[Linear; 3]> {
    // Shapes are checked on the whole, so that a message has the file's.
    let weight = attn.get("in_proj_weight", &[3 * width, width])?;
    let bias = attn.get("in_proj_bias", &[3 * width])?;
    let part = |index: usize| -> Result<Linear> {
        let rows = |x: &Tensor| x.narrow(0, index * width, width)?.force_contiguous();
        Ok(Linear::new(&rows(&weight)?, Some(&rows(&bias)?))?)
    };
    Ok([part(0)?, part(1)?, part(2)?])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn tiny() -> EllaConfig {
        EllaConfig { width: 16, layers: 2, heads: 4, num_latents: 5, input_dim: 12, time_channel: 8 }
    }

    #[test]
    fn the_released_file_has_93_tensors_and_66_820_608_numbers() {
        let tensors = EllaConfig::default().tensors();
        assert_eq!(tensors.len(), 93);
        assert_eq!(tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>(), 66_820_608);
    }

    #[test]
    fn loading_asks_for_every_tensor_in_its_shape() {
        let weights = Weights::random(1);
        EllaConnector::load(&tiny(), &weights).unwrap();
        let asked: HashMap<_, _> = weights.made_up().into_iter().map(|(name, t)| (name, t.dims().to_vec())).collect();
        assert_eq!(asked, tiny().tensors().into_iter().collect());
    }

    #[test]
    fn a_file_with_more_or_less_is_refused() {
        let random = Weights::random(1);
        EllaConnector::load(&tiny(), &random).unwrap();
        let refusal = |change: &dyn Fn(&mut HashMap<String, Tensor>)| {
            let mut tensors = random.made_up();
            change(&mut tensors);
            EllaConnector::load(&tiny(), &Weights::from_tensors("ella", tensors)).unwrap_err().to_string()
        };
        let spare = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let more = refusal(&|tensors| drop(tensors.insert("connector.norm.weight".into(), spare.clone())));
        assert!(more.contains("has no tensor `connector.norm.weight`"), "{more}");
        let less = refusal(&|tensors| drop(tensors.remove("connector.perceiver_blocks.1.attn.in_proj_bias")));
        assert!(less.contains("no tensor `connector.perceiver_blocks.1.attn.in_proj_bias`"), "{less}");
        let other = refusal(&|tensors| drop(tensors.insert("connector.latents".into(), spare.clone())));
        assert!(other.contains("`connector.latents` in `ella` has shape [1], expected [5, 16]"), "{other}");
    }

    #[test]
    fn the_tokens_follow_the_time_and_the_text() {
        let connector = EllaConnector::load(&tiny(), &Weights::random(2)).unwrap();
        let text = |seed| connector.project(&crate::testing::normal(seed, (1, 3, 12)).unwrap()).unwrap();
        let tokens = |seed, t| connector.tokens(&text(seed), t).unwrap();
        let distance =
            |a: Tensor, b: Tensor| (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(tokens(1, 10.0).dims(), [1, 5, 16]);
        assert!(distance(tokens(1, 10.0), tokens(1, 10.0)) == 0.0);
        assert!(distance(tokens(1, 10.0), tokens(1, 500.0)) > 1e-2);
        assert!(distance(tokens(1, 10.0), tokens(2, 10.0)) > 1e-2);
        let narrow = connector.project(&crate::testing::normal(1, (1, 3, 11)).unwrap()).unwrap_err().to_string();
        assert!(narrow.contains("the connector's 12"), "{narrow}");
    }
}
