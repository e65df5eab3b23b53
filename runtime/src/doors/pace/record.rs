//! What all processes of one host's directory know of a pace: a small file that one of them at a time reads and writes.
//!
//! Never: waits, decides who goes, reads a clock, syncs to the disk (a power loss forgets a minute's worth at most).
//! Invariants here: a process that is killed leaves the file as it was or as it was to be; no file stops anybody for longer
//! than a pace does; a file that is damaged or somebody else's is begun anew.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::num::NonZeroU32;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use cap_std::fs::Dir;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::super::bucket::{Bucket, MINUTE};
use super::super::node;
use super::{LOOK, MAX_PAUSE};

/// Where the files are below the host's directory.
const DIR: &str = "pace";

/// Bytes of a file that are read: the names and times of some thousand processes that wait at once.
pub const MAX_RECORD_BYTES: u64 = 1 << 20;

/// How long after it wanted to look again a process counts as gone.
pub const GRACE: Duration = Duration::from_secs(2);

/// All times are nanoseconds of [`Clock::up_ns`](crate::doors::clock::Clock::up_ns).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Whose pace it is.
    of: String,
    written: u64,
    pub slots: Slots,
    pub tokens: Bucket,
    /// Nobody goes before, because a provider said so.
    pub closed_until: u64,
    /// The processes that wait, in the order in which they came. They stand behind all else in the file, which may be torn
    /// where it is long.
    #[serde(skip)]
    waiting: Vec<Waiting>,
}

/// A process that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    who: u64,
    looks_at: u64,
}

/// When requests may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slots {
    /// The next slot. `None`: there never was a request.
    next: Option<u64>,
    /// A request may take the next slot in advance.
    spare: bool,
}

impl Slots {
    /// How long until a request may go.
    pub fn wait(&self, rate: NonZeroU32, now: u64) -> Duration {
        let ahead = if self.spare { share(rate) } else { 0 };
        Duration::from_nanos(self.next.unwrap_or_default().saturating_sub(ahead).saturating_sub(now))
    }

    /// Takes a slot. After a minute without requests another one may be taken in advance: nobody sees more than two in it.
    pub fn take(&mut self, rate: NonZeroU32, now: u64) {
        let next = self.next.unwrap_or_default();
        self.spare = rate.get() > 1 && self.next.is_none_or(|next| next.saturating_add(MINUTE) <= now);
        self.next = Some(next.max(now).saturating_add(share(rate)));
    }
}

/// One request's share of a minute.
pub(super) fn share(rate: NonZeroU32) -> u64 {
    MINUTE.div_ceil(u64::from(rate.get()))
}

impl Record {
    /// How long a process that wants to go waits for those who came before, if any did.
    pub fn wait_for_others(&self, who: u64, now: u64) -> Option<Duration> {
        let first = self.waiting.first().filter(|first| first.who != who)?;
        Some(Duration::from_nanos(first.looks_at.saturating_sub(now)))
    }

    /// Keeps a process's place in the line, or gives it the last one.
    pub fn stand(&mut self, who: u64, looks_at: u64) {
        match self.waiting.iter_mut().find(|waiting| waiting.who == who) {
            Some(place) => place.looks_at = looks_at,
            None => self.waiting.push(Waiting { who, looks_at }),
        }
    }

    /// Gives up a process's place in the line.
    pub fn leave(&mut self, who: u64) {
        self.waiting.retain(|waiting| waiting.who != who);
    }

    /// Takes in what the file says. What could not be written in it is true too, until somebody else writes.
    pub fn learn(&mut self, mut read: Self, now: u64) {
        read.renew(now);
        let closed_until = read.closed_until.max(self.closed_until);
        if self.written <= read.written {
            *self = read;
        }
        self.closed_until = closed_until;
    }

    /// Makes it what is true now. If the clock began anew since it was written, no time passed.
    pub fn renew(&mut self, now: u64) {
        let by = self.written.saturating_sub(now);
        let earlier = |time: u64| time.saturating_sub(by);
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.written = earlier(self.written);
        self.slots.next = self.slots.next.map(|next| earlier(next).min(now.saturating_add(2 * MINUTE)));
        self.tokens = self.tokens.earlier(by);
        self.closed_until = earlier(self.closed_until).min(now.saturating_add(ns(MAX_PAUSE)));
        for waiting in &mut self.waiting {
            waiting.looks_at = earlier(waiting.looks_at).min(now.saturating_add(ns(LOOK)));
        }
        self.waiting.retain(|waiting| waiting.looks_at.saturating_add(ns(GRACE)) > now);
    }
}

/// Opens the host's directory.
pub type Open = Box<dyn Fn() -> io::Result<Dir> + Send + Sync>;

/// Where a pace is kept.
pub(super) struct Place {
    open: Open,
    of: String,
    path: String,
}

/// Whether a file that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Leave,
}

/// What became of an attempt to take a file.
pub(super) enum Taken {
    Ours(Held),
    /// Another process has it, for a moment.
    Busy,
    Missing,
}

/// A file that nobody else reads or writes now.
pub(super) struct Held {
    file: File,
    of: String,
}

impl Place {
    /// The place of the pace of `of`, which may be called anything.
    pub fn new(open: Open, of: String) -> Self {
        let path = format!("{DIR}/{}", &blake3::hash(of.as_bytes()).to_hex()[..32]);
        Self { open, of, path }
    }

    /// Takes the file. Never waits for another process.
    ///
    /// # Errors
    /// It cannot be opened or made, or something else has its name.
    pub fn take(&self, missing: Missing) -> io::Result<Taken> {
        let opened = (self.open)().and_then(|dir| {
            match (self.file(&dir, OFlags::empty()), missing) {
                (Err(Errno::NOENT), Missing::Make) => {}
                (opened, _) => return Ok(opened?),
            }
            match node::create_dir(&dir, DIR, 0o700) {
                Ok(()) | Err(Errno::EXIST) => Ok(self.file(&dir, OFlags::CREATE)?),
                Err(errno) => Err(errno.into()),
            }
        });
        let file = match opened {
            Err(error) if missing == Missing::Leave && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Taken::Missing);
            }
            opened => opened?,
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other(format!("{} is no regular file", self.path)));
        }
        match file.try_lock() {
            Ok(()) => Ok(Taken::Ours(Held { file, of: self.of.clone() })),
            Err(TryLockError::WouldBlock) => Ok(Taken::Busy),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn file(&self, dir: &Dir, more: OFlags) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
        Ok(rustix::fs::openat(dir, &self.path, flags, Mode::RUSR | Mode::WUSR)?.into())
    }
}

impl Held {
    /// What it says. A file that is new says nothing; neither does one that is damaged, which is reported and emptied.
    ///
    /// # Errors
    /// It cannot be read, or not be emptied.
    pub fn read(&self) -> io::Result<Record> {
        let mut bytes = Vec::new();
        (&self.file).take(MAX_RECORD_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(self.anew());
        }
        if bytes.len() as u64 > MAX_RECORD_BYTES {
            return self.damaged("it is too long");
        }
        let mut parts = serde_json::Deserializer::from_slice(&bytes);
        let mut record = match Record::deserialize(&mut parts) {
            Ok(record) if record.of == self.of => record,
            Ok(record) => return self.damaged(&format!("it is of {:?}", record.of)),
            Err(error) => return self.damaged(&error.to_string()),
        };
        // A process that was killed while it wrote may have left the end of what was there before.
        record.waiting = Deserialize::deserialize(&mut parts).unwrap_or_default();
        Ok(record)
    }

    /// Writes it.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn write(&self, record: &mut Record, now: u64) -> io::Result<()> {
        record.written = now;
        let text = format!("{}\n{}\n", serde_json::to_string(record)?, serde_json::to_string(&record.waiting)?);
        // In this order: of what is too long the beginning is read.
        let bytes = text.as_bytes();
        self.file.write_all_at(bytes, 0)?;
        self.file.set_len(bytes.len() as u64)
    }

    fn damaged(&self, why: &str) -> io::Result<Record> {
        tracing::warn!("the pace of {} is begun anew: its file is damaged: {why}", self.of);
        self.file.set_len(0)?;
        Ok(self.anew())
    }

    fn anew(&self) -> Record {
        Record { of: self.of.clone(), ..Record::default() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Not only closed: a process that is being started holds all open files of ours for a moment.
        drop(self.file.unlock());
    }
}
