//! The attributes of `jidoka-sdk`: they turn a plain function into the export of a component.
//!
//! Each leaves the function as it is and adds two things: a check of its signature, and (only on `wasm32`) the export
//! glue. They never look inside the function. The SDK must be a dependency under the name `jidoka`.

mod export;
mod tool;

use proc_macro::TokenStream;

/// Makes `fn run(task: Task) -> Result<Report, Error>` the worker of this component.
#[proc_macro_attribute]
pub fn worker(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export::expand(&export::WORKER, arguments.into(), item.into()).into()
}

/// Makes `fn judge(artifact: Artifact) -> Result<Judgement, Error>` the verifier of this component.
#[proc_macro_attribute]
pub fn verifier(arguments: TokenStream, item: TokenStream) -> TokenStream {
    export::expand(&export::VERIFIER, arguments.into(), item.into()).into()
}

/// Makes a function, or every `pub fn` of a module, a tool of this component.
///
/// The tool's name is the function's, its description the function's documentation. Input and output are anything that
/// serde can read and write, for example `jidoka::json::Value`. The JSON schema of the input is given by `schema`:
///
/// ```text
/// #[jidoka::tool]
/// mod tools {
///     /// Counts the words of a text.
///     #[schema(r#"{"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}"#)]
///     pub fn count_words(input: Value) -> Result<Value> { .. }
/// }
///
/// /// Or one function alone.
/// #[jidoka::tool(schema = r#"{"type": "object"}"#)]
/// fn roll(input: Value) -> Result<Value> { .. }
/// ```
#[proc_macro_attribute]
pub fn tool(arguments: TokenStream, item: TokenStream) -> TokenStream {
    tool::expand(arguments.into(), item.into()).into()
}
