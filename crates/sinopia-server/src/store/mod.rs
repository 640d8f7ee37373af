//! Jobs and their pictures, as they are kept: two traits, [`JobStore`] and [`ArtefactStore`], and [`Store`], which writes to both in the right order.
//!
//! [`Store::open`] keeps them on this machine: a row a job in SQLite, the pictures in a folder beside it. Either half can be had without the other
//! ([`SqliteJobs`], [`PictureFolder`]) and paired with one of another kind by [`Store::new`].
//!
//! A store belongs to one process: nothing here is arranged between several.
//!
//! # Order of writing
//!
//! A process may end between any two writes, so what is on disk at that moment must be either old or complete. Every implementation keeps to this:
//!
//! 1. *A picture before its job ends.* Whoever paints calls [`Store::put_picture`] with the claim, which returns once the picture is there whole, and only then
//!    [`JobStore::finish`] with [`Ending::Done`]. A job that is done always has its picture, unless somebody took it away from outside, or the exception of 4.
//! 2. *A job before its picture goes.* [`JobStore::delete`] takes the job away and, in the same write, notes that its picture has to follow
//!    ([`JobStore::deleted`]); then the picture goes, then the note ([`JobStore::forget_deleted`]). What is left in between goes at the next start.
//! 3. *A job ends once.* It ends by one comparison and change of its record: [`JobStore::finish`] needs the claim that the job was given out with, and a claim
//!    that was lost changes neither the job nor its picture. [`Record::finishes`] counts the ends, so that a test can see that there was one.
//! 4. *An end is not lost for want of room.* That a job ended, was cancelled or was deleted is written on a full disk too, into room that is kept back for it. If
//!    even that is gone it is remembered, shown as if it were written, and written by [`JobStore::settle`] as soon as that is possible.
//!    One exception follows to 2: people delete jobs to make room, so the picture of a job whose deletion is only remembered goes at once, and the deletion is
//!    written into the room that it leaves. If the process ends between the two, the job is done and its picture is missing; it can be deleted again.
//! 5. *An upload is known before it is there.* Its note comes first, then its picture; it goes as a job's picture does, once it is a day old and no job begins with
//!    it that has not ended. Nor does the picture of a job go before that.
//! 6. *Nothing that others wrote is deleted.* A picture that no job names is set aside, not deleted.

mod artefacts;
mod jobs;
mod local;
mod ordered;
mod record;

pub use artefacts::ArtefactStore;
pub use jobs::{Claim, JobStore, UploadRoom};
pub use local::{Folder, PictureFolder, RequestOf, SqliteJobs};
pub use ordered::Store;
pub use record::{Ending, MAX_ATTEMPTS, NewJob, Outcome, Record, new_id, now_ms};
