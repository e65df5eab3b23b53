//! JSON schemas that a guest asks a reply to match.
//!
//! Never: serves a keyword whose work its size does not show. References double the work with every line, nested
//! `unevaluatedProperties` too, patterns compile to automata, `uniqueItems` compares all pairs; and nothing stops host
//! code that works. So only the keywords of [`SERVED`] are taken, nested at most [`MAX_DEPTH`]: then a check visits each
//! part of the schema at most once for each part of the reply. The text's size is capped by policy before it comes here.

use jsonschema::Validator;
use serde_json::Value;

/// The keywords that are served. What model providers enforce themselves is a part of this.
pub const SERVED: [&str; 25] = [
    "$schema",
    "additionalProperties",
    "anyOf",
    "const",
    "default",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "prefixItems",
    "properties",
    "required",
    "title",
    "type",
];

/// Schemas inside of schemas. Each is a frame of the host's stack, of which a fiber has at least 1.5 MiB.
pub const MAX_DEPTH: usize = 32;

/// Values of `enum`, each of which is compared with the reply.
const MAX_ENUM: usize = 256;

/// Characters of a complaint that quotes a guest's or a model's text.
const MAX_COMPLAINT_CHARS: usize = 300;

/// A schema that compiled.
pub struct Schema(Validator);

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?;
        served(&value, 0)?;
        jsonschema::options()
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
        self.0.validate(&value).map_err(|error| {
            let place = cut(&error.instance_path().to_string());
            format!("at {place}: {}", cut(&error.to_string()))
        })
    }
}

/// Whether a schema, with all in it, has only keywords that are served.
fn served(schema: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("schemas are nested deeper than {MAX_DEPTH}"));
    }
    let Value::Object(keywords) = schema else {
        return if schema.is_boolean() { Ok(()) } else { Err("a schema is an object, `true` or `false`".to_owned()) };
    };
    for (keyword, value) in keywords {
        if !SERVED.contains(&keyword.as_str()) {
            return Err(format!("the keyword `{}` is not served; served are {}", cut(keyword), SERVED.join(", ")));
        }
        let parts: Vec<&Value> = match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values().collect(),
            ("anyOf" | "prefixItems", Value::Array(schemas)) => schemas.iter().collect(),
            ("items" | "additionalProperties", schema) => vec![schema],
            ("properties" | "anyOf" | "prefixItems", _) => return Err(format!("`{keyword}` has the wrong type")),
            ("enum", Value::Array(values)) if values.len() > MAX_ENUM => {
                return Err(format!("`enum` has {} values; at most {MAX_ENUM}", values.len()));
            }
            _ => Vec::new(),
        };
        for part in parts {
            served(part, depth + 1)?;
        }
    }
    Ok(())
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_COMPLAINT_CHARS).collect()
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
    fn what_could_cost_more_than_it_shows_is_not_served() {
        for keyword in ["$ref", "$id", "$defs", "$dynamicRef", "allOf", "not", "if", "pattern", "patternProperties"] {
            let refused = Schema::compile(&format!(r#"{{"items":{{"{keyword}":{{}}}}}}"#)).err();
            assert!(refused.is_some_and(|why| why.contains(keyword)), "{keyword}");
        }
        for keyword in ["unevaluatedProperties", "unevaluatedItems", "uniqueItems", "format", "contains"] {
            assert!(Schema::compile(&format!(r#"{{"{keyword}":true}}"#)).is_err(), "{keyword}");
        }
    }

    #[test]
    fn nesting_holds_at_n_and_is_refused_at_n_plus_1() {
        let nested = |depth: usize| format!("{}{{}}{}", r#"{"items":"#.repeat(depth), "}".repeat(depth));
        assert!(Schema::compile(&nested(MAX_DEPTH)).is_ok());
        assert!(Schema::compile(&nested(MAX_DEPTH + 1)).is_err());
    }

    #[test]
    fn values_to_compare_with_hold_at_n_and_are_refused_at_n_plus_1() {
        let schema = |count: usize| format!("{{\"enum\":{:?}}}", (0..count).collect::<Vec<_>>());
        assert!(Schema::compile(&schema(MAX_ENUM)).is_ok());
        assert!(Schema::compile(&schema(MAX_ENUM + 1)).is_err());
    }

    #[test]
    fn a_complaint_quotes_up_to_n_characters() {
        let text = |chars: usize| "ä".repeat(chars);
        assert_eq!(cut(&text(MAX_COMPLAINT_CHARS)), text(MAX_COMPLAINT_CHARS));
        assert_eq!(cut(&text(MAX_COMPLAINT_CHARS + 1)), text(MAX_COMPLAINT_CHARS));
    }

    #[test]
    fn json_is_read_127_deep_and_not_128() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let any = Schema::compile("true").expect("compiles");
        assert_eq!(any.check(&nested(127)), Ok(()));
        assert!(any.check(&nested(128)).expect_err("refused").contains("recursion limit"));
    }
}
