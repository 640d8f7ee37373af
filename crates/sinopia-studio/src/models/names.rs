//! Models' names: which edition of the weights is meant, where a model is, and what was probably meant by a name that is none.

use std::path::Path;

use sinopia_layout::names;
use sinopia_models::checkpoint::ModelSource;

use crate::{Error, Result};

/// What stands between a model's name and the edition of its weights.
const EDITION: char = '#';

/// A model's name with the edition of its weights, which recipes then have too.
///
/// # Errors
/// [`Error::VariantWord`], [`Error::VariantTwice`].
pub fn with_variant(model: &str, variant: &str) -> Result<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if variant.is_empty() || !variant.chars().all(is_word) {
        return Err(Error::VariantWord { variant: variant.to_owned() });
    }
    match edition(model) {
        (_, None) => Ok(format!("{model}{EDITION}{variant}")),
        (_, Some(_)) => Err(Error::VariantTwice { variant: variant.to_owned(), model: model.to_owned() }),
    }
}

/// A model's name without the edition of its weights.
pub fn without_variant(name: &str) -> &str {
    edition(name).0
}

/// A model's name without the edition of its weights, and the edition. What exists under the whole name is the model.
pub(crate) fn edition(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(EDITION) {
        Some((model, variant)) if !variant.is_empty() && !Path::new(name).exists() => (model, Some(variant)),
        _ => (name, None),
    }
}

/// Whether two names are of one model and edition: equal, or paths to the same file or folder.
pub fn is_same_model(a: &str, b: &str) -> bool {
    let ((model_a, variant_a), (model_b, variant_b)) = (edition(a), edition(b));
    let place = |model: &str| Path::new(model).canonicalize().ok();
    a == b || (variant_a == variant_b && place(model_a).is_some_and(|place_a| place(model_b) == Some(place_a)))
}

/// Where a model is that is not built in.
///
/// # Errors
/// [`Error::NoModel`] for what is neither a file, a folder nor a Hub name.
pub fn source(name: &str) -> Result<ModelSource> {
    ModelSource::parse(name).map_err(|error| match error {
        sinopia_models::Error::HubName { id } => Error::NoModel { hint: hint(&id), id },
        source => Error::Open { what: format!("the model `{name}`"), source: Box::new(source) },
    })
}

/// Short names that people have for models, and where those are on the Hub.
const SHORT_NAMES: [(&[&str], &str); 6] = [
    (
        &["sd", "sd1", "sd15", "stablediffusion", "stablediffusion15", "stablediffusionv15", "v15"],
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
    (&["sd14", "stablediffusion14", "stablediffusionv14"], "CompVis/stable-diffusion-v1-4"),
    (&["sd2", "sd20", "stablediffusion2", "stablediffusion20"], "stabilityai/stable-diffusion-2-base"),
    (&["sd21", "stablediffusion21"], "stabilityai/stable-diffusion-2-1-base"),
    (&["gligen"], "masterful/gligen-1-4-generation-text-box"),
    (&["lmdplus", "lmd"], "longlian/lmd_plus"),
];
/// How the names of other families begin.
const OTHER_FAMILIES: [&str; 12] = [
    "sdxl",
    "stablediffusionxl",
    "sd3",
    "stablediffusion3",
    "flux",
    "pixart",
    "kandinsky",
    "dalle",
    "midjourney",
    "qwen",
    "ssd1b",
    "wan",
];

/// What to do about a name that is no model's.
fn hint(name: &str) -> String {
    let folded = names::folded(name);
    if OTHER_FAMILIES.iter().any(|family| folded.starts_with(family)) {
        return "Stable Diffusion 1 and 2 and models trained from them are supported, other families are not: `--model stable-diffusion-v1-5/stable-diffusion-v1-5`".to_owned();
    }
    if let Some((_, repo)) = SHORT_NAMES.iter().find(|(names, _)| names.contains(&folded.as_str())) {
        return format!("on the Hub that is `{repo}`; it is fetched once, a few gigabytes");
    }
    match names::nearest(name, [sinopia_miniature::NAME]) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name `miniature` (built in), a folder, a `.safetensors` file or a Hub id such as `stable-diffusion-v1-5/stable-diffusion-v1-5`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_model_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert!(is_same_model(path, &format!("{path}/")) && is_same_model(path, &format!("{path}/.")));
        assert!(is_same_model(&format!("{path}#fp16"), &format!("{path}/#fp16")));
        assert!(!is_same_model(path, &format!("{path}#fp16")) && !is_same_model("a/b", "a/c"));
    }

    #[test]
    fn an_edition_is_part_of_a_models_name() {
        assert_eq!(with_variant("owner/name@main", "bf16").unwrap(), "owner/name@main#bf16");
        assert_eq!(edition("owner/name@main#bf16"), ("owner/name@main", Some("bf16")));
        assert_eq!(edition("owner/name"), ("owner/name", None));
        assert!(with_variant("a#fp16", "bf16").is_err() && with_variant("a", "../x").is_err());
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a#b");
        std::fs::create_dir(&odd).unwrap();
        assert_eq!(edition(odd.to_str().unwrap()), (odd.to_str().unwrap(), None));
    }
}
