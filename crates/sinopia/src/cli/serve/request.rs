//! A request to paint in the words of settings, so that the same checks and the same code do the rest.

use serde_json::{Map, Value};
use sinopia_server::wire::JobRequest;
use sinopia_studio::{Described, PaintSettings, PaintSpec, Result};

/// What a request asks for. Where models and their like are comes from `defaults`; all else was filled in when the request was accepted.
pub(super) fn spec(request: &JobRequest, defaults: &PaintSettings) -> Result<PaintSpec> {
    let mut settings = PaintSettings { options: request.options.clone(), ..settings(request)? };
    settings.sam = defaults.sam.clone();
    (settings.precision, settings.device) = (defaults.precision, defaults.device);
    if settings.needs_ella() {
        (settings.t5, settings.ella) = (defaults.t5.clone(), defaults.ella.clone());
    }
    Ok(PaintSpec {
        caption: request.caption.clone(),
        layout: request.layout.clone(),
        is_planned: request.caption.is_some(),
        settings,
        ..PaintSpec::default()
    })
}

/// Those fields of a request that are settings: they have the same names.
fn settings(request: &JobRequest) -> Result<PaintSettings> {
    let Ok(Value::Object(fields)) = serde_json::to_value(request) else { return Ok(PaintSettings::default()) };
    let mut values = Map::new();
    for (name, value) in fields {
        if let Some(setting) = PaintSettings::setting(&name).filter(|_| !value.is_null()) {
            values.insert(name, setting.check(&value)?);
        }
    }
    PaintSettings::from_values(values)
}
