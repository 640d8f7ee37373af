//! What the server's OpenAPI document says of a request is what the settings' descriptions say.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use serde_json::Value;
use sinopia::diffusion::settings::Kind;
use sinopia::studio::{CheckSettings, Described, PaintSettings};

const OPENAPI: &str = include_str!("../../../web/openapi.json");

#[test]
fn ranges_in_the_document_are_those_of_the_settings() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let properties = document["components"]["schemas"]["JobRequest"]["properties"].as_object().unwrap();
    let mut compared = Vec::new();
    for (name, schema) in properties {
        let Some(setting) = PaintSettings::setting(name).or_else(|| CheckSettings::setting(name)) else { continue };
        let (min, max) = match &setting.kind {
            // A seed may be text, too; how large steps may be is the server's own limit.
            Kind::Integer { max: u64::MAX, .. } => continue,
            Kind::Integer { min, max } => (*min as f64, *max as f64),
            Kind::Number(bounds) => (bounds.min.unwrap(), bounds.max.unwrap()),
            _ => continue,
        };
        assert_eq!(schema["minimum"].as_f64(), Some(min), "{name}");
        if name != "steps" {
            assert_eq!(schema["maximum"].as_f64(), Some(max), "{name}");
        }
        compared.push(name.as_str());
    }
    compared.sort_unstable();
    assert_eq!(compared, ["attempts", "deep_every", "guidance_scale", "height", "merge_tokens", "steps", "width"]);
}

#[test]
fn what_a_request_may_set_are_settings() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let properties = document["components"]["schemas"]["JobRequest"]["properties"].as_object().unwrap();
    let others = ["caption", "layout", "options", "judge", "init", "edit"];
    for name in properties.keys().filter(|name| !others.contains(&name.as_str())) {
        let is_setting = PaintSettings::setting(name).is_some() || CheckSettings::setting(name).is_some();
        assert!(is_setting, "`{name}` is no setting");
    }
}
