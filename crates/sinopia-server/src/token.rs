//! The secret that clients show.

use subtle::ConstantTimeEq;

use crate::error::{Error, Result};

/// The secret that clients show.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Fewest characters.
    pub const MIN_CHARS: usize = 16;

    /// A token of at least [`Token::MIN_CHARS`] visible ASCII characters; white space around it is left out.
    ///
    /// # Errors
    /// [`Error::WeakToken`].
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        match text.len() >= Self::MIN_CHARS && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(text.to_owned())),
            false => Err(Error::WeakToken { found: text.chars().count(), min: Self::MIN_CHARS }),
        }
    }

    /// Whether `shown` is the token. The time that it takes tells nothing but the length.
    pub(crate) fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_never_shown() {
        assert!(Token::new("short").is_err() && Token::new("sixteen chars, no").is_err());
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        assert!(token.is("0123456789abcdef") && !token.is("0123456789abcdee") && !token.is("0123456789abcdef0"));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
