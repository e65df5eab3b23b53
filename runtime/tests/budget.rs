//! The budget as an operator types it: what runs spent, what a call would cost, and what is done about it by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "tests make their own files and processes")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A host of its own: its state, its operator's file if it has one, and a job.
struct Host {
    dir: TempDir,
    file: Option<PathBuf>,
}

/// What a command said.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    #[track_caller]
    fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {}", self.stderr);
        }
    }
}

impl Host {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), file: None }
    }

    fn with(operator: &str) -> Self {
        let mut host = Self::new();
        host.operator(operator);
        host
    }

    /// Writes the operator's file.
    fn operator(&mut self, text: &str) {
        let file = self.dir.path().join("jidoka-host.toml");
        std::fs::write(&file, text).unwrap();
        self.file = Some(file);
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// A job with `guest-examples/spender`, which asks for 600 tokens of output, at least 100, until it is refused. Its
    /// model says 40 tokens in.
    fn spender(&self, more: &str) -> String {
        let transcript = example("spender").join("transcript.toml");
        let text = format!(
            "line = \"pages\"\nitem = \"one\"\n[worker]\ncrate = {:?}\n[task]\ntext = {TASK:?}\n[grants]\n\
             models = [\"writer\"]\n[models.writer]\nscript = {transcript:?}\nwindow = 8192\nmax-output = 1024\n\
             usd-per-mtok-in = \"2.50\"\nusd-per-mtok-out = \"10\"\n[budget]\nwall = \"30s\"\nmodel-calls = 50\n\
             tokens = 2400\nusd = \"0.10\"\n{more}\n[attempts]\nmax = 9\nbackoff = \"0s\"\n\
             [guards]\npollers = [\"writer\"]\n[done]\nmarks = [\"artifact\"]\n",
            example("spender"),
        );
        self.write("jidoka.toml", &text).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jidoka"));
        command
            .args(arguments)
            .env("JIDOKA_STATE", self.dir.path().join("state"))
            .env("XDG_CONFIG_HOME", self.dir.path().join("no-config"))
            .env("USER", "olga")
            .env_remove("JIDOKA_HOST")
            .env_remove("JIDOKA_TENANT")
            .stdin(Stdio::null());
        if let Some(file) = &self.file {
            command.env("JIDOKA_HOST", file);
        }
        command
    }

    fn say(&self, arguments: &[&str]) -> Said {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Said { code: status.code().unwrap(), stdout, stderr }
    }

    /// An attempt that spends all it has and shows nothing ends its item: an operator gives it another.
    fn revive(&self, item: &str) {
        let said = self.say(&["items", "revive", item, "--reason", "another try"]);
        assert!(said.code == 0 && said.stdout.contains("which was abandoned"), "{}{}", said.stdout, said.stderr);
    }

    fn budget(&self, arguments: &[&str]) -> Said {
        self.say(&[&["budget"], arguments].concat())
    }

    /// Runs a job and returns its verdict.
    fn run(&self, job: &str, more: &[&str]) -> Value {
        self.say(&[&["run", job, "--json", "--no-apply"], more].concat()).json()
    }

    /// The bodies of a run's entries of one kind.
    fn entries(&self, verdict: &Value, kind: &str) -> Vec<Value> {
        let trace = self.say(&["trace", verdict["serial"].as_str().unwrap(), "--json"]);
        let entries = trace.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_kind = |entry: Value| {
            let mut found = entry["entry"].get(kind)?.as_object()?.clone();
            found.extend(entry["content"].as_object().cloned().unwrap_or_default());
            Some(Value::Object(found))
        };
        entries.filter_map(of_kind).collect()
    }

    /// Waits until the journal of the only run has this text.
    fn serial_of_a_run_with(&self, text: &str) -> String {
        let found = || {
            let runs = std::fs::read_dir(self.dir.path().join("state/runs")).ok()?;
            let serial = runs.flatten().next()?.file_name().into_string().ok()?;
            self.say(&["trace", &serial, "--json"]).stdout.contains(text).then_some(serial)
        };
        for _ in 0..6_000 {
            if let Some(serial) = found() {
                return serial;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no run has {text}");
    }

    /// The row of a limit in the books.
    fn row(&self, scope: &str, line: &str, kind: &str) -> Value {
        let books = self.budget(&["show", "--json"]).json();
        let page = books["scopes"].as_array().unwrap().iter().find(|page| page["scope"] == scope).unwrap().clone();
        let rows = page["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["line"] == line && row["limit_kind"] == kind);
        row.unwrap_or_else(|| panic!("{scope} {line} {kind}: {page}")).clone()
    }
}

/// The task of the spender: 54 bytes.
const TASK: &str = "Write one more page of the book that nobody will read.";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples").join(name).canonicalize().unwrap()
}

#[test]
fn what_a_run_spent_stands_in_its_host_its_tenant_its_line_and_its_item() {
    let host = Host::with(
        "[host.budget]\nusd = \"20\"\n[host.budget.hour]\ntokens = 100000\n[tenants.acme.budget.day]\ntokens = 50000\n\
         [lines.examples.budget]\nmodel-calls = 100\n",
    );
    let fixer = example("fixer").to_str().unwrap().to_owned();
    let verdict = host.run(&fixer, &["--tenant", "acme", "--item", "basket"]);
    assert_eq!(verdict["exit_code"], 0, "{verdict}");
    let spent = &verdict["ledger"]["attempt"]["spent"];
    assert!(spent["tokens"].as_u64().unwrap() > 0);
    let item = "acme/examples/basket";
    for scope in ["host", "acme", "acme/examples", item] {
        for line in ["tokens", "micro-usd", "model-calls", "wall-ms"] {
            assert_eq!(host.row(scope, line, "total")["spent"], spent[line], "{scope} {line}");
        }
    }
    let left = |limit: u64| json!(limit - spent["tokens"].as_u64().unwrap());
    assert_eq!(host.row("host", "tokens", "hour")["left"], left(100_000));
    assert_eq!(host.row("acme", "tokens", "day")["left"], left(50_000));
    assert_eq!(host.row("acme/examples", "model-calls", "total")["limit"], 100);

    let shown = host.budget(&["show"]);
    let serial = verdict["serial"].as_str().unwrap();
    for words in ["\nhost\n", "\nacme (tenant)\n", "\nacme/examples (line)\n", "\nacme/examples/basket (item)\n"] {
        assert!(shown.stdout.contains(words), "{words}: {}", shown.stdout);
    }
    assert!(!shown.stdout.contains(serial), "the attempt is over: {}", shown.stdout);
    assert!(!shown.stdout.contains('\u{1b}'), "no colours without a terminal");
    assert!(host.budget(&["show", "--all"]).stdout.contains(&format!("{item}/{serial} (attempt, over)")));
    let below = host.budget(&["show", "acme/examples"]).stdout;
    assert!(below.contains("basket (item)") && !below.contains("(tenant)") && !below.contains("host"), "{below}");
}

#[test]
fn a_tenants_daily_limit_puts_work_off_and_is_raised_where_it_stands() {
    let daily =
        |tokens: u64| format!("[tenants.acme]\nlines = [\"pages\"]\n[tenants.acme.budget.day]\ntokens = {tokens}\n");
    let mut host = Host::with(&daily(2_500));
    let job = host.spender("");
    assert_eq!(
        host.entries(&host.run(&job, &[]), "intent").iter().filter(|it| it["effect"]["effect"] == "model").count(),
        4
    );
    host.revive("one");
    let said = host.say(&["run", &job]);
    let refused = "model refused: asked 154 of tokens; allowed 114 left in scope tenant; to change it: \
                   [tenants.acme.budget.day] tokens in the operator's file";
    said.refused(25, &[refused]);
    assert!(said.stdout.contains("the daily limit on tokens of the tenant is used up"), "{}", said.stdout);
    let (_, serial) = said.stderr.rsplit_once("jidoka resume ").expect("it says how to go on");
    let serial = serial.trim();

    let top_up = host.budget(&["top-up", "acme", "tokens=5000", "--reason", "another chapter"]);
    top_up.refused(1, &["acme has no limit on tokens", "lines that have one: none", "operator's file: tokens/day"]);
    host.operator(&daily(20_000));
    // It waits for the next day, unless somebody says otherwise.
    assert_eq!(host.run(&job, &[])["verdict"], "deferred");
    let verdict = host.say(&["resume", serial, "--json", "--no-apply"]).json();
    assert_eq!(verdict["detail"]["scope"], "attempt", "{verdict}");
}

#[test]
fn after_a_top_up_the_work_goes_on() {
    let host = Host::with("[tenants.acme.budget]\ntokens = 2500\n");
    let (job, acme) = (host.spender(""), ["--tenant", "acme"]);
    host.run(&job, &acme);
    host.revive("one");
    let verdict = host.run(&job, &acme);
    assert_eq!((&verdict["verdict"], &verdict["detail"]["scope"]), (&json!("exhausted"), &json!("tenant")));

    let said = host.budget(&["top-up", "acme", "tokens=5000", "--reason", "another chapter"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "topped up acme: 5000 tokens\n"), "{}", said.stderr);
    let row = host.row("acme", "tokens", "total");
    assert_eq!((&row["limit"], &row["topped_up"], &row["left"]), (&json!(2_500), &json!(5_000), &json!(5_114)));
    let shown = host.budget(&["show", "acme"]).stdout;
    assert!(shown.contains("2500+5000"), "{shown}");
    let verdict = host.run(&job, &acme);
    assert_eq!(verdict["detail"]["scope"], "attempt", "{verdict}");
    // The file is read again with every run, and what was added stays.
    assert_eq!(host.row("acme", "tokens", "total")["topped_up"], 5_000);
}

#[test]
fn the_call_of_a_killed_run_is_held_until_it_is_written_off() {
    let host = Host::new();
    let transcript = |text: &str| host.write("transcript.toml", text);
    let script = transcript("[[turn]]\ntext = \"late\"\nlatency = \"50s\"\n");
    let text = format!(
        "line = \"x\"\nitem = \"one\"\n[worker]\ncrate = {:?}\n[task]\ntext = \"t\"\n[grants]\nmodels = [\"writer\"]\n\
         [models.writer]\nscript = {script:?}\nwindow = 8192\nmax-output = 100\nusd-per-mtok-in = \"1\"\n\
         usd-per-mtok-out = \"1\"\n[budget]\nwall = \"60s\"\nmodel-calls = 2\ntokens = 1000\nusd = \"1\"\n\
         [budget.item]\nmodel-calls = 1\n[attempts]\nmax = 5\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n",
        example("ask"),
    );
    let job = host.write("jidoka.toml", &text).to_str().unwrap().to_owned();
    let mut child = host.command(&["run", &job, "--json"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let serial = host.serial_of_a_run_with("\"intent\"");
    let call = format!("{serial}-1");
    host.budget(&["write-off", &call, "--reason", "too early"])
        .refused(1, &["is dispatched, not held", "held calls: none"]);
    child.kill().unwrap();
    child.wait().unwrap();
    transcript("[[turn]]\ntext = \"now\"\n");

    let shown = host.budget(&["show"]).stdout;
    assert!(shown.contains(&format!("  {call} of default/x/one/{serial} · since ")), "{shown}");
    assert!(shown.contains(&format!("jidoka budget write-off {call} ")), "{shown}");
    let held = host.budget(&["show", "default/x/one", "--json"]).json()["held"].as_array().unwrap().clone();
    let held = &held.iter().find(|held| held["call"] == call.as_str()).unwrap()["held"];
    assert_eq!((&held["model-calls"], &held["tokens-out"]), (&json!(1), &json!(100)));
    assert_eq!(host.row("default/x/one", "model-calls", "total")["left"], 0);
    assert_eq!(host.run(&job, &[])["detail"]["scope"], "item");

    let said =
        host.budget(&["write-off", &call, "--spent", "tokens-in=3", "--spent", "tokens=3", "--reason", "their log"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.ends_with("spent 3 tokens-in · 3 tokens\n"), "{}", said.stdout);
    assert_eq!(host.row("default/x/one", "model-calls", "total")["left"], 1);
    assert_eq!(host.row("default/x/one", "tokens", "total")["spent"], 3);
    host.budget(&["write-off", &call, "--reason", "again"])
        .refused(1, &[&call, "is written-off, not held", &format!("{serial}-meter")]);
    assert_eq!(host.run(&job, &[])["verdict"], "accepted");
}

#[test]
fn a_quote_says_what_the_gate_then_does() {
    let host = Host::with("[host.budget]\nusd = \"20\"\n");
    let job = host.spender("[budget.item]\ntokens = 2800");
    let quote = || {
        let before = host.budget(&["show", "--all", "--json"]).json();
        let said = host.budget(&["quote", &job, "--max-output", "600", "--min-output", "100", "--json"]);
        let after = host.budget(&["show", "--all", "--json"]).json();
        assert_eq!(before["scopes"], after["scopes"], "a quote writes nothing");
        (said.code, said.json()["models"]["writer"].clone())
    };
    let reserved = |verdict: &Value| {
        let intents = host.entries(verdict, "intent");
        intents.iter().find(|intent| intent["effect"]["effect"] == "model").unwrap()["reserved"].clone()
    };

    let (code, whole) = quote();
    assert_eq!((code, &whole["end"]["end"], &whole["input"]["tokens"]), (0, &json!("whole"), &json!(54)));
    let run = host.run(&job, &[]);
    assert_eq!(run["ledger"]["attempt"]["spent"]["tokens"], 2_386);
    assert_eq!(reserved(&run), whole["end"]["reserve"]);

    host.revive("one");
    // 414 are left to the item: 54 of input, and the output shrinks.
    let (code, shrunk) = quote();
    assert_eq!((code, &shrunk["end"]["end"], &shrunk["end"]["max_output"]), (0, &json!("shrunk"), &json!(360)));
    let need = shrunk["lines"].as_array().unwrap().iter().find(|need| need["line"] == "tokens").unwrap();
    let expected = json!({ "line": "tokens", "whole": 654, "least": 154, "left": 414, "scope": "default/pages/one",
        "level": "item", "limit": "total", "setting": "[budget.item] tokens" });
    assert_eq!(*need, expected);
    assert_eq!(reserved(&host.run(&job, &[])), shrunk["end"]["reserve"]);

    let (code, refused) = quote();
    assert_eq!((code, &refused["end"]["end"]), (20, &json!("refused")));
    let run = host.run(&job, &[]);
    assert_eq!(host.entries(&run, "refused")[0]["refusal"], refused["end"]["refusal"]);
}

#[test]
fn a_quote_counts_what_others_spent_and_says_where_the_limit_stands() {
    let host = Host::with("[host.budget]\nmodel-calls = 4\n");
    let job = host.spender("");
    host.run(&job, &["--tenant", "globex"]);
    let said = host.budget(&["quote", &job, "--tenant", "acme", "--item", "two", "--prompt", "hello"]);
    assert_eq!(said.code, 20, "{}{}", said.stdout, said.stderr);
    for words in [
        "quote model writer · tenant acme · line pages · item two",
        "5 bytes x 1.0 = 5 tokens",
        "1024 asked, at least 1",
        "refused: asked 1 of model-calls; allowed 0 left in scope host; to change it: [host.budget] model-calls in the \
         operator's file",
    ] {
        assert!(said.stdout.contains(words), "{words:?} is not in {}", said.stdout);
    }
    host.budget(&["quote", &job, "--model", "coder"]).refused(2, &["no model \"coder\"", "granted: writer"]);
    let prompt = host.write("prompt.txt", "twelve bytes");
    let said = host.budget(&["quote", &job, "--model", "writer", "--prompt-file", prompt.to_str().unwrap()]);
    assert!(said.stdout.contains("12 bytes x 1.0"), "{}", said.stdout);
}

#[test]
fn a_run_that_could_not_begin_is_quoted_as_refused() {
    let host = Host::with("[host.budget]\nmemory = \"32MiB\"\n");
    let job = host.spender("");
    let said = host.budget(&["quote", &job]);
    assert_eq!(said.code, 20, "{}", said.stderr);
    assert!(said.stdout.contains("to change it: [host.budget] memory in the operator's file"), "{}", said.stdout);
    assert_eq!(host.run(&job, &[])["detail"], json!({ "scope": "host", "line": "memory-bytes" }));
}

#[test]
fn the_log_shows_each_act_with_its_reason() {
    let host = Host::with("[tenants.acme.budget]\nusd = \"1\"\n");
    assert_eq!(host.budget(&["log"]).stdout, "no operator did anything\n");
    host.run(&host.spender(""), &["--tenant", "acme"]);
    let act = host.budget(&["top-up", "acme", "usd=0.50", "--reason", "a\u{1b}[2J second chapter", "--json"]).json();
    assert_eq!(act["deed"], json!({ "act": "top-up", "scope": "acme", "amounts": { "micro-usd": 500_000 } }));
    assert_eq!(host.budget(&["accept-clock", "--reason", "the battery was changed"]).code, 0);
    let log = host.budget(&["log"]).stdout;
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines[0].ends_with(" UTC topped up acme: $0.50 usd by olga"), "{log}");
    assert_eq!(lines[1], "  because: a [2J second chapter");
    assert!(lines[2].ends_with(" UTC accepted the clock by olga"), "{log}");
    assert_eq!(lines[3], "  because: the battery was changed");
    let acts = host.budget(&["log", "--json"]).json();
    assert_eq!((&acts[0], &acts[1]["deed"]), (&act, &json!({ "act": "accept-clock" })));
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_done() {
    let host = Host::with("[tenants.acme.budget]\nusd = \"1\"\n");
    host.run(&host.spender(""), &["--tenant", "acme"]);
    let because = ["--reason", "why"];
    let top_up = |words: &[&str]| host.budget(&[&["top-up"], words, &because].concat());
    for (amount, words) in [
        ("usd", "has no `=`"),
        ("usd=unlimited", "no word and no number for endless"),
        ("usd=-1", "no word and no number for endless"),
        ("tokens=5k", "has no whole number"),
        ("wall=60", "has no unit"),
        ("token=5", "did you mean \"tokens\"?"),
    ] {
        top_up(&["acme", amount]).refused(2, &[words]);
    }
    host.budget(&["top-up", "acme", "usd=1"]).refused(2, &["--reason"]);
    host.budget(&["top-up", "acme", "usd=1", "--reason", "  "]).refused(2, &["a reason is needed"]);
    host.budget(&["top-up", "acme", "--reason", "why"]).refused(2, &["KEY=AMOUNT"]);
    host.budget(&["write-off", "x", "--spent", "memory=1MiB", "--reason", "why"]).refused(2, &["memory"]);
    host.budget(&["accept-clock"]).refused(2, &["--reason"]);
    top_up(&["acne", "usd=1"]).refused(1, &["there is no scope \"acne\"", "scopes in host: acme"]);
    top_up(&["acme", "usd=1", "tokens=1"]).refused(1, &["acme has no limit on tokens", "lines that have one: usd"]);
    host.budget(&["show", "acme/pagse"]).refused(1, &["scopes in acme: acme/pages"]);
    host.budget(&["write-off", "x", "--reason", "why"])
        .refused(1, &["call x is unknown, not held", "held calls: none"]);
    assert_eq!(host.budget(&["log", "--json"]).json(), json!([]));
    assert_eq!(host.row("acme", "micro-usd", "total")["topped_up"], 0);
}

#[test]
fn explain_shows_each_shared_limit_and_where_it_comes_from() {
    let host = Host::with(
        "[host.budget]\nusd = \"20\"\n[host.budget.hour]\ntokens = 100000\n[tenants.acme.budget.day]\ntokens = 5000\n\
         [lines.pages.budget]\nmodel-calls = 100\n[policy.budget]\nusd = \"5\"\n",
    );
    let job = host.spender("[budget.gap]\ntokens = 2000");
    let said = host.say(&["explain", &job, "--tenant", "acme"]);
    for (key, value, origin) in [
        ("tenant", "acme", "command line"),
        ("host.budget.usd", "$20.00", "operator"),
        ("host.budget.hour.tokens", "100000", "operator"),
        ("tenants.acme.budget.day.tokens", "5000", "operator"),
        ("lines.pages.budget.model-calls", "100", "operator"),
        ("policy.budget.usd", "$5.00", "operator"),
        ("budget.tokens", "2400", "jidoka.toml"),
        ("budget.gap.tokens", "2000", "jidoka.toml"),
        ("budget.first-gap.tokens", "2000", "default"),
    ] {
        let row = said.stdout.lines().find(|row| row.split_whitespace().next() == Some(key));
        let row = row.unwrap_or_else(|| panic!("{key}: {}{}", said.stdout, said.stderr));
        assert!(row.split_whitespace().nth(1) == Some(value) && row.ends_with(origin), "{row}");
    }
}

#[test]
fn whoever_runs_without_the_operators_file_is_held_to_what_it_said() {
    let mut host = Host::with("[host.budget]\nmodel-calls = 6\n[tenants.acme.budget.day]\ntokens = 2500\n");
    let job = host.spender("");
    host.run(&job, &["--tenant", "acme"]);
    host.revive("one");
    host.file = None;
    let said = host.say(&["run", &job, "--tenant", "acme"]);
    said.refused(25, &["[tenants.acme.budget.day] tokens in the operator's file"]);
    // Another name is another account, and still the same host.
    assert_eq!(host.run(&job, &["--tenant", "globex"])["detail"], json!({ "scope": "host", "line": "model-calls" }));
    assert_eq!(host.row("host", "model-calls", "total")["limit"], 6);
    let quote = host.budget(&["quote", &job, "--tenant", "acme", "--min-output", "100"]);
    assert!(quote.stdout.contains("[tenants.acme.budget.day] tokens"), "{}", quote.stdout);
    assert_eq!(quote.code, 20);
}

#[test]
fn whoever_stops_reading_is_no_error() {
    let host = Host::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = host.command(&["budget", "show"]).stdout(Stdio::from(writer)).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}
