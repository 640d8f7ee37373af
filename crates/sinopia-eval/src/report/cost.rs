//! What the pictures of a run cost.

use serde::Serialize;

use crate::record::PictureRecord;

/// What the pictures of a run cost in the mean.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Pictures that have a record.
    pub pictures: usize,
    /// Work of a picture, in paintings: multiply-accumulates of the denoiser, those of its first painting being 1.
    pub paintings: f64,
    /// Seconds of a picture.
    pub seconds: f64,
    /// Paintings from seeds of their own.
    pub attempts: f64,
    /// Edits tried on a picture.
    pub edits_tried: f64,
    /// Edits of these that were kept.
    pub edits_kept: f64,
    /// Share of the pictures that whoever chose them takes to be right; nothing where nobody chose.
    pub chosen_as_right: Option<f64>,
}

impl Cost {
    pub(super) fn of(records: &[PictureRecord]) -> Option<Self> {
        let mean =
            |value: &dyn Fn(&PictureRecord) -> f64| records.iter().map(value).sum::<f64>() / records.len() as f64;
        let chosen = records.iter().all(|record| record.chosen_as_right.is_some());
        let is_right = |record: &PictureRecord| f64::from(u8::from(record.chosen_as_right == Some(true)));
        (!records.is_empty()).then(|| Self {
            pictures: records.len(),
            paintings: mean(&|record| record.paintings().unwrap_or(0.0)),
            seconds: mean(&|record| record.seconds),
            attempts: mean(&|record| f64::from(record.attempts)),
            edits_tried: mean(&|record| f64::from(record.edits_tried)),
            edits_kept: mean(&|record| f64::from(record.edits_kept)),
            chosen_as_right: chosen.then(|| mean(&is_right)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(work: u64, attempts: u32, chosen_as_right: Option<bool>) -> PictureRecord {
        PictureRecord { seconds: 2.0, work, first_painting: 10, attempts, chosen_as_right, ..PictureRecord::default() }
    }

    #[test]
    fn costs_are_means_in_paintings() {
        assert_eq!(Cost::of(&[]), None);
        let cost = Cost::of(&[record(10, 1, Some(true)), record(40, 4, Some(false))]).unwrap();
        assert_eq!((cost.paintings, cost.attempts, cost.chosen_as_right), (2.5, 2.5, Some(0.5)));
        assert_eq!(Cost::of(&[record(10, 1, None), record(10, 1, Some(true))]).unwrap().chosen_as_right, None);
    }
}
