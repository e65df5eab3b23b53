//! MCP servers of the operator's as tools: what they say is bounded, and what they do beside it the wall refuses.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jidoka::doors::mcp::{MAX_LINE_BYTES, MAX_TOOLS_BYTES, MOST_REQUESTS, MOST_TOOLS, McpError, McpServer};
use jidoka::rules::effect::{Failure, FailureKind};
use jidoka::rules::mcp::{McpLimits, McpSpec};
use jidoka_tests::bench::cell;
use jidoka_tests::mcp::LONG;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) fn spec(words: &[&str]) -> McpSpec {
    McpSpec {
        program: env!("CARGO_BIN_EXE_mcp_server").into(),
        arguments: words.iter().map(|&word| word.to_owned()).collect(),
        env: BTreeMap::new(),
        reads: vec![],
        writes: vec![],
        limits: McpLimits::default(),
    }
}

async fn start(spec: &McpSpec) -> Result<McpServer, McpError> {
    McpServer::start(&cell(), spec).await
}

async fn well() -> McpServer {
    start(&spec(&["well"])).await.unwrap()
}

async fn call(server: &McpServer, tool: &str, input: &Value) -> Result<Value, Failure> {
    let output = server.call(tool, &input.to_string(), LONG).await?;
    Ok(serde_json::from_str(&output).unwrap())
}

/// The text that a tool answered with.
async fn text(server: &McpServer, tool: &str, input: Value) -> String {
    let output = call(server, tool, &input).await.unwrap();
    output["content"][0]["text"].as_str().unwrap().to_owned()
}

/// What became of something that the wall refuses.
async fn refused(server: &McpServer, tool: &str, input: Value) {
    let said = text(server, tool, input).await;
    assert!(said.starts_with("refused: "), "{tool}: {said}");
}

async fn failure(server: &McpServer, tool: &str) -> Failure {
    call(server, tool, &json!({})).await.unwrap_err()
}

fn path(path: &Path) -> Value {
    json!({ "path": path })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_lists_its_tools_and_answers_calls() {
    let server = well().await;
    for listed in 1..=2 {
        let tools = server.tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["echo", "structured"]);
        // It may change its list: it is asked each time.
        assert_eq!(tools[1].description, format!("Listed {listed} times."));
        assert_eq!(tools[0].output_schema, None);
        let schema: Value = serde_json::from_str(tools[1].output_schema.as_ref().unwrap()).unwrap();
        assert_eq!(schema, json!({ "type": "object" }));
    }
    let input = json!({ "a": [1, "ä"] });
    assert_eq!(call(&server, "structured", &input).await.unwrap(), input);
    let said = text(&server, "echo", input.clone()).await;
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), input);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_of_a_server_is_rejected_and_its_words_are_bounded() {
    let server = well().await;
    let no = failure(&server, "fails").await;
    assert_eq!(no, Failure { kind: FailureKind::Rejected, message: "it\u{fffd} may not".to_owned() });
    let unknown = failure(&server, "no-such").await;
    assert_eq!(unknown, Failure { kind: FailureKind::Rejected, message: "no tool no-such".to_owned() });
    let nonsense = server.call("echo", "[]", LONG).await.unwrap_err();
    assert_eq!(nonsense.kind, FailureKind::Rejected);
    assert_eq!(text(&server, "complains", json!({})).await, "complained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_timed_out_and_goes_on() {
    let server = well().await;
    let late = server.call("never", "{}", Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(late.kind, FailureKind::TimedOut);
    assert_eq!(text(&server, "echo", json!({})).await, "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_answers_as_many_requests_at_once_as_are_allowed() {
    let server = well().await;
    let mut never: Vec<_> = (0..MOST_REQUESTS).map(|_| Box::pin(server.call("never", "{}", LONG))).collect();
    for call in &mut never {
        assert!(futures_util::poll!(call).is_pending());
    }
    let over = server.call("echo", "{}", LONG).await.unwrap_err();
    assert_eq!(over.kind, FailureKind::Rejected);
    assert!(over.message.contains("8 calls of this server run"), "{over:?}");
    never.pop();
    assert_eq!(text(&server, "echo", json!({})).await, "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_says_why_and_is_unavailable() {
    let server = well().await;
    let died = failure(&server, "dies").await;
    assert_eq!(died.kind, FailureKind::Broken);
    assert!(died.message.contains("ended"), "{died:?}");
    let gone = async {
        loop {
            let gone = failure(&server, "echo").await;
            if gone.kind == FailureKind::Unavailable && gone.message.contains("it was too much") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
    let error = start(&spec(&["dies"])).await.err().unwrap().to_string();
    assert!(error.contains("it hung up") && error.contains("the last of many words"), "{error}");
    assert!(error.len() < 5_000, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_begin_is_of_no_use() {
    let silent = McpSpec { limits: McpLimits { start_ms: 300, ..McpLimits::default() }, ..spec(&["silent"]) };
    assert!(matches!(start(&silent).await, Err(McpError::Late(..))));
    let error = start(&spec(&["refuses"])).await.err().unwrap().to_string();
    assert!(error.contains("not today"), "{error}");
    let missing = McpSpec { program: "/no/such/program".into(), ..spec(&[]) };
    let error = start(&missing).await.err().unwrap().to_string();
    assert!(error.contains("/no/such/program"), "{error}");
    let unreadable = McpSpec { reads: vec!["/no/such/directory".into()], ..spec(&["well"]) };
    let error = start(&unreadable).await.err().unwrap().to_string();
    assert!(error.contains("/no/such/directory"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_messages_are_borne_up_to_a_number() {
    for (how, most) in [("banner", 16), ("garbage", 16)] {
        assert!(start(&spec(&[how, &most.to_string()])).await.is_ok(), "{how}");
        let error = start(&spec(&[how, &(most + 1).to_string()])).await.err().unwrap().to_string();
        assert!(error.contains("16 lines that were no messages"), "{how}: {error}");
    }
    let error = start(&spec(&["long", "5000000"])).await.err().unwrap().to_string();
    assert!(error.contains("larger than 4194304 bytes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_server_has_at_most_its_bytes() {
    let server = well().await;
    let line = async |bytes: usize| call(&server, "line", &json!({ "bytes": bytes })).await;
    assert!(line(MAX_LINE_BYTES).await.is_ok());
    for over in [line(MAX_LINE_BYTES + 1).await.unwrap_err(), failure(&well().await, "floods").await] {
        assert_eq!(over.kind, FailureKind::Broken);
        assert!(over.message.contains("larger than 4194304 bytes"), "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_nothing_and_of_another_kind_are_no_answers() {
    let server = well().await;
    let wrong = server.call("wrong-id", "{}", Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(wrong.kind, FailureKind::TimedOut);
    for tool in ["wrong-kind", "asks-for-input"] {
        let wrong = failure(&server, tool).await;
        assert_eq!(wrong.kind, FailureKind::Broken, "{tool}: {wrong:?}");
    }
    assert_eq!(text(&server, "echo", json!({})).await, "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_asks_is_refused() {
    let server = well().await;
    let answers = text(&server, "asks", json!({})).await;
    assert_eq!(answers, "sampling/createMessage: -32601, elicitation/create: -32601, roots/list: -32601");
    for tool in ["asks-for-ever", "tells-for-ever"] {
        let server = well().await;
        let flood = server.call(tool, "{}", Duration::from_millis(500)).await.unwrap_err();
        assert_eq!(flood.kind, FailureKind::TimedOut, "{tool}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_has_at_most_its_tools_its_bytes_and_an_end() {
    let listed = async |words: &[&str]| start(&spec(words)).await.unwrap().tools().await;
    assert_eq!(listed(&["crowd", &MOST_TOOLS.to_string()]).await.unwrap().len(), MOST_TOOLS);
    let over = listed(&["crowd", &(MOST_TOOLS + 1).to_string()]).await.unwrap_err().to_string();
    assert!(over.contains("more than 256 tools"), "{over}");
    // Its name and its schema are counted too.
    let words = MAX_TOOLS_BYTES - "t".len() - r#"{"type":"object"}"#.len();
    assert_eq!(listed(&["wordy", &words.to_string()]).await.unwrap().len(), 1);
    assert!(listed(&["wordy", &(words + 1).to_string()]).await.is_err());
    let endless = listed(&["endless"]).await.unwrap_err().to_string();
    assert!(endless.contains("more than 64 pages"), "{endless}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_gets_the_environment_of_its_order_and_no_other() {
    assert!(std::env::var_os("PATH").is_some(), "there is something to inherit");
    assert_eq!(text(&well().await, "env", json!({})).await, "[]");
    let env = BTreeMap::from([("KEY".to_owned(), "value".to_owned())]);
    let server = start(&McpSpec { env, ..spec(&["well"]) }).await.unwrap();
    assert_eq!(text(&server, "env", json!({})).await, r#"[("KEY", "value")]"#);
}

struct Places {
    dir: TempDir,
}

impl Places {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["read", "write", "other"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("file"), name).unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("other/file"), dir.path().join("read/link")).unwrap();
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    async fn server(&self) -> McpServer {
        let spec = McpSpec { reads: vec![self.at("read")], writes: vec![self.at("write")], ..spec(&["well"]) };
        start(&spec).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_reaches_the_directories_of_its_order_and_no_others() {
    let places = Places::new();
    let server = places.server().await;
    assert_eq!(text(&server, "read", path(&places.at("read/file"))).await, "read");
    assert_eq!(text(&server, "read", path(&places.at("write/file"))).await, "write");
    assert_eq!(text(&server, "write", path(&places.at("write/new"))).await, "written");
    assert_eq!(text(&server, "list", path(&places.at("read"))).await, "2 entries");
    assert_eq!(text(&server, "here", json!({})).await, places.at("write").display().to_string());
    for at in ["other/file", "read/link", "read/../other/file", "write/../other/file"] {
        refused(&server, "read", path(&places.at(at))).await;
    }
    for at in ["read/file", "read/new", "other/new", "new"] {
        refused(&server, "write", path(&places.at(at))).await;
    }
    let home = std::env::var("HOME").unwrap();
    for at in [home.as_str(), "/etc", "/proc", "/dev", "/", "/tmp", "/sys", "/run"] {
        refused(&server, "list", path(Path::new(at))).await;
    }
    for at in ["/etc/passwd", "/etc/shadow", "/proc/self/environ", "/proc/1/cmdline", "/proc/version"] {
        refused(&server, "read", path(Path::new(at))).await;
    }
    refused(&server, "write", path(Path::new("/tmp/jidoka-was-here"))).await;
    refused(&server, "write", path(Path::new(env!("CARGO_BIN_EXE_mcp_server")))).await;
    assert_eq!(std::fs::read_to_string(places.at("write/new")).unwrap(), "written");
    assert!(!places.at("new").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_reaches_nobody_on_the_network_or_this_machine() {
    let places = Places::new();
    let server = places.server().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    refused(&server, "tcp", json!({ "at": at })).await;
    refused(&server, "udp", json!({})).await;
    let socket = places.at("write/socket");
    let _listens = UnixListener::bind(&socket).unwrap();
    refused(&server, "unix", path(&socket)).await;
    refused(&server, "listen", path(&places.at("write/mine"))).await;
    // They would have been reached.
    std::net::TcpStream::connect(&at).unwrap();
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_no_process_and_leaves_its_group_never() {
    let server = well().await;
    refused(&server, "start", json!({})).await;
    assert_eq!(text(&server, "multiply", json!({})).await, "0 started");
    refused(&server, "leave", json!({})).await;
    assert_eq!(text(&server, "thread", json!({})).await, "a thread ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_as_much_memory_and_disk_as_it_may() {
    let places = Places::new();
    let limits = McpLimits { memory_bytes: 64 << 20, file_bytes: 1 << 20, ..McpLimits::default() };
    let with = McpSpec { writes: vec![places.at("write")], limits, ..spec(&["well"]) };
    let server = start(&with).await.unwrap();
    let held: u64 = text(&server, "memory", json!({})).await.parse().unwrap();
    assert!((16..64).contains(&held), "{held} MiB");
    refused(&server, "hide", json!({})).await;
    let big = places.at("write/big");
    // It is refused, or ended by the signal that says so.
    let written = call(&server, "big-file", &path(&big)).await;
    assert!(written.is_err() || written.unwrap()["content"][0]["text"].as_str().unwrap().starts_with("refused: "));
    assert_eq!(std::fs::metadata(&big).unwrap().len(), 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_uses_its_processor_time_and_no_more() {
    let limits = McpLimits { cpu_seconds: 1, ..McpLimits::default() };
    let server = start(&McpSpec { limits, ..spec(&["well"]) }).await.unwrap();
    let ended = failure(&server, "spins").await;
    assert_eq!(ended.kind, FailureKind::Broken, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_opens_as_many_files_as_it_may() {
    // Three are its pipes.
    assert_eq!(text(&well().await, "opens", json!({})).await, "253");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_gone_with_its_handle() {
    let before = servers();
    for is_ended in [true, false] {
        let server = start(&spec(&["well", "gone"])).await.unwrap();
        assert_eq!(servers(), before + 1);
        let never = server.call("never", "{}", Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(never.kind, FailureKind::TimedOut);
        match is_ended {
            true => server.end().await,
            false => drop(server),
        }
        let gone = async {
            while servers() > before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, gone).await.unwrap();
    }
}

/// Processes of the test above that live.
fn servers() -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let wanted = format!("{}\0well\0gone\0", env!("CARGO_BIN_EXE_mcp_server"));
    lines.filter(|line| line == wanted.as_bytes()).count()
}
