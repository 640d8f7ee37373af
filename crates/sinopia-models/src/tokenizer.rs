//! CLIP's tokenizer: from a prompt to a window of token ids.
//!
//! Text is normalised (NFC, runs of white space become one space, lower case), split by CLIP's pattern into words, numerals and
//! punctuation, written as bytes in printable stand-ins, and merged pair by pair; the last piece of a word ends in `</w>`.
//! Words that were learned for a model (textual inversions) are cut out of the text first; `added.rs` reads them.

mod added;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::Value;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use self::added::Added;
use crate::checkpoint::files::Files;
use crate::{Error, Result};

/// Words, numerals and punctuation, as CLIP splits them.
const SPLIT_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// The tokens CLIP's text encoder reads at once, the two marks included.
const WINDOW: usize = 77;
/// Bytes of a text with its learned words written out.
const MAX_EXPANDED: usize = 64 * 1024;
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
    inner: Arc<tokenizers::Tokenizer>,
    origin: String,
    special: SpecialIds,
    max_length: usize,
    /// Ids of added tokens, and what is written for each that has several vectors.
    added: BTreeMap<u32, Option<String>>,
    /// Rows of the text encoder's embedding, if they are known.
    rows: Option<usize>,
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
        let added =
            added::tokens(files, &at, added::Objects { special_tokens_map: &map, config: &config }, special.names())?;
        let vocab_and_merges = (files.read(&at("vocab.json"))?, files.read(&at("merges.txt"))?);
        let inner = match (vocab_and_merges, files.read(&at("tokenizer.json"))?) {
            ((Some(vocab), Some(merges)), _) => {
                let vocab: Vocab = serde_json::from_slice(&vocab)
                    .map_err(|source| Error::Json { file: files.display(&at("vocab.json")), source })?;
                let merges = parse_merges(&origin, &String::from_utf8_lossy(&merges))?;
                clip_tokenizer(&origin, vocab, merges, &special, &added)?
            }
            (_, Some(json)) => {
                let mut inner = parsed(&json).map_err(|error| Error::tokenizer(&origin, error))?;
                added::add(&mut inner, &origin, &added)?;
                inner
            }
            _ => return Err(Error::tokenizer(&origin, "it has neither vocab.json and merges.txt nor tokenizer.json")),
        };
        Self::new(inner, origin, &special, max_length)
    }

    fn built_in(pad: &str) -> Result<Self> {
        let origin = "the built-in CLIP vocabulary";
        let mut text = String::new();
        flate2::read::GzDecoder::new(CLIP_MERGES)
            .read_to_string(&mut text)
            .map_err(|error| Error::tokenizer(origin, error))?;
        let merges = parse_merges(origin, &text)?;
        let special = SpecialTokens { bos: BOS.into(), eos: EOS.into(), pad: pad.into() };
        let inner = clip_tokenizer(origin, vocab_from_merges(&merges), merges, &special, &[])?;
        Self::new(inner, origin.into(), &special, WINDOW)
    }

    fn new(mut inner: tokenizers::Tokenizer, origin: String, names: &SpecialTokens, max_length: usize) -> Result<Self> {
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| Error::tokenizer(&origin, error))?;
        let id = |token: &str| {
            let missing = || Error::tokenizer(&origin, format!("its vocabulary has no `{token}`"));
            inner.token_to_id(token).ok_or_else(missing)
        };
        let special = SpecialIds { bos: id(&names.bos)?, eos: id(&names.eos)?, pad: id(&names.pad)? };
        let added = added::expansions(&inner);
        Ok(Self { inner: Arc::new(inner), origin, special, max_length, added, rows: None })
    }

    /// The window of `text`: cut to [`Tokenizer::max_length`] if longer, padded to it if shorter.
    ///
    /// # Errors
    /// If the tokenizer's files produce something impossible; no text is an error by itself.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let text = self.expanded(text)?;
        let encoding = self.inner.encode(&*text, false).map_err(|error| Error::tokenizer(&self.origin, error))?;
        self.check_rows(encoding.get_ids())?;
        let room = self.max_length - 2;
        let kept = encoding.get_ids().len().min(room);
        let truncated =
            encoding.get_offsets().get(room).map(|(start, _)| text.get(*start..).unwrap_or(&text).to_owned());

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
        let encoding =
            self.inner.encode(&*self.expanded(text)?, false).map_err(|error| Error::tokenizer(&self.origin, error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// `length` ids: beginning mark, text, end mark, `pad`. A longer text is cut before its end mark.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(crate) fn encode_padded(&self, text: &str, length: usize, pad: u32) -> Result<Vec<u32>> {
        let mut ids = vec![self.special.bos];
        ids.extend(self.encode_unpadded(text)?);
        ids.truncate(length - 1);
        ids.push(self.special.eos);
        ids.resize(length, pad);
        Ok(ids)
    }

    /// The text with each learned word of several vectors written out: `<x>` as `<x> <x>_1 <x>_2`.
    ///
    /// # Source
    /// huggingface/diffusers 0.42, `TextualInversionLoaderMixin.maybe_convert_prompt`.
    fn expanded<'a>(&self, text: &'a str) -> Result<Cow<'a, str>> {
        if self.added.values().all(Option::is_none) {
            return Ok(Cow::Borrowed(text));
        }
        let encoding = self.inner.encode(text, false).map_err(|error| Error::tokenizer(&self.origin, error))?;
        let mut expanded = Cow::Borrowed(text);
        for (id, written) in &self.added {
            if let Some(written) = written.as_ref().filter(|_| encoding.get_ids().contains(id)) {
                let token = self.token(*id).unwrap_or_default();
                // As diffusers does, also where it is a part of another word. Words that hold each other grow with every one that is written out.
                let longer = written.len().saturating_sub(token.len());
                if expanded.matches(&*token).count().saturating_mul(longer)
                    > MAX_EXPANDED.saturating_sub(expanded.len())
                {
                    let told =
                        format!("with the word `{token}` written out, the text has more than {MAX_EXPANDED} bytes");
                    return Err(Error::tokenizer(&self.origin, told));
                }
                expanded = Cow::Owned(expanded.replace(&token, written));
            }
        }
        Ok(expanded)
    }

    /// Refuses learned words whose vectors the text encoder does not have.
    fn check_rows(&self, ids: &[u32]) -> Result<()> {
        let Some(rows) = self.rows else { return Ok(()) };
        match ids.iter().find(|id| **id as usize >= rows) {
            None => Ok(()),
            Some(id) => Err(Error::tokenizer(
                &self.origin,
                format!(
                    "it knows the word `{}` as token {id}, and the text encoder has vectors of the tokens below {rows} only",
                    self.token(*id).unwrap_or_default()
                ),
            )),
        }
    }

    /// The same tokenizer, which refuses texts with words whose vectors an embedding of so many rows does not have.
    pub(crate) fn for_rows(self, rows: usize) -> Self {
        Self { rows: Some(rows), ..self }
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

    /// One more than the largest id, but for words that were added: the rows that the text encoder's embedding must have.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(false).values().max().map_or(0, |id| *id as usize + 1)
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
    fn names(&self) -> [&str; 3] {
        [&self.bos, &self.eos, &self.pad]
    }

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

/// The tokenizer of a `tokenizer.json`. The library reads some parts a second time and takes for granted that they are JSON, so that is found out first.
pub(crate) fn parsed(json: &[u8]) -> tokenizers::Result<tokenizers::Tokenizer> {
    serde_json::from_slice::<IgnoredAny>(json)?;
    tokenizers::Tokenizer::from_bytes(json)
}

fn clip_tokenizer(
    origin: &str,
    vocab: Vocab,
    merges: Merges,
    special: &SpecialTokens,
    added: &[Added],
) -> Result<tokenizers::Tokenizer> {
    let fail = |error| Error::tokenizer(origin, error);
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
    added::add(&mut tokenizer, origin, added)?;
    let is_new = |mark: &AddedToken| !added.iter().any(|added| added.token.content == mark.content);
    let marks: Vec<AddedToken> = marks.into_iter().filter(is_new).collect();
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
            _ => Err(Error::tokenizer(origin, format!("line {} of merges.txt is not a pair: `{line}`", number + 1))),
        })
        .collect::<Result<Merges>>()?;
    // Without merges every letter would be a word of its own, and the text would mean nothing to the text encoder.
    if merges.is_empty() { Err(Error::tokenizer(origin, "merges.txt is empty")) } else { Ok(merges) }
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
    fn parts_of_a_tokenizer_that_are_no_json_are_refused() {
        let json = |decoder: &str| {
            format!(
                r#"{{"version": "1.0", "added_tokens": [], "decoder": {decoder}, "model": {{"type": "BPE", "vocab": {{}}, "merges": []}}}}"#
            )
        };
        assert!(parsed(json("null").as_bytes()).is_ok());
        for decoder in ["-null", "-", "nul"] {
            assert!(parsed(json(decoder).as_bytes()).is_err(), "{decoder}");
        }
    }

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

    /// CLIP's own vocabulary as a folder.
    fn clip_folder() -> tempfile::TempDir {
        let mut text = String::new();
        flate2::read::GzDecoder::new(CLIP_MERGES).read_to_string(&mut text).unwrap();
        let vocab = vocab_from_merges(&parse_merges("clip", &text).unwrap());
        let vocab = serde_json::to_string(&vocab).unwrap();
        write_folder(&[("vocab.json", &vocab), ("merges.txt", &text)])
    }

    /// What each of [`LEARNED_TEXTS`] is under a folder with these files besides.
    fn learned(files: &[(&str, &str)]) -> Vec<Vec<u32>> {
        let folder = clip_folder();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
        LEARNED_TEXTS.iter().map(|text| tokenizer.encode_unpadded(text).unwrap()).collect()
    }

    const LEARNED_TEXTS: [&str; 6] = [
        "a <cat-toy> on a <s2> table",
        "A <Cat-Toy>!",
        "<cat-toy><s2> x<s2>y",
        "photo of sks-dog, sks-dogs",
        "<cat-toy>",
        "<unlisted> and <|endoftext|>",
    ];
    const ADDED: &str = r#"{"<cat-toy>": 49408, "<s2>": 49409, "sks-dog": 49410}"#;

    // The expected ids were computed with transformers 5.23's CLIPTokenizer on the same files.

    #[test]
    fn learned_words_of_added_tokens_json() {
        let expected: [&[u32]; 6] = [
            &[320, 49408, 525, 320, 49409, 2175],
            &[320, 49408, 256],
            &[49408, 49409, 343, 49409, 344],
            &[1125, 539, 49410, 267, 49410, 338],
            &[49408],
            &[283, 569, 6457, 285, 537, 49407],
        ];
        assert_eq!(learned(&[("added_tokens.json", ADDED)]), expected);
    }

    #[test]
    fn learned_words_of_the_configuration_come_before_other_files() {
        let token = |content: &str, flags: &str| {
            let plain =
                r#""lstrip": false, "rstrip": false, "normalized": true, "single_word": false, "special": false"#;
            let flags = if flags.is_empty() { plain } else { flags };
            format!(r#"{{"content": "{content}", {flags}}}"#)
        };
        let config = format!(
            r#"{{"added_tokens_decoder": {{"49406": {}, "49407": {}, "49408": {}, "49409": {}, "49410": {}}}}}"#,
            token("<|startoftext|>", r#""special": true, "normalized": true"#),
            token("<|endoftext|>", r#""special": true, "normalized": false"#),
            token("<cat-toy>", ""),
            token("<s2>", r#""normalized": false, "lstrip": true, "special": false"#),
            token("sks-dog", r#""single_word": true, "special": false"#)
        );
        let expected: [&[u32]; 6] = [
            &[320, 49408, 525, 320, 49409, 2175],
            &[320, 49408, 256],
            &[49408, 49409, 343, 49409, 344],
            &[1125, 539, 49410, 267, 48136, 268, 3255],
            &[49408],
            &[283, 569, 6457, 285, 537, 49407],
        ];
        assert_eq!(learned(&[("tokenizer_config.json", &config), ("added_tokens.json", r#"{"photo": 7}"#)]), expected);
    }

    #[test]
    fn special_words_without_an_id_follow_those_with_one() {
        let map = r#"{"additional_special_tokens": ["<cat-toy>", "<unlisted>"]}"#;
        let found = learned(&[("special_tokens_map.json", map), ("added_tokens.json", ADDED)]);
        assert_eq!(found[0], [320, 49408, 525, 320, 49409, 2175]);
        assert_eq!(found[5], [49411, 537, 49407]);
        assert_eq!(found[1], [320, 49408, 256]);
    }

    /// As diffusers' `maybe_convert_prompt` writes them, which looks at what is written.
    #[test]
    fn words_of_several_vectors_are_written_out() {
        let added = r#"{"<cat-toy>": 49408, "<cat-toy>_1": 49409, "<cat-toy>_2": 49410, "<s2>": 49411}"#;
        let found = learned(&[("added_tokens.json", added)]);
        assert_eq!(found[0], [320, 49408, 49409, 49410, 525, 320, 49411, 2175]);
        assert_eq!(found[1], [320, 49408, 256]);
        assert_eq!(found[2], [49408, 49409, 49410, 49411, 343, 49411, 344]);
        assert_eq!(found[4], [49408, 49409, 49410]);
    }

    #[test]
    fn words_that_hold_each_other_do_not_grow_without_end() {
        // Each word is a part of the next ones, so that writing one out lengthens all that follow it.
        let mut words = serde_json::Map::new();
        for number in 0..12 {
            let word = "x".repeat(12 - number) + "yz";
            for name in [word.clone(), word.clone() + "_1", word + "_2"] {
                words.insert(name, (49408 + words.len()).into());
            }
        }
        let text: Vec<String> = (0..12).map(|number| "x".repeat(12 - number) + "yz").collect();
        let folder = clip_folder();
        std::fs::write(folder.path().join("added_tokens.json"), Value::Object(words).to_string()).unwrap();
        let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
        assert!(tokenizer.encode("xyz").is_ok());
        let refused = tokenizer.encode(&text.join(" ")).unwrap_err().to_string();
        assert!(refused.contains("written out, the text has more than 65536 bytes"), "{refused}");
    }

    #[test]
    fn words_at_other_ids_than_they_get_are_refused() {
        let refusal = |file: &str, text: &str| {
            let folder = clip_folder();
            std::fs::write(folder.path().join(file), text).unwrap();
            Tokenizer::from_folder(folder.path()).unwrap_err().to_string()
        };
        let gap = refusal("added_tokens.json", r#"{"<cat-toy>": 49410}"#);
        assert!(
            gap.contains("give the added word `<cat-toy>` the id 49410, and its vocabulary leads to 49408"),
            "{gap}"
        );
        for text in ["[]", r#"{"<x>": "49408"}"#, r#"{"<x>": -1}"#] {
            assert!(refusal("added_tokens.json", text).contains("added_tokens.json"));
        }
        for decoder in ["[1]", r#"{"x": {"content": "<x>"}}"#, r#"{"49408": {"contents": "<x>"}}"#] {
            let refused = refusal("tokenizer_config.json", &format!(r#"{{"added_tokens_decoder": {decoder}}}"#));
            assert!(refused.contains("added_tokens_decoder"), "{refused}");
        }
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
