//! Who may ask: the machine's own pages and programs, those with the token, origins that were configured.
//!
//! Without a token the server listens on this machine only. Then two kinds of strangers are left, both in the user's own browser: a page of another origin
//! that sends requests here (refused by its `Origin`), and a page whose name was pointed at this machine after it was loaded (refused by its `Host`).

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::problem::Problem;
use super::proxy::Called;

/// What pages may do: their own scripts and styles, pictures that scripts made, calls home.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Puts the headers of security on every answer.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Refuses strangers, answers browsers that ask for leave.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let options = app.options();
    if options.token.is_none()
        && let Err(problem) = check_host(request.headers())
    {
        return problem.into_response();
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_allowed =
        |origin: &HeaderValue| options.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
    let called = Called::new(request.headers(), request.extensions(), &options.trusted_proxies);
    let foreign = origin.filter(|origin| !is_own(origin, called.host.as_deref()));
    if let Some(origin) = &foreign
        && !is_allowed(origin)
    {
        let problem = Problem::forbidden("pages of other origins may not call this server");
        return problem.hint("allow this one with `--cors-origin`").into_response();
    }
    let is_question = foreign.is_some() && request.method() == Method::OPTIONS;
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = if is_question {
        StatusCode::NO_CONTENT.into_response()
    } else if needs_token(request.uri().path()) && !shows_token(&app, request.headers()) {
        Problem::unauthorized().into_response()
    } else {
        next.run(request).await
    };
    if let Some(origin) = foreign {
        permit(response.headers_mut(), origin, asked);
    }
    response
}

/// Answers that pages of an allowed origin may read. They may send the headers that they ask for: OpenAI's client sends some of its own.
fn permit(headers: &mut HeaderMap, origin: HeaderValue, asked: Option<HeaderValue>) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let methods = HeaderValue::from_static("GET, POST, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let names = asked.unwrap_or(HeaderValue::from_static("Authorization, Content-Type"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
}

/// Whether a page that this server sent asks.
fn is_own(origin: &HeaderValue, host: Option<&str>) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, of_page)), Some(host)) => of_page.eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// The page itself, its files and the documentation are open: they hold no secret, and ask for the token.
fn needs_token(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/v1/") || path == "/metrics" || path == "/api" || path == "/v1"
}

fn shows_token(app: &App, headers: &HeaderMap) -> bool {
    let Some(token) = &app.options().token else { return true };
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.split_once(' '));
    shown.is_some_and(|(scheme, shown)| scheme.eq_ignore_ascii_case("bearer") && token.is(shown.trim()))
}

/// Refuses names that are not this machine's own.
fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match is_loopback || name.eq_ignore_ascii_case("localhost") {
        true => Ok(()),
        false => Err(Problem::forbidden("this server answers to `localhost` and its own address only")
            .hint("start it with a token (`--token-file`) to reach it by other names")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_host(host: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())])
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost", "localhost:7878", "127.0.0.1:7878", "127.3.2.1", "[::1]:7878", "LOCALHOST:1"] {
            assert!(check_host(&with_host(host)).is_ok(), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:7878", "10.0.0.1", "[::2]:1", "", "localhost.evil"] {
            assert!(check_host(&with_host(host)).is_err(), "{host}");
        }
        assert!(check_host(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_page_is_our_own_if_it_came_from_where_it_asks() {
        let own = |origin: &'static str, host| is_own(&HeaderValue::from_static(origin), Some(host));
        assert!(own("http://127.0.0.1:7878", "127.0.0.1:7878") && own("https://Paint.example", "paint.example"));
        assert!(!own("http://127.0.0.1:3000", "127.0.0.1:7878") && !own("null", "127.0.0.1:7878"));
    }

    #[test]
    fn whatever_works_needs_the_token() {
        assert!(["/api/jobs", "/v1/models", "/metrics", "/api/", "/api"].into_iter().all(needs_token));
        assert!(!["/", "/index.html", "/docs", "/openapi.json", "/healthz", "/readyz"].into_iter().any(needs_token));
    }
}
