//! `sinopia cache`: the layouts that are remembered.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sinopia_layout::{LayoutCache, parse_answer_on};
use sinopia_planner::cache::{self, Selection, Stored};
use sinopia_planner::{Cache, PlanTask, PlannerKind, cached};
use sinopia_studio::PlannerSettings;

use super::args::{CacheArgs, CacheCommand, PlannerArgs, PlannerChoice, SelectionArgs};
use super::failure::bad_request;
use super::planning;
use super::progress::Bars;
use super::{input, output, settings};

pub(crate) fn run(args: CacheArgs) -> anyhow::Result<()> {
    let config = args.config.as_deref();
    let merged = |given: PlannerArgs| {
        let choice = settings::merge_planner(given, config)?;
        let plan_cache = args.file.clone().or(choice.settings.plan_cache.clone());
        anyhow::Ok(PlannerChoice { settings: PlannerSettings { plan_cache, ..choice.settings.clone() }, ..choice })
    };
    match args.command {
        CacheCommand::Import { file, planner } => import(&file, merged(*planner)?),
        CacheCommand::List { selection, json } => list(&open(&merged(PlannerArgs::default())?)?, selection, json),
        CacheCommand::Clear { selection, all } => clear(&open(&merged(PlannerArgs::default())?)?, selection, all),
        CacheCommand::Export { out, selection } => export(&open(&merged(PlannerArgs::default())?)?, &out, selection),
    }
}

/// A cache that must be there: looking for one makes none.
fn open(args: &PlannerChoice) -> anyhow::Result<Cache> {
    let path = planning::cache_path(args);
    if !path.exists() {
        return Err(bad_request(format!(
            "there is no cache of plans at `{}`; planning with a language model makes one",
            path.display()
        )));
    }
    Ok(Cache::open(&path)?)
}

fn list(cache: &Cache, selection: SelectionArgs, as_json: bool) -> anyhow::Result<()> {
    let rows = cache.list(&selection.into())?;
    if as_json {
        return output::print(&format!("{:#}", rows.iter().map(as_object).collect::<Value>()));
    }
    for row in &rows {
        let key = &row.key;
        let number = if key.occurrence == 0 { String::new() } else { format!(" (number {})", key.occurrence + 1) };
        let stale = if row.is_stale() { " (stale)" } else { "" };
        output::print(&format!("{:<32} {}{number}{stale}", key.model, key.caption))?;
    }
    output::print(&format!("{} layouts in {}", rows.len(), cache.path().display()))?;
    match rows.iter().filter(|row| row.is_stale()).count() {
        0 => Ok(()),
        count => output::print(&format!("{count} of them stale: {STALE}")),
    }
}

/// What it means, and what to do.
const STALE: &str = "\
judged by another version's reading of their captions, and used no more;
`sinopia cache export FILE --stale`, then `sinopia cache import FILE`, judges them anew; `sinopia cache clear --stale` forgets them";

fn as_object(row: &Stored) -> Value {
    let mut object = json!(row);
    object["stale"] = row.is_stale().into();
    object
}

fn clear(cache: &Cache, selection: SelectionArgs, all: bool) -> anyhow::Result<()> {
    if selection.model.is_none() && selection.caption.is_none() && !selection.stale && !all {
        return Err(bad_request(
            "to forget every layout, say `--all`; `--model NAME`, `--caption TEXT` and `--stale` select some",
        ));
    }
    let count = cache.clear(&selection.into())?;
    output::print(&format!("forgot {count} layouts"))
}

fn export(cache: &Cache, out: &Path, selection: SelectionArgs) -> anyhow::Result<()> {
    output::check_text(out, &[cache.path()])?;
    // Of several answers to the same question (by other models or templates) the newest is written.
    let mut newest: BTreeMap<(String, usize), Stored> = BTreeMap::new();
    let rows = cache.list(&selection.into())?;
    let count = rows.len();
    for row in rows.into_iter().filter(|row| !row.is_edit()) {
        let place = (row.key.caption.clone(), row.key.occurrence);
        if newest.get(&place).is_none_or(|known| known.created <= row.created) {
            newest.insert(place, row);
        }
    }
    let rows: Vec<Stored> = newest.into_values().collect();
    output::write(out, format!("{:#}\n", json!(cache::export(&rows))).as_bytes())?;
    let bars = Bars::new(false);
    bars.line(&format!("wrote {} answers to {}", rows.len(), out.display()));
    if rows.len() < count {
        bars.warn(&format!(
            "{} were left out: older answers to the same captions (`--model NAME` selects), and changes of layouts",
            count - rows.len()
        ));
    }
    Ok(())
}

fn import(file: &Path, args: PlannerChoice) -> anyhow::Result<()> {
    if args.no_plan_cache {
        return Err(bad_request("`--no-plan-cache` leaves nothing to import into"));
    }
    let config = planning::config(&args)?;
    if config.kind() == PlannerKind::BuiltIn {
        return Err(bad_request(
            "answers are imported for a language model, and none is named\nhint: name one with `--llm-model NAME`",
        ));
    }
    let recorded = LayoutCache::from_json(&input::read(file)?)
        .map_err(|error| input::fault("cannot read the answers", &error, &file.display().to_string()))?;
    let bars = Bars::new(false);
    let planner = planning::open(&args, &bars)?;
    let remembered = config.open_cache()?;
    let (mut new, mut known, mut refused) = (0, 0, 0);
    for (caption, answers) in recorded.iter() {
        for (occurrence, answer) in answers.iter().enumerate() {
            // An answer that names its canvas was given for a picture of that shape, and is asked for again for such.
            let canvas = parse_answer_on(answer, planner.info().canvas).ok().map(|layout| layout.canvas);
            let task = PlanTask { occurrence, canvas, ..PlanTask::caption(caption) };
            let is_new = match &remembered {
                Some(cache) => cached::import(planner.as_ref(), cache, &task, answer),
                None => Ok(false),
            };
            match is_new {
                Ok(true) => new += 1,
                Ok(false) => known += 1,
                Err(error @ (sinopia_planner::Error::Layout(_) | sinopia_planner::Error::Unusable { .. })) => {
                    refused += 1;
                    let why = error.to_string();
                    let line = match &error {
                        sinopia_planner::Error::Unusable { problems, .. } => problems.join("; "),
                        _ => why,
                    };
                    bars.warn(&format!("left out an answer to `{caption}`: {line}"));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    output::print(&format!("imported {new} answers; {known} were known, {refused} left out"))
}

impl From<SelectionArgs> for Selection {
    fn from(args: SelectionArgs) -> Self {
        Selection { model: args.model, caption: args.caption, is_stale: args.stale }
    }
}
