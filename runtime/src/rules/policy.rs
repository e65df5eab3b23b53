//! What a run may do: deny unless granted.
//!
//! Never: performs, spends, remembers. Absent means denied: no `Option` stands for permission.

use std::collections::BTreeSet;

use super::effect::{Effect, Reason, Refusal};
use super::http::{self, HttpGrant, HttpRequest};
use super::spec::{FileGrant, Grants};

/// Bytes of one model request's texts. A guest builds them in its own memory; the host copies them twice.
pub const MAX_REQUEST_BYTES: u64 = 1 << 20;
/// Messages of one request and the tool calls in them. Each costs the host a small allocation of its own.
pub const MAX_MESSAGES: usize = 1_024;
/// Tool definitions of one request.
pub const MAX_TOOLS: usize = 128;
/// Requests of one batch: the host holds a connection for each.
pub const MAX_BATCH: usize = 16;
/// Sleeps of a run: each is two entries that the host writes and holds, and one of no time costs the guest nothing.
pub const MAX_SLEEPS: u64 = 50_000;
/// Looks at the budget of a run: each is two entries as well.
pub const MAX_LOOKS: u64 = 50_000;
/// Refused calls of a run: each is an entry of the host, and a guest that goes on after so many learns nothing from them.
pub const MAX_REFUSALS: u64 = 1_000;
/// Bytes of a reply's JSON schema: compiling one costs the host time and memory.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Bytes of a check-in's note.
pub const MAX_NOTE_BYTES: usize = 4 << 10;
/// Check-ins of a run: each makes the host digest the workspace.
pub const MAX_CHECK_INS: u64 = 1_000;
/// Bytes of an evidence's kind and name.
pub const MAX_EVIDENCE_NAME_BYTES: usize = 256;
/// Bytes of one piece of evidence.
pub const MAX_EVIDENCE_BYTES: u64 = 1 << 20;
/// Pieces of evidence of a run: each is a file of the host.
pub const MAX_EVIDENCE: u64 = 256;
/// Bytes of one `random.bytes`.
pub const MAX_RANDOM_BYTES: u32 = 64 << 10;
/// Bytes of a question to a person and of its options.
pub const MAX_QUESTION_BYTES: usize = 16 << 10;
/// Options of a question: a person reads them all.
pub const MAX_OPTIONS: usize = 16;
/// Questions of a run: each stops it, and takes a person's time.
pub const MAX_QUESTIONS: u64 = 32;
/// HTTP exchanges of a run: each is two entries that the host writes and holds, and one connection at least.
pub const MAX_FETCHES: u64 = 10_000;
/// Bytes of a request's address. Servers take 8 KiB: <https://www.rfc-editor.org/rfc/rfc9110#section-4.1>.
pub const MAX_URL_BYTES: usize = 8 << 10;
/// Bytes of a request's headers, names and values, each field with a little for itself. Most servers take no more.
pub const MAX_HEADER_BYTES: usize = 16 << 10;
/// Bytes of a reply's headers, counted alike: what the door reads, and the little for each.
pub const MAX_REPLY_HEADER_BYTES: usize = 40 << 10;
/// Bytes of one body of an exchange, whatever a grant says: the host holds it several times, and keeps it in the journal.
pub const MAX_HTTP_BODY_BYTES: u64 = 8 << 20;
/// Bytes of the input of a tool's call: the journal keeps it, and the host reads it as JSON.
pub const MAX_TOOL_INPUT_BYTES: usize = 1 << 20;
/// Children of a run, all its calls together: each is a run with a directory and a journal of its own.
pub const MAX_CHILDREN: u64 = 64;
/// Children within each other: a child of a child of a child has none.
pub const MAX_CHILD_DEPTH: usize = 3;
/// Bytes of a child's task.
pub const MAX_TASK_BYTES: usize = 256 << 10;
/// Names of tools in a refusal.
const MAX_NAMED_TOOLS: usize = 32;
/// Bytes of a report's or a judgement's text that are kept.
pub const MAX_SUMMARY_BYTES: usize = 64 << 10;

/// Who has the grants. A refusal names the setting that grants the effect to this guest, and no setting that does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grantee {
    Worker,
    /// What it has is fixed.
    Check,
    /// A tool component has what its own section gives it.
    Tool,
}

impl Grantee {
    /// The refusal of an effect as it is true for them.
    pub fn told(self, effect: &Effect, refusal: Refusal) -> Refusal {
        let setting = match (self, refusal.reason == Reason::NotGranted, effect) {
            (Grantee::Worker, _, _) | (_, false, _) => return refusal,
            (Grantee::Check, true, _) => "none: a check has the files of the result to read, and nothing else",
            (Grantee::Tool, true, Effect::Fetch { .. }) => {
                "[[tools.NAME.http]], within the worker's own [[grants.http]]"
            }
            (Grantee::Tool, true, Effect::CheckIn { .. }) => "[tools.NAME] files",
            (Grantee::Tool, true, _) => "none: a tool has files and addresses, and nothing else",
        };
        Refusal { setting: setting.to_owned(), ..refusal }
    }
}

/// How often a run did what is counted rather than budgeted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub check_ins: u64,
    pub evidence: u64,
    pub sleeps: u64,
    /// At the budget.
    pub looks: u64,
    /// To a person.
    pub questions: u64,
    /// HTTP exchanges.
    pub fetches: u64,
}

impl Counts {
    /// As it will be after so many more of what comes in batches.
    pub fn after(self, more: u64) -> Self {
        Self { fetches: self.fetches.saturating_add(more), evidence: self.evidence.saturating_add(more), ..self }
    }
}

/// Whether the grants allow an effect.
///
/// # Errors
/// A [`Refusal`] with what was asked, what is allowed, and the line to write.
pub fn rule(grants: &Grants, counts: Counts, effect: &Effect) -> Result<(), Refusal> {
    match effect {
        Effect::Model { request } => {
            if !grants.models.contains(&request.model) {
                return Err(not_granted_model(&grants.models, &request.model));
            }
            at_most("bytes of request", request.content_bytes(), MAX_REQUEST_BYTES)?;
            at_most("messages and tool calls", request.messages_and_calls(), MAX_MESSAGES as u64)?;
            at_most("tools", request.tools.len() as u64, MAX_TOOLS as u64)?;
            let schema_bytes = request.schema.as_deref().map_or(0, str::len);
            at_most("bytes of schema", schema_bytes as u64, MAX_SCHEMA_BYTES as u64)
        }
        Effect::Attach { kind, name, bytes, .. } => {
            at_most("bytes of kind and name", (kind.len() + name.len()) as u64, MAX_EVIDENCE_NAME_BYTES as u64)?;
            at_most("bytes of evidence", *bytes, MAX_EVIDENCE_BYTES)?;
            at_most("pieces of evidence", counts.evidence + 1, MAX_EVIDENCE)
        }
        Effect::CheckIn { note } => {
            if grants.files == FileGrant::None {
                return Err(not_granted("check-in", "no files", "[grants] files = \"read-write\""));
            }
            at_most("bytes of note", note.len() as u64, MAX_NOTE_BYTES as u64)?;
            at_most("check-ins", counts.check_ins + 1, MAX_CHECK_INS)
        }
        Effect::Sleep { .. } => at_most("sleeps", counts.sleeps + 1, MAX_SLEEPS),
        Effect::Count { .. } => Err(not_granted("a count", "nothing", "none: the host counts by itself")),
        Effect::Left => at_most("looks at the budget", counts.looks + 1, MAX_LOOKS),
        Effect::Tool { name, input, .. } => {
            if grants.tools.is_empty() {
                return Err(not_granted_tool(name, []));
            }
            at_most("bytes of input", input.len() as u64, MAX_TOOL_INPUT_BYTES as u64)
        }
        Effect::Child { name, task, budget, .. } => {
            if !grants.children.contains(name) {
                return Err(not_granted_child(&grants.children, name));
            }
            if let Some(level) = budget.keys().find(|line| line.is_level()) {
                return Err(Refusal {
                    reason: Reason::Invalid,
                    asked: format!("a child with a budget of {}", level.name()),
                    allowed: "lines that are spent".to_owned(),
                    setting: "the caps of the child's own job".to_owned(),
                });
            }
            at_most("bytes of task", task.len() as u64, MAX_TASK_BYTES as u64)
        }
        Effect::Human { question, options, .. } => {
            if grants.human_ms.is_none() {
                return Err(not_granted("a question to a person", "no questions", "[grants] human = true"));
            }
            let bytes = options.iter().map(String::len).sum::<usize>() + question.len();
            at_most("bytes of question and options", bytes as u64, MAX_QUESTION_BYTES as u64)?;
            at_most("options", options.len() as u64, MAX_OPTIONS as u64)?;
            if options.is_empty() {
                return Err(Refusal {
                    reason: Reason::Invalid,
                    asked: "a question without options".to_owned(),
                    allowed: "at least one option to choose".to_owned(),
                    setting: "the worker's own question".to_owned(),
                });
            }
            at_most("questions", counts.questions + 1, MAX_QUESTIONS)
        }
        Effect::Fetch { request } => {
            at_most("bytes of address", request.url.len() as u64, MAX_URL_BYTES as u64)?;
            at_most("bytes of headers", header_bytes(&request.headers), MAX_HEADER_BYTES as u64)?;
            let grant = http::judge(&grants.http, request)?;
            body_fits(request, grant)?;
            at_most("fetches", counts.fetches + 1, MAX_FETCHES)
        }
    }
}

/// What a field costs beside its name and its value.
const HEADER_OVERHEAD_BYTES: usize = 4;

/// Bytes of headers as they are sent: `name: value` and the end of the line.
pub fn header_bytes(headers: &[(String, String)]) -> u64 {
    headers.iter().map(|(name, value)| (name.len() + value.len() + HEADER_OVERHEAD_BYTES) as u64).sum()
}

fn body_fits(request: &HttpRequest, grant: &HttpGrant) -> Result<(), Refusal> {
    let (asked, allowed) = (request.body.0.len() as u64, grant.limits.max_request_bytes);
    if asked > allowed && allowed < MAX_HTTP_BODY_BYTES {
        return Err(Refusal {
            reason: Reason::TooLarge,
            asked: format!("{asked} bytes of request body to {}", grant.host),
            allowed: format!("at most {allowed}"),
            setting: "request in its [[grants.http]]".to_owned(),
        });
    }
    at_most("bytes of request body", asked, MAX_HTTP_BODY_BYTES)
}

/// No tool of this name is granted. `granted`: the names of those that are.
pub fn not_granted_tool<'a>(asked: &str, granted: impl IntoIterator<Item = &'a str>) -> Refusal {
    let names: Vec<&str> = granted.into_iter().take(MAX_NAMED_TOOLS).collect();
    let allowed = if names.is_empty() { "no tools".to_owned() } else { format!("tools: {}", names.join(", ")) };
    not_granted(&format!("tool {}", shown(asked)), &allowed, "[grants] tools, and [tools.NAME]")
}

fn not_granted_child(granted: &BTreeSet<String>, asked: &str) -> Refusal {
    let asked = shown(asked);
    let names: Vec<&str> = granted.iter().map(String::as_str).collect();
    let allowed = match names.is_empty() {
        true => format!("no children; below {MAX_CHILD_DEPTH} callers there are none"),
        false => format!("children: {}", names.join(", ")),
    };
    let setting = format!("[grants] children = [{asked}], and [children.NAME]");
    not_granted(&format!("child {asked}"), &allowed, &setting)
}

fn not_granted_model(granted: &BTreeSet<String>, asked: &str) -> Refusal {
    let asked = shown(asked);
    let names: Vec<&str> = granted.iter().map(String::as_str).collect();
    let allowed = if names.is_empty() { "no models".to_owned() } else { format!("models: {}", names.join(", ")) };
    not_granted(&format!("model {asked}"), &allowed, &format!("[grants] models = [{asked}]"))
}

/// A name that a guest gave, quoted and cut: it comes back to the guest and into the journal.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(64).collect::<String>())
}

fn not_granted(asked: &str, allowed: &str, setting: &str) -> Refusal {
    let reason = Reason::NotGranted;
    Refusal { reason, asked: asked.to_owned(), allowed: allowed.to_owned(), setting: setting.to_owned() }
}

/// Refuses what is larger than its cap; the cap itself is allowed.
pub fn at_most(what: &str, asked: u64, cap: u64) -> Result<(), Refusal> {
    if asked <= cap {
        return Ok(());
    }
    Err(Refusal {
        reason: Reason::TooLarge,
        asked: format!("{asked} {what}"),
        allowed: format!("at most {cap}"),
        setting: "none: a fixed cap of the host".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::http::{HttpBody, HttpLimits, Scheme};
    use crate::rules::ledger::Line;
    use crate::rules::model::{Message, Request, Role, ToolCall, ToolDefinition};

    fn ask(model: &str, bytes: usize) -> Effect {
        let message = Message::new(Role::User, "x".repeat(bytes));
        Effect::Model {
            request: Request {
                model: model.into(),
                messages: vec![message],
                tools: vec![],
                max_output: 1,
                min_output: 1,
                schema: None,
            },
        }
    }

    fn fetch(method: &str, body_bytes: usize) -> Effect {
        Effect::Fetch {
            request: HttpRequest {
                method: method.into(),
                url: "http://127.0.0.1:80/".into(),
                headers: vec![],
                body: HttpBody(vec![0; body_bytes]),
            },
        }
    }

    fn web(max_request_bytes: u64) -> Grants {
        let limits = HttpLimits { max_request_bytes, max_response_bytes: 0, total_ms: 1, max_redirects: 0 };
        let grant = HttpGrant {
            methods: vec!["GET".into(), "POST".into()],
            scheme: Scheme::Http,
            host: "127.0.0.1".into(),
            port: 80,
            path: "/".into(),
            networks: vec![],
            secrets: vec![],
            limits,
        };
        Grants { http: vec![grant], ..Grants::default() }
    }

    #[test]
    fn a_childs_task_holds_at_n_and_is_refused_at_n_plus_1() {
        let grants = Grants { children: ["help".to_owned()].into(), ..Grants::default() };
        let child = |bytes: usize, line: Line| Effect::Child {
            name: "help".into(),
            task: "x".repeat(bytes),
            budget: [(line, 1)].into(),
            reach: Default::default(),
        };
        let ruled = |effect| rule(&grants, Counts::default(), &effect).map_err(|refusal| refusal.reason);
        assert_eq!(ruled(child(MAX_TASK_BYTES, Line::Tokens)), Ok(()));
        assert_eq!(ruled(child(MAX_TASK_BYTES + 1, Line::Tokens)), Err(Reason::TooLarge));
        assert_eq!(ruled(child(1, Line::MemoryBytes)), Err(Reason::Invalid));
        let none = rule(&Grants::default(), Counts::default(), &child(1, Line::Tokens)).expect_err("is not granted");
        assert!(none.reason == Reason::NotGranted && none.setting.contains("[children.NAME]"), "{none:?}");
    }

    #[test]
    fn a_fetch_keeps_to_its_caps_at_n_and_is_refused_at_n_plus_1() {
        let none = Counts::default();
        let refused = |grants: &Grants, counts, effect: &Effect| rule(grants, counts, effect).expect_err("refused");
        assert!(rule(&web(10), none, &fetch("POST", 10)).is_ok());
        let over = refused(&web(10), none, &fetch("POST", 11));
        assert_eq!((over.reason, over.allowed.as_str()), (Reason::TooLarge, "at most 10"));
        let most = MAX_HTTP_BODY_BYTES as usize;
        assert!(rule(&web(u64::MAX), none, &fetch("POST", most)).is_ok());
        assert_eq!(refused(&web(u64::MAX), none, &fetch("POST", most + 1)).reason, Reason::TooLarge);
        assert!(rule(&web(0), Counts { fetches: MAX_FETCHES - 1, ..none }, &fetch("GET", 0)).is_ok());
        assert!(rule(&web(0), Counts { fetches: MAX_FETCHES, ..none }, &fetch("GET", 0)).is_err());
        let with = |url_bytes: usize, value_bytes: usize| {
            let Effect::Fetch { mut request } = fetch("GET", 0) else { panic!("a fetch") };
            request.url.push_str(&"x".repeat(url_bytes - request.url.len()));
            // Two of them: one alone has a tighter cap.
            for bytes in [value_bytes / 2, value_bytes - value_bytes / 2] {
                request.headers.push(("name".into(), "x".repeat(bytes - 4 - HEADER_OVERHEAD_BYTES)));
            }
            Effect::Fetch { request }
        };
        assert!(rule(&web(0), none, &with(MAX_URL_BYTES, MAX_HEADER_BYTES)).is_ok());
        assert!(rule(&web(0), none, &with(MAX_URL_BYTES + 1, MAX_HEADER_BYTES)).is_err());
        assert!(rule(&web(0), none, &with(MAX_URL_BYTES, MAX_HEADER_BYTES + 1)).is_err());
    }

    fn coder() -> Grants {
        Grants { models: BTreeSet::from(["coder".to_owned()]), ..Grants::default() }
    }

    #[test]
    fn the_default_grants_nothing_that_needs_a_grant() {
        let effects = [
            ask("coder", 1),
            Effect::Tool { name: "grep".into(), input: String::new(), reach: Default::default() },
            Effect::Child {
                name: "other".into(),
                task: String::new(),
                budget: Default::default(),
                reach: Default::default(),
            },
            Effect::Human { question: String::new(), options: vec![], risk: Default::default() },
            Effect::CheckIn { note: String::new() },
            fetch("GET", 0),
        ];
        for effect in effects {
            let refused = rule(&Grants::default(), Counts::default(), &effect).expect_err("refused");
            assert_eq!(refused.reason, Reason::NotGranted, "{effect:?}");
        }
    }

    #[test]
    fn a_refusal_says_asked_allowed_and_the_line_to_write() {
        let refused = rule(&coder(), Counts::default(), &ask("gpt", 1)).expect_err("refused");
        assert_eq!(refused.asked, "model \"gpt\"");
        assert_eq!(refused.allowed, "models: coder");
        assert_eq!(refused.setting, "[grants] models = [\"gpt\"]");
    }

    #[test]
    fn each_cap_holds_at_n_and_refuses_n_plus_1() {
        let grants = Grants { files: FileGrant::ReadOnly, ..coder() };
        let at = |counts, effect: &Effect| rule(&grants, counts, effect);
        let none = Counts::default();
        assert!(at(none, &ask("coder", MAX_REQUEST_BYTES as usize)).is_ok());
        assert!(at(none, &ask("coder", MAX_REQUEST_BYTES as usize + 1)).is_err());
        let note = |bytes: usize| Effect::CheckIn { note: "x".repeat(bytes) };
        assert!(at(none, &note(MAX_NOTE_BYTES)).is_ok());
        assert!(at(none, &note(MAX_NOTE_BYTES + 1)).is_err());
        assert!(at(Counts { check_ins: MAX_CHECK_INS - 1, ..none }, &note(1)).is_ok());
        assert!(at(Counts { check_ins: MAX_CHECK_INS, ..none }, &note(1)).is_err());
        let attach = |bytes, name: usize| Effect::Attach {
            kind: String::new(),
            name: "x".repeat(name),
            digest: String::new(),
            bytes,
        };
        assert!(at(none, &attach(MAX_EVIDENCE_BYTES, MAX_EVIDENCE_NAME_BYTES)).is_ok());
        assert!(at(none, &attach(MAX_EVIDENCE_BYTES + 1, 1)).is_err());
        assert!(at(none, &attach(1, MAX_EVIDENCE_NAME_BYTES + 1)).is_err());
        assert!(at(Counts { evidence: MAX_EVIDENCE - 1, ..none }, &attach(1, 1)).is_ok());
        assert!(at(Counts { evidence: MAX_EVIDENCE, ..none }, &attach(1, 1)).is_err());
        let sleep = Effect::Sleep { ms: 0 };
        assert!(at(Counts { sleeps: MAX_SLEEPS - 1, ..none }, &sleep).is_ok());
        assert!(at(Counts { sleeps: MAX_SLEEPS, ..none }, &sleep).is_err());
    }

    #[test]
    fn each_cap_of_a_request_and_of_a_question_holds_at_n_and_refuses_n_plus_1() {
        let grants = Grants { human_ms: Some(1), ..coder() };
        let none = Counts::default();
        let holds = |counts: Counts, effect: Effect| match rule(&grants, counts, &effect) {
            Ok(()) => true,
            Err(refused) => {
                assert_eq!(refused.reason, Reason::TooLarge, "{refused:?}");
                false
            }
        };
        let ask = |change: &dyn Fn(&mut Request)| {
            let Effect::Model { mut request } = ask("coder", 1) else { unreachable!("a model's") };
            change(&mut request);
            Effect::Model { request }
        };
        let messages = |count: usize| ask(&|it| it.messages = vec![it.messages[0].clone(); count]);
        assert!(holds(none, messages(MAX_MESSAGES)) && !holds(none, messages(MAX_MESSAGES + 1)));
        let call = || ToolCall { id: String::new(), name: String::new(), arguments: String::new() };
        let calls = |count: usize| ask(&|it| it.messages[0].tool_calls = (1..count).map(|_| call()).collect());
        assert!(holds(none, calls(MAX_MESSAGES)) && !holds(none, calls(MAX_MESSAGES + 1)), "calls count as messages");
        let tool = || ToolDefinition { name: String::new(), description: String::new(), schema: String::new() };
        let tools = |count: usize| ask(&|it| it.tools = (0..count).map(|_| tool()).collect());
        assert!(holds(none, tools(MAX_TOOLS)) && !holds(none, tools(MAX_TOOLS + 1)));
        let schema = |bytes: usize| ask(&|it| it.schema = Some("x".repeat(bytes)));
        assert!(holds(none, schema(MAX_SCHEMA_BYTES)) && !holds(none, schema(MAX_SCHEMA_BYTES + 1)));
        let looks = |looks| Counts { looks, ..none };
        assert!(holds(looks(MAX_LOOKS - 1), Effect::Left) && !holds(looks(MAX_LOOKS), Effect::Left));
        let question = |bytes: usize, options: usize| Effect::Human {
            question: "x".repeat(bytes - options),
            options: vec!["y".to_owned(); options],
            risk: Default::default(),
        };
        assert!(holds(none, question(MAX_QUESTION_BYTES, 1)) && !holds(none, question(MAX_QUESTION_BYTES + 1, 1)));
        assert!(holds(none, question(99, MAX_OPTIONS)) && !holds(none, question(99, MAX_OPTIONS + 1)));
        let asked = |questions| Counts { questions, ..none };
        assert!(holds(asked(MAX_QUESTIONS - 1), question(9, 1)) && !holds(asked(MAX_QUESTIONS), question(9, 1)));
    }
}
