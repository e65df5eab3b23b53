//! A run that shares its beginning with another: the prefix by reference and for no token, and from there on its own.
//!
//! Never: changes its parent, applies to anybody's directory unless told to. Invariants here: a fork is an item of its own,
//! so it spends in a scope of its own and what its parent has shown is news to it; overrides act below the guest, which
//! asks as it always did.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::doors::chain::Sealer;
use crate::doors::state::RunDir;
use crate::rules::effect::{Entry, FORMAT, OpenedJob, Parent, RunOrigin};
use crate::rules::record::Record;
use crate::rules::verdict::Verdict;

use super::admission::{Admitted, Ready, Scopes, chain, close_dead_runs, faulted, fresh_key, not_admitted};
use super::children::Lineage;
use super::cord::Cord;
use super::journal::Beginning;
use super::past::{Past, PastError};
use super::recovery::Left;
use super::resume::restored;
use super::runner::{Job, Runner};
use super::sandbox::ENGINE_NAME;
use super::tape::{Tape, Then};

/// Where a fork begins, and what is other in it.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The last entry that it shares with its parent.
    pub at: u64,
    /// Messages that are replaced in what is sent from there on: from 1, by their text.
    pub edits: BTreeMap<usize, String>,
}

/// Opens a fork of a past run. Nothing of the worker runs.
#[expect(clippy::too_many_arguments, reason = "as an admission, with the past that it begins with")]
pub(super) async fn admit(
    runner: &Arc<Runner>,
    job: Job,
    serial: &str,
    (past, branch): (Past, Branch),
    run_dir: &RunDir,
    cord: Cord,
    watcher: mpsc::UnboundedSender<Entry>,
    record: &mut Record,
) -> Result<Admitted, Verdict> {
    let last = past.fork_at(branch.at).map_err(not_admitted)?;
    let job = Job { left_out: past.job.left_out.clone(), ..job };
    let parent = Parent { serial: past.serial.clone(), seq: last.seq, hash: last.hash };
    let tape = Tape::of(past.told_until(branch.at), Then::Live).map_err(not_admitted)?;
    let (host, dir, from) = (Arc::clone(runner), run_dir.clone(), past.origin.clone());
    let item = record.item.clone();
    let parent_serial = past.serial.clone();
    let opened = tokio::task::spawn_blocking(move || {
        // As long as it is taken nobody erases it; one that is on its way is erased by nobody either.
        let parent_dir = host.state.reopen_run(&parent_serial).ok();
        let parent = host.store.run(&parent_serial).map_err(|error| not_admitted(format!("the store: {error}")))?;
        if parent.is_some_and(|parent| parent.erased) {
            return Err(not_admitted(PastError::Erased { serial: parent_serial }));
        }
        let lease = host.state.lease(&job.spec.tenant, &job.spec.line, &item);
        let lease = lease.map_err(|error| not_admitted(chain(&error)))?;
        // Nothing is kept that is not kept already; but nobody may sweep it away meanwhile.
        let keeping = host.state.blobs().keeping().map_err(|error| not_admitted(format!("the blobs: {error}")))?;
        let materials = restored(&host, &job, &from, &dir)?;
        Ok::<_, Verdict>((job, lease, keeping, materials, parent_dir))
    });
    let (job, lease, keeping, materials, parent_dir) =
        opened.await.map_err(|error| faulted(format!("the admission panicked: {error}")))??;
    close_dead_runs(runner, &job).await?;
    let scopes = Scopes::of(&job.spec, &record.item, serial);
    let origin = RunOrigin {
        format: FORMAT,
        serial: serial.to_owned(),
        tenant: job.spec.tenant.clone(),
        line: job.spec.line.clone(),
        item: record.item.clone(),
        component: materials.component,
        engine: ENGINE_NAME.to_owned(),
        parent: Some(parent),
        ..past.origin.clone()
    };
    let mut edits = past.job.edits.clone();
    edits.extend(branch.edits);
    let opened = OpenedJob { spec: job.spec.clone(), dir: job.dir.clone(), edits, ..past.job.clone() };
    let beginning = Beginning { sealer: Sealer::new(fresh_key()?), tape, resumption: 0 };
    let ready = Ready {
        job,
        serial: serial.to_owned(),
        run_dir: run_dir.clone(),
        scopes,
        lineage: Lineage::default(),
        materials,
        cord,
        lease,
        keeping,
    };
    let begun =
        ready.begin(runner, origin, opened, (Left::default(), past.first_ms()), beginning, watcher, record).await;
    drop(parent_dir);
    begun
}
