//! What a guest prints: kept up to a cap, counted past it.
//!
//! Never: blocks a guest, reaches the host's own terminal.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::rules::effect::Stream;

use super::cell::pipe::Pipe;
use super::lock;

/// One of a guest's output streams. Clones share what was printed.
#[derive(Clone)]
pub struct Output {
    printed: Arc<Mutex<Printed>>,
    max_bytes: usize,
    /// For a guest in a cell: where it is kept instead.
    pipe: Option<(Arc<Pipe>, Stream)>,
}

#[derive(Debug, Default)]
struct Printed {
    bytes: Vec<u8>,
    /// Of these, or through the pipe.
    kept_bytes: usize,
    dropped_bytes: u64,
}

impl Output {
    /// A stream that keeps its first `max_bytes`.
    pub fn new(max_bytes: u64) -> Self {
        Self { printed: Arc::default(), max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX), pipe: None }
    }

    /// A stream whose first `max_bytes` go through a pipe, and are kept at its other end.
    pub fn piped(max_bytes: u64, pipe: Arc<Pipe>, stream: Stream) -> Self {
        Self { pipe: Some((pipe, stream)), ..Self::new(max_bytes) }
    }

    /// What was printed, and how many bytes were dropped. Bytes that are not UTF-8 are replaced.
    pub fn take(&self) -> (String, u64) {
        let printed = std::mem::take(&mut *self.printed());
        (String::from_utf8_lossy(&printed.bytes).into_owned(), printed.dropped_bytes)
    }

    /// Keeps what is printed, and counts what was dropped before it came here.
    pub fn keep(&self, bytes: &[u8], dropped_bytes: u64) {
        let mut printed = self.printed();
        let room = self.max_bytes - printed.kept_bytes;
        let kept = bytes.len().min(room);
        let dropped_bytes = dropped_bytes.saturating_add((bytes.len() - kept) as u64);
        printed.kept_bytes += kept;
        match &self.pipe {
            Some((pipe, stream)) => pipe.printed(*stream, &bytes[..kept], dropped_bytes),
            None => {
                printed.bytes.extend_from_slice(&bytes[..kept]);
                printed.dropped_bytes = printed.dropped_bytes.saturating_add(dropped_bytes);
            }
        }
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        lock(&self.printed)
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this form, and no 0.3 interface is linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

/// Bytes that a guest may hand over at once: a pipe's worth.
const PERMIT_BYTES: usize = 64 << 10;

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes, 0);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_is_kept_and_what_is_over_is_counted() {
        let output = Output::new(4);
        output.keep(b"abcd", 0);
        output.keep(b"e", 0);
        assert_eq!(output.take(), ("abcd".to_owned(), 1));
    }
}
