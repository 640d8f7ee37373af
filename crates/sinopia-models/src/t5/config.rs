//! `config.json` of a T5, as far as its encoder goes.

use serde::{Deserialize, Serialize};

use crate::{Result, config};

/// The shape of a T5 encoder, in transformers' words; absent keys have the values of FLAN-T5-XL's family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct T5Config {
    /// Rows of the embedding; may exceed the tokenizer's.
    pub vocab_size: usize,
    /// Width of embeddings and hidden states.
    pub d_model: usize,
    /// Width of a head; heads × `d_kv` need not be `d_model`.
    pub d_kv: usize,
    /// Width inside the feed-forward layers.
    pub d_ff: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Attention heads in each layer.
    pub num_heads: usize,
    /// How many classes of distances the attention tells apart, both directions together.
    pub relative_attention_num_buckets: usize,
    /// Distances from here on, in tokens, are one class.
    pub relative_attention_max_distance: usize,
    /// Added to the mean square in norms.
    pub layer_norm_epsilon: f64,
    /// `gated-gelu`, the only one that is built: that of T5 1.1 and FLAN-T5.
    pub feed_forward_proj: String,
}

impl Default for T5Config {
    fn default() -> Self {
        Self {
            vocab_size: 32128,
            d_model: 2048,
            d_kv: 64,
            d_ff: 5120,
            num_layers: 24,
            num_heads: 32,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "gated-gelu".to_owned(),
        }
    }
}

impl T5Config {
    /// Reads the text of a `config.json`; `file` is its name in messages.
    ///
    /// # Errors
    /// If it is not JSON, or a value has the wrong kind, or [`T5Config::validate`] refuses it.
    pub fn from_json(text: &str, file: &str) -> Result<Self> {
        let config: Self = config::read(text, file)?;
        config.validate(file)?;
        Ok(config)
    }

    /// Whether this is an encoder that we build.
    ///
    /// # Errors
    /// [`crate::Error::Config`] with the first key that is out of range or not supported.
    pub fn validate(&self, file: &str) -> Result<()> {
        let refused = |key: &str, found: String, expected: &str| Err(config::refused(file, key, found, expected));
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_layers", self.num_layers),
            ("num_heads", self.num_heads),
        ];
        config::require_sizes(file, &sizes)?;
        let buckets = self.relative_attention_num_buckets;
        if buckets < 4 || !buckets.is_multiple_of(4) {
            return refused("relative_attention_num_buckets", buckets.to_string(), "a multiple of 4");
        }
        if self.relative_attention_max_distance <= buckets / 4 {
            let found = self.relative_attention_max_distance.to_string();
            return refused("relative_attention_max_distance", found, "more than a quarter of the buckets");
        }
        if self.feed_forward_proj != "gated-gelu" {
            return refused(
                "feed_forward_proj",
                format!("\"{}\"", self.feed_forward_proj),
                "\"gated-gelu\": T5 1.1 and FLAN-T5, not the first T5",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_are_flan_t5_xls() {
        let config = T5Config::from_json(r#"{"model_type": "t5", "num_layers": 2}"#, "config.json").unwrap();
        assert_eq!(config, T5Config { num_layers: 2, ..T5Config::default() });
    }

    #[test]
    fn bad_configurations_are_named() {
        for (json, part) in [
            (r#"{"feed_forward_proj": "relu"}"#, "`feed_forward_proj` in `a/config.json` is \"relu\""),
            (r#"{"d_kv": 0}"#, "`d_kv`"),
            (r#"{"relative_attention_num_buckets": 6}"#, "a multiple of 4"),
            (r#"{"relative_attention_max_distance": 8}"#, "more than a quarter"),
        ] {
            let message = T5Config::from_json(json, "a/config.json").unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
