//! Pictures that are sent, and what clients hear of them, of attempts, of decisions and of edits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod script;

use script::running::Running;
use serde_json::{Value, json};

/// The status of an answer, and its body.
fn parted(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[track_caller]
fn ask(server: &Running, request: &str, body: &str) -> (u16, Value) {
    parted(&server.ask(request, body))
}

#[track_caller]
fn upload(server: &Running, picture: &str) -> String {
    let (status, upload) = ask(server, "POST /api/uploads", picture);
    assert_eq!((status, &upload["size"]), (201, &json!({"width": 512, "height": 512})), "{upload}");
    upload["id"].as_str().unwrap().to_owned()
}

/// Queues a job and waits until it is done.
#[track_caller]
fn painted(server: &Running, request: &Value) -> Value {
    let (status, job) = ask(server, "POST /api/jobs", &request.to_string());
    assert_eq!(status, 202, "{job}");
    let path = format!("/api/jobs/{}", job["id"].as_str().unwrap());
    // Events end with the job.
    server.ask(&format!("GET {path}/events"), "");
    let (_, job) = ask(server, &format!("GET {path}"), "");
    assert_eq!(job["state"], "done", "{job}");
    job
}

#[test]
fn a_picture_is_sent_used_and_deleted() {
    let server = Running::start(|options| options.upload_room.count = 3);
    let (image, mask) = (upload(&server, "picture"), upload(&server, "picture, transparent"));
    let request = json!({"caption": "begun", "init": {"image": image, "mask": mask, "strength": 0.5}});
    let job = painted(&server, &request);
    assert_eq!(job["init"], request["init"]);
    assert!(
        server.ask(&format!("GET {}", job["image"].as_str().unwrap()), "").ends_with("picture|picture, transparent")
    );
    let unused = upload(&server, "picture");
    assert_eq!(ask(&server, "POST /api/uploads", "picture").0, 429, "there are three");
    for (id, status) in [(unused.as_str(), 204), (unused.as_str(), 404), (job["id"].as_str().unwrap(), 404), ("x", 404)]
    {
        assert_eq!(ask(&server, &format!("DELETE /api/uploads/{id}"), "").0, status, "{id}");
    }
    let (status, refused) = ask(&server, "POST /api/uploads", "something else");
    assert_eq!((status, &refused["error"]["message"]), (400, &json!("this is no picture")));
    assert_eq!(ask(&server, &format!("GET /api/jobs/{mask}/image.png"), "").0, 404, "an upload is no job");
}

#[test]
fn attempts_are_told_and_shown() {
    let server = Running::start(|_| {});
    let job = painted(&server, &json!({"caption": "tried", "attempts": 3}));
    let id = job["id"].as_str().unwrap();
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3);
    assert_eq!((&attempts[1]["seed_text"], &attempts[1]["accepted"]), (&json!("1"), &json!(true)));
    assert_eq!(attempts[2]["image"], format!("/api/jobs/{id}/attempts/2.png"));
    assert!(server.ask(&format!("GET /api/jobs/{id}/attempts/2.png"), "").ends_with("attempt 2"));
    for file in ["3.png", "64.png", "2.jpeg", "-1.png", "x.png", "2"] {
        assert_eq!(ask(&server, &format!("GET /api/jobs/{id}/attempts/{file}"), "").0, 404, "{file}");
    }
}

#[test]
fn a_decision_is_about_a_finding_that_there_is() {
    let server = Running::start(|_| {});
    let job = painted(&server, &json!({"caption": "tried"}));
    let path = format!("POST /api/jobs/{}/decisions", job["id"].as_str().unwrap());
    let (status, refused) = ask(&server, &path, r#"{"about": "object", "index": 0}"#);
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("index")), "{refused}");
    assert_eq!(ask(&server, &path, r#"{"about": "weather", "index": 0}"#).0, 400);
}

#[test]
fn what_cannot_be_edited_or_begun_with_is_refused_by_its_name() {
    let server = Running::start(|_| {});
    let done = painted(&server, &json!({"caption": "good"}));
    let id = done["id"].as_str().unwrap();
    let nobody = "0".repeat(32);
    let bbox = [0.0, 0.0, 0.5, 0.5];
    let add = json!({"op": "add", "phrase": "a hat", "bbox": bbox});
    let edit = |job: &str, operations: Value| json!({"edit": {"job": job, "operations": operations}});
    let mut beside = edit(id, json!([add]));
    beside["steps"] = json!(3);
    for (request, param) in [
        (edit(&nobody, json!([add])), "edit"),
        (edit("../jobs", json!([add])), "edit"),
        (edit(id, json!([])), "edit"),
        (edit(id, json!(vec![add.clone(); 51])), "edit"),
        (edit(id, json!([{"op": "add", "phrase": " ", "bbox": bbox}])), "phrase"),
        (edit(id, json!([{"op": "recolour", "phrase": "a hat", "bbox": bbox, "strength": 0.0}])), "strength"),
        (beside, "edit"),
        (json!({"caption": "a hat", "init": {"image": nobody}}), "init"),
        (json!({"caption": "a hat", "init": {"image": id, "mask": nobody}}), "init"),
        (json!({"caption": "a hat", "init": {"image": id, "strength": 1.5}}), "strength"),
        (json!({"caption": "a hat", "attempts": 0}), "attempts"),
        (json!({"caption": "a hat", "attempts": 17}), "attempts"),
    ] {
        let (status, refused) = ask(&server, "POST /api/jobs", &request.to_string());
        assert_eq!((status, refused["error"]["param"].as_str()), (400, Some(param)), "{request}: {refused}");
    }
    let outside = edit(id, json!([{"op": "add", "phrase": "a hat", "bbox": [0.0, 0.0, 2.0, 0.5]}]));
    let (status, refused) = ask(&server, "POST /api/jobs", &outside.to_string());
    assert!(status == 400 && refused["error"]["message"].as_str().unwrap().contains("box"), "{refused}");
    assert_eq!(painted(&server, &edit(id, json!([add])))["edit"]["operations"], json!([add]));
}
