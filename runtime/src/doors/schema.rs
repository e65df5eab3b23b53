//! JSON schemas that a guest asks a reply to match.
//!
//! Never: follows a reference out of the schema (there is no resolver), backtracks in a pattern (linear engine), does
//! more work than the schema's size shows. Two references to a definition with two references double the work with
//! every line, and nothing stops host code that works: so a schema is weighed with its references written out, and
//! one that refers to itself has no weight. The text's size is capped by policy before it comes here.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Values of a schema with all references written out. A schema of 64 KiB has about 10,000.
const MAX_WEIGHT: u64 = 20_000;

/// Patterns of a schema, each of which is compiled.
const MAX_PATTERNS: u64 = 64;

/// Bytes of one compiled pattern, and of the cache that it is run with.
const MAX_PATTERN_BYTES: usize = 256 << 10;

/// Nested references: each is a frame of the host's stack for every level of the reply.
const MAX_NESTED_REFERENCES: usize = 32;

/// A schema that compiled.
pub struct Schema(Validator);

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?;
        Weight { root: &value, total: 0, patterns: 0, references: Vec::new() }.add(&value)?;
        let patterns =
            PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
        jsonschema::options()
            .with_pattern_options(patterns)
            .build(&value)
            .map(Self)
            .map_err(|error| format!("the schema does not compile: {}", cut(&error.to_string())))
    }

    /// Whether `text` is JSON that matches.
    ///
    /// # Errors
    /// A sentence about the first thing that does not.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let value = serde_json::from_str(text).map_err(|error| format!("the reply is not JSON: {error}"))?;
        self.0
            .validate(&value)
            .map_err(|error| format!("at {}: {}", cut(error.instance_path().as_str()), cut(&error.to_string())))
    }
}

/// An error quotes the schema and the reply, which may be long.
fn cut(text: &str) -> String {
    text.chars().take(500).collect()
}

/// What a schema is worth in work.
struct Weight<'a> {
    root: &'a Value,
    total: u64,
    patterns: u64,
    /// The references that are being followed, outermost first.
    references: Vec<&'a str>,
}

impl<'a> Weight<'a> {
    fn add(&mut self, value: &'a Value) -> Result<(), String> {
        self.total += 1;
        if self.total > MAX_WEIGHT {
            return Err(format!("the schema has more than {MAX_WEIGHT} parts with its references written out"));
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
            Value::Array(parts) => parts.iter().try_for_each(|part| self.add(part)),
            Value::Object(parts) => parts.iter().try_for_each(|(key, part)| self.member(key, part)),
        }
    }

    fn member(&mut self, key: &str, part: &'a Value) -> Result<(), String> {
        self.patterns += match (key, part) {
            ("pattern", _) => 1,
            ("patternProperties", Value::Object(patterns)) => patterns.len() as u64,
            _ => 0,
        };
        if self.patterns > MAX_PATTERNS {
            return Err(format!("the schema has more than {MAX_PATTERNS} patterns with its references written out"));
        }
        match (key, part) {
            // A name would change what a reference below it means.
            ("$dynamicRef" | "$recursiveRef", _) | ("$id" | "id", Value::String(_)) => {
                Err(format!("the schema uses {key}, which is not served"))
            }
            ("$ref", Value::String(reference)) => self.follow(reference),
            _ => self.add(part),
        }
    }

    fn follow(&mut self, reference: &'a str) -> Result<(), String> {
        if self.references.contains(&reference) || self.references.len() >= MAX_NESTED_REFERENCES {
            return Err(format!("the schema refers to itself, or too deep, at {}", cut(reference)));
        }
        let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let target = target.ok_or_else(|| {
            format!("the schema refers to {}, which is no place in it, as #/$defs/NAME is", cut(reference))
        })?;
        self.references.push(reference);
        let added = self.add(target);
        self.references.pop();
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_matches_or_the_place_is_named() {
        let schema = Schema::compile(r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#)
            .expect("compiles");
        assert_eq!(schema.check(r#"{"n": 1}"#), Ok(()));
        assert!(schema.check(r#"{"n": "x"}"#).expect_err("refused").contains("/n"));
        assert!(schema.check("not json").is_err());
    }

    #[test]
    fn a_definition_may_be_used_more_than_once() {
        let text = r##"{"properties":{"a":{"$ref":"#/$defs/n"},"b":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}"##;
        let schema = Schema::compile(text).expect("compiles");
        assert_eq!(schema.check(r#"{"a": 1, "b": 2}"#), Ok(()));
        assert!(schema.check(r#"{"a": 1, "b": "x"}"#).is_err());
    }

    #[test]
    fn a_schema_cannot_reach_out() {
        for reference in ["file:///etc/passwd", "http://127.0.0.1:1/x"] {
            let text = format!(r#"{{"$ref":"{reference}"}}"#);
            assert!(Schema::compile(&text).is_err(), "{reference}");
        }
    }

    #[test]
    fn what_doubles_with_every_reference_is_refused() {
        let doubling = |levels: u32| {
            let level = |n: u32| {
                format!(r##""d{n}":{{"allOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}}"##, n + 1)
            };
            let levels_text: Vec<String> = (0..levels).map(level).collect();
            format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d{levels}":{{}}}}}}"##, levels_text.join(","))
        };
        assert!(Schema::compile(&doubling(4)).is_ok());
        assert!(Schema::compile(&doubling(30)).is_err());
        for text in [r##"{"$ref":"#"}"##, r##"{"properties":{"a":{"$ref":"#"}}}"##, r##"{"$dynamicRef":"#"}"##, r#"{"$id":"a"}"#] {
            assert!(Schema::compile(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_hold_at_n_and_are_refused_at_n_plus_1() {
        let with = |count: u64| {
            let parts: Vec<String> = (0..count).map(|n| format!(r#""p{n}":{{"pattern":"a+b{n}"}}"#)).collect();
            format!(r#"{{"properties":{{{}}}}}"#, parts.join(","))
        };
        assert!(Schema::compile(&with(MAX_PATTERNS)).is_ok());
        assert!(Schema::compile(&with(MAX_PATTERNS + 1)).is_err());
    }
}
