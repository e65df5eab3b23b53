//! Points in time as servers write them: [of HTTP](https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats), in all
//! three forms, and [of RFC 3339](https://www.rfc-editor.org/rfc/rfc3339).
//!
//! Never: asks what time it is, knows a zone. Nothing is before 1970 or after 2554.

use std::time::{Duration, SystemTime};

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

/// Reads one, as the time since 1970-01-01T00:00:00Z.
pub fn read(text: &str) -> Option<Duration> {
    let http = httpdate::parse_http_date(text).ok();
    http.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).or_else(|| rfc_3339(text))
}

/// Such as `2026-01-01T00:01:00Z` or `2026-01-01 01:01:00.5+01:00`.
fn rfc_3339(text: &str) -> Option<Duration> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let (time, offset) = match rest.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let (time, offset) = rest.split_at(rest.rfind(['+', '-'])?);
            let [hours, minutes] = numbers(&offset[1..], ':', [2, 2])?;
            let seconds = (hours <= 23 && minutes <= 59).then_some((hours * 60 + minutes) * 60)?;
            (time, if offset.starts_with('-') { -seconds } else { seconds })
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    // A leap second is the second after.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second - offset;
    let nanoseconds = i128::from(seconds) * SECOND + nanoseconds(fraction)?;
    Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
}

/// Numbers of so many digits each.
fn numbers<const COUNT: usize>(text: &str, between: char, digits: [usize; COUNT]) -> Option<[i64; COUNT]> {
    let mut found = [0; COUNT];
    let mut parts = text.split(between);
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && is_digits(part))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// The digits after a second's point; what is below a nanosecond is left out.
fn nanoseconds(fraction: &str) -> Option<i128> {
    let digits = Some(fraction).filter(|fraction| !fraction.is_empty() && is_digits(fraction))?;
    format!("{digits:0<9}")[..9].parse().ok()
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Days from 1970-01-01 to a date, with years that begin in March, so that a leap day is a year's last:
/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, months_since_march) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_http_and_of_rfc_3339_are_read_and_nothing_else() {
        let year_2026 = 1_767_225_660_000;
        for (text, ms) in [
            ("Thu, 01 Jan 2026 00:01:00 GMT", Some(year_2026)),
            ("Thursday, 01-Jan-26 00:01:00 GMT", Some(year_2026)),
            ("Thu Jan  1 00:01:00 2026", Some(year_2026)),
            ("2026-01-01T00:01:00Z", Some(year_2026)),
            ("2026-01-01 00:01:00z", Some(year_2026)),
            ("2026-01-01T00:01:00.5Z", Some(year_2026 + 500)),
            ("2026-01-01T00:01:00.1239999999999Z", Some(year_2026 + 123)),
            ("2026-01-01T00:01:00+00:00", Some(year_2026)),
            ("2025-12-31T23:31:00-00:30", Some(year_2026)),
            ("2026-01-01T05:46:00.25+05:45", Some(year_2026 + 250)),
            ("2026-01-01T00:00:60Z", Some(year_2026)),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01T00:00:00+00:01", None),
            ("9999-12-31T23:59:59Z", None),
            ("Thu, 01 Jan 2026 00:01:00", None),
            ("2026-01-01", None),
            ("2026-01-01T00:01:00", None),
            ("2026-01-01T00:01:00.Z", None),
            ("2026-01-01T00:01Z", None),
            ("2026-1-1T00:01:00Z", None),
            ("2026-13-01T00:01:00Z", None),
            ("2026-00-01T00:01:00Z", None),
            ("2026-01-32T00:01:00Z", None),
            ("2026-01-01T24:01:00Z", None),
            ("2026-01-01T00:60:00Z", None),
            ("2026-01-01T00:01:61Z", None),
            ("2026-01-01T00:01:00+24:00", None),
            ("2026-01-01T00:01:00+0000", None),
            ("+026-01-01T00:01:00Z", None),
            ("2026-01-01T00:01:00Z ", None),
            ("2026-01-01T00:01:00\u{e9}", None),
            ("T", None),
            ("tomorrow", None),
            ("", None),
        ] {
            let read = read(text).map(|time| u64::try_from(time.as_nanos()).unwrap() / 1_000_000);
            assert_eq!(read, ms, "{text:?}");
        }
    }
}
