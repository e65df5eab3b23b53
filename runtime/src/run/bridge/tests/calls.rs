//! Calls: outputs, the tool's own no, traps, and what is no tool.

use serde_json::json;

use super::super::Rejected;
use super::component::{Read, function, interfaces, with};

/// Half of an even number, or a sentence.
const HALVES: &str = r#"(component
    (core module $module
        (memory (export "memory") 1)
        (data (i32.const 64) "odd \"number\"")
        (func (export "half") (param i32) (result i32)
            (if (i32.and (local.get 0) (i32.const 1))
                (then
                    (i32.store (i32.const 0) (i32.const 1))
                    (i32.store (i32.const 4) (i32.const 64))
                    (i32.store (i32.const 8) (i32.const 12)))
                (else
                    (i32.store (i32.const 0) (i32.const 0))
                    (i32.store (i32.const 4) (i32.div_u (local.get 0) (i32.const 2)))))
            (i32.const 0))
        (func (export "even") (param i32) (result i32) (i32.and (local.get 0) (i32.const 1))))
    (core instance $m (instantiate $module))
    (func $half (param "of" u32) (result (result u32 (error string)))
        (canon lift (core func $m "half") (memory (core memory $m "memory"))))
    (export "half" (func $half))
    (func $even (param "number" u32) (result (result)) (canon lift (core func $m "even")))
    (export "even" (func $even))
)"#;

#[tokio::test]
async fn ok_is_the_output_and_err_is_the_tools_own_no() {
    let read = Read::of_text(HALVES);
    let half = |of: u32| json!({ "of": of });
    assert_eq!(read.tool("half").output, json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }));
    assert_eq!(read.call("half", &half(42)).await.expect("no trap"), Ok(json!(21)));
    let said = Err(Rejected::Said(r#""odd \"number\"""#.to_owned()));
    assert_eq!(read.call("half", &half(7)).await.expect("no trap"), said);

    assert_eq!(read.tool("even").output, json!({ "type": "null" }));
    assert_eq!(read.call("even", &json!({ "number": 2 })).await.expect("no trap"), Ok(json!(null)));
    let said = Err(Rejected::Said("null".to_owned()));
    assert_eq!(read.call("even", &json!({ "number": 3 })).await.expect("no trap"), said);
}

#[tokio::test]
async fn what_returns_nothing_is_null_and_a_trap_is_an_error() {
    let read = Read::of_text(&with(&(function("idle", "", "nothing") + &function("crash", "", "trap"))));
    assert_eq!(read.tool("idle").output, json!({ "type": "null" }));
    assert_eq!(read.call("idle", &json!({})).await.expect("no trap"), Ok(json!(null)));
    let trap = read.call("crash", &json!({})).await.expect_err("it traps");
    assert_eq!(trap.downcast_ref(), Some(&wasmtime::Trap::UnreachableCodeReached));
}

#[tokio::test]
async fn an_instance_of_another_component_is_an_error_and_no_panic() {
    let (halves, other) = (Read::of_text(HALVES), Read::of_text(&with(&function("idle", "", "nothing"))));
    let (mut store, instance) = other.instance().await;
    let input = json!({ "of": 1 });
    let error = halves.tool("half").call(&mut store, &instance, &input, 100).await.expect_err("it is not there");
    assert_eq!(error.to_string(), "this instance does not export half");
}

#[tokio::test]
async fn functions_of_interfaces_are_tools_at_any_depth_in_the_order_of_the_exports() {
    let inner = interfaces(&[("inner", HALVES.to_owned())]);
    let read = Read::of_text(&interfaces(&[
        ("z:y/first@0.1.0", HALVES.to_owned()),
        ("a:b/second", with(&function("idle", "", "nothing"))),
        ("deep", inner),
    ]));
    assert_eq!(read.names(), ["first-half", "first-even", "idle", "inner-half", "inner-even"]);
    assert_eq!(read.tool("first-half").description, "half(of: u32) -> result<u32, string>, of z:y/first@0.1.0");
    assert_eq!(read.tool("first-half").interface(), Some("z:y/first@0.1.0"));
    assert_eq!(read.call("inner-half", &json!({ "of": 4 })).await.expect("no trap"), Ok(json!(2)));
    assert!(read.exports.left_out.is_empty());
}

#[test]
fn plumbing_is_no_tool() {
    let idle = || with(&function("run", "", "nothing"));
    let read = Read::of_text(&interfaces(&[
        ("wasi:cli/run@0.2.6", idle()),
        ("wasi:http/incoming-handler@0.2.0", idle()),
        ("jidoka:agent/work@0.1.0", idle()),
        ("exports", idle()),
        ("wasi:cli/runner", idle()),
    ]));
    assert_eq!(read.names(), ["run"]);
    assert_eq!(read.tool("run").interface(), Some("wasi:cli/runner"));
    assert_eq!(read.why("wasi:cli/run@0.2.6"), "the start of a program, which is called as one");
    assert_eq!(read.why("wasi:http/incoming-handler@0.2.0"), "for servers of HTTP");
    assert_eq!(read.why("jidoka:agent/work@0.1.0"), "the contract of a worker");
    assert_eq!(read.why("exports"), "set-up of a language's own");

    let import = r#"(import "jidoka:agent/work@0.1.0" (instance))"#;
    let worker = idle().replacen("(component", &format!("(component {import}"), 1);
    assert_eq!(Read::of_text(&worker).why("run"), "the contract of a worker");
    assert_eq!(Read::of_text(&idle()).names(), ["run"]);
}

#[test]
fn the_same_component_says_the_same_each_time() {
    let text = interfaces(&[("a:b/left", HALVES.to_owned()), ("a:b/right", HALVES.to_owned())]);
    let told = || {
        let read = Read::of_text(&text);
        let tools = read.exports.functions.iter();
        tools.map(|tool| json!([tool.name, tool.description, tool.schema, tool.output])).collect::<Vec<_>>()
    };
    assert_eq!(told(), told());
}
