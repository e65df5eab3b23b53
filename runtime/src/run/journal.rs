//! The run's memory: entries in order, each in the store before its effect goes on.
//!
//! Never: changes an entry. Whoever watches a run reads the same entries; there is no second event stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::doors::clock::Clock;
use crate::doors::store::{Durability, Store};
use crate::rules::effect::{Body, Entry};

use super::RunEnd;
use super::senses::VirtualClock;

/// The journal of one run.
pub struct Journal {
    store: Arc<dyn Store>,
    clock: Clock,
    /// Moves with every entry.
    time: Arc<VirtualClock>,
    watcher: Option<mpsc::UnboundedSender<Entry>>,
    next_seq: AtomicU64,
    next_call: AtomicU64,
    /// Appends are serial: a sequence number is taken and its line handed to the store under this.
    order: tokio::sync::Mutex<()>,
}

impl Journal {
    /// An empty journal in `store`. A watcher that goes away is no reason to stop.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        time: Arc<VirtualClock>,
        watcher: Option<mpsc::UnboundedSender<Entry>>,
    ) -> Self {
        Self {
            store,
            clock,
            time,
            watcher,
            next_seq: AtomicU64::new(0),
            next_call: AtomicU64::new(1),
            order: tokio::sync::Mutex::default(),
        }
    }

    /// A number for a call: one series for all guests that write here, so that no two calls of a run share one.
    pub fn next_call(&self) -> u64 {
        self.next_call.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends; returns when `durability` holds.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the store refused, and the run must not go on.
    pub async fn append(&self, body: Body, durability: Durability) -> Result<(), RunEnd> {
        let _order = self.order.lock().await;
        let at_ms = self.clock.unix_ms();
        let entry = Entry { seq: self.next_seq.fetch_add(1, Ordering::Relaxed), at_ms, body };
        self.store
            .append(&entry, durability)
            .await
            .map_err(|error| RunEnd::Fault(format!("the journal could not be written: {error}")))?;
        self.time.move_to_ms(at_ms);
        if let Some(watcher) = &self.watcher {
            // A watcher that left is its own affair.
            drop(watcher.send(entry));
        }
        Ok(())
    }
}
