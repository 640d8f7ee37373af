//! An engine that is scripted: each caption says what shall happen.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use sinopia_layout::Layout;
use sinopia_server::engine::{Accepted, Kept, Painted};
use sinopia_server::wire::{
    CheckRequest, Composed, Converted, Defaults, EditRequest, Findings, JobRequest, LayoutFormat, Limits, Options,
    PlanReply, PlanRequest, PlannerDoc, Progress, RecipeReply, Repaired, Verdict,
};
use sinopia_server::{Answer, Engine, Fault, Refusal, Watch};

/// Longest that anything is waited for. Nothing is expected to take nearly as long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Does what the caption says.
#[derive(Default)]
pub struct Script {
    at_once: AtomicUsize,
    pub most_at_once: AtomicUsize,
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
        };
        let planner = PlannerDoc { name: "nobody".to_owned(), edits: false };
        Options {
            version: String::new(),
            methods: Vec::new(),
            models: Vec::new(),
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

    fn plan(&self, _: &PlanRequest) -> Answer<PlanReply> {
        unable()
    }

    fn edit(&self, _: &EditRequest) -> Answer<PlanReply> {
        unable()
    }

    fn check(&self, _: &CheckRequest) -> Answer<Findings> {
        unable()
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

    fn recipe(&self, _: &[u8]) -> Answer<RecipeReply> {
        unable()
    }

    fn accept(&self, request: JobRequest) -> Answer<Accepted> {
        Ok(Accepted { request, memory_bytes: 0 })
    }

    fn paint(&self, request: &JobRequest, watch: &dyn Watch) -> Answer<Painted> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let result = act(request.caption.as_deref().unwrap_or_default(), watch);
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn judge(&self, _: &[u8], _: &Layout) -> Answer<Verdict> {
        unable()
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
