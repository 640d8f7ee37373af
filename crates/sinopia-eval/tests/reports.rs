//! Reports of run folders whose scores are known.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod made_up;

use std::path::PathBuf;

use made_up::{checked, record, run};
use sinopia_eval::report::{Report, html, json, markdown};
use sinopia_eval::run::captions_sha256;
use sinopia_eval::{Error, Protocol, benchmarks};

#[test]
fn two_runs_are_compared_and_a_missing_image_counts_strictly_only() {
    let root = tempfile::tempdir().unwrap();
    let first = run(root.path(), "sd", &[true, false, false, false, false, false, true]);
    let second = run(root.path(), "lmd", &[true, true, true, true, true, true, false]);
    let report = Report::open(&[first, second]).unwrap();
    let pair = &report.comparisons(Protocol::Published)[0];
    assert_eq!((pair.shared, pair.only_first, pair.only_second), (7, 1, 5));
    assert!((pair.p - 14.0 / 64.0).abs() < 1e-9, "{}", pair.p);
    let total = |protocol| report.tallies(&report.runs[0], protocol)[0].total;
    assert_eq!((total(Protocol::Published), total(Protocol::Strict)), (7, 8));
    let text = markdown(&report);
    for row in [
        "| **sd** | – | – | 28.6 (8–64) | – | 28.6 (8–64) | 7 |",
        "| **sd** | – | – | 25.0 (7–59) | – | 25.0 (7–59) | 8 |",
        "| LMD, GPT-3.5 (published) | 100 | 62 | 65 | 79 | 76.5 | 400 |",
        "| sd | lmd | 7 | 1 | 5 | 0.219 |",
    ] {
        assert!(text.contains(row), "{row} is missing in\n{text}");
    }
    let data = json(&report);
    assert_eq!(data["comparisons"]["strict"][0]["only_second"], 5);
    assert_eq!(data["runs"][1]["rates"]["published"][0]["passed"], 6);
}

#[test]
fn repair_is_told_beside_attempts_of_equal_work() {
    let root = tempfile::tempdir().unwrap();
    let plain = run(root.path(), "plain", &[true, false, false, false]);
    let attempts = run(root.path(), "attempts", &[true, true, false, false]);
    let repaired = run(root.path(), "repaired", &[true, true, true, false]);
    checked(&attempts, 4, false);
    checked(&repaired, 1, true);
    for (folder, work) in [(&plain, 10), (&attempts, 30), (&repaired, 20)] {
        record(folder, 4, work);
    }
    let report = Report::open(&[&plain, &attempts, &repaired]).unwrap();
    let equal = report.attempts_of_equal_work(&report.runs[2], Protocol::Published).unwrap();
    assert_eq!(
        (equal.paintings, equal.rate, equal.between),
        (2.0, 0.375, vec!["plain".to_owned(), "attempts".to_owned()])
    );
    assert_eq!(report.attempts_of_equal_work(&report.runs[1], Protocol::Published), None, "it does not repair");
    let text = markdown(&report);
    for row in [
        "| **repaired** | 60.0 (23–88) | 2.00 |",
        "| attempts of equal work, by plain and attempts | 30.0 | 2.00 |",
        "best of 4 attempts by `eye`",
    ] {
        assert!(text.contains(row), "{row} is missing in\n{text}");
    }
    let data = json(&report);
    assert_eq!(data["runs"][2]["attempts_of_equal_work"]["published"]["rate"], 0.375);
    assert_eq!(data["runs"][0]["cost"]["paintings"], 1.0);
    let old = run(root.path(), "old", &[true]);
    assert!(!markdown(&Report::open(&[old]).unwrap()).contains("What a picture costs"), "there are no records");
}

#[test]
fn the_page_holds_its_pictures_and_no_text_becomes_markup() {
    let root = tempfile::tempdir().unwrap();
    let folder = run(root.path(), "sd", &[true, false]);
    let page = html(&Report::open(std::slice::from_ref(&folder)).unwrap()).unwrap();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2, "a reason closed the script");
    assert!(page.contains("\\u003c/script>\\u003cb>a dog & a cat"));
    std::fs::write(folder.join("200/img_0.png"), b"not a picture").unwrap();
    let error = html(&Report::open(&[folder]).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::Image { path, .. } if path.ends_with("200/img_0.png")), "{error}");
}

#[test]
fn runs_of_one_name_are_numbered_and_of_other_captions_refused() {
    let root = tempfile::tempdir().unwrap();
    let first = run(&root.path().join("a"), "run", &[true]);
    let second = run(&root.path().join("b"), "run", &[true]);
    let labels = |folders: &[&PathBuf]| {
        Report::open(folders).map(|report| report.runs.iter().map(|run| run.label.clone()).collect::<Vec<_>>())
    };
    assert_eq!(labels(&[&first, &second]).unwrap(), ["run", "run (2)"]);
    let manifest = std::fs::read_to_string(second.join("run.json")).unwrap();
    let hash = captions_sha256(benchmarks::open("lmd").unwrap().as_ref());
    std::fs::write(second.join("run.json"), manifest.replace(&hash, "another")).unwrap();
    let message = labels(&[&first, &second]).unwrap_err().to_string();
    assert!(message.contains("different benchmarks"), "{message}");
    assert!(matches!(labels(&[&root.path().to_owned()]), Err(Error::NotARun { .. })));
}
