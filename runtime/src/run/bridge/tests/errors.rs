//! Malformed arguments: each is an error that says where and what.

use serde_json::{Value, json};

use crate::doors::schema::Schema;

use super::super::Rejected;
use super::super::arguments::MAX_LISTED;
use super::component::{Read, function, with};

/// A type, an argument that is none of it, and what is said.
fn rows() -> Vec<(&'static str, Value, &'static str)> {
    let point = r#"$point"#;
    vec![
        ("bool", json!(1), "at input.it: expected true or false, got 1"),
        ("bool", json!("true"), "at input.it: expected true or false, got \"true\""),
        ("s8", json!(200), "at input.it: expected a whole number from -128 to 127, got 200"),
        ("s8", json!(-129), "at input.it: expected a whole number from -128 to 127, got -129"),
        ("u8", json!(-1), "at input.it: expected a whole number from 0 to 255, got -1"),
        ("u8", json!(256), "at input.it: expected a whole number from 0 to 255, got 256"),
        ("s16", json!(32_768), "at input.it: expected a whole number from -32768 to 32767, got 32768"),
        ("u16", json!("1"), "at input.it: expected a whole number from 0 to 65535, got \"1\""),
        ("s32", json!(0.5), "at input.it: expected a whole number from -2147483648 to 2147483647, got 0.5"),
        ("u32", json!(4_294_967_296_u64), "at input.it: expected a whole number from 0 to 4294967295, got 4294967296"),
        (
            "s64",
            json!(9_223_372_036_854_775_808_u64),
            "at input.it: expected a whole number from -9223372036854775808 to 9223372036854775807, got 9223372036854775808",
        ),
        ("u64", json!(1e300), "at input.it: expected a whole number from 0 to 18446744073709551615, got 1e+300"),
        (
            "u64",
            json!(18_446_744_073_709_551_616.0),
            "at input.it: expected a whole number from 0 to 18446744073709551615",
        ),
        ("float32", json!(1e39), "at input.it: expected a number from -3.4028235e38 to 3.4028235e38, \"NaN\""),
        ("float32", json!("nan"), "at input.it: expected a number from -3.4028235e38 to 3.4028235e38, \"NaN\""),
        ("float64", json!("1"), "at input.it: expected a number, \"NaN\", \"Infinity\" or \"-Infinity\", got \"1\""),
        ("float64", json!(null), "at input.it: expected a number, \"NaN\", \"Infinity\" or \"-Infinity\", got null"),
        ("char", json!(""), "at input.it: expected a string of one character, got \"\""),
        ("char", json!("ab"), "at input.it: expected a string of one character, got \"ab\""),
        ("char", json!(97), "at input.it: expected a string of one character, got 97"),
        ("string", json!(["a"]), "at input.it: expected a string, got an array of 1"),
        ("(list u8)", json!("AA="), "at input.it: expected bytes in base64, with padding, got \"AA=\""),
        ("(list u8)", json!([1]), "at input.it: expected bytes in base64, with padding, got an array of 1"),
        ("(list s8)", json!({ "a": 1 }), "at input.it: expected an array, got an object"),
        ("(list s8)", json!([1, 2, "x"]), "at input.it[2]: expected a whole number from -128 to 127, got \"x\""),
        ("(list s8 2)", json!([1]), "at input.it: expected an array of 2, got an array of 1"),
        ("(list s8 2)", json!([1, 2, 3]), "at input.it: expected an array of 2, got an array of 3"),
        ("(map string s8)", json!([]), "at input.it: expected an object, got an array of 0"),
        ("(map string s8)", json!({ "a b": "x" }), "at input.it[\"a b\"]: expected a whole number"),
        ("(map u8 s8)", json!([[1]]), "at input.it[0]: expected a pair of a key and a value, got an array of 1"),
        ("(map u8 s8)", json!([[1, 1], [1, 2]]), "at input.it[1][0]: the key 1 is there twice"),
        ("(map u8 s8)", json!([[300, 1]]), "at input.it[0][0]: expected a whole number from 0 to 255, got 300"),
        ("(map u8 s8)", json!([[3, null]]), "at input.it[0][1]: expected a whole number from -128 to 127, got null"),
        (point, json!([1, 2]), "at input.it: expected an object, got an array of 2"),
        (point, json!({}), "at input.it.x: is missing"),
        (point, json!({ "x": 1, "z": 2 }), "at input.it.z: no such field; it has `x`, `y`"),
        (point, json!({ "x": 1, "y": 300 }), "at input.it.y: expected a whole number from -128 to 127, got 300"),
        ("(list $point)", json!([{ "x": 1 }, { "x": 200 }]), "at input.it[1].x: expected a whole number from -128"),
        ("(tuple s8 bool)", json!([1]), "at input.it: expected an array of 2, got an array of 1"),
        ("(tuple s8 bool)", json!([1, 2]), "at input.it[1]: expected true or false, got 2"),
        ("$shape", json!("circle"), "at input.it: expected \"none\" or {\"circle\": ..}, got \"circle\""),
        ("$shape", json!({ "none": null }), "at input.it: expected \"none\" or {\"circle\": ..}, got an object"),
        (
            "$shape",
            json!({ "circle": 1, "none": 1 }),
            "at input.it: expected \"none\" or {\"circle\": ..}, got an object",
        ),
        ("$shape", json!({ "circle": "x" }), "at input.it.circle: expected a number"),
        ("$shape", json!({}), "at input.it: expected \"none\" or {\"circle\": ..}, got an empty object"),
        ("$color", json!("blue"), "at input.it: expected one of `red`, `green`, got \"blue\""),
        ("$rights", json!("read"), "at input.it: expected an array, got \"read\""),
        ("$rights", json!(["own"]), "at input.it[0]: expected one of `read`, `write`, got \"own\""),
        ("$rights", json!(["read", "read"]), "at input.it[1]: `read` is there twice"),
        ("(option s8)", json!("x"), "at input.it: expected a whole number from -128 to 127, got \"x\""),
        ("(option (option s8))", json!(1), "at input.it: expected null or {\"some\": ..}, got 1"),
        ("(option (option s8))", json!({ "some": "x" }), "at input.it.some: expected a whole number"),
        ("(result s8 (error string))", json!(1), "at input.it: expected {\"ok\": ..} or {\"err\": ..}, got 1"),
        ("(result s8 (error string))", json!({ "err": 1 }), "at input.it.err: expected a string, got 1"),
        ("(result)", json!({ "ok": null }), "at input.it: expected \"ok\" or \"err\", got an object"),
        ("(result (error s8))", json!({ "err": 128 }), "at input.it.err: expected a whole number from -128 to 127"),
    ]
}

#[tokio::test]
async fn a_malformed_argument_is_refused_with_its_place_before_anything_runs() {
    let types = r#"
        (type $of-point (record (field "x" s8) (field "y" (option s8)))) (export $point "point" (type $of-point))
        (type $of-shape (variant (case "none") (case "circle" float32))) (export $shape "shape" (type $of-shape))
        (type $of-color (enum "red" "green")) (export $color "color" (type $of-color))
        (type $of-rights (flags "read" "write")) (export $rights "rights" (type $of-rights))"#;
    let many = format!("(tuple {})", ["u64"; 17].join(" "));
    for (ty, argument, expected) in rows() {
        let signature = format!("(param \"it\" {ty}) (param \"many\" {many}) (result (tuple {ty} {many}))");
        let read = Read::of_text(&with(&(types.to_owned() + &function("same", &signature, "same"))));
        let input = json!({ "it": argument, "many": vec![0; 17] });
        let wrong = read.tool("same").check(&input).expect_err(expected);
        assert!(wrong.to_string().starts_with(expected), "{wrong}\n{expected}");
        assert_eq!(read.call("same", &input).await.expect("no trap"), Err(Rejected::Input(wrong)));
        let is_said = ["in base64", "there twice"].iter().any(|less| expected.contains(less));
        let schema = Schema::compile(&read.tool("same").schema.to_string()).expect("it compiles");
        assert!(schema.check(&input.to_string()).is_err() || is_said, "the schema takes {input}");
    }
}

#[test]
fn what_is_no_object_of_the_parameters_is_refused() {
    let many = format!("(tuple {})", ["u64"; 17].join(" "));
    let signature = format!("(param \"it\" string) (param \"many\" {many}) (result (tuple string {many}))");
    let read = Read::of_text(&with(&(function("same", &signature, "same") + &function("idle", "", "nothing"))));
    let refused = |name: &str, input: Value| read.tool(name).check(&input).expect_err("refused").to_string();
    assert_eq!(refused("same", json!(null)), "at input: expected an object, got null");
    assert_eq!(refused("same", json!([1])), "at input: expected an object, got an array of 1");
    assert_eq!(refused("same", json!({})), "at input.it: is missing");
    assert_eq!(refused("same", json!({ "it": "", "more": 1 })), "at input.more: no such field; it has `it`, `many`");
    assert_eq!(refused("idle", json!({ "more": 1 })), "at input.more: no such field; it has none");
    let long = refused("same", json!({ "it": [], "many": "x".repeat(10_000) }));
    assert_eq!(long, "at input.it: expected a string, got an array of 0");
    let long = refused("same", json!({ "it": "", "many": "x".repeat(10_000) }));
    assert_eq!(long, format!("at input.many: expected an array, got \"{}\"…", "x".repeat(60)));
    let long = refused("same", json!({ "y".repeat(10_000): 1 }));
    assert_eq!(long, format!("at input.{}: no such field; it has `it`, `many`", "y".repeat(60)));
}

#[test]
fn a_complaint_lists_n_names_and_not_n_plus_1() {
    let complaint = |count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("\"n{at}\"")).collect();
        let items = format!("(type $u (enum {})) (export $t \"t\" (type $u))", names.join(" "));
        let read = Read::of_text(&with(&(items + &function("f", "(param \"it\" $t)", "take"))));
        read.tool("f").check(&json!({ "it": "x" })).expect_err("refused").problem
    };
    assert!(complaint(MAX_LISTED).ends_with("`n14`, `n15`, got \"x\""));
    assert!(complaint(MAX_LISTED + 1).ends_with("`n14`, `n15`, .., got \"x\""));
}
