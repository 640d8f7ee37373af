//! Scores layouts on gold files, whose rows say what a careful person sees in a caption:
//!
//! ```text
//! cargo run --release -p sinopia-solver --example score -- [OPTIONS] GOLD.json…
//!   --captions FOLDER  where the published files lie that rows name as their source
//!   --layouts FILE     layouts of another planner: a line `{"caption": …, "layout": …}` each, or what `sinopia plan --json` prints
//!   --failures         what is wrong, caption by caption
//!   --sheet OUT.svg    every layout on one drawing; then a file of captions, one a line, will do too
//!   --seed N           the solver's seed (0)
//!   --canvas WxH       the picture's size (512x512)
//! ```
//!
//! To turn a drawing into a PNG: `chromium --headless --no-sandbox --screenshot=OUT.png --window-size=2400,5200 OUT.svg`.

#![expect(clippy::print_stdout, reason = "a table for people")]

mod layouts;
#[path = "../../tests/scoring/mod.rs"]
mod scoring;
mod sheet;

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use sinopia_layout::Layout;

use crate::layouts::Planner;
use crate::scoring::{gold, report};

#[derive(Default)]
struct Arguments {
    gold: Vec<PathBuf>,
    captions: Option<PathBuf>,
    layouts: Option<PathBuf>,
    sheet: Option<PathBuf>,
    seed: u64,
    canvas: Option<String>,
    lists_failures: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--captions" => arguments.captions = Some(value()?.into()),
                "--layouts" => arguments.layouts = Some(value()?.into()),
                "--sheet" => arguments.sheet = Some(value()?.into()),
                "--seed" => arguments.seed = value()?.parse()?,
                "--canvas" => arguments.canvas = Some(value()?),
                "--failures" => arguments.lists_failures = true,
                _ if word.starts_with("--") => return Err(format!("there is no {word}").into()),
                _ => arguments.gold.push(word.into()),
            }
        }
        Ok(arguments)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse(env::args().skip(1))?;
    let planner = Planner::new(arguments.layouts.as_deref(), arguments.seed, arguments.canvas.as_deref())?;
    let mut drawn = Vec::new();
    for file in &arguments.gold {
        let gold = gold::open(file, arguments.captions.as_deref())?;
        let layouts: Vec<Result<Layout, String>> = gold.rows.iter().map(|row| planner.layout(&row.caption)).collect();
        let report = report::score(&gold, &layouts);
        println!("{}: {} captions", file.display(), gold.rows.len());
        gold.lost.iter().for_each(|lost| println!("  left out: {lost}"));
        println!("{report}");
        if arguments.lists_failures {
            report.failures.iter().for_each(|failure| println!("  - {failure}"));
        }
        drawn.extend(gold.rows.into_iter().map(|row| row.caption).zip(layouts));
    }
    if let Some(path) = &arguments.sheet {
        fs::write(path, sheet::draw(&drawn))?;
    }
    Ok(())
}
