//! CLIP's tokenizer: from a prompt to a window of token ids.
//!
//! Text is normalised (NFC, runs of white space become one space, lower case), split by CLIP's pattern into words, numerals and
//! punctuation, written as bytes in printable stand-ins, and merged pair by pair; the last piece of a word ends in `</w>`.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use crate::checkpoint::files::Files;
use crate::{Error, Result};

/// Words, numerals and punctuation, as CLIP splits them.
const SPLIT_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// The tokens CLIP's text encoder reads at once, the two marks included.
const WINDOW: usize = 77;
/// The beginning mark, unless the tokenizer's files name another.
const BOS: &str = "<|startoftext|>";
/// The end mark, unless the tokenizer's files name another.
const EOS: &str = "<|endoftext|>";
/// The merges of OpenAI's CLIP, which single-file checkpoints assume (see `assets/NOTICE.md`).
const CLIP_MERGES: &[u8] = include_bytes!("../assets/clip-merges.txt.gz");

/// A prompt as the text encoder reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Beginning mark, text, end mark, padding: [`Tokenizer::max_length`] ids.
    pub ids: Vec<u32>,
    /// How many of them come before the padding, both marks included.
    pub length: usize,
    /// The end of the text that did not fit the window, if any.
    pub truncated: Option<String>,
}

/// CLIP's byte-pair encoding with the vocabulary of one checkpoint.
///
/// ```
/// let tokenizer = sinopia_models::Tokenizer::clip()?;
/// let tokens = tokenizer.encode("a photo of a cat")?;
/// assert_eq!(tokens.ids[..tokens.length], [49406, 320, 1125, 539, 320, 2368, 49407]);
/// # Ok::<(), sinopia_models::Error>(())
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    origin: String,
    special: SpecialIds,
    max_length: usize,
}

#[derive(Debug, Clone, Copy)]
struct SpecialIds {
    bos: u32,
    eos: u32,
    pad: u32,
}

/// The marks by name, as the files give them.
struct SpecialTokens {
    bos: String,
    eos: String,
    pad: String,
}

impl Tokenizer {
    /// OpenAI's CLIP vocabulary of 49 408 tokens with Stable Diffusion 1's padding, the end mark.
    ///
    /// # Errors
    /// None in practice: the vocabulary is part of the program.
    pub fn clip() -> Result<Self> {
        Self::built_in(EOS)
    }

    /// The same vocabulary with Stable Diffusion 2's padding, the token `!`.
    ///
    /// # Errors
    /// None in practice: the vocabulary is part of the program.
    pub fn open_clip() -> Result<Self> {
        Self::built_in("!")
    }

    /// Reads a `tokenizer/` folder: `vocab.json` with `merges.txt`, or `tokenizer.json`, and what they say about special tokens.
    ///
    /// # Errors
    /// If files are missing, malformed or do not fit together.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        Self::load(&Files::Folder(folder.to_owned()), "")
    }

    pub(crate) fn load(files: &Files, folder: &str) -> Result<Self> {
        let at = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let origin = files.display(folder);
        let map = files.read_object(&at("special_tokens_map.json"))?.unwrap_or_default();
        let config = files.read_object(&at("tokenizer_config.json"))?.unwrap_or_default();
        let special = SpecialTokens::from_json(&map, &config);
        let max_length = match config.get("model_max_length").and_then(Value::as_f64) {
            // Some files say 10³⁰ where they mean "no limit"; the window is CLIP's all the same.
            Some(length) if (3.0..=WINDOW as f64).contains(&length) => length as usize,
            _ => WINDOW,
        };
        let vocab_and_merges = (files.read(&at("vocab.json"))?, files.read(&at("merges.txt"))?);
        let inner = match (vocab_and_merges, files.read(&at("tokenizer.json"))?) {
            ((Some(vocab), Some(merges)), _) => {
                let vocab: Vocab = serde_json::from_slice(&vocab)
                    .map_err(|source| Error::Json { file: files.display(&at("vocab.json")), source })?;
                clip_tokenizer(&origin, vocab, parse_merges(&origin, &String::from_utf8_lossy(&merges))?, &special)?
            }
            (_, Some(json)) => tokenizers::Tokenizer::from_bytes(&json).map_err(|error| problem(&origin, error))?,
            _ => return Err(problem(&origin, "it has neither vocab.json and merges.txt nor tokenizer.json")),
        };
        Self::new(inner, origin, &special, max_length)
    }

    fn built_in(pad: &str) -> Result<Self> {
        let origin = "the built-in CLIP vocabulary";
        let mut text = String::new();
        flate2::read::GzDecoder::new(CLIP_MERGES).read_to_string(&mut text).map_err(|error| problem(origin, error))?;
        let merges = parse_merges(origin, &text)?;
        let special = SpecialTokens { bos: BOS.into(), eos: EOS.into(), pad: pad.into() };
        let inner = clip_tokenizer(origin, vocab_from_merges(&merges), merges, &special)?;
        Self::new(inner, origin.into(), &special, WINDOW)
    }

    fn new(mut inner: tokenizers::Tokenizer, origin: String, names: &SpecialTokens, max_length: usize) -> Result<Self> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| problem(&origin, error))?;
        let id = |token: &str| {
            let missing = || problem(&origin, format!("its vocabulary has no `{token}`"));
            inner.token_to_id(token).ok_or_else(missing)
        };
        let special = SpecialIds { bos: id(&names.bos)?, eos: id(&names.eos)?, pad: id(&names.pad)? };
        Ok(Self { inner, origin, special, max_length })
    }

    /// The window of `text`: cut to [`Tokenizer::max_length`] if longer, padded to it if shorter.
    ///
    /// # Errors
    /// If the tokenizer's files produce something impossible; no text is an error by itself.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let encoding = self.inner.encode(text, false).map_err(|error| problem(&self.origin, error))?;
        let room = self.max_length - 2;
        let kept = encoding.get_ids().len().min(room);
        let truncated =
            encoding.get_offsets().get(room).map(|(start, _)| text.get(*start..).unwrap_or(text).to_owned());

        let mut ids = Vec::with_capacity(self.max_length);
        ids.push(self.special.bos);
        ids.extend_from_slice(&encoding.get_ids()[..kept]);
        ids.push(self.special.eos);
        let length = ids.len();
        ids.resize(self.max_length, self.special.pad);
        Ok(Tokens { ids, length, truncated })
    }

    /// The ids of `text` alone: no marks, no padding, no limit.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_unpadded(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode(text, false).map_err(|error| problem(&self.origin, error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The piece of text behind an id, as the vocabulary spells it (`cat</w>`).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of the beginning mark.
    pub fn bos(&self) -> u32 {
        self.special.bos
    }

    /// The id of the end mark.
    pub fn eos(&self) -> u32 {
        self.special.eos
    }

    /// The id that fills the rest of a window: the end mark in Stable Diffusion 1, `!` in 2.
    pub fn pad(&self) -> u32 {
        self.special.pad
    }

    /// The length of a window, 77 in all known checkpoints.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// One more than the largest id: the rows that the text encoder's embedding must have.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("origin", &self.origin)
            .field("special", &self.special)
            .field("max_length", &self.max_length)
            .finish_non_exhaustive()
    }
}

impl SpecialTokens {
    fn from_json(map: &serde_json::Map<String, Value>, config: &serde_json::Map<String, Value>) -> Self {
        let name = |key: &str| {
            [map, config].into_iter().filter_map(|file| file.get(key)).find_map(|value| {
                // Either the token or an object that describes it.
                value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
            })
        };
        let eos = name("eos_token").unwrap_or_else(|| EOS.into());
        Self {
            bos: name("bos_token").unwrap_or_else(|| BOS.into()),
            pad: name("pad_token").unwrap_or_else(|| eos.clone()),
            eos,
        }
    }
}

fn problem(origin: &str, problem: impl ToString) -> Error {
    Error::Tokenizer { origin: origin.to_owned(), problem: problem.to_string() }
}

fn clip_tokenizer(
    origin: &str,
    vocab: Vocab,
    merges: Merges,
    special: &SpecialTokens,
) -> Result<tokenizers::Tokenizer> {
    let fail = |error| problem(origin, error);
    // The padding token too: where it is `!`, Stable Diffusion 2 cuts exclamation marks out of the text before anything is merged.
    let marks: Vec<AddedToken> = [&special.bos, &special.eos, &special.pad]
        .into_iter()
        .filter(|token| vocab.contains_key(*token))
        .map(|token| AddedToken::from(token.as_str(), true).normalized(false))
        .collect();
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .unk_token(special.eos.clone())
        .end_of_word_suffix("</w>".to_owned())
        .build()
        .map_err(fail)?;
    let white_space = tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".into());
    let normalizer =
        Normalizers::new(vec![NFC.into(), Replace::new(white_space, " ").map_err(fail)?.into(), Lowercase.into()]);
    let pattern = SplitPattern::Regex(SPLIT_PATTERN.into());
    let split = Split::new(pattern, SplitDelimiterBehavior::Removed, true).map_err(fail)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let pre_tokenizer = PreTokenizers::new(vec![split.into(), ByteLevel::new(false, true, true).into()]);
    tokenizer.with_normalizer(Some(normalizer)).map_err(fail)?.with_pre_tokenizer(Some(pre_tokenizer));
    tokenizer.add_special_tokens(marks).map_err(fail)?;
    Ok(tokenizer)
}

fn parse_merges(origin: &str, text: &str) -> Result<Merges> {
    let lines = text.lines().enumerate().filter(|(number, line)| {
        let is_header = *number == 0 && line.starts_with("#version");
        !is_header && !line.is_empty()
    });
    let merges = lines
        .map(|(number, line)| match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
            _ => Err(problem(origin, format!("line {} of merges.txt is not a pair: `{line}`", number + 1))),
        })
        .collect::<Result<Merges>>()?;
    // Without merges every letter would be a word of its own, and the text would mean nothing to the text encoder.
    if merges.is_empty() { Err(problem(origin, "merges.txt is empty")) } else { Ok(merges) }
}

/// CLIP's numbering: 256 bytes, the same at the end of a word, the merges in order, the two marks.
fn vocab_from_merges(merges: &Merges) -> Vocab {
    let bytes = byte_symbols();
    let inner = bytes.iter().map(char::to_string);
    let last = bytes.iter().map(|symbol| format!("{symbol}</w>"));
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let marks = [BOS, EOS].map(str::to_owned);
    inner.chain(last).chain(merged).chain(marks).zip(0..).collect()
}

/// The printable stand-ins for the 256 bytes, in CLIP's order: first those bytes that are printable Latin-1 themselves.
fn byte_symbols() -> Vec<char> {
    let printable = || (33_u8..=126).chain(161..=172).chain(174..=255);
    let others = (0_u8..=255).filter(|byte| !printable().any(|other| other == *byte));
    let stand_ins = (256_u32..).zip(others).filter_map(|(code, _)| char::from_u32(code));
    printable().map(char::from).chain(stand_ins).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[u32]) {
        assert_eq!(Tokenizer::clip().unwrap().encode_unpadded(text).unwrap(), expected, "{text:?}");
    }

    // The expected ids were computed with transformers 5.23's CLIPTokenizerFast on the same merges.

    #[test]
    fn plain_words_get_clips_ids() {
        check("a photo of a cat", &[320, 1125, 539, 320, 2368]);
        check("antidisestablishmentarianism", &[3120, 4262, 7726, 12658, 1585, 44351]);
    }

    #[test]
    fn case_white_space_and_contractions_are_cleaned() {
        let expected = [320, 16157, 1125, 539, 273, 3255, 267, 2923, 713, 585, 2835];
        check("  A   Realistic\tphoto of 2 dogs, isn't it?!", &expected);
        check("it's we'll 1234", &[585, 568, 649, 1342, 272, 273, 274, 275]);
        check("a\u{a0}b\u{3000}c", &[320, 321, 322]);
    }

    #[test]
    fn other_scripts_are_composed_and_split_into_bytes() {
        check("naïve café — 北京 🐶", &[1097, 35689, 563, 15304, 2005, 161, 234, 245, 21078, 361, 10631]);
        check("ÅNGSTRÖM cafe\u{301} \u{212b}", &[23176, 10352, 807, 7255, 332, 15304, 127, 354]);
    }

    #[test]
    fn nothing_but_punctuation_or_nothing_at_all() {
        check("!!! ... ''' 's", &[995, 678, 6, 8445, 568]);
        check("", &[]);
        check(" \n\t", &[]);
    }

    #[test]
    fn padding_is_the_end_mark_in_sd1_and_an_exclamation_mark_in_sd2() {
        let sd1 = Tokenizer::clip().unwrap().encode("a cat").unwrap();
        let sd2 = Tokenizer::open_clip().unwrap().encode("a cat").unwrap();
        assert_eq!(sd1.ids[..6], [49406, 320, 2368, 49407, 49407, 49407]);
        assert_eq!(sd2.ids[..6], [49406, 320, 2368, 49407, 0, 0]);
        assert_eq!((sd1.ids.len(), sd1.length, sd1.truncated), (77, 4, None));
    }

    #[test]
    fn seventy_five_tokens_fit_and_the_rest_is_reported() {
        let tokenizer = Tokenizer::clip().unwrap();
        let fits = tokenizer.encode(&"cat ".repeat(75)).unwrap();
        assert_eq!((fits.length, &fits.truncated), (77, &None));

        let long = tokenizer.encode(&format!("{}Näive Dog on a Sofa", "cat ".repeat(74))).unwrap();
        assert_eq!(long.ids.len(), 77);
        assert_eq!(long.ids[76], 49407);
        assert_eq!(long.truncated.as_deref(), Some("äive Dog on a Sofa"), "from the first token that was dropped");
    }

    #[test]
    fn a_mark_in_the_text_is_the_mark() {
        check("<|endoftext|> hi", &[49407, 1883]);
    }

    #[test]
    fn the_built_in_vocabulary_has_clips_size() {
        let tokenizer = Tokenizer::clip().unwrap();
        assert_eq!(tokenizer.vocab_size(), 49408);
        assert_eq!(tokenizer.token(2368).as_deref(), Some("cat</w>"));
    }

    fn write_folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    const VOCAB: &str = r#"{"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4, "<s>": 5, "</s>": 6}"#;
    const SPECIAL: &str = r#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": "a"}"#;

    #[test]
    fn a_folder_brings_its_own_vocabulary_marks_and_window() {
        let folder = write_folder(&[
            ("vocab.json", VOCAB),
            ("merges.txt", "#version: 0.2\na b</w>\n"),
            ("special_tokens_map.json", SPECIAL),
            ("tokenizer_config.json", r#"{"model_max_length": 6}"#),
        ]);
        let tokens = Tokenizer::from_folder(folder.path()).unwrap().encode("AB b").unwrap();
        assert_eq!(tokens.ids, [5, 4, 3, 6, 0, 0]);
    }

    #[test]
    fn tokenizer_json_alone_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        Tokenizer::clip().unwrap().inner.save(folder.path().join("tokenizer.json"), false).unwrap();
        let tokens = Tokenizer::from_folder(folder.path()).unwrap().encode("a photo of a cat").unwrap();
        assert_eq!(tokens.ids[..8], [49406, 320, 1125, 539, 320, 2368, 49407, 49407]);
    }

    fn refusal(files: &[(&str, &str)]) -> String {
        Tokenizer::from_folder(write_folder(files).path()).unwrap_err().to_string()
    }

    #[test]
    fn bad_folders_are_refused_with_what_is_wrong() {
        assert!(refusal(&[]).ends_with("it has neither vocab.json and merges.txt nor tokenizer.json"));
        let unpaired =
            refusal(&[("vocab.json", VOCAB), ("merges.txt", "a b</w>\nab\n"), ("special_tokens_map.json", SPECIAL)]);
        assert!(unpaired.ends_with("line 2 of merges.txt is not a pair: `ab`"), "{unpaired}");
        let unmarked = refusal(&[("vocab.json", VOCAB), ("merges.txt", "a b</w>\n")]);
        assert!(unmarked.contains("<|startoftext|>") || unmarked.contains("<|endoftext|>"), "{unmarked}");
        let unknown = refusal(&[("vocab.json", VOCAB), ("merges.txt", "b c\n"), ("special_tokens_map.json", SPECIAL)]);
        assert!(unknown.contains("out of vocabulary"), "{unknown}");
        let list = refusal(&[("vocab.json", "[]"), ("merges.txt", "a b</w>\n")]);
        assert!(list.contains("vocab.json"), "{list}");
        for nothing in ["", "\n\n", "#version: 0.2\n"] {
            let files = [("vocab.json", VOCAB), ("merges.txt", nothing), ("special_tokens_map.json", SPECIAL)];
            assert!(refusal(&files).ends_with("merges.txt is empty"), "{}", refusal(&files));
        }
    }
}
