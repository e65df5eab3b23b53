//! The job's checks, run by the host after the worker: a verifier component, or a command of the operator's.
//!
//! Never: shows a verifier what the worker said of itself, lets a check touch the worker's tree or budget. A check that
//! cannot be carried out is broken, never passed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use wasmtime_wasi::filesystem::FsPerms;

use crate::doors::command::{self, CommandEnd, Order};
use crate::doors::recorded::RecordedWeb;
use crate::doors::state::RunDir;
use crate::doors::tree::{self, ChangeKind, Manifest};
use crate::doors::workspace;
use crate::rules::digest::Digest;
use crate::rules::effect::Stream;
use crate::rules::ledger::Line;
use crate::rules::policy::Grantee;
use crate::rules::record::Evidence;
use crate::rules::spec::{Caps, Check, CheckRun, FileGrant, Grants, RunSpec, Wall};
use crate::rules::verdict::{CheckEnd, Outcome, Stop};

use super::RunEnd;
use super::aside::{Aside, AsideEnd};
use super::bindings::verifier::jidoka::agent::review;
use super::cord::Cord;
use super::gate::WorkspaceView;
use super::journal::Journal;
use super::runner::Runner;
use super::sandbox::{Call, Prepared, Returned};
use super::seat::{Draw, Preopen, Setup};
use super::senses::VirtualClock;
use super::supervisor::cut;

/// What a path became.
pub(super) type Change = ChangeKind;

/// Evidence bytes that a verifier may attach: findings, not archives.
const CHECK_DISK_BYTES: u64 = 1 << 20;

/// Separates this use of BLAKE3 from every other; the number changes with the encoding.
const CHECK_CONTEXT: &str = "jidoka check, encoding 1";

/// Everything that a check needs of its run.
pub(super) struct Bench<'a> {
    pub runner: &'a Arc<Runner>,
    pub check: &'a Check,
    pub caps: &'a Caps,
    pub wall: Wall,
    pub serial: &'a str,
    pub journal: &'a Arc<Journal>,
    pub cord: &'a Cord,
    pub run_dir: &'a RunDir,
    pub time: &'a Arc<VirtualClock>,
    pub start_ms: u64,
    pub seed: u64,
}

/// What a verifier is shown: files and facts, nothing that the worker said.
pub(super) fn artifact(
    spec: &RunSpec,
    serial: &str,
    tree: Option<Digest>,
    changes: &[(String, Change)],
    evidence: &[Evidence],
) -> review::Artifact {
    let change = |(path, kind): &(String, Change)| review::Change {
        path: path.clone(),
        kind: match kind {
            ChangeKind::Added => review::ChangeKind::Added,
            ChangeKind::Modified => review::ChangeKind::Modified,
            ChangeKind::Removed => review::ChangeKind::Removed,
        },
    };
    review::Artifact {
        item: spec.item.clone().unwrap_or_else(|| serial.to_owned()),
        task: spec.task.text.clone(),
        tree: tree.map_or_else(String::new, |digest| digest.to_string()),
        changes: changes.iter().map(change).collect(),
        evidence: evidence.iter().map(|kept| (kept.kind.clone(), kept.name.clone(), kept.id.to_string())).collect(),
    }
}

/// What a check is: its name, and its component or its command with the files that it names. Blocking.
pub(super) fn identity(check: &Check, prepared: Option<&Prepared>) -> Digest {
    let what = match (&check.run, prepared) {
        (CheckRun::Command(argv), _) => command::fingerprint(argv),
        (CheckRun::Component(_), Some(prepared)) => prepared.digest,
        // There is none in a replay of an erased component, which judges nothing.
        (CheckRun::Component(_), None) => Digest::from_bytes([0; 32]),
    };
    let mut hasher = blake3::Hasher::new_derive_key(CHECK_CONTEXT);
    hasher.update(what.as_bytes()).update(check.name.as_bytes());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// A path to an open directory, whatever happened to its name since.
pub(super) fn handle_path(dir: &Dir) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()))
}

/// A check's own copy of the result.
pub(super) struct Frozen {
    name: String,
    dir: Dir,
    /// What was laid out there, and how it is looked at; `None` for a run without files.
    shown: Option<(WorkspaceView, Arc<Manifest>)>,
}

impl Frozen {
    /// The directories that a verifier gets.
    pub fn preopens(&self, context: Option<&Dir>) -> Result<Vec<Preopen>, RunEnd> {
        let again = |dir: &Dir| {
            dir.try_clone().map_err(|error| RunEnd::Fault(format!("the check's files could not be opened: {error}")))
        };
        let mut preopens = Vec::new();
        if self.shown.is_some() {
            preopens.push(Preopen { name: "/work", dir: again(&self.dir)?, perms: FsPerms::ReadOnly });
        }
        if let Some(context) = context {
            preopens.push(Preopen { name: "/context", dir: again(context)?, perms: FsPerms::ReadOnly });
        }
        Ok(preopens)
    }
}

impl Bench<'_> {
    /// Lets a verifier component judge.
    ///
    /// # Errors
    /// [`RunEnd`]: the host's own trouble, or the cord was pulled while the check ran.
    pub async fn judge(
        &self,
        prepared: &Prepared,
        preopens: Vec<Preopen>,
        artifact: review::Artifact,
    ) -> Result<CheckEnd, RunEnd> {
        let wall_ms = self.check.wall_ms;
        let times = [Line::WallMs, Line::WorkMs, Line::CpuMs].map(|line| (line, wall_ms));
        let aside = Aside {
            sandbox: Arc::clone(&self.runner.sandbox),
            clock: self.runner.clock,
            wall: self.wall,
            grants: Grants { files: FileGrant::ReadOnly, ..Grants::default() },
            grantee: Grantee::Check,
            web: Arc::new(RecordedWeb::default()),
            // What a check uses is the host's to pay, and its clock is not the run's.
            limits: times.into_iter().chain([(Line::DiskBytes, CHECK_DISK_BYTES)]).collect(),
            payer: None,
            books: Arc::default(),
            journal: Arc::clone(self.journal),
            time: Arc::clone(self.time),
            serial: self.serial.to_owned(),
            evidence: self.run_dir.subdir("evidence").map_err(|error| RunEnd::Fault(format!("evidence: {error}")))?,
            trail: None,
        };
        let setup = Setup {
            call: Call::Judge(artifact),
            args: Vec::new(),
            stdin: String::new(),
            env: BTreeMap::new(),
            chances: Draw::Check { seed: self.seed, name: self.check.name.clone() },
            start_ms: self.start_ms,
            max_created: 0,
            max_body_bytes: 0,
            caps: *self.caps,
        };
        let judged = aside.call(prepared, setup, preopens);
        let AsideEnd { ended, stdout, stderr, gate, .. } = tokio::select! {
            biased;
            _ = self.cord.pulled() => return Err(RunEnd::Stopped),
            judged = judged => judged?,
        };
        gate.record_output([(Stream::Stdout, stdout.0, stdout.1), (Stream::Stderr, stderr.0, stderr.1)]).await?;
        Ok(match ended {
            Ok(Returned::Judgement(Ok(judgement))) => judged_as(judgement),
            Ok(Returned::Judgement(Err(why))) => CheckEnd::Broken { why: cut(why) },
            Ok(Returned::Report(_) | Returned::Described(_) | Returned::Output(_) | Returned::Exited(_)) => {
                return Err(RunEnd::Fault("a verifier answered as another guest".into()));
            }
            Err(outcome) => CheckEnd::Broken { why: self.broken(outcome)? },
        })
    }

    /// Why a verifier gave no judgement. One that pulls the cord stops the run.
    fn broken(&self, outcome: Outcome) -> Result<String, RunEnd> {
        Ok(match outcome {
            Outcome::Interrupted(Stop::Exhausted { line, .. }) => format!("out of {}", line.name()),
            // No question, no freezing: neither is granted to a check.
            Outcome::Interrupted(Stop::Stuck { suspicion, .. }) => suspicion.fact,
            Outcome::Interrupted(
                stop @ (Stop::Pulled { .. }
                | Stop::Cancelled
                | Stop::Deferred { .. }
                | Stop::Frozen { .. }
                | Stop::Parked { .. }),
            ) => {
                self.cord.pull(stop);
                return Err(RunEnd::Stopped);
            }
            Outcome::Trapped(why) => format!("trapped: {why}"),
            Outcome::Failed(why) => why,
            Outcome::Returned(_) => "answered as a worker".into(),
            Outcome::Faulted(why) => return Err(RunEnd::Fault(why)),
            Outcome::Diverged(divergence) => return Err(RunEnd::Diverged(divergence)),
        })
    }

    /// Copies what will be applied if this check passes, and nothing else: a check must not be swayed by files that are
    /// ignored, nor by a write that is still on its way.
    ///
    /// # Errors
    /// [`RunEnd`]: the host's own trouble. Inside: why the copy is not what the host saw.
    pub async fn freeze(&self, seen: Option<(WorkspaceView, Manifest)>) -> Result<Result<Frozen, String>, RunEnd> {
        let name = format!("check-{}", self.check.name);
        let fault = |error: String| RunEnd::Fault(format!("the check's copy could not be made: {error}"));
        let dir = self.run_dir.subdir(&name).map_err(|error| fault(error.to_string()))?;
        let Some((view, end)) = seen else { return Ok(Ok(Frozen { name, dir, shown: None })) };
        tokio::task::spawn_blocking(move || {
            workspace::copy(&view.dir, &dir, &view.bounds, &view.ignored).map_err(|error| error.to_string())?;
            let copied = tree::scan(&dir, &view.bounds, &view.ignored).map_err(|error| error.to_string())?;
            if copied != end {
                return Err("the worker's tree changed while it was judged".to_owned());
            }
            Ok(Frozen { name, dir, shown: Some((view, Arc::new(end))) })
        })
        .await
        .map_err(|error| fault(error.to_string()))
    }

    /// Lays out what the worker began with. Blocking parts run elsewhere.
    ///
    /// # Errors
    /// [`RunEnd`]: the host's own trouble. Inside: why the base cannot be laid out.
    pub async fn freeze_base(&self, view: Option<WorkspaceView>) -> Result<Result<Frozen, String>, RunEnd> {
        let name = format!("base-{}", self.check.name);
        let fault = |error: String| RunEnd::Fault(format!("the check's copy could not be made: {error}"));
        let dir = self.run_dir.subdir(&name).map_err(|error| fault(error.to_string()))?;
        let Some(view) = view else { return Ok(Ok(Frozen { name, dir, shown: None })) };
        let blobs = self.runner.state.blobs().clone();
        tokio::task::spawn_blocking(move || {
            blobs.restore(&view.base, &dir).map_err(|error| error.to_string())?;
            let base = Arc::clone(&view.base);
            Ok(Frozen { name, dir, shown: Some((view, base)) })
        })
        .await
        .map_err(|error| fault(error.to_string()))
    }

    /// Whether a check had its copy as it was shown to it, to its end. A command may write there, and must only not have lost it.
    ///
    /// # Errors
    /// [`RunEnd`]: the host's own trouble. Inside: what something else did to the copy.
    pub async fn kept(&self, frozen: &Frozen) -> Result<Result<(), String>, RunEnd> {
        let fault = |error: String| RunEnd::Fault(format!("the check's copy could not be looked at: {error}"));
        let Some((view, shown)) = frozen.shown.clone() else { return Ok(Ok(())) };
        let dir = frozen.dir.try_clone().map_err(|error| fault(error.to_string()))?;
        let is_command = matches!(self.check.run, CheckRun::Command(_));
        tokio::task::spawn_blocking(move || {
            if workspace::is_gone(&dir) {
                return Err("its copy of the result was removed while it ran".to_owned());
            }
            let now = || tree::scan(&dir, &view.bounds, &view.ignored).map_err(|error| error.to_string());
            match is_command || now()? == *shown {
                true => Ok(()),
                false => Err("its copy of the result changed while it ran".to_owned()),
            }
        })
        .await
        .map_err(|error| fault(error.to_string()))
    }

    /// Removes a check's copy.
    ///
    /// # Errors
    /// [`RunEnd`]: the disk.
    pub async fn thaw(&self, frozen: Frozen) -> Result<(), RunEnd> {
        let fault = |error: String| RunEnd::Fault(format!("the check's copy could not be removed: {error}"));
        let run_dir = self.run_dir.clone();
        tokio::task::spawn_blocking(move || workspace::remove_tree(run_dir.dir(), &frozen.name))
            .await
            .map_err(|error| fault(error.to_string()))?
            .map_err(|error| fault(error.to_string()))
    }

    /// Runs a command in a check's copy.
    ///
    /// # Errors
    /// [`RunEnd`]: the host's own trouble, or the cord was pulled while the command ran.
    pub async fn command(&self, frozen: &Frozen) -> Result<CheckEnd, RunEnd> {
        let CheckRun::Command(argv) = &self.check.run else {
            return Err(RunEnd::Fault("a check without a component is no command".into()));
        };
        let path = std::fs::read_link(handle_path(&frozen.dir))
            .map_err(|error| RunEnd::Fault(format!("the check's copy could not be found: {error}")))?;
        let time = Duration::from_millis(self.check.wall_ms);
        let order = Order { argv, directory: &path, environment: &self.runner.commands, stdin: None, time };
        let ended = tokio::select! {
            biased;
            _ = self.cord.pulled() => return Err(RunEnd::Stopped),
            ended = command::run(&order) => ended,
        };
        Ok(match ended {
            CommandEnd::Exited { success: true, output, .. } => CheckEnd::Passed { summary: last_line(&output) },
            CommandEnd::Exited { success: false, status, output, .. } => {
                CheckEnd::Failed { summary: status, findings: output.lines().map(str::to_owned).collect() }
            }
            CommandEnd::TimedOut => CheckEnd::Broken { why: format!("out of time after {} ms", self.check.wall_ms) },
            CommandEnd::Broken(why) => CheckEnd::Broken { why },
        })
    }
}

/// Findings of a judgement that are kept.
const MAX_FINDINGS: usize = 100;

fn judged_as(judgement: review::Judgement) -> CheckEnd {
    let summary = cut(judgement.summary);
    if judgement.pass {
        return CheckEnd::Passed { summary };
    }
    let findings = judgement.findings.into_iter().take(MAX_FINDINGS).map(cut).collect();
    CheckEnd::Failed { summary, findings }
}

fn last_line(output: &str) -> String {
    output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("passed").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::policy::MAX_SUMMARY_BYTES;

    #[test]
    fn findings_are_kept_up_to_n_and_each_is_cut() {
        let judged = |count: usize, bytes: usize| {
            let findings = vec!["x".repeat(bytes); count];
            match judged_as(review::Judgement { pass: false, summary: "y".repeat(bytes), findings }) {
                CheckEnd::Failed { summary, findings } => (summary.len(), findings),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(judged(MAX_FINDINGS, 1).1.len(), MAX_FINDINGS);
        assert_eq!(judged(MAX_FINDINGS + 1, 1).1.len(), MAX_FINDINGS);
        let (summary, findings) = judged(1, MAX_SUMMARY_BYTES + 1);
        assert_eq!((summary, findings[0].len()), (MAX_SUMMARY_BYTES, MAX_SUMMARY_BYTES));
    }
}
