//! The pictures of jobs, as a trait.

use std::time::Duration;

use crate::error::Result;

/// A place for pictures, by the names of their jobs; those that were sent have names of their own. Beside the picture of a job lie those of its attempts.
///
/// Names come from [`new_id`](super::new_id) or from the record, never from a request. Methods may block for as long as a write takes.
///
/// # Errors
/// Every method that returns a result: [`Error::Store`](crate::Error::Store) if the place cannot be used;
/// [`is_disk_full`](crate::Error::is_disk_full) says whether it is for want of room.
pub trait ArtefactStore: Send + Sync {
    /// Keeps a picture: after this it is there whole, whenever the process ends, or not at all. One of the same name is replaced: a job that is begun again is
    /// painted again.
    fn put(&self, id: &str, png: &[u8]) -> Result<()>;

    /// A picture, unless it is not there.
    fn get(&self, id: &str) -> Result<Option<Vec<u8>>>;

    /// Keeps the picture of an attempt, numbered from 0, likewise. Numbers are below [`Attempt::MAX`](crate::wire::Attempt::MAX).
    fn put_attempt(&self, id: &str, number: usize, png: &[u8]) -> Result<()>;

    /// The picture of an attempt, unless it is not there.
    fn get_attempt(&self, id: &str, number: usize) -> Result<Option<Vec<u8>>>;

    /// Deletes a picture, and those of the attempts. One that is not there is no error.
    fn delete(&self, id: &str) -> Result<()>;

    /// Whether there is room for a painting.
    fn check_room(&self) -> Result<()>;

    /// The same as it was found at most `max_age` ago: asking again and again costs nothing.
    fn had_room(&self, max_age: Duration) -> Result<()>;
}
