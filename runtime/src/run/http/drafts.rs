//! The body of a request while its guest writes it: collected in memory, whole before it is sent.
//!
//! Never: sends. Invariants here: a draft has at most [`MAX_HTTP_BODY_BYTES`], all bodies that the host holds for a guest
//! have [`MAX_HELD_BYTES`] together, and a body that is not finished is not sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use crate::rules::policy::MAX_HTTP_BODY_BYTES;

use super::super::lock;
use super::{MAX_HELD_BYTES, words};

/// Bytes that a guest may hand over at once, as for a file. A guest that hands over more breaks WASI's contract.
const PERMIT_BYTES: usize = 64 << 10;

/// How many bytes the host holds for a guest. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<AtomicU64>);

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    held: Held,
    bytes: u64,
}

impl Held {
    pub(super) fn none(&self) -> Share {
        Share { held: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Holds so many more. `false`: that is more than a guest may have held, and nothing changed.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let grown = |held: u64| held.checked_add(bytes).filter(|held| *held <= MAX_HELD_BYTES);
        let fits = self.held.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        if fits {
            self.bytes += bytes;
        }
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body that is written. Clones are the same body.
#[derive(Clone)]
pub(super) struct Draft(Arc<Mutex<State>>);

struct State {
    bytes: Vec<u8>,
    share: Share,
    /// What `content-length` says.
    expected: Option<u64>,
    end: Option<Result<(), ErrorCode>>,
    /// Whether the guest has taken the stream to write on.
    streamed: bool,
}

/// How a body ended.
pub(super) enum Drafted {
    Open,
    Finished(Vec<u8>),
    /// Nothing of it is sent.
    Broken(ErrorCode),
}

impl Draft {
    /// An empty body that is to have so many bytes, if that is known.
    pub(super) fn new(held: &Held, expected: Option<u64>) -> Self {
        let state = State { bytes: Vec::new(), share: held.none(), expected, end: None, streamed: false };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The stream to write it on, once.
    pub(super) fn stream(&self) -> Option<Box<dyn OutputStream>> {
        let mut state = lock(&self.0);
        let first = !std::mem::replace(&mut state.streamed, true);
        first.then(|| Box::new(Writer { draft: self.clone(), failed: None }) as Box<dyn OutputStream>)
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.0).end.is_none()
    }

    /// The guest says that it is whole.
    ///
    /// # Errors
    /// It is not, and is never sent.
    pub(super) fn finish(&self) -> Result<(), ErrorCode> {
        let mut state = lock(&self.0);
        let bytes = state.bytes.len() as u64;
        let end = match &state.end {
            Some(end) => end.clone(),
            None if state.expected.is_some_and(|expected| expected != bytes) => {
                Err(ErrorCode::HttpRequestBodySize(Some(bytes)))
            }
            None => Ok(()),
        };
        state.end = Some(end.clone());
        end
    }

    /// It is never sent.
    pub(super) fn give_up(&self, why: ErrorCode) {
        lock(&self.0).give_up(why);
    }

    /// The body as it is, which is gone afterwards.
    pub(super) fn take(&self) -> Drafted {
        let mut state = lock(&self.0);
        match &state.end {
            None => Drafted::Open,
            Some(Ok(())) => {
                state.share = state.share.held.none();
                Drafted::Finished(std::mem::take(&mut state.bytes))
            }
            Some(Err(error)) => Drafted::Broken(error.clone()),
        }
    }

    fn put(&self, bytes: &[u8]) -> Result<(), ErrorCode> {
        let mut state = lock(&self.0);
        if let Some(Err(error)) = &state.end {
            return Err(error.clone());
        }
        let after = (state.bytes.len() + bytes.len()) as u64;
        let most = state.expected.map_or(MAX_HTTP_BODY_BYTES, |expected| expected.min(MAX_HTTP_BODY_BYTES));
        let fits = match after > most {
            true => Err(ErrorCode::HttpRequestBodySize(Some(after))),
            false if state.share.grow(bytes.len() as u64) => Ok(()),
            false => Err(words::held_too_much()),
        };
        if let Err(error) = fits {
            state.give_up(error.clone());
            return Err(error);
        }
        state.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl State {
    fn give_up(&mut self, why: ErrorCode) {
        if self.end.is_none() {
            (self.end, self.bytes) = (Some(Err(why)), Vec::new());
            self.share = self.share.held.none();
        }
    }
}

/// The stream of a body.
struct Writer {
    draft: Draft,
    /// The last write failed, and the guest has not heard of it.
    failed: Option<ErrorCode>,
}

impl Writer {
    fn check(&mut self) -> StreamResult<()> {
        if let Some(error) = self.failed.take() {
            return Err(StreamError::LastOperationFailed(error.into()));
        }
        if self.draft.is_open() { Ok(()) } else { Err(StreamError::Closed) }
    }
}

#[async_trait::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PERMIT_BYTES {
            return Err(StreamError::trap("write not permitted: more than `check-write` allows"));
        }
        self.check()?;
        // WASI tells it with the next question.
        self.failed = self.draft.put(&bytes).err();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check().map(|()| PERMIT_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(stream: &mut Box<dyn OutputStream>, mut bytes: usize) -> StreamResult<()> {
        while bytes > 0 {
            let part = bytes.min(stream.check_write()?);
            stream.write(vec![7; part].into())?;
            bytes -= part;
        }
        stream.flush()
    }

    #[track_caller]
    fn is_too_large(result: StreamResult<()>, bytes: u64) {
        let Err(StreamError::LastOperationFailed(error)) = result else { panic!("no error: {result:?}") };
        let code = error.downcast_ref::<ErrorCode>().expect("the guest can look it up");
        assert!(matches!(code, ErrorCode::HttpRequestBodySize(Some(size)) if *size == bytes), "{code:?}");
    }

    #[test]
    fn a_body_holds_at_n_and_breaks_at_n_plus_1() {
        let most = MAX_HTTP_BODY_BYTES as usize;
        let held = Held::default();
        let draft = Draft::new(&held, None);
        write(&mut draft.stream().expect("the first"), most).expect("fits exactly");
        assert!(draft.stream().is_none(), "once");
        draft.finish().expect("is whole");
        assert!(matches!(draft.take(), Drafted::Finished(bytes) if bytes.len() == most));
        let draft = Draft::new(&held, None);
        let mut stream = draft.stream().expect("the first");
        is_too_large(write(&mut stream, most + 1), MAX_HTTP_BODY_BYTES + 1);
        assert!(matches!(stream.check_write(), Err(StreamError::Closed)), "told once, closed from then on");
        assert!(draft.finish().is_err());
        assert!(matches!(draft.take(), Drafted::Broken(_)));
        assert_eq!(held.0.load(Ordering::Relaxed), 0, "nothing is held");
    }

    #[test]
    fn a_guests_bodies_hold_together_at_n_and_break_at_n_plus_1() {
        let held = Held::default();
        let most = MAX_HELD_BYTES as usize;
        let (one, other, third) = (Draft::new(&held, None), Draft::new(&held, None), Draft::new(&held, None));
        for draft in [&one, &other] {
            write(&mut draft.stream().expect("the first"), most / 2).expect("fits");
        }
        let refused = write(&mut third.stream().expect("the first"), 1).expect_err("one byte more");
        let StreamError::LastOperationFailed(error) = refused else { panic!("{refused:?}") };
        assert!(format!("{:?}", error.downcast_ref::<ErrorCode>()).contains("read or drop"), "{error:?}");
        drop((one, other));
        let fourth = Draft::new(&held, None);
        write(&mut fourth.stream().expect("the first"), 1).expect("there is room again");
    }

    #[test]
    fn a_body_has_as_many_bytes_as_it_says() {
        let held = Held::default();
        for (expected, written, sent) in [(3, 3, true), (3, 2, false), (0, 0, true)] {
            let draft = Draft::new(&held, Some(expected));
            write(&mut draft.stream().expect("the first"), written).expect("no more than it says");
            assert_eq!(draft.finish().is_ok(), sent, "{expected} {written}");
            assert_eq!(matches!(draft.take(), Drafted::Finished(_)), sent);
        }
        let draft = Draft::new(&held, Some(3));
        is_too_large(write(&mut draft.stream().expect("the first"), 4), 4);
    }

    #[test]
    fn what_was_not_finished_is_open_or_broken_and_never_sent() {
        let held = Held::default();
        let draft = Draft::new(&held, None);
        write(&mut draft.stream().expect("the first"), 5).expect("fits");
        assert!(matches!(draft.take(), Drafted::Open));
        draft.give_up(words::unfinished());
        assert!(draft.finish().is_err());
        assert!(matches!(draft.take(), Drafted::Broken(_)));
        assert_eq!(held.0.load(Ordering::Relaxed), 0);
    }
}
