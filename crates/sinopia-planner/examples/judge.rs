//! Prints what the checks say of recorded answers: `cargo run -p sinopia-planner --example judge -- FILE…`; with `--remarks` before them, remarks too.

#![expect(clippy::print_stdout, reason = "what it is for")]

use std::error::Error;

use sinopia_layout::{LayoutCache, parse_answer};
use sinopia_planner::checks::check;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let with_remarks = arguments.iter().any(|argument| argument == "--remarks");
    for file in arguments.iter().filter(|argument| *argument != "--remarks") {
        let cache = LayoutCache::from_json(&std::fs::read_to_string(file)?)?;
        let (mut answers, mut faulty) = (0, 0);
        for (caption, answer) in cache.iter().flat_map(|(caption, answers)| answers.iter().map(move |a| (caption, a))) {
            answers += 1;
            let Ok(layout) = parse_answer(answer) else { continue };
            let findings = check(caption, &layout);
            faulty += u32::from(findings.iter().any(|finding| finding.is_fault()));
            let told: Vec<_> = findings.iter().filter(|finding| with_remarks || finding.is_fault()).collect();
            if !told.is_empty() {
                println!("{caption}\n  {}", answer.replace('\n', "\n  "));
                told.iter().for_each(|finding| println!("  {:?}: {finding}", finding.severity()));
            }
        }
        println!("{file}: {faulty} of {answers} with a fault");
    }
    Ok(())
}
