//! Components of every kind, and bytes that pretend to be one.

use proptest::prelude::*;

use super::*;

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("valid text")
}

fn read(text: &str) -> Anatomy {
    Anatomy::of(&component(text)).expect("is one")
}

const SMALL: &str = r#"(component
  (import "wasi:cli/exit@0.2.6" (instance (export "exit" (func))))
  (import "jidoka:agent/log@0.1.0" (instance (export "emit" (func))))
  (core module
    (memory 2 5)
    (memory 1)
    (table 3 7 funcref)
    (func $first nop nop)
    (func)
    (start $first)
    (data (i32.const 0) "hello")
    (@custom "note" "four"))
  (core module (func) (@custom "note" "ten bytes!"))
  (component (import "hidden:inside/it" (instance)))
  (core instance $i (instantiate 1))
)"#;

#[test]
fn what_is_in_a_component_is_counted() {
    let anatomy = read(SMALL);
    assert_eq!(anatomy.imports.listed, ["wasi:cli/exit@0.2.6", "jidoka:agent/log@0.1.0"], "its own, not those inside");
    assert_eq!((anatomy.modules, anatomy.components, anatomy.functions, anatomy.starts), (2, 1, 3, 1));
    assert_eq!((anatomy.code_bytes, anatomy.largest_function_bytes), (8, 4));
    let memories = [Span { initial: 2 << 16, maximum: Some(5 << 16) }, Span { initial: 1 << 16, maximum: None }];
    assert_eq!(anatomy.memories.listed, memories);
    assert_eq!(anatomy.tables.listed, [Span { initial: 3, maximum: Some(7) }]);
    assert_eq!((anatomy.data_segments, anatomy.data_bytes), (1, 5));
    let notes = CustomSection { name: "note".into(), sections: 2, bytes: 14 };
    assert!(anatomy.custom_sections.listed.contains(&notes), "{:?}", anatomy.custom_sections);
    assert_eq!((anatomy.refused, anatomy.unread), (None, None));
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [varint(text.len()), text.as_bytes().to_vec()].concat()
}

fn with_custom(name: &str, data: &[u8]) -> Vec<u8> {
    let body = [string(name), data.to_vec()].concat();
    [component("(component)"), vec![0], varint(body.len()), body].concat()
}

#[test]
fn producers_are_told_cut_and_harmless() {
    let long = "x".repeat(MAX_NAME_CHARS + 1);
    let data = [vec![2], string("language"), vec![1], string("Ru\u{1b}[2Jst"), string("1.\u{202e}95\n")];
    let data = [data.concat(), string("processed-by"), vec![1], string(&long), string("")].concat();
    let anatomy = Anatomy::of(&with_custom("producers", &data)).expect("is one");
    let [language, tool] = &anatomy.producers.listed[..] else { panic!("{:?}", anatomy.producers) };
    let told = (language.role.as_str(), language.name.as_str(), language.version.as_str());
    assert_eq!(told, ("language", "Ru\u{fffd}[2Jst", "1.\u{fffd}95\u{fffd}"));
    assert_eq!(tool.name, format!("{}…", "x".repeat(MAX_NAME_CHARS)), "cut at N + 1");
    let whole = "x".repeat(MAX_NAME_CHARS);
    assert_eq!(text(&whole), whole, "whole at N");
}

#[test]
fn producers_that_lie_about_their_length_say_nothing_and_stop_nothing() {
    for data in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[1, 3, b'f', b'o', b'o', 0], &[]] {
        let anatomy = Anatomy::of(&with_custom("producers", data)).expect("is one");
        assert_eq!((anatomy.producers, anatomy.unread), (Listed::default(), None));
    }
}

#[test]
fn lists_hold_at_n_and_end_at_n_plus_1() {
    let imports = |count: usize| {
        let import = |number| format!("(import \"a:b/c{number}\" (instance))");
        read(&format!("(component {})", (0..count).map(import).collect::<String>())).imports
    };
    let (at, over) = (imports(MAX_LISTED), imports(MAX_LISTED + 1));
    assert_eq!((at.listed.len(), at.left_out), (MAX_LISTED, 0));
    assert_eq!((over.listed.len(), over.left_out), (MAX_LISTED, 1));
}

#[test]
fn modules_are_looked_into_up_to_n_and_not_n_plus_1() {
    let modules = |count: u64| {
        let count = usize::try_from(count).expect("small");
        read(&format!("(component {})", "(core module)".repeat(count)))
    };
    let at = modules(MAX_OPENED);
    assert_eq!((at.modules, at.unread.is_none()), (MAX_OPENED, true));
    assert!(at.refused.expect("far over the compiler's bound").contains("modules; at most"));
    assert!(modules(MAX_OPENED + 1).unread.expect("the rest is not read").contains("1024"));
}

#[test]
fn a_module_that_call_takes_is_read_as_one() {
    let module = Anatomy::of(&component("(module (memory 1) (func (export \"_start\")))")).expect("a tool as it is");
    assert_eq!((module.modules, module.components, module.functions), (1, 0, 1));
    assert_eq!(module.exports.listed, ["_start"]);
}

#[test]
fn what_is_no_component_is_refused_and_what_breaks_off_says_where() {
    assert!(matches!(Anatomy::of(b"not wasm"), Err(ShapeError::Malformed(_))));
    assert!(matches!(Anatomy::of(&[]), Err(ShapeError::Malformed(_))));
    let whole = component(SMALL);
    let half = Anatomy::of(&whole[..whole.len() / 2]).expect("begins as one");
    assert!(half.unread.is_some() && half.refused.is_some(), "{half:?}");
}

proptest! {
    #[test]
    fn any_bytes_behind_the_header_are_read_to_an_end(tail in proptest::collection::vec(any::<u8>(), 0..512), at in 0..256usize) {
        let mut bytes = component(SMALL);
        let at = 8 + at.min(bytes.len() - 8);
        bytes.truncate(at);
        bytes.extend(tail);
        let anatomy = Anatomy::of(&bytes).expect("begins as one");
        let told = serde_json::to_string(&anatomy).expect("plain data");
        prop_assert!(!told.contains(|char: char| char.is_control()));
        prop_assert!(told.len() < 1 << 20);
    }
}
