//! The pace of a model as an operator sets it: it holds over all processes of one host's directory.
//!
//! Each test starts several runs as one types them. The provider's own watch is the other side of each claim.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "tests make their own files and processes")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Long enough for whatever a slow machine does.
const LONG: Duration = Duration::from_secs(120);

/// A provider that tells when it is asked.
struct Provider {
    url: String,
    asked: Receiver<Instant>,
}

impl Provider {
    /// One that answers the first request so, and all others well.
    fn start(first: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (tell, asked) = channel();
        std::thread::spawn(move || serve(&listener, first, &tell));
        Self { url, asked }
    }

    fn asked(&self) -> Instant {
        self.asked.recv_timeout(LONG).unwrap()
    }
}

fn serve(listener: &TcpListener, mut first: Option<String>, tell: &Sender<Instant>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        if receive(&mut stream).is_none() || tell.send(Instant::now()).is_err() {
            continue;
        }
        let answer = first.take().unwrap_or_else(|| {
            let body = "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"A machine.\"},\
                        \"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":3,\
                        \"total_tokens\":23}}";
            reply("200 OK", "", body)
        });
        // Whoever was killed does not hear it.
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// One request, whole.
fn receive(stream: &mut TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
        if body.len() >= length {
            return Some(());
        }
    }
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\
         \r\n{body}"
    )
}

/// A host's directory and an operator's file.
struct Host(TempDir);

impl Host {
    fn new(provider: &Provider, pace: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[models.fake]\ndialect = \"openai\"\nurl = \"{}\"\nmodel = \"m\"\nkey = \"none\"\nwindow = 128000\n\
             max-output = 4096\nusd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\nstream = false\n{pace}\n",
            provider.url
        );
        std::fs::write(dir.path().join("host.toml"), text).unwrap();
        Self(dir)
    }

    /// A process that asks the model once.
    fn start(&self, item: &str) -> Child {
        let ask = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples/ask");
        Command::new(env!("CARGO_BIN_EXE_jidoka"))
            .arg("--host")
            .arg(self.0.path().join("host.toml"))
            .arg("run")
            .arg(ask.canonicalize().unwrap())
            .args(["--model", "writer=fake", "--no-apply", "--json", "--item", item])
            .env("JIDOKA_STATE", self.0.path().join("state"))
            .env("XDG_CONFIG_HOME", self.0.path().join("no-config"))
            .env_remove("JIDOKA_TENANT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Waits until there is the file of a pace.
    fn until_a_pace_is_kept(&self) {
        let pace = self.0.path().join("state/pace");
        let start = Instant::now();
        while std::fs::read_dir(&pace).map_or(0, Iterator::count) == 0 {
            assert!(start.elapsed() < LONG, "no pace is kept");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn requests_of_several_processes_are_spread_together_also_when_one_is_killed() {
    const SHARE: Duration = Duration::from_millis(1_000);
    let provider = Provider::start(None);
    let host = Host::new(&provider, "requests-per-minute = 60");
    // What is compiled and built is there before the others begin.
    assert!(host.start("warm").wait().unwrap().success());
    let warm = provider.asked();
    let mut processes: Vec<Child> = (0..6).map(|number| host.start(&format!("item-{number}"))).collect();
    let mut times = vec![warm];
    times.extend((0..3).map(|_| provider.asked()));
    let mut killed = processes.remove(0);
    killed.kill().unwrap();
    killed.wait().unwrap();
    for mut process in processes {
        assert!(process.wait().unwrap().success(), "nobody is kept from going by one who is gone");
    }
    times.extend(provider.asked.try_iter());
    assert!((6..=7).contains(&times.len()), "{times:?}");
    // A request may come a little late to the provider, and the next one not.
    let slots = u32::try_from(times.len() - 1).unwrap();
    let span = times[times.len() - 1] - times[0];
    assert!(span + SHARE / 2 >= SHARE * slots, "{} requests in {span:?}", times.len());
}

#[test]
fn what_a_provider_says_to_one_process_stops_another() {
    // By its own clock, which is not ours.
    let dates = "date: Fri, 13 Nov 2020 12:00:00 GMT\r\nretry-after: Fri, 13 Nov 2020 12:00:03 GMT\r\n";
    let refusal = reply("429 Too Many Requests", dates, "{\"error\":{\"message\":\"slow down\"}}");
    let provider = Provider::start(Some(refusal));
    let host = Host::new(&provider, "");
    let mut refused = host.start("one");
    let refused_at = provider.asked();
    host.until_a_pace_is_kept();
    let mut other = host.start("two");
    let asked_at = provider.asked();
    assert!(asked_at - refused_at >= Duration::from_secs(3), "{:?}", asked_at - refused_at);
    refused.wait().unwrap();
    assert!(other.wait().unwrap().success());
}
