//! What both dialects need to turn a request into JSON, and what no dialect can express.
//!
//! Never: knows a dialect's field names. Invariant: what cannot be said on the wire as it was meant is refused before
//! anything is sent, never sent differently.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::rules::model::{Message, Request};

#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Servers read a cap of zero as one token or as none at all.
    #[error("ask a model: max-output is 0, at least 1 is needed")]
    NoOutput,
    #[error("ask a model: the schema of {0} is not a JSON object")]
    Schema(String),
    #[error("ask a model: a message with a tool's result does not say which call it answers")]
    NoCallId,
}

/// The output cap as it goes on the wire.
pub fn cap(request: &Request) -> Result<u32, EncodeError> {
    match request.max_output {
        0 => Err(EncodeError::NoOutput),
        tokens => Ok(tokens),
    }
}

/// A schema's text as the object that it must be. `of` names it in the error.
pub fn schema_object(of: &str, schema: &str) -> Result<Map<String, Value>, EncodeError> {
    serde_json::from_str(schema).map_err(|_| EncodeError::Schema(of.to_owned()))
}

/// The call that a tool's result answers.
pub fn call_id(message: &Message) -> Result<&str, EncodeError> {
    message.tool_call_id.as_deref().ok_or(EncodeError::NoCallId)
}
