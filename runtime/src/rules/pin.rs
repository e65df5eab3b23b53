//! What a component must be before anything is done with it: these bytes and no others, signed by one of these keys.
//!
//! Never: reads a file, checks a signature; that is the doors' business. The same for whatever is a component: a worker, a
//! check, and what else a job may name. Invariant here: a demand is in force from the moment it is written; one whose key
//! nobody could read is met by nothing.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::Digest;

/// The demands on one component, and the signature that came with it. The default demands nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// BLAKE3 of its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Each of them must be met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<Signers>,
    /// What stood beside the component when it was loaded. It is kept with the run, so that it can be checked again.
    #[serde(default, skip_serializing_if = "Reading::is_unread")]
    pub signature: Reading<Signature>,
}

impl Pin {
    /// Whether any component will do.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Puts the operator's demand of today in the place of an earlier one. Without keys there is none.
    pub fn under(&mut self, keys: &[PathBuf]) {
        self.signed_by.retain(|signers| signers.whose == Demander::Job);
        if !keys.is_empty() {
            self.signed_by.push(Signers::unread(Demander::Operator, keys));
        }
    }
}

/// Keys of which one must have signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signers {
    pub whose: Demander,
    pub keys: Vec<KeyFile>,
}

impl Signers {
    /// The keys in these files, which somebody has yet to read.
    pub fn unread(whose: Demander, files: &[PathBuf]) -> Self {
        let keys = files.iter().map(|path| KeyFile { path: path.clone(), key: Reading::Unread }).collect();
        Self { whose, keys }
    }
}

/// Who asks for a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demander {
    Job,
    Operator,
}

impl Demander {
    /// The setting that asks, for a person. The job's stands beside its component.
    pub fn setting(self) -> &'static str {
        match self {
            Demander::Job => "signed-by",
            Demander::Operator => "[policy] signed-by of the operator's file",
        }
    }
}

/// A file with a public key: as it was named, from the directory of the file that names it, and what was in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    pub path: PathBuf,
    #[serde(default, skip_serializing_if = "Reading::is_unread")]
    pub key: Reading<PublicKey>,
}

/// What came of reading a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading<T> {
    /// Nobody did.
    #[default]
    Unread,
    Is(T),
    /// Why there is none, for a person.
    Not(String),
}

impl<T> Reading<T> {
    fn is_unread(&self) -> bool {
        matches!(self, Reading::Unread)
    }
}

/// An Ed25519 public key. Written, also by serde, as `ed25519:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature. Written, also by serde, as 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

const PREFIX: &str = "ed25519:";

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let key = text.strip_prefix(PREFIX).and_then(bytes_of).map(Self);
        key.ok_or_else(|| serde::de::Error::custom("a key is `ed25519:` and 64 lower-case hexadecimal digits"))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let signature = bytes_of(&text).map(Self);
        signature.ok_or_else(|| serde::de::Error::custom("a signature is 128 lower-case hexadecimal digits"))
    }
}

/// The bytes that these digits stand for, if they are exactly as many.
fn bytes_of<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_written_and_read_the_same() {
        let key = KeyFile { path: "key.pem".into(), key: Reading::Is(PublicKey([0xab; 32])) };
        let bad = KeyFile { path: "bad.pem".into(), key: Reading::Not("it is empty".into()) };
        let pin = Pin {
            digest: Some(Digest::from_bytes([1; 32])),
            signed_by: vec![Signers { whose: Demander::Job, keys: vec![key, bad] }],
            signature: Reading::Is(Signature([7; 64])),
        };
        let text = serde_json::to_string(&pin).expect("plain data");
        assert_eq!(serde_json::from_str::<Pin>(&text).expect("its own words"), pin);
        assert!(!pin.is_open());
        for wrong in [text.replacen("abab", "ABAB", 1), text.replacen("0707", "07", 1), text.replace(PREFIX, "rsa:")] {
            assert!(serde_json::from_str::<Pin>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_demands_nothing_is_written_and_what_says_nothing_demands_nothing() {
        assert_eq!(serde_json::to_string(&Pin::default()).expect("plain data"), "{}");
        assert!(serde_json::from_str::<Pin>("{}").expect("the default").is_open());
    }

    #[test]
    fn the_operators_demand_of_today_stands_in_the_place_of_an_earlier_one_and_the_jobs_stays() {
        let mut pin = Pin { signed_by: vec![Signers::unread(Demander::Job, &["a".into()])], ..Pin::default() };
        let jobs = pin.clone();
        pin.under(&["b".into(), "c".into()]);
        assert_eq!((pin.signed_by.len(), pin.signed_by[1].keys.len()), (2, 2));
        pin.under(&["d".into()]);
        assert_eq!((pin.signed_by.len(), pin.signed_by[1].keys[0].path.to_str()), (2, Some("d")));
        pin.under(&[]);
        assert_eq!(pin, jobs);
    }
}
