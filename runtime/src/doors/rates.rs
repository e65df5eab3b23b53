//! What a provider says of its rate in the headers of a response.
//!
//! Never: decides what follows from it ([`Pace`](super::pace::Pace) does), trusts it. Invariants: a value that cannot be
//! read is as if it were not there; of several values for one header the most cautious one is taken; integers only.

use std::time::Duration;

use reqwest::header::HeaderMap;

/// Bytes of a header's value. No honest number or duration is longer, and so many digits of hours fit a `u128` of
/// nanoseconds.
const LONGEST_VALUE: usize = 24;

const SECOND_NS: u128 = 1_000_000_000;
const MILLISECOND_NS: u128 = 1_000_000;

/// What a provider said. The default: it said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateNews {
    /// Tokens that it will still take before it starts to refuse.
    pub remaining_tokens: Option<u64>,
    /// Requests that it will still take before it starts to refuse.
    pub remaining_requests: Option<u64>,
    /// Until all of its tokens are there again.
    pub reset_tokens: Option<Duration>,
    /// Until it wants to hear from us again. As it was said: whoever waits bounds it.
    pub retry_after: Option<Duration>,
    /// How long ago it said so: headers come before a body that may take minutes.
    pub age: Duration,
}

/// A dialect's names for the headers, besides `retry-after` and `retry-after-ms`, which are everybody's.
#[derive(Debug)]
pub struct RateHeaders {
    pub remaining_tokens: &'static str,
    pub remaining_requests: &'static str,
    /// A duration like `6m0s`. `None`: the dialect names a time of day, which is of no use without its clock.
    pub reset_tokens: Option<&'static str>,
}

impl RateNews {
    /// Reads what is readable, as said just now.
    pub fn read(headers: &HeaderMap, names: &RateHeaders) -> Self {
        let values = |name: &str| {
            let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok().map(str::trim));
            values.filter(|value| value.len() <= LONGEST_VALUE)
        };
        let seconds = values("retry-after").filter_map(|value| decimal(value, SECOND_NS));
        let milliseconds = values("retry-after-ms").filter_map(|value| decimal(value, MILLISECOND_NS));
        Self {
            remaining_tokens: values(names.remaining_tokens).filter_map(integer).min(),
            remaining_requests: values(names.remaining_requests).filter_map(integer).min(),
            reset_tokens: names.reset_tokens.and_then(|name| values(name).filter_map(units).max()),
            // The finer one is an exact form of the coarse one, which is rounded: no need to wait for that too.
            retry_after: milliseconds.max().or(seconds.max()).map(duration),
            age: Duration::ZERO,
        }
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

/// Numbers with their units, such as `6m0s`, `1s`, `20ms` or `1m26.4s`.
fn units(text: &str) -> Option<Duration> {
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
    (!text.is_empty()).then(|| duration(total))
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
        RateNews::read(&map, names)
    }

    const NOTHING: RateNews = RateNews {
        remaining_tokens: None,
        remaining_requests: None,
        reset_tokens: None,
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
            ("000000000000000000000001", Some(1)),
            ("0000000000000000000000001", None),
        ] {
            let news = read(&openai::RATE_HEADERS, &[("x-ratelimit-remaining-tokens", value)]);
            assert_eq!(news, RateNews { remaining_tokens: remaining, ..NOTHING }, "{value:?}");
        }
    }

    #[test]
    fn waits_are_seconds_or_milliseconds_and_a_date_is_no_wait() {
        let centuries = Duration::from_nanos(u64::MAX);
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
            ("retry-after", "20s", None),
            ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("retry-after", "9999999999999999999999999", None),
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
    fn resets_are_numbers_with_units() {
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
            ("6", None),
            ("6m0", None),
            ("-6m0s", None),
            ("1d", None),
            ("s", None),
            ("1.s", None),
            ("1 s", None),
            ("1s garbage", None),
            ("1\u{b5}s", None),
            ("", None),
            ("1s1s1s1s1s1s1s1s1s1s1s1s1s", None),
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
