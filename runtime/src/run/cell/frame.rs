//! What a cell and its host say to each other: frames of words and bytes over one socket.
//!
//! Never: believed. What comes out of a cell was said by a guest in the worst case; every word of it is bounded here and
//! judged by the gate. A frame is a length of words, a length of bytes, the words as JSON, the bytes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::doors::trail::Touch;
use crate::rules::andon::Category;
use crate::rules::effect::{Effect, Heard, Level, Stream};
use crate::rules::model::Profile;
use crate::rules::tool::ToolOffer;

use super::super::sandbox::Returned;
use super::super::seat::Setup;

/// Where the virtual clock stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Nanoseconds since 1970.
    pub ns: u64,
    /// Whether waits take no time.
    pub hurried: bool,
}

/// The first frame: what the cell is for. The descriptors come before it.
#[derive(Serialize, Deserialize)]
pub struct Order {
    pub setup: Setup,
    /// The name and the reach of each tree, in the order of the descriptors.
    pub trees: Vec<(String, bool)>,
    pub now: Now,
    /// Where the virtual clock started. Milliseconds since 1970.
    pub clock_start_ms: u64,
}

/// What a cell says.
#[derive(Serialize, Deserialize)]
pub struct Said {
    /// Its clock, which ticks when it is read. Only ever forward.
    pub now_ns: u64,
    /// What its guest did to its files since it said something last, and what it is about to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touched: Vec<Touch>,
    pub word: Word,
}

#[derive(Serialize, Deserialize)]
pub enum Word {
    /// It is locked in, and its guest can be called.
    Ready {
        landlock: u32,
    },
    /// It could not make itself ready.
    Unfit(String),
    /// Effects, one batch; the bytes of what is attached are the frame's, one after the other.
    Pass(Vec<Effect>),
    Note {
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    },
    Pull {
        category: Category,
        reason: String,
        evidence: Vec<String>,
    },
    /// So many bytes are about to be written to files.
    Wrote(u64),
    /// Only what was touched.
    Touched,
    Offers,
    Tools,
    /// The guest printed the frame's bytes, and this many were dropped. Nobody answers.
    Printed {
        stream: Stream,
        dropped_bytes: u64,
    },
    /// The guest's call is over.
    Ended(Ended),
}

/// How a guest's call ended in its cell.
#[derive(Serialize, Deserialize)]
pub enum Ended {
    Returned(Returned),
    Trapped(String),
    Faulted(String),
}

/// What a host answers. Whoever gets no answer is over.
#[derive(Serialize, Deserialize)]
pub struct Answered {
    pub now: Now,
    pub answer: Reply,
}

#[derive(Serialize, Deserialize)]
pub enum Reply {
    /// Go on: call the guest, or the note is written.
    Go,
    Heard(Vec<Heard>),
    Wrote(bool),
    Offers(BTreeMap<String, Profile>),
    Tools(Vec<ToolOffer>),
}

/// A frame, written down.
pub fn written(words: &impl Serialize, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 8];
    serde_json::to_writer(&mut frame, words)?;
    let too_long = |_| io::Error::other("a frame of more than 4 GiB");
    let words = u32::try_from(frame.len() - 8).map_err(too_long)?;
    let raw = u32::try_from(bytes.len()).map_err(too_long)?;
    frame[..4].copy_from_slice(&words.to_le_bytes());
    frame[4..8].copy_from_slice(&raw.to_le_bytes());
    frame.extend_from_slice(bytes);
    Ok(frame)
}

/// The lengths of a frame: words, bytes.
fn lengths(head: [u8; 8], most: u64) -> io::Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = head;
    let (words, bytes) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    if u64::from(words) + u64::from(bytes) > most {
        return Err(io::Error::other(format!("a frame of {words} and {bytes} bytes; at most {most}")));
    }
    Ok((words as usize, bytes as usize))
}

/// Reads a frame of at most `most` bytes. Blocking.
pub fn read<T: DeserializeOwned>(from: &mut impl Read, most: u64) -> io::Result<(T, Vec<u8>)> {
    let mut head = [0; 8];
    from.read_exact(&mut head)?;
    let (words, bytes) = lengths(head, most)?;
    let mut frame = vec![0; words + bytes];
    from.read_exact(&mut frame)?;
    let raw = frame.split_off(words);
    Ok((serde_json::from_slice(&frame)?, raw))
}

/// Writes a frame. Blocking.
pub fn write(to: &mut impl Write, words: &impl Serialize, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&written(words, bytes)?)
}

/// Reads a frame of at most `most` bytes.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin), most: u64) -> io::Result<(T, Vec<u8>)> {
    let mut head = [0; 8];
    from.read_exact(&mut head).await?;
    let (words, bytes) = lengths(head, most)?;
    // As it comes, and not at once: who says a length need not send it.
    let mut frame = Vec::new();
    from.take((words + bytes) as u64).read_to_end(&mut frame).await?;
    if frame.len() < words + bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let raw = frame.split_off(words);
    Ok((serde_json::from_slice(&frame)?, raw))
}

/// Writes a frame.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), words: &impl Serialize, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&written(words, bytes)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_at_n_and_is_refused_at_n_plus_1() {
        let frame = written(&"words", b"bytes").expect("short");
        let most = frame.len() as u64 - 8;
        let (words, bytes): (String, Vec<u8>) = read(&mut &frame[..], most).expect("fits");
        assert_eq!((words.as_str(), &bytes[..]), ("words", &b"bytes"[..]));
        assert!(read::<String>(&mut &frame[..], most - 1).is_err());
    }

    #[tokio::test]
    async fn a_length_that_nothing_follows_is_an_end_and_no_memory() {
        let mut head = u32::MAX.to_le_bytes().to_vec();
        head.extend_from_slice(&[0; 4]);
        assert!(receive::<String>(&mut &head[..], u64::from(u32::MAX)).await.is_err());
    }
}
