//! What a guest prints: kept up to a cap, counted past it.
//!
//! Never: blocks a guest, reaches the host's own terminal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// One of a guest's output streams. Clones share what was printed.
#[derive(Clone, Debug)]
pub struct Output {
    printed: Arc<Mutex<Printed>>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Printed {
    bytes: Vec<u8>,
    dropped_bytes: u64,
}

impl Output {
    /// A stream that keeps its first `max_bytes`.
    pub fn new(max_bytes: u64) -> Self {
        Self { printed: Arc::default(), max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX) }
    }

    /// What was printed, and how many bytes were dropped. Bytes that are not UTF-8 are replaced.
    pub fn take(&self) -> (String, u64) {
        let printed = std::mem::take(&mut *self.printed());
        (String::from_utf8_lossy(&printed.bytes).into_owned(), printed.dropped_bytes)
    }

    fn print(&self, bytes: &[u8]) {
        let mut printed = self.printed();
        let room = self.max_bytes - printed.bytes.len();
        let kept = bytes.len().min(room);
        printed.bytes.extend_from_slice(&bytes[..kept]);
        printed.dropped_bytes = printed.dropped_bytes.saturating_add((bytes.len() - kept) as u64);
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.print(&bytes);
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
        output.print(b"abcd");
        output.print(b"e");
        assert_eq!(output.take(), ("abcd".to_owned(), 1));
    }
}
