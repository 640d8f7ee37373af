//! What the server asks of whoever can plan and paint.
//!
//! The server knows HTTP, jobs and security. Everything about pictures is behind [`Engine`]; its methods block, and are called from threads that may.

use std::fmt;

use sinopia_layout::Layout;

use crate::cancellation::CancellationToken;
use crate::wire::{
    Attempt, CheckRequest, Composed, Converted, EditRequest, Findings, JobRequest, LayoutFormat, Options,
    PictureFormat, PlanReply, PlanRequest, Progress, RecipeAnswer, Rendering, Repaired, Size, Verdict,
};

/// What an engine answers.
pub type Answer<T> = Result<T, Refusal>;

/// Someone who plans, checks, paints and looks at pictures.
pub trait Engine: Send + Sync + 'static {
    /// What can be asked for.
    fn options(&self) -> Options;

    /// Whether painting could begin: models are where they should be.
    ///
    /// # Errors
    /// Why not.
    fn is_ready(&self) -> Answer<()>;

    /// What is kept in memory between jobs.
    fn kept(&self) -> Kept;

    /// Layouts for a caption, best first. Nothing more is begun once `cancellation` is cancelled: whoever asked has hung up.
    ///
    /// # Errors
    /// [`Fault::NoPlan`], [`Fault::Planner`], [`Fault::Request`], [`Fault::Cancelled`].
    fn plan(&self, request: &PlanRequest, cancellation: &CancellationToken) -> Answer<PlanReply>;

    /// A layout with an instruction carried out.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    fn edit(&self, request: &EditRequest, cancellation: &CancellationToken) -> Answer<PlanReply>;

    /// What is wrong with a layout, as a layout of a caption if there is one.
    ///
    /// # Errors
    /// [`Fault::Request`].
    fn check(&self, request: &CheckRequest) -> Answer<Findings>;

    /// A layout repaired by the rules that need no model.
    ///
    /// # Errors
    /// [`Fault::Request`].
    fn repair(&self, request: &CheckRequest) -> Answer<Repaired>;

    /// The prompts that methods make of a layout.
    ///
    /// # Errors
    /// [`Fault::Request`].
    fn compose(&self, request: &CheckRequest) -> Answer<Composed>;

    /// A layout of any format in another.
    ///
    /// # Errors
    /// [`Fault::Request`] if it is not one.
    fn convert(&self, text: &str, to: LayoutFormat) -> Answer<Converted>;

    /// How a picture, the bytes of a PNG, was made, here or by another program.
    ///
    /// # Errors
    /// [`Fault::Request`] if it does not say, or says what cannot be painted again.
    fn recipe(&self, png: &[u8]) -> Answer<RecipeAnswer>;

    /// The size, of at most `max_pixels`, at which a model (the default if there is no name) paints what is to be sent in `size`: that size itself where the
    /// model knows such pictures.
    ///
    /// # Errors
    /// [`Fault::Request`] if there is no such model.
    fn fitting_size(&self, model: Option<&str>, size: Size, max_pixels: u64) -> Answer<Size>;

    /// A picture, the bytes of a PNG of ours, in another size or format.
    ///
    /// # Errors
    /// [`Fault::Engine`] if it is no picture.
    fn render(&self, png: &[u8], format: PictureFormat, rendering: &Rendering) -> Answer<Vec<u8>>;

    /// A picture from outside, a PNG, JPEG or WebP of at most `max_pixels`, read as if somebody meant harm.
    ///
    /// # Errors
    /// [`Fault::Request`] if it is none, [`Fault::TooLarge`].
    fn take_in(&self, bytes: &[u8], max_pixels: u64) -> Answer<TakenIn>;

    /// Checks a job before it is queued, and fills in what it leaves open.
    ///
    /// # Errors
    /// [`Fault::Request`] or [`Fault::TooLarge`].
    fn accept(&self, request: JobRequest, sources: &Sources) -> Answer<Accepted>;

    /// Paints a job that was accepted, on the calling thread.
    ///
    /// # Errors
    /// [`Fault::Cancelled`] once the watcher's [`CancellationToken`] is cancelled, or why there is no picture.
    fn paint(&self, request: &JobRequest, sources: &Sources, watch: &dyn Watch) -> Answer<Painted>;

    /// Whether the things of a layout are in a picture, the bytes of a PNG of ours.
    ///
    /// # Errors
    /// [`Fault::Request`] if nobody can look at pictures of this model; [`Fault::Cancelled`] once `cancellation` is.
    fn judge(&self, png: &[u8], layout: &Layout, cancellation: &CancellationToken) -> Answer<Verdict>;
}

/// Someone who waits for a picture.
pub trait Watch: Sync {
    /// The layout that was planned, before it is painted.
    fn planned(&self, layout: &Layout);

    /// How far it is.
    fn progress(&self, progress: Progress);

    /// Whether somebody would look at a [`preview`](Self::preview).
    fn wants_preview(&self) -> bool;

    /// The picture so far, the bytes of a PNG.
    fn preview(&self, png: &[u8]);

    /// A picture that was made on the way to a checked one, the bytes of a PNG.
    fn attempt(&self, attempt: Attempt, png: &[u8]);

    /// Something that the person who asked should know.
    fn warning(&self, warning: &str);

    /// What ends the painting.
    fn cancellation(&self) -> &CancellationToken;
}

/// The pictures that a job begins with, the bytes of PNGs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sources {
    /// What is edited, or painting begins with.
    pub image: Option<Vec<u8>>,
    /// What says how much of it may change.
    pub mask: Option<Vec<u8>>,
}

/// A picture from outside with nothing but its pixels left.
#[derive(Debug, Clone, PartialEq)]
pub struct TakenIn {
    /// A PNG of 8 bits a channel, turned as its file said.
    pub png: Vec<u8>,
    /// Its size.
    pub size: Size,
    /// Whether some of it is transparent.
    pub is_transparent: bool,
}

/// A job ready to be queued.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The request with nothing left open.
    pub request: JobRequest,
    /// Bytes that it will take, the model's weights included.
    pub memory_bytes: u64,
}

/// A finished picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Painted {
    /// A PNG with its recipe in it.
    pub png: Vec<u8>,
    /// How strictly it followed the prompt, now that the model is known.
    pub guidance_scale: f64,
    /// Where its noise started, where that was not said before: of several attempts the one that was kept.
    pub seed: Option<u64>,
    /// What was seen in it, if somebody looked while it was painted.
    pub verdict: Option<Verdict>,
}

/// What is in memory between jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Models.
    pub models: u64,
    /// Bytes of their weights.
    pub bytes: u64,
}

/// Why an engine does not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose fault it is.
    pub fault: Fault,
    /// What was wrong, in a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request's.
    Request,
    /// The request's: more than there is memory for.
    TooLarge,
    /// The planner's: what it answered is no layout for this, or this is beyond it.
    NoPlan,
    /// The language model's, or its server's: it cannot be asked.
    Planner,
    /// Nobody's: it was cancelled.
    Cancelled,
    /// Ours.
    Engine,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), hint: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
