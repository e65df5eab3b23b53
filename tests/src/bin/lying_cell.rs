//! A cell whose guest broke out of its sandbox and speaks through the pipe as it likes: its first argument says what.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use jidoka::doors::program::Role;
use jidoka::rules::effect::{Effect, Stream};
use jidoka::run::cell::frame::{self, Answered, Order, Said, Word};
use jidoka::run::cell::inside;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (lie, role) = (words.next().expect("a lie"), words.next().expect("a role"));
    let role = Role::named(&role).expect("a role");
    if role != Role::Guest {
        return inside::serve(role);
    }
    let stdin = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().expect("once more");
    let mut pipe = UnixStream::from(stdin);
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
            .write_all(&frame::written(&Said { now_ns: u64::MAX, word: Word::Offers }, &[]).expect("short"))
            .expect("said"),
        "flood" => {
            let printed = || Word::Printed { stream: Stream::Stdout, dropped_bytes: u64::MAX };
            let frame = frame::written(&Said { now_ns: 0, word: printed() }, &[b'x'; 4096]).expect("short");
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
    frame::write(pipe, &Said { now_ns: 0, word }, bytes).expect("the host listens");
}
