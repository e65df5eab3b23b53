//! What a pace promises: to those who wait, and about what passes.

use std::sync::Arc;

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;

mod processes;

fn rates(requests: u32, tokens: u64) -> Rates {
    Rates { requests_per_minute: NonZeroU32::new(requests), tokens_per_minute: NonZeroU64::new(tokens) }
}

fn pace(requests: u32, tokens: u64) -> Arc<Pace> {
    Arc::new(Pace::new(rates(requests, tokens)))
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// How long a request waited. It is never settled.
async fn waited(pace: &Pace, tokens: u64) -> Duration {
    pace.admit(tokens).await.waited()
}

/// tokio's timers are whole milliseconds and end late, never early.
fn about(waited: Duration, expected: Duration) {
    assert!(waited >= expected && waited <= expected + ms(2), "{waited:?} for {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_are_spread_over_the_minute() {
    let pace = pace(60, 0);
    assert_eq!(waited(&pace, u64::MAX).await, Duration::ZERO);
    // The second one after a minute without any takes its slot in advance.
    assert_eq!(waited(&pace, u64::MAX).await, Duration::ZERO);
    about(waited(&pace, u64::MAX).await, ms(2000));
    for _ in 0..60 {
        about(waited(&pace, u64::MAX).await, ms(1000));
    }
}

#[tokio::test(start_paused = true)]
async fn no_minute_sees_more_requests_than_the_rate() {
    for per_minute in [1, 2, 3, 7] {
        // However long nobody asks in between.
        for (burst, pause_ms) in [(1, 20_000), (2, 59_000), (2, 61_000), (3, 70_000), (5, 130_000), (20, 0)] {
            let pace = pace(per_minute, 0);
            let mut times = Vec::new();
            for place in 1..=20 {
                waited(&pace, 0).await;
                times.push(Instant::now());
                if place % burst == 0 {
                    tokio::time::sleep(ms(pause_ms)).await;
                }
            }
            let rate = usize::try_from(per_minute).unwrap();
            for (from, to) in times.iter().zip(&times[rate..]) {
                assert!(*to - *from >= ms(60_000), "{per_minute} a minute, {burst} and {pause_ms} ms: {times:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_rates_nobody_waits() {
    let pace = pace(0, 0);
    for _ in 0..1000 {
        assert_eq!(waited(&pace, u64::MAX).await, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_minutes_tokens_go_at_once_and_not_one_more() {
    let exactly = pace(0, 600);
    assert_eq!(waited(&exactly, 599).await, Duration::ZERO);
    assert_eq!(waited(&exactly, 1).await, Duration::ZERO);
    about(waited(&exactly, 1).await, ms(100));
    let at_once = pace(0, 600);
    assert_eq!(waited(&at_once, 600).await, Duration::ZERO);
    // After that they go at the rate, and nothing is lost to the timers' late ends.
    let start = Instant::now();
    for _ in 0..60 {
        waited(&at_once, 10).await;
    }
    about(start.elapsed(), ms(60_000));
}

#[tokio::test(start_paused = true)]
async fn both_rates_hold_together() {
    let pace = pace(60, 600);
    assert_eq!(waited(&pace, 600).await, Duration::ZERO);
    about(waited(&pace, 100).await, ms(10_000));
    // The tokens for these are there before their slots are.
    tokio::time::advance(ms(30_000)).await;
    assert_eq!(waited(&pace, 1).await, Duration::ZERO);
    about(waited(&pace, 1).await, ms(1000));
}

#[tokio::test(start_paused = true)]
async fn a_refund_is_usable_at_once_by_whoever_waits() {
    let pace = pace(0, 600);
    let admission = pace.admit(600).await;
    let waiting = tokio::spawn({
        let pace = Arc::clone(&pace);
        async move { waited(&pace, 500).await }
    });
    tokio::time::sleep(ms(1000)).await;
    // 10 came in the meantime: 489 are one too few, and what is still missing comes in 100 ms.
    admission.settle(111);
    about(waiting.await.unwrap(), ms(1100));
    let admission = pace.admit(0).await;
    admission.settle(0);
    about(waited(&pace, 1).await, ms(100));
}

#[tokio::test(start_paused = true)]
async fn what_was_used_beyond_the_reservation_is_a_debt() {
    let pace = pace(0, 600);
    let admission = pace.admit(100).await;
    admission.settle(700);
    about(waited(&pace, 1).await, ms(10_100));
}

#[tokio::test(start_paused = true)]
async fn a_refund_never_fills_the_bucket_past_a_minutes_tokens() {
    let pace = pace(0, 600);
    let admission = pace.admit(600).await;
    tokio::time::advance(ms(60_000)).await;
    admission.settle(0);
    assert_eq!(waited(&pace, 600).await, Duration::ZERO);
    about(waited(&pace, 1).await, ms(100));
}

#[tokio::test(start_paused = true)]
async fn an_admission_that_is_dropped_gives_nothing_back() {
    let pace = pace(0, 600);
    drop(pace.admit(600).await);
    about(waited(&pace, 1).await, ms(100));
}

#[tokio::test(start_paused = true)]
async fn more_than_a_minutes_tokens_go_when_the_bucket_is_full_and_are_paid_for() {
    let pace = pace(0, 600);
    waited(&pace, 1).await;
    about(waited(&pace, 1000).await, ms(100));
    // 400 of debt, and 1 for itself.
    about(waited(&pace, 1).await, ms(40_100));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_go_in_the_order_in_which_they_came() {
    let pace = pace(600, 600);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = JoinSet::new();
    for place in 0..50 {
        let (pace, order) = (Arc::clone(&pace), Arc::clone(&order));
        waiting.spawn(async move {
            // Small and large ones in turn, the largest past the capacity.
            let _ = pace.admit([1, 700, 40][place % 3]).await;
            order.lock().unwrap().push(place);
        });
    }
    while waiting.join_next().await.is_some() {}
    assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_large_request_and_a_stream_of_small_ones_do_not_starve_each_other() {
    let pace = pace(0, 600);
    let mut requests = JoinSet::new();
    // 12 tokens each second, where 10 come back: there is always somebody who waits, and the line grows.
    for place in 0..600 {
        let pace = Arc::clone(&pace);
        requests.spawn(async move {
            tokio::time::sleep(ms(1000 * place)).await;
            (waited(&pace, 12).await, 12)
        });
    }
    let large = Arc::clone(&pace);
    requests.spawn(async move {
        tokio::time::sleep(ms(400_500)).await;
        (waited(&large, 600).await, 600)
    });
    let (mut small_ones, mut longest) = (0, Duration::ZERO);
    while let Some(request) = requests.join_next().await {
        let (waited, tokens) = request.unwrap();
        match tokens {
            // 401 small ones came before, of which 4812 - 4605 tokens are not there yet; then the bucket fills.
            600 => assert!(waited > ms(60_000) && waited < ms(90_000), "{waited:?}"),
            _ => (small_ones, longest) = (small_ones + 1, longest.max(waited)),
        }
    }
    // All tokens that were ever asked for, less those that were there, at the rate, less when the last one came.
    about(longest, ms((600 * 12 + 600 - 600) * 100 - 599_000));
    assert_eq!(small_ones, 600);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_takes_nothing() {
    let pace = pace(60, 600);
    waited(&pace, 600).await;
    // The head, while it waits for tokens; the slot for a request is there for half a second.
    assert!(tokio::time::timeout(ms(1500), pace.admit(300)).await.is_err());
    assert_eq!(waited(&pace, 15).await, Duration::ZERO);
    // The head, while it waits for a slot.
    tokio::time::advance(ms(500)).await;
    assert!(tokio::time::timeout(ms(300), pace.admit(1)).await.is_err());
    about(waited(&pace, 8).await, ms(200));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_in_the_line_lets_the_next_one_move_up() {
    let pace = pace(0, 600);
    waited(&pace, 600).await;
    let wait = |tokens: u64| {
        let pace = Arc::clone(&pace);
        tokio::spawn(async move { waited(&pace, tokens).await })
    };
    let (first, second, third) = (wait(100), wait(500), wait(50));
    tokio::time::sleep(ms(1000)).await;
    second.abort();
    about(first.await.unwrap(), ms(10_000));
    about(third.await.unwrap(), ms(15_000));
    let (head, next) = (wait(500), wait(50));
    tokio::time::sleep(ms(1000)).await;
    head.abort();
    about(next.await.unwrap(), ms(5000));
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_says_lowers_the_bucket_and_never_raises_it() {
    let pace = pace(0, 600);
    let remaining = |tokens: u64| RateNews { remaining_tokens: Some(tokens), ..RateNews::default() };
    pace.observe(&remaining(100));
    assert_eq!(waited(&pace, 100).await, Duration::ZERO);
    pace.observe(&remaining(u64::MAX));
    pace.observe(&RateNews::default());
    about(waited(&pace, 10).await, ms(1000));
    // It reaches whoever waits already.
    let waiting = tokio::spawn({
        let pace = Arc::clone(&pace);
        async move { waited(&pace, 300).await }
    });
    tokio::time::sleep(ms(20_000)).await;
    pace.observe(&remaining(0));
    about(waiting.await.unwrap(), ms(50_000));
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_said_before_a_long_answer_is_as_old_as_it_is() {
    let news = RateNews { age: ms(30_000), ..RateNews::default() };
    let pace_with = |tokens, news: RateNews| {
        let pace = pace(0, tokens);
        pace.observe(&news);
        pace
    };
    let none_left = pace_with(600, RateNews { remaining_tokens: Some(0), ..news });
    assert_eq!(waited(&none_left, 300).await, Duration::ZERO);
    about(waited(&none_left, 1).await, ms(100));
    // The bound on a pause is on the pause, however late it is heard of.
    for (retry_after, expected) in [(ms(29_000), ms(0)), (ms(32_000), ms(2000)), (Duration::MAX, ms(570_000))] {
        let pace = pace_with(0, RateNews { retry_after: Some(retry_after), ..news });
        about(waited(&pace, 1).await, expected);
    }
    let forever = RateNews { remaining_tokens: Some(0), age: Duration::MAX, ..news };
    assert_eq!(waited(&pace_with(u64::MAX, forever), u64::MAX).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_cost_nothing_leaves_no_more_than_the_provider_says_remains() {
    let pace = pace(0, 600);
    let admission = pace.admit(500).await;
    admission.settle(0);
    pace.observe(&RateNews { remaining_tokens: Some(20), ..RateNews::default() });
    about(waited(&pace, 30).await, ms(1000));
}

#[tokio::test(start_paused = true)]
async fn retry_after_stops_everybody() {
    let pace = pace(0, 0);
    let retry = |wait: Duration| RateNews { retry_after: Some(wait), ..RateNews::default() };
    pace.observe(&retry(ms(20_000)));
    // A shorter one is no permission, and neither is silence.
    pace.observe(&retry(ms(0)));
    pace.observe(&RateNews::default());
    let all: Vec<_> = (0..3)
        .map(|_| {
            let pace = Arc::clone(&pace);
            tokio::spawn(async move { waited(&pace, 1).await })
        })
        .collect();
    for one in all {
        about(one.await.unwrap(), ms(20_000));
    }
    assert_eq!(waited(&pace, 1).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn retry_after_stops_who_waits_already() {
    let pace = pace(0, 600);
    waited(&pace, 600).await;
    let waiting = tokio::spawn({
        let pace = Arc::clone(&pace);
        async move { waited(&pace, 10).await }
    });
    tokio::time::sleep(ms(500)).await;
    pace.observe(&RateNews { retry_after: Some(ms(5000)), ..RateNews::default() });
    about(waiting.await.unwrap(), ms(5500));
}

#[tokio::test(start_paused = true)]
async fn no_provider_can_stop_a_pace_for_long() {
    for news in [
        RateNews { retry_after: Some(Duration::MAX), ..RateNews::default() },
        RateNews { remaining_tokens: Some(0), reset_tokens: Some(Duration::MAX), ..RateNews::default() },
        RateNews { remaining_requests: Some(0), reset_requests: Some(Duration::MAX), ..RateNews::default() },
    ] {
        let pace = pace(0, 0);
        pace.observe(&news);
        about(waited(&pace, 1).await, MAX_PAUSE);
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_remains_the_pace_waits_as_far_as_it_knows_for_how_long() {
    let reset = RateNews { reset_tokens: Some(ms(7000)), ..RateNews::default() };
    let none_left = RateNews { remaining_tokens: Some(0), ..reset };
    let no_request_left =
        RateNews { remaining_requests: Some(0), reset_requests: Some(ms(3000)), ..RateNews::default() };
    // With a bucket, the bucket knows; a reset alone says nothing.
    for (pace, news, expected) in [
        (pace(0, 0), none_left, ms(7000)),
        (pace(0, 600), none_left, ms(1000)),
        (pace(0, 0), RateNews { remaining_tokens: Some(1), ..reset }, ms(0)),
        (pace(0, 0), RateNews { remaining_tokens: Some(0), ..RateNews::default() }, ms(0)),
        (pace(30, 0), RateNews { remaining_requests: Some(0), ..RateNews::default() }, ms(2000)),
        (pace(30, 0), RateNews { remaining_requests: Some(1), ..RateNews::default() }, ms(0)),
        (pace(0, 0), RateNews { remaining_requests: Some(0), ..RateNews::default() }, ms(0)),
        (pace(0, 0), no_request_left, ms(3000)),
        (pace(30, 0), no_request_left, ms(2000)),
        (pace(0, 0), RateNews { remaining_requests: Some(1), ..no_request_left }, ms(0)),
    ] {
        pace.observe(&news);
        about(waited(&pace, 10).await, expected);
    }
}

/// One request of a random history.
#[derive(Clone, Copy, Debug)]
struct Story {
    comes_after: Duration,
    tokens: u64,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Settled {
        after: Duration,
        used: u64,
    },
    Dropped,
    /// Gives up waiting after this long; settled for nothing used if it went before.
    GivenUp {
        after: Duration,
    },
}

/// What a request did to the bucket.
#[derive(Clone, Copy, Debug)]
enum Flow {
    Admitted(u64),
    Settled { taken: u64, used: u64 },
}

async fn live(story: Story, pace: Arc<Pace>, log: Arc<Mutex<Vec<(Instant, Flow)>>>) {
    let book = |flow| log.lock().unwrap().push((Instant::now(), flow));
    tokio::time::sleep(story.comes_after).await;
    let admit = async {
        let admission = pace.admit(story.tokens).await;
        book(Flow::Admitted(story.tokens));
        admission
    };
    let settle = |admission: Admission, used| {
        book(Flow::Settled { taken: story.tokens, used });
        admission.settle(used);
    };
    match story.end {
        End::Settled { after, used } => {
            let admission = admit.await;
            tokio::time::sleep(after).await;
            settle(admission, used);
        }
        End::Dropped => drop(admit.await),
        End::GivenUp { after } => {
            if let Ok(admission) = tokio::time::timeout(after, admit).await {
                settle(admission, 0);
            }
        }
    }
}

fn stories() -> impl Strategy<Value = (u64, Vec<Story>)> {
    let duration = (0..200_000u64).prop_map(Duration::from_micros).boxed();
    let duration = prop_oneof![duration, (0..90_000u64).prop_map(Duration::from_millis)].boxed();
    prop_oneof![Just(1), Just(7), 1..1000u64, Just(60_000), Just(u64::MAX / 4)].prop_flat_map(move |rate| {
        let tokens = 0..=rate.saturating_mul(5) / 2;
        let tokens = prop_oneof![0..=rate / 4, tokens].boxed();
        let end = prop_oneof![
            3 => (duration.clone(), tokens.clone()).prop_map(|(after, used)| End::Settled { after, used }),
            1 => Just(End::Dropped),
            1 => duration.clone().prop_map(|after| End::GivenUp { after }),
        ];
        let story = (duration.clone(), tokens, end);
        let story = story.prop_map(|(comes_after, tokens, end)| Story { comes_after, tokens, end });
        (Just(rate), proptest::collection::vec(story, 1..24))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// In any time: what was reserved, less what was given back, is at most a full bucket and what came in that time;
    /// and the last request, if it is larger than the bucket, by as much as it is.
    #[test]
    fn no_window_sees_more_than_a_full_bucket_and_the_rate((rate, stories) in stories()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let log = runtime.block_on(async {
            let (pace, log) = (pace(0, rate), Arc::new(Mutex::new(Vec::new())));
            let mut lives = JoinSet::new();
            for story in &stories {
                lives.spawn(live(*story, Arc::clone(&pace), Arc::clone(&log)));
            }
            // Everybody who does not give up gets through: this ends.
            while let Some(life) = lives.join_next().await {
                life.unwrap();
            }
            std::mem::take(&mut *log.lock().unwrap())
        });
        // In 60,000,000,000ths of a token, of which a rate of one a minute brings one a nanosecond.
        let parts = |tokens: u64| i128::from(tokens) * 60_000_000_000;
        for (from, &(begin, _)) in log.iter().enumerate() {
            let mut passed = 0;
            for &(now, flow) in &log[from..] {
                match flow {
                    Flow::Admitted(tokens) => {
                        passed += parts(tokens);
                        let time = i128::try_from((now - begin).as_nanos()).unwrap();
                        let most = parts(rate) + i128::from(rate) * time + parts(tokens.saturating_sub(rate));
                        prop_assert!(passed <= most, "{passed} of {most} from {from}: {log:?}");
                    }
                    Flow::Settled { taken, used } => passed += parts(used) - parts(taken),
                }
            }
        }
    }
}
