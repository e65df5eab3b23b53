//! What is left to a guest: on each line over all scopes, and whether what it asks for fits into it.
//!
//! Never: shows the host's own clock: of time a guest knows what its virtual clock tells.

use crate::rules::effect::{Body, LineLeft, Refusal};
use crate::rules::ledger::{Headroom, Line, Shortfall};
use crate::rules::quote;
use crate::rules::verdict::UsedUp;

use super::super::RunEnd;
use super::Gate;

impl Gate {
    /// What is left on each line that has a limit, over all scopes.
    pub(super) async fn left(&self) -> Result<Vec<LineLeft>, RunEnd> {
        let beyond = self.passage.meter.beyond().await.map_err(|error| RunEnd::Fault(error.to_string()))?;
        let lines = beyond.into_iter().map(|(line, headroom)| {
            let own = match line {
                Line::WallMs | Line::WorkMs | Line::CpuMs => self.granted_left(line),
                Line::DiskBytes => self.passage.meter.disk_left(),
                Line::TokensIn
                | Line::TokensOut
                | Line::Tokens
                | Line::MicroUsd
                | Line::ModelCalls
                | Line::ToolCalls
                | Line::NetBytes
                | Line::MemoryBytes => 0,
            };
            let left = headroom.left.saturating_add(own);
            LineLeft { line, left, until_mark: headroom.until_mark.map(|until| until.saturating_add(own)) }
        });
        Ok(lines.collect())
    }

    /// What this run may still use of a line that is time, of what the meter has reserved. On the virtual clock, which is
    /// all that a guest may know of time; nothing of the processor's, which would tell it more.
    pub(super) fn granted_left(&self, line: Line) -> u64 {
        let elapsed_ms = self.passage.time.elapsed_ms();
        let used_ms = if line == Line::WorkMs { elapsed_ms.saturating_sub(self.waited_ms()) } else { elapsed_ms };
        self.passage.meter.granted_left(line, used_ms)
    }

    /// Whether evidence of this size may be kept; if so it is charged.
    pub(super) fn room_for(&self, bytes: u64) -> Result<(), Refusal> {
        let told_bytes = self.state().told_bytes;
        let written = self.passage.meter.catch_up(told_bytes).and_then(|()| self.passage.meter.write(bytes));
        written.map_err(|headroom| {
            let left = self.passage.meter.disk_left();
            quote::exhausted(Shortfall { left, ..headroom.short(Line::DiskBytes, bytes) })
        })?;
        self.state().written_bytes += bytes;
        Ok(())
    }

    /// Charges what was told again and not paid for before.
    pub fn catch_up(&self) -> Result<(), Headroom> {
        let told_bytes = self.state().told_bytes;
        if self.passage.journal.is_shut() { Ok(()) } else { self.passage.meter.catch_up(told_bytes) }
    }

    /// Charges bytes that the guest is about to write to its files. `false`: it may not. What the journal tells was charged
    /// when it was first done.
    pub fn wrote(&self, bytes: u64) -> bool {
        let mut state = self.state();
        let after = state.written_bytes.saturating_add(bytes);
        let journal = &self.passage.journal;
        if journal.is_telling() || journal.is_shut() {
            if let Some((granted, by)) = journal.full(state.written_bytes, bytes) {
                state.full = Some(granted);
                state.exhausted.get_or_insert(by);
            }
            let fits = state.full.is_none_or(|granted| after <= granted);
            if fits {
                state.written_bytes = after;
                state.told_bytes = after;
            }
            return fits;
        }
        if state.full.is_some_and(|granted| after > granted) {
            return false;
        }
        let meter = &self.passage.meter;
        match meter.catch_up(state.told_bytes).and_then(|()| meter.write(bytes)) {
            Ok(()) => {
                state.written_bytes = after;
                true
            }
            Err(headroom) => {
                let granted = state.written_bytes.saturating_add(self.passage.meter.disk_left());
                state.full = Some(granted);
                let used = state.written_bytes;
                drop(state);
                let by = UsedUp::of(&headroom.short(Line::DiskBytes, bytes));
                self.state().exhausted.get_or_insert(by.clone());
                // If it is lost the run is lost with it: nothing can be appended after it.
                drop(journal.append_now(Body::Full { used, granted, by }));
                false
            }
        }
    }

    /// A wait that cannot end before the run does is refused at once, so that the guest can do something better.
    pub(super) async fn enough_time(&self, ms: u64) -> Result<Result<(), Refusal>, RunEnd> {
        // What the meter has reserved is enough for most waits, and it is known here.
        if [Line::WallMs, Line::WorkMs].into_iter().all(|line| ms <= self.granted_left(line)) {
            return Ok(Ok(()));
        }
        let beyond = self.passage.meter.beyond().await.map_err(|error| RunEnd::Fault(error.to_string()))?;
        for (line, headroom) in beyond {
            if !matches!(line, Line::WallMs | Line::WorkMs) {
                continue;
            }
            let left = headroom.left.saturating_add(self.granted_left(line));
            if ms > left {
                return Ok(Err(quote::exhausted(Shortfall { left, ..headroom.short(line, ms) })));
            }
        }
        Ok(Ok(()))
    }
}
