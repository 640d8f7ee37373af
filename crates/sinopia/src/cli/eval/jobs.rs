//! How many pictures are painted at once, and their painting.

use std::sync::Mutex;

use sinopia_diffusion::CancellationToken;
use sinopia_nn::threads;
use sinopia_studio::models::memory::{self, PictureMemory};

use crate::cli::progress::Bars;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Pictures at once.
    pub(super) jobs: Option<u32>,
    /// Gigabytes for weights and pictures.
    pub(super) budget_gb: Option<f64>,
}

impl Wanted {
    /// How many pictures to paint at once: those wanted, or as many as threads where a picture is too small for several; no more than there are captions, or memory
    /// holds (where the system tells how much there is).
    pub(super) fn count(
        self,
        num_threads: usize,
        captions: usize,
        is_small: bool,
        picture: PictureMemory,
        bars: &Bars,
    ) -> usize {
        let by_default = if is_small { num_threads } else { 1 };
        let jobs = self.jobs.map_or(by_default, |jobs| jobs as usize).min(captions).max(1);
        let within = |gigabytes: f64| ((gigabytes * 1e9) as usize).saturating_sub(memory::resident_bytes());
        let Some(room) = self.budget_gb.map(within).or_else(memory::available_bytes) else { return jobs };
        let fitting = (room / picture.bytes().max(1)).max(1);
        if fitting < jobs {
            bars.warn(&format!(
                "{fitting} at once instead of {jobs}: a picture of this size takes about {:.1} GB, and {:.1} GB are left beside the weights",
                picture.bytes() as f64 / 1e9,
                room as f64 / 1e9,
            ));
        }
        jobs.min(fitting)
    }
}

/// Calls `paint` from `jobs` threads, each with its part of the worker threads. The first failure stops them all and is what is returned.
pub(super) fn run<E>(
    jobs: usize,
    num_threads: usize,
    cancellation: &CancellationToken,
    paint: impl Fn() -> Result<(), E> + Sync,
) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    if jobs == 1 {
        return Ok(paint()?);
    }
    let first_failure = Mutex::new(None);
    let job = |index: usize| {
        let share = num_threads / jobs + usize::from(index < num_threads % jobs);
        let failure = match threads::with_own_threads(share, &paint) {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => anyhow::Error::from(failure),
            Err(failure) => anyhow::Error::from(failure),
        };
        // The others end because of this one: what they say of it is no news.
        cancellation.cancel();
        first_failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(failure);
    };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs).map(|index| scope.spawn(move || job(index))).collect();
        jobs.into_iter().try_for_each(|job| job.join().map_err(|_| anyhow::anyhow!("a painting thread ended badly")))
    })?;
    match first_failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}
