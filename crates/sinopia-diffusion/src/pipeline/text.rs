//! Texts to what the denoiser attends to, by the encoders that a pipeline has.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use sinopia_layout::excerpt;
use sinopia_models::Tokens;
use sinopia_models::denoiser::TextConditioning;
use sinopia_models::ella::TextLength;

use super::{GuidedText, Pipeline};
use crate::conditioning::{Conditioning, PromptText, TextEncoderKind};
use crate::observer::{Run, SHOWN_CHARS};
use crate::painting::Sampling;
use crate::{Error, Result};

impl Pipeline {
    /// Text embeddings (B, L, D) of prompts; what does not fit the text encoder's window is warned about.
    ///
    /// # Errors
    /// When the text encoder refuses.
    pub fn encode(&self, prompts: &[&str], run: &Run) -> Result<Tensor> {
        let tokens = self.tokens(prompts, run)?;
        Ok(self.text_encoder.encode(&tokens, Some(run.cancellation()))?.last_hidden_state)
    }

    /// The pooled states (B, D) of phrases read on their own, not projected: what grounding slots hold.
    ///
    /// # Errors
    /// When the text encoder refuses.
    pub fn encode_phrases(&self, phrases: &[&str], run: &Run) -> Result<Tensor> {
        if phrases.is_empty() {
            return Ok(Tensor::zeros((0, self.text_encoder.config().hidden_size), DType::F32, &self.device)?);
        }
        let mut distinct = phrases.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let tokens = self.tokens(&distinct, run)?;
        let pooled = self.text_encoder.encode(&tokens, Some(run.cancellation()))?.pooled; // (distinct, D)
        let rows: Vec<u32> =
            phrases.iter().map(|phrase| distinct.binary_search(phrase).unwrap_or_default() as u32).collect();
        Ok(pooled.index_select(&Tensor::new(rows, &self.device)?, 0)?)
    }

    fn tokens(&self, prompts: &[&str], run: &Run) -> Result<Vec<Tokens>> {
        let mut texts = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let tokens = self.tokenizer.encode(prompt)?;
            if let Some(rest) = &tokens.truncated {
                let max_length = self.tokenizer.max_length();
                let rest = excerpt(rest, SHOWN_CHARS);
                run.warn(format!(
                    "the text encoder reads {max_length} tokens; it never sees the end of a prompt: `{rest}`"
                ));
            }
            texts.push(tokens);
        }
        Ok(texts)
    }

    /// Each prompt together with one negative prompt, read by what `sampling` says.
    ///
    /// # Errors
    /// [`Error::NoElla`]; when a text encoder refuses.
    pub fn encode_pairs(
        &self,
        prompts: &[PromptText],
        negative: &str,
        sampling: &Sampling,
        run: &Run,
    ) -> Result<Vec<GuidedText>> {
        let encoding = &sampling.text_encoding;
        let conditional = self.read(prompts, encoding.encoder, encoding.length, run)?;
        let negative = [PromptText::new(negative)];
        let unconditional = match sampling.guidance_scale > 1.0 {
            true => self.read(&negative, encoding.of_negative(), encoding.length, run)?.pop().map(Arc::new),
            false => None,
        };
        let pair = |conditional| GuidedText::pair(Arc::new(conditional), unconditional.clone(), sampling);
        conditional.into_iter().map(pair).collect()
    }

    /// What the denoiser attends to for each prompt; `length` is how much of a text ELLA reads.
    fn read(
        &self,
        prompts: &[PromptText],
        encoder: TextEncoderKind,
        length: TextLength,
        run: &Run,
    ) -> Result<Vec<Conditioning>> {
        let words: Vec<&str> = prompts.iter().map(|prompt| prompt.words).collect();
        let of_clip = if encoder.has_words() { Some(self.encode(&words, run)?) } else { None }; // (B, L, D)
        let clip = |index| of_clip.as_ref().map(|states| states.narrow(0, index, 1)).transpose();
        let read = |(index, prompt): (usize, &PromptText)| match (encoder.needs_ella(), clip(index)?) {
            (false, Some(states)) => Ok(Conditioning::fixed(TextConditioning::new(&states)?)),
            (_, states) => {
                let ella = self.ella.as_ref().ok_or(Error::NoElla)?;
                let text = ella.read_cancellable(prompt.at_length(), length, Some(run.cancellation()))?;
                Ok(Conditioning::ella(ella.clone(), text, states))
            }
        };
        prompts.iter().enumerate().map(read).collect()
    }
}
