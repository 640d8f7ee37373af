//! The networks that can be run, candle's and one of our own, behind one call.

use std::io::{Read, Seek};

use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3};

use crate::error::{Error, Result};
use crate::file::Head;
use crate::gemma3::Gemma3;

/// Architectures by their name in `general.architecture`. Mistral's and Mixtral's files say `llama`.
const ARCHITECTURES: [&str; 5] = ["llama", "qwen2", "qwen3", "gemma3", "phi3"];

/// Candle's llama prepares the rotations of so many positions; so does our gemma.
const MOST_POSITIONS: usize = 4096;

/// Largest sizes that are believed; larger ones come from damaged files.
const MOST_LAYERS: usize = 1024;
const MOST_CONTEXT: usize = 1 << 20;

/// Tokens read at a time: a second or two of the larger models' work, and enough to keep a processor busy.
const PIECE: usize = 32;

/// A network with its memory of the tokens so far.
pub(crate) struct Network {
    layers: Layers,
    device: Device,
}

enum Layers {
    Llama(quantized_llama::ModelWeights),
    Qwen2(quantized_qwen2::ModelWeights),
    Qwen3(quantized_qwen3::ModelWeights),
    Gemma3(Gemma3),
    Phi3(quantized_phi3::ModelWeights),
}

impl Network {
    /// Reads the weights onto a device; returns the network and how many tokens it can hold.
    pub(crate) fn read(head: Head, reader: &mut (impl Read + Seek), device: &Device) -> Result<(Self, usize)> {
        let architecture = head.text("general.architecture")?.to_owned();
        if !ARCHITECTURES.contains(&architecture.as_str()) {
            let known = ARCHITECTURES.join(", ");
            return Err(Error::Architecture { origin: head.origin, found: architecture, known });
        }
        let context = check_sizes(&head, &architecture)?;
        let Head { origin, content } = head;
        let layers = match architecture.as_str() {
            "qwen2" => quantized_qwen2::ModelWeights::from_gguf(content, reader, device).map(Layers::Qwen2),
            "qwen3" => quantized_qwen3::ModelWeights::from_gguf(content, reader, device).map(Layers::Qwen3),
            "gemma3" => Gemma3::read(&content, reader, context, device).map(Layers::Gemma3),
            "phi3" => quantized_phi3::ModelWeights::from_gguf(false, content, reader, device).map(Layers::Phi3),
            _ => quantized_llama::ModelWeights::from_gguf(content, reader, device).map(Layers::Llama),
        };
        let layers = layers.map_err(|source| Error::Weights { origin, source })?;
        Ok((Self { layers, device: device.clone() }, context))
    }

    /// Logits after `tokens`, which follow `position` tokens that the network has seen; at 0 it forgets what it has seen. They are read in pieces,
    /// and `check` may end it before each.
    pub(crate) fn logits(
        &mut self,
        tokens: &[u32],
        position: usize,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<Vec<f32>> {
        if position == 0 {
            self.layers.forget();
        }
        // Candle's qwen3 does not place several tokens after others that came one by one; pieces of a prompt it does.
        let one_by_one = position > 0 && matches!(self.layers, Layers::Qwen3(_));
        let mut logits = None;
        let pieces = tokens.chunks(if one_by_one { 1 } else { PIECE });
        let mut at = position;
        for piece in pieces {
            check()?;
            let ids = Tensor::new(piece, &self.device)?.unsqueeze(0)?; // (1, L)
            logits = Some(self.layers.forward(&ids, at)?); // (1, vocabulary)
            at += piece.len();
        }
        match logits {
            Some(logits) => Ok(logits.flatten_all()?.to_vec1()?),
            None => Ok(Vec::new()),
        }
    }
}

impl Layers {
    fn forward(&mut self, ids: &Tensor, position: usize) -> candle_core::Result<Tensor> {
        match self {
            Layers::Llama(network) => network.forward(ids, position),
            Layers::Qwen2(network) => network.forward(ids, position),
            Layers::Qwen3(network) => network.forward(ids, position),
            Layers::Gemma3(network) => network.forward(ids, position),
            Layers::Phi3(network) => network.forward(ids, position),
        }
    }

    fn forget(&mut self) {
        match self {
            Layers::Llama(network) => network.clear_kv_cache(),
            Layers::Qwen2(network) => network.clear_kv_cache(),
            Layers::Qwen3(network) => network.clear_kv_cache(),
            // These begin anew at position 0.
            Layers::Gemma3(_) | Layers::Phi3(_) => {}
        }
    }
}

/// Refuses sizes that would make candle divide by zero or ask for absurd memory; returns the number of tokens that fit.
fn check_sizes(head: &Head, architecture: &str) -> Result<usize> {
    let key = |name: &str| format!("{architecture}.{name}");
    let positive = |name: &str| match head.number(&key(name))? {
        0 => Err(head.problem(&key(name), "is 0")),
        number => Ok(number),
    };
    let (width, heads) = (positive("embedding_length")?, positive("attention.head_count")?);
    let kv_heads = positive("attention.head_count_kv")?;
    if heads % kv_heads != 0 {
        return Err(head
            .problem(&key("attention.head_count_kv"), format!("is {kv_heads}, which does not divide {heads} heads")));
    }
    if !head.has(&key("attention.key_length")) && width % heads != 0 {
        return Err(
            head.problem(&key("attention.head_count"), format!("is {heads}, which does not divide the width {width}"))
        );
    }
    if positive("block_count")? > MOST_LAYERS {
        return Err(head.problem(&key("block_count"), format!("is more than {MOST_LAYERS}")));
    }
    let rotated = head.number_or(&key("rope.dimension_count"), 2)?;
    if rotated == 0 || rotated % 2 != 0 || rotated > width {
        return Err(head.problem(&key("rope.dimension_count"), format!("is {rotated}")));
    }
    for name in ["attention.sliding_window", "attention.sliding_window_type", "attention.key_length"] {
        if head.number_or(&key(name), 1)? == 0 {
            return Err(head.problem(&key(name), "is 0"));
        }
    }
    let context = positive("context_length")?;
    if context > MOST_CONTEXT {
        return Err(head.problem(&key("context_length"), format!("is more than {MOST_CONTEXT}")));
    }
    Ok(if matches!(architecture, "llama" | "gemma3") { context.min(MOST_POSITIONS) } else { context })
}
