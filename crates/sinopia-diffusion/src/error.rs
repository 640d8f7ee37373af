//! What can go wrong while painting.

use sinopia_layout::counted;

use crate::{methods, schedulers};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong while painting. Each variant says what was found, what was expected and, where there is one, the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A scheduler config is not one of diffusers' or holds values of the wrong type.
    #[error("cannot read the scheduler config: {source}")]
    SchedulerConfig {
        /// What serde found.
        source: serde_json::Error,
    },
    /// A key of a scheduler config has a value that cannot be read.
    #[error("cannot read the scheduler config: `{key}`: {problem}")]
    SchedulerKey {
        /// The key in `scheduler_config.json`.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// A scheduler config that says nothing of how the model was trained.
    #[error(
        "the scheduler config names none of {missing}: it does not say how the model was trained; take the checkpoint's own scheduler_config.json"
    )]
    SchedulerUnknown {
        /// The keys that are missing.
        missing: String,
    },
    /// A scheduler config asks for something that is not built.
    #[error("the {scheduler} scheduler does not support `{key}` = {value} of the scheduler config{hint}")]
    UnsupportedScheduler {
        /// The scheduler that was to be built.
        scheduler: &'static str,
        /// The key in `scheduler_config.json`.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to do, starting with "; ", or nothing.
        hint: &'static str,
    },
    /// A scheduler name or class nobody here knows.
    #[error("unknown scheduler `{name}`: {}; noise levels may follow, as in `euler-karras`", schedulers::choice(name))]
    UnknownScheduler {
        /// What was asked for.
        name: String,
    },
    /// A number of steps that the schedule cannot be divided into.
    #[error("{}: the scheduler takes 1 to {max}", counted(*steps, "step"))]
    Steps {
        /// What was asked for.
        steps: usize,
        /// The most this scheduler config allows.
        max: usize,
    },
    /// A picture size that the networks cannot work on.
    #[error(
        "a picture of {width} × {height} pixels cannot be painted: width and height must be multiples of {multiple}, from {multiple} to {max}"
    )]
    PictureSize {
        /// Width asked for, in pixels.
        width: usize,
        /// Height asked for, in pixels.
        height: usize,
        /// Both sides must be multiples of this many pixels.
        multiple: usize,
        /// The largest side, in pixels.
        max: usize,
    },
    /// A sampling setting outside its range.
    #[error("`{name}` is {found}, expected {expected}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        found: String,
        /// The values it may have.
        expected: &'static str,
    },
    /// A method nobody here knows.
    #[error("unknown method `{name}`: {}", methods::choice(name))]
    UnknownMethod {
        /// What was asked for.
        name: String,
    },
    /// A method has no such option.
    #[error("method `{method}` has no option `{option}`: {hint}")]
    UnknownOption {
        /// The method.
        method: &'static str,
        /// The option.
        option: String,
        /// What may have been meant.
        hint: String,
    },
    /// An option of a method has a value of the wrong kind.
    #[error("option `{option}` of method `{method}`: {source}")]
    MethodOption {
        /// The method.
        method: &'static str,
        /// The option.
        option: String,
        /// What serde found.
        source: serde_json::Error,
    },
    /// A method's options are not named values.
    #[error("the options of method `{method}` are not understood: {source}")]
    MethodOptions {
        /// The method.
        method: &'static str,
        /// What serde found.
        source: serde_json::Error,
    },
    /// A method needs a layout and there is none.
    #[error(
        "method `{method}` paints a layout, and there is none: give one with --layout or --replay, or use --method sd"
    )]
    NoLayout {
        /// The method.
        method: &'static str,
    },
    /// A preset nobody here knows.
    #[error("unknown preset `{name}`: {}", methods::preset_choice(name))]
    UnknownPreset {
        /// What was asked for.
        name: String,
    },
    /// A method needs grounding adapters and the model has none.
    #[error(
        "method `{method}` needs a model with GLIGEN's grounding adapters, and this one has none: the built-in miniature, masterful/gligen-1-4-generation-text-box and longlian/lmd_plus have them; any model paints a layout with --method lmd"
    )]
    NoAdapters {
        /// The method.
        method: &'static str,
    },
    /// ELLA is to read, and there is none.
    #[error(
        "ELLA is to read the prompts, and the model has none: name a FLAN-T5 folder with --t5 and a connector with --ella; the built-in miniature has its own"
    )]
    NoElla,
    /// A method that guides the attention of words, and tokens that stand for none.
    #[error(
        "this method guides where words look, and ELLA's tokens stand for no words: take --text-encoder ella+clip, which has both, or --method sd, gligen or multidiffusion"
    )]
    NoWords,
    /// A method needs a caption and there is none.
    #[error("method `{method}` paints a caption, and there is none")]
    NoCaption {
        /// The method.
        method: &'static str,
    },
    /// Loss or gradient of a guidance update is not a number.
    #[error(
        "the {what} is not finite at step {step} (timestep {timestep}): lower the loss scale, or check the checkpoint for broken weights"
    )]
    NotFinite {
        /// Loss, gradient or latents.
        what: &'static str,
        /// Index of the step, from 0.
        step: usize,
        /// The diffusion timestep.
        timestep: f64,
    },
    /// A recorded attention map is missing or has another shape than the loss expects.
    #[error("the attention map of `{key}` has shape {found:?}, expected {expected}")]
    AttentionMap {
        /// The attention key.
        key: String,
        /// Its shape; empty if there is no such map.
        found: Vec<usize>,
        /// The shape expected.
        expected: String,
    },
    /// A recipe that this build cannot read.
    #[error("cannot read the recipe: {source}")]
    Recipe {
        /// What serde found.
        source: serde_json::Error,
    },
    /// A recipe written by a newer format than this build knows.
    #[error("the recipe has format {found}, this build reads up to {known}: {}", newer_than(writer))]
    RecipeFormat {
        /// Format number in the recipe.
        found: u32,
        /// Newest format this build knows.
        known: u32,
        /// The version that wrote the recipe.
        writer: String,
    },
    /// The checkpoint at hand is not the one a recipe was made with.
    #[error("the recipe was painted by model `{id}` with hash {expected}, the model at hand has hash {found}")]
    RecipeModel {
        /// Model id in the recipe.
        id: String,
        /// Hash in the recipe.
        expected: String,
        /// Hash of the model at hand.
        found: String,
    },
    /// The layout cannot be composed into prompts.
    #[error(transparent)]
    Layout(#[from] sinopia_layout::Error),
    /// A network or tokenizer refused its input.
    #[error(transparent)]
    Model(sinopia_models::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

fn newer_than(writer: &str) -> String {
    match writer.trim() {
        "" => "use a newer sinopia (it does not say which wrote it)".to_owned(),
        writer => format!("use sinopia {writer} or newer"),
    }
}

impl From<sinopia_models::Error> for Error {
    /// A network stops early for nobody but the run's [`Cancellation`](crate::Cancellation).
    fn from(error: sinopia_models::Error) -> Self {
        match error {
            sinopia_models::Error::Interrupted => Self::Cancelled,
            error => Self::Model(error),
        }
    }
}
