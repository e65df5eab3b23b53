//! The table of attacks: what each tries, what it meets, and its positive control.
//!
//! An attack is a run that wants more than it was given. Its control is the same guest with the grant, or within the
//! bound, and must succeed: else a refusal would prove nothing but a broken guest. Where no job can grant a thing at all
//! (a socket, a link, a second engine feature), the control is the nearest thing that is allowed, through the same guest.
//!
//! Never: judges by what a guest says alone. What lies outside the run is looked at after every one of them
//! ([`Scene::is_untouched`]).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use jidoka::rules::spec;

use crate::bench::{Bench, End};

pub mod measure;
mod rooms;
pub mod scene;
pub mod seen;
pub mod server;

pub use rooms::all;
pub use scene::Scene;
pub use seen::Seen;

/// What an attack is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Filesystem,
    Memory,
    CpuAndTime,
    HostCalls,
    Handles,
    Output,
    Network,
    Http,
    Secrets,
    Forging,
    Tampering,
    Leaks,
    Clocks,
    Components,
    Adapters,
    CompileBombs,
}

impl Family {
    /// Every one of them.
    pub const ALL: [Family; 16] = [
        Family::Filesystem,
        Family::Memory,
        Family::CpuAndTime,
        Family::HostCalls,
        Family::Handles,
        Family::Output,
        Family::Network,
        Family::Http,
        Family::Secrets,
        Family::Forging,
        Family::Tampering,
        Family::Leaks,
        Family::Clocks,
        Family::Components,
        Family::Adapters,
        Family::CompileBombs,
    ];

    /// The family's name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Family::Filesystem => "filesystem",
            Family::Memory => "memory",
            Family::CpuAndTime => "cpu-and-time",
            Family::HostCalls => "host-calls",
            Family::Handles => "handles",
            Family::Output => "output",
            Family::Network => "network",
            Family::Http => "http",
            Family::Secrets => "secrets",
            Family::Forging => "forging",
            Family::Tampering => "tampering",
            Family::Leaks => "leaks",
            Family::Clocks => "clocks",
            Family::Components => "components",
            Family::Adapters => "adapters",
            Family::CompileBombs => "compile-bombs",
        }
    }
}

/// What stands around a guest while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    /// The sandbox alone.
    None,
    /// A process of its own around the sandbox, locked in by the kernel.
    Process,
}

impl Wall {
    /// The run behind this wall.
    pub fn around(self, bench: Bench) -> Bench {
        match self {
            Wall::None => bench.behind(spec::Wall::None),
            Wall::Process => bench.behind(spec::Wall::Process),
        }
    }

    /// Bytes that a process of its own may hold beside its guest: the engine, its stacks, what it compiles. 0 without one.
    pub fn own_bytes(self) -> u64 {
        match self {
            Wall::None => 0,
            Wall::Process => 192 << 20,
        }
    }
}

/// Memory that the host may need for an attack beyond what its guest may hold: its journal, its tree, compiled code.
pub const OVERHEAD_BYTES: u64 = 48 << 20;

/// What a guest of the table may hold, unless its row says otherwise.
pub const GUEST_BYTES: u64 = 16 << 20;

/// Runs that are made before the attack, in the same place.
type Before = Arc<dyn Fn(&Scene) -> Vec<Bench> + Send + Sync>;

/// A run to be made in a scene. A provider on loopback may have to be started for it.
type Made = Arc<dyn Fn(Arc<Scene>) -> Pin<Box<dyn Future<Output = Bench> + Send>> + Send + Sync>;

/// A run and what must come of it.
#[derive(Clone)]
struct Act {
    before: Before,
    bench: Made,
    verdict: &'static str,
    seen: Seen,
}

/// One row of the table.
#[derive(Clone)]
pub struct Attack {
    pub family: Family,
    pub name: String,
    /// What it tries, in words.
    pub tries: &'static str,
    /// Milliseconds after which its own limits stop it; 0 if nothing needs to.
    pub deadline_ms: u64,
    /// What the host's resident memory may grow by.
    pub cap_bytes: u64,
    attack: Act,
    control: Act,
}

/// What came of a run of the table.
pub struct Fate {
    /// The verdict's name, and what was wrong with it, if anything.
    pub got: String,
    pub is_as_expected: bool,
    pub took_ms: u64,
}

impl Attack {
    /// What is expected of the attack, in words.
    pub fn expected(&self) -> String {
        format!("{}: {}", self.attack.verdict, self.attack.seen.says())
    }

    /// What is expected of its control, in words.
    pub fn granted(&self) -> String {
        format!("{}: {}", self.control.verdict, self.control.seen.says())
    }

    /// Makes the runs that the attack comes after, and the attack itself as far as it is the test's.
    pub async fn ready(&self, scene: &Arc<Scene>, wall: Wall) -> Ready {
        self.attack.ready(scene, wall).await
    }

    /// Makes its control.
    pub async fn control(&self, scene: &Arc<Scene>, wall: Wall) -> Fate {
        self.control.ready(scene, wall).await.run().await
    }
}

/// A run that only needs to be started.
pub struct Ready {
    act: Act,
    bench: Bench,
    scene: Arc<Scene>,
}

impl Ready {
    /// Runs it, and looks at what came of it.
    pub async fn run(self) -> Fate {
        let Self { act, bench, scene } = self;
        let end = bench.run().await;
        let wrong = act.wrong(&end, &scene);
        Fate {
            got: match &wrong {
                None => format!("{}: {}", end.record.verdict, act.seen.says()),
                Some(wrong) => format!("{}: {wrong}", end.record.verdict),
            },
            is_as_expected: wrong.is_none(),
            took_ms: u64::try_from(end.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Act {
    async fn ready(&self, scene: &Arc<Scene>, wall: Wall) -> Ready {
        for bench in (self.before)(scene) {
            wall.around(bench).run().await;
        }
        let bench = wall.around((self.bench)(Arc::clone(scene)).await);
        Ready { act: self.clone(), bench, scene: Arc::clone(scene) }
    }

    fn wrong(&self, end: &End, scene: &Scene) -> Option<String> {
        if end.record.verdict != self.verdict {
            return Some(format!("and not {}: {}", self.verdict, end.record.why));
        }
        self.seen.judge(end, scene).err().or_else(|| scene.is_untouched(end).err())
    }
}

/// A row being written: the attack first, then its control.
pub(crate) struct Row {
    family: Family,
    name: String,
    tries: &'static str,
    deadline_ms: u64,
    guest_bytes: u64,
    attack: Option<Act>,
    before: Before,
}

/// Begins a row.
pub(crate) fn row(family: Family, name: impl Into<String>, tries: &'static str) -> Row {
    Row {
        family,
        name: name.into(),
        tries,
        deadline_ms: 0,
        guest_bytes: GUEST_BYTES,
        attack: None,
        before: Arc::new(|_| Vec::new()),
    }
}

fn made(bench: impl Fn(&Scene) -> Bench + Send + Sync + 'static) -> Made {
    Arc::new(move |scene| {
        let bench = bench(&scene);
        Box::pin(std::future::ready(bench))
    })
}

impl Row {
    /// Its own limits stop the attack after so long.
    pub(crate) fn deadline(mut self, ms: u64) -> Self {
        self.deadline_ms = ms;
        self
    }

    /// Its guest may hold so much.
    pub(crate) fn holding(mut self, bytes: u64) -> Self {
        self.guest_bytes = bytes;
        self
    }

    /// These runs come first, in the same place. They come before the control too.
    pub(crate) fn after(mut self, before: impl Fn(&Scene) -> Vec<Bench> + Send + Sync + 'static) -> Self {
        self.before = Arc::new(before);
        self
    }

    /// The attack, and what it meets.
    pub(crate) fn attack(
        self,
        bench: impl Fn(&Scene) -> Bench + Send + Sync + 'static,
        verdict: &'static str,
        seen: Seen,
    ) -> Self {
        self.attack_made(made(bench), verdict, seen)
    }

    /// As [`Row::attack`], with somebody on loopback whom it takes time to start.
    pub(crate) fn attack_made(mut self, bench: Made, verdict: &'static str, seen: Seen) -> Self {
        self.attack = Some(Act { before: Arc::clone(&self.before), bench, verdict, seen });
        self
    }

    /// The control, which ends the row.
    pub(crate) fn control(
        self,
        bench: impl Fn(&Scene) -> Bench + Send + Sync + 'static,
        verdict: &'static str,
        seen: Seen,
    ) -> Attack {
        self.control_made(made(bench), verdict, seen)
    }

    /// As [`Row::control`], with somebody on loopback whom it takes time to start.
    pub(crate) fn control_made(self, bench: Made, verdict: &'static str, seen: Seen) -> Attack {
        Attack {
            family: self.family,
            name: self.name,
            tries: self.tries,
            deadline_ms: self.deadline_ms,
            cap_bytes: self.guest_bytes + OVERHEAD_BYTES,
            attack: self.attack.expect("a row has its attack before its control"),
            control: Act { before: self.before, bench, verdict, seen },
        }
    }
}
