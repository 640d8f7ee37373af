//! Keeps the crates' arrows as ARCHITECTURE.md draws them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each crate may use of the workspace, besides tests.
const ARROWS: [(&str, &[&str]); 13] = [
    (
        "sinopia",
        &[
            "sinopia-layout",
            "sinopia-models",
            "sinopia-nn",
            "sinopia-diffusion",
            "sinopia-eval",
            "sinopia-miniature",
            "sinopia-planner",
            "sinopia-server",
            "sinopia-studio",
        ],
    ),
    (
        "sinopia-studio",
        &[
            "sinopia-layout",
            "sinopia-models",
            "sinopia-nn",
            "sinopia-diffusion",
            "sinopia-english",
            "sinopia-eval",
            "sinopia-miniature",
            "sinopia-planner",
            "sinopia-solver",
        ],
    ),
    ("sinopia-server", &["sinopia-layout"]),
    ("sinopia-eval", &["sinopia-layout", "sinopia-models", "sinopia-diffusion"]),
    ("sinopia-diffusion", &["sinopia-layout", "sinopia-models", "sinopia-nn"]),
    ("sinopia-planner", &["sinopia-english", "sinopia-layout", "sinopia-llm", "sinopia-solver"]),
    ("sinopia-solver", &["sinopia-english", "sinopia-layout"]),
    ("sinopia-llm", &["sinopia-layout", "sinopia-nn"]),
    ("sinopia-models", &["sinopia-layout", "sinopia-nn"]),
    ("sinopia-nn", &[]),
    ("sinopia-english", &["sinopia-layout"]),
    ("sinopia-layout", &[]),
    ("sinopia-miniature", &[]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name_of = |v: &Value| v["name"].as_str().unwrap().to_owned();
    let used = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap();
        all.iter().filter(|d| d["kind"].is_null()).map(name_of).collect()
    };
    packages.iter().map(|p| (name_of(p), used(p))).collect()
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let dependencies = dependencies();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(found, known, "a new crate needs its arrows here and in ARCHITECTURE.md");
    for (name, allowed) in ARROWS {
        for used in &dependencies[name] {
            let inside = used.starts_with("sinopia");
            assert!(!inside || allowed.contains(&used.as_str()), "`{name}` must not use `{used}`");
        }
    }
}

#[test]
fn the_server_knows_nothing_of_pictures() {
    let dependencies = dependencies();
    for library in ["candle-core", "image", "png"] {
        assert!(!dependencies["sinopia-server"].contains(library), "sinopia-server must not use {library}");
    }
}

#[test]
fn layouts_know_nothing_of_tensors() {
    let dependencies = dependencies();
    for library in ["candle-core", "tokio", "reqwest"] {
        assert!(!dependencies["sinopia-layout"].contains(library), "sinopia-layout must not use {library}");
    }
}

/// The library crates: all but the binary's own, whose command line is one piece.
fn libraries() -> impl Iterator<Item = &'static str> {
    ARROWS.iter().map(|(name, _)| *name).filter(|name| *name != "sinopia")
}

/// A module: the names on the way to it from its crate's root.
type Module = Vec<String>;

/// The files of a crate, by the modules that they are.
fn files_of(package: &str) -> BTreeMap<Module, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("src");
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap().with_extension("");
                let mut module: Module = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                module.pop_if(|last| *last == "mod" || *last == "lib");
                files.insert(module, path);
            }
        }
    }
    files
}

/// The code of a file without comments and without the tests at its end.
fn code_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Every path of a `use` tree: `crate::{a, b::{c, d}}` has three.
fn paths_of(tree: &str) -> Vec<Module> {
    let names = |path: &str| -> Module {
        let parts = path.split("::").map(|part| part.split(" as ").next().unwrap().trim().to_owned());
        parts.filter(|part| !part.is_empty()).collect()
    };
    let Some((head, rest)) = tree.split_once('{') else { return vec![names(tree)] };
    let inner = &rest[..rest.rfind('}').unwrap()];
    let (mut depth, mut start, mut branches) = (0, 0, Vec::new());
    for (place, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&inner[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    branches.push(&inner[start..]);
    let named = branches.into_iter().filter(|branch| !branch.trim().is_empty());
    named.flat_map(paths_of).map(|path| [names(head), path].concat()).collect()
}

/// The trees of all `use` declarations, each at a line's beginning.
fn use_trees(code: &str) -> impl Iterator<Item = &str> {
    let starts = code.char_indices().filter(|(_, character)| *character == '\n').map(|(place, _)| place + 1);
    [0].into_iter().chain(starts).filter_map(|start| {
        let statement = code[start..].split(';').next()?.trim_start();
        let visible = ["pub(crate) ", "pub(super) ", "pub "].iter().find_map(|word| statement.strip_prefix(word));
        visible.unwrap_or(statement).strip_prefix("use ")
    })
}

/// What a module's `use` declarations name of its own crate, from the root on.
fn used_by(module: &Module, code: &str) -> Vec<Module> {
    let absolute = |path: Module| match path.first().map(String::as_str) {
        Some("crate") => Some(path[1..].to_vec()),
        Some("self") => Some([module.as_slice(), &path[1..]].concat()),
        Some("super") => {
            let up = path.iter().take_while(|part| *part == "super").count();
            Some([&module[..module.len().saturating_sub(up)], &path[up..]].concat())
        }
        _ => None,
    };
    use_trees(code).flat_map(paths_of).filter_map(absolute).collect()
}

/// Which files of a crate use which others. What a file has of the modules around it (`super`, the crate's root) is no use: a parent declares its children.
fn edges_of(package: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let files = files_of(package);
    let edges = |(module, file): (&Module, &PathBuf)| {
        let used = used_by(module, &code_of(file)).into_iter().filter_map(|path| {
            (0..=path.len()).rev().map(|len| path[..len].to_vec()).find(|module| files.contains_key(module))
        });
        (module.clone(), used.filter(|used| !module.starts_with(used)).collect())
    };
    files.iter().map(edges).collect()
}

/// Everything that a module reaches in one step or more.
fn reached(edges: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        open.extend(edges[module].iter().filter(|used| seen.insert((*used).clone())));
    }
    seen
}

#[test]
fn no_files_of_a_library_use_each_other_in_circles() {
    for package in libraries() {
        let edges = edges_of(package);
        let circles: Vec<String> = edges
            .keys()
            .filter(|module| reached(&edges, module).contains(*module))
            .map(|module| module.join("::"))
            .collect();
        assert!(circles.is_empty(), "files of `{package}` use each other in circles: {}", circles.join(", "));
    }
}

#[test]
fn the_search_for_circles_sees_uses() {
    let edges = edges_of("sinopia-diffusion");
    let module = |path: &str| -> Module { path.split("::").map(str::to_owned).collect() };
    let uses = |from: &str, to: &str| edges[&module(from)].contains(&module(to));
    assert!(uses("guidance", "painting") && uses("guidance", "pipeline") && uses("painting", "schedulers"));
    assert!(uses("methods::boxdiff", "methods::one_pass"), "a neighbour by `super`");
    assert!(!uses("methods::boxdiff", "methods"), "a parent is no use");
    let tree = "crate::{a as b, c::{d, self}}";
    assert_eq!(
        paths_of(tree).iter().map(|path| path.join("::")).collect::<Vec<_>>(),
        ["crate::a", "crate::c::d", "crate::c::self"]
    );
}
