//! What scripts come to, and where each cap is.

use super::*;
use crate::engine::{MAX_BUFFER_BYTES, MAX_CALLS, MAX_ERROR_BYTES, MAX_LOOP_TURNS};
use jidoka::json::json;
use jidoka::testing::{FakeHost, Outcome};

fn run_with(code: &str, input: Value) -> Result<Output, String> {
    match FakeHost::new().run(javascript, Input { code: code.to_owned(), input }).outcome {
        Outcome::Returned(output) => Ok(output),
        Outcome::Failed(error) => Err(error.to_string()),
        other => panic!("{code}: {other:?}"),
    }
}

fn run(code: &str) -> Result<Output, String> {
    run_with(code, Value::Null)
}

fn value(code: &str) -> Value {
    run(code).unwrap_or_else(|error| panic!("{code}: {error}")).value
}

fn error(code: &str) -> String {
    run(code).expect_err(code)
}

#[test]
fn the_last_expression_is_the_value() {
    for (code, wanted, kind) in [
        ("const a = [3, 1, 2]; a.sort()", json!([1, 2, 3]), "object"),
        (
            "({a: 1, b: [true, null, undefined], c: undefined, d() {}, [Symbol()]: 1})",
            json!({"a": 1, "b": [true, null, null]}),
            "object",
        ),
        ("'é' + 1", json!("é1"), "string"),
        ("2147483648", json!(2_147_483_648_u64), "number"),
        ("1.5", json!(1.5), "number"),
        ("0 / 0", json!(null), "number"),
        ("undefined", json!(null), "undefined"),
        ("2n ** 64n", json!("18446744073709551616"), "bigint"),
        ("Symbol('a')", json!("Symbol(a)"), "symbol"),
        ("(() => 1)", json!("function"), "function"),
        ("new Date(0)", json!("1970-01-01T00:00:00.000Z"), "object"),
        ("new TypeError('x')", json!("TypeError: x"), "object"),
        ("new Uint8Array([1, 2])", json!([1, 2]), "object"),
        ("(async () => { await null; return 5 })()", json!(5), "number"),
        ("eval('1 + 1') + new Function('a', 'return a')(2)", json!(4), "number"),
        ("new Date(2020, 0, 1).toISOString()", json!("2020-01-01T00:00:00.000Z"), "string"),
    ] {
        let output = run(code).unwrap_or_else(|error| panic!("{code}: {error}"));
        assert_eq!((&output.value, output.r#type.as_str()), (&wanted, kind), "{code}");
    }
}

#[test]
fn the_input_is_a_global() {
    let output = run_with("input.list.map(x => x * 2)", json!({"list": [1, 2.5, 3_000_000_000_u64]}));
    assert_eq!(output.expect("runs").value, json!([2, 5, 6_000_000_000_u64]));
    assert_eq!(value("input"), json!(null));
}

#[test]
fn the_console_is_kept() {
    let output = run("console.log('a', {b: [1]}, undefined); console.error(1n, new Error('x')); 1").expect("runs");
    assert_eq!(output.printed, "a {\"b\":[1]} null\n1 Error: x\n");
    assert!(error("console.log('before'); throw new Error('x')").ends_with("\nprinted before:\nbefore\n"));
    assert!(run("const a = []; a.push(a); console.log(a)").expect("runs").printed.contains("holds itself"));
}

#[test]
fn an_exception_is_an_error_with_its_stack() {
    let told = error("function f() {\n  throw new TypeError('bad')\n}\nf()");
    assert!(told.starts_with("TypeError: bad") && told.contains("at f (script:2:"), "{told}");
    assert_eq!(error("throw {a: 1}"), "thrown: {\"a\":1}");
    assert!(error("Promise.reject(new Error('no'))").starts_with("Error: no"));
    assert!(error("new Promise(() => {})").contains("never settles"));
    assert!(error("let a = ;").starts_with("SyntaxError"));
    assert!(error("none").starts_with("ReferenceError"));
    assert!(error("({get a() { throw new Error('x') }})").starts_with("the value cannot be read: Error: x"));
    assert!(error("throw new Error('x'.repeat(100000))").len() <= MAX_ERROR_BYTES);
}

#[test]
fn there_is_no_host() {
    let names = "[typeof require, typeof process, typeof fetch, typeof setTimeout, typeof WebAssembly, typeof Deno]";
    assert_eq!(value(names), json!(vec!["undefined"; 6]));
    assert!(run("import('a')").is_err());
}

#[test]
fn code_holds_at_n_bytes_and_is_refused_at_n_plus_1() {
    let padded = |bytes: usize| format!("1{}", " ".repeat(bytes - 1));
    assert_eq!(value(&padded(MAX_CODE_BYTES)), json!(1));
    assert!(error(&padded(MAX_CODE_BYTES + 1)).contains("65537 bytes"));
}

#[test]
fn calls_hold_at_n_and_are_refused_at_n_plus_1() {
    let deep = |calls: usize| format!("function f(n) {{ return n > 1 ? f(n - 1) : 1 }} f({calls})");
    // The script itself is one.
    assert_eq!(value(&deep(MAX_CALLS - 1)), json!(1));
    assert!(error(&deep(MAX_CALLS)).contains("recursive calls"));
    for code in [
        "function f() { return [1].map(f) } f()",
        "const o = {get a() { return this.a }}; o.a",
        "const p = new Proxy({}, {get(t, k, r) { return r[k] }}); p.a",
        "function f() { return [2, 1].sort(f) } f()",
        "function f() { return 'a'.replace(/a/, f) } f()",
        "function f() { return JSON.parse('[1]', f) } f()",
    ] {
        assert!(error(code).contains("recursive calls"), "{code}");
    }
}

#[test]
fn loops_hold_at_n_turns_and_are_stopped_at_n_plus_1() {
    let turns = |turns: u64| format!("let i = 0; while (i < {turns}) i++; i");
    assert_eq!(value(&turns(MAX_LOOP_TURNS)), json!(MAX_LOOP_TURNS));
    assert!(error(&turns(MAX_LOOP_TURNS + 1)).contains("iteration loops"));
    assert!(error("[1].forEach(() => { for (;;); })").contains("iteration loops"));
}

#[test]
fn one_instruction_takes_at_most_n() {
    let most = guards::MAX_LENGTH;
    for code in [
        "'x'.repeat(N).length",
        "''.padStart(N, 'x').length",
        "''.padEnd(N, 'x').length",
        "new Array(N).fill(0).length",
        "Array.from({length: N}).length",
        "new Array(N).join('').length + N",
    ] {
        assert_eq!(value(&code.replace('N', &most.to_string())), json!(most), "{code}");
        assert!(error(&code.replace('N', &(most + 1).to_string())).contains("past the limit of 1048576"), "{code}");
    }
    let buffer = |bytes: u64| format!("new ArrayBuffer({bytes}).byteLength");
    assert_eq!(value(&buffer(MAX_BUFFER_BYTES)), json!(MAX_BUFFER_BYTES));
    assert!(error(&buffer(MAX_BUFFER_BYTES + 1)).starts_with("RangeError"));
}

#[test]
fn what_the_engine_walks_through_is_nested_at_most_n_deep() {
    for function in
        ["JSON.stringify(a).length > 0", "a.flat(Infinity).length == 0", "a.join() == ''", "String(a) == ''"]
    {
        let code = |depth: usize| format!("let a = []; for (let i = 1; i < {depth}; i++) a = [a]; {function}");
        assert_eq!(value(&code(guards::MAX_DEPTH)), json!(true), "{function}");
        assert!(error(&code(guards::MAX_DEPTH + 1)).contains("nested deeper than 100"), "{function}");
    }
    assert_eq!(value("[1, [2, [3]]].flat(Infinity).concat(JSON.stringify({a: [1]}))"), json!([1, 2, 3, "{\"a\":[1]}"]));
    assert_eq!(value("let n = 0; JSON.stringify({get a() { n++; return {} }}); n"), json!(1));
}

#[test]
fn values_hold_at_n_deep_and_are_refused_at_n_plus_1() {
    let nested = |depth: usize| format!("let a = []; for (let i = 1; i < {depth}; i++) a = [a]; a");
    assert!(run(&nested(json::MAX_DEPTH)).is_ok());
    assert!(error(&nested(json::MAX_DEPTH + 1)).contains("nested deeper than 32"));
    assert!(error("const a = {}; a.a = a; a").contains("holds itself"));
}

#[test]
fn values_hold_at_n_bytes_and_are_refused_at_n_plus_1() {
    let text = |bytes: usize| format!("'x'.repeat({})", bytes - 2);
    assert!(run(&text(json::MAX_VALUE_BYTES)).is_ok());
    assert!(error(&text(json::MAX_VALUE_BYTES + 1)).contains("larger than 65536 bytes"));
    assert!(error("const a = []; a.length = 4294967295; a").contains("larger than 65536 bytes"));
    assert!(error("const a = {}; for (let i = 0; i < 10000; i++) a['key' + i] = i; a").contains("larger"));
}

#[test]
fn what_is_printed_is_cut_at_n_bytes() {
    let lines = |count: usize| format!("for (let i = 0; i < {count}; i++) console.log('x'.repeat(1023))");
    let most = console::MAX_PRINTED_BYTES / 1024;
    assert_eq!(run(&lines(most)).expect("runs").printed.len(), console::MAX_PRINTED_BYTES);
    let cut = run(&lines(most + 1)).expect("runs").printed;
    assert_eq!(&cut[console::MAX_PRINTED_BYTES..], "\n[1024 more bytes were written]");
    let line = |bytes: usize| run(&format!("console.log('x'.repeat({}))", bytes - 2)).expect("runs").printed;
    assert_eq!(line(json::MAX_LINE_BYTES).len(), json::MAX_LINE_BYTES - 1);
    assert!(line(json::MAX_LINE_BYTES + 1).contains("larger than 4096 bytes"));
}

#[test]
fn code_that_is_nested_too_deep_is_refused_where_it_is_compiled() {
    let deep = |quote: &str| format!("{quote}{}1{}{quote}", "(".repeat(2_000), ")".repeat(2_000));
    assert!(error(&deep("")).contains("too deeply nested"));
    assert!(error(&format!("eval({})", deep("'"))).contains("SyntaxError: line 1: too deeply nested"));
    assert!(error(&format!("new Function({})", deep("'"))).contains("too deeply nested"));
    assert!(run(&format!("JSON.parse('{}')", "[".repeat(1_000))).is_err());
    assert!(run(&format!("new RegExp('{}')", "(".repeat(1_000))).is_err());
}
