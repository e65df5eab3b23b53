//! The tool `patch`: changes files of `/work`, by a unified diff or by replacing a text that is there once.
//!
//! Never: guesses. A hunk goes where its lines are, all of them; a shift is told, and two places that fit are none. Nothing is
//! written before everything fits, and a write that fails takes back those before it.

mod change;
mod diff;
mod place;

/// The functions that a model is offered.
#[jidoka::tool]
mod tools {
    use jidoka::{Result, workspace};
    use serde::{Deserialize, Serialize};

    use crate::change::{self, Change, Kind};
    use crate::diff;
    use crate::place::{self, Placed};

    /// Bytes of a diff: hundreds of hunks as models write them.
    pub(crate) const MAX_DIFF_BYTES: usize = 256 << 10;
    /// Bytes of a text to replace, and of the text to put there.
    pub(crate) const MAX_TEXT_BYTES: usize = 64 << 10;
    /// Places of a text that are named if there are several.
    pub(crate) const MAX_PLACES: usize = 10;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Apply {
        pub diff: String,
        #[serde(default)]
        pub dry_run: bool,
    }

    #[derive(Debug, PartialEq, Eq, Serialize)]
    pub struct Applied {
        /// `false` after a dry run.
        pub written: bool,
        pub files: Vec<File>,
    }

    /// What became of one file.
    #[derive(Debug, PartialEq, Eq, Serialize)]
    pub struct File {
        pub path: String,
        pub change: Kind,
        pub hunks: Vec<Placed>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Replace {
        pub path: String,
        pub old: String,
        pub new: String,
    }

    #[derive(Debug, PartialEq, Eq, Serialize)]
    pub struct Replaced {
        pub path: String,
        /// Of the first line that changed, from 1.
        pub line: usize,
    }

    /// Applies a unified diff, as git writes them, to the files of the workspace. All of it is applied or nothing: if a hunk
    /// does not fit, the error says which, what was expected, what is there, and where it fits best. A hunk must match
    /// exactly; if its lines are found at another place only, it is applied there and the offset is told.
    #[schema(r#"{
        "type": "object",
        "properties": {
            "diff": {
                "type": "string", "minLength": 1, "maxLength": 262144,
                "description": "Lines `--- a/PATH`, `+++ b/PATH` for each file, then hunks: `@@ -LINE,COUNT +LINE,COUNT @@` and lines that begin with a space, `-` or `+`. /dev/null stands for a file that is new, or removed. Paths are relative to the workspace."
            },
            "dry_run": {"type": "boolean", "description": "Only say whether it fits. Default false."}
        },
        "required": ["diff"],
        "additionalProperties": false
    }"#)]
    pub fn apply(input: Apply) -> Result<Applied> {
        if input.diff.is_empty() || input.diff.len() > MAX_DIFF_BYTES {
            return Err(format!("`diff` has {} bytes; allowed are 1 to {MAX_DIFF_BYTES}", input.diff.len()).into());
        }
        let patches = diff::parse(&input.diff)?;
        let changes = change::plan(&patches)?;
        if !input.dry_run {
            change::write(&changes)?;
        }
        let files = changes.into_iter().map(|Change { path, kind, hunks, .. }| File { path, change: kind, hunks });
        Ok(Applied { written: !input.dry_run, files: files.collect() })
    }

    /// Replaces a text in a file of the workspace. The old text must be there exactly once, white space included; if it is
    /// not there, or more than once, nothing is changed and the error says where.
    #[schema(
        r#"{
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1, "description": "The file, relative to the workspace."},
            "old": {
                "type": "string", "minLength": 1, "maxLength": 65536,
                "description": "The text to replace, with enough around it to be there only once."
            },
            "new": {"type": "string", "maxLength": 65536, "description": "The text to put there."}
        },
        "required": ["path", "old", "new"],
        "additionalProperties": false
    }"#
    )]
    pub fn replace(input: Replace) -> Result<Replaced> {
        let Replace { path, old, new } = input;
        for (name, text) in [("old", &old), ("new", &new)] {
            if text.len() > MAX_TEXT_BYTES {
                return Err(format!("`{name}` has {} bytes; at most {MAX_TEXT_BYTES}", text.len()).into());
            }
        }
        if old.is_empty() {
            return Err("`old` is empty; it must name a text of the file".into());
        }
        let content = change::read(&path)?.ok_or_else(|| format!("there is no file {path:?}"))?;
        let line_of = |at: usize| content[..at].matches('\n').count() + 1;
        let mut places = place::occurrences(&content, &old);
        let Some(at) = places.next() else {
            return Err(
                format!("nothing was changed: {path} does not have this text{}", place::hint(&content, &old)).into()
            );
        };
        let more: Vec<String> = places.take(MAX_PLACES).map(|at| line_of(at).to_string()).collect();
        if !more.is_empty() {
            let first = line_of(at);
            let lines = more.join(", ");
            let words =
                format!("nothing was changed: {path} has this text more than once, at the lines {first}, {lines}");
            return Err(words.into());
        }
        let changed = format!("{}{new}{}", &content[..at], &content[at + old.len()..]);
        change::fits(&path, &changed)?;
        workspace::write(&path, changed)?;
        Ok(Replaced { line: line_of(at), path })
    }
}

#[cfg(test)]
mod tests;
