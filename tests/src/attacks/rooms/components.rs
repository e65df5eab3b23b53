//! Components that are no workers: broken bytes, other people's imports, features that the engine does not have.

use super::super::seen::{because, never_ran, that, verdict_alone, written_at_most};
use super::super::{Attack, Family, row};
use crate::by_hand::{RUN, component, worker};
use crate::{hostile, plain};

/// A worker by hand that imports an interface with this in it.
pub(super) fn imports(interface: &str, inside: &str) -> Vec<u8> {
    worker(&format!("(import \"{interface}\" (instance {inside}))"), "", "")
}

/// Bytes that are not admitted, and bytes like them that are.
fn refused(name: &'static str, tries: &'static str, why: &'static str, bytes: Vec<u8>, less: Vec<u8>) -> Attack {
    row(Family::Components, name, tries)
        .attack(move |scene| scene.bytes(bytes.clone()), "not-admitted", never_ran(why))
        .control(move |scene| scene.bytes(less.clone()), "no-progress", verdict_alone("it is admitted"))
}

/// A core module with this in it, which needs a feature that is off; and one without.
pub fn feature(name: &'static str, tries: &'static str, why: &'static str, with: &str, without: &str) -> Attack {
    let beside = |inside: &str| format!("(core module $x {inside}) (core instance (instantiate $x))");
    refused(name, tries, why, worker(&beside(with), "", ""), worker(&beside(without), "", ""))
}

/// Something in a component that needs a feature that is off; and something like it that does not.
pub fn component_feature(
    name: &'static str,
    tries: &'static str,
    why: &'static str,
    with: &str,
    without: &str,
) -> Attack {
    refused(name, tries, why, worker(with, "", ""), worker(without, "", ""))
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn file(path: &str) -> Vec<u8> {
    std::fs::read(path).expect("the build script made it")
}

/// A list in a list in a list, so many deep, as the type of a function.
fn nested_lists(depth: usize) -> String {
    let types: String = (1..depth).map(|level| format!("(type $l{level} (list $l{}))", level - 1)).collect();
    format!("(type $l0 (list u8)) {types} (type (func (param \"x\" $l{})))", depth - 1)
}

/// Tuples of tuples, each of them twice the one before: small to write, large to lay out.
fn doubling(depth: usize) -> String {
    let types: String = (1..depth).map(|level| format!("(type $t{level} (tuple $t{0} $t{0}))", level - 1)).collect();
    format!("(type $t0 (tuple u8 u8)) {types} (type (func (param \"x\" $t{})))", depth - 1)
}

/// A function lifted with these options.
fn lifted(options: &str) -> String {
    format!(
        "(core module $x (func (export \"f\")) (func (export \"back\") (param i32 i32 i32) (result i32) unreachable))
        (core instance $x (instantiate $x)) (func (canon lift (core func $x \"f\") {options}))"
    )
}

/// A worker that does this with a value at the very end of its memory, and traps if it is not what stands there.
fn at_the_edge(name: &'static str, tries: &'static str, is_right: impl Fn(u32) -> String) -> Attack {
    let body = |at: u32| format!("(if (i32.eqz {}) (then (unreachable)))", is_right(at));
    let core = "(data (i32.const 65528) \"\\00\\00\\00\\00\\00\\00\\f0\\bf\")";
    let (outside, inside) = (worker("", core, &body(65_529)), worker("", core, &body(65_528)));
    row(Family::Components, name, tries)
        .attack(move |scene| scene.bytes(outside.clone()), "trapped", because("out of bounds memory access"))
        .control(
            move |scene| scene.bytes(inside.clone()),
            "no-progress",
            verdict_alone("the last eight bytes are its own"),
        )
}

pub(super) fn attacks() -> Vec<Attack> {
    let honest = || worker("", "", "");
    let whole = file(plain::IDLE);
    let noise: Vec<u8> = b"\0asm\x0d\0\x01\0"
        .iter()
        .copied()
        .chain((0..4096_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8))
        .collect();
    let twice =
        RUN.replace("(export \"run\" (func $run))", "(export \"run\" (func $run)) (export \"walk\" (func $run))");
    let named = |name: &str| worker("", &format!("(func ${name} unreachable)"), &format!("(call ${name})"));
    let many_imports: String =
        (0..900).map(|index| format!("(import \"evil:{}/i{index}\" (instance))", "a".repeat(200))).collect();
    let many_exports: String = (0..2_000).map(|index| format!("(export \"x{index}\" (func $run))")).collect::<String>();
    vec![
        refused("nothing", "is of no bytes at all", "not a WebAssembly component", Vec::new(), honest()),
        refused(
            "shell-script",
            "is a shell script",
            "not a WebAssembly component",
            b"#!/bin/sh\nid\n".to_vec(),
            honest(),
        ),
        refused(
            "noise",
            "begins like a component and goes on as noise",
            "not a WebAssembly component",
            noise,
            honest(),
        ),
        refused(
            "cut-off",
            "is cut off in the middle",
            "not a WebAssembly component",
            whole[..whole.len() / 2].to_vec(),
            whole,
        ),
        refused("core-module", "is a module and no component", "core module", text("(module (memory 1))"), honest()),
        refused("empty-component", "exports nothing", "run", text("(component)"), honest()),
        refused("no-worker", "is a verifier", "run", file(hostile::JUDGE_MEDDLES), file(hostile::TOUCH)),
        refused(
            "other-type",
            "exports a `run` of another type",
            "run",
            component(
                "",
                "(func (export \"other\"))",
                "",
                "(func $r (canon lift (core func $i \"other\"))) (export \"run\" (func $r))",
            ),
            honest(),
        ),
        refused(
            "unknown-interface",
            "imports an interface that nobody serves",
            "evil:keys/read",
            imports("evil:keys/read@0.1.0", ""),
            imports("wasi:random/random@0.2.0", ""),
        ),
        refused(
            "unknown-function",
            "imports a function that its interface does not have",
            "host",
            imports("wasi:filesystem/preopens@0.2.0", "(export \"get-host-directories\" (func))"),
            imports("wasi:random/random@0.2.0", "(export \"get-random-u64\" (func (result u64)))"),
        ),
        refused(
            "mistyped-import",
            "imports a function with another type, to have the host read it wrongly",
            "get-random-u64",
            imports("wasi:random/random@0.2.0", "(export \"get-random-u64\" (func (result string)))"),
            imports("wasi:random/random@0.2.0", "(export \"get-random-u64\" (func (result u64)))"),
        ),
        refused(
            "import-as-function",
            "imports an interface as a function",
            "wasi:random/random",
            text("(component (import \"wasi:random/random@0.2.0\" (func)))"),
            imports("wasi:random/random@0.2.0", ""),
        ),
        refused(
            "resource-of-another",
            "takes an output for an input, by the type of a resource",
            "resource",
            imports(
                "wasi:io/poll@0.2.0",
                "(export \"pollable\" (type $p (sub resource))) (export \"other\" (type $o (sub resource)))
                (export \"[method]pollable.block\" (func (param \"self\" (borrow $o))))",
            ),
            imports(
                "wasi:io/poll@0.2.0",
                "(export \"pollable\" (type $p (sub resource)))
                (export \"[method]pollable.block\" (func (param \"self\" (borrow $p))))",
            ),
        ),
        refused(
            "many-imports",
            "imports nine hundred interfaces of long names",
            "evil:",
            text(&format!("(component {many_imports})")),
            imports("wasi:random/random@0.2.0", ""),
        ),
        row(Family::Components, "many-exports", "exports two thousand functions more")
            .attack(
                {
                    let bytes = component("", "", "", &format!("{RUN} {many_exports}"));
                    move |scene| scene.bytes(bytes.clone())
                },
                "no-progress",
                that("they are not called", |end| end.entries.len() < 10).and(written_at_most(16 << 10)),
            )
            .control(
                {
                    let bytes = component("", "", "", &twice);
                    move |scene| scene.bytes(bytes.clone())
                },
                "no-progress",
                verdict_alone("one more is no harm"),
            ),
        component_feature(
            "deep-lists",
            "nests a type two hundred deep",
            "nesting",
            &nested_lists(200),
            &nested_lists(20),
        ),
        component_feature("doubling-tuples", "doubles a type forty times", "", &doubling(40), &doubling(5)),
        row(Family::Components, "coloured-function", "traps in a function whose name is control characters")
            .attack(
                {
                    let bytes = named("\"\\1b[31mred\\0a\\07\"");
                    move |scene| scene.bytes(bytes.clone())
                },
                "trapped",
                that("no control character in why", |end| !end.record.why.contains(['\u{1b}', '\u{7}'])),
            )
            .control(
                {
                    let bytes = named("plainly");
                    move |scene| scene.bytes(bytes.clone())
                },
                "trapped",
                because("plainly"),
            ),
        row(Family::Components, "flipped-bits", "is a component with every sixteenth byte changed")
            .attack(
                {
                    let mut bytes = file(hostile::TOUCH);
                    bytes.iter_mut().skip(64).step_by(16).for_each(|byte| *byte ^= 0x10);
                    move |scene| scene.bytes(bytes.clone())
                },
                "not-admitted",
                verdict_alone("nothing ran"),
            )
            .control(|scene| scene.guest(hostile::TOUCH), "no-progress", verdict_alone("it is admitted")),
        at_the_edge("copysign-at-the-edge", "has the compiler load more than a number, past its memory", |at| {
            format!("(f64.eq (f64.copysign (f64.const 1) (f64.load (i32.const {at}))) (f64.const -1))")
        }),
        at_the_edge("splat-at-the-edge", "has the compiler load more than a lane, past its memory", |at| {
            format!("(f64.eq (f64x2.extract_lane 1 (f64x2.splat (f64.load (i32.const {at})))) (f64.const -1))")
        }),
        feature("threads", "shares a memory", "thread", "(memory 1 1 shared)", "(memory 1 1)"),
        feature(
            "atomics",
            "waits on an atomic",
            "thread",
            "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
            "(memory 1) (func (drop (i32.load (i32.const 0))))",
        ),
        feature("memory64", "has a memory of 64-bit addresses", "64", "(memory i64 1)", "(memory 1)"),
        feature("gc", "has types that are collected", "", "(type (struct (field i32)))", "(type (func))"),
        feature(
            "i31",
            "makes a reference of a number",
            "",
            "(func (drop (ref.i31 (i32.const 0))))",
            "(func (drop (ref.null func)))",
        ),
        feature(
            "function-references",
            "calls a typed reference",
            "",
            "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))",
            "(type $f (func)) (func)",
        ),
        feature("exceptions", "throws", "exceptions", "(tag $t) (func (throw $t))", "(func unreachable)"),
        feature(
            "relaxed-simd",
            "computes as each machine does in its own way",
            "relaxed",
            "(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
            "(func (param v128) (drop (i8x16.swizzle (local.get 0) (local.get 0))))",
        ),
        feature(
            "stack-switching",
            "switches stacks",
            "",
            "(type $f (func)) (type $c (cont $f)) (func)",
            "(type $f (func)) (func)",
        ),
        feature("custom-pages", "has pages of one byte", "page", "(memory 1 (pagesize 1))", "(memory 1)"),
        feature(
            "wide-arithmetic",
            "adds 128 bits at once",
            "wide",
            "(func (param i64) (result i64 i64) (i64.add128 (local.get 0) (local.get 0) (local.get 0) (local.get 0)))",
            "(func)",
        ),
        component_feature("streams", "has a type that is a stream", "", "(type (stream u8))", "(type (list u8))"),
        component_feature("futures", "has a type that is a future", "", "(type (future u8))", "(type (list u8))"),
        component_feature(
            "error-contexts",
            "has a type that is an error context",
            "",
            "(type error-context)",
            "(type (list u8))",
        ),
        component_feature(
            "fixed-lists",
            "has a list of fixed length",
            "",
            "(type (list u8 4294967295))",
            "(type (list u8))",
        ),
        component_feature("async-lift", "is called without being waited for", "", &lifted("async"), &lifted("")),
        component_feature(
            "async-callback",
            "answers by a callback of its own",
            "",
            &lifted("async (callback (core func $x \"back\"))"),
            &lifted(""),
        ),
        component_feature(
            "async-intrinsics",
            "asks for an intrinsic of asynchronous components",
            "",
            "(core func (canon task.cancel))",
            "(type (func))",
        ),
        component_feature(
            "thread-intrinsics",
            "asks for an intrinsic of threads",
            "",
            "(core func (canon thread.available_parallelism))",
            "(type (func))",
        ),
    ]
}
