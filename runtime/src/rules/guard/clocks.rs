//! The clocks in a text: what differs from one call to the next although nothing has happened.
//!
//! Dates, times of day, durations, and identifiers that are made anew each time: UUIDs, from 8 hexadecimal digits with letters,
//! addresses in memory, long mixtures of letters and digits, numbers and names of processes and requests. Never: takes a plain
//! number for one, whatever it counts; knows what a clock is by more than its shape, its unit and the word before it.

use std::ops::Range;

/// What differs although nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Date,
    Time,
    Duration,
    Identifier,
}

impl Clock {
    const ALL: [Clock; 4] = [Clock::Date, Clock::Time, Clock::Duration, Clock::Identifier];

    fn name(self) -> &'static str {
        match self {
            Clock::Date => "a date",
            Clock::Time => "a time",
            Clock::Duration => "a duration",
            Clock::Identifier => "an identifier",
        }
    }

    fn placeholder(self) -> &'static str {
        match self {
            Clock::Date => "<date>",
            Clock::Time => "<time>",
            Clock::Duration => "<duration>",
            Clock::Identifier => "<id>",
        }
    }
}

/// Which clocks a text has.
#[derive(Default)]
pub(super) struct Found([bool; Clock::ALL.len()]);

impl Found {
    /// Their names, each once.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        Clock::ALL.into_iter().zip(self.0).filter(|(_, found)| *found).map(|(clock, _)| clock.name())
    }
}

/// The text with a placeholder for each clock that is ignored.
pub(super) fn without(text: &str, ignores: impl Fn(Clock) -> bool, found: &mut Found) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let run = at..end_of(bytes, at, |byte| byte.is_ascii_alphanumeric());
        at = match clock_at(text, &run) {
            Some((clock, end)) => {
                if ignores(clock) {
                    found.0[clock as usize] = true;
                    out.push_str(&text[copied..run.start]);
                    out.push_str(clock.placeholder());
                    copied = end;
                }
                end
            }
            None => run.end,
        };
    }
    out.push_str(&text[copied..]);
    out
}

/// Bytes of a name, or of an identifier up to its first digit: a text of nothing else must not be looked at again and again.
const MAX_NAME_BYTES: usize = 32;

/// Parts of a duration, for the same reason.
const MAX_DURATION_PARTS: usize = 5;

/// The clock that begins with a run of letters and digits, and where it ends.
fn clock_at(text: &str, run: &Range<usize>) -> Option<(Clock, usize)> {
    let bytes = text.as_bytes();
    let mut joined = bytes[run.start..].iter().take(MAX_NAME_BYTES).take_while(|&&byte| is_part(byte));
    if !joined.any(u8::is_ascii_digit) {
        return None;
    }
    if let Some(end) = uuid(bytes, run.start) {
        return Some((Clock::Identifier, end));
    }
    let word = &bytes[run.clone()];
    if !word.iter().any(u8::is_ascii_digit) {
        return after_its_name(text, run);
    }
    dated(bytes, run)
        .or_else(|| time(bytes, run.start).map(|end| (Clock::Time, end)))
        .or_else(|| duration(bytes, run.start).map(|end| (Clock::Duration, end)))
        .or_else(|| is_made_up(word).then_some((Clock::Identifier, run.end)))
        .or_else(|| after_its_name(text, run))
}

fn end_of(bytes: &[u8], at: usize, is_part: impl Fn(u8) -> bool) -> usize {
    bytes[at..].iter().position(|&byte| !is_part(byte)).map_or(bytes.len(), |length| at + length)
}

/// Whether it is a part of a name or an identifier.
fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
}

/// Digits from a place on: their end and their value, if there are as many as these.
fn digits(bytes: &[u8], at: usize, many: Range<usize>) -> Option<(usize, u64)> {
    let end = end_of(bytes, at.min(bytes.len()), |byte| byte.is_ascii_digit());
    let digits = &bytes[at.min(bytes.len())..end];
    many.contains(&digits.len())
        .then(|| digits.iter().fold(0_u64, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))))
        .map(|value| (end, value))
}

fn uuid(bytes: &[u8], at: usize) -> Option<usize> {
    let shape = bytes.get(at..at + 36)?;
    let is_one = shape.iter().enumerate().all(|(place, byte)| match place {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (is_one && is_end(bytes, at + 36)).then_some(at + 36)
}

fn is_end(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

/// A date, with its time if it has one, or seconds since 1970 (of the years 2020 to 2036) and their parts.
fn dated(bytes: &[u8], run: &Range<usize>) -> Option<(Clock, usize)> {
    let (end, first) = digits(bytes, run.start, 1..20)?;
    if end == run.end {
        let many = end - run.start;
        let seconds = |digits: usize| first / 10_u64.pow(u32::try_from(digits - 10).unwrap_or(0));
        if matches!(many, 10 | 13 | 16 | 19) && (1_600_000_000..2_100_000_000).contains(&seconds(many)) {
            return Some((Clock::Time, fraction(bytes, end)));
        }
    }
    if let Some(end) = basic(bytes, run) {
        return Some((Clock::Time, end));
    }
    if let Some(end) = month_named(bytes, run.start, end, first) {
        return Some((Clock::Date, end));
    }
    let separator = *bytes.get(end).filter(|byte| b"-/.".contains(byte))?;
    let (end, second) = digits(bytes, end + 1, 1..3)?;
    bytes.get(end).filter(|&&byte| byte == separator)?;
    let (end, third) = digits(bytes, end + 1, 1..5)?;
    let is_year = |year: u64| (1_900..2_200).contains(&year);
    let is_day = |day: u64| (1..32).contains(&day);
    let is_date = is_day(second) && (is_year(first) && is_day(third) || is_day(first) && is_year(third));
    if !is_date {
        return None;
    }
    let at = match bytes.get(end) {
        Some(b'T' | b't' | b' ') => time(bytes, end + 1),
        _ => None,
    };
    match at {
        Some(end) => Some((Clock::Time, end)),
        None => is_end(bytes, end).then_some((Clock::Date, end)),
    }
}

/// `20261121T201304Z`.
fn basic(bytes: &[u8], run: &Range<usize>) -> Option<usize> {
    let word = &bytes[run.clone()];
    let is_one = matches!(word.len(), 15 | 16)
        && word.iter().enumerate().all(|(place, byte)| match place {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    is_one.then_some(run.end)
}

const MONTHS: &str = "January February March April May June July August September October November December";

/// `21 Nov 2026`, `Nov 21`.
fn month_named(bytes: &[u8], start: usize, end: usize, day: u64) -> Option<usize> {
    if !(1..32).contains(&day) || !is_end(bytes, end) {
        return None;
    }
    let is_month =
        |word: &[u8]| MONTHS.split(' ').any(|month| word == month.as_bytes() || word == &month.as_bytes()[..3]);
    if matches!(bytes.get(end), Some(b' ' | b'-')) {
        let month = end + 1..end_of(bytes, end + 1, |byte| byte.is_ascii_alphabetic());
        if is_month(&bytes[month.clone()]) {
            let year = bytes.get(month.end).filter(|byte| b" -".contains(byte));
            return Some(year.and_then(|_| digits(bytes, month.end + 1, 4..5)).map_or(month.end, |(end, _)| end));
        }
    }
    let before = &bytes[..start.checked_sub(1).filter(|&before| bytes[before] == b' ')?];
    let letters = before.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    is_month(&before[before.len() - letters..]).then_some(end)
}

/// `20:13:04.5`, `20:13`, each with its zone. Two numbers after a colon are a place in a file.
fn time(bytes: &[u8], at: usize) -> Option<usize> {
    let (end, _) = digits(bytes, at, 1..5)?;
    let hour_digits = end - at;
    bytes.get(end).filter(|&&byte| byte == b':')?;
    let (end, _) = digits(bytes, end + 1, 2..3).filter(|(_, minutes)| *minutes < 60)?;
    let seconds = match bytes.get(end) {
        Some(b':') => Some(digits(bytes, end + 1, 2..3).filter(|(_, seconds)| *seconds <= 60)?.0),
        _ => None,
    };
    let end = match seconds {
        Some(end) => fraction(bytes, end),
        None if hour_digits == 2 && !bytes[..at].ends_with(b":") => end,
        None => return None,
    };
    let end = match bytes.get(end) {
        Some(b'Z' | b'z') => end + 1,
        Some(b'+' | b'-') => {
            let zone = digits(bytes, end + 1, 2..5);
            zone.map_or(end, |(end, _)| match bytes.get(end) {
                Some(b':') => digits(bytes, end + 1, 2..3).map_or(end, |(end, _)| end),
                _ => end,
            })
        }
        _ => end,
    };
    is_end(bytes, end).then_some(end)
}

/// Where a number ends whose whole part ends here.
fn fraction(bytes: &[u8], end: usize) -> usize {
    match bytes.get(end) {
        Some(b'.' | b',') => digits(bytes, end + 1, 1..20).map_or(end, |(end, _)| end),
        _ => end,
    }
}

const UNITS: &str = "ns us µs μs ms s sec secs second seconds min mins minute minutes h hr hrs hour hours day days week \
                     weeks millis milliseconds microseconds nanoseconds";

/// These are units only beside another one: `5m` may be anything.
const SHORT: &str = "m d";

/// `12 ms`, `0.3s`, `1m 23s`.
fn duration(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut from, mut end, mut is_sure) = (at, None, false);
    for part in 0..MAX_DURATION_PARTS {
        let Some((number, _)) = digits(bytes, from, 1..20) else { break };
        let number = fraction(bytes, number);
        let unit = number + usize::from(bytes.get(number) == Some(&b' '));
        let unit = unit..end_of(bytes, unit, |byte| byte.is_ascii_alphabetic() || !byte.is_ascii());
        let is = |units: &str| units.split(' ').any(|name| name.as_bytes() == &bytes[unit.clone()]);
        if !(is(UNITS) || is(SHORT)) {
            break;
        }
        is_sure |= is(UNITS) || part > 0;
        end = Some(unit.end);
        from = unit.end + usize::from(bytes.get(unit.end) == Some(&b' '));
    }
    end.filter(|&end| is_sure && is_end(bytes, end))
}

/// Hexadecimal digits with letters among them, an address, or letters and digits that change places too often for a name.
fn is_made_up(word: &[u8]) -> bool {
    let is_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    if word.len() >= 8 && is_hex(word) && word.iter().any(u8::is_ascii_alphabetic) {
        return true;
    }
    if word.len() >= 6 && word.strip_prefix(b"0x").is_some_and(is_hex) {
        return true;
    }
    let changes = word.windows(2).filter(|two| two[0].is_ascii_digit() != two[1].is_ascii_digit()).count();
    word.len() >= 10 && changes >= 4
}

/// Names of what is counted in time.
const TIMED: [&str; 9] = ["elapsed", "duration", "took", "latency", "uptime", "time", "timestamp", "ts", "date"];

/// Ends of such names.
const TIMED_ENDS: [&str; 14] = [
    "_ms", "_us", "_ns", "_s", "_sec", "_secs", "_seconds", "_millis", "-ms", "_time", "Ms", "Millis", "Seconds",
    "Time",
];

/// Names of what is made anew each time, without signs between their words.
const ANEW: [&str; 10] =
    ["pid", "ppid", "tid", "requestid", "reqid", "traceid", "spanid", "correlationid", "sessionid", "nonce"];

/// A number or an identifier whose name stands before it: `pid 4711`, `"elapsed":3`, `request id: a-7`, `sshd[4711]:`.
fn after_its_name(text: &str, run: &Range<usize>) -> Option<(Clock, usize)> {
    let bytes = text.as_bytes();
    if bytes[..run.start].ends_with(b"[") && bytes[run.end..].starts_with(b"]:") {
        let is_program = run.start > 1 && bytes[run.start - 2].is_ascii_alphanumeric();
        return is_program.then_some((Clock::Identifier, run.end));
    }
    let name_end =
        run.start - bytes[..run.start].iter().rev().take(4).take_while(|byte| b" \"':=(#".contains(byte)).count();
    if name_end == run.start {
        return None;
    }
    let start_of =
        |end: usize| end - bytes[..end].iter().rev().take(MAX_NAME_BYTES).take_while(|&&byte| is_part(byte)).count();
    let mut start = start_of(name_end);
    if text[start..name_end].eq_ignore_ascii_case("id") && bytes[..start].ends_with(b" ") {
        start = start_of(start - 1);
    }
    let name = &text[start..name_end];
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|char| char.to_ascii_lowercase()).collect();
    // `rapid` is no name of a process.
    if ANEW.iter().any(|anew| plain == *anew || anew.len() > 4 && plain.ends_with(anew)) {
        return Some((Clock::Identifier, end_of(bytes, run.start, is_part)));
    }
    let is_timed = TIMED.contains(&plain.as_str()) || TIMED_ENDS.iter().any(|end| name.ends_with(end));
    let (end, _) = digits(bytes, run.start, 1..20)?;
    (is_timed && end == run.end).then(|| (Clock::Duration, fraction(bytes, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(text: &str) -> String {
        without(text, |_| true, &mut Found::default())
    }

    #[test]
    fn clocks_are_taken_out() {
        for (text, expected) in [
            ("at 2026-11-21T20:13:04.123Z.", "at <time>."),
            ("2026-11-21 20:13:04,5+02:00 ok", "<time> ok"),
            ("on 2026-11-21 or 21.11.2026 or 11/21/2026", "on <date> or <date> or <date>"),
            ("Sat, 21 Nov 2026 20:13:04 GMT", "Sat, <date> <time> GMT"),
            ("Mon Nov 30 18:30:29 UTC 2026", "Mon Nov <date> <time> UTC 2026"),
            ("November 3, backup-20261121T201304Z.tar", "November <date>, backup-<time>.tar"),
            ("20:13, 7:05:09, started:20:13:04", "<time>, <time>, started:<time>"),
            ("{\"ts\":1764527460,\"at\":1764527460123}", "{\"ts\":<time>,\"at\":<time>}"),
            ("1764527460.25 now", "<time> now"),
            ("in 12 ms, 0.34s, 3 minutes, 5µs", "in <duration>, <duration>, <duration>, <duration>"),
            ("real 0m0.003s, 1m 23s, 1h2m3s", "real <duration>, <duration>, <duration>"),
            (
                "{\"elapsed\":17,\"took_ms\":3,\"durationMs\":0.5}",
                "{\"elapsed\":<duration>,\"took_ms\":<duration>,\"durationMs\":<duration>}",
            ),
            ("id 9f1c22de-33ab-4e00-8c1d-0123456789ab!", "id <id>!"),
            ("etag 9f86d081884c7d65, at 0x7ffd1234", "etag <id>, at <id>"),
            ("req_011CSHoEeqs5C35K2UUqR7Fy, 01m7zvvc75", "req_<id>, <id>"),
            ("pid 4711, PID: 4712, pid=4713, \"pid\":4714", "pid <id>, PID: <id>, pid=<id>, \"pid\":<id>"),
            (
                "request id: a-7; X-Request-Id: 99; \"requestId\":\"r7\"",
                "request id: <id>; X-Request-Id: <id>; \"requestId\":\"<id>\"",
            ),
            ("sshd[4711]: accepted", "sshd[<id>]: accepted"),
        ] {
            assert_eq!(bare(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_counts_or_names_something_stays() {
        for text in [
            "",
            "12 of 80 done, 15 %, 3/5, 1.5 MB",
            "page 17, line 3, item 4711, items: 12, terms 3",
            "{\"id\":17,\"n\":1,\"total\":80,\"status\":\"running\"}",
            "src/a.rs:12:30: expected, a.txt:7:1",
            "version 1.2.3, 10.0.0.17, x86_64, sha256, utf8",
            "chunk00017, file-2.txt, page17of80, 5m rows, 3d",
            "123456789 bytes, 4000000000",
            "a face, deadbeef, may 5 files, a[17], row[3], Decoded 12 of 80, rapid 3",
            "the session id is missing, no pid file",
            "wütend 3 Äpfel, 我 3 次",
        ] {
            assert_eq!(bare(text), text);
        }
    }

    #[test]
    fn any_text_is_taken_in_time_that_grows_with_it() {
        let texts = [
            "20:",
            "1:2:",
            "2026-",
            "2026-11-",
            "0x",
            "1 ",
            "9 µ",
            "12 é",
            "[1]:",
            ": 7",
            "Nov 1",
            " 1",
            "a_",
            "1s ",
            "1s1",
            "request id: a-",
            "99999999999999999999999",
        ];
        for text in texts {
            for cut in (0..=text.len()).filter(|&cut| text.is_char_boundary(cut)) {
                bare(&text[..cut]);
                bare(&text[cut..]);
            }
            // Minutes, if each part of it led to a look at the rest.
            bare(&text.repeat(300_000 / text.len()));
        }
    }
}
