//! Attacks by quantity: the same call again and again, until its cap, its budget or the host's patience is used up.

use jidoka::rules::policy::{
    MAX_BATCH, MAX_CHECK_INS, MAX_EVIDENCE, MAX_MESSAGES, MAX_OPTIONS, MAX_REFUSALS, MAX_REQUEST_BYTES,
    MAX_SCHEMA_BYTES, MAX_TOOLS,
};

use super::super::seen::{because, got, no, noted, out_of, that, verdict_alone, written_at_most};
use super::super::{Attack, Family, Scene, Seen, row};
use crate::bench::Bench;
use crate::hostile;

const HELLO: &str = "[[turn]]\nrepeat = true\ntext = \"hello\"";

pub(super) fn flood(scene: &Scene, what: &str, count: u64) -> Bench {
    scene.guest(hostile::FLOOD).set("task", &format!("inputs = {{ what = {what:?}, count = \"{count}\" }}"))
}

/// So often, and so often as it may.
fn often(
    name: &'static str,
    tries: &'static str,
    (what, much, few): (&'static str, u64, u64),
    (verdict, met): (&'static str, Seen),
) -> Attack {
    let control = if what == "check-ins" || what == "refusals" { "no-progress" } else { "accepted" };
    row(Family::HostCalls, name, tries).attack(move |scene| flood(scene, what, much), verdict, met).control(
        move |scene| flood(scene, what, few),
        control,
        got("last"),
    )
}

/// Nobody counts how often; the deadline ends it, and the journal stays small.
fn until_the_end(name: &'static str, tries: &'static str, what: &'static str) -> Attack {
    row(Family::HostCalls, name, tries)
        .deadline(300)
        .attack(
            move |scene| flood(scene, what, u64::MAX).set("budget", "cpu = \"20s\"").wall("300ms"),
            "exhausted",
            out_of("wall-ms").and(written_at_most(8 << 20)),
        )
        .control(move |scene| flood(scene, what, 10), "no-progress", got("last"))
}

pub(super) fn attacks() -> Vec<Attack> {
    let asks = |count: u64, line: &'static str| {
        move |scene: &Scene| flood(scene, "asks", count).script(HELLO).set("budget", line)
    };
    let options = |count: usize| {
        move |scene: &Scene| {
            let bench = flood(scene, "options", count as u64).set("grants", "human = true");
            bench.set("human", "deadline = \"1h\"")
        }
    };
    let batch = |cap: usize| {
        move |scene: &Scene| {
            scene.guest(hostile::MODEL_BATCH).script(HELLO).set("task", &format!("inputs = {{ cap = \"{cap}\" }}"))
        }
    };
    let oversize = |bytes: u64, messages: usize, tools: usize, schema: usize| {
        move |scene: &Scene| {
            let caps = format!(
                "inputs = {{ bytes = \"{bytes}\", messages = \"{messages}\", tools = \"{tools}\", schema = \"{schema}\" }}"
            );
            scene.guest(hostile::MODEL_OVERSIZE).script(HELLO).set("guards", "degenerate = 20").set("task", &caps)
        }
    };
    vec![
        often(
            "one-refusal-more",
            "goes on being refused past its cap",
            ("refusals", MAX_REFUSALS + 1, MAX_REFUSALS),
            ("trapped", because("refused").and(written_at_most(2 << 20))),
        ),
        often(
            "one-check-in-more",
            "has the host look at its files once more than it may",
            ("check-ins", MAX_CHECK_INS + 1, MAX_CHECK_INS),
            ("no-progress", no("last")),
        ),
        often(
            "one-evidence-more",
            "attaches one piece of evidence more than it may",
            ("evidence", MAX_EVIDENCE + 1, MAX_EVIDENCE),
            ("accepted", no("last")),
        ),
        until_the_end("looks-for-ever", "looks at its budget for ever", "looks"),
        until_the_end("sleeps-for-ever", "sleeps for no time, for ever", "sleeps"),
        row(Family::HostCalls, "one-call-more", "asks a model once more than its budget has calls")
            .attack(asks(6, "model-calls = 5"), "no-progress", no("last"))
            .control(asks(5, "model-calls = 5"), "no-progress", got("last")),
        row(Family::HostCalls, "past-its-tokens", "asks a model past the tokens of its budget")
            .attack(asks(40, "tokens = 100"), "no-progress", no("last"))
            .control(asks(4, "tokens = 100"), "no-progress", got("last")),
        row(Family::HostCalls, "one-option-more", "asks a person to choose from more than anybody reads")
            .attack(options(MAX_OPTIONS + 1), "no-progress", no("last"))
            .control(options(MAX_OPTIONS), "needs-human", verdict_alone("a person is asked")),
        row(Family::HostCalls, "batch-too-large", "asks one question more at once than a batch has")
            .attack(batch(MAX_BATCH), "no-progress", no("over"))
            .control(batch(MAX_BATCH - 1), "no-progress", got("over")),
        row(Family::HostCalls, "requests-too-large", "passes every cap of a request by one")
            .attack(
                oversize(MAX_REQUEST_BYTES, MAX_MESSAGES, MAX_TOOLS, MAX_SCHEMA_BYTES),
                "no-progress",
                that("every one refused", |end| {
                    let notes = end.notes();
                    notes.len() == 6 && notes.iter().all(|note| note.contains("an argument is larger than its cap"))
                }),
            )
            .control(oversize(1_000, 20, 10, 1_000), "no-progress", got("bytes + 1").and(got("tools + 1"))),
        row(Family::HostCalls, "greedy", "asks for more output than its budget has")
            .attack(
                |scene| scene.guest(hostile::MODEL_GREEDY).script(HELLO).set("budget", "tokens-out = 77"),
                "no-progress",
                no("least above the budget").and(no("nothing")).and(no("crossed")),
            )
            .control(
                |scene| scene.guest(hostile::MODEL_GREEDY).script(HELLO).set("budget", "tokens-out = 77"),
                "no-progress",
                got("most"),
            ),
        row(Family::HostCalls, "model-not-granted", "asks models by names that it was not granted")
            .attack(
                |scene| scene.guest(hostile::MODEL_UNGRANTED).script(HELLO),
                "no-progress",
                no("ask \"other\"").and(no("ask \"MODEL\"")).and(no("ask \"../model\"")).and(no("batch")),
            )
            .control(
                |scene| {
                    let task = "inputs = { how = \"model\", address = \"none\" }";
                    scene.guest(hostile::DIAL).script(HELLO).set("task", task)
                },
                "no-progress",
                got("dialled"),
            ),
        row(Family::HostCalls, "tools-and-children", "calls tools and children of a host that serves none")
            .attack(
                |scene| scene.guest(hostile::UNGRANTED),
                "no-progress",
                no("tool").and(no("tools")).and(no("child")).and(no("children")).and(no("human")),
            )
            .control(|scene| scene.guest(hostile::UNGRANTED), "no-progress", noted("catalogue 0")),
    ]
}
