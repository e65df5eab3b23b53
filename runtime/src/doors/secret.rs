//! A secret of the operator's, such as a provider's key: held, put where it belongs in a request, and never shown.
//!
//! Never: printed, serialised or compared. It is wiped from memory when its last holder is gone; what a request was written
//! into is not. [`Secret`] has no `Debug`, `Display` or `Serialize`, so a struct that holds
//! one cannot derive them either. Errors name where a secret should come
//! from, never what was found there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

use super::command::{self, CommandEnd, CommandEnvironment, Order};
use crate::rules::http::Site;
use crate::rules::secret::Placement;

/// What stands in a text where the key was.
const SCRUBBED: &str = "[key]";

/// Bytes. A shorter key is guessable, and taking it out of every text (see [`Secret::scrub`]) would garble replies.
const SHORTEST: usize = 8;

/// Bytes. No key is longer, and each is looked for in every reply; servers take no longer headers either.
const LONGEST: usize = 4 << 10;

/// A command that says a secret is not asked to think.
const COMMAND_TIME: Duration = Duration::from_secs(10);

/// A key of 8 to 4096 visible ASCII characters.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// A secret with what the operator says of it. Holds it, so it has no `Debug`.
pub struct HeldSecret {
    pub secret: Secret,
    /// The only servers that it is sent to.
    pub origins: Vec<Site>,
    pub placement: Placement,
}

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretError {
    #[error("read the key: the environment variable {0} is not set")]
    Unset(String),
    #[error("read the key from {0}: it is empty")]
    Empty(String),
    #[error("read the key from {0}: it is shorter than 8 characters; a server that wants no key needs no key setting")]
    Short(String),
    #[error("read the key from {0}: it is longer than 4096 characters")]
    Long(String),
    #[error("read the key from the command {program}: {problem}")]
    Command { program: String, problem: String },
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
        let bytes = Zeroizing::new(bytes);
        let origin = path.display().to_string();
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, origin),
            Err(_) => Err(SecretError::Unprintable(origin)),
        }
    }

    /// Runs a command of the operator's, which has 10 seconds, and reads its stdout; surrounding white space is dropped.
    ///
    /// # Errors
    /// It did not exit with 0 in time, or what it said is no key. What it said is in no error.
    pub async fn from_command(
        argv: &[String],
        directory: &Path,
        environment: &CommandEnvironment,
    ) -> Result<Self, SecretError> {
        let program = argv.first().cloned().unwrap_or_default();
        let because = |problem: String| SecretError::Command { program: program.clone(), problem };
        let order = Order { argv, directory, environment, stdin: None, time: COMMAND_TIME };
        match command::run(&order).await {
            CommandEnd::Exited { success: true, output, stdout_bytes, .. } => {
                let output = Zeroizing::new(output);
                Self::parse(output.get(..stdout_bytes).unwrap_or_default(), format!("the command {program}"))
            }
            CommandEnd::Exited { success: false, status, output, .. } => {
                drop(Zeroizing::new(output));
                Err(because(status))
            }
            CommandEnd::TimedOut => Err(because("it took longer than 10s".to_owned())),
            CommandEnd::Broken(problem) => Err(because(problem)),
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
        if key.len() > LONGEST {
            return Err(SecretError::Long(origin));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SecretError::Unprintable(origin));
        }
        Ok(Self(Zeroizing::new(key.to_owned())))
    }

    /// The key itself, for the one place in a request that carries it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// The text without the key. It finds the key as it is; a provider that encodes it before it echoes it is not
    /// caught, and such a provider has the key anyway.
    pub fn scrub(&self, text: String) -> String {
        match text.contains(self.reveal()) {
            true => text.replace(self.reveal(), SCRUBBED),
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
    fn a_key_may_have_4096_characters_and_not_one_more() {
        assert!(parse(&"k".repeat(4_096)).is_ok());
        assert!(parse(&"k".repeat(4_097)).err().unwrap().to_string().contains("longer than 4096"));
    }

    async fn said(script: &str) -> Result<Secret, SecretError> {
        let argv = ["bash", "-c", script].map(str::to_owned);
        Secret::from_command(&argv, Path::new("/"), &CommandEnvironment::from_variables(std::env::vars())).await
    }

    #[tokio::test]
    async fn a_command_says_a_key_on_its_stdout_alone() {
        let key = said("echo warning >&2; echo; echo ' sk-12345678 '").await.ok().unwrap();
        assert_eq!(key.reveal(), "sk-12345678");
        for (script, why) in [
            ("echo sk-12345678; exit 3", "exit status: 3"),
            ("echo sk-12345678 >&2", "it is empty"),
            ("echo sk-12345678; echo sk-12345678", "a header cannot carry"),
            ("printf sk-1234", "shorter than 8"),
        ] {
            let error = said(script).await.err().unwrap().to_string();
            assert!(error.contains("the command bash") && error.contains(why), "{error}");
            assert!(!error.contains("sk-"), "{error}");
        }
        let missing = Secret::from_command(&["/no/such".into()], Path::new("/"), &CommandEnvironment::default()).await;
        assert!(missing.err().unwrap().to_string().contains("could not be started"));
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
