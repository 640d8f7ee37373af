//! Where the layouts come from: the solver, or a file of another planner's.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sinopia_english::read;
use sinopia_layout::{Canvas, Layout};
use sinopia_solver::{SolveOptions, solve};

/// Lays out captions.
pub(crate) enum Planner {
    Solver(SolveOptions),
    /// By caption; those that could not be read have the reason.
    Made(HashMap<String, Result<Layout, String>>),
}

impl Planner {
    /// The solver, or the layouts of a file.
    pub(crate) fn new(file: Option<&Path>, seed: u64, canvas: Option<&str>) -> Result<Self, Box<dyn Error>> {
        if let Some(file) = file {
            return made(&fs::read_to_string(file)?);
        }
        let canvas = match canvas {
            Some(sides) => {
                let (width, height) = sides.split_once('x').ok_or("--canvas is WIDTHxHEIGHT")?;
                Canvas::new(width.parse()?, height.parse()?)?
            }
            None => Canvas::PUBLISHED,
        };
        Ok(Self::Solver(SolveOptions { canvas, seed }))
    }

    /// The layout of a caption, or why there is none.
    pub(crate) fn layout(&self, caption: &str) -> Result<Layout, String> {
        match self {
            Self::Solver(options) => solve(caption, &read(caption), options)
                .map(|solution| solution.layout)
                .map_err(|error| error.to_string()),
            Self::Made(layouts) => {
                layouts.get(caption).cloned().unwrap_or_else(|| Err("not in the file of layouts".to_owned()))
            }
        }
    }
}

/// `{"plans": [{"caption", "layout"}]}`, or such an object a line.
fn made(text: &str) -> Result<Planner, Box<dyn Error>> {
    let plans: Vec<Value> = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(all)) if all.contains_key("plans") => serde_json::from_value(all["plans"].clone())?,
        _ => text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str).collect::<Result<_, _>>()?,
    };
    let one = |plan: &Value| {
        let caption = plan["caption"].as_str().unwrap_or_default().to_owned();
        (caption, Layout::from_json(&plan["layout"].to_string()).map_err(|error| error.to_string()))
    };
    Ok(Planner::Made(plans.iter().map(one).collect()))
}
