//! One step of an apply, taken or taken back: what lies in a slot of the staging and what stands at a path change places.
//!
//! Never: replaces, removes or follows anything. What comes out of a path lies in the slot of its step, where it is looked at
//! before it may go. Invariant here: whatever a person puts at a path, at whatever moment, is afterwards at that path, in a
//! slot that is not what its plan expects, or among what is kept.
//!
//! A file system without `RENAME_EXCHANGE` (`EINVAL`, as on some network and FUSE file systems) has two halves instead: what is
//! at the path is taken out, and what is to come is put where nothing is. A reader may then find nothing at the path for a
//! moment. Without `RENAME_NOREPLACE` a file is linked into its place, which fails where something is; where there are no hard
//! links either, a look comes before the rename, and between the two is the one gap that is left.

use std::io;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use super::Hook;
use crate::doors::node::{self, is_there, place};
use crate::doors::plan::Step;
use crate::doors::tree::{self, Entry, FileHasher};
use crate::doors::walk::STAGING_PREFIX;

/// End of the name of the directory that keeps what could not be put back where it came from.
pub(super) const KEPT: &str = ".kept";

/// When the slots of a plan were filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staged {
    /// By this process, which knows what is in them.
    Now,
    /// Before a crash: steps may have been taken since, and what is in a slot may be damaged or anybody's.
    Before,
}

/// The swaps of one apply.
pub(super) struct Swaps<'a, 'h> {
    pub(super) real: &'a Dir,
    pub(super) staging: &'a Dir,
    /// The run.
    pub(super) serial: &'a str,
    pub(super) hook: &'a mut Hook<'h>,
    pub(super) hasher: FileHasher,
    pub(super) staged: Staged,
}

impl<'a, 'h> Swaps<'a, 'h> {
    pub(super) fn new(real: &'a Dir, staging: &'a Dir, serial: &'a str, hook: &'a mut Hook<'h>) -> Self {
        Self { real, staging, serial, hook, hasher: FileHasher::new(), staged: Staged::Before }
    }

    /// Takes a step, unless it was taken before. `false`: a person has been there, and all steps are to be taken back.
    pub(super) fn take(&mut self, number: usize, step: &Step) -> io::Result<bool> {
        let slot = number.to_string();
        if let Some(taken) = self.taken_before(number, step)? {
            return Ok(taken);
        }
        let Some((parent, name)) = place(self.real, &step.path)? else { return Ok(false) };
        let done = match (&step.was, &step.now) {
            (None, _) => self.put(&slot, &parent, name)?,
            (Some(_), None) => self.take_out(&parent, name, &slot)?,
            (Some(_), Some(_)) => self.exchange(&slot, &parent, name)?,
        };
        self.hook.after()?;
        Ok(done && self.holds_in(&slot, step.was.as_ref())?)
    }

    /// Whether a step was taken before and stands; `None`: it is still to be taken.
    fn taken_before(&mut self, number: usize, step: &Step) -> io::Result<Option<bool>> {
        let slot = number.to_string();
        if self.staged == Staged::Now {
            return Ok(None);
        }
        if !self.join_halves(number, step)? {
            return Ok(Some(false));
        }
        let in_slot = is_there(self.staging, &slot)?;
        match (&step.was, &step.now) {
            // It left its slot, so it was placed; what happened at the path since is a person's own affair.
            (None, Some(_)) if !in_slot => Ok(Some(true)),
            (None, now) => Ok((!self.holds_in(&slot, now.as_ref())?).then_some(false)),
            (Some(_), None) if !in_slot => Ok(None),
            (Some(_), Some(now)) if self.holds_in(&slot, Some(now))? => Ok(None),
            (was, _) => self.holds_in(&slot, was.as_ref()).map(Some),
        }
    }

    /// Takes a step back, as far as it was taken. What a person did since stays, and what then has no place is kept.
    pub(super) fn take_back(&mut self, number: usize, step: &Step) -> io::Result<()> {
        let slot = number.to_string();
        if !self.join_halves(number, step)? {
            self.keep(&half(&slot), &step.path)?;
        }
        let in_slot = is_there(self.staging, &slot)?;
        match (&step.was, &step.now) {
            (None, Some(now)) => {
                let Some((parent, name)) = place(self.real, &step.path)? else { return Ok(()) };
                if in_slot || !self.holds(&parent, name, Some(now))? || !self.take_out(&parent, name, &slot)? {
                    return Ok(());
                }
                self.hook.after()?;
                match self.holds_in(&slot, Some(now))? {
                    true => Ok(()),
                    false => self.give_back(&slot, step),
                }
            }
            (Some(_), Some(now)) => {
                if !in_slot || self.holds_in(&slot, Some(now))? {
                    return Ok(());
                }
                if let Some((parent, name)) = place(self.real, &step.path)?
                    && self.holds(&parent, name, Some(now))?
                    && self.exchange(&slot, &parent, name)?
                {
                    self.hook.after()?;
                    if self.holds_in(&slot, Some(now))? {
                        return Ok(());
                    }
                }
                if !self.join_halves(number, step)? {
                    self.keep(&half(&slot), &step.path)?;
                }
                match is_there(self.staging, &slot)? && !self.holds_in(&slot, Some(now))? {
                    true => self.give_back(&slot, step),
                    false => Ok(()),
                }
            }
            (_, None) if in_slot => self.give_back(&slot, step),
            (_, None) => Ok(()),
        }
    }

    /// Keeps what came out of a path and is not what was expected there.
    pub(super) fn keep_stranger(&mut self, number: usize, step: &Step) -> io::Result<()> {
        let slot = number.to_string();
        match is_there(self.staging, &slot)? && !self.holds_in(&slot, step.was.as_ref())? {
            true => self.keep(&slot, &step.path),
            false => Ok(()),
        }
    }

    /// Puts the thing in a slot back at its path, or keeps it if there is something already. An empty directory is nothing to
    /// be kept.
    fn give_back(&mut self, slot: &str, step: &Step) -> io::Result<()> {
        if let Some((parent, name)) = place(self.real, &step.path)?
            && self.put(slot, &parent, name)?
        {
            return self.hook.after();
        }
        match self.holds_in(slot, Some(&Entry::EmptyDirectory {}))? {
            true => Ok(()),
            false => self.keep(slot, &step.path),
        }
    }

    /// Moves a thing from the staging to where it is kept for a person.
    fn keep(&mut self, slot: &str, path: &str) -> io::Result<()> {
        let top = format!("{STAGING_PREFIX}{}{KEPT}", self.serial);
        match node::create_dir(self.real, &top, 0o777) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let kept = node::open_dir(self.real, &top)?;
        let mut number = 1_u64;
        while let Err(errno) = node::create_dir(&kept, &number.to_string(), 0o777) {
            match errno {
                Errno::EXIST => number += 1,
                errno => return Err(errno.into()),
            }
        }
        self.hook.after()?;
        let own = node::open_dir(&kept, number.to_string())?;
        rustix::fs::renameat(self.staging, slot, &own, path.rsplit('/').next().unwrap_or(path))?;
        for dir in [&own, &kept, self.real] {
            rustix::fs::fsync(dir)?;
        }
        self.hook.after()
    }

    /// Ends an exchange in halves that was interrupted. `false`: the half that was taken out finds its place taken.
    fn join_halves(&mut self, number: usize, step: &Step) -> io::Result<bool> {
        let slot = number.to_string();
        let half = half(&slot);
        if !is_there(self.staging, &half)? {
            return Ok(true);
        }
        if !is_there(self.staging, &slot)? {
            rustix::fs::renameat(self.staging, &half, self.staging, &slot)?;
            return self.hook.after().map(|()| true);
        }
        let Some((parent, name)) = place(self.real, &step.path)? else { return Ok(false) };
        let joined = self.put(&half, &parent, name)?;
        self.hook.after().map(|()| joined)
    }

    /// Exchanges a slot and a path. `false`: nothing is at the path, or in halves: something came there in between.
    fn exchange(&mut self, slot: &str, parent: &Dir, name: &str) -> io::Result<bool> {
        match self.flagged(slot, parent, name, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(true),
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) if lacks_flags(errno) => {}
            Err(errno) => return Err(errno.into()),
        }
        let half = half(slot);
        if !self.take_out(parent, name, &half)? {
            return Ok(false);
        }
        self.hook.after()?;
        if !self.put(slot, parent, name)? {
            return Ok(false);
        }
        self.hook.after()?;
        rustix::fs::renameat(self.staging, half, self.staging, slot)?;
        Ok(true)
    }

    /// Moves whatever is at a path to a free name of the staging, where nobody else puts anything. `false`: nothing is there.
    fn take_out(&self, parent: &Dir, name: &str, slot: &str) -> io::Result<bool> {
        match rustix::fs::renameat(parent, name, self.staging, slot) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Moves a thing of the staging to a path where nothing is. `false`: something is there.
    fn put(&self, slot: &str, parent: &Dir, name: &str) -> io::Result<bool> {
        match self.flagged(slot, parent, name, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => return Ok(false),
            Err(errno) if lacks_flags(errno) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_directory = node::file_type(&node::status(self.staging, slot)?) == FileType::Directory;
        if !is_directory {
            match rustix::fs::linkat(self.staging, slot, parent, name, AtFlags::empty()) {
                Ok(()) => {
                    rustix::fs::unlinkat(self.staging, slot, AtFlags::empty())?;
                    return Ok(true);
                }
                Err(Errno::EXIST) => return Ok(false),
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) if !is_there(parent, name)? => {}
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
        }
        // A directory replaces at most an empty one.
        match rustix::fs::renameat(self.staging, slot, parent, name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn flagged(&self, slot: &str, parent: &Dir, name: &str, flags: RenameFlags) -> Result<(), Errno> {
        if self.hook.lacks_flags() {
            return Err(Errno::INVAL);
        }
        rustix::fs::renameat_with(self.staging, slot, parent, name, flags)
    }

    fn holds_in(&mut self, slot: &str, expected: Option<&Entry>) -> io::Result<bool> {
        tree::holds(self.staging, slot, expected, &mut self.hasher)
    }

    fn holds(&mut self, dir: &Dir, name: &str, expected: Option<&Entry>) -> io::Result<bool> {
        tree::holds(dir, name, expected, &mut self.hasher)
    }
}

/// Where an exchange in halves has what it took out.
fn half(slot: &str) -> String {
    format!("{slot}.out")
}

/// Whether a file system or a kernel does not know the flags of a rename.
fn lacks_flags(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}
