//! What a job serves over MCP: its tools, each call a run of its own, and its worker, a whole run for a call.
//!
//! Never: performs a call itself, lets a client have more than the job lets its worker. A call that nobody waits for any more is
//! cancelled. Invariant here: every call that was let in has a run with a journal and a verdict.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::rules::effect::{Answer, Body, Kind};
use crate::rules::question::QuestionId;
use crate::rules::record::Record;
use crate::rules::spec::FileGrant;
use crate::rules::tool::{Reach, ToolCall, ToolOffer, ToolSpec};
use crate::rules::verdict::{Stop, Verdict};
use crate::run::cord::Cord;
use crate::run::desk::{Because, Desk};
use crate::run::runner::{Apply, Job, RunHandle, Runner};

use super::mcp::{Answered, CallEnd, Length, May, Progress, Question, Reply, Served, ServedCall, ServedTool, Step};

/// The input of the worker as a tool.
const WORKER_INPUT: &str = r#"{"type":"object","properties":{"task":{"type":"string","minLength":1,"description":"What to do; without it, what the job says."}},"additionalProperties":false}"#;

/// What the worker as a tool gives.
const WORKER_OUTPUT: &str = r#"{"type":"object","properties":{"run":{"type":"string"},"verdict":{"type":"string"},"why":{"type":"string"},"report":{"type":"string"},"changes":{"type":"array","items":{"type":"string"}},"applied":{"type":"boolean"}},"required":["run","verdict","why","report","changes","applied"]}"#;

/// Bytes of a task that a client gives.
const MAX_TASK_BYTES: usize = 256 << 10;

/// A job with its doors open.
pub(super) struct Shop {
    pub runner: Arc<Runner>,
    pub desk: Desk,
    pub job: Job,
    pub offers: Vec<ToolOffer>,
    /// The name under which the worker is served, if it is.
    pub worker: Option<String>,
    pub apply: Apply,
}

/// Cancels a run that nobody waits for.
struct Waited(Cord);

impl Drop for Waited {
    fn drop(&mut self) {
        // Of a run that has ended nobody hears it.
        self.0.pull(Stop::Cancelled);
    }
}

impl Served for Shop {
    fn tools(&self) -> Vec<ServedTool> {
        let tools = &self.job.spec.tools;
        let tool = |offer: &ToolOffer| ServedTool {
            name: offer.name.clone(),
            description: offer.description.clone(),
            input_schema: offer.schema.clone(),
            output_schema: offer.output.clone(),
            length: Length::Short,
            may: May {
                change: offer.writes || tools.get(&offer.toolbox).is_none_or(ToolSpec::may_send),
                reach_out: offer.reach == Reach::Outside,
            },
        };
        let worker = self.worker.as_ref().map(|name| ServedTool {
            name: name.clone(),
            description: format!(
                "Runs a worker to its verdict, which the host decides. Its task, unless another is given: {}",
                self.job.spec.task.text
            ),
            input_schema: WORKER_INPUT.to_owned(),
            output_schema: Some(WORKER_OUTPUT.to_owned()),
            length: Length::Long,
            may: May { change: true, reach_out: true },
        });
        self.offers.iter().map(tool).chain(worker).collect()
    }

    fn call(&self, call: ServedCall) -> BoxFuture<'_, CallEnd> {
        Box::pin(async move {
            let ended = match self.offers.iter().find(|offer| offer.name == call.tool) {
                Some(offer) => self.tool(offer, call).await,
                None if self.worker.as_ref() == Some(&call.tool) => self.work(call).await,
                None => return CallEnd::Unknown,
            };
            ended.unwrap_or_else(|error| CallEnd::Failed(format!("{error:#}")))
        })
    }
}

impl Shop {
    async fn tool(&self, offer: &ToolOffer, call: ServedCall) -> anyhow::Result<CallEnd> {
        let mut job = self.job.again()?;
        let toolbox = &offer.toolbox;
        if job.spec.tools.get(toolbox).is_some_and(|tool| tool.files == FileGrant::None) {
            // It would not see a copy of the files.
            (job.workspace, job.context, job.spec.workspace) = (None, None, None);
            job.spec.grants.files = FileGrant::None;
        }
        job.spec =
            job.spec.as_call(ToolCall { name: offer.name.clone(), input: Value::Object(call.input).to_string() });
        job.spec.tools.retain(|name, _| name == toolbox);
        job.spec.grants.tools.retain(|name| name == toolbox);
        job.tools.retain(|name, _| name == toolbox);
        job.checks.clear();
        let handle = self.runner.start(job, self.runner.serial()?, self.apply);
        let (output, record) = followed(handle, &call.progress).await?;
        Ok(match output {
            Some(output) if record.exit_code == 0 => CallEnd::Output(output),
            _ => denied(&record),
        })
    }

    async fn work(&self, call: ServedCall) -> anyhow::Result<CallEnd> {
        let handle = match call.answer {
            None => {
                let mut job = self.job.again()?;
                job.spec.item = None;
                if let Some(task) = call.input.get("task") {
                    match task.as_str() {
                        Some(task) if !task.is_empty() && task.len() <= MAX_TASK_BYTES => {
                            task.clone_into(&mut job.spec.task.text);
                        }
                        _ => {
                            let message = format!("task: expected a text of 1 to {MAX_TASK_BYTES} bytes");
                            return Ok(CallEnd::Denied { message });
                        }
                    }
                }
                self.runner.start(job, self.runner.serial()?, self.apply)
            }
            Some(answered) => match self.answered(&answered, &call.client).await? {
                Ok(handle) => handle,
                Err(message) => return Ok(CallEnd::Denied { message }),
            },
        };
        let (_, record) = followed(handle, &call.progress).await?;
        if let Verdict::NeedsHuman { .. } = record.verdict()
            && let Some(question) = self.asked(&record.serial).await?
        {
            return Ok(CallEnd::Asks(question));
        }
        if record.exit_code == 70 {
            return Ok(denied(&record));
        }
        let report = record.report.as_ref().map_or("", |report| &report.summary);
        let output = json!({
            "run": record.serial,
            "verdict": record.verdict,
            "why": record.why,
            "report": report,
            "changes": record.changes,
            "applied": record.applied,
        });
        Ok(CallEnd::Output(output.to_string()))
    }

    /// The question that a run waits for, if it waits for one.
    async fn asked(&self, serial: &str) -> anyhow::Result<Option<Question>> {
        let open = self.desk.questions().await?;
        let of_run = open.into_iter().filter(|(id, question)| *id.run == *serial && question.decision.is_none());
        Ok(of_run.last().map(|(id, question)| Question {
            name: "answer".to_owned(),
            text: question.question,
            options: question.options,
            state: id.to_string(),
        }))
    }

    /// Answers a question, and lets its run go on. Inside: why not, for the client.
    async fn answered(&self, answered: &Answered, client: &str) -> anyhow::Result<Result<RunHandle, String>> {
        let Ok(id) = answered.state.parse::<QuestionId>() else {
            return Ok(Err("this is no question of this server".to_owned()));
        };
        let questions = self.desk.questions().await?;
        let Some((_, question)) = questions.into_iter().find(|(known, _)| *known == id) else {
            return Ok(Err("the question is not there any more".to_owned()));
        };
        let said = match &answered.reply {
            Reply::Said(said) => said,
            Reply::Declined => return Ok(Err(format!("the question was turned down; run {} stays parked", id.run))),
        };
        let Some(choice) = question.options.iter().position(|option| option == said) else {
            return Ok(Err(format!("the answer is none of: {}", question.options.join(", "))));
        };
        let because = Because { by: format!("{} over MCP", named(client)), reason: "asked by the run".to_owned() };
        let choice = u32::try_from(choice + 1)?;
        if let Err(error) = self.desk.answer(&id, choice, String::new(), because).await {
            return Ok(Err(error.to_string()));
        }
        let past = match self.runner.past(&id.run).await {
            Ok(past) => past,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut job = self.job.again()?;
        job.spec = past.job.spec.clone();
        Ok(Ok(self.runner.resume(job, past, self.apply)))
    }
}

/// A client's own name, as it stands in a log.
fn named(client: &str) -> String {
    client.chars().filter(|char| !char.is_control()).take(64).collect()
}

/// Waits for a run's end and tells how it goes. What a tool gave, and the verdict.
async fn followed(mut handle: RunHandle, progress: &Progress) -> anyhow::Result<(Option<String>, Record)> {
    let _waited = Waited(handle.cord());
    let (mut output, mut done) = (None, 0);
    while let Some(entry) = handle.next_entry().await {
        let Body::Answered { kind, heard, .. } = entry.body else { continue };
        done += 1;
        progress.tell(Step { done, of: None, message: kind.name().to_owned() });
        if let (Kind::Tool | Kind::Compute, Ok(Answer::Tool { output: given })) = (kind, heard) {
            output = Some(given);
        }
    }
    Ok((output, handle.verdict().await?))
}

/// What a client's agent is told of a call that came to nothing.
fn denied(record: &Record) -> CallEnd {
    if record.exit_code == 70 {
        return CallEnd::Failed(record.why.clone());
    }
    let said = record.detail.get("why").and_then(Value::as_str).unwrap_or(&record.why);
    CallEnd::Denied { message: format!("{}: {said} (run {})", record.verdict, record.serial) }
}
