//! `--instruction`: a change in a sentence. A language model changes the picture's layout, checked as plans are; what differs then is changed in the picture.

use std::path::Path;

use sinopia_diffusion::Recipe;
use sinopia_planner::{PlanContext, PlanTask};
use sinopia_studio::editing::{Source, Wanted};

use crate::cli::args::PlannerArgs;
use crate::cli::failure::{bad_request, with_hint};
use crate::cli::progress::Bars;
use crate::cli::{input, planning, settings};

const NO_LAYOUT: &str = "\
`--instruction` changes the layout of a picture, and this one's file has none";
const WITHOUT_LAYOUT: &str = "\
say what to change by `--move`, `--remove`, `--add`, `--replace` or `--recolour`: objects are then looked for in the picture";

/// What the picture is to be, as a language model understands a sentence, and the lines that tell of it.
pub(super) fn wanted(
    instruction: &str,
    source: &Source,
    planner: &PlannerArgs,
    config: Option<&Path>,
    bars: &Bars,
) -> anyhow::Result<(Wanted, Vec<String>)> {
    let instruction = input::caption(instruction)?;
    let layout = source.recipe().and_then(Recipe::final_layout);
    let layout = layout.ok_or_else(|| with_hint(bad_request(NO_LAYOUT), Some(WITHOUT_LAYOUT.to_owned())))?;
    let planner = planning::open(&settings::merge_planner(planner.clone(), config)?, bars)?;
    let tell = planning::progress(bars);
    let task = PlanTask::edit(layout, &instruction);
    let plan = planner.plan(&task, &PlanContext::default().on_event(&tell))?;
    bars.finish();
    planning::show(planner.as_ref(), &plan, bars);
    bars.show_layout(&plan.layout);
    let told = input::told(&plan.understood, &plan.changes);
    Ok((Wanted::Layout(plan.layout), told))
}
