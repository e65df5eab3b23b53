//! Components that are pinned, signed and inspected, on the command line as a user types it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "tests make their own files and processes")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-examples");

/// Made by OpenSSL 3.0; the keys of nobody.
const ANNA: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIDIZdhUXrnXGX4sSgdoUD1cAiq6qw5sisBJokk1OUKnf\n-----END PRIVATE KEY-----\n";
const ANNA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEABMTdC35uvqg59aab0g8ald8NQdsXfBspyKJvOzoH8rw=\n-----END PUBLIC KEY-----\n";
const ANNA_SHOWN: &str = "ed25519:04c4dd0b7e6ebea839f5a69bd20f1a95df0d41db177c1b29c8a26f3b3a07f2bc";
const BERT: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIM5e/7wQ+3agF5kOroeZkgDrcz+0zcY3JLEGCMvoiGbR\n-----END PRIVATE KEY-----\n";
const BERT_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA9r4FB4xcdAuZIPjEhNU1O836ygtyLszqG6EcWkhU/qU=\n-----END PUBLIC KEY-----\n";
const RSA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3E/UFkGpt6XFQig79Rhs\n\
    R9o+pa9WuD7nyiGk6s+xCn2hE2v8erYhJDOnRyAnZ85ipn7h49be7bPaSeYCIs3j\n\
    NhHr2hOdoqgsyZu/YdQ0mcwja2qzeKvjh25veMnUTMR0NQRw8vxQOoMo3ARfEW1L\n\
    CBaeFcmLyn77XORdR+i0wvpR1u4RUR2atrSal64yr1/fby7CGRL2m4sevj/2CqVi\n\
    uwHN0VG2dGYjLXgTrPlk0r4cX2+bm1oTRc1e/MKx/RIqmDDJ9HCV958C7mfgRSBy\n\
    enreQJaJNdxt4ACRXDWmpk1NaNUZC+6xs7NM3Cj74UuZiUWv5l6YMKSalmOW8Pjc\n\
    NQIDAQAB\n-----END PUBLIC KEY-----\n";

/// What a key's file may have, at most.
const MAX_KEY_BYTES: usize = 4 << 10;

fn jidoka(state: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jidoka"))
        .args(arguments)
        .env("JIDOKA_STATE", state)
        .env("XDG_CONFIG_HOME", state.join("no-config"))
        .env_remove("JIDOKA_HOST")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The path of an example's component.
fn component(name: &str) -> PathBuf {
    let state = tempfile::tempdir().unwrap();
    let built = jidoka(state.path(), &["build", &format!("{EXAMPLES}/{name}")]);
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
}

/// A directory with a job whose worker is a copy of `hello`, and the keys of Anna and Bert.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(component("hello"), dir.path().join("worker.wasm")).unwrap();
        let desk = Self { dir };
        for (name, text) in [("anna", ANNA), ("anna.pub", ANNA_PUBLIC), ("bert", BERT), ("bert.pub", BERT_PUBLIC)] {
            desk.write(name, text);
        }
        desk.job("");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// The job, with `pin` below `[worker]`.
    fn job(&self, pin: &str) {
        self.write(
            "jidoka.toml",
            format!(
                "line = \"x\"\n[worker]\ncomponent = \"worker.wasm\"\n{pin}\n[task]\ntext = \"t\"\n\
                 [budget]\nwall = \"20s\"\n[attempts]\nmax = 9\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n"
            ),
        );
    }

    fn jidoka(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = jidoka(&self.path("state"), arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn run_with(&self, before: &[&str]) -> Value {
        let job = self.text("jidoka.toml");
        let (code, stdout, stderr) = self.jidoka(&[before, &["run", &job, "--json"]].concat());
        let record: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{stderr}"));
        assert_eq!(record["exit_code"], code);
        record
    }

    fn run(&self) -> Value {
        self.run_with(&[])
    }

    fn digest(&self) -> String {
        let (_, stdout, stderr) = self.jidoka(&["inspect", &self.text("worker.wasm"), "--json"]);
        let inspection: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        inspection["digest"].as_str().unwrap().to_owned()
    }

    fn sign(&self, key: &str) {
        let sig = self.path("worker.wasm.sig");
        drop(std::fs::remove_file(&sig));
        let (code, said, stderr) = self.jidoka(&["sign", &self.text("worker.wasm"), "--key", &self.text(key)]);
        assert_eq!(code, 0, "{stderr}");
        assert!(said.contains("signed by ed25519:"), "{said}");
        assert_eq!(std::fs::metadata(sig).unwrap().len(), 64);
    }

    /// One bit of the worker is another one, in a place that is not compiled.
    fn flip(&self) {
        let mut bytes = std::fs::read(self.path("worker.wasm")).unwrap();
        let at = bytes.windows(9).rposition(|window| window == b"producers").unwrap() + 14;
        bytes[at] ^= 1;
        self.write("worker.wasm", bytes);
    }

    fn swap(&self, other: &str) {
        std::fs::copy(component(other), self.path("worker.wasm")).unwrap();
    }
}

#[track_caller]
fn accepted(record: &Value) {
    assert_eq!(record["verdict"], "accepted", "{record}");
}

/// Not admitted, with these words, and nothing was counted, spent or left open.
#[track_caller]
fn not_admitted(desk: &Desk, record: &Value, words: &[&str]) {
    assert_eq!((&record["verdict"], &record["exit_code"]), (&"not-admitted".into(), &30.into()), "{record}");
    let why = record["why"].as_str().unwrap();
    for word in words {
        assert!(why.contains(word), "{word} is not in: {why}");
    }
    assert_eq!(record["attempt"], 0);
    assert_eq!(record["ledger"]["attempt"], serde_json::json!({"limits": {}, "spent": {}, "held": {}, "overrun": {}}));
    let kept = desk.path("state").join(record["kept"].as_str().unwrap()).join("verdict.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept["why"], record["why"], "it is written down");
}

#[test]
fn a_component_with_its_digest_runs_and_another_one_does_not() {
    let desk = Desk::new();
    let digest = desk.digest();
    desk.job(&format!("digest = \"{digest}\""));
    accepted(&desk.run());
    desk.flip();
    let flipped = desk.digest();
    not_admitted(&desk, &desk.run(), &["worker", &flipped, &digest]);
    desk.job("");
    accepted(&desk.run());
    desk.job(&format!("digest = \"{digest}\""));
    desk.swap("ask");
    not_admitted(&desk, &desk.run(), &[&desk.digest(), &digest]);
}

#[test]
fn a_component_that_is_named_on_the_command_line_is_held_to_the_jobs_pin() {
    let desk = Desk::new();
    desk.job(&format!("digest = \"{}\"", desk.digest()));
    std::fs::copy(component("ask"), desk.path("other.wasm")).unwrap();
    let (code, stdout, _) = desk.jidoka(&["run", &desk.text("other.wasm"), "--json"]);
    assert_eq!(code, 30, "{stdout}");
    let (code, stdout, _) = desk.jidoka(&["run", &desk.text("worker.wasm"), "--json"]);
    assert_eq!(code, 0, "{stdout}");
}

#[test]
fn a_signature_that_is_asked_for_is_checked() {
    let desk = Desk::new();
    desk.job("signed-by = \"anna.pub\"");
    not_admitted(&desk, &desk.run(), &["worker.wasm.sig", "anna.pub", ANNA_SHOWN]);
    desk.sign("anna");
    accepted(&desk.run());
    let signature = std::fs::read(desk.path("worker.wasm.sig")).unwrap();
    let (code, _, stderr) = desk.jidoka(&["sign", &desk.text("worker.wasm"), "--key", &desk.text("anna")]);
    assert!(code == 1 && stderr.contains("there already"), "{stderr}");

    desk.sign("bert");
    not_admitted(&desk, &desk.run(), &["anna.pub", ANNA_SHOWN]);
    for wrong in [&signature[..63], &[], &[&signature[..], &[0]].concat(), b"garbage"] {
        desk.write("worker.wasm.sig", wrong);
        not_admitted(&desk, &desk.run(), &["worker.wasm.sig", &format!("{} bytes are no signature", wrong.len())]);
    }
    desk.write("worker.wasm.sig", vec![b'A'; 257]);
    not_admitted(&desk, &desk.run(), &["worker.wasm.sig", "larger than 256 bytes"]);
    desk.write("worker.wasm.sig", &signature);
    desk.job("");
    desk.flip();
    desk.job("signed-by = \"anna.pub\"");
    not_admitted(&desk, &desk.run(), &["anna.pub", &desk.digest()]);
    desk.swap("ask");
    not_admitted(&desk, &desk.run(), &["anna.pub", &desk.digest()]);
}

#[test]
fn a_file_that_is_no_public_key_is_no_key() {
    let desk = Desk::new();
    desk.sign("anna");
    desk.job("signed-by = \"key\"");
    let key = desk.path("key");
    not_admitted(&desk, &desk.run(), &["no key of it can be read", "key (No such file"]);
    for (text, why) in [
        (ANNA, "it holds a private key"),
        (RSA_PUBLIC, "no Ed25519 public key"),
        ("garbage", "no Ed25519 public key"),
        ("", "no Ed25519 public key"),
    ] {
        desk.write("key", text);
        not_admitted(&desk, &desk.run(), &["no key of it can be read", why]);
    }
    desk.write("key", [0xff; 16]);
    not_admitted(&desk, &desk.run(), &["it is no text"]);
    // At the bound it is read, and past it not.
    desk.write("key", "x".repeat(MAX_KEY_BYTES));
    not_admitted(&desk, &desk.run(), &["no Ed25519 public key"]);
    desk.write("key", "x".repeat(MAX_KEY_BYTES + 1));
    not_admitted(&desk, &desk.run(), &["larger than 4096 bytes"]);
    std::fs::remove_file(&key).unwrap();
    // A device without an end, a pipe without a writer, a directory.
    std::os::unix::fs::symlink("/dev/zero", &key).unwrap();
    not_admitted(&desk, &desk.run(), &["no regular file"]);
    std::fs::remove_file(&key).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &key, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    not_admitted(&desk, &desk.run(), &["no regular file"]);
    std::fs::remove_file(&key).unwrap();
    std::fs::create_dir(&key).unwrap();
    not_admitted(&desk, &desk.run(), &["no regular file"]);
    std::fs::remove_dir(&key).unwrap();
    std::os::unix::fs::symlink(desk.path("anna.pub"), &key).unwrap();
    accepted(&desk.run());
}

#[test]
fn an_operator_asks_for_signatures_of_every_component() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("operator")).unwrap();
    desk.write("operator/anna.pub", ANNA_PUBLIC);
    desk.write("operator/host.toml", "[policy]\nsigned-by = [\"anna.pub\"]\n");
    let (file, both) = (desk.text("operator/host.toml"), desk.text("operator/both.toml"));
    let by_host = ["--host", file.as_str()];
    not_admitted(&desk, &desk.run_with(&by_host), &["[policy] signed-by", "anna.pub", "worker.wasm.sig"]);
    desk.sign("bert");
    not_admitted(&desk, &desk.run_with(&by_host), &["[policy] signed-by", ANNA_SHOWN]);
    desk.write("operator/bert.pub", BERT_PUBLIC);
    desk.write("operator/both.toml", "[policy]\nsigned-by = [\"anna.pub\", \"bert.pub\"]\n");
    accepted(&desk.run_with(&["--host", &both]));
    // The job's own demand stands beside the operator's.
    desk.job("signed-by = \"bert.pub\"");
    not_admitted(&desk, &desk.run_with(&by_host), &["[policy] signed-by"]);
    desk.job("");
    desk.sign("anna");
    let job = std::fs::read_to_string(desk.path("jidoka.toml")).unwrap();
    let with_check = job.replace("marks = [\"artifact\"]\n", "marks = [\"artifact\"]\nchecks = [\"c\"]\n")
        + "[[check]]\nname = \"c\"\ncomponent = \"check.wasm\"\nwall = \"5s\"\n";
    desk.write("jidoka.toml", &with_check);
    std::fs::copy(component("fixer-check"), desk.path("check.wasm")).unwrap();
    not_admitted(&desk, &desk.run_with(&by_host), &["check \"c\"", "check.wasm.sig"]);
    let (code, _, stderr) = desk.jidoka(&["sign", &desk.text("check.wasm"), "--key", &desk.text("anna")]);
    assert_eq!(code, 0, "{stderr}");
    let checked = desk.run_with(&by_host);
    assert_eq!(
        (&checked["attempt"], &checked["gates"][0]["name"]),
        (&1.into(), &"c".into()),
        "it is admitted: {checked}"
    );
    desk.write(
        "jidoka.toml",
        with_check.replace("wall = \"5s\"", &format!("wall = \"5s\"\ndigest = \"{}\"", desk.digest())),
    );
    not_admitted(&desk, &desk.run_with(&by_host), &["check \"c\"", &desk.digest()]);
    // What is built here nobody can have signed.
    desk.write("jidoka.toml", job.replace("component = \"worker.wasm\"", "crate = \".\""));
    let (code, _, stderr) = desk.jidoka(&["--host", &file, "run", &desk.text("jidoka.toml")]);
    assert!(code == 2 && stderr.contains("the operator asks for a"), "{stderr}");
}

#[test]
fn a_run_goes_on_is_forked_and_is_told_again_only_with_what_its_pin_demands() {
    let desk = Desk::new();
    desk.sign("anna");
    desk.job(&format!("signed-by = \"anna.pub\"\ndigest = \"{}\"", desk.digest()));
    let record = desk.run();
    accepted(&record);
    let serial = record["serial"].as_str().unwrap();
    let entries = desk.jidoka(&["trace", serial, "--json"]).1;
    assert!(entries.contains(ANNA_SHOWN), "the journal says who had to sign: {entries}");
    // Neither file is needed any more: the run has its component, the key and the signature.
    for gone in ["worker.wasm", "worker.wasm.sig", "anna.pub"] {
        std::fs::remove_file(desk.path(gone)).unwrap();
    }
    let (code, _, stderr) = desk.jidoka(&["replay", serial]);
    assert_eq!(code, 0, "{stderr}");
    let (code, stdout, stderr) = desk.jidoka(&["fork", serial, "--at", "0", "--json"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    // An operator who asks for somebody else's signature today.
    desk.write("host.toml", "[policy]\nsigned-by = [\"bert.pub\"]\n");
    let host = desk.text("host.toml");
    let (code, stdout, _) = desk.jidoka(&["--host", &host, "fork", serial, "--at", "0", "--json"]);
    assert_eq!(code, 30, "{stdout}");
    let fork: Value = serde_json::from_str(&stdout).unwrap();
    not_admitted(&desk, &fork, &["[policy] signed-by", "bert.pub"]);
    desk.write("host.toml", "[policy]\nsigned-by = [\"bert.pub\", \"anna.pub\"]\n");
    desk.write("anna.pub", ANNA_PUBLIC);
    let (code, stdout, _) = desk.jidoka(&["--host", &host, "fork", serial, "--at", "0", "--json"]);
    assert_eq!(code, 0, "{stdout}");
    // A stand-in is somebody's word, and may be anything.
    let (code, said, stderr) = desk.jidoka(&["replay", serial, "--with", component("liar").to_str().unwrap()]);
    assert_eq!(code, 50, "{said}{stderr}");
}

#[test]
fn a_run_that_was_killed_is_resumed_only_as_what_the_operator_asks_for_today() {
    let desk = Desk::new();
    desk.swap("ask");
    desk.sign("anna");
    let job = std::fs::read_to_string(format!("{EXAMPLES}/ask/jidoka.toml")).unwrap();
    let crate_line = job.lines().find(|line| line.starts_with("crate")).unwrap().to_owned();
    desk.write(
        "jidoka.toml",
        job.replace(&crate_line, "component = \"worker.wasm\"\nsigned-by = \"anna.pub\"")
            // The call that is killed is held, and made once more.
            .replace("model-calls = 1\n", "model-calls = 2\n"),
    );
    desk.write("transcript.toml", "[[turn]]\ntext = \"late\"\nlatency = \"50s\"\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_jidoka"))
        .args(["run", &desk.text("jidoka.toml"), "--json"])
        .env("JIDOKA_STATE", desk.path("state"))
        .env("XDG_CONFIG_HOME", desk.path("no-config"))
        .env_remove("JIDOKA_HOST")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let serial = loop {
        let runs: Value = serde_json::from_str(&desk.jidoka(&["runs", "--json"]).1).unwrap_or_default();
        if let Some(serial) = runs[0]["serial"].as_str()
            && desk.jidoka(&["trace", serial, "--json"]).1.contains("\"intent\"")
        {
            break serial.to_owned();
        }
        assert!(child.try_wait().unwrap().is_none(), "it waits for its model");
    };
    child.kill().unwrap();
    child.wait().unwrap();
    desk.write("transcript.toml", "[[turn]]\ntext = \"now\"\n");
    desk.write("host.toml", "[policy]\nsigned-by = [\"bert.pub\"]\n");
    let host = desk.text("host.toml");
    let (code, stdout, stderr) = desk.jidoka(&["--host", &host, "resume", &serial, "--json"]);
    assert!(code == 30 && stdout.contains("[policy] signed-by"), "{stdout}{stderr}");
    let (code, stdout, stderr) = desk.jidoka(&["resume", &serial, "--json"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[test]
fn explain_shows_pins() {
    let desk = Desk::new();
    let digest = desk.digest();
    desk.job(&format!("digest = \"{digest}\"\nsigned-by = \"anna.pub\""));
    desk.write("host.toml", "[policy]\nsigned-by = [\"bert.pub\"]\n");
    let (code, stdout, _) =
        desk.jidoka(&["--host", &desk.text("host.toml"), "explain", &desk.text("jidoka.toml"), "--json"]);
    assert_eq!(code, 0);
    let settings: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    let setting = |key: &str| {
        let setting = settings.iter().find(|setting| setting["key"] == key).unwrap();
        (setting["value"].as_str().unwrap().to_owned(), setting["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("worker.digest"), (digest, "job".to_owned()));
    assert_eq!(setting("worker.signed-by"), ("anna.pub".to_owned(), "job".to_owned()));
    assert_eq!(setting("policy.signed-by"), ("[bert.pub]".to_owned(), "operator".to_owned()));
}

#[test]
fn inspect_tells_what_a_component_could_do_and_what_of_it_the_job_refuses() {
    let desk = Desk::new();
    desk.swap("ask");
    desk.sign("anna");
    desk.job("signed-by = \"anna.pub\"");
    let job = desk.text("jidoka.toml");
    let (code, stdout, stderr) = desk.jidoka(&["inspect", &job, "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let inspection: Value = serde_json::from_str(&stdout).unwrap();
    let could = inspection["could"].as_array().unwrap();
    let model = could.iter().find(|could| could["import"] == "jidoka:agent/model@0.1.0").unwrap();
    assert_eq!((&model["needs"], &model["standing"]), (&"[grants] models".into(), &"refused".into()));
    assert!(could.iter().all(|could| could["lets"].is_string()), "every import is known: {could:?}");
    let languages = inspection["producers"]["listed"].as_array().unwrap();
    assert!(languages.iter().any(|it| it["role"] == "processed-by" && it["name"] == "wit-component"), "{languages:?}");
    assert!(inspection["functions"].as_u64().unwrap() > 10 && inspection["modules"].as_u64().unwrap() > 0);
    assert!(inspection["memories"]["listed"][0]["initial"].as_u64().unwrap() >= 1 << 16);
    assert_eq!(inspection["job"]["unmet"], Value::Null);
    assert_eq!(inspection["job"]["caps"]["memory_bytes"], 64 << 20);

    let (code, said, _) = desk.jidoka(&["inspect", &job]);
    assert_eq!(code, 0);
    let refused = said.split("would be refused").nth(1).unwrap();
    assert!(refused.contains("jidoka:agent/model@0.1.0") && refused.contains("until [grants] models"), "{said}");
    for words in ["fits     worker", "exports  run", "wit-component", ANNA_SHOWN, "memory 64MiB"] {
        assert!(said.contains(words), "{words} is not in\n{said}");
    }
    desk.flip();
    let (code, said, _) = desk.jidoka(&["inspect", &job]);
    assert!(code == 0 && said.contains("pinned   not met: "), "{said}");
}

#[test]
fn inspect_of_hostile_bytes_is_short_and_harmless() {
    let desk = Desk::new();
    let import = |number: usize| format!("(import \"a:b/c{number}\" (instance))");
    let many = format!("(component {})", (0..20_000).map(import).collect::<String>());
    let name = "(component (core module (@custom \"\\1b[2J\\07\\e2\\80\\aeevil\" \"x\")))".to_owned();
    let bomb = format!("(component (core module {}))", "(func)".repeat(100_001));
    for (text, words) in [(many, "and 19744 more"), (name, "\u{fffd}[2J\u{fffd}\u{fffd}evil"), (bomb, "at most 100000")]
    {
        desk.write("hostile.wasm", wat::parse_str(&text).unwrap());
        let (code, said, stderr) = desk.jidoka(&["inspect", &desk.text("hostile.wasm")]);
        assert_eq!(code, 0, "{stderr}");
        assert!(said.contains(words), "{words} is not in\n{said}");
        assert!(said.len() < 64 << 10 && !said.contains(|char: char| char.is_control() && char != '\n'), "{said}");
    }
    desk.write("hostile.wasm", b"\0asm garbage");
    let (code, said, stderr) = desk.jidoka(&["inspect", &desk.text("hostile.wasm")]);
    assert!(code == 1 && said.is_empty() && stderr.contains("not a WebAssembly component"), "{stderr}");
}

#[test]
fn a_job_that_is_no_file_or_has_no_end_is_a_clear_error() {
    let desk = Desk::new();
    let job = desk.path("jidoka.toml");
    for (what, why) in [("/dev/zero", "no regular file"), (desk.path("huge").to_str().unwrap(), "larger than 67108864")]
    {
        if what.ends_with("huge") {
            // A hole: it has a length and takes no disk.
            std::fs::File::create(what).unwrap().set_len((64 << 20) + 1).unwrap();
        }
        std::fs::remove_file(&job).unwrap();
        std::os::unix::fs::symlink(what, &job).unwrap();
        let (code, _, stderr) = desk.jidoka(&["run", job.to_str().unwrap()]);
        assert!(code == 1 && stderr.contains(why), "{stderr}");
    }
    desk.write("worker.wasm", "");
    std::fs::File::create(desk.path("worker.wasm")).unwrap().set_len((48 << 20) + 1).unwrap();
    std::fs::remove_file(&job).unwrap();
    desk.job("");
    let (code, _, stderr) = desk.jidoka(&["run", job.to_str().unwrap()]);
    assert!(code == 1 && stderr.contains("larger than 50331648"), "{stderr}");
}
