//! JSON schemas that a guest asks a reply to match.
//!
//! Never: follows a reference out of the schema (there is no resolver), backtracks in a pattern (linear engine). The
//! schema's size is capped by policy before it comes here.

use jsonschema::{PatternOptions, Validator};

/// A schema that compiled.
pub struct Schema(Validator);

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, String> {
        let value = serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?;
        jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&value)
            .map(Self)
            .map_err(|error| format!("the schema does not compile: {error}"))
    }

    /// Whether `text` is JSON that matches.
    ///
    /// # Errors
    /// A sentence about the first thing that does not.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let value = serde_json::from_str(text).map_err(|error| format!("the reply is not JSON: {error}"))?;
        self.0.validate(&value).map_err(|error| format!("at {}: {error}", error.instance_path()))
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
    fn a_schema_cannot_reach_out() {
        for reference in ["file:///etc/passwd", "http://127.0.0.1:1/x"] {
            let text = format!(r#"{{"$ref":"{reference}"}}"#);
            assert!(Schema::compile(&text).is_err(), "{reference}");
        }
    }
}
