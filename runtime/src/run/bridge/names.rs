//! The names of tools: what a function is called in its component, in letters that every protocol of tools takes.
//!
//! Never: gives one name twice. A name depends on the component alone, not on the order in which anybody looks.

use std::collections::{HashMap, HashSet};

/// Characters of a tool's name, all of `[a-zA-Z0-9_-]`: what OpenAI takes.
pub const MAX_NAME_CHARS: usize = 64;

/// Hexadecimal digits that stand for a whole path.
const DIGEST_CHARS: usize = 8;

/// A function's own name as its component has it: `encode`, `[method]codec.encode`, `[constructor]codec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own<'a> {
    /// The resource that it belongs to.
    pub(super) resource: Option<&'a str>,
    /// What it is called there. A constructor is `new`.
    pub(super) function: &'a str,
}

impl<'a> Own<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        let Some((role, rest)) = name.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
            return Self { resource: None, function: name };
        };
        match (role, rest.split_once('.')) {
            ("constructor", _) => Self { resource: Some(rest), function: "new" },
            (_, Some((resource, function))) => Self { resource: Some(resource), function },
            (_, None) => Self { resource: None, function: rest },
        }
    }

    /// As a person would write it: `codec.encode`.
    pub(super) fn dotted(&self) -> String {
        match self.resource {
            Some(resource) => format!("{resource}.{}", self.function),
            None => self.function.to_owned(),
        }
    }
}

/// The last name of an interface: `codec` of `numcodecs:abc/codec@0.1.1`.
pub(super) fn last(interface: &str) -> &str {
    let name = interface.rsplit('/').next().unwrap_or(interface);
    name.split('@').next().unwrap_or(name)
}

/// A name for each path, in their order. A path is the instances on the way and then the function's own name.
pub(super) fn unique(paths: &[&[String]]) -> Vec<String> {
    let short: Vec<String> = paths.iter().map(|path| plain(&own(path))).collect();
    let clear = once(&short);
    let longer: Vec<String> = paths
        .iter()
        .zip(&short)
        .map(|(path, name)| match path {
            [.., interface, _] if !clear.contains(name) => plain(&format!("{}-{}", last(interface), own(path))),
            _ => name.clone(),
        })
        .collect();
    let clear = once(&longer);
    paths
        .iter()
        .zip(&longer)
        .map(
            |(path, name)| {
                if clear.contains(name) && name.len() <= MAX_NAME_CHARS { name.clone() } else { cut(name, path) }
            },
        )
        .collect()
}

fn own(path: &[String]) -> String {
    let own = Own::of(path.last().map(String::as_str).unwrap_or_default());
    match own.resource {
        Some(resource) => format!("{resource}-{}", own.function),
        None => own.function.to_owned(),
    }
}

/// The names that are there once.
fn once(names: &[String]) -> HashSet<String> {
    let mut counts: HashMap<&String, usize> = HashMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count == 1).map(|(name, _)| name.clone()).collect()
}

/// With a dash for every character that a tool's name cannot have.
fn plain(name: &str) -> String {
    name.chars().map(|char| if char.is_ascii_alphanumeric() || "-_".contains(char) { char } else { '-' }).collect()
}

/// The beginning of a name and a digest of its path.
fn cut(name: &str, path: &[String]) -> String {
    let digest = blake3::hash(path.join("\n").as_bytes()).to_hex();
    let kept: String = name.chars().take(MAX_NAME_CHARS - DIGEST_CHARS - 1).collect();
    format!("{kept}-{}", &digest[..DIGEST_CHARS])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(paths: &[&[&str]]) -> Vec<String> {
        let paths: Vec<Vec<String>> =
            paths.iter().map(|path| path.iter().map(|step| (*step).to_owned()).collect()).collect();
        unique(&paths.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn a_function_has_its_own_name() {
        let codec = "numcodecs:abc/codec@0.1.1";
        let names = named(&[
            &["add"],
            &[codec, "[method]codec.encode"],
            &[codec, "[static]codec.from-config"],
            &[codec, "[constructor]codec"],
        ]);
        assert_eq!(names, ["add", "codec-encode", "codec-from-config", "codec-new"]);
    }

    #[test]
    fn what_two_interfaces_have_is_prefixed_and_what_is_still_the_same_has_a_digest() {
        let names = named(&[&["a:b/left@1.0.0", "run"], &["a:b/right", "run"], &["run"], &["stop"]]);
        assert_eq!(names, ["left-run", "right-run", "run", "stop"]);

        let names = named(&[&["a:b/left@1.0.0", "run"], &["a:b/left@2.0.0", "run"]]);
        assert!(names.iter().all(|name| name.starts_with("left-run-") && name.len() == 17), "{names:?}");
        assert_ne!(names[0], names[1]);

        let names = named(&[&["a:b/x", "[constructor]codec"], &["a:b/x", "codec-new"]]);
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn a_name_has_up_to_n_characters_and_is_cut_at_n_plus_1() {
        let (fits, long) = ("n".repeat(MAX_NAME_CHARS), "n".repeat(MAX_NAME_CHARS + 1));
        let names = named(&[&[&fits], &[&long]]);
        assert_eq!(names[0], fits);
        assert_eq!(names[1].len(), MAX_NAME_CHARS);
        assert!(names[1].starts_with("nnn") && names[1] != fits);
    }

    #[test]
    fn no_other_character_is_in_a_name() {
        assert_eq!(named(&[&["a:b/c#d.e é"]]), ["a-b-c-d-e--"]);
    }
}
