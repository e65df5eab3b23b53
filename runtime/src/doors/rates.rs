//! What a provider says of its rate in the headers of a response.
//!
//! Never: decides what follows from it ([`Pace`](super::pace::Pace) does), trusts it. Invariants: a value that cannot be
//! read is as if it were not there; of several values for one header the most cautious one is taken; integers only.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap};

use super::moment;

/// Bytes of a header's value. No honest number, duration or time is longer, and so many digits of milliseconds fit a
/// `u128` of nanoseconds.
const LONGEST_VALUE: usize = 40;

const SECOND_NS: u128 = 1_000_000_000;
const MILLISECOND_NS: u128 = 1_000_000;

/// A number of seconds from which on it counts from 1970 and not from now: 30 years, or 2001. A thousand times as many are
/// milliseconds.
const SINCE_1970: u128 = 1_000_000_000;

/// What a provider said. The default: it said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateNews {
    /// Tokens that it will still take before it starts to refuse.
    pub remaining_tokens: Option<u64>,
    /// Requests that it will still take before it starts to refuse.
    pub remaining_requests: Option<u64>,
    /// Until all of its tokens are there again.
    pub reset_tokens: Option<Duration>,
    /// Until it takes a request more: a request's part of the time until all are there again, where it says how many that
    /// are.
    pub reset_requests: Option<Duration>,
    /// Until it wants to hear from us again. As it was said: whoever waits bounds it.
    pub retry_after: Option<Duration>,
    /// How long ago it said so: headers come before a body that may take minutes.
    pub age: Duration,
}

/// A dialect's names for the headers, besides `retry-after` and `retry-after-ms`, which are everybody's. What is limited and
/// when it is reset is called like what remains, with another word in the place of `remaining`.
#[derive(Debug)]
pub struct RateHeaders {
    pub remaining_tokens: &'static str,
    pub remaining_requests: &'static str,
    /// If it is called otherwise.
    pub reset_tokens: Option<&'static str>,
}

impl RateNews {
    /// Reads what is readable, as said just now. Times of day are read by the server's own clock, if the reply has a
    /// `date`, and by `now` if not, which is the time since 1970.
    pub fn read(headers: &HeaderMap, names: &RateHeaders, now: Option<Duration>) -> Self {
        let values = |name: &str| {
            let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok().map(str::trim));
            values.filter(|value| value.len() <= LONGEST_VALUE).collect::<Vec<_>>()
        };
        let said = values(DATE.as_str()).into_iter().find_map(moment::read);
        let now = said.or(now).map(|now| now.as_nanos());
        let longest = |name: &str| values(name).into_iter().filter_map(|value| wait(value, now)).max();
        let least = |name: &str| values(name).into_iter().filter_map(integer).min();
        let milliseconds = values("retry-after-ms").into_iter().filter_map(|value| decimal(value, MILLISECOND_NS));
        let reset_tokens = names.remaining_tokens.replace("remaining", "reset");
        let requests = least(&names.remaining_requests.replace("remaining", "limit")).unwrap_or_default().max(1);
        let reset_requests = longest(&names.remaining_requests.replace("remaining", "reset"));
        Self {
            remaining_tokens: least(names.remaining_tokens),
            remaining_requests: least(names.remaining_requests),
            reset_tokens: longest(names.reset_tokens.unwrap_or(&reset_tokens)).map(duration),
            reset_requests: reset_requests.map(|reset| duration(reset / u128::from(requests))),
            // The finer one is an exact form of the coarse one, which is rounded: no need to wait for that too.
            retry_after: milliseconds.max().or(longest("retry-after")).map(duration),
            age: Duration::ZERO,
        }
    }
}

/// The nanoseconds until then: a number of seconds, numbers with units, or a time. What is over is no wait.
fn wait(text: &str, now: Option<u128>) -> Option<u128> {
    let until = |time: u128| now.map(|now| time.saturating_sub(now));
    match decimal(text, SECOND_NS) {
        Some(seconds) if seconds < SINCE_1970 * SECOND_NS => Some(seconds),
        Some(seconds) if seconds < SINCE_1970 * SECOND_NS * 1_000 => until(seconds),
        Some(milliseconds) => until(milliseconds / 1_000),
        None => units(text).or_else(|| until(moment::read(text)?.as_nanos())),
    }
}

/// Digits only: no sign, no fraction. `None` also past `u64::MAX`, which limits nothing.
fn integer(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A number of units with or without a fraction, such as `20` or `26.4`, in nanoseconds; a part of one is rounded up.
fn decimal(text: &str, unit_ns: u128) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u128>().ok()?.checked_mul(unit_ns)?.div_ceil(scale);
    whole.parse::<u128>().ok()?.checked_mul(unit_ns)?.checked_add(part)
}

/// Numbers with their units, such as `6m0s`, `1s`, `20ms` or `1m26.4s`, in nanoseconds.
fn units(text: &str) -> Option<u128> {
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let mut total: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|letter| !is_number(letter))?);
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let unit_ns = match unit {
            "h" => 3600 * SECOND_NS,
            "m" => 60 * SECOND_NS,
            "s" => SECOND_NS,
            "ms" => MILLISECOND_NS,
            "us" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        total = total.checked_add(decimal(number, unit_ns)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// At most `u64::MAX` nanoseconds, which is centuries.
fn duration(nanoseconds: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::{anthropic, openai};
    use reqwest::header::{HeaderName, HeaderValue};

    fn read(names: &RateHeaders, headers: &[(&'static str, &str)]) -> RateNews {
        let header = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut map = HeaderMap::new();
        headers.iter().map(header).for_each(|(name, value)| {
            map.append(name, value);
        });
        RateNews::read(&map, names, Some(NOW))
    }

    /// 2026-01-01T00:00:00Z.
    const NOW: Duration = Duration::from_secs(1_767_225_600);

    const NOTHING: RateNews = RateNews {
        remaining_tokens: None,
        remaining_requests: None,
        reset_tokens: None,
        reset_requests: None,
        retry_after: None,
        age: Duration::ZERO,
    };

    #[test]
    fn each_dialect_reads_its_own_headers_only() {
        let openai_said = [
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("retry-after-ms", "1500"),
        ];
        let news = RateNews {
            remaining_tokens: Some(149_984),
            remaining_requests: Some(59),
            reset_tokens: Some(Duration::from_secs(360)),
            retry_after: Some(Duration::from_millis(1500)),
            ..NOTHING
        };
        assert_eq!(read(&openai::RATE_HEADERS, &openai_said), news);
        assert_eq!(read(&anthropic::RATE_HEADERS, &openai_said), RateNews { retry_after: news.retry_after, ..NOTHING });
        let anthropic_said = [
            ("anthropic-ratelimit-requests-remaining", "998"),
            ("anthropic-ratelimit-tokens-remaining", "79000"),
            ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:01:00Z"),
            ("retry-after", "5"),
        ];
        let news = RateNews {
            remaining_tokens: Some(79_000),
            remaining_requests: Some(998),
            reset_tokens: Some(Duration::from_secs(60)),
            retry_after: Some(Duration::from_secs(5)),
            ..NOTHING
        };
        assert_eq!(read(&anthropic::RATE_HEADERS, &anthropic_said), news);
        assert_eq!(read(&openai::RATE_HEADERS, &anthropic_said), RateNews { retry_after: news.retry_after, ..NOTHING });
        assert_eq!(read(&openai::RATE_HEADERS, &[]), RateNews::default());
    }

    #[test]
    fn counts_are_digits_and_nothing_else() {
        for (value, remaining) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("1e3", None),
            ("1,000", None),
            ("0x10", None),
            ("", None),
            ("many", None),
            ("\u{0661}", None),
            ("0000000000000000000000000000000000000001", Some(1)),
            ("00000000000000000000000000000000000000001", None),
        ] {
            let news = read(&openai::RATE_HEADERS, &[("x-ratelimit-remaining-tokens", value)]);
            assert_eq!(news, RateNews { remaining_tokens: remaining, ..NOTHING }, "{value:?}");
        }
    }

    #[test]
    fn waits_are_seconds_or_milliseconds_or_times() {
        let centuries = Duration::from_nanos(u64::MAX);
        let minute = Some(Duration::from_secs(60));
        for (name, value, wait) in [
            ("retry-after", "20", Some(Duration::from_secs(20))),
            ("retry-after", "0", Some(Duration::ZERO)),
            ("retry-after", "0.5", Some(Duration::from_millis(500))),
            ("retry-after", "1.0000000001", Some(Duration::new(1, 1))),
            ("retry-after", "31536000", Some(Duration::from_secs(31_536_000))),
            ("retry-after", "999999999999999999999999", Some(centuries)),
            ("retry-after", "0.9999999999999999999999", Some(Duration::from_secs(1))),
            ("retry-after", "-20", None),
            ("retry-after", "+20", None),
            ("retry-after", "1.", None),
            ("retry-after", ".5", None),
            ("retry-after", "1.2.3", None),
            ("retry-after", "1e9", None),
            ("retry-after", "inf", None),
            ("retry-after", "NaN", None),
            ("retry-after", "", None),
            ("retry-after", "20s", Some(Duration::from_secs(20))),
            ("retry-after", "999999999", Some(Duration::from_secs(999_999_999))),
            ("retry-after", "1767225660", minute),
            ("retry-after", "1767225660.5", Some(Duration::from_millis(60_500))),
            ("retry-after", "1767225660000", minute),
            ("retry-after", "1767225599", Some(Duration::ZERO)),
            ("retry-after", "1000000000", Some(Duration::ZERO)),
            ("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT", minute),
            ("retry-after", "Thursday, 01-Jan-26 00:01:00 GMT", minute),
            ("retry-after", "Thu Jan  1 00:01:00 2026", minute),
            ("retry-after", "Wed, 31 Dec 2025 23:59:59 GMT", Some(Duration::ZERO)),
            ("retry-after", "2026-01-01T01:01:00+01:00", minute),
            ("retry-after", "Thu, 01 Jan 2026 00:01:00 CET", None),
            ("retry-after", "soon", None),
            ("retry-after", "99999999999999999999999999999999999999999", None),
            ("retry-after-ms", "20", Some(Duration::from_millis(20))),
            ("retry-after-ms", "20.5", Some(Duration::from_micros(20_500))),
            ("retry-after-ms", "-1", None),
        ] {
            let news = read(&anthropic::RATE_HEADERS, &[(name, value)]);
            assert_eq!(news, RateNews { retry_after: wait, ..NOTHING }, "{name}: {value:?}");
        }
        let both = [("retry-after", "2"), ("retry-after-ms", "1200")];
        let news = read(&anthropic::RATE_HEADERS, &both);
        assert_eq!(news.retry_after, Some(Duration::from_millis(1200)), "the exact one of two forms");
        let half_read = [("retry-after", "2"), ("retry-after-ms", "soon")];
        assert_eq!(read(&anthropic::RATE_HEADERS, &half_read).retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_time_is_read_by_the_servers_own_clock_if_it_has_one() {
        let retry = ("retry-after", "Fri, 13 Nov 2020 12:00:07 GMT");
        let date = ("date", "Fri, 13 Nov 2020 12:00:00 GMT");
        let wait = |headers: &[_]| read(&openai::RATE_HEADERS, headers).retry_after;
        assert_eq!(wait(&[retry, date]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[retry, ("date", "today")]), Some(Duration::ZERO));
        assert_eq!(wait(&[("retry-after", "7"), date]), Some(Duration::from_secs(7)));
        let without_a_clock = |name, value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            let map = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
            RateNews::read(&map, &openai::RATE_HEADERS, None).retry_after
        };
        assert_eq!(without_a_clock(retry.0, retry.1), None);
        assert_eq!(without_a_clock("retry-after", "7"), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_request_more_is_there_after_its_part_of_the_reset() {
        let said = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "60s")];
        let news = RateNews { remaining_requests: Some(0), ..NOTHING };
        let after = |seconds| RateNews { reset_requests: Some(Duration::from_secs(seconds)), ..news };
        assert_eq!(read(&openai::RATE_HEADERS, &said), after(60));
        for (limit, seconds) in [("20", 3), ("0", 60), ("many", 60)] {
            let said = [&said[..], &[("x-ratelimit-limit-requests", limit)]].concat();
            assert_eq!(read(&openai::RATE_HEADERS, &said), after(seconds), "{limit}");
        }
        let said = [
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-limit", "4"),
            ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:20Z"),
        ];
        assert_eq!(read(&anthropic::RATE_HEADERS, &said), after(5));
    }

    #[test]
    fn resets_are_seconds_numbers_with_units_or_times() {
        for (value, reset) in [
            ("6m0s", Some(Duration::from_secs(360))),
            ("1s", Some(Duration::from_secs(1))),
            ("20ms", Some(Duration::from_millis(20))),
            ("0s", Some(Duration::ZERO)),
            ("1m26.4s", Some(Duration::from_millis(86_400))),
            ("1h2m3s", Some(Duration::from_secs(3723))),
            ("7.66s", Some(Duration::from_millis(7660))),
            ("120us", Some(Duration::from_micros(120))),
            ("99999999999999999999999h", Some(Duration::from_nanos(u64::MAX))),
            ("6", Some(Duration::from_secs(6))),
            ("11.382867", Some(Duration::from_micros(11_382_867))),
            ("1767225606", Some(Duration::from_secs(6))),
            ("2026-01-01T00:00:06.5Z", Some(Duration::from_millis(6500))),
            ("6m0", None),
            ("-6m0s", None),
            ("1d", None),
            ("s", None),
            ("1.s", None),
            ("1 s", None),
            ("1s garbage", None),
            ("1\u{b5}s", None),
            ("", None),
            ("1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s", None),
        ] {
            let news = read(&openai::RATE_HEADERS, &[("x-ratelimit-reset-tokens", value)]);
            assert_eq!(news, RateNews { reset_tokens: reset, ..NOTHING }, "{value:?}");
        }
    }

    #[test]
    fn of_several_values_the_most_cautious_counts() {
        let several = [
            ("x-ratelimit-remaining-tokens", "500"),
            ("x-ratelimit-remaining-tokens", "many"),
            ("x-ratelimit-remaining-tokens", "20"),
            ("x-ratelimit-reset-tokens", "1s"),
            ("x-ratelimit-reset-tokens", "3s"),
            ("retry-after", "1"),
            ("retry-after", "-5"),
            ("retry-after", "4"),
            ("retry-after", "2"),
        ];
        let news = RateNews {
            remaining_tokens: Some(20),
            reset_tokens: Some(Duration::from_secs(3)),
            retry_after: Some(Duration::from_secs(4)),
            ..NOTHING
        };
        assert_eq!(read(&openai::RATE_HEADERS, &several), news);
    }

    #[test]
    fn a_headers_value_is_read_up_to_n_bytes_and_not_n_plus_1() {
        let said = |bytes: usize| {
            let value = format!("{}7", "0".repeat(bytes - 1));
            read(&openai::RATE_HEADERS, &[("x-ratelimit-remaining-tokens", value.as_str())]).remaining_tokens
        };
        assert_eq!((said(LONGEST_VALUE), said(LONGEST_VALUE + 1)), (Some(7), None));
    }
}
