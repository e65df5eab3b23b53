//! What is left to a guest: on each line over all scopes, and whether what it asks for fits into it.
//!
//! Never: shows the host's own clock: of time a guest knows what its virtual clock tells.

use crate::rules::effect::{LineLeft, Refusal};
use crate::rules::ledger::{Line, Shortfall};
use crate::rules::quote;

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
        let written = self.passage.meter.write(bytes);
        written.map_err(|headroom| {
            let left = self.passage.meter.disk_left();
            quote::exhausted(Shortfall { left, ..headroom.short(Line::DiskBytes, bytes) })
        })
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
