//! The masked pass: one part of a finished picture is denoised again, the rest is held to what it was.
//!
//! Start reading at [`MaskedPass::run`].

use candle_core::Tensor;
use sinopia_layout::{Grid, GridMask};
use sinopia_models::checkpoint::Constructor;
use sinopia_models::denoiser::Eraser;

use crate::collage::Collage;
use crate::noise::NoiseSource;
use crate::observer::{Run, Stage};
use crate::painting::Sampling;
use crate::pipeline::{FinishedStep, GuidedText, Pipeline, Sampler};
use crate::trajectory::{CellSelect, Trajectory};
use crate::window::Window;
use crate::{Error, Result};

/// Objects that are held to the states of their own pictures for a while, as LMD does.
#[derive(Debug, Clone, Copy)]
pub struct FrozenObjects<'a> {
    /// Their states, from call 0 on.
    pub collage: &'a Collage,
    /// The first calls of the pass after which they are pasted. Usual: half of its calls.
    pub num_calls: usize,
}

/// A masked pass whose cells' own picture is not wanted any more: what surrounds them grows over them.
///
/// The prediction is `ε_plain + s·(ε_erased − ε_plain)`: away from what the network would paint if these cells saw themselves, towards what it paints if
/// nothing sees them. It is linear in the prediction, whichever type that is of. A denoiser that cannot erase predicts from the text alone.
///
/// Source: AttentiveEraser, Sun et al. 2024, arXiv 2412.12974 (self-attention redirection guidance, similarity suppression).
#[derive(Debug, Clone, Copy)]
pub struct Removal {
    /// s. Published: 9.
    pub scale: f64,
    /// What the scores of erased queries are multiplied with in the first calls. Published: 0.3.
    pub suppression: f64,
    /// In how many calls of the pass. Published: 10 of 40.
    pub suppressed_calls: usize,
}

/// What the network sees of the picture in some calls of a masked pass, and what it is told of it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The first call that sees this; it goes on until the next view's.
    pub from: usize,
    /// The part of the picture.
    pub window: Window,
    /// What the network is conditioned on: the text of this part, or, where something is removed, of what is behind it.
    pub text: &'a GuidedText,
}

impl<'a> View<'a> {
    /// All of the picture, by one text, in every call.
    pub fn whole(picture: Grid, text: &'a GuidedText) -> Self {
        Self { from: 0, window: Window::whole(picture), text }
    }
}

/// Some cells of a finished picture, to be denoised again.
///
/// Outside the mask the latents are set to the stored states before every call and after it, to the end, so that the network sees the rest exactly as it was
/// at each level. (LMD and SLD let it go half-way, and the whole picture drifts.) Every scheduler here works on each number by itself, so that also the
/// histories of the multistep ones (DPM-Solver++ 2M, PNDM) are right inside the mask, being made of predictions at the states that were there; outside,
/// they are made use of nowhere. A history begins anew with the pass, by a step of first order.
#[derive(Debug)]
pub struct MaskedPass<'a> {
    /// The model that painted the picture.
    pub pipeline: &'a Pipeline,
    /// As the picture was sampled: its [`Painting::sampling`](crate::Painting::sampling), which has the scheduler.
    pub sampling: &'a Sampling,
    /// How the scheduler's config is read: [`Method::constructor`](crate::methods::Method::constructor) of the method that painted it.
    pub constructor: Constructor,
    /// What the network sees: in the order of their calls, the first from the pass's first call on, or before.
    pub views: Vec<View<'a>>,
    /// The picture's states.
    pub source: &'a Trajectory,
    /// The cells that are denoised again.
    pub cells: &'a GridMask,
    /// The first call that is made, one that [`Pipeline::first_call`] answers.
    pub first: usize,
    /// The latents to begin with, in the scheduler's scale at that call: (1, H, W, C). What is outside the mask does not matter.
    pub inside: Tensor,
    /// What schedulers draw from that add noise on the way.
    pub noise: NoiseSource,
    /// Objects pasted in for a while.
    pub frozen: Option<FrozenObjects<'a>>,
    /// Whether what is in the cells is taken out.
    pub removal: Option<Removal>,
    /// What the run is told.
    pub stage: Stage,
}

impl MaskedPass<'_> {
    /// The picture's states with what was denoised again inside the mask. Outside they are the source's, to the bit.
    ///
    /// Inside, the states before the first call are those that lead straight to it: the new z₀, with the noise that the first call's latents hold, made no
    /// louder than noise is. A later pass that begins earlier then sees the picture as it is now.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when source, mask and latents do not fit each other or the scheduler; when the denoiser refuses; when the run is cancelled.
    pub fn run(self, run: &Run) -> Result<Trajectory> {
        self.run_guided(run, |latents, _, _| Ok((latents, None)))
    }

    /// The same, `guide` moving the latents before each call and saying its loss. Of its moves, those inside the mask are made, and stay in the states.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `guide` returns.
    pub fn run_guided(
        self,
        run: &Run,
        mut guide: impl FnMut(Tensor, usize, &Sampler) -> Result<(Tensor, Option<f32>)>,
    ) -> Result<Trajectory> {
        if self.cells.is_empty() {
            return Ok(self.source.clone());
        }
        let mut sampler = self.sampler(run)?;
        let select = CellSelect::new(self.cells, self.pipeline.device())?;
        let states = self.source.states();
        let mut new = vec![select.of(&self.inside, &states[self.first])?]; // the states from the first call on
        run.stage(&self.stage, || {
            for index in self.first..sampler.num_calls() {
                run.check()?;
                let latents = &new[new.len() - 1];
                let (guided, loss) = guide(latents.clone(), index, &sampler)?;
                let guided = select.of(&guided, &states[index])?;
                let prediction = self.predict(&mut sampler, &guided, index)?;
                let latents = sampler.advance(&prediction, index, &guided)?;
                let latents = select.of(&self.restore_objects(latents, index)?, &states[index + 1])?;
                new[index - self.first] = guided; // what the network saw
                sampler.report(&FinishedStep { stage: &self.stage, index, loss, latents: &latents }, run)?;
                new.push(latents);
            }
            Ok(())
        })?;
        let before = straight_states(&sampler, self.first, &new, &select)?;
        let before = before.iter().zip(states).map(|(inside, outside)| select.of(inside, outside));
        Trajectory::new(before.collect::<Result<Vec<_>>>()?.into_iter().chain(new).collect())
    }

    /// What the network sees at a call.
    fn view(&self, index: usize) -> Result<&View<'_>> {
        let none = || Error::Mismatch {
            what: "the views of a masked pass",
            found: format!("none of call {index}"),
            expected: format!("one from call {} on", self.first),
        };
        self.views.iter().rev().find(|view| view.from <= index).ok_or_else(none)
    }

    /// The prediction for these latents, in the window, and zeros around it.
    fn predict(&self, sampler: &mut Sampler, latents: &Tensor, index: usize) -> Result<Tensor> {
        let view = self.view(index)?;
        let prediction = self.predict_seen(sampler, view, &view.window.of(latents)?, index)?;
        view.window.put(&prediction, &latents.zeros_like()?)
    }

    /// The prediction for what the network sees.
    fn predict_seen(&self, sampler: &mut Sampler, view: &View, latents: &Tensor, index: usize) -> Result<Tensor> {
        let Some(removal) = &self.removal else {
            return Ok(sampler.predict(latents, index, view.text, None)?.prediction);
        };
        if !sampler.can_erase() {
            return sampler.predict_beside(latents, index, view.text);
        }
        let is_suppressed = index < self.first + removal.suppressed_calls;
        let query_scale = if is_suppressed { removal.suppression } else { 1.0 };
        let eraser = Eraser::new(view.window.mask(self.cells), query_scale)?;
        let [plain, erased] = sampler.predict_erasing(latents, index, view.text, &eraser)?;
        Ok((&plain + ((erased - &plain)? * removal.scale)?)?)
    }

    /// The sampler that painted the picture, told where it begins.
    fn sampler(&self, run: &Run) -> Result<Sampler<'_>> {
        let mut sampler = self.pipeline.sampler_as(self.constructor, self.sampling, self.noise.clone(), run)?;
        if sampler.num_calls() != self.source.num_calls() {
            return Err(Error::Mismatch {
                what: "the calls of the trajectory that is changed",
                found: self.source.num_calls().to_string(),
                expected: format!("{} by its scheduler", sampler.num_calls()),
            });
        }
        sampler.begin_at(self.first)?;
        Ok(sampler)
    }

    /// The latents after call `index`, with the objects that are still frozen.
    fn restore_objects(&self, latents: Tensor, index: usize) -> Result<Tensor> {
        match self.frozen {
            Some(frozen) if index < self.first + frozen.num_calls => frozen.collage.restore_foreground(latents, index),
            _ => Ok(latents),
        }
    }
}

/// The states before call `first` that lead straight to the latents there: `signal·z₀ + noise·n` at each level, with the noise n that these hold. `new` are the
/// states from that call on, z₀ the last.
///
/// What the pass has changed of z₀ is in n too, and more of it the later the pass began; where `inside` is, n is scaled down to unit variance then.
fn straight_states(sampler: &Sampler, first: usize, new: &[Tensor], inside: &CellSelect) -> Result<Vec<Tensor>> {
    let (start, z0) = (&new[0], &new[new.len() - 1]);
    if first == sampler.num_calls() {
        return Ok(vec![z0.clone(); first]); // nothing was denoised: no level to read the noise at
    }
    let level = sampler.noise_level(first);
    let noise = (((start / level.latent_scale)? - (z0 * level.signal)?)? / level.noise)?;
    let loudness = inside.mean_square(&noise)?.sqrt().max(1.0);
    let noise = (noise / loudness)?;
    (0..first).map(|index| sampler.noise_level(index).noised(z0, &noise)).collect()
}
