//! Scores the reader on gold files: `cargo run -p sinopia-english --example score_readings -- FILE…`; with `--failures` before them, each caption that falls short.

#![expect(clippy::print_stdout, reason = "a table for people")]

use std::error::Error;

#[path = "../tests/scoring/mod.rs"]
#[expect(clippy::expect_used, reason = "shared with the tests")]
mod scoring;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for file in arguments.iter().filter(|argument| *argument != "--failures") {
        let score = scoring::score(&std::fs::read_to_string(file)?);
        println!(
            "{file}: things F1 {:.2}, whole {}/{}, relations {}/{}",
            score.f1(),
            score.whole,
            score.captions,
            score.relations_found,
            score.relations_wanted
        );
        if arguments.iter().any(|argument| argument == "--failures") {
            score.failures.iter().for_each(|failure| println!("  {failure}"));
        }
    }
    Ok(())
}
