//! Prints the analyses of captions as JSON: `cargo run -p sinopia-english --example read -- "a cat on a sofa"`. With `--time FILE`, over the lines of a file.

#![expect(clippy::print_stdout, reason = "what it is for")]

use std::error::Error;
use std::time::Instant;

/// Times that each caption is read: on a busy machine the fastest says what it costs.
const ROUNDS: u32 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, file] = arguments.as_slice()
        && flag == "--time"
    {
        return time(&std::fs::read_to_string(file)?);
    }
    for caption in &arguments {
        println!("{}", serde_json::to_string_pretty(&sinopia_english::read(caption))?);
    }
    Ok(())
}

fn time(captions: &str) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    sinopia_english::read("a cat");
    println!("first caption, with the reading of weights and nouns: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let captions: Vec<&str> = captions.lines().filter(|line| !line.is_empty()).collect();
    let each = captions.iter().map(|caption| {
        let times = (0..ROUNDS).map(|_| {
            let start = Instant::now();
            std::hint::black_box(sinopia_english::read(caption));
            start.elapsed().as_secs_f64() * 1e3
        });
        times.fold(f64::INFINITY, f64::min)
    });
    let mean = each.sum::<f64>() / captions.len().max(1) as f64;
    println!("{mean:.2} ms a caption, the fastest of {ROUNDS} readings of each of {}", captions.len());
    Ok(())
}
