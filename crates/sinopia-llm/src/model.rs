//! A language model out of one file: conversation in, answer out. Start reading at [`LanguageModel::answer`].

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use llguidance::Matcher;

use crate::chat::{Chat, Role};
use crate::constraint::{Constraint, Grammars};
use crate::error::{Error, Result};
use crate::file::Head;
use crate::network::{Network, Watch};
use crate::sampling::{Sampler, TokenSampling};
use crate::vocabulary::Vocabulary;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Generation<'a> {
    /// The form the answer must have.
    pub constraint: Constraint<'a>,
    /// How tokens are drawn.
    pub sampling: TokenSampling,
    /// Longest answer in tokens.
    pub max_tokens: usize,
    /// A text that ends the answer and is not part of it.
    pub stop: Option<&'a str>,
    /// Longest time for the whole answer.
    pub timeout: Option<Duration>,
}

impl Default for Generation<'_> {
    fn default() -> Self {
        let (constraint, sampling) = (Constraint::None, TokenSampling::default());
        Self { constraint, sampling, max_tokens: 900, stop: None, timeout: None }
    }
}

/// An answer and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// Tokens read.
    pub prompt_tokens: usize,
    /// Whether `max_tokens` ended it.
    pub is_cut: bool,
}

/// How far the reading of a prompt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptProgress {
    /// Tokens read, those included that are known from the prompt before.
    pub read: usize,
    /// All of the prompt's.
    pub tokens: usize,
}

/// Who waits for an answer.
#[derive(Clone, Copy)]
pub struct Observer<'a> {
    /// Whether nobody waits any more: asked before each layer that a piece of the prompt or a token goes through.
    pub is_cancelled: &'a dyn Fn() -> bool,
    /// Told how the prompt is read: at the beginning, with what need not be read again, after each layer, and at the end.
    pub on_prompt: &'a dyn Fn(PromptProgress),
}

impl Default for Observer<'_> {
    fn default() -> Self {
        Self { is_cancelled: &|| false, on_prompt: &|_| () }
    }
}

impl fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

/// A model that is ready to answer. Calls from several threads take turns.
pub struct LanguageModel {
    name: String,
    vocabulary: Vocabulary,
    chat: Chat,
    grammars: Grammars,
    network: Mutex<Network>,
    context: usize,
}

impl fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanguageModel")
            .field("name", &self.name)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl LanguageModel {
    /// The model in a GGUF file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::NotGguf`], [`Error::Architecture`], [`Error::Metadata`], [`Error::Weights`], [`Error::ChatTemplate`].
    pub fn open(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        let file = File::open(path).map_err(|source| Error::Read { origin: origin.clone(), source })?;
        Self::read(&mut BufReader::new(file), &origin)
    }

    /// The model in the bytes of a GGUF file; `origin` is for messages.
    ///
    /// # Errors
    /// As [`LanguageModel::open`].
    pub fn from_bytes(bytes: &[u8], origin: &str) -> Result<Self> {
        Self::read(&mut Cursor::new(bytes), origin)
    }

    fn read(reader: &mut (impl Read + Seek), origin: &str) -> Result<Self> {
        let head = Head::read(reader, origin)?;
        let name = head.text("general.name").unwrap_or(origin).to_owned();
        let vocabulary = Vocabulary::read(&head)?;
        let chat = Chat::read(&head)?;
        let grammars = Grammars::new(vocabulary.clone())?;
        let (network, context) = Network::read(&head, reader)?;
        Ok(Self { name, vocabulary, chat, grammars, network: Mutex::new(network), context })
    }

    /// The name in the file, or the file's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's next turn in a conversation.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Grammar`], [`Error::ChatTemplate`], [`Error::OutOfTime`], [`Error::Run`].
    pub fn answer(&self, conversation: &[(Role, &str)], generation: &Generation<'_>) -> Result<Answer> {
        self.answer_observed(conversation, generation, &Observer::default())
    }

    /// The same for somebody who watches. The answer is the same, whatever was answered before.
    ///
    /// # Errors
    /// As [`answer`](Self::answer); [`Error::Cancelled`].
    pub fn answer_observed(
        &self,
        conversation: &[(Role, &str)],
        generation: &Generation<'_>,
        observer: &Observer<'_>,
    ) -> Result<Answer> {
        let prompt = self.vocabulary.prompt(&self.chat.prompt(conversation, &self.vocabulary)?);
        if prompt.is_empty() || prompt.len() >= self.context {
            return Err(Error::TooLong { tokens: prompt.len(), context: self.context });
        }
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writing = Writing {
            vocabulary: &self.vocabulary,
            matcher: self.grammars.matcher(generation.constraint)?,
            sampler: Sampler::new(generation.sampling),
            written: Vec::new(),
            bytes: Vec::new(),
        };
        let watched = Watched { observer, began: Instant::now(), timeout: generation.timeout, prompt: prompt.len() };
        let is_cut = writing.write(&mut network, &prompt, generation, self.context, &watched);
        network.rest();
        let is_cut = is_cut?;
        let text = String::from_utf8_lossy(&writing.bytes).into_owned();
        Ok(Answer { text, tokens: writing.written, prompt_tokens: prompt.len(), is_cut })
    }
}

/// A call, as the network sees it.
struct Watched<'a> {
    observer: &'a Observer<'a>,
    began: Instant,
    timeout: Option<Duration>,
    /// Tokens of the prompt.
    prompt: usize,
}

impl Watch for Watched<'_> {
    fn check(&self, read: usize) -> Result<()> {
        if (self.observer.is_cancelled)() {
            return Err(Error::Cancelled);
        }
        if let Some(limit) = self.timeout.filter(|limit| self.began.elapsed() > *limit) {
            return Err(Error::OutOfTime(limit));
        }
        if read < self.prompt {
            (self.observer.on_prompt)(PromptProgress { read, tokens: self.prompt });
        }
        Ok(())
    }
}

/// An answer in the making.
struct Writing<'a> {
    vocabulary: &'a Vocabulary,
    matcher: Option<Matcher>,
    sampler: Sampler,
    written: Vec<u32>,
    bytes: Vec<u8>,
}

impl Writing<'_> {
    /// Writes the answer to `prompt`; returns whether it was cut.
    fn write(
        &mut self,
        network: &mut Network,
        prompt: &[u32],
        generation: &Generation<'_>,
        context: usize,
        watched: &Watched<'_>,
    ) -> Result<bool> {
        let room = generation.max_tokens.min(context - prompt.len());
        let mut logits = network.begin(prompt, watched)?;
        (watched.observer.on_prompt)(PromptProgress { read: prompt.len(), tokens: prompt.len() });
        while let Some(tokens) = self.next(logits)? {
            if self.stop_at(generation.stop) {
                return Ok(false);
            }
            if self.written.len() >= room {
                return Ok(true);
            }
            logits = network.go_on(&tokens, watched)?;
        }
        Ok(false)
    }

    /// Writes the tokens that follow: one that is drawn by its logits and those that the grammar leaves no choice about. `None` at the end of the answer.
    fn next(&mut self, mut logits: Vec<f32>) -> Result<Option<Vec<u32>>> {
        if let Some(matcher) = &mut self.matcher {
            if matcher.is_stopped() {
                return Ok(None);
            }
            let mask = matcher.compute_mask_or_eos().map_err(Error::grammar)?;
            for (id, logit) in logits.iter_mut().enumerate() {
                let allowed = u32::try_from(id).is_ok_and(|id| id < mask.len() as u32 && mask.is_allowed(id));
                if !allowed {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        let token = self.sampler.draw(&logits).ok_or_else(|| Error::grammar("no token is allowed next"))?;
        if self.vocabulary.ends.contains(&token) {
            return Ok(None);
        }
        let mut tokens = vec![token];
        if let Some(matcher) = &mut self.matcher {
            matcher.consume_token(token).map_err(Error::grammar)?;
            tokens.extend(matcher.consume_ff_tokens());
            if let Some(problem) = matcher.get_error() {
                return Err(Error::grammar(problem));
            }
        }
        let ends = |id: &u32| self.vocabulary.ends.contains(id);
        let end = tokens.iter().position(ends);
        tokens.truncate(end.unwrap_or(tokens.len()));
        for &id in &tokens {
            let control = self.vocabulary.is_control.get(id as usize).copied().unwrap_or(true);
            if !control {
                self.bytes.extend_from_slice(self.vocabulary.bytes.get(id as usize).map_or(&[], Vec::as_slice));
            }
        }
        self.written.extend_from_slice(&tokens);
        let finished = end.is_some() || self.matcher.as_ref().is_some_and(Matcher::is_stopped);
        Ok((!finished).then_some(tokens))
    }

    /// Cuts the answer at `stop`, if it is there.
    fn stop_at(&mut self, stop: Option<&str>) -> bool {
        let Some(stop) = stop.filter(|stop| !stop.is_empty()) else { return false };
        let at = self.bytes.windows(stop.len()).position(|part| part == stop.as_bytes());
        if let Some(at) = at {
            self.bytes.truncate(at);
        }
        at.is_some()
    }
}
