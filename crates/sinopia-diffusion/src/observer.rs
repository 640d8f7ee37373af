//! Who is told how a run goes, and who may end it.
//!
//! A method knows nothing of bars, event streams or terminals: it tells a [`Run`], which passes stages, steps and warnings to an [`Observer`],
//! remembers warnings, timings and, if asked, states for the [`Painting`](crate::Painting), and ends the run once it is cancelled: networks look between their parts.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sinopia_layout::BBox;
use sinopia_models::CancellationToken;
use sinopia_models::denoiser::AttnKey;

use crate::attention_map::AttentionMap;
use crate::trajectory::Trajectory;
use crate::work::DenoiserWork;
use crate::{Error, Result};

/// A part of a run that takes a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Prompts to text embeddings.
    Encode,
    /// One object is painted alone.
    Object {
        /// Which one, from 0.
        index: usize,
        /// Out of how many.
        count: usize,
        /// The object in words.
        name: String,
    },
    /// The whole picture is painted.
    Picture,
    /// A picture that was not painted here is followed back to its noise.
    Invert,
    /// A part of a finished picture is painted anew.
    Edit,
    /// Latents to pixels.
    Decode,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode => f.write_str("reading the prompts"),
            Self::Object { index, count, name } => write!(f, "painting {name} ({} of {count})", index + 1),
            Self::Picture => f.write_str("painting the picture"),
            Self::Invert => f.write_str("following the picture back to its noise"),
            Self::Edit => f.write_str("painting the change"),
            Self::Decode => f.write_str("decoding"),
        }
    }
}

/// A step that has just ended.
#[derive(Debug)]
pub struct StepReport<'a> {
    /// The stage it belongs to.
    pub stage: &'a Stage,
    /// Which step, from 0.
    pub index: usize,
    /// Out of how many in this stage.
    pub count: usize,
    /// The diffusion timestep.
    pub timestep: f64,
    /// Loss of the last guidance update in this step, if there was one.
    pub loss: Option<f32>,
    /// The latents after the step, variance preserving, (1, H, W, C): a preview decodes them with
    /// [`Pipeline::preview`](crate::Pipeline::preview).
    pub latents: &'a Tensor,
}

/// The cross-attention of a guided phrase at a step, before the step's guidance.
#[derive(Debug)]
pub struct AttentionReport<'a> {
    /// The stage in words.
    pub stage: &'a str,
    /// Which step, from 0.
    pub index: usize,
    /// Out of how many in this stage.
    pub count: usize,
    /// The layer.
    pub key: AttnKey,
    /// The phrase in words.
    pub phrase: &'a str,
    /// Where its attention should be.
    pub bboxes: &'a [BBox],
    /// Probabilities, averaged over heads and the phrase's tokens.
    pub map: AttentionMap,
}

/// Someone who waits for a picture. All methods do nothing by default.
pub trait Observer: Sync {
    /// A stage begins.
    fn stage(&self, _stage: &Stage) {}

    /// A step of the current stage has ended.
    fn step(&self, _step: &StepReport) {}

    /// Something that the person who asked for the picture should know.
    fn warning(&self, _warning: &str) {}

    /// Whether the pictures of objects painted alone are looked at; they are decoded for nobody else, whatever the method's `object_images` says.
    fn wants_object_images(&self) -> bool {
        true
    }

    /// Whether [`attention`](Self::attention) is of interest; maps are not made ready otherwise.
    fn wants_attention(&self) -> bool {
        false
    }

    /// A guided phrase's attention at a step that is about to be guided, for each layer that guidance looks at.
    fn attention(&self, _report: &AttentionReport) {}
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Most characters of somebody's text that a warning repeats.
pub(crate) const SHOWN_CHARS: usize = 200;

/// How long a stage took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The stage in words.
    pub stage: String,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// One run of a method: its observer, its cancellation, and what it has to say afterwards.
pub struct Run<'a> {
    observer: &'a dyn Observer,
    cancellation: CancellationToken,
    /// Whether warnings are recorded only.
    quiet: bool,
    warnings: Mutex<Vec<String>>,
    timings: Mutex<Vec<Timing>>,
    work: Mutex<DenoiserWork>,
    /// The states of the picture so far, if they are kept.
    states: Option<Mutex<Vec<Tensor>>>,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("cancellation", &self.cancellation).finish_non_exhaustive()
    }
}

impl<'a> Run<'a> {
    /// A run that tells `observer` and ends when `cancellation` says so.
    pub fn new(observer: &'a dyn Observer, cancellation: &CancellationToken) -> Self {
        Self {
            observer,
            cancellation: cancellation.clone(),
            quiet: false,
            warnings: Mutex::default(),
            timings: Mutex::default(),
            work: Mutex::default(),
            states: None,
        }
    }

    /// The same, keeping every state of the picture for [`Painting::trajectory`](crate::Painting::trajectory).
    #[must_use]
    pub fn keeping_trajectory(self) -> Self {
        Self { states: Some(Mutex::default()), ..self }
    }

    /// A run that nobody watches.
    pub fn silent() -> Self {
        Self::new(&Silent, &CancellationToken::default())
    }

    /// A run of its own for one of several things done side by side. Its steps are told as they happen; what it records waits for
    /// [`join`](Self::join), so that records do not depend on who was first.
    pub fn beside(&self) -> Self {
        Self { quiet: true, ..Self::new(self.observer, &self.cancellation) }
    }

    /// Takes over what a [`beside`](Self::beside) has recorded, and tells its warnings.
    pub fn join(&self, beside: Self) {
        beside.warnings().into_iter().for_each(|warning| self.warn(warning));
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).extend(beside.timings());
        self.count(&beside.work());
    }

    /// What ends it.
    pub(crate) fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Ends the run if it was cancelled.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.cancellation.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Does the work of a stage, announced and timed.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or what the work returns.
    pub fn stage<T>(&self, stage: &Stage, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check()?;
        self.observer.stage(stage);
        let start = Instant::now();
        let result = work()?;
        let timing = Timing { stage: stage.to_string(), seconds: start.elapsed().as_secs_f64() };
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).push(timing);
        Ok(result)
    }

    /// Reports a finished step.
    pub fn step(&self, report: &StepReport) {
        self.observer.step(report);
    }

    /// Whether somebody looks at the pictures of objects painted alone.
    pub fn wants_object_images(&self) -> bool {
        self.observer.wants_object_images()
    }

    /// Whether somebody wants to see attention maps.
    pub fn wants_attention(&self) -> bool {
        self.observer.wants_attention()
    }

    /// Reports a phrase's attention.
    pub fn attention(&self, report: &AttentionReport) {
        self.observer.attention(report);
    }

    /// Keeps a state of the picture, in the scheduler's scale, if states are kept: the first before the first call, then one after each.
    pub fn keep_state(&self, latents: &Tensor) {
        if let Some(states) = &self.states {
            states.lock().unwrap_or_else(PoisonError::into_inner).push(latents.clone());
        }
    }

    /// Whether states are kept.
    pub(crate) fn keeps_states(&self) -> bool {
        self.states.is_some()
    }

    /// The states kept, if any were; the next picture's are kept anew.
    ///
    /// # Errors
    /// When they are not of one size.
    pub fn take_trajectory(&self) -> Result<Option<Trajectory>> {
        let Some(states) = &self.states else { return Ok(None) };
        let states = std::mem::take(&mut *states.lock().unwrap_or_else(PoisonError::into_inner));
        if states.is_empty() { Ok(None) } else { Trajectory::new(states).map(Some) }
    }

    /// Adds to the denoiser's work.
    pub fn count(&self, work: &DenoiserWork) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).join(work);
    }

    /// The denoiser's work so far.
    pub fn work(&self) -> DenoiserWork {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells a warning, once.
    pub fn warn(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&warning) {
            if !self.quiet {
                self.observer.warning(&warning);
            }
            warnings.push(warning);
        }
    }

    /// All warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All finished stages so far.
    pub fn timings(&self) -> Vec<Timing> {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Diary(Mutex<Vec<String>>);

    impl Observer for Diary {
        fn stage(&self, stage: &Stage) {
            self.0.lock().unwrap().push(stage.to_string());
        }

        fn warning(&self, warning: &str) {
            self.0.lock().unwrap().push(format!("! {warning}"));
        }
    }

    #[test]
    fn stages_and_warnings_reach_the_observer_and_the_painting() -> Result<()> {
        let diary = Diary::default();
        let run = Run::new(&diary, &CancellationToken::default());
        let stage = Stage::Object { index: 0, count: 2, name: "a dog".to_owned() };
        run.stage(&stage, || {
            run.warn("careful");
            run.warn("careful");
            Ok(())
        })?;
        assert_eq!(*diary.0.lock().unwrap(), ["painting a dog (1 of 2)", "! careful"]);
        assert_eq!(run.warnings(), ["careful"]);
        assert_eq!(run.timings()[0].stage, "painting a dog (1 of 2)");
        Ok(())
    }

    #[test]
    fn what_is_done_side_by_side_is_recorded_in_the_order_of_joining() -> Result<()> {
        let diary = Diary::default();
        let run = Run::new(&diary, &CancellationToken::default());
        let (first, second) = (run.beside(), run.beside());
        for (beside, stage, warning) in [(&second, Stage::Decode, "second"), (&first, Stage::Picture, "first")] {
            beside.stage(&stage, || {
                beside.warn("both");
                beside.warn(warning);
                Ok(())
            })?;
        }
        [first, second].into_iter().for_each(|beside| run.join(beside));
        assert_eq!(run.warnings(), ["both", "first", "second"]);
        let stages: Vec<_> = run.timings().into_iter().map(|timing| timing.stage).collect();
        assert_eq!(stages, ["painting the picture", "decoding"]);
        let told = ["decoding", "painting the picture", "! both", "! first", "! second"];
        assert_eq!(*diary.0.lock().unwrap(), told);
        Ok(())
    }

    #[test]
    fn a_cancelled_run_starts_no_stage() {
        let cancellation = CancellationToken::default();
        let run = Run::new(&Silent, &cancellation);
        assert!(run.check().is_ok());
        cancellation.cancel();
        assert!(matches!(run.stage(&Stage::Decode, || Ok(())), Err(Error::Cancelled)));
    }
}
