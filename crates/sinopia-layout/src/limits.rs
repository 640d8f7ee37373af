//! How much of what comes from outside is read: every limit on files, answers and requests, in one place.
//!
//! A small input must not become a large one: what is compressed is inflated up to its limit and no further, what announces a length is not
//! believed beyond it, and nesting ends. Whoever reads refuses what is beyond a limit and names it. The numbers are far above what honest files
//! hold (the comments say what those have) and far below what a machine with little memory could not bear.
//!
//! Two limits are the libraries' own and are only written down here: JSON nests at most [`JSON_DEPTH`] deep (serde_json), and TOML is bounded by the
//! size of its file.

use std::io::Read;

use crate::error::{Error, Result};

// Pictures.

/// Bytes of a picture's file. A PNG of 4096 × 4096 random pixels has 50 MB.
pub const PICTURE_BYTES: u64 = 128 * MIB;
/// Pixels of a side of a picture that is decoded.
pub const PICTURE_SIDE: u32 = 16_384;
/// Pixels of a picture that is decoded: 8192 × 8192, 256 MiB with an alpha channel.
pub const PICTURE_PIXELS: u64 = 1 << 26;
/// Pixels of a picture that is changed, or that a server takes in from a client. Cameras make 12 to 24 million; decoded with an alpha channel it takes 100 MB.
pub const UPLOAD_PIXELS: u64 = 25_000_000;
/// Bytes of one text chunk of a PNG, after inflation. A recipe with a hundred boxes has 30 kB, ComfyUI's largest graphs some 500 kB.
pub const TEXT_CHUNK_BYTES: usize = MIB as usize;
/// Chunks of a PNG, data included: with the usual 8 kB of data a chunk, a picture of a gigabyte.
pub const PNG_CHUNKS: usize = 1 << 17;

// Texts and boxes of a layout. Their checks take time that grows with the product of these numbers.

/// Most characters of a phrase. A text encoder reads some hundred; whatever is longer is a mistake, and is carried into every message.
pub const PHRASE_CHARS: usize = 300;

/// Most characters of a caption, of a background, of a negative caption and of an instruction.
pub const CAPTION_CHARS: usize = 4000;

/// Most boxes of a layout. Each costs a generation of its own.
pub const BOXES: usize = 200;

/// Most findings that are told of a layout. Boxes can lie upon each other in pairs, so that there may be half the square of [`BOXES`].
pub const FINDINGS: usize = 200;

/// Most characters of a name in a request: of a method, a model, a scheduler.
pub const NAME_CHARS: usize = 300;

/// Most characters of what is searched for in captions.
pub const SEARCH_CHARS: usize = 1000;

/// Most bytes of the options of a method, as JSON.
pub const OPTIONS_BYTES: usize = 16 * 1024;

/// Most bytes of a request in JSON: three captions, a full layout and options, every character of them escaped, take less.
pub const REQUEST_BYTES: usize = 2 * 1024 * 1024;

/// Most bytes of a layout of another format that a server converts. One picture's annotations with their masks have some 100 kB.
pub const CONVERTED_BYTES: usize = 1024 * 1024;

// Layouts, graphs, settings: files that people write.

/// Levels of a JSON document, as serde_json counts them.
pub const JSON_DEPTH: usize = 127;
/// Bytes of a layout's JSON.
pub const LAYOUT_JSON_BYTES: usize = MIB as usize;
/// Bytes of a language model's answer that is read as a layout. A hundred boxes take ten kilobytes.
pub const ANSWER_BYTES: usize = 256 * KIB as usize;
/// Lists inside each other in an answer; answers need four.
pub const ANSWER_DEPTH: usize = 16;
/// Bytes of a layout in another program's format; COCO's files hold thousands of pictures.
pub const EXCHANGE_BYTES: usize = 16 * MIB as usize;
/// Things of one picture that are looked at in a layout of another program's, those that are left out included.
pub const EXCHANGE_ITEMS: usize = 10_000;
/// Characters of an id in a layout of another program's; COCO's are numbers.
pub const ID_CHARS: usize = 300;
/// Bytes of a file of recorded answers. The published ones have 2 MB.
pub const ANSWER_CACHE_BYTES: u64 = 64 * MIB;
/// Bytes of a file with captions or questions of a benchmark, or of what is noted of a run.
pub const BENCHMARK_BYTES: u64 = 64 * MIB;
/// Bytes of a graph of ComfyUI's. Large ones with subgraphs have 2 MB.
pub const GRAPH_BYTES: u64 = 16 * MIB;
/// Nodes of a graph, those of every use of a subgraph counted.
pub const GRAPH_NODES: usize = 5000;
/// Nodes of a graph that are visited in all, those that several links lead to once for each. A graph with twenty boxes has some seventy.
pub const GRAPH_LINKS: usize = 10_000;
/// Inputs that are looked at in all where it is searched through for what a picture was made with. One of three hundred nodes takes 30 000.
pub const GRAPH_SEARCH: usize = 500_000;
/// Bytes of a settings file.
pub const SETTINGS_BYTES: u64 = MIB;
/// Bytes of a file with a token.
pub const TOKEN_BYTES: u64 = 64 * KIB;
/// Bytes of a prompt template.
pub const TEMPLATE_BYTES: usize = 256 * KIB as usize;
/// Steps that a template may take, a GGUF file's chat template too. A conversation of ten turns takes a few thousand.
pub const TEMPLATE_STEPS: u64 = 1_000_000;

// Models: files that people fetch.

/// Bytes of a configuration in JSON, the index of a model's shards included. That of 200 shards has 300 kB.
pub const CONFIG_BYTES: u64 = 16 * MIB;
/// Bytes of one file of a tokenizer. Gemma's `tokenizer.json` has 33 MB.
pub const TOKENIZER_BYTES: u64 = 64 * MIB;
/// Bytes of a safetensors file's header, the same as in the format's reference implementation. SDXL's has 300 kB.
pub const SAFETENSORS_HEADER_BYTES: u64 = 100_000_000;
/// Tensors of a checkpoint's file.
pub const TENSORS: usize = 1 << 18;
/// Axes of a tensor.
pub const TENSOR_AXES: usize = 8;
/// Bytes of the index of a file of packed weights. Stable Diffusion's has 400 kB.
pub const PACK_INDEX_BYTES: u64 = 16 * MIB;
/// Parts of one packed weight; those in 8 bits have three.
pub const PACK_PARTS: usize = 8;
/// Hashes of files that are remembered. A checkpoint has some ten.
pub const REMEMBERED_HASHES: usize = 512;
/// Bytes of the list of hashes that are remembered.
pub const HASHES_BYTES: u64 = 256 * KIB;
/// Members of a PyTorch archive: one a tensor, and a few beside them.
pub const ARCHIVE_MEMBERS: usize = 1 << 18;
/// Bytes of the pickle in a PyTorch archive, its table of contents. Stable Diffusion's has 300 kB.
pub const PICKLE_BYTES: u64 = 16 * MIB;
/// Objects that a pickle makes, counted anew each time one is remembered, recalled or put into another; the items of a dictionary once for every key
/// that it is found by. Stable Diffusion's makes fewer than 100 000.
pub const PICKLE_OBJECTS: u32 = 1 << 22;
/// Entries of a GGUF file's metadata. Usual are 20 to 60.
pub const GGUF_ENTRIES: u64 = 1 << 12;
/// Bytes of a text in a GGUF file's metadata: a chat template, a token.
pub const GGUF_TEXT_BYTES: u64 = MIB;
/// Elements of a list in a GGUF file's metadata. Gemma's merges are half a million.
pub const GGUF_LIST_LENGTH: u64 = 1 << 21;
/// Elements of all lists in a GGUF file's metadata together, 32 bytes each in memory. Gemma's vocabulary of 262 000 words has three lists, and its merges.
pub const GGUF_LIST_ELEMENTS: u64 = 1 << 22;
/// Lists inside each other in a GGUF file's metadata.
pub const GGUF_DEPTH: u32 = 4;
/// Bytes of a GGUF file before its weights.
pub const GGUF_HEAD_BYTES: u64 = 128 * MIB;

// Servers: what they answer.

/// Bytes of a language model's reply over HTTP, its envelope included.
pub const LLM_REPLY_BYTES: u64 = MIB;
/// Bytes of an error page of a language model's server.
pub const LLM_ERROR_BYTES: u64 = 64 * KIB;
/// Bytes of an answer of a Sinopia server: a picture, or a job.
pub const SERVER_REPLY_BYTES: u64 = PICTURE_BYTES;

/// What `reader` holds, if that is at most `limit` bytes. Files may be pipes or devices, so their length is not asked for.
///
/// # Errors
/// [`FileTooLarge`](std::io::ErrorKind::FileTooLarge) beyond the limit, and what the reader says.
pub fn read_up_to(reader: impl Read, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it has more than {limit} bytes, which is all that is read of such a file");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Refuses a text of more than `max` characters; `what` names it.
///
/// # Errors
/// [`Error::TooLong`].
pub fn check_chars(text: &str, max: usize, what: impl FnOnce() -> String) -> Result<()> {
    // A text of so few bytes has no more characters, and most texts need not be counted.
    if text.len() <= max {
        return Ok(());
    }
    match text.chars().count() {
        found if found > max => Err(Error::TooLong { what: what(), found, max }),
        _ => Ok(()),
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_read_to_its_limit() {
        assert_eq!(read_up_to(&b"1234"[..], 4).unwrap(), b"1234");
        let error = read_up_to(std::io::repeat(7), 1000).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 1000 bytes, which is all that is read of such a file");
    }

    /// A feature of serde_json takes its limit away; any crate of a build can switch it on.
    #[test]
    fn json_nests_as_deep_as_is_said_and_no_deeper() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(serde_json::from_str::<serde_json::Value>(&nested(JSON_DEPTH)).is_ok());
        let error = serde_json::from_str::<serde_json::Value>(&nested(JSON_DEPTH + 1)).unwrap_err();
        assert!(error.to_string().contains("recursion limit"), "{error}");
    }
}
