//! A network that remembers what it has read, so that the beginning which a text shares with the one before is not read again.

use std::io::{Read, Seek};

use sinopia_nn::decoder::Phase;

use crate::architecture;
use crate::error::Result;
use crate::file::Head;
use crate::transformer::Transformer;

/// Tokens read together: enough that unpacking the weights costs little beside multiplying with them.
const PIECE: usize = 128;

/// Most bytes of keys and values that stay when nothing is being answered: 14,000 tokens of a model of 270 million parameters, 2,000 of one of 8 billion.
const KEPT_BYTES: usize = 512 << 20;

/// A network, and what it has read: a prompt, and perhaps an answer to it.
pub(crate) struct Network {
    transformer: Transformer,
    prompt: Vec<u32>,
}

/// What is asked, and told, while a network reads.
pub(crate) trait Watch {
    /// Whether to go on; `read` tokens are read, a part of them not to the end.
    fn check(&self, read: usize) -> Result<()>;
}

impl Network {
    /// Reads the weights; returns the network and how many tokens it can hold.
    pub(crate) fn read(head: &Head, reader: &mut (impl Read + Seek)) -> Result<(Self, usize)> {
        let (transformer, context) = architecture::read(head, reader)?;
        Ok((Self { transformer, prompt: Vec::new() }, context))
    }

    /// How many tokens of `prompt` need not be read: those that the last prompt began with, but never the last one, whose logits are wanted. An answer's
    /// tokens are read again as part of a prompt, where their sums run in another order.
    pub(crate) fn shared(&self, prompt: &[u32]) -> usize {
        let shared = self.prompt.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        shared.min(prompt.len().saturating_sub(1))
    }

    /// Logits of what follows `prompt`: the same bits whatever was read before. It is read in pieces; one that is not read to its end leaves nothing.
    pub(crate) fn begin(&mut self, prompt: &[u32], watch: &dyn Watch) -> Result<Vec<f32>> {
        self.truncate(self.shared(prompt));
        let (mut last, blocks) = (Vec::new(), self.transformer.num_blocks());
        for piece in prompt[self.prompt.len()..].chunks(PIECE) {
            let before = self.prompt.len();
            let check = |done: usize| watch.check(before + piece.len() * done / blocks);
            last = self.transformer.read(piece, Phase::Prefill, check)?;
            self.prompt.extend_from_slice(piece);
        }
        Ok(self.transformer.logits(&last)?)
    }

    /// Logits of what follows `tokens` of the answer, read after all that was read since the prompt began.
    pub(crate) fn go_on(&mut self, tokens: &[u32], watch: &dyn Watch) -> Result<Vec<f32>> {
        let before = self.transformer.len();
        let last = self.transformer.read(tokens, Phase::Decode, |_| watch.check(before))?;
        Ok(self.transformer.logits(&last)?)
    }

    /// Forgets the answer, and what is more than may stay until the next prompt.
    pub(crate) fn rest(&mut self) {
        self.rest_within(KEPT_BYTES);
    }

    fn rest_within(&mut self, bytes: usize) {
        self.truncate(self.prompt.len().min(bytes / self.transformer.bytes_per_token().max(1)));
    }

    fn truncate(&mut self, tokens: usize) {
        self.prompt.truncate(tokens);
        self.transformer.truncate(tokens);
    }

    #[cfg(test)]
    pub(crate) fn blocks_mut(&mut self) -> &mut [crate::transformer::Block] {
        &mut self.transformer.blocks
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use candle_core::quantized::GgmlDType;

    use super::*;
    use crate::against_candle::{Maker, Unwatched, text};
    use crate::error::Error;

    /// Ends the reading when it is asked for the `ends_at`-th time, and remembers what it was told.
    struct Ending {
        told: RefCell<Vec<usize>>,
        ends_at: usize,
    }

    impl Watch for Ending {
        fn check(&self, read: usize) -> Result<()> {
            self.told.borrow_mut().push(read);
            if self.told.borrow().len() == self.ends_at { Err(Error::Cancelled) } else { Ok(()) }
        }
    }

    fn networks() -> impl Iterator<Item = Network> {
        let kinds = [
            ("gemma3", GgmlDType::Q8_0),
            ("llama", GgmlDType::Q4_0),
            ("qwen3", GgmlDType::F32),
            ("phi3", GgmlDType::F16),
        ];
        kinds.into_iter().map(|(architecture, kind)| Maker::new(architecture, 7, kind).network())
    }

    #[test]
    fn a_shared_beginning_is_not_read_again_and_nobody_can_tell() {
        for mut network in networks() {
            let [first, second] = [200, 190].map(text);
            let second = [&second[..170], &[1, 2, 3][..]].concat();
            let expected = network.begin(&second, &Unwatched).unwrap();
            network.truncate(0);
            let fresh = Ending { told: RefCell::default(), ends_at: usize::MAX };
            network.begin(&first, &fresh).unwrap();
            network.go_on(&[5], &Unwatched).unwrap();
            assert_eq!(fresh.told.borrow()[0], 0);
            assert_eq!(network.shared(&second), 170);
            let again = Ending { told: RefCell::default(), ends_at: usize::MAX };
            assert_eq!(network.begin(&second, &again).unwrap(), expected);
            assert_eq!(again.told.borrow()[0], 170);
            // What was asked and answered is the beginning of the next turn's prompt; the same prompt is read but for its last token.
            network.go_on(&[7], &Unwatched).unwrap();
            let turn = [&second[..], &[7, 8, 9]].concat();
            assert_eq!(network.shared(&turn), second.len());
            let continued = network.begin(&turn, &Unwatched).unwrap();
            assert_eq!(network.shared(&turn), turn.len() - 1);
            assert_eq!(network.begin(&turn, &Unwatched).unwrap(), continued);
            network.truncate(0);
            assert_eq!(network.begin(&turn, &Unwatched).unwrap(), continued);
        }
    }

    #[test]
    fn a_prompt_in_pieces_gives_the_same_bits() {
        for mut network in networks() {
            let text = text(150);
            let whole = network.begin(&text, &Unwatched).unwrap();
            for step in [1, 37] {
                network.truncate(0);
                let mut last = Vec::new();
                for end in (1..text.len()).step_by(step).chain([text.len()]) {
                    last = network.begin(&text[..end], &Unwatched).unwrap();
                    assert_eq!(network.transformer.len(), end);
                }
                assert_eq!(last, whole);
            }
        }
    }

    /// An answer's tokens are multiplied another way, which is as exact.
    #[test]
    fn an_answer_is_read_as_a_prompt_would_be() {
        for mut network in networks() {
            let text = text(60);
            let expected = network.begin(&text, &Unwatched).unwrap();
            network.begin(&text[..50], &Unwatched).unwrap();
            let found = text[50..].iter().map(|token| network.go_on(&[*token], &Unwatched).unwrap()).last().unwrap();
            let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4 * largest), "{found:?} {expected:?}");
        }
    }

    #[test]
    fn a_reading_that_ends_leaves_no_half_piece() {
        let mut network = Maker::new("gemma3", 7, GgmlDType::Q8_0).network();
        let text = text(200);
        let expected = network.begin(&text, &Unwatched).unwrap();
        for ends_at in 1..=14 {
            network.truncate(0);
            let ending = Ending { told: RefCell::default(), ends_at };
            assert!(matches!(network.begin(&text, &ending), Err(Error::Cancelled)));
            assert_eq!(ending.told.borrow().len(), ends_at, "nothing is done afterwards");
            let read = if ends_at <= 7 { 0 } else { PIECE };
            assert_eq!((network.prompt.len(), network.transformer.len()), (read, read));
            assert_eq!(network.begin(&text, &Unwatched).unwrap(), expected);
        }
        let told = Ending { told: RefCell::default(), ends_at: usize::MAX };
        network.truncate(0);
        network.begin(&text, &told).unwrap();
        assert!(told.told.borrow().is_sorted() && told.told.borrow().len() == 14, "{:?}", told.told.borrow());
    }

    #[test]
    fn what_stays_has_a_bound() {
        let mut network = Maker::new("llama", 2, GgmlDType::F32).network();
        let text = text(50);
        network.begin(&text, &Unwatched).unwrap();
        // Keys and values of two heads 8 wide, values in panels of 16.
        assert_eq!(network.transformer.bytes_per_token(), 2 * 2 * (8 + 16) * 4);
        network.rest_within(10 * network.transformer.bytes_per_token() + 3);
        assert_eq!((network.prompt.len(), network.transformer.len()), (10, 10));
        assert_eq!(network.shared(&text), 10);
    }
}
