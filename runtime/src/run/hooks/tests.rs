//! Hooks as a run meets them: what they are told, what they get of the environment, and each way to end.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::rules::andon::{Category, Pull, Puller};
use crate::rules::hook::{HOOK_FORMAT, Moment};

/// Far above what anything here takes that is not stuck.
const LONG_MS: u64 = 30_000;

fn event(moment: Moment) -> HookEvent {
    HookEvent {
        format: HOOK_FORMAT,
        moment,
        serial: Some("01m7z68hfe-40bawa".to_owned()),
        tenant: Some("acme".to_owned()),
        line: "pages".to_owned(),
        item: Some("chapter-one".to_owned()),
        attempt: Some(2),
        record: None,
        pull: None,
    }
}

fn hook(run: HookRun) -> Hook {
    Hook { on: Moment::AfterRun, run, wall_ms: LONG_MS, env: BTreeSet::new(), lines: None }
}

fn bash(script: &str) -> Hook {
    hook(HookRun::Command(["/bin/bash", "-c", script].map(str::to_owned).to_vec()))
}

fn named(hook: Hook, names: &[&str]) -> Hook {
    Hook { env: names.iter().map(|&name| name.to_owned()).collect(), ..hook }
}

fn hooks(hooks: Vec<Hook>, variables: &[(&str, &str)]) -> Hooks {
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let environment = HookEnvironment::from_variables(&hooks, variables);
    Hooks::new(hooks, environment)
}

async fn ends(all: Vec<Hook>, event: &HookEvent) -> Vec<HookResult> {
    hooks(all, &[]).run(event).await.into_iter().map(|end| end.end).collect()
}

/// The only end of the only hook.
async fn end(hook: Hook) -> HookResult {
    let [end] = ends(vec![hook], &event(Moment::AfterRun)).await.try_into().expect("one hook ran");
    end
}

/// What a hook wrote into a file.
struct Written(tempfile::TempDir);

impl Written {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> String {
        self.0.path().join("written").display().to_string()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).expect("the hook wrote it")
    }
}

/// A server on loopback that gives every request the same answer, and keeps what it was asked. Without an answer it
/// stays silent.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let url = format!("http://{}/services/canary", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut text, mut chunk) = (String::new(), [0; 4 << 10]);
                while !is_whole(&text) {
                    let Ok(read @ 1..) = client.read(&mut chunk).await else { break };
                    text.push_str(&String::from_utf8_lossy(&chunk[..read]));
                }
                kept.lock().expect("nobody panicked").push(text);
                match answer {
                    Some(answer) => drop(client.write_all(answer.as_bytes()).await),
                    None => silent.push(client),
                }
            }
        });
        Self { url, asked, task }
    }

    fn hook(&self) -> Hook {
        hook(HookRun::Webhook(self.url.clone()))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panicked").clone()
    }
}

/// Whether a request has all of the body that it announced.
fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| length.parse() == Ok(body.len()))
}

#[tokio::test]
async fn a_command_gets_exactly_what_is_named_and_what_the_event_says() {
    let written = Written::new();
    let variables = [("GREETING", "hello"), ("CANARY", "canary"), ("PATH", "/bin")];
    let other = named(bash("true"), &["CANARY"]);
    let one = named(bash(&format!("/usr/bin/env > {}", written.path())), &["GREETING", "NOT_SET"]);
    let ran = hooks(vec![one, Hook { on: Moment::OnPull, ..other }], &variables).run(&event(Moment::AfterRun)).await;
    assert_eq!(ran.len(), 1);
    assert_eq!(ran[0].end, HookResult::Done);
    let text = written.text();
    // Bash makes these itself.
    let own = ["PWD=", "SHLVL=", "_="];
    let mut seen: Vec<&str> = text.lines().filter(|line| !own.iter().any(|own| line.starts_with(own))).collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            "GREETING=hello",
            "JIDOKA_ATTEMPT=2",
            "JIDOKA_ITEM=chapter-one",
            "JIDOKA_LINE=pages",
            "JIDOKA_MOMENT=after-run",
            "JIDOKA_RUN=01m7z68hfe-40bawa",
        ]
    );
}

#[tokio::test]
async fn the_environment_of_this_process_is_not_inherited() {
    assert!(std::env::var_os("PATH").is_some(), "there is something to inherit");
    assert_eq!(end(hook(HookRun::Command(vec!["/usr/bin/env".to_owned()]))).await, HookResult::Done);
    let inherits = bash("while read -r line; do case $line in PATH=*) exit 1;; esac; done < <(/usr/bin/env)");
    assert_eq!(end(inherits).await, HookResult::Done);
}

#[tokio::test]
async fn a_command_reads_the_event_as_json_in_a_directory_that_is_nobodys() {
    let written = Written::new();
    let script = format!("pwd > {0}; /bin/cat >> {0}", written.path());
    let pulled = Pull {
        by: Puller::Operator,
        category: Category::Operator,
        reason: "a \"look\"\nfirst".to_owned(),
        evidence: Vec::new(),
    };
    let told = HookEvent { serial: None, item: None, attempt: None, pull: Some(pulled), ..event(Moment::OnPull) };
    let hook = Hook { on: Moment::OnPull, ..bash(&script) };
    assert_eq!(ends(vec![hook], &told).await, [HookResult::Done]);
    let text = written.text();
    let (directory, read) = text.split_once('\n').expect("two lines");
    assert_eq!(directory, "/");
    assert_eq!(
        serde_json::from_str::<Value>(read).expect("is JSON"),
        json!({
            "format": 1,
            "moment": "on-pull",
            "serial": null,
            "tenant": "acme",
            "line": "pages",
            "item": null,
            "attempt": null,
            "record": null,
            "pull": { "by": "operator", "category": "operator", "reason": "a \"look\"\nfirst" },
        })
    );
    assert_eq!(serde_json::from_str::<HookEvent>(read).expect("is an event"), told);
}

#[tokio::test]
async fn a_command_that_says_no_refuses_with_its_last_words_and_no_secret() {
    assert_eq!(end(bash("exit 3")).await, HookResult::Refused { why: "exit status: 3".to_owned() });
    let script = "echo first; echo; echo -e \"no \\e[31m $TOKEN and $LONGER\" >&2; echo >&2; exit 1";
    let hook = named(bash(script), &["TOKEN", "LONGER"]);
    let ran = hooks(vec![hook], &[("TOKEN", "canary-1"), ("LONGER", "canary-1-and-more")]);
    let ran = ran.run(&event(Moment::AfterRun)).await;
    let why = "exit status: 1: no  [31m [TOKEN] and [LONGER]".to_owned();
    let end = HookEnd { hook: "hook[1] after-run /bin/bash".to_owned(), end: HookResult::Refused { why } };
    assert_eq!(ran, [end]);
    let HookResult::Refused { why } = self::end(bash("printf x%.0s {1..999}; exit 1")).await else { panic!("refuses") };
    assert_eq!(why, format!("exit status: 1: {}", "x".repeat(LONGEST_WORDS)));
}

#[tokio::test]
async fn a_command_that_is_not_there_is_broken() {
    let missing = hook(HookRun::Command(vec!["/no/such/hook".to_owned()]));
    let HookResult::Broken { why } = end(missing).await else { panic!("is broken") };
    assert!(why.contains("/no/such/hook could not be started"), "{why}");
}

#[tokio::test]
async fn a_hook_out_of_time_is_stopped_and_the_next_one_runs() {
    let written = Written::new();
    let stuck = Hook { wall_ms: 300, ..bash("/bin/sleep 60") };
    let next = bash(&format!("echo ran > {}", written.path()));
    let began = Instant::now();
    let ends = ends(vec![stuck, next], &event(Moment::AfterRun)).await;
    assert_eq!(ends, [HookResult::TimedOut { wall_ms: 300 }, HookResult::Done]);
    assert!(began.elapsed() < Duration::from_millis(LONG_MS / 2));
    assert_eq!(written.text(), "ran\n");
}

#[tokio::test]
async fn hooks_run_in_the_order_of_the_file_and_only_those_of_the_moment_and_the_line() {
    let written = Written::new();
    let say = |word: &str| bash(&format!("echo {word} >> {}", written.path()));
    let lines = |lines: &[&str]| Some(lines.iter().map(|&line| line.to_owned()).collect());
    let all = vec![
        say("first"),
        Hook { on: Moment::BeforeRun, ..say("before") },
        Hook { lines: lines(&["other"]), ..say("other") },
        // Slower than the one after it.
        bash(&format!("/bin/sleep 0.3; echo second >> {}; exit 1", written.path())),
        Hook { lines: lines(&["other", "pages"]), ..say("third") },
    ];
    let ends = hooks(all, &[]).run(&event(Moment::AfterRun)).await;
    assert_eq!(written.text(), "first\nsecond\nthird\n");
    let shown: Vec<&str> = ends.iter().map(|end| end.hook.as_str()).collect();
    assert_eq!(shown, [1, 4, 5].map(|number| format!("hook[{number}] after-run /bin/bash")));
    assert!(Hooks::default().run(&event(Moment::AfterRun)).await.is_empty());
}

#[tokio::test]
async fn a_webhook_is_posted_the_event_and_2xx_is_done() {
    for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"] {
        let server = Server::start(Some(answer)).await;
        assert_eq!(end(server.hook()).await, HookResult::Done);
        let [request] = server.asked().try_into().expect("one request");
        let (head, body) = request.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("POST /services/canary HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(serde_json::from_str::<HookEvent>(body).expect("is an event"), event(Moment::AfterRun));
    }
}

#[tokio::test]
async fn a_webhook_that_answers_no_or_elsewhere_refuses_once() {
    for (answer, why) in [
        ("HTTP/1.1 500 No\r\ncontent-length: 6\r\n\r\ncanary", "it answered 500"),
        ("HTTP/1.1 404 No\r\ncontent-length: 1000000\r\n\r\n", "it answered 404"),
        (
            "HTTP/1.1 307 There\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
            "it answered 307, and redirects are never followed",
        ),
    ] {
        let server = Server::start(Some(answer)).await;
        assert_eq!(end(server.hook()).await, HookResult::Refused { why: why.to_owned() });
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_webhook_that_stays_silent_is_out_of_time() {
    let server = Server::start(None).await;
    assert_eq!(end(Hook { wall_ms: 500, ..server.hook() }).await, HookResult::TimedOut { wall_ms: 500 });
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_reached_is_broken_and_its_address_is_not_said() {
    let server = Server::start(Some("no http\r\n\r\n")).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let nobody = format!("http://{}/services/canary", closed.local_addr().expect("it is bound"));
    drop(closed);
    let plain = "http://host.example/services/canary".to_owned();
    let other = "file:///services/canary".to_owned();
    for url in [server.url.clone(), nobody, plain, other] {
        let end = end(hook(HookRun::Webhook(url.clone()))).await;
        let HookResult::Broken { why } = end else { panic!("{url}: {end:?}") };
        assert!(!why.is_empty() && !why.contains("canary"), "{url}: {why}");
    }
}
