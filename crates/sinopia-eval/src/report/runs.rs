//! The runs of a report: read, put side by side, compared.

use std::path::Path;

use super::cost::Cost;
use crate::benchmark::{Benchmark, Protocol, Verdict};
use crate::record::PictureRecord;
use crate::run::{RunFolder, captions_sha256};
use crate::score::Scores;
use crate::stats::mcnemar_p;
use crate::tally::{Tally, tally};
use crate::{Error, Result, benchmarks};

/// One run, ready to be told.
#[derive(Debug)]
pub struct RunReport {
    /// What it is called: the folder's name.
    pub label: String,
    /// The folder.
    pub run: RunFolder,
    /// What was seen, if a detector has looked.
    pub scores: Option<Scores>,
    /// What its pictures cost, if that was recorded.
    pub cost: Option<Cost>,
}

/// Several runs of one benchmark.
#[derive(Debug)]
pub struct Report {
    /// The benchmark.
    pub benchmark: Box<dyn Benchmark>,
    /// The runs, in the order given.
    pub runs: Vec<RunReport>,
}

/// Two runs on the captions that both have.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Position of the one run.
    pub first: usize,
    /// Position of the other.
    pub second: usize,
    /// Captions that both were judged on.
    pub shared: usize,
    /// Of these, right in the first run only.
    pub only_first: usize,
    /// Right in the second only.
    pub only_second: usize,
    /// McNemar's p.
    pub p: f64,
}

impl Report {
    /// Reads run folders.
    ///
    /// # Errors
    /// [`Error::MixedRuns`] unless all are of the same captions; what [`RunFolder::open`], [`Scores::load`] and [`benchmarks::open`] find wrong.
    pub fn open<P: AsRef<Path>>(folders: &[P]) -> Result<Self> {
        let runs = folders.iter().map(|folder| RunReport::open(folder.as_ref())).collect::<Result<Vec<_>>>()?;
        let Some(first) = runs.first() else {
            return Err(Error::NotARun { folder: Path::new("").to_owned() });
        };
        let hash = |run: &RunReport| run.run.manifest().settings.captions_sha256.clone();
        let benchmark = benchmarks::open(&first.run.manifest().settings.benchmark)?;
        let mixed = |other: String| Error::MixedRuns { first: first.label.clone(), second: other };
        if captions_sha256(benchmark.as_ref()) != hash(first) {
            return Err(mixed(first.run.manifest().settings.benchmark.clone()));
        }
        if let Some(other) = runs.iter().find(|run| hash(run) != hash(first)) {
            return Err(mixed(other.label.clone()));
        }
        Ok(Self { benchmark, runs: with_unique_labels(runs) })
    }

    /// Rates of a run by a protocol; none if no detector has looked.
    pub fn tallies(&self, run: &RunReport, protocol: Protocol) -> Vec<Tally> {
        let verdicts = run.verdicts(protocol);
        verdicts.map(|verdicts| tally(self.benchmark.as_ref(), &verdicts)).unwrap_or_default()
    }

    /// Every pair of scored runs, on the first image of each caption.
    pub fn comparisons(&self, protocol: Protocol) -> Vec<Comparison> {
        let pairs = (0..self.runs.len()).flat_map(|a| (a + 1..self.runs.len()).map(move |b| (a, b)));
        pairs.filter_map(|(first, second)| self.compare(first, second, protocol)).collect()
    }

    fn compare(&self, first: usize, second: usize, protocol: Protocol) -> Option<Comparison> {
        let others = self.runs[second].first_images(protocol)?;
        let images = self.runs[first].first_images(protocol)?;
        let both = images.iter().filter_map(|(index, passed)| Some((*passed, *others.get(index)?)));
        let both: Vec<(bool, bool)> = both.collect();
        let count = |wanted| both.iter().filter(|passed| **passed == wanted).count();
        let (only_first, only_second) = (count((true, false)), count((false, true)));
        let p = mcnemar_p(only_first, only_second);
        Some(Comparison { first, second, shared: both.len(), only_first, only_second, p })
    }
}

impl RunReport {
    fn open(folder: &Path) -> Result<Self> {
        let run = RunFolder::open(folder)?;
        let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let label = name.unwrap_or_else(|| folder.display().to_string());
        let cost = Cost::of(&records(&run)?);
        Ok(Self { label, scores: Scores::load(&run)?, cost, run })
    }

    fn verdicts(&self, protocol: Protocol) -> Option<Vec<(usize, Verdict)>> {
        Some(self.scores.as_ref()?.verdicts(&self.run, protocol))
    }

    /// Whether the first image of each judged caption is right.
    fn first_images(&self, protocol: Protocol) -> Option<std::collections::BTreeMap<usize, bool>> {
        let first = self.scores.as_ref()?.images.iter().filter(|image| image.repeat == 0);
        Some(first.map(|image| (image.index, image.by(protocol).verdict.passed())).collect())
    }
}

/// The records of a run's pictures, as far as there are any.
fn records(run: &RunFolder) -> Result<Vec<PictureRecord>> {
    let (planned, repeats) = (&run.manifest().planned, run.manifest().settings.repeats);
    let images = planned.iter().flat_map(|index| (0..repeats).map(move |repeat| (*index, repeat)));
    images.filter_map(|(index, repeat)| run.record(index, repeat).transpose()).collect()
}

/// Two folders of one name are told apart by their number.
fn with_unique_labels(mut runs: Vec<RunReport>) -> Vec<RunReport> {
    for position in 1..runs.len() {
        let label = runs[position].label.clone();
        if runs[..position].iter().any(|run| run.label == label) {
            runs[position].label = format!("{label} ({})", position + 1);
        }
    }
    runs
}
