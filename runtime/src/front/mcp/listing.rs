//! Tools as clients are told them: what their makers say, bounded.
//!
//! Never: tells a tool whose name or schema no client could take; it is left out, and the log says so. Descriptions are text
//! for an agent, written by whoever made the tool: they are cut and cleaned, and not judged.

use std::sync::Arc;

use rmcp::model::{JsonObject, ListToolsResult, Tool, ToolAnnotations};
use serde_json::Value;

use super::ServedTool;

/// Characters of a description: an agent pays for each, in each of its turns.
pub const MAX_DESCRIPTION_CHARS: usize = 4096;

/// Bytes of a schema, as text.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// Tools on one page of a listing.
const PAGE_TOOLS: usize = 64;

/// Characters of a tool's name, by the protocol.
const MAX_NAME_CHARS: usize = 128;

/// The newest version whose clients know only objects as structured output.
pub(super) const OBJECTS_ONLY: &str = "2025-11-25";

/// One page, from the tool that the cursor names. `None`: no such page.
pub(super) fn page(tools: &[ServedTool], cursor: Option<&str>, version: &str) -> Option<ListToolsResult> {
    let from = match cursor {
        None => 0,
        Some(cursor) => cursor.parse::<usize>().ok().filter(|&from| from > 0 && from < tools.len())?,
    };
    let until = tools.len().min(from + PAGE_TOOLS);
    let mut page =
        ListToolsResult::with_all_items(tools[from..until].iter().filter_map(|tool| told(tool, version)).collect());
    page.next_cursor = (until < tools.len()).then(|| until.to_string());
    Some(page)
}

/// A tool as a client of this version is told it. `None`: it cannot be told.
pub(super) fn told(tool: &ServedTool, version: &str) -> Option<Tool> {
    if !is_name(&tool.name) {
        tracing::warn!("a tool is not served: its name is {:?}", clean(&tool.name, MAX_NAME_CHARS));
        return None;
    }
    let schema = |text: &str, which: &str| match schema(text) {
        Ok(schema) => Some(schema),
        Err(why) => {
            tracing::warn!("the tool {} is not served: the schema of its {which} {why}", tool.name);
            None
        }
    };
    let input = schema(&tool.input_schema, "input")?;
    if input.get("type") != Some(&Value::from("object")) {
        tracing::warn!("the tool {} is not served: its input is no object", tool.name);
        return None;
    }
    let description = clean(&tool.description, MAX_DESCRIPTION_CHARS);
    let mut told = Tool::new(tool.name.clone(), description, Arc::new(input));
    told.title = Some(tool.name.replace(['-', '_', '.'], " "));
    let mut hints = ToolAnnotations::new();
    hints.read_only_hint = Some(!tool.may.change);
    hints.open_world_hint = Some(tool.may.reach_out);
    told.annotations = Some(hints);
    if let Some(output) = &tool.output_schema {
        let output = schema(output, "output")?;
        if version > OBJECTS_ONLY || output.get("type") == Some(&Value::from("object")) {
            told = told.with_raw_output_schema(Arc::new(output));
        }
    }
    Some(told)
}

fn is_name(name: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=MAX_NAME_CHARS).contains(&name.len()) && name.bytes().all(is_char)
}

fn schema(text: &str) -> Result<JsonObject, String> {
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(format!("has {} bytes; {MAX_SCHEMA_BYTES} are allowed", text.len()));
    }
    serde_json::from_str(text).map_err(|error| format!("is no JSON object: {error}"))
}

/// A stranger's text: cut, and without control characters but line ends and tabs.
pub(super) fn clean(text: &str, most_chars: usize) -> String {
    let seen = |char: char| if char.is_control() && !"\n\t".contains(char) { '\u{fffd}' } else { char };
    let mut clean: String = text.chars().take(most_chars).map(seen).collect();
    if text.chars().nth(most_chars).is_some() {
        clean.pop();
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::super::{Length, May};
    use super::*;

    fn tool(name: &str) -> ServedTool {
        ServedTool {
            name: name.to_owned(),
            description: "d".to_owned(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: None,
            length: Length::Short,
            may: May { change: false, reach_out: true },
        }
    }

    const NEW: &str = "2026-07-28";

    #[test]
    fn a_client_is_told_what_the_host_lets_a_tool_do() {
        let told = told(&tool("read-page"), NEW).unwrap();
        let hints = told.annotations.unwrap();
        assert_eq!(told.title.as_deref(), Some("read page"));
        assert_eq!((hints.read_only_hint, hints.open_world_hint), (Some(true), Some(true)));
    }

    #[test]
    fn a_tool_that_no_client_could_take_is_left_out() {
        assert!(told(&tool("a.b-c_D9"), NEW).is_some());
        assert!(told(&tool(&"a".repeat(128)), NEW).is_some());
        for name in ["", "a b", "a/b", "ä", &"a".repeat(129)] {
            assert_eq!(told(&tool(name), NEW), None, "{name}");
        }
        for schema in ["", "[]", "{", r#"{"type":"string"}"#, "{}"] {
            assert_eq!(told(&ServedTool { input_schema: schema.to_owned(), ..tool("a") }, NEW), None, "{schema}");
        }
    }

    #[test]
    fn a_schema_has_at_most_its_bytes() {
        let schema = |bytes: usize| {
            let start = r#"{"type":"object","title":""#;
            format!("{start}{}\"}}", "x".repeat(bytes - start.len() - 2))
        };
        let with = |bytes| told(&ServedTool { input_schema: schema(bytes), ..tool("a") }, NEW);
        assert!(with(MAX_SCHEMA_BYTES).is_some());
        assert_eq!(with(MAX_SCHEMA_BYTES + 1), None);
    }

    #[test]
    fn a_description_is_cut_and_cleaned() {
        let with = |description: String| {
            let told = told(&ServedTool { description, ..tool("a") }, NEW).unwrap();
            told.description.unwrap().into_owned()
        };
        assert_eq!(with("x".repeat(MAX_DESCRIPTION_CHARS)), "x".repeat(MAX_DESCRIPTION_CHARS));
        let cut = with("x".repeat(MAX_DESCRIPTION_CHARS + 1));
        assert_eq!(cut, format!("{}…", "x".repeat(MAX_DESCRIPTION_CHARS - 1)));
        assert_eq!(with("a\u{1b}[2Jb\n\tc\u{7}".to_owned()), "a\u{fffd}[2Jb\n\tc\u{fffd}");
    }

    #[test]
    fn a_listing_comes_in_pages() {
        let tools: Vec<ServedTool> = (0..=PAGE_TOOLS).map(|at| tool(&format!("t{at}"))).collect();
        let whole = page(&tools[..PAGE_TOOLS], None, NEW).unwrap();
        assert_eq!((whole.tools.len(), whole.next_cursor), (PAGE_TOOLS, None));
        let first = page(&tools, None, NEW).unwrap();
        assert_eq!((first.tools.len(), first.next_cursor.as_deref()), (PAGE_TOOLS, Some("64")));
        let last = page(&tools, first.next_cursor.as_deref(), NEW).unwrap();
        assert_eq!((last.tools.len(), last.next_cursor), (1, None));
        for cursor in ["0", "65", "-1", "x", ""] {
            assert!(page(&tools, Some(cursor), NEW).is_none(), "{cursor}");
        }
        assert_eq!(page(&[], None, NEW).unwrap().tools.len(), 0);
    }

    #[test]
    fn older_clients_are_told_of_outputs_that_are_objects() {
        let list = ServedTool { output_schema: Some(r#"{"type":"array"}"#.to_owned()), ..tool("a") };
        assert!(told(&list, NEW).unwrap().output_schema.is_some());
        assert!(told(&list, OBJECTS_ONLY).unwrap().output_schema.is_none());
        let object = ServedTool { output_schema: Some(r#"{"type":"object"}"#.to_owned()), ..list };
        assert!(told(&object, OBJECTS_ONLY).unwrap().output_schema.is_some());
    }
}
