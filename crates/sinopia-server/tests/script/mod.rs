//! An engine that is scripted: each caption says what shall happen.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of tests")]

pub mod patience;
pub mod running;

use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use sinopia_layout::Layout;
use sinopia_server::engine::{Accepted, Kept, Painted, Sources, TakenIn};
use sinopia_server::wire::{
    Attempt, CheckRequest, Composed, Converted, Defaults, EditRequest, Editing, Findings, JobRequest, LayoutFormat,
    Limits, ModelDoc, Options, PictureFormat, PlanReply, PlanRequest, PlannerDoc, Progress, RecipeAnswer, Rendering,
    Repaired, Size, Verdict,
};
use sinopia_server::{Answer, CancellationToken, Engine, Fault, Refusal, Watch};

/// Steps of a job that is held while it is accepted.
pub const HELD_STEPS: u32 = 77;

/// What is planned where the script says so.
const EMPTY_LAYOUT: &str = r#"{"canvas": {"width": 512, "height": 512}, "objects": []}"#;

/// Does what the caption says. Tests wait for what happens here, never for a time.
#[derive(Default)]
pub struct Script {
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// What happened so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    at_once: usize,
    pub most_at_once: usize,
    /// Paintings, checks and plans that were begun, and those that were cancelled.
    pub painted: usize,
    pub checks: usize,
    pub plans: usize,
    pub cancelled: usize,
    /// Pictures that somebody began to look at, that were begun to be rendered, and jobs that were begun to be checked.
    pub judged: usize,
    pub rendered: usize,
    pub accepted: usize,
    /// Whether checks of the caption "hold", paintings whose captions begin with "held", renderings, and acceptances of a job with so many steps may end.
    may_end: bool,
}

impl Script {
    /// What happened so far.
    pub fn seen(&self) -> Seen {
        *self.lock()
    }

    /// Waits until something has happened.
    #[track_caller]
    pub fn wait_until(&self, has_happened: impl Fn(&Seen) -> bool) {
        let _patience = patience::until("something happens in the script");
        let seen = self.lock();
        drop(self.changed.wait_while(seen, |seen| !has_happened(seen)).unwrap());
    }

    /// Lets all end that are held.
    pub fn let_go(&self) {
        self.note(|seen| seen.may_end = true);
    }

    /// Waits until all may end that are held.
    fn hold(&self) {
        self.wait_until(|seen| seen.may_end);
    }

    fn note(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes as long as somebody wants it.
    fn take_until_cancelled<T>(&self, cancellation: &CancellationToken) -> Answer<T> {
        wait_for_cancellation(cancellation);
        self.note(|seen| seen.cancelled += 1);
        Err(cancelled())
    }
}

fn wait_for_cancellation(cancellation: &CancellationToken) {
    let _patience = patience::until("it is cancelled");
    let (sender, cancelled) = channel();
    cancellation.on_cancel(move || {
        let _ = sender.send(());
    });
    cancelled.recv().unwrap();
}

fn cancelled() -> Refusal {
    Refusal::new(Fault::Cancelled, "cancelled")
}

fn unable<T>() -> Answer<T> {
    Err(Refusal::new(Fault::Engine, "not in this script"))
}

impl Engine for Script {
    fn options(&self) -> Options {
        let defaults = Defaults {
            method: "sd".to_owned(),
            model: "none".to_owned(),
            scheduler: None,
            steps: 1,
            guidance_scale: None,
            seed: 0,
            seed_text: "0".to_owned(),
        };
        let planner = PlannerDoc { name: "nobody".to_owned(), edits: false };
        Options {
            version: String::new(),
            methods: Vec::new(),
            models: vec![ModelDoc { id: "none".to_owned(), image_size: Size { width: 512, height: 512 } }],
            schedulers: Vec::new(),
            settings: Vec::new(),
            text_encoders: Vec::new(),
            defaults,
            limits: Limits::default(),
            planner,
            editing: Editing::default(),
        }
    }

    fn is_ready(&self) -> Answer<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept::default()
    }

    fn plan(&self, _: &PlanRequest, cancellation: &CancellationToken) -> Answer<PlanReply> {
        self.note(|seen| seen.plans += 1);
        self.take_until_cancelled(cancellation)
    }

    fn edit(&self, _: &EditRequest, _: &CancellationToken) -> Answer<PlanReply> {
        unable()
    }

    fn check(&self, request: &CheckRequest) -> Answer<Findings> {
        self.note(|seen| seen.checks += 1);
        if request.caption.as_deref() == Some("hold") {
            self.hold();
        }
        Ok(Findings { findings: Vec::new() })
    }

    fn repair(&self, _: &CheckRequest) -> Answer<Repaired> {
        unable()
    }

    fn compose(&self, _: &CheckRequest) -> Answer<Composed> {
        unable()
    }

    fn convert(&self, _: &str, _: LayoutFormat) -> Answer<Converted> {
        unable()
    }

    fn recipe(&self, _: &[u8]) -> Answer<RecipeAnswer> {
        unable()
    }

    fn fitting_size(&self, _: Option<&str>, size: Size, _: u64) -> Answer<Size> {
        Ok(size)
    }

    fn render(&self, png: &[u8], _: PictureFormat, _: &Rendering) -> Answer<Vec<u8>> {
        self.note(|seen| seen.rendered += 1);
        self.hold();
        Ok(png.to_vec())
    }

    /// A picture is a text that says so.
    fn take_in(&self, bytes: &[u8], _: u64) -> Answer<TakenIn> {
        let text = String::from_utf8_lossy(bytes);
        match text.starts_with("picture") {
            true => Ok(TakenIn {
                png: bytes.to_vec(),
                size: Size { width: 512, height: 512 },
                is_transparent: text.contains("transparent"),
            }),
            false => Err(Refusal::new(Fault::Request, "this is no picture")),
        }
    }

    fn accept(&self, request: JobRequest, _: &Sources) -> Answer<Accepted> {
        self.note(|seen| seen.accepted += 1);
        if request.steps == Some(HELD_STEPS) {
            self.hold();
        }
        Ok(Accepted { request, memory_bytes: 0 })
    }

    fn paint(&self, request: &JobRequest, sources: &Sources, watch: &dyn Watch) -> Answer<Painted> {
        self.note(|seen| {
            seen.painted += 1;
            seen.at_once += 1;
            seen.most_at_once = seen.most_at_once.max(seen.at_once);
        });
        let caption = request.caption.as_deref().unwrap_or_default();
        if caption.starts_with("held") {
            self.hold();
        }
        let result = act(caption, sources, watch);
        self.note(|seen| seen.at_once -= 1);
        result
    }

    fn judge(&self, _: &[u8], _: &Layout, cancellation: &CancellationToken) -> Answer<Verdict> {
        self.note(|seen| seen.judged += 1);
        self.take_until_cancelled(cancellation)
    }
}

fn act(caption: &str, sources: &Sources, watch: &dyn Watch) -> Answer<Painted> {
    watch.progress(Progress { stage: caption.to_owned(), step: 1, steps: 2, seconds_left: None });
    match caption {
        "panic" => panic!("the script says so"),
        "fail" => Err(Refusal { hint: Some("do better".to_owned()), ..Refusal::new(Fault::Engine, "it went wrong") }),
        "flood" => {
            while !watch.cancellation().is_cancelled() {
                watch.preview(&[7; 1 << 16]);
                std::thread::yield_now();
            }
            Err(cancelled())
        }
        "held plan" => {
            watch.planned(&serde_json::from_str(EMPTY_LAYOUT).unwrap());
            wait_for_cancellation(watch.cancellation());
            Err(cancelled())
        }
        "hang" => {
            wait_for_cancellation(watch.cancellation());
            Err(cancelled())
        }
        // Three attempts: the second is better, the third is not.
        "tried" => {
            for (number, is_better) in [(0, true), (1, true), (2, false)] {
                let png = format!("attempt {number}");
                watch.attempt(attempt(number, is_better), png.as_bytes());
            }
            let verdict = Some(Verdict::default());
            Ok(Painted { png: b"attempt 1".to_vec(), guidance_scale: 2.0, seed: Some(1), verdict })
        }
        "tried and held" => {
            watch.attempt(attempt(0, true), b"attempt 0");
            wait_for_cancellation(watch.cancellation());
            Err(cancelled())
        }
        "begun" => {
            let bytes = [sources.image.as_deref(), sources.mask.as_deref()].map(Option::unwrap_or_default);
            Ok(Painted { png: bytes.join(&b'|'), guidance_scale: 2.0, seed: None, verdict: None })
        }
        _ => {
            watch.warning("a word of warning");
            Ok(Painted { png: caption.as_bytes().to_vec(), guidance_scale: 2.0, seed: None, verdict: None })
        }
    }
}

/// An attempt with another seed.
pub fn attempt(seed: u64, accepted: bool) -> Attempt {
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
