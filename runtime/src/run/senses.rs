//! What a guest can sense of time and chance: a virtual clock and seeded streams.
//!
//! Never: shows the machine's clock or entropy. The clock moves when something was journalled, and by one tick at each
//! reading; the streams are fixed by the run's seed. So a second run of the same journal senses the same.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use blake3::OutputReader;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::rules::policy::MAX_RANDOM_BYTES;

use super::alarms::Alarms;

/// How far one reading moves the clock: enough that two readings differ, too little to notice.
const TICK_NS: u64 = 1_000;

/// The run's clock, in nanoseconds since 1970.
#[derive(Debug)]
pub struct VirtualClock {
    start_ns: u64,
    now_ns: AtomicU64,
    hurried: AtomicBool,
}

impl VirtualClock {
    /// A clock that starts at the run's first entry.
    pub fn starting_at_ms(unix_ms: u64) -> Self {
        let start_ns = unix_ms.saturating_mul(1_000_000);
        Self { start_ns, now_ns: AtomicU64::new(start_ns), hurried: AtomicBool::new(false) }
    }

    /// Nanoseconds since 1970. Each reading is later than the one before, until the end of time.
    pub fn read_ns(&self) -> u64 {
        // Saturating: a hurried guest may have waited for the last moment that there is.
        let ticked = |now: u64| Some(now.saturating_add(TICK_NS));
        let before = self.now_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, ticked);
        before.unwrap_or_else(|now| now).saturating_add(TICK_NS)
    }

    /// Something was journalled at this time. The clock never goes back.
    pub fn move_to_ms(&self, unix_ms: u64) {
        self.now_ns.fetch_max(unix_ms.saturating_mul(1_000_000), Ordering::Relaxed);
    }

    /// As [`VirtualClock::move_to_ms`], in nanoseconds.
    pub fn move_to_ns(&self, unix_ns: u64) {
        self.now_ns.fetch_max(unix_ns, Ordering::Relaxed);
    }

    /// Nanoseconds since 1970, without moving the clock.
    pub fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    /// Where the clock started. Milliseconds since 1970.
    pub fn start_ms(&self) -> u64 {
        self.start_ns / 1_000_000
    }

    /// Milliseconds since the start, without moving the clock.
    pub fn elapsed_ms(&self) -> u64 {
        (self.now_ns.load(Ordering::Relaxed) - self.start_ns) / 1_000_000
    }

    /// Whether waits take no real time from here on. For a guest whose waits were lived through once already: it senses
    /// the same, since the clock moves to the same points.
    pub fn hurry(&self, on: bool) {
        self.hurried.store(on, Ordering::Relaxed);
    }

    /// Whether waits take no real time now.
    pub fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Relaxed)
    }

    /// Waits until `target_ns` since 1970, in real time unless hurried, and moves the clock there. A wait that is given
    /// up moves nothing: asking again starts it anew, so that nobody can count how fast the machine is.
    pub async fn wait_until_ns(&self, target_ns: u64) {
        let wait_ns = target_ns.saturating_sub(self.now_ns.load(Ordering::Relaxed));
        if wait_ns > 0 && !self.is_hurried() {
            tokio::time::sleep(Duration::from_nanos(wait_ns)).await;
        }
        self.now_ns.fetch_max(target_ns, Ordering::Relaxed);
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

/// The WASI clocks of a guest, and what it waits for.
pub struct GuestTime<'a> {
    pub clock: &'a VirtualClock,
    pub alarms: &'a mut Alarms,
    pub table: &'a mut ResourceTable,
}

/// Links the WASI clock interfaces and `wasi:io/poll` to [`GuestTime`].
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
        self.alarms.set(self.table, target_ns)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let target_ns = self.clock.now_ns.load(Ordering::Relaxed).saturating_add(duration);
        self.alarms.set(self.table, target_ns)
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

    #[tokio::test(start_paused = true)]
    async fn a_wait_takes_real_time_unless_the_clock_is_hurried() {
        let clock = VirtualClock::starting_at_ms(1_000);
        let start = tokio::time::Instant::now();
        clock.wait_until_ns(3_000_000_000).await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert_eq!(clock.elapsed_ms(), 2_000);

        clock.hurry(true);
        assert!(clock.is_hurried());
        clock.wait_until_ns(9_000_000_000).await;
        assert_eq!((start.elapsed(), clock.elapsed_ms()), (Duration::from_secs(2), 8_000), "the same point, at once");
        clock.wait_until_ns(4_000_000_000).await;
        assert_eq!(clock.elapsed_ms(), 8_000, "never back");

        clock.hurry(false);
        assert!(!clock.is_hurried());
        clock.wait_until_ns(10_000_000_000).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_given_up_moves_nothing() {
        let clock = VirtualClock::starting_at_ms(0);
        for _ in 0..3 {
            let given_up = tokio::time::timeout(Duration::from_secs(1), clock.wait_until_ns(2_000_000_000)).await;
            assert!(given_up.is_err());
        }
        assert_eq!(clock.elapsed_ms(), 0);
    }

    #[tokio::test]
    async fn the_end_of_time_is_no_trouble() {
        let clock = VirtualClock::starting_at_ms(1_000);
        clock.hurry(true);
        clock.wait_until_ns(u64::MAX).await;
        assert_eq!((clock.read_ns(), clock.read_ns()), (u64::MAX, u64::MAX));
        assert_eq!(clock.elapsed_ms(), (u64::MAX - 1_000_000_000) / 1_000_000);
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

    #[test]
    fn random_bytes_hold_at_n_and_end_the_run_at_n_plus_1() {
        use insecure::Host as _;
        use random::Host as _;

        let mut chances = Chances::new(7);
        let most = u64::from(MAX_RANDOM_BYTES);
        assert_eq!(chances.get_random_bytes(most).expect("as many as there are").len() as u64, most);
        assert!(chances.get_random_bytes(most + 1).is_err());
        assert_eq!(chances.get_insecure_random_bytes(most).expect("as many as there are").len() as u64, most);
        assert!(chances.get_insecure_random_bytes(most + 1).is_err());
    }
}
