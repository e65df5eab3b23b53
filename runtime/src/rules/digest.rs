//! A digest as plain data: 32 bytes, and the one way to write them.
//!
//! Never: computes a digest; that is the doors' business (BLAKE3 over a canonical encoding). Invariant here: a digest
//! has exactly one spelling, so that two texts are equal exactly if the digests are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

const PREFIX: &str = "blake3:";

/// The prefix and two digits a byte.
const TEXT_BYTES: usize = PREFIX.len() + 2 * 32;

/// A BLAKE3 digest. Written, also by serde, as `blake3:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its spelling. Every line of a journal has some, so nothing is formatted or allocated for it.
    fn text<'a>(&self, text: &'a mut [u8; TEXT_BYTES]) -> &'a str {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let (prefix, digits) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        std::str::from_utf8(text).expect("a prefix and hexadecimal digits")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DigestError {
    #[error("parse a digest: it must begin with `blake3:`")]
    Algorithm,
    #[error("parse a digest: `blake3:` must be followed by exactly 64 lower-case hexadecimal digits")]
    Digits,
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(PREFIX).ok_or(DigestError::Algorithm)?.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(DigestError::Digits);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError::Digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Digest {
        Digest::from_bytes(std::array::from_fn(|i| (i * 9 + 7) as u8))
    }

    #[test]
    fn a_digest_is_read_back_as_it_was_written() {
        assert_eq!(sample().to_string().parse(), Ok(sample()));
        assert!(sample().to_string().starts_with("blake3:071019222b"));
    }

    #[test]
    fn serde_uses_the_same_text() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert_eq!(json, format!("\"{}\"", sample()));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), sample());
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let text = sample().to_string();
        let digits = text.strip_prefix("blake3:").unwrap();
        assert_eq!(digits.parse::<Digest>(), Err(DigestError::Algorithm));
        assert_eq!(format!("sha256:{digits}").parse::<Digest>(), Err(DigestError::Algorithm));
        for wrong in [
            format!("blake3:{}", digits.to_uppercase()),
            format!("blake3:{}", &digits[1..]),
            format!("{text}0"),
            format!("blake3:{}é", &digits[2..]),
        ] {
            assert_eq!(wrong.parse::<Digest>(), Err(DigestError::Digits), "{wrong}");
        }
    }
}
