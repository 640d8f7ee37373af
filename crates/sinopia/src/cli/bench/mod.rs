//! `sinopia bench`: how fast this machine computes, for people who ask why it takes so long. No figure is told that was not measured.

pub(crate) mod args;
mod machine;
mod measure;
mod report;

use serde::Serialize;
use sinopia_studio::PaintSpec;

use args::BenchArgs;
use machine::Machine;
use measure::{Clock, ModelFigures, ProductRate};

use super::progress::{Bars, cancellation_on_interrupt};
use super::{args::with_own_words, models, output, settings};

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
struct Figures {
    machine: Machine,
    model: ModelFigures,
    products: Vec<ProductRate>,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let painting = settings::merge(args.painting())?;
    painting.machine.apply()?;
    let spec = PaintSpec::default().with(with_own_words(painting.settings));
    let compute = spec.compute().resolved();
    let bars = Bars::new(args.quiet);
    let cancellation = cancellation_on_interrupt(&bars)?;
    let machine = Machine::this();
    let has_int8 = machine.instructions_used_in_8_bits != "portable";
    let clock = Clock { bars: &bars, cancellation: &cancellation, rounds: args.rounds as usize, has_int8 };
    let model = measure::model(|| models::open(spec.model_name(), compute, &bars), compute, &clock)?;
    let products = measure::products(&clock)?;
    bars.finish();
    let figures = Figures { machine, model, products };
    output::print(&match args.json {
        true => format!("{:#}", serde_json::to_value(&figures)?),
        false => report::markdown(&figures),
    })
}
