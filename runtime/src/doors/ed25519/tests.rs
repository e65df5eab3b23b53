//! Keys and signatures that OpenSSL 3.0 made, and everything that is not one.

use std::path::PathBuf;

use super::*;
use crate::rules::pin::Demander;

const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIDIZdhUXrnXGX4sSgdoUD1cAiq6qw5sisBJokk1OUKnf\n\
    -----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEABMTdC35uvqg59aab0g8ald8NQdsXfBspyKJvOzoH8rw=\n\
    -----END PUBLIC KEY-----\n";
const OTHER_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA9r4FB4xcdAuZIPjEhNU1O836ygtyLszqG6EcWkhU/qU=\n\
    -----END PUBLIC KEY-----\n";
const RSA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3E/UFkGpt6XFQig79Rhs\n\
    R9o+pa9WuD7nyiGk6s+xCn2hE2v8erYhJDOnRyAnZ85ipn7h49be7bPaSeYCIs3j\n\
    NhHr2hOdoqgsyZu/YdQ0mcwja2qzeKvjh25veMnUTMR0NQRw8vxQOoMo3ARfEW1L\n\
    CBaeFcmLyn77XORdR+i0wvpR1u4RUR2atrSal64yr1/fby7CGRL2m4sevj/2CqVi\n\
    uwHN0VG2dGYjLXgTrPlk0r4cX2+bm1oTRc1e/MKx/RIqmDDJ9HCV958C7mfgRSBy\n\
    enreQJaJNdxt4ACRXDWmpk1NaNUZC+6xs7NM3Cj74UuZiUWv5l6YMKSalmOW8Pjc\n\
    NQIDAQAB\n\
    -----END PUBLIC KEY-----\n";
const COMPONENT: &[u8] = b"a component";
/// `openssl pkeyutl -sign -inkey PRIVATE -rawin`, in base64.
const SIGNATURE: &str = "Mo2ZrNg1LviAroOBk9w2fswOxa1M0afmu9yz61lAdkfoykhW6Dm6cgb1MQ5s4xkRgu55+LSTAaZ54VisXup4BA==";

fn key(text: &str) -> PublicKey {
    public_key(text.as_bytes()).expect("is one")
}

fn asks_for(keys: &[PublicKey], signature: Reading<Signature>) -> Pin {
    let keys = keys.iter().map(|key| KeyFile { path: PathBuf::from("key.pem"), key: Reading::Is(*key) }).collect();
    Pin { digest: None, signed_by: vec![Signers { whose: Demander::Job, keys }], signature }
}

fn theirs() -> Signature {
    signature(SIGNATURE.as_bytes()).expect("is one")
}

#[test]
fn what_openssl_signed_is_signed_raw_and_in_base64() {
    let raw = theirs().0;
    for file in [&raw[..], SIGNATURE.as_bytes(), format!("{SIGNATURE}\n").as_bytes()] {
        let pin = asks_for(&[key(PUBLIC)], Reading::Is(signature(file).expect("is one")));
        assert_eq!(meets(&pin, COMPONENT), Ok(vec![key(PUBLIC)]));
    }
    assert_eq!(sign(PRIVATE.as_bytes(), COMPONENT), Ok((theirs(), key(PUBLIC))), "as openssl signs");
}

#[test]
fn another_byte_another_key_and_another_bit_are_not_signed() {
    let forged = |pin: &Pin, component: &[u8]| matches!(meets(pin, component), Err(Unmet::Forged { .. }));
    let pin = asks_for(&[key(PUBLIC)], Reading::Is(theirs()));
    assert!(!forged(&pin, COMPONENT));
    assert!(forged(&pin, b"a Component"));
    assert!(forged(&asks_for(&[key(OTHER_PUBLIC)], Reading::Is(theirs())), COMPONENT));
    assert!(!forged(&asks_for(&[key(OTHER_PUBLIC), key(PUBLIC)], Reading::Is(theirs())), COMPONENT), "one is enough");
    for bit in 0..512 {
        let mut other = theirs();
        other.0[bit / 8] ^= 1 << (bit % 8);
        assert!(forged(&asks_for(&[key(PUBLIC)], Reading::Is(other)), COMPONENT), "bit {bit}");
    }
}

/// The order of the group, added to a signature's second half, gives another signature of the same bytes to who is not strict.
#[test]
fn a_signature_has_one_spelling() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut other = theirs();
    let mut carry = 0;
    for (byte, more) in other.0[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    let pin = asks_for(&[key(PUBLIC)], Reading::Is(other));
    assert!(matches!(meets(&pin, COMPONENT), Err(Unmet::Forged { .. })));
}

#[test]
fn a_key_of_small_order_signs_nothing() {
    // The neutral element: with it a signature of zeros would be one of anything.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend(neutral);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", Base64::encode_string(&der));
    assert_eq!(public_key(pem.as_bytes()), Err(KeyError::Weak));
    let mut zeros = [0; 64];
    zeros[..32].copy_from_slice(&neutral);
    // Nor does it if a journal says that it was read.
    let pin = asks_for(&[PublicKey(neutral)], Reading::Is(Signature(zeros)));
    assert!(matches!(meets(&pin, COMPONENT), Err(Unmet::Forged { .. })));
}

#[test]
fn what_is_no_public_key_says_what_it_is() {
    assert_eq!(public_key(PRIVATE.as_bytes()), Err(KeyError::Private));
    assert_eq!(public_key(RSA_PUBLIC.as_bytes()), Err(KeyError::NotPublic));
    for garbage in ["", "garbage", "-----BEGIN PUBLIC KEY-----\n", &PUBLIC[..60], &PUBLIC.replace("MCow", "MCox")] {
        assert_eq!(public_key(garbage.as_bytes()), Err(KeyError::NotPublic), "{garbage:?}");
    }
    assert_eq!(public_key(&[0xff, 0xfe]), Err(KeyError::NotText));
    for other in [PUBLIC, RSA_PUBLIC, "garbage", ""] {
        assert_eq!(sign(other.as_bytes(), COMPONENT), Err(KeyError::NotPrivate));
    }
}

#[test]
fn a_signature_of_another_length_is_none() {
    let raw = theirs().0;
    assert!(signature(&raw).is_ok());
    for wrong in [&raw[..63], &[&raw[..], &[0]].concat(), &SIGNATURE.as_bytes()[..84], b"", b"====", &[b' '; 88]] {
        assert_eq!(signature(wrong), Err(KeyError::NotSignature { bytes: wrong.len() }));
    }
}

#[test]
fn a_digest_that_is_pinned_is_compared_with_what_is_there() {
    let found = Digest::from_bytes(*blake3::hash(COMPONENT).as_bytes());
    let pin = |digest| Pin { digest: Some(digest), ..Pin::default() };
    assert_eq!(meets(&pin(found), COMPONENT), Ok(vec![]));
    let pinned = Digest::from_bytes([0; 32]);
    let unmet = meets(&pin(pinned), COMPONENT).expect_err("another one");
    let said = unmet.to_string();
    assert!(said.contains(&found.to_string()) && said.contains(&pinned.to_string()), "{said}");
}

#[test]
fn a_demand_of_which_nothing_could_be_read_is_met_by_nothing() {
    let unread = Signers::unread(Demander::Operator, &["gone.pem".into()]);
    let pin = Pin { signed_by: vec![unread], signature: Reading::Is(theirs()), ..Pin::default() };
    let said = meets(&pin, COMPONENT).expect_err("no key").to_string();
    assert!(said.contains("gone.pem") && said.contains("[policy] signed-by"), "{said}");
    let empty = Pin { signed_by: vec![Signers { whose: Demander::Job, keys: vec![] }], ..Pin::default() };
    assert!(matches!(meets(&empty, COMPONENT), Err(Unmet::Keyless { .. })));
    for none in [Reading::Unread, Reading::Not("worker.wasm.sig is not there".into())] {
        let said = meets(&asks_for(&[key(PUBLIC)], none), COMPONENT).expect_err("no signature").to_string();
        assert!(said.contains("key.pem") && said.contains(&key(PUBLIC).to_string()), "{said}");
    }
    // Both demands, the operator's and the job's, and only one is met.
    let mut both = asks_for(&[key(PUBLIC)], Reading::Is(theirs()));
    let operators = KeyFile { path: "b.pem".into(), key: Reading::Is(key(OTHER_PUBLIC)) };
    both.signed_by.push(Signers { whose: Demander::Operator, keys: vec![operators] });
    assert!(matches!(meets(&both, COMPONENT), Err(Unmet::Forged { .. })));
}
