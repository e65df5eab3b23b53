//! A native program's wall: what a process keeps before it becomes a program that somebody else made.
//!
//! Never: encloses in half; whoever asks for it on a kernel that does not have it is told, and is not enclosed. Invariants
//! here: the program reaches no file but what it was given and the system's own programs and libraries; it makes no socket,
//! starts no process, leaves its process group never; what it may write of memory and files is bounded.
//!
//! Unlike a guest, which we know to need little, a native program asks for what its language likes: here calls are listed
//! that are refused, with an error that programs know, and not those that are allowed. Landlock holds across `exec`
//! (<https://docs.kernel.org/userspace-api/landlock.html>), and so does a filter of calls.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use landlock::{
    Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpOp, SeccompRule, sock_filter};

use super::lockdown::{LEAST, LockdownError, MOST, condition, filter, rule, word};
use crate::rules::mcp::McpLimits;

/// What every program may read and run: the system's own programs and libraries. Nothing of a user's is there.
const SYSTEM: [&str; 6] = ["/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"];

/// What a dynamic linker and a C library read before a program begins.
const SYSTEM_FILES: [&str; 4] = ["/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime"];

/// Where randomness comes from.
const RANDOMNESS: [&str; 2] = ["/dev/urandom", "/dev/random"];

/// Where nothing goes.
const NOWHERE: &str = "/dev/null";

/// Descriptors at once.
const DESCRIPTORS: u64 = 256;

/// Bytes of the first thread's stack, which is counted as no other memory is.
const STACK_BYTES: u64 = 64 << 20;

/// What a program is given.
#[derive(Clone, Copy, Debug)]
pub struct Enclosure<'a> {
    pub program: &'a Path,
    pub reads: &'a [PathBuf],
    pub writes: &'a [PathBuf],
    pub limits: McpLimits,
}

impl Enclosure<'_> {
    /// Encloses the calling process for good. To be called before there are other threads, and right before it becomes the
    /// program.
    ///
    /// # Errors
    /// [`LockdownError`]: the process is to end then, with nothing done.
    pub fn enter(&self) -> Result<(), LockdownError> {
        let refused = |what| move |error: rustix::io::Errno| LockdownError::Refused { what, why: error.to_string() };
        let most = |resource, most: u64| {
            setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).map_err(refused("a limit"))
        };
        let McpLimits { memory_bytes, file_bytes, cpu_seconds, start_ms: _ } = self.limits;
        most(Resource::Core, 0)?;
        most(Resource::Data, memory_bytes)?;
        most(Resource::Stack, STACK_BYTES)?;
        most(Resource::Fsize, file_bytes)?;
        most(Resource::Nofile, DESCRIPTORS)?;
        most(Resource::Cpu, cpu_seconds)?;
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(refused("to end with its parent"))?;
        set_no_new_privs(true).map_err(refused("no new privileges"))?;
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
            .map_err(refused("to drop its capabilities"))?;
        self.landlock()?;
        for filter in filters().map_err(|why| LockdownError::Refused { what: "a filter of calls", why })? {
            seccompiler::apply_filter(&filter).map_err(|error| match error {
                seccompiler::Error::Seccomp(_) | seccompiler::Error::Prctl(_) => {
                    LockdownError::Missing("seccomp filters")
                }
                other => LockdownError::Refused { what: "a filter of calls", why: other.to_string() },
            })?;
        }
        Ok(())
    }

    fn landlock(&self) -> Result<(), LockdownError> {
        let refused =
            |error: landlock::RulesetError| LockdownError::Refused { what: "Landlock", why: error.to_string() };
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(MOST))
            .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(MOST)))
            .and_then(|ruleset| ruleset.scope(Scope::from_all(MOST)))
            .and_then(Ruleset::create)
            .map_err(refused)?;
        for (tree, access) in self.trees()? {
            ruleset = ruleset.add_rule(PathBeneath::new(tree.as_fd(), access)).map_err(refused)?;
        }
        let status = ruleset.restrict_self().map_err(refused)?;
        let version = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
        };
        match status.ruleset {
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced if version >= LEAST as u32 => Ok(()),
            _ => Err(LockdownError::Missing("Landlock of version 3 or later (Linux 6.2)")),
        }
    }

    /// Each tree and what may be done below it. What the system does not have is left out; what the operator named must be
    /// there.
    fn trees(&self) -> Result<Vec<(File, BitFlags<AccessFs>)>, LockdownError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let run = read | AccessFs::Execute;
        let write = read
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::MakeSym
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir
            | AccessFs::Refer;
        let system = SYSTEM.iter().map(|path| (*path, run));
        let system = system.chain(SYSTEM_FILES.iter().chain(&RANDOMNESS).map(|path| (*path, read)));
        let system = system.chain([(NOWHERE, AccessFs::ReadFile | AccessFs::WriteFile)]);
        let mut trees = Vec::new();
        for (path, access) in system {
            match tree(Path::new(path), access) {
                Ok(tree) => trees.push(tree),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreachable(Path::new(path), &error)),
            }
        }
        let named = std::iter::once((self.program, run))
            .chain(self.reads.iter().map(|path| (path.as_path(), run)))
            .chain(self.writes.iter().map(|path| (path.as_path(), write)));
        for (path, access) in named {
            trees.push(tree(path, access).map_err(|error| unreachable(path, &error))?);
        }
        Ok(trees)
    }
}

fn unreachable(path: &Path, error: &io::Error) -> LockdownError {
    LockdownError::Refused { what: "a path", why: format!("{}: {error}", path.display()) }
}

/// What is at a path, and what of an access there is for it: a file has no entries.
fn tree(path: &Path, access: BitFlags<AccessFs>) -> io::Result<(File, BitFlags<AccessFs>)> {
    let file = File::from(open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
    let access = if file.metadata()?.is_dir() { access } else { access & AccessFs::from_file(MOST) };
    Ok((file, access))
}

/// Calls that no tool needs, whatever their arguments are.
const REFUSED: &[libc::c_long] = &[
    // The world is reached through the pipes alone; what is connected already can be used.
    libc::SYS_socket,
    // Another group is not killed with this one.
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // Memory that no limit counts.
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    // Other views of the machine.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_fanotify_init,
    // The kernel's own doors, which had the most holes.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_personality,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
];

/// Calls that programs try first, and do without: their arguments are in memory, where no filter can read them.
const ABSENT: &[libc::c_long] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Calls with this bit are those of another table, which the filters do not know (`__X32_SYSCALL_BIT`).
const OTHER_TABLE: u32 = 0x4000_0000;

fn filters() -> Result<Vec<BpfProgram>, String> {
    let all = |calls: &[libc::c_long]| -> BTreeMap<i64, Vec<SeccompRule>> {
        calls.iter().map(|&call| (call, vec![])).collect()
    };
    let mut refused = all(REFUSED);
    // A thread is of this process; anything else would be another.
    let another = condition(0, SeccompCmpOp::MaskedEq(word(libc::CLONE_THREAD)), 0)?;
    refused.insert(libc::SYS_clone, vec![rule(vec![another])?]);
    // Shared memory that has no file is counted by no limit.
    let shared = word(libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    refused.insert(libc::SYS_mmap, vec![rule(vec![condition(3, SeccompCmpOp::MaskedEq(shared), shared)?])?]);
    // Typing into the operator's terminal.
    let typing = condition(1, SeccompCmpOp::Eq, u64::from(libc::TIOCSTI as u32))?;
    refused.insert(libc::SYS_ioctl, vec![rule(vec![typing])?]);
    let error = |number: libc::c_int| SeccompAction::Errno(number.unsigned_abs());
    let refused = filter(refused, SeccompAction::Allow, error(libc::EPERM))?;
    let absent = filter(all(ABSENT), SeccompAction::Allow, error(libc::ENOSYS))?;
    Ok(vec![absent, refused, one_table()])
}

/// Refuses the calls of the other table. `seccompiler` compares numbers one by one, so this is written out: the number is
/// loaded, and from the bit on it is answered that there is no such call.
fn one_table() -> BpfProgram {
    let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let instruction = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).expect("an instruction has 16 bits"),
        jt,
        jf,
        k,
    };
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, OTHER_TABLE),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, absent),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
