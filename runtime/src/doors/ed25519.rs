//! Ed25519 over the bytes of a component: keys and signatures as people keep them in files, and whether a pin is met.
//!
//! Never: opens a path, keeps a private key. Keys are PEM as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`
//! make them; a signature is what `openssl pkeyutl -sign -rawin` makes, or that in base64. Invariant here: a signature is
//! checked strictly (RFC 8032, no key of small order, one signature has one spelling), and what cannot be read meets nothing.

use base64ct::{Base64, Encoding};
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use thiserror::Error;

use crate::rules::digest::Digest;
use crate::rules::pin::{KeyFile, Pin, PublicKey, Reading, Signature, Signers};

/// Bytes of a key's file. A public key has 113, a private one 119; whoever writes a job names the file.
pub const MAX_KEY_BYTES: u64 = 4 << 10;

/// Bytes of a signature's file: 64, or 88 in base64 and a line's end.
pub const MAX_SIGNATURE_BYTES: u64 = 256;

/// Why a file is no key or no signature. Never says what was in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("it is no text, and a key is PEM")]
    NotText,
    #[error("it holds a private key; name the file that `openssl pkey -pubout` makes of it")]
    Private,
    #[error("it holds no private key in PEM, as `openssl genpkey -algorithm ed25519` makes it")]
    NotPrivate,
    #[error("it holds no Ed25519 public key in PEM, as `openssl pkey -pubout` makes it")]
    NotPublic,
    #[error("its key is of small order: anything would be signed by it")]
    Weak,
    #[error("{bytes} bytes are no signature: it is 64 bytes, or those in base64")]
    NotSignature { bytes: usize },
}

/// Why a component is not what a pin demands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unmet {
    #[error("the component is {found}, and `digest` pins {pinned}")]
    Digest { found: Digest, pinned: Digest },
    #[error("{setting} asks for a signature of {keys}, and there is none: {why}")]
    Unsigned { setting: &'static str, keys: String, why: String },
    #[error("{setting} asks for a signature of {keys}, and the component {found} has one that is not")]
    Forged { setting: &'static str, keys: String, found: Digest },
    #[error("{setting} asks for a signature, and no key of it can be read: {keys}")]
    Keyless { setting: &'static str, keys: String },
}

/// Reads a public key.
///
/// # Errors
/// [`KeyError`]: it is none, or one that proves nothing.
pub fn public_key(file: &[u8]) -> Result<PublicKey, KeyError> {
    let text = std::str::from_utf8(file).map_err(|_| KeyError::NotText)?;
    if text.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private);
    }
    let key = VerifyingKey::from_public_key_pem(text).map_err(|_| KeyError::NotPublic)?;
    if key.is_weak() {
        return Err(KeyError::Weak);
    }
    Ok(PublicKey(key.to_bytes()))
}

/// Reads a signature.
///
/// # Errors
/// [`KeyError::NotSignature`].
pub fn signature(file: &[u8]) -> Result<Signature, KeyError> {
    let none = || KeyError::NotSignature { bytes: file.len() };
    if let Ok(raw) = file.try_into() {
        return Ok(Signature(raw));
    }
    let text = std::str::from_utf8(file).map_err(|_| none())?;
    let bytes = Base64::decode_vec(text.trim_ascii()).map_err(|_| none())?;
    bytes.try_into().map(Signature).map_err(|_| none())
}

/// Signs bytes with the private key of a file. Returns the key that the signature is checked with, too.
///
/// # Errors
/// [`KeyError::NotPrivate`].
pub fn sign(private_key: &[u8], bytes: &[u8]) -> Result<(Signature, PublicKey), KeyError> {
    let text = std::str::from_utf8(private_key).map_err(|_| KeyError::NotText)?;
    let key = SigningKey::from_pkcs8_pem(text).map_err(|_| KeyError::NotPrivate)?;
    Ok((Signature(key.sign(bytes).to_bytes()), PublicKey(key.verifying_key().to_bytes())))
}

/// Whether a component is what a pin demands. Returns the key of each signature that was asked for.
///
/// # Errors
/// [`Unmet`]: the first demand that is not met.
pub fn meets(pin: &Pin, component: &[u8]) -> Result<Vec<PublicKey>, Unmet> {
    let found = Digest::from_bytes(*blake3::hash(component).as_bytes());
    if let Some(pinned) = pin.digest.filter(|pinned| *pinned != found) {
        return Err(Unmet::Digest { found, pinned });
    }
    pin.signed_by.iter().map(|signers| signed(signers, &pin.signature, component, found)).collect()
}

fn signed(
    signers: &Signers,
    signature: &Reading<Signature>,
    component: &[u8],
    found: Digest,
) -> Result<PublicKey, Unmet> {
    let setting = signers.whose.setting();
    let keys = signers.keys.iter().map(shown).collect::<Vec<_>>().join(", ");
    let read: Vec<PublicKey> = signers.keys.iter().filter_map(|file| is(&file.key)).collect();
    if read.is_empty() {
        return Err(Unmet::Keyless { setting, keys });
    }
    let signature = match signature {
        Reading::Is(signature) => signature,
        Reading::Unread => {
            return Err(Unmet::Unsigned { setting, keys, why: "none was kept when it was loaded".to_owned() });
        }
        Reading::Not(why) => return Err(Unmet::Unsigned { setting, keys, why: why.clone() }),
    };
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    let by = |key: &PublicKey| {
        let key = VerifyingKey::from_bytes(&key.0);
        key.is_ok_and(|key| key.verify_strict(component, &signature).is_ok())
    };
    read.into_iter().find(by).ok_or(Unmet::Forged { setting, keys, found })
}

fn is<T: Copy>(reading: &Reading<T>) -> Option<T> {
    match reading {
        Reading::Is(read) => Some(*read),
        Reading::Unread | Reading::Not(_) => None,
    }
}

/// A key's file as a person knows it.
fn shown(file: &KeyFile) -> String {
    let path = file.path.display();
    match &file.key {
        Reading::Is(key) => format!("{path} ({key})"),
        Reading::Unread => format!("{path} (not read)"),
        Reading::Not(why) => format!("{path} ({why})"),
    }
}

#[cfg(test)]
mod tests;
