//! Where a server is: checked addresses, well-known ones, and keys that are never shown.

use std::fmt;
use std::net::IpAddr;

use sinopia_layout::names;
use ureq::http::Uri;
use ureq::http::uri::Scheme;

use crate::error::{Error, Result};

/// Servers by name, with the addresses they have when nothing is changed.
pub const KNOWN_SERVERS: &[(&str, &str)] = &[
    ("openai", "https://api.openai.com/v1"),
    ("vllm", "http://localhost:8000/v1"),
    ("llama.cpp", "http://localhost:8080/v1"),
    ("ollama", "http://localhost:11434/v1"),
    ("lm-studio", "http://localhost:1234/v1"),
];

/// The address of an API, without a slash at the end: `https://api.openai.com/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    is_encrypted: bool,
    host: String,
    authority: String,
}

impl BaseUrl {
    /// Reads an address, or one of [`KNOWN_SERVERS`] by its name.
    ///
    /// # Errors
    /// [`Error::BaseUrl`] unless it is an http or https address without user, query and fragment.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some((_, url)) = KNOWN_SERVERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Self::parse(url);
        }
        let wrong = |problem: &str| Error::BaseUrl { url: without_user(text), problem: problem.to_owned() };
        if text.contains('#') {
            return Err(wrong("it must not have a fragment (`#`)"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("it is not an address such as `http://localhost:8000/v1`"))?;
        let is_encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let (true, Some(authority)) = (is_encrypted || uri.scheme() == Some(&Scheme::HTTP), uri.authority()) else {
            let known: Vec<&str> = KNOWN_SERVERS.iter().map(|(name, _)| *name).collect();
            let all = format!("it must begin with `http://` or `https://`, or be one of {}", known.join(", "));
            let meant = match names::nearest(text, known) {
                None if uri.port().is_some() => Some(format!("http://{text}/v1")),
                near => near.map(str::to_owned),
            };
            return Err(wrong(&meant.map_or(all.clone(), |meant| format!("{all}; did you mean `{meant}`?"))));
        };
        if authority.as_str().contains('@') {
            return Err(wrong("a user or password in it would end up in files; use SINOPIA_LLM_API_KEY"));
        }
        if uri.query().is_some() {
            return Err(wrong("it must not have a query (`?`)"));
        }
        if authority.host().is_empty() {
            return Err(wrong("it names no host"));
        }
        Ok(Self {
            text: text.trim_end_matches('/').to_owned(),
            is_encrypted,
            host: authority.host().to_ascii_lowercase(),
            authority: authority.as_str().to_ascii_lowercase(),
        })
    }

    /// The address of a resource of the API.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }

    /// Whether the address means this machine.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_matches(['[', ']']);
        let local_name = bare == "localhost" || bare.ends_with(".localhost");
        local_name || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// What somebody who uses this address should know: captions and keys travel readably over plain http.
    pub fn warning(&self) -> Option<String> {
        (!self.is_encrypted && !self.is_loopback()).then(|| {
            format!(
                "{self} is plain http on another machine: everybody on the way can read captions and keys; use https"
            )
        })
    }

    /// Whether this is OpenAI's own API, the only place that `OPENAI_API_KEY` is for.
    pub fn is_openai(&self) -> bool {
        self.is_encrypted && self.host == "api.openai.com"
    }

    /// Where a `Location` header leads: a full address on the same server, or the scheme and host of another.
    pub(crate) fn resolve(&self, location: &str) -> std::result::Result<String, String> {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(format!("{scheme}://{}{location}", self.authority));
        }
        let full = if location.starts_with("//") { format!("{scheme}:{location}") } else { location.to_owned() };
        let Ok(uri) = full.parse::<Uri>() else { return Err("an unreadable address".to_owned()) };
        let authority = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
        let same = authority.as_deref() == Some(self.authority.as_str()) && uri.scheme_str() == Some(scheme);
        if same {
            return Ok(full);
        }
        let host = uri.host().unwrap_or("an unreadable address");
        Err(format!("{}://{host}", uri.scheme_str().unwrap_or(scheme)))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The address without what stands before an `@`.
fn without_user(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => format!("{}…{}", &text[..scheme + 3], &text[at..]),
        (None, Some(at)) => format!("…{}", &text[at..]),
        _ => text.to_owned(),
    }
}

/// A secret that goes into a request's header and nowhere else.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key from the value of the environment variable `variable`.
    ///
    /// # Errors
    /// [`Error::Key`] if it cannot be sent in a header.
    pub fn new(value: &str, variable: &str) -> Result<Self> {
        let value = value.trim();
        if value.is_empty() || !value.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Error::Key { variable: variable.to_owned() });
        }
        Ok(Self(value.to_owned()))
    }

    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// `text` with every occurrence of the key replaced.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "…")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_read() {
        assert_eq!(BaseUrl::parse(" https://example.org/v1/ ").unwrap().join("chat"), "https://example.org/v1/chat");
        assert_eq!(BaseUrl::parse("Ollama").unwrap().to_string(), "http://localhost:11434/v1");
        for (name, url) in KNOWN_SERVERS {
            assert_eq!(BaseUrl::parse(name).unwrap().to_string(), *url);
        }
    }

    #[test]
    fn other_addresses_are_refused_without_their_password() {
        for (text, word) in [
            ("localhost:8000", "http://"),
            ("ftp://host/v1", "http://"),
            ("https://user:hunter2@host/v1", "SINOPIA_LLM_API_KEY"),
            ("https://host/v1?key=a", "query"),
            ("https://host/v1#a", "fragment"),
            ("gpt", "vllm"),
            ("", "address"),
            ("http://", ""),
        ] {
            let message = BaseUrl::parse(text).unwrap_err().to_string();
            assert!(message.contains(word), "{text}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn plain_http_to_another_machine_is_warned_of() {
        for (url, warned) in [
            ("http://example.org/v1", true),
            ("http://192.168.1.4:8000/v1", true),
            ("https://example.org/v1", false),
            ("http://localhost:8000/v1", false),
            ("http://127.0.0.2:8000/v1", false),
            ("http://[::1]:8000/v1", false),
            ("http://localhost.example.org/v1", true),
        ] {
            assert_eq!(BaseUrl::parse(url).unwrap().warning().is_some(), warned, "{url}");
        }
    }

    #[test]
    fn redirects_stay_on_the_server() {
        let base = BaseUrl::parse("http://localhost:8000/v1").unwrap();
        assert_eq!(base.resolve("/api/chat").unwrap(), "http://localhost:8000/api/chat");
        assert_eq!(base.resolve("http://localhost:8000/x").unwrap(), "http://localhost:8000/x");
        for other in [
            "http://localhost:8001/x",
            "https://localhost:8000/x",
            "//evil.example/x",
            "http://localhost:8000@evil.example/",
        ] {
            assert!(base.resolve(other).is_err(), "{other}");
        }
        assert_eq!(base.resolve("https://evil.example/x?token=1").unwrap_err(), "https://evil.example");
    }

    #[test]
    fn keys_are_not_shown() {
        let key = ApiKey::new(" sk-secret\n", "SINOPIA_LLM_API_KEY").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        assert_eq!(key.redact("wrong key sk-secret."), "wrong key ….");
        for bad in ["", "a b", "naïve", "a\nb"] {
            assert!(ApiKey::new(bad, "X").unwrap_err().to_string().contains("`X`"));
        }
    }
}
