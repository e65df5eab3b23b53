//! What of a tree is left out: the paths that the job names, what the `.gitignore` files of the base ignore, what the
//! repository around it does, and the host's own directory.
//!
//! The rules are read once, from the tree that a run starts with and from above it, so that a worker cannot choose what is
//! looked at; whatever it writes into such a file later is a change like any other. Never: follows a link. Invariants here:
//! each file whose rules hold is in the base itself, or in the [`LeftOut`] that the run's journal keeps, so a tree restored
//! from them has the same rules; what is below an ignored directory is ignored, whatever a deeper rule says; a deliverable
//! that the job names is not ignored by a rule.

use std::collections::BTreeMap;
use std::io::Read;

use cap_std::fs::Dir;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::node;
use super::walk::{Bounds, ScanError, ancestors, reserved, under};
use crate::rules::digest::Digest;
use crate::rules::left_out::{LeftOut, RulesAbove};

/// The name of the files whose rules hold.
const RULES: &str = ".gitignore";

/// Files with rules in one base. Each costs a matcher, and whoever wrote the project chooses how many there are: large
/// repositories of many packages have hundreds.
const MAX_RULE_FILES: usize = 1_024;

/// Bytes of one file with rules. The longest lists of templates have some ten kilobytes.
const MAX_RULE_FILE_BYTES: u64 = 64 << 10;

/// Bytes of all files with rules together: patterns become automata, which are a hundred times as large.
const MAX_RULE_BYTES: u64 = 1 << 20;

/// What is left out of a tree. As a default: nothing.
#[derive(Clone, Debug, Default)]
pub struct Ignored {
    /// As the job names them, with all below.
    paths: Vec<String>,
    /// Deliverables that the job names: a rule does not take them away.
    delivered: Vec<String>,
    /// All deliverables that the job names. `None`: nobody said, so everything may be one.
    deliverables: Option<Vec<String>>,
    /// By the directory whose rules they are, which is empty for the top. `None`: the base is not asked.
    rules: Option<BTreeMap<String, Rules>>,
    /// The rules of directories above the top, the nearest first, by where the top is below them.
    above: Vec<(String, Gitignore)>,
    /// The host's own directory.
    own: Option<Own>,
    left_out: LeftOut,
}

/// Which directory is the host's own, wherever it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    device: u64,
    inode: u64,
}

/// Nothing.
static NOTHING: LeftOut = LeftOut { paths: Vec::new(), rules: Vec::new() };

/// What a job and the place of its workspace say of what is left out.
#[derive(Clone, Copy, Debug)]
pub struct LeaveOut<'a> {
    pub paths: &'a [String],
    pub deliverables: &'a [String],
    pub left_out: &'a LeftOut,
    pub own: Option<Own>,
}

impl<'a> LeaveOut<'a> {
    /// Of a job that names these deliverables and nothing else, in a workspace that stands alone.
    pub fn of(deliverables: &'a [String]) -> Self {
        Self { paths: &[], deliverables, left_out: &NOTHING, own: None }
    }
}

impl Own {
    /// Of this directory.
    ///
    /// # Errors
    /// The system's.
    pub fn of(dir: &Dir) -> std::io::Result<Self> {
        Ok(Self::from(&rustix::fs::fstat(dir)?))
    }
}

impl From<&Stat> for Own {
    fn from(status: &Stat) -> Self {
        Self { device: status.st_dev, inode: status.st_ino }
    }
}

#[derive(Clone, Debug)]
struct Rules {
    text: Digest,
    matcher: Gitignore,
}

impl Ignored {
    /// These paths with all below them, and nothing by a rule.
    pub fn paths(paths: &[String]) -> Self {
        Self { paths: paths.to_vec(), ..Self::default() }
    }

    /// Of a tree that nothing is applied to: what no worker could see is left out, and so is the host's own directory.
    pub fn of_context(own: Option<Own>) -> Self {
        Self { deliverables: Some(Vec::new()), own, ..Self::default() }
    }

    /// As [`Ignored::paths`], and what the `.gitignore` files below `base`, the rules above it and the host's own directory
    /// leave out. Blocking.
    ///
    /// # Errors
    /// [`ScanError`]: the tree is past its bounds or cannot be read; [`ScanError::Rules`]: a file with rules is.
    pub fn of_base(base: &Dir, bounds: &Bounds, asked: LeaveOut<'_>) -> Result<Self, ScanError> {
        let LeaveOut { paths, deliverables, left_out, own } = asked;
        let mut left = MAX_RULE_BYTES;
        let (mut left_out, mut matchers) = (left_out.clone(), above(&left_out.rules, &mut left)?);
        if is_top_ruled_out(&matchers) {
            // It is no part of that repository.
            left_out.rules.clear();
            matchers.clear();
        }
        let mut ignored = Self {
            paths: paths.iter().chain(&left_out.paths).cloned().collect(),
            delivered: deliverables.iter().filter(|path| *path != ".").cloned().collect(),
            deliverables: Some(deliverables.to_vec()),
            rules: Some(BTreeMap::new()),
            above: matchers,
            own,
            left_out,
        };
        let (mut directories, mut listing) = (0_u64, 0_u64);
        let mut pending = vec![String::new()];
        while let Some(above) = pending.pop() {
            let dir = match open(base, &above).map_err(|errno| ScanError::io(&above, errno)) {
                Ok(dir) => dir,
                Err(ScanError::Changed { .. } | ScanError::Denied { .. }) if ignored.is_outside(&above) => continue,
                Err(error) => return Err(error),
            };
            let status = rustix::fs::fstat(&dir).map_err(|errno| ScanError::io(&above, errno))?;
            if ignored.is_own(&status) {
                if above.is_empty() {
                    return Err(ScanError::Own);
                }
                ignored.paths.push(above.clone());
                ignored.left_out.paths.push(above);
                continue;
            }
            ignored.learn(&dir, &above, &mut left)?;
            let mut below = Vec::new();
            node::list::<Errno>(&dir, |name, kind| {
                // A name that is none is told by whoever copies or scans the tree.
                match (kind, std::str::from_utf8(name)) {
                    (FileType::Directory, Ok(name)) if !reserved(&above, name) => {
                        let path = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
                        if !ignored.covers(&path, true) {
                            below.push(path);
                        }
                    }
                    _ => {}
                }
                Ok(())
            })
            .map_err(|errno| ScanError::io(&above, errno))?;
            for path in &below {
                directories += 1;
                listing = listing.saturating_add(path.len() as u64);
                if directories > bounds.max_files {
                    return Err(ScanError::TooManyFiles { max: bounds.max_files });
                }
                if ancestors(path).count() as u64 >= u64::from(bounds.max_depth) {
                    return Err(ScanError::TooDeep { path: path.clone(), max: bounds.max_depth });
                }
                if listing > bounds.max_listing_bytes {
                    return Err(ScanError::ListingTooLong { max: bounds.max_listing_bytes });
                }
            }
            pending.append(&mut below);
        }
        Ok(ignored)
    }

    /// Whether the rules of the base hold: then its bookkeeping is no progress.
    pub fn asks_base(&self) -> bool {
        self.rules.is_some()
    }

    /// What is left out beside what the job and the base say: for whoever looks at the same tree later.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Whether a path is none of the run's business: neither among the deliverables nor above one.
    pub(super) fn is_outside(&self, path: &str) -> bool {
        let Some(deliverables) = &self.deliverables else { return false };
        !under(deliverables, path) && !deliverables.iter().any(|delivered| path.is_empty() || under(&[path], delivered))
    }

    /// Whether a path is among the deliverables.
    pub(super) fn is_within(&self, path: &str) -> bool {
        self.deliverables.as_ref().is_none_or(|deliverables| under(deliverables, path))
    }

    /// Whether this is the host's own directory.
    pub(super) fn is_own(&self, status: &Stat) -> bool {
        self.own.is_some_and(|own| own == Own::from(status))
    }

    /// Whether both have the same rules, from the same files.
    pub fn has_rules_of(&self, other: &Self) -> bool {
        let texts = |ignored: &Self| -> Option<Vec<(String, Digest)>> {
            let rules = ignored.rules.as_ref()?;
            Some(rules.iter().map(|(dir, rules)| (dir.clone(), rules.text)).collect())
        };
        texts(self) == texts(other)
    }

    /// Whether a path is left out, whatever is there.
    pub fn covers(&self, path: &str, is_directory: bool) -> bool {
        if under(&self.paths, path) {
            return true;
        }
        if !self.has_rules() || self.is_kept(path) {
            return false;
        }
        let within = |above: &&String| path.len() > above.len() && under(std::slice::from_ref(above), path);
        let floor = self.delivered.iter().filter(within).map(String::len).max().unwrap_or(0);
        let above = ancestors(path).filter(|above| above.len() > floor);
        above.into_iter().any(|above| self.is_ruled_out(above, true)) || self.is_ruled_out(path, is_directory)
    }

    /// As [`Ignored::covers`], of a path in a directory that is not left out: a walk asks this of every name.
    pub(super) fn covers_here(&self, path: &str, is_directory: bool) -> bool {
        if !self.delivered.is_empty() {
            // The directory may be there only for a deliverable below it.
            return self.covers(path, is_directory);
        }
        under(&self.paths, path) || self.has_rules() && !self.is_kept(path) && self.is_ruled_out(path, is_directory)
    }

    fn has_rules(&self) -> bool {
        !self.above.is_empty() || self.rules.as_ref().is_some_and(|rules| !rules.is_empty())
    }

    /// Whether no rule takes this path away: a deliverable, what is above one, and a file whose rules hold.
    fn is_kept(&self, path: &str) -> bool {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_rules = name == RULES && self.rules.as_ref().is_some_and(|rules| rules.contains_key(above));
        is_rules || self.delivered.iter().any(|delivered| under(&[path], delivered))
    }

    /// Whether a rule ignores exactly this path: the rules of the nearest directory count most, and there the last. Those above
    /// the top come after its own.
    fn is_ruled_out(&self, path: &str, is_directory: bool) -> bool {
        let Some(rules) = &self.rules else { return false };
        let mut end = path.rfind('/');
        loop {
            let (above, below) = match end {
                Some(end) => (&path[..end], &path[end + 1..]),
                None => ("", path),
            };
            if let Some(rules) = rules.get(above) {
                match rules.matcher.matched(below, is_directory) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
            match end {
                Some(_) => end = above.rfind('/'),
                None => break,
            }
        }
        for (top, matcher) in &self.above {
            let below = if top.is_empty() { path.to_owned() } else { format!("{top}/{path}") };
            match matcher.matched(below, is_directory) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }

    /// Takes in the rules of one directory, if it has any.
    fn learn(&mut self, dir: &Dir, above: &str, left: &mut u64) -> Result<(), ScanError> {
        let path = if above.is_empty() { RULES.to_owned() } else { format!("{above}/{RULES}") };
        let Some(rules) = &mut self.rules else { return Ok(()) };
        if under(&self.paths, &path) {
            return Ok(());
        }
        match node::status(dir, RULES) {
            // As git does: a link is no file with rules.
            Ok(status) if node::file_type(&status) == FileType::RegularFile => {}
            Ok(_) | Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(ScanError::io(&path, errno)),
        }
        let wrong = |why: String| ScanError::Rules { path: path.clone(), why };
        if rules.len() == MAX_RULE_FILES {
            return Err(wrong(format!("there are more than {MAX_RULE_FILES} files with rules, the most allowed")));
        }
        let mut bytes = Vec::new();
        let file = node::open_file(dir, RULES).map_err(|errno| ScanError::io(&path, errno))?;
        file.take(MAX_RULE_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| ScanError::Io { path: path.clone(), source })?;
        let text = Digest::from_bytes(*blake3::hash(&bytes).as_bytes());
        let matcher = bounded(&bytes, left).map_err(wrong)?;
        rules.insert(above.to_owned(), Rules { text, matcher });
        Ok(())
    }
}

/// Matchers of the rules above a tree.
fn above(rules: &[RulesAbove], left: &mut u64) -> Result<Vec<(String, Gitignore)>, ScanError> {
    let matcher = |RulesAbove { name, top, text }: &RulesAbove| {
        let wrong = |why| ScanError::Rules { path: name.clone(), why };
        Ok((top.clone(), bounded(text.as_bytes(), left).map_err(wrong)?))
    };
    rules.iter().map(matcher).collect()
}

/// Whether the repository that these rules are of ignores the tree itself, or a directory that it is in.
fn is_top_ruled_out(matchers: &[(String, Gitignore)]) -> bool {
    let Some(whole) = matchers.iter().map(|(top, _)| top).max_by_key(|top| top.len()) else { return false };
    ancestors(whole).chain((!whole.is_empty()).then_some(whole.as_str())).any(|path| {
        for (top, matcher) in matchers {
            // The directory of the rules, and what is below it.
            let below = path.get(whole.len() - top.len()..).filter(|below| !below.is_empty());
            match below.map_or(Match::None, |below| matcher.matched(below, true)) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    })
}

/// A matcher of the rules of one file, if they are no more than the host reads.
fn bounded(bytes: &[u8], left: &mut u64) -> Result<Gitignore, String> {
    if bytes.len() as u64 > MAX_RULE_FILE_BYTES {
        return Err(format!("it has more than {MAX_RULE_FILE_BYTES} bytes, the most allowed"));
    }
    *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
        format!("with it the files with rules have more than {MAX_RULE_BYTES} bytes, the most allowed")
    })?;
    matcher(std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?)
}

/// A matcher of these lines. A line that is no pattern matches nothing, as in git. Unlike git's, a class such as `[!a]` in the
/// middle of a name also matches a `/`.
fn matcher(text: &str) -> Result<Gitignore, String> {
    let mut builder = GitignoreBuilder::new(".");
    for line in text.trim_start_matches('\u{feff}').lines() {
        if !line.trim_matches(['!', '/', '\\', ' ']).is_empty() {
            drop(builder.add_line(None, &as_git_means(line)));
        }
    }
    builder.build().map_err(|error| format!("its patterns are too large together: {error}"))
}

/// Named sets of characters inside a class, which the matcher does not know.
const SETS: [(&str, &str); 8] = [
    ("[:alnum:]", "a-zA-Z0-9"),
    ("[:alpha:]", "a-zA-Z"),
    ("[:blank:]", " \t"),
    ("[:digit:]", "0-9"),
    ("[:lower:]", "a-z"),
    ("[:space:]", " \t\r\n"),
    ("[:upper:]", "A-Z"),
    ("[:xdigit:]", "0-9a-fA-F"),
];

/// The line as the matcher must read it to mean what it means to git: every brace escaped, which to git is a character and
/// begins alternatives to the matcher, nested as deep as a stranger likes; and named sets spelled out.
fn as_git_means(line: &str) -> String {
    let mut meant = String::with_capacity(line.len());
    let (mut rest, mut in_class) = (line, false);
    while let Some(character) = rest.chars().next() {
        let set = SETS.iter().find(|(name, _)| in_class && rest.starts_with(name));
        if let Some((name, characters)) = set {
            meant.push_str(characters);
            rest = &rest[name.len()..];
            continue;
        }
        rest = &rest[character.len_utf8()..];
        if matches!(character, '{' | '}') {
            meant.push('\\');
        }
        meant.push(character);
        match character {
            '\\' => {
                let escaped = rest.chars().next();
                meant.extend(escaped);
                rest = &rest[escaped.map_or(0, char::len_utf8)..];
            }
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
    }
    meant
}

fn open(base: &Dir, path: &str) -> Result<Dir, Errno> {
    match node::components(path) {
        None => node::open_dir(base, "."),
        Some(parts) => {
            let (parent, name) = node::parent(base, &parts).map_err(|(_, errno)| errno)?;
            node::open_dir(&parent, name)
        }
    }
}

#[cfg(test)]
mod tests;
