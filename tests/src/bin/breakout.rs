//! Locks itself in as a cell does, with one tree to read and write and one to read, and then does what it is told: exit
//! code 0 if it went through, 1 with the error if the kernel refused it. `free` before the word: without the lockdown.

use std::io::{Error, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode};

use jidoka::doors::lockdown::{Lockdown, Reach};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let free = words.next_if_eq("free").is_some();
    let (word, trees) = (words.next().expect("a word"), words.next().expect("a directory"));
    let trees = Path::new(&trees);
    let open = |name: &str| std::fs::File::open(trees.join(name)).expect("a directory");
    let (work, context) = (open("work"), open("context"));
    let program = std::env::current_exe().expect("this program");
    let parent = rustix::process::getppid().expect("somebody started this");
    // A positive control may use all of it.
    if !free {
        let lockdown = Lockdown {
            trees: &[(work.as_fd(), Reach::ReadAndWrite), (context.as_fd(), Reach::Read)],
            data_bytes: 64 << 20,
            descriptors: 32,
            cpu_seconds: Some(1),
        };
        lockdown.enter().expect("this kernel has it");
    }
    match attempt(&word, trees, &program, parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(word: &str, trees: &Path, program: &Path, parent: rustix::process::Pid) -> Result<(), Error> {
    match word {
        "write-own" => std::fs::write(trees.join("work/new"), "own"),
        "read-context" => std::fs::read(trees.join("context/file")).map(drop),
        "write-context" => std::fs::write(trees.join("context/file"), "changed"),
        "truncate-context" => {
            std::fs::OpenOptions::new().write(true).truncate(true).open(trees.join("context/file")).map(drop)
        }
        "read-beside" => std::fs::read(trees.join("secret")).map(drop),
        "read-passwords" => std::fs::read("/etc/passwd").map(drop),
        "read-environment-of-another" => std::fs::read(format!("/proc/{}/environ", parent.as_raw_nonzero())).map(drop),
        "list-root" => std::fs::read_dir("/").map(drop),
        "symlink" => std::os::unix::fs::symlink("/etc/passwd", trees.join("work/link")),
        "hardlink" => std::fs::hard_link(trees.join("work/file"), trees.join("work/link")),
        "socket" => TcpListener::bind("127.0.0.1:0").map(drop),
        "unix-socket" => UnixStream::connect("/run/nobody").map(drop).or_else(|error| match error.kind() {
            // The call itself went through.
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => Ok(()),
            _ => Err(error),
        }),
        "start-a-program" => Command::new(program).arg("free").arg("nothing").arg(trees).status().map(drop),
        "kill-parent" => Ok(rustix::process::test_kill_process(parent)?),
        "change-owner" => std::os::unix::fs::chown(trees.join("work/file"), Some(1), None),
        "change-mode" => {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(trees.join("work/file"), std::fs::Permissions::from_mode(0o4755))
        }
        "much-memory" => {
            let mut held = Vec::new();
            for _ in 0..64 {
                let mut part: Vec<u8> = Vec::new();
                part.try_reserve_exact(4 << 20).map_err(|error| Error::other(error.to_string()))?;
                part.resize(4 << 20, 1);
                held.push(part);
            }
            Ok(())
        }
        "many-descriptors" => {
            (0..64).map(|_| std::fs::File::open(trees.join("work/file"))).collect::<Result<Vec<_>, _>>().map(drop)
        }
        "spin" => {
            let start = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
            while rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec < start + 3 {}
            Ok(())
        }
        "a-thread" => std::thread::spawn(|| ()).join().map_err(|_| Error::other("it panicked")),
        "speak" => {
            std::io::stdout().write_all(b"a word\n")?;
            std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
        }
        "nothing" => Ok(()),
        other => Err(Error::other(format!("no attempt is called {other}"))),
    }
}
