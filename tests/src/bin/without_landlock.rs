//! Starts a program on what looks like a kernel without Landlock: its calls are answered as an old kernel would.

use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

fn main() {
    // `landlock_create_ruleset`, `landlock_add_rule`, `landlock_restrict_self`: the same numbers on every architecture.
    let calls = [444, 445, 446].map(|call| (call, vec![])).into();
    let machine = std::env::consts::ARCH.try_into().expect("a known machine");
    let absent = SeccompAction::Errno(38);
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, absent, machine).expect("a filter");
    let filter: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter(&filter).expect("this kernel has seccomp");
    let mut words = std::env::args_os().skip(1);
    let error = Command::new(words.next().expect("a program")).args(words).exec();
    panic!("{error}");
}
