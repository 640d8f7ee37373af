//! A prompt with boxes, made ready: its embeddings, and the boxes that its tokens' attention is guided into.

use std::ops::Range;

use sinopia_layout::{Canvas, GroundedPrompt, excerpt, locate_phrases};

use crate::conditioning::PromptText;
use crate::losses::GroundedTokens;
use crate::observer::{Run, SHOWN_CHARS};
use crate::painting::Sampling;
use crate::pipeline::{GuidedText, Pipeline};
use crate::schedulers::SchedulerKind;
use crate::{Error, Result};

/// A prompt ready to paint: its embeddings (and boxes, where the model takes them), and where its phrases' tokens are.
pub(crate) struct GroundedText {
    pub(crate) text: GuidedText,
    /// One for each phrase that can be guided.
    pub(crate) tokens: Vec<GroundedTokens>,
    /// For each of `tokens`, its objects in the scene.
    pub(crate) objects: Vec<Range<usize>>,
    /// The words that were encoded.
    pub(crate) prompt: String,
    /// Their tokens, without start and end.
    pub(crate) num_tokens: usize,
}

/// What is read for one picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PromptToRead<'a> {
    /// The words, and which of them have boxes.
    pub(crate) prompt: &'a GroundedPrompt,
    /// What ELLA reads instead of the words.
    pub(crate) caption: Option<&'a str>,
    /// What the picture must not show.
    pub(crate) negative: &'a str,
}

impl GroundedText {
    /// Encodes a prompt (ELLA reads the caption instead, if there is one) and finds its phrases. A phrase past the end of the text encoder's window
    /// cannot be guided, and is warned about.
    ///
    /// # Errors
    /// [`Error::NoWords`] if nothing reads words; when a phrase has no tokens, or the text encoder refuses.
    pub(crate) fn read(to_read: PromptToRead, pipeline: &Pipeline, sampling: &Sampling, run: &Run) -> Result<Self> {
        let PromptToRead { prompt, caption, negative } = to_read;
        if !sampling.text_encoding.encoder.has_words() {
            return Err(Error::NoWords);
        }
        let tokenizer = pipeline.tokenizer();
        // A text that cannot be tokenized has no tokens, which is refused with the phrase's name.
        let encode = |text: &str| tokenizer.encode_unpadded(text).unwrap_or_default();
        let located = locate_phrases(prompt, encode, usize::MAX)?;
        let window = tokenizer.max_length();
        let words = PromptText { words: &located.text, caption };
        let mut text = pipeline.encode_pairs(&[words], negative, sampling, run)?;
        let text = text.swap_remove(0);
        let first = text.conditional().first_word_column();
        let (mut tokens, mut objects) = (Vec::new(), Vec::new());
        for (phrase, found) in prompt.phrases.iter().zip(&located.phrases) {
            if found.range.end >= window {
                run.warn(format!(
                    "`{}` lies beyond the {window} tokens that the text encoder reads: its place is not guided in `{}`",
                    excerpt(&phrase.text, SHOWN_CHARS),
                    excerpt(&located.text, SHOWN_CHARS)
                ));
                continue;
            }
            tokens.push(GroundedTokens {
                phrase: phrase.text.clone(),
                positions: found.positions().into_iter().map(|position| first + position).collect(),
                word: first + found.word,
                bboxes: phrase.bboxes.clone(),
            });
            objects.push(phrase.objects.clone());
        }
        let num_tokens = encode(&located.text).len();
        Ok(Self { text, tokens, objects, prompt: located.text, num_tokens })
    }

    /// Every box as an object of its own; all of one name share their tokens.
    pub(crate) fn boxes_as_objects(self) -> Self {
        let each = |tokens: &GroundedTokens| {
            let of_box = |bbox| GroundedTokens { bboxes: vec![bbox], ..tokens.clone() };
            tokens.bboxes.iter().copied().map(of_box).collect::<Vec<_>>()
        };
        let tokens = self.tokens.iter().flat_map(each).collect();
        let objects =
            self.objects.iter().flat_map(|objects| objects.clone().map(|object| object..object + 1)).collect();
        Self { tokens, objects, ..self }
    }
}

/// Keywords in one list, without those that are empty.
pub(crate) fn joined(parts: &[&str]) -> String {
    let parts = parts.iter().copied().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(", ")
}

/// Warns of a scheduler whose memory of earlier steps does not know what the `changes` of a method did to the latents.
pub(crate) fn warn_of_history(scheduler: SchedulerKind, method: &str, changes: &str, run: &Run) {
    if matches!(scheduler, SchedulerKind::Pndm | SchedulerKind::DpmSolverPlusPlus) {
        run.warn(format!(
            "{scheduler} steps from a history that knows nothing of {changes}, which weakens it; ddim suits {method}"
        ));
    }
}

/// Warns of a picture whose sides have another ratio than its layout's.
pub(crate) fn warn_of_stretching(canvas: Canvas, sampling: &Sampling, run: &Run) {
    let (width, height) = (canvas.width(), canvas.height());
    if sampling.width * height as usize != sampling.height * width as usize {
        run.warn(format!(
            "the layout is {width} × {height} and the picture {} × {}: boxes are stretched with the canvas",
            sampling.width, sampling.height
        ));
    }
}
