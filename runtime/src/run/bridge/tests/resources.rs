//! Resources as arguments: calls that make them, in the same instance, before the tool's own.

use serde_json::{Value, json};

use crate::doors::schema::Schema;

use super::super::{MAX_NESTED_CALLS, Rejected};
use super::component::{Read, interfaces};

/// Counters, and what may be done with them. Nothing makes a ghost. How often a counter ended can be asked.
const COUNTERS: &str = r#"(component
    (core module $ends
        (global $count (mut i32) (i32.const 0))
        (func (export "end") (param i32) (global.set $count (i32.add (global.get $count) (i32.const 1))))
        (func (export "count") (result i32) (global.get $count)))
    (core instance $ends (instantiate $ends))
    (core func $end (alias core export $ends "end"))
    (type $counter-type (resource (rep i32) (dtor (core func $end))))
    (export $counter "counter" (type $counter-type))
    (type $ghost-type (resource (rep i32)))
    (export $ghost "ghost" (type $ghost-type))
    (core func $new (canon resource.new $counter))
    (core func $rep (canon resource.rep $counter))
    (core module $module
        (import "" "new" (func $new (param i32) (result i32)))
        (import "" "rep" (func $rep (param i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 64) "no number")
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "new") (param i32) (result i32) (call $new (local.get 0)))
        (func (export "get") (param i32) (result i32) (local.get 0))
        (func (export "join") (param i32 i32) (result i32)
            (i32.add (call $rep (local.get 0)) (local.get 1)))
        (func (export "twice") (param i32) (result i32)
            (call $new (i32.mul (local.get 0) (i32.const 2))))
        (func (export "parse") (param $at i32) (param $bytes i32) (result i32)
            (if (i32.eq (local.get $bytes) (i32.const 1))
                (then
                    (i32.store (i32.const 0) (i32.const 0))
                    (i32.store (i32.const 4)
                        (call $new (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))))
                (else
                    (i32.store (i32.const 0) (i32.const 1))
                    (i32.store (i32.const 4) (i32.const 64))
                    (i32.store (i32.const 8) (i32.const 9))))
            (i32.const 0))
        (func (export "maybe") (param i32 i32) (result i32)
            (select (local.get 1) (i32.const -1) (local.get 0)))
        (func (export "pair") (result i32) unreachable)
        (func (export "look") (param i32)))
    (core instance $m (instantiate $module
        (with "" (instance (export "new" (func $new)) (export "rep" (func $rep))))))
    (func $new-counter (param "start" u32) (result (own $counter)) (canon lift (core func $m "new")))
    (export "[constructor]counter" (func $new-counter))
    (func $parse (param "text" string) (result (result (own $counter) (error string)))
        (canon lift (core func $m "parse") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
    (export "[static]counter.parse" (func $parse))
    (func $get (param "self" (borrow $counter)) (result u32) (canon lift (core func $m "get")))
    (export "[method]counter.get" (func $get))
    (func $join (param "a" (own $counter)) (param "b" (borrow $counter)) (result u32)
        (canon lift (core func $m "join")))
    (export "join" (func $join))
    (func $twice (param "of" (borrow $counter)) (result (own $counter)) (canon lift (core func $m "twice")))
    (export "twice" (func $twice))
    (func $maybe (param "of" (option (borrow $counter))) (result s32) (canon lift (core func $m "maybe")))
    (export "maybe" (func $maybe))
    (func $pair (result (tuple (own $counter) (own $counter)))
        (canon lift (core func $m "pair") (memory (core memory $m "memory"))))
    (export "pair" (func $pair))
    (func $look (param "at" (borrow $ghost)) (canon lift (core func $m "look")))
    (export "look" (func $look))
    (func $glimpse (param "at" (option (borrow $ghost))) (result s32) (canon lift (core func $m "maybe")))
    (export "glimpse" (func $glimpse))
    (func $ended (result u32) (canon lift (core func $ends "count")))
    (export "ended" (func $ended))
)"#;

fn new(start: u32) -> Value {
    json!({ "counter-new": { "start": start } })
}

fn twice(of: Value) -> Value {
    json!({ "twice": { "of": of } })
}

#[test]
fn what_makes_a_resource_is_an_argument_and_what_nothing_makes_is_left_out() {
    let read = Read::of_text(COUNTERS);
    assert_eq!(read.names(), ["counter-get", "join", "maybe", "glimpse", "ended"]);
    let makes = |name: &str| format!("it makes a `counter`: an argument of others, as {{\"{name}\": {{..}}}}");
    assert_eq!(read.why("[constructor]counter"), makes("counter-new"));
    assert_eq!(read.why("[static]counter.parse"), makes("counter-parse"));
    assert_eq!(read.why("twice"), makes("twice"));
    assert_eq!(read.why("pair"), "it returns a resource among other things");
    assert_eq!(read.why("look"), "nothing that it exports makes a `ghost`, which it needs");
    assert_eq!(read.exports.left_out.len(), 5);
    assert_eq!(read.tool("counter-get").description, "counter.get(self) -> u32");
    assert_eq!(read.tool("join").description, "join(a: counter, b: borrow<counter>) -> u32");
    // Of a ghost there is only none.
    assert_eq!(read.tool("glimpse").schema["properties"]["at"], json!({ "type": "null" }));
    for tool in &read.exports.functions {
        assert!(Schema::compile(&tool.schema.to_string()).is_ok(), "{}", tool.name);
        assert!(Schema::compile(&tool.output.to_string()).is_ok(), "{}", tool.name);
    }
}

#[tokio::test]
async fn a_method_is_called_with_the_call_that_makes_its_resource() {
    let read = Read::of_text(COUNTERS);
    let rows = [
        ("counter-get", json!({ "self": new(7) }), json!(7)),
        ("counter-get", json!({ "self": { "counter-parse": { "text": "8" } } }), json!(8)),
        ("counter-get", json!({ "self": twice(twice(new(3))) }), json!(12)),
        ("join", json!({ "a": new(1), "b": twice(new(20)) }), json!(41)),
        ("maybe", json!({ "of": new(5) }), json!(5)),
        ("maybe", json!({}), json!(-1)),
        ("glimpse", json!({ "at": null }), json!(-1)),
    ];
    for (name, input, expected) in rows {
        let schema = Schema::compile(&read.tool(name).schema.to_string()).expect("it compiles");
        assert_eq!(schema.check(&input.to_string()), Ok(()));
        assert_eq!(read.call(name, &input).await.expect("no trap"), Ok(expected), "{name}({input})");
    }
}

#[tokio::test]
async fn what_was_lent_ends_with_the_call_and_what_was_given_is_the_guests() {
    let read = Read::of_text(COUNTERS);
    let (mut store, instance) = read.instance().await;
    let mut ended = Vec::new();
    for (name, input) in [
        ("counter-get", json!({ "self": twice(new(1)) })),
        // The guest keeps what it is given.
        ("join", json!({ "a": new(1), "b": new(2) })),
        ("maybe", json!({})),
    ] {
        read.tool(name).call(&mut store, &instance, &input, 100).await.expect("no trap").expect("an output");
        let count = read.tool("ended").call(&mut store, &instance, &json!({}), 100).await.expect("no trap");
        ended.push(count.expect("an output"));
    }
    assert_eq!(ended, ["2", "3", "3"]);
}

#[tokio::test]
async fn a_call_that_makes_nothing_says_where() {
    let read = Read::of_text(COUNTERS);
    let input = json!({ "a": new(1), "b": twice(json!({ "counter-parse": { "text": "many" } })) });
    let said = "\"no number\"".to_owned();
    let at = "input.b.twice.of.counter-parse".to_owned();
    let rejected = read.call("join", &input).await.expect("no trap").expect_err("it says no");
    assert_eq!(rejected.to_string(), "at input.b.twice.of.counter-parse: \"no number\"");
    assert_eq!(rejected, Rejected::Made { at, said });

    let (mut store, instance) = read.instance().await;
    let long = read.tool("join").call(&mut store, &instance, &input, 10).await.expect("no trap");
    assert_eq!(long, Err(Rejected::Long { most: 10 }));
}

#[test]
fn a_malformed_expression_is_refused_with_its_place() {
    let read = Read::of_text(COUNTERS);
    let expected =
        "expected the call that makes a `counter`, as {\"FUNCTION\": {..}} of `counter-new`, `counter-parse`, `twice`";
    let rows = [
        (json!(7), format!("at input.self: {expected}, got 7")),
        (json!({}), format!("at input.self: {expected}, got an empty object")),
        (json!({ "counter-get": {} }), format!("at input.self: {expected}, got an object")),
        (json!({ "counter-new": {}, "twice": {} }), format!("at input.self: {expected}, got an object")),
        (json!({ "counter-new": 7 }), "at input.self.counter-new: expected an object, got 7".to_owned()),
        (json!({ "counter-new": {} }), "at input.self.counter-new.start: is missing".to_owned()),
        (
            twice(json!({ "counter-new": { "start": -1 } })),
            "at input.self.twice.of.counter-new.start: expected a whole number from 0 to 4294967295, got -1".to_owned(),
        ),
    ];
    for (this, expected) in rows {
        let input = json!({ "self": this });
        let wrong = read.tool("counter-get").check(&input).expect_err("it is refused");
        assert_eq!(wrong.to_string(), expected);
        let schema = Schema::compile(&read.tool("counter-get").schema.to_string()).expect("it compiles");
        assert!(schema.check(&input.to_string()).is_err(), "{input}");
    }
}

#[tokio::test]
async fn calls_inside_of_calls_hold_at_n_and_are_refused_at_n_plus_1() {
    let read = Read::of_text(COUNTERS);
    let tool = read.tool("counter-get");
    let schema = Schema::compile(&tool.schema.to_string()).expect("it compiles");
    let nested = |calls: usize| json!({ "self": (1..calls).fold(new(1), |inner, _| twice(inner)) });
    let fits = nested(MAX_NESTED_CALLS);
    assert_eq!(schema.check(&fits.to_string()), Ok(()));
    assert_eq!(read.call("counter-get", &fits).await.expect("no trap"), Ok(json!(1 << (MAX_NESTED_CALLS - 1))));
    let over = nested(MAX_NESTED_CALLS + 1);
    assert!(schema.check(&over.to_string()).is_err());
    let wrong = tool.check(&over).expect_err("it is refused");
    assert_eq!(wrong.problem, "calls that make a `counter` are nested too deep");
}

#[tokio::test]
async fn resources_of_two_interfaces_are_two() {
    let read =
        Read::of_text(&interfaces(&[("a:b/left@1.0.0", COUNTERS.to_owned()), ("a:b/right", COUNTERS.to_owned())]));
    assert_eq!(read.exports.functions.len(), 10);
    let left = json!({ "self": { "left-counter-new": { "start": 4 } } });
    assert_eq!(read.call("left-counter-get", &left).await.expect("no trap"), Ok(json!(4)));
    assert!(read.tool("right-counter-get").check(&left).is_err());
    assert_eq!(read.tool("left-counter-get").description, "counter.get(self) -> u32, of a:b/left@1.0.0");
}
