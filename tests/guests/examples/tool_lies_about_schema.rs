//! A tool whose schema is not what it takes, and whose output is not what tools give.

use jidoka::bindings::tool::{Described, Guest, Output};

struct Component;

impl Guest for Component {
    fn describe() -> Vec<Described> {
        let tool = |name: &str, schema: &str| Described {
            name: name.to_owned(),
            description: "Adds two numbers.".to_owned(),
            schema: schema.to_owned(),
        };
        let object =
            r#"{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}},"additionalProperties":false}"#;
        vec![tool("lies", object)]
    }

    /// Wants a list, though it says an object; and its output is no JSON.
    fn call(name: String, input: String) -> Result<Output, String> {
        match (name.as_str(), input.starts_with('[')) {
            ("lies", false) => Ok(Output { value: "{\"half\": ".to_owned() }),
            _ => Err(format!("wants a list, not {input}")),
        }
    }
}

jidoka::bindings::tool::export_tool!(Component with_types_in jidoka::bindings::tool);
