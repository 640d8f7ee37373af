//! The figures that pages quote are those of the tables that hold them.
//!
//! A quoted figure stands in a page as `<!-- figure PAGE | TABLE | ROW | COLUMN -->8.2<!-- end -->`; `python benches/figures.py` writes them anew.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::{Path, PathBuf};

const OPEN: &str = "<!-- figure ";
const END: &str = "<!-- end -->";

/// Shares in README.md that are no measurements: the level of intervals.
const NO_MEASUREMENTS: [&str; 1] = ["95 % intervals"];

#[test]
fn quoted_figures_are_those_of_their_tables() {
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (key, quoted) in quoted(&text) {
            let found = figure(key).unwrap_or_else(|problem| panic!("{}: `{key}`: {problem}", page.display()));
            assert_eq!(
                quoted,
                found,
                "{}: `{key}` is stale: `python benches/figures.py` writes it anew",
                page.display()
            );
            count += 1;
        }
        let at_line_start = text.lines().find(|line| line.starts_with(OPEN));
        assert_eq!(at_line_start, None, "{}: a comment at the start of a line ends its paragraph", page.display());
    }
    assert!(count >= 9, "{count} figures are quoted");
}

/// Every share in README.md is a quoted one, so that none goes stale unseen.
#[test]
fn shares_in_the_readme_are_quoted() {
    let mut text = fs::read_to_string(root().join("README.md")).unwrap();
    for (key, value) in quoted(&text.clone()) {
        text = text.replace(&format!("{OPEN}{key} -->{value}{END} %"), "");
    }
    for fine in NO_MEASUREMENTS {
        text = text.replace(fine, "");
    }
    let own = text.match_indices(" %").find(|(at, _)| text[..*at].ends_with(|c: char| c.is_ascii_digit()));
    assert_eq!(own.map(|(at, _)| text[..at].lines().last().unwrap()), None, "a share without a mark");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages that may quote figures.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "training", "web", "benches", "integrations"].map(|folder| root().join(folder));
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.into_iter().chain(crates).flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// Keys and figures of a page.
fn quoted(text: &str) -> Vec<(&str, &str)> {
    let marks = text.split(OPEN).skip(1);
    marks.map(|mark| mark.split_once(END).unwrap().0.split_once(" -->").unwrap()).collect()
}

/// The number that a key names: what its cell begins with.
fn figure(key: &str) -> Result<String, String> {
    let [page, table, row, column] = key.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
        return Err("it is not PAGE | TABLE | ROW | COLUMN".to_owned());
    };
    let text = fs::read_to_string(root().join(page)).map_err(|error| error.to_string())?;
    let table = text.split_once(&format!("<!-- {table} -->\n")).ok_or("there is no such table")?.1;
    let table = table.split_once(END).ok_or("the table has no end")?.0;
    let mut rows = table.lines().filter(|line| line.starts_with('|')).map(cells);
    let header = rows.next().ok_or("the table is empty")?;
    let place = header.iter().position(|cell| *cell == column).ok_or("there is no such column")?;
    let row = rows.find(|cells| cells[0] == row).ok_or("there is no such row")?;
    let cell = row.get(place).ok_or("the row is too short")?;
    Ok(cell.trim_matches('*').split_whitespace().next().unwrap_or_default().to_owned())
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn keys_name_cells() {
    assert_eq!(figure("docs/performance.md | bars | AVX2 | bar"), Ok("0.65".to_owned()));
    for (key, problem) in [
        ("docs/performance.md | bars | AVX2", "not PAGE"),
        ("docs/nothing.md | a | b | c", "No such file"),
        ("docs/performance.md | nothing | b | c", "no such table"),
        ("docs/performance.md | bars | nothing | bar", "no such row"),
        ("docs/performance.md | bars | AVX2 | nothing", "no such column"),
    ] {
        assert!(figure(key).unwrap_err().contains(problem), "{key}");
    }
}
