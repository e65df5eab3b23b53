//! A cell's end of the pipe: the gate as a guest in a cell reaches it.
//!
//! Never: believes that it will be answered. A host that ends the run ends the cell, and there is nothing to say then.
//! Invariant here: one question at a time, and its answer before the next.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use crate::doors::trail::Touch;
use crate::rules::andon::Category;
use crate::rules::effect::{Heard, Level, Stream};
use crate::rules::model::Profile;
use crate::rules::tool::ToolOffer;

use super::super::gate::Ask;
use super::super::senses::VirtualClock;
use super::super::{RunEnd, lock};
use super::frame::{self, Answered, Now, Reply, Said, Word};

/// Bytes of one frame of the host's: an answer to a batch may hold many replies, and the host is believed.
const MOST_BYTES: u64 = u32::MAX as u64;

/// What was touched that may wait for the next word: far below what one frame may hold.
const MOST_WAITING: usize = 32;

/// The pipe, and the clock that moves with what comes through it.
pub struct Pipe {
    socket: Mutex<UnixStream>,
    time: Arc<VirtualClock>,
    /// What the host is to hear with the next word.
    touched: Mutex<Vec<Touch>>,
}

impl Pipe {
    /// The cell's end.
    pub fn new(socket: UnixStream, time: Arc<VirtualClock>) -> Self {
        Self { socket: Mutex::new(socket), time, touched: Mutex::default() }
    }

    /// The guest's clock.
    pub fn time(&self) -> Arc<VirtualClock> {
        Arc::clone(&self.time)
    }

    /// As the gate's.
    ///
    /// # Errors
    /// [`RunEnd`].
    pub fn pass_all(&self, asks: Vec<Ask>) -> Result<Vec<Heard>, RunEnd> {
        let mut bytes = Vec::new();
        let mut effects = Vec::with_capacity(asks.len());
        for ask in asks {
            bytes.extend_from_slice(&ask.bytes);
            effects.push(ask.effect);
        }
        match self.ask(Word::Pass(effects), &bytes)? {
            Reply::Heard(heard) => Ok(heard),
            Reply::Go | Reply::Wrote(_) | Reply::Offers(_) | Reply::Tools(_) => Err(mismatch()),
        }
    }

    /// As the gate's.
    ///
    /// # Errors
    /// [`RunEnd`].
    pub fn note(&self, level: Level, message: String, fields: Vec<(String, String)>) -> Result<(), RunEnd> {
        match self.ask(Word::Note { level, message, fields }, &[])? {
            Reply::Go => Ok(()),
            Reply::Heard(_) | Reply::Wrote(_) | Reply::Offers(_) | Reply::Tools(_) => Err(mismatch()),
        }
    }

    /// As the gate's. Nobody answers.
    pub fn pull(&self, category: Category, reason: String, evidence: Vec<String>) -> RunEnd {
        match self.say(Word::Pull { category, reason, evidence }, &[]) {
            Ok(()) => RunEnd::Stopped,
            Err(error) => broken(&error),
        }
    }

    /// As the gate's. What cannot be asked is not granted.
    pub fn wrote(&self, bytes: u64) -> bool {
        matches!(self.ask(Word::Wrote(bytes), &[]), Ok(Reply::Wrote(true)))
    }

    /// As the gate's. The host knows of a name before it is touched, and of all else before it looks: what a guest does that is
    /// stopped at any time is not taken for somebody else's.
    pub fn touched(&self, touch: Touch) {
        let is_name = matches!(touch, Touch::Naming(_));
        let waiting = {
            let mut touched = lock(&self.touched);
            touched.push(touch);
            touched.len()
        };
        if is_name || waiting >= MOST_WAITING {
            // If it fails, so does the next question.
            drop(self.ask(Word::Touched, &[]));
        }
    }

    /// As the gate's.
    ///
    /// # Errors
    /// [`RunEnd`].
    pub fn offers(&self) -> Result<BTreeMap<String, Profile>, RunEnd> {
        match self.ask(Word::Offers, &[])? {
            Reply::Offers(offers) => Ok(offers),
            Reply::Go | Reply::Heard(_) | Reply::Wrote(_) | Reply::Tools(_) => Err(mismatch()),
        }
    }

    /// As the gate's.
    ///
    /// # Errors
    /// [`RunEnd`].
    pub fn tools(&self) -> Result<Vec<ToolOffer>, RunEnd> {
        match self.ask(Word::Tools, &[])? {
            Reply::Tools(tools) => Ok(tools),
            Reply::Go | Reply::Heard(_) | Reply::Wrote(_) | Reply::Offers(_) => Err(mismatch()),
        }
    }

    /// Hands over what the guest printed.
    pub fn printed(&self, stream: Stream, bytes: &[u8], dropped_bytes: u64) {
        // If it fails, so does the next question.
        drop(self.say(Word::Printed { stream, dropped_bytes }, bytes));
    }

    /// Says something that is not answered.
    ///
    /// # Errors
    /// The host is gone.
    pub fn say(&self, word: Word, bytes: &[u8]) -> io::Result<()> {
        let touched = std::mem::take(&mut *lock(&self.touched));
        let said = Said { now_ns: self.time.now_ns(), touched, word };
        frame::write(&mut *lock(&self.socket), &said, bytes)
    }

    /// Waits for the word to go on.
    ///
    /// # Errors
    /// The host is gone.
    pub fn wait_for_go(&self) -> Result<(), RunEnd> {
        match self.answer()? {
            Reply::Go => Ok(()),
            Reply::Heard(_) | Reply::Wrote(_) | Reply::Offers(_) | Reply::Tools(_) => Err(mismatch()),
        }
    }

    fn ask(&self, word: Word, bytes: &[u8]) -> Result<Reply, RunEnd> {
        self.say(word, bytes).map_err(|error| broken(&error))?;
        self.answer()
    }

    fn answer(&self) -> Result<Reply, RunEnd> {
        let answered = frame::read(&mut *lock(&self.socket), MOST_BYTES);
        let (Answered { now: Now { ns, hurried }, answer }, _) = answered.map_err(|error| broken(&error))?;
        self.time.move_to_ns(ns);
        self.time.hurry(hurried);
        Ok(answer)
    }
}

fn broken(error: &io::Error) -> RunEnd {
    RunEnd::Fault(format!("the host does not answer: {error}"))
}

fn mismatch() -> RunEnd {
    RunEnd::Fault("the host answered something else".into())
}
