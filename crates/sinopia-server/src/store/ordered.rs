//! Jobs and pictures together, written in their order.

use std::sync::Arc;
use std::time::Duration;

use super::artefacts::ArtefactStore;
use super::jobs::{Claim, JobStore, UploadRoom};
use super::record::new_id;
use crate::error::Result;
use crate::wire::JobState;

/// The jobs and the pictures of a server. What concerns both is here, what concerns one of them at [`jobs`](Self::jobs) or [`artefacts`](Self::artefacts).
pub struct Store {
    jobs: Arc<dyn JobStore>,
    artefacts: Arc<dyn ArtefactStore>,
}

impl Store {
    /// A record of jobs and a place for pictures that belong together.
    pub fn new(jobs: Arc<dyn JobStore>, artefacts: Arc<dyn ArtefactStore>) -> Self {
        Self { jobs, artefacts }
    }

    /// The record of jobs.
    pub fn jobs(&self) -> &dyn JobStore {
        self.jobs.as_ref()
    }

    /// The pictures.
    pub fn artefacts(&self) -> &dyn ArtefactStore {
        self.artefacts.as_ref()
    }

    /// Keeps the picture of a job, before the job ends. False if the claim was lost: the picture of whoever has the job now stays as it is.
    ///
    /// # Errors
    /// Those of [`JobStore::holds`] and [`ArtefactStore::put`].
    pub fn put_picture(&self, claim: &Claim, png: &[u8]) -> Result<bool> {
        if !self.jobs.holds(claim)? {
            return Ok(false);
        }
        self.artefacts.put(claim.id(), png)?;
        Ok(true)
    }

    /// Keeps the picture of an attempt of a job that is painted. False if the claim was lost.
    ///
    /// # Errors
    /// As [`put_picture`](Self::put_picture).
    pub fn put_attempt(&self, claim: &Claim, number: usize, png: &[u8]) -> Result<bool> {
        if !self.jobs.holds(claim)? {
            return Ok(false);
        }
        self.artefacts.put_attempt(claim.id(), number, png)?;
        Ok(true)
    }

    /// Keeps a picture that was sent, under a new name; nothing if there is no room for it. The record knows of it first, so that no start takes it for a
    /// stranger's.
    ///
    /// # Errors
    /// Those of [`JobStore::add_upload`] and [`ArtefactStore::put`]; then nothing of it is kept.
    pub fn put_upload(&self, png: &[u8], room: UploadRoom) -> Result<Option<String>> {
        let id = new_id()?;
        self.artefacts.check_room()?;
        if !self.jobs.add_upload(&id, png.len() as u64, room)? {
            return Ok(None);
        }
        if let Err(error) = self.artefacts.put(&id, png) {
            if let Err(error) = self.delete_upload(&id) {
                tracing::debug!(
                    error = error.with_causes(),
                    "what is noted of an upload that did not fit goes in a day"
                );
            }
            return Err(error);
        }
        Ok(Some(id))
    }

    /// Forgets a picture that was sent. False if there is none, or a job that has not ended begins with it.
    ///
    /// # Errors
    /// Those of [`JobStore::delete_upload`].
    pub fn delete_upload(&self, id: &str) -> Result<bool> {
        let is_deleted = self.jobs.delete_upload(id)?;
        if is_deleted {
            self.delete_pictures(&[id.to_owned()]);
        }
        Ok(is_deleted)
    }

    /// Forgets all pictures that were sent at least `age` ago and that no job begins with which has not ended. Returns how many.
    ///
    /// # Errors
    /// Those of [`JobStore::sweep_uploads`].
    pub fn sweep_uploads(&self, age: Duration) -> Result<usize> {
        let count = self.jobs.sweep_uploads(age)?;
        if count > 0 {
            self.finish_deleting()?;
        }
        Ok(count)
    }

    /// The picture that a job may begin with: that of a job that is done, or one that was sent.
    ///
    /// # Errors
    /// Those of [`JobStore::get`], [`JobStore::is_upload`] and [`ArtefactStore::get`].
    pub fn source(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let is_done = self.jobs.get(id)?.is_some_and(|record| record.state == JobState::Done);
        match is_done || self.jobs.is_upload(id)? {
            true => self.artefacts.get(id),
            false => Ok(None),
        }
    }

    /// Forgets a job that is not running, and its picture. False if there is none, it is running, or another that has not ended begins with its picture.
    ///
    /// # Errors
    /// Those of [`JobStore::delete`]; a picture that cannot be deleted now goes at the next start.
    pub fn delete(&self, id: &str) -> Result<bool> {
        let is_deleted = self.jobs.delete(id)?;
        if is_deleted {
            self.delete_pictures(&[id.to_owned()]);
            // If the deletion is only remembered, the picture has just made room to write it.
            if let Err(error) = self.write_remembered() {
                tracing::debug!(error = error.with_causes(), "a deletion is written as soon as there is room");
            }
        }
        Ok(is_deleted)
    }

    /// Forgets all jobs that have ended but the `keep` that ended last, and their pictures. Returns how many.
    ///
    /// # Errors
    /// Those of [`JobStore::prune`]; pictures that cannot be deleted now go at the next start.
    pub fn prune(&self, keep: usize) -> Result<usize> {
        let count = self.jobs.prune(keep)?;
        if count > 0
            && let Err(error) = self.finish_deleting()
        {
            tracing::warn!(error = error.with_causes(), "the pictures of deleted jobs go at the next start");
        }
        Ok(count)
    }

    /// Writes down what could not be written before, and tries whether there is room for more.
    ///
    /// # Errors
    /// Why nothing should be begun.
    pub fn settle(&self) -> Result<()> {
        self.write_remembered()?;
        self.artefacts.check_room()
    }

    fn write_remembered(&self) -> Result<()> {
        if self.jobs.is_behind() {
            self.jobs.settle()?;
            self.finish_deleting()?;
        }
        Ok(())
    }

    /// Deletes the pictures of jobs that were forgotten.
    ///
    /// # Errors
    /// Those of [`JobStore::deleted`].
    pub(super) fn finish_deleting(&self) -> Result<()> {
        self.delete_pictures(&self.jobs.deleted()?);
        Ok(())
    }

    /// Deletes pictures, and then the notes that they are to be deleted. What is left when the process ends in between goes at the next start.
    fn delete_pictures(&self, ids: &[String]) {
        let gone: Vec<String> = ids.iter().filter(|id| self.delete_picture(id)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        if let Err(error) = self.jobs.forget_deleted(&gone) {
            tracing::debug!(error = error.with_causes(), "the note of what was deleted goes at the next start");
        }
    }

    fn delete_picture(&self, id: &str) -> bool {
        let deleted = self.artefacts.delete(id);
        if let Err(error) = &deleted {
            tracing::warn!(
                job = id,
                error = error.with_causes(),
                "cannot delete the picture; it goes at the next start"
            );
        }
        deleted.is_ok()
    }
}
