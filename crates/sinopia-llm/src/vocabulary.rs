//! The tokenizer that a GGUF file describes: byte-level BPE as GPT-2's (`gpt2`), or pieces with scores as SentencePiece's (`llama`).

use std::collections::HashMap;

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

use crate::error::{Error, Result};
use crate::file::Head;

/// How words are cut before BPE, by `tokenizer.ggml.pre`; GPT-2's way is `ByteLevel`'s own.
///
/// # Source
/// The patterns are those of the models' published `tokenizer.json` files.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const PATTERNS: [(&str, &str); 7] = [
    ("llama-bpe", LLAMA3),
    ("llama3", LLAMA3),
    ("smaug-bpe", LLAMA3),
    ("qwen2", QWEN2),
    ("deepseek-r1-qwen", QWEN2),
    ("stablelm2", QWEN2),
    (
        "tekken",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
];

/// SentencePiece's mark for a space.
const SPACE: char = '▁';

/// What `tokenizer.ggml.token_type` says of a token.
mod kind {
    pub(super) const CONTROL: usize = 3;
    pub(super) const USER_DEFINED: usize = 4;
    pub(super) const UNUSED: usize = 5;
    pub(super) const BYTE: usize = 6;
}

/// A tokenizer, the bytes of its tokens, and its special tokens.
#[derive(Clone)]
pub(crate) struct Vocabulary {
    tokenizer: Tokenizer,
    /// Bytes of each token; those of control tokens are their names.
    pub(crate) bytes: Vec<Vec<u8>>,
    /// Which tokens are control tokens.
    pub(crate) is_control: Vec<bool>,
    /// The tokens that end an answer; the first is the file's own.
    pub(crate) ends: Vec<u32>,
    pub(crate) start: Option<u32>,
    /// Whether the start token is put before every prompt.
    adds_start: bool,
}

/// Names by which models end a turn, whatever their file says.
const TURN_ENDS: [&str; 6] = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "<|eom_id|>"];

impl Vocabulary {
    pub(crate) fn read(head: &Head) -> Result<Self> {
        let names = head.texts("tokenizer.ggml.tokens")?;
        if names.is_empty() {
            return Err(head.problem("tokenizer.ggml.tokens", "is empty"));
        }
        let kinds = match head.has("tokenizer.ggml.token_type") {
            true => head.numbers("tokenizer.ggml.token_type")?,
            false => vec![1; names.len()],
        };
        if kinds.len() != names.len() {
            let problem = format!("has {} entries for {} tokens", kinds.len(), names.len());
            return Err(head.problem("tokenizer.ggml.token_type", problem));
        }
        let model = head.text("tokenizer.ggml.model")?;
        let (mut tokenizer, bytes) = match model {
            "gpt2" => (byte_level(head, &names)?, byte_level_bytes(&names, &kinds)),
            "llama" => (pieces(head, &names)?, piece_bytes(&names, &kinds)),
            other => {
                let problem = format!("is `{other}`; `gpt2` and `llama` can be read");
                return Err(head.problem("tokenizer.ggml.model", problem));
            }
        };
        let special = |wanted: usize, is_special: bool| {
            let of_kind = names.iter().zip(&kinds).filter(move |(name, kind)| **kind == wanted && !name.is_empty());
            of_kind.map(move |(name, _)| AddedToken::from(*name, is_special).normalized(false)).collect::<Vec<_>>()
        };
        let refused = |error: tokenizers::Error| head.problem("tokenizer.ggml.tokens", error.to_string());
        tokenizer.add_tokens(special(kind::USER_DEFINED, false)).map_err(refused)?;
        tokenizer.add_special_tokens(special(kind::CONTROL, true)).map_err(refused)?;
        if tokenizer.get_vocab_size(true) > names.len() {
            return Err(head.problem("tokenizer.ggml.tokens", "has special tokens outside the vocabulary"));
        }
        let token = |key: &str| -> Result<Option<u32>> {
            if !head.has(key) {
                return Ok(None);
            }
            let id = head.number(key)?;
            let known = u32::try_from(id).ok().filter(|_| id < names.len());
            known.map(Some).ok_or_else(|| head.problem(key, format!("is {id}, but there are {} tokens", names.len())))
        };
        let own_end = token("tokenizer.ggml.eos_token_id")?
            .ok_or_else(|| head.problem("tokenizer.ggml.eos_token_id", "is missing"))?;
        let mut ends = vec![own_end];
        ends.extend(token("tokenizer.ggml.eot_token_id")?);
        let of_turns = names.iter().zip(&kinds).enumerate();
        let of_turns = of_turns.filter(|(_, (name, kind))| **kind == kind::CONTROL && TURN_ENDS.contains(name));
        ends.extend(of_turns.filter_map(|(id, _)| u32::try_from(id).ok()));
        let mut seen = std::collections::HashSet::new();
        ends.retain(|id| seen.insert(*id));
        Ok(Self {
            tokenizer,
            bytes,
            is_control: kinds.iter().map(|&kind| matches!(kind, kind::CONTROL | kind::UNUSED)).collect(),
            ends,
            start: token("tokenizer.ggml.bos_token_id")?,
            adds_start: head.flag("tokenizer.ggml.add_bos_token").unwrap_or(model == "llama"),
        })
    }

    /// The tokens of a prompt, special tokens recognised by their names, the start token before it if the model wants one.
    pub(crate) fn prompt(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.tokens(text);
        if let Some(start) = self.start.filter(|_| self.adds_start)
            && tokens.first() != Some(&start)
        {
            tokens.insert(0, start);
        }
        tokens
    }

    /// The tokens of a text.
    pub(crate) fn tokens(&self, text: &str) -> Vec<u32> {
        // Encoding fails for tokenizers without an answer to unknown letters only; these have bytes.
        self.tokenizer.encode_fast(text, false).map(|encoding| encoding.get_ids().to_vec()).unwrap_or_default()
    }

    /// A token's name, for templates that write it.
    pub(crate) fn name(&self, id: u32) -> String {
        self.bytes.get(id as usize).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    /// `text` without what would be read as a control token.
    pub(crate) fn without_control(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (bytes, _) in self.bytes.iter().zip(&self.is_control).filter(|(_, control)| **control) {
            if let Ok(name) = std::str::from_utf8(bytes)
                && name.len() > 2
                && text.contains(name)
            {
                text = text.replace(name, "");
            }
        }
        text
    }
}

/// A vocabulary as the tokenizers crate wants it; of two tokens with one name the first counts.
fn vocab(names: &[&str]) -> Vocab {
    let mut vocab: Vocab = Vocab::default();
    for (id, name) in names.iter().enumerate() {
        vocab.entry((*name).to_owned()).or_insert(u32::try_from(id).unwrap_or(u32::MAX));
    }
    vocab
}

fn byte_level(head: &Head, names: &[&str]) -> Result<Tokenizer> {
    let key = "tokenizer.ggml.merges";
    let mut merges: Merges = Vec::new();
    for merge in head.texts(key)? {
        let (left, right) = merge.split_once(' ').ok_or_else(|| head.problem(key, format!("has `{merge}`")))?;
        merges.push((left.to_owned(), right.to_owned()));
    }
    let pre = if head.has("tokenizer.ggml.pre") { head.text("tokenizer.ggml.pre")? } else { "default" };
    let pattern = PATTERNS.iter().find(|(name, _)| *name == pre).map(|(_, pattern)| *pattern);
    if pattern.is_none() && !["default", "gpt-2"].contains(&pre) {
        let known: Vec<_> = PATTERNS.iter().map(|(name, _)| *name).collect();
        let problem = format!("is `{pre}`; gpt-2, {} can be read", known.join(", "));
        return Err(head.problem("tokenizer.ggml.pre", problem));
    }
    let builder = BPE::builder().vocab_and_merges(vocab(names), merges).ignore_merges(pattern.is_some());
    let model = builder.build().map_err(|error| head.problem(key, error.to_string()))?;
    let mut tokenizer = Tokenizer::new(model);
    let bytes = ByteLevel::new(false, true, pattern.is_none());
    let pre: PreTokenizerWrapper = match pattern {
        None => bytes.into(),
        Some(pattern) => {
            let pattern = SplitPattern::Regex(pattern.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| head.problem("tokenizer.ggml.pre", error.to_string()))?;
            PreTokenizers::new(vec![split.into(), bytes.into()]).into()
        }
    };
    tokenizer.with_pre_tokenizer(Some(pre));
    tokenizer.with_decoder(Some(ByteLevelDecoder::new(false, true, true)));
    Ok(tokenizer)
}

/// SentencePiece joins the neighbours whose union has the highest score; as merges: every way to make a piece of two pieces, by its score.
fn pieces(head: &Head, names: &[&str]) -> Result<Tokenizer> {
    let key = "tokenizer.ggml.scores";
    let scores = head.floats(key)?;
    if scores.len() != names.len() {
        return Err(head.problem(key, format!("has {} entries for {} tokens", scores.len(), names.len())));
    }
    let vocab = vocab(names);
    let mut merges: Vec<(f32, usize, (String, String))> = Vec::new();
    for (id, name) in names.iter().enumerate() {
        for (at, _) in name.char_indices().skip(1) {
            let (left, right) = name.split_at(at);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                merges.push((scores[id], id, (left.to_owned(), right.to_owned())));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let merges: Merges = merges.into_iter().map(|(_, _, merge)| merge).collect();
    let unknown = head.number_or("tokenizer.ggml.unknown_token_id", 0)?;
    let mut builder = BPE::builder().vocab_and_merges(vocab, merges).byte_fallback(true).fuse_unk(true);
    if let Some(name) = names.get(unknown) {
        builder = builder.unk_token((*name).to_owned());
    }
    let model = builder.build().map_err(|error| head.problem("tokenizer.ggml.tokens", error.to_string()))?;
    let mut tokenizer = Tokenizer::new(model);
    let spaces = Replace::new(" ", SPACE.to_string()).map_err(|error| head.problem(key, error.to_string()))?;
    let normalizer: NormalizerWrapper = match head.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true) {
        true => Normalizers::new(vec![Prepend::new(SPACE.to_string()).into(), spaces.into()]).into(),
        false => spaces.into(),
    };
    let named = tokenizer.with_normalizer(Some(normalizer));
    named.map_err(|error| head.problem(key, error.to_string()))?;
    Ok(tokenizer)
}

/// GPT-2 writes each byte as a printable letter.
fn byte_level_bytes(names: &[&str], kinds: &[usize]) -> Vec<Vec<u8>> {
    let letters = byte_letters();
    let spelled = |name: &str| name.chars().map(|c| letters.get(&c).copied()).collect::<Option<Vec<u8>>>();
    let plain = |kind: usize| matches!(kind, kind::CONTROL | kind::USER_DEFINED | kind::UNUSED);
    let bytes = |(name, kind): (&&str, &usize)| match plain(*kind) {
        true => name.as_bytes().to_vec(),
        false => spelled(name).unwrap_or_else(|| name.as_bytes().to_vec()),
    };
    names.iter().zip(kinds).map(bytes).collect()
}

/// Printable bytes stand for themselves, the 68 others for the letters from U+0100 on.
fn byte_letters() -> HashMap<char, u8> {
    let mut next = 0x100;
    let mut letters = HashMap::new();
    for byte in 0..=255u8 {
        let is_itself = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let letter = if is_itself { Some(char::from(byte)) } else { char::from_u32(next) };
        next += u32::from(!is_itself);
        letters.extend(letter.map(|letter| (letter, byte)));
    }
    letters
}

fn piece_bytes(names: &[&str], kinds: &[usize]) -> Vec<Vec<u8>> {
    let byte = |name: &str| u8::from_str_radix(name.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok();
    let bytes = |(name, kind): (&&str, &usize)| match (*kind, byte(name)) {
        (kind::BYTE, Some(byte)) => vec![byte],
        (kind::CONTROL | kind::UNUSED, _) => name.as_bytes().to_vec(),
        _ => name.replace(SPACE, " ").into_bytes(),
    };
    names.iter().zip(kinds).map(bytes).collect()
}

/// What the grammar engine asks of a tokenizer.
pub(crate) struct Trie {
    vocabulary: Vocabulary,
    trie: toktrie::TokTrie,
}

impl Trie {
    pub(crate) fn new(vocabulary: Vocabulary) -> Self {
        let marked = |(bytes, control): (&Vec<u8>, &bool)| match control {
            true => [&[toktrie::TokTrie::SPECIAL_TOKEN_MARKER], bytes.as_slice()].concat(),
            false => bytes.clone(),
        };
        let words: Vec<Vec<u8>> = vocabulary.bytes.iter().zip(&vocabulary.is_control).map(marked).collect();
        let end = vocabulary.ends.first().copied().unwrap_or(0);
        let info = toktrie::TokRxInfo::new(u32::try_from(words.len()).unwrap_or(u32::MAX), end);
        let trie = toktrie::TokTrie::from(&info, &words).with_eos_tokens(&vocabulary.ends);
        Self { vocabulary, trie }
    }
}

impl toktrie::TokenizerEnv for Trie {
    fn tok_trie(&self) -> &toktrie::TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| self.vocabulary.tokens(text))
    }
}

impl Error {
    /// The grammar engine's errors are texts.
    pub(crate) fn grammar(problem: impl std::fmt::Display) -> Self {
        Error::Grammar { problem: problem.to_string() }
    }
}
