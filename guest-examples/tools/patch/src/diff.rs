//! Unified diffs as text: files, hunks and their lines.
//!
//! Never: takes what it does not understand for something else. A header that counts wrong, a rename, a change of a mode and
//! a binary patch are refused, with the line of the diff.

use std::iter::Peekable;
use std::str::Split;

use jidoka::{Error, Result};

/// Files of one diff.
pub const MAX_FILES: usize = 64;
/// Hunks of one file.
pub const MAX_HUNKS: usize = 256;
/// Lines of one hunk, so that looking for its place stays cheap.
pub const MAX_HUNK_LINES: usize = 2_000;

const NOTHING: &str = "/dev/null";

/// The changes of one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Patch {
    /// `None` if the file is new.
    pub old: Option<String>,
    /// `None` if the file is removed.
    pub new: Option<String>,
    pub hunks: Vec<Hunk>,
}

/// Lines of one place. Each has its end, unless the diff says that it has none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hunk {
    /// As it stands in the diff, for a person.
    pub header: String,
    /// The first old line, from 1; with no old lines, the line before.
    pub start: usize,
    /// What must be there.
    pub old: Vec<String>,
    /// What shall be there.
    pub new: Vec<String>,
}

/// Reads a diff.
///
/// # Errors
/// For the model: the line, and what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Patch>> {
    // Not `lines`: a carriage return is of the line.
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    let mut reader = Reader { lines: lines.peekable(), number: 0, is_behind_a_file: false };
    let mut patches = Vec::new();
    while let Some(patch) = reader.patch()? {
        if patches.len() == MAX_FILES {
            return Err(reader.wrong(&format!("more than {MAX_FILES} files in one diff")));
        }
        patches.push(patch);
    }
    if patches.is_empty() {
        return Err("the diff has no file: each begins with `--- a/PATH` and `+++ b/PATH`".into());
    }
    Ok(patches)
}

struct Reader<'a> {
    lines: Peekable<Split<'a, char>>,
    /// Of the line that was read last, from 1.
    number: usize,
    /// Before the first file there may be prose; behind it, what looks like a line of a hunk is one that was not counted.
    is_behind_a_file: bool,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.next()?;
        self.number += 1;
        Some(line)
    }

    fn peek(&mut self) -> Option<&'a str> {
        self.lines.peek().copied()
    }

    fn wrong(&self, why: &str) -> Error {
        Error::new(format!("line {} of the diff: {why}", self.number))
    }

    /// The next file, after what git writes above it. `None` at the end.
    fn patch(&mut self) -> Result<Option<Patch>> {
        // What git says in words of a file without hunks.
        let mut git: Option<Git> = None;
        loop {
            let Some(line) = self.peek() else {
                return match git {
                    Some(git) => self.empty(git).map(Some),
                    None => Ok(None),
                };
            };
            if let Some(names) = line.strip_prefix("diff --git ") {
                if let Some(git) = git {
                    return self.empty(git).map(Some);
                }
                self.next();
                git = Some(Git { names: names.to_owned(), kind: GitKind::Unsaid });
                continue;
            }
            self.next();
            if let Some(old) = line.strip_prefix("--- ") {
                return self.file(old).map(Some);
            }
            if line.starts_with("@@ ") {
                return Err(self.wrong("a hunk without its file: `--- a/PATH` and `+++ b/PATH` come first"));
            }
            match &mut git {
                Some(git) => self.extended(line, git)?,
                None if self.is_behind_a_file && is_of_a_hunk(line) => {
                    return Err(self.wrong("a line that belongs to no hunk"));
                }
                None => {}
            }
        }
    }

    /// One of git's lines between `diff --git` and `---`.
    fn extended(&self, line: &str, git: &mut Git) -> Result<()> {
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        if begins(&["new file mode "]) {
            git.kind = GitKind::New;
        } else if begins(&["deleted file mode "]) {
            git.kind = GitKind::Removed;
        } else if begins(&["rename ", "copy "]) {
            return Err(self.wrong("renames and copies are not served: remove the one file and add the other"));
        } else if begins(&["old mode ", "new mode "]) {
            return Err(self.wrong("changes of a file's mode are not served"));
        } else if begins(&["Binary files ", "GIT binary patch"]) {
            return Err(self.wrong("binary files are not served"));
        }
        Ok(())
    }

    /// A file without hunks: one that is new or removed, and empty.
    fn empty(&self, git: Git) -> Result<Patch> {
        let half = git.names.len() / 2;
        let name = match (git.names.get(..half), git.names.get(half + 1..)) {
            (Some(old), Some(new)) => (old.strip_prefix("a/"), new.strip_prefix("b/")),
            _ => (None, None),
        };
        let path = match name {
            (Some(old), Some(new)) if old == new => old.to_owned(),
            _ => return Err(self.wrong("a file without hunks, whose two names differ")),
        };
        match git.kind {
            GitKind::New => Ok(Patch { old: None, new: Some(path), hunks: Vec::new() }),
            GitKind::Removed => Ok(Patch { old: Some(path), new: None, hunks: Vec::new() }),
            GitKind::Unsaid => Err(self.wrong(&format!("{path} has no hunks"))),
        }
    }

    /// From behind `--- ` to the end of its last hunk.
    fn file(&mut self, old: &str) -> Result<Patch> {
        let old = self.name(old)?;
        let new = match self.next().and_then(|line| line.strip_prefix("+++ ")) {
            Some(new) => self.name(new)?,
            None => return Err(self.wrong("after `--- PATH` comes `+++ PATH`")),
        };
        let (old, new) = match (old, new) {
            (None, None) => return Err(self.wrong("both names are /dev/null")),
            (Some(old), Some(new)) => match (old.strip_prefix("a/"), new.strip_prefix("b/")) {
                (Some(old), Some(new)) => (Some(old.to_owned()), Some(new.to_owned())),
                _ => (Some(old), Some(new)),
            },
            (Some(old), None) => (Some(old.strip_prefix("a/").unwrap_or(&old).to_owned()), None),
            (None, Some(new)) => (None, Some(new.strip_prefix("b/").unwrap_or(&new).to_owned())),
        };
        if old.is_some() && new.is_some() && old != new {
            return Err(
                self.wrong("the two names differ; renames are not served: remove the one file and add the other")
            );
        }
        let mut hunks = Vec::new();
        while self.peek().is_some_and(|line| line.starts_with("@@ ")) {
            if hunks.len() == MAX_HUNKS {
                return Err(self.wrong(&format!("more than {MAX_HUNKS} hunks of one file")));
            }
            hunks.push(self.hunk()?);
        }
        if hunks.is_empty() {
            return Err(self.wrong("after the names of a file comes its first hunk, `@@ -LINE,COUNT +LINE,COUNT @@`"));
        }
        self.is_behind_a_file = true;
        Ok(Patch { old, new, hunks })
    }

    /// A name as diffs write it. `None` is `/dev/null`.
    fn name(&self, text: &str) -> Result<Option<String>> {
        // Some tools put a time behind it, after a tab.
        let name = text.split('\t').next().unwrap_or_default().trim_end();
        if name.starts_with('"') {
            return Err(self.wrong("quoted names are not served: write it without quotes"));
        }
        if name.is_empty() {
            return Err(self.wrong("an empty name"));
        }
        Ok((name != NOTHING).then(|| name.to_owned()))
    }

    fn hunk(&mut self) -> Result<Hunk> {
        let header = self.next().unwrap_or_default();
        let begin = self.number;
        let Some((old, new)) = ranges(header) else {
            return Err(self.wrong("a hunk begins with `@@ -LINE,COUNT +LINE,COUNT @@`"));
        };
        if old.count.saturating_add(new.count) > MAX_HUNK_LINES {
            return Err(self.wrong(&format!("more than {MAX_HUNK_LINES} old and new lines in one hunk")));
        }
        let mut hunk = Hunk { header: header.trim_end().to_owned(), start: old.start, ..Hunk::default() };
        let mut last = Side::Both;
        while hunk.old.len() < old.count || hunk.new.len() < new.count {
            let Some(line) = self.peek().filter(|line| !ends_a_hunk(line)) else { break };
            self.next();
            last = self.line(line, last, &mut hunk)?;
        }
        if let Some(line) = self.peek().filter(|line| line.starts_with('\\')) {
            self.next();
            self.line(line, last, &mut hunk)?;
        }
        let counted = (hunk.old.len(), hunk.new.len());
        if counted != (old.count, new.count) || self.peek().is_some_and(is_of_a_hunk) {
            let follow = if counted.0 < old.count || counted.1 < new.count {
                format!("{} and {}", counted.0, counted.1)
            } else {
                "more".to_owned()
            };
            self.number = begin;
            return Err(self.wrong(&format!(
                "its header says {} old and {} new lines, and {follow} follow (a line with a space counts for both)",
                old.count, new.count
            )));
        }
        Ok(hunk)
    }

    /// One line of a hunk; `last` is what the line before it was.
    fn line(&self, line: &str, last: Side, hunk: &mut Hunk) -> Result<Side> {
        let (side, text) = match line.split_at_checked(1) {
            // Editors take the space off an empty line.
            None if line.is_empty() => (Side::Both, ""),
            Some(("\r", "")) => (Side::Both, "\r"),
            Some((" ", text)) => (Side::Both, text),
            Some(("-", text)) => (Side::Old, text),
            Some(("+", text)) => (Side::New, text),
            // `\ No newline at end of file`, about the line before it.
            Some(("\\", _)) => {
                for side in last.of(hunk) {
                    if let Some(line) = side.last_mut() {
                        line.truncate(line.trim_end_matches('\n').len());
                    }
                }
                return Ok(last);
            }
            Some(_) | None => return Err(self.wrong("a line of a hunk begins with a space, `-` or `+`")),
        };
        for side in side.of(hunk) {
            side.push(format!("{text}\n"));
        }
        Ok(side)
    }
}

/// Where a line of a hunk stands.
#[derive(Clone, Copy)]
enum Side {
    Old,
    New,
    Both,
}

impl Side {
    fn of(self, hunk: &mut Hunk) -> Vec<&mut Vec<String>> {
        match self {
            Side::Old => vec![&mut hunk.old],
            Side::New => vec![&mut hunk.new],
            Side::Both => vec![&mut hunk.old, &mut hunk.new],
        }
    }
}

/// What git says of a file above its hunks.
struct Git {
    /// `a/PATH b/PATH`.
    names: String,
    kind: GitKind,
}

enum GitKind {
    New,
    Removed,
    Unsaid,
}

struct Range {
    start: usize,
    count: usize,
}

/// The two ranges of `@@ -1,2 +3,4 @@ anything`.
fn ranges(header: &str) -> Option<(Range, Range)> {
    let (ranges, _) = header.strip_prefix("@@ ")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(' ')?;
    Some((range(old.strip_prefix('-')?)?, range(new.strip_prefix('+')?)?))
}

fn range(text: &str) -> Option<Range> {
    let (start, count) = text.split_once(',').unwrap_or((text, "1"));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    Some(Range { start: number(start)?, count: number(count)? })
}

/// Whether a line cannot be of a hunk whose header asks for more.
fn ends_a_hunk(line: &str) -> bool {
    line.starts_with("@@ ") || line.starts_with("diff --git ")
}

/// Whether a line can only be of a hunk whose header asked for less.
fn is_of_a_hunk(line: &str) -> bool {
    let of_a_file = line.starts_with("--- ") || line.starts_with("-- ") || line == "--";
    line.starts_with([' ', '+', '-']) && !of_a_file
}
