//! From a job, a past run or a fork to a record: admitted, executed, written down.
//!
//! Never: judges. Invariant here: whatever happens, there is a record; a past run that is not admitted keeps its own.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use crate::doors::chain::Head;
use crate::doors::state::RunDir;
use crate::doors::workspace;
use crate::rules::andon::Pulled;
use crate::rules::effect::Entry;
use crate::rules::record::{Capabilities, LedgerRecord, RECORD_FORMAT, Record};
use crate::rules::spec::{FileGrant, RunSpec};
use crate::rules::verdict::Verdict;

use super::admission::{Admitted, admit, chain, may_begin};
use super::applying;
use super::around::Around;
use super::children::Birth;
use super::cord::Cord;
use super::fork::{self, Branch};
use super::lock;
use super::lost;
use super::past::Past;
use super::resume::readmit;
use super::runner::{Apply, Job, Runner};
use super::sandbox::ENGINE_NAME;

/// The file of a run's record in its directory.
pub(super) const VERDICT: &str = "verdict.json";

/// The record of a run of which nothing is known yet.
pub(super) fn blank_record(spec: &RunSpec, serial: &str) -> Record {
    Record {
        format: RECORD_FORMAT,
        serial: serial.to_owned(),
        tenant: Some(spec.tenant.clone()),
        line: spec.line.clone(),
        item: spec.item.clone().unwrap_or_else(|| serial.to_owned()),
        attempt: 0,
        verdict: "fault".to_owned(),
        detail: serde_json::Value::Null,
        why: String::new(),
        exit_code: 70,
        report: None,
        marks: Vec::new(),
        evidence: Vec::new(),
        gates: Vec::new(),
        changes: Vec::new(),
        applied: false,
        ledger: LedgerRecord::default(),
        waste: Default::default(),
        capabilities: Capabilities { granted: spec.grants.clone(), ..Capabilities::default() },
        component: None,
        wall: Some(spec.wall),
        repaid: 0,
        resumptions: 0,
        kept: format!("runs/{serial}"),
        host: ENGINE_NAME.to_owned(),
    }
}

/// Runs a job to its verdict. Whatever happens, there is a record.
pub(super) async fn run(
    runner: Arc<Runner>,
    job: Job,
    serial: String,
    apply: Apply,
    cord: Cord,
    watcher: mpsc::UnboundedSender<Entry>,
) -> Record {
    let mut record = blank_record(&job.spec, &serial);
    let run_dir = match new_dir(&runner, &serial) {
        Ok(run_dir) => run_dir,
        Err(verdict) => return judged(record, &verdict),
    };
    if let Err(verdict) = applying::make_ready(&runner, &job, apply).await {
        return refused(&run_dir, record, &verdict);
    }
    if let Err(verdict) = may_begin(&runner, &job.spec, &record.item, &serial).await {
        return refused(&run_dir, record, &verdict);
    }
    let around = match Around::begin(&runner, &job, &serial, &record.item).await {
        Ok(around) => around,
        Err(verdict) => return refused(&run_dir, record, &verdict),
    };
    let admitted = admit(&runner, job, &serial, None, &run_dir, (cord, watcher), &mut record).await;
    around.end(&runner, admitted, apply, &run_dir, record).await
}

/// Runs a child to its verdict. What is done around runs is done around its caller.
pub(super) async fn child(
    runner: Arc<Runner>,
    job: Job,
    serial: String,
    birth: Birth,
    cord: Cord,
    watcher: mpsc::UnboundedSender<Entry>,
) -> Record {
    let mut record = blank_record(&job.spec, &serial);
    let run_dir = match new_dir(&runner, &serial) {
        Ok(run_dir) => run_dir,
        Err(verdict) => return judged(record, &verdict),
    };
    let kept = Arc::clone(&birth.pulls);
    // Of one that may not write there is nothing to apply.
    let apply = if job.spec.grants.files == FileGrant::ReadWrite { Apply::Accepted } else { Apply::Never };
    let admitted = admit(&runner, job, &serial, Some(birth), &run_dir, (cord, watcher), &mut record).await;
    let pulls = execute(&runner, admitted, apply, &run_dir, &mut record).await;
    lock(&kept).kept.extend(pulls);
    // Its trees are kept where all trees are, and it never goes on: its caller's disk paid for no copies.
    let removed = tokio::task::spawn_blocking(move || {
        ["work", "context"].into_iter().try_for_each(|name| workspace::remove_tree(run_dir.dir(), name))
    });
    if let Ok(Err(error)) = removed.await {
        tracing::warn!(%error, serial = record.serial, "the copies of a child could not be removed");
    }
    record
}

/// Lets a past run go on. One that is not admitted stays as it is, and so does its `verdict.json`.
pub(super) async fn resume(
    runner: Arc<Runner>,
    job: Job,
    past: Past,
    apply: Apply,
    cord: Cord,
    watcher: mpsc::UnboundedSender<Entry>,
) -> Record {
    let mut record = blank_record(&job.spec, &past.serial);
    record.item.clone_from(&past.origin.item);
    let was_open = past.record().is_none();
    if let Err(verdict) = applying::make_ready(&runner, &job, apply).await {
        return judged(record, &verdict);
    }
    let run_dir = match runner.state.reopen_run(&past.serial) {
        Ok(run_dir) => run_dir,
        Err(error) => return judged(record, &Verdict::NotAdmitted { why: vec![chain(&error)] }),
    };
    // As it is now that nobody else works on it.
    let past = match runner.past(&past.serial).await {
        Ok(past) => past,
        Err(error) => return judged(record, &Verdict::NotAdmitted { why: vec![chain(&error)] }),
    };
    if let (true, Some(record)) = (was_open, past.record()) {
        // All that was left to do was to say so.
        return record;
    }
    let around = match Around::begin(&runner, &job, &past.serial, &record.item).await {
        Ok(around) => around,
        Err(verdict) => return judged(record, &verdict),
    };
    match readmit(&runner, job, past, &run_dir, cord, watcher, &mut record).await {
        Ok(admitted) => {
            outdated(&run_dir);
            around.end(&runner, Ok(admitted), apply, &run_dir, record).await
        }
        Err(verdict) => judged(record, &verdict),
    }
}

/// Runs a fork to its verdict.
pub(super) async fn fork(
    runner: Arc<Runner>,
    job: Job,
    from: (Past, Branch),
    serial: String,
    apply: Apply,
    (cord, watcher): (Cord, mpsc::UnboundedSender<Entry>),
) -> Record {
    let mut record = blank_record(&job.spec, &serial);
    let run_dir = match new_dir(&runner, &serial) {
        Ok(run_dir) => run_dir,
        Err(verdict) => return judged(record, &verdict),
    };
    if let Err(verdict) = applying::make_ready(&runner, &job, apply).await {
        return refused(&run_dir, record, &verdict);
    }
    let around = match Around::begin(&runner, &job, &serial, &record.item).await {
        Ok(around) => around,
        Err(verdict) => return refused(&run_dir, record, &verdict),
    };
    let admitted = fork::admit(&runner, job, &serial, from, &run_dir, cord, watcher, &mut record).await;
    around.end(&runner, admitted, apply, &run_dir, record).await
}

fn new_dir(runner: &Runner, serial: &str) -> Result<RunDir, Verdict> {
    let made = runner.state.create_run(serial);
    let why =
        |error| format!("the run's directory could not be made: {error}: make room, or name another one with --state");
    made.map_err(|error| Verdict::NotAdmitted { why: vec![why(error)] })
}

fn judged(mut record: Record, verdict: &Verdict) -> Record {
    record.judge(verdict);
    record
}

/// Writes down the verdict on a run of which nothing runs.
fn refused(run_dir: &RunDir, mut record: Record, verdict: &Verdict) -> Record {
    record.judge(verdict);
    write(run_dir, &record, None);
    record
}

/// Executes what was admitted, and writes down the verdict, whatever it is. Returns the pulls of the run's line that came of
/// it.
pub(super) async fn execute(
    runner: &Arc<Runner>,
    admitted: Result<Admitted, Verdict>,
    apply: Apply,
    run_dir: &RunDir,
    record: &mut Record,
) -> Vec<Pulled> {
    let mut pulls = Vec::new();
    let head = match admitted {
        Ok(admitted) => {
            let kept = Arc::clone(&admitted.pulls);
            let journal = Arc::clone(&admitted.journal);
            let verdict = admitted.execute(runner, apply, record).boxed().await;
            record.judge(&verdict);
            pulls = std::mem::take(&mut lock(&kept).kept);
            journal.head()
        }
        Err(verdict) => {
            record.judge(&verdict);
            unbegun(runner, record).await
        }
    };
    write(run_dir, record, head);
    pulls
}

/// Closes the journal of a run that was not admitted, if the store kept its opening and said that it had not.
async fn unbegun(runner: &Arc<Runner>, record: &mut Record) -> Option<Head> {
    let fault = Verdict::Fault { why: record.why.clone() };
    match lost::close(&runner.store, &record.serial, &fault).await {
        Ok(Some(closed)) => {
            *record = closed.record;
            closed.head
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(run = record.serial, "the run could not be looked for in the store: {error}");
            None
        }
    }
}

fn write(run_dir: &RunDir, record: &Record, journal: Option<Head>) {
    if let Err(error) = run_dir.write(VERDICT, &VerdictFile { record, journal }) {
        // The journal has it. What an earlier end of the run wrote would contradict it.
        tracing::warn!(run = record.serial, "{VERDICT} could not be written: {error}; `jidoka show` has the verdict");
        outdated(run_dir);
    }
}

/// Removes the verdict of an earlier end of a run that goes on.
fn outdated(run_dir: &RunDir) {
    match run_dir.dir().remove_file(VERDICT) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("an old {VERDICT} could not be removed: {error}");
        }
        Ok(()) | Err(_) => {}
    }
}

/// `verdict.json`: the record, and where the journal ends that it was made from.
#[derive(serde::Serialize)]
pub(super) struct VerdictFile<'a> {
    #[serde(flatten)]
    pub(super) record: &'a Record,
    pub(super) journal: Option<Head>,
}
