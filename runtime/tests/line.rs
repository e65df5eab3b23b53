//! From a symptom to the setting that allowed it, and from a bad run to a regression test, as a user types it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::disallowed_methods, reason = "tests make their own files and processes")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-examples");

/// A host's directory, and a place for fixtures beside it.
struct Host {
    dir: TempDir,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_jidoka"))
            .args(arguments)
            .env("JIDOKA_STATE", self.path("state"))
            .env("XDG_CONFIG_HOME", self.path("no-config"))
            .env("TMPDIR", self.path("tmp"))
            .env_remove("JIDOKA_HOST")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (_, stdout, stderr) = self.run(arguments);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{stderr}"))
    }

    /// Runs a job and returns its run's serial number.
    fn job(&self, path: &str) -> String {
        let record = self.json(&["run", path, "--json", "--no-apply"]);
        record["serial"].as_str().unwrap().to_owned()
    }

    fn example(&self, name: &str) -> String {
        self.job(&format!("{EXAMPLES}/{name}"))
    }

    fn why(&self, name: &str) -> (Value, String) {
        let serial = self.example(name);
        let (code, said, stderr) = self.run(&["why", &serial]);
        assert_eq!(code, 0, "{stderr}");
        (self.json(&["why", &serial, "--json"]), said)
    }

    /// A fixture of an example's run, with the state that it came from deleted.
    fn fixture(&self, name: &str) -> String {
        let serial = self.example(name);
        let dir = self.path(name);
        let (code, said, stderr) = self.run(&["fixture", &serial, dir.to_str().unwrap()]);
        assert_eq!(code, 0, "{said}{stderr}");
        std::fs::remove_dir_all(self.path("state")).unwrap();
        dir.to_str().unwrap().to_owned()
    }

    fn edit(&self, fixture: &str, change: impl FnOnce(&mut Value)) {
        let path = Path::new(fixture).join("fixture.json");
        let mut document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut document);
        std::fs::write(&path, document.to_string()).unwrap();
    }
}

fn places(why: &Value) -> Vec<&str> {
    why["settings"].as_array().unwrap().iter().map(|setting| setting["place"].as_str().unwrap()).collect()
}

#[test]
fn why_leads_from_each_symptom_to_the_setting_that_allowed_it() {
    let host = Host::new();
    let (liar, said) = host.why("liar");
    assert_eq!((liar["verdict"].as_str(), liar["ended_by"].as_str()), (Some("no-progress"), Some("guard")));
    assert!(places(&liar).contains(&"[done] marks"), "{liar}");
    assert!(said.starts_with("no-progress: ") && said.contains("left its files as they were"), "{said}");

    let (spender, said) = host.why("spender");
    assert_eq!(places(&spender), ["[budget] tokens"]);
    assert_eq!((&spender["settings"][0]["value"], &spender["settings"][0]["origin"]), (&json!("2400"), &json!("job")));
    assert!(said.contains("the calls that took most tokens: entry "), "{said}");
    assert!(said.contains("model writer · refused: asked"), "{said}");
    let entries = spender["entries"].as_array().unwrap();
    assert!(entries.len() <= 12 && entries.is_sorted_by_key(|entry| entry.as_u64()), "{spender}");
    assert_eq!(entries.len(), spender["told"].as_array().unwrap().len());

    let (cord, said) = host.why("cord");
    assert_eq!((cord["ended_by"].as_str(), places(&cord)), (Some("pull"), vec!["[task] text"]));
    assert!(said.contains("the worker pulled (ambiguous-spec)") && said.contains("stop · cord pulled"), "{said}");

    let (fixer, said) = host.why("fixer");
    assert_eq!((fixer["ended_by"].as_str(), fixer["exit_code"].as_u64()), (Some("success"), Some(0)));
    assert!(said.contains("checks passed: tests") && said.contains("check tests · passed"), "{said}");
}

#[test]
fn the_same_cause_in_two_runs_is_one_signature_and_an_erased_run_has_facts_only() {
    let host = Host::new();
    let (one, other, another) = (host.example("spender"), host.example("spender"), host.example("liar"));
    let signature = |serial: &str| host.json(&["ticket", serial, "--json"])["signature"].as_str().unwrap().to_owned();
    assert_eq!(signature(&one), signature(&other));
    assert_ne!(signature(&one), signature(&another));
    assert_eq!(host.run(&["prune", "--older-than", "0ms", "--keep", "0B"]).0, 0);
    let why = host.json(&["why", &one, "--json"]);
    assert_eq!((why["verdict"].as_str(), &why["signature"]), (Some("exhausted"), &Value::Null));
    assert!(!why["entries"].as_array().unwrap().is_empty(), "{why}");
    assert!(host.run(&["ticket", &one]).1.starts_with("# exhausted in run "));
    let (code, _, stderr) = host.run(&["fixture", &one, host.path("erased").to_str().unwrap()]);
    assert!(code == 1 && stderr.contains("were erased"), "{stderr}");
    let (code, _, stderr) = host.run(&["why", "01aaaaaaaa-aaaaaa"]);
    assert!(code == 1 && stderr.contains("no run 01aaaaaaaa-aaaaaa"), "{stderr}");
}

#[test]
fn a_ticket_has_what_a_tracker_needs() {
    let host = Host::new();
    let serial = host.example("cord");
    let ticket = host.json(&["ticket", &serial, "--json"]);
    assert_eq!(ticket["title"], "halted by the worker: ambiguous-spec on line examples-cord");
    assert_eq!(ticket["signature"].as_str().unwrap().len(), 16);
    assert_eq!(ticket["evidence"]["attached"][0]["name"], "order.txt");
    assert_eq!(ticket["capabilities"]["used"], json!(["attach"]));
    assert!(ticket["cost"]["spent"]["wall-ms"].is_u64(), "{ticket}");
    let markdown = host.run(&["ticket", &serial]).1;
    assert_eq!(markdown.trim_end(), ticket["body"].as_str().unwrap().trim_end());
    for part in ["## What happened", "## What led there", "## Evidence", "## Cost", "## To reproduce"] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    assert!(markdown.contains(&format!("- `jidoka fixture {serial} DIR`")), "{markdown}");
}

#[test]
fn a_text_of_a_guest_cannot_break_out_of_a_ticket() {
    let host = Host::new();
    let job = host.path("job");
    std::fs::create_dir(&job).unwrap();
    std::fs::create_dir(job.join("project")).unwrap();
    std::fs::create_dir(job.join("project/tests")).unwrap();
    let toml = std::fs::read_to_string(format!("{EXAMPLES}/fixer/jidoka.toml")).unwrap();
    let toml = toml.replace("crate = \".\"", &format!("crate = \"{EXAMPLES}/fixer\""));
    let toml = toml.replace("\"../fixer-check\"", &format!("\"{EXAMPLES}/fixer-check\""));
    std::fs::write(job.join("jidoka.toml"), toml).unwrap();
    let text = "ok`\\n\\n# Owned ``` by\\n\\n@everyone [click](https://example.org) ![x](y) <script>\\u001b[2J";
    std::fs::write(job.join("transcript.toml"), format!("[[turn]]\ntext = \"{text}\"\n")).unwrap();
    let serial = host.job(job.to_str().unwrap());
    assert_eq!(host.json(&["why", &serial, "--json"])["verdict"], "unable");
    for words in [&["ticket", serial.as_str()][..], &["why", serial.as_str()]] {
        let said = host.run(words).1;
        assert!(said.contains("Owned") && !said.contains('\u{1b}'), "{said}");
        assert!(said.lines().all(|line| !line.trim_start().starts_with("# Owned")), "{said}");
    }
    let markdown = host.run(&["ticket", &serial]).1;
    for line in markdown.lines().filter(|line| line.contains("everyone")) {
        // All of it is between two fences of four, which is longer than any run of them in it.
        let span = line.split_once("````").unwrap().1;
        assert!(span.ends_with("````") && line.find("Owned") > line.find("````"), "{line}");
    }
}

#[test]
fn a_fixture_passes_elsewhere_with_its_state_deleted_and_leaves_nothing_behind() {
    let host = Host::new();
    let dir = host.fixture("liar");
    for name in ["fixture.json", "transcript.json", "component.wasm", "workspace/notes.txt"] {
        assert!(Path::new(&dir).join(name).exists(), "{name}");
    }
    let moved = host.path("moved");
    std::fs::rename(&dir, &moved).unwrap();
    let moved = moved.to_str().unwrap();
    let (code, said, stderr) = host.run(&["test", moved]);
    assert_eq!((code, said.as_str()), (0, "passed: no-progress\n"), "{stderr}");
    assert!(!host.path("state").exists(), "a test has no use for the host's own books");
    assert_eq!(std::fs::read_dir(host.path("tmp")).unwrap().count(), 0, "the scratch host is gone");

    host.edit(moved, |fixture| fixture["expect"] = json!({ "verdict": "accepted" }));
    let (code, said, _) = host.run(&["test", moved]);
    assert_eq!(code, 1);
    assert!(said.starts_with("failed: expected accepted, got no-progress: "), "{said}");
    let tested = host.json(&["test", moved, "--json"]);
    assert_eq!((&tested[0]["passed"], &tested[0]["got"]["verdict"]), (&json!(false), &json!("no-progress")));
}

#[test]
fn a_model_is_answered_from_the_transcript_and_a_worker_that_departs_is_told_of() {
    let host = Host::new();
    let dir = host.fixture("spender");
    let transcript = std::fs::read_to_string(Path::new(&dir).join("transcript.json")).unwrap();
    assert!(transcript.contains("\"writer\"") && transcript.contains("tokens_out"), "{transcript}");
    let (code, said, stderr) = host.run(&["test", &dir]);
    assert_eq!((code, said.as_str()), (0, "passed: exhausted (attempt, tokens)\n"), "{stderr}");
    assert_eq!(stderr, "");
    // Another task, and more room: it asks something else, and then for more than was recorded.
    host.edit(&dir, |fixture| {
        fixture["job"]["task"]["text"] = json!("Write a haiku.");
        fixture["job"]["budget"]["attempt"]["tokens"] = json!(100_000);
        fixture["expect"] = json!({ "verdict": "unable" });
    });
    let (code, said, stderr) = host.run(&["test", &dir]);
    assert!(stderr.contains("from answer 1 of model writer on the worker asks something else"), "{stderr}");
    assert!(code == 0 || said.contains("the transcript ends here"), "{said}{stderr}");
}

#[test]
fn what_others_did_to_a_run_is_part_of_its_fixture() {
    let host = Host::new();
    // Another run spent of what its tenant may spend in a day.
    let operator = host.path("host.toml");
    let text = "[tenants.acme]\nlines = [\"examples\"]\n[tenants.acme.budget]\ntokens = 3000\n";
    std::fs::write(&operator, text).unwrap();
    let (operator, spender) = (operator.to_str().unwrap(), format!("{EXAMPLES}/spender"));
    let mut serial = String::new();
    for _ in 0..2 {
        let record = host.json(&["--host", operator, "run", &spender, "--tenant", "acme", "--json"]);
        serial = record["serial"].as_str().unwrap().to_owned();
    }
    let why = host.json(&["why", &serial, "--json"]);
    assert_eq!(places(&why), ["[tenants.acme.budget] tokens in the operator's file"]);
    assert_eq!((&why["settings"][0]["value"], &why["settings"][0]["origin"]), (&json!("3000"), &json!("operator")));
    let tenant = host.path("tenant");
    assert_eq!(host.run(&["fixture", &serial, tenant.to_str().unwrap()]).0, 0);
    // An earlier attempt showed what this one showed, before an operator let the item be tried again.
    let hello = format!("{EXAMPLES}/hello");
    for _ in 0..2 {
        let record = host.json(&["run", &hello, "--item", "one", "--tenant", "other", "--json"]);
        serial = record["serial"].as_str().unwrap().to_owned();
        assert_eq!(host.run(&["items", "revive", "one", "--reason", "once more"]).0, 0);
    }
    let again = host.path("again");
    assert_eq!(host.run(&["fixture", &serial, again.to_str().unwrap()]).0, 0);
    std::fs::remove_dir_all(host.path("state")).unwrap();
    assert_eq!(host.run(&["test", tenant.to_str().unwrap()]).1, "passed: exhausted (tenant, tokens)\n");
    assert_eq!(host.run(&["test", again.to_str().unwrap()]).1, "passed: accepted\n");
}

#[test]
fn a_run_of_which_nothing_ran_says_why_too() {
    let host = Host::new();
    let liar = format!("{EXAMPLES}/liar");
    let mut last = Value::Null;
    for _ in 0..2 {
        last = host.json(&["run", &liar, "--item", "one", "--json"]);
    }
    assert_eq!(last["verdict"], "not-admitted", "a claim without a change was its last attempt");
    let serial = last["serial"].as_str().unwrap();
    let (code, said, stderr) = host.run(&["why", serial]);
    assert!(code == 0 && said.contains("an item that is abandoned cannot be tried"), "{said}{stderr}");
    assert!(host.run(&["ticket", serial]).1.starts_with("# not-admitted on line examples"));
}

#[test]
fn another_component_is_tested_against_what_a_person_expects() {
    let host = Host::new();
    let dir = host.fixture("cord");
    assert_eq!(host.run(&["test", &dir]).1, "passed: halted (ambiguous-spec)\n");
    host.edit(&dir, |fixture| fixture["expect"] = json!({ "verdict": "accepted" }));
    assert_eq!(host.run(&["test", &dir]).0, 1);
    let (code, said, stderr) = host.run(&["test", &dir, "--with", &format!("{EXAMPLES}/hello")]);
    assert_eq!((code, said.as_str()), (0, "passed: accepted\n"), "{stderr}");
}

#[test]
fn many_fixtures_are_one_table_and_one_that_fails_fails_them() {
    let host = Host::new();
    std::fs::create_dir(host.path("all")).unwrap();
    for name in ["liar", "fixer"] {
        let dir = host.fixture(name);
        std::fs::rename(dir, host.path("all").join(name)).unwrap();
    }
    let all = host.path("all");
    let all = all.to_str().unwrap();
    let (code, said, stderr) = host.run(&["test", all]);
    assert_eq!(code, 0, "{said}{stderr}");
    assert!(said.contains("liar") && said.contains("fixer") && said.ends_with("2 of 2 passed\n"), "{said}");
    // A command runs only if the operator's file allows it today.
    let liar = format!("{all}/liar");
    host.edit(&liar, |fixture| {
        fixture["job"]["checks"] = json!([{ "name": "t", "run": { "command": ["true"] }, "wall_ms": 1000 }]);
    });
    let (code, said, _) = host.run(&["test", all]);
    assert!(code == 1 && said.contains("1 of 2 passed") && said.contains("not run: check"), "{said}");
    let operator = host.path("host.toml");
    std::fs::write(&operator, "[policy]\ncommands = [[\"true\"]]\n").unwrap();
    assert_eq!(host.run(&["--host", operator.to_str().unwrap(), "test", all]).0, 0);
    std::fs::write(format!("{liar}/fixture.json"), "{ \"format\": 2 }").unwrap();
    let (code, said, _) = host.run(&["test", &liar]);
    assert!(code == 1 && said.contains("format 2"), "{said}");
    assert_eq!(host.run(&["test", host.path("tmp").to_str().unwrap()]).0, 1, "none is there");
}

#[test]
fn a_fixture_is_never_written_over_a_directory() {
    let host = Host::new();
    let serial = host.example("liar");
    let dir = host.path("there");
    std::fs::create_dir(&dir).unwrap();
    let (code, _, stderr) = host.run(&["fixture", &serial, dir.to_str().unwrap()]);
    assert!(code == 1 && stderr.contains("make "), "{stderr}");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_line_is_stopped_and_goes_on_only_with_a_cause_and_a_word_on_what_is_other() {
    let host = Host::new();
    let hello = format!("{EXAMPLES}/hello");
    assert_eq!(host.run(&["andon", "list"]).0, 0);
    assert_eq!(host.run(&["andon", "pull", "default/examples"]).0, 2, "a reason is needed");
    let (code, _, stderr) = host.run(&["andon", "pull", "examples", "--reason", "the floor is wet"]);
    assert!(code == 1 && stderr.contains("nothing of a line \"examples\" ever ran here"), "{stderr}");
    assert_eq!(host.run(&["andon", "pull", "/", "--reason", "x"]).0, 1);
    let (code, said, _) = host.run(&["andon", "pull", "default/examples", "--reason", "the floor is wet"]);
    assert!(code == 0 && said.contains("stopped line default/examples"), "{said}");
    let (code, said, _) = host.run(&["run", &hello, "--no-apply"]);
    assert!(code == 30 && said.contains("the floor is wet"), "{said}");
    assert!(host.run(&["andon", "list"]).1.contains("operator by"));
    let clear = ["andon", "clear", "examples"];
    assert_eq!(host.run(&clear).0, 2);
    assert_eq!(host.run(&[&clear[..], &["--cause", "a leak"]].concat()).0, 2);
    assert_eq!(host.run(&[&clear[..], &["--policy-change", "mats"]].concat()).0, 2);
    assert_eq!(host.run(&[&clear[..], &["--cause", " ", "--no-policy-change"]].concat()).0, 2);
    let (code, said, _) =
        host.run(&[&clear[..], &["--cause", "a leak", "--policy-change", "mats at the door"]].concat());
    assert!(code == 0 && said.contains("policy change: mats at the door"), "{said}");
    assert_eq!(host.run(&[&clear[..], &["--cause", "again", "--no-policy-change"]].concat()).0, 2);
    assert_eq!(host.run(&["run", &hello, "--no-apply"]).0, 0);
    let log = host.json(&["andon", "log", "--json"]);
    let whats: Vec<&str> = log.as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["pulled", "cleared"]);
    assert_eq!(log[1]["reason"], "a leak");
}

#[test]
fn items_are_listed_shown_revived_and_given_up() {
    let host = Host::new();
    let liar = format!("{EXAMPLES}/liar");
    assert_eq!(host.json(&["run", &liar, "--item", "one", "--json"])["verdict"], "no-progress");
    let (code, said, stderr) = host.run(&["items", "list", "--only", "abandoned"]);
    assert!(code == 0 && said.contains("default/examples/one"), "{said}{stderr}");
    assert_eq!(host.run(&["items", "list", "--only", "asleep"]).0, 2);
    assert_eq!(host.json(&["items", "show", "one", "--json"])["state"], "abandoned");
    assert_eq!(host.run(&["items", "revive", "one"]).0, 2, "a reason is needed");
    assert_eq!(host.run(&["items", "revive", "one", "--reason", "a clearer task"]).0, 0);
    assert_eq!(host.run(&["items", "abandon", "one", "--reason", "not worth it"]).0, 0);
    let (code, _, stderr) = host.run(&["items", "abandon", "one", "--reason", "twice"]);
    assert!(code == 2 && stderr.contains("an item that is abandoned cannot be abandoned"), "{stderr}");
    let (_, said, _) = host.run(&["items", "show", "default/examples/one"]);
    assert!(said.contains("not worth it") && said.contains("1 before it was revived"), "{said}");
    assert_eq!(host.run(&["items", "show", "two"]).0, 1);
    assert_eq!(host.run(&["answer"]).0, 0);
    for question in ["no-such-run", "no-such-run/3"] {
        let (code, _, stderr) = host.run(&["answer", question, "1"]);
        assert!(code == 1 && stderr.contains("no run no-such-run is in"), "{stderr}");
    }
}

#[test]
fn a_job_that_names_no_item_says_so_and_runs_only_where_the_operator_lets_it() {
    let host = Host::new();
    let hello = format!("{EXAMPLES}/hello");
    for command in ["run", "explain"] {
        let said = |arguments: &[&str]| host.run(&[&[command, hello.as_str()], arguments].concat());
        let (code, _, stderr) = said(&[]);
        assert!(code == 0 && stderr.contains("each run is one of its own"), "{command}: {stderr}");
        let (code, _, stderr) = said(&["--item", command]);
        assert!(code == 0 && !stderr.contains("each run is one of its own"), "{command}: {stderr}");
    }
    let operator = host.path("host.toml");
    std::fs::write(&operator, "[policy]\nitems = \"named\"\n").unwrap();
    let under = |arguments: &[&str]| host.run(&[&["--host", operator.to_str().unwrap()], arguments].concat());
    let (code, _, stderr) = under(&["run", &hello]);
    assert!(code == 2 && stderr.contains("`policy.items` is \"named\""), "{stderr}");
    assert_eq!(under(&["run", &hello, "--item", "one"]).0, 0);
    assert_eq!(under(&["explain", &hello]).0, 0, "nothing runs");
    let (code, _, stderr) = under(&["mcp", &hello, "--worker", "hello"]);
    assert!(code == 1 && stderr.contains("`policy.items` is \"named\""), "{stderr}");
}

#[test]
fn a_lock_is_cleared_by_its_number_and_not_after_a_pull_that_nobody_saw() {
    let host = Host::new();
    let pull = |why: &str| assert_eq!(host.run(&["andon", "pull", "default/x", "--reason", why]).0, 0);
    let clear = |what: &str, pulls: &[&str]| {
        let words = ["andon", "clear", what, "--cause", "looked", "--no-policy-change"];
        host.run(&[&words[..], pulls].concat())
    };
    pull("the floor is wet");
    let listed = host.run(&["andon", "list"]).1;
    assert!(listed.contains("jidoka andon clear default/x/1 --pulls 1"), "{listed}");
    pull("and it smells");
    let (code, _, stderr) = clear("default/x/1", &["--pulls", "1"]);
    assert!(code == 2 && stderr.contains("and it smells"), "{stderr}");
    assert_eq!(clear("default/x", &["--pulls", "2"]).0, 2, "of which lock");
    assert_eq!(clear("default/x/1", &["--pulls", "2"]).0, 0);
    pull("again");
    let (code, _, stderr) = clear("default/x/1", &[]);
    assert!(code == 2 && stderr.contains("the line is stopped by lock 2"), "{stderr}");
    assert_eq!(clear("default/x/2", &[]).0, 0);
}

#[test]
fn a_stopped_line_says_why_with_the_chain_of_the_run_that_pulled() {
    let host = Host::new();
    let serial = host.example("cord");
    let (code, said, stderr) = host.run(&["why", "default/examples-cord"]);
    assert!(code == 0 && said.contains("ambiguous-spec by the worker") && said.contains("not yet"), "{said}{stderr}");
    assert!(said.contains(&format!("run {serial}")) && said.contains("halted: "), "{said}");
    let clear = ["andon", "clear", "examples-cord", "--cause", "free text", "--no-policy-change"];
    assert_eq!(host.run(&clear).0, 0);
    let why = host.json(&["why", "default/examples-cord/1", "--json"]);
    assert_eq!((&why["lock"], &why["cleared"]["reason"]), (&json!(1), &json!("free text")));
    assert_eq!(why["run"]["run"], serial.as_str());
    assert_eq!(host.run(&["why", "default/examples-cord/2"]).0, 1);
}

#[test]
fn a_person_answers_what_a_run_asks_and_it_goes_on() {
    let host = Host::new();
    let asked = |choice: &str| {
        let serial = host.example("consent");
        let (code, said, _) = host.run(&["answer"]);
        assert!(code == 0 && said.contains("risk high") && said.contains("1  yes, do it"), "{said}");
        let questions = host.json(&["answer", "--json"]);
        let question = &questions[0];
        assert_eq!((questions.as_array().unwrap().len(), &question["run"]), (1, &json!(serial)));
        let question = format!("{serial}/{}", question["call"]);
        assert_eq!(host.run(&["answer", &question, "3"]).0, 2, "there is no third option");
        let (code, said, stderr) = host.run(&["answer", &question, choice, "--note", "but keep a copy"]);
        assert!(code == 0 && stderr.contains(&format!("jidoka resume {serial}")), "{said}{stderr}");
        assert_eq!(host.run(&["answer", &question, choice]).0, 2, "once");
        let record = host.json(&["resume", &serial, "--json"]);
        record["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(asked("1"), "accepted");
    assert_eq!(asked("2"), "unable");
}
