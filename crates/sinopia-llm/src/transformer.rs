//! A transformer that reads a text from left to right: the one network that all architectures are, which differ in its parts.
//!
//! N tokens read so far, L tokens read together, C width of a token, D width of a head, F width of the feed-forward layers.

use sinopia_nn::Result;
use sinopia_nn::decoder::{Angles, Attending, GatedActivation, KvCache, Phase, Projection, RmsNorm, Rotary};
use sinopia_nn::threads::on_worker;

use crate::weights::Matrix;

/// The network with the keys and values of the tokens it has read.
pub(crate) struct Transformer {
    /// (vocabulary, C).
    pub(crate) embeddings: Matrix,
    /// What embeddings are multiplied by.
    pub(crate) embedding_scale: f32,
    pub(crate) rotaries: Vec<Rotary>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: RmsNorm,
    /// (vocabulary, C).
    pub(crate) output: Projection,
}

/// Attention and a feed-forward layer, each added to what it is given.
pub(crate) struct Block {
    pub(crate) attention: Attention,
    pub(crate) feed_forward: FeedForward,
    pub(crate) cache: KvCache,
}

pub(crate) struct Attention {
    pub(crate) norm: RmsNorm,
    pub(crate) queries_keys_values: QueriesKeysValues,
    /// Over each head of the queries and of the keys.
    pub(crate) head_norms: Option<(RmsNorm, RmsNorm)>,
    /// Which of the network's.
    pub(crate) rotary: usize,
    pub(crate) attending: Attending,
    pub(crate) kv_heads: usize,
    pub(crate) output: Projection,
    pub(crate) post_norm: Option<RmsNorm>,
}

/// Three matrices, or one whose rows are those of the three.
pub(crate) enum QueriesKeysValues {
    Apart { queries: Projection, keys: Projection, values: Projection },
    Together(Projection),
}

pub(crate) struct FeedForward {
    pub(crate) norm: RmsNorm,
    pub(crate) layers: Layers,
    pub(crate) post_norm: Option<RmsNorm>,
}

pub(crate) enum Layers {
    Dense(Gated),
    Experts(Experts),
}

/// `down · (f(gate · x) · (up · x))`.
pub(crate) struct Gated {
    pub(crate) gate_up: GateUp,
    pub(crate) activation: GatedActivation,
    pub(crate) down: Projection,
}

/// Two matrices, or one whose rows are those of the gate and then the others.
pub(crate) enum GateUp {
    Apart { gate: Projection, up: Projection },
    Together(Projection),
}

/// Several feed-forward layers, of which each token asks those that a router finds fit for it.
pub(crate) struct Experts {
    pub(crate) router: Projection,
    pub(crate) experts: Vec<Gated>,
    /// How many a token asks.
    pub(crate) used: usize,
}

impl Transformer {
    /// Tokens read.
    pub(crate) fn len(&self) -> usize {
        self.blocks.first().map_or(0, |block| block.cache.len())
    }

    /// Layers of attention.
    pub(crate) fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Forgets all tokens behind the first `tokens`.
    pub(crate) fn truncate(&mut self, tokens: usize) {
        for block in &mut self.blocks {
            block.cache.truncate(tokens);
        }
    }

    /// Bytes of keys and values of a token.
    pub(crate) fn bytes_per_token(&self) -> usize {
        self.blocks.iter().map(|block| block.cache.bytes_per_token()).sum()
    }

    /// Reads the next tokens and returns what the last of them became, (C). `check` is asked before each block, and is told how many are done; if it ends
    /// the reading, none of the tokens was read.
    pub(crate) fn read<E: From<sinopia_nn::Error>>(
        &mut self,
        tokens: &[u32],
        phase: Phase,
        check: impl Fn(usize) -> std::result::Result<(), E>,
    ) -> std::result::Result<Vec<f32>, E> {
        let before = self.len();
        let read = self.blocks_over(tokens, phase, check);
        if read.is_err() {
            self.truncate(before);
        }
        read
    }

    fn blocks_over<E: From<sinopia_nn::Error>>(
        &mut self,
        tokens: &[u32],
        phase: Phase,
        check: impl Fn(usize) -> std::result::Result<(), E>,
    ) -> std::result::Result<Vec<f32>, E> {
        let mut x = self.embed(tokens)?; // (L, C)
        let before = self.len();
        let positions = before..before + tokens.len();
        let angles: Vec<Angles> = self.rotaries.iter().map(|rotary| rotary.angles(positions.clone())).collect();
        for (index, block) in self.blocks.iter_mut().enumerate() {
            check(index)?;
            on_worker(|| block.forward(&mut x, &angles, phase))?;
        }
        Ok(x.split_off(x.len() - self.norm.width()))
    }

    /// Logits (vocabulary) of what follows a token that became `last`, (C).
    pub(crate) fn logits(&self, last: &[f32]) -> Result<Vec<f32>> {
        on_worker(|| self.output.forward(&self.norm.forward(last), Phase::Decode))
    }

    fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut x = Vec::with_capacity(tokens.len() * self.norm.width());
        for &token in tokens {
            x.extend(self.embeddings.row(token as usize)?.iter().map(|number| number * self.embedding_scale));
        }
        Ok(x)
    }
}

impl Block {
    /// Replaces `x`, (L, C), by what the block makes of it.
    fn forward(&mut self, x: &mut [f32], angles: &[Angles], phase: Phase) -> Result<()> {
        add(x, &self.attention.forward(x, angles, &mut self.cache, phase)?);
        add(x, &self.feed_forward.forward(x, phase)?);
        Ok(())
    }
}

impl Attention {
    fn forward(&self, x: &[f32], angles: &[Angles], cache: &mut KvCache, phase: Phase) -> Result<Vec<f32>> {
        let [mut q, mut k, v] = self.queries_keys_values(&self.norm.forward(x), phase)?; // each (L, heads, D)
        if let Some((queries, keys)) = &self.head_norms {
            queries.apply(&mut q);
            keys.apply(&mut k);
        }
        if let Some(angles) = angles.get(self.rotary) {
            angles.apply(&mut q, self.attending.heads);
            angles.apply(&mut k, self.kv_heads);
        }
        cache.append(&k, &v);
        let mut y = self.output.forward(&cache.attend(&q, self.attending), phase)?;
        if let Some(norm) = &self.post_norm {
            norm.apply(&mut y);
        }
        Ok(y)
    }

    fn queries_keys_values(&self, x: &[f32], phase: Phase) -> Result<[Vec<f32>; 3]> {
        match &self.queries_keys_values {
            QueriesKeysValues::Apart { queries, keys, values } => {
                Ok([queries.forward(x, phase)?, keys.forward(x, phase)?, values.forward(x, phase)?])
            }
            QueriesKeysValues::Together(all) => {
                let width = all.out_features() / (self.attending.heads + 2 * self.kv_heads);
                let widths = [self.attending.heads, self.kv_heads, self.kv_heads].map(|heads| heads * width);
                Ok(columns(&all.forward(x, phase)?, widths))
            }
        }
    }
}

impl FeedForward {
    fn forward(&self, x: &[f32], phase: Phase) -> Result<Vec<f32>> {
        let normed = self.norm.forward(x);
        let mut y = match &self.layers {
            Layers::Dense(gated) => gated.forward(&normed, phase)?,
            Layers::Experts(experts) => experts.forward(&normed, phase)?,
        };
        if let Some(norm) = &self.post_norm {
            norm.apply(&mut y);
        }
        Ok(y)
    }
}

impl Gated {
    fn forward(&self, x: &[f32], phase: Phase) -> Result<Vec<f32>> {
        let [mut gate, up] = match &self.gate_up {
            GateUp::Apart { gate, up } => [gate.forward(x, phase)?, up.forward(x, phase)?],
            GateUp::Together(both) => columns(&both.forward(x, phase)?, [both.out_features() / 2; 2]),
        };
        self.activation.apply(&mut gate, &up);
        self.down.forward(&gate, phase)
    }
}

impl Experts {
    fn forward(&self, x: &[f32], phase: Phase) -> Result<Vec<f32>> {
        let width = self.router.in_features();
        let scores = self.router.forward(x, phase)?;
        let chosen: Vec<Vec<(usize, f32)>> =
            scores.chunks_exact(self.experts.len()).map(|scores| chosen(scores, self.used)).collect();
        let mut y = vec![0.0; x.len()];
        for (index, expert) in self.experts.iter().enumerate() {
            let share = |(token, chosen): (usize, &Vec<(usize, f32)>)| {
                chosen.iter().find(|(expert, _)| *expert == index).map(|(_, share)| (token, *share))
            };
            let asked: Vec<(usize, f32)> = chosen.iter().enumerate().filter_map(share).collect();
            if asked.is_empty() {
                continue;
            }
            let rows: Vec<f32> = asked.iter().flat_map(|(token, _)| &x[token * width..][..width]).copied().collect();
            let answers = expert.forward(&rows, phase)?;
            for ((token, share), answer) in asked.into_iter().zip(answers.chunks_exact(width)) {
                let row = &mut y[token * width..][..width];
                row.iter_mut().zip(answer).for_each(|(y, answer)| *y += share * answer);
            }
        }
        Ok(y)
    }
}

/// The `used` experts with the highest scores, with their shares of the softmax over them; of equal ones the first.
fn chosen(scores: &[f32], used: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(used.max(1));
    let weight = |expert: usize| (scores[expert] - scores[order[0]]).exp();
    let total: f32 = order.iter().map(|&expert| weight(expert)).sum();
    order.iter().map(|&expert| (expert, weight(expert) / total)).collect()
}

/// Rows cut into parts of these widths: one array for each part.
fn columns<const N: usize>(x: &[f32], widths: [usize; N]) -> [Vec<f32>; N] {
    let total: usize = widths.iter().sum();
    let mut first = 0;
    widths.map(|width| {
        let part = first..first + width;
        first += width;
        x.chunks_exact(total.max(1)).flat_map(|row| &row[part.clone()]).copied().collect()
    })
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_share_by_their_scores() {
        let shares = chosen(&[0.0, 2.0_f32.ln(), f32::NEG_INFINITY, 4.0_f32.ln()], 2);
        assert_eq!(shares.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(), [3, 1]);
        assert!((shares[0].1 - 2.0 / 3.0).abs() < 1e-6 && (shares[1].1 - 1.0 / 3.0).abs() < 1e-6, "{shares:?}");
    }

    #[test]
    fn rows_are_cut_into_columns() {
        let [a, b] = columns(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 2]);
        assert_eq!((a, b), (vec![1.0, 4.0], vec![2.0, 3.0, 5.0, 6.0]));
    }
}
