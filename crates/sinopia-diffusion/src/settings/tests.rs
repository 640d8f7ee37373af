use serde_json::json;

use super::*;

fn setting(kind: Kind) -> Setting {
    Setting::new("it", Group::Sampling, kind, json!(0), "What it is.")
}

#[track_caller]
fn reads(kind: &Kind, text: &str, value: Value) {
    assert_eq!(setting(kind.clone()).parse(text), Ok(value), "{text}");
}

#[track_caller]
fn refuses(kind: &Kind, text: &str, message: &str) {
    assert_eq!(setting(kind.clone()).parse(text).unwrap_err().to_string(), message);
}

#[test]
fn text_is_read_by_the_settings_own_type() {
    reads(&Kind::Boolean, " True", json!(true));
    reads(&Kind::Boolean, "off", json!(false));
    reads(&Kind::integer(1, 1000), "50", json!(50));
    reads(&Kind::integer(0, u64::MAX), "18446744073709551615", json!(u64::MAX));
    reads(&Kind::number(0.0, 10.0), "5", json!(5));
    reads(&Kind::number(0.0, 10.0), ".5", json!(0.5));
    reads(&Kind::Text, "5", json!("5"));
    reads(&Kind::Text, "\"a cat\"", json!("a cat"));
    reads(&Kind::Text, "a \"blue\" cat", json!("a \"blue\" cat"));
    let placement = Kind::choice(&[("floor_padding", "On a floor."), ("centered", "In the middle.")]);
    reads(&placement, "Floor-Padding", json!("floor_padding"));
    let schedule = Kind::List(Box::new(Kind::integer(0, 1000)));
    reads(&schedule, "[4, 3]", json!([4, 3]));
    reads(&schedule, "4 ×3, 2x1, 1", json!([4, 4, 4, 2, 1]));
    reads(&schedule, "", json!([]));
    let weights = Kind::Table { keys: Box::new(Kind::Text), values: Box::new(Kind::number(0.0, 100.0)) };
    reads(&weights, r#"{"a cat": 2}"#, json!({"a cat": 2}));
    reads(&Kind::Interval(Bounds::closed(0.0, 1.0)), "0.1..0.8", json!([0.1, 0.8]));
}

#[test]
fn what_is_refused_is_named_shown_and_what_is_expected_said() {
    refuses(&Kind::Boolean, "maybe", "`it` is `maybe`, expected true or false");
    refuses(&Kind::integer(1, 1000), "0", "`it` is 0, expected a whole number from 1 to 1000");
    refuses(&Kind::integer(0, u64::MAX), "-1", "`it` is `-1`, expected a whole number from 0");
    let share = Kind::Number(Bounds { above_min: true, ..Bounds::closed(0.0, 1.0) });
    refuses(&share, "0.0", "`it` is 0, expected a number above 0, at most 1");
    refuses(&share, "NaN", "`it` is `NaN`, expected a number above 0, at most 1");
    refuses(&Kind::Number(Bounds::from(0.0)), "inf", "`it` is `inf`, expected a number from 0");
    let prompts = Kind::choice(&[("point", ""), ("box", "")]);
    refuses(&prompts, "mask", "`it` is `mask`, expected `point` or `box`");
    let schedule = Kind::List(Box::new(Kind::integer(0, 1000)));
    refuses(&schedule, "4, 2000", "`it` is 2000, expected a list of whole numbers from 0 to 1000");
    refuses(&schedule, "4x2000", "`it` is `4x2000`, expected a list of whole numbers from 0 to 1000");
    let thresholds = Kind::Table { keys: Box::new(Kind::integer(0, 1000)), values: Box::new(Kind::number(0.0, 1.0)) };
    let expected = "a JSON object of numbers from 0 to 1 by whole numbers from 0 to 1000";
    refuses(&thresholds, "{\"one\": 0.5}", &format!("`it` is named `one`, expected {expected}"));
    refuses(&thresholds, "{\"1\": 2}", &format!("`it` is 2, expected {expected}"));
    let interval = Kind::Interval(Bounds::closed(0.0, 1.0));
    refuses(&interval, "0.8..0.1", "`it` is `[0.8,0.1]`, expected two rising numbers from 0 to 1, as `0.1..0.8`");
    refuses(&Kind::Boolean, &"x".repeat(100), &format!("`it` is `{}…`, expected true or false", "x".repeat(60)));
}

#[test]
fn json_is_taken_as_it_is() {
    let number = setting(Kind::number(0.0, 10.0));
    assert_eq!(number.check(&json!(0.5)), Ok(json!(0.5)));
    for other in [json!("0.5"), json!(true), json!([0.5]), json!(null), json!(11)] {
        assert!(number.check(&other).is_err(), "{other}");
    }
    assert_eq!(setting(Kind::Text).check(&json!(5)).unwrap_err().to_string(), "`it` is 5, expected text");
}

#[test]
fn large_whole_numbers_may_be_text_and_small_ones_not() {
    let seed = setting(Kind::integer(0, u64::MAX));
    assert_eq!(seed.check(&json!("18446744073709551615")), Ok(json!(u64::MAX)));
    assert!(seed.check(&json!("18446744073709551616")).is_err());
    assert!(setting(Kind::integer(1, 1000)).check(&json!("50")).is_err());
}

#[test]
fn null_is_a_value_where_nobody_has_to_say() {
    let open = Setting::new("it", Group::Sampling, Kind::Text, Value::Null, "What it is.");
    assert_eq!((open.parse("null"), open.check(&Value::Null)), (Ok(Value::Null), Ok(Value::Null)));
    assert_eq!(open.expected(), "text, or null");
    assert_eq!(setting(Kind::Text).parse("null"), Ok(json!("null")));
}

#[test]
fn settings_are_found_by_any_spelling_and_by_their_other_names() {
    let scale = Setting { aliases: vec!["cfg".into()], ..setting(Kind::Boolean) };
    let settings = [Setting { name: "guidance_scale".into(), ..scale }, setting(Kind::Text)];
    for name in ["guidance_scale", "Guidance-Scale", "CFG"] {
        assert_eq!(find(&settings, name).unwrap().name, "guidance_scale", "{name}");
    }
    assert_eq!(find(&settings, "scale"), None);
    assert_eq!(nearest(&settings, "guidance_scal"), "did you mean `guidance_scale`?");
    assert_eq!(nearest(&settings, "zzz"), "it has guidance_scale, it");
    assert_eq!(nearest(&[], "zzz"), "it has none");
}
