//! What is measured, and how: parts of a generation alone, products of matrices.

use std::time::{Duration, Instant};

use serde::Serialize;
use sinopia_diffusion::parts::{Part, Parts};
use sinopia_diffusion::{CancellationToken, Error};
use sinopia_nn::{Arithmetic, threads, throughput};
use sinopia_studio::Compute;
use sinopia_studio::models::{LoadedModel, OpenedModel, memory};

use crate::cli::progress::Bars;

/// Quick parts are run for so long, as single runs of them differ.
const LEAST_TIME: Duration = Duration::from_millis(500);
/// But no more often than this.
const MOST_ROUNDS: usize = 100;
/// How long products of one kind are timed.
const PRODUCT_TIME: Duration = Duration::from_millis(400);

/// How to measure: who sees how far it is, who may end it, how often.
pub(super) struct Clock<'a> {
    pub(super) bars: &'a Bars,
    pub(super) cancellation: &'a CancellationToken,
    /// How often a part is run at least.
    pub(super) rounds: usize,
    /// Whether the processor has instructions for products of 8-bit numbers.
    pub(super) has_int8: bool,
}

/// A model's figures.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ModelFigures {
    /// The name that it was asked for by.
    pub(super) name: String,
    /// SHA-256 of its content.
    pub(super) sha256: String,
    /// What it computes in.
    pub(super) precision: &'static str,
    /// Pixels.
    pub(super) width: usize,
    /// Pixels.
    pub(super) height: usize,
    /// From its name to its networks in memory, its files read and hashed; what the Hub took to deliver them counts too.
    pub(super) load_seconds: f64,
    /// Seconds of each part.
    pub(super) parts: Vec<PartTimes>,
    /// The most memory that the program held until all parts had run, where the system tells.
    pub(super) peak_bytes: Option<usize>,
}

/// How long a part takes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PartTimes {
    /// Its name.
    pub(super) part: &'static str,
    /// Each run's seconds, in order; the first run of all is left out.
    pub(super) seconds: Vec<f64>,
    /// Their median.
    pub(super) median: f64,
}

/// How fast products are.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProductRate {
    /// What is multiplied.
    pub(super) arithmetic: &'static str,
    /// On how many threads.
    pub(super) threads: usize,
    /// 10⁹ additions and multiplications a second.
    pub(super) gflops: f64,
}

impl Clock<'_> {
    fn check(&self) -> anyhow::Result<()> {
        if self.cancellation.is_cancelled() { Err(Error::Cancelled.into()) } else { Ok(()) }
    }

    /// Seconds of a part, run as often as its length allows.
    fn time(&self, parts: &Parts<'_>, part: Part) -> anyhow::Result<PartTimes> {
        let run = || parts.run(part, Some(self.cancellation));
        let name = format!("timing {}", part.as_str());
        self.bars.advance(&name, 0, self.rounds as u64 + 1);
        run()?; // pages are there afterwards, and the processor has its pace
        let begun = Instant::now();
        let mut seconds = Vec::new();
        while seconds.len() < self.rounds || begun.elapsed() < LEAST_TIME && seconds.len() < MOST_ROUNDS {
            self.bars.advance(&name, seconds.len().min(self.rounds) as u64 + 1, self.rounds as u64 + 1);
            let start = Instant::now();
            run()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(PartTimes { part: part.as_str(), median: median(&seconds), seconds })
    }
}

/// Loads a model and times its parts, at its own size.
pub(super) fn model(
    open: impl FnOnce() -> anyhow::Result<OpenedModel>,
    compute: Compute,
    clock: &Clock<'_>,
) -> anyhow::Result<ModelFigures> {
    clock.bars.advance("loading", 0, 1);
    let start = Instant::now();
    let opened = open()?;
    let model = LoadedModel::load(&opened, None, None, compute)?;
    let load_seconds = start.elapsed().as_secs_f64();
    clock.bars.advance("loading", 1, 1);
    model.notes.iter().for_each(|note| clock.bars.warn(note));
    let parts = Parts::new(&model.pipeline)?;
    let parts = Part::ALL.into_iter().map(|part| clock.time(&parts, part)).collect::<anyhow::Result<_>>()?;
    let size = model.pipeline.native_size();
    Ok(ModelFigures {
        name: model.id.id,
        sha256: model.id.hash,
        precision: model.precision.as_str(),
        width: size.width,
        height: size.height,
        load_seconds,
        parts,
        peak_bytes: memory::peak_bytes(),
    })
}

/// Times products of matrices in f32, and in whatever else the processor has instructions for: on one thread, then on all.
pub(super) fn products(clock: &Clock<'_>) -> anyhow::Result<Vec<ProductRate>> {
    let mut counts = vec![1, threads::num_threads()];
    counts.dedup();
    let mut kinds = vec![Arithmetic::F32, Arithmetic::fastest()];
    kinds.dedup();
    if clock.has_int8 {
        kinds.push(Arithmetic::Int8);
    }
    let asked: Vec<_> = kinds.iter().flat_map(|kind| counts.iter().map(|count| (*kind, *count))).collect();
    let mut rates = Vec::new();
    for (index, (arithmetic, threads)) in asked.iter().copied().enumerate() {
        clock.check()?;
        clock.bars.advance("timing products", index as u64, asked.len() as u64);
        let gflops = threads::with_own_threads(threads, || throughput::product_gflops(arithmetic, PRODUCT_TIME))??;
        rates.push(ProductRate { arithmetic: arithmetic.as_str(), threads, gflops });
    }
    Ok(rates)
}

/// The middle one, or the mean of the two in the middle; NaN of nothing.
fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => f64::NAN,
        (middle, 0) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        (middle, _) => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 8.0]), 3.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_cancelled_clock_measures_nothing() {
        let (bars, cancellation) = (Bars::new(true), CancellationToken::new());
        cancellation.cancel();
        let clock = Clock { bars: &bars, cancellation: &cancellation, rounds: 1, has_int8: true };
        assert!(products(&clock).unwrap_err().to_string().contains("cancelled"));
    }
}
