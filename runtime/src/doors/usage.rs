//! A provider's usage object as it grows over a stream: the largest of what was said, never a sum.
//!
//! Never: knows a dialect's field names, adds up chunks. Invariants: a later zero, `null` or smaller number never undoes a
//! count; an absent field is not zero; a number that is no `u64` makes the field unreadable instead of wrapping, rounding or
//! becoming zero.

use serde_json::{Map, Value};

/// Bytes of the object that the journal keeps; a provider could otherwise fill it.
const LONGEST_RAW: usize = 4096;

/// Objects below each other that are looked into.
const MAX_DEPTH: usize = 4;

/// What a usage says of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Absent,
    Is(u64),
    /// It is there and is no whole number: nobody knows.
    Unreadable,
}

impl Count {
    /// The count, or none; what is absent counts as `absent`.
    pub fn or(self, absent: u64) -> Option<u64> {
        match self {
            Count::Absent => Some(absent),
            Count::Is(count) => Some(count),
            Count::Unreadable => None,
        }
    }
}

/// What was said of usage so far.
#[derive(Debug, Default)]
pub struct UsageSnapshot {
    fields: Map<String, Value>,
}

impl UsageSnapshot {
    /// Takes over what `usage` states. `null` states nothing; what is no object makes all unknown.
    pub fn merge(&mut self, usage: &Value) {
        match usage {
            Value::Object(fields) => merge(&mut self.fields, fields, MAX_DEPTH),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => self.fields.clear(),
        }
    }

    /// Whether nothing was said of it.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The largest count at one of these places, as JSON pointers. Unreadable, if it is so at one of them.
    pub fn largest(&self, places: &[&str]) -> Count {
        let at = |place: &&str| self.at(place);
        places.iter().map(at).fold(Count::Absent, |most, count| match (most, count) {
            (Count::Unreadable, _) | (_, Count::Unreadable) => Count::Unreadable,
            (Count::Absent, other) | (other, Count::Absent) => other,
            (Count::Is(one), Count::Is(other)) => Count::Is(one.max(other)),
        })
    }

    fn at(&self, place: &str) -> Count {
        let mut names = place.split('/').skip(1);
        let mut found = names.next().and_then(|name| self.fields.get(name));
        for name in names {
            found = found.and_then(|value| value.get(name));
        }
        match found {
            None | Some(Value::Null) => Count::Absent,
            Some(value) => number(value).map_or(Count::Unreadable, Count::Is),
        }
    }

    /// The object for the journal, cut at 4 KiB. `None` if the provider stated nothing.
    pub fn into_raw(self) -> Option<String> {
        if self.fields.is_empty() {
            return None;
        }
        let mut raw = Value::Object(self.fields).to_string();
        raw.truncate(raw.floor_char_boundary(LONGEST_RAW));
        Some(raw)
    }
}

fn merge(known: &mut Map<String, Value>, said: &Map<String, Value>, depth: usize) {
    for (name, value) in said {
        match (known.get_mut(name), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(known)), Value::Object(said)) if depth > 0 => merge(known, said, depth - 1),
            (Some(before), _) => match (number(before), number(value)) {
                (Some(one), Some(other)) if one >= other => {}
                _ => *before = value.clone(),
            },
            (None, _) => drop(known.insert(name.clone(), value.clone())),
        }
    }
}

/// A whole number, also one that was written as text or with a fraction of zero.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and within 0 and 2^53")]
fn whole(number: f64) -> Option<u64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    ((0.0..=EXACT).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(usages: &[Value]) -> UsageSnapshot {
        let mut snapshot = UsageSnapshot::default();
        usages.iter().for_each(|usage| snapshot.merge(usage));
        snapshot
    }

    #[test]
    fn the_largest_value_of_each_field_holds_and_nothing_is_summed() {
        let usage = snapshot(&[
            json!({"in": 5, "out": 1, "details": {"cached": 3}}),
            Value::Null,
            json!({"in": null, "out": 3, "details": {"cached": 0, "other": 2}}),
            json!({"in": 0, "out": 2}),
        ]);
        let counts = ["/in", "/out", "/details/cached", "/details/other"].map(|place| usage.largest(&[place]));
        assert_eq!(counts, [5, 3, 3, 2].map(Count::Is));
        assert_eq!(usage.largest(&["/in", "/out", "/none"]), Count::Is(5));
    }

    #[test]
    fn absent_is_not_zero_and_zero_is_not_absent() {
        let usage = snapshot(&[json!({"in": 0, "cached": null})]);
        assert_eq!((usage.largest(&["/in"]), usage.largest(&["/out"])), (Count::Is(0), Count::Absent));
        assert_eq!((usage.largest(&["/cached"]), usage.largest(&["/in/deep"])), (Count::Absent, Count::Absent));
        assert_eq!((Count::Absent.or(7), Count::Is(0).or(7), Count::Unreadable.or(7)), (Some(7), Some(0), None));
    }

    #[test]
    fn a_number_may_be_text_and_one_past_64_bits_below_zero_or_with_a_fraction_is_unreadable() {
        let usage: Value = serde_json::from_str(
            r#"{"a":5000000000,"b":"7","c":8.0,"d":18446744073709551616,"e":-1,"f":1.5,"g":"many","h":"-1","i":[1],"j":true}"#,
        )
        .unwrap();
        let ones: Value = "bcdefghij".chars().map(|name| (name.to_string(), json!(1))).collect::<Map<_, _>>().into();
        let usage = snapshot(&[ones, usage]);
        let counts = ["/a", "/b", "/c"].map(|place| usage.largest(&[place]));
        assert_eq!(counts, [5_000_000_000, 7, 8].map(Count::Is));
        for place in ["/d", "/e", "/f", "/g", "/h", "/i", "/j"] {
            assert_eq!(usage.largest(&[place]), Count::Unreadable, "{place}");
            assert_eq!(usage.largest(&["/a", place]), Count::Unreadable, "{place}");
        }
    }

    #[test]
    fn a_usage_that_is_no_object_makes_all_unknown() {
        assert_eq!(snapshot(&[json!({"in": 5}), json!(7)]).largest(&["/in"]), Count::Absent);
    }

    #[test]
    fn the_raw_object_is_kept_up_to_4_kib() {
        assert_eq!(snapshot(&[]).into_raw(), None);
        assert_eq!(snapshot(&[json!({"in": 5})]).into_raw().unwrap(), r#"{"in":5}"#);
        let long = snapshot(&[json!({"note": "ä".repeat(4096)})]).into_raw().unwrap();
        assert!(long.len() <= 4096 && long.len() > 4090);
    }
}
