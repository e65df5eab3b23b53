//! Components that no toolchain would make: broken bytes, other people's imports, bombs for the compiler, and workers
//! written by hand for what Rust does not do.

use std::time::Duration;

use jidoka::run::limits::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};
use jidoka::run::shape::{MAX_COMPONENT_BYTES, MAX_FUNCTIONS, MAX_LOCALS};
use jidoka_tests::by_hand::{RUN, component};
use jidoka_tests::hostile;

use super::*;

/// A worker by hand: `core` stands in its module, `body` in its function. It reports `done` with an empty summary.
fn worker(core: &str, body: &str) -> Vec<u8> {
    component("", core, body, RUN)
}

/// Fails unless nothing ran, and the reason names `why`.
#[track_caller]
fn not_admitted(end: &End, why: &str) {
    end.expect("not-admitted");
    assert!(end.record.why.contains(why), "{}", end.record.why);
    assert_eq!((end.record.attempt, end.record.exit_code), (0, 30));
    assert!(end.entries.is_empty() && written_down(end) < 16 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_by_hand_is_a_worker() {
    Bench::of_bytes(worker("", "")).run().await.expect("no-progress");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_summed_over_a_run() {
    let half = MAX_TABLE_ELEMENTS / 2;
    let beside = format!("(core module $t (table {half} funcref)) (core instance (instantiate $t))");
    let grow = |more: u64| {
        let body = format!("(drop (table.grow $b (ref.null func) (i32.const {more})))");
        component(&beside, "(table $b 0 funcref)", &body, RUN)
    };
    Bench::of_bytes(grow(half)).run().await.expect("no-progress");
    let end = Bench::of_bytes(grow(half + 1)).run().await;
    end.expect("trapped");
    assert!(end.record.why.contains("past a cap") && end.record.why.contains("table elements"), "{}", end.record.why);
    // One table that is too large by itself does not get as far.
    let end = Bench::of_bytes(worker(&format!("(table {} funcref)", MAX_TABLE_ELEMENTS + 1), "")).run().await;
    not_admitted(&end, "table");
}

/// Core modules, so many times, each with this inside.
fn beside(count: usize, inside: &str) -> Vec<u8> {
    let instances = "(core instance (instantiate $x))".repeat(count);
    component(&format!("(core module $x {inside}) {instances}"), "", "", RUN)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_memories_and_instances_are_counted() {
    let limits = [
        (MAX_TABLES, "(table 1 funcref)"),
        // The worker by hand has a memory and is an instance itself.
        (MAX_MEMORIES - 1, "(memory 1)"),
        (MAX_INSTANCES - 1, ""),
    ];
    for (most, inside) in limits {
        Bench::of_bytes(beside(most, inside)).run().await.expect("no-progress");
        let end = Bench::of_bytes(beside(most + 1, inside)).run().await;
        not_admitted(&end, "exceeds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_memories_share_one_cap() {
    let grow = |pages: u32| {
        let body = format!("(drop (memory.grow (i32.const {pages})))");
        let bytes = component("(core module $x (memory 5)) (core instance (instantiate $x))", "", &body, RUN);
        Bench::of_bytes(bytes).set("caps", "memory = \"640KiB\"")
    };
    grow(4).run().await.expect("no-progress");
    let end = grow(5).run().await;
    end.expect("trapped");
    assert!(end.record.why.contains("[caps] memory"), "{}", end.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_function_that_spins_is_stopped() {
    let spinning = worker("(func $spin (loop (br 0))) (start $spin)", "");
    let end = Bench::of_bytes(spinning).set("budget", "cpu = \"20s\"").wall("200ms").run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["line"], "wall-ms");
}

/// Results that point outside the guest's memory, or are no text, end the guest and not the host.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_no_report_traps() {
    let bad = [
        // The summary's pointer and its length; the evidence's pointer and its length; the status; the discriminant.
        "(i32.store (i32.const 1032) (i32.const -1)) (i32.store (i32.const 1036) (i32.const 8))",
        "(i32.store (i32.const 1036) (i32.const -1))",
        "(i32.store (i32.const 1040) (i32.const 2)) (i32.store (i32.const 1044) (i32.const 1))",
        "(i32.store (i32.const 1044) (i32.const 0x7fffffff))",
        "(i32.store8 (i32.const 1028) (i32.const 9))",
        "(i32.store8 (i32.const 1024) (i32.const 2))",
        // Bytes that are no UTF-8.
        "(i32.store (i32.const 2048) (i32.const -1)) (i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const 4))",
        "(return (i32.const -4))",
        "(return (i32.const 1025))",
    ];
    for body in bad {
        let end = Bench::of_bytes(worker("", body)).run().await;
        end.expect("trapped");
        assert!(written_down(&end) < 16 << 10, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_not_admitted() {
    let mut noise = b"\0asm\x0d\0\x01\0".to_vec();
    noise.extend((0..4096_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8));
    for bytes in [Vec::new(), b"#!/bin/sh\n".to_vec(), vec![0xff; 4096], b"\0asm".to_vec(), noise] {
        not_admitted(&Bench::of_bytes(bytes).run().await, "not a WebAssembly component");
    }
    let module = wat::parse_str("(module (memory 1))").unwrap();
    not_admitted(&Bench::of_bytes(module).run().await, "core module");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_does_not_fit_the_world_is_not_admitted() {
    let served = wat::parse_str(
        r#"(component (import "wasi:http/incoming-handler@0.2.0" (instance (export "handle" (func)))))"#,
    );
    not_admitted(&Bench::of_bytes(served.unwrap()).run().await, "wasi:http/incoming-handler@0.2.0");
    let unknown = wat::parse_str(r#"(component (import "wasi:keyvalue/store@0.2.0" (instance)))"#).unwrap();
    not_admitted(&Bench::of_bytes(unknown).run().await, "wasi:keyvalue/store@0.2.0");
    let unknown =
        wat::parse_str(r#"(component (import "wasi:filesystem/host@0.2.0" (instance (export "open" (func)))))"#);
    not_admitted(&Bench::of_bytes(unknown.unwrap()).run().await, "wasi:filesystem/host");
    not_admitted(&Bench::of_bytes(wat::parse_str("(component)").unwrap()).run().await, "run");
    let other = r#"(func $run (canon lift (core func $i "other"))) (export "run" (func $run))"#;
    not_admitted(&Bench::of_bytes(component("", "(func (export \"other\"))", "", other)).run().await, "run");
    // A verifier is no worker.
    let verifier = std::fs::read(hostile::JUDGE_MEDDLES).unwrap();
    not_admitted(&Bench::of_bytes(verifier).run().await, "run");
}

/// A program that knows nothing of our contract is a worker: how it exits is all that it says, and alone that is no progress.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_wasi_is_a_worker_that_says_how_it_exits() {
    let program = |body: &str, more: &str| {
        let run = r#"(func $main (result (result)) (canon lift (core func $i "main")))
            (instance $main (export "run" (func $main)))
            (export "wasi:cli/run@0.2.6" (instance $main))"#;
        component("", &format!("(func (export \"main\") (result i32) {body})"), "", &format!("{run} {more}"))
    };
    let end = Bench::of_bytes(program("(i32.const 0)", "")).run().await;
    end.expect("no-progress");
    assert_eq!(end.summary(), "exited with 0");
    let end = Bench::of_bytes(program("(i32.const 1)", "")).run().await;
    end.expect("unable");
    assert!(end.record.why.contains("exited with 1"), "{}", end.record.why);
    Bench::of_bytes(program("(unreachable)", "")).run().await.expect("trapped");
    // What exports both is a worker, and is called as one.
    let end = Bench::of_bytes(program("(unreachable)", RUN)).run().await;
    end.expect("no-progress");
    assert_eq!(end.summary(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_imports_make_no_long_story() {
    let long = "a".repeat(200);
    let imports: String = (0..900).map(|index| format!("(import \"evil:{long}/i{index}\" (instance))")).collect();
    let end = Bench::of_bytes(wat::parse_str(format!("(component {imports})")).unwrap()).run().await;
    not_admitted(&end, "evil:");
}

#[tokio::test(flavor = "multi_thread")]
async fn compile_bombs_are_refused_before_the_compiler() {
    let module = |inside: String| wat::parse_str(format!("(component (core module {inside}))")).unwrap();
    let functions = module("(func)".repeat(usize::try_from(MAX_FUNCTIONS).unwrap() + 1));
    let locals = module(format!("(func {})", "(local i64)".repeat(usize::try_from(MAX_LOCALS).unwrap() + 1)));
    let body = module(format!("(func {})", "(drop (i32.const 1))".repeat(300_000)));
    let elements = module(format!("(table 1 funcref) (elem funcref {})", "(ref.null func) ".repeat(100_001)));
    let nested = format!("{}{}", "(component ".repeat(70), ")".repeat(70));
    let modules = wat::parse_str(nested).unwrap();
    let oversized = {
        let mut bytes = std::fs::read(hostile::SPIN).unwrap();
        // A custom section that says nothing, at length.
        let size = u32::try_from(MAX_COMPONENT_BYTES).unwrap();
        bytes.push(0);
        let mut rest = size;
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes.extend(std::iter::repeat_n(0, size as usize));
        bytes
    };
    let bombs = [
        (functions, "functions"),
        (locals, "locals in one function"),
        (body, "bytes in one function"),
        (elements, "table elements"),
        (modules, "modules"),
        (oversized, "bytes"),
    ];
    for (bytes, what) in bombs {
        let end = Bench::of_bytes(bytes).run().await;
        not_admitted(&end, what);
        assert!(end.took < Duration::from_secs(10), "{what} took {:?}", end.took);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_imports_are_named_up_to_n_and_counted_from_n_plus_1() {
    let end = async |count: usize| {
        let imports: String = (0..count).map(|index| format!("(import \"evil:it/i{index:02}\" (instance))")).collect();
        Bench::of_bytes(wat::parse_str(format!("(component {imports})")).unwrap()).run().await
    };
    let named = |end: &End| end.record.why.matches("evil:it/i").count();
    let at = end(16).await;
    assert_eq!((named(&at), at.record.why.contains("more")), (16, false), "{}", at.record.why);
    let over = end(17).await;
    assert_eq!((named(&over), over.record.why.contains("1 more")), (16, true), "{}", over.record.why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traps_words_are_cut() {
    let long = "x".repeat(10_000);
    let trapping = worker(&format!("(func ${long} unreachable)"), &format!("(call ${long})"));
    let end = Bench::of_bytes(trapping).run().await;
    end.expect("trapped");
    assert!(end.record.why.contains("xxxx") && end.record.why.chars().count() < 2_200, "{}", end.record.why);
}

/// A verdict that a component of whatever bytes may have. `fault` is not among them: that would be the host's own.
const POSSIBLE: [&str; 5] = ["not-admitted", "no-progress", "trapped", "exhausted", "unable"];

#[tokio::test(flavor = "multi_thread")]
async fn a_component_cut_off_anywhere_is_not_admitted() {
    let whole = std::fs::read(hostile::TOUCH).unwrap();
    for part in 0..40 {
        let cut = whole.len() * part / 40;
        Bench::of_bytes(whole[..cut].to_vec()).run().await.expect("not-admitted");
    }
    let by_hand = worker("", "");
    for cut in 0..by_hand.len() {
        let end = Bench::of_bytes(by_hand[..cut].to_vec()).wall("300ms").run().await;
        assert!(["not-admitted", "no-progress"].contains(&end.record.verdict.as_str()), "{cut}: {}", end.record.why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_with_a_flipped_bit_does_no_harm() {
    let whole = worker("(table 2 funcref) (elem (i32.const 0) func 0)", "(drop (memory.grow (i32.const 1)))");
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let end = Bench::of_bytes(flipped).file("a.txt", "a").wall("300ms").run().await;
        assert!(
            POSSIBLE.contains(&end.record.verdict.as_str()),
            "byte {at}: {} {}",
            end.record.verdict,
            end.record.why
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_component_with_a_flipped_bit_does_no_harm() {
    let whole = std::fs::read(hostile::TOUCH).unwrap();
    for sample in 0..200_usize {
        let at = sample * whole.len() / 200 + sample % 7;
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (sample % 8);
        let end = Bench::of_bytes(flipped).file("a.txt", "a").wall("300ms").run().await;
        // A flip may change what it writes into its own workspace.
        let possible = POSSIBLE.contains(&end.record.verdict.as_str()) || end.record.verdict == "accepted";
        assert!(possible, "byte {at}: {} {}", end.record.verdict, end.record.why);
    }
}

/// Guests that take all the tables that they may leave their neighbours theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_with_many_tables_leaves_its_neighbours_theirs() {
    let tables = "(core instance (instantiate $x))".repeat(MAX_TABLES);
    let hog = component(&format!("(core module $x (table 1 funcref)) {tables}"), "", "(loop (br 0))", RUN);
    // With 4 tables for every slot, the pool of 64 slots was empty after 16 of them.
    let hogs: Vec<_> = (0..20)
        .map(|_| tokio::spawn(Bench::of_bytes(hog.clone()).set("budget", "cpu = \"20s\"").wall("1s").run()))
        .collect();
    for hog in hogs {
        hog.await.unwrap().expect("exhausted");
    }
}
