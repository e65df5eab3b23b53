//! A provider's usage object as it grows over a stream: a snapshot, never a sum.
//!
//! Never: knows a dialect's field names, adds up chunks. Invariants: the last value of a field wins, an absent field is
//! not zero, and a number that is no `u64` makes the field unknown instead of wrapping, rounding or becoming zero.

use serde_json::{Map, Value};

/// Bytes of the object that the journal keeps; a provider could otherwise fill it.
const LONGEST_RAW: usize = 4096;

#[derive(Debug, Default)]
pub struct UsageSnapshot {
    fields: Map<String, Value>,
}

impl UsageSnapshot {
    /// Takes over every field that `usage` states. `null` states nothing; what is no object makes all unknown.
    pub fn merge(&mut self, usage: Value) {
        match usage {
            Value::Object(fields) => self.fields.extend(fields.into_iter().filter(|(_, value)| !value.is_null())),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => self.fields.clear(),
        }
    }

    /// A count that must be there.
    pub fn count(&self, field: &str) -> Option<u64> {
        self.fields.get(field)?.as_u64()
    }

    /// A count that providers leave out when there is nothing to count. `None`: stated, but unreadable.
    pub fn count_if_any(&self, field: &str) -> Option<u64> {
        self.fields.get(field).map_or(Some(0), Value::as_u64)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(usages: &[Value]) -> UsageSnapshot {
        let mut snapshot = UsageSnapshot::default();
        usages.iter().for_each(|usage| snapshot.merge(usage.clone()));
        snapshot
    }

    #[test]
    fn the_last_value_of_each_field_wins_and_nothing_is_summed() {
        let usage = snapshot(&[json!({"in": 5, "out": 1}), Value::Null, json!({"in": null, "out": 3})]);
        assert_eq!((usage.count("in"), usage.count("out")), (Some(5), Some(3)));
    }

    #[test]
    fn absent_is_not_zero_and_zero_is_not_absent() {
        let usage = snapshot(&[json!({"in": 0})]);
        assert_eq!((usage.count("in"), usage.count("out")), (Some(0), None));
        assert_eq!(usage.count_if_any("cached"), Some(0));
    }

    #[test]
    fn a_number_past_32_bits_is_read_and_one_past_64_bits_is_unknown() {
        let usage: Value =
            serde_json::from_str(r#"{"a":5000000000,"b":18446744073709551616,"c":-1,"d":1.5,"e":"7"}"#).unwrap();
        let usage = snapshot(&[json!({"b": 1, "c": 1, "d": 1, "e": 1}), usage]);
        assert_eq!(usage.count("a"), Some(5_000_000_000));
        for field in ["b", "c", "d", "e"] {
            assert_eq!((usage.count(field), usage.count_if_any(field)), (None, None), "{field}");
        }
    }

    #[test]
    fn a_usage_that_is_no_object_makes_all_unknown() {
        assert_eq!(snapshot(&[json!({"in": 5}), json!(7)]).count("in"), None);
    }

    #[test]
    fn the_raw_object_is_kept_up_to_4_kib() {
        assert_eq!(snapshot(&[]).into_raw(), None);
        assert_eq!(snapshot(&[json!({"in": 5})]).into_raw().unwrap(), r#"{"in":5}"#);
        let long = snapshot(&[json!({"note": "ä".repeat(4096)})]).into_raw().unwrap();
        assert!(long.len() <= 4096 && long.len() > 4090);
    }
}
