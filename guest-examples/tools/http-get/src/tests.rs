//! What a reply is told as, and where each cap is.

use super::*;
use jidoka::testing::{FakeHost, Outcome, Run};

const URL: &str = "https://example.com/a";

fn reply(kind: &str, body: impl Into<Vec<u8>>) -> Response {
    Response { status: 200, headers: vec![("content-type".to_owned(), kind.to_owned())], body: body.into() }
}

fn get(response: Response, input: Input) -> Run<Output> {
    FakeHost::new().page(URL, response).run(http_get, Input { url: URL.to_owned(), ..input })
}

fn told(response: Response, input: Input) -> Output {
    match get(response, input).outcome {
        Outcome::Returned(output) => output,
        other => panic!("{other:?}"),
    }
}

fn refused(input: Input) -> String {
    match FakeHost::new().run(http_get, input).outcome {
        Outcome::Failed(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_comes_with_its_status_and_the_headers_that_are_of_use() {
    let mut response = reply("text/plain", "hello");
    response.status = 404;
    response.headers.push(("set-cookie".to_owned(), "secret".to_owned()));
    response.headers.push(("etag".to_owned(), "é".repeat(MAX_HEADER_BYTES)));
    let told = told(response, Input::default());
    assert_eq!((told.status, told.text.as_str(), told.bytes, told.cut, told.note), (404, "hello", 5, None, None));
    let names: Vec<&str> = told.headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!(names, ["content-type", "etag"]);
    assert_eq!(told.headers[1].value.len(), MAX_HEADER_BYTES);
}

#[test]
fn it_sends_a_get_that_accepts_text() {
    let run = get(reply("text/plain", ""), Input { accept: Some("application/json".to_owned()), ..Input::default() });
    assert_eq!(run.fetches.len(), 1);
    assert_eq!(run.fetches[0].method, "GET");
    assert_eq!(run.fetches[0].headers, [("accept".to_owned(), "application/json".to_owned())]);
    let run = get(reply("text/plain", ""), Input::default());
    assert!(run.fetches[0].headers[0].1.starts_with("text/html"));
}

#[test]
fn html_is_reduced_unless_it_is_wanted_raw() {
    let page = || reply("text/html; charset=utf-8", "<p>a &amp; b</p>");
    let reduced = told(page(), Input::default());
    assert_eq!((reduced.text.as_str(), reduced.note), ("a & b\n", Some("HTML reduced to its text")));
    let raw = told(page(), Input { raw: true, ..Input::default() });
    assert_eq!((raw.text.as_str(), raw.note), ("<p>a &amp; b</p>", None));
}

#[test]
fn what_is_no_text_is_not_told() {
    for response in [reply("image/png", b"\x89PNG\xff".to_vec()), reply("text/plain", b"a\0b".to_vec())] {
        let told = told(response, Input::default());
        assert_eq!((told.text.as_str(), told.note), ("", Some("not text")));
    }
    let latin = told(reply("text/plain", b"caf\xe9".to_vec()), Input::default());
    assert_eq!((latin.text.as_str(), latin.note), ("caf\u{fffd}", Some("not UTF-8: some characters are lost")));
}

#[test]
fn a_text_is_cut_at_a_character_and_read_on() {
    let page = || reply("text/plain", "aéb");
    let part = |offset, most| {
        let told = told(page(), Input { offset, max_bytes: Some(most), ..Input::default() });
        (told.text, told.cut)
    };
    let cut = |from: usize, to: usize| Some(format!("bytes {from} to {to} of 4 bytes of text"));
    assert_eq!(part(0, 4), ("aéb".to_owned(), None));
    assert_eq!(part(0, 3), ("aé".to_owned(), cut(0, 3)));
    assert_eq!(part(0, 2), ("a".to_owned(), cut(0, 1)));
    assert_eq!(part(3, 9), ("b".to_owned(), cut(3, 4)));
    assert_eq!(part(2, 9), ("éb".to_owned(), cut(1, 4)));
    assert_eq!(part(usize::MAX, 9), (String::new(), cut(4, 4)));
}

#[test]
fn texts_hold_at_n_bytes_and_are_cut_at_n_plus_1() {
    let of = |bytes: usize, most: Option<usize>| {
        told(reply("text/plain", "x".repeat(bytes)), Input { max_bytes: most, ..Input::default() })
    };
    assert_eq!(of(DEFAULT_TEXT_BYTES, None).cut, None);
    assert_eq!(of(DEFAULT_TEXT_BYTES + 1, None).text.len(), DEFAULT_TEXT_BYTES);
    assert_eq!(of(MAX_TEXT_BYTES, Some(MAX_TEXT_BYTES)).cut, None);
    let cut = of(MAX_TEXT_BYTES + 1, Some(MAX_TEXT_BYTES));
    assert_eq!((cut.text.len(), cut.bytes, cut.cut.is_some()), (MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1, true));
    for wrong in [0, MAX_TEXT_BYTES + 1] {
        assert!(refused(Input { max_bytes: Some(wrong), ..Input::default() }).contains("1 to 65536"));
    }
}

#[test]
fn addresses_and_accept_hold_at_n_bytes_and_are_refused_at_n_plus_1() {
    let url = |bytes: usize| Input { url: format!("{URL}{}", "x".repeat(bytes - URL.len())), ..Input::default() };
    assert!(refused(url(MAX_URL_BYTES)).contains("[[grants.http]]"));
    assert!(refused(url(MAX_URL_BYTES + 1)).contains("2049 bytes"));
    let accept = |text: String| Input { url: URL.to_owned(), accept: Some(text), ..Input::default() };
    assert!(refused(accept("x".repeat(MAX_ACCEPT_BYTES))).contains("[[grants.http]]"));
    assert!(refused(accept("x".repeat(MAX_ACCEPT_BYTES + 1))).contains("at most 256"));
    assert!(refused(accept("a\r\nhost: b".to_owned())).contains("plain ASCII"));
}

#[test]
fn an_address_that_is_none_or_not_granted_is_told() {
    assert!(refused(Input { url: "ftp://a".to_owned(), ..Input::default() }).contains("begins with http://"));
    assert!(refused(Input { url: "http://b/".to_owned(), ..Input::default() }).contains("[[grants.http]]"));
}
