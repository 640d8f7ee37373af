//! The masked pass over the Gaussian, whose cells know nothing of each other: what becomes of the cells inside must not depend on the mask.

use sinopia_diffusion::collage::{Collage, Cutout, Shift};
use sinopia_diffusion::conditioning::PromptText;
use sinopia_diffusion::methods::Method;
use sinopia_diffusion::pipeline::{GuidedText, Sampler};
use sinopia_diffusion::schedulers::{SchedulerKind, SigmaSchedule};
use sinopia_diffusion::{Error, FrozenObjects, MaskedPass, Stage, Trajectory, View};

use super::*;

const STEPS: usize = 10;

/// A picture painted by plain Stable Diffusion, with its states.
struct Painted {
    pipeline: Pipeline,
    sampling: Sampling,
    method: Box<dyn Method>,
    trajectory: Trajectory,
}

impl Painted {
    fn new(training: Training, scheduler: SchedulerKind, sigmas: Option<SigmaSchedule>) -> Self {
        let pipeline = pipeline(training);
        let mut request = request(None, STEPS);
        (request.sampling.scheduler, request.sampling.sigmas) = (Some(scheduler), sigmas);
        let method = methods::build("sd", Value::Null).unwrap();
        let painting = method.generate(&request, &pipeline, &Run::silent().keeping_trajectory()).unwrap();
        Self { trajectory: painting.trajectory.unwrap(), sampling: painting.sampling, method, pipeline }
    }

    fn text(&self, prompt: &str) -> GuidedText {
        let prompts = [PromptText::new(prompt)];
        self.pipeline.encode_pairs(&prompts, NEGATIVE, &self.sampling, &Run::silent()).unwrap().swap_remove(0)
    }

    fn noise(&self, seed: u64) -> Tensor {
        NoiseSource::new(Seed(seed)).draw(self.trajectory.size(), &Device::Cpu).unwrap()
    }

    fn pass<'a>(&'a self, text: &'a GuidedText, cells: &'a GridMask, first: usize, inside: Tensor) -> MaskedPass<'a> {
        MaskedPass {
            pipeline: &self.pipeline,
            sampling: &self.sampling,
            constructor: self.method.constructor(),
            views: vec![View::whole(cells.grid(), text)],
            source: &self.trajectory,
            cells,
            first,
            inside,
            noise: NoiseSource::new(Seed(5)),
            frozen: None,
            removal: None,
            stage: Stage::Picture,
        }
    }

    /// The sampler of a pass, with its noise.
    fn sampler(&self) -> Sampler<'_> {
        let noise = NoiseSource::new(Seed(5));
        self.pipeline.sampler_as(self.method.constructor(), &self.sampling, noise, &Run::silent()).unwrap()
    }

    fn first_call(&self, strength: f64) -> usize {
        self.pipeline.first_call(self.method.constructor(), &self.sampling, strength).unwrap()
    }
}

/// Every scheduler of the training, along its own levels and along others'.
fn schedulers() -> Vec<(Training, SchedulerKind, Option<SigmaSchedule>)> {
    let diffusion = TRAININGS[..2].iter().flat_map(|training| {
        SchedulerKind::ALL.into_iter().flat_map(move |kind| {
            let karras = (kind != SchedulerKind::Pndm).then_some(Some(SigmaSchedule::Karras));
            [None].into_iter().chain(karras).map(move |sigmas| (*training, kind, sigmas))
        })
    });
    diffusion.chain([(Training::Flow, SchedulerKind::FlowMatchEuler, None)]).collect()
}

fn some_cells() -> GridMask {
    let cells = (0..64).map(|cell| cell % 8 > 3 && cell / 8 < 6 || cell == 17).collect();
    GridMask::from_cells(Grid::new(8, 8), cells).unwrap()
}

/// The bits of each cell.
fn bits(state: &Tensor) -> Vec<Vec<u32>> {
    let rows = state.get(0).unwrap().reshape(((), CHANNELS)).unwrap().to_vec2::<f32>().unwrap();
    rows.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect()
}

#[track_caller]
fn assert_outside_kept(what: &str, new: &Trajectory, old: &Trajectory, mask: &GridMask) {
    assert_eq!(new.states().len(), old.states().len());
    for (index, (new, old)) in new.states().iter().zip(old.states()).enumerate() {
        for (cell, (new, old)) in bits(new).into_iter().zip(bits(old)).enumerate() {
            assert!(mask.cells()[cell] || new == old, "{what}: cell {cell} of state {index}");
        }
    }
}

#[test]
fn outside_the_mask_every_state_is_the_old_one_and_inside_is_a_run_of_its_own() {
    let mask = some_cells();
    for (training, kind, sigmas) in schedulers() {
        let what = format!("{training:?}, {kind}, {sigmas:?}");
        let painted = Painted::new(training, kind, sigmas);
        let text = painted.text("a red cat");
        for strength in [1.0, 0.55, 0.1] {
            let first = painted.first_call(strength);
            let mut sampler = painted.sampler();
            let inside = sampler.noise_level(first).noised(painted.trajectory.last(), &painted.noise(9)).unwrap();
            let edited = painted.pass(&text, &mask, first, inside.clone()).run(&Run::silent()).unwrap();
            assert_outside_kept(&what, &edited, &painted.trajectory, &mask);

            // All cells together, from the same latents, with the same noise on the way.
            let mut alone = vec![inside];
            for index in first..sampler.num_calls() {
                alone.push(sampler.denoise(&alone[alone.len() - 1], index, &text, None).unwrap().latents);
            }
            for (state, alone) in edited.states()[first..].iter().zip(&alone) {
                let of_mask = |state: &Tensor| {
                    let cells = cells(state, 0).into_iter().zip(mask.cells());
                    cells.filter(|(_, inside)| **inside).map(|(cell, _)| cell).collect::<Vec<_>>()
                };
                assert_near(&what, &of_mask(state), &of_mask(alone), 1e-6);
            }
            assert_ne!(bits(edited.last())[17], bits(painted.trajectory.last())[17], "{what}: nothing was edited");
        }
    }
}

#[test]
fn where_nothing_is_new_nothing_changes() {
    let mask = some_cells();
    for (training, kind, sigmas) in schedulers() {
        // Histories begin anew, and ancestral noise is the pass's own.
        if matches!(kind, SchedulerKind::Pndm | SchedulerKind::DpmSolverPlusPlus | SchedulerKind::EulerAncestral) {
            continue;
        }
        let painted = Painted::new(training, kind, sigmas);
        let text = painted.text("a blue dog on a beach");
        let first = painted.first_call(0.6);
        let inside = painted.trajectory.states()[first].clone();
        let again = painted.pass(&text, &mask, first, inside).run(&Run::silent()).unwrap();
        for (new, old) in again.states()[first..].iter().zip(&painted.trajectory.states()[first..]) {
            assert_eq!(bits(new), bits(old), "{kind}");
        }
    }
}

#[test]
fn the_states_before_the_first_call_lead_straight_to_it() {
    let mask = some_cells();
    let painted = Painted::new(TRAININGS[0], SchedulerKind::Euler, None);
    let text = painted.text("a red cat");
    let (first, noise) = (painted.first_call(0.5), painted.noise(9));
    let sampler = painted.sampler();
    let inside = sampler.noise_level(first).noised(painted.trajectory.last(), &noise).unwrap();
    let edited = painted.pass(&text, &mask, first, inside).run(&Run::silent()).unwrap();
    let z0 = edited.last();
    // The noise that a state holds besides z₀, which is one and the same up to the first call.
    let noise_at = |index: usize| {
        let level = sampler.noise_level(index);
        let rest = ((&edited.states()[index] / level.latent_scale).unwrap() - (z0 * level.signal).unwrap()).unwrap();
        cells(&(rest / level.noise).unwrap(), 0)[17].clone()
    };
    let loudest = noise_at(first).iter().zip(noise_at(0)).map(|(at_first, kept)| at_first / kept).fold(0.0, f64::max);
    assert!(loudest >= 1.0 - 1e-4, "no noise is made louder: {loudest}");
    for index in 0..first {
        let kept: Vec<f64> = noise_at(first).iter().map(|value| value / loudest).collect();
        assert_near(&format!("state {index}"), &[noise_at(index)], &[kept], 1e-3);
    }
    assert!(noise_at(first + 1).iter().zip(noise_at(first)).any(|(a, b)| (a - b).abs() > 1e-3));
}

/// z₀ that is far from the old one stands in the latents of a late first call as noise. Earlier states would be louder than any that the network knows.
#[test]
fn noise_before_a_late_first_call_is_no_louder_than_noise() {
    let mask = some_cells();
    let painted = Painted::new(TRAININGS[0], SchedulerKind::Euler, None);
    let text = painted.text("a red cat");
    let (first, sampler) = (painted.first_call(0.2), painted.sampler());
    let far = (painted.trajectory.last() + 4.0).unwrap();
    let inside = sampler.noise_level(first).noised(&far, &painted.noise(9)).unwrap();
    let edited = painted.pass(&text, &mask, first, inside).run(&Run::silent()).unwrap();
    let loudness = |index: usize| {
        let level = sampler.noise_level(index);
        let z0 = (edited.last() * level.signal).unwrap();
        let noise = (((&edited.states()[index] / level.latent_scale).unwrap() - z0).unwrap() / level.noise).unwrap();
        let inside = cells(&noise, 0).into_iter().zip(mask.cells()).filter(|(_, inside)| **inside);
        let inside: Vec<f64> = inside.flat_map(|(cell, _)| cell).collect();
        (inside.iter().map(|value| value * value).sum::<f64>() / inside.len() as f64).sqrt()
    };
    assert!(loudness(first) > 1.05, "the picture did not change enough to tell: {}", loudness(first));
    for index in 0..first {
        assert!((loudness(index) - 1.0).abs() < 1e-2, "state {index}: {}", loudness(index));
    }
}

#[test]
fn the_pass_makes_as_many_calls_as_its_strength_says() {
    let (mask, none) = (some_cells(), GridMask::empty(Grid::new(8, 8)));
    let painted = Painted::new(TRAININGS[0], SchedulerKind::Ddim, None);
    let text = painted.text("a red cat");
    for (strength, calls) in [(1.0, 10), (0.7, 7), (0.29, 2), (0.0, 0)] {
        let first = painted.first_call(strength);
        let inside = painted.trajectory.states()[first].clone();
        let run = Run::silent();
        painted.pass(&text, &mask, first, inside.clone()).run(&run).unwrap();
        // Both halves of guidance are a call each, side by side, or together.
        assert_eq!(run.work().sampling.calls, calls, "{strength}");
        let run = Run::silent();
        let kept = painted.pass(&text, &none, first, inside).run(&run).unwrap();
        assert_eq!(run.work().sampling.calls, 0, "without cells there is nothing to do");
        assert_outside_kept("no cells", &kept, &painted.trajectory, &none);
    }
}

#[test]
fn objects_are_held_for_a_while_and_only_inside_the_mask() {
    let mask = some_cells();
    let painted = Painted::new(TRAININGS[0], SchedulerKind::Ddim, None);
    let text = painted.text("a red cat");
    let first = painted.first_call(0.5);
    let states: Vec<Tensor> = (0..=STEPS as u64).map(|index| painted.noise(100 + index)).collect();
    // Cell 17 is inside, cell 16 is not.
    let object = GridMask::from_cells(Grid::new(8, 8), (0..64).map(|cell| cell == 16 || cell == 17).collect()).unwrap();
    let cutout = Cutout::new(states.clone(), &object, Shift::default());
    let collage = Collage::compose(&painted.noise(99), &[cutout]).unwrap();
    let inside = painted.trajectory.states()[first].clone();
    let mut pass = painted.pass(&text, &mask, first, inside);
    pass.frozen = Some(FrozenObjects { collage: &collage, num_calls: 2 });
    let edited = pass.run(&Run::silent()).unwrap();
    assert_outside_kept("frozen", &edited, &painted.trajectory, &mask);
    let is_frozen = |index: usize| bits(&edited.states()[index])[17] == bits(&states[index])[17];
    assert!(is_frozen(first + 1) && is_frozen(first + 2));
    assert!((first + 3..=STEPS).all(|index| !is_frozen(index)));
}

#[test]
fn guidance_moves_what_is_inside_alone() {
    let mask = some_cells();
    let painted = Painted::new(TRAININGS[0], SchedulerKind::Ddim, None);
    let text = painted.text("a red cat");
    let inside = painted.trajectory.states()[0].clone();
    let plain = painted.pass(&text, &mask, 0, inside.clone()).run(&Run::silent()).unwrap();
    let moved = painted
        .pass(&text, &mask, 0, inside)
        .run_guided(&Run::silent(), |latents, index, sampler| {
            assert_eq!(sampler.num_calls(), STEPS);
            Ok(((latents + 0.1)?, Some(index as f32)))
        })
        .unwrap();
    assert_outside_kept("guided", &moved, &painted.trajectory, &mask);
    assert_ne!(bits(plain.last())[17], bits(moved.last())[17]);
}

#[test]
fn what_does_not_fit_the_picture_is_refused() {
    let (mask, other) = (some_cells(), GridMask::from_cells(Grid::new(4, 4), vec![true; 16]).unwrap());
    let painted = Painted::new(TRAININGS[0], SchedulerKind::Pndm, None);
    let text = painted.text("a red cat");
    let start = painted.trajectory.states()[0].clone();
    let refused = |pass: MaskedPass| match pass.run(&Run::silent()) {
        Err(error @ Error::Mismatch { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    // PNDM's second call goes on from where its first began.
    assert!(refused(painted.pass(&text, &mask, 1, start.clone())).contains("pndm"));
    assert_eq!(painted.first_call(0.95), 0);
    assert!(refused(painted.pass(&text, &mask, 99, start.clone())).contains("99"));
    assert!(refused(painted.pass(&text, &other, 0, start.clone())).contains("4×4"));
    let short = Trajectory::new(painted.trajectory.states()[..3].to_vec()).unwrap();
    let pass = MaskedPass { source: &short, ..painted.pass(&text, &mask, 0, start) };
    assert!(refused(pass).contains("2"));
}

/// Steps of a pass are told as those of a run of their own.
#[test]
fn steps_are_told_from_the_first_that_is_made() {
    #[derive(Default)]
    struct Steps(Mutex<Vec<(usize, usize)>>);
    impl Observer for Steps {
        fn step(&self, step: &StepReport) {
            self.0.lock().unwrap().push((step.index, step.count));
        }
    }
    let mask = some_cells();
    let painted = Painted::new(TRAININGS[0], SchedulerKind::Ddim, None);
    let text = painted.text("a red cat");
    let steps = Steps::default();
    let run = Run::new(&steps, &CancellationToken::default());
    painted.pass(&text, &mask, 7, painted.trajectory.states()[7].clone()).run(&run).unwrap();
    assert_eq!(*steps.0.lock().unwrap(), [(0, 3), (1, 3), (2, 3)]);
}
