//! Calls that their clients do not wait for: each has a name, and whoever knows it asks how it stands.
//!
//! Never: keeps more than its cap, forgets a call that runs, tells of a task without its name. Names are random, 122 bits:
//! on one server all clients bring the same token, and the name is what tells them apart. Nothing is kept over a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    CallToolResult, DetailedTask, ElicitRequest, ElicitResult, ErrorData, InputRequest, InputResponses, JsonObject,
    Task, TaskPayload, TaskStatus,
};
use rmcp::task_manager::current_timestamp;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant};

use super::questions::{self, MOST_QUESTIONS};
use super::{Question, Reply};

/// Tasks that are kept, running and ended: each may be a run, and each ended one holds its output.
pub const MOST_TASKS: usize = 64;

/// How long an ended task is kept for whoever asks.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// How often a client should ask.
const ASK_EVERY_MS: u64 = 1_000;

/// All tasks of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    kept: HashMap<String, Kept>,
    is_ended: bool,
}

#[derive(Debug)]
struct Kept {
    task: Task,
    state: State,
}

#[derive(Debug)]
enum State {
    Running { call: Option<AbortHandle>, asked: Option<Box<Asked>> },
    Ended { payload: TaskPayload, at: Instant },
}

#[derive(Debug)]
struct Asked {
    /// Its name: a question is never asked twice under one.
    name: String,
    question: Question,
    request: InputRequest,
    reply: oneshot::Sender<Reply>,
}

/// A place for a task, to be told what comes of it. Dropped before that, the task has failed.
#[derive(Debug)]
pub(super) struct Place {
    tasks: Tasks,
    id: String,
    questions: usize,
    is_settled: bool,
}

impl Tasks {
    /// A new task, and its place.
    ///
    /// # Errors
    /// Words for the client: there is no room.
    pub fn begin(&self) -> Result<(Task, Place), String> {
        let mut table = self.table();
        if table.is_ended {
            return Err("the server is ending".to_owned());
        }
        table.forget();
        table.make_room();
        if table.kept.len() >= MOST_TASKS {
            return Err(format!(
                "{MOST_TASKS} tasks are running, which is the most; make this call again when one has ended"
            ));
        }
        let (id, now) = (uuid(), current_timestamp());
        let mut task = Task::new(id.clone(), TaskStatus::Working, now.clone(), now);
        task.poll_interval_ms = Some(ASK_EVERY_MS);
        let state = State::Running { call: None, asked: None };
        table.kept.insert(id.clone(), Kept { task: task.clone(), state });
        Ok((task, Place { tasks: self.clone(), id, questions: 0, is_settled: false }))
    }

    /// Says which call a task is, so that it can be given up.
    pub fn runs(&self, id: &str, abort: AbortHandle) {
        match self.table().kept.get_mut(id).map(|kept| &mut kept.state) {
            Some(State::Running { call, .. }) => *call = Some(abort),
            // It has ended in the meantime, or was given up with all.
            Some(State::Ended { .. }) => {}
            None => abort.abort(),
        }
    }

    /// How a task stands.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn get(&self, id: &str) -> Result<DetailedTask, ErrorData> {
        let mut table = self.table();
        table.forget();
        let kept = table.find(id)?;
        let payload = match &kept.state {
            State::Running { asked: None, .. } => TaskPayload::Working,
            State::Running { asked: Some(asked), .. } => {
                TaskPayload::InputRequired { input_requests: [(asked.name.clone(), asked.request.clone())].into() }
            }
            State::Ended { payload, .. } => payload.clone(),
        };
        Ok(DetailedTask::new(kept.task.clone(), payload))
    }

    /// Takes answers. What answers nothing is ignored, as the protocol wants it.
    ///
    /// # Errors
    /// There is no task of this name.
    pub fn update(&self, id: &str, responses: &InputResponses) -> Result<(), ErrorData> {
        let mut table = self.table();
        let kept = table.find(id)?;
        let State::Running { asked, .. } = &mut kept.state else { return Ok(()) };
        let Some(open) = asked.take() else { return Ok(()) };
        let said = responses.get(&open.name).cloned().map(serde_json::from_value::<ElicitResult>);
        let reply = said.and_then(Result::ok).and_then(|said| questions::reply(&open.question, &said));
        match reply {
            Some(reply) => {
                kept.task.last_updated_at = current_timestamp();
                // A call that does not wait any more has ended.
                let _ = open.reply.send(reply);
            }
            None => *asked = Some(open),
        }
        Ok(())
    }

    /// Gives a task up. One that has ended stays as it is.
    ///
    /// # Errors
    /// There is no task of this name.
    pub fn cancel(&self, id: &str) -> Result<(), ErrorData> {
        let mut table = self.table();
        let kept = table.find(id)?;
        kept.end(TaskPayload::Cancelled);
        Ok(())
    }

    /// Gives all tasks up, for good: the server ends.
    pub fn end(&self) {
        let mut table = self.table();
        table.is_ended = true;
        table.kept.values_mut().for_each(|kept| kept.end(TaskPayload::Cancelled));
        table.kept.clear();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, id: &str, payload: TaskPayload) {
        if let Ok(kept) = self.table().find(id) {
            kept.end(payload);
        }
    }
}

impl Table {
    fn find(&mut self, id: &str) -> Result<&mut Kept, ErrorData> {
        self.kept.get_mut(id).ok_or_else(|| ErrorData::invalid_params("there is no task of this name", None))
    }

    /// Forgets what ended long ago.
    fn forget(&mut self) {
        self.kept.retain(|_, kept| kept.ended().is_none_or(|at| at.elapsed() < KEPT));
    }

    /// Forgets what ended first, where there is no room for another.
    fn make_room(&mut self) {
        if self.kept.len() < MOST_TASKS {
            return;
        }
        let first = self.kept.iter().filter_map(|(id, kept)| Some((kept.ended()?, id.clone()))).min();
        if let Some((_, id)) = first {
            self.kept.remove(&id);
        }
    }
}

impl Kept {
    fn ended(&self) -> Option<Instant> {
        match self.state {
            State::Ended { at, .. } => Some(at),
            State::Running { .. } => None,
        }
    }

    /// The first end counts. The call of one that is given up is aborted.
    fn end(&mut self, payload: TaskPayload) {
        let State::Running { call, .. } = &mut self.state else { return };
        if let (TaskPayload::Cancelled, Some(call)) = (&payload, call.take()) {
            call.abort();
        }
        self.task.last_updated_at = current_timestamp();
        self.state = State::Ended { payload, at: Instant::now() };
    }
}

impl Place {
    /// The task's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Says in words how far it is.
    pub fn tell(&self, message: String) {
        if let Ok(kept) = self.tasks.table().find(&self.id) {
            kept.task.status_message = Some(message);
            kept.task.last_updated_at = current_timestamp();
        }
    }

    /// Asks a person, and waits for the answer: for whoever asks how the task stands, it needs input.
    ///
    /// # Errors
    /// Words about why it cannot be asked.
    pub async fn ask(&mut self, question: &Question) -> Result<Reply, String> {
        self.questions += 1;
        if self.questions > MOST_QUESTIONS {
            return Err(format!("it asks more than {MOST_QUESTIONS} questions"));
        }
        let request = InputRequest::Elicitation(ElicitRequest::new(questions::form(question)?));
        let (sender, receiver) = oneshot::channel();
        {
            let mut table = self.tasks.table();
            let kept = table.find(&self.id).map_err(|error| error.message.into_owned())?;
            if let State::Running { asked, .. } = &mut kept.state {
                let name = format!("answer-{}", self.questions);
                *asked = Some(Box::new(Asked { name, question: question.clone(), request, reply: sender }));
                kept.task.last_updated_at = current_timestamp();
            }
        }
        receiver.await.map_err(|_| "it was given up".to_owned())
    }

    /// The result of the call.
    pub fn settle(mut self, result: Result<CallToolResult, ErrorData>) {
        self.is_settled = true;
        let payload = match result {
            Ok(result) => TaskPayload::Completed { result: object(&result) },
            Err(error) => TaskPayload::Failed { error: object(&error) },
        };
        self.tasks.settle(&self.id, payload);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_settled {
            let error = ErrorData::internal_error("the call was given up", None);
            self.tasks.settle(&self.id, TaskPayload::Failed { error: object(&error) });
        }
    }
}

fn object(value: &impl serde::Serialize) -> JsonObject {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        // These are structs with text keys.
        Ok(_) | Err(_) => JsonObject::new(),
    }
}

/// A random name, as a version 4 UUID.
fn uuid() -> String {
    rmcp::transport::common::server_side_http::session_id().to_string()
}
