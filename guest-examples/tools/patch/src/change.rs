//! What a diff makes of the files: planned whole, then written whole.

use std::collections::BTreeSet;

use jidoka::{Error, Result, workspace};
use serde::Serialize;

use crate::diff::{Hunk, Patch};
use crate::place::{self, Placed};

/// Bytes of a file, before and after: two of them and their lines must fit this component's memory.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Conflicts that are told; the first ones explain the rest.
pub const MAX_CONFLICTS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Added,
    Modified,
    Removed,
}

/// A file as it was and as it shall be.
#[derive(Debug)]
pub struct Change {
    pub path: String,
    pub kind: Kind,
    pub hunks: Vec<Placed>,
    /// `None` before it is added.
    before: Option<String>,
    /// `None` once it is removed.
    after: Option<String>,
}

/// Works out what a diff makes of each file. Changes nothing.
///
/// # Errors
/// For the model: every conflict, of which the first [`MAX_CONFLICTS`] are told.
pub fn plan(patches: &[Patch]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut conflicts = Vec::new();
    let mut seen = BTreeSet::new();
    for patch in patches {
        let Some(path) = patch.new.as_ref().or(patch.old.as_ref()) else {
            return Err("a file without a name".into());
        };
        if !seen.insert(path) {
            return Err(format!("{path} is twice in the diff: put its hunks together").into());
        }
        match change(path, patch) {
            Ok(change) => changes.push(change),
            Err(words) => conflicts.extend(words.into_iter().map(|words| format!("{path}: {words}"))),
        }
    }
    if conflicts.is_empty() {
        return Ok(changes);
    }
    let count = conflicts.len();
    conflicts.truncate(MAX_CONFLICTS);
    let hidden = match count - conflicts.len() {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    let noun = if count == 1 { "conflict" } else { "conflicts" };
    Err(Error::new(format!("nothing was changed: {count} {noun}\n{}{hidden}", conflicts.join("\n"))))
}

fn change(path: &str, patch: &Patch) -> Result<Change, Vec<String>> {
    let one = |error: Error| vec![error.to_string()];
    let before = read(path).map_err(one)?;
    let (kind, content) = match (&patch.old, &before) {
        (None, None) => (Kind::Added, ""),
        (None, Some(_)) => return Err(vec!["the diff adds it, and it is there already".to_owned()]),
        (Some(_), None) => return Err(vec!["there is no such file".to_owned()]),
        (Some(_), Some(content)) if patch.new.is_some() => (Kind::Modified, content.as_str()),
        (Some(_), Some(content)) => (Kind::Removed, content.as_str()),
    };
    let (after, hunks) = merge(content, &patch.hunks)?;
    fits(path, &after).map_err(one)?;
    let after = match kind {
        Kind::Added | Kind::Modified => Some(after),
        Kind::Removed if after.is_empty() => None,
        Kind::Removed => return Err(vec!["the diff removes it, and it has more lines than the diff".to_owned()]),
    };
    Ok(Change { path: path.to_owned(), kind, hunks, before, after })
}

/// The content with every hunk in its place, or the conflict of each hunk that has none.
fn merge(content: &str, hunks: &[Hunk]) -> Result<(String, Vec<Placed>), Vec<String>> {
    let lines: Vec<&str> = content.split_inclusive('\n').collect();
    let mut merged: Vec<&str> = Vec::with_capacity(lines.len());
    let mut placed = Vec::new();
    let mut conflicts = Vec::new();
    let (mut next, mut drift) = (0, 0);
    for (index, hunk) in hunks.iter().enumerate() {
        match place::locate(&lines, hunk, next, drift) {
            Ok((at, offset)) => {
                merged.extend(&lines[next..at]);
                merged.extend(hunk.new.iter().map(String::as_str));
                placed.push(Placed { line: at + 1, offset });
                (next, drift) = (at + hunk.old.len(), offset);
            }
            Err(words) => conflicts.push(format!("hunk {} ({}): {words}", index + 1, hunk.header)),
        }
    }
    merged.extend(&lines[next..]);
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let glued = merged.iter().rev().skip(1).any(|line| !line.ends_with('\n'));
    if glued {
        return Err(vec!["a line without an end would not be the last of the file".to_owned()]);
    }
    Ok((merged.concat(), placed))
}

/// Writes the changes. Takes back what was written if one cannot be.
///
/// # Errors
/// The first write that failed, and what could not be taken back after it.
pub fn write(changes: &[Change]) -> Result<()> {
    for (index, change) in changes.iter().enumerate() {
        let Err(error) = put(&change.path, change.after.as_deref()) else { continue };
        let mut words = format!("nothing was changed: {error}");
        // The one that failed too: a file that could not be filled may be there, empty.
        for done in changes[..=index].iter().rev() {
            if let Err(error) = put(&done.path, done.before.as_deref()) {
                words += &format!("\nbut {} could not be put back: {error}", done.path);
            }
        }
        return Err(Error::new(words));
    }
    Ok(())
}

fn put(path: &str, content: Option<&str>) -> Result<(), workspace::Error> {
    match content {
        Some(content) => workspace::write(path, content),
        None if workspace::size(path)?.is_some() => workspace::remove(path),
        None => Ok(()),
    }
}

/// The content of a file; `None` if nothing is there.
///
/// # Errors
/// The path is none, or what is there is no text file of at most [`MAX_FILE_BYTES`].
pub fn read(path: &str) -> Result<Option<String>> {
    let Some(bytes) = workspace::size(path)? else {
        return match workspace::exists(path)? {
            true => Err(format!("{path} is not a regular file").into()),
            false => Ok(None),
        };
    };
    if bytes > MAX_FILE_BYTES as u64 {
        return Err(format!("{path} has {bytes} bytes; at most {MAX_FILE_BYTES}").into());
    }
    let content = String::from_utf8(workspace::read_bytes(path)?);
    content.map(Some).map_err(|_| format!("{path} is not text in UTF-8").into())
}

/// # Errors
/// The content is larger than [`MAX_FILE_BYTES`].
pub fn fits(path: &str, content: &str) -> Result<()> {
    match content.len() {
        0..=MAX_FILE_BYTES => Ok(()),
        bytes => Err(format!("{path} would have {bytes} bytes; at most {MAX_FILE_BYTES}").into()),
    }
}
