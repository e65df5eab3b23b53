//! A provider's usage object as it grows over a stream: the largest of what was said, never a sum.
//!
//! Never: knows a dialect's names of counts, adds up chunks. Invariants: a later zero, `null`, smaller number or other type never
//! undoes a count; an absent field is not zero; a number that is no `u64` makes the field unreadable for good instead of
//! wrapping, rounding or becoming zero.

use serde_json::{Map, Value};

use super::json::is_said;

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
    /// The same, or `least`, if that is more; no count of zero says anything.
    pub fn at_least(self, least: u64) -> Self {
        match self {
            Self::Absent if least == 0 => Self::Absent,
            Self::Absent => Self::Is(least),
            Self::Is(count) => Self::Is(count.max(least)),
            Self::Unreadable => Self::Unreadable,
        }
    }

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
    /// A usage that is no object came once: the counts are unknown.
    is_unreadable: bool,
}

/// What servers say of usage beside it, as llama.cpp and Bedrock do. It stands below its name here.
const BESIDE: [&str; 2] = ["timings", "amazon-bedrock-invocationMetrics"];

/// Bedrock's counts, each part of the input apart: fresh, read from a cache, written into one. See
/// <https://github.com/langchain-ai/langchain/issues/14120>.
pub const METRICS_IN: [&str; 3] = [
    "/amazon-bedrock-invocationMetrics/inputTokenCount",
    "/amazon-bedrock-invocationMetrics/cacheReadInputTokenCount",
    "/amazon-bedrock-invocationMetrics/cacheWriteInputTokenCount",
];
pub const METRICS_OUT: &str = "/amazon-bedrock-invocationMetrics/outputTokenCount";

/// Counts of llama.cpp, of what it did and of what it had: see <https://github.com/ggml-org/llama.cpp/pull/15827>.
pub const TIMED_IN: [&str; 2] = ["/timings/prompt_n", "/timings/cache_n"];
pub const TIMED_OUT: &str = "/timings/predicted_n";

/// The sum of counts that stand apart. `None`: one of them cannot be read.
pub fn metered(usage: &UsageSnapshot, apart: &[&str]) -> Option<u64> {
    apart.iter().try_fold(0_u64, |sum, place| sum.checked_add(usage.largest(&[place]).or(0)?))
}

/// What usage is found in, besides what came itself.
const AROUND: [&str; 5] = ["message", "delta", "choices", "x_groq", "response"];

impl UsageSnapshot {
    /// Takes over what an answer, or an event of it, states of usage wherever servers put it. Whether it states any.
    pub fn take(&mut self, said: &Value) -> bool {
        self.take_at(said, MAX_DEPTH)
    }

    fn take_at(&mut self, said: &Value, depth: usize) -> bool {
        let mut has_usage = is_said(&said["usage"]);
        self.merge(&said["usage"]);
        for name in BESIDE {
            if let Some(Value::Object(counts)) = said.get(name).filter(|counts| is_said(counts)) {
                let below = Map::from_iter([(name.to_owned(), Value::Object(counts.clone()))]);
                merge(&mut self.fields, &below, MAX_DEPTH);
                has_usage = true;
            }
        }
        if depth > 0 {
            for around in AROUND.iter().filter_map(|name| said.get(name)) {
                let each = around.as_array().map_or(std::slice::from_ref(around), Vec::as_slice);
                for said in each.iter().filter(|said| said.is_object()) {
                    has_usage |= self.take_at(said, depth - 1);
                }
            }
        }
        has_usage
    }

    /// Takes over what `usage` states. What is empty states nothing; what is no object makes all unknown.
    pub fn merge(&mut self, usage: &Value) {
        match usage {
            Value::Object(fields) => merge(&mut self.fields, fields, MAX_DEPTH),
            other => self.is_unreadable |= is_said(other),
        }
    }

    /// Whether nothing was said of it.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && !self.is_unreadable
    }

    /// The usages in a list within it.
    pub fn each(&self, name: &str) -> Vec<Self> {
        let list = self.fields.get(name).map_or(&[][..], super::json::list);
        let fields = list.iter().filter_map(Value::as_object);
        fields.map(|fields| Self { fields: fields.clone(), is_unreadable: false }).collect()
    }

    /// The largest count at one of these places, as JSON pointers. Unreadable, if it is so at one of them.
    pub fn largest(&self, places: &[&str]) -> Count {
        if self.is_unreadable {
            return Count::Unreadable;
        }
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
    for (name, value) in said.iter().filter(|(_, value)| is_said(value)) {
        match known.get_mut(name) {
            Some(before) => merge_one(before, value, depth),
            None => drop(known.insert(name.clone(), value.clone())),
        }
    }
}

fn merge_one(before: &mut Value, value: &Value, depth: usize) {
    match (before, value) {
        (_, value) if !is_said(value) => {}
        (before, _) if !is_said(before) => *before = value.clone(),
        (Value::Object(known), Value::Object(said)) if depth > 0 => merge(known, said, depth - 1),
        (Value::Array(known), Value::Array(said)) if depth > 0 => {
            known.iter_mut().zip(said).for_each(|(before, value)| merge_one(before, value, depth - 1));
            known.extend(said.iter().skip(known.len()).cloned());
        }
        (Value::Object(_) | Value::Array(_), _) => {}
        (before, Value::Object(_) | Value::Array(_)) => *before = value.clone(),
        (before, _) => match (number(before), number(value)) {
            // What could not be read once is not known any more.
            (None, _) => {}
            (Some(one), Some(other)) if one >= other => {}
            (Some(_), _) => *before = value.clone(),
        },
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
            json!({"in": null, "out": 3, "details": {"cached": 0, "other": 2, "late": null}}),
            json!({"in": 0, "out": 2, "details": {"late": 4}}),
        ]);
        assert_eq!(usage.largest(&["/details/late"]), Count::Is(4));
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
        for usage in [json!(7), json!("many"), json!(true), json!([1])] {
            let usage = snapshot(&[json!({"in": 5}), usage, json!({"in": 3})]);
            assert_eq!((usage.largest(&["/in"]), usage.is_empty()), (Count::Unreadable, false));
        }
        for nothing in [json!(null), json!(""), json!(false), json!([]), json!({})] {
            let usage = snapshot(&[json!({"in": 5}), nothing]);
            assert_eq!(usage.largest(&["/in"]), Count::Is(5));
        }
    }

    #[test]
    fn a_count_of_another_type_is_never_known_again_and_loses_nothing_below_it() {
        let usage = |usages: &[Value]| ["/in", "/details/deep"].map(|place| snapshot(usages).largest(&[place]));
        let [many, unknown] = [json!({"in": 50, "details": {"deep": 9}}), json!({"in": "many", "details": 7})];
        let few = json!({"in": 7, "details": {"deep": 2}});
        for usages in [[&many, &unknown, &few], [&unknown, &many, &few], [&few, &many, &unknown]] {
            assert_eq!(usage(&usages.map(Value::clone)), [Count::Unreadable, Count::Is(9)]);
        }
    }

    #[test]
    fn usage_is_found_around_and_beside_and_in_lists() {
        let mut usage = UsageSnapshot::default();
        for said in [
            json!({"message": {"usage": {"in": 1}}}),
            json!({"choices": [{"usage": {"in": 2}}, {"delta": {"usage": {"in": 9}}}]}),
            json!({"timings": {"predicted_n": 4}, "usage": {"each": [{"in": 3}, {"in": 1}]}}),
            json!({"usage": {"each": [{"in": 1}, {"in": 5}, null]}}),
        ] {
            assert!(usage.take(&said), "{said}");
        }
        assert!(!usage.take(&json!({"usage": null, "choices": [{"arguments": {"usage": {"in": 99}}}]})));
        assert_eq!((usage.largest(&["/in"]), usage.largest(&["/timings/predicted_n"])), (Count::Is(9), Count::Is(4)));
        let each: Vec<Count> = usage.each("each").iter().map(|usage| usage.largest(&["/in"])).collect();
        assert_eq!(each, [Count::Is(3), Count::Is(5)]);
    }

    #[test]
    fn the_raw_object_is_kept_up_to_4_kib() {
        assert_eq!(snapshot(&[]).into_raw(), None);
        assert_eq!(snapshot(&[json!({"in": 5})]).into_raw().unwrap(), r#"{"in":5}"#);
        let long = snapshot(&[json!({"note": "ä".repeat(4096)})]).into_raw().unwrap();
        assert!(long.len() <= 4096 && long.len() > 4090);
    }
}
