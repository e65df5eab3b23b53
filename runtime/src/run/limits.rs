//! What a guest may hold, summed over all its memories and tables; and what it used of the processor.
//!
//! A refused growth ends the run instead of returning -1: a guest that sees host pressure cannot be replayed.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;

use crate::rules::verdict::Stop;

use super::RunEnd;
use super::lock;

/// Elements of all tables of a run. A big Rust or Python component has about 8,000.
pub const MAX_TABLE_ELEMENTS: u64 = 20_000;

/// Core instances of a run: a component made of adapters and libraries has a few.
pub const MAX_INSTANCES: usize = 32;

/// Tables of a run.
pub const MAX_TABLES: usize = 16;

/// Linear memories of a run.
pub const MAX_MEMORIES: usize = 4;

/// The sums of one run.
#[derive(Debug)]
pub struct Limits {
    max_memory_bytes: u64,
    memory_bytes: u64,
    table_elements: u64,
}

impl Limits {
    /// Limits that nothing has been taken from.
    pub fn new(max_memory_bytes: u64) -> Self {
        Self { max_memory_bytes, memory_bytes: 0, table_elements: 0 }
    }
}

fn grown(total: u64, current: usize, desired: usize) -> u64 {
    total.saturating_add(desired.saturating_sub(current) as u64)
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = grown(self.memory_bytes, current, desired);
        if total > self.max_memory_bytes {
            let asked = format!("{total} bytes of memory; [caps] memory allows {}", self.max_memory_bytes);
            return Err(RunEnd::Cap(asked).into());
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(RunEnd::Fault(format!("memory could not grow: {error}")).into())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = grown(self.table_elements, current, desired);
        if total > MAX_TABLE_ELEMENTS {
            return Err(RunEnd::Cap(format!("{total} table elements; at most {MAX_TABLE_ELEMENTS}")).into());
        }
        self.table_elements = total;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(RunEnd::Fault(format!("a table could not grow: {error}")).into())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

/// Processor time of one guest: what its thread used while the guest, or host code for it, ran there.
#[derive(Clone, Debug, Default)]
pub struct CpuMeter(Arc<Meter>);

#[derive(Debug)]
struct Meter {
    /// Ended polls.
    total_ns: AtomicU64,
    /// Of guests that worked for it in tasks of their own.
    apart_ns: AtomicU64,
    /// The thread's clock when the running poll began.
    started_ns: AtomicU64,
    /// What may be used, and what happens then. `u64::MAX`: somebody else sees to it.
    bound_ns: AtomicU64,
    stop: Mutex<Option<Stop>>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            total_ns: AtomicU64::new(0),
            apart_ns: AtomicU64::new(0),
            started_ns: AtomicU64::new(0),
            bound_ns: AtomicU64::new(u64::MAX),
            stop: Mutex::new(None),
        }
    }
}

impl CpuMeter {
    /// Nanoseconds used by polls that ended, and by others for it.
    pub fn total_ns(&self) -> u64 {
        self.0.total_ns.load(Ordering::Relaxed).saturating_add(self.0.apart_ns.load(Ordering::Relaxed))
    }

    /// Charges what another guest used for this one.
    pub fn charge(&self, ns: u64) {
        self.0.apart_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Nanoseconds used so far. Only from within a poll of [`CpuMeter::measure`]'s future, on its thread.
    pub fn running_ns(&self) -> u64 {
        self.total_ns() + thread_ns().saturating_sub(self.0.started_ns.load(Ordering::Relaxed))
    }

    /// Bounds what may be used in all; `stop` is what to pull the cord with then.
    pub fn bound(&self, bound_ns: u64, stop: Stop) {
        *lock(&self.0.stop) = Some(stop);
        self.0.bound_ns.store(bound_ns, Ordering::Release);
    }

    /// Lifts the bound.
    pub fn unbound(&self) {
        self.0.bound_ns.store(u64::MAX, Ordering::Release);
    }

    /// What to pull the cord with, if the bound is passed. As [`CpuMeter::running_ns`].
    pub fn used_up(&self) -> Option<Stop> {
        let passed = self.running_ns() > self.0.bound_ns.load(Ordering::Acquire);
        passed.then(|| lock(&self.0.stop).clone()).flatten()
    }

    /// Says what was used in all, for a guest in another process.
    pub fn count(&self, total_ns: u64) {
        self.0.total_ns.fetch_max(total_ns, Ordering::Relaxed);
    }

    /// What may still be used when so much is used in another process; `None`: nothing.
    pub fn left_ns(&self, used_ns: u64) -> Option<u64> {
        let used_ns = used_ns.saturating_add(self.0.apart_ns.load(Ordering::Relaxed));
        self.0.bound_ns.load(Ordering::Acquire).checked_sub(used_ns)
    }

    /// What to pull the cord with when the bound is passed.
    pub fn stop(&self) -> Option<Stop> {
        lock(&self.0.stop).clone()
    }

    /// Counts every poll of `future`.
    pub fn measure<F: Future>(&self, future: F) -> Measured<F> {
        Measured { future: Box::pin(future), meter: self.clone() }
    }
}

/// A future whose polls are counted.
pub struct Measured<F> {
    future: Pin<Box<F>>,
    meter: CpuMeter,
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let started_ns = thread_ns();
        self.meter.0.started_ns.store(started_ns, Ordering::Relaxed);
        let poll = self.future.as_mut().poll(context);
        self.meter.0.total_ns.fetch_add(thread_ns().saturating_sub(started_ns), Ordering::Relaxed);
        poll
    }
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_and_holds_at_n_not_n_plus_1() {
        let mut limits = Limits::new(100);
        assert!(limits.memory_growing(0, 60, None).expect("fits"));
        assert!(limits.memory_growing(0, 40, None).expect("fits exactly"));
        assert!(limits.memory_growing(40, 41, None).is_err());
    }

    #[test]
    fn tables_are_summed_and_hold_at_n_not_n_plus_1() {
        let max = usize::try_from(MAX_TABLE_ELEMENTS).expect("small");
        let mut limits = Limits::new(0);
        assert!(limits.table_growing(0, max, None).expect("fits exactly"));
        assert!(limits.table_growing(max, max + 1, None).is_err());
    }

    #[test]
    fn a_growth_past_the_modules_own_maximum_is_the_modules_affair() {
        let mut limits = Limits::new(1_000);
        assert!(!limits.memory_growing(0, 20, Some(10)).expect("no cap is passed"));
        assert!(limits.memory_growing(0, 1_000, None).expect("nothing was counted"));
    }
}
