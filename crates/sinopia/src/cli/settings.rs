//! Settings: defaults < `sinopia.toml` < `SINOPIA_*` < flags. This is the only file that reads `SINOPIA_*`; the kernels look themselves what is hidden from them.

use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};
use sinopia_layout::limits::SETTINGS_BYTES;
use sinopia_models::packs::{self, CacheOptions};
use sinopia_nn::instructions;
use sinopia_studio::{CheckSettings, Error, RunSetting, Settings, SourceError};

use super::args::{Painting, PlannerArgs, PlannerChoice, with_own_words};
use super::failure::{Given, bad_request};
use super::input;
use super::progress::Bars;

/// Name of the settings file looked for in the working directory.
const DEFAULT_FILE: &str = "sinopia.toml";

/// Fills what was not said in `painting` from the environment, then from the settings file.
pub(crate) fn merge(painting: Painting) -> anyhow::Result<Painting> {
    merge_with(painting, variable)
}

/// Fills what was not said about the planner in the same way; `config` is the settings file named on the command line.
pub(crate) fn merge_planner(args: PlannerArgs, config: Option<&Path>) -> anyhow::Result<PlannerChoice> {
    let settings = args.settings().or(kept(config, &variable)?.planner);
    Ok(PlannerChoice { settings, lenient: args.lenient, no_plan_cache: args.no_plan_cache })
}

/// Fills what was not said about looking at pictures in the same way.
pub(crate) fn merge_check(typed: CheckSettings, config: Option<&Path>) -> anyhow::Result<CheckSettings> {
    Ok(typed.or(kept(config, &variable)?.check))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn merge_with(painting: Painting, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Painting> {
    let kept = kept(painting.config.as_deref(), &env)?;
    // The words of the file and the environment are no plainer than what is typed.
    let settings = with_own_words(painting.settings.or(kept.paint));
    let machine = painting.machine.or(kept.machine);
    let painting = Painting { settings, machine, ..painting }.with_variant()?;
    match painting.variant {
        Some(_) => Err(Error::VariantOfNothing.into()),
        None => Ok(painting),
    }
}

/// What the environment says and, where it says nothing, the settings file.
fn kept(config: Option<&Path>, env: &impl Fn(&str) -> Option<String>) -> anyhow::Result<Settings> {
    let variables = Settings::from_variables(env)?;
    Ok(variables.or(settings_file(config, env)?))
}

/// Variables that are no settings but are read: by this program, or by what comes with it (`SINOPIA_SERVER`: the ComfyUI nodes).
const OTHER_VARIABLES: [&str; 5] =
    ["SINOPIA_LLM_API_KEY", "SINOPIA_CONFIG", "SINOPIA_TOKEN", "SINOPIA_SERVER", instructions::LIMIT_VARIABLE];

/// Every variable that is read.
fn variables() -> Vec<String> {
    Settings::kept().map(RunSetting::variable).chain(OTHER_VARIABLES.map(str::to_owned)).collect()
}

/// Warns of variables that look like settings and are none.
pub(crate) fn warn_of_unknown_variables() {
    if let Some(warning) = unknown_among(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        Bars::new(false).warn(&warning);
    }
}

/// Refuses a limit of instructions that names no set of them.
pub(crate) fn check_instructions() -> anyhow::Result<()> {
    instructions::check_limit().map_err(|error| bad_request(error.to_string()))
}

fn unknown_among(names: impl Iterator<Item = String>) -> Option<String> {
    let known = variables();
    let is_unknown = |name: &String| name.starts_with("SINOPIA_") && !known.contains(name);
    let mut unknown: Vec<String> = names.filter(is_unknown).map(|name| format!("`{name}`")).collect();
    unknown.sort();
    let (names, known) = (unknown.join(", "), known.join(", "));
    (!unknown.is_empty()).then(|| format!("no setting is called {names}; known are {known}"))
}

/// The key for a language model's server and the variable it comes from.
pub(crate) fn llm_key() -> Option<(String, &'static str)> {
    key_in("SINOPIA_LLM_API_KEY")
}

/// The key for OpenAI and the variable it comes from. It is on many machines for other programs, so it goes nowhere else.
pub(crate) fn openai_key() -> Option<(String, &'static str)> {
    key_in("OPENAI_API_KEY")
}

fn key_in(variable: &'static str) -> Option<(String, &'static str)> {
    Some((std::env::var(variable).ok().filter(|value| !value.is_empty())?, variable))
}

/// The secret between `sinopia serve` and its clients.
pub(crate) fn server_token() -> Option<String> {
    std::env::var("SINOPIA_TOKEN").ok().filter(|value| !value.is_empty())
}

/// The folder for files that cannot be made again, after the customs of the system.
pub(crate) fn user_data_folder() -> PathBuf {
    // Windows' folder for data follows its user to other machines; pictures are too large for that.
    user_folder(
        "XDG_DATA_HOME",
        ".local/share",
        |system| {
            if cfg!(windows) { system.cache_dir() } else { system.data_dir() }
        },
    )
}

/// The folder for files that can be made again, after the customs of the system.
pub(crate) fn user_cache_folder() -> PathBuf {
    user_folder("XDG_CACHE_HOME", ".cache", |system| system.cache_dir())
}

/// Lets models be loaded from what is kept of them in that folder. It is made when something is kept.
pub(crate) fn use_cache_folder() {
    packs::use_cache(CacheOptions::new(user_cache_folder()));
}

/// Our folder below the one that `variable` names, else below the system's own. What is in `earlier` below the home folder, where every system but Windows had it
/// once, is used on.
fn user_folder(variable: &str, earlier: &str, system: impl Fn(&dyn BaseStrategy) -> PathBuf) -> PathBuf {
    let named = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let customary = || match choose_native_strategy() {
        Ok(native) => in_use(native.home_dir().join(earlier), system(&native)),
        Err(_) => Path::new(".").join(earlier),
    };
    named.unwrap_or_else(customary).join("sinopia")
}

/// `earlier` where our folder is in it already, else `customary`.
fn in_use(earlier: PathBuf, customary: PathBuf) -> PathBuf {
    if !cfg!(windows) && earlier.join("sinopia").is_dir() { earlier } else { customary }
}

/// The settings file that is named, or the one in the working directory.
fn settings_file(named: Option<&Path>, env: &impl Fn(&str) -> Option<String>) -> anyhow::Result<Settings> {
    let config = named.map(Path::to_owned).or_else(|| env("SINOPIA_CONFIG").map(PathBuf::from));
    match &config {
        Some(path) => read(path),
        None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE)),
        None => Ok(Settings::default()),
    }
}

fn read(path: &Path) -> anyhow::Result<Settings> {
    let text = input::text(path, SETTINGS_BYTES).given(|| format!("cannot read the settings `{}`", path.display()))?;
    let wrong = |error: SourceError| bad_request(format!("in the settings `{}`: {error}", path.display()));
    Settings::from_toml(&text).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use sinopia_diffusion::methods;
    use sinopia_studio::{PaintSettings, PrecisionChoice};

    use super::*;

    fn of(settings: PaintSettings) -> Painting {
        Painting { settings, ..Painting::default() }
    }

    fn merged(text: &str, settings: PaintSettings) -> anyhow::Result<PaintSettings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sinopia.toml");
        std::fs::write(&path, text).unwrap();
        merge_with(Painting { config: Some(path), ..of(settings) }, |_| None).map(|painting| painting.settings)
    }

    #[test]
    fn flags_win_over_the_file() {
        let given = PaintSettings { steps: Some(20), ..PaintSettings::default() };
        let settings = merged("steps = 30\nguidance-scale = 5.0\nprecision = \"bf16\"\n", given).unwrap();
        assert_eq!((settings.steps, settings.guidance_scale), (Some(20), Some(5.0)));
        assert_eq!(settings.precision, Some(PrecisionChoice::Bf16));
    }

    #[test]
    fn variables_stand_between_file_and_flags() {
        let env = |name: &str| (name == "SINOPIA_STEPS").then(|| "20".to_owned());
        assert_eq!(merge_with(Painting::default(), env).unwrap().settings.steps, Some(20));
        let given = PaintSettings { steps: Some(7), ..PaintSettings::default() };
        assert_eq!(merge_with(of(given), env).unwrap().settings.steps, Some(7));
        let error = merge_with(Painting::default(), |name| (name == "SINOPIA_STEPS").then(|| "ten".to_owned()));
        assert!(error.unwrap_err().to_string().contains("SINOPIA_STEPS"));
    }

    #[test]
    fn a_preset_brings_its_method_before_the_file_does() {
        let preset = || PaintSettings { preset: Some("diffusers-lmd-plus".to_owned()), ..PaintSettings::default() };
        assert_eq!(merged("method = \"sd\"\n", preset()).unwrap().method.as_deref(), Some("lmd-plus"));
        let both = PaintSettings { method: Some("sd".to_owned()), ..preset() };
        assert_eq!(merged("", both).unwrap().method.as_deref(), Some("sd"));
    }

    #[test]
    fn what_presets_set_of_a_run_wins_over_the_file_and_flags_win_over_it() {
        for preset in methods::PRESETS {
            let settings = PaintSettings { preset: Some(preset.name.to_owned()), ..PaintSettings::default() };
            let steps = preset.settings().get("steps").and_then(Value::as_u64).unwrap_or(7);
            let with_file = merged("steps = 7\n", settings.clone()).unwrap();
            assert_eq!(with_file.steps.map(u64::from), Some(steps), "{}", preset.name);
            assert_eq!(merged("", PaintSettings { steps: Some(9), ..settings }).unwrap().steps, Some(9));
        }
    }

    #[test]
    fn the_planner_is_configured_in_the_same_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sinopia.toml");
        let text = "llm-model = \"file\"\nllm-base-url = \"ollama\"\nllm-format = \"json\"\ncandidates = 3\n";
        std::fs::write(&path, text).unwrap();
        let env = |name: &str| match name {
            "SINOPIA_LLM_MODEL" => Some("variable".to_owned()),
            "SINOPIA_TEMPLATE" => Some("mine.jinja".to_owned()),
            _ => None,
        };
        let planner = kept(Some(&path), &env).unwrap().planner;
        assert_eq!((planner.llm_model.as_deref(), planner.llm_base_url.as_deref()), (Some("variable"), Some("ollama")));
        // A template has a format of its own.
        assert_eq!(
            (planner.candidates, planner.llm_format, planner.template),
            (Some(3), None, Some("mine.jinja".into()))
        );
        let error = kept(Some(&path), &|name| (name == "SINOPIA_LLM_ENDPOINT").then(|| "telepathy".to_owned()));
        assert!(error.unwrap_err().to_string().contains("`chat`, `completions` or `responses`"));
    }

    #[test]
    fn a_variant_needs_a_model_from_wherever_it_comes() {
        let variant = || Painting { variant: Some("fp16".to_owned()), ..Painting::default() };
        assert!(merge_with(variant(), |_| None).unwrap_err().to_string().contains("`--model`"));
        let env = |name: &str| (name == "SINOPIA_MODEL").then(|| "owner/name".to_owned());
        assert_eq!(merge_with(variant(), env).unwrap().settings.model.as_deref(), Some("owner/name#fp16"));
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

    #[test]
    fn unknown_keys_and_bad_values_are_refused() {
        let error = merged("stepz = 30\n", PaintSettings::default()).unwrap_err();
        assert!(error.to_string().contains("stepz"), "{error}");
        let error = merged("steps = 0\n", PaintSettings::default()).unwrap_err();
        assert!(error.to_string().contains("from 1 to 1000"), "{error}");
    }

    #[test]
    fn a_folder_from_before_is_used_on() {
        let home = tempfile::tempdir().unwrap();
        let (earlier, customary) = (home.path().join(".local/share"), home.path().join("Library/Application Support"));
        assert_eq!(in_use(earlier.clone(), customary.clone()), customary);
        std::fs::create_dir_all(earlier.join("sinopia")).unwrap();
        assert_eq!(in_use(earlier.clone(), customary.clone()), if cfg!(windows) { customary } else { earlier });
    }
}
