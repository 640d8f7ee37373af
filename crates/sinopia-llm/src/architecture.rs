//! How files of each architecture make up the network: which parts it has, and what its tensors are called.
//!
//! # Source
//! Tensor names and metadata as llama.cpp writes them; the parts by the models' publications and their implementations in transformers: llama
//! (Mistral and Mixtral, too), Qwen2, Qwen3, Phi-3 and Gemma 3 (arXiv 2503.19786).

use std::io::{Read, Seek};

use sinopia_nn::decoder::{Attending, GatedActivation, KvCache, Rotary, RotaryPairs};

use crate::error::{Error, Result};
use crate::file::Head;
use crate::transformer::{
    Attention, Block, Experts, FeedForward, GateUp, Gated, Layers, QueriesKeysValues, Transformer,
};
use crate::weights::Weights;

/// Largest sizes that are believed; larger ones come from damaged files.
const MOST_LAYERS: usize = 1024;
const MOST_CONTEXT: usize = 1 << 20;
/// Numbers that a token is, or a layer makes of it, and heads: their products fit any machine word.
const MOST_WIDTH: usize = 1 << 20;
const MOST_HEADS: usize = 1 << 12;
const MOST_EXPERTS: usize = 1024;

/// Base of the rotations where the file does not say.
const ROTARY_BASE: f32 = 10_000.0;

/// Gemma: every so many layers one sees everything, the others see a window. Those that see everything turn by another base.
const GEMMA_PATTERN: usize = 6;
const GEMMA_GLOBAL_BASE: f32 = 1_000_000.0;
/// Layers of Gemma's 27B model, which is not told by anything else in its file.
const BLOCKS_OF_GEMMA_27B: usize = 62;

/// What a file's network is. Mistral's and Mixtral's files say `llama`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
    Phi3,
}

impl Architecture {
    /// With their names in `general.architecture`.
    const ALL: [(&'static str, Self); 5] = [
        ("llama", Self::Llama),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
        ("gemma3", Self::Gemma3),
        ("phi3", Self::Phi3),
    ];

    fn of(head: &Head) -> Result<Self> {
        let name = head.text("general.architecture")?;
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, known)| known).ok_or_else(|| {
            let known = Self::ALL.map(|(name, _)| name).join(", ");
            Error::Architecture { origin: head.origin.clone(), found: name.to_owned(), known }
        })
    }

    fn pairs(self) -> RotaryPairs {
        if self == Self::Llama { RotaryPairs::Neighbours } else { RotaryPairs::Halves }
    }
}

/// The network of a file, and how many tokens it reads.
pub(crate) fn read(head: &Head, reader: &mut (impl Read + Seek)) -> Result<(Transformer, usize)> {
    let sizes = Sizes::of(head, Architecture::of(head)?)?;
    let mut reading = Reading { weights: Weights::new(head, reader), sizes };
    reading.stretch(head)?;
    let context = reading.sizes.context;
    Ok((reading.transformer()?, context))
}

/// What the metadata says.
#[derive(Debug, Clone)]
struct Sizes {
    architecture: Architecture,
    context: usize,
    blocks: usize,
    vocabulary: usize,
    /// C.
    width: usize,
    /// F.
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    /// D.
    head_dim: usize,
    eps: f32,
    rotaries: Vec<Rotary>,
    /// Of Gemma's layers that have one.
    window: Option<usize>,
    /// Of Mixtral: how many there are, and how many a token asks.
    experts: Option<(usize, usize)>,
}

impl Sizes {
    /// Refuses sizes that would divide by zero or ask for absurd memory.
    fn of(head: &Head, architecture: Architecture) -> Result<Self> {
        let prefix = head.text("general.architecture")?;
        let key = |name: &str| format!("{prefix}.{name}");
        let positive = |name: &str| match head.number(&key(name))? {
            0 => Err(head.problem(&key(name), "is 0")),
            number => Ok(number),
        };
        let at_most = |name: &str, most: usize| match positive(name)? {
            number if number > most => Err(head.problem(&key(name), format!("is more than {most}"))),
            number => Ok(number),
        };
        let (width, heads) = (at_most("embedding_length", MOST_WIDTH)?, at_most("attention.head_count", MOST_HEADS)?);
        let kv_heads = at_most("attention.head_count_kv", MOST_HEADS)?;
        if heads % kv_heads != 0 {
            let problem = format!("is {kv_heads}, which does not divide {heads} heads");
            return Err(head.problem(&key("attention.head_count_kv"), problem));
        }
        let head_dim = match head.has(&key("attention.key_length")) {
            true => at_most("attention.key_length", MOST_WIDTH)?,
            false if width % heads != 0 => {
                let problem = format!("is {heads}, which does not divide the width {width}");
                return Err(head.problem(&key("attention.head_count"), problem));
            }
            false => width / heads,
        };
        let rotated = head.number_or(&key("rope.dimension_count"), head_dim)?;
        if rotated == 0 || rotated % 2 != 0 || rotated > head_dim {
            return Err(head.problem(&key("rope.dimension_count"), format!("is {rotated} of heads {head_dim} wide")));
        }
        let window = match architecture {
            Architecture::Gemma3 => Some(positive("attention.sliding_window")?),
            _ => None,
        };
        Ok(Self {
            architecture,
            context: at_most("context_length", MOST_CONTEXT)?,
            blocks: at_most("block_count", MOST_LAYERS)?,
            vocabulary: head.texts("tokenizer.ggml.tokens")?.len(),
            width,
            hidden: at_most("feed_forward_length", MOST_WIDTH)?,
            heads,
            kv_heads,
            head_dim,
            eps: head.float(&key("attention.layer_norm_rms_epsilon"))?,
            rotaries: rotaries(head, architecture, prefix, rotated)?,
            window,
            experts: experts(head, prefix)?,
        })
    }
}

/// How heads turn: in all layers, or in those with a window and in the others.
fn rotaries(head: &Head, architecture: Architecture, prefix: &str, width: usize) -> Result<Vec<Rotary>> {
    let key = |name: &str| format!("{prefix}.{name}");
    let pairs = architecture.pairs();
    let base = |default: f32| head.positive_or(&key("rope.freq_base"), default);
    let scaling = position_scaling(head, prefix)?;
    if architecture != Architecture::Gemma3 {
        return Ok(vec![Rotary::new(width, base(ROTARY_BASE)?, scaling, pairs)]);
    }
    let local = Rotary::new(width, ROTARY_BASE, 1.0, pairs);
    Ok(vec![local, Rotary::new(width, base(GEMMA_GLOBAL_BASE)?, scaling, pairs)])
}

/// What positions are divided by. Gemma's files from 4B on have 8.
fn position_scaling(head: &Head, prefix: &str) -> Result<f32> {
    let key = format!("{prefix}.rope.scaling.type");
    match head.text_or(&key, "linear")? {
        "linear" => {
            let older = head.positive_or(&format!("{prefix}.rope.scale_linear"), 1.0)?;
            head.positive_or(&format!("{prefix}.rope.scaling.factor"), older)
        }
        // Factors for each pair are tensors, read with the weights.
        "none" | "longrope" => Ok(1.0),
        other => Err(head.problem(&key, format!("is `{other}`, known are none, linear and longrope"))),
    }
}

fn experts(head: &Head, prefix: &str) -> Result<Option<(usize, usize)>> {
    let key = format!("{prefix}.expert_count");
    match head.number_or(&key, 0)? {
        0 | 1 => Ok(None),
        count if count > MOST_EXPERTS => Err(head.problem(&key, format!("is more than {MOST_EXPERTS}"))),
        count => Ok(Some((count, head.number_or(&format!("{prefix}.expert_used_count"), 0)?.clamp(1, count)))),
    }
}

/// A network being read.
struct Reading<'a, R> {
    weights: Weights<'a, R>,
    sizes: Sizes,
}

impl<R: Read + Seek> Reading<'_, R> {
    /// Takes a factor for each pair that turns, if the file has them: Llama's from 3.1 on, and those of Phi-3 for long texts. Phi-3 has others for
    /// short ones, up to the length that it was first trained on; texts that are planned with never need more, so that this becomes its context, and
    /// what was computed for a text's beginning stays true as it grows.
    fn stretch(&mut self, head: &Head) -> Result<()> {
        const ALL: &str = "rope_freqs.weight";
        const SHORT: &str = "rope_factors_short.weight";
        let (name, gain) = match [ALL, SHORT].map(|name| self.weights.has(name)) {
            [true, _] => (ALL, 1.0),
            [false, true] => {
                let prefix = head.text("general.architecture")?;
                let key = |name: &str| format!("{prefix}.rope.scaling.{name}");
                let trained = head.number_or(&key("original_context_length"), self.sizes.context)?.max(1);
                self.sizes.context = self.sizes.context.min(trained);
                (SHORT, head.positive_or(&key("attn_factor"), 1.0)?)
            }
            [false, false] => return Ok(()),
        };
        let rotaries = std::mem::take(&mut self.sizes.rotaries);
        for rotary in rotaries {
            let factors = self.weights.positive(name, rotary.pairs())?;
            self.sizes.rotaries.push(rotary.stretched(&factors, gain));
        }
        Ok(())
    }

    fn transformer(mut self) -> Result<Transformer> {
        let Sizes { architecture, width, vocabulary, eps, .. } = self.sizes;
        // A file may have more rows than tokens, for alignment.
        let rows = self.weights.shape("token_embd.weight")?.first().copied().unwrap_or(0).max(vocabulary);
        let embeddings = self.weights.matrix("token_embd.weight", [rows, width])?;
        let output = match self.weights.has("output.weight") {
            true => self.weights.projection("output", [rows, width])?,
            false => self.weights.projection("token_embd", [rows, width])?,
        };
        let norm = self.weights.norm("output_norm.weight", width, eps)?;
        let blocks = (0..self.sizes.blocks).map(|index| self.block(index)).collect::<Result<_>>()?;
        let embedding_scale = if architecture == Architecture::Gemma3 { (width as f32).sqrt() } else { 1.0 };
        Ok(Transformer { embeddings, embedding_scale, rotaries: self.sizes.rotaries, blocks, norm, output })
    }

    fn block(&mut self, index: usize) -> Result<Block> {
        let Sizes { kv_heads, head_dim, .. } = self.sizes;
        Ok(Block {
            attention: self.attention(index)?,
            feed_forward: self.feed_forward(index)?,
            cache: KvCache::new(kv_heads, head_dim),
        })
    }

    fn attention(&mut self, index: usize) -> Result<Attention> {
        let Sizes { architecture, blocks, width, heads, kv_heads, head_dim, eps, .. } = self.sizes;
        let is_gemma = architecture == Architecture::Gemma3;
        let window = self.sizes.window.filter(|_| !(index + 1).is_multiple_of(GEMMA_PATTERN));
        let has_head_norms = matches!(architecture, Architecture::Qwen3 | Architecture::Gemma3);
        // Gemma 27B divides its scores by another root.
        let score_width = if is_gemma && blocks == BLOCKS_OF_GEMMA_27B { width / heads } else { head_dim };
        let name = |part: &str| format!("blk.{index}.{part}");
        let weights = &mut self.weights;
        Ok(Attention {
            norm: weights.norm(&name("attn_norm.weight"), width, eps)?,
            queries_keys_values: match architecture {
                Architecture::Phi3 => {
                    let rows = (heads + 2 * kv_heads) * head_dim;
                    QueriesKeysValues::Together(weights.projection(&name("attn_qkv"), [rows, width])?)
                }
                _ => QueriesKeysValues::Apart {
                    queries: weights.projection(&name("attn_q"), [heads * head_dim, width])?,
                    keys: weights.projection(&name("attn_k"), [kv_heads * head_dim, width])?,
                    values: weights.projection(&name("attn_v"), [kv_heads * head_dim, width])?,
                },
            },
            head_norms: match has_head_norms {
                true => Some((
                    weights.norm(&name("attn_q_norm.weight"), head_dim, eps)?,
                    weights.norm(&name("attn_k_norm.weight"), head_dim, eps)?,
                )),
                false => None,
            },
            rotary: usize::from(is_gemma && window.is_none()),
            attending: Attending { heads, window, scale: 1.0 / (score_width.max(1) as f32).sqrt() },
            kv_heads,
            output: weights.projection(&name("attn_output"), [width, heads * head_dim])?,
            post_norm: match is_gemma {
                true => Some(weights.norm(&name("post_attention_norm.weight"), width, eps)?),
                false => None,
            },
        })
    }

    fn feed_forward(&mut self, index: usize) -> Result<FeedForward> {
        let Sizes { architecture, width, eps, experts, .. } = self.sizes;
        let name = |part: &str| format!("blk.{index}.{part}");
        let norm = self.weights.norm(&name("ffn_norm.weight"), width, eps)?;
        let post_norm = match architecture {
            Architecture::Gemma3 => Some(self.weights.norm(&name("post_ffw_norm.weight"), width, eps)?),
            _ => None,
        };
        let layers = match experts {
            None => Layers::Dense(self.gated(&name(""), "")?),
            Some((count, used)) => Layers::Experts(Experts {
                router: self.weights.projection(&name("ffn_gate_inp"), [count, width])?,
                experts: (0..count)
                    .map(|expert| self.gated(&name(""), &format!(".{expert}")))
                    .collect::<Result<_>>()?,
                used,
            }),
        };
        Ok(FeedForward { norm, layers, post_norm })
    }

    /// The feed-forward layer whose matrices are called `{block}ffn_gate{expert}` and so on.
    fn gated(&mut self, block: &str, expert: &str) -> Result<Gated> {
        let Sizes { architecture, width, hidden, .. } = self.sizes;
        let name = |part: &str| format!("{block}ffn_{part}{expert}");
        Ok(Gated {
            gate_up: match architecture {
                Architecture::Phi3 => GateUp::Together(self.weights.projection(&name("up"), [2 * hidden, width])?),
                _ => GateUp::Apart {
                    gate: self.weights.projection(&name("gate"), [hidden, width])?,
                    up: self.weights.projection(&name("up"), [hidden, width])?,
                },
            },
            activation: match architecture {
                Architecture::Gemma3 => GatedActivation::GeluTanh,
                _ => GatedActivation::Silu,
            },
            down: self.weights.projection(&name("down"), [width, hidden])?,
        })
    }
}
