//! Why a worker gave up: words for the host, made by `?` from the errors that a worker meets.

use std::fmt;

use crate::denied::Denied;
use crate::{fetch, workspace};

/// Why a worker, verifier or tool gave up. The host judges a worker's error as `unable`, a verifier's as never a pass.
///
/// `?` makes one of a string, a [`Denied`], a [`workspace::Error`], an I/O error, a JSON error, a failed number or
/// UTF-8 parse, and a boxed error. For anything else: `.map_err(Error::new)?`.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
}

/// What the functions of a guest return, unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with the words of anything that has words.
    pub fn new(words: impl fmt::Display) -> Self {
        Error { message: words.to_string() }
    }

    /// The same error with what was being done put before it.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display) -> Self {
        Error { message: format!("{doing}: {}", self.message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// Not one blanket `impl<E: std::error::Error>`: it cannot stand beside the one for strings.
macro_rules! from_words {
    ($($source:ty),+ $(,)?) => {
        $(
            impl From<$source> for Error {
                fn from(source: $source) -> Self {
                    Error::new(source)
                }
            }
        )+
    };
}

from_words!(
    &str,
    String,
    Denied,
    fetch::Error,
    workspace::Error,
    std::io::Error,
    std::fmt::Error,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::num::ParseIntError,
    std::num::ParseFloatError,
    serde_json::Error,
    Box<dyn std::error::Error>,
    Box<dyn std::error::Error + Send + Sync>,
);
