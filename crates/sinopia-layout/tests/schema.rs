//! The published JSON Schema and the reader say the same.
//!
//! The few keywords that the schema uses are interpreted here, so that no validator and its tree of crates is needed.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use serde_json::{Value, json};
use sinopia_layout::{Canvas, Layout, PixelBox, json::SCHEMA};

/// Whether `value` satisfies `schema`; a keyword unknown to this test fails it.
fn is_valid(schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, rule)| holds(keyword, rule, schema, value))
}

fn holds(keyword: &str, rule: &Value, schema: &Value, value: &Value) -> bool {
    let number = value.as_f64();
    let compare = |test: fn(f64, f64) -> bool| number.is_none_or(|number| test(number, rule.as_f64().unwrap()));
    match keyword {
        "$schema" | "title" | "description" | "default" => true,
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.is_i64() || value.is_u64(),
            other => panic!("unknown type {other}"),
        },
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(name, member)| rule.get(name).is_none_or(|schema| is_valid(schema, member)))
        }),
        "additionalProperties" => {
            assert_eq!(rule, &json!(false));
            value.as_object().is_none_or(|object| object.keys().all(|name| schema["properties"].get(name).is_some()))
        }
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(rule, item))),
        "prefixItems" => value.as_array().is_none_or(|items| {
            rule.as_array().unwrap().iter().zip(items).all(|(schema, item)| is_valid(schema, item))
        }),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
        "minimum" => compare(|number, limit| number >= limit),
        "maximum" => compare(|number, limit| number <= limit),
        "exclusiveMinimum" => compare(|number, limit| number > limit),
        "pattern" => {
            assert_eq!(rule, "\\S");
            value.as_str().is_none_or(|text| !text.trim().is_empty())
        }
        other => panic!("the schema uses `{other}`, which this test does not know"),
    }
}

fn check(document: &Value, expected: bool) {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let text = document.to_string();
    assert_eq!(is_valid(&schema, document), expected, "schema on {text}");
    assert_eq!(Layout::from_json(&text).is_ok(), expected, "reader on {text}: {:?}", Layout::from_json(&text));
}

/// The document with the member at `path` (as in JSON Pointer) replaced, or removed if `member` is null.
fn with(path: &str, member: Value) -> Value {
    let mut document = json!({
        "canvas": {"width": 640, "height": 480},
        "objects": [{"phrase": "a dog", "bbox": [1, 2.5, 3, 4]}, {"phrase": "a cat", "bbox": [-10, 2, 3000, 4]}],
        "background": "A beach",
        "negative": "birds",
    });
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    match (parent, member) {
        (Value::Object(object), Value::Null) => drop(object.remove(name)),
        (Value::Object(object), member) => drop(object.insert(name.to_owned(), member)),
        (Value::Array(items), member) => items[name.parse::<usize>().unwrap()] = member,
        _ => panic!("{path} has no parent"),
    }
    document
}

#[test]
fn accepted_documents() {
    check(&with("/background", json!("")), true);
    check(&with("/background", Value::Null), true);
    check(&with("/negative", Value::Null), true);
    check(&with("/objects", json!([])), true);
    check(&with("/objects", json!(vec![json!({"phrase": "a", "bbox": [0, 0, 1, 1]}); Layout::MAX_BOXES])), true);
    check(&with("/canvas/width", json!(Canvas::MAX_SIDE)), true);
    check(&with("/objects/0/bbox/2", json!(PixelBox::MAX_COORDINATE)), true);
    check(&with("/objects/0/bbox/0", json!(-PixelBox::MAX_COORDINATE)), true);
}

#[test]
fn refused_documents() {
    check(&with("/canvas", Value::Null), false);
    check(&with("/objects", Value::Null), false);
    check(&with("/title", json!("mine")), false);
    check(&with("/background", json!(3)), false);
    check(&with("/canvas/width", json!(0)), false);
    check(&with("/canvas/width", json!(-5)), false);
    check(&with("/canvas/width", json!(512.5)), false);
    check(&with("/canvas/height", json!(Canvas::MAX_SIDE + 1)), false);
    check(&with("/canvas/height", json!(u64::MAX)), false);
    check(&with("/canvas/depth", json!(3)), false);
    check(&with("/objects/0", json!("a dog")), false);
    check(&with("/objects/0/phrase", json!("")), false);
    check(&with("/objects/0/phrase", json!(" \n")), false);
    check(&with("/objects/0/phrase", Value::Null), false);
    check(&with("/objects/0/bbox", Value::Null), false);
    check(&with("/objects/0/bbox", json!([1, 2, 3])), false);
    check(&with("/objects/0/bbox", json!([1, 2, 3, 4, 5])), false);
    check(&with("/objects/0/bbox", json!({"x": 1})), false);
    check(&with("/objects/0/bbox/1", json!("2")), false);
    check(&with("/objects/0/bbox/2", json!(0)), false);
    check(&with("/objects/0/bbox/3", json!(-4)), false);
    check(&with("/objects/0/bbox/3", json!(2e6)), false);
    check(&with("/objects/0/colour", json!("blue")), false);
    check(&with("/objects", json!(vec![json!({"phrase": "a", "bbox": [0, 0, 1, 1]}); Layout::MAX_BOXES + 1])), false);
    check(&json!([]), false);
}
