//! A GGUF file's head: typed access to its metadata, with errors that name file and key.

use std::io::{Read, Seek};

use candle_core::quantized::gguf_file::{Content, Value};
use sinopia_layout::gguf::{GgufHead, read_head};

use crate::error::{Error, Result};

/// What a file says about itself and where its tensors lie.
pub(crate) struct Head {
    pub(crate) origin: String,
    pub(crate) content: Content,
}

impl Head {
    pub(crate) fn read(reader: &mut (impl Read + Seek), origin: &str) -> Result<Self> {
        let origin = origin.to_owned();
        let head = read_head(reader);
        if head.as_ref().is_ok_and(|head| head.as_ref().is_some_and(paints)) {
            return Err(Error::OtherFile { origin, found: "a model that paints (give it to `--model`)" });
        }
        match head.map_err(Into::into).and_then(|_| Content::read(reader)) {
            Ok(content) => Ok(Self { origin, content }),
            Err(source) => Err(match other_kind(reader) {
                Some(found) => Error::OtherFile { origin, found },
                None => Error::NotGguf { origin, source },
            }),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str> {
        let value = self.get(key).ok_or_else(|| self.problem(key, "is missing"))?;
        value.to_string().map(String::as_str).map_err(|_| self.problem(key, "is no text"))
    }

    /// A whole number, whatever its width in the file.
    pub(crate) fn number(&self, key: &str) -> Result<usize> {
        let value = self.get(key).ok_or_else(|| self.problem(key, "is missing"))?;
        whole(value).ok_or_else(|| self.problem(key, "is no whole number"))
    }

    pub(crate) fn number_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.get(key).is_none() { Ok(default) } else { self.number(key) }
    }

    pub(crate) fn float(&self, key: &str) -> Result<f32> {
        let value = self.get(key).ok_or_else(|| self.problem(key, "is missing"))?;
        match value {
            Value::F32(number) => Ok(*number),
            Value::F64(number) => Ok(*number as f32),
            _ => Err(self.problem(key, "is no number with a point")),
        }
    }

    pub(crate) fn float_or(&self, key: &str, default: f32) -> Result<f32> {
        if self.get(key).is_none() { Ok(default) } else { self.float(key) }
    }

    /// A finite number above 0.
    pub(crate) fn positive_or(&self, key: &str, default: f32) -> Result<f32> {
        match self.float_or(key, default)? {
            number if number > 0.0 && number.is_finite() => Ok(number),
            number => Err(self.problem(key, format!("is {number}, expected a number above 0"))),
        }
    }

    pub(crate) fn text_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str> {
        if self.get(key).is_none() { Ok(default) } else { self.text(key) }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(|value| value.to_bool().ok())
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&str>> {
        let read = |value| Value::to_string(value).map(String::as_str).map_err(|_| self.problem(key, "holds no texts"));
        self.list(key)?.iter().map(read).collect()
    }

    pub(crate) fn floats(&self, key: &str) -> Result<Vec<f32>> {
        let read = |value| Value::to_f32(value).map_err(|_| self.problem(key, "holds no numbers"));
        self.list(key)?.iter().map(read).collect()
    }

    pub(crate) fn numbers(&self, key: &str) -> Result<Vec<usize>> {
        let read = |value| whole(value).ok_or_else(|| self.problem(key, "holds no whole numbers"));
        self.list(key)?.iter().map(read).collect()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn problem(&self, key: &str, problem: impl Into<String>) -> Error {
        Error::Metadata { origin: self.origin.clone(), key: key.to_owned(), problem: problem.into() }
    }

    fn list(&self, key: &str) -> Result<&Vec<Value>> {
        let value = self.get(key).ok_or_else(|| self.problem(key, "is missing"))?;
        value.to_vec().map_err(|_| self.problem(key, "is no list"))
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }
}

/// Whether a file holds the network of a diffusion model.
fn paints(head: &GgufHead) -> bool {
    let parts = ["model.diffusion_model.", "input_blocks.", "down_blocks.", "double_blocks.", "joint_blocks."];
    head.tensors.iter().any(|tensor| parts.iter().any(|part| tensor.name.starts_with(part)))
}

/// What a file is that is no GGUF file, where its first bytes say it.
fn other_kind(reader: &mut (impl Read + Seek)) -> Option<&'static str> {
    let mut start = Vec::new();
    reader.rewind().ok()?;
    reader.take(64).read_to_end(&mut start).ok()?;
    let text = start.trim_ascii_start();
    let begins = |word: &[u8]| text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word);
    match start.as_slice() {
        [] => Some("empty"),
        [b'G', b'G', b'U', b'F', ..] => None,
        _ if start.starts_with(b"version https://git-lfs") => {
            Some("a Git LFS pointer (`git lfs pull` fetches the file itself)")
        }
        _ if [&b"<!doctype"[..], b"<html", b"<?xml"].iter().any(|tag| begins(tag)) => {
            Some("a web page (download the file itself)")
        }
        [_, _, _, _, _, _, _, 0, b'{', ..] => Some("a safetensors file"),
        [b'P', b'K', 3, 4, ..] => Some("a ZIP archive or one of PyTorch's files"),
        _ if begins(b"{") => Some("a JSON text"),
        _ => None,
    }
}

fn whole(value: &Value) -> Option<usize> {
    match value {
        Value::I8(n) => usize::try_from(*n).ok(),
        Value::I16(n) => usize::try_from(*n).ok(),
        Value::I32(n) => usize::try_from(*n).ok(),
        Value::I64(n) => usize::try_from(*n).ok(),
        Value::U8(n) => Some(usize::from(*n)),
        Value::U16(n) => Some(usize::from(*n)),
        Value::U32(n) => usize::try_from(*n).ok(),
        Value::U64(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}
