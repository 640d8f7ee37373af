//! The layers of the network: products, maxout with layer norm, embeddings by hash, the encoder.

use super::features::Features;
use super::hash;

/// Values of a token's vector.
pub(super) const WIDTH: usize = 96;
/// Outputs of which maxout keeps the largest.
const PIECES: usize = 3;
/// Rows of each embedding table: norm, first letter, last three letters, shape, followed by a space, is a space.
const TABLE_ROWS: [usize; 6] = [5000, 1000, 2500, 2500, 50, 50];
/// Seed of the first table's hash; the next ones count on.
const FIRST_SEED: u32 = 8;
/// Layers of the encoder, each of which sees one token to either side.
const ENCODER_LAYERS: usize = 4;

/// Takes the numbers of a weights file in their order.
pub(super) struct Weights<'a> {
    halves: &'a [u8],
}

impl<'a> Weights<'a> {
    pub(super) fn new(halves: &'a [u8]) -> Self {
        Self { halves }
    }

    /// The next `len` numbers.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        let (taken, rest) = self.halves.split_at(2 * len);
        self.halves = rest;
        taken.chunks_exact(2).map(|pair| half::f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.halves.is_empty()
    }
}

/// Inputs whose weights are added in one pass over the outputs. All layers have a multiple of it.
const INPUTS: usize = 4;
/// Vectors for which all weights are read once: they are larger than a core's cache, so that each reading of them counts.
const BLOCK: usize = 8;

/// `y = W x + b`.
pub(super) struct Linear {
    /// (inputs, outputs): the outputs of an input lie side by side, which compilers make vectors of.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// W is stored as (outputs, inputs), then b.
    pub(super) fn read(weights: &mut Weights, outputs: usize, inputs: usize) -> Self {
        let weight = transpose(&weights.take(outputs * inputs), inputs);
        Self { weight, bias: weights.take(outputs) }
    }

    pub(super) fn read_without_bias(weights: &mut Weights, outputs: usize, inputs: usize) -> Self {
        Self { weight: transpose(&weights.take(outputs * inputs), inputs), bias: vec![0.0; outputs] }
    }

    pub(super) fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut y = self.bias.clone();
        for (weights, inputs) in self.weight.chunks_exact(INPUTS * y.len()).zip(x.chunks_exact(INPUTS)) {
            add_inputs(&mut y, weights, inputs);
        }
        y
    }

    /// Of each of some vectors what [`Linear::forward`] has: (vectors, outputs).
    pub(super) fn forward_all(&self, vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let mut outputs = vec![self.bias.clone(); vectors.len()];
        for (block, outputs) in vectors.chunks(BLOCK).zip(outputs.chunks_mut(BLOCK)) {
            for (i, weights) in self.weight.chunks_exact(INPUTS * self.bias.len()).enumerate() {
                for (y, x) in outputs.iter_mut().zip(block) {
                    add_inputs(y, weights, &x[i * INPUTS..][..INPUTS]);
                }
            }
        }
        outputs
    }
}

/// Adds what [`INPUTS`] inputs add to all outputs, in this order.
fn add_inputs(outputs: &mut [f32], weights: &[f32], inputs: &[f32]) {
    let [a, b, c, d] = [inputs[0], inputs[1], inputs[2], inputs[3]];
    let (of_a, rest) = weights.split_at(outputs.len());
    let (of_b, rest) = rest.split_at(outputs.len());
    let (of_c, of_d) = rest.split_at(outputs.len());
    for ((((y, of_a), of_b), of_c), of_d) in outputs.iter_mut().zip(of_a).zip(of_b).zip(of_c).zip(of_d) {
        *y += a * of_a + b * of_b + c * of_c + d * of_d;
    }
}

/// From (outputs, inputs) to (inputs, outputs).
fn transpose(weight: &[f32], inputs: usize) -> Vec<f32> {
    (0..inputs).flat_map(|input| weight.iter().skip(input).step_by(inputs).copied()).collect()
}

/// A linear layer, the largest of each three outputs, then layer norm.
struct Maxout {
    linear: Linear,
    gain: Vec<f32>,
    shift: Vec<f32>,
}

impl Maxout {
    fn read(weights: &mut Weights, inputs: usize) -> Self {
        let linear = Linear::read(weights, WIDTH * PIECES, inputs);
        Self { linear, gain: weights.take(WIDTH), shift: weights.take(WIDTH) }
    }

    /// Of each of some vectors: (vectors, WIDTH).
    fn forward_all(&self, vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
        self.linear.forward_all(vectors).iter().map(|pieces| self.largest(pieces)).collect()
    }

    fn largest(&self, pieces: &[f32]) -> Vec<f32> {
        let largest: Vec<f32> = pieces.chunks_exact(PIECES).map(|p| p[0].max(p[1]).max(p[2])).collect();
        let mean = largest.iter().sum::<f32>() / WIDTH as f32;
        let variance = largest.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / WIDTH as f32 + 1e-8;
        let scale = 1.0 / variance.sqrt();
        let affine = self.gain.iter().zip(&self.shift);
        largest.iter().zip(affine).map(|(v, (gain, shift))| (v - mean) * scale * gain + shift).collect()
    }
}

/// From tokens to vectors: embeddings of six features by hash, mixed, then read with four tokens of context to either side.
pub(super) struct Encoder {
    tables: Vec<Vec<f32>>,
    mix: Maxout,
    layers: Vec<Maxout>,
}

impl Encoder {
    pub(super) fn read(weights: &mut Weights) -> Self {
        Self {
            tables: TABLE_ROWS.iter().map(|rows| weights.take(rows * WIDTH)).collect(),
            mix: Maxout::read(weights, TABLE_ROWS.len() * WIDTH),
            layers: (0..ENCODER_LAYERS).map(|_| Maxout::read(weights, 3 * WIDTH)).collect(),
        }
    }

    /// One vector a token: (tokens, WIDTH).
    pub(super) fn forward(&self, features: &[Features]) -> Vec<Vec<f32>> {
        // As many empty positions at either end as layers: the reference pads, and its layers write into the padding.
        let pad = ENCODER_LAYERS;
        let mut rows = vec![vec![0.0; WIDTH]; features.len() + 2 * pad];
        let embedded: Vec<Vec<f32>> = features.iter().map(|token| self.embed(token)).collect();
        for (row, mixed) in rows[pad..].iter_mut().zip(self.mix.forward_all(&embedded)) {
            *row = mixed;
        }
        for layer in &self.layers {
            rows = Self::read_context(layer, &rows);
        }
        rows.truncate(features.len() + pad);
        rows.split_off(pad)
    }

    fn embed(&self, token: &Features) -> Vec<f32> {
        let mut embedded = vec![0.0; TABLE_ROWS.len() * WIDTH];
        let tables = self.tables.iter().zip(TABLE_ROWS).zip(token.ids());
        for ((slot, seed), ((table, len), id)) in embedded.chunks_exact_mut(WIDTH).zip(FIRST_SEED..).zip(tables) {
            for hash in hash::rows(id, seed) {
                let start = (hash % len as u32) as usize * WIDTH;
                for (sum, value) in slot.iter_mut().zip(&table[start..start + WIDTH]) {
                    *sum += value;
                }
            }
        }
        embedded
    }

    /// Each row plus what the layer makes of it and its two neighbours.
    fn read_context(layer: &Maxout, rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let nothing = vec![0.0; WIDTH];
        let window = |i: usize| {
            let before = if i > 0 { &rows[i - 1] } else { &nothing };
            [&before[..], &rows[i], rows.get(i + 1).unwrap_or(&nothing)].concat()
        };
        let windows: Vec<Vec<f32>> = (0..rows.len()).map(window).collect();
        let mut read = rows.to_vec();
        for (row, changes) in read.iter_mut().zip(layer.forward_all(&windows)) {
            row.iter_mut().zip(changes).for_each(|(value, change)| *value += change);
        }
        read
    }
}

/// The place of the largest value, the first of equals; 0 of nothing.
pub(super) fn argmax(scores: &[f32]) -> usize {
    (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}
