//! What a client calls this server: its `Host`, or what a proxy that was configured says in `X-Forwarded-Host` and `X-Forwarded-Proto`.
//!
//! Anybody can write these headers, so they count only from the addresses of `--trusted-proxy`. They never count where it is decided whether a name is
//! this machine's own.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use ipnet::IpNet;

use super::app::App;
use super::problem::Problem;

/// Who a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// This server as the client calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Called {
    /// `http` or `https`.
    scheme: String,
    /// Name and port.
    pub(super) host: Option<String>,
}

impl Called {
    pub(super) fn new(headers: &HeaderMap, extensions: &Extensions, trusted: &[IpNet]) -> Self {
        let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let peer = extensions.get::<Peer>().map(|Peer(address)| address.to_canonical());
        let is_trusted = peer.is_some_and(|peer| trusted.iter().any(|network| network.contains(&peer)));
        let forwarded = |name| if is_trusted { last(headers, name) } else { None };
        let scheme = forwarded("x-forwarded-proto").filter(|scheme| matches!(*scheme, "http" | "https"));
        let host = forwarded("x-forwarded-host").filter(|host| is_host(host));
        Self { scheme: scheme.unwrap_or("http").to_owned(), host: host.or(own).map(str::to_owned) }
    }

    /// The beginning of this server's addresses.
    pub(super) fn base(&self) -> String {
        format!("{}://{}", self.scheme, self.host.as_deref().unwrap_or("localhost"))
    }
}

impl FromRequestParts<App> for Called {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self::new(&parts.headers, &parts.extensions, &app.options().trusted_proxies))
    }
}

/// What the nearest proxy wrote: values of those before it, or of the client, stand in front.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim).filter(|value| !value.is_empty())
}

fn is_host(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn called(peer: &str, forwarded: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("127.0.0.1:7878"))]);
        for (name, value) in forwarded {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let mut extensions = Extensions::new();
        extensions.insert(Peer(peer.parse().unwrap()));
        Called::new(&headers, &extensions, &["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]).base()
    }

    #[test]
    fn only_proxies_that_were_configured_say_what_the_server_is_called() {
        let both = [("x-forwarded-proto", "https"), ("x-forwarded-host", "paint.example")];
        for trusted in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            assert_eq!(called(trusted, &both), "https://paint.example", "{trusted}");
        }
        for other in ["127.0.0.1", "11.0.0.1", "::2"] {
            assert_eq!(called(other, &both), "http://127.0.0.1:7878", "{other}");
        }
        assert_eq!(called("10.0.0.1", &both[..1]), "https://127.0.0.1:7878");
    }

    #[test]
    fn the_nearest_proxy_counts_and_no_nonsense() {
        let chain = [("x-forwarded-host", "evil.example, paint.example"), ("x-forwarded-proto", "http,https")];
        assert_eq!(called("10.0.0.1", &chain), "https://paint.example");
        let twice = [("x-forwarded-host", "evil.example"), ("x-forwarded-host", "paint.example:8443")];
        assert_eq!(called("10.0.0.1", &twice), "http://paint.example:8443");
        let nonsense = [("x-forwarded-host", "paint.example/x\"<"), ("x-forwarded-proto", "javascript")];
        assert_eq!(called("10.0.0.1", &nonsense), "http://127.0.0.1:7878");
    }
}
