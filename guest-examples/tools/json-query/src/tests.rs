//! What queries select, and where each cap is.

use super::*;
use jidoka::json::json;
use jidoka::testing::{FakeHost, Outcome};

fn ask(input: Input) -> Result<Output, String> {
    let file = json!({"store": {"book": [{"title": "A", "price": 8}, {"title": "B", "price": 12}]}});
    let host = FakeHost::new().file("a.json", file.to_string()).file("bad.json", "{").file("b", b"\xff".to_vec());
    match host.run(json_query, input).outcome {
        Outcome::Returned(output) => Ok(output),
        Outcome::Failed(error) => Err(error.to_string()),
        other => panic!("{other:?}"),
    }
}

fn of(query: &str, document: Value) -> Result<Output, String> {
    ask(Input { query: query.to_owned(), document: Some(document), ..Input::default() })
}

fn values(query: &str, document: Value) -> Vec<Value> {
    of(query, document).expect("selects").values
}

fn file(path: &str) -> Result<Output, String> {
    ask(Input { query: "$..title".to_owned(), path: Some(path.to_owned()), ..Input::default() })
}

#[test]
fn a_document_or_a_file_is_queried() {
    assert_eq!(values("$.a[1:]", json!({"a": [1, 2, 3]})), [json!(2), json!(3)]);
    assert_eq!(file("a.json"), Ok(Output { found: 2, values: vec![json!("A"), json!("B")], cut: None }));
    assert!(file("none.json").expect_err("no file").contains("there is no file"));
    assert!(file("../a.json").expect_err("no path").contains("cannot be used"));
    assert!(file("bad.json").expect_err("no JSON").contains("bad.json is not JSON: EOF"));
    assert!(file("b").is_err());
    let neither = Input { query: "$".to_owned(), ..Input::default() };
    assert!(ask(neither).expect_err("neither").contains("give a `document` or"));
    let both =
        Input { query: "$".to_owned(), document: Some(json!(1)), path: Some("a.json".to_owned()), ..Input::default() };
    assert!(ask(both).expect_err("both").contains("not both"));
}

#[test]
fn filters_and_functions_are_those_of_the_rfc() {
    let people = json!([{"n": "ann", "t": [1]}, {"n": "bob", "t": [1, 2]}, {"n": "cy"}]);
    for (query, wanted) in [
        ("$[?@.n == 'bob'].n", json!(["bob"])),
        ("$[?length(@.t) > 1].n", json!(["bob"])),
        ("$[?count(@.t[*]) == 1].n", json!(["ann"])),
        ("$[?match(@.n, 'a.*')].n", json!(["ann"])),
        ("$[?search(@.n, 'o')].n", json!(["bob"])),
        ("$[?!@.t].n", json!(["cy"])),
        ("$[?value(@..t[1]) == 2].n", json!(["bob"])),
        ("$[-1].n", json!(["cy"])),
        ("$.none", json!([])),
    ] {
        assert_eq!(Value::Array(values(query, people.clone())), wanted, "{query}");
    }
}

#[test]
fn what_is_no_query_is_told_with_its_place() {
    for query in ["a", "$.", "$[", "$[?]", "$[?@.a ==]", "$.é[", "$[?none(@)]", "$[99999999999999999999]", "$ "] {
        let told = of(query, json!({})).expect_err(query);
        assert!(told.starts_with("`query` is not JSONPath: "), "{told}");
    }
}

#[test]
fn queries_hold_at_n_bytes_and_are_refused_at_n_plus_1() {
    let long = |bytes: usize| format!("$.{}", "x".repeat(bytes - 2));
    assert_eq!(of(&long(bounds::MAX_QUERY_BYTES), json!({})).map(|output| output.found), Ok(0));
    assert!(of(&long(bounds::MAX_QUERY_BYTES + 1), json!({})).expect_err("too long").contains("1025 bytes"));
    assert!(of("", json!({})).is_err());
}

#[test]
fn values_are_cut_after_exactly_n() {
    let list = |count: usize| json!(vec![1; count]);
    assert_eq!(of("$[*]", list(DEFAULT_RESULTS)).expect("fits").cut, None);
    let cut = of("$[*]", list(DEFAULT_RESULTS + 1)).expect("cut");
    assert_eq!((cut.found, cut.values.len()), (101, 100));
    assert_eq!(cut.cut.as_deref(), Some("after 100 values, which is `max_results`"));
    let most = |most: usize| Input {
        query: "$[*]".to_owned(),
        document: Some(list(MAX_RESULTS + 1)),
        max_results: Some(most),
        ..Input::default()
    };
    assert_eq!(ask(most(MAX_RESULTS)).expect("cut").values.len(), MAX_RESULTS);
    assert!(ask(most(MAX_RESULTS + 1)).is_err());
    assert!(ask(most(0)).is_err());
}

#[test]
fn the_answer_is_cut_at_its_bytes() {
    let text = |bytes: usize| json!("x".repeat(bytes - 2));
    let whole = of("$[*]", json!([text(MAX_VALUE_BYTES - 1), 1])).expect("fits");
    assert_eq!((whole.values.len(), whole.cut), (2, None));
    let cut = of("$[*]", json!([text(MAX_VALUE_BYTES), 1])).expect("cut");
    assert_eq!((cut.found, cut.values.len()), (2, 1));
    assert!(cut.cut.expect("told").starts_with("after 1 values: the answer has at most 65536 bytes"));
}

#[test]
fn files_hold_at_n_bytes_and_are_refused_at_n_plus_1() {
    let of_size = |bytes: u64| {
        let text = format!("\"{}\"", "x".repeat(bytes as usize - 2));
        let input = Input { query: "$.a".to_owned(), path: Some("a".to_owned()), ..Input::default() };
        FakeHost::new().file("a", text).run(json_query, input).outcome
    };
    assert!(matches!(of_size(MAX_FILE_BYTES), Outcome::Returned(_)));
    let Outcome::Failed(error) = of_size(MAX_FILE_BYTES + 1) else { panic!("too large") };
    assert!(error.to_string().contains("2097153 bytes"), "{error}");
}

#[test]
fn a_query_that_multiplies_is_refused_before_it_is_asked() {
    let deep = (0..100).fold(json!(1), |inner, _| json!({"a": inner}));
    let told = of("$..*..*..*..*", deep.clone()).expect_err("too much");
    assert!(told.contains("use fewer `..` and commas"), "{told}");
    assert!(of(&format!("${}", "['a','a']".repeat(90)), deep.clone()).is_err());
    assert!(of("$..a..a", deep).is_ok());
}
