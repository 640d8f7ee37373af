//! web/openapi.json is the document that the server answers: the page's types are made from it.
//!
//! `UPDATE_DOCS=1 cargo test -p sinopia-server --test openapi` writes it anew; then `npm run types` in web/.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::path::Path;

#[test]
fn the_pages_types_are_of_this_document() {
    let document = sinopia_server::openapi().to_pretty_json().unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/openapi.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &document).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let stale = written.lines().zip(document.lines()).find(|(a, b)| a != b);
    assert!(
        written == document,
        "web/openapi.json is stale: UPDATE_DOCS=1 writes it anew; first difference: {stale:?}"
    );
}
