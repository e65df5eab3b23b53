//! `[grants] human` and `[human]`: whether the worker may ask a person, and how long an answer may take.
//!
//! Never: a question that waits for ever, or a deadline of questions that nobody may ask.

use super::amount::{Amount, Unit};
use super::kinds::Flag;
use super::mistake::Mistake;
use super::reader::{Found, Key, Read, Reader, Section};

/// The grant, in `[grants]`.
pub(super) const HUMAN: Key<Flag> = Key { name: "human", kind: Flag, example: "true" };
/// A month: who has not answered until then has forgotten the question.
const DEADLINE: Key<Amount> =
    Key { name: "deadline", kind: Amount::new(Unit::Duration, 1_000, 30 * 24 * 3_600_000), example: "\"24h\"" };

/// Reads `[human]`: how long an answer may take, in milliseconds. Absent: there are no questions.
pub(super) fn read(file: &mut Section<'_>, reader: &mut Reader, granted: &Read<bool>) -> Read<u64> {
    match (file.section(reader, "human"), granted) {
        (Read::Absent, Read::Absent | Read::Found(Found { value: false, .. })) => Read::Absent,
        (Read::Absent, Read::Found(Found { value: true, span })) => {
            reader.mistake(Mistake {
                span: Some(span.clone()),
                message: "`grants.human` is granted without a [human]".to_owned(),
                label: "a question needs a deadline".to_owned(),
                help: "allowed: human = true together with a [human]\nwrite:\n[human]\ndeadline = \"24h\"".to_owned(),
            });
            Read::Wrong
        }
        (Read::Found(Found { value: mut section, span }), Read::Found(Found { value: true, .. })) => {
            let deadline = section.required(reader, &DEADLINE);
            section.finish(reader);
            deadline.map_or(Read::Wrong, |found| Read::Found(Found { value: found.value, span }))
        }
        (Read::Found(Found { value: section, span }), Read::Absent | Read::Found(Found { value: false, .. })) => {
            reader.mistake(Mistake {
                span: Some(span),
                message: "[human] is given, but the worker may not ask a person".to_owned(),
                label: "no questions to answer".to_owned(),
                help: "allowed: a [human] together with human = true\nwrite in [grants]: human = true".to_owned(),
            });
            alone(section, reader)
        }
        // The grant is a mistake, so nothing follows from it.
        (Read::Found(Found { value: section, .. }), Read::Wrong) => alone(section, reader),
        (Read::Absent, Read::Wrong) | (Read::Wrong, _) => Read::Wrong,
    }
}

/// Judges what stands there by itself.
fn alone(mut section: Section<'_>, reader: &mut Reader) -> Read<u64> {
    section.if_written(reader, &DEADLINE);
    section.finish(reader);
    Read::Wrong
}

/// What no job could say of it, a sentence.
pub(super) fn wrong_of(deadline_ms: u64) -> Option<String> {
    DEADLINE.kind.outside("human.deadline", deadline_ms)
}
