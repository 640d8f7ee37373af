//! What happens to jobs, for those who listen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::wire::Progress;

/// Events that a slow listener may be behind; it misses older ones.
const CAPACITY: usize = 64;

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Its record is another: read it.
    Changed,
    /// It is further.
    Progress(Progress),
    /// The picture so far, as a `data:` address.
    Preview(String),
}

/// Channels of the jobs that somebody listens to.
#[derive(Debug, Default)]
pub struct Hub(Mutex<Channels>);

#[derive(Debug, Default)]
struct Channels {
    of_job: HashMap<String, broadcast::Sender<Event>>,
    is_closed: bool,
}

impl Hub {
    /// Listens to a job. Nothing comes from a hub that was closed.
    pub fn subscribe(&self, id: &str) -> broadcast::Receiver<Event> {
        let mut channels = self.channels();
        if channels.is_closed {
            return broadcast::channel(1).1;
        }
        channels.of_job.entry(id.to_owned()).or_insert_with(|| broadcast::channel(CAPACITY).0).subscribe()
    }

    /// Tells everyone who listens to a job.
    pub fn publish(&self, id: &str, event: Event) {
        let mut channels = self.channels();
        let nobody = channels.of_job.get(id).is_some_and(|channel| channel.send(event).is_err());
        if nobody {
            channels.of_job.remove(id);
        }
    }

    /// Whether somebody listens to a job.
    pub fn has_subscribers(&self, id: &str) -> bool {
        self.channels().of_job.get(id).is_some_and(|channel| channel.receiver_count() > 0)
    }

    /// Tells everyone who listens to anything that places in the queue may have changed. Channels that nobody listens to are closed.
    pub fn publish_changed_to_all(&self) {
        self.channels().of_job.retain(|_, channel| channel.send(Event::Changed).is_ok());
    }

    /// Ends all listening, now and later: the server stops.
    pub fn close(&self) {
        let mut channels = self.channels();
        channels.is_closed = true;
        channels.of_job.clear();
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    #[test]
    fn listeners_hear_of_their_job_until_the_hub_is_closed() {
        let hub = Hub::default();
        let mut events = hub.subscribe("a");
        hub.publish("b", Event::Changed);
        assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
        hub.publish("a", Event::Preview("x".to_owned()));
        assert_eq!(events.try_recv(), Ok(Event::Preview("x".to_owned())));
        hub.close();
        assert_eq!(events.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(hub.subscribe("a").try_recv(), Err(TryRecvError::Closed));
    }

    #[test]
    fn channels_without_listeners_go() {
        let hub = Hub::default();
        drop(hub.subscribe("a"));
        drop(hub.subscribe("b"));
        hub.publish("a", Event::Changed);
        hub.publish_changed_to_all();
        assert!(hub.channels().of_job.is_empty() && !hub.has_subscribers("a"));
    }
}
