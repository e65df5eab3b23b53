//! A number with a unit and a range, as a key of a file holds it.
//!
//! Never: rounds, clamps, or takes a number without its unit. What was probably meant is told, not assumed.

use toml::Spanned;
use toml::de::DeValue;

use super::kinds::{Kind, Wrong, type_of, wrong};
use crate::rules::units;

/// The unit of an [`Amount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Count,
    /// Read as milliseconds.
    Duration,
    /// Read as bytes.
    Size,
    /// Read as millionths of a dollar.
    Usd,
    /// Read as thousandths.
    Factor,
}

impl Unit {
    fn show(self, amount: u64) -> String {
        match self {
            Unit::Count => amount.to_string(),
            Unit::Duration => units::show_duration(amount),
            Unit::Size => units::show_size(amount),
            Unit::Usd => units::show_usd(amount),
            Unit::Factor => units::show_factor(amount),
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Unit::Count => "a whole number",
            Unit::Duration => "a duration",
            Unit::Size => "a size",
            Unit::Usd => "dollars",
            Unit::Factor => "a factor",
        }
    }

    fn form(self) -> &'static str {
        match self {
            Unit::Count => "a whole number",
            Unit::Duration => "a whole number and ms, s, m or h in quotes",
            Unit::Size => "a whole number and B, KiB, MiB or GiB in quotes",
            Unit::Usd => "dollars in quotes with at most 6 decimals",
            Unit::Factor => "a number in quotes with at most 3 decimals",
        }
    }

    fn parse(self, text: &str) -> Result<u64, units::UnitError> {
        match self {
            // A count is an integer of TOML, never a text.
            Unit::Count => Err(units::UnitError::NoNumber),
            Unit::Duration => units::duration_ms(text),
            Unit::Size => units::size_bytes(text),
            Unit::Usd => units::micro_usd(text),
            Unit::Factor => units::factor_milli(text),
        }
    }

    /// What a bare number was probably meant to be, in quotes.
    fn guess(self, number: &str) -> Option<String> {
        let text = match self {
            Unit::Count => return None,
            Unit::Duration => format!("{number}s"),
            Unit::Size => format!("{number}B"),
            Unit::Usd | Unit::Factor => number.to_owned(),
        };
        self.parse(&text).ok().map(|_| format!("{text:?}"))
    }
}

/// A number with a unit and a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount {
    pub unit: Unit,
    pub least: u64,
    pub most: u64,
}

impl Amount {
    pub(super) const fn new(unit: Unit, least: u64, most: u64) -> Self {
        Self { unit, least, most }
    }

    /// An amount as it is written into a file.
    pub(super) fn written(&self, amount: u64) -> String {
        let shown = self.unit.show(amount);
        if self.unit == Unit::Count { shown } else { format!("{shown:?}") }
    }

    /// Why it cannot be the amount of a job of the past, if it cannot.
    pub(super) fn outside(&self, key: &str, amount: u64) -> Option<String> {
        let [asked, least, most] = [amount, self.least, self.most].map(|amount| self.unit.show(amount));
        let inside = (self.least..=self.most).contains(&amount);
        (!inside).then(|| format!("{key} is {asked} in the run, and may be from {least} to {most}"))
    }

    fn number(&self, value: &Spanned<DeValue<'_>>) -> Result<u64, Wrong> {
        let because = |problem: String, fix: Option<String>| Wrong {
            span: value.span(),
            problem,
            label: format!("not {}", self.unit.noun()),
            fix,
        };
        let raw = value.get_ref();
        if self.unit == Unit::Count {
            let Some(integer) = raw.as_integer() else {
                let fix = raw.as_str().and_then(|text| text.parse::<u64>().ok()).map(|number| number.to_string());
                return Err(because(format!("is {}", type_of(raw)), fix));
            };
            if integer.as_str().starts_with('-') {
                return Err(because("is negative".to_owned(), None));
            }
            return u64::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_| because(units::UnitError::TooLarge.to_string(), None));
        }
        match raw.as_str() {
            Some(text) => self.unit.parse(text).map_err(|error| because(error.to_string(), self.unit.guess(text))),
            None => {
                let number = raw.as_integer().map(|number| number.as_str()).or(raw.as_float().map(|it| it.as_str()));
                Err(because(format!("is {}", type_of(raw)), number.and_then(|number| self.unit.guess(number))))
            }
        }
    }
}

impl Kind for Amount {
    type Value = u64;

    fn allowed(&self) -> String {
        let show = |amount| self.unit.show(amount);
        format!("{}, from {} to {}", self.unit.form(), show(self.least), show(self.most))
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<u64, Vec<Wrong>> {
        let number = self.number(value).map_err(|wrong| vec![wrong])?;
        if number < self.least {
            return wrong(value, format!("is below {}", self.unit.show(self.least)), "too small");
        }
        if number > self.most {
            return wrong(value, format!("is above {}", self.unit.show(self.most)), "too large");
        }
        Ok(number)
    }

    fn show(&self, value: &u64) -> String {
        self.unit.show(*value)
    }
}
