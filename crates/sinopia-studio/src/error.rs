//! What can go wrong between a caption and a picture.

use std::path::PathBuf;

use sinopia_diffusion::settings::SettingError;

use crate::editing::EditError;
use crate::{SourceError, pictures};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a caption and a picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a caption nor a layout.
    #[error("there is no caption and no layout: say what to paint")]
    NothingToPaint,
    /// A layout that says nothing, and no caption.
    #[error("the layout is empty: it has neither objects nor a background, and there is no caption")]
    EmptyLayout,
    /// The method paints layouts, and there is none.
    #[error("`{method}` paints a layout, and there is neither one nor a caption to plan one from")]
    NoLayout {
        /// The method.
        method: String,
    },
    /// A picture that was painted without a layout is to be painted again by a method that needs one.
    #[error("`{}` was painted without a layout, and `{method}` paints one", picture.display())]
    RecipeWithoutLayout {
        /// The picture.
        picture: PathBuf,
        /// The method.
        method: String,
    },
    /// Seeds that count beyond the largest one.
    #[error("`--seed` plus `--count` goes beyond the largest seed")]
    SeedRange,
    /// A preset of one method beside another method.
    #[error("`--preset {preset}` sets the method `{of}`, `--method {method}` another: leave one of them out")]
    PresetOfAnother {
        /// The preset.
        preset: &'static str,
        /// The method that it sets.
        of: &'static str,
        /// The method that was asked for.
        method: &'static str,
    },
    /// A setting's value in a file or the environment.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Values that are not of their settings' types.
    #[error("settings cannot be read")]
    Values {
        /// Which, and why.
        source: serde_json::Error,
    },
    /// A value that its setting does not take.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No width and height.
    #[error("WIDTHxHEIGHT in pixels is expected, such as 768x512, not `{text}`")]
    Size {
        /// What was given.
        text: String,
    },
    /// A canvas that there is not.
    #[error("the canvas cannot be used")]
    Canvas {
        /// Why.
        source: sinopia_layout::Error,
    },
    /// No two prices.
    #[error("two prices of a million tokens are expected, as `0.15/0.60`, not `{text}`")]
    Price {
        /// What was given.
        text: String,
    },
    /// A preset with options of its own for a method that is chosen elsewhere.
    #[error("`--preset {preset}` has options for each method, and with `auto` the server chooses it: name the method")]
    PresetWithAuto {
        /// The preset.
        preset: &'static str,
    },
    /// Something typed that sets no option.
    #[error("`--set {assignment}`: `name=value` is expected")]
    Assignment {
        /// What was typed.
        assignment: String,
    },
    /// An option that only `sd` has.
    #[error("`--ignore-negative-prompt` is for `--method sd` only: `{method}` has no such option")]
    IgnoredNegative {
        /// The method.
        method: &'static str,
    },
    /// Noise levels for a scheduler that has its own alone.
    #[error(
        "`--scheduler {name}`: pndm has noise levels of its own alone; take ddim, euler, euler-ancestral or dpm-solver++ with others"
    )]
    FixedNoiseLevels {
        /// The scheduler as it was given.
        name: String,
    },
    /// No precision is called so.
    #[error("unknown precision `{name}`: choose one of auto, stored, f32, bf16, int8")]
    UnknownPrecision {
        /// The name.
        name: String,
    },
    /// ELLA's files for an encoder that is not ELLA.
    #[error("`--t5` and `--ella` are for `--text-encoder ella` or `ella+clip`")]
    EllaUnused,
    /// Half of the miniature's ELLA.
    #[error("the miniature's T5 and connector go with each other alone: `--t5 miniature --ella miniature`")]
    EllaApart,
    /// Half of an ELLA.
    #[error("`--t5` and `--ella` belong together: name both")]
    EllaHalf,
    /// No ELLA at all.
    #[error(
        "`--text-encoder {encoder}`: the miniature alone brings an ELLA; name a FLAN-T5 folder with `--t5` and a connector with `--ella`"
    )]
    EllaMissing {
        /// What was to read the prompts.
        encoder: &'static str,
    },
    /// A named file that is not there.
    #[error("`--{setting} {name}`: there is no such folder or file")]
    NoFile {
        /// The setting that names it.
        setting: &'static str,
        /// Its name.
        name: String,
    },
    /// A SAM that is not there.
    #[error("`--sam {name}`: there is no such folder or file, and it is neither `miniature` nor `none`")]
    NoSam {
        /// Its name.
        name: String,
    },
    /// An edition of weights whose name is none.
    #[error("`--variant {variant}`: a word is expected, such as `fp16`")]
    VariantWord {
        /// The name.
        variant: String,
    },
    /// Two editions of one model's weights.
    #[error("`--variant {variant}`: `{model}` names an edition already")]
    VariantTwice {
        /// The second.
        variant: String,
        /// The model.
        model: String,
    },
    /// An edition of no model.
    #[error("`--variant` says which of a model's weights are taken: name the model with `--model`")]
    VariantOfNothing,
    /// An edition of a model that has one alone.
    #[error("`{model}` has one edition of its weights, no variant `{variant}`")]
    OneEdition {
        /// The model.
        model: String,
        /// The edition.
        variant: String,
    },
    /// No model is called so.
    #[error("there is no model `{id}`: it is no folder or file here, and no Hub name, `owner/name`")]
    NoModel {
        /// The name.
        id: String,
        /// What was probably meant.
        hint: String,
    },
    /// A model cannot be opened.
    #[error("cannot open {what}")]
    Open {
        /// Which model.
        what: String,
        /// Why.
        source: Box<sinopia_models::Error>,
    },
    /// A model cannot be loaded.
    #[error("cannot load the model `{model}`")]
    Load {
        /// Its name.
        model: String,
        /// Why.
        source: Box<sinopia_diffusion::Error>,
    },
    /// A thread that hashed a model ended badly.
    #[error("hashing the model `{model}` was broken off")]
    Hashing {
        /// Its name.
        model: String,
    },
    /// What a recipe names is not where it was.
    #[error("the recipe's model or SAM is not where it was; say where with `--model` or `--sam`")]
    Moved {
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A picture cannot be painted again from its recipe.
    #[error("cannot repeat `{}`", picture.display())]
    Recipe {
        /// The picture.
        picture: PathBuf,
        /// Why.
        source: Box<sinopia_diffusion::Error>,
    },
    /// A picture of which only the pixels are left.
    #[error("this picture cannot be edited: the states that it was painted through were not kept")]
    NotEditable,
    /// A repair of a picture that began with another.
    #[error(
        "`--repair` does not go with `--init`: what is wrong with the picture that it begins with would be changed, too; `--attempts` goes with it"
    )]
    RepairedInit,
    /// Nobody knows pictures of the model.
    #[error("no detector knows pictures of the model `{model}`: name one")]
    NoDetector {
        /// The model.
        model: String,
    },
    /// An evaluator that compares whole pictures with texts is to say what is in one.
    #[error("`{evaluator}` compares pictures with texts and cannot tell what is in one: name a detector")]
    CannotLook {
        /// Its name.
        evaluator: String,
    },
    /// A detector cannot be opened.
    #[error("cannot open the detector `{name}`")]
    Detector {
        /// Its name.
        name: String,
        /// Why.
        source: Box<sinopia_eval::Error>,
    },
    /// A picture of another program where one of ours is needed.
    #[error("this picture was not made by Sinopia but by {program}")]
    ForeignPicture {
        /// The program.
        program: String,
    },
    /// A picture's file does not say how it was made.
    #[error(transparent)]
    Picture(#[from] pictures::Error),
    /// What of an edit cannot be done.
    #[error(transparent)]
    Editing(#[from] EditError),
    /// Bytes that are no picture that is worked with.
    #[error(transparent)]
    Decode(#[from] pictures::DecodeError),
    /// A file that a picture is to begin with, or its mask, that is no picture which is read.
    #[error("cannot read `{name}`")]
    InitFile {
        /// The file.
        name: String,
        /// Why.
        source: pictures::DecodeError,
    },
    /// How much of a picture changes, or where, and no picture.
    #[error("`--{setting}` is of a picture to begin with, and there is none: name it with `--init`")]
    NoInitPicture {
        /// What was said of it.
        setting: &'static str,
    },
    /// Pixels that do not fill their picture.
    #[error("a picture's pixels do not match its size")]
    Pixels,
    /// A PNG cannot be written.
    #[error("cannot encode the picture")]
    Encode {
        /// Why.
        source: png::EncodingError,
    },
    /// Threads and kernels.
    #[error(transparent)]
    Nn(#[from] sinopia_nn::Error),
    /// A model or the Hub.
    #[error(transparent)]
    Model(Box<sinopia_models::Error>),
    /// Painting.
    #[error(transparent)]
    Diffusion(Box<sinopia_diffusion::Error>),
    /// Planning.
    #[error(transparent)]
    Planner(Box<sinopia_planner::Error>),
    /// Looking at a picture.
    #[error(transparent)]
    Eval(Box<sinopia_eval::Error>),
}

macro_rules! boxed {
    ($($variant:ident: $error:ty),+) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })+
    };
}

boxed!(
    Model: sinopia_models::Error,
    Diffusion: sinopia_diffusion::Error,
    Planner: sinopia_planner::Error,
    Eval: sinopia_eval::Error
);

impl Error {
    /// Whether what was given cannot be used as it is; else something failed while working, or was cancelled.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Hashing { .. } | Self::Pixels | Self::Encode { .. } | Self::Nn(_) => false,
            Self::Open { source, .. } | Self::Model(source) => source.is_bad_input(),
            Self::Load { source, .. } | Self::Recipe { source, .. } | Self::Diffusion(source) => source.is_bad_input(),
            Self::Detector { source, .. } | Self::Eval(source) => source.is_bad_input(),
            Self::Planner(source) => source.is_bad_input(),
            Self::Moved { source } => source.is_bad_input(),
            _ => true,
        }
    }

    /// Whether it is an end that was asked for.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Model(source) => source.is_cancelled(),
            Self::Load { source, .. } | Self::Recipe { source, .. } | Self::Diffusion(source) => source.is_cancelled(),
            Self::Detector { source, .. } | Self::Eval(source) => source.is_cancelled(),
            Self::Planner(source) => source.is_cancelled(),
            Self::Moved { source } => source.is_cancelled(),
            _ => false,
        }
    }

    /// What to do about it, if something is known to help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoModel { hint, .. } => Some(hint.clone()),
            Self::Editing(error) => error.hint(),
            Self::RecipeWithoutLayout { .. } => Some(NO_LAYOUT.to_owned()),
            Self::NoDetector { .. } => Some(WHICH_DETECTOR.to_owned()),
            Self::Open { source, .. } | Self::Model(source) => source.hint(),
            Self::Load { source, .. } | Self::Recipe { source, .. } | Self::Diffusion(source) => source.hint(),
            Self::Detector { source, .. } | Self::Eval(source) => source.hint(),
            Self::Planner(source) => source.hint(),
            Self::Moved { source } => source.hint(),
            _ => None,
        }
    }
}

const NO_LAYOUT: &str = "\
give one with `--layout FILE` (JSON or an LLM's answer) or `--replay CACHE.json`,
or have the caption laid out anew: `sinopia generate \"CAPTION\"` without `--from`";

const WHICH_DETECTOR: &str = "\
name a folder of OWL-ViT or OWLv2 weights with `--detector`, such as a download of
google/owlv2-base-patch16-ensemble: `hf download google/owlv2-base-patch16-ensemble --local-dir owlv2`;
the built-in detector knows the built-in model's pictures only";
