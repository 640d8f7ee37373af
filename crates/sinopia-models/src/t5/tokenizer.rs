//! T5's tokenizer: SentencePiece pieces, most likely cut first, with `</s>` at the end.

use std::path::Path;

use tokenizers::AddedToken;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{NormalizerWrapper, Precompiled, Replace, Sequence as Normalizers, Strip};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::sentencepiece::SentencePieceModel;
use crate::checkpoint::files::Files;
use crate::tokenizer::parsed;
use crate::{Error, Result};

/// The tokens of a text of fixed length, as ELLA was trained.
pub const FIXED_LENGTH: usize = 128;
/// The end mark, 1 in all T5s.
const EOS: &str = "</s>";
/// The padding, 0 in all T5s.
const PAD: &str = "<pad>";
const UNKNOWN: &str = "<unk>";

/// A text as the encoder reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct T5Tokens {
    /// The text, its end mark, and perhaps padding.
    pub ids: Vec<u32>,
    /// How many of them come before the padding; the others are not looked at.
    pub length: usize,
}

/// A unigram model with the vocabulary of one checkpoint.
#[derive(Clone)]
pub struct T5Tokenizer {
    inner: tokenizers::Tokenizer,
    origin: String,
    eos: u32,
    pad: u32,
}

impl T5Tokenizer {
    /// Reads a folder's `tokenizer.json` or, without one, its `spiece.model`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if neither is there, or it is damaged or not T5's.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        Self::load(&Files::Folder(folder.to_owned()), "")
    }

    pub(crate) fn load(files: &Files, folder: &str) -> Result<Self> {
        let at = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let origin = files.display(folder);
        let mut inner = match (files.read(&at("tokenizer.json"))?, files.read(&at("spiece.model"))?) {
            (Some(json), _) => parsed(&json).map_err(|error| problem(&origin, error))?,
            (_, Some(model)) => unigram_tokenizer(&origin, &model)?,
            _ => return Err(problem(&origin, "it has neither tokenizer.json nor spiece.model")),
        };
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| problem(&origin, error))?;
        let id = |token: &str| {
            inner.token_to_id(token).ok_or_else(|| problem(&origin, format!("its vocabulary has no `{token}`")))
        };
        let (eos, pad) = (id(EOS)?, id(PAD)?);
        Ok(Self { inner, origin, eos, pad })
    }

    /// All of a text, however long.
    ///
    /// # Errors
    /// If the tokenizer's files produce something impossible; no text is an error by itself.
    pub fn encode(&self, text: &str) -> Result<T5Tokens> {
        let encoding = self.inner.encode(text, false).map_err(|error| problem(&self.origin, error))?;
        let mut ids = encoding.get_ids().to_vec();
        ids.push(self.eos);
        Ok(T5Tokens { length: ids.len(), ids })
    }

    /// A text cut or padded to `length` tokens, the end mark included.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_fixed(&self, text: &str, length: usize) -> Result<T5Tokens> {
        let mut tokens = self.encode(text)?;
        if tokens.length > length {
            tokens.ids.truncate(length.saturating_sub(1));
            tokens.ids.push(self.eos);
            tokens.length = tokens.ids.len();
        }
        tokens.ids.resize(length.max(1), self.pad);
        Ok(tokens)
    }

    /// One more than the largest id: the encoder's embedding has at least so many rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1)
    }
}

impl std::fmt::Debug for T5Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("T5Tokenizer").field("origin", &self.origin).finish_non_exhaustive()
    }
}

fn problem(origin: &str, problem: impl ToString) -> Error {
    Error::Tokenizer { origin: origin.to_owned(), problem: problem.to_string() }
}

/// What transformers makes of a `spiece.model`: characters replaced, spaces at the end cut off and others joined, `▁` for a space and before the
/// first word.
fn unigram_tokenizer(origin: &str, bytes: &[u8]) -> Result<tokenizers::Tokenizer> {
    let fail = |error| problem(origin, error);
    let model = SentencePieceModel::read(bytes).map_err(|error| problem(origin, format!("spiece.model: {error}")))?;
    let unigram = Unigram::from(model.pieces, model.unknown, false).map_err(|error| problem(origin, error))?;
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if !model.charsmap.is_empty() {
        normalizers.push(Precompiled::from(&model.charsmap).map_err(|error| problem(origin, error))?.into());
    }
    normalizers.push(Strip::new(false, true).into());
    normalizers.push(Replace::new(ReplacePattern::Regex(" {2,}".into()), "▁").map_err(fail)?.into());
    let mut tokenizer = tokenizers::Tokenizer::new(unigram);
    tokenizer
        .with_normalizer(Some(Normalizers::new(normalizers)))
        .map_err(fail)?
        .with_pre_tokenizer(Some(Metaspace::new('▁', PrependScheme::Always, true)));
    let marks = [PAD, EOS, UNKNOWN].map(|mark| AddedToken::from(mark, true).normalized(false));
    tokenizer.add_special_tokens(marks).map_err(fail)?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::super::sentencepiece::tests::example;
    use super::*;

    fn tokenizer(files: &[(&str, &[u8])]) -> Result<T5Tokenizer> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        T5Tokenizer::from_folder(folder.path())
    }

    #[test]
    fn a_sentencepiece_model_cuts_words_and_ends_the_text() {
        let tokenizer = tokenizer(&[("spiece.model", &example())]).unwrap();
        assert_eq!(tokenizer.encode("red  cars ").unwrap().ids, [3, 4, 6, 1]);
        assert_eq!(tokenizer.encode("red x").unwrap().ids, [3, 5, 2, 1], "what no piece covers is unknown");
        assert_eq!(tokenizer.encode("").unwrap(), T5Tokens { ids: vec![1], length: 1 });
        assert_eq!(tokenizer.vocab_size(), 7);
    }

    #[test]
    fn a_fixed_length_cuts_or_pads() {
        let tokenizer = tokenizer(&[("spiece.model", &example())]).unwrap();
        let fixed = |text, length| tokenizer.encode_fixed(text, length).unwrap();
        assert_eq!(fixed("red car", 5), T5Tokens { ids: vec![3, 4, 1, 0, 0], length: 3 });
        assert_eq!(fixed("red car red car", 3), T5Tokens { ids: vec![3, 4, 1], length: 3 });
    }

    #[test]
    fn bad_folders_are_refused_with_what_is_wrong() {
        let message = |files: &[(&str, &[u8])]| tokenizer(files).unwrap_err().to_string();
        assert!(message(&[]).ends_with("it has neither tokenizer.json nor spiece.model"));
        assert!(message(&[("spiece.model", b"no")]).contains("spiece.model: it is cut short"));
        assert!(message(&[("tokenizer.json", b"{}")]).contains("the tokenizer in"));
    }
}
