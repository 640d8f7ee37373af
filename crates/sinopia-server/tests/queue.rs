//! What becomes of jobs when their paintings go wrong. The engine is scripted: each caption says what shall happen.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod script;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use sinopia_server::Services;
use sinopia_server::engine::Accepted;
use sinopia_server::events::Event;
use sinopia_server::queue::{Queue, QueueOptions, Refused};
use sinopia_server::store::{Claim, Ending, Outcome, Record, Store, UploadRoom};
use sinopia_server::wire::{InitImage, JobRequest, JobState};
use tempfile::TempDir;

use script::{Script, patience};

struct Desk {
    script: Arc<Script>,
    services: Services,
    queue: Queue,
    folder: TempDir,
}

impl Desk {
    fn new(options: QueueOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Arc::new(Script::default());
        let services = Services::new(script.clone(), Arc::new(Store::open(folder.path()).unwrap()));
        let queue = Queue::start(services.clone(), options).unwrap();
        Self { script, services, queue, folder }
    }

    fn submit(&self, caption: &str, memory_bytes: u64) -> String {
        let options = Map::new();
        let request = JobRequest { caption: Some(caption.to_owned()), options, ..JobRequest::default() };
        self.queue.submit(&[Accepted { request, memory_bytes }]).unwrap().remove(0).id
    }

    fn get(&self, id: &str) -> Option<Record> {
        self.services.store.jobs().get(id).unwrap()
    }

    /// Waits until a job is as it should be, looking again whenever something has happened.
    #[track_caller]
    fn wait(&self, id: &str, is_there: impl Fn(&Record) -> bool) -> Record {
        let _patience = patience::until("a job is as it should be");
        let mut events = self.services.hub.subscribe(id);
        loop {
            let record = self.get(id).unwrap();
            if is_there(&record) {
                return record;
            }
            let _ = events.blocking_recv(); // whatever it was, and if some were missed
        }
    }

    /// Waits until the workers do nothing, not even tidy up.
    #[track_caller]
    fn wait_for_silence(&self, id: &str) {
        let _patience = patience::until("nothing is painted");
        let mut events = self.services.hub.subscribe(id);
        while self.queue.num_running() > 0 {
            let _ = events.blocking_recv();
        }
    }

    fn stop(&self) {
        let _patience = patience::until("the workers stop");
        self.queue.stop();
    }

    #[track_caller]
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
    assert_eq!(desk.services.store.artefacts().get(&record.id).unwrap().unwrap(), b"good");
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
fn a_painting_whose_job_was_lost_ends_and_leaves_nothing() {
    // The one finds it out when its picture is there, the other on its way.
    for caption in ["held", "held plan"] {
        let desk = Desk::new(QueueOptions::default());
        let id = desk.submit(caption, 0);
        let running = desk.wait(&id, |record| record.state == JobState::Running);
        let others = Claim::new(running);
        let jobs = desk.services.store.jobs();
        assert!(jobs.finish(others, &Ending::Cancelled, Outcome::default()).unwrap());
        desk.script.let_go();
        desk.wait_for_silence(&id);
        let record = desk.get(&id).unwrap();
        assert_eq!((record.state, record.finishes, record.request.layout), (JobState::Cancelled, 1, None), "{caption}");
        assert_eq!(desk.services.store.artefacts().get(&id).unwrap(), None, "{caption}");
        let counted = desk.services.metrics.text();
        assert!(!counted.contains("state=") && !counted.contains("method="), "{caption}: {counted}");
    }
}

#[test]
fn stopping_puts_a_painting_back_in_its_place() {
    let desk = Desk::new(QueueOptions::default());
    let (first, second) = (desk.submit("hang", 0), desk.submit("good", 0));
    desk.wait(&first, |record| record.state == JobState::Running);
    desk.stop();
    let next = desk.services.store.jobs().claim(&mut |_| Ok(true)).unwrap().unwrap();
    assert_eq!((next.id(), next.record().attempts), (first.as_str(), 1), "it was not begun");
    assert_eq!(desk.get(&second).unwrap().state, JobState::Queued);
    assert_eq!(std::fs::read_dir(desk.folder.path().join("pictures")).unwrap().count(), 0);
}

#[test]
fn jobs_that_do_not_fit_together_wait_for_each_other() {
    let options = QueueOptions { workers: 3, memory_budget: Some(10), ..QueueOptions::default() };
    let desk = Desk::new(options);
    // The last is beyond the budget, and begins alone.
    let heavy = [6, 6, 6, 11].map(|memory| desk.submit("hang", memory));
    for (index, id) in heavy.iter().enumerate() {
        desk.wait(id, |record| record.state == JobState::Running);
        let later = heavy[index + 1..].iter().map(|id| desk.get(id).unwrap().state);
        assert!(later.into_iter().all(|state| state == JobState::Queued));
        desk.queue.cancel(id).unwrap();
        desk.ended(id);
    }
    assert_eq!(desk.script.seen().most_at_once, 1);
    let light = [3, 3, 3].map(|memory| desk.submit("hang", memory));
    light.iter().for_each(|id| drop(desk.wait(id, |record| record.state == JobState::Running)));
    desk.script.wait_until(|seen| seen.most_at_once == 3);
    desk.stop();
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
    assert_eq!(desk.services.store.jobs().count(JobState::Queued).unwrap(), 1);
    desk.queue.cancel(&running).unwrap();
}

#[test]
fn those_who_listen_hear_how_far_it_is() {
    let desk = Desk::new(QueueOptions::default());
    let first = desk.submit("hang", 0);
    desk.wait(&first, |record| record.state == JobState::Running);
    let second = desk.submit("good", 0);
    let mut events = desk.services.hub.subscribe(&second);
    desk.queue.cancel(&first).unwrap();
    desk.ended(&second);
    let mut heard = Vec::new();
    while let Ok(event) = events.try_recv() {
        heard.push(event);
    }
    assert!(heard.contains(&Event::Changed), "{heard:?}");
    let is_progress = |event: &Event| matches!(event, Event::Progress(progress) if progress.stage == "good");
    assert!(heard.iter().any(is_progress), "{heard:?}");
    // The worker takes the job off its list just after it is written down.
    desk.wait_for_silence(&second);
    assert_eq!(desk.queue.progress(&second), None);
}

#[test]
fn only_the_jobs_that_ended_last_are_kept() {
    let desk = Desk::new(QueueOptions { keep: 2, ..QueueOptions::default() });
    let ids = ["one", "fail", "three", "four"].map(|caption| desk.submit(caption, 0));
    desk.ended(&ids[3]);
    // Old jobs go just after the end of the last is written down.
    desk.wait_for_silence(&ids[3]);
    let left = ids.iter().filter(|id| desk.get(id).is_some()).collect::<Vec<_>>();
    assert_eq!(left, [&ids[2], &ids[3]]);
    assert_eq!(std::fs::read_dir(desk.folder.path().join("pictures")).unwrap().count(), 2);
}

#[test]
fn attempts_are_seen_while_a_job_is_painted_and_kept_with_it() {
    let desk = Desk::new(QueueOptions::default());
    let record = desk.ended(&desk.submit("tried", 0));
    let accepted: Vec<_> = record.tried.iter().map(|attempt| (attempt.seed, attempt.accepted)).collect();
    assert_eq!(accepted, [(0, true), (1, true), (2, false)]);
    assert!(record.verdict.is_some(), "whoever painted it looked at it");
    assert_eq!(record.request.seed, Some(1), "that of the attempt that was kept");
    let artefacts = desk.services.store.artefacts();
    assert_eq!(artefacts.get_attempt(&record.id, 2).unwrap().unwrap(), b"attempt 2");
    assert_eq!(artefacts.get(&record.id).unwrap().unwrap(), b"attempt 1");
    let counted = desk.services.metrics.text();
    for line in [
        "sinopia_attempts_total{kind=\"painting\",accepted=\"true\"} 2",
        "sinopia_attempts_total{kind=\"painting\",accepted=\"false\"} 1",
    ] {
        assert!(counted.contains(line), "`{line}` is missing in\n{counted}");
    }
}

#[test]
fn what_was_tried_is_kept_of_a_job_that_is_cancelled() {
    let desk = Desk::new(QueueOptions::default());
    let id = desk.submit("tried and held", 0);
    desk.wait(&id, |record| record.state == JobState::Running && !desk.queue.tried(&record.id).is_empty());
    desk.queue.cancel(&id).unwrap();
    let record = desk.ended(&id);
    assert_eq!((record.state, record.tried.len()), (JobState::Cancelled, 1));
    assert_eq!(desk.services.store.artefacts().get_attempt(&id, 0).unwrap().unwrap(), b"attempt 0");
}

#[test]
fn a_job_is_given_the_pictures_that_it_begins_with() {
    let desk = Desk::new(QueueOptions::default());
    let store = &desk.services.store;
    let [image, mask] = ["image", "mask"]
        .map(|bytes| store.put_upload(bytes.as_bytes(), UploadRoom { count: 10, bytes: 100 }).unwrap().unwrap());
    let submit = |image: &str| {
        let init = InitImage { image: image.to_owned(), strength: None, mask: Some(mask.clone()) };
        let request = JobRequest { caption: Some("begun".to_owned()), init: Some(init), ..JobRequest::default() };
        desk.queue.submit(&[Accepted { request, memory_bytes: 0 }]).unwrap().remove(0).id
    };
    let record = desk.ended(&submit(&image));
    assert_eq!(store.artefacts().get(&record.id).unwrap().unwrap(), b"image|mask");
    let record = desk.ended(&submit("no longer there"));
    assert_eq!(record.state, JobState::Failed);
    assert!(record.error.unwrap().message.contains("not there any more"));
}
