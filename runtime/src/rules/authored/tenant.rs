//! On whose account a run is.
//!
//! Never: asks the job, which has no word for it. A line that one tenant lists is that tenant's alone, and nobody runs
//! it on another account; else the command line names a tenant, or it is [`DEFAULT`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::kinds::{Kind as _, List, Name, Repeats};
use super::mistake::{Mistake, listed, nearest};
use super::reader::{Key, Naming, Read, Reader, Section};
use super::{provider, shared};
use crate::rules::spec::{Allowance, Origin, Setting};

/// Who a run is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tenant {
    /// The lines that it may run.
    pub lines: TenantLines,
    /// The pace of all its model calls together, if set.
    pub requests_per_minute: Option<u32>,
    /// What all its runs may spend together.
    pub allowance: Allowance,
    /// Its settings, by their whole keys.
    pub settings: Vec<Setting>,
}

/// The lines that a tenant may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantLines {
    /// Any that no other tenant lists.
    Unlisted,
    /// These, and no other tenant may run them.
    Listed(BTreeSet<String>),
}

/// The word for the scope around all tenants, on screens and in `jidoka budget`.
const HOST: &str = "host";

/// The tenant of a run that nobody names one for.
pub(super) const DEFAULT: &str = "default";

/// Lines of a tenant: far above any.
const MOST_LINES: usize = 1_024;

const LINES: Key<List<Name>> = Key {
    name: "lines",
    kind: List { of: shared::NAME, least: 0, most: MOST_LINES, repeats: Repeats::Refused },
    example: "[\"triage\"]",
};

/// Reads `[tenants]`.
pub(super) fn read(section: &Section<'_>, reader: &mut Reader) -> BTreeMap<String, Tenant> {
    let mut all = BTreeMap::new();
    let mut listed = Vec::new();
    for (name, section) in section.named(reader, &Naming { noun: "tenant", kind: shared::NAME, example: "acme" }) {
        let Some(mut section) = section else { continue };
        if name.value == HOST {
            reader.mistake(Mistake {
                span: Some(name.span.clone()),
                message: format!("a tenant cannot be called `{HOST}`"),
                label: "means the host itself".to_owned(),
                help: "allowed: any other name\nwrite: [tenants.acme]".to_owned(),
            });
        }
        let (mut tenant, settings) = reader.apart(|reader| {
            let lines = match section.optional(reader, &LINES, "any that no other tenant lists") {
                Read::Absent | Read::Wrong => TenantLines::Unlisted,
                Read::Found(found) => {
                    // A name that is wrong was reported, and is shown with nothing that a terminal obeys.
                    let name = name.value.escape_debug().to_string();
                    listed.extend(found.value.iter().map(|(line, span)| (span.clone(), line.clone(), name.clone())));
                    TenantLines::Listed(found.value.into_iter().map(|(line, _)| line).collect())
                }
            };
            let requests_per_minute = provider::requests_per_minute(&mut section, reader);
            let allowance = shared::allowance(&mut section, reader);
            Tenant { lines, requests_per_minute, allowance, settings: Vec::new() }
        });
        tenant.settings = settings;
        section.finish(reader);
        all.insert(name.value, tenant);
    }
    one_owner_each(reader, listed);
    all
}

/// Reports every line that an earlier tenant of the text lists already.
fn one_owner_each(reader: &mut Reader, mut listed: Vec<(Range<usize>, String, String)>) {
    listed.sort_by_key(|(span, _, _)| span.start);
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for (span, line, tenant) in listed {
        if let Some(owner) = owners.get(&line) {
            reader.mistake(Mistake {
                span: Some(span),
                message: format!("`tenants.{tenant}.lines` has `{line}`, which is `{owner}`'s"),
                label: format!("`tenants.{owner}.lines` has it already"),
                help: "allowed: each line in one list\nwrite: it in one of the two, and delete it in the other"
                    .to_owned(),
            });
        } else {
            owners.insert(line, tenant);
        }
    }
}

/// Whose a run is. `line` is the job's and `flag` is `--tenant`. `None`: there is a mistake, which was reported.
pub(super) fn of(
    reader: &mut Reader,
    tenants: &BTreeMap<String, Tenant>,
    line: Option<&str>,
    flag: Option<&str>,
) -> Option<String> {
    let resolved = match (flag.map_or(Ok(()), |flag| check(tenants, flag)), line) {
        (Ok(()), Some(line)) => resolve(tenants, line, flag),
        // Without a line nothing follows.
        (Ok(()), None) => return None,
        (Err(mistake), _) => Err(mistake),
    };
    match resolved {
        Ok((tenant, origin)) => {
            reader.set("tenant", tenant, origin);
            Some(tenant.to_owned())
        }
        Err(mistake) => {
            reader.mistake(mistake);
            None
        }
    }
}

fn check(tenants: &BTreeMap<String, Tenant>, flag: &str) -> Result<(), Mistake> {
    if let Err(problem) = shared::NAME.check(flag) {
        return Err(Mistake::of_flag(format!("--tenant {flag:?} {problem}"), shared::NAME.allowed(), "--tenant acme"));
    }
    if flag == HOST {
        let problem = format!("--tenant {HOST} means the host itself");
        return Err(Mistake::of_flag(problem, "any other name".to_owned(), "--tenant acme"));
    }
    if tenants.is_empty() || tenants.contains_key(flag) {
        return Ok(());
    }
    let names = || tenants.keys().map(String::as_str);
    let write = nearest(flag, names()).map(|meant| format!("--tenant {meant}"));
    let write = write.unwrap_or_else(|| format!("in the operator's file: [tenants.{flag}]"));
    Err(Mistake::of_flag(format!("--tenant {flag} is not defined"), listed(names()), &write))
}

fn resolve<'a>(
    tenants: &'a BTreeMap<String, Tenant>,
    line: &str,
    flag: Option<&'a str>,
) -> Result<(&'a str, Origin), Mistake> {
    let lists = |tenant: &Tenant| match &tenant.lines {
        TenantLines::Listed(lines) => lines.contains(line),
        TenantLines::Unlisted => false,
    };
    if let Some((owner, _)) = tenants.iter().find(|(_, tenant)| lists(tenant)) {
        return match flag {
            Some(flag) if flag != owner => Err(Mistake::of_flag(
                format!("--tenant {flag} may not run the line `{line}`, which is `{owner}`'s"),
                owner.clone(),
                &format!("--tenant {owner}"),
            )),
            Some(_) | None => Ok((owner, Origin::Operator)),
        };
    }
    let (name, origin) = flag.map_or((DEFAULT, Origin::Default), |flag| (flag, Origin::Flag));
    let problem = match tenants.get(name).map(|tenant| &tenant.lines) {
        Some(TenantLines::Unlisted) => return Ok((name, origin)),
        None if tenants.is_empty() => return Ok((name, origin)),
        None => format!("no tenant is named for the line `{line}`"),
        Some(TenantLines::Listed(_)) => format!("the tenant `{name}` may not run the line `{line}`"),
    };
    let free = || {
        let free = tenants.iter().filter(|(_, tenant)| tenant.lines == TenantLines::Unlisted);
        free.map(|(name, _)| name.as_str())
    };
    let write = match (free().next(), tenants.keys().next()) {
        (Some(free), _) => format!("--tenant {free}"),
        (None, first) => {
            let name = if tenants.contains_key(name) { name } else { first.map_or(DEFAULT, String::as_str) };
            format!("in [tenants.{name}] of the operator's file: lines = [.., {line:?}]")
        }
    };
    Err(Mistake::of_flag(problem, listed(free()), &write))
}
