//! What painting needs of a network that denoises, however it is built: a UNet, a diffusion transformer, or a formula.
//!
//! A call is described by data, [`DenoiserRequest`]; what it costs is counted from its [`CallShape`]. Attention layers have names, [`AttnKey`], in the
//! order of a pass.

use std::fmt::Debug;

use candle_core::Tensor;
use sinopia_layout::Grid;

use crate::unet::UNet2DConditionModel;
pub use crate::unet::{
    AddedConditioning, AttnKey, AttnMaps, BatchPart, CallPart, CallShape, DenoiserReply, DenoiserRequest, Eraser,
    NetworkCost, NetworkPart, Parting, Recording, SharedStart, TextConditioning, TokenColumns,
};
use crate::{Error, Result};

/// A layer in which latents attend to the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionLayer {
    /// Its name.
    pub key: AttnKey,
    /// Rows and columns of its queries: what the HW axis of its maps unfolds to.
    pub grid: Grid,
    /// The second axis of its maps.
    pub num_heads: usize,
}

/// A loss on recorded maps: a scalar computed from them by differentiable operations, or `None` to end the call before its way back.
pub type MapLoss<'a> = dyn FnMut(&AttnMaps) -> Result<Option<Tensor>> + 'a;

/// A network with frozen weights that predicts what takes noisy latents to clean ones, and can be asked which words its latents attended to.
///
/// Which of noise, velocity or picture is predicted is the scheduler's to know. A new network implements this and is given to a pipeline; nothing that
/// paints asks what it is made of.
pub trait Denoiser: Debug + Send + Sync {
    /// Channels of the latents that it takes and predicts.
    fn latent_channels(&self) -> usize;

    /// The latents' (H, W) that it was trained for, where that is known.
    fn native_hw(&self) -> Option<(usize, usize)>;

    /// Width of the text states that it attends to.
    fn text_width(&self) -> usize;

    /// Width of the pooled text states that it is conditioned on besides, together with sizes of the picture ([`AddedConditioning`]); `None` if on none.
    fn added_text_width(&self) -> Option<usize> {
        None
    }

    /// Whether a request may have `grounding`: boxes with phrases (GLIGEN).
    fn has_grounding_adapters(&self) -> bool {
        false
    }

    /// Whether a request may have an `eraser`: whether there is self-attention on the way up.
    fn can_erase(&self) -> bool {
        false
    }

    /// All layers that can be recorded, in the order of a pass over latents of a grid: at least one.
    fn attention_layers(&self, latents: Grid) -> Vec<AttentionLayer>;

    /// The layers whose attention guidance moves, in the order of a pass.
    fn guidance_keys(&self) -> Vec<AttnKey>;

    /// The layer whose map shows where an object is.
    fn object_mask_key(&self) -> AttnKey;

    /// Predicts, and records what `request` asks for; ends at its last key, if it has one.
    ///
    /// # Errors
    /// [`Error::Input`] if the request does not fit the network; [`Error::Cancelled`].
    fn forward(&self, request: &DenoiserRequest) -> Result<DenoiserReply>;

    /// What calls as `request` have in common which see the same latents at the same timestep and differ in `parting`, for their
    /// [`start`](DenoiserRequest::start); `None` if there is nothing. Where they differ in their texts, the
    /// request's may be as many as one likes.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    fn shared_start(&self, request: &DenoiserRequest, parting: Parting) -> Result<Option<SharedStart>> {
        let _ = (request, parting);
        Ok(None)
    }

    /// ∂L/∂latents (B, H, W, C) of a loss on the maps that `request` records; `None` if the loss ended the call. The pass goes no further than the last
    /// key, or the last that is recorded.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Input`] also if nothing is recorded or the loss is no scalar; whatever the loss returns.
    fn input_gradient(&self, request: &DenoiserRequest, loss: &mut MapLoss) -> Result<Option<Tensor>>;

    /// The work of a call's way forward.
    ///
    /// # Errors
    /// If the network cannot be counted.
    fn forward_cost(&self, shape: &CallShape) -> Result<NetworkCost>;

    /// The work of a gradient's way back from the maps up to the shape's last key to the latents.
    ///
    /// # Errors
    /// If the network cannot be counted.
    fn backward_cost(&self, shape: &CallShape) -> Result<NetworkCost>;
}

impl Denoiser for UNet2DConditionModel {
    fn latent_channels(&self) -> usize {
        self.config().in_channels
    }

    fn native_hw(&self) -> Option<(usize, usize)> {
        self.config().sample_hw()
    }

    fn text_width(&self) -> usize {
        self.text_width()
    }

    fn added_text_width(&self) -> Option<usize> {
        self.added_text_width()
    }

    fn has_grounding_adapters(&self) -> bool {
        self.has_grounding_adapters()
    }

    fn can_erase(&self) -> bool {
        self.can_erase()
    }

    fn attention_layers(&self, latents: Grid) -> Vec<AttentionLayer> {
        let layer = |key: AttnKey| {
            let grid = self.attention_grid(key, latents);
            Some(AttentionLayer { key, grid, num_heads: self.num_heads(key)? })
        };
        self.attention_keys().into_iter().filter_map(layer).collect()
    }

    fn guidance_keys(&self) -> Vec<AttnKey> {
        self.guidance_keys()
    }

    fn object_mask_key(&self) -> AttnKey {
        self.object_mask_key()
    }

    fn forward(&self, request: &DenoiserRequest) -> Result<DenoiserReply> {
        self.forward(request)
    }

    fn shared_start(&self, request: &DenoiserRequest, parting: Parting) -> Result<Option<SharedStart>> {
        self.shared_start(request, parting)
    }

    fn input_gradient(&self, request: &DenoiserRequest, loss: &mut MapLoss) -> Result<Option<Tensor>> {
        let outcome = self.gradient(request, &mut |maps| loss(maps)?.ok_or(Unfinished::Ended));
        match outcome {
            Ok((_, gradient)) => Ok(Some(gradient)),
            Err(Unfinished::Ended) => Ok(None),
            Err(Unfinished::Failed(error)) => Err(error),
        }
    }

    fn forward_cost(&self, shape: &CallShape) -> Result<NetworkCost> {
        self.config().forward_cost(shape)
    }

    fn backward_cost(&self, shape: &CallShape) -> Result<NetworkCost> {
        self.config().backward_cost(shape)
    }
}

/// Why a gradient call brought nothing back.
enum Unfinished {
    /// The loss asked for no more.
    Ended,
    Failed(Error),
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
