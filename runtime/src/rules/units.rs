//! Amounts as people write them: durations, sizes, dollars, factors. Text in, integers out, and back again.
//!
//! Never: a float, a guess at a unit, rounding. What is shown reads back as the same amount.

use thiserror::Error;

/// Why a text is not an amount. Completes "`budget.wall` ...".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnitError {
    /// A number must come first: no sign, no point, no words.
    #[error("does not start with a whole number")]
    NoNumber,
    /// A number alone could be anything.
    #[error("has no unit")]
    NoUnit,
    /// A unit that is not in the list.
    #[error("has the unknown unit {0:?}")]
    UnknownUnit(String),
    /// Neither `12` nor `12.34`.
    #[error("is not a decimal number")]
    NotDecimal,
    /// More digits after the point than are kept.
    #[error("has more than {0} decimals")]
    TooFine(usize),
    /// Past what a `u64` holds.
    #[error("is larger than any amount")]
    TooLarge,
}

/// Largest first, so that what is shown is short. Milliseconds.
const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Largest first. Bytes. Only powers of 1024: `KB` means two things.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Decimals of a dollar that are kept: millionths.
const DOLLAR_DECIMALS: usize = 6;

/// Decimals of a factor that are kept: thousandths.
const FACTOR_DECIMALS: usize = 3;

/// Milliseconds of `250ms`, `60s`, `5m` or `1h`.
pub fn duration_ms(text: &str) -> Result<u64, UnitError> {
    with_unit(text, &DURATIONS)
}

/// Bytes of `512B`, `64KiB`, `1MiB` or `2GiB`.
pub fn size_bytes(text: &str) -> Result<u64, UnitError> {
    with_unit(text, &SIZES)
}

/// Millionths of a dollar of `10`, `0.25` or `$0.25`.
pub fn micro_usd(text: &str) -> Result<u64, UnitError> {
    decimal(text.strip_prefix('$').unwrap_or(text), DOLLAR_DECIMALS)
}

/// Thousandths of `3` or `1.5`.
pub fn factor_milli(text: &str) -> Result<u64, UnitError> {
    decimal(text, FACTOR_DECIMALS)
}

/// A duration in the largest unit that shows it exactly.
pub fn show_duration(ms: u64) -> String {
    show_with_unit(ms, &DURATIONS, "0s")
}

/// A size in the largest unit that shows it exactly.
pub fn show_size(bytes: u64) -> String {
    show_with_unit(bytes, &SIZES, "0B")
}

/// A size as people compare them: one decimal of the largest unit of which there is one, cut, not rounded. It does not read
/// back.
pub fn show_about(bytes: u64) -> String {
    match SIZES.iter().find(|(_, scale)| *scale > 1 && bytes >= *scale) {
        Some((unit, scale)) => match bytes % scale * 10 / scale {
            0 => format!("{}{unit}", bytes / scale),
            tenth => format!("{}.{tenth}{unit}", bytes / scale),
        },
        None => format!("{bytes}B"),
    }
}

/// Dollars with at least two decimals.
pub fn show_usd(micro_usd: u64) -> String {
    format!("${}", show_decimal(micro_usd, DOLLAR_DECIMALS, 2))
}

/// A factor with at least one decimal.
pub fn show_factor(milli: u64) -> String {
    show_decimal(milli, FACTOR_DECIMALS, 1)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::NoNumber);
    }
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    let (_, scale) =
        units.iter().find(|(name, _)| *name == unit).ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))?;
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(*scale)).ok_or(UnitError::TooLarge)
}

fn show_with_unit(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    let fits = |(_, scale): &&(&str, u64)| amount != 0 && amount.is_multiple_of(*scale);
    units.iter().find(fits).map_or(zero.to_owned(), |(unit, scale)| format!("{}{unit}", amount / scale))
}

fn decimal(text: &str, decimals: usize) -> Result<u64, UnitError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(UnitError::NotDecimal);
    }
    if fraction.len() > decimals {
        return Err(UnitError::TooFine(decimals));
    }
    format!("{whole}{fraction:0<decimals$}").parse().map_err(|_| UnitError::TooLarge)
}

fn show_decimal(amount: u64, decimals: usize, at_least: usize) -> String {
    let digits = format!("{amount:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let kept = fraction.trim_end_matches('0').len().max(at_least);
    format!("{whole}.{}", &fraction[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, ms) in [("250ms", 250), ("60s", 60_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for (text, why) in [
            ("", UnitError::NoNumber),
            ("s", UnitError::NoNumber),
            ("-1s", UnitError::NoNumber),
            ("60", UnitError::NoUnit),
            ("60 s", UnitError::UnknownUnit(" s".into())),
            ("60sec", UnitError::UnknownUnit("sec".into())),
            ("1.5s", UnitError::UnknownUnit(".5s".into())),
            ("1m30s", UnitError::UnknownUnit("m30s".into())),
            ("18446744073709551616ms", UnitError::TooLarge),
            ("18446744073709552s", UnitError::TooLarge),
        ] {
            assert_eq!(duration_ms(text), Err(why), "{text}");
        }
        assert_eq!(duration_ms("18446744073709551615ms"), Ok(u64::MAX));
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(size_bytes(text), Ok(bytes), "{text}");
        }
        for unit in ["KB", "kib", "K", "TiB"] {
            assert_eq!(size_bytes(&format!("1{unit}")), Err(UnitError::UnknownUnit(unit.into())));
        }
    }

    #[test]
    fn dollars_are_exact_to_a_millionth() {
        for (text, micro) in [
            ("0", 0),
            ("10", 10_000_000),
            ("0.25", 250_000),
            ("$0.25", 250_000),
            ("2.50", 2_500_000),
            ("0.000001", 1),
            ("0.1", 100_000),
            ("18446744073709.551615", u64::MAX),
        ] {
            assert_eq!(micro_usd(text), Ok(micro), "{text}");
        }
        for text in ["", "$", ".5", "5.", "-1", "1e3", "1,000", "0.2.5", "$$1", " 1", "\u{661}"] {
            assert_eq!(micro_usd(text), Err(UnitError::NotDecimal), "{text}");
        }
        assert_eq!(micro_usd("0.0000001"), Err(UnitError::TooFine(6)));
        assert_eq!(micro_usd("18446744073709.551616"), Err(UnitError::TooLarge));
    }

    #[test]
    fn factors_are_exact_to_a_thousandth() {
        assert_eq!(factor_milli("1.0"), Ok(1_000));
        assert_eq!(factor_milli("3"), Ok(3_000));
        assert_eq!(factor_milli("1.125"), Ok(1_125));
        assert_eq!(factor_milli("1.0625"), Err(UnitError::TooFine(3)));
        assert_eq!(factor_milli("$1"), Err(UnitError::NotDecimal));
    }

    #[test]
    fn amounts_are_shown_short() {
        assert_eq!(show_duration(90_000), "90s");
        assert_eq!(show_duration(3_600_000), "1h");
        assert_eq!(show_duration(0), "0s");
        assert_eq!(show_size(64 << 20), "64MiB");
        assert_eq!(show_size(1_025), "1025B");
        assert_eq!(show_size(0), "0B");
        assert_eq!([show_about(1_023), show_about(1 << 10), show_about(73_100)], ["1023B", "1KiB", "71.3KiB"]);
        assert_eq!([show_about(662_560_608), show_about(u64::MAX)], ["631.8MiB", "17179869183.9GiB"]);
        assert_eq!(show_usd(250_000), "$0.25");
        assert_eq!(show_usd(1), "$0.000001");
        assert_eq!(show_usd(2_000_000), "$2.00");
        assert_eq!(show_factor(1_500), "1.5");
        assert_eq!(show_factor(3_000), "3.0");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(amount: u64) {
            prop_assert_eq!(duration_ms(&show_duration(amount)), Ok(amount));
            prop_assert_eq!(size_bytes(&show_size(amount)), Ok(amount));
            prop_assert_eq!(micro_usd(&show_usd(amount)), Ok(amount));
            prop_assert_eq!(factor_milli(&show_factor(amount)), Ok(amount));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (duration_ms(&text), size_bytes(&text), micro_usd(&text), factor_milli(&text));
        }
    }
}
