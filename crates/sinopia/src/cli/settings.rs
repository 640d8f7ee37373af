//! Settings: defaults < `sinopia.toml` < `SINOPIA_*` < flags. This is the only file that reads `SINOPIA_*`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use serde::Deserialize;
use sinopia_diffusion::methods;

use super::args::{PaintingArgs, PrecisionArg};
use super::failure::bad_request;

/// Name of the settings file looked for in the working directory.
const DEFAULT_FILE: &str = "sinopia.toml";

/// What a settings file may hold. Unknown keys are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SettingsFile {
    method: Option<String>,
    model: Option<String>,
    steps: Option<u32>,
    guidance_scale: Option<f64>,
    scheduler: Option<String>,
    precision: Option<PrecisionArg>,
    threads: Option<u32>,
}

/// Fills what was not given in `args` from the environment, then from the settings file.
pub(crate) fn merge(args: PaintingArgs) -> anyhow::Result<PaintingArgs> {
    merge_with(args, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn merge_with(mut args: PaintingArgs, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<PaintingArgs> {
    let variables = SettingsFile::from_env(&env)?;
    let config = args.config.clone().or_else(|| env("SINOPIA_CONFIG").map(PathBuf::from));
    let file = match &config {
        Some(path) => read(path)?,
        None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
        None => SettingsFile::default(),
    };
    // A preset given as a flag brings its method, which wins over the environment and the file as any flag does.
    let of_preset = args.preset.as_deref().map(methods::find_preset).transpose()?;
    let of_preset = of_preset.map(|preset| preset.method.to_owned());
    args.method = args.method.or(of_preset).or(variables.method).or(file.method);
    args.model = args.model.or(variables.model).or(file.model);
    args.steps = args.steps.or(variables.steps).or(file.steps);
    args.guidance_scale = args.guidance_scale.or(variables.guidance_scale).or(file.guidance_scale);
    args.scheduler = args.scheduler.or(variables.scheduler).or(file.scheduler);
    args.precision = args.precision.or(variables.precision).or(file.precision);
    args.threads = args.threads.or(variables.threads).or(file.threads);
    Ok(args)
}

fn read(path: &Path) -> anyhow::Result<SettingsFile> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the settings `{}`", path.display()))?;
    let wrong = |what: String| bad_request(format!("in the settings `{}`: {what}", path.display()));
    let file: SettingsFile = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    file.check().map_err(wrong)?;
    Ok(file)
}

impl SettingsFile {
    /// The same settings from environment variables.
    fn from_env(env: &impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let settings = Self {
            method: env("SINOPIA_METHOD"),
            model: env("SINOPIA_MODEL"),
            steps: number(env, "SINOPIA_STEPS")?,
            guidance_scale: number(env, "SINOPIA_GUIDANCE_SCALE")?,
            scheduler: env("SINOPIA_SCHEDULER"),
            precision: precision(env)?,
            threads: number(env, "SINOPIA_THREADS")?,
        };
        settings.check().map_err(|what| bad_request(format!("in the environment: {what}")))?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        if self.steps.is_some_and(|n| !(1..=1000).contains(&n)) {
            return Err("`steps` must be from 1 to 1000".to_owned());
        }
        if self.guidance_scale.is_some_and(|x| !(1.0..=100.0).contains(&x)) {
            return Err("`guidance-scale` must be from 1 to 100".to_owned());
        }
        if self.threads.is_some_and(|n| !(1..=1024).contains(&n)) {
            return Err("`threads` must be from 1 to 1024".to_owned());
        }
        Ok(())
    }
}

fn precision(env: &impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<PrecisionArg>> {
    let Some(text) = env("SINOPIA_PRECISION") else { return Ok(None) };
    let known = PrecisionArg::parse(&text);
    known.map(Some).map_err(|_| bad_request(format!("`SINOPIA_PRECISION` is `{text}`; auto, f32 or bf16 is expected")))
}

fn number<T: FromStr>(env: &impl Fn(&str) -> Option<String>, name: &str) -> anyhow::Result<Option<T>> {
    let Some(text) = env(name) else { return Ok(None) };
    let value = text.parse().map_err(|_| bad_request(format!("`{name}` is `{text}`; a number is expected")))?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(text: &str, args: PaintingArgs) -> anyhow::Result<PaintingArgs> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sinopia.toml");
        std::fs::write(&path, text).unwrap();
        merge_with(PaintingArgs { config: Some(path), ..args }, |_| None)
    }

    #[test]
    fn flags_win_over_the_file() {
        let given = PaintingArgs { steps: Some(20), ..PaintingArgs::default() };
        let args = merged("steps = 30\nguidance-scale = 5.0\nprecision = \"bf16\"\n", given).unwrap();
        assert_eq!((args.steps, args.guidance_scale), (Some(20), Some(5.0)));
        assert_eq!(args.precision, Some(PrecisionArg::Bf16));
    }

    #[test]
    fn variables_stand_between_file_and_flags() {
        let env = |name: &str| (name == "SINOPIA_STEPS").then(|| "20".to_owned());
        assert_eq!(merge_with(PaintingArgs::default(), env).unwrap().steps, Some(20));
        let given = PaintingArgs { steps: Some(7), ..PaintingArgs::default() };
        assert_eq!(merge_with(given, env).unwrap().steps, Some(7));
        let error = merge_with(PaintingArgs::default(), |name| (name == "SINOPIA_STEPS").then(|| "ten".to_owned()));
        assert!(error.unwrap_err().to_string().contains("SINOPIA_STEPS"));
    }

    #[test]
    fn a_preset_brings_its_method_before_the_file_does() {
        let preset = || PaintingArgs { preset: Some("diffusers-lmd-plus".to_owned()), ..PaintingArgs::default() };
        assert_eq!(merged("method = \"sd\"\n", preset()).unwrap().method.as_deref(), Some("lmd-plus"));
        let both = PaintingArgs { method: Some("sd".to_owned()), ..preset() };
        assert_eq!(merged("", both).unwrap().method.as_deref(), Some("sd"));
        let unknown = PaintingArgs { preset: Some("magic".to_owned()), ..PaintingArgs::default() };
        assert!(merged("", unknown).unwrap_err().to_string().contains("diffusers-lmd-plus"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused() {
        let error = merged("stepz = 30\n", PaintingArgs::default()).unwrap_err();
        assert!(error.to_string().contains("stepz"), "{error}");
        let error = merged("steps = 0\n", PaintingArgs::default()).unwrap_err();
        assert!(error.to_string().contains("from 1 to 1000"), "{error}");
    }
}
