//! Takes secrets out of what came back.
//!
//! Never: shows a secret, leaves one that stands there as it is, in other letters' case, in hexadecimal digits, in base64
//! at any place of a longer text, or with any of its letters escaped as addresses and JSON do. Whoever hides it otherwise
//! on purpose was sent it and has it anyway. A text with a secret in it that was compressed looks like any other: who may
//! meet one asks for plain replies.

use zeroize::Zeroizing;

use super::secret::Secret;

/// What stands where a secret was.
const SCRUBBED: &[u8] = b"[secret]";

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const OF_ADDRESSES: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// All spellings of some secrets.
pub(super) struct Scrubber {
    spellings: Vec<Zeroizing<Vec<u8>>>,
    /// Bytes with which one of them, or an escaped letter, can begin.
    starts: [bool; 256],
}

impl Scrubber {
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let spellings: Vec<_> = secrets.into_iter().flat_map(|secret| spellings(secret.reveal().as_bytes())).collect();
        let mut starts = [false; 256];
        for first in spellings.iter().filter_map(|spelling| spelling.first()) {
            for byte in [first.to_ascii_lowercase(), first.to_ascii_uppercase(), b'%', b'\\'] {
                starts[usize::from(byte)] = true;
            }
        }
        Self { spellings, starts }
    }

    /// Whether a secret is in it.
    pub(super) fn finds(&self, bytes: &[u8]) -> bool {
        self.next(bytes, 0).is_some()
    }

    /// The same without secrets.
    pub(super) fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        let mut clean = Vec::new();
        let mut at = 0;
        while let Some((start, end)) = self.next(&bytes, at) {
            clean.extend_from_slice(&bytes[at..start]);
            clean.extend_from_slice(SCRUBBED);
            at = end;
        }
        if at == 0 {
            return bytes;
        }
        clean.extend_from_slice(&bytes[at..]);
        clean
    }

    /// The same without secrets.
    pub(super) fn text(&self, text: String) -> String {
        match self.finds(text.as_bytes()) {
            // Spellings are ASCII, so what is left is whole letters.
            true => String::from_utf8_lossy(&self.bytes(text.into_bytes())).into_owned(),
            false => text,
        }
    }

    /// Where the next secret begins and ends.
    fn next(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        let candidates = (from..bytes.len()).filter(|&at| self.starts[usize::from(bytes[at])]);
        candidates.filter_map(|at| Some((at, self.ends(bytes, at)?))).next()
    }

    /// The furthest end of a secret that begins there.
    fn ends(&self, bytes: &[u8], at: usize) -> Option<usize> {
        self.spellings.iter().filter_map(|spelling| matched(bytes, at, spelling)).max()
    }
}

/// How a secret may stand in a text, but for escapes and the case of letters.
fn spellings(secret: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut all = vec![Zeroizing::new(secret.to_vec())];
    let hex = secret.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    all.push(Zeroizing::new(hex.map(|digit| b"0123456789abcdef"[usize::from(digit)]).collect()));
    for alphabet in [STANDARD, OF_ADDRESSES] {
        all.extend((0..3).map(|offset| Zeroizing::new(in_base64(secret, offset, alphabet))));
    }
    all
}

/// Those digits of base64 that nothing around the secret has a part in, where it begins `offset` bytes after a group.
fn in_base64(secret: &[u8], offset: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let (first, end) = ((8 * offset).div_ceil(6), 8 * (offset + secret.len()) / 6);
    let digit = |place: usize| {
        let bits = (6 * place - 8 * offset..).take(6).map(|bit| secret[bit / 8] >> (7 - bit % 8) & 1);
        alphabet[usize::from(bits.fold(0, |value, bit| value << 1 | bit))]
    };
    (first..end).map(digit).collect()
}

/// The end of a spelling that begins there.
fn matched(bytes: &[u8], at: usize, spelling: &[u8]) -> Option<usize> {
    let mut end = at;
    for (done, wanted) in spelling.iter().enumerate() {
        match bytes.get(end)? {
            b'%' | b'\\' => return escaped(bytes, end, &spelling[done..]),
            byte if byte.eq_ignore_ascii_case(wanted) => end += 1,
            _ => return None,
        }
    }
    Some(end)
}

/// The same from an escape on. All readings of it are followed.
fn escaped(bytes: &[u8], at: usize, spelling: &[u8]) -> Option<usize> {
    // Most come to nothing at once.
    after(bytes, at, *spelling.first()?).into_iter().flatten().next()?;
    let mut ends = vec![at];
    for &wanted in spelling {
        ends = ends.into_iter().flat_map(|end| after(bytes, end, wanted)).flatten().collect();
        ends.sort_unstable();
        ends.dedup();
        if ends.is_empty() {
            return None;
        }
    }
    ends.last().copied()
}

/// Where a letter ends that begins there: as it is, as `%XX`, as `\uXXXX`, as `\x`.
fn after(bytes: &[u8], at: usize, wanted: u8) -> [Option<usize>; 4] {
    let same = |byte: u8| byte.eq_ignore_ascii_case(&wanted);
    let byte = |at: usize| bytes.get(at).copied();
    let digit = |at: usize| byte(at).and_then(|byte| char::from(byte).to_digit(16));
    let pair = |at: usize| {
        let value = digit(at)? << 4 | digit(at + 1)?;
        u8::try_from(value).ok()
    };
    let escaped = byte(at) == Some(b'\\');
    let wide = escaped && matches!(byte(at + 1), Some(b'u' | b'U')) && pair(at + 2) == Some(0);
    [
        byte(at).is_some_and(same).then_some(at + 1),
        (byte(at) == Some(b'%') && pair(at + 1).is_some_and(same)).then_some(at + 3),
        (wide && pair(at + 4).is_some_and(same)).then_some(at + 6),
        (escaped && byte(at + 1).is_some_and(same)).then_some(at + 2),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "s3cr&t/K%y+\"=";

    fn scrubber() -> Scrubber {
        Scrubber::new([&Secret::parse(KEY, "a test".into()).expect("a key")])
    }

    #[test]
    fn every_known_spelling_is_found_where_it_stands() {
        for spelled in [
            KEY.to_owned(),
            KEY.to_uppercase(),
            "s3cr%26t%2FK%25y%2B%22%3D".to_owned(),
            "s3cr%26t%2fK%25y+%22=".to_owned(),
            KEY.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            r#"s3cr&t\/K%y+\"="#.to_owned(),
            r#"s3cr\u0026t/K%y\u002B\u0022="#.to_owned(),
            KEY.bytes().map(|byte| format!("{byte:02x}")).collect(),
            KEY.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ] {
            for (before, after) in [("", ""), ("Bearer ", "\r\n"), ("%", "%"), ("\\", "\\"), ("s3cr", "s3cr")] {
                let clean = scrubber().text(format!("{before}{spelled}{after}"));
                // A backslash before a letter is one reading of that letter.
                let before = if before == "\\" { clean.strip_suffix("[secret]\\").unwrap_or("\\") } else { before };
                assert_eq!(clean, format!("{before}[secret]{after}"), "{spelled}");
            }
        }
    }

    #[test]
    fn a_secret_within_base64_is_found_wherever_it_begins() {
        // As `base64` says it, of "", "a", "ab", "user:" and the key.
        for (before, encoded) in [
            ("", "czNjciZ0L0sleSsiPQ=="),
            ("a", "YXMzY3ImdC9LJXkrIj0="),
            ("ab", "YWJzM2NyJnQvSyV5KyI9"),
            ("user:", "dXNlcjpzM2NyJnQvSyV5KyI9"),
        ] {
            let clean = scrubber().text(format!("Basic {encoded}!"));
            assert!(clean.contains("[secret]") && clean.len() < "Basic [secret]!".len() + 12, "{before}: {clean}");
            assert!(scrubber().finds(encoded.replace('/', "_").replace('+', "-").as_bytes()), "{before}");
            assert!(scrubber().finds(encoded.replace('/', "%2F").as_bytes()), "{before}");
        }
    }

    #[test]
    fn what_has_no_secret_stays_as_it_is() {
        for text in ["", "s3cr&t/K%y+\"", "s3cr&t", "%73%33%63", "czNj", "%", "%2", "\\", "\\u00", "ä\u{1f980}"] {
            assert_eq!(scrubber().text(text.to_owned()), text);
            assert_eq!(scrubber().bytes(text.as_bytes().to_vec()), text.as_bytes());
        }
        assert_eq!(scrubber().bytes(vec![0xff, 0x00, b'%']), [0xff, 0x00, b'%']);
        assert_eq!(Scrubber::new([]).text(KEY.into()), KEY);
        assert_eq!(scrubber().text(format!("{KEY}{KEY} ä {KEY}")), "[secret][secret] ä [secret]");
    }
}
