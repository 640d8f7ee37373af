//! Where to listen, as people write it: `127.0.0.1:7878`, `localhost:7878`, `[::1]:7878`, `0.0.0.0` or `7878`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::cli::failure::{Given, bad_request};

/// The port if none is named.
const PORT: u16 = 7878;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// An address or a name.
    host: String,
    port: u16,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        let text = typed.strip_prefix("http://").unwrap_or(typed).trim_end_matches('/');
        let at = |host: &str, port| Ok(Self { host: host.to_owned(), port });
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() {
            return at(bare, PORT);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => ("", text),
            None => (text, ""),
        };
        let port = match port {
            "" if !host.is_empty() => PORT,
            port => port.parse().map_err(|_| format!("`{port}` is no port: a number up to 65535 is expected"))?,
        };
        let is_named = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        match host.trim_start_matches('[').trim_end_matches(']') {
            "" => at("127.0.0.1", port),
            "*" => at("0.0.0.0", port),
            host if is_named(host) || host.parse::<IpAddr>().is_ok() => at(host, port),
            _ => Err("HOST:PORT is expected, such as `127.0.0.1:7878` or `localhost:7878`".to_owned()),
        }
    }
}

impl Place {
    /// The address that it means. Of several the first of IPv4 is taken, which is what browsers try for `localhost`.
    pub(super) fn resolve(&self) -> anyhow::Result<SocketAddr> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let found: Vec<SocketAddr> =
            found.given(|| format!("there is no host `{}` to listen on", self.host))?.collect();
        let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
        address.copied().ok_or_else(|| bad_request(format!("the host `{}` has no address to listen on", self.host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        for (typed, host, port) in [
            ("127.0.0.1:80", "127.0.0.1", 80),
            ("localhost:8080", "localhost", 8080),
            ("localhost", "localhost", PORT),
            ("http://localhost:8080/", "localhost", 8080),
            ("8080", "127.0.0.1", 8080),
            (":8080", "127.0.0.1", 8080),
            ("*:8080", "0.0.0.0", 8080),
            ("0.0.0.0", "0.0.0.0", PORT),
            ("[::1]:8080", "::1", 8080),
            ("::1", "::1", PORT),
            ("my-machine.local:1", "my-machine.local", 1),
        ] {
            assert_eq!(typed.parse(), Ok(Place { host: host.to_owned(), port }), "{typed}");
        }
        for (typed, words) in [
            ("", "no port"),
            ("localhost:http", "`http` is no port"),
            ("localhost:70000", "`70000` is no port"),
            ("99999", "`99999` is no port"),
            ("a b:80", "HOST:PORT is expected"),
            ("https://localhost:80", "HOST:PORT is expected"),
        ] {
            let problem = typed.parse::<Place>().unwrap_err();
            assert!(problem.contains(words), "{typed}: {problem}");
        }
    }

    #[test]
    fn a_name_is_looked_up() {
        let place = |typed: &str| typed.parse::<Place>().unwrap().resolve();
        assert!(place("localhost:0").unwrap().ip().is_loopback());
        assert_eq!(place("[::1]:5").unwrap(), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 5)));
    }
}
