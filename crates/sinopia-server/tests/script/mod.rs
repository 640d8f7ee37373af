//! An engine that is scripted: each caption says what shall happen.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of tests")]

pub mod running;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use sinopia_layout::Layout;
use sinopia_server::engine::{Accepted, Interrupt, Kept, Painted};
use sinopia_server::wire::{
    CheckRequest, Composed, Converted, Defaults, EditRequest, Findings, JobRequest, LayoutFormat, Limits, ModelDoc,
    Options, PictureFormat, PlanReply, PlanRequest, PlannerDoc, Progress, RecipeAnswer, Rendering, Repaired, Size,
    Verdict,
};
use sinopia_server::{Answer, Engine, Fault, Refusal, Watch};

/// Longest that anything is waited for. Nothing is expected to take nearly as long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Steps of a job that is held while it is accepted.
pub const HELD_STEPS: u32 = 77;

/// Does what the caption says.
#[derive(Default)]
pub struct Script {
    at_once: AtomicUsize,
    pub most_at_once: AtomicUsize,
    /// Checks that were begun.
    pub checks: AtomicUsize,
    /// Plans that were begun, and those that were interrupted.
    pub plans: AtomicUsize,
    pub interrupted: AtomicUsize,
    /// Pictures that somebody began to look at, that were begun to be rendered, and jobs that were begun to be checked.
    pub judged: AtomicUsize,
    pub rendered: AtomicUsize,
    pub accepted: AtomicUsize,
    /// Whether checks of the caption "hold", renderings, and acceptances of a job with so many steps may end.
    let_go: (Mutex<bool>, Condvar),
}

impl Script {
    /// Waits until all may end that are held.
    fn hold(&self) {
        let is_held = self.let_go.0.lock().unwrap();
        drop(self.let_go.1.wait_timeout_while(is_held, PATIENCE, |may_end| !*may_end).unwrap());
    }

    /// Lets all end that are held.
    pub fn let_go(&self) {
        *self.let_go.0.lock().unwrap() = true;
        self.let_go.1.notify_all();
    }
}

/// Waits until something is so.
pub fn wait_until(is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(2));
    }
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
            text_encoders: Vec::new(),
            defaults,
            limits: Limits::default(),
            planner,
        }
    }

    fn is_ready(&self) -> Answer<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept::default()
    }

    /// Takes as long as somebody waits for it.
    fn plan(&self, _: &PlanRequest, interrupt: &Interrupt) -> Answer<PlanReply> {
        self.plans.fetch_add(1, Ordering::SeqCst);
        wait_until(|| interrupt.reason().is_some());
        self.interrupted.fetch_add(1, Ordering::SeqCst);
        Err(Refusal::new(Fault::Interrupted, "interrupted"))
    }

    fn edit(&self, _: &EditRequest, _: &Interrupt) -> Answer<PlanReply> {
        unable()
    }

    fn check(&self, request: &CheckRequest) -> Answer<Findings> {
        self.checks.fetch_add(1, Ordering::SeqCst);
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
        self.rendered.fetch_add(1, Ordering::SeqCst);
        self.hold();
        Ok(png.to_vec())
    }

    fn accept(&self, request: JobRequest) -> Answer<Accepted> {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        if request.steps == Some(HELD_STEPS) {
            self.hold();
        }
        Ok(Accepted { request, memory_bytes: 0 })
    }

    fn paint(&self, request: &JobRequest, watch: &dyn Watch) -> Answer<Painted> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let result = act(request.caption.as_deref().unwrap_or_default(), watch);
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Takes as long as somebody waits for it.
    fn judge(&self, _: &[u8], _: &Layout, interrupt: &Interrupt) -> Answer<Verdict> {
        self.judged.fetch_add(1, Ordering::SeqCst);
        wait_until(|| interrupt.reason().is_some());
        self.interrupted.fetch_add(1, Ordering::SeqCst);
        Err(Refusal::new(Fault::Interrupted, "interrupted"))
    }
}

fn act(caption: &str, watch: &dyn Watch) -> Answer<Painted> {
    watch.progress(Progress { stage: caption.to_owned(), step: 1, steps: 2, seconds_left: None });
    match caption {
        "panic" => panic!("the script says so"),
        "fail" => Err(Refusal { hint: Some("do better".to_owned()), ..Refusal::new(Fault::Engine, "it went wrong") }),
        "flood" => {
            while watch.interrupt().reason().is_none() {
                watch.preview(&[7; 1 << 16]);
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Refusal::new(Fault::Interrupted, "interrupted"))
        }
        "hang" => {
            let (sender, thrown): (Sender<()>, _) = channel();
            let sender = Mutex::new(sender);
            watch.interrupt().on_throw(move || sender.lock().unwrap().send(()).expect("nobody waits"));
            thrown.recv_timeout(PATIENCE).expect("nobody interrupted");
            Err(Refusal::new(Fault::Interrupted, "interrupted"))
        }
        "pause" => {
            std::thread::sleep(Duration::from_millis(100));
            Ok(Painted { png: b"png".to_vec(), guidance_scale: 1.0 })
        }
        _ => {
            watch.warning("a word of warning");
            Ok(Painted { png: caption.as_bytes().to_vec(), guidance_scale: 2.0 })
        }
    }
}
