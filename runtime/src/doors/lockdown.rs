//! A process locks itself in: no files but the trees that it was handed, no calls to the kernel but those that a guest
//! needs, and bounds on what it may hold. There is no way back, and what it starts afterwards is as locked in as it is.
//!
//! Never: locks in half. Whoever asks for a lockdown that this kernel does not have is told what is missing, and is not
//! locked in. Invariants here: nothing becomes executable any more, no process is started, no socket is made.
//!
//! Landlock says which files can be reached, also by a descriptor that is open already
//! (<https://docs.kernel.org/userspace-api/landlock.html>); seccomp says which calls can be made
//! (<https://docs.kernel.org/userspace-api/seccomp_filter.html>), and a forbidden one ends the process with `SIGSYS`.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal, getpid, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use thiserror::Error;

/// What a locked-in process may do below one of its trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Read,
    /// Also make, change, move and remove files and directories; never links, sockets or devices.
    ReadAndWrite,
}

/// What a process keeps when it locks itself in.
pub struct Lockdown<'a> {
    /// All that it can reach of the file system.
    pub trees: &'a [(BorrowedFd<'a>, Reach)],
    /// Bytes of memory that it can write to, its stacks and heaps included.
    pub data_bytes: u64,
    /// Descriptors at once.
    pub descriptors: u64,
    /// Seconds of processor time, over all its threads; `None`: somebody else counts them.
    pub cpu_seconds: Option<u64>,
}

/// Why a process is not locked in.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockdownError {
    /// The kernel was built or booted without it, or is too old.
    #[error("this kernel has no {0}")]
    Missing(&'static str),
    #[error("the kernel refused {what}: {why}")]
    Refused { what: &'static str, why: String },
}

/// The oldest Landlock that keeps a guest's files apart: before it a file that is only read could be cut short.
pub(super) const LEAST: ABI = ABI::V3;

/// The newest one that is asked for where it is there: no network, no signals or abstract sockets beyond this process.
pub(super) const MOST: ABI = ABI::V6;

/// What the kernel holds of a lockdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The version of Landlock's interface that is in force.
    pub landlock: u32,
}

impl Lockdown<'_> {
    /// Locks the calling thread in, and every thread that it starts from now on. To be called before there are others.
    ///
    /// # Errors
    /// [`LockdownError`]: the process is to end then, with nothing done.
    pub fn enter(&self) -> Result<Held, LockdownError> {
        let refused = |what| move |error: rustix::io::Errno| LockdownError::Refused { what, why: error.to_string() };
        let most = |resource, most: u64| {
            setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).map_err(refused("a limit"))
        };
        most(Resource::Core, 0)?;
        most(Resource::Data, self.data_bytes)?;
        most(Resource::Nofile, self.descriptors)?;
        if let Some(seconds) = self.cpu_seconds {
            most(Resource::Cpu, seconds)?;
        }
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(refused("to end with its parent"))?;
        set_no_new_privs(true).map_err(refused("no new privileges"))?;
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
            .map_err(refused("to drop its capabilities"))?;
        let held = self.landlock()?;
        for filter in filters().map_err(|why| LockdownError::Refused { what: "a filter of calls", why })? {
            seccompiler::apply_filter(&filter).map_err(|error| match error {
                seccompiler::Error::Seccomp(_) | seccompiler::Error::Prctl(_) => {
                    LockdownError::Missing("seccomp filters")
                }
                other => LockdownError::Refused { what: "a filter of calls", why: other.to_string() },
            })?;
        }
        Ok(held)
    }

    fn landlock(&self) -> Result<Held, LockdownError> {
        let refused =
            |error: landlock::RulesetError| LockdownError::Refused { what: "Landlock", why: error.to_string() };
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(MOST))
            .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(MOST)))
            .and_then(|ruleset| ruleset.scope(Scope::from_all(MOST)))
            .and_then(Ruleset::create)
            .map_err(refused)?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = read
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir
            | AccessFs::Refer
            // To move a link that is there already. The call that makes one is not allowed.
            | AccessFs::MakeSym;
        let rules = self.trees.iter().map(|(tree, reach)| {
            let access = match reach {
                Reach::Read => read,
                Reach::ReadAndWrite => write,
            };
            Ok::<_, landlock::RulesetError>(PathBeneath::new(*tree, access))
        });
        let status = ruleset.add_rules(rules).and_then(landlock::RulesetCreated::restrict_self).map_err(refused)?;
        let version = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
        };
        match status.ruleset {
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced if version >= LEAST as u32 => {
                Ok(Held { landlock: version })
            }
            _ => Err(LockdownError::Missing("Landlock of version 3 or later (Linux 6.2)")),
        }
    }
}

/// Calls that are allowed whatever their arguments are.
const CALLS: &[libc::c_long] = &[
    // Speaking through what is open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_lseek,
    libc::SYS_close,
    // Files, which Landlock judges.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_ftruncate,
    libc::SYS_fadvise64,
    // Memory, as long as none of it can be executed: see `filters`.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads and waits.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    // Traps of a guest arrive as signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Refused by a filter of its own, without which threads could not be started.
    libc::SYS_clone3,
];

/// A process that asks which of its pages were written to: wasmtime clears no others. `_IOWR('f', 16, 96 bytes)`, see
/// <https://docs.kernel.org/admin-guide/mm/pagemap.html>.
const PAGEMAP_SCAN: u64 = 0xc060_6610;

/// `PR_SET_VMA` of <https://man7.org/linux/man-pages/man2/PR_SET_VMA.2const.html>: a name for a mapping.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// `PR_GET_AUXV`, with which a library finds out how to read clocks without a call.
const PR_GET_AUXV: u64 = 0x4155_5856;

/// What is answered with an error instead of an end, which is stronger; and all that is allowed.
fn filters() -> Result<[BpfProgram; 2], String> {
    let is = |argument, value| condition(argument, SeccompCmpOp::Eq, value);
    let one_of = |argument: u8, values: &[u64]| -> Result<Vec<SeccompRule>, String> {
        values.iter().map(|&value| rule(vec![is(argument, value)?])).collect()
    };
    let not_executable =
        || rule(vec![condition(2, SeccompCmpOp::MaskedEq(word(libc::PROT_EXEC)), 0)?]).map(|r| vec![r]);
    let thread = word(libc::CLONE_THREAD);
    let this_process = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|&call| (call, vec![])).collect();
    calls.insert(libc::SYS_mmap, not_executable()?);
    calls.insert(libc::SYS_mprotect, not_executable()?);
    calls.insert(libc::SYS_clone, vec![rule(vec![condition(0, SeccompCmpOp::MaskedEq(thread), thread)?])?]);
    // What `abort` does to the process itself.
    calls.insert(libc::SYS_tgkill, one_of(0, &[this_process])?);
    calls.insert(libc::SYS_prctl, one_of(0, &[word(libc::PR_SET_NAME), PR_SET_VMA, PR_GET_AUXV])?);
    let ioctls = [libc::FIONBIO, libc::FIOCLEX].map(|request| request & 0xffff_ffff);
    calls.insert(libc::SYS_ioctl, one_of(1, &[ioctls[0], ioctls[1], PAGEMAP_SCAN])?);
    let fcntls = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];
    calls.insert(libc::SYS_fcntl, one_of(1, &fcntls.map(word))?);
    let allowed = filter(calls, SeccompAction::KillProcess, SeccompAction::Allow)?;
    // Its flags are in memory, where no filter can read them. A C library without it uses `clone`.
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let old_clone = filter([(libc::SYS_clone3, vec![])].into(), SeccompAction::Allow, absent)?;
    // In this order: the other lets nothing be added to it.
    Ok([old_clone, allowed])
}

pub(super) fn filter(
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, String> {
    let machine = std::env::consts::ARCH.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    let filter = SeccompFilter::new(calls, others, these, machine).map_err(|error| error.to_string())?;
    filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())
}

pub(super) fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions).map_err(|error| error.to_string())
}

pub(super) fn condition(argument: u8, operation: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value).map_err(|error| error.to_string())
}

/// A constant of the kernel's as the filter compares it.
pub(super) fn word(constant: libc::c_int) -> u64 {
    u64::from(constant.cast_unsigned())
}
