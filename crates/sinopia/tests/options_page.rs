//! docs/options.md has every option of every method, from the descriptions that the methods have of them.
//!
//! `UPDATE_DOCS=1 cargo test -p sinopia --test options_page` writes the page anew.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sinopia::diffusion::methods::{self, MethodInfo, PRESETS, Preset};
use sinopia::diffusion::settings::{Group, Kind, Setting};
use sinopia::studio::{
    CheckSettings, Described, InitSettings, MachineSettings, PaintSettings, PlannerSettings, RunSetting,
};

const HEAD: &str = "\
# Every setting, and every option of every method

Settings of a run are flags, where a tick says so also keys of `sinopia.toml` and variables `SINOPIA_*` (`guidance-scale`, `SINOPIA_GUIDANCE_SCALE`); a flag wins over a variable, a variable over
the file. `--set NAME=VALUE` sets an option of the method, `--set` may come often, and NAME may be written as you like (`--set Loss-Scale=30`). A list is written as `4, 4, 3`, as `4×2, 3` or as JSON, a table as
JSON; `null` leaves an option to whatever its text says. `sinopia inspect PICTURE` shows those that a picture was made with.
Numbers of steps are of 50 and are stretched to the steps of a run, unless `stretch_schedule` is off. *Published* is what `--reference` sets, where it is something else. What the deviations
from the reference are for and what each changes is in [methods.md](methods.md) and [results.md](results.md).

This page is written from the source by `UPDATE_DOCS=1 cargo test -p sinopia --test options_page`.
";

#[test]
fn the_page_has_every_option() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/options.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let stale = written.lines().zip(page.lines()).find(|(a, b)| a != b);
    assert!(written == page, "docs/options.md is stale: UPDATE_DOCS=1 writes it anew; first difference: {stale:?}");
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    of_a_run("Settings of a picture", PaintSettings::described(), &mut page);
    of_a_run("Settings of a picture to begin with", InitSettings::described(), &mut page);
    of_a_run("Settings of checking", CheckSettings::described(), &mut page);
    of_a_run("Settings of the machine", MachineSettings::described(), &mut page);
    of_a_run("Settings of the planner", PlannerSettings::described(), &mut page);
    presets(&mut page);
    for method in methods::METHODS {
        write!(page, "\n## `{}`\n\n{}.\n", method.name, method.help).unwrap();
        match method.name {
            "lmd-plus" => beside(methods::find("lmd").unwrap(), method, &mut page),
            _ => tables(&method.settings().iter().collect::<Vec<_>>(), &mut page),
        }
    }
    page
}

/// A table of settings of a run.
fn of_a_run(title: &str, settings: &[RunSetting], page: &mut String) {
    write!(page, "\n## {title}\n\n").unwrap();
    page.push_str("| flag | takes | unit | default | kept | |\n| --- | --- | --- | --- | --- | --- |\n");
    for setting in settings {
        let also = setting.aliases.iter().map(|alias| format!(", `--{}`", alias.replace('_', "-"))).collect::<String>();
        let row = [
            format!("`--{}`{also}", setting.flag()),
            setting.expected(),
            setting.unit.as_deref().unwrap_or_default().to_owned(),
            setting.shown_default().unwrap_or_default(),
            if setting.is_kept { "✓" } else { "" }.to_owned(),
            text(setting),
        ];
        writeln!(page, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | ")).unwrap();
    }
}

/// What each preset sets.
fn presets(page: &mut String) {
    page.push_str("\n## Presets\n\n`--preset NAME` sets several at once; flags and `--set` beside it win.\n\n");
    page.push_str("| preset | | of a run | of a method, where not the default |\n| --- | --- | --- | --- |\n");
    for preset in PRESETS {
        let of_a_run = preset.settings().iter().map(|(name, value)| format!("`{name}` `{value}`"));
        let of_a_run = of_a_run.collect::<Vec<_>>().join(", ");
        writeln!(page, "| `{}` | {} | {of_a_run} | {} |", preset.name, preset.help, changed(preset)).unwrap();
    }
}

fn changed(preset: &Preset) -> String {
    let is_as = |options: fn(&MethodInfo) -> Value| {
        methods::METHODS.iter().all(|method| Value::Object(preset.options(method)) == options(method))
    };
    if is_as(|method| methods::reference_options(method.name).unwrap()) {
        return "the published values below".to_owned();
    }
    let changed = methods::METHODS.iter().flat_map(|method| {
        let options = preset.options(method);
        let changed = method.settings().iter().filter(move |setting| options[&*setting.name] != setting.default);
        let options = preset.options(method);
        changed.map(move |setting| format!("`{}` {}", setting.name, shown(&options[&*setting.name])))
    });
    changed.collect::<Vec<_>>().join(", ")
}

/// A table for each group that has some of the settings.
fn tables(settings: &[&Setting], page: &mut String) {
    for group in Group::ALL {
        let of_group: Vec<_> = settings.iter().filter(|setting| setting.group == group).collect();
        if of_group.is_empty() {
            continue;
        }
        write!(page, "\n### {}\n\n", group.title()).unwrap();
        page.push_str("| option | takes | unit | default | published | |\n| --- | --- | --- | --- | --- | --- |\n");
        for setting in of_group {
            let unit = setting.unit.as_deref().unwrap_or_default();
            let (default, published) = values(setting);
            let also = setting.aliases.iter().map(|alias| format!(", `{alias}`")).collect::<String>();
            let row =
                [&format!("`{}`{also}", setting.name), &setting.expected(), unit, &default, &published, &text(setting)];
            writeln!(page, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | ")).unwrap();
        }
    }
}

/// What a method has that `base` has not, then what is otherwise than there.
fn beside(base: &MethodInfo, method: &MethodInfo, page: &mut String) {
    let of_base = |setting: &Setting| base.settings().iter().find(|other| other.name == setting.name);
    let (shared, own): (Vec<_>, Vec<_>) = method.settings().iter().partition(|setting| of_base(setting).is_some());
    tables(&own, page);
    let other = |setting: &&&Setting| of_base(setting).is_some_and(|base| values(base) != values(setting));
    write!(page, "\n### As `{}`\n\nAnd all of `{0}`'s. These have other values here:\n\n", base.name).unwrap();
    page.push_str("| option | default | published |\n| --- | --- | --- |\n");
    for setting in shared.iter().filter(other) {
        let (default, published) = values(setting);
        writeln!(page, "| `{}` | {default} | {published} |", setting.name).unwrap();
    }
}

fn values(setting: &Setting) -> (String, String) {
    (shown(&setting.default), setting.published.as_ref().map(shown).unwrap_or_default())
}

/// Help, details, and what the words mean.
fn text(setting: &Setting) -> String {
    let mut parts = vec![setting.help.to_string(), setting.details.replace(['\n'], " ")];
    if let Kind::Choice(choices) = &setting.kind {
        parts.extend(choices.iter().map(|choice| format!("`{}`: {}", choice.value, choice.help)));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "`null`".to_owned(),
        Value::Object(map) if map.is_empty() => "none".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(list) => runs(list),
        other => format!("`{other}`"),
    }
}

/// `4 ×5, 3 ×5, 2 ×10`.
fn runs(list: &[Value]) -> String {
    let parts = list.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1 => format!("{}", run[0]),
        count => format!("{} ×{count}", run[0]),
    });
    parts.collect::<Vec<_>>().join(", ")
}
