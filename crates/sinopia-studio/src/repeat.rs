//! A picture painted again from its recipe, with what is said anew in the place of what the recipe says.

use std::path::Path;
use std::sync::Arc;

use semver::Version;
use serde_json::Map;
use sinopia_diffusion::methods;
use sinopia_diffusion::{EllaId, Recipe};

use crate::editing::EditError;
use crate::models::{NO_SAM, names};
use crate::spec::{AUTO, object};
use crate::{Error, PaintSettings, PaintSpec, Result};

impl PaintSpec {
    /// The picture that `recipe` made, with what `changes` says in the place of what the recipe says. `picture` is its file, for messages.
    ///
    /// Another method or model brings its own scheduler, another model its own size and strength of guidance. A model that `changes` names is a choice;
    /// otherwise it must be the very same, which [`ResolvedSpec::check_repeated`](crate::ResolvedSpec::check_repeated) sees to, and so with SAM and ELLA.
    ///
    /// # Errors
    /// [`EditError::NeedsSource`] for a picture that was made of another one by inversion; [`sinopia_diffusion::Error::RecipeInit`] unless `changes` begins with the very files that the
    /// recipe's picture began with; [`Error::RecipeWithoutLayout`]; [`Error::VariantWord`], [`Error::VariantTwice`]; unknown methods and presets.
    pub fn repeat(recipe: Recipe, picture: &Path, changes: Self) -> Result<Self> {
        if let Some(inverted) = &recipe.inverted {
            return Err(EditError::NeedsSource { sha256: inverted.sha256.clone(), picture: picture.to_owned() }.into());
        }
        changes.settings.check_values()?;
        let is_recaptioned = changes.caption.is_some() && changes.caption != recipe.caption;
        // A strength that is said anew makes another picture.
        let is_of_another_start = changes.init.as_ref().is_some_and(|init| init.strength.is_some());
        let is_unchanged =
            !is_recaptioned && !is_of_another_start && changes.layout.is_none() && !changes_picture(&changes.settings);
        recipe.check_init(changes.init.as_ref().map(|init| init.record()).as_ref())?;
        let given = changes.settings.with_preset()?;
        let is_auto = given.method.as_deref().is_some_and(|method| method.eq_ignore_ascii_case(AUTO));
        let layout = changes.layout.or_else(|| recipe.layout.clone());
        let method = match given.method.as_deref().filter(|_| !is_auto) {
            _ if is_auto => AUTO,
            named => methods::find(named.unwrap_or(&recipe.method))?.name,
        };
        if layout.is_none() && !is_auto && methods::find(method)?.needs_layout {
            return Err(Error::RecipeWithoutLayout { picture: picture.to_owned(), method: method.to_owned() });
        }
        let is_same = Same {
            method: method == recipe.method,
            model: given.model.as_ref().is_none_or(|model| names::is_same_model(model, &recipe.model.id)),
        };
        let settings = given.clone().or(recorded(&recipe, &given, is_same)?);
        let named_ella = given.t5.is_some() || given.ella.is_some() || given.t5_range.is_some();
        let needs_ella = settings.needs_ella();
        let repeated = given.model.is_none().then(|| Recipe {
            sam: recipe.sam.clone().filter(|_| given.sam.is_none()),
            ella: recipe.ella.clone().filter(|_| !named_ella && needs_ella),
            ..recipe.clone()
        });
        let init = changes.init.map(|init| Arc::new(init.as_strong_as(&recipe)));
        let settings = PaintSettings { method: Some(method.to_owned()), ..settings };
        let caption = changes.caption.or(recipe.caption);
        // What was done to a picture is of that picture.
        let (edits, checked) = if is_unchanged { (recipe.edits, recipe.checked) } else { (Vec::new(), None) };
        Ok(Self { caption, layout, init, is_planned: false, settings, repeated, is_recorded: true, edits, checked })
    }

    /// The same with another edition of the recipe's model, which is a choice as any other model is.
    ///
    /// # Errors
    /// [`Error::VariantWord`].
    pub fn variant_of(recipe: &Recipe, variant: &str) -> Result<String> {
        names::with_variant(names::without_variant(&recipe.model.id), variant)
    }
}

/// Whether anything is said that makes another picture: all but where things are and what they are computed in.
fn changes_picture(settings: &PaintSettings) -> bool {
    *settings != of_machine(settings)
}

/// Of what is said, where things are and what they are computed in.
pub(crate) fn of_machine(settings: &PaintSettings) -> PaintSettings {
    let PaintSettings { device, precision, sam, t5, ella, .. } = settings.clone();
    PaintSettings { device, precision, sam, t5, ella, ..PaintSettings::default() }
}

/// What stays as it was.
#[derive(Debug, Clone, Copy)]
struct Same {
    method: bool,
    model: bool,
}

/// What a recipe says, as far as it still holds.
fn recorded(recipe: &Recipe, given: &PaintSettings, is_same: Same) -> Result<PaintSettings> {
    let sampling = &recipe.sampling;
    let scheduler = sampling.scheduler_name().filter(|_| is_same.method && is_same.model);
    // A preset that says nothing of this method leaves its options as they were.
    let preset = given.preset.as_deref().map(methods::find_preset).transpose()?;
    let keeps_options = is_same.method && preset.is_none_or(|preset| preset.own_options(&recipe.method).is_none());
    let settings = PaintSettings {
        model: Some(recipe.model.id.clone()),
        sam: Some(recipe.sam.as_ref().map_or(NO_SAM, |sam| &sam.id).to_owned()),
        seed: Some(sampling.seed.0),
        steps: Some(sampling.num_inference_steps as u32),
        guidance_scale: is_same.model.then_some(sampling.guidance_scale),
        guidance_rescale: Some(sampling.guidance_rescale),
        guidance_interval: Some(sampling.shortcuts.guidance_interval),
        deep_every: Some(sampling.shortcuts.deep_every as u32),
        merge_tokens: Some(sampling.shortcuts.merge_tokens as u32),
        scheduler: scheduler.map(|name| name.to_string()),
        text_encoder: Some(sampling.text_encoding.encoder),
        negative_encoder: sampling.text_encoding.negative,
        t5_length: Some(sampling.text_encoding.length),
        negative: recipe.negative.clone(),
        width: is_same.model.then_some(sampling.width as u32),
        height: is_same.model.then_some(sampling.height as u32),
        // What is not known any more does no harm where another is named.
        precision: if given.precision.is_none() { Some(recipe.precision.parse()?) } else { None },
        options: if keeps_options { object(recipe.options.clone()) } else { Map::new() },
        ..PaintSettings::default()
    };
    let needs_ella = given.clone().or(settings.clone()).needs_ella();
    match recipe.ella.as_ref().filter(|_| needs_ella) {
        Some(ella) => Ok(with_ella(settings, ella, &recipe.model.id)),
        None => Ok(settings),
    }
}

/// With the files of a recipe's ELLA. The miniature brings its own without being asked; with any other model it was named.
fn with_ella(settings: PaintSettings, ella: &EllaId, model: &str) -> PaintSettings {
    let is_built_in = [ella.t5.as_str(), model].iter().all(|name| *name == sinopia_miniature::NAME);
    let named = |name: &String| (!is_built_in).then(|| name.clone());
    PaintSettings { t5: named(&ella.t5), ella: named(&ella.connector), t5_range: Some(ella.range), ..settings }
}

/// A warning if a picture was made by a version newer than this.
pub fn newer_version_warning(recipe: &Recipe) -> Option<String> {
    newer_version(&recipe.sinopia)
}

fn newer_version(writer: &str) -> Option<String> {
    let this = env!("CARGO_PKG_VERSION");
    let [written_by, running] = [writer, this].map(Version::parse);
    let is_newer = written_by.ok()?.cmp_precedence(&running.ok()?).is_gt();
    is_newer.then(|| format!("the image was made by Sinopia {writer}, this is {this}: it may come out differently"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_newer_versions_are_warned_of() {
        assert!(newer_version("99.0.1").is_some_and(|warning| warning.contains("Sinopia 99.0.1")));
        assert!(newer_version("99.0.0-rc.1").is_some());
        assert!(newer_version("0.10.0").is_some(), "numbers are compared, not letters");
        for known in [env!("CARGO_PKG_VERSION"), "0.1.0+a.build", "0.0.1", "", "?", "one.two"] {
            assert_eq!(newer_version(known), None, "{known}");
        }
    }
}
