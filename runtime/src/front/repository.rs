//! The git repository around a workspace: what its files above and beside it say is to be ignored below.
//!
//! Read as git reads them: `.gitignore` in each directory above, up to the one that holds `.git`; `info/exclude` of that
//! repository; `core.excludesFile` or the user's `git/ignore`. Of git's configuration only the files themselves are read, no
//! includes. Never: runs git, decides what is ignored. Invariant here: rules that are there and cannot be read are no empty ones.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::rules::left_out::{LeftOut, RulesAbove};

/// Bytes of a file of git's: all are written by hand or by git, a line at a time. Of rules the host takes less.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What of the machine is asked.
pub(super) struct Lookup<'a> {
    /// Reads a file of at most so many bytes.
    pub(super) read: &'a dyn Fn(&Path, u64) -> io::Result<Vec<u8>>,
    /// A variable of the environment.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// What the repository around this workspace leaves out of it.
///
/// # Errors
/// A file with rules is there and cannot be read: then nobody knows what is to be left out.
pub(super) fn left_out(asked: &Lookup<'_>, workspace: &Path) -> anyhow::Result<LeftOut> {
    // One that is not there is told by whoever opens it.
    let Ok(workspace) = workspace.canonicalize() else { return Ok(LeftOut::default()) };
    let is_top = |dir: &&Path| dir.join(".git").symlink_metadata().is_ok();
    let Some(top) = workspace.ancestors().find(is_top) else { return Ok(LeftOut::default()) };
    let mut files: Vec<(PathBuf, &Path)> = Vec::new();
    for dir in workspace.ancestors().skip(1).take_while(|dir| dir.starts_with(top)) {
        let file = dir.join(".gitignore");
        // As git does: a link is no file with rules.
        if file.symlink_metadata().is_ok_and(|it| it.is_file()) {
            files.push((file, dir));
        }
    }
    let own = own_directory(asked, top)?;
    let beside = [Some(own.join("info/exclude")), users(asked, &own)?];
    for file in beside.into_iter().flatten() {
        if is_there(&file)? {
            files.push((file, top));
        }
    }
    let mut rules = Vec::with_capacity(files.len());
    for (file, dir) in files {
        let below = workspace.strip_prefix(dir).context("a directory above the workspace")?;
        rules.push(RulesAbove {
            name: file.display().to_string(),
            // What is not UTF-8 matches as far as it is.
            top: below.to_string_lossy().into_owned(),
            text: text(asked, &file, MAX_CONFIG_BYTES)?,
        });
    }
    Ok(LeftOut { paths: Vec::new(), rules })
}

/// Where a repository keeps what is its own: `.git`, or what a `.git` file leads to.
fn own_directory(asked: &Lookup<'_>, top: &Path) -> anyhow::Result<PathBuf> {
    let git = top.join(".git");
    if !git.is_file() {
        return Ok(git);
    }
    let led = text(asked, &git, MAX_CONFIG_BYTES)?;
    let Some(led) = led.strip_prefix("gitdir:") else { return Ok(git) };
    let own = top.join(led.trim());
    let common = own.join("commondir");
    match common.is_file() {
        // A work tree beside others: the rules are those of all.
        true => Ok(own.join(text(asked, &common, MAX_CONFIG_BYTES)?.trim())),
        false => Ok(own),
    }
}

/// The file with the rules of the user, as git's configuration names it.
fn users(asked: &Lookup<'_>, own: &Path) -> anyhow::Result<Option<PathBuf>> {
    let home = (asked.variable)("HOME").map(PathBuf::from);
    let set = (asked.variable)("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = set.or_else(|| home.as_ref().map(|home| home.join(".config")));
    let mut named = None;
    let configurations = [
        Some(PathBuf::from("/etc/gitconfig")),
        config.as_ref().map(|config| config.join("git/config")),
        home.as_ref().map(|home| home.join(".gitconfig")),
        Some(own.join("config")),
    ];
    for file in configurations.into_iter().flatten() {
        if is_there(&file)? {
            named = excludes_file(&text(asked, &file, MAX_CONFIG_BYTES)?).or(named);
        }
    }
    match (named, home) {
        (None, _) => Ok(config.map(|config| config.join("git/ignore"))),
        (Some(named), _) if named.is_empty() => Ok(None),
        (Some(named), Some(home)) if named.starts_with("~/") => Ok(Some(home.join(&named[2..]))),
        (Some(named), _) if Path::new(&named).is_absolute() => Ok(Some(PathBuf::from(named))),
        (Some(named), _) => {
            anyhow::bail!("git's core.excludesFile is {named:?}, and it is not known which file that is")
        }
    }
}

/// Whether a file is there. One that may not be looked at is an error: it may have rules.
fn is_there(file: &Path) -> anyhow::Result<bool> {
    match file.metadata() {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("look at {}", file.display())),
    }
}

/// `core.excludesFile` as it stands last in a configuration of git's.
fn excludes_file(text: &str) -> Option<String> {
    let (mut in_core, mut named) = (false, None);
    for mut line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            // A setting may follow on the line of its section.
            let (name, rest) = section.split_once(']').unwrap_or((section, ""));
            in_core = name.trim().eq_ignore_ascii_case("core");
            line = rest.trim();
        }
        if let Some((key, value)) = line.split_once('=')
            && in_core
            && key.trim().eq_ignore_ascii_case("excludesfile")
        {
            named = Some(unquoted(value));
        }
    }
    named
}

/// A value of a configuration of git's, without its quotes and its comment.
fn unquoted(value: &str) -> String {
    let (mut plain, mut in_quotes, mut escaped) = (String::new(), false, false);
    for char in value.trim().chars() {
        match char {
            _ if escaped => {
                plain.push(char);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => in_quotes = !in_quotes,
            '#' | ';' if !in_quotes => break,
            char => plain.push(char),
        }
    }
    plain.trim_end().to_owned()
}

fn text(asked: &Lookup<'_>, file: &Path, most: u64) -> anyhow::Result<String> {
    let bytes = (asked.read)(file, most).with_context(|| format!("read {}", file.display()))?;
    String::from_utf8(bytes).with_context(|| format!("read {}: it is not UTF-8", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository at `top` in a home of its own, with these files.
    fn place(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    /// The rules above a workspace, each by its file, where the workspace is below, and its text.
    fn rules(place: &tempfile::TempDir, workspace: &str) -> Vec<(String, String, String)> {
        let home = place.path().join("home").display().to_string();
        let asked =
            Lookup { read: &|path, _| std::fs::read(path), variable: &|name| (name == "HOME").then(|| home.clone()) };
        let workspace = place.path().join(workspace);
        std::fs::create_dir_all(&workspace).unwrap();
        let prefix = format!("{}/", place.path().canonicalize().unwrap().display());
        let own = format!("{}/", place.path().display());
        let short = |name: String| name.replace(&prefix, "").replace(&own, "");
        let left_out = left_out(&asked, &workspace).unwrap();
        left_out.rules.into_iter().map(|it| (short(it.name), it.top, it.text)).collect()
    }

    fn told(name: &str, top: &str, text: &str) -> (String, String, String) {
        (name.to_owned(), top.to_owned(), text.to_owned())
    }

    #[test]
    fn rules_above_a_workspace_hold_up_to_the_top_of_its_repository_and_no_further() {
        let place = place(&[
            (".gitignore", "outside"),
            ("repo/.git/HEAD", "ref: refs/heads/main"),
            ("repo/.git/info/exclude", "excluded"),
            ("repo/.gitignore", ".env"),
            ("repo/packages/.gitignore", "node_modules/"),
            ("repo/packages/app/.gitignore", "its own, which the base has"),
            ("home/.config/git/ignore", "everywhere"),
        ]);
        let beside =
            |top| [told("repo/.git/info/exclude", top, "excluded"), told("home/.config/git/ignore", top, "everywhere")];
        let above =
            [told("repo/packages/.gitignore", "app", "node_modules/"), told("repo/.gitignore", "packages/app", ".env")];
        assert_eq!(rules(&place, "repo/packages/app"), [&above[..], &beside("packages/app")].concat());
        assert_eq!(rules(&place, "repo"), beside(""), "what is at its top is in the base");
        assert_eq!(rules(&place, "alone"), [], "no repository, no rules");
    }

    #[test]
    fn a_work_tree_and_a_module_have_the_rules_of_their_repository() {
        let place = place(&[
            ("repo/.git/info/exclude", "excluded"),
            ("repo/.git/worktrees/w/commondir", "../..\n"),
            ("repo/.git/modules/m/info/exclude", "of the module"),
            ("tree/.git", "gitdir: ../repo/.git/worktrees/w\n"),
            ("repo/m/.git", "gitdir: ../.git/modules/m"),
            ("repo/.gitignore", "not of the module"),
            ("tree/.gitignore", ".env"),
        ]);
        let texts = |workspace| rules(&place, workspace).into_iter().map(|(_, _, text)| text).collect::<Vec<_>>();
        assert_eq!(texts("tree/src"), [".env", "excluded"]);
        assert_eq!(texts("repo/m/src"), ["of the module"]);
    }

    #[test]
    fn rules_that_cannot_be_read_are_no_empty_ones() {
        let place = place(&[("repo/.git/HEAD", "ref"), ("repo/.gitignore", ".env"), ("repo/app/x", "")]);
        let denied = |_: &Path, _: u64| -> io::Result<Vec<u8>> { Err(io::ErrorKind::PermissionDenied.into()) };
        let asked = Lookup { read: &denied, variable: &|_| None };
        assert!(left_out(&asked, &place.path().join("repo/app")).is_err());
    }

    #[test]
    fn a_configuration_is_read_up_to_n_bytes_and_not_n_plus_1() {
        let place = place(&[("repo/.git/config", ""), ("repo/app/x", "")]);
        let home = place.path().join("home").display().to_string();
        let bounded = |path: &Path, most: u64| -> io::Result<Vec<u8>> {
            assert!(most <= MAX_CONFIG_BYTES);
            let bytes = std::fs::read(path)?;
            if bytes.len() as u64 > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
        };
        let lookup = Lookup { read: &bounded, variable: &|name| (name == "HOME").then(|| home.clone()) };
        for (bytes, reads) in [(MAX_CONFIG_BYTES, true), (MAX_CONFIG_BYTES + 1, false)] {
            let text = "#".repeat(usize::try_from(bytes).unwrap());
            std::fs::write(place.path().join("repo/.git/config"), text).unwrap();
            assert_eq!(left_out(&lookup, &place.path().join("repo/app")).is_ok(), reads, "{bytes}");
        }
    }

    #[test]
    fn the_file_of_a_persons_own_rules_is_named_as_git_writes_it() {
        let named = |text| excludes_file(text);
        assert_eq!(named("[user]\n\tname = a\n[core]\n\texcludesFile = ~/.ignore\n").as_deref(), Some("~/.ignore"));
        assert_eq!(named("[CORE]\nExcludesFile=\"/a b\"\n[core]\nexcludesfile = /c\n").as_deref(), Some("/c"));
        assert_eq!(named("[alias]\nexcludesfile = /c\n[core \"x\"]\nexcludesfile = /d\n"), None);
        assert_eq!(named("[core] excludesFile = ~/.ignore # mine\n").as_deref(), Some("~/.ignore"));
        assert_eq!(named("[core]\nexcludesFile = \"/a#b\" ; theirs\n").as_deref(), Some("/a#b"));
    }

    #[test]
    fn a_file_that_is_named_so_that_it_cannot_be_found_is_an_error() {
        let place = place(&[("repo/.git/config", "[core]\nexcludesFile = ~ada/.ignore\n"), ("repo/app/x", "")]);
        let asked = Lookup { read: &|path, _| std::fs::read(path), variable: &|_| None };
        let why = left_out(&asked, &place.path().join("repo/app")).unwrap_err();
        assert!(why.to_string().contains("core.excludesFile"), "{why:#}");
    }
}
