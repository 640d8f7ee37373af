//! The figures as a table in Markdown.

use super::Figures;
use super::measure::PartTimes;

/// A table to paste into an issue.
pub(super) fn markdown(figures: &Figures) -> String {
    let mut lines = vec![heading(figures), String::new(), "| what | measured |".to_owned(), "| --- | --- |".to_owned()];
    lines.extend(rows(figures).into_iter().map(|(what, measured)| format!("| {what} | {measured} |")));
    lines.join("\n")
}

/// What measured what.
fn heading(Figures { machine, model, .. }: &Figures) -> String {
    let known = |what: &Option<usize>| what.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let limit = match machine.instructions_used == machine.instructions_found {
        true => String::new(),
        false => format!(" ({} was found)", machine.instructions_found),
    };
    let lines = [
        format!("Sinopia {} on {}", machine.sinopia, machine.system),
        format!("processor: {}", machine.processor.as_deref().unwrap_or("unknown")),
        format!(
            "cores {}, threads {}, memory {}",
            known(&machine.cores),
            machine.threads,
            gigabytes(machine.memory_bytes)
        ),
        format!(
            "kernels: {}{limit}, in 8 bits {}; the processor has {}",
            machine.instructions_used,
            machine.instructions_used_in_8_bits,
            machine.extensions.join(" ")
        ),
        format!(
            "model: {} (sha256 {}), {} × {} px, in {}",
            cell(&model.name),
            &model.sha256[..model.sha256.len().min(12)],
            model.width,
            model.height,
            model.precision
        ),
    ];
    lines.map(|line| format!("- {line}")).join("\n")
}

fn rows(Figures { model, products, .. }: &Figures) -> Vec<(String, String)> {
    let mut rows = vec![("load the model, s".to_owned(), format!("{:.2}", model.load_seconds))];
    rows.extend(model.parts.iter().map(|times| (format!("{}, s", title(times.part)), spread(times))));
    rows.push(("peak memory".to_owned(), gigabytes(model.peak_bytes)));
    let on = |threads| if threads == 1 { "one thread".to_owned() } else { format!("{threads} threads") };
    rows.extend(products.iter().map(|rate| {
        (format!("products in {}, {}, GFLOP/s", rate.arithmetic, on(rate.threads)), format!("{:.0}", rate.gflops))
    }));
    rows
}

/// A part in words.
fn title(part: &str) -> &str {
    match part {
        "step" => "guided step (batch of 2)",
        "guidance" => "guidance update",
        "decode" => "decode the picture",
        "encode" => "encode two texts",
        other => other,
    }
}

/// Median, least and most, of how many.
fn spread(PartTimes { seconds, median, .. }: &PartTimes) -> String {
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = seconds.iter().copied().fold(0.0, f64::max);
    let digits = if *median < 0.01 { 5 } else { 3 };
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$}, {} runs)", seconds.len())
}

fn gigabytes(bytes: Option<usize>) -> String {
    bytes.map_or_else(|| "not told by the system".to_owned(), |bytes| format!("{:.2} GB", bytes as f64 / 1e9))
}

/// Text that ends no cell of the table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::super::measure::{ModelFigures, ProductRate};
    use super::*;

    fn figures() -> Figures {
        Figures {
            machine: Machine {
                sinopia: "0.1.0",
                system: "linux x86_64".to_owned(),
                processor: Some("X Y 9000".to_owned()),
                cores: Some(8),
                threads: 4,
                instructions_found: "avx512",
                instructions_used: "avx2",
                instructions_used_in_8_bits: "avx-vnni",
                extensions: vec!["avx2", "fma", "avx512f"],
                memory_bytes: None,
            },
            model: ModelFigures {
                name: "./a|b".to_owned(),
                sha256: "0123456789abcdef".to_owned(),
                precision: "f32",
                width: 512,
                height: 512,
                load_seconds: 1.234,
                parts: vec![PartTimes { part: "step", seconds: vec![3.0, 2.0, 2.5], median: 2.5 }],
                peak_bytes: Some(2_500_000_000),
            },
            products: vec![
                ProductRate { arithmetic: "f32", threads: 1, gflops: 98.4 },
                ProductRate { arithmetic: "f32", threads: 4, gflops: 380.6 },
            ],
        }
    }

    #[test]
    fn a_table_names_its_machine_and_only_what_was_measured() {
        let expected = "\
- Sinopia 0.1.0 on linux x86_64
- processor: X Y 9000
- cores 8, threads 4, memory not told by the system
- kernels: avx2 (avx512 was found), in 8 bits avx-vnni; the processor has avx2 fma avx512f
- model: ./a\\|b (sha256 0123456789ab), 512 × 512 px, in f32

| what | measured |
| --- | --- |
| load the model, s | 1.23 |
| guided step (batch of 2), s | 2.500 (2.000–3.000, 3 runs) |
| peak memory | 2.50 GB |
| products in f32, one thread, GFLOP/s | 98 |
| products in f32, 4 threads, GFLOP/s | 381 |";
        assert_eq!(markdown(&figures()), expected);
    }
}
