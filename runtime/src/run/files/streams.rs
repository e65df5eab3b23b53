//! A guest's streams into its files, read and written on the spot.
//!
//! Never: leaves a read or a write on its way when a call returns, takes or gives more than [`PERMIT_BYTES`] in one.
//! Invariant here: what a guest reads, and how large a file is, follows from the order of its calls. wasmtime-wasi's own
//! streams write in the background, and who looks meanwhile sees as much as the disk has done.
//!
//! A call keeps its thread for as long as the system takes, and other guests wait for that thread. That is accepted: a
//! stream's call cannot wait otherwise, and may not return before. It is one read or write, of [`PERMIT_BYTES`] at most,
//! mostly from or into the system's memory, and between two calls the guest is due at its epoch tick like any other. A
//! disk that hangs does keep the thread; then the run's journal on the same disk hangs too.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::trouble;

/// Bytes of one read or write: what wasmtime-wasi permits too. A guest that hands over more breaks WASI's contract, and
/// is trapped: it would keep a thread of the host's for as long as it likes.
pub const PERMIT_BYTES: usize = 64 << 10;

/// An error as a guest may hear it: the machine's own ends the run.
pub(super) fn failed(error: io::Error) -> StreamError {
    match trouble::ending(&error) {
        Some(end) => StreamError::Trap(end.into()),
        None => StreamError::LastOperationFailed(error.into()),
    }
}

/// Reads a file from a position on, to its end: then it is closed, also if the file grows afterwards.
pub struct Reader {
    file: Arc<File>,
    position: u64,
    closed: bool,
}

impl Reader {
    pub fn new(file: Arc<File>, position: u64) -> Self {
        Self { file, position, closed: false }
    }

    fn take(&mut self, most_bytes: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(most_bytes.min(PERMIT_BYTES));
        let count = loop {
            match self.file.read_at(&mut bytes, self.position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                ended => break ended?,
            }
        };
        bytes.truncate(count);
        self.position += count as u64;
        Ok(bytes.freeze())
    }
}

#[async_trait::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for Reader {
    fn read(&mut self, most_bytes: usize) -> StreamResult<Bytes> {
        if self.closed {
            return Err(StreamError::Closed);
        }
        if most_bytes == 0 {
            return Ok(Bytes::new());
        }
        let read = self.take(most_bytes).map_err(failed);
        self.closed = read.as_ref().map_or(true, Bytes::is_empty);
        match read {
            Ok(_) if self.closed => Err(StreamError::Closed),
            read => read,
        }
    }
}

/// Writes into a file.
pub struct Writer {
    file: Arc<File>,
    at: At,
    state: State,
}

/// Where the next write goes.
#[derive(Clone, Copy, Debug)]
pub enum At {
    Position(u64),
    /// Wherever the file ends by then.
    End,
}

enum State {
    Open,
    /// The last write failed, and the guest has not heard of it: WASI tells it with the next question.
    Failed(io::Error),
    Closed,
}

impl Writer {
    pub fn new(file: Arc<File>, at: At) -> Self {
        Self { file, at, state: State::Open }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.at {
            At::Position(position) => {
                self.file.write_all_at(bytes, *position)?;
                *position += bytes.len() as u64;
                Ok(())
            }
            // Nobody else writes into a guest's tree, and a guest makes one call at a time: the end stays where it is.
            At::End => self.file.write_all_at(bytes, self.file.metadata()?.len()),
        }
    }

    /// Fails once if the last write did, and from then on is closed.
    fn check(&mut self) -> StreamResult<()> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open => {
                self.state = State::Open;
                Ok(())
            }
            State::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            State::Closed => Err(StreamError::Closed),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match self.state {
            State::Open if bytes.len() <= PERMIT_BYTES => {}
            State::Open => return Err(StreamError::trap("write not permitted: more than `check-write` allows")),
            State::Failed(_) => return Err(StreamError::trap("write not permitted: `check-write` not called first")),
            State::Closed => return Err(StreamError::Closed),
        }
        if let Err(error) = self.put(&bytes) {
            if let Some(end) = trouble::ending(&error) {
                return Err(StreamError::Trap(end.into()));
            }
            self.state = State::Failed(error);
        }
        Ok(())
    }

    /// Nothing is held back.
    fn flush(&mut self) -> StreamResult<()> {
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check().map(|()| PERMIT_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::RunEnd;
    use super::*;

    fn temporary(bytes: &[u8]) -> Arc<File> {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(bytes, 0).expect("is written");
        Arc::new(file)
    }

    fn opened(path: &str, options: &mut std::fs::OpenOptions) -> Arc<File> {
        Arc::new(options.open(path).expect("every Linux has it"))
    }

    fn length(file: &File) -> u64 {
        file.metadata().expect("is open").len()
    }

    #[track_caller]
    fn is_fault<T: std::fmt::Debug>(result: StreamResult<T>, words: &str) {
        let Err(StreamError::Trap(trap)) = result else { panic!("no trap: {result:?}") };
        let end = trap.downcast_ref::<RunEnd>().expect("the end of the run");
        assert!(matches!(end, RunEnd::Fault(why) if why.contains(words)), "{end}");
    }

    #[test]
    fn a_read_gives_a_permits_worth_and_no_more() {
        let file = temporary(&vec![7; PERMIT_BYTES + 1]);
        for (most_bytes, first) in [(PERMIT_BYTES - 1, PERMIT_BYTES - 1), (PERMIT_BYTES + 1, PERMIT_BYTES)] {
            let mut reader = Reader::new(Arc::clone(&file), 0);
            assert_eq!(reader.read(most_bytes).expect("is there").len(), first);
            assert_eq!(reader.read(most_bytes).expect("is there").len(), PERMIT_BYTES + 1 - first);
            assert!(matches!(reader.read(most_bytes), Err(StreamError::Closed)));
        }
    }

    #[test]
    fn a_write_takes_a_permits_worth_and_traps_at_more() {
        let file = temporary(b"");
        for (at, after) in [(At::Position(0), PERMIT_BYTES), (At::End, 2 * PERMIT_BYTES)] {
            let mut writer = Writer::new(Arc::clone(&file), at);
            assert_eq!(writer.check_write().expect("is open"), PERMIT_BYTES);
            writer.write(vec![7; PERMIT_BYTES].into()).expect("is permitted");
            assert_eq!(length(&file), after as u64);
            assert!(matches!(writer.write(vec![7; PERMIT_BYTES + 1].into()), Err(StreamError::Trap(_))));
            assert_eq!(length(&file), after as u64);
        }
    }

    #[test]
    fn a_disk_that_is_full_ends_the_run() {
        // Its end is its beginning, so both ways write at 0.
        for at in [At::Position(0), At::End] {
            let full = opened("/dev/full", std::fs::OpenOptions::new().write(true));
            is_fault(Writer::new(full, at).write(Bytes::from_static(b"x")), "No space left");
        }
    }

    #[test]
    fn a_disk_that_cannot_be_read_ends_the_run() {
        // Nothing is mapped at 0.
        let memory = opened("/proc/self/mem", std::fs::OpenOptions::new().read(true));
        is_fault(Reader::new(memory, 0).read(1), "Input/output error");
    }
}
