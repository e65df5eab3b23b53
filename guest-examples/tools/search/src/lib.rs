//! The tool `search`: lines of the files of `/work` that match a pattern.
//!
//! Never: writes, follows a symbolic link, or answers more than its caps. Files come in the order of their paths, so the same
//! files give the same answer; what is left out is told.

mod paths;
mod text;

use jidoka::{Error, Result, workspace};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::paths::Paths;
use crate::text::Text;

/// Bytes of a pattern: a long alternation fits, a whole file does not.
const MAX_PATTERN_BYTES: usize = 1024;
/// Bytes of a compiled pattern; counted repetitions of repetitions grow beyond any use.
const MAX_COMPILED_BYTES: usize = 1 << 20;
/// Lines that match, at most; a model that reads more has asked too widely.
const MAX_MATCHES: usize = 500;
/// Lines that match unless the call says otherwise.
const DEFAULT_MATCHES: usize = 100;
/// Lines before and after a match.
const MAX_CONTEXT: usize = 10;
/// Bytes of a file that is read: what is larger is data, and would fill this component's memory.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Bytes that one call reads: some seconds of a slow host.
const MAX_READ_BYTES: u64 = 64 << 20;
/// Bytes of all lines in the answer: some 8,000 tokens.
const MAX_TEXT_BYTES: usize = 32 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    pattern: String,
    #[serde(default)]
    literal: bool,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    context: usize,
    max_matches: Option<usize>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Output {
    /// Lines that match, as `PATH:LINE: TEXT`; lines around them as `PATH-LINE- TEXT`.
    text: String,
    matches: usize,
    /// Files that were read to their end or to where the search was cut.
    files: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
    /// Why there may be more than this says.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
}

/// Files that were chosen and not searched.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Skipped {
    why: &'static str,
    files: usize,
    /// The first of them.
    first: String,
}

/// Searches the files of the workspace for a regular expression, line by line, and returns the lines that match with their
/// paths and line numbers. Binary files, files over 1 MiB and symbolic links are skipped. The answer says if it was cut.
#[jidoka::tool(schema = r#"{
    "type": "object",
    "properties": {
        "pattern": {
            "type": "string", "minLength": 1, "maxLength": 1024,
            "description": "A regular expression in Rust's syntax (no look-around, no back-references)."
        },
        "literal": {"type": "boolean", "description": "Take the pattern as plain text. Default false."},
        "ignore_case": {"type": "boolean", "description": "Default false."},
        "paths": {
            "type": "array", "maxItems": 32, "items": {"type": "string", "minLength": 1, "maxLength": 256},
            "description": "Globs of the files to search, relative to the workspace, for example src/**/*.rs. Default: all."
        },
        "exclude": {
            "type": "array", "maxItems": 32, "items": {"type": "string", "minLength": 1, "maxLength": 256},
            "description": "Globs of files to leave out."
        },
        "context": {
            "type": "integer", "minimum": 0, "maximum": 10,
            "description": "Lines to show before and after each match. Default 0."
        },
        "max_matches": {
            "type": "integer", "minimum": 1, "maximum": 500,
            "description": "Lines that match, at most. Default 100."
        }
    },
    "required": ["pattern"],
    "additionalProperties": false
}"#)]
fn search(input: Input) -> Result<Output> {
    let pattern = pattern(&input)?;
    let paths = Paths::new(&input.paths, &input.exclude)?;
    let most = input.max_matches.unwrap_or(DEFAULT_MATCHES);
    if most == 0 || most > MAX_MATCHES {
        return Err(format!("`max_matches` is {most}; allowed are 1 to {MAX_MATCHES}").into());
    }
    if input.context > MAX_CONTEXT {
        return Err(format!("`context` is {}; at most {MAX_CONTEXT}", input.context).into());
    }
    let mut search = Search { pattern, context: input.context, most, read: 0, found: Output::default() };
    for path in workspace::files()? {
        if paths.choose(&path) {
            search.file(&path)?;
        }
        if search.found.cut.is_some() {
            break;
        }
    }
    Ok(search.found)
}

fn pattern(input: &Input) -> Result<Regex> {
    let given = &input.pattern;
    if given.is_empty() || given.len() > MAX_PATTERN_BYTES {
        return Err(format!("`pattern` has {} bytes; allowed are 1 to {MAX_PATTERN_BYTES}", given.len()).into());
    }
    let escaped = if input.literal { regex::escape(given) } else { given.clone() };
    RegexBuilder::new(&escaped)
        .case_insensitive(input.ignore_case)
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| Error::new(error).context("`pattern`"))
}

/// A search under way.
struct Search {
    pattern: Regex,
    context: usize,
    most: usize,
    /// Bytes.
    read: u64,
    found: Output,
}

impl Search {
    fn file(&mut self, path: &str) -> Result<()> {
        let bytes = match workspace::size(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.skip("not a regular file", path);
                return Ok(());
            }
            // A name that the host's own check does not take.
            Err(workspace::Error::Path { .. }) => {
                self.skip("a name that cannot be used", path);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if bytes > MAX_FILE_BYTES {
            self.skip("larger than 1 MiB", path);
            return Ok(());
        }
        if self.read.saturating_add(bytes) > MAX_READ_BYTES {
            self.found.cut = Some(format!("before {path}: {MAX_READ_BYTES} bytes are read in one call"));
            return Ok(());
        }
        let content = workspace::read_bytes(path)?;
        self.read = self.read.saturating_add(bytes);
        match Text::of(&content) {
            Some(text) => self.lines(path, &text),
            None => self.skip("binary", path),
        }
        Ok(())
    }

    fn lines(&mut self, path: &str, text: &Text<'_>) {
        self.found.files += 1;
        let lines = text.lines();
        // The first line of this file that the answer does not have yet.
        let mut next = 0;
        // The last line that is wanted as context of the match before.
        let mut wanted = 0;
        for (index, line) in lines.iter().enumerate() {
            let matches = self.pattern.is_match(line);
            if !matches && index >= wanted {
                continue;
            }
            if matches && self.found.matches == self.most {
                self.found.cut = Some(format!("after {} matches, at {path}:{}", self.most, index + 1));
                return;
            }
            let first = if matches { index.saturating_sub(self.context).max(next) } else { index };
            for (at, shown) in lines.iter().enumerate().take(index + 1).skip(first) {
                if !self.tell(path, at, shown, matches && at == index) {
                    return;
                }
            }
            next = index + 1;
            if matches {
                self.found.matches += 1;
                wanted = next + self.context;
            }
        }
    }

    /// Adds a line to the answer. `false` if there is no room for it.
    fn tell(&mut self, path: &str, index: usize, line: &str, matches: bool) -> bool {
        let sign = if matches { ':' } else { '-' };
        let told = format!("{path}{sign}{}{sign} {}\n", index + 1, text::shown(line));
        if self.found.text.len() + told.len() > MAX_TEXT_BYTES {
            self.found.cut = Some(format!("after {MAX_TEXT_BYTES} bytes, at {path}:{}", index + 1));
            return false;
        }
        self.found.text.push_str(&told);
        true
    }

    fn skip(&mut self, why: &'static str, path: &str) {
        match self.found.skipped.iter_mut().find(|skipped| skipped.why == why) {
            Some(skipped) => skipped.files += 1,
            None => self.found.skipped.push(Skipped { why, files: 1, first: path.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests;
