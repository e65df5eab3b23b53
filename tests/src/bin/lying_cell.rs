//! A cell whose guest broke out of its sandbox and speaks through the pipe as it likes, or a compiler whose component
//! broke it: its first argument says what. A lie that begins with `compiler-` is the compiler's.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use jidoka::doors::lockdown::Lockdown;
use jidoka::doors::program::Role;
use jidoka::rules::effect::{Effect, Stream};
use jidoka::run::cell::frame::{self, Answered, Order, Said, Word};
use jidoka::run::cell::inside;
use jidoka::run::compiler;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (lie, role) = (words.next().expect("a lie"), words.next().expect("a role"));
    let role = Role::named(&role).expect("a role");
    let compiles = lie.strip_prefix("compiler-");
    if (role == Role::Compiler) != compiles.is_some() || role == Role::Probe {
        return inside::serve(role);
    }
    let stdin = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().expect("once more");
    let mut pipe = UnixStream::from(stdin);
    if let Some(lie) = compiles {
        miscompile(lie, &mut pipe);
        return ExitCode::SUCCESS;
    }
    // The descriptors are of no use to a liar.
    recvmsg(&pipe, &mut [std::io::IoSliceMut::new(&mut [0])], &mut RecvAncillaryBuffer::default(), RecvFlags::empty())
        .expect("a message");
    let _order: (Order, _) = frame::read(&mut pipe, 1 << 20).expect("an order");
    if lie == "never-ready" {
        say(&mut pipe, Word::Unfit("it would rather not".into()), &[]);
        return ExitCode::SUCCESS;
    }
    say(&mut pipe, Word::Ready { landlock: 99 }, &[]);
    let _go: (Answered, _) = frame::read(&mut pipe, 1 << 20).expect("an answer");
    tell(&lie, &mut pipe);
    // And then it waits to be ended.
    drop(pipe.read_to_end(&mut Vec::new()));
    ExitCode::SUCCESS
}

/// Takes the component, and answers with a head that no compiler would say, or ends as its limits would end it.
fn miscompile(lie: &str, pipe: &mut UnixStream) {
    let mut length = [0; 8];
    pipe.read_exact(&mut length).expect("a length");
    let length = usize::try_from(u64::from_le_bytes(length)).expect("fits");
    pipe.read_exact(&mut vec![0; length]).expect("a component");
    let mut head = |kind: u8, length: u64, bytes: &[u8]| {
        let words = [&[kind], length.to_le_bytes().as_slice(), bytes].concat();
        pipe.write_all(&words).expect("said");
    };
    let end = |signal| rustix::process::kill_process(rustix::process::getpid(), signal).expect("its own");
    match lie {
        "out-of-time" => end(rustix::process::Signal::XCPU),
        "killed" => end(rustix::process::Signal::KILL),
        // What the limit of its memory answers with.
        "out-of-memory" => {
            let data_bytes = compiler::MAX_MEMORY_BYTES;
            let lockdown = Lockdown { trees: &[], data_bytes, descriptors: 32, cpu_seconds: None };
            let locked = lockdown.enter();
            assert!(locked.is_ok(), "it could not lock itself in");
            let most = usize::try_from(data_bytes).expect("fits") + 1;
            std::hint::black_box(Vec::<u8>::with_capacity(most));
        }
        "gone" => {}
        "long" => head(0, compiler::MAX_CODE_BYTES, b"less"),
        "too-long" => head(0, compiler::MAX_CODE_BYTES + 1, b"less"),
        "refuses" => head(1, 8, b"it is no"),
        "nonsense" => head(0, 8, b"nonsense"),
        other => panic!("no lie is called compiler-{other}"),
    }
}

fn tell(lie: &str, pipe: &mut UnixStream) {
    match lie {
        "ready-twice" => say(pipe, Word::Ready { landlock: 99 }, &[]),
        "no-words" => pipe.write_all(b"\x08\0\0\0\0\0\0\0no words").expect("said"),
        "endless-frame" => {
            pipe.write_all(&[0xff; 8]).expect("said");
            while pipe.write_all(&[b' '; 1 << 16]).is_ok() {}
        }
        "false-digest" => {
            let digest = "blake3:0000000000000000000000000000000000000000000000000000000000000000".into();
            let effect = Effect::Attach { kind: "proof".into(), name: "proof.txt".into(), digest, bytes: 4 };
            say(pipe, Word::Pass(vec![effect]), b"true");
        }
        "missing-bytes" => {
            let effect = Effect::Attach { kind: "k".into(), name: "n".into(), digest: String::new(), bytes: 1 << 40 };
            say(pipe, Word::Pass(vec![effect]), b"");
        }
        "counted-by-itself" => say(pipe, Word::Pass(vec![Effect::Count { model: "model".into() }]), &[]),
        "future" => pipe
            .write_all(
                &frame::written(&Said { now_ns: u64::MAX, touched: vec![], word: Word::Offers }, &[]).expect("short"),
            )
            .expect("said"),
        "flood" => {
            let printed = || Word::Printed { stream: Stream::Stdout, dropped_bytes: u64::MAX };
            let frame =
                frame::written(&Said { now_ns: 0, touched: vec![], word: printed() }, &[b'x'; 4096]).expect("short");
            while pipe.write_all(&frame).is_ok() {}
        }
        "gone" => std::process::exit(0),
        "killed" => {
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).expect("its own");
        }
        other => panic!("no lie is called {other}"),
    }
}

fn say(pipe: &mut UnixStream, word: Word, bytes: &[u8]) {
    frame::write(pipe, &Said { now_ns: 0, touched: vec![], word }, bytes).expect("the host listens");
}
