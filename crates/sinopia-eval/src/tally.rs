//! Counting verdicts: a rate for each task and over all, with its interval.

use serde::{Deserialize, Serialize};

use crate::benchmark::{Benchmark, Verdict, tasks};
use crate::stats::wilson_interval;

/// How a task went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// The task, or `overall`.
    pub task: String,
    /// Images that got the whole point.
    pub passed: usize,
    /// Images counted.
    pub total: usize,
    /// Sum of the points, in benchmarks that give parts of them.
    pub points: f64,
    /// The mean of the points, 0..=1.
    pub rate: f64,
    /// 95 % interval of the rate (Wilson's).
    pub interval: (f64, f64),
}

impl Tally {
    /// The name of the tally over all tasks.
    pub const OVERALL: &'static str = "overall";

    fn of<'a>(task: &str, verdicts: impl Iterator<Item = &'a Verdict>) -> Self {
        let (mut passed, mut total, mut points) = (0, 0, 0.0);
        for verdict in verdicts {
            passed += usize::from(verdict.passed());
            total += 1;
            points += verdict.score;
        }
        let rate = if total > 0 { points / total as f64 } else { 0.0 };
        let interval = wilson_interval(points.round() as usize, total);
        Self { task: task.to_owned(), passed, total, points, rate, interval }
    }
}

/// A tally for each task that has verdicts, in the benchmark's order, then over all.
pub fn tally(benchmark: &dyn Benchmark, verdicts: &[(usize, Verdict)]) -> Vec<Tally> {
    let task_of = |index: usize| benchmark.samples()[index].task.as_str();
    let of_task = |task: &str| {
        let verdicts = verdicts.iter().filter(|(index, _)| task_of(*index) == task);
        Tally::of(task, verdicts.map(|(_, verdict)| verdict))
    };
    let mut tallies: Vec<Tally> = tasks(benchmark).into_iter().map(of_task).filter(|tally| tally.total > 0).collect();
    tallies.push(Tally::of(Tally::OVERALL, verdicts.iter().map(|(_, verdict)| verdict)));
    tallies
}
