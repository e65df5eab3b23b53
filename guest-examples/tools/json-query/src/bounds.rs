//! What a query can select at most, before it is asked.
//!
//! A list of selectors selects a node once for each, and `..` behind `..` once for each node above it; both multiply along the
//! query. So a short query can select more than any memory holds. The bound here is sound and rough: it takes every comma and
//! every `..` of the query for one of these.

use jidoka::Result;
use jidoka::json::Value;

/// Bytes of a query.
pub const MAX_QUERY_BYTES: usize = 1024;
/// Brackets within brackets; the parser recurses.
pub const MAX_NESTING: usize = 16;
/// Nodes that a query may select on its way. Each takes a pointer in a few lists.
pub const MAX_SELECTED: usize = 1 << 20;

/// Whether a query can be parsed on a small stack.
///
/// # Errors
/// For the model.
pub fn query(text: &str) -> Result<()> {
    if text.is_empty() || text.len() > MAX_QUERY_BYTES {
        return Err(format!("`query` has {} bytes; allowed are 1 to {MAX_QUERY_BYTES}", text.len()).into());
    }
    let mut depth = 0_usize;
    for sign in signs(text) {
        match sign {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(format!("`query` is nested deeper than {MAX_NESTING}").into());
        }
    }
    Ok(())
}

/// Whether a query selects at most [`MAX_SELECTED`] nodes of a document.
///
/// # Errors
/// For the model.
pub fn both(text: &str, document: &Value) -> Result<()> {
    let (nodes, depth) = size(document);
    let most = nodes.saturating_mul(factor(text, depth));
    if most > MAX_SELECTED {
        let words = format!(
            "`query` could select {most} of the document's {nodes} nodes, each counted as often as it is selected; at most \
             {MAX_SELECTED}: use fewer `..` and commas"
        );
        return Err(words.into());
    }
    Ok(())
}

/// How often a query can select one node of a document of this depth.
fn factor(text: &str, depth: usize) -> usize {
    let mut factor = 1_usize;
    let mut before = ' ';
    let mut descents = 0_usize;
    // Selectors of each list that is open.
    let mut lists = vec![1_usize];
    for sign in signs(text) {
        match sign {
            '[' | '(' => lists.push(1),
            ',' => {
                if let Some(list) = lists.last_mut() {
                    *list += 1;
                }
            }
            ']' | ')' => factor = factor.saturating_mul(lists.pop().unwrap_or(1)),
            '.' if before == '.' => descents += 1,
            _ => {}
        }
        before = sign;
    }
    // The first one comes to each node once: there is one node where it begins, or nodes side by side.
    (1..descents).fold(factor, |factor, _| factor.saturating_mul(depth))
}

/// The characters of a query that are not in a string.
fn signs(text: &str) -> impl Iterator<Item = char> {
    let mut quote = None;
    let mut is_escaped = false;
    text.chars().filter(move |&sign| {
        let Some(open) = quote else {
            if sign == '\'' || sign == '"' {
                quote = Some(sign);
                return false;
            }
            return true;
        };
        if is_escaped {
            is_escaped = false;
        } else if sign == '\\' {
            is_escaped = true;
        } else if sign == open {
            quote = None;
        }
        false
    })
}

/// Nodes of a document, and how many are above the deepest, itself included.
fn size(document: &Value) -> (usize, usize) {
    let mut pending = vec![(document, 1_usize)];
    let (mut nodes, mut deepest) = (0, 0);
    while let Some((value, depth)) = pending.pop() {
        nodes += 1;
        deepest = deepest.max(depth);
        match value {
            Value::Array(list) => pending.extend(list.iter().map(|value| (value, depth + 1))),
            Value::Object(map) => pending.extend(map.values().map(|value| (value, depth + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    (nodes, deepest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_multiplies_is_counted_and_strings_are_not() {
        assert_eq!(factor("$.a[0]['b'][?@.c == 'x,y']", 10), 1);
        assert_eq!(factor("$['a','b'][0,1,2]", 10), 6);
        assert_eq!(factor("$..a", 10), 1);
        assert_eq!(factor("$..a..b..c", 10), 100);
        assert_eq!(factor(r#"$["..",'\',,']"#, 10), 2);
        assert_eq!(factor("$..['a','b']..*", 3), 6);
        assert_eq!(size(&jidoka::json::json!({"a": [1, {"b": []}]})), (5, 4));
    }

    #[test]
    fn selections_hold_at_n_and_are_refused_at_n_plus_1() {
        let list = |length: usize| Value::Array(vec![Value::Null; length]);
        assert!(both("$[*,*]", &list(MAX_SELECTED / 2 - 1)).is_ok());
        assert!(both("$[*,*]", &list(MAX_SELECTED / 2)).is_err());
        let selectors = ["'a'"; 8].join(",");
        assert!(both(&format!("${}", format!("[{selectors}]").repeat(24)), &list(1)).is_err());
    }

    #[test]
    fn nesting_holds_at_n_and_is_refused_at_n_plus_1() {
        let nested = |depth: usize| format!("$[?{}@{}]", "(".repeat(depth - 1), ")".repeat(depth - 1));
        assert!(query(&nested(MAX_NESTING)).is_ok());
        assert!(query(&nested(MAX_NESTING + 1)).is_err());
        assert!(query("$['(((((((((((((((((((((((((']").is_ok());
    }
}
