//! Tags and a dependency tree for the tokens of a caption: spaCy's small English pipeline (`en_core_web_sm` 3.8.0) in plain Rust.
//!
//! A convolutional network over hashed features gives each token a vector of 96 numbers; one layer reads tags off them, another scores the steps of an arc-eager parser.
//! All arithmetic is f32 in a fixed order, without threads: the same caption has the same tree on every run. Start reading at [`Parser::parse`].

mod features;
mod hash;
mod network;
mod transitions;

use std::sync::OnceLock;

use features::{Features, Vocabulary};
use network::{Encoder, Linear, WIDTH, Weights, argmax};
use transitions::{Action, Arc, CONTEXT, Move, State};

use crate::tokenizer::Token;

/// Values of the layer below the parser's steps.
const HIDDEN: usize = 64;
/// Outputs a context word adds up, before maxout of two.
const PRECOMPUTED: usize = 2 * HIDDEN;
/// Steps a token after which a parse is given up. Each token is shifted, reduced and returned a few times at most.
const STEPS_PER_TOKEN: usize = 8;

/// What the parser says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Penn Treebank tag: `NN`, `VBG`, `IN` …
    pub tag: &'static str,
    /// The token this one depends on; a root is its own head.
    pub head: usize,
    /// ClearNLP label of the dependency: `nsubj`, `pobj` …, `ROOT`.
    pub label: &'static str,
}

/// The network and its names.
pub struct Parser {
    vocabulary: Vocabulary,
    encoder: Encoder,
    tags: Vec<&'static str>,
    tagger: Linear,
    moves: Vec<Move>,
    lower: Linear,
    /// Weights that a token's vector is multiplied with once, for each place of the context: (CONTEXT, PRECOMPUTED, HIDDEN).
    places: Linear,
    places_bias: Vec<f32>,
    /// What an empty place of the context adds: (CONTEXT, PRECOMPUTED).
    padding: Vec<f32>,
    upper: Linear,
}

impl Parser {
    /// The embedded one, read at its first use.
    pub fn embedded() -> &'static Self {
        static PARSER: OnceLock<Parser> = OnceLock::new();
        PARSER.get_or_init(Self::read)
    }

    fn read() -> Self {
        let mut weights = Weights::new(include_bytes!("../../assets/parser.f16"));
        let tags: Vec<&str> = include_str!("../../assets/tags.txt").lines().collect();
        let moves: Vec<Move> = include_str!("../../assets/moves.txt").lines().filter_map(Move::named).collect();
        let encoder = Encoder::read(&mut weights);
        let tagger = Linear::read(&mut weights, tags.len(), WIDTH);
        let lower = Linear::read(&mut weights, HIDDEN, WIDTH);
        let places = Linear::read_without_bias(&mut weights, CONTEXT * PRECOMPUTED, HIDDEN);
        let places_bias = weights.take(PRECOMPUTED);
        let padding = weights.take(CONTEXT * PRECOMPUTED);
        let upper = Linear::read(&mut weights, moves.len(), HIDDEN);
        assert!(weights.is_empty(), "the weights are those of these tags and moves");
        let vocabulary =
            Vocabulary::read(include_str!("../../assets/symbols.tsv"), include_str!("../../assets/norms.tsv"));
        Self { vocabulary, encoder, tags, tagger, moves, lower, places, places_bias, padding, upper }
    }

    /// Tag, head and label of every token. Time grows with their number.
    pub fn parse(&self, tokens: &[Token]) -> Vec<Parsed> {
        let features: Vec<Features> = tokens.iter().map(|token| Features::of(token, &self.vocabulary)).collect();
        let vectors = self.encoder.forward(&features); // (tokens, WIDTH)
        let arcs = self.arcs(&vectors);
        let tags = self.tagger.forward_all(&vectors).into_iter().map(|scores| self.tags[argmax(&scores)]);
        let parsed = tags.zip(arcs).enumerate().map(|(i, (tag, arc))| match arc {
            Some(arc) => Parsed { tag, head: arc.head, label: arc.label },
            None => Parsed { tag, head: i, label: "ROOT" },
        });
        cross_arcs(parsed.collect())
    }

    fn arcs(&self, vectors: &[Vec<f32>]) -> Vec<Option<Arc>> {
        // What a token adds in each place of the context: (tokens, CONTEXT × PRECOMPUTED).
        let precomputed = self.places.forward_all(&self.lower.forward_all(vectors));
        let mut state = State::new(vectors.len());
        for _ in 0..vectors.len() * STEPS_PER_TOKEN {
            if state.is_final() {
                break;
            }
            let Some(step) = self.best_move(&state, &precomputed) else { break };
            state.apply(step);
        }
        state.arcs
    }

    fn best_move(&self, state: &State, precomputed: &[Vec<f32>]) -> Option<&Move> {
        let mut sums = self.places_bias.clone();
        for (place, word) in state.context().into_iter().enumerate() {
            let source = word.map_or(&self.padding, |word| &precomputed[word]);
            for (sum, value) in sums.iter_mut().zip(&source[place * PRECOMPUTED..]) {
                *sum += value;
            }
        }
        let hidden: Vec<f32> = sums.chunks_exact(2).map(|pair| pair[0].max(pair[1])).collect();
        let scores = self.upper.forward(&hidden);
        let allowed = [Action::Shift, Action::Reduce, Action::LeftArc, Action::RightArc, Action::Break]
            .map(|action| state.allows(action));
        let candidates = self.moves.iter().zip(&scores).filter(|(step, _)| allowed[step.action as usize]);
        candidates.max_by(|a, b| a.1.total_cmp(b.1)).map(|(step, _)| step)
    }
}

/// Moves arcs that cross others to where their label says: `pobj||prep` depends on a `prep` below the head it was given.
fn cross_arcs(mut parsed: Vec<Parsed>) -> Vec<Parsed> {
    for i in 0..parsed.len() {
        if let Some((label, below)) = parsed[i].label.split_once("||") {
            parsed[i].label = label;
            if let Some(head) = find_below(&parsed, parsed[i].head, below, i) {
                parsed[i].head = head;
            }
        }
    }
    parsed
}

/// The nearest token labelled `label` below `top`, level by level; `except` and what hangs on it is not looked at.
fn find_below(parsed: &[Parsed], top: usize, label: &str, except: usize) -> Option<usize> {
    let mut children = vec![Vec::new(); parsed.len()];
    for (word, parsed) in parsed.iter().enumerate().filter(|(word, parsed)| *word != except && parsed.head != *word) {
        children[parsed.head].push(word);
    }
    let mut level = vec![top];
    for _ in 0..parsed.len() {
        let below: Vec<usize> = level.iter().flat_map(|&word| children[word].iter().copied()).collect();
        if let Some(&found) = below.iter().find(|&&word| parsed[word].label.split("||").next() == Some(label)) {
            return Some(found);
        }
        level = below;
    }
    None
}
