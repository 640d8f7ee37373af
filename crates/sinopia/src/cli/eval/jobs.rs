//! How many pictures are painted at once, and their painting.

use std::sync::Mutex;

use sinopia_diffusion::Cancellation;
use sinopia_models::unet::TRACE_BYTES;
use sinopia_nn::threads;

use crate::cli::progress::Bars;

/// Numbers that a picture under way holds at its peak, for each of its pixels and channels of the autoencoder's finest layer. Measured with Stable
/// Diffusion 1.5's networks at 512 × 512 pixels: a second picture takes 1.35 GB (10) when it is decoded. A method that
/// guides keeps traces besides, up to [`TRACE_BYTES`].
const NUMBERS_PER_PIXEL_AND_CHANNEL: usize = 14;

/// How many pictures to paint at once: `wanted`, or as many as threads where a picture is too small for several; no more than there are captions, or memory
/// holds (where `/proc` tells how much there is); `picture` is the bytes that one takes.
pub(super) fn count(
    wanted: Option<u32>,
    budget_gb: Option<f64>,
    num_threads: usize,
    captions: usize,
    is_small: bool,
    picture: usize,
    bars: &Bars,
) -> anyhow::Result<usize> {
    let by_default = if is_small { num_threads } else { 1 };
    let jobs = wanted.map_or(by_default, |jobs| jobs as usize).min(captions).max(1);
    let within = |gigabytes: f64| ((gigabytes * 1e9) as usize).saturating_sub(resident_memory());
    let Some(room) = budget_gb.map(within).or_else(available_memory) else { return Ok(jobs) };
    let fitting = (room / picture.max(1)).max(1);
    if fitting < jobs {
        bars.warn(&format!(
            "{fitting} at once instead of {jobs}: a picture of this size takes about {:.1} GB, and {:.1} GB are left beside the weights",
            picture as f64 / 1e9,
            room as f64 / 1e9,
        ));
    }
    Ok(jobs.min(fitting))
}

/// Bytes that a picture of (width, height) pixels holds at its peak, beside the weights; `channels` are those of the autoencoder's finest layer.
/// A method that `guides` keeps traces besides.
pub(in crate::cli) fn picture_bytes((width, height): (usize, usize), channels: usize, guides: bool) -> usize {
    let forward = width * height * channels * NUMBERS_PER_PIXEL_AND_CHANNEL * size_of::<f32>();
    forward + if guides { TRACE_BYTES.min(forward) } else { 0 }
}

/// Calls `paint` from `jobs` threads, each with its part of the worker threads. The first failure stops them all and is what is returned.
pub(super) fn run<E>(
    jobs: usize,
    num_threads: usize,
    cancellation: &Cancellation,
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

/// Bytes that the system could give to programs now, where it tells.
pub(in crate::cli) fn available_memory() -> Option<usize> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

/// Bytes that this process holds, 0 where nobody tells.
fn resident_memory() -> usize {
    kilobytes("/proc/self/status", "VmRSS:").unwrap_or(0)
}

fn kilobytes(file: &str, label: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(label))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok()?.checked_mul(1024)
}
