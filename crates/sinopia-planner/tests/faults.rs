//! What the planner makes of servers and models that misbehave, and of those that do not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod scripted;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use scripted::{Reply, Server, chat, continuation, http, json_reply};
use serde_json::json;
use sinopia_layout::{Canvas, Layout, parse_answer};
use sinopia_planner::address::{ApiKey, BaseUrl};
use sinopia_planner::batch;
use sinopia_planner::cache::{Cache, Selection, export};
use sinopia_planner::cached::{self, CachedPlanner};
use sinopia_planner::chat::{ChatOptions, ChatPlanner};
use sinopia_planner::openai::{OpenAi, OpenAiOptions};
use sinopia_planner::retry::RetryPolicy;
use sinopia_planner::template::{AnswerFormat, Template};
use sinopia_planner::{Error, Plan, PlanContext, PlanEvent, PlanOptions, PlanTask, Planner};

const KEY: &str = "sk-do-not-show-me-0123456789";
const TWO_CATS: &str =
    "[('a cat', [40, 200, 180, 200]), ('a cat', [290, 200, 180, 200])]\nBackground prompt: A room\nNegative prompt: ";
const ONE_CAT: &str = "[('a cat', [40, 200, 180, 200])]\nBackground prompt: A room\nNegative prompt: ";
const CAPTION: &str = "two cats in a room";
/// Longer than any answer here takes, however slow the machine.
const LONG: Duration = Duration::from_secs(3600);

/// A planner with short pauses for the server, and what it told while it worked.
struct Desk {
    server: Server,
    model: &'static str,
    options: ChatOptions,
    told: RefCell<Vec<String>>,
}

impl Desk {
    fn new(script: Vec<Reply>) -> Self {
        let ms = Duration::from_millis;
        let retry = RetryPolicy { first_pause: ms(5), longest_pause: ms(20), ..RetryPolicy::default() };
        let plan = PlanOptions { request_timeout: LONG, total_timeout: LONG, ..PlanOptions::default() };
        let options = ChatOptions { plan, retry, ..ChatOptions::default() };
        Self { server: Server::start(script), model: "gpt-4", options, told: RefCell::default() }
    }

    fn openai(&self) -> OpenAi {
        let mut options = OpenAiOptions::new(self.model, BaseUrl::parse(&self.server.base_url()).unwrap());
        options.key = Some(ApiKey::new(KEY, "SINOPIA_LLM_API_KEY").unwrap());
        OpenAi::new(options)
    }

    fn format(&self) -> AnswerFormat {
        sinopia_planner::presets::preset(self.model).format
    }

    fn planner(&self) -> ChatPlanner {
        ChatPlanner::new(self.openai(), Template::built_in(self.format()).unwrap(), self.options.clone())
    }

    fn ask(&self, planner: &dyn Planner) -> Result<Plan, Error> {
        let tell = |event: &PlanEvent| self.told.borrow_mut().push(event.to_string());
        planner.plan(&PlanTask::caption(CAPTION), &PlanContext::default().on_event(&tell))
    }

    fn plan_with(&self, cache: &Arc<Cache>) -> Result<Plan, Error> {
        self.ask(&CachedPlanner::new(self.planner(), cache.clone()))
    }

    fn plan(&self) -> Result<Plan, Error> {
        self.ask(&self.planner())
    }

    /// The same with other limits.
    fn limited(self, limit: impl FnOnce(&mut ChatOptions)) -> Self {
        let mut desk = self;
        limit(&mut desk.options);
        desk
    }

    /// The error with its causes, checked for the key.
    fn fails(&self) -> String {
        let error = self.plan().unwrap_err();
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            message.push_str(&format!(" <- {inner}"));
            cause = inner.source();
        }
        let everything = format!("{message}\n{error:?}\n{:?}\n{:?}", error.hint(), self.told.borrow());
        assert!(!everything.contains(KEY), "the key is shown: {everything}");
        message
    }

    fn requests(&self) -> usize {
        self.server.asked().len()
    }
}

#[test]
fn a_good_answer_is_a_plan() {
    let desk = Desk::new(vec![chat(TWO_CATS)]);
    let plan = desk.plan().unwrap();
    assert_eq!(plan.layout, parse_answer(TWO_CATS).unwrap());
    assert_eq!((plan.usage.requests, plan.usage.prompt_tokens, plan.usage.completion_tokens), (1, 100, 20));
    let asked = &desk.server.asked()[0];
    assert_eq!(asked.path, "/v1/chat/completions");
    assert_eq!(asked.authorization.as_deref(), Some(format!("Bearer {KEY}").as_str()));
    assert!(desk.server.said(0).ends_with("Caption: two cats in a room\nObjects:"), "{}", desk.server.said(0));
}

#[test]
fn a_model_that_continues_texts_gets_a_text() {
    let desk = Desk { model: "StableBeluga2", ..Desk::new(vec![continuation(ONE_CAT), continuation(TWO_CATS)]) };
    assert_eq!(desk.plan().unwrap().layout.objects.len(), 2);
    assert_eq!(desk.server.asked()[1].path, "/v1/completions");
    let said = desk.server.said(1);
    assert!(said.contains(&format!("Objects: {}", ONE_CAT.trim())) && said.ends_with("Objects:"), "{said}");
}

#[test]
fn a_wrong_answer_gets_one_repair_turn_that_says_what_is_wrong() {
    let desk = Desk::new(vec![chat(ONE_CAT), chat(TWO_CATS)]);
    let plan = desk.plan().unwrap();
    assert_eq!((plan.layout.objects.len(), plan.usage.requests, plan.usage.prompt_tokens), (2, 2, 200));
    assert!(
        desk.server.said(1).contains("- the caption says 2 × cat, but there is 1 box for it"),
        "{}",
        desk.server.said(1)
    );
    assert_eq!(desk.server.asked()[1].body["messages"].as_array().unwrap().len(), 3);
    let desk = Desk::new(vec![chat("I am sorry, I cannot draw."), chat(TWO_CATS)]);
    assert!(desk.plan().is_ok());
    assert!(desk.server.said(1).contains("does not have the form"), "{}", desk.server.said(1));
}

#[test]
fn answers_that_stay_wrong_end_in_an_error_with_the_last_one() {
    let others = [250, 240, 230].map(|x| chat(&ONE_CAT.replace("40", &x.to_string())));
    let desk = Desk::new(others.into_iter().chain([chat(ONE_CAT)]).collect());
    let message = desk.fails();
    assert!(
        message.contains("in 4 answers") && message.contains("2 × cat") && message.contains("[('a cat', [40, 200"),
        "{message}"
    );
    assert_eq!(desk.requests(), 4);
    let desk = Desk::new(vec![chat(ONE_CAT)]).limited(|options| options.plan.is_lenient = true);
    let plan = desk.plan().unwrap();
    assert!(plan.findings.iter().any(sinopia_planner::checks::Finding::is_fault));
}

#[test]
fn the_best_of_several_candidates_is_kept() {
    let overlapping = TWO_CATS.replace("290", "120");
    let script = vec![chat(&overlapping), chat(TWO_CATS), chat(&overlapping)];
    let desk = Desk::new(script).limited(|options| options.plan.candidates = 3);
    assert_eq!(desk.plan().unwrap().layout, parse_answer(TWO_CATS).unwrap());
    assert_eq!(desk.requests(), 2, "a perfect layout ends the search");
}

#[test]
fn too_many_requests_and_server_errors_are_tried_again() {
    let busy = json!({"error": {"message": "slow down"}});
    let script = vec![
        json_reply("429 Too Many Requests", "Retry-After: 0.2\r\n", &busy),
        http("500 Internal Server Error", "", b"oops"),
        http("503 Service Unavailable", "Content-Type: text/html\r\n", b"<html>"),
        chat(TWO_CATS),
    ];
    let desk = Desk::new(script);
    let plan = desk.plan().unwrap();
    assert_eq!(plan.usage.requests, 4);
    let told = desk.told.borrow().join("\n");
    assert!(told.contains("429: slow down; trying again in 0.2 s") && told.contains("500: oops"), "{told}");
}

#[test]
fn retries_end() {
    let desk = Desk::new(vec![http("500 Internal Server Error", "", b"oops")]);
    let message = desk.fails();
    assert!(message.contains("5 requests") && message.contains("500: oops"), "{message}");
    assert_eq!(desk.requests(), 5);
    let long = json_reply("429 Too Many Requests", "Retry-After: 3600\r\n", &json!({"error": {"message": "tomorrow"}}));
    let desk = Desk::new(vec![long]);
    assert!(desk.fails().contains("tomorrow"));
    assert_eq!(desk.requests(), 1, "an hour is not waited for");
}

#[test]
fn what_the_client_did_wrong_is_not_repeated() {
    for (status, word) in
        [("401 Unauthorized", "Incorrect API key"), ("404 Not Found", "no such model"), ("400 Bad Request", "too long")]
    {
        let body = json!({"error": {"message": format!("{word}: {KEY}"), "code": "x"}});
        let desk = Desk::new(vec![json_reply(status, "", &body)]);
        let message = desk.fails();
        assert!(message.contains(word) && message.contains('…'), "{message}");
        assert_eq!(desk.requests(), 1, "{status}");
    }
    let quota = json!({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}});
    let desk = Desk::new(vec![json_reply("429 Too Many Requests", "", &quota)]);
    assert!(desk.fails().contains("quota"));
    assert_eq!(desk.requests(), 1);
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let desk = Desk::new(vec![Reply::Hang]).limited(|options| {
        options.plan.request_timeout = Duration::from_millis(150);
        options.retry.max_retries = 1;
    });
    let message = desk.fails();
    assert!(message.contains("no complete answer within 0.15 s") && message.contains("2 requests"), "{message}");
}

#[test]
fn a_body_that_never_ends_is_given_up() {
    // The head promises more than ever comes, and the connection stays open in between.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                use std::io::Write as _;
                let _ = connection
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{");
                scripted::wait_for_end(&mut connection);
            });
        }
    });
    let provider = OpenAi::new(OpenAiOptions::new("gpt-4", BaseUrl::parse(&url).unwrap()));
    let template = Template::built_in(AnswerFormat::Text).unwrap();
    let options = ChatOptions {
        plan: PlanOptions { request_timeout: Duration::from_millis(200), ..PlanOptions::default() },
        retry: RetryPolicy { max_retries: 0, ..RetryPolicy::default() },
        ..ChatOptions::default()
    };
    let planner = ChatPlanner::new(provider, template, options);
    let error = planner.plan(&PlanTask::caption(CAPTION), &PlanContext::default()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("no complete answer"), "{cause}");
}

#[test]
fn the_whole_plan_has_an_end_too() {
    // Whoever has an hour does not wait for a day.
    let desk = Desk::new(vec![http("503 Service Unavailable", "Retry-After: 86400\r\n", b"later")])
        .limited(|options| options.retry.longest_retry_after = Duration::from_secs(2 * 86_400));
    let message = desk.fails();
    assert!(message.contains("no layout after 3600 s") && message.contains("later"), "{message}");
    assert_eq!(desk.requests(), 1);
}

#[test]
fn answers_that_are_cut_or_no_text_are_tried_again() {
    let whole = match chat(TWO_CATS) {
        Reply::Bytes(bytes) => bytes,
        Reply::Hang | Reply::Held(..) => unreachable!("a chat is bytes"),
    };
    let half_connection = Reply::Bytes(whole[..whole.len() - 40].to_vec());
    let json_headers = "Content-Type: application/json\r\n";
    let half_json = http("200 OK", json_headers, b"{\"choices\": [{\"mess");
    let not_utf8 = http("200 OK", json_headers, b"{\"choices\": \"\xff\xfe\"}");
    let empty = chat("  ");
    for (reply, word) in [
        (half_connection, "connection"),
        (half_json, "cannot be read"),
        (not_utf8, "not UTF-8"),
        (empty, "answered nothing"),
        (Reply::Bytes(Vec::new()), "connection"),
        (json_reply("200 OK", "", &json!({"error": {"message": "out of memory"}})), "out of memory"),
        (json_reply("200 OK", "", &json!({"choices": []})), "no choice"),
    ] {
        let desk = Desk::new(vec![reply, chat(TWO_CATS)]);
        assert!(desk.plan().is_ok(), "{word}");
        let told = desk.told.borrow().join("\n");
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[test]
fn answers_of_another_kind_or_size_are_refused() {
    let desk = Desk::new(vec![http("200 OK", "Content-Type: text/html; charset=utf-8\r\n", b"<html>Welcome</html>")]);
    let message = desk.fails();
    assert!(message.contains("text/html") && desk.requests() == 1, "{message}");
    let huge = chat(&"x".repeat(10 * 1024 * 1024));
    let desk = Desk::new(vec![huge]);
    let message = desk.fails();
    assert!(message.contains("more than 1048576 bytes") && desk.requests() == 1, "{message}");
}

#[test]
fn a_redirect_to_another_host_is_refused_and_never_sees_the_key() {
    let thief = Server::start(vec![chat(TWO_CATS)]);
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("Location: {}/v1/chat/completions?{KEY}\r\n", thief.address);
        let desk = Desk::new(vec![http(status, &location, b"")]);
        let message = desk.fails();
        assert!(message.contains("redirects") && message.contains("127.0.0.1"), "{message}");
        assert_eq!(desk.requests(), 1);
    }
    assert!(thief.asked().is_empty(), "the other host was asked");
}

#[test]
fn a_redirect_on_the_same_server_is_followed_a_few_times() {
    let desk = Desk::new(vec![http("307 Temporary Redirect", "Location: /api/chat\r\n", b""), chat(TWO_CATS)]);
    assert!(desk.plan().is_ok());
    assert_eq!(desk.server.asked()[1].path, "/api/chat");
    assert!(desk.server.asked()[1].body["messages"].is_array());
    let desk = Desk::new(vec![http("308 Permanent Redirect", "Location: /v1/chat/completions\r\n", b"")]);
    assert!(desk.fails().contains("again and again"));
    assert_eq!(desk.requests(), 4);
}

#[test]
fn a_server_without_schemas_is_asked_without() {
    let unknown = json!({"error": {"message": "unknown field: response_format"}});
    let answer = r#"{"objects": [{"phrase": "a cat", "bbox": [40, 200, 180, 200]}, {"phrase": "a cat", "bbox": [290, 200, 180, 200]}], "background": "A room", "negative": ""}"#;
    let other = json!({"error": {"message": "body.response_format.type: input should be 'text' or 'json_object'"}});
    let refusals = [json_reply("500 Internal Server Error", "", &other), json_reply("400 Bad Request", "", &unknown)];
    let desk = Desk { model: "qwen3", ..Desk::new(refusals.into_iter().chain([chat(answer)]).collect()) };
    assert_eq!(desk.plan().unwrap().layout.objects.len(), 2);
    let asked = desk.server.asked();
    assert!(asked[0].body["response_format"]["json_schema"]["schema"].is_object());
    assert_eq!(asked[1].body["response_format"]["type"], "json_object");
    assert_eq!(asked[1].body["response_format"]["schema"], asked[0].body["response_format"]["json_schema"]["schema"]);
    assert_eq!(asked[2].body.get("response_format"), None);
    assert!(asked[0].body["messages"][0]["content"].as_str().unwrap().ends_with("JSON:"));
}

#[test]
fn only_validated_answers_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::open(&folder.path().join("plans.sqlite")).unwrap());
    let desk = Desk::new(vec![chat(ONE_CAT), chat(TWO_CATS)]);
    assert!(!desk.plan_with(&cache).unwrap().is_cached);
    let again = desk.plan_with(&cache).unwrap();
    assert!(again.is_cached && again.usage.requests == 0 && desk.requests() == 2);
    assert_eq!(again.layout, parse_answer(TWO_CATS).unwrap());
    let rows = cache.list(&Selection::default()).unwrap();
    assert_eq!(rows.iter().map(|row| row.entry.answer.as_str()).collect::<Vec<_>>(), [TWO_CATS]);
    let stored = format!("{rows:?}");
    assert!(!stored.contains(KEY), "{stored}");
    let bad = Desk::new(vec![chat(ONE_CAT)]).limited(|options| options.plan.is_lenient = true);
    bad.plan_with(&cache).unwrap();
    assert_eq!(cache.list(&Selection::default()).unwrap().len(), 1, "an answer with a fault was remembered");
}

#[test]
fn recorded_answers_go_in_and_come_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::open(&folder.path().join("plans.sqlite")).unwrap());
    let desk = Desk::new(vec![]);
    let planner = desk.planner();
    let import = |occurrence: usize, answer: &str| {
        cached::import(&planner, &cache, &PlanTask { occurrence, ..PlanTask::caption(CAPTION) }, answer)
    };
    assert!(import(0, TWO_CATS).unwrap());
    assert!(!import(0, TWO_CATS).unwrap());
    assert!(import(1, ONE_CAT).is_err());
    assert!(desk.plan_with(&cache).unwrap().is_cached);
    assert_eq!(export(&cache.list(&Selection::default()).unwrap())[CAPTION], [TWO_CATS]);
    assert_eq!(desk.requests(), 0);
}

#[test]
fn an_edit_shows_the_layout_and_keeps_its_canvas() {
    let moved =
        r#"{"objects": [{"phrase": "a dog", "bbox": [10, 100, 200, 200]}], "background": "A room", "negative": ""}"#;
    let desk = Desk { model: "qwen3", ..Desk::new(vec![chat(moved)]) };
    let mut layout =
        parse_answer("[('a dog', [300, 100, 200, 200])]\nBackground prompt: A room\nNegative prompt: ").unwrap();
    layout.canvas = Canvas::new(640, 480).unwrap();
    let plan = desk.planner().plan(&PlanTask::edit(&layout, "move the dog left"), &PlanContext::default()).unwrap();
    assert_eq!((plan.layout.canvas, plan.layout.objects[0].bbox.x()), (layout.canvas, 10.0));
    let said = desk.server.said(0);
    assert!(said.contains("[300,100,200,200]") && said.contains("move the dog left") && said.contains("640"), "{said}");
}

#[test]
fn a_batch_plans_each_caption_and_stops_when_none_can_succeed() {
    let items = batch::items(&"two cats in a room\n".repeat(6));
    let run = |script: Vec<Reply>| {
        let desk = Desk::new(script);
        let count = std::sync::atomic::AtomicUsize::new(0);
        let report = batch::run(&desk.planner(), &items, 3, &|_, _| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        (report, count.into_inner())
    };
    let (report, done) = run(vec![chat(TWO_CATS)]);
    let layouts: Vec<&Layout> = report.results.iter().flatten().flatten().map(|plan| &plan.layout).collect();
    assert_eq!((layouts.len(), done, report.usage.requests, report.usage.completion_tokens), (6, 6, 6, 120));
    let (report, _) = run(vec![json_reply("401 Unauthorized", "", &json!({"error": {"message": "no"}}))]);
    let begun = report.results.iter().flatten().count();
    assert!((1..=3).contains(&begun), "{begun} were begun with a wrong key");
}

#[test]
fn what_is_called_off_is_asked_no_more() {
    let busy = http("503 Service Unavailable", "", b"later");
    let desk = Desk::new(vec![busy]).limited(|options| options.retry.first_pause = Duration::from_secs(60));
    let is_cancelled = || desk.requests() > 0;
    let context = PlanContext::default().cancelled_by(&is_cancelled);
    let error = desk.planner().plan(&PlanTask::caption(CAPTION), &context).unwrap_err();
    assert!(error.is_cancelled() && !error.is_bad_input(), "{error}");
    assert_eq!(desk.requests(), 1, "it was asked again, or waited for");
}

#[test]
fn a_task_may_have_a_canvas_and_be_lenient() {
    let desk = Desk::new(vec![chat(ONE_CAT)]);
    let canvas = Canvas::new(640, 480).unwrap();
    let task = PlanTask { canvas: Some(canvas), is_lenient: true, ..PlanTask::caption(CAPTION) };
    let plan = desk.planner().plan(&task, &PlanContext::default()).unwrap();
    assert_eq!((plan.layout.canvas, plan.layout.objects.len()), (canvas, 1));
    assert!(desk.server.said(0).contains("640"), "{}", desk.server.said(0));
}

#[test]
fn who_is_asked_for_what_is_told() {
    let others = [250, 240, 230].map(|x| chat(&ONE_CAT.replace("40", &x.to_string())));
    let desk = Desk::new(others.into_iter().chain([chat(ONE_CAT)]).collect());
    assert!(desk.fails().starts_with("gpt-4 gave no usable layout in 4 answers to `two cats in a room`"));
    insta::assert_snapshot!(desk.told.borrow().join("\n"), @r"
    asking gpt-4 for a layout
    asking gpt-4 to repair its layout: the caption says 2 × cat, but there is 1 box for it: draw one box for each
    asking gpt-4 from the beginning, as its layout still cannot be used: the caption says 2 × cat, but there is 1 box for it: draw one box for each
    asking gpt-4 to repair its layout: the caption says 2 × cat, but there is 1 box for it: draw one box for each
    ");
}
