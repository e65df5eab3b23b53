//! Each type: its schema, its JSON, and its words.

use serde_json::{Value, json};

use crate::doors::schema::Schema;

use super::component::{Read, function, with};

/// A type that needs a name, as items of a component.
fn named(name: &str, ty: &str) -> String {
    format!("(type $of-{name} ({ty})) (export ${name} \"{name}\" (type $of-{name}))\n")
}

fn types() -> String {
    named("point", r#"record (field "x" s8) (field "y" (option s8))"#)
        + &named("shape", r#"variant (case "none") (case "empty") (case "circle" f32) (case "at" (tuple s8 bool))"#)
        + &named("color", r#"enum "red" "green""#)
        + &named("rights", r#"flags "read" "write""#)
}

/// Each type, what is said of it, its schema, and values of it as JSON.
fn rows() -> Vec<(&'static str, &'static str, Value, Vec<Value>)> {
    let whole = |least: i64, most: u64| json!({ "type": "integer", "minimum": least, "maximum": most });
    let names = json!({ "enum": ["NaN", "Infinity", "-Infinity"] });
    let s8 = whole(-128, 127);
    let single = |key: &str, of: &Value| json!({ "type": "object", "properties": { key: of }, "required": [key], "additionalProperties": false });
    let none = json!({ "type": "null" });
    let point = json!({
        "type": "object",
        "properties": { "x": s8, "y": { "anyOf": [s8, none] } },
        "required": ["x"],
        "additionalProperties": false,
    });
    let float32 = json!({
        "anyOf": [{ "type": "number", "minimum": f32::MIN, "maximum": f32::MAX }, names],
    });
    let pair = json!({ "type": "array", "prefixItems": [s8, { "type": "boolean" }], "minItems": 2, "maxItems": 2 });
    let key = json!({ "type": "array", "prefixItems": [whole(0, 255), s8], "minItems": 2, "maxItems": 2 });
    vec![
        ("bool", "bool", json!({ "type": "boolean" }), vec![json!(true), json!(false)]),
        ("s8", "s8", s8.clone(), vec![json!(-128), json!(127)]),
        ("u8", "u8", whole(0, 255), vec![json!(0), json!(255)]),
        ("s16", "s16", whole(-32_768, 32_767), vec![json!(-32_768), json!(32_767)]),
        ("u16", "u16", whole(0, 65_535), vec![json!(0), json!(65_535)]),
        ("s32", "s32", whole(i32::MIN.into(), 2_147_483_647), vec![json!(i32::MIN), json!(i32::MAX)]),
        ("u32", "u32", whole(0, u32::MAX.into()), vec![json!(0), json!(u32::MAX)]),
        ("s64", "s64", whole(i64::MIN, 9_223_372_036_854_775_807), vec![json!(i64::MIN), json!(i64::MAX)]),
        ("u64", "u64", whole(0, u64::MAX), vec![json!(0), json!(u64::MAX)]),
        ("float32", "f32", float32.clone(), vec![json!(0.5), json!(-0.0), json!("NaN"), json!(f32::MAX)]),
        (
            "float64",
            "f64",
            json!({ "anyOf": [{ "type": "number" }, names] }),
            vec![json!(0.1), json!("Infinity"), json!("-Infinity"), json!(f64::MAX), json!(5e-324)],
        ),
        (
            "char",
            "char",
            json!({ "type": "string", "minLength": 1, "maxLength": 1, "description": "one character" }),
            vec![json!("a"), json!("🦀"), json!("\u{0}")],
        ),
        ("string", "string", json!({ "type": "string" }), vec![json!(""), json!("a\u{0}\"é")]),
        (
            "(list u8)",
            "list<u8>",
            json!({ "type": "string", "description": "bytes in base64" }),
            vec![json!(""), json!("AA=="), json!("AAEC/w==")],
        ),
        ("(list s8)", "list<s8>", json!({ "type": "array", "items": s8 }), vec![json!([]), json!([1, -1])]),
        (
            "(list s8 2)",
            "list<s8, 2>",
            json!({ "type": "array", "items": s8, "minItems": 2, "maxItems": 2 }),
            vec![json!([1, -1])],
        ),
        (
            "(map string s8)",
            "map<string, s8>",
            json!({ "type": "object", "additionalProperties": s8 }),
            vec![json!({}), json!({ "": 1, "a b": 2 })],
        ),
        ("(map u8 s8)", "map<u8, s8>", json!({ "type": "array", "items": key }), vec![json!([[1, 2], [0, 3]])]),
        ("$point", "point", point, vec![json!({ "x": 1, "y": null }), json!({ "x": 1, "y": 2 })]),
        ("(tuple s8 bool)", "tuple<s8, bool>", pair.clone(), vec![json!([1, true])]),
        (
            "$shape",
            "shape",
            json!({ "anyOf": [{ "enum": ["none", "empty"] }, single("circle", &float32), single("at", &pair)] }),
            vec![json!("none"), json!("empty"), json!({ "circle": 1.5 }), json!({ "at": [1, false] })],
        ),
        ("$color", "color", json!({ "enum": ["red", "green"] }), vec![json!("red"), json!("green")]),
        (
            "$rights",
            "rights",
            json!({ "type": "array", "items": { "enum": ["read", "write"] }, "description": "each name at most once" }),
            vec![json!([]), json!(["write"]), json!(["read", "write"])],
        ),
        ("(option s8)", "option<s8>", json!({ "anyOf": [s8, none] }), vec![json!(null), json!(1)]),
        (
            "(option (option s8))",
            "option<option<s8>>",
            json!({ "anyOf": [single("some", &json!({ "anyOf": [s8, none] })), none] }),
            vec![json!(null), json!({ "some": null }), json!({ "some": 1 })],
        ),
        (
            "(result s8 (error string))",
            "result<s8, string>",
            json!({ "anyOf": [single("ok", &s8), single("err", &json!({ "type": "string" }))] }),
            vec![json!({ "ok": 1 }), json!({ "err": "x" })],
        ),
        ("(result)", "result", json!({ "enum": ["ok", "err"] }), vec![json!("ok"), json!("err")]),
        (
            "(result (error s8))",
            "result<_, s8>",
            json!({ "anyOf": [{ "enum": ["ok"] }, single("err", &s8)] }),
            vec![json!("ok"), json!({ "err": 1 })],
        ),
    ]
}

const MANY: &str = "(tuple u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64 u64)";

#[tokio::test]
async fn every_type_has_its_schema_its_words_and_its_values() {
    for (ty, words, schema, values) in rows() {
        let signature = format!("(param \"it\" {ty}) (param \"many\" {MANY}) (result (tuple {ty} {MANY}))");
        let read = Read::of_text(&with(&(types() + &function("same", &signature, "same"))));
        let tool = read.tool("same");
        assert_eq!(tool.schema["properties"]["it"], schema, "{ty}");
        assert_eq!(tool.output["prefixItems"][0], schema, "{ty}");
        assert!(tool.description.starts_with(&format!("same(it: {words}, many: tuple<u64, ")), "{}", tool.description);
        assert!(tool.description.contains(&format!(") -> tuple<{words}, tuple<u64, ")), "{}", tool.description);
        let compiled = Schema::compile(&tool.schema.to_string()).expect("it compiles");
        assert!(!values.is_empty());
        for value in values {
            let input = json!({ "it": value, "many": vec![7; 17] });
            assert_eq!(compiled.check(&input.to_string()), Ok(()), "{ty}");
            let said = read.call("same", &input).await.expect("no trap").expect("an output");
            assert_eq!(said, json!([value, vec![7; 17]]), "{ty}");
        }
    }
}

#[tokio::test]
async fn what_may_be_missing_is_none_and_what_can_be_written_in_two_ways_is_the_same() {
    let signature = format!(
        "(param \"at\" $point) (param \"maybe\" (option s8)) (param \"n\" u64) (param \"many\" {MANY})
        (result (tuple $point (option s8) u64 {MANY}))"
    );
    let read = Read::of_text(&with(&(types() + &function("same", &signature, "same"))));
    let tool = read.tool("same");
    assert_eq!(tool.schema["required"], json!(["at", "n", "many"]));
    let said = read.call("same", &json!({ "at": { "x": 1.0 }, "n": 1e19, "many": vec![0; 17] })).await;
    let expected = json!([{ "x": 1, "y": null }, null, 10_000_000_000_000_000_000_u64, vec![0; 17]]);
    assert_eq!(said.expect("no trap"), Ok(expected));
}

#[test]
fn an_enum_has_more_names_than_one_keyword_compares() {
    for (count, parts) in [(256, 1), (257, 2)] {
        let names: Vec<String> = (0..count).map(|at| format!("\"n{at}\"")).collect();
        let items = named("long", &format!("enum {}", names.join(" ")));
        let read = Read::of_text(&with(&(items + &function("f", "(param \"it\" $long)", "take"))));
        let schema = &read.tool("f").schema["properties"]["it"];
        match parts {
            1 => assert_eq!(schema["enum"].as_array().map(Vec::len), Some(256)),
            _ => assert_eq!(schema["anyOf"].as_array().map(Vec::len), Some(parts)),
        }
        let compiled = Schema::compile(&read.tool("f").schema.to_string()).expect("it compiles");
        let last = json!({ "it": format!("n{}", count - 1) });
        assert_eq!(compiled.check(&last.to_string()), Ok(()));
        assert_eq!(read.tool("f").check(&last), Ok(()));
    }
}
