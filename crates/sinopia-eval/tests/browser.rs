//! The report's page in a real browser, opened from the file system: tables, pictures, boxes, filters, two runs side by side.
//!
//! Needs Chromium (`chromium`, `chromium-browser` or `google-chrome` on the path, or `BROWSER_TESTS`). Without one the test says that it did not
//! run; with `BROWSER_TESTS=required`, as the gate sets it, its absence is a failure.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod made_up;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sinopia_eval::report::{Report, html};

const VARIABLE: &str = "BROWSER_TESTS";
const REQUIRED: &str = "required";
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=20000",
    "--window-size=1200,3000",
];

/// The browser, or nothing, said aloud, where none is needed.
fn browser() -> Option<PathBuf> {
    let wish = std::env::var_os(VARIABLE).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names: Vec<OsString> = match wish.is_empty() || wish == REQUIRED {
        true => NAMES.map(OsString::from).to_vec(),
        false => vec![wish.clone()],
    };
    let places = std::env::split_paths(&path).flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    let found = places.into_iter().find(|place| place.is_file());
    if found.is_none() {
        assert!(wish.is_empty(), "{VARIABLE} is set, and there is no browser: none of {names:?} on the path");
        // Not by a macro: those are swallowed by the test harness.
        let said =
            "NOT RUN: the report's page was not opened, there is no Chromium here (Debian's package is `chromium`)\n";
        std::io::stderr().write_all(said.as_bytes()).unwrap();
    }
    found
}

fn open(browser: &Path, page: &Path, flag: &str) -> Output {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(flag)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Uses the page as a person would and writes down what is to be seen after each step.
const VISITOR: &str = include_str!("visitor.js");

/// What the visitor wrote down.
fn visit(browser: &Path, page: &Path) -> Value {
    use base64::Engine;
    let dom = String::from_utf8(open(browser, page, "--dump-dom").stdout).unwrap();
    let (_, after) =
        dom.split_once("<pre id=\"observed\">").unwrap_or_else(|| panic!("the visitor got stuck in\n{dom}"));
    let text = after.split_once('<').unwrap().0;
    serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_page_works_in_a_browser_from_the_file_system() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    // Captions 200 to 203 are scored, 204 has no image.
    let first = made_up::run(folder.path(), "sd", &[true, false, false, true]);
    let second = made_up::run(folder.path(), "lmd", &[true, true, false, false]);
    let page = html(&Report::open(&[first, second]).unwrap()).unwrap();
    let (plain, visited) = (folder.path().join("report.html"), folder.path().join("visited.html"));
    std::fs::write(&plain, &page).unwrap();
    std::fs::write(&visited, page.replace("</body>", &format!("<script>{VISITOR}</script></body>"))).unwrap();

    // As it is: drawn at once, without a click.
    let dom = String::from_utf8(open(&browser, &plain, "--dump-dom").stdout).unwrap();
    assert_eq!(dom.matches("<figcaption").count(), 10, "five captions, two runs");
    let picture = folder.path().join("page.png");
    open(&browser, &plain, &format!("--screenshot={}", picture.display()));
    let shot = image::open(&picture).unwrap().into_rgb8();
    assert_eq!(shot.dimensions(), (1200, 3000));
    let red = shot.pixels().filter(|pixel| pixel[0] > 150 && pixel[1] < 80 && pixel[2] < 80).count();
    assert!(red > 1000, "{red} pixels of the red pictures are to be seen");

    let seen = visit(&browser, &visited);
    let tables = list(&seen["tables"]);
    assert_eq!(tables.len(), 4, "rates and pairs by both protocols");
    assert!(tables[0].contains("attribution") && tables[0].contains("LMD, GPT-3.5 (published)"), "{}", tables[0]);
    assert!(tables[1].contains("McNemar") && tables[1].contains("lmd"), "{}", tables[1]);

    let plots = seen["plots"].as_array().unwrap();
    assert_eq!(plots.len(), 2, "one a protocol");
    for plot in plots {
        let count = |what: &str| plot[what].as_u64().unwrap();
        assert!(count("ours") > 2 && count("whiskers") == count("ours") && plot["inside"] == true, "{plot}");
        assert!(plot["wide"].as_f64().unwrap() > 300.0, "{plot}");
    }
    assert!(plots[0]["published"].as_u64() > Some(20) && plots[1]["published"] == 0, "{plots:?}");

    let all = &seen["all"];
    assert_eq!(all["count"], "5 shown");
    assert_eq!(all["captions"][0], "A realistic photo of a scene with a blue dog and a white bowl");
    assert_eq!(all["widths"].as_array().unwrap().len(), 8);
    assert!(all["widths"].as_array().unwrap().iter().all(|width| width == 256), "{}", all["widths"]);
    assert_eq!(all["boxes"], 8);
    assert!(all["beside"].as_array().unwrap().iter().all(|beside| beside == true), "{}", all["beside"]);
    assert_eq!(all["verdicts"][1], serde_json::json!(["wrong", "right"]));
    assert!(list(&all["reasons"]).iter().any(|reason| reason == "</script><b>a dog & a cat"));
    assert_eq!(all["bold"], 0, "a reason became markup");

    for (step, shown) in
        [("failures", 3), ("left", 2), ("differ", 2), ("swapped", 2), ("alone", 5), ("words", 1), ("task", 0)]
    {
        assert_eq!(seen[step]["count"], format!("{shown} shown"), "{step}: {}", seen[step]["captions"]);
    }
    assert_ne!(seen["left"]["captions"], seen["swapped"]["captions"], "the sides were not exchanged");
    assert_eq!(seen["alone"]["widths"].as_array().unwrap().len(), 4, "one run alone");
}
