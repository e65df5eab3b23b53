//! What shows progress: evidence that is attached, a look at the workspace, and the marks that they earn.
//!
//! Never: believes a worker. Invariants here: a mark and the answer that it was earned with are written in one transaction;
//! a tree is kept before an entry names it.

use std::sync::Arc;

use crate::doors::blobs::{Blobs, Keeping};
use crate::doors::evidence;
use crate::doors::rates::RateNews;
use crate::doors::store::{Durability, Need};
use crate::doors::tree::Manifest;
use crate::rules::digest::Digest;
use crate::rules::effect::{Answer, Body, Denied, Failure, FailureKind};
use crate::rules::ledger::{Amounts, Denial, Line};
use crate::rules::progress::{Mark, Standing};
use crate::rules::spec::MarkKind;

use super::super::RunEnd;
use super::super::lock;
use super::super::meter::Meter;
use super::{Gate, Kept, Performed, WorkspaceView, blocking};

/// A mark that an effect earned.
pub(super) struct Marked {
    pub(super) mark: Mark,
    /// Where the tree is kept, if it is one of a tree.
    pub(super) tree: Option<KeptTree>,
}

/// A tree that is kept, and nobody sweeps it away before an entry names it.
pub struct KeptTree {
    pub address: Digest,
    _keeping: Keeping,
}

impl Gate {
    /// Whether something else than a guest changed the worker's files.
    pub(super) fn is_disturbed(&self) -> bool {
        self.passage.workspace.as_ref().is_some_and(|view| view.trail.disturbed().is_some())
    }
}

/// Keeps a tree of the guest's.
///
/// # Errors
/// [`RunEnd::Fault`]. Inside: a sentence, if it is not what was seen any more.
pub async fn keep_tree(
    blobs: &Blobs,
    view: &WorkspaceView,
    tree: Manifest,
) -> Result<Result<KeptTree, String>, RunEnd> {
    let (blobs, view) = (blobs.clone(), view.clone());
    blocking(move || {
        let keeping = blobs.keeping().map_err(|error| error.to_string())?;
        let address = keeping.keep_tree(&view.dir, &tree, Some(&view.base)).map_err(|error| error.to_string())?;
        Ok(KeptTree { address, _keeping: keeping })
    })
    .await
}

impl Gate {
    pub(super) async fn attach(&self, kind: &str, name: &str, bytes: &[u8]) -> Result<Performed, RunEnd> {
        let id = evidence::address(bytes);
        let (dir, kept) = (Arc::clone(&self.passage.evidence), bytes.to_vec());
        blocking(move || evidence::keep(&dir, &id, &kept))
            .await?
            .map_err(|error| RunEnd::Fault(format!("evidence could not be kept: {error}")))?;
        self.state().kept.push(Kept { kind: kind.to_owned(), name: name.to_owned(), id });
        let mark = Mark { kind: MarkKind::Artifact, digest: id };
        // What has nothing in it shows nothing.
        let new = !bytes.trim_ascii().is_empty() && lock(&self.passage.progress).observe(mark);
        let spent = [(Line::DiskBytes, bytes.len() as u64)].into_iter().collect();
        Ok(Performed {
            heard: Ok(Answer::Attached { id: id.to_string() }),
            spent: Some(spent),
            held: Amounts::default(),
            raw_usage: None,
            took_ms: 0,
            waited_ms: 0,
            marked: new.then_some(Marked { mark, tree: None }),
            tree: None,
            rates: RateNews::default(),
        })
    }

    pub(super) async fn check_in(&self) -> Result<Performed, RunEnd> {
        let view = self.passage.workspace.clone().expect("a file grant comes with a workspace: the spec holds that");
        let (view, seen) = blocking(move || {
            let now = view.look();
            (view, now)
        })
        .await?;
        let broken = |message: String| {
            let failure = Failure { kind: FailureKind::Broken, message };
            Ok(Performed::free(Err(Denied::Failed(failure))))
        };
        let now = match seen {
            Ok(now) => now,
            Err(message) => return broken(message),
        };
        let changes = view.changes(&now).len();
        let mark = Mark { kind: MarkKind::Tree, digest: view.mark(&now) };
        let is_new = lock(&self.passage.progress).is_new(mark);
        let kept = match (&self.passage.blobs, is_new) {
            (Some(blobs), true) => match keep_tree(blobs, &view, now).await? {
                Ok(kept) => Some(kept),
                Err(message) => return broken(message),
            },
            (None, _) | (_, false) => None,
        };
        let mut progress = lock(&self.passage.progress);
        let new_mark = progress.observe(mark);
        let standing = Standing {
            new_mark,
            marks: u32::try_from(progress.earned().len()).unwrap_or(u32::MAX),
            changed_files: u32::try_from(changes).unwrap_or(u32::MAX),
        };
        drop(progress);
        let mut performed = Performed::free(Ok(Answer::CheckedIn { standing, seen: mark.digest }));
        performed.marked = new_mark.then(|| Marked { mark, tree: kept });
        Ok(performed)
    }

    /// An answer of the host's own is written down, with the mark that it earned.
    pub(super) async fn answer(&self, answered: Body, call: u64, marked: Option<Marked>) -> Result<(), RunEnd> {
        match marked {
            None => self.passage.journal.append(answered, Durability::Lazy).await,
            Some(marked) => self.earned(Some(answered), call, marked).await,
        }
    }

    /// A mark is written down, after what earned it: then gaps start anew.
    pub(super) async fn earned(&self, answered: Option<Body>, call: u64, marked: Marked) -> Result<(), RunEnd> {
        let Marked { mark, tree } = marked;
        let meter = &self.passage.meter;
        let _renewing = meter.renewing().await;
        let (scope, metered, used) = (self.passage.scope.clone(), meter.call().clone(), meter.used(self.waited_ms()));
        // Before somebody could sweep away the tree that it names.
        let durability = if tree.is_some() { Durability::Durable } else { Durability::Lazy };
        let address = tree.as_ref().map(|tree| tree.address);
        let marked = self.passage.journal.step(vec![Need::Call(metered.clone())], durability, move |step| {
            let renewed = Meter::mark(step.books.ledger, &scope, &metered, &used, step.books.now_ms)?;
            answered.into_iter().for_each(|answered| step.write(answered));
            step.write(Body::Marked { call: Some(call), mark, tree: address });
            Ok::<_, Denial>(renewed)
        });
        let renewed = marked.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))?;
        drop(tree);
        self.moved_on();
        meter.go_on(used, renewed);
        Ok(())
    }
}
