//! Gemma 3 on candle's quantized products. Candle 0.11 has this network too, but with SiLU where Gemma has GELU, so that its answers are another
//! model's; it also keeps rotations of 131072 positions for every layer, which is gigabytes.
//!
//! # Source
//! Gemma Team 2025, arXiv 2503.19786; tensor names and metadata as llama.cpp writes them. `parity/llama_cpp.py` compares the two.

use std::io::{Read, Seek};

use candle_core::quantized::QMatMul;
use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb::rope;
use candle_transformers::quantized_nn::RmsNorm;
use candle_transformers::utils::repeat_kv;

/// Every so many layers one sees everything; the others see a window.
const PATTERN: usize = 6;

/// Base of the rotations in layers with a window, and in the others if the file does not say.
const LOCAL_BASE: f32 = 10_000.0;
const GLOBAL_BASE: f32 = 1_000_000.0;

/// Layers of the 27B model, which is not told by anything else in its file.
const BLOCKS_OF_27B: usize = 62;

/// The network with its memory of the tokens so far.
pub(crate) struct Gemma3 {
    embeddings: Tensor, // (vocabulary, C) f16
    blocks: Vec<Block>,
    norm: RmsNorm,
    output: QMatMul,
    local: Rotations,
    global: Rotations,
}

struct Block {
    attn_norm: RmsNorm,
    q: QMatMul,
    k: QMatMul,
    v: QMatMul,
    out: QMatMul,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    post_attn_norm: RmsNorm,
    ffn_norm: RmsNorm,
    gate: QMatMul,
    up: QMatMul,
    down: QMatMul,
    post_ffn_norm: RmsNorm,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Scores are divided by its root.
    score_width: usize,
    /// How many tokens back it sees; `None` sees all.
    window: Option<usize>,
    memory: Option<(Tensor, Tensor)>, // keys and values, (1, kv heads, N, D)
}

/// How fast heads turn with the position.
struct RotationRate {
    base: f32,
    /// Positions are divided by it: 1 unless the model was stretched to longer texts.
    scaling: f32,
}

impl RotationRate {
    fn angles(&self, head_dim: usize, positions: usize, device: &Device) -> Result<Rotations> {
        let frequency = |i: usize| self.base.powf(-(i as f32) / head_dim as f32);
        let frequencies: Vec<f32> = (0..head_dim).step_by(2).map(frequency).collect();
        let half = frequencies.len();
        let frequencies = Tensor::from_vec(frequencies, (1, half), device)?;
        let at = Tensor::arange(0f32, positions as f32, device)?.reshape((positions, 1))?;
        let angles = (at.matmul(&frequencies)? / f64::from(self.scaling))?;
        Ok(Rotations(angles.cos()?, angles.sin()?))
    }
}

/// Cosines and sines, (positions, D/2).
struct Rotations(Tensor, Tensor);

impl Rotations {
    /// `x` (1, heads, L, D) turned by its positions, the first of which is `position`.
    fn turn(&self, x: &Tensor, position: usize) -> Result<Tensor> {
        let length = x.dim(2)?;
        rope(&x.contiguous()?, &self.0.narrow(0, position, length)?, &self.1.narrow(0, position, length)?)
    }
}

impl Gemma3 {
    /// Reads the weights, with room for `positions` tokens.
    pub(crate) fn read(
        content: &Content,
        reader: &mut (impl Read + Seek),
        positions: usize,
        device: &Device,
    ) -> Result<Self> {
        let value = |key: &str| {
            let value = content.metadata.get(&format!("gemma3.{key}"));
            value.ok_or_else(|| candle_core::Error::Msg(format!("cannot find gemma3.{key} in metadata")))
        };
        let number = |key: &str| Ok::<usize, candle_core::Error>(value(key)?.to_u32()? as usize);
        let eps = f64::from(value("attention.layer_norm_rms_epsilon")?.to_f32()?);
        let (heads, kv_heads) = (number("attention.head_count")?, number("attention.head_count_kv")?);
        let (head_dim, window) = (number("attention.key_length")?, number("attention.sliding_window")?);
        let local = RotationRate { base: LOCAL_BASE, scaling: 1.0 };
        let global = RotationRate {
            base: value("rope.freq_base").and_then(|value| value.to_f32()).unwrap_or(GLOBAL_BASE),
            // 4B and larger have 8.
            scaling: value("rope.scaling.factor").and_then(|value| value.to_f32()).unwrap_or(1.0),
        };
        let num_blocks = number("block_count")?;
        // 27B divides its scores by another root.
        let score_width = if num_blocks == BLOCKS_OF_27B { number("embedding_length")? / heads } else { head_dim };
        let mut tensor = |name: &str| content.tensor(reader, &format!("{name}.weight"), device);
        let embeddings = tensor("token_embd")?;
        let norm = RmsNorm::from_qtensor(tensor("output_norm")?, eps)?;
        let mut blocks = Vec::new();
        for index in 0..num_blocks {
            let mut part = |name: &str| tensor(&format!("blk.{index}.{name}"));
            blocks.push(Block {
                attn_norm: RmsNorm::from_qtensor(part("attn_norm")?, eps)?,
                q: QMatMul::from_qtensor(part("attn_q")?)?,
                k: QMatMul::from_qtensor(part("attn_k")?)?,
                v: QMatMul::from_qtensor(part("attn_v")?)?,
                out: QMatMul::from_qtensor(part("attn_output")?)?,
                q_norm: RmsNorm::from_qtensor(part("attn_q_norm")?, eps)?,
                k_norm: RmsNorm::from_qtensor(part("attn_k_norm")?, eps)?,
                post_attn_norm: RmsNorm::from_qtensor(part("post_attention_norm")?, eps)?,
                ffn_norm: RmsNorm::from_qtensor(part("ffn_norm")?, eps)?,
                gate: QMatMul::from_qtensor(part("ffn_gate")?)?,
                up: QMatMul::from_qtensor(part("ffn_up")?)?,
                down: QMatMul::from_qtensor(part("ffn_down")?)?,
                post_ffn_norm: RmsNorm::from_qtensor(part("post_ffw_norm")?, eps)?,
                heads,
                kv_heads,
                head_dim,
                score_width,
                window: ((index + 1) % PATTERN != 0).then_some(window),
                memory: None,
            });
        }
        Ok(Self {
            blocks,
            norm,
            local: local.angles(head_dim, positions, device)?,
            global: global.angles(head_dim, positions, device)?,
            output: QMatMul::from_qtensor(tensor("output").or_else(|_| tensor("token_embd"))?)?,
            embeddings: embeddings.dequantize_f16(device)?,
        })
    }

    /// Logits (1, vocabulary) after `ids` (1, L), which follow `position` remembered tokens.
    pub(crate) fn forward(&mut self, ids: &Tensor, position: usize) -> Result<Tensor> {
        let (_, length) = ids.dims2()?;
        let width = self.embeddings.dim(1)?;
        let embedded = self.embeddings.index_select(&ids.flatten_all()?, 0)?.to_dtype(DType::F32)?;
        let mut x = (embedded.unsqueeze(0)? * (width as f64).sqrt())?; // (1, L, C)
        for block in &mut self.blocks {
            let rotations = if block.window.is_some() { &self.local } else { &self.global };
            x = block.forward(&x, position, rotations)?;
        }
        let last = self.norm.forward(&x.narrow(1, length - 1, 1)?)?.squeeze(1)?;
        self.output.forward(&last)
    }
}

impl Block {
    fn forward(&mut self, x: &Tensor, position: usize, rotations: &Rotations) -> Result<Tensor> {
        let attended = self.attend(&self.attn_norm.forward(x)?, position, rotations)?;
        let x = (x + self.post_attn_norm.forward(&attended)?)?;
        let normed = self.ffn_norm.forward(&x)?;
        let gated = (self.gate.forward(&normed)?.gelu()? * self.up.forward(&normed)?)?; // GELU by tanh
        x + self.post_ffn_norm.forward(&self.down.forward(&gated)?)?
    }

    fn attend(&mut self, x: &Tensor, position: usize, rotations: &Rotations) -> Result<Tensor> {
        let (_, length, _) = x.dims3()?;
        let heads =
            |x: Tensor, count: usize| x.reshape((1, length, count, self.head_dim))?.transpose(1, 2)?.contiguous();
        let q = self.q_norm.forward(&heads(self.q.forward(x)?, self.heads)?)?; // (1, heads, L, D)
        let k = self.k_norm.forward(&heads(self.k.forward(x)?, self.kv_heads)?)?;
        let v = heads(self.v.forward(x)?, self.kv_heads)?;
        let (q, k) = (rotations.turn(&q, position)?, rotations.turn(&k, position)?);
        let (k, v) = match self.memory.take().filter(|_| position > 0) {
            Some((keys, values)) => (Tensor::cat(&[&keys, &k], 2)?, Tensor::cat(&[&values, &v], 2)?),
            None => (k, v),
        };
        self.memory = Some((k.clone(), v.clone()));
        let (k, v) = (repeat_kv(k, self.heads / self.kv_heads)?, repeat_kv(v, self.heads / self.kv_heads)?);
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / (self.score_width as f64).sqrt())?; // (1, heads, L, N)
        let scores = scores.broadcast_add(&self.mask(length, position, x.device())?)?;
        let mixed = softmax_last_dim(&scores)?.matmul(&v.contiguous()?)?;
        let mixed = mixed.transpose(1, 2)?.reshape((1, length, self.heads * self.head_dim))?;
        self.out.forward(&mixed)
    }

    /// 0 where a token sees another, −∞ where it does not: what comes later, and what lies before the window. (L, N)
    fn mask(&self, length: usize, position: usize, device: &Device) -> Result<Tensor> {
        let total = position + length;
        let sees = |i: usize, j: usize| j <= i && self.window.is_none_or(|window| i - j < window);
        let cell = |i: usize, j: usize| if sees(i, j) { 0f32 } else { f32::NEG_INFINITY };
        let cells: Vec<f32> = (position..total).flat_map(|i| (0..total).map(move |j| cell(i, j))).collect();
        Tensor::from_vec(cells, (length, total), device)
    }
}
