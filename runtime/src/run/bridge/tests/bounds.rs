//! Each bound, at N and at N + 1.

use serde_json::json;

use crate::doors::schema::Schema;

use super::super::catalogue::{MAX_NAMED_BYTES, MAX_NAMED_TYPES, MAX_TOLD_CHARS};
use super::super::{MAX_DESCRIPTION_CHARS, MAX_FUNCTIONS, MAX_LEFT_OUT, MAX_NESTED_TYPES, MAX_SCHEMA_BYTES, Rejected};
use super::component::{Read, function, with};

fn idle(count: usize) -> Read {
    Read::of_text(&with(&(0..count).map(|at| function(&format!("f{at}"), "", "nothing")).collect::<String>()))
}

#[test]
fn functions_hold_at_n_and_are_left_out_from_n_plus_1() {
    let read = idle(MAX_FUNCTIONS);
    assert_eq!((read.exports.functions.len(), read.exports.left_out.len()), (MAX_FUNCTIONS, 0));
    let read = idle(MAX_FUNCTIONS + 1);
    assert_eq!((read.exports.functions.len(), read.exports.left_out.len()), (MAX_FUNCTIONS, 1));
    assert_eq!(read.why(&format!("f{MAX_FUNCTIONS}")), "a component has at most 128 functions that are tools");
    assert!(!read.exports.is_cut);
}

#[test]
fn what_is_left_out_is_named_up_to_n_and_not_from_n_plus_1() {
    let read = idle(MAX_FUNCTIONS + MAX_LEFT_OUT);
    assert_eq!((read.exports.left_out.len(), read.exports.is_cut), (MAX_LEFT_OUT, false));
    let read = idle(MAX_FUNCTIONS + MAX_LEFT_OUT + 1);
    assert_eq!((read.exports.left_out.len(), read.exports.is_cut), (MAX_LEFT_OUT, true));
    assert_eq!(read.exports.functions.len(), MAX_FUNCTIONS);

    let long = |chars: usize| "f".repeat(chars);
    let many: String = (0..MAX_FUNCTIONS).map(|at| function(&format!("f{at}"), "", "nothing")).collect();
    let last = |chars: usize| Read::of_text(&with(&(many.clone() + &function(&long(chars), "", "nothing"))));
    assert_eq!(last(MAX_TOLD_CHARS).exports.left_out[0].0, long(MAX_TOLD_CHARS));
    assert_eq!(last(MAX_TOLD_CHARS + 1).exports.left_out[0].0, long(MAX_TOLD_CHARS));
}

#[test]
fn types_are_nested_up_to_n_and_not_n_plus_1() {
    let nested = |levels: usize| {
        let ty = (1..levels).fold("bool".to_owned(), |inner, _| format!("(list {inner})"));
        let signature = format!("(param \"it\" {ty}) (result {ty})");
        let core = "(func (export \"pass\") (param i32 i32) (result i32) unreachable) (func (export \"nothing\"))";
        Read::of_text(&with(&function("f", &signature, "pass")).replace("(func (export \"nothing\"))", core))
    };
    let read = nested(MAX_NESTED_TYPES);
    assert!(Schema::compile(&read.tool("f").schema.to_string()).is_ok());
    assert!(Schema::compile(&read.tool("f").output.to_string()).is_ok());
    let value = (1..MAX_NESTED_TYPES).fold(json!(true), |inner, _| json!([inner]));
    assert_eq!(read.tool("f").check(&json!({ "it": value })), Ok(()));
    assert_eq!(nested(MAX_NESTED_TYPES + 1).why("f"), "its types are nested deeper than 32");
}

#[test]
fn a_schema_is_nested_as_deep_as_it_may_be_and_not_one_deeper() {
    // Each of these is two schemas deep.
    let nested = |levels: usize| {
        let ty = (0..levels).fold("(list bool)".to_owned(), |inner, _| format!("(option {inner})"));
        Read::of_text(
            &with(&function("f", &format!("(result {ty})"), "same"))
                .replace("(param i32) (result i32) (local.get 0)", "(result i32) unreachable"),
        )
    };
    let deepest = (1..32).take_while(|levels| nested(*levels).exports.left_out.is_empty()).count();
    assert_eq!(deepest, 16);
    assert!(Schema::compile(&nested(deepest).tool("f").output.to_string()).is_ok());
    assert_eq!(nested(deepest + 1).why("f"), "its schema is nested deeper than 32");
}

#[test]
fn a_schema_has_up_to_n_bytes_and_not_n_plus_1() {
    let named = |chars: usize, ty: &str| {
        let signature = format!("(param \"{}\" {ty})", "n".repeat(chars));
        Read::of_text(&with(&function("f", &signature, "take")))
    };
    // A name is there twice, so that the type makes up for a byte.
    let empty = named(1, "bool").tool("f").schema.to_string().len() - 2;
    let (bool, more) = ("bool", "s8");
    let longer = named(1, more).tool("f").schema.to_string().len() - 2;
    let fits = |base: usize| (MAX_SCHEMA_BYTES - base) / 2;
    let sizes: Vec<usize> = [(bool, empty), (more, longer)]
        .into_iter()
        .map(|(ty, base)| {
            let read = named(fits(base), ty);
            assert_eq!(named(fits(base) + 1, ty).why("f"), "its schema has more than 65536 bytes");
            read.tool("f").schema.to_string().len()
        })
        .collect();
    assert!(sizes.contains(&MAX_SCHEMA_BYTES), "{sizes:?}");
}

#[test]
fn a_type_that_would_be_a_tree_of_millions_is_left_out_at_once() {
    let mut items = "(type $t0 (tuple u64 u64))".to_owned();
    for at in 1..16 {
        items += &format!("(type $t{at} (tuple $t{} $t{}))", at - 1, at - 1);
    }
    let core = "(func (export \"pass\") (param i32)) (func (export \"nothing\"))";
    let text = with(&(items + &function("f", "(param \"it\" $t15)", "pass")));
    let read = Read::of_text(&text.replace("(func (export \"nothing\"))", core));
    assert_eq!(read.why("f"), "its types need a schema of more than 65536 bytes");
}

#[test]
fn a_description_has_up_to_n_characters_and_is_cut_at_n_plus_1() {
    let named = |chars: usize| {
        let signature = format!("(param \"{}\" bool)", "n".repeat(chars));
        Read::of_text(&with(&function("f", &signature, "take"))).tool("f").description.clone()
    };
    let around = named(1).chars().count() - 1;
    let (fits, over) = (named(MAX_DESCRIPTION_CHARS - around), named(MAX_DESCRIPTION_CHARS - around + 1));
    assert_eq!(fits.chars().count(), MAX_DESCRIPTION_CHARS);
    assert!(fits.ends_with("n: bool)"));
    assert_eq!(over.chars().count(), MAX_DESCRIPTION_CHARS);
    assert!(over.ends_with("n: boo…"));
}

#[test]
fn types_have_their_names_up_to_n_and_not_from_n_plus_1() {
    let items: String = (0..=MAX_NAMED_TYPES)
        .map(|at| format!("(type $u{at} (enum \"e{at}\")) (export $t{at} \"t{at}\" (type $u{at}))\n"))
        .collect();
    let last = MAX_NAMED_TYPES - 1;
    let functions = function("f", &format!("(param \"it\" $t{last})"), "take")
        + &function("g", &format!("(param \"it\" $t{})", last + 1), "take");
    let read = Read::of_text(&with(&(items + &functions)));
    assert_eq!(read.tool("f").description, format!("f(it: t{last})"));
    assert_eq!(read.tool("g").description, format!("g(it: enum {{e{}}})", last + 1));

    let sized = |chars: usize| {
        let items = format!("(type $u (enum \"{}\")) (export $t \"t\" (type $u))\n", "e".repeat(chars));
        Read::of_text(&with(&(items + &function("f", "(param \"it\" $t)", "take")))).tool("f").description.clone()
    };
    let around = 13;
    assert_eq!(sized(MAX_NAMED_BYTES - around), "f(it: t)");
    assert_ne!(sized(MAX_NAMED_BYTES - around + 1), "f(it: t)");
}

#[test]
fn a_type_with_two_names_is_called_by_none() {
    let items = "(type $u (enum \"e\")) (export $t \"t\" (type $u)) (export $s \"s\" (type $u))";
    let read = Read::of_text(&with(&(items.to_owned() + &function("f", "(param \"it\" $t)", "take"))));
    assert_eq!(read.tool("f").description, "f(it: enum {e})");
}

#[tokio::test]
async fn an_output_has_up_to_n_bytes_and_not_n_plus_1() {
    let many = format!("(tuple string (list u8) (list bool) {})", ["u64"; 17].join(" "));
    let signature = format!("(param \"it\" {many}) (result {many})");
    let read = Read::of_text(&with(&function("same", &signature, "same")));
    let mut value = vec![json!("a\nb"), json!("AAEC/w=="), json!([true, false])];
    value.extend(vec![json!(u64::MAX); 17]);
    let bytes = json!(value).to_string().len();
    for (most, expected) in [(bytes, true), (bytes - 1, false), (100, false), (0, false)] {
        let (mut store, instance) = read.instance().await;
        let said = read.tool("same").call(&mut store, &instance, &json!({ "it": value }), most).await;
        match said.expect("no trap") {
            Ok(said) => assert!(expected && said.len() == bytes),
            Err(rejected) => assert!(!expected && rejected == Rejected::Long { most }, "{rejected}"),
        }
    }
}
