//! What servers and models answer besides what the protocol and the prompt say: read where its meaning is clear, else refused at once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod scripted;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use scripted::{Reply, Server, chat, json_reply};
use serde_json::{Value, json};
use sinopia_layout::parse_answer;
use sinopia_planner::address::BaseUrl;
use sinopia_planner::cache::{Cache, Selection};
use sinopia_planner::cached::CachedPlanner;
use sinopia_planner::chat::{ChatOptions, ChatPlanner};
use sinopia_planner::openai::{OpenAi, OpenAiOptions};
use sinopia_planner::presets::Endpoint;
use sinopia_planner::retry::RetryPolicy;
use sinopia_planner::template::Template;
use sinopia_planner::{Error, Plan, PlanContext, PlanEvent, PlanTask, Planner};

const CAPTION: &str = "a blue bike and a lamp on a street";
const TEXT: &str = "[('a blue bike', [64, 128, 192, 256]), ('a lamp', [320, 32, 128, 384])]\nBackground prompt: A street\nNegative prompt: ";
const JSON: &str = r#"{"objects": [{"phrase": "a blue bike", "bbox": [64, 128, 192, 256]}, {"phrase": "a lamp", "bbox": [320, 32, 128, 384]}], "background": "A street", "negative": ""}"#;

/// A planner for a server with a script.
struct Desk {
    server: Server,
    planner: ChatPlanner,
    told: RefCell<Vec<String>>,
}

impl Desk {
    fn new(script: Vec<Reply>) -> Self {
        Self::asking("qwen3", script, |_| {})
    }

    fn asking(model: &str, script: Vec<Reply>, set: impl FnOnce(&mut OpenAiOptions)) -> Self {
        let server = Server::start(script);
        let mut options = OpenAiOptions::new(model, BaseUrl::parse(&server.base_url()).unwrap());
        set(&mut options);
        let template = Template::built_in(options.preset.format).unwrap();
        let ms = Duration::from_millis;
        let retry = RetryPolicy { first_pause: ms(5), longest_pause: ms(20), ..RetryPolicy::default() };
        let planner = ChatPlanner::new(OpenAi::new(options), template, ChatOptions { retry, ..ChatOptions::default() });
        Self { server, planner, told: RefCell::default() }
    }

    fn plan(&self) -> Result<Plan, Error> {
        let tell = |event: &PlanEvent| self.told.borrow_mut().push(event.to_string());
        self.planner.plan(&PlanTask::caption(CAPTION), &PlanContext::default().on_event(&tell))
    }

    /// The error with its cause, and the hint.
    fn fails(&self) -> (String, String) {
        let error = self.plan().unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        (format!("{error}: {cause}"), error.hint().unwrap_or_default())
    }

    fn keys(&self, index: usize) -> Vec<String> {
        let mut keys: Vec<String> = self.server.asked()[index].body.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    }

    fn requests(&self) -> usize {
        self.server.asked().len()
    }
}

fn message(message: &Value, finish: &str) -> Reply {
    json_reply("200 OK", "", &json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}]}))
}

fn refusal(message: &str, param: Option<&str>) -> Reply {
    json_reply("400 Bad Request", "", &json!({"error": {"message": message, "param": param, "code": "x"}}))
}

#[test]
fn the_good_layout_is_found_in_answers_of_many_shapes() {
    let twice = Value::from(JSON).to_string();
    for (reply, note) in [
        (chat(JSON), None),
        (chat(TEXT), None),
        (chat(&format!("<think>\n[('a bike', [1, 1, 5, 5])]\nBackground prompt: no\n</think>\n\n{JSON}")), None),
        (chat(&format!("[('a bike', [1, 1, 5, 5])]\nBackground prompt: no\n</think>\n\n{JSON}")), None),
        (
            chat(&format!(
                "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{JSON}"
            )),
            None,
        ),
        (chat(&twice), None),
        (chat(&format!("```json\n{JSON}\n```")), None),
        (message(&json!({"content": [{"type": "text", "text": JSON}]}), "stop"), None),
        (message(&json!({"content": null, "reasoning_content": JSON}), "stop"), Some("as the model's reasoning")),
        (
            chat(
                &JSON
                    .replace("[64, 128, 192, 256]", "[125, 250, 500, 750]")
                    .replace("[320, 32, 128, 384]", "[625, 62.5, 875, 812.5]"),
            ),
            Some("thousandths"),
        ),
        (
            chat(
                &JSON
                    .replace("[64, 128, 192, 256]", "[0.125, 0.25, 0.375, 0.5]")
                    .replace("[320, 32, 128, 384]", "[0.625, 0.0625, 0.25, 0.75]"),
            ),
            Some("shares"),
        ),
    ] {
        let desk = Desk::new(vec![reply]);
        let plan = desk.plan().unwrap();
        assert_eq!((&plan.layout, desk.requests()), (&parse_answer(TEXT).unwrap(), 1));
        let told = plan.understood.join("; ");
        assert!(note.map_or(told.is_empty(), |note| told.contains(note)), "{told}");
    }
}

#[test]
fn a_parameter_that_a_server_refuses_is_left_out_from_then_on() {
    let newer =
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    let cases = [
        (refusal(newer, Some("max_tokens")), "max_tokens", Some("max_completion_tokens")),
        (refusal("'temperature' does not support 0.25 with this model.", Some("temperature")), "temperature", None),
        (
            json_reply(
                "422 Unprocessable Entity",
                "",
                &json!({"detail": "temperature: extra inputs are not permitted"}),
            ),
            "temperature",
            None,
        ),
    ];
    for (reply, refused, instead) in cases {
        let desk = Desk::new(vec![reply, chat(JSON)]);
        let plan = desk.plan().unwrap();
        assert!(plan.understood[0].contains(refused) && plan.usage.requests == 2, "{plan:?}");
        desk.plan().unwrap();
        assert_eq!(desk.requests(), 3, "it was sent again");
        for index in [1, 2] {
            let keys = desk.keys(index);
            assert!(
                !keys.iter().any(|key| key == refused) && desk.keys(0).iter().any(|key| key == refused),
                "{keys:?}"
            );
            assert!(instead.is_none_or(|name| keys.iter().any(|key| key == name)), "{keys:?}");
        }
    }
}

#[test]
fn several_parameters_are_refused_one_after_the_other() {
    let script = vec![
        refusal("response_format is unavailable", None),
        refusal("json_schema is unavailable", Some("response_format.type")),
        refusal("unknown field `max_tokens`", None),
        refusal("unknown field `max_completion_tokens`", None),
        refusal("unknown field `temperature`", None),
        chat(JSON),
    ];
    let desk = Desk::new(script);
    assert!(desk.plan().is_ok());
    assert_eq!((desk.requests(), desk.keys(5)), (6, vec!["messages".to_owned(), "model".to_owned()]));
    // What cannot be left out is told with the name that the server has for it.
    let desk = Desk::new(vec![refusal("Required", Some("reasoning.effort"))]);
    let (error, _) = desk.fails();
    assert!(error.contains("400: Required (parameter `reasoning.effort`)") && desk.requests() == 1, "{error}");
}

#[test]
fn the_responses_endpoint_is_told_that_it_may_answer_with_text() {
    let output = json!({"status": "completed", "output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": [{"type": "output_text", "text": JSON}]}]});
    let script = vec![refusal("Required", Some("text.format")), json_reply("200 OK", "", &output)];
    let desk = Desk::asking("gpt-5", script, |options| {
        options.preset.endpoint = Endpoint::Responses;
        options.use_schema = false;
    });
    assert_eq!(desk.plan().unwrap().layout.objects.len(), 2);
    assert_eq!(desk.server.asked()[1].body["text"]["format"]["type"], "text");
}

#[test]
fn hopeless_answers_are_not_asked_for_again_and_again() {
    let thoughts = json!({"content": "", "reasoning": "Let me think about the boxes. "});
    let cut = message(&thoughts, "length");
    for (reply, requests, error, hint) in [
        (cut, 1, "answered nothing: length, though it reasoned", "--llm-max-tokens"),
        (message(&thoughts, "stop"), 1, "though it reasoned", "--llm-max-tokens"),
        (chat(" "), 2, "answered nothing", ""),
        (
            message(&json!({"content": "", "refusal": "I can't help with that."}), "stop"),
            1,
            "refuses to answer: I can't",
            "wording",
        ),
        (message(&json!({"content": "[]"}), "content_filter"), 1, "refuses to answer", "wording"),
        (chat("I'm sorry, I can't draw that."), 2, "in 2 answers", ""),
        (chat("{\"objects\": [{\"phrase\": \"a blue"), 2, "it is the same answer as before", ""),
        (
            json_reply("200 OK", "", &json!({"error": {"message": "Provider returned error", "code": 502}})),
            2,
            "502: Provider returned error",
            "",
        ),
        (
            refusal("request (4501 tokens) exceeds the available context size (4096 tokens), try increasing it", None),
            1,
            "4501 tokens",
            "with a larger one",
        ),
        (
            json_reply(
                "404 Not Found",
                "",
                &json!({"error": {"message": "model \"qwen9\" not found, try pulling it first"}}),
            ),
            1,
            "qwen9",
            "--llm-model",
        ),
    ] {
        let desk = Desk::new(vec![reply]);
        let (message, given) = desk.fails();
        assert!(message.contains(error) && given.contains(hint), "{message}\n{given}");
        assert_eq!(desk.requests(), requests, "{message}");
    }
}

#[test]
fn what_was_cut_off_is_told() {
    let desk = Desk::new(vec![message(&json!({"content": JSON.split_at(60).0}), "length")]);
    let (error, _) = desk.fails();
    assert!(error.contains("`--llm-max-tokens` allows more"), "{error}");
    let desk = Desk::new(vec![message(&json!({"content": JSON}), "length")]);
    let plan = desk.plan().unwrap();
    assert!(plan.is_doubtful && plan.understood[0].contains("--llm-max-tokens"), "{:?}", plan.understood);
}

#[test]
fn nothing_doubtful_is_remembered_and_what_is_sure_without_its_thoughts() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Arc::new(Cache::open(&folder.path().join("plans.sqlite")).unwrap());
    let remembered = || cache.list(&Selection::default()).unwrap();
    // Both as sides and as corners they would lie inside.
    let guess = JSON
        .replace("[64, 128, 192, 256]", "[0.1, 0.2, 0.3, 0.4]")
        .replace("[320, 32, 128, 384]", "[0.4, 0.2, 0.55, 0.3]");
    for doubtful in
        [chat(&guess), message(&json!({"content": JSON}), "length"), message(&json!({"reasoning": JSON}), "stop")]
    {
        let desk = Desk::new(vec![doubtful]);
        let planner = CachedPlanner::new(desk.planner, cache.clone());
        let plan = planner.plan(&PlanTask::caption(CAPTION), &PlanContext::default()).unwrap();
        assert!(plan.is_doubtful && remembered().is_empty(), "{:?}", plan.understood);
    }
    let desk = Desk::new(vec![chat(&format!("<think>hm</think>{TEXT}"))]);
    let planner = CachedPlanner::new(desk.planner, cache.clone());
    planner.plan(&PlanTask::caption(CAPTION), &PlanContext::default()).unwrap();
    let answers: Vec<String> = remembered().into_iter().map(|row| row.entry.answer).collect();
    assert_eq!(answers.len(), 1);
    assert!(!answers[0].contains("think") && parse_answer(&answers[0]) == parse_answer(TEXT), "{answers:?}");
}

#[test]
fn a_layout_without_a_box_that_can_be_painted_is_a_fault() {
    let lost = JSON.replace("[64, 128, 192, 256]", "[9000, 1, 5, 5]").replace("[320, 32, 128, 384]", "[9000, 9, 5, 5]");
    let desk = Desk::new(vec![chat(&lost), chat(JSON)]);
    assert_eq!(desk.plan().unwrap().layout.objects.len(), 2);
    assert!(desk.server.said(1).contains("none of its boxes can be painted"), "{}", desk.server.said(1));
}
