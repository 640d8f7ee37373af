//! A request to paint in the words of settings, so that the same checks and the same code do the rest.

use std::sync::Arc;

use serde_json::{Map, Value};
use sinopia_server::engine::Sources;
use sinopia_server::wire::JobRequest;
use sinopia_studio::{Described, InitPicture, NamedBytes, PaintSettings, PaintSpec, Result};

/// The picture that a request begins with, if it begins with one. Its recipe names it by its name here and by its content.
pub(super) fn init(request: &JobRequest, sources: &Sources) -> Result<Option<Arc<InitPicture>>> {
    let (Some(init), Some(image)) = (&request.init, &sources.image) else { return Ok(None) };
    let mask = init.mask.as_deref().zip(sources.mask.as_deref());
    let named = |name, bytes| NamedBytes { name, bytes };
    let picture =
        InitPicture::new(named(&init.image, image), mask.map(|(name, bytes)| named(name, bytes)), init.strength)?;
    Ok(Some(Arc::new(picture)))
}

/// What a request asks for. Where models and their like are comes from `defaults`; all else was filled in when the request was accepted.
pub(super) fn spec(
    request: &JobRequest,
    init: Option<Arc<InitPicture>>,
    defaults: &PaintSettings,
) -> Result<PaintSpec> {
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
        init,
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
