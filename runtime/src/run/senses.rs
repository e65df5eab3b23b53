//! What a guest can sense of time and chance: a virtual clock and seeded streams.
//!
//! Never: shows the machine's clock or entropy. The clock moves when something was journalled, and by one tick at each
//! reading; the streams are fixed by the run's seed. So a second run of the same journal senses the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blake3::OutputReader;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::rules::policy::MAX_RANDOM_BYTES;

/// How far one reading moves the clock: enough that two readings differ, too little to notice.
const TICK_NS: u64 = 1_000;

/// The run's clock, in nanoseconds since 1970.
#[derive(Debug)]
pub struct VirtualClock {
    start_ns: u64,
    now_ns: AtomicU64,
}

impl VirtualClock {
    /// A clock that starts at the run's first entry.
    pub fn starting_at_ms(unix_ms: u64) -> Self {
        let start_ns = unix_ms.saturating_mul(1_000_000);
        Self { start_ns, now_ns: AtomicU64::new(start_ns) }
    }

    /// Nanoseconds since 1970. Each reading is later than the one before.
    pub fn read_ns(&self) -> u64 {
        self.now_ns.fetch_add(TICK_NS, Ordering::Relaxed) + TICK_NS
    }

    /// Something was journalled at this time. The clock never goes back.
    pub fn move_to_ms(&self, unix_ms: u64) {
        self.now_ns.fetch_max(unix_ms.saturating_mul(1_000_000), Ordering::Relaxed);
    }

    /// Milliseconds since the start, without moving the clock.
    pub fn elapsed_ms(&self) -> u64 {
        (self.now_ns.load(Ordering::Relaxed) - self.start_ns) / 1_000_000
    }

    fn move_to_ns(&self, ns: u64) {
        self.now_ns.fetch_max(ns, Ordering::Relaxed);
    }
}

/// A stream of bytes that is fixed by the run's seed and the stream's name.
pub struct Chance(OutputReader);

impl Chance {
    /// The stream `name` of a seed. Different names are independent.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("jidoka 2026 guest randomness v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// The next bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill(&mut bytes);
        bytes
    }

    fn word(&mut self) -> u64 {
        let mut word = [0; 8];
        self.0.fill(&mut word);
        u64::from_le_bytes(word)
    }
}

/// The seeded streams of a run. One for each interface, so that a library that starts to use one does not move another.
pub struct Chances {
    pub ours: Chance,
    secure: Chance,
    insecure: Chance,
    seed: (u64, u64),
}

impl Chances {
    /// The streams of a check: nothing that the worker drew tells what the check will draw.
    pub fn of_check(seed: u64, check: &str) -> Self {
        Self::new(Chance::new(seed, &format!("check {check}")).word())
    }

    /// All streams of a seed.
    pub fn new(seed: u64) -> Self {
        let mut hash_seed = Chance::new(seed, "wasi:random/insecure-seed");
        Self {
            ours: Chance::new(seed, "jidoka:agent/random"),
            secure: Chance::new(seed, "wasi:random/random"),
            insecure: Chance::new(seed, "wasi:random/insecure"),
            seed: (hash_seed.word(), hash_seed.word()),
        }
    }
}

/// Links the WASI random interfaces to [`Chances`].
pub struct HasChances;

impl HasData for HasChances {
    type Data<'a> = &'a mut Chances;
}

fn within_cap(count: u64) -> wasmtime::Result<usize> {
    if count > u64::from(MAX_RANDOM_BYTES) {
        return Err(super::RunEnd::Cap(format!("{count} random bytes in one call; at most {MAX_RANDOM_BYTES}")).into());
    }
    Ok(usize::try_from(count).expect("at most a u32"))
}

impl random::Host for Chances {
    fn get_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        Ok(self.secure.bytes(within_cap(count)?))
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.secure.word())
    }
}

impl insecure::Host for Chances {
    fn get_insecure_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        Ok(self.insecure.bytes(within_cap(count)?))
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.insecure.word())
    }
}

impl insecure_seed::Host for Chances {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(self.seed)
    }
}

/// The WASI clocks of a guest.
pub struct GuestTime<'a> {
    pub clock: &'a std::sync::Arc<VirtualClock>,
    pub table: &'a mut ResourceTable,
}

/// Links the WASI clock interfaces to [`GuestTime`].
pub struct HasTime;

impl HasData for HasTime {
    type Data<'a> = GuestTime<'a>;
}

impl wall_clock::Host for GuestTime<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = Duration::from_nanos(self.clock.read_ns());
        Ok(wall_clock::Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000 })
    }
}

impl monotonic_clock::Host for GuestTime<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.read_ns() - self.clock.start_ns)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(TICK_NS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let target_ns = self.clock.start_ns.saturating_add(when);
        self.alarm(target_ns)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let target_ns = self.clock.now_ns.load(Ordering::Relaxed).saturating_add(duration);
        self.alarm(target_ns)
    }
}

impl GuestTime<'_> {
    fn alarm(&mut self, target_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let alarm = Alarm { clock: self.clock.clone(), target_ns };
        let alarm = self.table.push(alarm)?;
        subscribe(self.table, alarm)
    }
}

/// Waits for real as long as the guest asked, then moves the virtual clock there. A guest that only looks sees the
/// virtual clock: asking again and again starts the wait anew, so that it cannot count how fast the machine is.
struct Alarm {
    clock: std::sync::Arc<VirtualClock>,
    target_ns: u64,
}

#[async_trait::async_trait]
impl Pollable for Alarm {
    async fn ready(&mut self) {
        let wait_ns = self.target_ns.saturating_sub(self.clock.now_ns.load(Ordering::Relaxed));
        if wait_ns > 0 {
            tokio::time::sleep(Duration::from_nanos(wait_ns)).await;
            self.clock.move_to_ns(self.target_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_by_entries_and_ticks_and_never_back() {
        let clock = VirtualClock::starting_at_ms(1_000);
        assert_eq!(clock.read_ns(), 1_000_001_000);
        clock.move_to_ms(2_000);
        assert_eq!(clock.read_ns(), 2_000_001_000);
        clock.move_to_ms(500);
        assert_eq!(clock.read_ns(), 2_000_002_000);
    }

    #[test]
    fn a_seed_fixes_every_stream_and_streams_are_independent() {
        let draw = |seed| {
            let mut chances = Chances::new(seed);
            (chances.ours.bytes(32), chances.secure.bytes(32), chances.insecure.bytes(32), chances.seed)
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let (ours, secure, insecure, _) = draw(7);
        assert!(ours != secure && secure != insecure && ours != insecure);
    }
}
