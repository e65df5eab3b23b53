//! What a provider says when it says no: found in its JSON or its text, and made safe to show.
//!
//! Never: decides what a no costs. Invariant: what [`clean`] returns is one line of at most 500 characters without
//! control characters, so a provider can write neither to a terminal nor a second line into a log.

use serde_json::Value;

/// Characters. Enough for a provider's reason; more would let it fill journals and screens.
const LONGEST: usize = 500;

/// The complaint in the body of an error reply, as it came.
pub fn in_body(body: &[u8]) -> String {
    match serde_json::from_slice(body) {
        Ok(value) => in_json(&value),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// The complaint in an error object, where the known dialects and servers put it, as it came.
pub fn in_json(value: &Value) -> String {
    let found = ["/error/message", "/message", "/error", "/detail", ""]
        .iter()
        .find_map(|place| value.pointer(place).and_then(Value::as_str));
    found.map_or_else(|| value.to_string(), str::to_owned)
}

/// The text as one short line. A key is taken out before: a cut could leave a part of it that nothing finds.
pub fn clean(text: &str) -> String {
    let head: String = text
        .trim_start()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(LONGEST + 1)
        .collect();
    match head.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", head[..end].trim_end()),
        None => head.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_where_known_servers_put_it() {
        for body in [
            r#"{"error":{"message":"too long","type":"invalid"}}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"too long"}}"#,
            r#"{"message":"too long"}"#,
            r#"{"error":"too long"}"#,
            r#"{"detail":"too long"}"#,
            "too long",
        ] {
            assert_eq!(in_body(body.as_bytes()), "too long", "{body}");
        }
        assert_eq!(in_body(br#"{"code":7}"#), r#"{"code":7}"#);
    }

    #[test]
    fn a_complaint_is_cut_at_500_characters_and_has_no_control_characters() {
        let exact = "ä".repeat(500);
        assert_eq!(clean(&exact), exact);
        assert_eq!(clean(&format!("{exact}b")), format!("{exact}…"));
        assert_eq!(clean(" red \x1b[31m\r\nline\n"), "red  [31m  line");
    }
}
