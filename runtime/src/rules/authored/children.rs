//! `[children.NAME]` and `[grants] children`: jobs that a worker may start below itself.
//!
//! Never: reads such a job, or says what it may have. It is a job like any other, read where it stands, and held against its
//! caller's grants then.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use super::kinds::{Characters, HostPath, List, Name, Repeats};
use super::mistake::{Mistake, listed};
use super::reader::{Key, Naming, Reader, Section};
use crate::rules::child::ChildSpec;

const NAME: Name = Name { characters: Characters::Lower, most: 32 };
const NAMING: Naming = Naming { noun: "child", kind: NAME, example: "reviewer" };

/// Each is a job that is loaded with this one.
pub(super) const MOST_CHILDREN: usize = 16;

/// The grant, in `[grants]`.
pub(super) const CHILDREN: Key<List<Name>> = Key {
    name: "children",
    kind: List { of: NAME, least: 0, most: MOST_CHILDREN, repeats: Repeats::Refused },
    example: "[\"reviewer\"]",
};

/// A job's file, or the directory that it is in.
const JOB: Key<HostPath> = Key { name: "job", kind: HostPath, example: "\"../reviewer\"" };

/// The granted children by their names. `None`: there is a mistake, which was reported.
pub(super) fn read(
    section: &Section<'_>,
    reader: &mut Reader,
    granted: &[(String, Range<usize>)],
) -> Option<BTreeMap<String, ChildSpec>> {
    let mut written = BTreeMap::new();
    for (name, section) in section.named(reader, &NAMING) {
        let is_granted = granted.iter().any(|(granted, _)| *granted == name.value);
        let (job, settings) = reader.apart(|reader| section.and_then(|section| child(section, reader)));
        if is_granted {
            reader.adopt(settings);
        }
        written.insert(name.value, job);
    }
    let mut children = BTreeMap::new();
    let mut right = true;
    for (name, span) in granted {
        match written.get(name) {
            Some(Some(job)) => drop(children.insert(name.clone(), ChildSpec { job: job.clone(), spec: None })),
            Some(None) => right = false,
            None => {
                right = false;
                reader.mistake(Mistake {
                    span: Some(span.clone()),
                    message: format!("the granted child `{name}` is not defined"),
                    label: "no [children] of this name".to_owned(),
                    help: format!(
                        "allowed: {}\nwrite:\n[children.{name}]\njob = \"../{name}\"",
                        listed(written.keys().map(String::as_str))
                    ),
                });
            }
        }
    }
    right.then_some(children)
}

fn child(mut section: Section<'_>, reader: &mut Reader) -> Option<PathBuf> {
    let job = section.required(reader, &JOB);
    section.finish(reader);
    job.map(|found| found.value)
}
