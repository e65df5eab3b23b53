//! The life of a tool's call at the gate: held against the tool's schema, reserved and dispatched, made in a sandbox of its own,
//! written down with what happened inside of it.
//!
//! Never: lets two calls write the worker's files at once; runs a tool on the task of its worker. Invariants here: what a call
//! did to the files is kept as a tree that its answer names, so that the journal tells it again without the tool; what a tool
//! fetched was reserved on the run's own lines before.

use std::sync::Arc;

use cap_std::fs::Dir;
use tokio::task::JoinHandle;

use crate::doors::store::{Durability, Need};
use crate::rules::digest::Digest;
use crate::rules::effect::{Answer, Body, Denied, Effect, Failure, FailureKind, Reason, Refusal};
use crate::rules::ledger::{Amounts, Denial, Line};
use crate::rules::policy;
use crate::rules::quote::{self, Quote};
use crate::rules::spec::FileGrant;
use crate::rules::tool::{Reach, ToolOffer};

use super::super::RunEnd;
use super::super::tools::{Bench, Called, Tool, disk_bytes};
use super::call::No;
use super::fetch::with_reserve;
use super::{Admitted, Ask, Gate, KeptTree, Life, Paid, Performed, blocking, keep_tree};

/// Bytes of an input that are held against its schema at once, on the task of the run; of a longer one elsewhere.
const QUICK_BYTES: usize = 16 << 10;

/// What the tools of a run need beside its gate.
#[derive(Clone)]
pub struct Workshop {
    pub sandbox: Arc<super::super::sandbox::Sandbox>,
    pub wall: crate::rules::spec::Wall,
    pub context: Option<Arc<Dir>>,
    pub seed: u64,
    /// The time that all files show. Milliseconds since 1970.
    pub start_ms: u64,
}

/// A task that ends with whoever waits for it.
struct Owned<T>(JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Gate {
    /// The tools that the guest can call.
    pub fn tools(&self) -> &[ToolOffer] {
        self.passage.tools.offers()
    }

    /// Says how far a tool or a child reaches: no guest does.
    pub(super) fn with_reach(&self, mut ask: Ask) -> Ask {
        if let Effect::Tool { name, reach, .. } = &mut ask.effect {
            *reach = self.passage.tools.find(name).map_or(Reach::Outside, |tool| tool.offer().reach);
        }
        if let Effect::Child { name, reach, .. } = &mut ask.effect {
            *reach = self.passage.children.as_ref().map_or(Reach::Outside, |children| children.reach(name));
        }
        ask
    }

    /// Holds a call against the tools that there are, and its input against the tool's schema.
    pub(super) async fn fits_tool(&self, name: &str, input: &str) -> Result<Result<(), Refusal>, RunEnd> {
        let Some(tool) = self.passage.tools.find(name) else {
            let granted = self.tools().iter().map(|offer| offer.name.as_str());
            return Ok(Err(policy::not_granted_tool(name, granted)));
        };
        let taken = if input.len() <= QUICK_BYTES {
            tool.takes(input)
        } else {
            let (tool, input) = (Arc::clone(tool), input.to_owned());
            blocking(move || tool.takes(&input)).await?
        };
        Ok(taken.map_err(|problem| Refusal {
            reason: Reason::Invalid,
            asked: format!("an input of tool {name:?} that does not fit: {problem}"),
            allowed: "JSON that matches the tool's schema".to_owned(),
            setting: "the worker's own call".to_owned(),
        }))
    }

    /// Reserves one call, and what it may move over the network, and dispatches it in one transaction with its intent. One
    /// that stays in the run's own copies need not be on disk before it begins: it is made again after a crash.
    pub(super) async fn reserve_tool(&self, admitted: &Admitted, name: &str) -> Result<Result<Paid, Refusal>, RunEnd> {
        let Some(tool) = self.passage.tools.find(name) else {
            return Err(RunEnd::Fault("a tool that is not there was let through".into()));
        };
        let spec = tool.spec();
        let net_bytes = if spec.http.is_empty() { 0 } else { spec.caps.net_bytes };
        let reserve: Amounts = [(Line::ToolCalls, 1), (Line::NetBytes, net_bytes)].into_iter().collect();
        let quote = Quote { max_output: 0, max_response_bytes: 0, reserve, short: None };
        let (id, scope) = (self.call_id(admitted.call), self.passage.scope.clone());
        let intent = with_reserve(admitted.intent(None, Amounts::default()), reserve);
        let line = self.freezes_with();
        let needs = [Need::Scope(scope.clone())].into_iter().chain(line.clone().map(Need::Line)).collect();
        let paid = self.passage.journal.step(needs, durability(tool.offer().reach), move |step| {
            if let Some(lock) = line.and_then(|line| step.books.line(&line).lock) {
                return Ok(Err(No::Frozen(lock.first)));
            }
            let now_ms = step.books.now_ms;
            let ledger = &mut *step.books.ledger;
            let reservation = match ledger.reserve(&scope, id, &reserve, now_ms) {
                Ok(reservation) => reservation,
                Err(Denial::Short(shortfall)) => return Ok(Err(No::Refused(quote::exhausted(*shortfall)))),
                Err(denial) => return Err(denial),
            };
            let dispatched = ledger.dispatch(reservation, now_ms)?;
            step.write(intent);
            Ok(Ok(Paid { quote, life: Life::Dispatched(dispatched) }))
        });
        match paid.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))? {
            Ok(paid) => Ok(Ok(paid)),
            Err(No::Refused(refusal)) => Ok(Err(refusal)),
            Err(No::Frozen(pull)) => Err(self.freeze(pull)),
        }
    }

    /// Makes a call. Calls that may write the worker's files are made one after the other, in the order in which they were
    /// asked, and none that reads them beside one.
    pub(super) async fn called(
        &self,
        call: u64,
        name: &str,
        input: &str,
        quote: Option<&Quote>,
    ) -> Result<Performed, RunEnd> {
        let (Some(quote), Some(tool)) = (quote, self.passage.tools.find(name).cloned()) else {
            return Err(RunEnd::Fault("a tool was let through unpaid, or is not there".into()));
        };
        let files = tool.spec().files;
        let (_writing, _reading) = match files {
            FileGrant::ReadWrite => (Some(self.files.write().await), None),
            FileGrant::ReadOnly => (None, Some(self.files.read().await)),
            FileGrant::None => (None, None),
        };
        let bench = self.bench(&tool, call, quote)?;
        // A task of its own: a panic of ours in there ends this call and not the host, and it may have another thread.
        let task = tokio::spawn(tool.call(input.to_owned(), bench, Arc::clone(&self.passage.meter)));
        let called = (&mut Owned(task).0).await;
        let called = called.map_err(|error| RunEnd::Fault(format!("a tool's call failed: {error}")))??;
        let Called { mut result, used, cpu_ns, within, stop } = called;
        self.passage.meter.cpu().charge(cpu_ns);
        for body in within {
            let within = Body::Within { call, body: Box::new(body) };
            self.passage.journal.append(within, Durability::Lazy).await?;
        }
        if let Some(stop) = stop {
            self.passage.cord.pull(stop);
            return Err(RunEnd::Stopped);
        }
        let tree = match files {
            FileGrant::ReadWrite => match self.keep_now().await? {
                Ok(tree) => tree,
                Err(why) => {
                    let message = format!("the tool left files that cannot be kept: {why}");
                    result = Err(Failure { kind: FailureKind::Broken, message });
                    None
                }
            },
            FileGrant::None | FileGrant::ReadOnly => None,
        };
        let heard = result.map(|output| Answer::Tool { output }).map_err(Denied::Failed);
        // Disk and processor time are in the meter's account.
        let spent = used.only(|line| line == Line::NetBytes).plus(&Amounts::of(Line::ToolCalls, 1));
        Ok(Performed { spent: Some(spent), tree, ..Performed::free(heard) })
    }

    fn bench(&self, tool: &Tool, call: u64, quote: &Quote) -> Result<Bench, RunEnd> {
        let fault = |error: std::io::Error| RunEnd::Fault(format!("the files of a tool could not be opened: {error}"));
        let workshop = self.passage.workshop.as_ref();
        let workshop = workshop.ok_or_else(|| RunEnd::Fault("a guest without a workshop calls a tool".into()))?;
        let work = match (tool.spec().files, &self.passage.workspace) {
            (FileGrant::None, _) | (_, None) => None,
            (FileGrant::ReadOnly | FileGrant::ReadWrite, Some(view)) => Some(view.dir.try_clone().map_err(fault)?),
        };
        let trail = match (tool.spec().files, &self.passage.workspace) {
            (FileGrant::ReadWrite, Some(view)) => Some(Arc::clone(&view.trail)),
            (FileGrant::None | FileGrant::ReadOnly, _) | (_, None) => None,
        };
        let context = workshop.context.as_ref().map(|context| context.try_clone()).transpose().map_err(fault)?;
        // What was told again is paid for before anything is written.
        drop(self.catch_up());
        Ok(Bench {
            sandbox: Arc::clone(&workshop.sandbox),
            clock: self.passage.clock,
            wall: workshop.wall,
            web: Arc::clone(&self.passage.web),
            work,
            trail,
            context,
            evidence: self.passage.evidence.try_clone().map_err(fault)?,
            id: self.call_id(call).to_string(),
            number: call,
            seed: workshop.seed,
            now_ns: self.passage.time.now_ns(),
            start_ms: workshop.start_ms,
            reserve: quote.reserve,
            disk_bytes: disk_bytes(tool.spec(), self.passage.meter.disk_left()),
        })
    }

    /// Keeps the worker's tree as it is now.
    pub(super) async fn keep_now(&self) -> Result<Result<Option<KeptTree>, String>, RunEnd> {
        self.keep_after(Vec::new()).await
    }

    /// As `keep_now`, after the host changed these paths for the worker.
    pub(super) async fn keep_after(&self, handed: Vec<String>) -> Result<Result<Option<KeptTree>, String>, RunEnd> {
        let (Some(view), Some(blobs)) = (self.passage.workspace.clone(), &self.passage.blobs) else {
            return Ok(Ok(None));
        };
        let (view, seen) = blocking(move || {
            let now = view.look_after(&handed);
            (view, now)
        })
        .await?;
        match seen {
            Ok(now) => Ok(keep_tree(blobs, &view, now).await?.map(Some)),
            Err(why) => Ok(Err(why)),
        }
    }

    /// Makes the worker's files what they were when a call was over that the journal tells.
    pub(super) async fn bring(&self, address: Digest) -> Result<(), RunEnd> {
        let (Some(view), Some(blobs)) = (self.passage.workspace.clone(), self.passage.told_trees.clone()) else {
            return Ok(());
        };
        blocking(move || view.bring(&blobs, &address))
            .await?
            .map_err(|why| RunEnd::Fault(format!("the files could not be brought to where a tool left them: {why}")))
    }
}

/// What nobody can take back is on disk before it begins, and when it is over.
pub(super) fn durability(reach: Reach) -> Durability {
    match reach {
        Reach::Inside => Durability::Lazy,
        Reach::Outside => Durability::Durable,
    }
}
