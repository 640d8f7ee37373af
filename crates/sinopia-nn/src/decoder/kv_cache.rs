//! Keys and values of the tokens that were read, and attention over them.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::f32::{LANES, Panels, Strided, product};
use crate::cpu::numeric::softmax;
use crate::cpu::start::Start;

/// Tokens whose queries are multiplied together. Blocks begin at multiples of it, wherever a text was cut, so that a token's sums begin at the same key.
const BLOCK_TOKENS: usize = 32;

/// Keys whose values are added up in one product. A product may add in another order when it is longer; these end at multiples of it, wherever the text ends.
const STRETCH_KEYS: usize = 256;

/// Keys and values of one layer, in panels for products; they grow with the text.
#[derive(Debug, Clone)]
pub struct KvCache {
    heads: Vec<Head>,
    head_dim: usize,
    tokens: usize,
}

/// What one head keeps of N tokens.
#[derive(Debug, Clone)]
struct Head {
    /// (⌈N/16⌉, D, 16): a panel has 16 tokens.
    keys: Vec<f32>,
    /// ⌈D/16⌉ of (N, 16): a panel has 16 elements of the head.
    values: Vec<Vec<f32>>,
}

/// How queries look at keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attending {
    /// Heads of the queries: a multiple of those of the keys, which neighbours share.
    pub heads: usize,
    /// How many tokens a token sees, itself included; `None` sees all before it.
    pub window: Option<usize>,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl KvCache {
    /// Room for `heads` heads of width `head_dim`, nothing in it.
    pub fn new(heads: usize, head_dim: usize) -> Self {
        let head = Head { keys: Vec::new(), values: vec![Vec::new(); head_dim.div_ceil(LANES)] };
        Self { heads: vec![head; heads], head_dim, tokens: 0 }
    }

    /// Tokens kept.
    pub fn len(&self) -> usize {
        self.tokens
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Bytes that a token takes.
    pub fn bytes_per_token(&self) -> usize {
        self.heads.len() * (self.head_dim + self.head_dim.next_multiple_of(LANES)) * size_of::<f32>()
    }

    /// Forgets all tokens behind the first `tokens`, and gives their memory back.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        for head in &mut self.heads {
            head.keys.truncate(self.tokens.div_ceil(LANES) * self.head_dim * LANES);
            head.keys.shrink_to_fit();
            for panel in &mut head.values {
                panel.truncate(self.tokens * LANES);
                panel.shrink_to_fit();
            }
        }
    }

    /// Keeps the keys and values of the next tokens, each (L, heads, D).
    pub fn append(&mut self, keys: &[f32], values: &[f32]) {
        let (width, dim) = (self.heads.len() * self.head_dim, self.head_dim);
        let added = keys.len() / width.max(1);
        let total = self.tokens + added;
        for (index, head) in self.heads.iter_mut().enumerate() {
            head.keys.resize(total.div_ceil(LANES) * dim * LANES, 0.0);
            for token in 0..added {
                let at = token * width + index * dim;
                head.write_key(self.tokens + token, &keys[at..at + dim]);
                head.push_value(&values[at..at + dim]);
            }
        }
        self.tokens = total;
    }

    /// What the last L tokens see of all before them and of themselves: `softmax(scale · q · Kᵀ) · V` for `queries` (L, heads, D), shaped alike.
    pub fn attend(&self, queries: &[f32], how: Attending) -> Vec<f32> {
        let width = how.heads * self.head_dim;
        let length = queries.len() / width.max(1);
        let first = self.tokens - length;
        let blocks: Vec<Range<usize>> = (first / BLOCK_TOKENS..self.tokens.div_ceil(BLOCK_TOKENS))
            .map(|block| (block * BLOCK_TOKENS).max(first)..((block + 1) * BLOCK_TOKENS).min(self.tokens))
            .collect();
        let group = how.heads / self.heads.len().max(1);
        let pieces: Vec<(usize, Range<usize>)> =
            (0..self.heads.len()).flat_map(|head| blocks.iter().map(move |block| (head, block.clone()))).collect();
        let attended = |(head, tokens): &(usize, Range<usize>)| {
            let rows = Rows { first, width, head_dim: self.head_dim, group, head: *head, tokens: tokens.clone() };
            self.attend_block(*head, rows.gather(queries), tokens.clone(), group, how)
        };
        let results: Vec<Vec<f32>> = pieces.par_iter().with_max_len(1).map(attended).collect();
        let mut out = vec![0.0; queries.len()];
        for ((head, tokens), result) in pieces.into_iter().zip(results) {
            Rows { first, width, head_dim: self.head_dim, group, head, tokens }.scatter(&result, &mut out);
        }
        out
    }

    /// Attention of the queries (tokens · group, D) that share a head of the keys.
    fn attend_block(
        &self,
        head: usize,
        queries: Vec<f32>,
        tokens: Range<usize>,
        group: usize,
        Attending { window, scale, .. }: Attending,
    ) -> Vec<f32> {
        let block = tokens.start / BLOCK_TOKENS * BLOCK_TOKENS;
        // The first key that any token of the block sees, at the beginning of a panel.
        let from = window.map_or(0, |window| (block + 1).saturating_sub(window)) / LANES * LANES;
        let seen = from..tokens.end;
        let head = &self.heads[head];
        let rows = tokens.len() * group;
        let keys = Keys { head, dim: self.head_dim, tokens: seen.clone() };
        let mut scores = product(Start::Zero, rows, &Strided::dense(&queries, self.head_dim), &keys); // (rows, N)
        for (row, scores) in scores.chunks_exact_mut(seen.len()).enumerate() {
            let token = tokens.start + row / group;
            let oldest = window.map_or(0, |window| (token + 1).saturating_sub(window)).max(from);
            let (before, rest) = scores.split_at_mut(oldest - from);
            let (visible, later) = rest.split_at_mut(token + 1 - oldest);
            visible.iter_mut().for_each(|score| *score *= scale);
            softmax(visible);
            before.fill(0.0);
            later.fill(0.0);
        }
        self.mix(head, &scores, seen)
    }

    /// The values of the tokens `seen` added up by `probs`, (rows, N).
    fn mix(&self, head: &Head, probs: &[f32], seen: Range<usize>) -> Vec<f32> {
        let rows = probs.len() / seen.len();
        let mut sums: Option<Vec<f32>> = None;
        for first in seen.clone().step_by(STRETCH_KEYS) {
            let tokens = first..(first + STRETCH_KEYS).min(seen.end);
            let elements = &probs[first - seen.start..];
            let probs = Strided { elements, width: tokens.len(), stride: seen.len() };
            let values = Values { head, dim: self.head_dim, tokens };
            let start = sums.as_deref().map_or(Start::Zero, |sums| Start::Base(sums, None));
            sums = Some(product(start, rows, &probs, &values));
        }
        sums.unwrap_or_default()
    }
}

impl Head {
    fn write_key(&mut self, token: usize, key: &[f32]) {
        let panel = &mut self.keys[token / LANES * key.len() * LANES..];
        for (line, &element) in panel.chunks_exact_mut(LANES).zip(key) {
            line[token % LANES] = element;
        }
    }

    fn push_value(&mut self, value: &[f32]) {
        for (panel, part) in self.values.iter_mut().zip(value.chunks(LANES)) {
            panel.extend_from_slice(part);
            panel.resize(panel.len().next_multiple_of(LANES), 0.0);
        }
    }
}

/// The queries of some tokens that share a head of the keys, in an array (L, heads, D).
struct Rows {
    /// Position of the array's first token.
    first: usize,
    width: usize,
    head_dim: usize,
    /// Heads of the queries for one of the keys.
    group: usize,
    head: usize,
    tokens: Range<usize>,
}

impl Rows {
    /// Where each token's heads lie.
    fn places(&self) -> impl Iterator<Item = Range<usize>> {
        let part = self.group * self.head_dim;
        let at = move |token: usize| (token - self.first) * self.width + self.head * part;
        self.tokens.clone().map(at).map(move |at| at..at + part)
    }

    fn gather(&self, array: &[f32]) -> Vec<f32> {
        self.places().flat_map(|place| &array[place]).copied().collect()
    }

    fn scatter(&self, rows: &[f32], array: &mut [f32]) {
        for (place, rows) in self.places().zip(rows.chunks_exact(self.group * self.head_dim)) {
            array[place].copy_from_slice(rows);
        }
    }
}

/// The keys of some tokens, the first of which begins a panel: (D, N).
struct Keys<'a> {
    head: &'a Head,
    dim: usize,
    tokens: Range<usize>,
}

/// The values of some tokens: (N, D).
struct Values<'a> {
    head: &'a Head,
    dim: usize,
    tokens: Range<usize>,
}

impl Panels for Keys<'_> {
    fn rows(&self) -> usize {
        self.dim
    }

    fn columns(&self) -> usize {
        self.tokens.len()
    }

    fn panel<'a>(&'a self, panel: usize, rows: Range<usize>, _: &'a mut Vec<f32>) -> &'a [f32] {
        let at = (self.tokens.start / LANES + panel) * self.dim;
        &self.head.keys[(at + rows.start) * LANES..(at + rows.end) * LANES]
    }
}

impl Panels for Values<'_> {
    fn rows(&self) -> usize {
        self.tokens.len()
    }

    fn columns(&self) -> usize {
        self.dim
    }

    fn panel<'a>(&'a self, panel: usize, rows: Range<usize>, _: &'a mut Vec<f32>) -> &'a [f32] {
        let at = self.tokens.start;
        &self.head.values[panel][(at + rows.start) * LANES..(at + rows.end) * LANES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::noise;

    const HEADS: usize = 4;
    const KV_HEADS: usize = 2;
    const DIM: usize = 24;

    fn values(seed: u64, tokens: usize, heads: usize) -> Vec<f32> {
        noise(seed, &[tokens, heads, DIM]).flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Attention of `tokens` tokens, read in pieces of these lengths again and again.
    fn attended(tokens: usize, pieces: &[usize], window: Option<usize>) -> Vec<f32> {
        let (q, k, v) = (values(1, tokens, HEADS), values(2, tokens, KV_HEADS), values(3, tokens, KV_HEADS));
        let mut cache = KvCache::new(KV_HEADS, DIM);
        let mut out = Vec::new();
        let mut lengths = pieces.iter().cycle();
        while cache.len() < tokens {
            let from = cache.len();
            let to = (from + lengths.next().unwrap()).min(tokens);
            let part = |x: &[f32], heads: usize| x[from * heads * DIM..to * heads * DIM].to_vec();
            cache.append(&part(&k, KV_HEADS), &part(&v, KV_HEADS));
            out.extend(cache.attend(&part(&q, HEADS), Attending { heads: HEADS, window, scale: 0.3 }));
        }
        out
    }

    #[test]
    fn tokens_see_what_lies_before_them_in_their_window() {
        let tokens = 70;
        let (q, k, v) = (values(1, tokens, HEADS), values(2, tokens, KV_HEADS), values(3, tokens, KV_HEADS));
        for window in [None, Some(1), Some(7), Some(40), Some(1000)] {
            let found = attended(tokens, &[tokens], window);
            for token in 0..tokens {
                for head in 0..HEADS {
                    let kv = head / (HEADS / KV_HEADS);
                    let row = |x: &[f32], at: usize, heads: usize, head: usize| -> Vec<f64> {
                        x[(at * heads + head) * DIM..][..DIM].iter().map(|&x| f64::from(x)).collect()
                    };
                    let query = row(&q, token, HEADS, head);
                    let oldest = window.map_or(0, |window| (token + 1).saturating_sub(window));
                    let score = |at: usize| -> f64 {
                        row(&k, at, KV_HEADS, kv).iter().zip(&query).map(|(k, q)| k * q).sum::<f64>() * 0.3
                    };
                    let weights: Vec<f64> = (oldest..=token).map(|at| score(at).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for d in 0..DIM {
                        let mixed = (oldest..=token).zip(&weights).map(|(at, w)| w * row(&v, at, KV_HEADS, kv)[d]);
                        let expected = mixed.sum::<f64>() / total;
                        let y = f64::from(found[(token * HEADS + head) * DIM + d]);
                        assert!((y - expected).abs() < 1e-5, "{window:?}, token {token}, head {head}: {y} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_text_in_pieces_gives_the_same_bits() {
        for window in [None, Some(5), Some(33)] {
            let whole = attended(150, &[150], window);
            for pieces in [&[1][..], &[64], &[7, 1, 1, 40]] {
                assert_eq!(whole, attended(150, pieces, window), "{window:?} {pieces:?}");
            }
        }
    }

    #[test]
    fn what_is_forgotten_leaves_nothing() {
        let (k, v) = (values(2, 50, KV_HEADS), values(3, 50, KV_HEADS));
        let mut cache = KvCache::new(KV_HEADS, DIM);
        cache.append(&values(8, 50, KV_HEADS), &values(9, 50, KV_HEADS));
        cache.truncate(0);
        assert!(cache.is_empty());
        cache.append(&values(8, 20, KV_HEADS), &values(9, 20, KV_HEADS));
        cache.truncate(0);
        cache.append(&k, &v);
        cache.truncate(37);
        let kept = KV_HEADS * DIM * 37;
        let rest = KV_HEADS * DIM * 13;
        assert_eq!((cache.len(), kept), (37, k.len() - rest));
        cache.append(&k[kept..], &v[kept..]);
        let mut fresh = KvCache::new(KV_HEADS, DIM);
        fresh.append(&k, &v);
        let q = values(1, 3, HEADS);
        let how = Attending { heads: HEADS, window: None, scale: 0.2 };
        assert_eq!(cache.attend(&q, how), fresh.attend(&q, how));
    }
}
