//! What a guest waits for: alarms on its virtual clock, and streams.
//!
//! Never: lets the machine's timers or its speed decide what is ready. Invariant here: an alarm is ready when the virtual
//! clock has passed it, and anything else always is. So which of several is ready follows from the journal alone, and a
//! second run of the same journal waits for the same.

use std::collections::HashMap;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_io::bindings::wasi::io::poll::{Host, HostPollable};

use super::senses::GuestTime;

/// The alarms that a guest holds: when each goes off, by the number of its pollable in the guest's table. There are no
/// more than the table has room for. A number is used again once its pollable is gone, so an alarm is forgotten with it.
#[derive(Default)]
pub struct Alarms {
    targets_ns: HashMap<u32, u64>,
}

impl Alarms {
    /// A pollable that goes off at `target_ns` since 1970.
    pub fn set(&mut self, table: &mut ResourceTable, target_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let alarm = table.push(Alarm)?;
        let pollable = subscribe(table, alarm)?;
        self.targets_ns.insert(pollable.rep(), target_ns);
        Ok(pollable)
    }

    /// When it goes off, if it is an alarm.
    fn target_ns(&self, pollable: &Resource<DynPollable>) -> Option<u64> {
        self.targets_ns.get(&pollable.rep()).copied()
    }
}

/// What stands in the table for an alarm. Its time is in [`Alarms`]: from a pollable, wasmtime shows no way back to what
/// it is of.
struct Alarm;

#[async_trait::async_trait]
impl Pollable for Alarm {
    /// Never: whoever asks has not looked into [`Alarms`], and must not take every alarm for ready.
    async fn ready(&mut self) {
        std::future::pending().await
    }
}

impl GuestTime<'_> {
    /// Lets the host finish what a stream has begun. This always ends: a file is read or written on the host's own disk,
    /// printing and the empty input never wait, and a socket has nothing to wait for since none is ever bound or
    /// connected. A network that a guest may reach must not come this way.
    async fn settle(&mut self, stream: &Resource<DynPollable>) -> wasmtime::Result<()> {
        HostPollable::block(self.table, Resource::new_borrow(stream.rep())).await
    }
}

/// The traps are wasmtime's own: an empty list, and a pollable that is none.
impl Host for GuestTime<'_> {
    /// Streams are settled, all of them, and ready; so are the alarms that the clock has passed. Only if that is nothing
    /// is there a wait, for the earliest alarm.
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.is_empty() {
            return Err(wasmtime::format_err!("empty poll list"));
        }
        for pollable in &pollables {
            self.table.get(pollable)?;
        }
        let targets_ns: Vec<Option<u64>> = pollables.iter().map(|pollable| self.alarms.target_ns(pollable)).collect();
        for (pollable, target_ns) in pollables.iter().zip(&targets_ns) {
            if target_ns.is_none() {
                self.settle(pollable).await?;
            }
        }
        let mut now_ns = 0;
        if let Some(earliest_ns) = targets_ns.iter().flatten().copied().min() {
            // Looking at an alarm is a reading of the clock, and ticks: a guest that only looks gets there in the end.
            now_ns = self.clock.read_ns();
            if earliest_ns > now_ns && targets_ns.iter().all(Option::is_some) {
                self.clock.wait_until_ns(earliest_ns).await;
                now_ns = earliest_ns;
            }
        }
        let ready = |target_ns: &Option<u64>| target_ns.is_none_or(|target_ns| target_ns <= now_ns);
        let indexes = targets_ns.iter().enumerate().filter(|(_, target_ns)| ready(target_ns));
        indexes.map(|(index, _)| Ok(u32::try_from(index)?)).collect()
    }
}

impl HostPollable for GuestTime<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        Host::poll(self, vec![pollable]).await.map(drop)
    }

    /// Whether the clock has passed an alarm. A stream is settled first: that the host's disk is not done yet is nothing
    /// that a guest may see.
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.table.get(&pollable)?;
        match self.alarms.target_ns(&pollable) {
            Some(target_ns) => Ok(target_ns <= self.clock.read_ns()),
            None => self.settle(&pollable).await.map(|()| true),
        }
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.alarms.targets_ns.remove(&pollable.rep());
        HostPollable::drop(self.table, pollable)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;

    use super::super::senses::VirtualClock;
    use super::*;

    const MS: u64 = 1_000_000;

    /// A guest's table, its alarms and its clock.
    struct Waiter {
        clock: VirtualClock,
        alarms: Alarms,
        table: ResourceTable,
    }

    impl Waiter {
        fn new() -> Self {
            let clock = VirtualClock::starting_at_ms(1_000);
            Self { clock, alarms: Alarms::default(), table: ResourceTable::new() }
        }

        fn time(&mut self) -> GuestTime<'_> {
            GuestTime { clock: &self.clock, alarms: &mut self.alarms, table: &mut self.table }
        }

        /// An alarm so long after the start.
        fn alarm(&mut self, ms: u64) -> Resource<DynPollable> {
            self.time().subscribe_instant(ms * MS).expect("there is room")
        }

        /// A stream that the host is done with after some real time.
        fn stream(&mut self, busy: Duration) -> Resource<DynPollable> {
            let stream = self.table.push(Stream(busy)).expect("there is room");
            subscribe(&mut self.table, stream).expect("there is room")
        }

        async fn poll(&mut self, pollables: &[&Resource<DynPollable>]) -> Vec<u32> {
            let pollables = pollables.iter().map(|pollable| again(pollable)).collect();
            Host::poll(&mut self.time(), pollables).await.expect("they are there")
        }
    }

    fn again(pollable: &Resource<DynPollable>) -> Resource<DynPollable> {
        Resource::new_borrow(pollable.rep())
    }

    struct Stream(Duration);

    #[async_trait::async_trait]
    impl Pollable for Stream {
        async fn ready(&mut self) {
            tokio::time::sleep(std::mem::take(&mut self.0)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_alarms_are_ready_and_the_clock_is_exactly_there() {
        let mut guest = Waiter::new();
        let (late, early, equal) = (guest.alarm(30), guest.alarm(20), guest.alarm(20));
        assert_eq!(guest.poll(&[&late, &equal, &early, &equal]).await, [1, 2, 3]);
        assert_eq!(guest.time().now().expect("a reading"), 20 * MS + 1_000, "one tick after the alarm");
        assert_eq!(guest.poll(&[&late, &early]).await, [1], "an alarm that went off stays so");
        assert_eq!(guest.poll(&[&late]).await, [0]);
        assert_eq!(guest.clock.elapsed_ms(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn real_time_decides_nothing() {
        let mut guest = Waiter::new();
        let alarm = guest.alarm(20);
        let start = Instant::now();
        // The machine's timer has long passed the alarm: the guest's clock has not.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!guest.time().ready(again(&alarm)).await.expect("is there"));
        // And whether the host is quick with a stream is not seen either.
        for busy in [Duration::ZERO, Duration::from_secs(1)] {
            let stream = guest.stream(busy);
            assert_eq!(guest.poll(&[&alarm, &stream]).await, [1]);
            assert!(guest.time().ready(again(&stream)).await.expect("is there"));
        }
        let stream = guest.stream(Duration::from_secs(1));
        assert!(guest.time().ready(again(&stream)).await.expect("is there"), "a stream is settled first");
        assert_eq!(guest.clock.elapsed_ms(), 0);
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        guest.time().block(again(&alarm)).await.expect("is there");
        assert!(guest.time().ready(again(&alarm)).await.expect("is there"));
        assert_eq!(guest.poll(&[&stream, &alarm]).await, [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_makes_alarms_ready() {
        let mut guest = Waiter::new();
        let alarms = [guest.alarm(20), guest.alarm(40)];
        guest.clock.move_to_ms(1_030);
        let start = Instant::now();
        assert_eq!(guest.poll(&[&alarms[0], &alarms[1]]).await, [0]);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_only_looks_gets_there_in_the_end() {
        let mut guest = Waiter::new();
        let (alarm, stream) = (guest.alarm(1), guest.stream(Duration::ZERO));
        let start = Instant::now();
        let mut looks = 1;
        while guest.poll(&[&alarm, &stream]).await == [1] {
            looks += 1;
        }
        assert_eq!((looks, start.elapsed()), (1_000, Duration::ZERO), "each look is a tick");
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_that_is_used_again_is_a_new_pollable() {
        let mut guest = Waiter::new();
        let alarm = guest.alarm(1_000_000);
        let number = alarm.rep();
        HostPollable::drop(&mut guest.time(), alarm).expect("is there");
        assert!(guest.table.is_empty() && guest.alarms.targets_ns.is_empty());
        // What frees last is used first.
        let mut streams = Vec::new();
        while streams.iter().all(|stream: &Resource<DynPollable>| stream.rep() != number) {
            assert!(streams.len() < 10);
            streams.push(guest.stream(Duration::ZERO));
        }
        let stream = streams.pop().expect("one");
        assert_eq!(guest.poll(&[&stream]).await, [0], "a stream, not the alarm that was there");
        HostPollable::drop(&mut guest.time(), stream).expect("is there");
        let alarm = guest.alarm(5);
        assert!(!guest.time().ready(again(&alarm)).await.expect("is there"));
    }

    #[tokio::test(start_paused = true)]
    async fn hurried_waits_go_off_in_the_same_order_at_once() {
        let tell = async |hurried| {
            let mut guest = Waiter::new();
            guest.clock.hurry(hurried);
            let alarms = [guest.alarm(3_000), guest.alarm(1_000), guest.alarm(2_000), guest.alarm(1_000)];
            let start = Instant::now();
            let mut told = Vec::new();
            for _ in 0..3 {
                let waiting: Vec<_> =
                    alarms.iter().filter(|alarm| guest.alarms.target_ns(alarm) > Some(told_ns(&guest))).collect();
                let ready = guest.poll(&waiting).await;
                told.push((ready, guest.clock.read_ns()));
            }
            (told, start.elapsed())
        };
        let (real, real_took) = tell(false).await;
        let (hurried, hurried_took) = tell(true).await;
        assert_eq!(real, hurried);
        assert_eq!(real.iter().map(|(ready, _)| ready.clone()).collect::<Vec<_>>(), [vec![1, 3], vec![1], vec![0]]);
        assert_eq!(hurried_took, Duration::ZERO);
        assert!(real_took > Duration::from_millis(2_900));
    }

    fn told_ns(guest: &Waiter) -> u64 {
        (1_000 + guest.clock.elapsed_ms()) * MS
    }

    #[tokio::test]
    async fn an_empty_list_and_a_stranger_trap() {
        let mut guest = Waiter::new();
        let empty = Host::poll(&mut guest.time(), Vec::new()).await.expect_err("wasmtime traps here too");
        assert_eq!(empty.to_string(), "empty poll list");
        let own = ResourceTable::poll(&mut guest.table, Vec::new()).await.expect_err("wasmtime's own");
        assert_eq!(own.to_string(), empty.to_string());
        let alarm = guest.alarm(0);
        let stranger = || Resource::new_borrow(alarm.rep() + 1);
        assert!(Host::poll(&mut guest.time(), vec![again(&alarm), stranger()]).await.is_err());
        assert!(guest.time().block(stranger()).await.is_err());
        assert!(guest.time().ready(stranger()).await.is_err());
        assert_eq!(guest.poll(&[&alarm]).await, [0], "an alarm in the past");
    }

    #[test]
    fn alarms_are_bounded_by_the_table() {
        let mut guest = Waiter::new();
        guest.table.set_max_capacity(10);
        let held: Vec<_> = (0..100).map_while(|_| guest.time().subscribe_duration(MS).ok()).collect();
        assert_eq!((held.len(), guest.alarms.targets_ns.len()), (5, 5));
    }
}
