//! Networks of noise, read here and by candle's implementations of the same architectures.

use std::io::Cursor;

use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use candle_transformers::models::{
    quantized_gemma3, quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3,
};
use sinopia_nn::decoder::GatedActivation;

use crate::error::Result;
use crate::file::Head;
use crate::network::{Network, Watch};
use crate::transformer::Layers;

const WIDTH: usize = 32;
const HIDDEN: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = WIDTH / HEADS;
const VOCABULARY: usize = 40;

/// A file of an architecture with weights of noise.
pub(crate) struct Maker {
    architecture: &'static str,
    metadata: Vec<(String, Value)>,
    tensors: Vec<(String, QTensor)>,
    kind: GgmlDType,
}

impl Maker {
    pub(crate) fn new(architecture: &'static str, blocks: usize, kind: GgmlDType) -> Self {
        let mut maker = Self { architecture, metadata: Vec::new(), tensors: Vec::new(), kind };
        let text = |text: &str| Value::String(text.to_owned());
        maker.metadata.push(("general.architecture".to_owned(), text(architecture)));
        let tokens = (0..VOCABULARY).map(|id| text(&format!("t{id}"))).collect();
        maker.metadata.push(("tokenizer.ggml.tokens".to_owned(), Value::Array(tokens)));
        for (key, number) in [
            ("context_length", 256),
            ("embedding_length", WIDTH),
            ("block_count", blocks),
            ("feed_forward_length", HIDDEN),
            ("attention.head_count", HEADS),
            ("attention.head_count_kv", KV_HEADS),
            ("rope.dimension_count", HEAD_DIM),
        ] {
            maker.set(key, Value::U32(number as u32));
        }
        maker.set("attention.layer_norm_rms_epsilon", Value::F32(1e-5));
        if matches!(architecture, "qwen3" | "gemma3") {
            maker.set("attention.key_length", Value::U32(HEAD_DIM as u32));
            maker.set("rope.freq_base", Value::F32(500.0));
        }
        if architecture == "gemma3" {
            maker.set("attention.sliding_window", Value::U32(5));
            maker.set("attention.value_length", Value::U32(HEAD_DIM as u32));
        }
        maker.matrix("token_embd.weight", VOCABULARY, WIDTH);
        maker.matrix("output.weight", VOCABULARY, WIDTH);
        maker.vector("output_norm.weight", WIDTH);
        (0..blocks).for_each(|index| maker.block(index));
        maker
    }

    fn set(&mut self, key: &str, value: Value) {
        let key = format!("{}.{key}", self.architecture);
        self.metadata.retain(|(known, _)| *known != key);
        self.metadata.push((key, value));
    }

    fn block(&mut self, index: usize) {
        let name = |part: &str| format!("blk.{index}.{part}");
        let (queries, keys) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        if self.architecture == "phi3" {
            self.matrix(&name("attn_qkv.weight"), queries + 2 * keys, WIDTH);
            self.matrix(&name("ffn_up.weight"), 2 * HIDDEN, WIDTH);
        } else {
            for (part, rows) in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)] {
                self.matrix(&name(&format!("{part}.weight")), rows, WIDTH);
                if self.architecture == "qwen2" {
                    self.vector(&name(&format!("{part}.bias")), rows);
                }
            }
        }
        self.matrix(&name("attn_output.weight"), WIDTH, queries);
        let norms = match self.architecture {
            "gemma3" => &["attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"][..],
            _ => &["attn_norm", "ffn_norm"],
        };
        for norm in norms {
            self.vector(&name(&format!("{norm}.weight")), WIDTH);
        }
        if matches!(self.architecture, "qwen3" | "gemma3") {
            self.vector(&name("attn_q_norm.weight"), HEAD_DIM);
            self.vector(&name("attn_k_norm.weight"), HEAD_DIM);
        }
        self.feed_forward(&name(""), "");
    }

    /// Gives the only block `count` experts, of which each token asks two.
    fn with_experts(mut self, count: usize) -> Self {
        self.set("expert_count", Value::U32(count as u32));
        self.set("expert_used_count", Value::U32(2));
        self.matrix("blk.0.ffn_gate_inp.weight", count, WIDTH);
        (0..count).for_each(|expert| self.feed_forward("blk.0.", &format!(".{expert}")));
        self
    }

    fn feed_forward(&mut self, block: &str, expert: &str) {
        if self.architecture != "phi3" {
            self.matrix(&format!("{block}ffn_gate{expert}.weight"), HIDDEN, WIDTH);
            self.matrix(&format!("{block}ffn_up{expert}.weight"), HIDDEN, WIDTH);
        }
        self.matrix(&format!("{block}ffn_down{expert}.weight"), WIDTH, HIDDEN);
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) {
        let values = self.noise(rows * columns).map(|x| x * 0.6).collect();
        self.tensor(name, values, &[rows, columns], self.kind);
    }

    fn vector(&mut self, name: &str, length: usize) {
        let values = self.noise(length).map(|x| 1.0 + 0.5 * x).collect();
        self.tensor(name, values, &[length], GgmlDType::F32);
    }

    /// Numbers in −1..=1 that look random and are the same every time.
    fn noise(&self, count: usize) -> impl Iterator<Item = f32> + use<> {
        let start = self.tensors.len() * 7919;
        (start..start + count).map(|i| ((i as f64 * 12.9898).sin() * 43758.5453).fract() as f32)
    }

    fn tensor(&mut self, name: &str, values: Vec<f32>, shape: &[usize], kind: GgmlDType) {
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        self.tensors.push((name.to_owned(), QTensor::quantize(&tensor, kind).unwrap()));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let metadata: Vec<(&str, &Value)> = self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        gguf_file::write(&mut bytes, &metadata, &tensors).unwrap();
        bytes.into_inner()
    }

    pub(crate) fn network(&self) -> Network {
        let mut reader = Cursor::new(self.bytes());
        let head = Head::read(&mut reader, "made.gguf").unwrap();
        Network::read(&head, &mut reader).unwrap().0
    }
}

/// Nobody watches.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn check(&self, _: usize) -> Result<()> {
        Ok(())
    }
}

/// Tokens of noise.
pub(crate) fn text(count: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i * 7 + i * 3) % VOCABULARY) as u32).collect()
}

/// Candle's logits of what follows a text, and a token after it.
type Oracle = Box<dyn FnMut(&[u32], usize) -> candle_core::Result<Tensor>>;

fn oracle(maker: &Maker) -> Oracle {
    let mut reader = Cursor::new(maker.bytes());
    let content = Content::read(&mut reader).unwrap();
    let device = Device::Cpu;
    let ids = |tokens: &[u32]| Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0);
    match maker.architecture {
        "llama" => {
            let mut model = quantized_llama::ModelWeights::from_gguf(content, &mut reader, &device).unwrap();
            Box::new(move |tokens, position| model.forward(&ids(tokens)?, position))
        }
        "qwen2" => {
            let mut model = quantized_qwen2::ModelWeights::from_gguf(content, &mut reader, &device).unwrap();
            Box::new(move |tokens, position| model.forward(&ids(tokens)?, position))
        }
        "qwen3" => {
            let mut model = quantized_qwen3::ModelWeights::from_gguf(content, &mut reader, &device).unwrap();
            Box::new(move |tokens, position| model.forward(&ids(tokens)?, position))
        }
        "gemma3" => {
            let mut model = quantized_gemma3::ModelWeights::from_gguf(content, &mut reader, &device).unwrap();
            Box::new(move |tokens, position| model.forward(&ids(tokens)?, position))
        }
        _ => {
            let mut model = quantized_phi3::ModelWeights::from_gguf(false, content, &mut reader, &device).unwrap();
            Box::new(move |tokens, position| model.forward(&ids(tokens)?, position))
        }
    }
}

/// The largest difference over the largest logit.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    found.iter().zip(expected).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs())) / largest
}

#[track_caller]
fn check(maker: &Maker, mut network: Network, tolerance: f32) {
    let mut oracle = oracle(maker);
    let logits =
        |tensor: Tensor| -> Vec<f32> { tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap() };
    let text = text(70);
    let expected = logits(oracle(&text, 0).unwrap());
    let found = network.begin(&text, &Unwatched).unwrap();
    assert!(difference(&found, &expected) < tolerance, "{}: {}", maker.architecture, difference(&found, &expected));
    let expected = logits(oracle(&[3], 70).unwrap());
    let found = network.go_on(&[3], &Unwatched).unwrap();
    assert!(difference(&found, &expected) < tolerance, "{}: {}", maker.architecture, difference(&found, &expected));
}

#[test]
fn logits_are_those_of_candle() {
    for architecture in ["llama", "qwen2", "qwen3", "phi3"] {
        // Candle's qwen3 keeps rotations in half precision.
        let tolerance = if architecture == "qwen3" { 2e-2 } else { 1e-4 };
        let maker = Maker::new(architecture, 2, GgmlDType::F32);
        check(&maker, maker.network(), tolerance);
    }
}

/// Candle has SiLU where Gemma has GELU, and windows of another width, which are left out here; all else is compared.
#[test]
fn gemma_is_candles_with_another_activation() {
    let mut maker = Maker::new("gemma3", 7, GgmlDType::F32);
    maker.set("attention.sliding_window", Value::U32(100));
    let mut network = maker.network();
    for block in network.blocks_mut() {
        let Layers::Dense(gated) = &mut block.feed_forward.layers else { panic!("gemma has no experts") };
        assert_eq!(gated.activation, GatedActivation::GeluTanh);
        gated.activation = GatedActivation::Silu;
    }
    check(&maker, network, 1e-4);
}

#[test]
fn experts_answer_as_candles() {
    let maker = Maker::new("llama", 1, GgmlDType::F32).with_experts(4);
    check(&maker, maker.network(), 1e-4);
}

/// Candle rounds what it multiplies blocks with to 8 bits; we do not.
#[test]
fn weights_in_blocks_are_the_numbers_they_stand_for() {
    let maker = Maker::new("llama", 2, GgmlDType::Q8_0);
    check(&maker, maker.network(), 5e-2);
}
