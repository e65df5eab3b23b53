//! The word that a client of the HTTP server must bring.
//!
//! Never: keeps the word, only its digest; shows it; compares it in a time that tells how much of it was right.

use thiserror::Error;

/// Characters that a token must have: 32 of a random hexadecimal one are 128 bits, which nobody guesses.
pub const LEAST_TOKEN_CHARS: usize = 32;

/// Characters that a token may have: it is one line of a head, which has a cap of its own.
pub const MOST_TOKEN_CHARS: usize = 1024;

/// What a client must bring.
#[derive(Clone)]
pub struct Token(blake3::Hash);

/// Why a text is no token. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error("the token has {0} characters; at least {LEAST_TOKEN_CHARS} are wanted, as of `openssl rand -hex 32`")]
    TooShort(usize),
    #[error("the token has {0} characters; at most {MOST_TOKEN_CHARS} are allowed")]
    TooLong(usize),
    #[error("the token has a character that no bearer token has; letters, digits and -._~+/= are allowed")]
    Character,
}

impl Token {
    /// The token of a text, without the white space around it that files end with.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let chars = text.chars().count();
        if chars < LEAST_TOKEN_CHARS {
            return Err(TokenError::TooShort(chars));
        }
        if chars > MOST_TOKEN_CHARS {
            return Err(TokenError::TooLong(chars));
        }
        // What RFC 6750 lets stand in the header.
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)) {
            return Err(TokenError::Character);
        }
        Ok(Self(blake3::hash(text.as_bytes())))
    }

    /// Whether the value of an `Authorization` header brings it. Digests are compared, in constant time.
    pub(super) fn is_brought_by(&self, header: &[u8]) -> bool {
        let Some((scheme, word)) = header.split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && blake3::hash(word) == self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_as_many_characters_as_are_wanted() {
        assert_eq!(Token::new(&"a".repeat(31)).unwrap_err(), TokenError::TooShort(31));
        assert!(Token::new(&"a".repeat(32)).is_ok());
        assert!(Token::new(&"a".repeat(1024)).is_ok());
        assert_eq!(Token::new(&"a".repeat(1025)).unwrap_err(), TokenError::TooLong(1025));
        // White space around it is not counted.
        assert_eq!(Token::new(&format!("{}\n", "a".repeat(31))).unwrap_err(), TokenError::TooShort(31));
        assert_eq!(Token::new(&format!("{} {}", "a".repeat(16), "b".repeat(16))).unwrap_err(), TokenError::Character);
    }

    #[test]
    fn only_the_whole_token_is_it() {
        let word = "0123456789abcdef0123456789abcdef";
        let token = Token::new(&format!("{word}\n")).unwrap();
        for right in [format!("Bearer {word}"), format!("bearer {word}")] {
            assert!(token.is_brought_by(right.as_bytes()), "{right}");
        }
        for wrong in [
            String::new(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            word.to_owned(),
            format!("Basic {word}"),
            format!("Bearer {}", &word[1..]),
            format!("Bearer {word}0"),
            format!("Bearer  {word}"),
        ] {
            assert!(!token.is_brought_by(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }
}
