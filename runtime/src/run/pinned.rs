//! Components that are pinned: what is read for a pin before a run, and what is compared before anything is compiled.
//!
//! Never: opens a path, decides what a pin demands. Invariant here: a pin is checked against the very bytes that are compiled,
//! at a start, a resume, a fork and a replay alike; what could not be read is written into the pin, so that the refusal says it.

use std::io;
use std::path::{Path, PathBuf};

pub use crate::doors::ed25519::{KeyError, MAX_KEY_BYTES, MAX_SIGNATURE_BYTES, sign};
use crate::doors::ed25519::{meets, public_key, signature};
use crate::rules::pin::{Demander, Pin, Reading};
use crate::rules::spec::RunSpec;
use crate::rules::verdict::Verdict;

use super::admission::not_admitted;
use super::runner::Job;

/// Where the files of a pin are.
pub struct Places<'a> {
    /// The directory from which the job's paths begin. `None`: what the job named was read already, or is not to be read: a
    /// journal of somebody else's names no file of this host.
    pub job: Option<&'a Path>,
    /// The directory of the operator's file.
    pub operator: &'a Path,
    /// The component's file, if there is one beside which its signature may stand.
    pub component: Option<PathBuf>,
}

/// The file of a component's signature: its own name, and `.sig`.
pub fn signature_of(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Reads what a pin needs: keys that nobody read yet, and the signature beside the component. `read` takes a path and the
/// most bytes that it may have.
pub fn read(pin: &mut Pin, places: &Places<'_>, read: &dyn Fn(&Path, u64) -> io::Result<Vec<u8>>) {
    for signers in &mut pin.signed_by {
        let from = match signers.whose {
            Demander::Job => places.job,
            Demander::Operator => Some(places.operator),
        };
        let Some(from) = from else { continue };
        for file in &mut signers.keys {
            if file.key == Reading::Unread {
                file.key = reading(read(&from.join(&file.path), MAX_KEY_BYTES), public_key);
            }
        }
    }
    if let (Some(component), false) = (&places.component, pin.signed_by.is_empty()) {
        let path = signature_of(component);
        pin.signature = match reading(read(&path, MAX_SIGNATURE_BYTES), signature) {
            Reading::Not(why) => Reading::Not(format!("{}: {why}", path.display())),
            read @ (Reading::Is(_) | Reading::Unread) => read,
        };
    }
}

fn reading<T>(file: io::Result<Vec<u8>>, parse: fn(&[u8]) -> Result<T, KeyError>) -> Reading<T> {
    match file.map(|bytes| parse(&bytes)) {
        Ok(Ok(read)) => Reading::Is(read),
        Ok(Err(why)) => Reading::Not(why.to_string()),
        Err(why) => Reading::Not(why.to_string()),
    }
}

/// Another component stands in for the worker's, because somebody says so: what was pinned is not it.
pub(super) fn stand_in(spec: &mut RunSpec) {
    spec.worker_pin = Pin::default();
}

/// Compares the worker and the checks with what they must be. Nothing of them was compiled.
///
/// # Errors
/// The verdict on a run of which nothing runs.
pub(super) fn check(job: &Job) -> Result<(), Verdict> {
    met("worker", &job.spec.worker_pin, &job.component)?;
    for (check, opened) in job.spec.checks.iter().zip(&job.checks) {
        if let Some(component) = &opened.component {
            met(&format!("check \"{}\"", check.name), &check.pin, component)?;
        }
    }
    for (name, tool) in &job.spec.tools {
        if let Some(component) = job.tools.get(name) {
            met(&format!("tool \"{name}\""), &tool.pin, component)?;
        }
    }
    Ok(())
}

fn met(what: &str, pin: &Pin, component: &[u8]) -> Result<(), Verdict> {
    match unmet(pin, component) {
        None => Ok(()),
        Some(why) => Err(not_admitted(format!("{what}: {why}"))),
    }
}

/// Why a component is not what its pin demands; `None`: it is.
pub fn unmet(pin: &Pin, component: &[u8]) -> Option<String> {
    match pin.is_open() {
        true => None,
        false => meets(pin, component).err().map(|unmet| unmet.to_string()),
    }
}
