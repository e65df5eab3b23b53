//! Leaks between runs: what one guest leaves in memory, tables, globals, handles and files that the next is given.

use super::super::seen::{because, got, no, noted, that, verdict_alone};
use super::super::{Attack, Family, Scene, row};
use super::filesystem::{reach, told};
use crate::bench::Bench;
use crate::by_hand::worker;
use crate::hostile;

/// Enough for every slot that a neighbour's next guest may be given.
const VICTIMS: usize = 4;

/// A worker that traps if something is not as it was made, and then leaves it otherwise. Run again and again, it looks at
/// what the one before it left; its control looks at what it left itself.
fn leaves(name: &'static str, tries: &'static str, core: &str, looks: &str, leaves: &str) -> Attack {
    let first = worker("", core, &format!("{looks} {leaves}"));
    let itself = worker("", core, &format!("{leaves} {looks}"));
    let victims = first.clone();
    row(Family::Leaks, name, tries)
        .after(move |scene| (0..VICTIMS).map(|_| scene.bytes(victims.clone())).collect())
        .attack(move |scene| scene.bytes(first.clone()), "no-progress", verdict_alone("all is as it was made"))
        .control(move |scene| scene.bytes(itself.clone()), "trapped", because("unreachable"))
}

fn peek(scene: &Scene, leave: &str) -> Bench {
    scene.guest(hostile::PEEK).set("task", &format!("inputs = {{ pages = \"100\"{leave} }}"))
}

const LEAVE: &str = ", leave = \"yes\"";

pub(super) fn attacks() -> Vec<Attack> {
    let trap_if = |condition: &str| format!("(if {condition} (then (unreachable)))");
    vec![
        row(Family::Leaks, "memory-of-another", "looks through memory for what another guest left")
            .after(|scene| (0..VICTIMS).map(|_| peek(scene, LEAVE)).collect())
            .attack(|scene| peek(scene, ""), "no-progress", noted("found 0"))
            .control(|scene| peek(scene, LEAVE), "no-progress", noted("found 6553600")),
        leaves(
            "first-memory",
            "looks for what the same component left in its first page",
            "",
            &trap_if("(i32.load (i32.const 60000))"),
            "(i32.store (i32.const 60000) (i32.const 7))",
        ),
        leaves(
            "data-segment",
            "looks for its own changes to a data segment",
            "(data (i32.const 50000) \"as it was made\")",
            &trap_if("(i32.ne (i32.load8_u (i32.const 50000)) (i32.const 97))"),
            "(i32.store8 (i32.const 50000) (i32.const 98))",
        ),
        leaves(
            "grown-memory",
            "looks for what the same component left in a page that it grew",
            "",
            &format!("(drop (memory.grow (i32.const 2))) {}", trap_if("(i32.load (i32.const 150000))")),
            "(if (i32.lt_u (memory.size) (i32.const 3)) (then (drop (memory.grow (i32.const 2)))))
            (i32.store (i32.const 150000) (i32.const 7))",
        ),
        leaves(
            "global",
            "looks for what the same component left in a global",
            "(global $g (mut i32) (i32.const 7))",
            &trap_if("(i32.ne (global.get $g) (i32.const 7))"),
            "(global.set $g (i32.const 8))",
        ),
        leaves(
            "table",
            "looks for a function that the same component left in a table",
            "(table $t 10 funcref) (func $f) (elem declare func $f)",
            &trap_if("(i32.eqz (ref.is_null (table.get $t (i32.const 5))))"),
            "(table.set $t (i32.const 5) (ref.func $f))",
        ),
        leaves(
            "grown-table",
            "looks for a function in the part of a table that it grew",
            "(table $t 1 funcref) (func $f) (elem declare func $f)",
            &format!(
                "(drop (table.grow $t (ref.null func) (i32.const 9))) {}",
                trap_if("(i32.eqz (ref.is_null (table.get $t (i32.const 5))))")
            ),
            "(if (i32.lt_u (table.size $t) (i32.const 10)) (then (drop (table.grow $t (ref.null func) (i32.const 9)))))
            (table.set $t (i32.const 5) (ref.func $f))",
        ),
        row(Family::Leaks, "tree-of-another", "reads a file that an attempt left that was not accepted")
            .after(|scene| vec![told(scene, &["write left.txt x", "panic"]).item(&scene.item())])
            .attack(|scene| reach(scene, "read", "left.txt").item(&scene.item()), "no-progress", no("reached"))
            .control(|scene| reach(scene, "read", "a.txt").item(&scene.item()), "no-progress", got("reached")),
        row(Family::Leaks, "run-of-another", "reads another run's tree by its path")
            .after(|scene| vec![told(scene, &["write left.txt x", "panic"]).serial("victim-of-the-table").no_apply()])
            .attack(
                |scene| reach(scene, "read", "../../victim-of-the-table/work/left.txt"),
                "no-progress",
                no("reached"),
            )
            .control(|scene| reach(scene, "read", "a.txt"), "no-progress", got("reached")),
        row(Family::Leaks, "variables-of-another", "reads the variables that another run was given")
            .after(|scene| vec![scene.guest(hostile::ENVIRONMENT).set("worker", "env = { KEY = \"another's\" }")])
            .attack(|scene| scene.guest(hostile::ENVIRONMENT), "no-progress", noted("vars []"))
            .control(
                |scene| scene.guest(hostile::ENVIRONMENT).set("worker", "env = { KEY = \"mine\" }"),
                "no-progress",
                noted("vars [(\"KEY\", \"mine\")]"),
            ),
        row(Family::Leaks, "work-while-it-goes", "is given another tree than the real one, and writes there")
            .attack(
                |scene| told(scene, &["write a.txt owned", "panic"]),
                "trapped",
                that("the real directory is as it was", |end| end.real_file("a.txt").as_deref() == Some("before")),
            )
            .control(
                |scene| told(scene, &["write a.txt better", "done ready"]),
                "accepted",
                that("accepted work is applied", |end| end.real_file("a.txt").as_deref() == Some("better")),
            ),
    ]
}
