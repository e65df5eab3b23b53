//! Attacks on the processor and on time: guests that are busy for ever, or wait for ever, in every way that there is.

use std::sync::Arc;

use jidoka::rules::spec::Dialect;

use super::super::seen::{got_this, no, noted, out_of, verdict_alone};
use super::super::{Attack, Family, Scene, row};
use crate::bench::{Bench, http};
use crate::by_hand::{ByHand, RUN, worker};
use crate::hostile;
use crate::provider::{Behaviour, FakeProvider};

/// The wall clock of an attack, after which its run ends.
const WALL_MS: u64 = 150;

fn walled(bench: Bench) -> Bench {
    bench.set("budget", "cpu = \"20s\"").set("budget", "work = \"20s\"").wall(&format!("{WALL_MS}ms"))
}

pub(super) fn busy(scene: &Scene, how: &str, rounds: u64) -> Bench {
    scene.guest(hostile::BUSY).set("task", &format!("inputs = {{ how = {how:?}, rounds = \"{rounds}\" }}"))
}

/// For ever, and ten times.
fn for_ever(name: &'static str, tries: &'static str, how: &'static str) -> Attack {
    row(Family::CpuAndTime, name, tries)
        .deadline(WALL_MS)
        .attack(move |scene| walled(busy(scene, how, u64::MAX)), "exhausted", out_of("wall-ms"))
        .control(move |scene| busy(scene, how, 10), "no-progress", noted("did 10"))
}

/// A worker by hand that spins somewhere, and the same that counts to a thousand there.
fn by_hand(name: &'static str, tries: &'static str, spins: Vec<u8>, counts: Vec<u8>) -> Attack {
    row(Family::CpuAndTime, name, tries)
        .deadline(WALL_MS)
        .attack(move |scene| walled(scene.bytes(spins.clone())), "exhausted", out_of("wall-ms"))
        .control(move |scene| scene.bytes(counts.clone()), "no-progress", verdict_alone("it comes to its end"))
}

const FOR_EVER: &str = "(loop (br 0))";
const A_WHILE: &str = "(local $n i32)
    (loop (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if 0 (i32.lt_u (local.get $n) (i32.const 1000))))";

/// A worker whose `realloc` does something first.
fn reallocs(first: &str) -> Vec<u8> {
    let realloc = ByHand::default().realloc.replace("(local i32)", &format!("(local i32) {first}"));
    ByHand { realloc, ..ByHand::default() }.bytes()
}

/// A worker that does something after its return.
fn after(what: &str) -> Vec<u8> {
    let core = format!("(func (export \"post\") (param i32) {what})");
    let lifted = "(realloc (core func $i \"realloc\"))";
    let exports = RUN.replace(lifted, &format!("{lifted} (post-return (core func $i \"post\"))"));
    ByHand { core, exports, ..ByHand::default() }.bytes()
}

/// A worker that does something before its function is called.
fn at_start(what: &str) -> Vec<u8> {
    worker("", &format!("(func $start {what}) (start $start)"), "")
}

/// Asks somebody on loopback who does this.
fn asks(does: Behaviour, wall_ms: u64) -> super::super::Made {
    Arc::new(move |scene| {
        let does = does.clone();
        Box::pin(async move {
            let provider = FakeProvider::start(vec![does]).await;
            let inputs = "inputs = { how = \"model\", address = \"none\" }";
            let bench = scene.guest(hostile::DIAL).set("task", inputs).model(http(&provider, Dialect::Openai));
            scene.keep(provider);
            bench.set("budget", "cpu = \"20s\"").set("budget", "work = \"20s\"").wall(&format!("{wall_ms}ms"))
        })
    })
}

pub(super) fn attacks() -> Vec<Attack> {
    let cpu = |rounds: u64| move |scene: &Scene| busy(scene, "loop", rounds).set("budget", "cpu = \"50ms\"");
    let sleeps = |ms: u64| move |scene: &Scene| walled(busy(scene, "our sleep", ms)).wall("2s");
    vec![
        for_ever("spin", "spins without a host call", "loop"),
        for_ever("spin-in-numbers", "computes for ever", "numbers"),
        for_ever("spin-in-fills", "fills its memory again and again, in single instructions", "fill"),
        for_ever("spin-in-copies", "copies its memory onto itself, in single instructions", "copy"),
        for_ever("spin-in-calls", "spins in a host call that is always ready", "calls"),
        for_ever("spin-in-random", "draws chance for ever", "random"),
        for_ever("spin-in-stats", "looks at a file for ever", "stats"),
        for_ever("spin-in-empty-prints", "prints nothing for ever", "empty prints"),
        for_ever("spin-in-flushes", "flushes for ever", "flushes"),
        for_ever("sleep", "sleeps for ever", "sleep"),
        for_ever("alarm", "waits for an alarm at the end of time", "alarm"),
        for_ever("alarms", "waits for a hundred alarms at the end of time", "alarms"),
        row(Family::CpuAndTime, "our-sleep", "asks for a sleep that is longer than its run may be")
            .attack(sleeps(3_600_000), "exhausted", out_of("wall-ms"))
            .control(sleeps(10), "no-progress", noted("did 10")),
        row(Family::CpuAndTime, "processor-time", "uses more processor time than it has, far below its wall clock")
            .deadline(50)
            .attack(cpu(u64::MAX), "exhausted", out_of("cpu-ms"))
            .control(cpu(10), "no-progress", noted("did 10")),
        by_hand("spin-at-start", "spins in a start function", at_start(FOR_EVER), at_start(A_WHILE)),
        by_hand("spin-in-realloc", "spins where the host puts its arguments", reallocs(FOR_EVER), reallocs_a_while()),
        by_hand("spin-after-return", "spins after it has returned", after(FOR_EVER), after(A_WHILE)),
        by_hand(
            "spin-in-growth",
            "grows its memory by nothing, for ever",
            worker("", "", "(loop (drop (memory.grow (i32.const 0))) (br 0))"),
            worker("", "", "(drop (memory.grow (i32.const 0)))"),
        ),
        by_hand(
            "spin-in-table-fills",
            "fills a table, for ever",
            worker(
                "",
                "(table $t 10000 funcref)",
                "(loop (table.fill $t (i32.const 0) (ref.null func) (i32.const 10000)) (br 0))",
            ),
            worker("", "(table $t 10000 funcref)", "(table.fill $t (i32.const 0) (ref.null func) (i32.const 10000))"),
        ),
        row(Family::CpuAndTime, "model-silent", "waits for a model that never answers")
            .deadline(WALL_MS)
            .attack_made(asks(Behaviour::Stall, WALL_MS), "exhausted", out_of("wall-ms"))
            .control_made(
                asks(Behaviour::Text("heard".into()), 20_000),
                "no-progress",
                got_this("dialled", "\"heard\""),
            ),
        row(Family::CpuAndTime, "model-endless", "lets a model talk for ever")
            .attack_made(asks(Behaviour::Endless, 5_000), "no-progress", verdict_alone("the stream is cut at its cap"))
            .control_made(
                asks(Behaviour::Text("heard".into()), 20_000),
                "no-progress",
                got_this("dialled", "\"heard\""),
            ),
        row(Family::CpuAndTime, "schema-bomb", "has the host compile a schema that doubles sixty times")
            .attack(schema("doubling"), "no-progress", verdict_alone("the host lives"))
            .control(schema("itself"), "no-progress", no("ask")),
    ]
}

fn schema(bomb: &'static str) -> impl Fn(&Scene) -> Bench + Send + Sync {
    move |scene| {
        let turn = "[[turn]]\nrepeat = true\ntext = '{\"p1\": \"x\"}'\nusage = { in = 9, out = 9 }";
        scene.guest(hostile::SCHEMA_BOMB).script(turn).set("task", &format!("inputs = {{ bomb = {bomb:?} }}"))
    }
}

/// The locals of a `realloc` by hand have no names.
fn reallocs_a_while() -> Vec<u8> {
    reallocs(
        "(local i32)
        (loop (local.set 5 (i32.add (local.get 5) (i32.const 1))) (br_if 0 (i32.lt_u (local.get 5) (i32.const 1000))))",
    )
}
