//! Names of the layers of a denoiser in which latents attend to the text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// One layer in which latents attend to the text: the `attn2` of a UNet's transformer layer, or a block of a diffusion transformer.
///
/// Printed and parsed as the field writes them: `down.2.1`, `mid.0`, `up.1.0`, with the transformer layer as a further number where
/// it is not the first (`up.0.1.3`); a diffusion transformer's are `block.7`. The order of keys is the order in which a forward pass meets them.
///
/// ```
/// use sinopia_models::unet::AttnKey;
///
/// let key: AttnKey = "up.1.0".parse()?;
/// assert_eq!(key, AttnKey::Up { block: 1, attn: 0, layer: 0 });
/// assert!(AttnKey::mid(0) < key);
/// # Ok::<(), sinopia_models::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum AttnKey {
    /// `down_blocks.{block}.attentions.{attn}.transformer_blocks.{layer}`.
    Down {
        /// Which block, from the finest grid.
        block: usize,
        /// Which spatial transformer of the block.
        attn: usize,
        /// Which layer of the transformer; 0 in Stable Diffusion 1 and 2.
        layer: usize,
    },
    /// `mid_block.attentions.{attn}.transformer_blocks.{layer}`.
    Mid {
        /// Which spatial transformer of the block.
        attn: usize,
        /// Which layer of the transformer.
        layer: usize,
    },
    /// `up_blocks.{block}.attentions.{attn}.transformer_blocks.{layer}`.
    Up {
        /// Which block, from the coarsest grid.
        block: usize,
        /// Which spatial transformer of the block.
        attn: usize,
        /// Which layer of the transformer.
        layer: usize,
    },
    /// `transformer_blocks.{block}` of a diffusion transformer, in which latents attend to the text, or to text and latents together.
    Block {
        /// Which block, from the first.
        block: usize,
    },
}

impl AttnKey {
    /// The first layer of a transformer in a down block.
    pub const fn down(block: usize, attn: usize) -> Self {
        Self::Down { block, attn, layer: 0 }
    }

    /// The first layer of a transformer in the middle block.
    pub const fn mid(attn: usize) -> Self {
        Self::Mid { attn, layer: 0 }
    }

    /// The first layer of a transformer in an up block.
    pub const fn up(block: usize, attn: usize) -> Self {
        Self::Up { block, attn, layer: 0 }
    }

    /// A block of a diffusion transformer.
    pub const fn block(block: usize) -> Self {
        Self::Block { block }
    }

    /// The transformer layer within its spatial transformer; 0 for a block, which has one.
    pub const fn layer(self) -> usize {
        match self {
            Self::Down { layer, .. } | Self::Mid { layer, .. } | Self::Up { layer, .. } => layer,
            Self::Block { .. } => 0,
        }
    }

    /// The same spatial transformer's layer number `layer`; a block has no layers to choose from, and stays.
    pub const fn with_layer(self, layer: usize) -> Self {
        match self {
            Self::Down { block, attn, .. } => Self::Down { block, attn, layer },
            Self::Mid { attn, .. } => Self::Mid { attn, layer },
            Self::Up { block, attn, .. } => Self::Up { block, attn, layer },
            Self::Block { .. } => self,
        }
    }
}

impl fmt::Display for AttnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down { block, attn, .. } => write!(f, "down.{block}.{attn}")?,
            Self::Mid { attn, .. } => write!(f, "mid.{attn}")?,
            Self::Up { block, attn, .. } => write!(f, "up.{block}.{attn}")?,
            Self::Block { block } => write!(f, "block.{block}")?,
        }
        match self.layer() {
            0 => Ok(()),
            layer => write!(f, ".{layer}"),
        }
    }
}

impl FromStr for AttnKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Input {
            what: "attention key",
            expected: "down.BLOCK.ATTN, mid.ATTN or up.BLOCK.ATTN, each with an optional .LAYER, or block.BLOCK".into(),
            found: format!("`{text}`"),
        };
        let (part, numbers) = text.split_once('.').ok_or_else(refused)?;
        let numbers = numbers.split('.').map(number).collect::<Option<Vec<_>>>().ok_or_else(refused)?;
        let key = match (part, numbers.as_slice()) {
            ("down", [block, attn]) => Self::down(*block, *attn),
            ("down", [block, attn, layer]) => Self::down(*block, *attn).with_layer(*layer),
            ("mid", [attn]) => Self::mid(*attn),
            ("mid", [attn, layer]) => Self::mid(*attn).with_layer(*layer),
            ("up", [block, attn]) => Self::up(*block, *attn),
            ("up", [block, attn, layer]) => Self::up(*block, *attn).with_layer(*layer),
            ("block", [block]) => Self::block(*block),
            _ => return Err(refused()),
        };
        Ok(key)
    }
}

/// Digits only: `usize::from_str` would take `+1` as well.
fn number(text: &str) -> Option<usize> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl From<AttnKey> for String {
    fn from(key: AttnKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for AttnKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_printing_and_parsing() {
        for text in
            ["down.0.0", "down.2.1", "mid.0", "up.1.0", "up.3.2", "up.0.1.9", "mid.0.3", "down.10.11.12", "block.7"]
        {
            assert_eq!(text.parse::<AttnKey>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused_by_name() {
        for text in
            ["", "mid", "up.1", "side.1.0", "down.0.0.0.0", "mid.-1", "mid.+1", "up.1.x", "mid.", "up..0", "block.1.0"]
        {
            let message = text.parse::<AttnKey>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{text}`")) && message.contains("up.BLOCK.ATTN"), "{message}");
        }
    }

    #[test]
    fn order_is_that_of_the_forward_pass() {
        let keys = [
            "down.0.1", "down.2.0", "mid.0", "mid.0.1", "up.0.0", "up.0.0.1", "up.0.1", "up.1.0", "block.0", "block.1",
        ];
        let parsed: Vec<AttnKey> = keys.iter().map(|key| key.parse().unwrap()).collect();
        assert!(parsed.is_sorted());
    }

    #[test]
    fn json_holds_the_text() {
        assert_eq!(serde_json::to_string(&AttnKey::up(1, 2)).unwrap(), "\"up.1.2\"");
        assert_eq!(serde_json::from_str::<AttnKey>("\"mid.0\"").unwrap(), AttnKey::mid(0));
    }
}
