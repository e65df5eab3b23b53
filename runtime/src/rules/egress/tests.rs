//! What leaves and what does not: each trick beside the plain request that it dresses up.

use super::*;
use crate::rules::http::{HttpBody, HttpLimits};

fn grant(methods: &[&str], scheme: Scheme, host: &str, port: u16, path: &str) -> HttpGrant {
    HttpGrant {
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        scheme,
        host: host.into(),
        port,
        path: path.into(),
        networks: vec![],
        secrets: vec![],
        limits: HttpLimits { max_request_bytes: 4, max_response_bytes: 0, total_ms: 1, max_redirects: 0 },
    }
}

fn grants() -> Vec<HttpGrant> {
    vec![
        grant(&["GET", "POST"], Scheme::Https, "api.example", 443, "/v1/"),
        grant(&["GET"], Scheme::Https, "*.wild.example", 443, "/"),
        grant(&["GET"], Scheme::Http, "127.0.0.1", 8080, "/exact"),
    ]
}

fn request(method: &str, url: &str) -> HttpRequest {
    HttpRequest { method: method.into(), url: url.into(), headers: vec![], body: HttpBody::default() }
}

fn refusal(url: &str) -> Refusal {
    judge(&grants(), &request("GET", url)).map(|_| ()).expect_err(url)
}

/// Which grant covers a `GET`.
fn covered(url: &str) -> Option<String> {
    judge(&grants(), &request("GET", url)).ok().map(|grant| grant.host.clone())
}

#[test]
fn a_request_is_covered_by_method_scheme_host_port_and_path() {
    for (url, host) in [
        ("https://api.example/v1/x?q=1", "api.example"),
        ("https://api.example:443/v1/", "api.example"),
        ("HTTPS://API.Example/v1/x", "api.example"),
        ("https://api.example/v1/./a/../b", "api.example"),
        ("https://api.example/v1/a;b=c/..d/%20", "api.example"),
        ("https://api.example/v1/100%2525", "api.example"),
        ("https://a.wild.example/", "*.wild.example"),
        ("https://a.wild.example", "*.wild.example"),
        ("https://a.b.wild.example/?@#"[..].trim_end_matches('#'), "*.wild.example"),
        ("http://127.0.0.1:8080/exact", "127.0.0.1"),
        ("http://0x7f.1:8080/exact", "127.0.0.1"),
        ("http://2130706433:8080/exact", "127.0.0.1"),
    ] {
        assert_eq!(covered(url).as_deref(), Some(host), "{url}");
    }
    for url in [
        "http://api.example/v1/x",
        "https://api.example:444/v1/x",
        "https://api.example/",
        "https://api.example/v1",
        "https://api.example/v10/",
        "https://api.example/v1/../admin",
        "https://api.example/v1/%2e%2e/admin",
        "https://api.example/v1/.%2E/admin",
        "https://api.example/%76%31/x",
        "https://api.example.evil.example/v1/x",
        "https://evil.example/api.example/v1/",
        "https://xapi.example/v1/x",
        "https://wild.example/",
        "https://xwild.example/",
        "https://api.examp1e/v1/x",
        "http://127.0.0.1:8080/exact/",
        "http://127.0.0.1:8081/exact",
        "http://[::ffff:127.0.0.1]:8080/exact",
    ] {
        assert_eq!(refusal(url).reason, Reason::NotGranted, "{url}");
    }
    for (method, fits) in [("GET", true), ("POST", true), ("PUT", false), ("DELETE", false)] {
        assert_eq!(judge(&grants(), &request(method, "https://api.example/v1/x")).is_ok(), fits, "{method}");
    }
}

#[test]
fn an_address_that_two_readers_could_read_differently_is_refused() {
    for url in [
        "https://user@api.example/v1/x",
        "https://@api.example/v1/x",
        "https://api.example@evil.example/v1/x",
        "https://evil.example\\@api.example/v1/x",
        "https://api.example\\.evil.example/v1/x",
        "https://api.example/v1/\\..\\..\\admin",
        "https://api.example/v1/x#@evil.example",
        "https://api.example#.evil.example/v1/x",
        "https://api.example./v1/x",
        "https://api%2eexample/v1/x",
        "https://api.example%00.evil.example/v1/x",
        "https://api.example:/v1/x",
        "https://api.example:0/v1/x",
        "https://api.example:65536/v1/x",
        "https://api..example/v1/x",
        "https:///api.example/v1/x",
        "https:api.example/v1/x",
        "https:/api.example/v1/x",
        "//api.example/v1/x",
        "/v1/x",
        "",
        "file:///etc/passwd",
        "ftp://api.example/v1/x",
        "gopher://api.example/v1/x",
        "javascript://api.example/v1/x",
        " https://api.example/v1/x",
        "https://api.example/v1/x\r\nhost: evil.example",
        "https://api.exa\tmple/v1/x",
        "https://api.ex\u{e4}mple/v1/x",
        "https://\u{ff41}pi.example/v1/x",
        "https://api\u{3002}example/v1/x",
        "https://api.example/v1/..%2fadmin",
        "https://api.example/v1/%2e%2e%2fadmin",
        "https://api.example/v1/..%5cadmin",
        "https://api.example/v1/%252e%252e/admin",
        "https://api.example/v1/%252e%252e%252fadmin",
        "https://api.example/v1/..%252fadmin",
        "https://api.example/v1/%25252525252e/admin",
        "https://api.example/v1/..;/admin",
        "https://api.example/v1/..;x=y/admin",
        "https://api.example/v1/%2e%2e;/admin",
        "https://api.example/v1/x%00",
        "https://api.example/v1/x%0d%0ahost:%20evil.example",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://1.2.3.4.5/",
        "https://256.256.256.256/",
    ] {
        let refusal = refusal(url);
        assert_eq!(refusal.reason, Reason::Invalid, "{url}");
        assert!(!refusal.asked.contains(char::is_control), "{refusal:?}");
    }
}

#[test]
fn a_path_that_is_made_of_an_address_changes_no_host() {
    // What a guest names as its path is put behind the server that was granted.
    for path in ["@evil.example/", ".evil.example/", ":80@evil.example/", "http://evil.example/"] {
        assert_eq!(covered(&format!("https://api.example{path}")), None, "{path}");
    }
    let absolute = "https://api.example/v1/http://evil.example/";
    assert_eq!(covered(absolute).as_deref(), Some("api.example"));
    let target = Target::parse(absolute).expect("an address");
    assert_eq!((target.site().host.as_str(), target.path()), ("api.example", "/v1/http://evil.example/"));
}

#[test]
fn a_request_is_refused_one_byte_above_its_cap() {
    let of = |bytes: usize| {
        let body = HttpBody(vec![b'x'; bytes]);
        judge(&grants(), &HttpRequest { body, ..request("POST", "https://api.example/v1/x") }).map(|_| ())
    };
    assert!(of(4).is_ok());
    let refusal = of(5).expect_err("too large");
    assert_eq!((refusal.reason, refusal.asked.as_str()), (Reason::TooLarge, "5 bytes of request"));
    assert_eq!(refusal.allowed, "at most 4");
    assert!(refusal.setting.starts_with("[[grants.http]] request = \"5B\""), "{}", refusal.setting);
}

fn with(headers: Vec<(String, String)>) -> Result<(), Refusal> {
    judge(&grants(), &HttpRequest { headers, ..request("GET", "https://api.example/v1/x") }).map(|_| ())
}

#[test]
fn each_cap_of_an_address_and_of_headers_holds_at_n_and_refuses_n_plus_1() {
    let base = "https://api.example/v1/";
    let long = |bytes: usize| format!("{base}{}", "x".repeat(bytes - base.len()));
    assert!(covered(&long(MAX_URL_BYTES)).is_some());
    assert_eq!(refusal(&long(MAX_URL_BYTES + 1)).reason, Reason::TooLarge);
    let header = |bytes: usize| ("x-a".to_owned(), "v".repeat(bytes - 3));
    let reason = |headers| with(headers).expect_err("too much").reason;
    assert_eq!(with(vec![header(3); MAX_HEADERS]), Ok(()));
    assert_eq!(reason(vec![header(3); MAX_HEADERS + 1]), Reason::TooLarge);
    assert_eq!(with(vec![header(MAX_HEADER_BYTES)]), Ok(()));
    assert_eq!(reason(vec![header(MAX_HEADER_BYTES + 1)]), Reason::TooLarge);
    assert_eq!(with(vec![header(MAX_HEADERS_BYTES / 4); 4]), Ok(()));
    let mut over = vec![header(MAX_HEADERS_BYTES / 8); 8];
    over[0].1.push('v');
    assert_eq!(reason(over), Reason::TooLarge);
}

#[test]
fn headers_that_carry_a_message_are_the_hosts() {
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "http2-settings",
    ] {
        let refusal = with(vec![(name.into(), "x".into())]).expect_err(name);
        assert_eq!(refusal.reason, Reason::Invalid, "{name}");
    }
    for name in ["authorization", "cookie", "accept", "content-type", "x-host", "hosts", "proxy"] {
        assert_eq!(with(vec![(name.into(), "x".into())]), Ok(()), "{name}");
    }
}

#[test]
fn a_header_is_one_line() {
    for (name, value) in [
        ("x-a", "v\r\nhost: evil.example"),
        ("x-a", "v\nx"),
        ("x-a", "v\r"),
        ("x-a", "v\0"),
        ("x-a", "\u{7f}"),
        ("x-a", "v\u{e4}"),
        ("x-a\r\nhost", "v"),
        ("x a", "v"),
        ("x-a:", "v"),
        ("X-A", "v"),
        ("", "v"),
        (":authority", "evil.example"),
        ("x-\u{e4}", "v"),
    ] {
        let refusal = with(vec![(name.into(), value.into())]).expect_err(name);
        assert_eq!(refusal.reason, Reason::Invalid, "{name:?} {value:?}");
        assert!(!refusal.asked.contains(char::is_control), "{refusal:?}");
    }
    assert_eq!(with(vec![("x-a".into(), "a\tb c~".into()), ("x-a".into(), String::new())]), Ok(()));
}

#[test]
fn methods_that_open_a_tunnel_or_say_back_are_no_methods() {
    for method in ["CONNECT", "TRACE", "get", "GET ", "GET\r\n", "", "PRI"] {
        let grants = vec![grant(&[method], Scheme::Https, "api.example", 443, "/")];
        let refusal = judge(&grants, &request(method, "https://api.example/")).expect_err(method);
        assert_eq!(refusal.reason, Reason::Invalid, "{method:?}");
    }
}

#[test]
fn a_refusal_says_asked_allowed_and_the_line_to_write_and_no_query() {
    let refused = judge(&grants(), &request("PUT", "https://api.example/v1/x?key=hunter2")).expect_err("refused");
    assert_eq!(refused.asked, "PUT https://api.example/v1/x");
    assert_eq!(
        refused.allowed,
        "GET, POST https://api.example/v1/; GET https://*.wild.example/; GET http://127.0.0.1:8080/exact"
    );
    assert_eq!(refused.setting, "[[grants.http]] url = \"https://api.example/v1/x\" and methods = [\"PUT\"]");
    assert_eq!(judge(&[], &request("GET", "https://api.example/")).expect_err("refused").allowed, "no requests");
}

#[test]
fn of_two_grants_that_cover_a_request_the_first_counts() {
    let mut grants = vec![grants().remove(0), grants().remove(0)];
    grants[1].limits.max_request_bytes = 100;
    let request = HttpRequest { body: HttpBody(vec![0; 5]), ..request("POST", "https://api.example/v1/x") };
    assert_eq!(judge(&grants, &request).expect_err("the first is too small").reason, Reason::TooLarge);
    grants.reverse();
    assert!(judge(&grants, &request).is_ok());
}
