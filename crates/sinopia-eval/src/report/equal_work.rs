//! What the work of a run that repairs would have got by attempts alone.

use serde::Serialize;

use super::runs::{Report, RunReport};
use crate::benchmark::Protocol;
use crate::run::RunSettings;
use crate::tally::Tally;

/// What attempts alone would have got for the work that another run took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EqualWork {
    /// Work of a picture in that run, in paintings.
    pub paintings: f64,
    /// Share of right pictures that attempts get for it, 0..=1.
    pub rate: f64,
    /// The runs that say so, one or two.
    pub between: Vec<String>,
}

impl Report {
    /// What attempts alone get for the work of a run that repairs: runs of the same settings that paint once or make attempts are points (work, rate), and the rate
    /// is read from the line through them. Beyond the last point it is that of the last. Nothing for a run that does not repair, or without such points.
    pub fn attempts_of_equal_work(&self, run: &RunReport, protocol: Protocol) -> Option<EqualWork> {
        let settings = &run.run.manifest().settings;
        settings.check.as_ref().filter(|check| check.repair)?;
        let paintings = run.cost.as_ref()?.paintings;
        let is_alike = |other: &&RunReport| {
            let others = &other.run.manifest().settings;
            others.check.as_ref().is_none_or(|check| !check.repair) && without_check(others) == without_check(settings)
        };
        let point = |other: &RunReport| {
            let rate = self.tallies(other, protocol).into_iter().find(|tally| tally.task == Tally::OVERALL)?.rate;
            Some((other.cost.as_ref()?.paintings, rate, other.label.clone()))
        };
        let mut points: Vec<(f64, f64, String)> = self.runs.iter().filter(is_alike).filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (rate, between) = read_line(&points, paintings)?;
        Some(EqualWork { paintings, rate, between })
    }
}

fn without_check(settings: &RunSettings) -> RunSettings {
    RunSettings { check: None, ..settings.clone() }
}

/// The value at `x` of the line through points of ascending x, and the names of those that it lies between; outside of them the nearest point's.
fn read_line(points: &[(f64, f64, String)], x: f64) -> Option<(f64, Vec<String>)> {
    let at = |point: &(f64, f64, String)| (point.1, vec![point.2.clone()]);
    match (points.iter().rfind(|point| point.0 <= x), points.iter().find(|point| point.0 > x)) {
        (Some(below), Some(above)) => {
            let share = (x - below.0) / (above.0 - below.0);
            Some((below.1 + share * (above.1 - below.1), vec![below.2.clone(), above.2.clone()]))
        }
        (Some(nearest), None) | (None, Some(nearest)) => Some(at(nearest)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_between_its_points_and_ends_at_them() {
        let points: Vec<(f64, f64, String)> =
            [(1.0, 0.4, "once"), (2.0, 0.8, "four")].map(|(x, y, name)| (x, y, name.to_owned())).to_vec();
        assert_eq!(read_line(&points, 1.25), Some((0.5, vec!["once".to_owned(), "four".to_owned()])));
        assert_eq!(read_line(&points, 3.0), Some((0.8, vec!["four".to_owned()])));
        assert_eq!(read_line(&points, 0.5), Some((0.4, vec!["once".to_owned()])));
        assert_eq!(read_line(&[], 1.0), None);
    }
}
