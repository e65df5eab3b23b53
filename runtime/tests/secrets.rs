//! A secret of the operator's on the command line, as a user types it: its server hears it, and no file, no word and no log
//! of any level has it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "tests make their own files and processes")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

const FETCHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-examples/fetcher");

const CANARY: &str = "canary/K3y+012=%";

/// As it is, as an address or JSON has it, in base64 at each place where it may begin, and in hexadecimal digits.
const SPELLED: [&str; 8] =
    ["canary/K3y", "canary%2FK3y", "canary%2fK3y", "canary\\/K3y", "Y2FuYXJ5", "NhbmFyeS", "jYW5hcn", "63616e617279"];

fn has_secret(bytes: &[u8]) -> bool {
    SPELLED.iter().any(|piece| bytes.windows(piece.len()).any(|window| window == piece.as_bytes()))
}

/// Says every request again to the one who made it.
fn echo() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut chunk) = (Vec::new(), [0; 4_096]);
            while !request.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut chunk).unwrap();
                request.extend_from_slice(&chunk[..read]);
            }
            let text = String::from_utf8(request).unwrap();
            log.lock().unwrap().push(text.clone());
            write!(stream, "HTTP/1.1 200 OK\r\nx-echo: {CANARY}\r\ncontent-length: {}\r\n\r\n{text}", text.len())
                .unwrap();
        }
    });
    (port, heard)
}

fn leaks(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(leaks(&path));
        } else if path.is_file() && has_secret(&std::fs::read(&path).unwrap()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn no_log_and_no_word_of_the_program_has_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (port, heard) = echo();
    let site = format!("http://127.0.0.1:{port}");
    let job = std::fs::read_to_string(format!("{FETCHER}/jidoka.toml")).unwrap();
    let job = job
        .replace("crate = \".\"", &format!("crate = {FETCHER:?}"))
        .replace("https://example.com/", &format!("{site}/"))
        .replace("methods = [\"GET\"]", "methods = [\"GET\"]\nsecrets = [\"api-key\"]");
    std::fs::create_dir(dir.path().join("job")).unwrap();
    std::fs::write(dir.path().join("job/jidoka.toml"), job).unwrap();
    let operator = format!(
        "[[policy.http]]\nurl = \"{site}/\"\nmethods = [\"GET\"]\nnetworks = [\"127.0.0.0/8\"]\n\n[secrets.api-key]\n\
         env = \"API_KEY\"\norigins = [\"{site}\"]\nheader = \"authorization\"\nprefix = \"Bearer \"\n"
    );
    std::fs::write(dir.path().join("jidoka-host.toml"), operator).unwrap();
    let jidoka = |arguments: &[&str]| -> Output {
        Command::new(env!("CARGO_BIN_EXE_jidoka"))
            .args(arguments)
            .env("JIDOKA_STATE", dir.path().join("state"))
            .env("JIDOKA_HOST", dir.path().join("jidoka-host.toml"))
            .env("JIDOKA_LOG", "trace")
            .env("API_KEY", CANARY)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let path = dir.path().join("job").display().to_string();
    for wall in ["none", "process"] {
        let out = jidoka(&["run", &path, "--json", "--wall", wall]);
        let record: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"));
        assert_eq!(record["verdict"], "accepted", "{record:#}");
        assert!(!has_secret(&out.stdout));
        let log = String::from_utf8_lossy(&out.stderr);
        let line = log.lines().find(|line| has_secret(line.as_bytes()));
        assert_eq!(line, None);
        let serial = record["serial"].as_str().unwrap();
        let file = dir.path().join(format!("{wall}.run")).display().to_string();
        assert_eq!(jidoka(&["export", serial, &file]).status.code(), Some(0));
        assert!(!has_secret(&std::fs::read(&file).unwrap()));
        for words in [["trace", serial], ["why", serial], ["ticket", serial], ["replay", serial]] {
            let out = jidoka(&words);
            assert!(!out.stdout.is_empty(), "{words:?}: {out:?}");
            assert!(!has_secret(&out.stdout) && !has_secret(&out.stderr), "{words:?}");
        }
    }
    assert_eq!(leaks(dir.path()), [""; 0]);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.iter().filter(|heard| heard.contains(&format!("authorization: Bearer {CANARY}"))).count(), 2);
    // And a file that has it would be found.
    std::fs::write(dir.path().join("state/kept"), &heard[0]).unwrap();
    assert_eq!(leaks(dir.path()).len(), 1);
}
