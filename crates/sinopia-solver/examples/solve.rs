//! Lays out captions, one a line of a file, and writes JSON lines: `cargo run -p sinopia-solver --example solve -- FILE [SEED] [WIDTHxHEIGHT]`.

#![expect(clippy::print_stdout, reason = "what it is for")]

use std::error::Error;

use serde_json::json;
use sinopia_english::read;
use sinopia_layout::Canvas;
use sinopia_solver::{SolveOptions, solve};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let file = arguments.first().ok_or("a file of captions is needed")?;
    let seed = arguments.get(1).map_or(Ok(0), |seed| seed.parse())?;
    let canvas = match arguments.get(2).and_then(|size| size.split_once('x')) {
        Some((width, height)) => Canvas::new(width.parse()?, height.parse()?)?,
        None => Canvas::PUBLISHED,
    };
    for caption in std::fs::read_to_string(file)?.lines().filter(|line| !line.trim().is_empty()) {
        let start = std::time::Instant::now();
        let solved = solve(caption, &read(caption), &SolveOptions { canvas, seed });
        let ms = start.elapsed().as_secs_f64() * 1e3;
        match solved {
            Ok(solution) => {
                let remarks: Vec<String> = solution.remarks.iter().map(ToString::to_string).collect();
                let layout: serde_json::Value = serde_json::from_str(&solution.layout.to_json())?;
                println!("{}", json!({"caption": caption, "ms": ms, "remarks": remarks, "layout": layout}));
            }
            Err(error) => println!("{}", json!({"caption": caption, "error": error.to_string()})),
        }
    }
    Ok(())
}
