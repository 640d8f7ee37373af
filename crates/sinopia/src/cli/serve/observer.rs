//! Tells the server how a painting goes.

use std::io::Cursor;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sinopia_diffusion::{LinearPreview, Observer, Stage, StepReport};
use sinopia_server::Watch;
use sinopia_server::wire::Progress;
use sinopia_studio::models::LoadedModel;
use sinopia_studio::rgb;

/// Shortest time between two previews: more than eyes follow only takes time from the painting.
const PREVIEW_PAUSE: Duration = Duration::from_millis(150);

/// Counts steps and passes on what a run tells.
pub(super) struct ProgressAdapter<'a> {
    watch: &'a dyn Watch,
    preview: &'a LinearPreview,
    /// Steps of one picture.
    steps: u64,
    state: Mutex<State>,
}

struct State {
    begun: Instant,
    last_preview: Option<Instant>,
    /// Objects painted alone before the whole picture.
    objects: u64,
    /// Steps done, of all pictures.
    done: u64,
}

impl<'a> ProgressAdapter<'a> {
    /// Tells `watch` of a picture of `steps` steps by `model`.
    pub(super) fn new(watch: &'a dyn Watch, model: &'a LoadedModel, steps: usize) -> sinopia_studio::Result<Self> {
        let state = State { begun: Instant::now(), last_preview: None, objects: 0, done: 0 };
        Ok(Self { watch, preview: model.preview()?, steps: steps as u64, state: Mutex::new(state) })
    }

    fn tell(&self, state: &State, stage: &Stage) {
        let steps = (state.objects + 1) * self.steps;
        let step = state.done.min(steps);
        let elapsed = state.begun.elapsed().as_secs_f64();
        let seconds_left = (step > 0).then(|| elapsed / step as f64 * (steps - step) as f64);
        self.watch.progress(Progress { stage: stage.to_string(), step, steps, seconds_left });
    }

    fn show(&self, step: &StepReport) -> anyhow::Result<()> {
        let mut png = Cursor::new(Vec::new());
        rgb(&self.preview.picture(step.latents)?)?.write_to(&mut png, image::ImageFormat::Png)?;
        self.watch.preview(png.get_ref());
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for ProgressAdapter<'_> {
    fn stage(&self, stage: &Stage) {
        let mut state = self.state();
        match stage {
            Stage::Object { count, .. } => state.objects = *count as u64,
            // Steps that a method left out are behind it.
            Stage::Picture => state.done = state.objects * self.steps,
            Stage::Decode => {}
            // A picture, an attempt at another, or a change of one begins.
            Stage::Encode | Stage::Edit | Stage::Invert => {
                (state.begun, state.objects, state.done) = (Instant::now(), 0, 0);
            }
        }
        self.tell(&state, stage);
    }

    fn step(&self, step: &StepReport) {
        let wants_preview = {
            let mut state = self.state();
            state.done += 1;
            self.tell(&state, step.stage);
            let is_due = state.last_preview.is_none_or(|last| last.elapsed() >= PREVIEW_PAUSE);
            let wants = is_due && self.watch.wants_preview();
            if wants {
                state.last_preview = Some(Instant::now());
            }
            wants
        };
        if wants_preview && let Err(error) = self.show(step) {
            tracing::debug!(%error, "no preview");
        }
    }

    fn warning(&self, warning: &str) {
        self.watch.warning(warning);
    }

    fn wants_object_images(&self) -> bool {
        false
    }
}
