//! Rolling windows: what may be spent in the last hour, day or week.
//!
//! A window is cut into buckets, and a call belongs to the bucket in which it was dispatched. Never: reads a clock,
//! forgets a bucket of which a part is still inside. So a window errs by one bucket, on the safe side.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::line::{Amounts, Line};

/// How far back a window looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Span {
    Hour,
    Day,
    Week,
}

impl Span {
    /// Every span, the shortest first.
    pub const ALL: [Span; 3] = [Span::Hour, Span::Day, Span::Week];

    /// The span's word in the operator's file.
    pub fn name(self) -> &'static str {
        match self {
            Span::Hour => "hour",
            Span::Day => "day",
            Span::Week => "week",
        }
    }

    fn ms(self) -> u64 {
        match self {
            Span::Hour => 3_600_000,
            Span::Day => 24 * 3_600_000,
            Span::Week => 7 * 24 * 3_600_000,
        }
    }

    /// A bucket is about a hundredth of its window: a minute, a quarter of an hour, two hours.
    fn bucket_ms(self) -> u64 {
        match self {
            Span::Hour => 60_000,
            Span::Day => 15 * 60_000,
            Span::Week => 2 * 3_600_000,
        }
    }
}

/// What was spent in one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Milliseconds since 1970-01-01T00:00:00Z; a multiple of the bucket's width.
    pub start_ms: u64,
    pub spent: Amounts,
}

impl Bucket {
    /// Whether no part of it is in a window that ends now.
    fn is_gone(&self, span: Span, now_ms: u64) -> bool {
        self.start_ms.saturating_add(bucket_end(span)) <= now_ms
    }
}

/// How long after its start a bucket is in its window no more. Milliseconds.
fn bucket_end(span: Span) -> u64 {
    span.bucket_ms() + span.ms()
}

/// What a window will let go, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LetsGo {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    pub amount: u64,
}

/// How a window opens by itself on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The limit.
    pub most: u64,
    /// What counts against it now.
    pub counted: u64,
    /// What will be let go, the oldest first.
    pub lets_go: Vec<LetsGo>,
    pub now_ms: u64,
}

/// What is on its way or in doubt stands in the way of the rest: nobody knows for how long. Milliseconds.
const LOOK_AGAIN_MS: u64 = 60_000;

impl Opening {
    /// When there is room for so much. `None`: the window never has so much.
    pub fn room_for(&self, asked: u64) -> Option<u64> {
        if asked > self.most {
            return None;
        }
        let mut counted = self.counted;
        for LetsGo { at_ms, amount } in &self.lets_go {
            counted = counted.saturating_sub(*amount);
            if asked <= self.most.saturating_sub(counted) {
                return Some(*at_ms);
            }
        }
        Some(self.now_ms.saturating_add(LOOK_AGAIN_MS))
    }
}

/// What was spent in the buckets of one window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "VecDeque<Bucket>", into = "VecDeque<Bucket>")]
pub struct Window {
    /// The oldest first.
    buckets: VecDeque<Bucket>,
    /// Of all of them: a week has too many to add up for every call.
    total: Amounts,
}

impl From<VecDeque<Bucket>> for Window {
    fn from(buckets: VecDeque<Bucket>) -> Self {
        let total = buckets.iter().fold(Amounts::default(), |sum, bucket| sum.plus(&bucket.spent));
        Self { buckets, total }
    }
}

impl From<Window> for VecDeque<Bucket> {
    fn from(window: Window) -> Self {
        window.buckets
    }
}

impl Window {
    /// What was spent in the window that ends now.
    pub fn spent(&self, span: Span, now_ms: u64) -> Amounts {
        let gone = self.buckets.iter().take_while(|bucket| bucket.is_gone(span, now_ms));
        gone.fold(self.total, |sum, bucket| sum.less(&bucket.spent))
    }

    /// When the window next lets something of a line go, and how much. `None`: it holds nothing of it.
    pub fn lets_go(&self, span: Span, line: Line, now_ms: u64) -> Option<LetsGo> {
        let held = |bucket: &&Bucket| !bucket.is_gone(span, now_ms) && bucket.spent.get(line) > 0;
        let bucket = self.buckets.iter().find(held)?;
        Some(LetsGo { at_ms: bucket.start_ms + bucket_end(span), amount: bucket.spent.get(line) })
    }

    /// All that the window will let go of a line, the oldest first.
    pub fn all_let_go(&self, span: Span, line: Line, now_ms: u64) -> Vec<LetsGo> {
        let held = self.buckets.iter().filter(|bucket| !bucket.is_gone(span, now_ms) && bucket.spent.get(line) > 0);
        let lets_go =
            |bucket: &Bucket| LetsGo { at_ms: bucket.start_ms + bucket_end(span), amount: bucket.spent.get(line) };
        held.map(lets_go).collect()
    }

    /// Books what a call cost that was dispatched at `at_ms`, and forgets what no window that ends at `now_ms` or later
    /// has a part of.
    pub fn book(&mut self, span: Span, at_ms: u64, now_ms: u64, spent: &Amounts) {
        let start_ms = at_ms - at_ms % span.bucket_ms();
        match self.buckets.binary_search_by_key(&start_ms, |bucket| bucket.start_ms) {
            Ok(place) => self.buckets[place].spent = self.buckets[place].spent.plus(spent),
            Err(place) => self.buckets.insert(place, Bucket { start_ms, spent: *spent }),
        }
        self.total = self.total.plus(spent);
        while let Some(gone) = self.buckets.pop_front_if(|bucket| bucket.is_gone(span, now_ms)) {
            self.total = self.total.less(&gone.spent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const HOUR: u64 = 3_600_000;

    fn tokens(amount: u64) -> Amounts {
        Amounts::of(Line::Tokens, amount)
    }

    #[test]
    fn what_is_spent_counts_for_the_whole_span_and_at_most_a_bucket_longer() {
        for span in Span::ALL {
            let mut window = Window::default();
            let at = 1_000 * HOUR + 7;
            window.book(span, at, at, &tokens(5));
            assert_eq!(window.spent(span, at + span.ms()), tokens(5));
            assert_eq!(window.spent(span, at + span.ms() + span.bucket_ms()), tokens(0), "{span:?}");
        }
    }

    #[test]
    fn a_late_call_counts_when_it_was_dispatched() {
        let mut window = Window::default();
        window.book(Span::Hour, 10 * HOUR, 10 * HOUR, &tokens(5));
        window.book(Span::Hour, 9 * HOUR + HOUR / 2, 10 * HOUR, &tokens(3));
        assert_eq!(window.spent(Span::Hour, 10 * HOUR), tokens(8));
        assert_eq!(window.spent(Span::Hour, 10 * HOUR + 40 * 60_000), tokens(5));
    }

    #[test]
    fn a_window_says_when_it_lets_go() {
        let mut window = Window::default();
        let at = 1_000 * HOUR + 7;
        assert_eq!(window.lets_go(Span::Hour, Line::Tokens, at), None);
        window.book(Span::Hour, at, at, &tokens(5));
        window.book(Span::Hour, at + HOUR / 2, at + HOUR / 2, &tokens(3));
        let next = window.lets_go(Span::Hour, Line::Tokens, at).expect("it holds something");
        assert_eq!(next.amount, 5);
        assert_eq!(window.spent(Span::Hour, next.at_ms - 1), tokens(8));
        assert_eq!(window.spent(Span::Hour, next.at_ms), tokens(3));
        assert_eq!(window.lets_go(Span::Hour, Line::MicroUsd, at), None);
    }

    #[test]
    fn a_window_says_when_it_has_room_for_so_much_and_that_it_never_has() {
        let go = |at_ms, amount| LetsGo { at_ms, amount };
        let opening = Opening { most: 10, counted: 9, lets_go: vec![go(50, 4), go(60, 3)], now_ms: 1 };
        assert_eq!(opening.room_for(5), Some(50));
        assert_eq!(opening.room_for(6), Some(60));
        // The rest is on its way.
        assert_eq!(opening.room_for(9), Some(1 + LOOK_AGAIN_MS));
        assert_eq!((opening.room_for(10), opening.room_for(11)), (Some(1 + LOOK_AGAIN_MS), None));
    }

    #[test]
    fn a_window_holds_no_more_buckets_than_it_has() {
        let mut window = Window::default();
        for minute in 0..10_000 {
            window.book(Span::Hour, minute * 60_000, minute * 60_000, &tokens(1));
        }
        assert!(window.buckets.len() <= 62, "{}", window.buckets.len());
        assert_eq!(window.spent(Span::Hour, 9_999 * 60_000), tokens(61));
    }
}
