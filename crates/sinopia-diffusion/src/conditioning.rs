//! What the denoiser attends to of a text: the states of CLIP, which stay the same for a whole picture, ELLA's tokens, which are others at each timestep, or both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sinopia_models::denoiser::TextConditioning;
use sinopia_models::ella::{Ella, EllaText, TextLength};

use crate::{Error, Result};

/// What reads the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TextEncoderKind {
    /// The checkpoint's own text encoder: 77 tokens, each of which stands for a piece of the text.
    #[default]
    #[serde(rename = "clip")]
    Clip,
    /// ELLA: a language model's understanding of long texts; its tokens stand for no words.
    #[serde(rename = "ella")]
    Ella,
    /// ELLA's tokens, then CLIP's: long texts are understood, and the attention of words can still be guided.
    #[serde(rename = "ella+clip")]
    EllaAndClip,
}

impl TextEncoderKind {
    /// All, in the order of their names on the command line.
    pub const ALL: [Self; 3] = [Self::Clip, Self::Ella, Self::EllaAndClip];

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Ella => "ella",
            Self::EllaAndClip => "ella+clip",
        }
    }

    /// Whether ELLA is among those that read.
    pub fn needs_ella(self) -> bool {
        self != Self::Clip
    }

    /// Whether there are tokens that stand for words.
    pub fn has_words(self) -> bool {
        self != Self::Ella
    }
}

/// How texts become what the denoiser attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextEncoding {
    /// What reads prompts.
    pub encoder: TextEncoderKind,
    /// What reads negative prompts; `None` is what reads prompts.
    pub negative: Option<TextEncoderKind>,
    /// How many tokens of a text ELLA is given.
    pub length: TextLength,
}

impl TextEncoding {
    /// CLIP for everything: what published checkpoints do.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What reads negative prompts.
    pub fn of_negative(&self) -> TextEncoderKind {
        self.negative.unwrap_or(self.encoder)
    }

    /// Whether anything is read by ELLA.
    pub fn needs_ella(&self) -> bool {
        self.encoder.needs_ella() || self.of_negative().needs_ella()
    }
}

/// A prompt as it is put to the two readers.
#[derive(Debug, Clone, Copy)]
pub struct PromptText<'a> {
    /// In the words that can be guided: what CLIP reads.
    pub words: &'a str,
    /// The same at length, if someone described it: what ELLA reads in place of the words.
    pub caption: Option<&'a str>,
}

impl<'a> PromptText<'a> {
    /// The same words for both.
    pub fn new(words: &'a str) -> Self {
        Self { words, caption: None }
    }

    /// What ELLA reads.
    pub(crate) fn at_length(&self) -> &'a str {
        self.caption.filter(|caption| !caption.trim().is_empty()).unwrap_or(self.words)
    }
}

/// One or several texts: answers which states the denoiser attends to, at a timestep.
#[derive(Debug)]
pub struct Conditioning {
    parts: Parts,
    /// The latest answer of parts that change, with its timestep: guidance asks several times for the same.
    latest: Mutex<Option<(u64, Arc<TextConditioning>)>>,
    batch_size: usize,
    num_tokens: usize,
}

#[derive(Debug)]
enum Parts {
    /// The same states at all timesteps: (B, L, D).
    Fixed(Arc<TextConditioning>),
    /// ELLA's tokens of a text, then CLIP's states (1, L, D) if it reads too.
    Ella { ella: Arc<Ella>, text: EllaText, clip: Option<Tensor> },
    /// Several texts of as many tokens each.
    Batch(Vec<Arc<Conditioning>>),
}

impl Conditioning {
    /// States (B, L, D), and what goes with them, that stay the same.
    pub fn fixed(states: TextConditioning) -> Self {
        let (batch_size, num_tokens) = (states.batch_size(), states.num_tokens());
        Self::new(Parts::Fixed(Arc::new(states)), batch_size, num_tokens)
    }

    /// A text as ELLA read it, and perhaps CLIP's states (1, L, D) behind.
    pub fn ella(ella: Arc<Ella>, text: EllaText, clip: Option<Tensor>) -> Self {
        let of_clip = clip.as_ref().and_then(|clip| clip.dims().get(1).copied());
        let num_tokens = ella.num_tokens() + of_clip.unwrap_or(0);
        Self::new(Parts::Ella { ella, text, clip }, 1, num_tokens)
    }

    /// Several texts together.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is none, or they have different numbers of tokens.
    pub fn batch(texts: Vec<Arc<Self>>) -> Result<Self> {
        let num_tokens = texts.first().map_or(0, |text| text.num_tokens);
        if num_tokens == 0 || texts.iter().any(|text| text.num_tokens != num_tokens) {
            let lengths: Vec<String> = texts.iter().map(|text| text.num_tokens.to_string()).collect();
            return Err(Error::Setting {
                name: "tokens of the texts of a batch",
                found: lengths.join(", "),
                expected: "the same number in all",
            });
        }
        let fixed = texts.iter().map(|text| match &text.parts {
            Parts::Fixed(states) => Some(states.as_ref()),
            _ => None,
        });
        if let Some(states) = fixed.collect::<Option<Vec<&TextConditioning>>>() {
            return Ok(Self::fixed(TextConditioning::cat(&states)?));
        }
        let batch_size = texts.iter().map(|text| text.batch_size).sum();
        Ok(Self::new(Parts::Batch(texts), batch_size, num_tokens))
    }

    fn new(parts: Parts, batch_size: usize, num_tokens: usize) -> Self {
        Self { parts, latest: Mutex::default(), batch_size, num_tokens }
    }

    /// What the denoiser attends to, at a timestep.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn at(&self, timestep: f64) -> Result<Arc<TextConditioning>> {
        match &self.parts {
            Parts::Fixed(states) => Ok(states.clone()),
            Parts::Ella { ella, text, clip } => self.remembered(timestep, || {
                let tokens = ella.tokens(text, timestep)?;
                Ok(match clip {
                    None => TextConditioning::new(&tokens)?,
                    Some(clip) => TextConditioning::new(&Tensor::cat(&[&tokens, clip], 1)?)?,
                })
            }),
            Parts::Batch(texts) => self.remembered(timestep, || {
                let states = texts.iter().map(|text| text.at(timestep)).collect::<Result<Vec<_>>>()?;
                Ok(TextConditioning::cat(&states.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
            }),
        }
    }

    /// The latest answer if it was for this timestep, else a new one.
    fn remembered(
        &self,
        timestep: f64,
        states: impl FnOnce() -> Result<TextConditioning>,
    ) -> Result<Arc<TextConditioning>> {
        if let Some(states) = self.latest().as_ref().filter(|(known, _)| *known == timestep.to_bits()) {
            return Ok(states.1.clone());
        }
        // Made without holding the lock: whoever waits for other threads meanwhile may be handed work that asks here too.
        let states = Arc::new(states()?);
        *self.latest() = Some((timestep.to_bits(), states.clone()));
        Ok(states)
    }

    /// A panic while the lock was held cannot have left the answer half-written.
    fn latest(&self) -> MutexGuard<'_, Option<(u64, Arc<TextConditioning>)>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// B.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// L, the same at all timesteps.
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// The first column that stands for a piece of the text: those before are ELLA's.
    pub fn first_word_column(&self) -> usize {
        match &self.parts {
            Parts::Fixed(_) => 0,
            Parts::Ella { ella, .. } => ella.num_tokens(),
            Parts::Batch(texts) => texts.first().map_or(0, |text| text.first_word_column()),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn states(tokens: usize) -> Arc<Conditioning> {
        let values: Vec<f32> = (0..tokens * 2).map(|x| x as f32).collect();
        let states = Tensor::from_vec(values, (1, tokens, 2), &Device::Cpu).unwrap();
        Arc::new(Conditioning::fixed(TextConditioning::new(&states).unwrap()))
    }

    #[test]
    fn fixed_states_are_the_same_object_at_all_timesteps() {
        let text = states(3);
        assert!(Arc::ptr_eq(&text.at(999.0).unwrap(), &text.at(1.0).unwrap()), "keys and values are made once");
        assert_eq!(text.first_word_column(), 0);
    }

    #[test]
    fn only_texts_of_equal_length_go_together() {
        let both = Conditioning::batch(vec![states(3), states(3)]).unwrap();
        assert_eq!((both.batch_size(), both.num_tokens()), (2, 3));
        let message = Conditioning::batch(vec![states(3), states(4)]).unwrap_err().to_string();
        assert!(message.contains("3, 4"), "{message}");
        assert!(Conditioning::batch(Vec::new()).is_err());
    }

    #[test]
    fn ella_reads_the_caption_if_there_is_one() {
        let words = PromptText::new("a car");
        assert_eq!(words.at_length(), "a car");
        assert_eq!(PromptText { caption: Some("A red car on a beach."), ..words }.at_length(), "A red car on a beach.");
        assert_eq!(PromptText { caption: Some(" "), ..words }.at_length(), "a car");
    }
}
