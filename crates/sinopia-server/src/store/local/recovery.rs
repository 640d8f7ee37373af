//! Jobs from pictures, where the record that named them is lost.

use super::folder::{Folder, LostPicture};
use super::sqlite::SqliteJobs;
use crate::error::Result;
use crate::wire::JobRequest;

/// Reads the request back from the bytes of a PNG, if it is one of ours.
pub type RequestOf<'a> = dyn Fn(&[u8]) -> Option<JobRequest> + 'a;

/// How a record that is lost is made again.
pub(super) struct Recovery<'a> {
    /// Reads requests back from pictures.
    pub(super) request_of: &'a RequestOf<'a>,
    /// Jobs that have ended and are kept: no more pictures become jobs than that leaves alone.
    pub(super) keep: usize,
}

/// Makes jobs of pictures that no job names: the newest, and no more than `keep` leaves alone. They come before all jobs that are known, in the order in which
/// they were written, so that no picture is deleted because another was found.
pub(super) fn adopt_lost_pictures(jobs: &SqliteJobs, folder: &Folder, recovery: &Recovery<'_>) -> Result<()> {
    let room = recovery.keep.saturating_sub(jobs.count_ended()?);
    let (mut adopted, mut left) = (0, 0);
    for found in folder.lost_pictures(|id| jobs.is_known(id))? {
        if adopted == room {
            left += 1;
            continue;
        }
        let Some(request) = request_in(folder, &found, recovery.request_of) else { continue };
        if !folder.take_back(&found)? {
            continue;
        }
        let written_ms = i64::try_from(found.modified.as_millis()).unwrap_or(i64::MAX);
        jobs.adopt(&found.id, &request, written_ms)?;
        adopted += 1;
    }
    tracing::info!(pictures = adopted, "jobs were made of the pictures that no job named");
    if left > 0 {
        tracing::warn!(
            pictures = left,
            keep = recovery.keep,
            "left pictures that no job names where they are: there would be more jobs than `--keep` allows, and the oldest would be deleted"
        );
    }
    Ok(())
}

/// How a picture that no job names was made, if it says so.
fn request_in(folder: &Folder, found: &LostPicture, request_of: &RequestOf<'_>) -> Option<JobRequest> {
    let request = match folder.read_lost(found) {
        Ok(png) => request_of(&png),
        Err(error) => {
            tracing::warn!(picture = found.id, %error, "left alone a picture that cannot be read");
            return None;
        }
    };
    if request.is_none() {
        tracing::warn!(picture = found.id, "left alone a picture that does not say how it was made");
    }
    request
}
