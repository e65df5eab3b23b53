//! Tools whose schemas are none: one is not JSON, one asks for a document of somebody else's.

use jidoka::bindings::tool::{Described, Guest, Output};

struct Component;

impl Guest for Component {
    fn describe() -> Vec<Described> {
        let tool = |name: &str, schema: &str| Described {
            name: name.to_owned(),
            description: "Adds two numbers.".to_owned(),
            schema: schema.to_owned(),
        };
        vec![tool("no-schema", "not JSON"), tool("bomb", r#"{"$ref":"http://example.com/"}"#)]
    }

    fn call(_name: String, input: String) -> Result<Output, String> {
        Ok(Output { value: input })
    }
}

jidoka::bindings::tool::export_tool!(Component with_types_in jidoka::bindings::tool);
