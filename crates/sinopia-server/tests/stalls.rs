//! Many clients that want something computed, and clients that hang up: whoever only reads is answered all the same, and nobody works for those who are gone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod script;

use script::running::{Running, rest};
use script::{HELD_STEPS, patience};
use serde_json::{Value, json};

const LAYOUT: &str = r#"{"canvas": {"width": 512, "height": 512}, "objects": []}"#;

fn check(caption: &str) -> String {
    format!(r#"{{"caption": "{caption}", "layout": {LAYOUT}}}"#)
}

#[test]
fn those_who_read_are_answered_while_many_checks_are_under_way() {
    let server = Running::start(|options| options.plans_at_once = 2);
    // More than there are threads that may block.
    let mut clients: Vec<_> = (0..80).map(|_| server.send("POST /api/check", &check("hold"))).collect();
    server.script.wait_until(|seen| seen.checks == 2);
    for path in ["/healthz", "/readyz", "/api/options", "/api/jobs"] {
        let answer = server.ask(&format!("GET {path}"), "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert_eq!(server.script.seen().checks, 2, "no more than two at once");
    server.script.let_go();
    clients.iter_mut().for_each(|client| assert!(rest(client).starts_with("HTTP/1.1 200")));
}

#[test]
fn nobody_works_for_clients_that_are_gone() {
    let server = Running::start(|options| (options.plans_at_once, options.max_connections) = (1, 6));
    let planning = server.send("POST /api/plan", r#"{"caption": "a cat"}"#);
    server.script.wait_until(|seen| seen.plans == 1);
    let mut others = Vec::new();
    for (path, body) in [
        ("check", check("x")),
        ("repair", check("x")),
        ("compose", check("x")),
        ("layouts/convert?to=svg", LAYOUT.to_owned()),
        ("recipe", "no picture".to_owned()),
    ] {
        others.push(server.send(&format!("POST /api/{path}"), &body));
    }
    drop(others);
    // Five connections were taken by those who are gone: that five others are answered says that the server knows it.
    let held: Vec<_> = (0..5)
        .map(|_| {
            use std::io::{Read, Write};
            let _patience = patience::until("the server knows who is gone");
            let mut stream = server.connect();
            stream.write_all(server.head("GET /healthz", "\r\n").as_bytes()).unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream
        })
        .collect();
    drop(held);
    assert_eq!(server.script.seen().cancelled, 0, "somebody still waits for the plan");
    drop(planning);
    assert!(server.ask("POST /api/check", &check("x")).starts_with("HTTP/1.1 200"));
    assert_eq!(server.script.seen().cancelled, 1, "the plan went on for nobody");
    assert_eq!(server.script.seen().checks, 1, "a check was made for nobody");
}

/// The body of an answer.
fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A job as it is in the end: events of it come until then.
fn last_of(server: &Running, id: &str) -> Value {
    let events = server.ask(&format!("GET /api/jobs/{id}/events"), "");
    let last = events.rsplit("event: job\ndata: ").next().unwrap();
    serde_json::from_str(last.lines().next().unwrap()).unwrap()
}

/// The name of a job that is done.
fn painted(server: &Running, request: &Value) -> String {
    let job = body(&server.ask("POST /api/jobs", &request.to_string()));
    let id = job["id"].as_str().unwrap().to_owned();
    assert_eq!(last_of(server, &id)["state"], "done");
    id
}

#[test]
fn nobody_looks_at_pictures_for_clients_that_are_gone() {
    let server = Running::start(|options| options.plans_at_once = 1);
    let layout: Value = serde_json::from_str(LAYOUT).unwrap();
    let id = painted(&server, &json!({"caption": "a cat", "layout": layout}));
    let looking = server.send("POST /api/evaluate", &json!({"job": id}).to_string());
    server.script.wait_until(|seen| seen.judged == 1);
    drop(looking);
    assert!(server.ask("POST /api/check", &check("x")).starts_with("HTTP/1.1 200"));
    assert_eq!(server.script.seen().cancelled, 1, "the looking went on for nobody");
}

#[test]
fn a_few_pictures_are_rendered_at_once_and_those_who_plan_stand_in_no_ones_way() {
    let server = Running::start(|options| options.plans_at_once = 1);
    let id = painted(&server, &json!({"caption": "a cat"}));
    let _planning = server.send("POST /api/plan", r#"{"caption": "a cat"}"#);
    server.script.wait_until(|seen| seen.plans == 1);
    let mut clients: Vec<_> = (0..10).map(|_| server.send(&format!("GET /api/jobs/{id}/image.jpeg"), "")).collect();
    let request = json!({"prompt": "a cat", "output_format": "jpeg", "response_format": "b64_json"}).to_string();
    clients.push(server.send("POST /v1/images/generations", &request));
    server.script.wait_until(|seen| seen.rendered == 2);
    // As it was painted, a picture takes nobody's turn.
    assert!(server.ask(&format!("GET /api/jobs/{id}/image.png"), "").starts_with("HTTP/1.1 200"));
    assert_eq!(server.script.seen().rendered, 2, "no more than two at once");
    server.script.let_go();
    clients.iter_mut().for_each(|client| assert!(rest(client).starts_with("HTTP/1.1 200")));
}

#[test]
fn whoever_hangs_up_while_jobs_are_queued_leaves_none_behind() {
    let server = Running::start(|options| options.max_connections = 1);
    let request = json!({"prompt": "hang", "steps": HELD_STEPS}).to_string();
    let asking = server.send("POST /v1/images/generations", &request);
    server.script.wait_until(|seen| seen.accepted == 1);
    drop(asking);
    // There is one connection: that this is answered says that the server knows who is gone.
    assert!(server.ask("GET /healthz", "").starts_with("HTTP/1.1 200"));
    server.script.let_go();
    // The job may be cancelled before it is begun.
    let patience = patience::until("there is a job");
    let id = loop {
        let jobs = body(&server.ask("GET /api/jobs", ""));
        if let Some(id) = jobs["jobs"][0]["id"].as_str() {
            break id.to_owned();
        }
    };
    drop(patience);
    assert_eq!(last_of(&server, &id)["state"], "cancelled");
}

#[test]
fn pictures_are_sent_in_no_larger_sizes_than_the_server_allows() {
    let server = Running::start(|options| options.limits.pixels = 1024 * 1024);
    server.script.let_go();
    let id = painted(&server, &json!({"caption": "a cat"}));
    for (query, status) in [("width=2048&height=2048", 200), ("width=4096&height=2048", 413), ("quality=9&x=1", 400)] {
        let answer = server.ask(&format!("GET /api/jobs/{id}/image.jpeg?{query}"), "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{query}: {answer}");
    }
    let too_large = json!({"prompt": "a cat", "size": "4096x2048"});
    let too_many = json!({"prompt": "a cat", "size": "2048x2048", "n": 5});
    for (request, reason) in [(too_large, "4096 × 2048 pixels"), (too_many, "`n` is 5")] {
        let answer = server.ask("POST /v1/images/generations", &request.to_string());
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains(reason), "{answer}");
    }
}

#[test]
fn every_text_has_a_limit_and_a_refusal_names_it() {
    let server = Running::start(|_| {});
    let layout = |phrase: usize, count: usize, background: usize, negative: usize| {
        let objects = vec![json!({"phrase": "x".repeat(phrase), "bbox": [1, 1, 9, 9]}); count];
        json!({"canvas": {"width": 512, "height": 512}, "objects": objects, "background": "x".repeat(background), "negative": "x".repeat(negative)})
    };
    let allowed = json!({"caption": "x".repeat(4000), "layout": layout(300, 200, 4000, 4000)}).to_string();
    assert!(server.ask("POST /api/check", &allowed).starts_with("HTTP/1.1 200"));
    let with = |layout| json!({"caption": "a cat", "layout": layout});
    let long = |name: &str| {
        let mut job = json!({"caption": "a cat"});
        job[name] = json!("x".repeat(5000));
        job
    };
    let options = json!({"caption": "a cat", "options": {"x": "y".repeat(20_000)}});
    let mut refused = vec![
        ("jobs", json!({"caption": "x".repeat(4001)}), "`caption` has 4001 characters; at most 4000"),
        ("plan", json!({"caption": "x".repeat(4001)}), "`caption` has 4001 characters; at most 4000"),
        ("jobs", options, "`options` has 20008 bytes; at most 16384"),
        ("jobs", with(layout(1, 60, 0, 0)), "60 boxes, at most 50 are painted"),
        ("jobs", json!({"negative": "x".repeat(4001), "caption": "a cat"}), "`negative` has 4001 characters"),
        ("plan/edit", json!({"instruction": "x".repeat(4001), "layout": layout(1, 1, 0, 0)}), "`instruction` has 4001"),
    ];
    for name in ["method", "model", "scheduler", "text_encoder", "negative_encoder"] {
        refused.push(("jobs", long(name), "has 5000 characters; at most 300"));
    }
    for path in ["check", "repair", "compose", "jobs"] {
        refused.push((path, with(layout(301, 1, 0, 0)), "the phrase of box 1 has 301 characters; at most 300"));
        refused.push((path, with(layout(1, 201, 0, 0)), "the layout has 201 boxes; at most 200"));
        refused.push((path, with(layout(1, 1, 4001, 0)), "`background` has 4001 characters; at most 4000"));
        refused.push((path, with(layout(1, 1, 0, 4001)), "`negative` has 4001 characters; at most 4000"));
    }
    for (path, body, reason) in refused {
        let answer = server.ask(&format!("POST /api/{path}"), &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(reason), "{path}, {reason}: {answer}");
    }
    for name in ["model", "method", "scheduler"] {
        let answer =
            server.ask("POST /v1/images/generations", &json!({"prompt": "a cat", name: "x".repeat(5000)}).to_string());
        let reason = format!("{name} has 5000 characters; at most 300");
        assert!(answer.starts_with("HTTP/1.1 400") && answer.replace('`', "").contains(&reason), "{answer}");
    }
    // What is not known is not repeated at full length.
    for (path, body) in [
        ("v1/images/generations", json!({"prompt": "a cat", "y".repeat(5000): 1})),
        ("api/jobs", json!({"y".repeat(5000): 1})),
    ] {
        let answer = server.ask(&format!("POST /{path}"), &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 400") && answer.len() < 3000, "{answer}");
    }
    let huge = json!({"caption": "a cat", "layout": layout(1, 1, 2 << 20, 0)}).to_string();
    let answer = server.ask("POST /api/check", &huge);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("at most 2097152 are read"), "{answer}");
    let answer = server.ask(&format!("GET /api/jobs?q={}", "x".repeat(1001)), "");
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("`q` has 1001 characters"), "{answer}");
}
