//! Components that are small to send and large to compile: each shape is refused before the compiler, at one more than its
//! bound. Its control is the same shape within the bound, compiled and run.
//!
//! The bounds themselves are tested at N beside `run/shape.rs`; here a control is smaller than N, so that a table is made
//! in minutes.

use jidoka::run::shape::{
    MAX_BODY_BYTES, MAX_COMPONENT_BYTES, MAX_ELEMENTS, MAX_FUNCTIONS, MAX_ITEMS, MAX_LOCALS, MAX_MODULES,
};

use super::super::seen::{never_ran, verdict_alone};
use super::super::{Attack, Family, row};
use crate::by_hand::{RUN, component, worker};

/// Components of a shape that may be written as text once it is asked for: they are large.
fn bomb(
    name: &'static str,
    tries: &'static str,
    what: &'static str,
    shape: impl Fn(usize) -> Vec<u8> + Clone + Send + Sync + 'static,
    sizes: [usize; 2],
) -> Attack {
    let small = shape.clone();
    row(Family::CompileBombs, name, tries)
        .holding(64 << 20)
        .attack(move |scene| scene.bytes(shape(sizes[0])), "not-admitted", never_ran(what))
        .control(move |scene| scene.bytes(small(sizes[1])), "no-progress", verdict_alone("a smaller one runs"))
}

/// As [`bomb`], of one core module with this in it.
fn module(
    name: &'static str,
    tries: &'static str,
    what: &'static str,
    inside: impl Fn(usize) -> String + Clone + Send + Sync + 'static,
    sizes: [usize; 2],
) -> Attack {
    let shape = move |size| {
        let beside = format!("(core module $x {}) (core instance (instantiate $x))", inside(size));
        worker(&beside, "", "")
    };
    bomb(name, tries, what, shape, sizes)
}

fn size(bound: u64) -> usize {
    usize::try_from(bound).expect("small")
}

/// A worker with a custom section of so many bytes behind it.
fn padded(bytes: usize) -> Vec<u8> {
    let mut component = worker("", "", "");
    component.push(0);
    let mut rest = bytes;
    while rest >= 0x80 {
        component.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    component.push(rest as u8);
    component.push(1);
    component.resize(component.len() + bytes - 1, b'x');
    component
}

pub(super) fn attacks() -> Vec<Attack> {
    let locals = |count: usize| "(local i64)".repeat(count);
    let adds = |count: usize| "(drop (i32.const 1))".repeat(count);
    vec![
        module(
            "functions",
            "has one function more than a component may have",
            "functions",
            |count| "(func)".repeat(count),
            [size(MAX_FUNCTIONS) + 1, 1_000],
        ),
        module(
            "locals",
            "has one local more than a function may have",
            "locals in one function",
            move |count| format!("(func {})", locals(count)),
            [size(MAX_LOCALS) + 1, 500],
        ),
        module(
            "long-function",
            "has a function of half a megabyte",
            "bytes in one function",
            move |count| format!("(func {})", adds(count)),
            [MAX_BODY_BYTES / 3 + 1, 5_000],
        ),
        module(
            "long-functions-with-locals",
            "has functions that are long and have many locals, each within its bounds",
            "locals times bytes of functions",
            |count| {
                let body = "nop ".repeat(MAX_BODY_BYTES - 16_384);
                let heavy = format!("(func {} {body})", "(local i32)".repeat(size(MAX_LOCALS)));
                if count == 0 { "(func (local i32) nop)".to_owned() } else { heavy.repeat(count) }
            },
            [2, 0],
        ),
        module(
            "elements",
            "has one element more than segments may have",
            "table elements",
            |count| format!("(elem funcref {})", "(ref.null func) ".repeat(count)),
            [size(MAX_ELEMENTS) + 1, 1_000],
        ),
        bomb(
            "modules",
            "has one module more than a component may have",
            "modules",
            |count| worker(&"(core module)".repeat(count), "", ""),
            [size(MAX_MODULES), size(MAX_MODULES) - 1],
        ),
        bomb(
            "nested-components",
            "has components in components, deeper than it may have modules",
            "modules",
            |depth| worker(&format!("{}{}", "(component ".repeat(depth), ")".repeat(depth)), "", ""),
            [size(MAX_MODULES), 10],
        ),
        module(
            "globals",
            "has more items than a component may have",
            "items",
            |count| "(global i32 (i32.const 0))".repeat(count),
            [size(MAX_ITEMS) + 1, 1_000],
        ),
        bomb(
            "types",
            "has more types than a component may have items",
            "items",
            |count| worker(&"(type (func))".repeat(count), "", ""),
            [size(MAX_ITEMS) + 1, 500],
        ),
        bomb(
            "aliases",
            "exports itself more often than a component may have items",
            "items",
            |count| {
                let exports: String = (0..count).map(|index| format!("(export \"x{index}\" (func $run))")).collect();
                component("", "", "", &format!("{RUN} {exports}"))
            },
            [size(MAX_ITEMS) + 1, 500],
        ),
        bomb(
            "padding",
            "carries more bytes than a component may have",
            "bytes",
            padded,
            [MAX_COMPONENT_BYTES, 1 << 20],
        ),
        module(
            "deep-blocks",
            "nests blocks fifty thousand deep",
            "bytes",
            |depth| format!("(func {}{})", "(block ".repeat(depth), ")".repeat(depth)),
            [MAX_BODY_BYTES, 5_000],
        ),
    ]
}
