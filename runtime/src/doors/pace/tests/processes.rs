//! What a pace promises to several processes of one directory: each test has as many paces as there are processes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tempfile::TempDir;

use super::record::{GRACE, MAX_RECORD_BYTES};
use super::*;

const NAME: &str = "model https://example.com/v1 m";

/// A directory, and the clock of its machine.
struct Host {
    dir: TempDir,
    clock: Clock,
}

impl Host {
    fn new() -> Self {
        // Up for a day.
        Self { dir: tempfile::tempdir().unwrap(), clock: Clock::starting_at(86_400_000) }
    }

    /// A process with its own operator's file.
    fn process(&self, requests: u32, tokens: u64) -> Arc<Pace> {
        self.of(NAME, rates(requests, tokens))
    }

    fn of(&self, name: &str, rates: Rates) -> Arc<Pace> {
        let path = self.dir.path().to_owned();
        let open = move || Dir::open_ambient_dir(&path, ambient_authority());
        Arc::new(Pace::shared(rates, self.clock, Box::new(open), name.to_owned()))
    }

    /// The same directory after the clock was set by so many seconds: the machine was started anew, or it was not.
    fn at(self, seconds: i64) -> Self {
        let now_ms = self.clock.up_ns() / 1_000_000;
        let clock = Clock::starting_at(now_ms.checked_add_signed(seconds * 1000).unwrap());
        Self { clock, ..self }
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join("pace")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn file(&self) -> PathBuf {
        let [file] = self.files().try_into().unwrap();
        file
    }

    #[expect(clippy::disallowed_methods, reason = "a test looks at its own file")]
    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a test writes its own file")]
    fn damage(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }
}

fn retry_after(wait: Duration) -> RateNews {
    RateNews { retry_after: Some(wait), ..RateNews::default() }
}

#[tokio::test(start_paused = true)]
async fn requests_of_all_processes_are_spread_together() {
    let host = Host::new();
    let processes = [host.process(6, 0), host.process(6, 0), host.process(6, 0)];
    assert_eq!(waited(&processes[0], 0).await, Duration::ZERO);
    assert_eq!(waited(&processes[1], 0).await, Duration::ZERO);
    about(waited(&processes[2], 0).await, ms(20_000));
    for process in processes.iter().cycle().take(6) {
        about(waited(process, 0).await, ms(10_000));
    }
    // One that begins now, as well.
    about(waited(&host.process(6, 0), 0).await, ms(10_000));
}

#[tokio::test(start_paused = true)]
async fn all_processes_take_from_one_bucket() {
    let host = Host::new();
    let (one, other) = (host.process(0, 600), host.process(0, 600));
    let admission = one.admit(400).await;
    assert_eq!(waited(&other, 200).await, Duration::ZERO);
    about(waited(&one, 1).await, ms(100));
    admission.settle(0);
    assert_eq!(waited(&other, 400).await, Duration::ZERO);
    about(waited(&one, 1).await, ms(100));
}

#[tokio::test(start_paused = true)]
async fn what_one_process_gives_back_reaches_those_that_wait() {
    let host = Host::new();
    let (one, other) = (host.process(0, 600), host.process(0, 600));
    let admission = one.admit(600).await;
    let waiting = tokio::spawn(async move { waited(&other, 500).await });
    tokio::time::sleep(ms(1500)).await;
    admission.settle(0);
    assert!(waiting.await.unwrap() <= ms(1500) + LOOK);
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_says_to_one_process_holds_for_all() {
    let host = Host::new();
    host.process(0, 0).observe(&retry_after(ms(20_000)));
    let all: Vec<_> = [host.process(0, 0), host.process(0, 0), host.process(60, 0), host.process(0, 600)].into();
    let all: Vec<_> = all.into_iter().map(|pace| tokio::spawn(async move { waited(&pace, 1).await })).collect();
    for one in all {
        let waited = one.await.unwrap();
        assert!(waited >= ms(20_000) && waited < ms(20_020), "{waited:?}");
    }
    let host = Host::new();
    host.process(0, 600).observe(&RateNews { remaining_tokens: Some(0), ..RateNews::default() });
    about(waited(&host.process(0, 600), 10).await, ms(1000));
}

#[tokio::test(start_paused = true)]
async fn processes_that_wait_take_turns() {
    let host = Host::new();
    let (one, other) = (host.process(60, 0), host.process(60, 0));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = JoinSet::new();
    for (name, pace) in [("one", one), ("other", other)].into_iter().flat_map(|it| std::iter::repeat_n(it, 20)) {
        let order = Arc::clone(&order);
        waiting.spawn(async move {
            let _ = pace.admit(0).await;
            order.lock().unwrap().push(name);
        });
    }
    let start = Instant::now();
    while waiting.join_next().await.is_some() {}
    let order = std::mem::take(&mut *order.lock().unwrap());
    for turns in order[..36].chunks(4) {
        let of_other = turns.iter().filter(|name| **name == "other").count();
        assert!((1..=3).contains(&of_other), "{order:?}");
    }
    assert!(start.elapsed() < ms(39_000 + 40 * 4), "no slot is missed: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_large_request_is_not_starved_by_small_ones_of_other_processes() {
    let host = Host::new();
    let small = host.process(0, 600);
    let stream = tokio::spawn(async move {
        loop {
            waited(&small, 60).await;
        }
    });
    tokio::time::sleep(ms(30_000)).await;
    let waited = waited(&host.process(0, 600), 600).await;
    assert!(waited >= ms(60_000) && waited < ms(67_000), "{waited:?}");
    stream.abort();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_while_it_waits_keeps_others_for_a_moment() {
    let host = Host::new();
    let (killed, other) = (host.process(0, 600), host.process(0, 600));
    waited(&other, 600).await;
    let mut waiting = Box::pin(async move { waited(&killed, 600).await });
    assert!(tokio::time::timeout(ms(1), &mut waiting).await.is_err());
    // Nothing of it is ever dropped.
    std::mem::forget(waiting);
    let waited = waited(&other, 10).await;
    assert!(waited > ms(1000) && waited <= LOOK + GRACE + ms(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_with_what_it_took_lets_nothing_more_through() {
    let host = Host::new();
    let killed = host.process(6, 600);
    let _taken = killed.admit(600).await;
    std::mem::forget(killed);
    about(waited(&host.process(6, 600), 100).await, ms(10_000));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_leaves_nothing_to_other_processes() {
    let host = Host::new();
    let (one, other) = (host.process(60, 600), host.process(60, 600));
    waited(&one, 600).await;
    waited(&one, 0).await;
    assert!(host.text().contains("\n[]\n"), "{}", host.text());
    assert!(tokio::time::timeout(ms(500), one.admit(600)).await.is_err());
    assert!(host.text().contains("\n[]\n"), "{}", host.text());
    about(waited(&other, 20).await, ms(1500));
}

#[tokio::test(start_paused = true)]
async fn the_rate_of_each_process_holds_for_it() {
    let host = Host::new();
    let (slow, fast) = (host.process(6, 600), host.process(600, 60_000));
    let mut last = Instant::now() - ms(10_000);
    for _ in 0..10 {
        waited(&slow, 0).await;
        assert!(last.elapsed() >= ms(9_900), "{:?}", last.elapsed());
        last = Instant::now();
        for _ in 0..3 {
            waited(&fast, 0).await;
        }
    }
    // Who takes half of its minute leaves half of theirs to others.
    waited(&slow, 300).await;
    let start = Instant::now();
    waited(&fast, 30_000).await;
    assert!(start.elapsed() < ms(10_200), "a slot, and no tokens: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_rates_and_a_word_nothing_is_written() {
    let host = Host::new();
    let pace = host.process(0, 0);
    for _ in 0..10 {
        let admission = pace.admit(u64::MAX).await;
        assert_eq!(admission.waited(), Duration::ZERO);
        admission.settle(7);
        pace.observe(&RateNews { remaining_tokens: Some(7), remaining_requests: Some(7), ..RateNews::default() });
    }
    assert!(!host.dir.path().join("pace").exists());
    // What was said is not said again and again.
    pace.observe(&retry_after(ms(5)));
    let before = host.text();
    waited(&pace, 1).await;
    waited(&host.process(0, 0), 1).await;
    assert_eq!(host.text(), before);
}

#[tokio::test(start_paused = true)]
async fn each_name_has_a_file_for_its_owner_alone() {
    let host = Host::new();
    let long = "x".repeat(100_000);
    let names = ["", ".", "..", "../../up", "a/b", "tenant acme", "tenant acme ", "nul\0", "\u{1b}[2J", &long];
    for name in names {
        assert_eq!(waited(&host.of(name, rates(60, 0)), 0).await, Duration::ZERO, "{name:.20}");
        assert_eq!(waited(&host.of(name, rates(60, 0)), 0).await, Duration::ZERO, "{name:.20}");
        assert!(waited(&host.of(name, rates(60, 0)), 0).await > Duration::ZERO, "{name:.20}");
    }
    assert_eq!(host.files().len(), names.len());
    let mode = |path: PathBuf| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert!(host.files().into_iter().all(|file| mode(file) & 0o177 == 0));
    assert_eq!(mode(host.dir.path().join("pace")) & 0o077, 0);
    assert_eq!(std::fs::read_dir(host.dir.path()).unwrap().count(), 1, "all of it is below one name");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_begun_anew() {
    let whole = {
        let host = Host::new();
        waited(&host.process(1, 0), 0).await;
        host.text()
    };
    let foreign = whole.replace("example.com", "example.org");
    let (half, more) = (&whole[..whole.len() / 2], whole.replace('{', "{\"more\":1,"));
    for damage in ["", "\0\0\0\0", "{}", "[]", "nothing of ours", half, &foreign, &more] {
        let host = Host::new();
        waited(&host.process(1, 0), 0).await;
        host.damage(damage);
        assert_eq!(waited(&host.process(1, 0), 0).await, Duration::ZERO, "{damage:?}");
        about(waited(&host.process(1, 0), 0).await, ms(60_000));
    }
    // A process that was killed while it wrote: all but the line of those that wait is whole, whatever follows.
    for rest in ["", "[", "[]\n[{\"who\":1,", "7", "\0"] {
        let host = Host::new();
        waited(&host.process(1, 0), 0).await;
        let (state, _) = whole.split_once('\n').unwrap();
        host.damage(&format!("{state}\n{rest}"));
        about(waited(&host.process(1, 0), 0).await, ms(60_000));
    }
    // A process that saw it before goes on with what it knows.
    let host = Host::new();
    let pace = host.process(1, 0);
    waited(&pace, 0).await;
    host.damage("nothing of ours");
    about(waited(&pace, 0).await, ms(60_000));
}

#[tokio::test(start_paused = true)]
async fn a_file_may_have_n_bytes_and_not_n_plus_1() {
    for (bytes, expected) in [(MAX_RECORD_BYTES, ms(60_000)), (MAX_RECORD_BYTES + 1, ms(0))] {
        let host = Host::new();
        waited(&host.process(1, 0), 0).await;
        let text = host.text();
        let blanks = " ".repeat(usize::try_from(bytes).unwrap() - text.len());
        host.damage(&(text + &blanks));
        about(waited(&host.process(1, 0), 0).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_neither_stops_a_host_nor_lets_a_burst_through() {
    for seconds in [-80_000, -1000, -5, 0] {
        let host = Host::new();
        waited(&host.process(6, 600), 600).await;
        host.process(0, 0).observe(&retry_after(ms(5_000)));
        let host = host.at(seconds);
        // As if no time had passed.
        about(waited(&host.process(6, 600), 100).await, ms(10_000));
        about(waited(&host.process(6, 600), 100).await, ms(10_000));
    }
    for seconds in [1000, 1_000_000_000] {
        let host = Host::new();
        waited(&host.process(0, 600), 600).await;
        host.process(0, 0).observe(&retry_after(MAX_PAUSE));
        let host = host.at(seconds);
        assert_eq!(waited(&host.process(0, 600), 600).await, Duration::ZERO);
        about(waited(&host.process(0, 600), 1).await, ms(100));
    }
    // Whatever a file says, which may be another machine's.
    let host = Host::new();
    waited(&host.process(60, 0), 0).await;
    host.process(0, 0).observe(&retry_after(ms(1)));
    let (state, _) = host.text().split_once('\n').map(|(state, rest)| (state.to_owned(), rest.to_owned())).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let day = 86_400_000_000_000_u64;
    state["slots"]["next"] = (3 * day).into();
    state["closed_until"] = (3 * day).into();
    for process in [host.process(60, 0), host.process(0, 0)] {
        host.damage(&format!("{state}\n[]"));
        about(waited(&process, 0).await, MAX_PAUSE);
    }
    host.damage(&format!("{}\n[{{\"who\":7,\"looks_at\":{}}}]", host.text().lines().next().unwrap(), 3 * day));
    let waited = waited(&host.process(60, 0), 0).await;
    assert!(waited <= LOOK + GRACE + ms(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn where_no_file_can_be_had_a_process_keeps_its_pace_alone() {
    let host = Host::new();
    std::fs::create_dir(host.dir.path().join("pace")).unwrap();
    waited(&host.process(6, 0), 0).await;
    let file = host.file();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let gone = Host { dir: tempfile::tempdir().unwrap(), clock: host.clock };
    let nowhere = gone.process(6, 0);
    drop(gone);
    for pace in [host.process(6, 0), nowhere] {
        assert_eq!(waited(&pace, 0).await, Duration::ZERO);
        assert_eq!(waited(&pace, 0).await, Duration::ZERO);
        about(waited(&pace, 0).await, ms(20_000));
        pace.observe(&retry_after(ms(15_000)));
        about(waited(&pace, 0).await, ms(15_000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_another_process_has_for_a_moment_is_waited_for() {
    let host = Host::new();
    let pace = host.process(6, 0);
    waited(&pace, 0).await;
    #[expect(clippy::disallowed_methods, reason = "a test opens its own file")]
    let held = std::fs::File::open(host.file()).unwrap();
    held.lock().unwrap();
    let waiting = tokio::spawn(async move { waited(&pace, 0).await });
    tokio::time::sleep(ms(300)).await;
    assert!(!waiting.is_finished());
    held.unlock().unwrap();
    assert!(waiting.await.unwrap() <= ms(302));
}
