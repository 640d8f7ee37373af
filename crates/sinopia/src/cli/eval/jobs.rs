//! How many pictures are painted at once, and their painting into a run folder.

use std::sync::Mutex;
use std::time::Duration;

use sinopia_diffusion::{CancellationToken, Run};
use sinopia_eval::run::{PaintError, Progress};
use sinopia_eval::{Painted, RunFolder, Sample};
use sinopia_nn::threads;
use sinopia_studio::ResolvedSpec;
use sinopia_studio::models::LoadedModel;
use sinopia_studio::models::memory::{self, PictureMemory};

use super::args::JobsArgs;
use crate::cli::progress::Bars;

/// A model in memory, and the machine that pictures painted at once share.
pub(super) struct Workshop<'a> {
    pub(super) model: &'a LoadedModel,
    /// What a picture is, as far as all have it in common.
    pub(super) resolved: &'a ResolvedSpec,
    pub(super) wanted: JobsArgs,
    /// Worker threads, if somebody said.
    pub(super) threads: Option<u32>,
    pub(super) bars: &'a Bars,
    pub(super) cancellation: &'a CancellationToken,
}

impl Workshop<'_> {
    /// A run of one picture.
    pub(super) fn run(&self) -> Run<'_> {
        Run::new(self.bars, self.cancellation)
    }

    /// Paints what is missing of `samples` into a run folder, several at once where that is wanted or worth while; `painter` is asked for one painter for each of them.
    pub(super) fn paint_all<P>(
        &self,
        folder: &RunFolder,
        samples: &[&Sample],
        painter: impl Fn() -> P + Sync,
    ) -> anyhow::Result<()>
    where
        P: FnMut(&Sample, usize) -> Result<Painted, PaintError>,
    {
        let threads = self.threads.map_or_else(threads::num_threads, |threads| threads as usize);
        let sampling = self.resolved.sampling(self.model);
        let picture = PictureMemory {
            width: sampling.width,
            height: sampling.height,
            finest_channels: self.model.finest_channels(),
            is_guided: self.resolved.method_info().needs_layout,
        };
        let jobs = self.wanted.count(threads, samples.len(), self.model.is_small, picture, self.bars);
        self.bars.line(&format!("{} captions into {}, {jobs} at once", samples.len(), folder.path().display()));
        run(jobs, threads, self.cancellation, || {
            folder.paint(samples, &mut painter(), &mut |progress| {
                self.bars.finish();
                self.bars.line(&progress_line(progress, jobs));
            })
        })?;
        self.bars.finish();
        Ok(())
    }
}

fn progress_line(progress: &Progress, jobs: usize) -> String {
    let Progress { done, total, index, repeat, caption, took, left } = progress;
    let left = *left / jobs.min(total - done).max(1) as u32;
    let repeat = if *repeat > 0 { format!(" ({})", repeat + 1) } else { String::new() };
    format!("{done}/{total}, {} left: {index}{repeat} {caption}, {:.1} s", in_words(left), took.as_secs_f64())
}

/// `3 h 05 min`, `12 min`, `40 s`.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        3600.. => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        60.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

impl JobsArgs {
    /// How many pictures to paint at once: those wanted, or as many as threads where a picture is too small for several; no more than there are captions, or memory
    /// holds (where the system tells how much there is).
    fn count(self, num_threads: usize, captions: usize, is_small: bool, picture: PictureMemory, bars: &Bars) -> usize {
        let by_default = if is_small { num_threads } else { 1 };
        let jobs = self.jobs.map_or(by_default, |jobs| jobs as usize).min(captions).max(1);
        let within = |gigabytes: f64| ((gigabytes * 1e9) as usize).saturating_sub(memory::resident_bytes());
        let Some(room) = self.memory_budget.map(within).or_else(memory::available_bytes) else { return jobs };
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
fn run<E>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_words() {
        for (seconds, expected) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3900, "1 h 05 min")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), expected);
        }
    }
}
