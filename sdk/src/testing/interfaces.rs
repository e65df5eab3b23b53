//! The imports of the worlds as the fake host answers them: the same names and signatures as the generated ones.

use std::path::PathBuf;

use super::state::{self, refused};
use crate::denied::{Denied, Reason};

pub(crate) fn work_dir() -> PathBuf {
    state::with(|state| state.root.join("work"))
}

pub(crate) fn context_dir() -> PathBuf {
    state::with(|state| state.root.join("context"))
}

fn not_granted(asked: &str, allowed: &str, setting: &str) -> Denied {
    refused(Reason::NotGranted, asked, allowed, setting)
}

/// Refuses what is larger than a fixed cap of the host.
fn at_most(what: &str, asked: usize, cap: usize) -> Result<(), Denied> {
    if asked <= cap {
        return Ok(());
    }
    let (asked, allowed) = (format!("{asked} {what}"), format!("at most {cap}"));
    Err(refused(Reason::TooLarge, &asked, &allowed, "none: a fixed cap of the host"))
}

pub(crate) mod fetch {
    use super::super::state::{self, State};
    use crate::denied::Line;
    use crate::fetch::{Error, Request, Response, Target};

    pub(crate) fn exchange(requests: &[(&Request, &Target<'_>)]) -> Vec<Result<Response, Error>> {
        requests.iter().map(|(request, _)| state::with(|state| answer(state, request))).collect()
    }

    fn answer(state: &mut State, request: &Request) -> Result<Response, Error> {
        let asked = format!("{} {}", request.method, request.url);
        if !state.pages.contains_key(&request.url) {
            return Err(Error::NotGranted(asked));
        }
        let bytes = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let refused = |state: &State, amount| {
            state.fits(&asked, &[(Line::NetBytes, amount)]).map_err(|denied| Error::Refused(denied.to_string()))
        };
        refused(state, bytes(&request.body).saturating_add(1))?;
        state.fetches.push(request.clone());
        state.now_ms = state.now_ms.saturating_add(1);
        let page = state.pages.entry(request.url.clone()).or_default();
        let next = if page.answers.len() > 1 { page.answers.pop_front() } else { page.answers.front().cloned() };
        let response = next.unwrap_or_else(|| Err(Error::Failed("the fake host has no such page".to_owned())))?;
        let moved = bytes(&request.body).saturating_add(bytes(&response.body));
        refused(state, moved)?;
        state.spend(&[(Line::NetBytes, moved)]);
        Ok(response)
    }
}

pub(crate) mod model {
    use super::super::state::{self, Script, State};
    use crate::denied::{Denied, Failure, FailureKind, Line, Reason, Shortfall};
    use crate::model::{Offer, Reply, Request, Stop, ToolCall, Usage};

    /// Context window of a fake model.
    const WINDOW: u64 = 32_768;
    /// Largest output of a fake model.
    const MAX_OUTPUT: u32 = 4_096;
    /// Bytes that count as one token where a script does not say.
    const BYTES_PER_TOKEN: u64 = 4;
    /// Requests of one batch, as in the contract.
    const MAX_BATCH: usize = 16;

    pub(crate) fn ask(request: &Request) -> Result<Reply, Denied> {
        state::with(|state| {
            state.lift("a model request", lifted(request))?;
            answer(state, request)
        })
    }

    pub(crate) fn ask_all(requests: &[Request]) -> Vec<Result<Reply, Denied>> {
        if requests.len() > MAX_BATCH {
            let denied = state::refused(
                Reason::TooLarge,
                &format!("{} requests", requests.len()),
                &format!("{MAX_BATCH} requests"),
                "",
            );
            return requests.iter().map(|_| Err(denied.clone())).collect();
        }
        let bytes = requests.iter().map(lifted).sum();
        match state::with(|state| state.lift("model requests", bytes)) {
            Ok(()) => requests.iter().map(|request| state::with(|state| answer(state, request))).collect(),
            Err(denied) => requests.iter().map(|_| Err(denied.clone())).collect(),
        }
    }

    /// Bytes that a request hands over.
    fn lifted(request: &Request) -> usize {
        let messages = request.messages.iter().map(|message| {
            let id = message.tool_call_id.as_ref().map_or(0, String::len);
            message.content.len() + id + message.tool_calls.iter().map(call_bytes).sum::<usize>()
        });
        let tools = request.tools.iter().map(|tool| tool.name.len() + tool.description.len() + tool.schema.len());
        let schema = request.schema.as_ref().map_or(0, String::len);
        request.model.len() + schema + messages.chain(tools).sum::<usize>()
    }

    fn call_bytes(call: &ToolCall) -> usize {
        call.id.len() + call.name.len() + call.arguments.len()
    }

    pub(crate) fn catalogue() -> Vec<Offer> {
        let offer = |name: &String| Offer {
            name: name.clone(),
            window: WINDOW,
            max_output: MAX_OUTPUT,
            micro_usd_per_mtok_in: 0,
            micro_usd_per_mtok_out: 0,
        };
        state::with(|state| state.models.iter().map(offer).collect())
    }

    fn answer(state: &mut State, request: &Request) -> Result<Reply, Denied> {
        let asked = format!("model {:?}", request.model);
        granted(state, request, &asked)?;
        let bytes_in = request_bytes(request);
        let output = fit(state, request, bytes_in, &asked)?;
        state.asked = true;
        state.requests.push(request.clone());
        state.now_ms = state.now_ms.saturating_add(1);
        state.spend(&[(Line::ModelCalls, 1)]);
        match state.replies.pop_front() {
            None => Err(Denied::Failed(Failure {
                kind: FailureKind::Broken,
                message: "the fake host has no more replies; add them with FakeHost::reply".to_owned(),
            })),
            Some(Script::Denied(denied)) => Err(denied),
            Some(Script::Reply { mut text, tool_calls, stop, usage }) => {
                let bytes_out = tool_calls
                    .iter()
                    .fold(text.len(), |sum, call| sum.saturating_add(call.name.len() + call.arguments.len()));
                let (tokens_in, wanted) =
                    usage.unwrap_or((tokens(bytes_in), tokens(u64::try_from(bytes_out).unwrap_or(u64::MAX))));
                let natural = if tool_calls.is_empty() { Stop::End } else { Stop::ToolCalls };
                let mut stop = stop.unwrap_or(natural);
                if wanted > output {
                    stop = Stop::MaxOutput;
                    shorten(&mut text, output);
                }
                let tokens_out = wanted.min(output);
                state.spend(&[
                    (Line::TokensIn, tokens_in),
                    (Line::TokensOut, tokens_out),
                    (Line::Tokens, tokens_in.saturating_add(tokens_out)),
                ]);
                let usage = Usage { tokens_in, tokens_out, micro_usd: 0 };
                Ok(Reply { text, tool_calls, stop, refusal: None, provider_state: None, usage })
            }
        }
    }

    fn granted(state: &State, request: &Request, asked: &str) -> Result<(), Denied> {
        let scripted = state.asked || !state.replies.is_empty();
        let granted = if state.models.is_empty() { scripted } else { state.models.contains(&request.model) };
        if granted {
            return Ok(());
        }
        Err(super::not_granted(
            asked,
            &format!("models: {}", state.models.join(", ")),
            &format!("[grants] models = [{:?}]", request.model),
        ))
    }

    /// The output cap that the budget allows, or the refusal. Input is bounded by its bytes, as in the real host.
    fn fit(state: &State, request: &Request, bytes_in: u64, asked: &str) -> Result<u64, Denied> {
        state.fits(asked, &[(Line::ModelCalls, 1), (Line::TokensIn, bytes_in)])?;
        let min = u64::from(request.min_output);
        let mut output = u64::from(request.max_output.min(MAX_OUTPUT));
        for (line, input) in [(Line::TokensOut, 0), (Line::Tokens, bytes_in)] {
            let left = state.left(line);
            let room = left.saturating_sub(input);
            if room < min.max(1) {
                return Err(state::refused(
                    Reason::Exhausted(Shortfall {
                        scope: "attempt".to_owned(),
                        line,
                        asked: input.saturating_add(min.max(1)),
                        left,
                    }),
                    asked,
                    &format!("{left} {line} left"),
                    "[budget]",
                ));
            }
            output = output.min(room);
        }
        Ok(output)
    }

    fn request_bytes(request: &Request) -> u64 {
        let messages = request.messages.iter().map(|message| {
            let calls: usize = message.tool_calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
            message.content.len() + calls
        });
        let tools = request.tools.iter().map(|tool| tool.name.len() + tool.description.len() + tool.schema.len());
        u64::try_from(messages.chain(tools).sum::<usize>()).unwrap_or(u64::MAX)
    }

    fn tokens(bytes: u64) -> u64 {
        bytes.div_ceil(BYTES_PER_TOKEN)
    }

    fn shorten(text: &mut String, tokens: u64) {
        let bytes = tokens.saturating_mul(BYTES_PER_TOKEN);
        let mut end = usize::try_from(bytes).unwrap_or(usize::MAX).min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

pub(crate) mod tools {
    use super::super::state;
    use crate::denied::{Denied, Failure, FailureKind, Line, Reason};
    use crate::tools::{Invocation, MAX_CALLS, Tool};

    pub(crate) fn catalogue() -> Vec<Tool> {
        state::with(|state| state.tools.iter().map(|known| known.tool.clone()).collect())
    }

    pub(crate) fn call(invocation: &Invocation) -> Result<String, Denied> {
        state::with(|state| state.lift("a tool's call", bytes(invocation)))?;
        made(invocation)
    }

    fn bytes(invocation: &Invocation) -> usize {
        invocation.name.len() + invocation.input.len()
    }

    fn made(invocation: &Invocation) -> Result<String, Denied> {
        let asked = format!("tool {:?}", invocation.name);
        let input =
            serde_json::from_str(&invocation.input).map_err(|_| state::refused(Reason::Invalid, &asked, "JSON", ""))?;
        // The answer runs outside the state, for it may use the SDK itself.
        let (index, mut answer) = state::with(|state| {
            let known = state.tools.iter().position(|known| known.tool.name == invocation.name);
            let answer = known.and_then(|index| Some((index, state.tools[index].answer.take()?)));
            let Some((index, answer)) = answer else {
                let names: Vec<&str> = state.tools.iter().map(|known| known.tool.name.as_str()).collect();
                return Err(super::not_granted(
                    &asked,
                    &format!("tools: {}", names.join(", ")),
                    &format!("[grants] tools = [{:?}]", invocation.name),
                ));
            };
            if let Err(denied) = state.fits(&asked, &[(Line::ToolCalls, 1)]) {
                state.tools[index].answer = Some(answer);
                return Err(denied);
            }
            state.spend(&[(Line::ToolCalls, 1)]);
            state.tool_calls.push(invocation.clone());
            Ok((index, answer))
        })?;
        let output = answer(input);
        state::with(|state| state.tools[index].answer = Some(answer));
        match output {
            Ok(value) => Ok(value.to_string()),
            Err(message) => Err(Denied::Failed(Failure { kind: FailureKind::Rejected, message })),
        }
    }

    pub(crate) fn call_all(invocations: &[Invocation]) -> Vec<Result<String, Denied>> {
        if invocations.len() > MAX_CALLS {
            let asked = format!("{} calls", invocations.len());
            let denied = state::refused(Reason::TooLarge, &asked, &format!("{MAX_CALLS} calls"), "");
            return invocations.iter().map(|_| Err(denied.clone())).collect();
        }
        match state::with(|state| state.lift("calls of tools", invocations.iter().map(bytes).sum())) {
            Ok(()) => invocations.iter().map(made).collect(),
            Err(denied) => invocations.iter().map(|_| Err(denied.clone())).collect(),
        }
    }
}

pub(crate) mod children {
    use super::super::state::{self, ChildAnswer, State, refused};
    use super::at_most;
    use crate::children::{Child, MAX_AT_ONCE, Verdict};
    use crate::denied::{Denied, Line, Reason};

    /// Children of a run, as in the contract.
    const MAX_CHILDREN: usize = 64;
    /// Bytes of a child's task, as in the contract.
    const MAX_TASK_BYTES: usize = 256 << 10;

    pub(crate) fn run(child: &Child) -> Result<Verdict, Denied> {
        state::with(|state| state.lift("a child's task", bytes(child)))?;
        judged(child)
    }

    fn bytes(child: &Child) -> usize {
        child.name.len() + child.task.len()
    }

    fn judged(child: &Child) -> Result<Verdict, Denied> {
        // The answer runs outside the state, for it may use the SDK itself.
        let (index, mut answer, before, number) = state::with(|state| {
            let (index, answer) = admit(state, child)?;
            state.children.push(child.clone());
            Ok((index, answer, state.read_work(), state.children.len()))
        })?;
        let mut judged = answer(child);
        state::with(|state| {
            state.child_jobs[index].answer = Some(answer);
            if !judged.as_ref().is_ok_and(Verdict::is_accepted) {
                state.put_back(&before);
            }
        });
        if let Ok(verdict) = &mut judged
            && verdict.serial.is_empty()
        {
            verdict.serial = format!("child-{number}");
        }
        judged
    }

    pub(crate) fn run_all(children: &[Child]) -> Vec<Result<Verdict, Denied>> {
        let bytes = children.iter().map(bytes).sum();
        let lifted = state::with(|state| state.lift("tasks of children", bytes));
        match lifted.and_then(|()| at_most("children at once", children.len(), MAX_AT_ONCE)) {
            Ok(()) => children.iter().map(judged).collect(),
            Err(denied) => children.iter().map(|_| Err(denied.clone())).collect(),
        }
    }

    /// Takes the answer of a child out of the state, or refuses, in the order of the real host.
    fn admit(state: &mut State, child: &Child) -> Result<(usize, ChildAnswer), Denied> {
        let asked = format!("child {:?}", child.name);
        // One that answers right now is no child of its own.
        let known = state.child_jobs.iter().position(|known| known.name == child.name && known.answer.is_some());
        let index = known.ok_or_else(|| {
            let names: Vec<&str> = state.child_jobs.iter().map(|known| known.name.as_str()).collect();
            let allowed = match names.is_empty() {
                true => "no children (in a test: FakeHost::child)".to_owned(),
                false => format!("children: {}", names.join(", ")),
            };
            super::not_granted(&asked, &allowed, "[grants] children, and [children.NAME]")
        })?;
        if child.budget.iter().any(|(line, _)| *line == Line::MemoryBytes) {
            let asked = format!("a child with a budget of {}", Line::MemoryBytes);
            return Err(refused(Reason::Invalid, &asked, "lines that are spent", "the caps of the child's own job"));
        }
        at_most("bytes of task", child.task.len(), MAX_TASK_BYTES)?;
        at_most("children", state.children.len() + 1, MAX_CHILDREN)?;
        state.fits(&asked, &child.budget)?;
        let answer = state.child_jobs[index].answer.take().expect("it was found with its answer");
        Ok((index, answer))
    }
}

pub(crate) mod budget {
    use super::super::state;
    use crate::budget::LineLeft;

    pub(crate) fn left() -> Vec<LineLeft> {
        state::with(|state| state.budget.clone())
    }
}

pub(crate) mod progress {
    use super::super::state::{self, digest};
    use crate::denied::Denied;
    use crate::progress::Standing;

    pub(crate) fn check_in(note: &str) -> Result<Standing, Denied> {
        state::with(|state| {
            state.lift("a note", note.len())?;
            let Some(base) = &state.work else {
                return Err(super::not_granted("check-in", "no workspace", "[grants] files = \"read-write\""));
            };
            let now = state.read_work();
            let removed = base.keys().filter(|path| !now.contains_key(*path)).count();
            let written = now.iter().filter(|(path, bytes)| base.get(*path) != Some(bytes)).count();
            let tree = digest(&now);
            let new_mark = !state.seen_trees.contains(&tree);
            if new_mark {
                state.seen_trees.push(tree);
            }
            state.check_ins.push(note.to_owned());
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            Ok(Standing {
                new_mark,
                // The first tree is the base, which is no mark.
                marks: count(state.seen_trees.len().saturating_sub(1)),
                changed_files: count(removed + written),
            })
        })
    }
}

pub(crate) mod evidence {
    use super::super::Evidence;
    use super::super::state::{self, digest};
    use crate::denied::{Denied, EvidenceId, Line};

    /// Bytes of one piece of evidence, as in the contract.
    const MAX_BYTES: usize = 1 << 20;

    pub(crate) fn attach(kind: &str, name: &str, bytes: &[u8]) -> Result<EvidenceId, Denied> {
        state::with(|state| {
            state.lift("evidence", kind.len() + name.len() + bytes.len())?;
            super::at_most("bytes of evidence", bytes.len(), MAX_BYTES)?;
            let cost = [(Line::DiskBytes, u64::try_from(bytes.len()).unwrap_or(u64::MAX))];
            state.fits(&format!("evidence {name:?}"), &cost)?;
            state.spend(&cost);
            let id = address(bytes);
            state.evidence.push(Evidence {
                id: id.clone(),
                kind: kind.to_owned(),
                name: name.to_owned(),
                bytes: bytes.to_owned(),
            });
            Ok(id)
        })
    }

    /// The shape of an address, and the same for the same bytes; the real host's is the true BLAKE3.
    fn address(bytes: &[u8]) -> EvidenceId {
        let parts = (0_u8..4).map(|part| format!("{:016x}", digest(&(part, bytes))));
        format!("blake3:{}", parts.collect::<String>())
    }
}

pub(crate) mod andon {
    use super::super::Pull;
    use crate::andon::Category;
    use crate::denied::EvidenceId;

    /// Unwinds to `FakeHost::run`, without the panic hook: a pull is no bug.
    pub(crate) fn pull(category: Category, reason: &str, evidence: &[EvidenceId]) {
        std::panic::resume_unwind(Box::new(Pull {
            category,
            reason: reason.to_owned(),
            evidence: evidence.to_owned(),
        }));
    }
}

pub(crate) mod human {
    use super::super::state;
    use crate::denied::{Denied, Reason};
    use crate::human::{Answer, Risk};

    pub(crate) fn ask(question: &str, options: &[String], _risk: Risk) -> Result<Answer, Denied> {
        state::with(|state| {
            state.lift("a question", question.len() + options.iter().map(String::len).sum::<usize>())?;
            let Some(choice) = state.answers.pop_front() else {
                return Err(super::not_granted(
                    "human",
                    "no person (in a test: FakeHost::answer)",
                    "[grants] human = true",
                ));
            };
            let offered = usize::try_from(choice).is_ok_and(|index| index < options.len());
            if !offered {
                return Err(state::refused(
                    Reason::Invalid,
                    &format!("choice {choice}"),
                    &format!("{} options", options.len()),
                    "",
                ));
            }
            state.questions.push(question.to_owned());
            Ok(Answer { choice, note: String::new() })
        })
    }
}

pub(crate) mod log {
    use super::super::Note;
    use super::super::state;
    use crate::log::Level;

    pub(crate) fn emit(level: Level, message: &str, fields: &[(String, String)]) {
        state::with(|state| {
            state.logs.push(Note { level, message: message.to_owned(), fields: fields.to_owned() });
        });
    }
}

pub(crate) mod clock {
    use super::super::state;
    use crate::denied::{Denied, Line};

    pub(crate) fn now() -> u64 {
        state::with(|state| state.now_ms)
    }

    pub(crate) fn sleep(ms: u64) -> Result<(), Denied> {
        state::with(|state| {
            let cost = [(Line::WallMs, ms), (Line::WorkMs, ms)];
            state.fits("sleep", &cost)?;
            state.spend(&cost);
            state.now_ms = state.now_ms.saturating_add(ms);
            Ok(())
        })
    }
}

pub(crate) mod random {
    use super::super::state;
    use crate::denied::{Denied, Reason};

    /// The most bytes of one call, as in the contract.
    const MAX_BYTES: u32 = 65_536;

    pub(crate) fn bytes(count: u32) -> Result<Vec<u8>, Denied> {
        if count > MAX_BYTES {
            return Err(state::refused(
                Reason::TooLarge,
                &format!("{count} random bytes"),
                &format!("{MAX_BYTES} bytes"),
                "",
            ));
        }
        Ok(state::with(|state| (0..count).map(|_| next(&mut state.random)).collect()))
    }

    /// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>), one byte a step.
    fn next(state: &mut u64) -> u8 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()[7]
    }
}
