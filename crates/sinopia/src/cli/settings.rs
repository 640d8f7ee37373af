//! Settings: defaults < `sinopia.toml` < `SINOPIA_*` < flags. This is the only file that reads `SINOPIA_*`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use sinopia_diffusion::methods;
use sinopia_layout::limits::SETTINGS_BYTES;

use clap::ValueEnum;

use super::args::{EndpointArg, FormatArg, PaintingArgs, PlannerArgs, PlannerKind, PrecisionArg, prices};
use super::failure::{Given, bad_request};
use super::input;
use super::progress::Bars;

/// Name of the settings file looked for in the working directory.
const DEFAULT_FILE: &str = "sinopia.toml";

/// What a settings file may hold. Unknown keys are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SettingsFile {
    method: Option<String>,
    model: Option<String>,
    sam: Option<String>,
    steps: Option<u32>,
    guidance_scale: Option<f64>,
    scheduler: Option<String>,
    precision: Option<PrecisionArg>,
    threads: Option<u32>,
    planner: Option<PlannerKind>,
    llm_model: Option<String>,
    llm_base_url: Option<String>,
    llm_endpoint: Option<EndpointArg>,
    llm_format: Option<FormatArg>,
    llm_temperature: Option<f64>,
    llm_max_tokens: Option<u32>,
    llm_price: Option<String>,
    llm_timeout: Option<f64>,
    plan_timeout: Option<f64>,
    template: Option<PathBuf>,
    candidates: Option<u32>,
    plan_cache: Option<PathBuf>,
}

/// Fills what was not given in `args` from the environment, then from the settings file.
pub(crate) fn merge(args: PaintingArgs) -> anyhow::Result<PaintingArgs> {
    merge_with(args, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// Fills what was not given about the planner in the same way; `config` is the settings file named on the command line.
pub(crate) fn merge_planner(args: PlannerArgs, config: Option<&Path>) -> anyhow::Result<PlannerArgs> {
    merge_planner_with(args, config, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// Every variable that is read: by this program, or by what comes with it (`SINOPIA_SERVER`: the ComfyUI nodes).
const VARIABLES: [&str; 25] = [
    "SINOPIA_METHOD",
    "SINOPIA_MODEL",
    "SINOPIA_SAM",
    "SINOPIA_STEPS",
    "SINOPIA_GUIDANCE_SCALE",
    "SINOPIA_SCHEDULER",
    "SINOPIA_PRECISION",
    "SINOPIA_THREADS",
    "SINOPIA_PLANNER",
    "SINOPIA_LLM_MODEL",
    "SINOPIA_LLM_BASE_URL",
    "SINOPIA_LLM_ENDPOINT",
    "SINOPIA_LLM_FORMAT",
    "SINOPIA_LLM_TEMPERATURE",
    "SINOPIA_LLM_MAX_TOKENS",
    "SINOPIA_LLM_PRICE",
    "SINOPIA_LLM_TIMEOUT",
    "SINOPIA_LLM_API_KEY",
    "SINOPIA_PLAN_TIMEOUT",
    "SINOPIA_TEMPLATE",
    "SINOPIA_CANDIDATES",
    "SINOPIA_PLAN_CACHE",
    "SINOPIA_CONFIG",
    "SINOPIA_TOKEN",
    "SINOPIA_SERVER",
];

/// Warns of variables that look like settings and are none.
pub(crate) fn warn_of_unknown_variables() {
    if let Some(warning) = unknown_among(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        Bars::new(false).warn(&warning);
    }
}

fn unknown_among(names: impl Iterator<Item = String>) -> Option<String> {
    let is_unknown = |name: &String| name.starts_with("SINOPIA_") && !VARIABLES.contains(&name.as_str());
    let mut unknown: Vec<String> = names.filter(is_unknown).map(|name| format!("`{name}`")).collect();
    unknown.sort();
    let (names, known) = (unknown.join(", "), VARIABLES.join(", "));
    (!unknown.is_empty()).then(|| format!("no setting is called {names}; known are {known}"))
}

/// The key for a language model's server and the variable it comes from.
///
/// `OPENAI_API_KEY` is on many machines for other programs, so it goes to OpenAI and nowhere else.
pub(crate) fn llm_key(is_openai: bool) -> Option<(String, &'static str)> {
    let variable = |name: &'static str| Some((std::env::var(name).ok().filter(|value| !value.is_empty())?, name));
    variable("SINOPIA_LLM_API_KEY").or_else(|| is_openai.then(|| variable("OPENAI_API_KEY")).flatten())
}

/// The secret between `sinopia serve` and its clients.
pub(crate) fn server_token() -> Option<String> {
    std::env::var("SINOPIA_TOKEN").ok().filter(|value| !value.is_empty())
}

/// The folder for files that cannot be made again, after the customs of the system.
pub(crate) fn user_data_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || std::env::home_dir().unwrap_or_else(|| PathBuf::from("."));
    let customary = if cfg!(windows) { variable("LOCALAPPDATA") } else { None };
    variable("XDG_DATA_HOME").or(customary).unwrap_or_else(|| home().join(".local/share")).join("sinopia")
}

/// The folder for files that can be made again, after the customs of the system.
pub(crate) fn user_cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || std::env::home_dir().unwrap_or_else(|| PathBuf::from("."));
    let customary = if cfg!(windows) { variable("LOCALAPPDATA") } else { None };
    variable("XDG_CACHE_HOME").or(customary).unwrap_or_else(|| home().join(".cache")).join("sinopia")
}

fn merge_planner_with(
    mut args: PlannerArgs,
    config: Option<&Path>,
    env: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<PlannerArgs> {
    let variables = SettingsFile::from_env(&env)?;
    let file = settings_file(config, &env)?;
    args.planner = args.planner.or(variables.planner).or(file.planner);
    args.llm_model = args.llm_model.or(variables.llm_model).or(file.llm_model);
    args.llm_base_url = args.llm_base_url.or(variables.llm_base_url).or(file.llm_base_url);
    args.llm_endpoint = args.llm_endpoint.or(variables.llm_endpoint).or(file.llm_endpoint);
    // A template has its own format: whichever is named closest to the command line decides.
    if args.template.is_none() && args.llm_format.is_none() {
        (args.template, args.llm_format) = match (variables.template, variables.llm_format) {
            (None, None) => (file.template, file.llm_format),
            named => named,
        };
    }
    args.llm_temperature = args.llm_temperature.or(variables.llm_temperature).or(file.llm_temperature);
    args.llm_max_tokens = args.llm_max_tokens.or(variables.llm_max_tokens).or(file.llm_max_tokens);
    let price = variables.llm_price.or(file.llm_price);
    let price =
        price.map(|text| prices(&text).map_err(|problem| bad_request(format!("`llm-price` is `{text}`: {problem}"))));
    args.llm_price = args.llm_price.or(price.transpose()?);
    args.llm_timeout = args.llm_timeout.or(variables.llm_timeout).or(file.llm_timeout);
    args.plan_timeout = args.plan_timeout.or(variables.plan_timeout).or(file.plan_timeout);
    args.candidates = args.candidates.or(variables.candidates).or(file.candidates);
    args.plan_cache = args.plan_cache.or(variables.plan_cache).or(file.plan_cache);
    Ok(args)
}

/// The settings file that is named, or the one in the working directory.
fn settings_file(named: Option<&Path>, env: &impl Fn(&str) -> Option<String>) -> anyhow::Result<SettingsFile> {
    let config = named.map(Path::to_owned).or_else(|| env("SINOPIA_CONFIG").map(PathBuf::from));
    match &config {
        Some(path) => read(path),
        None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE)),
        None => Ok(SettingsFile::default()),
    }
}

const NO_MODEL: &str = "`--variant` says which of a model's weights are taken: name the model with `--model`";

fn merge_with(mut args: PaintingArgs, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<PaintingArgs> {
    let variables = SettingsFile::from_env(&env)?;
    let file = settings_file(args.config.as_deref(), &env)?;
    // A preset given as a flag brings its method, which wins over the environment and the file as any flag does.
    let of_preset = args.preset.as_deref().map(methods::find_preset).transpose()?;
    let of_preset = of_preset.map(|preset| preset.method.to_owned());
    args.method = args.method.or(of_preset).or(variables.method).or(file.method);
    args.model = args.model.or(variables.model).or(file.model);
    args.sam = args.sam.or(variables.sam).or(file.sam);
    args.steps = args.steps.or(variables.steps).or(file.steps);
    args.guidance_scale = args.guidance_scale.or(variables.guidance_scale).or(file.guidance_scale);
    args.scheduler = args.scheduler.or(variables.scheduler).or(file.scheduler);
    args.precision = args.precision.or(variables.precision).or(file.precision);
    args.threads = args.threads.or(variables.threads).or(file.threads);
    // The words of the file and the environment are no plainer than what is typed.
    let args = args.plain()?;
    if args.variant.is_some() {
        return Err(bad_request(NO_MODEL));
    }
    Ok(args)
}

fn read(path: &Path) -> anyhow::Result<SettingsFile> {
    let text = input::text(path, SETTINGS_BYTES).given(|| format!("cannot read the settings `{}`", path.display()))?;
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
            sam: env("SINOPIA_SAM"),
            steps: number(env, "SINOPIA_STEPS")?,
            guidance_scale: number(env, "SINOPIA_GUIDANCE_SCALE")?,
            scheduler: env("SINOPIA_SCHEDULER"),
            precision: precision(env)?,
            threads: number(env, "SINOPIA_THREADS")?,
            planner: word(env, "SINOPIA_PLANNER")?,
            llm_model: env("SINOPIA_LLM_MODEL"),
            llm_base_url: env("SINOPIA_LLM_BASE_URL"),
            llm_endpoint: word(env, "SINOPIA_LLM_ENDPOINT")?,
            llm_format: word(env, "SINOPIA_LLM_FORMAT")?,
            llm_temperature: number(env, "SINOPIA_LLM_TEMPERATURE")?,
            llm_max_tokens: number(env, "SINOPIA_LLM_MAX_TOKENS")?,
            llm_price: env("SINOPIA_LLM_PRICE"),
            llm_timeout: number(env, "SINOPIA_LLM_TIMEOUT")?,
            plan_timeout: number(env, "SINOPIA_PLAN_TIMEOUT")?,
            template: env("SINOPIA_TEMPLATE").map(PathBuf::from),
            candidates: number(env, "SINOPIA_CANDIDATES")?,
            plan_cache: env("SINOPIA_PLAN_CACHE").map(PathBuf::from),
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
        if self.llm_temperature.is_some_and(|x| !(0.0..=2.0).contains(&x)) {
            return Err("`llm-temperature` must be from 0 to 2".to_owned());
        }
        if self.llm_max_tokens.is_some_and(|n| !(16..=100_000).contains(&n)) {
            return Err("`llm-max-tokens` must be from 16 to 100000".to_owned());
        }
        if self.candidates.is_some_and(|n| !(1..=20).contains(&n)) {
            return Err("`candidates` must be from 1 to 20".to_owned());
        }
        let seconds = [("llm-timeout", self.llm_timeout), ("plan-timeout", self.plan_timeout)];
        if let Some((name, _)) = seconds.iter().find(|(_, x)| x.is_some_and(|x| !(0.001..=86_400.0).contains(&x))) {
            return Err(format!("`{name}` must be a number of seconds of at most 86400"));
        }
        Ok(())
    }
}

fn precision(env: &impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<PrecisionArg>> {
    let Some(text) = env("SINOPIA_PRECISION") else { return Ok(None) };
    let known = PrecisionArg::parse(&text);
    known.map(Some).map_err(|_| bad_request(format!("`SINOPIA_PRECISION` is `{text}`; auto, f32 or bf16 is expected")))
}

fn word<T: ValueEnum>(env: &impl Fn(&str) -> Option<String>, name: &str) -> anyhow::Result<Option<T>> {
    let Some(text) = env(name) else { return Ok(None) };
    let words = || {
        let known: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned()))
            .collect();
        known.join(" or ")
    };
    let value =
        T::from_str(&text, true).map_err(|_| bad_request(format!("`{name}` is `{text}`; {} is expected", words())))?;
    Ok(Some(value))
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
    fn the_planner_is_configured_in_the_same_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sinopia.toml");
        std::fs::write(
            &path,
            "llm-model = \"file\"\nllm-base-url = \"ollama\"\nllm-format = \"json\"\ncandidates = 3\n",
        )
        .unwrap();
        let env = |name: &str| match name {
            "SINOPIA_LLM_MODEL" => Some("variable".to_owned()),
            "SINOPIA_TEMPLATE" => Some("mine.jinja".to_owned()),
            _ => None,
        };
        let given = PlannerArgs { candidates: Some(2), ..PlannerArgs::default() };
        let args = merge_planner_with(given, Some(&path), env).unwrap();
        assert_eq!((args.llm_model.as_deref(), args.llm_base_url.as_deref()), (Some("variable"), Some("ollama")));
        assert_eq!((args.candidates, args.llm_format, args.template), (Some(2), None, Some("mine.jinja".into())));
        let error = merge_planner_with(PlannerArgs::default(), Some(&path), |name| {
            (name == "SINOPIA_LLM_ENDPOINT").then(|| "telepathy".to_owned())
        });
        assert!(error.unwrap_err().to_string().contains("chat or completions"));
    }

    #[test]
    fn variables_that_nobody_reads_are_told() {
        let told = |names: &[&str]| unknown_among(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(told(&["SINOPIA_STEPS", "SINOPIA_LLM_API_KEY", "PATH", "sinopia_x"]), None);
        let warning = told(&["SINOPIA_STEP", "SINOPIA_A", "SINOPIA_MODEL"]).unwrap();
        assert!(
            warning.starts_with("no setting is called `SINOPIA_A`, `SINOPIA_STEP`; known are SINOPIA_METHOD"),
            "{warning}"
        );
    }

    /// Every name that this file asks the environment for is in the list.
    #[test]
    fn every_variable_is_known() {
        let source = include_str!("settings.rs");
        let code = source.split("#[cfg(test)]").next().unwrap();
        let asked = code.split('"').filter(|part| part.starts_with("SINOPIA_") && *part != "SINOPIA_");
        asked.for_each(|name| assert!(VARIABLES.contains(&name), "{name}"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused() {
        let error = merged("stepz = 30\n", PaintingArgs::default()).unwrap_err();
        assert!(error.to_string().contains("stepz"), "{error}");
        let error = merged("steps = 0\n", PaintingArgs::default()).unwrap_err();
        assert!(error.to_string().contains("from 1 to 1000"), "{error}");
    }
}
