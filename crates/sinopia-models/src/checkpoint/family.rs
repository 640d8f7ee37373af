//! Lines of models.

use serde::Serialize;

/// Which line of models a checkpoint belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Part of the program: the miniature.
    Embedded,
    /// Stable Diffusion 1.x: text embeddings of width 768.
    StableDiffusion1,
    /// Stable Diffusion 2.x: text embeddings of width 1024.
    StableDiffusion2,
    /// Built of the same blocks in other sizes.
    Custom,
}

impl Family {
    pub(super) fn of(cross_attention_dim: usize) -> Self {
        match cross_attention_dim {
            768 => Self::StableDiffusion1,
            1024 => Self::StableDiffusion2,
            _ => Self::Custom,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Embedded => "miniature",
            Self::StableDiffusion1 => "Stable Diffusion 1.x",
            Self::StableDiffusion2 => "Stable Diffusion 2.x",
            Self::Custom => "custom",
        })
    }
}
