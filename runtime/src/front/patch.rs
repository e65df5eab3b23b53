//! What changed between two trees, as a patch that `git apply` takes where all that changed is text.
//!
//! Never: shows a file that is not text, or a large one; it says that they differ, and `git apply` refuses such a patch. Empty
//! directories are in no patch.

use console::style;
use similar::TextDiff;

use crate::run::past::{BlobError, Blobs, FileEntry, Manifest};

use super::screen::plain_long;

/// Bytes of a file whose lines are compared.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Lines around a change.
const AROUND: usize = 3;

/// The name of what is not there.
const NOWHERE: &str = "/dev/null";

/// The mode of a link, as git writes it.
const LINK: &str = "120000";

/// A side of a change.
struct Side {
    /// As git writes it.
    mode: &'static str,
    /// None: it is no text, or too large to be compared.
    text: Option<String>,
}

impl Side {
    fn is_link(&self) -> bool {
        self.mode == LINK
    }
}

/// The patch from one tree to another; the paths in the order of the trees.
///
/// # Errors
/// The contents of a file are gone or damaged.
pub(super) fn of(base: &Manifest, end: &Manifest, blobs: &Blobs) -> Result<String, BlobError> {
    let mut patch = String::new();
    for change in Manifest::changes(base, end) {
        let side = |tree: &Manifest| tree.get(&change.path).map_or(Ok(None), |entry| side(entry, blobs));
        match (side(base)?, side(end)?) {
            // A file that became a link, or a link that became a file, is removed and made: git changes no types.
            (Some(old), Some(new)) if old.is_link() != new.is_link() => {
                patch += &file(&change.path, Some(&old), None);
                patch += &file(&change.path, None, Some(&new));
            }
            (old, new) => patch += &file(&change.path, old.as_ref(), new.as_ref()),
        }
    }
    Ok(patch)
}

/// None: an empty directory.
fn side(entry: &FileEntry, blobs: &Blobs) -> Result<Option<Side>, BlobError> {
    Ok(match entry {
        FileEntry::File { digest, bytes, executable } => {
            let mode = if *executable { "100755" } else { "100644" };
            let text = match *bytes <= MAX_FILE_BYTES {
                true => String::from_utf8(blobs.read(digest, MAX_FILE_BYTES)?).ok().filter(|text| !text.contains('\0')),
                false => None,
            };
            Some(Side { mode, text })
        }
        FileEntry::Link { target } => Some(Side { mode: LINK, text: Some(target.clone()) }),
        FileEntry::EmptyDirectory {} => None,
    })
}

fn file(path: &str, old: Option<&Side>, new: Option<&Side>) -> String {
    let [a, b] = ["a", "b"].map(|side| name(&format!("{side}/{path}")));
    let mut patch = format!("diff --git {a} {b}\n");
    match (old, new) {
        (None, None) => return String::new(),
        (None, Some(new)) => patch += &format!("new file mode {}\n", new.mode),
        (Some(old), None) => patch += &format!("deleted file mode {}\n", old.mode),
        (Some(old), Some(new)) if old.mode != new.mode => {
            patch += &format!("old mode {}\nnew mode {}\n", old.mode, new.mode);
        }
        (Some(_), Some(_)) => {}
    }
    let from = if old.is_some() { a } else { NOWHERE.to_owned() };
    let to = if new.is_some() { b } else { NOWHERE.to_owned() };
    let text = |side: Option<&Side>| side.map_or(Some(String::new()), |side| side.text.clone());
    match (text(old), text(new)) {
        (Some(old), Some(new)) => {
            // To git a line ends with a line feed, and with nothing else.
            let old: Vec<&str> = old.split_inclusive('\n').collect();
            let new: Vec<&str> = new.split_inclusive('\n').collect();
            let diff = TextDiff::configure().newline_terminated(true).diff_slices(&old, &new);
            patch += &diff.unified_diff().context_radius(AROUND).header(&from, &to).to_string();
        }
        (_, _) => patch += &format!("Binary files {from} and {to} differ\n"),
    }
    patch
}

/// A path as git quotes it.
fn name(path: &str) -> String {
    let is_plain = |char: char| !char.is_control() && !matches!(char, '"' | '\\');
    if path.chars().all(is_plain) {
        return path.to_owned();
    }
    let quoted = path.bytes().map(|byte| match byte {
        b'"' => "\\\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        other => format!("\\{other:03o}"),
    });
    format!("\"{}\"", quoted.collect::<String>())
}

/// A line of a patch on a terminal: harmless, and in colour.
pub(super) fn shown(line: &str) -> String {
    let clean: Vec<String> = line.split('\t').map(plain_long).collect();
    let clean = clean.join("\t");
    match line.as_bytes().first() {
        Some(b'+') => style(clean).green().to_string(),
        Some(b'-') => style(clean).red().to_string(),
        Some(b'@') => style(clean).cyan().to_string(),
        _ => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(mode: &'static str, text: &str) -> Side {
        Side { mode, text: Some(text.to_owned()) }
    }

    #[test]
    fn a_change_is_a_patch() {
        let (old, new) = (text("100644", "one\nteh\nthree\n"), text("100644", "one\nthe\nthree\n"));
        assert_eq!(
            file("a.txt", Some(&old), Some(&new)),
            "diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n one\n-teh\n+the\n three\n"
        );
        assert_eq!(
            file("a.txt", None, Some(&text("100755", "one"))),
            "diff --git a/a.txt b/a.txt\nnew file mode 100755\n--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1 @@\n+one\n\\ No newline \
             at end of file\n"
        );
        let unread = Side { mode: "100644", text: None };
        assert_eq!(
            file("a.bin", Some(&unread), None),
            "diff --git a/a.bin b/a.bin\ndeleted file mode 100644\nBinary files a/a.bin and /dev/null differ\n"
        );
    }

    #[test]
    fn a_name_that_could_break_a_line_is_quoted_and_a_line_cannot_move_the_cursor() {
        assert_eq!(name("a/b c"), "a/b c");
        assert_eq!(name("a/b\nc\"ä"), "\"a/b\\012c\\\"\\303\\244\"");
        assert_eq!(console::strip_ansi_codes(&shown("+a\u{1b}[2Jb\tc")), "+a [2Jb\tc");
    }
}
