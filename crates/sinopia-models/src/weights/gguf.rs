//! GGUF files of diffusion models: stable-diffusion.cpp's, which hold a whole checkpoint under LDM's names, and those of UNets alone.
//!
//! Axes stand the other way round than in other files. Converters for ComfyUI give a kernel rows of 256 numbers, so that it divides into blocks, and
//! keep its true shape in the metadata. Types: `ggml_type` in
//! <https://github.com/ggml-org/ggml/blob/master/include/ggml.h>.

use std::collections::BTreeMap;
use std::io::Cursor;

use sinopia_layout::gguf::{GgufHead, GgufTensor, read_head};
use sinopia_nn::BlockKind;

use super::mapped::{Record, width};
use crate::{Error, Result};

/// Versions of the format that are read.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=3;
/// Before the name of a tensor, the key of its true shape.
const TRUE_SHAPE: &str = "comfy.gguf.orig_shape.";

/// What a file holds, by name.
pub(super) fn table(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, Record>> {
    let damaged = |problem: String| Error::Damaged { file: file.to_owned(), problem };
    let head = match read_head(&mut Cursor::new(bytes)) {
        Ok(head) => head.unwrap_or_default(),
        Err(error) => return Err(damaged(error.to_string())),
    };
    if !VERSIONS.contains(&head.version) {
        return Err(Error::OtherFile {
            file: file.to_owned(),
            found: format!("a GGUF file of version {}", head.version),
            remedy: "versions 1 to 3 are read, as today's programs write them: convert it with one of these".to_owned(),
        });
    }
    let mut records = BTreeMap::new();
    let mut total = 0_usize;
    for tensor in &head.tensors {
        let record = record(&head, tensor, bytes.len()).map_err(damaged)?;
        total = total.saturating_add(record.range.len());
        if records.insert(tensor.name.clone(), record).is_some() {
            return Err(damaged(format!("it has two tensors `{}`", tensor.name)));
        }
    }
    if total > bytes.len() {
        return Err(damaged(format!("its tensors overlap: {total} bytes of them in a file of {}", bytes.len())));
    }
    Ok(records)
}

/// Where a tensor lies, checked.
fn record(head: &GgufHead, tensor: &GgufTensor, file_len: usize) -> Result<Record, String> {
    let GgufTensor { name, sizes, kind, place } = tensor;
    // Without an empty axis no product of some sizes is larger than that of all.
    let count = sizes.iter().try_fold(1_u64, |count, &size| count.checked_mul(size)).filter(|&count| count > 0);
    let count = count.ok_or_else(|| format!("tensor `{name}` has the impossible sizes {sizes:?}"))?;
    let format = format(*kind);
    let start = head.data_start.checked_add(*place).and_then(|start| usize::try_from(start).ok());
    let start = start.ok_or_else(|| format!("tensor `{name}` begins at the impossible place {place}"))?;
    let bytes = match (BlockKind::named(&format), width(&format)) {
        (Some(kind), _) if !count.is_multiple_of(kind.elements() as u64) => {
            return Err(format!("tensor `{name}` ({format}) has {count} numbers, which are no whole blocks"));
        }
        (Some(kind), _) => count / kind.elements() as u64 * kind.bytes() as u64,
        (None, Some(width)) => count.saturating_mul(width as u64),
        // Its size is not known, and it is refused by its format when it is asked for.
        (None, None) => 0,
    };
    let end = usize::try_from(bytes).ok().and_then(|bytes| start.checked_add(bytes)).unwrap_or(usize::MAX);
    if end > file_len {
        return Err(format!("it is cut short: tensor `{name}` ends at byte {end}, the file at {file_len}"));
    }
    let stored: Vec<usize> = sizes.iter().rev().map(|&size| size as usize).collect(); // they are within the file
    let shape = match head.lists.get(&format!("{TRUE_SHAPE}{name}")) {
        Some(shape) => true_shape(name, shape, count)?,
        None => stored,
    };
    Ok(Record { format, shape, range: start..end, strides: None })
}

/// The shape that the metadata has for a tensor of so many numbers.
fn true_shape(name: &str, shape: &[i64], count: u64) -> Result<Vec<usize>, String> {
    let sizes: Option<Vec<usize>> = shape.iter().map(|&size| usize::try_from(size).ok()).collect();
    let sizes = sizes
        .filter(|sizes| sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size as u64)) == Some(count));
    sizes.ok_or_else(|| format!("tensor `{name}` has {count} numbers, in its metadata the shape {shape:?}"))
}

/// The name of a type, as safetensors has it where it has one.
fn format(kind: u32) -> String {
    const NAMES: [(u32, &str); 33] = [
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (6, "Q5_0"),
        (7, "Q5_1"),
        (8, "Q8_0"),
        (9, "Q8_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (12, "Q4_K"),
        (13, "Q5_K"),
        (14, "Q6_K"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (30, "BF16"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (39, "MXFP4"),
        (40, "NVFP4"),
    ];
    let name = NAMES.iter().find(|(number, _)| *number == kind);
    name.map_or_else(|| format!("GGUF type {kind}"), |(_, name)| (*name).to_owned())
}
