//! A tool that says more than anyone can hear: as many bytes as it is asked for, as its value, its error, or on its streams.

use std::io::Write;

use jidoka::json::Value;
use jidoka::{Error, Result};

/// Says `bytes` bytes, by the `way` `value`, `error`, `print` or `log`.
#[jidoka::tool]
fn flood(input: Value) -> Result<Value> {
    let bytes = input["bytes"].as_u64().unwrap_or_default();
    let text = || "x".repeat(usize::try_from(bytes).unwrap_or_default());
    match input["way"].as_str() {
        Some("error") => Err(Error::new(text())),
        Some("print") => {
            for _ in 0..bytes / 4_096 {
                std::io::stdout().write_all(&[b'x'; 4_096])?;
                std::io::stderr().write_all(&[0xff; 4_096])?;
            }
            Ok(Value::Null)
        }
        Some("log") => {
            for _ in 0..bytes / 1_024 {
                jidoka::info!("{}", "x".repeat(1_024));
            }
            Ok(Value::Null)
        }
        _ => Ok(Value::String(text())),
    }
}
