//! `digest` and `signed-by` beside a component, and the operator's `[policy] signed-by` over all of them.
//!
//! Never: reads a key. A signature of what is built here cannot exist beforehand, so asking for one of a crate is a mistake;
//! so is a pin of a command, which is no component.

use toml::Spanned;
use toml::de::DeValue;

use super::kinds::{HostPath, Kind, List, Repeats, Text, Wrong, wrong};
use super::mistake::Mistake;
use super::operator::Policy;
use super::reader::{Key, Read, Reader, Section};
use crate::rules::digest::Digest;
use crate::rules::pin::{Demander, Pin, Signers};
use crate::rules::spec::ComponentSource;

/// Keys of an operator: one for each who may sign.
const MOST_KEYS: usize = 16;

const DIGEST: Key<ComponentDigest> =
    Key { name: "digest", kind: ComponentDigest, example: "\"blake3:<64 digits, as jidoka inspect shows them>\"" };
const SIGNED_BY: Key<HostPath> = Key { name: "signed-by", kind: HostPath, example: "\"signer.pub\"" };
pub(super) const POLICY: Key<List<HostPath>> = Key {
    name: "signed-by",
    kind: List { of: HostPath, least: 0, most: MOST_KEYS, repeats: Repeats::Refused },
    example: "[\"signer.pub\"]",
};

/// Reads the pin of the component of a section. `None`: nobody knows which component it is, which was reported.
pub(super) fn read(
    section: &mut Section<'_>,
    reader: &mut Reader,
    source: Option<&ComponentSource>,
    policy: &Policy,
) -> Pin {
    let digest = section.optional(reader, &DIGEST, "any").found().map(|found| found.value);
    let signed_by = section.optional(reader, &SIGNED_BY, "nobody");
    let mut pin = Pin { digest, ..Pin::default() };
    let is_built = matches!(source, Some(ComponentSource::Crate(_)));
    if let Read::Found(found) = signed_by {
        if is_built {
            reader.mistake(Mistake {
                span: Some(found.span),
                message: format!("`{}` asks for a signature of what is built here", section.key(SIGNED_BY.name)),
                label: "nobody can have signed it before it is built".to_owned(),
                help: "allowed: `signed-by` together with `component`\n\
                       write: component = \"worker.wasm\", built and signed beforehand: jidoka build, jidoka sign"
                    .to_owned(),
            });
        }
        pin.signed_by.push(Signers::unread(Demander::Job, &[found.value]));
    }
    if is_built && !policy.signed_by.is_empty() {
        reader.mistake(Mistake {
            span: Some(section.place()),
            message: format!(
                "the component of {} is built here, and the operator asks for a signature",
                section.title()
            ),
            label: "nobody can have signed it before it is built".to_owned(),
            help: "allowed: a component that one of the operator's `policy.signed-by` signed\n\
                   write: component = \"worker.wasm\", built and signed beforehand: jidoka build, jidoka sign"
                .to_owned(),
        });
    }
    pin.under(&policy.signed_by);
    pin
}

/// Reports the pin of a section that has no component.
pub(super) fn refuse(section: &mut Section<'_>, reader: &mut Reader) {
    for name in [DIGEST.name, SIGNED_BY.name] {
        if let Some(span) = section.misplaced(name) {
            reader.mistake(Mistake {
                span: Some(span),
                message: format!("`{}` is given, but a command is no component", section.key(name)),
                label: "nothing to pin".to_owned(),
                help: format!("allowed: `{name}` together with `component`\nwrite: nothing; delete this key"),
            });
        }
    }
}

/// A component's digest.
struct ComponentDigest;

impl Kind for ComponentDigest {
    type Value = Digest;

    fn allowed(&self) -> String {
        "`blake3:` and 64 lower-case hexadecimal digits, as `jidoka inspect` shows them".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Digest, Vec<Wrong>> {
        let text = Text { least: 1, most: 256 }.read(value)?;
        match text.parse() {
            Ok(digest) => Ok(digest),
            Err(_) => wrong(value, "is no digest", "not a digest"),
        }
    }

    fn show(&self, value: &Digest) -> String {
        value.to_string()
    }
}
