//! HTML as text, in one pass: a reader's view, no browser's.
//!
//! Never: builds a tree, so no page is too deep; or reads a part twice, so no page takes longer than its length explains.

/// Elements whose content is not for readers.
const HIDDEN: [&str; 6] = ["script", "style", "head", "template", "noscript", "svg"];

/// Elements that begin and end on a line of their own.
const BLOCKS: [&str; 32] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "dd",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "tr",
    "ul",
    "title",
];

/// Bytes of an entity, `&` and `;` included.
const MAX_ENTITY_BYTES: usize = 12;

/// The text of a page: a line for each block, no markup, no empty lines.
pub fn text(html: &str) -> String {
    let mut page = Page::default();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        page.words(&rest[..at]);
        rest = &rest[at..];
        rest = if rest.starts_with('&') { page.entity(rest) } else { page.markup(rest) };
    }
    page.words(rest);
    page.end_line();
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
    line: String,
    /// White space came since the last word.
    is_apart: bool,
}

impl Page {
    fn words(&mut self, text: &str) {
        for character in text.chars() {
            if character.is_whitespace() {
                self.is_apart = true;
            } else {
                if self.is_apart && !self.line.is_empty() {
                    self.line.push(' ');
                }
                self.is_apart = false;
                self.line.push(character);
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.text.push_str(&self.line);
            self.text.push('\n');
            self.line.clear();
        }
        self.is_apart = false;
    }

    /// From `&` on. Returns what follows it.
    fn entity<'a>(&mut self, rest: &'a str) -> &'a str {
        let near = &rest.as_bytes()[..rest.len().min(MAX_ENTITY_BYTES)];
        let decoded = near.iter().position(|&byte| byte == b';').and_then(|end| Some((decoded(&rest[1..end])?, end)));
        match decoded {
            Some((character, end)) => {
                self.words(character.encode_utf8(&mut [0; 4]));
                &rest[end + 1..]
            }
            None => {
                self.words("&");
                &rest[1..]
            }
        }
    }

    /// From `<` on. Returns what follows the tag, and a hidden element with its content.
    fn markup<'a>(&mut self, rest: &'a str) -> &'a str {
        if let Some(comment) = rest.strip_prefix("<!--") {
            return behind(comment, "-->");
        }
        let inside = &rest[1..];
        let closes = inside.starts_with('/');
        let name = inside.strip_prefix('/').unwrap_or(inside);
        if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '!' || first == '?') {
            self.words("<");
            return inside;
        }
        let length = name.find(|next: char| !next.is_ascii_alphanumeric()).unwrap_or(name.len());
        let element = name[..length].to_ascii_lowercase();
        let follows = behind_tag(inside);
        if BLOCKS.contains(&element.as_str()) {
            self.end_line();
        }
        if element == "td" || element == "th" {
            self.is_apart = true;
        }
        if element == "li" && !closes {
            self.line.push('-');
            self.is_apart = true;
        }
        match HIDDEN.iter().find(|hidden| **hidden == element) {
            Some(hidden) if !closes => behind_element(follows, hidden),
            _ => follows,
        }
    }
}

/// What comes behind a mark; nothing if it does not come.
fn behind<'a>(text: &'a str, mark: &str) -> &'a str {
    text.find(mark).map_or("", |at| &text[at + mark.len()..])
}

/// What comes behind a tag's `>`, which may stand in a quoted value too.
fn behind_tag(tag: &str) -> &str {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return &tag[at + 1..],
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    // A quote that never ends would swallow the page: then the first `>` ends the tag.
    behind(tag, ">")
}

/// What comes behind the end of an element whose content is skipped.
fn behind_element<'a>(text: &'a str, element: &str) -> &'a str {
    let mut rest = text;
    while let Some(at) = rest.find("</") {
        rest = &rest[at + 2..];
        let name = rest.get(..element.len());
        if name.is_some_and(|name| name.eq_ignore_ascii_case(element)) {
            return behind(rest, ">");
        }
    }
    ""
}

fn decoded(entity: &str) -> Option<char> {
    let number = entity.strip_prefix('#').map(|number| match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    });
    match (number, entity) {
        (Some(number), _) => char::from_u32(number.ok()?).filter(|character| !character.is_control()),
        (None, "amp") => Some('&'),
        (None, "lt") => Some('<'),
        (None, "gt") => Some('>'),
        (None, "quot") => Some('"'),
        (None, "apos") => Some('\''),
        (None, "nbsp") => Some(' '),
        (None, "ndash") => Some('\u{2013}'),
        (None, "mdash") => Some('\u{2014}'),
        (None, "hellip") => Some('\u{2026}'),
        (None, "lsquo") => Some('\u{2018}'),
        (None, "rsquo") => Some('\u{2019}'),
        (None, "ldquo") => Some('\u{201c}'),
        (None, "rdquo") => Some('\u{201d}'),
        (None, "copy") => Some('\u{a9}'),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_lines_and_markup_is_gone() {
        let page = "<!doctype html><html><head><title>T</title></head><body><h1>A  <b>bold</b>\n title</h1><p>One<br>two</p>\
                    <ul><li>x<li>y</ul><table><tr><td>1</td><td>2</td></tr></table><!-- <p>no --></body>";
        assert_eq!(text(page), "A bold title\nOne\ntwo\n- x\n- y\n1 2\n");
    }

    #[test]
    fn what_is_hidden_is_left_out() {
        assert_eq!(text("a<script>if (1 < 2) '</p>'</SCRIPT >b<style>p{}</style>c"), "abc\n");
        assert_eq!(text("a<svg><path/></svg> b"), "a b\n");
        assert_eq!(text("a<script>never ends"), "a\n");
        assert_eq!(text("a<header>b</header>"), "a\nb\n");
    }

    #[test]
    fn entities_are_characters() {
        assert_eq!(
            text("&lt;&amp;&#65;&#x42;&nbsp;&eacute; & &#0;&#xD800; AT&T"),
            "<&AB &eacute; & &#0;&#xD800; AT&T\n"
        );
    }

    #[test]
    fn broken_markup_ends_nowhere_bad() {
        for (html, wanted) in [
            ("", ""),
            ("<", "<\n"),
            ("a < b", "a < b\n"),
            ("<p", ""),
            ("<p title=\"a>b\">x", "x\n"),
            ("<p title=\"a>x", "x\n"),
            ("<!--", ""),
            ("&", "&\n"),
            ("&#x110000;é&é;", "&#x110000;é&é;\n"),
            ("</", "</\n"),
            ("<é>", "<é>\n"),
            ("<script></scripté", ""),
        ] {
            assert_eq!(text(html), wanted, "{html}");
        }
    }
}
