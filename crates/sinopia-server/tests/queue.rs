//! What becomes of jobs when their paintings go wrong. The engine is scripted: each caption says what shall happen.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod script;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Map;
use sinopia_server::engine::Accepted;
use sinopia_server::events::{Event, Hub};
use sinopia_server::metrics::Metrics;
use sinopia_server::queue::{Queue, QueueOptions, Refused};
use sinopia_server::store::{Record, Store};
use sinopia_server::wire::{JobRequest, JobState};
use tempfile::TempDir;

use script::{PATIENCE, Script};

struct Desk {
    script: Arc<Script>,
    store: Arc<Store>,
    hub: Arc<Hub>,
    queue: Queue,
    folder: TempDir,
}

impl Desk {
    fn new(options: QueueOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (script, store, hub) =
            (Arc::new(Script::default()), Arc::new(Store::open(folder.path()).unwrap()), Arc::new(Hub::default()));
        let queue =
            Queue::start(script.clone(), store.clone(), (hub.clone(), Arc::new(Metrics::new())), options).unwrap();
        Self { script, store, hub, queue, folder }
    }

    fn submit(&self, caption: &str, memory_bytes: u64) -> String {
        let options = Map::new();
        let request = JobRequest { caption: Some(caption.to_owned()), options, ..JobRequest::default() };
        self.queue.submit(&[Accepted { request, memory_bytes }]).unwrap().remove(0)
    }

    fn wait(&self, id: &str, is_there: impl Fn(&Record) -> bool) -> Record {
        let start = Instant::now();
        loop {
            let record = self.store.get(id).unwrap().unwrap();
            if is_there(&record) {
                return record;
            }
            assert!(start.elapsed() < PATIENCE, "{record:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ended(&self, id: &str) -> Record {
        self.wait(id, |record| record.state.is_final())
    }
}

#[test]
fn one_bad_job_takes_nobody_with_it() {
    let desk = Desk::new(QueueOptions::default());
    let [panicking, failing, good] = ["panic", "fail", "good"].map(|caption| desk.submit(caption, 0));
    let record = desk.ended(&panicking);
    assert_eq!(record.state, JobState::Failed);
    assert!(record.error.unwrap().message.contains("the script says so"));
    let error = desk.ended(&failing).error.unwrap();
    assert_eq!((error.message.as_str(), error.hint.as_deref()), ("it went wrong", Some("do better")));
    let record = desk.ended(&good);
    assert_eq!((record.state, record.finishes, record.request.guidance_scale), (JobState::Done, 1, Some(2.0)));
    assert_eq!(record.warnings, ["a word of warning"]);
    assert_eq!(desk.store.picture(&record).unwrap().unwrap(), b"good");
}

#[test]
fn a_painting_that_takes_too_long_is_ended_and_said_so() {
    let desk = Desk::new(QueueOptions { job_timeout: Duration::from_millis(50), ..QueueOptions::default() });
    let record = desk.ended(&desk.submit("hang", 0));
    assert_eq!(record.state, JobState::Failed);
    assert!(record.error.unwrap().message.contains("took longer"));
}

#[test]
fn cancelling_ends_a_painting_and_a_wait() {
    let desk = Desk::new(QueueOptions::default());
    let (painted, waiting) = (desk.submit("hang", 0), desk.submit("good", 0));
    desk.wait(&painted, |record| record.state == JobState::Running);
    desk.queue.cancel(&waiting).unwrap();
    desk.queue.cancel(&painted).unwrap();
    assert_eq!(desk.ended(&painted).state, JobState::Cancelled);
    assert_eq!(desk.ended(&waiting).state, JobState::Cancelled);
    desk.queue.cancel(&painted).unwrap();
    assert_eq!(desk.ended(&painted).finishes, 1);
}

#[test]
fn stopping_puts_a_painting_back_in_its_place() {
    let desk = Desk::new(QueueOptions::default());
    let (first, second) = (desk.submit("hang", 0), desk.submit("good", 0));
    desk.wait(&first, |record| record.state == JobState::Running);
    desk.queue.stop();
    let next = desk.store.next().unwrap().unwrap();
    assert_eq!((next.id, next.attempts), (first, 0));
    assert_eq!(desk.store.get(&second).unwrap().unwrap().state, JobState::Queued);
    assert_eq!(std::fs::read_dir(desk.folder.path().join("pictures")).unwrap().count(), 0);
}

#[test]
fn jobs_that_do_not_fit_together_wait_for_each_other() {
    let options = QueueOptions { workers: 3, memory_budget: Some(10), ..QueueOptions::default() };
    let desk = Desk::new(options);
    // The last is beyond the budget, and begins alone.
    let ids = [6, 6, 6, 11].map(|memory| desk.submit("pause", memory));
    ids.iter().for_each(|id| assert_eq!(desk.ended(id).state, JobState::Done));
    assert_eq!(desk.script.most_at_once.load(Ordering::SeqCst), 1);
    let light = [3, 3, 3].map(|memory| desk.submit("hang", memory));
    light.iter().for_each(|id| drop(desk.wait(id, |record| record.state == JobState::Running)));
    assert_eq!(desk.queue.num_running(), 3);
    desk.queue.stop();
}

#[test]
fn a_full_queue_takes_none_of_several() {
    let desk = Desk::new(QueueOptions { max_queued: 2, ..QueueOptions::default() });
    let running = desk.submit("hang", 0);
    desk.wait(&running, |record| record.state == JobState::Running);
    desk.submit("good", 0);
    let job = Accepted { request: JobRequest::default(), memory_bytes: 0 };
    let refused = desk.queue.submit(&[job.clone(), job]).unwrap_err();
    assert!(matches!(refused, Refused::Full { retry_after_secs: 1.. }), "{refused:?}");
    assert_eq!(desk.store.count(JobState::Queued).unwrap(), 1);
    desk.queue.cancel(&running).unwrap();
}

#[test]
fn those_who_listen_hear_how_far_it_is() {
    let desk = Desk::new(QueueOptions::default());
    let first = desk.submit("hang", 0);
    desk.wait(&first, |record| record.state == JobState::Running);
    let second = desk.submit("good", 0);
    let mut ears = desk.hub.listen(&second);
    desk.queue.cancel(&first).unwrap();
    desk.ended(&second);
    let mut heard = Vec::new();
    while let Ok(event) = ears.try_recv() {
        heard.push(event);
    }
    assert!(heard.contains(&Event::Changed), "{heard:?}");
    let told = |event: &Event| matches!(event, Event::Progress(progress) if progress.stage == "good");
    assert!(heard.iter().any(told), "{heard:?}");
    // The worker takes the job off its list just after it is written down.
    let start = Instant::now();
    while desk.queue.progress(&second).is_some() {
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn only_the_jobs_that_ended_last_are_kept() {
    let desk = Desk::new(QueueOptions { keep: 2, ..QueueOptions::default() });
    let ids = ["one", "fail", "three", "four"].map(|caption| desk.submit(caption, 0));
    desk.ended(&ids[3]);
    // Old jobs go just after the end of the last is written down.
    let start = Instant::now();
    while desk.store.get(&ids[1]).unwrap().is_some() {
        assert!(start.elapsed() < PATIENCE);
    }
    let left = ids.iter().filter(|id| desk.store.get(id).unwrap().is_some()).collect::<Vec<_>>();
    assert_eq!(left, [&ids[2], &ids[3]]);
    assert_eq!(std::fs::read_dir(desk.folder.path().join("pictures")).unwrap().count(), 2);
}
