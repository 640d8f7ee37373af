//! How to paint and plan, as far as anybody said: what flags, variables, settings files, servers' requests, graphs and recipes all become.
//!
//! A setting is a field of [`PaintSettings`], [`InitSettings`], [`CheckSettings`], [`PlannerSettings`] or [`MachineSettings`] and its description in [`paint`], [`init`], [`checking`] or [`planner`]; flags, keys, variables, help
//! and the server's documents are made from that. What it does stands in [`resolve`](crate::PaintSpec::resolve).

mod checking;
mod combined;
mod init;
mod paint;
mod planner;
mod run_setting;
mod sources;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sinopia_diffusion::{Shortcuts, TextEncoderKind, TextEncoding, methods};
use sinopia_layout::names;
use sinopia_models::DeviceKind;
use sinopia_models::ella::TextLength;
use sinopia_models::packs::{self, CacheOptions};
use sinopia_models::t5::StateRange;

pub use checking::CheckSettings;
pub(crate) use combined::combined;
pub use init::InitSettings;
pub use planner::{LlmDiscovery, PlannerSettings, parse_canvas, parse_size};
pub use run_setting::{Described, RunSetting};
pub use sources::{Settings, SourceError};

use crate::spec::{AUTO, parse_scheduler};
use crate::{PrecisionChoice, Result, models};

combined! {
    /// How to paint. What is `None` was left open: [`resolve`](crate::PaintSpec::resolve) fills it in, the same way for everybody who asks.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct PaintSettings {
        /// How the layout is obeyed; `auto` is the best that the model can do.
        method: Option<String>,
        /// A method's options, and how to sample, as somebody else has them.
        preset: Option<String>,
        /// The model's name.
        model: Option<String>,
        /// What segments the objects of `lmd` and `lmd-plus`.
        sam: Option<String>,
        /// Where the noise starts: same seed, same picture.
        seed: Option<u64>,
        /// Denoising steps.
        steps: Option<u32>,
        /// How strictly the picture follows the prompt; 1 turns classifier-free guidance off.
        guidance_scale: Option<f64>,
        /// Share of the guided prediction whose contrast is set back to the conditional one's.
        guidance_rescale: Option<f64>,
        /// Classifier-free guidance in this share of the steps only.
        guidance_interval: Option<(f64, f64)>,
        /// The deep layers of the UNet are run in every n-th step only.
        deep_every: Option<u32>,
        /// Self-attention on the finest grid looks at windows of this side.
        merge_tokens: Option<u32>,
        /// The scheduler, and the noise levels that it has.
        scheduler: Option<String>,
        /// What reads the prompts.
        text_encoder: Option<TextEncoderKind>,
        /// What reads the negative prompt.
        negative_encoder: Option<TextEncoderKind>,
        /// ELLA's language model.
        t5: Option<String>,
        /// ELLA's connector.
        ella: Option<String>,
        /// Tokens that the language model is given.
        t5_length: Option<TextLength>,
        /// Range of the language model's states.
        t5_range: Option<StateRange>,
        /// What must not be in the picture, in place of the default quality keywords.
        negative: Option<String>,
        /// Pixels.
        width: Option<u32>,
        /// Pixels.
        height: Option<u32>,
        /// What the networks compute in.
        precision: Option<PrecisionChoice>,
        /// Where the networks run.
        device: Option<DeviceKind>,
    }
    beside {    /// Options of the method, which win over those of a preset.
        options: Map<String, Value>,
        /// The same as `name=value`, as somebody typed it: read by the option's type once the method is known. The last of a name wins.
        set: Vec<String>,
    }
}

impl PaintSettings {
    /// These settings, and where they say nothing those of `base`. Options are taken one by one, whatever their spelling; a preset says what it sets.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        // An unknown preset says nothing here, and is refused when the settings are resolved.
        let said = self.clone().with_preset().unwrap_or(self);
        let mut options = base.options.clone();
        options.retain(|name, _| names::find(name, said.options.keys().map(String::as_str)).is_none());
        options.extend(said.options.clone());
        let set = base.set.iter().chain(&said.set).cloned().collect();
        Self { options, set, ..said.over(base) }
    }

    /// The method that the preset sets. An unknown preset sets none, and is refused when the settings are resolved.
    pub(crate) fn method_of_preset(&self) -> Option<&'static str> {
        methods::find_preset(self.preset.as_deref()?).ok()?.method
    }

    /// These settings with those of the preset, its method among them, where they say nothing.
    ///
    /// # Errors
    /// [`sinopia_diffusion::Error::UnknownPreset`].
    pub fn with_preset(self) -> Result<Self> {
        let Some(name) = &self.preset else { return Ok(self) };
        let preset = methods::find_preset(name)?;
        let method = preset.method.map(str::to_owned);
        let of_preset = Self { method, ..Self::from_values(preset.settings().clone())? };
        Ok(self.over(of_preset))
    }

    /// Refuses values that no setting takes, and names and files that are not there, whatever is painted.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting); unknown methods, presets and schedulers; [`Error::NoSam`](crate::Error::NoSam), [`Error::NoFile`](crate::Error::NoFile).
    pub fn check(&self) -> Result<()> {
        self.check_values()?;
        if let Some(method) = self.method.as_deref().filter(|method| !method.eq_ignore_ascii_case(AUTO)) {
            methods::find(method)?;
        }
        self.preset.as_deref().map(methods::find_preset).transpose()?;
        self.scheduler.as_deref().map(parse_scheduler).transpose()?;
        self.sam.as_deref().map_or(Ok(()), models::check_sam)?;
        let named = [("t5", &self.t5), ("ella", &self.ella)];
        let named = named.into_iter().filter_map(|(setting, name)| Some((setting, name.as_deref()?)));
        let mut files = named.filter(|(_, name)| *name != sinopia_miniature::NAME);
        files.try_for_each(|(setting, name)| models::check_file(setting, name))
    }

    /// Refuses values that no setting takes.
    pub(crate) fn check_values(&self) -> Result<()> {
        let said = said(self);
        for setting in Self::described() {
            said.get(&*setting.name).map(|value| setting.check(value)).transpose()?;
        }
        Ok(())
    }

    /// Whether a setting was said, by its name.
    pub fn says(&self, name: &str) -> bool {
        said(self).contains_key(name)
    }

    /// Whether ELLA reads anything.
    pub fn needs_ella(&self) -> bool {
        self.text_encoding().needs_ella()
    }

    /// What is said of shortcuts.
    pub(crate) fn shortcuts(&self) -> Shortcuts {
        let base = Shortcuts::default();
        Shortcuts {
            guidance_interval: self.guidance_interval.unwrap_or(base.guidance_interval),
            deep_every: self.deep_every.map_or(base.deep_every, |n| n as usize),
            merge_tokens: self.merge_tokens.map_or(base.merge_tokens, |n| n as usize),
        }
    }

    /// What is said of text encoders.
    pub(crate) fn text_encoding(&self) -> TextEncoding {
        let base = TextEncoding::default();
        TextEncoding {
            encoder: self.text_encoder.unwrap_or(base.encoder),
            negative: self.negative_encoder.or(base.negative),
            length: self.t5_length.unwrap_or(base.length),
        }
    }

    /// With another edition of the model's weights.
    ///
    /// # Errors
    /// [`Error::VariantOfNothing`](crate::Error::VariantOfNothing) without a model; as [`with_variant`](models::names::with_variant).
    pub fn with_variant(self, variant: &str) -> Result<Self> {
        let model = self.model.as_deref().ok_or(crate::Error::VariantOfNothing)?;
        let model = models::names::with_variant(model, variant)?;
        Ok(Self { model: Some(model), ..self })
    }
}

combined! {
    /// What the machine gives, as far as anybody said.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct MachineSettings {
        /// Threads to compute with.
        threads: Option<u32>,
        /// Whether a model that is loaded leaves its packed weights for the next time.
        pack_cache: Option<bool>,
        /// Gigabytes that packed weights may take.
        pack_cache_size: Option<u32>,
    }
    beside {}
}

impl MachineSettings {
    /// These settings, and where they say nothing those of `base`.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        self.over(base)
    }

    /// Lets all that is loaded and computed from now on follow them.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn apply(&self) -> Result<()> {
        if let Some(cache) = packs::cache() {
            let gigabytes = |size: u32| u64::from(size) * 1_000_000_000;
            packs::use_cache(CacheOptions {
                makes_packs: self.pack_cache.unwrap_or(cache.makes_packs),
                max_bytes: self.pack_cache_size.map_or(cache.max_bytes, gigabytes),
                ..cache
            });
        }
        match self.threads {
            Some(threads) => Ok(sinopia_nn::threads::set_num_threads(threads as usize)?),
            None => Ok(()),
        }
    }
}

/// What was said, by name.
fn said(settings: &impl Serialize) -> Map<String, Value> {
    let Ok(Value::Object(mut all)) = serde_json::to_value(settings) else { return Map::new() };
    all.retain(|_, value| !value.is_null());
    all
}

#[cfg(test)]
mod tests {
    use sinopia_diffusion::settings::Kind;

    use super::*;

    #[test]
    fn an_option_in_another_spelling_is_the_same_option() {
        let said = |name: &str, n: i64| PaintSettings {
            options: Map::from_iter([(name.to_owned(), Value::from(n))]),
            ..PaintSettings::default()
        };
        let both = said("Loss-Scale", 3).or(said("loss_scale", 4));
        assert_eq!(both, said("Loss-Scale", 3));
    }

    #[test]
    fn what_is_said_wins_and_options_are_taken_one_by_one() {
        let options =
            |pairs: &[(&str, i64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), Value::from(*n))).collect();
        let flags = PaintSettings {
            steps: Some(20),
            seed: Some(u64::MAX),
            options: options(&[("a", 1)]),
            ..PaintSettings::default()
        };
        let file = PaintSettings {
            steps: Some(30),
            guidance_scale: Some(0.1 + 0.2),
            guidance_interval: Some((0.1, 0.8)),
            precision: Some(PrecisionChoice::Bf16),
            text_encoder: Some(TextEncoderKind::EllaAndClip),
            options: options(&[("a", 2), ("b", 3)]),
            ..PaintSettings::default()
        };
        let both = flags.or(file.clone());
        assert_eq!(
            both,
            PaintSettings { steps: Some(20), seed: Some(u64::MAX), options: options(&[("a", 1), ("b", 3)]), ..file }
        );
    }

    /// Every field but those that are no settings of their own has a description, whose default is a value of the field.
    fn check_described<T: Described + Serialize>(others: &[&str]) {
        let Value::Object(fields) = serde_json::to_value(T::default()).unwrap() else { unreachable!() };
        let fields: Vec<&str> = fields.keys().map(String::as_str).filter(|name| !others.contains(name)).collect();
        let mut described: Vec<&str> = T::described().iter().map(|setting| &*setting.name).collect();
        for setting in T::described() {
            assert!(setting.help.ends_with('.') && setting.help.len() > 5, "{}", setting.name);
            if !setting.default.is_null() {
                let value = setting.check(&setting.default).unwrap();
                let values = Map::from_iter([(setting.name.to_string(), value)]);
                assert!(serde_json::from_value::<T>(Value::Object(values)).is_ok(), "{}", setting.name);
            }
            if let Kind::Choice(choices) = &setting.kind {
                for choice in choices {
                    let values = Map::from_iter([(setting.name.to_string(), Value::from(&*choice.value))]);
                    assert!(serde_json::from_value::<T>(Value::Object(values)).is_ok(), "{}", choice.value);
                }
            }
        }
        described.sort_unstable();
        let mut sorted = fields.clone();
        sorted.sort_unstable();
        assert_eq!(described, sorted);
    }

    #[test]
    fn every_setting_is_described_and_every_description_is_a_setting() {
        check_described::<PaintSettings>(&["options", "set"]);
        check_described::<InitSettings>(&[]);
        check_described::<CheckSettings>(&[]);
        check_described::<PlannerSettings>(&[]);
        check_described::<MachineSettings>(&[]);
    }
}
