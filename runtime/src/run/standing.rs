//! Where a run stands: whether its process is gone, and what lets it go on.
//!
//! Never: changes anything, promises more than a resume would do. What is said here is true as long as nobody acts.

use std::time::Duration;

use crate::doors::store::{RunRow, StoreError};
use crate::rules::item::State;
use crate::rules::ledger::ScopeId;
use crate::rules::question::{QuestionId, Standing};

use super::desk::Desk;
use super::past::PastError;

/// How often, and how long after each other, it is looked whether a process has the run: one that is being started has all
/// locks of ours until it is another program.
const LOOKS: u32 = 10;
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// What comes next of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A process works on it.
    Running,
    /// A resume.
    Resume,
    /// An answer, and then a resume.
    Answer(QuestionId),
    /// Its line is stopped by this lock: a person clears it, and then a resume.
    Clear(ScopeId, u64),
    /// Nothing: no resume lets it go on.
    Over { why: String },
}

impl Next {
    /// The commands that let the run go on. `None`: there are none.
    pub fn commands(&self, serial: &str) -> Option<String> {
        match self {
            Next::Running | Next::Over { .. } => None,
            Next::Resume => Some(format!("jidoka resume {serial}")),
            Next::Answer(question) => Some(format!("jidoka answer {question} OPTION --resume")),
            Next::Clear(line, lock) => Some(format!(
                "jidoka andon clear {line}/{lock} --cause TEXT (--policy-change TEXT | --no-policy-change), then jidoka resume \
                 {serial}"
            )),
        }
    }

    /// Why no resume lets it go on. `None`: one does, or it is on its way.
    pub fn over(&self) -> Option<&str> {
        match self {
            Next::Over { why } => Some(why),
            Next::Running | Next::Resume | Next::Answer(_) | Next::Clear(..) => None,
        }
    }
}

impl Desk {
    /// Whether a run has no end and no process.
    pub fn is_lost(&self, run: &RunRow) -> bool {
        run.verdict.is_none() && !run.imported && self.is_dead(&run.serial)
    }

    /// Whether the process is gone that had a run. Of one that nobody can tell of it is not.
    pub fn is_dead(&self, serial: &str) -> bool {
        self.state().is_dead(serial).unwrap_or(false)
    }

    /// What comes next of a run.
    ///
    /// # Errors
    /// [`PastError`]: there is no such run, or its journal cannot be read.
    pub async fn next(&self, serial: &str) -> Result<Next, PastError> {
        let mut looks = 0;
        while !self.is_dead(serial) {
            if looks == LOOKS {
                return Ok(Next::Running);
            }
            looks += 1;
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let past = self.look_at(serial).await?;
        let over = |why: String| Ok(Next::Over { why });
        if let Err(error) = past.can_go_on() {
            return over(error.to_string());
        }
        let origin = &past.origin;
        let line = ScopeId::host().child(&origin.tenant).child(&origin.line);
        let item = line.child(&origin.item);
        let known = self.items().await?.into_iter().find(|(id, _)| *id == item);
        let Some((_, record)) = known else { return over("its item is not known here".to_owned()) };
        if record.attempts != origin.attempt || record.open.as_deref().is_some_and(|open| open != serial) {
            return over(format!("its item has had {} attempts since: fork it instead", record.attempts));
        }
        match record.state {
            State::Accepted | State::Abandoned => {
                return over(format!("its item is {}: an operator may revive it", record.state.name()));
            }
            State::Ready | State::Running | State::Parked | State::RetryWait | State::Halted => {}
        }
        if past.record().is_some_and(|record| record.verdict == "exhausted") {
            return over("its budget is used up".to_owned());
        }
        if let Some(lock) = self.stopped_by(&line).await? {
            return Ok(Next::Clear(line, lock));
        }
        let now_ms = self.now_ms();
        let asked = self.questions().await?.into_iter();
        let asked = asked.filter(|(id, question)| *id.run == *serial && question.standing(now_ms) == Standing::Open);
        Ok(asked.map(|(id, _)| Next::Answer(id)).next().unwrap_or(Next::Resume))
    }

    async fn stopped_by(&self, line: &ScopeId) -> Result<Option<u64>, StoreError> {
        let found = self.lines().await?.into_iter().find(|(id, _)| id == line);
        Ok(found.and_then(|(_, record)| Some(record.lock?.number)))
    }
}
