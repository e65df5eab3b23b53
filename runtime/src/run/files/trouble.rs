//! The machine's own trouble with a guest's files: it ends the run, and is nothing that a guest hears.
//!
//! Never: turns a refusal of ours into the end of a run. Those are made before the machine is asked. Invariant here: an
//! error code that a guest hears follows from what it did and from its tree, so a second run hears the same.

use std::io;

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{FsError, FsResult};

use super::super::RunEnd;

/// What came of a call to the machine, as the guest may hear it.
///
/// # Errors
/// The guest's own mistake, as it is; a fault of the host, which traps.
pub fn heard<T>(result: FsResult<T>) -> FsResult<T> {
    result.map_err(|error| match error.downcast_ref() {
        Some(&code) if is_trouble(code) => FsError::trap(fault(code.message())),
        Some(_) | None => error,
    })
}

/// The end of the run, if an error is the machine's.
pub fn ending(error: &io::Error) -> Option<RunEnd> {
    is_trouble(ErrorCode::from(error)).then(|| fault(error))
}

/// The end of a run for a reason that is the machine's.
pub fn fault(why: impl std::fmt::Display) -> RunEnd {
    RunEnd::Fault(format!("the host's disk: {why}"))
}

/// Whether it says that the machine could not give what it owes: a guest may have done all right, and the next machine
/// would not say it. Room, a file's size and the number of files are granted and charged before the machine is asked, so
/// running out of them is its trouble too.
///
/// `Io` is also what wasmtime-wasi makes of every error of the system that it has no word for: no open files left, a
/// quota of the user's, a filesystem that became read-only. None of them is a guest's to cause: it makes no links and no
/// special files, and its tree is one filesystem.
fn is_trouble(code: ErrorCode) -> bool {
    match code {
        ErrorCode::Already
        | ErrorCode::CrossDevice
        | ErrorCode::Deadlock
        | ErrorCode::FileTooLarge
        | ErrorCode::InProgress
        | ErrorCode::InsufficientMemory
        | ErrorCode::InsufficientSpace
        | ErrorCode::Interrupted
        | ErrorCode::Io
        | ErrorCode::NoDevice
        | ErrorCode::NoLock
        | ErrorCode::NoSuchDevice
        | ErrorCode::NotRecoverable
        | ErrorCode::Quota
        | ErrorCode::ReadOnly
        | ErrorCode::TextFileBusy
        | ErrorCode::TooManyLinks
        | ErrorCode::WouldBlock => true,
        // `Busy` is what a rename onto `..` gets, `Access` what the modes of the tree's files say.
        ErrorCode::Access
        | ErrorCode::BadDescriptor
        | ErrorCode::Busy
        | ErrorCode::Exist
        | ErrorCode::IllegalByteSequence
        | ErrorCode::Invalid
        | ErrorCode::InvalidSeek
        | ErrorCode::IsDirectory
        | ErrorCode::Loop
        | ErrorCode::MessageSize
        | ErrorCode::NameTooLong
        | ErrorCode::NoEntry
        | ErrorCode::NoTty
        | ErrorCode::NotDirectory
        | ErrorCode::NotEmpty
        | ErrorCode::NotPermitted
        | ErrorCode::Overflow
        | ErrorCode::Pipe
        | ErrorCode::Unsupported => false,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    const TROUBLE: [Errno; 9] = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::ROFS,
        Errno::FBIG,
        Errno::STALE,
    ];

    #[test]
    fn a_machines_trouble_ends_the_run_and_says_what_it_was() {
        for errno in TROUBLE {
            let error = io::Error::from(errno);
            let RunEnd::Fault(why) = ending(&error).expect("trouble") else { panic!("{errno}: no fault") };
            assert_eq!(why, format!("the host's disk: {error}"));
            // Through wasmtime-wasi, which knows the code alone.
            let trap = heard::<()>(Err(error.into())).expect_err("trouble").downcast().expect_err("no error code");
            let end = trap.downcast_ref::<RunEnd>().expect("the end of the run");
            assert!(matches!(end, RunEnd::Fault(why) if why.starts_with("the host's disk: ")), "{errno}: {end}");
        }
        assert!(ending(&io::ErrorKind::WriteZero.into()).is_some(), "a write that takes nothing");
    }

    #[test]
    fn what_a_guest_did_wrong_it_hears() {
        for (errno, code) in [
            (Errno::NOENT, ErrorCode::NoEntry),
            (Errno::BADF, ErrorCode::BadDescriptor),
            (Errno::EXIST, ErrorCode::Exist),
            (Errno::NOTEMPTY, ErrorCode::NotEmpty),
            (Errno::BUSY, ErrorCode::Busy),
            (Errno::INVAL, ErrorCode::Invalid),
            (Errno::ACCESS, ErrorCode::Access),
            (Errno::LOOP, ErrorCode::Loop),
            (Errno::NAMETOOLONG, ErrorCode::NameTooLong),
        ] {
            assert_eq!(ending(&errno.into()), None, "{errno}");
            let error = heard::<()>(Err(io::Error::from(errno).into())).expect_err("an error");
            assert_eq!(error.downcast().expect("an error code"), code);
        }
        let outside = io::Error::new(io::ErrorKind::PermissionDenied, "a path led outside");
        assert_eq!(ending(&outside), None);
    }

    #[test]
    fn a_trap_stays_what_it_is() {
        let stopped = heard::<()>(Err(FsError::trap(RunEnd::Stopped))).expect_err("a trap");
        let trap = stopped.downcast().expect_err("no error code");
        assert_eq!(trap.downcast_ref(), Some(&RunEnd::Stopped));
    }
}
