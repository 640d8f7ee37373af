//! Everything that can go wrong between a name such as `sd15/` and a network that is ready to run.

use std::path::PathBuf;

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong with a checkpoint, a tensor, a tokenizer or a download.
///
/// Messages name the file, the thing inside it, what was found and what was wanted; [`Error::hint`] adds what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path that does not exist.
    #[error("`{}` does not exist", path.display())]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },

    /// The operating system refused to open or read a file.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },

    /// A folder or file that is not a checkpoint of a kind we know.
    #[error("`{origin}` is not a checkpoint: {problem}")]
    NotACheckpoint {
        /// The folder or file.
        origin: String,
        /// What is missing or unexpected.
        problem: String,
    },

    /// A checkpoint that we recognise and cannot run.
    #[error("`{origin}` holds {found}, which is not supported; supported are {supported}")]
    UnsupportedModel {
        /// The folder or file.
        origin: String,
        /// What it holds.
        found: String,
        /// What could be loaded instead.
        supported: &'static str,
        /// What to do with it, where there is something to do.
        remedy: Option<&'static str>,
    },

    /// A safetensors (or pickle) file that is damaged, incomplete or dishonest about its contents.
    #[error("`{file}` is damaged: {problem}")]
    Damaged {
        /// The file.
        file: String,
        /// What does not add up.
        problem: String,
    },

    /// A file that is something else than its place or its name promises.
    #[error("`{file}` is {found}")]
    OtherFile {
        /// The file.
        file: String,
        /// What it is.
        found: String,
        /// What to do about it.
        remedy: String,
    },

    /// A tensor that the model needs and the file lacks.
    #[error("`{file}` has no tensor `{tensor}`{}", did_you_mean(near))]
    MissingTensor {
        /// The file (or files) searched.
        file: String,
        /// The full name.
        tensor: String,
        /// A name in the file that resembles it.
        near: Option<String>,
    },

    /// A tensor of another shape than the model's configuration asks for.
    #[error("tensor `{tensor}` in `{file}` has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// The file.
        file: String,
        /// The full name.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the model wants.
        expected: Vec<usize>,
    },

    /// A tensor stored in a number format that we do not read.
    #[error(
        "tensor `{tensor}` in `{file}` is stored as {found}; readable are F64, F32, F16, BF16 and GGUF's Q2_K to Q8_0"
    )]
    TensorFormat {
        /// The file.
        file: String,
        /// The full name.
        tensor: String,
        /// The format's name in the file.
        found: String,
    },

    /// A NaN or an infinity among the weights.
    #[error("tensor `{tensor}` in `{file}` holds {value} at position {position}; weights must be finite")]
    NotFinite {
        /// The file.
        file: String,
        /// The full name.
        tensor: String,
        /// The index of the first such value, counted flat.
        position: usize,
        /// The value.
        value: f32,
    },

    /// Text that is not JSON, or not JSON of the kind wanted.
    #[error("cannot understand `{file}`")]
    Json {
        /// The file.
        file: String,
        /// Line, column and reason.
        #[source]
        source: serde_json::Error,
    },

    /// A configuration value of the wrong kind, out of range or not supported.
    #[error("`{key}` in `{file}` is {found}, expected {expected}")]
    Config {
        /// The configuration file.
        file: String,
        /// The key, dotted where nested.
        key: String,
        /// The value found.
        found: String,
        /// What would have been accepted.
        expected: String,
    },

    /// A tokenizer whose files cannot be used.
    #[error("the tokenizer in `{origin}` cannot be used: {problem}")]
    Tokenizer {
        /// The folder or file.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },

    /// An input to a network that does not fit it.
    #[error("{what} must be {expected}, found {found}")]
    Input {
        /// The input, in words.
        what: &'static str,
        /// What is accepted.
        expected: String,
        /// What was given.
        found: String,
    },

    /// A mask that leaves nothing to look at.
    #[error(
        "the mask to erase covers all {cells} cells of the picture, and nothing is left to fill it from: take a smaller one"
    )]
    NothingLeft {
        /// Cells of the latents.
        cells: usize,
    },

    /// A Hub name that cannot be one.
    #[error("`{id}` is neither a file or folder here nor a Hub name of the form `owner/name`")]
    HubName {
        /// What was given.
        id: String,
    },

    /// A name of a device that is none.
    #[error("there is no device `{name}`; there is {known}")]
    UnknownDevice {
        /// What was given.
        name: String,
        /// The names that are known.
        known: String,
    },

    /// A file that is not in the local cache while the network is switched off.
    #[error("`{file}` of `{repo}` is not in the cache `{}` and offline mode is on", cache.display())]
    Offline {
        /// The repository.
        repo: String,
        /// The file wanted.
        file: String,
        /// The cache searched.
        cache: PathBuf,
    },

    /// A server that was not reached at all.
    #[error("{endpoint} cannot be reached to fetch `{repo}`: {problem}")]
    Unreachable {
        /// The repository.
        repo: String,
        /// The server.
        endpoint: String,
        /// What the network says.
        problem: String,
    },

    /// A download that failed.
    #[error("cannot download `{file}` of `{repo}` from {endpoint}: {problem}")]
    Download {
        /// The repository.
        repo: String,
        /// The file wanted.
        file: String,
        /// The server.
        endpoint: String,
        /// The server's answer or the network's.
        problem: String,
    },

    /// Packed weights cannot be kept.
    #[error("cannot keep packed weights in `{}`: {problem}", folder.display())]
    Pack {
        /// The folder of packs.
        folder: PathBuf,
        /// What stands in the way.
        problem: String,
    },

    /// Somebody cancelled the [`CancellationToken`](crate::CancellationToken).
    #[error("cancelled")]
    Cancelled,

    /// An operation refused its input.
    #[error(transparent)]
    Nn(#[from] sinopia_nn::Error),

    /// The tensor library refused an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// [`Error::Tokenizer`] with what a library or a check says.
    pub(crate) fn tokenizer(origin: &str, problem: impl ToString) -> Self {
        Self::Tokenizer { origin: origin.to_owned(), problem: problem.to_string() }
    }

    /// Whether what was given cannot be used (a file, a folder, a name, a configuration), so that the same again would fail again; what is left are
    /// failures on the way: the network, an operation, a cancellation.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Offline { .. } | Self::Unreachable { .. } | Self::Download { .. } => false,
            // What a network is given comes from a program.
            Self::Input { .. } | Self::Nn(_) | Self::Candle(_) => false,
            Self::Cancelled | Self::Pack { .. } => false,
            Self::NotFound { .. }
            | Self::Read { .. }
            | Self::NotACheckpoint { .. }
            | Self::UnsupportedModel { .. }
            | Self::Damaged { .. }
            | Self::OtherFile { .. }
            | Self::MissingTensor { .. }
            | Self::TensorShape { .. }
            | Self::TensorFormat { .. }
            | Self::NotFinite { .. }
            | Self::Json { .. }
            | Self::Config { .. }
            | Self::Tokenizer { .. }
            | Self::NothingLeft { .. }
            | Self::HubName { .. }
            | Self::UnknownDevice { .. } => true,
        }
    }

    /// Whether somebody asked for the end.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherFile { remedy, .. } => Some(remedy.clone()),
            Self::UnsupportedModel { remedy, .. } => remedy.map(str::to_owned),
            Self::TensorFormat { found, .. } => format_hint(found).map(str::to_owned),
            Self::TensorShape { tensor, found, expected, .. } => shape_hint(tensor, found, expected),
            Self::Damaged { .. } => Some("the download may be incomplete: delete the file and fetch it again".into()),
            Self::NotFinite { .. } => Some("the file was saved after training diverged, or is damaged: fetch it again or use another one".into()),
            Self::Offline { .. } => Some("unset HF_HUB_OFFLINE to download it once".into()),
            Self::Unreachable { .. } => Some("a folder, a file and `miniature` need no network; HF_ENDPOINT names another server, HTTPS_PROXY a proxy".into()),
            Self::HubName { .. } => Some("give `miniature`, a folder, a `.safetensors` or `.gguf` file or a Hub name such as `stable-diffusion-v1-5/stable-diffusion-v1-5`".into()),
            _ => None,
        }
    }
}

/// What to do about a number format that is not read.
fn format_hint(format: &str) -> Option<&'static str> {
    match format {
        "F8_E4M3" | "F8_E5M2" => Some(
            "these are 8-bit floats (float8_e4m3fn, float8_e5m2), which lose most of a picture's detail: take the fp16 or bf16 edition of the model",
        ),
        _ if ["Q", "IQ", "TQ", "GGUF", "MXFP", "NVFP"].iter().any(|start| format.starts_with(start)) => {
            Some("take the edition of the model in Q4_K, Q4_0, Q5_0, Q6_K or Q8_0")
        }
        _ if format.starts_with("F8_") || format.starts_with("F4") || matches!(format, "U8" | "I8") => {
            Some("the weights are quantised: take the fp16 or bf16 edition of the model")
        }
        _ => None,
    }
}

fn shape_hint(tensor: &str, found: &[usize], expected: &[usize]) -> Option<String> {
    if tensor.ends_with("conv_in.weight") && found.get(1) == Some(&9) && expected.get(1) == Some(&4) {
        return Some("nine input channels mean an inpainting checkpoint, which cannot paint from text alone".into());
    }
    if tensor.ends_with("attn2.to_k.weight") && found.len() == 2 {
        return Some(format!(
            "this UNet reads text embeddings of width {}, the configuration says {}",
            found[1],
            expected.get(1).copied().unwrap_or_default()
        ));
    }
    (found.iter().product::<usize>() != expected.iter().product::<usize>())
        .then(|| "the configuration file and the weights do not belong together".into())
}

fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref().map(|name| format!("; the nearest name in it is `{name}`")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_told_from_what_failed() {
        let damaged = Error::Damaged { file: "x".to_owned(), problem: "cut".to_owned() };
        assert!(damaged.is_bad_input() && !damaged.is_cancelled());
        let download = Error::Download {
            repo: "a/b".to_owned(),
            file: "x".to_owned(),
            endpoint: "https://huggingface.co".to_owned(),
            problem: "503".to_owned(),
        };
        assert!(!download.is_bad_input() && !download.is_cancelled());
        assert!(Error::Cancelled.is_cancelled() && !Error::Cancelled.is_bad_input());
    }
}
