//! A tool that is another one each time that it is asked what it is: by randomness, by the clock, by the environment.

use jidoka::bindings::tool::{Described, Guest, Output};
use jidoka::{clock, random};

struct Component;

impl Guest for Component {
    fn describe() -> Vec<Described> {
        let number = random::number().unwrap_or_default();
        let words = format!("Number {number} at {}, {:?}.", clock::now_ms(), std::env::vars().collect::<Vec<_>>());
        let shifted =
            Described { name: format!("shift_{number}"), description: words.clone(), schema: "{}".to_owned() };
        vec![
            Described { name: "shift".to_owned(), description: words, schema: "{\"type\":\"object\"}".to_owned() },
            shifted,
        ]
    }

    fn call(name: String, _input: String) -> Result<Output, String> {
        Ok(Output { value: format!("{name:?}") })
    }
}

jidoka::bindings::tool::export_tool!(Component with_types_in jidoka::bindings::tool);
