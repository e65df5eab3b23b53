//! `[secrets.NAME]` of the operator's file: where a secret is kept, to whom it may go, and where in a request it stands.
//!
//! Never: holds a secret, repeats what may be one, lets a job use one that is not for the server it names, or send one in
//! plain text to another machine.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::http::is_private;
use super::kinds::{Characters, HostPath, Kind, List, Name, Repeats, Text, Wrong, wrong};
use super::mistake::{Mistake, listed};
use super::operator::{COMMAND, OperatorFile};
use super::reader::{Key, Naming, Read, Reader, Section};
use crate::rules::egress::{MAX_URL_BYTES, Target, is_of_the_host, is_token};
use crate::rules::http::{HttpGrant, Site};
use crate::rules::secret::{Placement, SecretSource, SecretSpec};
use crate::rules::spec::Origin;

/// What a secret may be called.
pub(super) const NAME: Name = Name { characters: Characters::Lower, most: 64 };

/// Servers of one secret.
const MOST_ORIGINS: usize = 16;

const ENV: Key<Name> =
    Key { name: "env", kind: Name { characters: Characters::Variable, most: 128 }, example: "\"API_KEY\"" };
const FILE: Key<HostPath> = Key { name: "file", kind: HostPath, example: "\"path\"" };
const COMMAND_KEY: Key<List<Text>> = Key { name: "command", kind: COMMAND, example: "[\"pass\", \"api-key\"]" };
const ORIGINS: Key<List<Server>> = Key {
    name: "origins",
    kind: List { of: Server, least: 1, most: MOST_ORIGINS, repeats: Repeats::Refused },
    example: "[\"https://api.example.com\"]",
};
const HEADER: Key<HeaderName> = Key { name: "header", kind: HeaderName, example: "\"authorization\"" };
const QUERY: Key<Name> =
    Key { name: "query", kind: Name { characters: Characters::Mixed, most: 64 }, example: "\"key\"" };
const PREFIX: Key<Prefix> = Key { name: "prefix", kind: Prefix, example: "\"Bearer \"" };

/// Reads `[secrets]`. One with a mistake is left out: the file does not load then.
pub(super) fn read(section: &Section<'_>, reader: &mut Reader) -> BTreeMap<String, SecretSpec> {
    let named = section.named(reader, &Naming { noun: "secret", kind: NAME, example: "api-key" });
    let secrets = named.into_iter().filter_map(|(name, section)| {
        // Its settings are noted where a job uses it.
        let (secret, _) = reader.apart(|reader| secret(section?, reader));
        Some((name.value, secret?))
    });
    secrets.collect()
}

fn secret(mut section: Section<'_>, reader: &mut Reader) -> Option<SecretSpec> {
    let words = |words: Vec<(String, Range<usize>)>| words.into_iter().map(|(word, _)| word).collect();
    let sources = vec![
        (ENV.name, section.read(reader, &ENV).map(SecretSource::Environment)),
        (FILE.name, section.read(reader, &FILE).map(SecretSource::File)),
        (COMMAND_KEY.name, section.read(reader, &COMMAND_KEY).map(|list| SecretSource::Command(words(list)))),
    ];
    let source = section.only(reader, sources, "env = \"API_KEY\"");
    let origins = section.required(reader, &ORIGINS);
    let places = vec![
        (HEADER.name, section.read(reader, &HEADER).map(|name| Placement::Header { name, prefix: String::new() })),
        (QUERY.name, section.read(reader, &QUERY).map(|name| Placement::Query { name })),
    ];
    let place = section.only(reader, places, "header = \"authorization\"");
    let prefix = match section.read(reader, &PREFIX) {
        Read::Absent => Some(None),
        Read::Wrong => None,
        Read::Found(found) => Some(Some(found)),
    };
    section.finish(reader);
    let placement = match (place?, prefix?) {
        (Placement::Header { name, .. }, prefix) => {
            Placement::Header { name, prefix: prefix.map(|found| found.value).unwrap_or_default() }
        }
        (query @ Placement::Query { .. }, None) => query,
        (Placement::Query { .. }, Some(found)) => {
            reader.mistake(Mistake {
                span: Some(found.span),
                message: "a `prefix` is given for a secret of the query".to_owned(),
                label: "only a header has one".to_owned(),
                help: "allowed: `prefix` together with `header`\nwrite: nothing; delete this key".to_owned(),
            });
            return None;
        }
    };
    let sites = origins?.value.into_iter().map(|(site, _)| site).collect();
    Some(SecretSpec { source: source?, sites, placement })
}

/// Notes the settings of a secret that a job uses. Of a command only the program is told: it may say a password.
pub(super) fn note(reader: &mut Reader, operator: &OperatorFile, name: &str) {
    let Some(secret) = operator.secrets.get(name) else { return };
    let (key, shown) = match &secret.source {
        SecretSource::Environment(variable) => (ENV.name, variable.clone()),
        SecretSource::File(path) => (FILE.name, path.display().to_string()),
        SecretSource::Command(words) => {
            let program = words.first().map(String::as_str).unwrap_or_default();
            (COMMAND_KEY.name, format!("{program:?} and {} more words", words.len().saturating_sub(1)))
        }
    };
    let mut set = |key: &str, value: String| reader.set(format!("secrets.{name}.{key}"), value, Origin::Operator);
    set(key, shown);
    set(ORIGINS.name, sites(secret));
    match &secret.placement {
        Placement::Header { name, prefix } => {
            set(HEADER.name, name.clone());
            set(PREFIX.name, format!("{prefix:?}"));
        }
        Placement::Query { name } => set(QUERY.name, name.clone()),
    }
}

fn sites(secret: &SecretSpec) -> String {
    secret.sites.iter().map(Site::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a job's rule for a server may name these secrets. What it may not is reported.
pub(super) fn check(
    reader: &mut Reader,
    operator: &OperatorFile,
    site: &Site,
    key: &str,
    names: &[(String, Range<usize>)],
) -> bool {
    let mut right = true;
    let mut placed: Vec<(&str, &Placement)> = Vec::new();
    for (name, span) in names {
        let (message, label, help) = match operator.secrets.get(name) {
            None => (
                format!("`{key}` names `{name}`, which is not defined"),
                "no secret of this name".to_owned(),
                format!(
                    "allowed: {}\nwrite in the operator's file: [secrets.{name}] with its keys",
                    listed(operator.secrets.keys().map(String::as_str))
                ),
            ),
            Some(secret) if !secret.sites.contains(site) => (
                format!("`{key}` names `{name}`, which is not for {site}"),
                "not in the `origins` of the secret".to_owned(),
                format!(
                    "allowed: {}\nwrite in [secrets.{name}] of the operator's file: origins = [.., \"{site}\"]",
                    sites(secret)
                ),
            ),
            Some(secret) => match placed.iter().find(|(_, other)| secret.placement.collides(other)) {
                None => {
                    placed.push((name, &secret.placement));
                    continue;
                }
                Some((other, _)) => (
                    format!("`{key}` names `{name}` and `{other}`, which stand in the same place"),
                    "one would hide the other".to_owned(),
                    "allowed: secrets in headers and keys of their own\nwrite: one of the two".to_owned(),
                ),
            },
        };
        reader.mistake(Mistake { span: Some(span.clone()), message, label, help });
        right = false;
    }
    right
}

/// Why a grant of the past may not have its secrets today, a sentence each.
pub(super) fn again(operator: &OperatorFile, grant: &HttpGrant) -> Vec<String> {
    let site = grant.site();
    let wrong = |name: &&String| !operator.secrets.get(*name).is_some_and(|secret| secret.sites.contains(&site));
    let said = |name: &String| format!("no secret {name:?} of the operator's is for {site} today");
    grant.secrets.iter().filter(wrong).map(said).collect()
}

/// A server to which a secret may go: never all of a domain.
struct Server;

impl Kind for Server {
    type Value = Site;

    fn allowed(&self) -> String {
        "https://host, or http:// for this machine, with a port if it is not the usual one".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Site, Vec<Wrong>> {
        let text = Text { least: 1, most: MAX_URL_BYTES }.read(value)?;
        let site = match Target::read(&text) {
            Ok(target) => target.site(),
            Err(problem) => return wrong(value, problem, "not a server"),
        };
        if site.to_string() != text {
            return Err(vec![Wrong {
                span: value.span(),
                problem: format!("is more than the server {site}"),
                label: "not a server alone".to_owned(),
                fix: None,
            }]);
        }
        if !is_private(&site) {
            return wrong(
                value,
                "would get a secret in plain text: http is for this machine only",
                "readable on its way",
            );
        }
        Ok(site)
    }

    fn show(&self, value: &Site) -> String {
        value.to_string()
    }
}

/// The name of a header that a secret is sent in.
struct HeaderName;

impl Kind for HeaderName {
    type Value = String;

    fn allowed(&self) -> String {
        "the name of a header in lower case that the host does not write itself".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
        let name = Text { least: 1, most: 64 }.read(value)?;
        if !is_token(&name) {
            return wrong(value, "is no name of a header in lower case", "not a header");
        }
        if is_of_the_host(&name) {
            return wrong(value, format!("is {name}, which the host writes"), "not for a secret");
        }
        Ok(name)
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }
}

/// What stands before a secret in its header.
struct Prefix;

impl Kind for Prefix {
    type Value = String;

    fn allowed(&self) -> String {
        "1 to 64 visible ASCII characters and spaces".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
        let text = Text { least: 1, most: 64 }.read(value)?;
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !text.starts_with(' ') {
            return Ok(text);
        }
        wrong(value, "has a character that it cannot have there", "not a prefix")
    }

    fn show(&self, value: &String) -> String {
        format!("{value:?}")
    }
}
