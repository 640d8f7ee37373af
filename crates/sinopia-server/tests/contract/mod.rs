//! What every record of jobs and every place for pictures keeps to, whatever they are made of: the promises of [`JobStore`], [`ArtefactStore`] and their order.

use std::time::Duration;

use sinopia_server::Result;
use sinopia_server::store::{ArtefactStore, Claim, Ending, JobStore, NewJob, Outcome, Record, Store, UploadRoom};
use sinopia_server::wire::{
    Attempt, Decision, InitImage, JobError, JobRequest, JobSelection, JobState, ObjectState, ObjectVerdict,
    PictureEdit, Subject, Verdict,
};

/// A promise, tried on a store in which nothing is yet.
type Promise = fn(&Store);

/// Tries every promise on a store of its own, which `with_new` makes.
pub(crate) fn keeps(with_new: impl Fn(&dyn Fn(&Store))) {
    let promises: [Promise; 20] = [
        |store| jobs_come_in_the_order_they_were_asked_for(store.jobs()),
        |store| a_job_that_may_not_begin_stays_where_it_is(store.jobs()),
        |store| the_queue_is_bounded_and_takes_all_or_nothing(store.jobs()),
        |store| what_is_submitted_again_is_not_queued_again(store.jobs()),
        |store| a_job_ends_once_and_says_how(store.jobs()),
        |store| a_job_that_is_put_back_was_not_begun(store.jobs()),
        a_lost_claim_changes_nothing,
        |store| only_what_waits_is_cancelled_as_waiting(store.jobs()),
        |store| captions_are_searched_as_they_are_written(store.jobs()),
        |store| lists_go_from_new_to_old_and_in_pages(store.jobs()),
        |store| what_is_deleted_is_noted_until_its_picture_is_gone(store.jobs()),
        |store| pictures_are_there_whole_replaced_and_gone(store.artefacts()),
        a_job_that_runs_is_not_deleted_and_one_that_ended_goes_with_its_picture,
        the_jobs_that_ended_last_are_kept_and_what_has_not_ended_too,
        attempts_are_kept_with_their_job_and_go_with_it,
        |store| the_last_decision_about_a_finding_is_kept(store.jobs()),
        uploads_are_kept_as_long_as_a_job_begins_with_them,
        uploads_are_bounded_by_their_bytes,
        a_job_that_another_begins_with_stays_until_that_has_ended,
        a_job_begins_with_what_is_done_or_was_sent,
    ];
    for promise in promises {
        with_new(&promise);
    }
}

/// Tries what holds over a restart, on a store in which nothing is yet and which `open` opens again and again.
pub(crate) fn keeps_over_a_restart(open: impl Fn() -> Store) {
    let store = open();
    put(store.jobs(), &["a", "b"]);
    let lost = begin(store.jobs());
    assert!(store.put_picture(&lost, b"first").unwrap());
    drop(store);
    // Given out again, to another: whoever had it before has lost it.
    let store = open();
    try_in_vain(&store, || copy(&lost));
    let claim = begin(store.jobs());
    assert_eq!((claim.id(), claim.record().attempts), ("a", 2));
    try_in_vain(&store, || copy(&lost));
    assert!(store.put_picture(&claim, b"second").unwrap());
    try_in_vain(&store, || copy(&lost));
    assert!(finish(store.jobs(), claim, &Ending::Done));
    try_in_vain(&store, || copy(&lost));
    assert_eq!(get(store.jobs(), "a").finishes, 1);
    assert_eq!(store.artefacts().get("a").unwrap().as_deref(), Some(b"second".as_slice()));
}

fn job(id: &str, caption: &str) -> NewJob {
    let request = JobRequest { caption: Some(caption.to_owned()), ..JobRequest::default() };
    NewJob { id: id.to_owned(), request, memory_bytes: 7 }
}

fn attempt(seed: u64, accepted: bool) -> Attempt {
    Attempt {
        seed,
        seed_text: String::new(),
        verdict: None,
        operations: Vec::new(),
        accepted,
        summary: String::new(),
        work: 1.0,
        image: None,
    }
}

fn put(jobs: &dyn JobStore, ids: &[&str]) {
    let new: Vec<NewJob> = ids.iter().map(|id| job(id, id)).collect();
    assert!(jobs.enqueue(&new, 100).unwrap());
}

fn begin(jobs: &dyn JobStore) -> Claim {
    jobs.claim(&mut |_| Ok(true)).unwrap().expect("a job waits")
}

fn finish(jobs: &dyn JobStore, claim: Claim, ending: &Ending) -> bool {
    jobs.finish(claim, ending, Outcome::default()).unwrap()
}

fn get(jobs: &dyn JobStore, id: &str) -> Record {
    jobs.get(id).unwrap().expect("the job is known")
}

fn ids(jobs: &dyn JobStore, selection: &JobSelection) -> Vec<String> {
    jobs.list(selection, None, 100).unwrap().into_iter().map(|record| record.id).collect()
}

/// The same claim in other hands, as those of a worker that was taken for dead have it.
fn copy(claim: &Claim) -> Claim {
    Claim::new(claim.record().clone())
}

fn jobs_come_in_the_order_they_were_asked_for(jobs: &dyn JobStore) {
    put(jobs, &["b", "a"]);
    put(jobs, &["c"]);
    assert_eq!(jobs.queued_before(get(jobs, "c").seq).unwrap(), 2);
    let claims = [begin(jobs), begin(jobs), begin(jobs)];
    assert_eq!(claims.each_ref().map(Claim::id), ["b", "a", "c"]);
    let first = claims[0].record();
    assert_eq!((first.state, first.attempts, first.memory_bytes), (JobState::Running, 1, 7));
    assert!(first.started_ms.is_some() && *first == get(jobs, "b"));
    assert!(jobs.claim(&mut |_| Ok(true)).unwrap().is_none(), "a claim is exclusive");
    assert_eq!((jobs.count(JobState::Running).unwrap(), jobs.count(JobState::Queued).unwrap()), (3, 0));
}

fn a_job_that_may_not_begin_stays_where_it_is(jobs: &dyn JobStore) {
    put(jobs, &["a", "b"]);
    let mut asked = Vec::new();
    let mut no = |record: &Record| -> Result<bool> {
        asked.push(record.id.clone());
        Ok(false)
    };
    assert!(jobs.claim(&mut no).unwrap().is_none());
    assert_eq!(asked, ["a"], "those behind it wait for it");
    let failing = jobs.claim(&mut |_| Err(sinopia_server::Error::store_full("the pictures", "no room")));
    assert!(failing.unwrap_err().is_disk_full());
    assert_eq!((get(jobs, "a").state, get(jobs, "a").attempts), (JobState::Queued, 0));
    assert_eq!(begin(jobs).id(), "a");
}

fn the_queue_is_bounded_and_takes_all_or_nothing(jobs: &dyn JobStore) {
    let three = ["a", "b", "c"].map(|id| job(id, id));
    assert!(!jobs.enqueue(&three, 2).unwrap());
    assert_eq!(jobs.count(JobState::Queued).unwrap(), 0);
    assert!(jobs.enqueue(&three, 3).unwrap());
    assert!(!jobs.enqueue(&[job("d", "d")], 3).unwrap());
    begin(jobs);
    assert!(jobs.enqueue(&[job("d", "d")], 3).unwrap(), "what is painted does not wait any more");
}

fn what_is_submitted_again_is_not_queued_again(jobs: &dyn JobStore) {
    let (a, b) = (job("a", "first"), job("b", "b"));
    assert!(jobs.enqueue(&[a.clone(), b.clone()], 2).unwrap());
    assert!(jobs.enqueue(&[job("a", "second"), b], 2).unwrap(), "there is no room, and none is needed");
    assert_eq!((jobs.count(JobState::Queued).unwrap(), get(jobs, "a").request), (2, a.request.clone()));
    let claim = begin(jobs);
    assert!(finish(jobs, claim, &Ending::Cancelled));
    assert!(jobs.enqueue(&[a], 2).unwrap());
    assert_eq!(get(jobs, "a").state, JobState::Cancelled, "what has ended stays so");
}

fn a_job_ends_once_and_says_how(jobs: &dyn JobStore) {
    put(jobs, &["done", "failed"]);
    let claim = begin(jobs);
    let (again, mut request) = (copy(&claim), claim.record().request.clone());
    request.steps = Some(7);
    assert!(jobs.update_request(&claim, &request).unwrap());
    assert_eq!(get(jobs, "done").request, request);
    request.steps = Some(8);
    let outcome = Outcome {
        request: Some(request.clone()),
        tried: vec![attempt(3, true)],
        warnings: vec!["w".to_owned()],
        took: Some(Duration::from_secs(3)),
        ..Outcome::default()
    };
    assert_eq!(jobs.mean_seconds().unwrap(), None);
    assert!(jobs.finish(claim, &Ending::Done, outcome).unwrap());
    assert!(!finish(jobs, again, &Ending::Cancelled));
    let record = get(jobs, "done");
    assert_eq!((record.state, record.finishes, record.request), (JobState::Done, 1, request));
    assert!(record.finished_ms.is_some() && record.warnings == ["w"] && record.tried == [attempt(3, true)]);
    assert_eq!(jobs.mean_seconds().unwrap(), Some(3.0), "by a clock that nobody sets");
    let object = ObjectVerdict {
        phrase: "a cat".to_owned(),
        r#box: [1.0, 2.0, 3.0, 4.0],
        found: false,
        state: ObjectState::WrongAttribute,
        score: 0.5,
        detected_box: None,
        iou: 0.25,
        seen_as: Some("a dog".to_owned()),
    };
    let verdict = Verdict { objects: vec![object], summary: "0 of 1 right".to_owned(), ..Verdict::default() };
    jobs.set_verdict("done", &verdict).unwrap();
    assert_eq!(get(jobs, "done").verdict, Some(verdict));
    let error = JobError { message: "it went wrong".to_owned(), hint: Some("do better".to_owned()) };
    let claim = begin(jobs);
    assert!(finish(jobs, claim, &Ending::Failed(error.clone())));
    assert_eq!((get(jobs, "failed").state, get(jobs, "failed").error), (JobState::Failed, Some(error)));
}

fn a_job_that_is_put_back_was_not_begun(jobs: &dyn JobStore) {
    put(jobs, &["a", "b"]);
    let claim = begin(jobs);
    assert!(jobs.put_back(claim).unwrap());
    let record = get(jobs, "a");
    assert_eq!((record.state, record.attempts, record.started_ms), (JobState::Queued, 0, None));
    assert_eq!(begin(jobs).id(), "a", "in its old place");
}

fn a_lost_claim_changes_nothing(store: &Store) {
    let jobs = store.jobs();
    put(jobs, &["a"]);
    let first = begin(jobs);
    // Of another attempt.
    let lost = || Claim::new(Record { attempts: first.record().attempts + 1, ..first.record().clone() });
    assert!(jobs.holds(&first).unwrap() && !jobs.holds(&lost()).unwrap());
    assert!(store.put_picture(&first, b"first").unwrap());
    try_in_vain(store, lost);
    // Put back.
    assert!(jobs.put_back(copy(&first)).unwrap());
    try_in_vain(store, || copy(&first));
    // Ended by one of two who hold it: the other has lost it.
    let claim = begin(jobs);
    let other = copy(&claim);
    assert!(store.put_picture(&claim, b"second").unwrap() && finish(jobs, claim, &Ending::Done));
    try_in_vain(store, || copy(&other));
    assert_eq!((get(jobs, "a").state, get(jobs, "a").finishes), (JobState::Done, 1));
    assert_eq!(store.artefacts().get("a").unwrap().as_deref(), Some(b"second".as_slice()));
    // Forgotten.
    assert!(store.delete("a").unwrap());
    assert!(!store.put_picture(&other, b"late").unwrap() && !finish(jobs, other, &Ending::Done));
    assert_eq!((jobs.get("a").unwrap(), store.artefacts().get("a").unwrap()), (None, None));
}

/// Tries all that a claim is for, with one that was lost.
fn try_in_vain(store: &Store, lost: impl Fn() -> Claim) {
    let (jobs, lost_one) = (store.jobs(), lost());
    let id = lost_one.id();
    let (before, picture) = (get(jobs, id), store.artefacts().get(id).unwrap());
    assert!(!jobs.holds(&lost_one).unwrap() && !store.put_picture(&lost_one, b"of one who lost it").unwrap());
    assert!(!jobs.update_request(&lost_one, &JobRequest::default()).unwrap());
    assert!(!jobs.put_back(lost()).unwrap() && !finish(jobs, lost(), &Ending::Done));
    assert_eq!((get(jobs, id), store.artefacts().get(id).unwrap()), (before, picture));
}

fn only_what_waits_is_cancelled_as_waiting(jobs: &dyn JobStore) {
    put(jobs, &["a", "b"]);
    let claim = begin(jobs);
    assert!(!jobs.cancel_queued("a").unwrap() && !jobs.cancel_queued("nobody").unwrap());
    assert!(jobs.cancel_queued("b").unwrap() && !jobs.cancel_queued("b").unwrap());
    assert!(finish(jobs, claim, &Ending::Done));
    assert_eq!((get(jobs, "b").state, get(jobs, "b").finishes), (JobState::Cancelled, 1));
    assert!(jobs.claim(&mut |_| Ok(true)).unwrap().is_none());
}

fn captions_are_searched_as_they_are_written(jobs: &dyn JobStore) {
    for (id, caption) in [("a", "100% wool"), ("b", "100 dogs"), ("c", "a_b\\c"), ("d", "axb")] {
        assert!(jobs.enqueue(&[job(id, caption)], 100).unwrap());
    }
    let found = |q: &str| ids(jobs, &JobSelection { q: Some(q.to_owned()), ..JobSelection::default() });
    assert_eq!(found("100%"), ["a"]);
    assert_eq!(found("a_b"), ["c"]);
    assert_eq!(found("\\"), ["c"]);
    assert_eq!(found("WOOL"), ["a"]);
    assert_eq!(found(""), ["d", "c", "b", "a"]);
}

fn lists_go_from_new_to_old_and_in_pages(jobs: &dyn JobStore) {
    put(jobs, &["a", "b", "c", "d"]);
    let _running = begin(jobs);
    let all = JobSelection::default();
    let first = jobs.list(&all, None, 3).unwrap();
    let second = jobs.list(&all, Some(first[2].seq), 3).unwrap();
    let pages: Vec<&str> = first.iter().chain(&second).map(|record| record.id.as_str()).collect();
    assert_eq!(pages, ["d", "c", "b", "a"]);
    let of_state = |state| ids(jobs, &JobSelection { state: Some(state), ..JobSelection::default() });
    assert_eq!((of_state(JobState::Running), of_state(JobState::Queued).len()), (vec!["a".to_owned()], 3));
    assert_eq!(jobs.get("nobody").unwrap(), None);
    jobs.is_alive().unwrap();
    assert!(!jobs.is_behind());
    jobs.settle().unwrap();
}

fn what_is_deleted_is_noted_until_its_picture_is_gone(jobs: &dyn JobStore) {
    put(jobs, &["a", "b"]);
    assert!(jobs.delete("a").unwrap() && !jobs.delete("a").unwrap() && !jobs.delete("nobody").unwrap());
    assert_eq!((jobs.get("a").unwrap(), jobs.deleted().unwrap()), (None, vec!["a".to_owned()]));
    assert!(jobs.cancel_queued("b").unwrap());
    assert_eq!(jobs.prune(0).unwrap(), 1);
    let mut deleted = jobs.deleted().unwrap();
    deleted.sort();
    assert_eq!(deleted, ["a", "b"]);
    jobs.forget_deleted(&["a".to_owned(), "nobody".to_owned()]).unwrap();
    assert_eq!(jobs.deleted().unwrap(), ["b"]);
}

fn pictures_are_there_whole_replaced_and_gone(artefacts: &dyn ArtefactStore) {
    artefacts.check_room().unwrap();
    artefacts.had_room(Duration::from_secs(1)).unwrap();
    assert_eq!(artefacts.get("a").unwrap(), None);
    artefacts.put("a", b"a long first picture").unwrap();
    artefacts.put("a", b"second").unwrap();
    artefacts.put("b", b"").unwrap();
    assert_eq!(artefacts.get("a").unwrap().as_deref(), Some(b"second".as_slice()));
    assert_eq!(artefacts.get("b").unwrap().as_deref(), Some(b"".as_slice()));
    artefacts.delete("a").unwrap();
    artefacts.delete("a").unwrap();
    assert_eq!((artefacts.get("a").unwrap(), artefacts.get("b").unwrap().is_some()), (None, true));
}

fn a_job_that_runs_is_not_deleted_and_one_that_ended_goes_with_its_picture(store: &Store) {
    put(store.jobs(), &["a"]);
    let claim = begin(store.jobs());
    store.artefacts().put("a", b"png").unwrap();
    assert!(!store.delete("a").unwrap());
    assert_eq!(store.artefacts().get("a").unwrap().as_deref(), Some(b"png".as_slice()));
    assert!(finish(store.jobs(), claim, &Ending::Done));
    assert!(store.delete("a").unwrap() && !store.delete("a").unwrap());
    assert_eq!((store.jobs().get("a").unwrap(), store.artefacts().get("a").unwrap()), (None, None));
    assert!(store.jobs().deleted().unwrap().is_empty());
}

fn the_jobs_that_ended_last_are_kept_and_what_has_not_ended_too(store: &Store) {
    let jobs = store.jobs();
    put(jobs, &["waited-long", "a", "b", "c", "running", "queued"]);
    let [waited_long, a, b, c] = [begin(jobs), begin(jobs), begin(jobs), begin(jobs)];
    for claim in [a, b, c, waited_long] {
        store.artefacts().put(claim.id(), b"png").unwrap();
        assert!(finish(jobs, claim, &Ending::Done));
    }
    let _running = begin(jobs);
    assert_eq!((store.prune(4).unwrap(), store.prune(2).unwrap()), (0, 2));
    assert_eq!(ids(jobs, &JobSelection::default()), ["queued", "running", "c", "waited-long"]);
    let has_picture = |id: &str| store.artefacts().get(id).unwrap().is_some();
    assert_eq!(["a", "b", "c", "waited-long"].map(has_picture), [false, false, true, true]);
    assert_eq!(store.prune(0).unwrap(), 2);
    assert_eq!(ids(jobs, &JobSelection::default()), ["queued", "running"]);
    store.settle().unwrap();
}

fn attempts_are_kept_with_their_job_and_go_with_it(store: &Store) {
    put(store.jobs(), &["a", "b"]);
    let claim = begin(store.jobs());
    let last = Attempt::MAX - 1;
    for (number, png) in [(0, b"first".as_slice()), (1, b"second"), (last, b"last"), (1, b"again")] {
        assert!(store.put_attempt(&claim, number, png).unwrap());
    }
    let kept = |number| store.artefacts().get_attempt("a", number).unwrap();
    assert_eq!(kept(1).as_deref(), Some(b"again".as_slice()));
    assert_eq!((kept(0).is_some(), kept(2), kept(last).is_some()), (true, None, true));
    assert_eq!(store.artefacts().get("a").unwrap(), None, "an attempt is not the picture");
    let lost = copy(&claim);
    assert!(finish(store.jobs(), claim, &Ending::Done));
    assert!(!store.put_attempt(&lost, 0, b"of one who lost it").unwrap());
    assert_eq!(kept(0).as_deref(), Some(b"first".as_slice()));
    assert!(store.delete("a").unwrap());
    assert_eq!((kept(0), kept(1), kept(last)), (None, None, None));
}

fn the_last_decision_about_a_finding_is_kept(jobs: &dyn JobStore) {
    put(jobs, &["a"]);
    let decision = |about, index, fine| Decision { about, index, fine };
    assert!(!jobs.decide("nobody", decision(Subject::Object, 0, true)).unwrap());
    for decision in [
        decision(Subject::Object, 0, true),
        decision(Subject::Extra, 0, true),
        decision(Subject::Object, 0, false),
        decision(Subject::Object, 1, true),
    ] {
        assert!(jobs.decide("a", decision).unwrap());
    }
    assert_eq!(get(jobs, "a").decisions, [decision(Subject::Extra, 0, true), decision(Subject::Object, 1, true)]);
    let claim = begin(jobs);
    assert!(finish(jobs, claim, &Ending::Done));
    assert_eq!(get(jobs, "a").decisions.len(), 2, "an end leaves them");
    jobs.set_verdict("a", &Verdict::default()).unwrap();
    assert!(get(jobs, "a").decisions.is_empty(), "they were about another verdict");
}

/// A job that begins with pictures.
fn beginning_with(id: &str, image: &str, mask: Option<&str>) -> NewJob {
    let init = InitImage { image: image.to_owned(), strength: None, mask: mask.map(str::to_owned) };
    let mut job = job(id, id);
    job.request.init = Some(init);
    job
}

const ROOM: UploadRoom = UploadRoom { count: 4, bytes: 100 };

fn uploads_are_kept_as_long_as_a_job_begins_with_them(store: &Store) {
    let jobs = store.jobs();
    let upload = || store.put_upload(b"png", ROOM).unwrap();
    let [image, mask, unused, other] = [(); 4].map(|()| upload().expect("there is room"));
    assert_eq!(upload(), None, "there are four of four");
    assert!(jobs.is_upload(&image).unwrap() && !jobs.is_upload("nobody").unwrap());
    let new = [beginning_with("a", &image, Some(&mask)), beginning_with("b", &image, None)];
    assert!(jobs.enqueue(&new, 100).unwrap());
    assert_eq!(store.sweep_uploads(Duration::from_secs(24 * 3600)).unwrap(), 0, "all are new");
    assert!(store.delete_upload(&other).unwrap() && !store.delete_upload(&other).unwrap());
    assert!(!store.delete_upload(&image).unwrap() && !store.delete_upload(&mask).unwrap());
    let sweep = || store.sweep_uploads(Duration::ZERO).unwrap();
    assert_eq!(sweep(), 1);
    let is_kept = |id: &String| (jobs.is_upload(id).unwrap(), store.artefacts().get(id).unwrap().is_some());
    assert_eq!(
        [&image, &mask, &unused, &other].map(is_kept),
        [(true, true), (true, true), (false, false), (false, false)]
    );
    // While it is painted, and no longer: what has ended holds nothing, so that they do not fill up.
    let claim = begin(jobs);
    assert_eq!((claim.id(), sweep()), ("a", 0));
    assert!(finish(jobs, claim, &Ending::Done));
    assert_eq!((sweep(), is_kept(&mask), is_kept(&image)), (1, (false, false), (true, true)));
    assert!(jobs.cancel_queued("b").unwrap());
    assert_eq!((sweep(), is_kept(&image)), (1, (false, false)));
    assert!(jobs.deleted().unwrap().is_empty());
    assert!(jobs.get(&image).unwrap().is_none(), "an upload is no job");
}

fn uploads_are_bounded_by_their_bytes(store: &Store) {
    assert!(store.put_upload(&[7; 60], ROOM).unwrap().is_some());
    assert_eq!(store.put_upload(&[7; 41], ROOM).unwrap(), None);
    assert!(store.put_upload(&[7; 40], ROOM).unwrap().is_some());
    assert_eq!(store.put_upload(&[7; 1], ROOM).unwrap(), None);
}

fn a_job_that_another_begins_with_stays_until_that_has_ended(store: &Store) {
    let jobs = store.jobs();
    put(jobs, &["source", "second"]);
    for _ in 0..2 {
        let claim = begin(jobs);
        store.artefacts().put(claim.id(), b"png").unwrap();
        assert!(finish(jobs, claim, &Ending::Done));
    }
    let mut edit = job("edit", "edit");
    edit.request.edit = Some(PictureEdit { job: "source".to_owned(), operations: Vec::new() });
    assert!(jobs.enqueue(&[edit, beginning_with("init", "second", None)], 100).unwrap());
    assert!(!store.delete("source").unwrap() && !store.delete("second").unwrap());
    assert_eq!(store.prune(0).unwrap(), 0);
    let claim = begin(jobs);
    assert!(!store.delete("source").unwrap(), "it is being changed");
    assert!(finish(jobs, claim, &Ending::Done) && jobs.cancel_queued("init").unwrap());
    assert!(store.delete("source").unwrap());
    assert_eq!(store.prune(0).unwrap(), 3);
}

fn a_job_begins_with_what_is_done_or_was_sent(store: &Store) {
    let upload = store.put_upload(b"sent", ROOM).unwrap().expect("there is room");
    put(store.jobs(), &["done", "waits"]);
    let claim = begin(store.jobs());
    assert!(store.put_picture(&claim, b"painted").unwrap());
    assert_eq!(store.source("done").unwrap(), None, "it is not done yet");
    assert!(finish(store.jobs(), claim, &Ending::Done));
    assert_eq!(store.source("done").unwrap().as_deref(), Some(b"painted".as_slice()));
    assert_eq!(store.source(&upload).unwrap().as_deref(), Some(b"sent".as_slice()));
    assert_eq!((store.source("waits").unwrap(), store.source("nobody").unwrap()), (None, None));
}
