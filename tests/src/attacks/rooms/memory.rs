//! Attacks on memory: what a guest may hold, and what it can make the host hold for it.

use jidoka::run::limits::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

use super::super::seen::{because, got, never_ran, no, noted, that, verdict_alone};
use super::super::{Attack, Family, GUEST_BYTES, Scene, row};
use crate::bench::Bench;
use crate::by_hand::worker;
use crate::hostile;

/// A guest that makes the host allocate.
pub(super) fn take(scene: &Scene, how: &str, bytes: u64) -> Bench {
    scene
        .guest(hostile::TAKE)
        .script("[[turn]]\nrepeat = true\ntext = \"hello\"")
        .set("task", &format!("inputs = {{ how = {how:?}, bytes = \"{bytes}\" }}"))
}

/// So many bytes, and fewer.
fn taking(
    name: &'static str,
    tries: &'static str,
    how: &'static str,
    bytes: [u64; 2],
    verdict: &'static str,
) -> Attack {
    let leaves_something = how.contains("file") || how == "evidence";
    let met = if verdict == "trapped" { verdict_alone("the guest ends") } else { no("took") };
    row(Family::Memory, name, tries).attack(move |scene| take(scene, how, bytes[0]), verdict, met).control(
        move |scene| take(scene, how, bytes[1]),
        if leaves_something { "accepted" } else { "no-progress" },
        got("took"),
    )
}

/// A worker by hand that holds too much, and one that holds as much as it may.
fn by_hand(
    name: &'static str,
    tries: &'static str,
    (much, verdict, why): (Vec<u8>, &'static str, &'static str),
    less: Vec<u8>,
) -> Attack {
    let met = if verdict == "not-admitted" { never_ran(why) } else { because(why) };
    row(Family::Memory, name, tries).attack(move |scene| scene.bytes(much.clone()), verdict, met).control(
        move |scene| scene.bytes(less.clone()),
        "no-progress",
        verdict_alone("it fits"),
    )
}

/// A core module so many times, with this inside.
fn times(count: usize, inside: &str) -> Vec<u8> {
    let instances = "(core instance (instantiate $x))".repeat(count);
    worker(&format!("(core module $x {inside}) {instances}"), "", "")
}

/// A report whose evidence is so many times the same 32 KiB of the guest's memory.
fn cites(count: u32) -> Vec<u8> {
    let body = format!(
        "(local $n i32) (local $at i32)
        (loop $more
            (local.set $at (i32.add (i32.const 8192) (i32.mul (local.get $n) (i32.const 8))))
            (i32.store (local.get $at) (i32.const 16384))
            (i32.store offset=4 (local.get $at) (i32.const 32768))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $n) (i32.const {count}))))
        (i32.store (i32.const 1040) (i32.const 8192)) (i32.store (i32.const 1044) (i32.const {count}))"
    );
    worker("", "", &body)
}

pub(super) fn attacks() -> Vec<Attack> {
    const PAGES: u64 = GUEST_BYTES >> 16;
    let pages = |count: u64| {
        move |scene: &Scene| scene.guest(hostile::MEMORY).set("task", &format!("inputs = {{ pages = \"{count}\" }}"))
    };
    let touched = |count: u64| {
        move |scene: &Scene| {
            let inputs = format!("inputs = {{ pages = \"{count}\", leave = \"yes\" }}");
            scene.guest(hostile::PEEK).set("task", &inputs)
        }
    };
    let small = |bytes: Vec<u8>| move |scene: &Scene| scene.bytes(bytes.clone()).set("caps", "memory = \"640KiB\"");
    let second = |pages: u32| {
        worker(
            "(core module $x (memory 5)) (core instance (instantiate $x))",
            "",
            &format!("(drop (memory.grow (i32.const {pages})))"),
        )
    };
    let half = MAX_TABLE_ELEMENTS / 2;
    let tables = |more: u64| {
        let beside = format!("(core module $t (table {half} funcref)) (core instance (instantiate $t))");
        worker(&beside, "(table $b 0 funcref)", &format!("(drop (table.grow $b (ref.null func) (i32.const {more})))"))
    };
    let stack = |how: &'static str, rounds: u64| {
        move |scene: &Scene| {
            let inputs = format!("inputs = {{ how = {how:?}, rounds = \"{rounds}\" }}");
            scene.guest(hostile::BUSY).set("task", &inputs)
        }
    };
    vec![
        row(Family::Memory, "one-page-more", "grows its memory by one page more than the cap")
            .attack(
                pages(PAGES + 1),
                "trapped",
                because("[caps] memory").and(that("no note", |end| end.notes().is_empty())),
            )
            .control(pages(PAGES), "no-progress", noted("grew to 256")),
        row(Family::Memory, "touch-everything", "grows past its cap and touches every page on the way")
            .attack(touched(PAGES), "trapped", because("[caps] memory"))
            .control(touched(PAGES / 2), "no-progress", noted("found 8388608")),
        row(Family::Memory, "two-memories", "shares a cap over two memories and passes it in sum")
            .attack(small(second(5)), "trapped", because("[caps] memory"))
            .control(small(second(4)), "no-progress", verdict_alone("both fit")),
        by_hand(
            "huge-first-memory",
            "declares 4 GiB of memory to begin with",
            (
                worker("(core module $x (memory 65536)) (core instance (instantiate $x))", "", ""),
                "not-admitted",
                "memory",
            ),
            worker("(core module $x (memory 1 65536)) (core instance (instantiate $x))", "", ""),
        ),
        by_hand(
            "huge-table",
            "declares a table of four thousand million elements",
            (worker("", "(table 4294967295 funcref)", ""), "not-admitted", "table"),
            worker("", "(table 1000 funcref)", ""),
        ),
        by_hand(
            "tables-in-sum",
            "grows a second table past what both may have",
            (tables(half + 1), "trapped", "table elements"),
            tables(half),
        ),
        by_hand(
            "too-many-tables",
            "has one table more than a run may have",
            (times(MAX_TABLES + 1, "(table 1 funcref)"), "not-admitted", "exceeds"),
            times(MAX_TABLES, "(table 1 funcref)"),
        ),
        by_hand(
            "too-many-memories",
            "has one memory more than a run may have",
            (times(MAX_MEMORIES, "(memory 1)"), "not-admitted", "exceeds"),
            times(MAX_MEMORIES - 1, "(memory 1)"),
        ),
        by_hand(
            "too-many-instances",
            "has one core instance more than a run may have",
            (times(MAX_INSTANCES, ""), "not-admitted", "exceeds"),
            times(MAX_INSTANCES - 1, ""),
        ),
        row(Family::Memory, "stack-in-memory", "calls itself until the stack in its own memory is used up")
            .attack(stack("stack in memory", 100_000_000), "trapped", because("out of bounds memory access"))
            .control(stack("stack in memory", 100), "no-progress", noted("did 100")),
        row(Family::Memory, "stack-of-the-machine", "calls itself until the machine's stack is used up")
            .attack(stack("stack of the machine", 100_000_000), "trapped", because("call stack exhausted"))
            .control(stack("stack of the machine", 100), "no-progress", noted("did 100")),
        taking("random-bytes", "asks for a gigabyte of chance", "random", [1 << 30, 1 << 10], "trapped"),
        taking("insecure-bytes", "asks for a gigabyte of cheap chance", "insecure", [1 << 30, 1 << 10], "trapped"),
        taking(
            "our-random-bytes",
            "asks our own source for one byte too many",
            "ours",
            [65_537, 65_536],
            "no-progress",
        ),
        taking("zeroes", "has a terabyte of zeroes printed", "zeroes", [1 << 40, 1 << 10], "trapped"),
        taking(
            "zeroes-to-a-file",
            "has a gigabyte of zeroes written at once",
            "zeroes to a file",
            [1 << 30, 1 << 10],
            "trapped",
        ),
        taking(
            "evidence-too-large",
            "attaches a byte more than evidence may have",
            "evidence",
            [(1 << 20) + 1, 1 << 10],
            "no-progress",
        ),
        taking(
            "evidence-past-lifting",
            "attaches more than one call may carry",
            "evidence",
            [4 << 20, 1 << 10],
            "no-progress",
        ),
        row(
            Family::Memory,
            "many-empty-fields",
            "passes a list whose elements are larger for the host than for the guest",
        )
        .attack(|scene| take(scene, "fields", 400_000), "trapped", verdict_alone("the guest ends"))
        .control(|scene| take(scene, "fields", 100), "no-progress", verdict_alone("the note is kept")),
        row(Family::Memory, "many-messages", "asks a model with a hundred thousand empty messages")
            .attack(|scene| take(scene, "messages", 100_000), "no-progress", no("took"))
            .control(|scene| take(scene, "messages", 100), "no-progress", got("took")),
        row(Family::Memory, "many-citations", "cites half a million empty ids in its report")
            .attack(|scene| take(scene, "citations", 500_000), "trapped", verdict_alone("the guest ends"))
            .control(|scene| take(scene, "citations", 0), "no-progress", verdict_alone("the report is read")),
        row(Family::Memory, "one-text-many-times", "hands over the same 32 KiB a thousand times in one list")
            .attack(|scene| scene.bytes(cites(1_000)), "trapped", verdict_alone("the guest ends"))
            .control(|scene| scene.bytes(cites(1)), "rejected", because("evidence")),
    ]
}
