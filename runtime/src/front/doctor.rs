//! `jidoka doctor`: what this machine lacks, and what the operator's file names that is not there.
//!
//! Never: installs anything without `--fix`, shows a secret, runs a command of the operator's. Like every command it creates the
//! state directory if that is missing.

use std::path::Path;

use anyhow::Context;
use console::style;

use crate::rules::authored::OperatorFile;
use crate::rules::hook::HookRun;
use crate::rules::secret::SecretSource;
use crate::rules::spec::Reach;

use super::load::{self, LoadError};
use super::machine::{Health, Machine};
use super::terminal::{UNEXPECTED, note, say};
use super::wrap;

/// Where the rest of a finding hangs that is wider than the terminal.
const HANG: usize = 21;

/// What to do about the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Look, and leave it as it is.
    No,
    /// Install what can be installed.
    Yes,
}

/// `jidoka doctor`.
pub(super) async fn doctor(machine: &dyn Machine, mend: Mend, json: bool) -> Result<u8, LoadError> {
    let mut findings = machine.health(mend);
    findings.push(store(machine).await);
    let mut mistakes = None;
    match load::operator(machine) {
        Ok(file) => {
            let found = machine.operator_file().ok().flatten().map(|path| path.display().to_string());
            let found = found.unwrap_or_else(|| "none: no providers, no commands".to_owned());
            findings.push(fine("operator's file", found));
            findings.extend(missing(machine, &file));
        }
        Err(LoadError::Mistakes(reports)) => {
            let found = format!("{} mistakes", reports.len());
            findings.push(ill("operator's file", found, "mend it where it is shown below"));
            mistakes = Some(reports);
        }
        Err(LoadError::Other(error)) => {
            findings.push(ill("operator's file", format!("{error:#}"), "name another: --host FILE"));
        }
    }
    let is_ill = findings.iter().any(|finding| finding.remedy.is_some());
    if json {
        let row = |finding: &Health| serde_json::json!({ "what": finding.what, "found": finding.found, "remedy": finding.remedy });
        let rows: Vec<serde_json::Value> = findings.iter().map(row).collect();
        say!("{}", serde_json::to_string_pretty(&rows).context("write the findings")?);
    } else {
        for Health { what, found, remedy } in &findings {
            let sign = if remedy.is_none() { style("✓").green() } else { style("✗").red() };
            say!("{}", wrap::out(&format!("{sign} {what:<18} {found}"), HANG));
            if let Some(remedy) = remedy {
                say!("{}", wrap::out(&format!("  {:<18} {remedy}", ""), HANG));
            }
        }
    }
    for report in mistakes.iter().flatten() {
        note!("{report:?}");
    }
    Ok(if is_ill { UNEXPECTED } else { 0 })
}

fn fine(what: impl Into<String>, found: String) -> Health {
    Health { what: what.into(), found, remedy: None }
}

fn ill(what: impl Into<String>, found: String, remedy: &str) -> Health {
    Health { what: what.into(), found, remedy: Some(remedy.to_owned()) }
}

/// Opens the books and reads them.
async fn store(machine: &dyn Machine) -> Health {
    let read = async {
        let desk = machine.desk()?;
        let (runs, items) = (desk.runs().await?, desk.items().await?);
        drop((desk.lines().await?, desk.pulls().await?, desk.questions().await?, desk.acts().await?));
        anyhow::Ok(format!("{} runs, {} items", runs.len(), items.len()))
    };
    match read.await {
        Ok(found) => fine("store", found),
        Err(error) => {
            ill("store", format!("{error:#}"), "put a copy of it back, or name another directory: --state DIR")
        }
    }
}

/// What the operator's file names and this machine does not have.
fn missing(machine: &dyn Machine, file: &OperatorFile) -> Vec<Health> {
    let mut findings = Vec::new();
    let mut needs = |what: String, there: anyhow::Result<()>, remedy: &str| {
        if let Err(error) = there {
            findings.push(ill(what, format!("{error:#}"), remedy));
        }
    };
    let program = |word: &str| match machine.has_program(word) {
        true => Ok(()),
        false => Err(anyhow::anyhow!("{word:?} is no program here")),
    };
    let path = |path: &Path| match path.exists() {
        true => Ok(()),
        false => Err(anyhow::anyhow!("{} does not exist", path.display())),
    };
    for (name, model) in &file.models {
        if let Reach::Provider(_) = &model.spec.reach {
            let reached = machine.reach(name, &model.spec, Path::new("")).map(drop);
            needs(format!("model {name}"), reached, "no run can use it: set its key");
        }
    }
    for (name, secret) in &file.secrets {
        let there = match &secret.source {
            SecretSource::Command(words) => program(words.first().map_or("", String::as_str)),
            SecretSource::Environment(_) | SecretSource::File(_) => machine.has_secret(&secret.source),
        };
        needs(format!("secret {name}"), there, "no run that names it is admitted");
    }
    for (number, hook) in (1..).zip(&file.hooks) {
        if let HookRun::Command(words) = &hook.run {
            let there = program(words.first().map_or("", String::as_str));
            needs(format!("hook {number}"), there, "install it, or take the hook out");
        }
    }
    for (name, server) in &file.mcp {
        let there = program(&server.program.display().to_string());
        let there = server.reads.iter().chain(&server.writes).fold(there, |there, dir| there.and_then(|()| path(dir)));
        needs(format!("mcp {name}"), there, "no tool of it can be called");
    }
    findings
}
