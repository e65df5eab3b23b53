//! An agent loop: ask the model, run the tools that it asks for, tell it the results, until it is done.
//!
//! It is behaviour, not authority: a tool is a closure of the worker, or one of the host's that the job grants, and what it
//! does passes the host like anything else. A tool that fails, or that is not there, is told to the model and ends nothing.
//!
//! ```
//! # extern crate jidoka_sdk as jidoka;
//! use jidoka::json::json;
//! use jidoka::turns::{End, Turns, argument};
//! # use jidoka::{Report, Result, Task, testing::{FakeHost, Scripted}};
//! # fn run(task: Task) -> Result<Report> {
//! let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
//! let talk = Turns::new("coder")
//!     .system("You read files.")
//!     .tool("read_file", "Reads a file.", schema, |arguments| {
//!         jidoka::workspace::read(argument(&arguments, "path")?).map_err(|error| error.to_string())
//!     })
//!     .run(&task.text)?;
//! match talk.end {
//!     End::Finished => Ok(Report::done(talk.text)),
//!     end => Ok(Report::unable(end.to_string())),
//! }
//! # }
//! # let end = FakeHost::new()
//! #     .file("a.txt", "x")
//! #     .reply(Scripted::call("read_file", json!({"path": "a.txt"})))
//! #     .reply("it says x")
//! #     .run(run, Task::new("what does a.txt say?"));
//! # assert_eq!(end.report().summary, "it says x");
//! ```

use std::fmt;

use serde_json::Value;

use crate::denied::{Denied, Refusal};
use crate::error;
use crate::host;
use crate::model::{self, Message, Reply, Request, Stop, ToolCall, ToolDefinition, Usage};
use crate::tools::{self, Invocation};

/// Model calls of one [`Turns::run`] unless set: enough for a small task, little enough that a loop is noticed.
pub const DEFAULT_MAX_TURNS: u32 = 16;

/// Bytes of one tool result that the model is told unless set: about 16,000 tokens, so that one big file does not
/// fill a context window.
pub const DEFAULT_MAX_RESULT_BYTES: usize = 64 * 1024;

/// An agent loop that is being set up.
#[must_use = "nothing is asked until `run`"]
pub struct Turns<'a> {
    request: Request,
    tools: Vec<Offered<'a>>,
    max_turns: u32,
    max_result_bytes: usize,
}

/// A tool that the model is offered.
struct Offered<'a> {
    name: String,
    runs: Runs<'a>,
}

/// Where a tool runs.
enum Runs<'a> {
    Here(Box<dyn FnMut(Value) -> Result<String, String> + 'a>),
    AtTheHost,
}

/// What a loop came to.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Why it ended.
    pub end: End,
    /// The text of the last reply; empty if there was none.
    pub text: String,
    /// Replies of the model.
    pub turns: u32,
    /// Tool calls that were run, failing and unknown ones included.
    pub tool_calls: u32,
    /// What all replies cost together.
    pub usage: Usage,
    /// The whole conversation.
    pub messages: Vec<Message>,
}

/// Why a loop ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The model asked for no more tools.
    Finished,
    /// A reply reached its output cap; its text, and any tool call in it, may be cut, so none was run.
    Cut,
    /// The provider withheld a reply.
    Withheld,
    /// A budget line has too little left for another turn.
    Exhausted(Refusal),
    /// The model still asked for tools after the last turn allowed.
    OutOfTurns,
}

impl<'a> Turns<'a> {
    /// A loop with a model by the job's name for it, no tools and the default limits.
    pub fn new(model: impl Into<String>) -> Self {
        Turns {
            request: Request::new(model),
            tools: Vec::new(),
            max_turns: DEFAULT_MAX_TURNS,
            max_result_bytes: DEFAULT_MAX_RESULT_BYTES,
        }
    }

    /// Adds a system message.
    pub fn system(mut self, content: impl Into<String>) -> Self {
        self.request = self.request.system(content);
        self
    }

    /// Adds a tool that the worker itself runs. `schema` is the JSON schema of its arguments.
    ///
    /// The model chooses the arguments and may break the schema. An `Err` is told to the model as the result.
    pub fn tool(
        self,
        name: impl Into<String>,
        description: impl Into<String>,
        schema: Value,
        run: impl FnMut(Value) -> Result<String, String> + 'a,
    ) -> Self {
        let definition =
            ToolDefinition { name: name.into(), description: description.into(), schema: schema.to_string() };
        self.offer(definition, Runs::Here(Box::new(run)))
    }

    /// Adds every tool of the host's that this run may call: those of `[grants] tools`.
    ///
    /// The host checks the arguments and meters the call. Calls that follow each other in one reply are one batch, and run
    /// at once. A refusal or a failure is told to the model as the result. The descriptions are their authors' texts: a
    /// model that believes them believes whoever wrote the tool.
    ///
    /// # Errors
    /// One of them has the name of a tool that is there already: the model could not tell them apart.
    pub fn host_tools(self) -> error::Result<Self> {
        tools::catalogue().into_iter().try_fold(self, |turns, tool| {
            if turns.tools.iter().any(|known| known.name == tool.name) {
                return Err(format!("there are two tools {:?}, one of them the host's", tool.name).into());
            }
            let tools::Tool { name, description, schema } = tool;
            Ok(turns.offer(ToolDefinition { name, description, schema }, Runs::AtTheHost))
        })
    }

    fn offer(mut self, definition: ToolDefinition, runs: Runs<'a>) -> Self {
        self.tools.push(Offered { name: definition.name.clone(), runs });
        self.request = self.request.tool(definition);
        self
    }

    /// The most model calls; [`DEFAULT_MAX_TURNS`] unless set.
    pub fn max_turns(mut self, turns: u32) -> Self {
        self.max_turns = turns;
        self
    }

    /// The most output tokens of one turn; [`model::DEFAULT_MAX_OUTPUT`] unless set.
    pub fn max_output(mut self, tokens: u32) -> Self {
        self.request = self.request.max_output(tokens);
        self
    }

    /// The least output tokens that make a turn worth asking; 1 unless set.
    pub fn min_output(mut self, tokens: u32) -> Self {
        self.request = self.request.min_output(tokens);
        self
    }

    /// The most bytes of one tool result that the model is told; [`DEFAULT_MAX_RESULT_BYTES`] unless set.
    pub fn max_result_bytes(mut self, bytes: usize) -> Self {
        self.max_result_bytes = bytes;
        self
    }

    /// Runs the loop on a prompt.
    ///
    /// A warning of the host's that the loop goes nowhere is told to the model, as a message of the user's, and is a turn.
    ///
    /// `Ok` says what happened, an exhausted budget included. `Err` is any other no: the model is not granted, the line
    /// is stopped, the provider failed.
    pub fn run(mut self, prompt: impl Into<String>) -> Result<Talk, Denied> {
        let mut request = self.request.clone().user(prompt);
        let mut so_far = Progress::default();
        while so_far.turns < self.max_turns {
            let reply = match model::ask(&request) {
                Ok(reply) => reply,
                Err(Denied::Refused(refusal)) if refusal.shortfall().is_some() => {
                    return Ok(so_far.talk(End::Exhausted(refusal), request));
                }
                Err(Denied::Refused(refusal)) if refusal.is_warning() => {
                    // The model is who can do something else.
                    so_far.turns = so_far.turns.saturating_add(1);
                    request = request.user(format!("The host says: {refusal}"));
                    continue;
                }
                Err(denied) => return Err(denied),
            };
            so_far.count(&reply);
            let calls = reply.tool_calls.clone();
            let stop = reply.stop;
            request.messages.push(reply.into());
            match stop {
                Stop::MaxOutput => return Ok(so_far.talk(End::Cut, request)),
                Stop::Withheld => return Ok(so_far.talk(End::Withheld, request)),
                // Providers do not agree on the stop of a reply with calls; the calls themselves decide.
                Stop::End | Stop::ToolCalls if calls.is_empty() => {
                    return Ok(so_far.talk(End::Finished, request));
                }
                Stop::End | Stop::ToolCalls => {}
            }
            so_far.tool_calls = so_far.tool_calls.saturating_add(u32::try_from(calls.len()).unwrap_or(u32::MAX));
            for (call, result) in calls.iter().zip(self.answers(&calls)) {
                request.messages.push(Message::tool_result(call, result));
            }
        }
        Ok(so_far.talk(End::OutOfTurns, request))
    }

    /// Runs the calls in their order; calls of the host that follow each other at once.
    fn answers(&mut self, calls: &[ToolCall]) -> Vec<String> {
        let placed: Vec<(&ToolCall, bool)> = calls.iter().map(|call| (call, self.is_of_the_host(call))).collect();
        let mut results = Vec::with_capacity(calls.len());
        for together in placed.chunk_by(|one, next| one.1 && next.1) {
            match together {
                [(call, false)] => results.push(self.here(call)),
                several => results.extend(several.chunks(tools::MAX_CALLS).flat_map(at_the_host)),
            }
        }
        let words = results.into_iter().map(|result| result.unwrap_or_else(|error| format!("error: {error}")));
        words.map(|words| cut(words, self.max_result_bytes)).collect()
    }

    fn is_of_the_host(&self, call: &ToolCall) -> bool {
        self.tools.iter().any(|tool| tool.name == call.name && matches!(tool.runs, Runs::AtTheHost))
    }

    fn here(&mut self, call: &ToolCall) -> Result<String, String> {
        let known = self.tools.iter_mut().find(|tool| tool.name == call.name);
        match known.map(|tool| &mut tool.runs) {
            Some(Runs::Here(run)) => parse(&call.arguments).and_then(run),
            Some(Runs::AtTheHost) | None => Err(format!("there is no tool {:?}", call.name)),
        }
    }
}

/// Calls of one batch. One whose arguments are no JSON is not made.
fn at_the_host(calls: &[(&ToolCall, bool)]) -> Vec<Result<String, String>> {
    let parsed: Vec<_> = calls
        .iter()
        .map(|(call, _)| parse(&call.arguments).map(|arguments| Invocation::new(call.name.as_str(), &arguments)))
        .collect();
    let invocations: Vec<Invocation> = parsed.iter().flatten().cloned().collect();
    let outputs = match invocations.as_slice() {
        [] => Vec::new(),
        // One call alone is journalled as what it is, and not as a batch of one.
        [one] => vec![host::tools::call(one)],
        several => tools::call_all(several),
    };
    let mut outputs = outputs.into_iter();
    let each = parsed.into_iter().map(|parsed| {
        parsed?;
        let output = outputs.next().ok_or_else(|| "the host gave no answer".to_owned())?;
        output.map(plain).map_err(|denied| denied.to_string())
    });
    each.collect()
}

/// The output of a tool as a model reads it: text without the quotes of JSON.
fn plain(output: String) -> String {
    match serde_json::from_str(&output) {
        Ok(Value::String(text)) => text,
        Ok(_) | Err(_) => output,
    }
}

/// A text argument of a tool call, or words for the model that it is missing.
pub fn argument<'v>(arguments: &'v Value, name: &str) -> Result<&'v str, String> {
    arguments
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("the argument {name:?} must be there and be a string"))
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Finished => f.write_str("the model finished"),
            End::Cut => f.write_str("a reply reached its output cap"),
            End::Withheld => f.write_str("the provider withheld a reply"),
            End::Exhausted(refusal) => refusal.fmt(f),
            End::OutOfTurns => f.write_str("the turns are used up"),
        }
    }
}

struct Progress {
    text: String,
    turns: u32,
    tool_calls: u32,
    usage: Usage,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            text: String::new(),
            turns: 0,
            tool_calls: 0,
            usage: Usage { tokens_in: 0, tokens_out: 0, micro_usd: 0 },
        }
    }
}

impl Progress {
    fn count(&mut self, reply: &Reply) {
        self.text.clone_from(&reply.text);
        self.turns = self.turns.saturating_add(1);
        let add = |sum: &mut u64, part: u64| *sum = sum.saturating_add(part);
        add(&mut self.usage.tokens_in, reply.usage.tokens_in);
        add(&mut self.usage.tokens_out, reply.usage.tokens_out);
        add(&mut self.usage.micro_usd, reply.usage.micro_usd);
    }

    fn talk(self, end: End, request: Request) -> Talk {
        Talk {
            end,
            text: self.text,
            turns: self.turns,
            tool_calls: self.tool_calls,
            usage: self.usage,
            messages: request.messages,
        }
    }
}

/// Some models send nothing at all for a tool without arguments.
fn parse(arguments: &str) -> Result<Value, String> {
    if arguments.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str(arguments).map_err(|error| format!("the arguments are not JSON: {error}"))
}

fn cut(mut words: String, max_bytes: usize) -> String {
    if words.len() > max_bytes {
        let whole = words.len();
        let mut end = max_bytes;
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        words.truncate(end);
        words.push_str(&format!("\n[cut after {end} of {whole} bytes]"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeHost, Scripted};
    use crate::{Line, Report, Task};
    use serde_json::json;

    /// Runs a loop with one tool `upper` and hands back what it came to.
    fn talk(host: FakeHost, max_turns: u32) -> (Result<Talk, Denied>, Vec<Request>) {
        let mut talk = None;
        let worker = |task: Task| {
            talk = Some(
                Turns::new("coder")
                    .max_turns(max_turns)
                    .tool("upper", "Makes capitals.", json!({}), |arguments| {
                        Ok(argument(&arguments, "text")?.to_uppercase())
                    })
                    .run(&task.text),
            );
            Ok(Report::done(""))
        };
        let run = host.run(worker, Task::new("go"));
        (talk.expect("the worker ran"), run.requests)
    }

    fn tool_results(talk: &Talk) -> Vec<&str> {
        talk.messages
            .iter()
            .filter(|message| message.tool_call_id.is_some())
            .map(|message| message.content.as_str())
            .collect()
    }

    #[test]
    fn tool_results_are_told_to_the_model_until_it_finishes() {
        let host = FakeHost::new()
            .reply(Scripted::call("upper", json!({"text": "a"})).and_call("upper", json!({"text": "b"})))
            .reply("done");
        let (talk, requests) = talk(host, 5);
        let talk = talk.expect("no denial");
        assert_eq!(talk.end, End::Finished);
        assert_eq!((talk.turns, talk.tool_calls), (2, 2));
        assert_eq!(talk.text, "done");
        assert_eq!(tool_results(&talk), ["A", "B"]);
        assert_eq!(requests[1].messages.len(), 4);
    }

    #[test]
    fn unknown_tools_and_bad_arguments_are_told_and_end_nothing() {
        let host = FakeHost::new()
            .reply(Scripted::call("lower", json!({})))
            .reply(Scripted::call("upper", json!({"text": 1})))
            .reply(Scripted::raw_call("upper", "{not json"))
            .reply("done");
        let talk = talk(host, 5).0.expect("no denial");
        assert_eq!(talk.end, End::Finished);
        let results = tool_results(&talk);
        assert_eq!(results[0], "error: there is no tool \"lower\"");
        assert!(results[1].starts_with("error: the argument \"text\""), "{}", results[1]);
        assert!(results[2].starts_with("error: the arguments are not JSON"), "{}", results[2]);
    }

    /// Runs a loop with a tool `upper` here, and whatever the host has.
    fn talk_with_host(host: FakeHost) -> (crate::Result<Talk>, crate::testing::Run<Report>) {
        let mut talk = None;
        let worker = |task: Task| {
            let turns = Turns::new("coder").tool("upper", "Makes capitals.", json!({}), |arguments| {
                Ok(argument(&arguments, "text")?.to_uppercase())
            });
            talk = Some(turns.host_tools().and_then(|turns| Ok(turns.run(&task.text)?)));
            Ok(Report::done(""))
        };
        let run = host.run(worker, Task::new("go"));
        (talk.expect("the worker ran"), run)
    }

    /// A host with a tool `add`, which counts, and one `fail`.
    fn with_tools() -> FakeHost {
        let mut sum = 0;
        let add = move |input: Value| {
            sum += input["n"].as_i64().unwrap_or(0);
            Ok(json!({"sum": sum}))
        };
        FakeHost::new()
            .tool("add", "Adds up.", json!({"type": "object"}), add)
            .tool("fail", "Fails.", json!({"type": "object"}), |_| Err("it is broken".to_owned()))
            .tool("say", "Says a text.", json!({"type": "object"}), |_| Ok(json!("a\n\"b\"")))
    }

    #[test]
    fn the_tools_of_the_host_are_offered_as_the_host_has_them() {
        let (talk, run) = talk_with_host(with_tools().reply("done"));
        assert_eq!(talk.expect("no denial").end, End::Finished);
        let offered: Vec<_> =
            run.requests[0].tools.iter().map(|tool| (tool.name.as_str(), tool.schema.as_str())).collect();
        let any = r#"{"type":"object"}"#;
        assert_eq!(offered, [("upper", "{}"), ("add", any), ("fail", any), ("say", any)]);
        assert_eq!(run.requests[0].tools[1].description, "Adds up.");
    }

    #[test]
    fn calls_of_the_host_pass_it_and_come_back_in_order() {
        let reply = Scripted::call("add", json!({"n": 1}))
            .and_call("upper", json!({"text": "a"}))
            .and_call("add", json!({"n": 2}))
            .and_call("say", json!({}))
            .and_call("add", json!({"n": 3}));
        let (talk, run) = talk_with_host(with_tools().reply(reply).reply("done"));
        let talk = talk.expect("no denial");
        assert_eq!(tool_results(&talk), [r#"{"sum":1}"#, "A", r#"{"sum":3}"#, "a\n\"b\"", r#"{"sum":6}"#]);
        assert_eq!((talk.tool_calls, run.tool_calls.len()), (5, 4));
        assert_eq!(run.tool_calls[0].input, r#"{"n":1}"#);
    }

    #[test]
    fn a_no_of_the_host_is_told_and_ends_nothing() {
        let reply = Scripted::call("fail", json!({})).and_call("lower", json!({}));
        let budget = Scripted::call("add", json!({})).and_call("add", json!({}));
        let host = with_tools().budget(Line::ToolCalls, 2);
        let host = host.reply(reply).reply(Scripted::raw_call("add", "{not json")).reply(budget).reply("done");
        let (talk, run) = talk_with_host(host);
        let talk = talk.expect("no denial");
        assert_eq!(talk.end, End::Finished);
        let results = tool_results(&talk);
        assert_eq!(results[..2], ["error: rejected: it is broken", "error: there is no tool \"lower\""]);
        assert!(results[2].starts_with("error: the arguments are not JSON"), "{}", results[2]);
        assert_eq!(results[3], r#"{"sum":0}"#);
        assert!(results[4].starts_with("error: refused: 1 of tool-calls asked, 0 left"), "{}", results[4]);
        assert_eq!(run.tool_calls.len(), 2);
    }

    #[test]
    fn a_reply_with_more_calls_than_a_batch_is_run_whole() {
        let count = tools::MAX_CALLS + 1;
        let reply = (0..count).fold(Scripted::text(""), |reply, _| reply.and_call("add", json!({"n": 1})));
        let (talk, run) = talk_with_host(with_tools().reply(reply).reply("done"));
        assert_eq!(tool_results(&talk.expect("no denial")).last(), Some(&r#"{"sum":17}"#));
        assert_eq!(run.tool_calls.len(), count);
    }

    #[test]
    fn two_tools_of_one_name_are_an_error() {
        let host = FakeHost::new().tool("upper", "Another.", json!({}), Ok).reply("done");
        let error = talk_with_host(host).0.expect_err("two tools");
        assert_eq!(error.to_string(), "there are two tools \"upper\", one of them the host's");
    }

    #[test]
    fn an_exhausted_budget_is_an_end_and_keeps_the_talk() {
        let host = FakeHost::new()
            .budget(Line::ModelCalls, 1)
            .reply(Scripted::call("upper", json!({"text": "a"})))
            .reply("never asked");
        let talk = talk(host, 5).0.expect("no denial");
        let End::Exhausted(refusal) = &talk.end else {
            panic!("ended with {:?}", talk.end);
        };
        assert_eq!(refusal.shortfall().map(|shortfall| shortfall.line), Some(Line::ModelCalls));
        assert_eq!(tool_results(&talk), ["A"]);
    }

    #[test]
    fn the_turns_are_limited_at_exactly_their_number() {
        let call = || Scripted::call("upper", json!({"text": "a"}));
        let looping = FakeHost::new().reply(call()).reply(call()).reply("done");
        let (ended, requests) = talk(looping, 2);
        assert_eq!(ended.expect("no denial").end, End::OutOfTurns);
        assert_eq!(requests.len(), 2);

        let enough = FakeHost::new().reply(call()).reply(call()).reply("done");
        assert_eq!(talk(enough, 3).0.expect("no denial").end, End::Finished);
    }

    #[test]
    fn a_model_that_is_not_granted_is_an_error() {
        let denied = talk(FakeHost::new().model("other"), 3).0.expect_err("refused");
        assert!(denied.to_string().contains("[grants] models = [\"coder\"]"), "{denied}");
    }

    #[test]
    fn a_cut_reply_runs_no_tool() {
        let host = FakeHost::new().reply(Scripted::call("upper", json!({"text": "a"})).stop(Stop::MaxOutput));
        let talk = talk(host, 3).0.expect("no denial");
        assert_eq!((talk.end, talk.tool_calls), (End::Cut, 0));
    }

    #[test]
    fn long_results_are_cut_at_a_character() {
        assert_eq!(cut("aé".to_owned(), 2), "a\n[cut after 1 of 3 bytes]");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
    }
}
