//! When a model that said no for now is asked again, and when it is worth coming back to it.
//!
//! Never: waits, draws lots. The jitter follows from who waits and how often, so that a run does the same each time, and runs
//! that were sent away together do not come back together.

use super::signature::fnv1a;

/// How often a call is asked again, if nobody says it: some seconds in all, as a rate limit or a restart takes.
pub const DEFAULT_RETRIES: u32 = 4;

/// How often at most. Whoever is sent away 20 times is not served today.
pub const MOST_RETRIES: u32 = 20;

/// How often a call is asked again after a try that may have been billed: what is in doubt is held in full, and whoever breaks
/// off for the third time will do so again.
pub const MOST_BILLED: u32 = 2;

/// The first pause at most, in milliseconds. Each later one may be twice as long.
const FIRST_MS: u64 = 1_000;

/// The longest pause that nobody asked for, in milliseconds: what is limited is limited by the minute.
const LONGEST_MS: u64 = 60_000;

/// The longest that a provider's word puts an item off, in milliseconds: a day. One that lies could stop it for years.
pub const MOST_PUT_OFF_MS: u64 = 24 * 3_600_000;

/// How long to wait after so many tries in a row that failed, the provider having asked for `said_ms`. What a provider asks for
/// is waited for, and up to a tenth more; else the wait is anything up to a bound that doubles.
pub fn pause_ms(said_ms: Option<u64>, failed: u32, who: &str) -> u64 {
    let draw = fnv1a(format!("{who} {failed}").as_bytes());
    match said_ms {
        Some(said_ms) if said_ms > 0 => said_ms.saturating_add(draw % (said_ms / 10 + 1)),
        Some(_) | None => 1 + draw % bound_ms(failed),
    }
}

/// How long from now it is worth coming back, after `failed` tries in a row and `deferrals` of the item in a row before this
/// one. Milliseconds. It doubles with each deferral up to an hour: somebody who starts a deferred item again and again must not
/// pay for it all night.
pub fn put_off_ms(said_ms: Option<u64>, failed: u32, deferrals: u32) -> u64 {
    let longer_ms = (bound_ms(failed) << deferrals.min(16)).min(LONGEST_BY_ITSELF_MS);
    said_ms.unwrap_or(0).max(longer_ms).min(MOST_PUT_OFF_MS)
}

/// The longest that an item is put off for if the provider does not say how long, in milliseconds.
const LONGEST_BY_ITSELF_MS: u64 = 3_600_000;

fn bound_ms(failed: u32) -> u64 {
    (FIRST_MS << failed.saturating_sub(1).min(16)).min(LONGEST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_anything_up_to_a_bound_that_doubles_and_ends() {
        for (failed, bound) in [(0, 1_000), (1, 1_000), (2, 2_000), (3, 4_000), (7, 60_000), (u32::MAX, 60_000)] {
            let pauses: Vec<u64> = (0..200).map(|run| pause_ms(None, failed, &format!("run-{run}"))).collect();
            assert!(pauses.iter().all(|pause| (1..=bound).contains(pause)), "{failed}");
            let low = pauses.iter().filter(|pause| **pause <= bound / 2).count();
            assert!((50..150).contains(&low), "{failed}: {low} of 200 in the lower half");
        }
        assert_eq!(pause_ms(None, 3, "run"), pause_ms(None, 3, "run"));
    }

    #[test]
    fn what_a_provider_asks_for_is_waited_for_and_a_tenth_more_at_most() {
        for run in 0..200 {
            let pause = pause_ms(Some(20_000), 1, &format!("run-{run}"));
            assert!((20_000..=22_000).contains(&pause), "{pause}");
        }
        // Whoever asks for nothing is not stormed.
        assert!(pause_ms(Some(0), 5, "run") > 0);
        assert_eq!(pause_ms(Some(u64::MAX), 1, "run"), u64::MAX);
    }

    #[test]
    fn an_item_is_put_off_up_to_n_and_not_n_plus_1() {
        assert_eq!(put_off_ms(Some(MOST_PUT_OFF_MS), 1, 0), MOST_PUT_OFF_MS);
        assert_eq!(put_off_ms(Some(MOST_PUT_OFF_MS + 1), 1, 0), MOST_PUT_OFF_MS);
        assert_eq!(
            (put_off_ms(None, 5, 0), put_off_ms(Some(1), 5, 0), put_off_ms(Some(90_000), 5, 0)),
            (16_000, 16_000, 90_000)
        );
    }

    #[test]
    fn an_item_is_put_off_for_twice_as_long_each_time_and_for_an_hour_at_most() {
        let all: Vec<u64> = (0..4).map(|deferrals| put_off_ms(None, 3, deferrals)).collect();
        assert_eq!(all, [4_000, 8_000, 16_000, 32_000]);
        for deferrals in [10, 16, u32::MAX] {
            assert_eq!(put_off_ms(None, 3, deferrals), LONGEST_BY_ITSELF_MS);
        }
        assert_eq!(put_off_ms(Some(7_200_000), 3, 16), 7_200_000, "a provider may say that it is longer");
    }
}
