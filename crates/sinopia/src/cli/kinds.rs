//! What a file is by its content: for a hint where it was given in another's place.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use sinopia_layout::exchange::{self, Format};
use sinopia_layout::gguf::read_head;
use sinopia_layout::media::picture_kind;
use sinopia_layout::names;

use super::painting_file;

/// Most files of a folder that are looked at.
const MOST_NEIGHBOURS: usize = 1000;
/// Bytes that are looked at.
const LOOKED_AT: u64 = 64 * 1024;

/// What a file or folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A PNG, perhaps with a recipe in it.
    Png,
    /// A picture of another format.
    Picture(&'static str),
    /// A layout that is painted as it is.
    Layout,
    /// A layout of another program.
    Foreign,
    /// Answers of a language model by caption.
    Answers,
    /// A ComfyUI graph.
    Graph,
    /// Weights of a language model.
    LanguageModel,
    /// Weights, or a folder of them.
    Model,
    /// Remembered plans.
    PlanCache,
    /// A benchmark's run.
    Run,
    /// Lines of text.
    Captions,
    /// Nothing at all.
    Empty,
}

impl Kind {
    /// What the file at `path` is, if it is there and can be told.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        if path.is_dir() {
            let holds = |name: &str| path.join(name).is_file();
            return match (holds("run.json"), holds("model_index.json") || holds("config.json")) {
                (true, _) => Some(Self::Run),
                (_, true) => Some(Self::Model),
                _ => None,
            };
        }
        // Pipes and devices give what they have only once.
        if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return None;
        }
        // Weights begin with a number, which may look like anything.
        if path.extension().is_some_and(|ending| ending == "safetensors" || ending == "ckpt") {
            return Some(Self::Model);
        }
        if path.extension().is_some_and(|ending| ending == "gguf") && holds_denoiser(path) {
            return Some(Self::Model);
        }
        let mut start = Vec::new();
        File::open(path).ok()?.take(LOOKED_AT).read_to_end(&mut start).ok()?;
        Self::of_bytes(&start).or_else(|| path.extension().filter(|ending| *ending == "txt").map(|_| Self::Captions))
    }

    fn of_bytes(start: &[u8]) -> Option<Self> {
        match picture_kind(start) {
            Some("PNG") => return Some(Self::Png),
            Some(kind) => return Some(Self::Picture(kind)),
            None => {}
        }
        if start.starts_with(b"GGUF") {
            return Some(Self::LanguageModel);
        }
        if start.starts_with(b"SQLite format 3\0") {
            return Some(Self::PlanCache);
        }
        if start.iter().all(u8::is_ascii_whitespace) {
            return Some(Self::Empty);
        }
        // A character that is cut at the end of what was read does no harm.
        Self::of_text(&String::from_utf8_lossy(start))
    }

    fn of_text(text: &str) -> Option<Self> {
        let says = |word: &str| text.contains(word);
        if says("\"class_type\"") || (says("\"nodes\"") && says("\"links\"")) {
            return Some(Self::Graph);
        }
        match exchange::guess(text) {
            Format::Coco | Format::Ideogram | Format::Omost | Format::Labelme | Format::Moss | Format::Flux3 => {
                Some(Self::Foreign)
            }
            Format::Json if says("\"objects\"") || says("\"bbox\"") => Some(Self::Layout),
            Format::Json if says("Background prompt") || says("[('") => Some(Self::Answers),
            Format::Text if says("[('") || says("Background prompt:") => Some(Self::Layout),
            _ => None,
        }
    }

    /// Whether it is a layout, of whichever program.
    pub(crate) fn is_layout(self) -> bool {
        matches!(self, Self::Layout | Self::Foreign)
    }

    /// What `path`, which is of this kind, is good for.
    pub(crate) fn use_of(self, path: &Path) -> String {
        let file = quoted(path);
        let shown = path.display();
        match self {
            Self::Png if painting_file::read(path).is_err() => {
                format!("`{shown}` is a PNG image that does not say how it was made")
            }
            Self::Png => format!(
                "`{shown}` is a PNG image: `sinopia inspect {file}` tells how it was made, `sinopia generate --from {file}` makes it again, `sinopia edit {file}` changes it"
            ),
            Self::Picture(format) => format!(
                "`{shown}` is a {format} picture: `sinopia edit {file}` changes it; only PNGs tell how they were made"
            ),
            Self::Layout => format!("`{shown}` is a layout: `sinopia paint {file}` paints it"),
            Self::Foreign => format!(
                "`{shown}` is a layout in another program's format: `sinopia paint {file}` paints it, `sinopia convert {file} --to json --out layout.json` makes layout JSON of it"
            ),
            Self::Answers => format!(
                "`{shown}` is a cache of answers: `sinopia generate \"CAPTION\" --replay {file}` takes a caption's layout from it"
            ),
            Self::Graph => format!("`{shown}` is a ComfyUI graph: `sinopia run {file}` paints it"),
            Self::LanguageModel => {
                format!(
                    "`{shown}` is a language model: `sinopia generate \"CAPTION\" --llm-model {file}` plans with it"
                )
            }
            Self::Model => {
                format!(
                    "`{shown}` holds a model: `sinopia models info {file}` describes it, `--model {file}` paints with it"
                )
            }
            Self::PlanCache => {
                format!("`{shown}` is a database; remembered plans are listed by `sinopia cache list --file {file}`")
            }
            Self::Run => format!("`{shown}` is a benchmark's run: `sinopia eval score {file}` scores it"),
            Self::Captions => format!(
                "`{shown}` is a text: `sinopia plan --batch {file} --out answers.json` lays out the caption of each of its lines"
            ),
            Self::Empty => format!("`{shown}` is empty"),
        }
    }
}

/// What `path` is good for, if that is not what it was given for; if it is not there, which file or command may have been meant.
pub(crate) fn hint(path: &Path, given_for: Kind) -> Option<String> {
    if let Some(near) = neighbour(path) {
        return Some(format!("did you mean `{}`?", near.display()));
    }
    let shown = path.to_string_lossy();
    if shown.contains(' ') && !path.exists() && path.extension().is_none() {
        return Some(format!("a caption is painted by `sinopia generate \"{shown}\"`"));
    }
    Kind::of(path).filter(|kind| *kind != given_for).map(|kind| kind.use_of(path))
}

/// The file beside a missing one that its name may be a slip of.
fn neighbour(path: &Path) -> Option<PathBuf> {
    if path.exists() {
        return None;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).ok()?.take(MOST_NEIGHBOURS).flatten();
    let mut files: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    files.sort();
    let near = names::nearest(path.file_name()?.to_str()?, files.iter().map(String::as_str))?;
    Some(path.with_file_name(near))
}

/// Whether a GGUF file has the tensors of a diffusion model.
fn holds_denoiser(path: &Path) -> bool {
    let head = File::open(path).and_then(|file| read_head(&mut BufReader::new(file)));
    let is_part = |name: &str| {
        ["model.diffusion_model.", "input_blocks.", "down_blocks."].iter().any(|part| name.starts_with(part))
    };
    head.ok().flatten().is_some_and(|head| head.tensors.iter().any(|tensor| is_part(&tensor.name)))
}

/// A path as it can be typed.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '\\' | ':' | '~');
    if text.chars().all(is_plain) { text.into_owned() } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_content() {
        for (content, kind) in [
            (&b"\x89PNG\r\n\x1a\n"[..], Some(Kind::Png)),
            (b"\xff\xd8\xff\xe0", Some(Kind::Picture("JPEG"))),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some(Kind::Picture("WebP"))),
            (b"", Some(Kind::Empty)),
            (b" \n", Some(Kind::Empty)),
            (b"GGUF\x03", Some(Kind::LanguageModel)),
            (br#"{"canvas": {"width": 512}, "objects": []}"#, Some(Kind::Layout)),
            (b"[('a cat', [1, 2, 3, 4])]\nBackground prompt: A room", Some(Kind::Layout)),
            (br#"{"a cat": ["[('a cat', [1, 2, 3, 4])]"]}"#, Some(Kind::Answers)),
            (br#"{"3": {"class_type": "KSampler", "inputs": {}}}"#, Some(Kind::Graph)),
            (br#"{"images": [], "annotations": []}"#, Some(Kind::Foreign)),
            (b"a red apple\na blue dog", None),
            (b"caf\xe9", None),
        ] {
            assert_eq!(Kind::of_bytes(content), kind, "{}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn a_hint_can_be_typed_as_it_stands() {
        let hint = Kind::Layout.use_of(Path::new("my layouts/cat.json"));
        assert_eq!(hint, "`my layouts/cat.json` is a layout: `sinopia paint \"my layouts/cat.json\"` paints it");
    }
}
