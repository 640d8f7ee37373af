//! What can go wrong while painting.

use sinopia_layout::counted;

use crate::recipe::InitMismatch;
use crate::settings::SettingError;
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
    /// A scheduler that cannot be run backwards, from a picture to its noise.
    #[error("the scheduler {scheduler} cannot be run backwards from a picture: {why}")]
    NotInvertible {
        /// The scheduler.
        scheduler: &'static str,
        /// Why, and what to do.
        why: &'static str,
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
    /// Things that do not fit together: latents, masks, pictures of different sizes.
    #[error("{what}: {found}, expected {expected}")]
    Mismatch {
        /// What does not fit.
        what: &'static str,
        /// Its size or number.
        found: String,
        /// The size or number that fits.
        expected: String,
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
    /// An option of a method has a value that it does not take.
    #[error("option `{}` of method `{method}` is {}, expected {}", problem.name, problem.found, problem.expected)]
    MethodOption {
        /// The method.
        method: &'static str,
        /// The option, what was found and what is expected.
        problem: SettingError,
    },
    /// A method is given one option twice, in two spellings.
    #[error("method `{method}` is given one option twice, as `{first}` and as `{second}`: leave one out")]
    OptionTwice {
        /// The method.
        method: &'static str,
        /// One spelling.
        first: String,
        /// The other.
        second: String,
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
    #[error("unknown preset `{name}`: {}", methods::presets::choice_of_preset(name))]
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
    /// A method that cannot begin with a picture is to.
    #[error(
        "method `{method}` puts its picture together from objects painted alone, and cannot begin with another picture: take --method sd, gligen, multidiffusion, backward-guidance or boxdiff"
    )]
    NoInit {
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
        "this method guides the cross-attention of words, and ELLA's tokens stand for no words: take --text-encoder ella+clip, which has both, or --method sd, gligen or multidiffusion"
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
    /// What a picture is to begin with is not what the recipe's began with.
    #[error("{problem}")]
    RecipeInit {
        /// What is missing, another, or too much.
        problem: Box<InitMismatch>,
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

impl Error {
    /// Whether what was given cannot be used (a setting, an option, a layout, a checkpoint), so that the same again would fail again; what is left are
    /// failures while painting, and cancellations.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Cancelled | Self::Candle(_) => false,
            // Numbers that overflow, and maps that are not as a loss expects them, come up on the way.
            Self::NotFinite { .. } | Self::AttentionMap { .. } => false,
            Self::Model(error) => error.is_bad_input(),
            Self::SchedulerConfig { .. }
            | Self::SchedulerKey { .. }
            | Self::SchedulerUnknown { .. }
            | Self::UnsupportedScheduler { .. }
            | Self::UnknownScheduler { .. }
            | Self::Steps { .. }
            | Self::PictureSize { .. }
            | Self::NotInvertible { .. }
            | Self::Setting { .. }
            | Self::Mismatch { .. }
            | Self::UnknownMethod { .. }
            | Self::UnknownOption { .. }
            | Self::MethodOption { .. }
            | Self::OptionTwice { .. }
            | Self::MethodOptions { .. }
            | Self::NoLayout { .. }
            | Self::UnknownPreset { .. }
            | Self::NoAdapters { .. }
            | Self::NoInit { .. }
            | Self::NoElla
            | Self::NoWords
            | Self::NoCaption { .. }
            | Self::Recipe { .. }
            | Self::RecipeFormat { .. }
            | Self::RecipeModel { .. }
            | Self::RecipeInit { .. }
            | Self::Layout(_) => true,
        }
    }

    /// Whether somebody asked for the end.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// What the user can do about it, beyond what the message says.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.hint(),
            _ => None,
        }
    }
}

fn newer_than(writer: &str) -> String {
    match writer.trim() {
        "" => "use a newer sinopia (it does not say which wrote it)".to_owned(),
        writer => format!("use sinopia {writer} or newer"),
    }
}

impl From<sinopia_models::Error> for Error {
    /// A network stops early for nobody but the run's [`CancellationToken`](crate::CancellationToken).
    fn from(error: sinopia_models::Error) -> Self {
        match error {
            sinopia_models::Error::Cancelled => Self::Cancelled,
            error => Self::Model(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_told_from_what_failed() {
        let damaged = || sinopia_models::Error::Damaged { file: "x".to_owned(), problem: "cut".to_owned() };
        let refused = sinopia_models::Error::Input { what: "x", expected: "y".to_owned(), found: "z".to_owned() };
        assert!(Error::from(damaged()).is_bad_input() && !Error::from(refused).is_bad_input());
        assert!(Error::UnknownScheduler { name: "heun".to_owned() }.is_bad_input());
        assert!(!Error::NotFinite { what: "loss", step: 1, timestep: 981.0 }.is_bad_input());
        let cancelled = Error::from(sinopia_models::Error::Cancelled);
        assert!(cancelled.is_cancelled() && !cancelled.is_bad_input());
        assert!(Error::from(damaged()).hint().is_some_and(|hint| hint.contains("fetch it again")));
    }
}
