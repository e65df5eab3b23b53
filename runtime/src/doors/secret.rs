//! A provider's key: held, put into one header, and never shown.
//!
//! Never: printed, serialised or compared. [`Secret`] has no `Debug`, `Display` or `Serialize`, so a struct that holds
//! one cannot derive them either. Errors name where a key should come from, never what was found there.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// What stands in a text where the key was.
const SCRUBBED: &str = "[key]";

/// Bytes. A shorter key is guessable, and taking it out of every text (see [`Secret::scrub`]) would garble replies.
const SHORTEST: usize = 8;

/// A key of at least 8 visible ASCII characters.
#[derive(Clone)]
pub struct Secret(String);

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretError {
    #[error("read the key: the environment variable {0} is not set")]
    Unset(String),
    #[error("read the key from {0}: it is empty")]
    Empty(String),
    #[error("read the key from {0}: it is shorter than 8 characters; a server that wants no key needs no key setting")]
    Short(String),
    #[error("read the key from {0}: it has a character that a header cannot carry")]
    Unprintable(String),
    #[error("read the key from {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
}

impl Secret {
    /// Reads a variable of the host's environment; surrounding white space is dropped.
    #[expect(clippy::disallowed_methods, reason = "called by `main`; the key itself never passes through another hand")]
    pub fn from_environment(name: &str) -> Result<Self, SecretError> {
        let text = std::env::var_os(name).ok_or_else(|| SecretError::Unset(name.to_owned()))?;
        let origin = format!("the environment variable {name}");
        match text.to_str() {
            Some(text) => Self::parse(text, origin),
            None => Err(SecretError::Unprintable(origin)),
        }
    }

    /// Reads a file of the operator's; surrounding white space is dropped.
    #[expect(clippy::disallowed_methods, reason = "called by `main`; the key itself never passes through another hand")]
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let bytes = std::fs::read(path).map_err(|source| SecretError::File { path: path.to_owned(), source })?;
        let origin = path.display().to_string();
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, origin),
            Err(_) => Err(SecretError::Unprintable(origin)),
        }
    }

    pub(super) fn parse(text: &str, origin: String) -> Result<Self, SecretError> {
        let key = text.trim();
        if key.is_empty() {
            return Err(SecretError::Empty(origin));
        }
        if key.len() < SHORTEST {
            return Err(SecretError::Short(origin));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SecretError::Unprintable(origin));
        }
        Ok(Self(key.to_owned()))
    }

    /// The key itself, for the one header that carries it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// The text without the key. It finds the key as it is; a provider that encodes it before it echoes it is not
    /// caught, and such a provider has the key anyway.
    pub fn scrub(&self, text: String) -> String {
        match text.contains(&self.0) {
            true => text.replace(&self.0, SCRUBBED),
            false => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn parse(text: &str) -> Result<Secret, SecretError> {
        Secret::parse(text, "the environment variable KEY".into())
    }

    #[test]
    fn white_space_around_a_key_is_dropped() {
        assert_eq!(parse("  sk-12345678\n").ok().unwrap().reveal(), "sk-12345678");
    }

    #[test]
    fn a_key_that_cannot_be_one_is_refused_by_the_name_of_its_origin_and_never_by_its_text() {
        for (text, why) in [
            (" \n", "it is empty"),
            ("sk-1234", "shorter than 8"),
            ("sk-1234 678", "a header cannot carry"),
            ("sk-1234\u{e4}678", "a header cannot carry"),
        ] {
            let error = parse(text).err().unwrap().to_string();
            assert!(error.contains("the environment variable KEY") && error.contains(why), "{error}");
            assert!(!error.contains("sk-"), "{error}");
        }
        assert!(parse("12345678").is_ok());
    }

    #[test]
    fn a_missing_variable_or_file_is_named() {
        let error = Secret::from_environment("JIDOKA_NO_SUCH_KEY").err().unwrap();
        assert!(error.to_string().contains("JIDOKA_NO_SUCH_KEY"));
        let error = Secret::from_file(Path::new("no/such/key")).err().unwrap();
        assert!(error.to_string().contains("no/such/key"));
    }

    #[test]
    fn an_echoed_key_is_scrubbed() {
        let key = parse("sk-12345678").ok().unwrap();
        assert_eq!(key.scrub("bad key sk-12345678, sk-12345678!".into()), "bad key [key], [key]!");
        assert_eq!(key.scrub("nothing here".into()), "nothing here");
    }
}
