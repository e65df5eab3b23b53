//! Whole runs with real components. One list of modules, linked once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod architecture;
mod budgets;
mod crash;
mod determinism;
mod export;
mod hostile;
mod rates;
mod replay;
mod spend;
mod storm;
mod time;
mod verdicts;
mod wire;
