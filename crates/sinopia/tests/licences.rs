//! Everything that can be compiled into the program may be: `deny.toml` says which licences, crates and sources are taken.
//!
//! `cargo deny check bans licenses sources` asks the same of the same file; this needs no tool besides cargo.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::process::Command;

use serde::Deserialize;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What is read of `deny.toml`.
#[derive(Deserialize)]
struct Rules {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
    exceptions: Vec<Exception>,
    clarify: Vec<Clarification>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Clarification {
    #[serde(rename = "crate")]
    name: String,
    expression: String,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    source: Option<String>,
}

impl Rules {
    fn read() -> Self {
        toml::from_str(&std::fs::read_to_string(format!("{ROOT}/deny.toml")).unwrap()).unwrap()
    }

    /// What speaks against a package.
    fn refusals(&self, package: &Package) -> Vec<String> {
        let mut refusals = Vec::new();
        let clarified = self.licenses.clarify.iter().find(|clarified| clarified.name == package.name);
        let expression = clarified.map(|clarified| &clarified.expression).or(package.license.as_ref());
        let exception = self.licenses.exceptions.iter().find(|exception| exception.name == package.name);
        let is_allowed = |licence: &str| {
            self.licenses.allow.contains(licence)
                || exception.is_some_and(|exception| exception.allow.contains(licence))
        };
        if !expression.is_some_and(|expression| is_satisfied(expression, &is_allowed)) {
            refusals.push(format!("{}: licence {expression:?}", package.name));
        }
        if self.bans.deny.iter().any(|ban| ban.name == package.name) {
            refusals.push(format!("{} is banned", package.name));
        }
        let is_known =
            |source: &String| self.sources.allow_registry.iter().any(|known| *source == format!("registry+{known}"));
        if !package.source.as_ref().is_none_or(is_known) {
            refusals.push(format!("{}: source {:?}", package.name, package.source));
        }
        refusals
    }
}

/// Whether licences that are allowed satisfy an SPDX expression; `/` is the old way to write OR. OR binds weaker than AND.
fn is_satisfied(expression: &str, is_allowed: &impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let satisfied = any_of(&mut words, is_allowed);
    satisfied && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, is_allowed: &impl Fn(&str) -> bool) -> bool {
    let mut satisfied = all_of(words, is_allowed);
    while words.next_if_eq(&"OR").is_some() {
        satisfied |= all_of(words, is_allowed);
    }
    satisfied
}

fn all_of(words: &mut Words<'_>, is_allowed: &impl Fn(&str) -> bool) -> bool {
    let mut satisfied = one(words, is_allowed);
    while words.next_if_eq(&"AND").is_some() {
        satisfied &= one(words, is_allowed);
    }
    satisfied
}

/// A licence, with its exception if it has one, or an expression in parentheses.
fn one(words: &mut Words<'_>, is_allowed: &impl Fn(&str) -> bool) -> bool {
    match words.next() {
        Some("(") => {
            let satisfied = any_of(words, is_allowed);
            words.next() == Some(")") && satisfied
        }
        Some(licence) if words.next_if_eq(&"WITH").is_some() => {
            words.next().is_some_and(|exception| is_allowed(&format!("{licence} WITH {exception}")))
        }
        Some(licence) => is_allowed(licence),
        None => false,
    }
}

#[test]
fn everything_compiled_in_may_be() {
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(ROOT).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // Of this platform: crates of others may not have been downloaded.
    let platform = run("rustc", &["--print", "host-tuple"]);
    let how = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", platform.trim()];
    let metadata: Metadata = serde_json::from_str(&run(env!("CARGO"), &how)).unwrap();
    assert!(metadata.packages.len() > 100, "{}", metadata.packages.len());
    let rules = Rules::read();
    let refusals: Vec<String> = metadata.packages.iter().flat_map(|package| rules.refusals(package)).collect();
    assert!(refusals.is_empty(), "deny.toml speaks against:\n{}", refusals.join("\n"));
}

#[test]
fn what_may_not_be_is_refused() {
    let rules = Rules::read();
    let refused = |name: &str, license: &str, source: &str| {
        let package = Package { name: name.into(), license: Some(license.into()), source: Some(source.into()) };
        rules.refusals(&package).len()
    };
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    assert_eq!(refused("serde", "MIT OR Apache-2.0", registry), 0);
    assert_eq!(refused("serde", "MIT/GPL-3.0", registry), 0);
    assert_eq!(refused("serde", "MIT AND GPL-3.0", registry), 1);
    assert_eq!(refused("serde", "(MIT OR Apache-2.0) AND (GPL-3.0 OR Unicode-3.0)", registry), 0);
    assert_eq!(refused("serde", "Apache-2.0 WITH LLVM-exception", registry), 1);
    assert_eq!(refused("serde", "LGPL-3.0-or-later", registry), 1);
    assert_eq!(refused("ansi_colours", "LGPL-3.0-or-later", registry), 0);
    assert_eq!(refused("openssl-sys", "MIT", registry), 1);
    assert_eq!(refused("serde", "MIT", "git+https://example.com/serde"), 1);
    assert_eq!(refused("serde", "", registry), 1);
}
