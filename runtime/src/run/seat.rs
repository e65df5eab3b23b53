//! Where a guest sits: in this process, or behind the process wall in a cell of its own. Made, called once, and gone.
//!
//! Never: decides what the guest may do; that is its setup's, and its gate's. Invariant here: a guest is made of the same
//! setup in both places, so it senses and answers the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::filesystem::FsPerms;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;

use crate::rules::effect::Stream;
use crate::rules::spec::{Caps, Wall};
use crate::rules::verdict::Outcome;

use super::alarms::Alarms;
use super::cell::{Cell, CellError};
use super::checks::handle_path;
use super::cord::Cord;
use super::files::FileBooks;
use super::gate::Gate;
use super::host::Guest;
use super::http::Web;
use super::limits::{CpuMeter, Limits};
use super::output::Output;
use super::sandbox::{Call, Prepared, Returned, Sandbox};
use super::senses::{Chances, VirtualClock};
use super::way::Way;

/// All that a guest is made of, as plain data.
#[derive(Serialize, Deserialize)]
pub struct Setup {
    pub call: Call,
    pub args: Vec<String>,
    /// What a program can read from its standard input.
    pub stdin: String,
    pub env: BTreeMap<String, String>,
    pub chances: Draw,
    /// The time that all files show. Milliseconds since 1970.
    pub start_ms: u64,
    /// Files and directories that it may create.
    pub max_created: u64,
    /// Bytes of bodies that it may send over HTTP at once.
    pub max_body_bytes: u64,
    pub caps: Caps,
}

/// From what a guest's randomness is drawn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Draw {
    Worker {
        seed: u64,
    },
    Check {
        seed: u64,
        name: String,
    },
    /// Of a tool's call, by the call's number.
    Tool {
        seed: u64,
        call: u64,
    },
}

/// A directory that a guest gets, by the name that it sees.
pub struct Preopen {
    pub name: &'static str,
    pub dir: Dir,
    pub perms: FsPerms,
}

/// What ties a guest to its run.
pub struct Ties {
    pub gate: Arc<Gate>,
    pub time: Arc<VirtualClock>,
    /// Standard output and standard error.
    pub stdio: [Output; 2],
}

/// What may end a guest's call from outside.
pub struct CallBounds {
    pub cord: Cord,
    pub cpu: CpuMeter,
}

/// A guest that is ready to be called.
pub enum Seat {
    Here { guest: Box<Guest>, call: Call, prepared: Prepared },
    Cell { cell: Box<Cell>, ties: Ties },
}

impl Seat {
    /// Makes a guest of a setup, on its side of the wall.
    ///
    /// # Errors
    /// A sentence: the host's own trouble, or a wall that this machine does not have. Nothing of the guest ran.
    pub async fn take(
        sandbox: &Sandbox,
        prepared: &Prepared,
        setup: Setup,
        preopens: Vec<Preopen>,
        ties: Ties,
        wall: Wall,
    ) -> Result<Self, String> {
        match wall {
            Wall::None => {
                let Ties { gate, time, stdio } = ties;
                let guest = setup.guest(&preopens, Way::Here(gate), time, stdio);
                let guest = guest.map_err(|error| format!("the guest's files could not be opened: {error}"))?;
                Ok(Self::Here { guest: Box::new(guest), call: setup.call, prepared: prepared.clone() })
            }
            Wall::Process => {
                let cell = Cell::open(sandbox, prepared, setup, &preopens, &ties.time).await;
                let cell = cell.map_err(|error: CellError| error.to_string())?;
                Ok(Self::Cell { cell: Box::new(cell), ties })
            }
        }
    }

    /// Calls the guest once, to its end or until its cord is pulled. The guest is gone when this returns.
    pub async fn call(self, sandbox: &Sandbox, bounds: CallBounds) -> Result<Returned, Outcome> {
        match self {
            Self::Here { guest, call, prepared } => sandbox.call(&prepared, *guest, call, Some(bounds)).await,
            Self::Cell { cell, ties } => cell.call(&ties, bounds).await,
        }
    }
}

impl Setup {
    /// The guest of this setup, in this process.
    ///
    /// # Errors
    /// The directories cannot be opened once more.
    pub fn guest(
        &self,
        preopens: &[Preopen],
        way: Way,
        time: Arc<VirtualClock>,
        stdio: [Output; 2],
    ) -> std::io::Result<Guest> {
        let mut wasi = WasiCtxBuilder::new();
        let [stdout, stderr] = stdio;
        wasi.stdin(MemoryInputPipe::new(self.stdin.clone())).stdout(stdout).stderr(stderr).args(&self.args);
        for (name, value) in &self.env {
            wasi.env(name, value);
        }
        for Preopen { name, dir, perms } in preopens {
            // wasmtime-wasi takes a path; this one names the very directory that the handle holds.
            wasi.preopened_dir(handle_path(dir), name, *perms).map_err(std::io::Error::other)?;
        }
        let handles = usize::try_from(self.caps.handles).unwrap_or(usize::MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles);
        Ok(Guest {
            gate: way.clone(),
            time,
            alarms: Alarms::default(),
            web: Web::default(),
            chances: match &self.chances {
                Draw::Worker { seed } => Chances::new(*seed),
                Draw::Check { seed, name } => Chances::of_check(*seed, name),
                Draw::Tool { seed, call } => Chances::of_check(*seed, &format!("tool {call}")),
            },
            books: FileBooks::new(way, self.start_ms, self.max_created),
            limits: Limits::new(self.caps.memory_bytes),
            lifted_bytes: usize::try_from(self.caps.lifted_bytes).unwrap_or(usize::MAX),
            handles,
            wasi: wasi.build(),
            table,
        })
    }
}

impl Ties {
    /// Keeps what the guest printed.
    pub(super) fn printed(&self, stream: Stream, bytes: &[u8], dropped_bytes: u64) {
        let [stdout, stderr] = &self.stdio;
        match stream {
            Stream::Stdout => stdout.keep(bytes, dropped_bytes),
            Stream::Stderr => stderr.keep(bytes, dropped_bytes),
        }
    }
}
