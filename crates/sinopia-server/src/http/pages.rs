//! The web page: the files of its bundle, compiled in.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::app::App;
use super::problem::Problem;

// `FILES`: the bundle's files by their path, and their content; none if it has not been built.
include!(concat!(env!("OUT_DIR"), "/bundle.rs"));

/// What is shown where the program was built without the page.
const NO_PAGE: &str = include_str!("../../assets/plain.html");

/// A route for each file, so that no path of a request ever names one.
pub(super) fn routes() -> Router<App> {
    let mut router = Router::new();
    let mut has_front = false;
    for (path, content) in FILES {
        let (path, content): (&'static str, &'static [u8]) = (path, content);
        if path == "index.html" {
            has_front = true;
            router = router.route("/", get(move || async move { file(path, content) }));
        }
        router = router.route(&format!("/{path}"), get(move || async move { file(path, content) }));
    }
    match has_front {
        true => router,
        false => router.route("/", get(|| async { file("index.html", NO_PAGE.as_bytes()) })),
    }
}

/// Whatever has no route.
pub(super) async fn anything_else() -> Problem {
    Problem::not_found("there is nothing here").hint("`/docs` lists what there is")
}

fn file(path: &str, content: &'static [u8]) -> Response {
    // Names of the bundle's files change with their content, but for the page that names them.
    let caching = if path.contains("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    ([(CONTENT_TYPE, media_type(path)), (CACHE_CONTROL, caching)], content).into_response()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "webmanifest" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
