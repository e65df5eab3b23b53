//! Servers that send a guest elsewhere.

use super::*;

/// Redirects to one place, and says `x` to whoever comes a second time.
async fn turning(status: u16, location: &str) -> Server {
    let answer = redirect(status, location);
    Server::new(move |number, _| match number {
        0 => (answer.clone().into(), Then::Close),
        _ => (ok("x").into(), Then::Close),
    })
    .await
}

#[tokio::test]
async fn a_redirect_to_what_is_granted_is_followed() {
    let other = Server::saying(ok("other")).await;
    for location in [other.url("/b?c=1"), format!("//api.example:{}/b?c=1", other.port), other.url("/a/../b?c=1#part")]
    {
        let server = turning(302, &location).await;
        let grants = [grant("api.example", server.port), grant("api.example", other.port)];
        let reply = reply(&web(here()), get(&server.url("/a")), &grants).await;
        assert_eq!((body(&reply), reply.redirects), ("other", 1));
        assert!(other.heard().pop().expect("a request").starts_with("GET /b?c=1 HTTP/1.1\r\n"));
    }
    for (location, path) in [("/b", "/b"), ("c", "/a/c"), ("../c", "/c"), ("?d", "/a/b?d"), ("", "/a/b")] {
        let server = turning(302, location).await;
        reply(&web(here()), get(&server.url("/a/b")), &[grant("api.example", server.port)]).await;
        assert!(server.heard()[1].starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{:?}", server.heard());
    }
}

#[tokio::test]
async fn a_redirect_is_judged_like_a_request() {
    let elsewhere = Server::saying(ok("secret of another")).await;
    let port = elsewhere.port;
    for (location, reason, asked) in [
        (format!("http://evil.example:{port}/"), Reason::NotGranted, "GET http://evil.example"),
        (format!("http://127.0.0.1:{port}/"), Reason::NotGranted, "GET http://127.0.0.1"),
        (format!("http://2130706433:{port}/"), Reason::NotGranted, "GET http://127.0.0.1"),
        (format!("http://[::ffff:127.0.0.1]:{port}/"), Reason::NotGranted, "GET http://[::ffff:7f00:1]"),
        (format!("http://api.example:{port}/"), Reason::NotGranted, "GET http://api.example"),
        ("http://169.254.169.254/latest/meta-data/".into(), Reason::NotGranted, "GET http://169.254.169.254"),
        ("//evil.example/".into(), Reason::NotGranted, "GET http://evil.example/"),
        ("https://api.example/".into(), Reason::NotGranted, "GET https://api.example/"),
        ("/admin".into(), Reason::NotGranted, "GET http://api.example"),
        ("/v1/../admin".into(), Reason::NotGranted, "GET http://api.example"),
        ("/v1/..%2fadmin".into(), Reason::Invalid, "an address that has a path"),
        ("file:///etc/passwd".into(), Reason::Invalid, "an address that is neither http nor https"),
        ("javascript:alert(1)".into(), Reason::Invalid, "an address that is not absolute"),
        ("data:text/plain,x".into(), Reason::Invalid, "an address that is not absolute"),
        ("ftp://api.example/".into(), Reason::Invalid, "an address that is neither http nor https"),
        ("http://me:pass@api.example/".into(), Reason::Invalid, "an address that has a user"),
        ("http://api.example./".into(), Reason::Invalid, "an address that has a host that ends"),
        ("\\\\evil.example/".into(), Reason::Invalid, "a redirect to"),
        ("http://api.example\\@evil.example/".into(), Reason::Invalid, "a redirect to"),
        ("http://api.example/ x".into(), Reason::Invalid, "a redirect to"),
        ("http://\u{ff45}vil.example/".into(), Reason::Invalid, "a redirect to"),
        ("http://[::1".into(), Reason::Invalid, "a redirect to"),
    ] {
        let server = turning(302, &location).await;
        let grant = HttpGrant { path: "/v1/".into(), ..grant("api.example", server.port) };
        let refusal = refused(&web(here()), get(&server.url("/v1/")), &[grant]).await;
        assert_eq!(refusal.reason, reason, "{location}: {refusal:?}");
        assert!(refusal.asked.starts_with(&format!("after a redirect, {asked}")) || refusal.asked.starts_with(asked));
        assert_eq!(server.heard().len(), 1);
    }
    assert!(elsewhere.heard().is_empty());
}

#[tokio::test]
async fn a_redirect_needs_a_grant_for_its_method_too() {
    let server = turning(307, "/b").await;
    let writes = HttpGrant { methods: vec!["POST".into()], path: "/a".into(), ..grant("api.example", server.port) };
    let reads = HttpGrant { methods: vec!["GET".into()], path: "/b".into(), ..writes.clone() };
    let grants = [writes, reads];
    let refusal = refused(&web(here()), post(&server.url("/a"), "body"), &grants).await;
    assert!(refusal.asked.contains("POST http://api.example"), "{}", refusal.asked);
    let server = turning(303, "/b").await;
    let grants = grants.map(|grant| HttpGrant { port: server.port, ..grant });
    assert_eq!(body(&reply(&web(here()), post(&server.url("/a"), "body"), &grants).await), "x");
}

#[tokio::test]
async fn so_many_redirects_are_followed_and_not_one_more() {
    let server = |last: usize| {
        Server::new(move |number, _| match number < last {
            true => (redirect(302, &format!("/{number}")).into(), Then::Close),
            false => (ok("x").into(), Then::Close),
        })
    };
    let three = server(3).await;
    let fine = reply(&web(here()), get(&three.url("/")), &[grant("api.example", three.port)]).await;
    assert_eq!((fine.status, fine.redirects, three.heard().len()), (200, 3, 4));
    for last in [4, usize::MAX] {
        let server = server(last).await;
        let (kind, message) = failure(&web(here()), get(&server.url("/")), &[grant("api.example", server.port)]).await;
        assert_eq!((kind, server.heard().len()), (FailureKind::Broken, 4));
        assert!(message.contains("redirects more than 3 times"), "{message}");
    }
}

#[tokio::test]
async fn where_none_is_followed_the_guest_gets_the_redirect_itself() {
    let server = Server::saying(redirect(302, "http://evil.example/")).await;
    let mut grant = grant("api.example", server.port);
    grant.limits.max_redirects = 0;
    let reply = reply(&web(here()), get(&server.url("/")), &[grant.clone()]).await;
    assert_eq!((reply.status, body(&reply), reply.redirects), (302, "no!", 0));
    assert!(reply.headers.contains(&header("location", "http://evil.example/")));
    // One without a place is a reply.
    let server = Server::saying("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n").await;
    let grants = [super::grant("api.example", server.port)];
    assert_eq!(super::reply(&web(here()), get(&server.url("/")), &grants).await.status, 302);
}

#[tokio::test]
async fn a_method_and_a_body_survive_as_the_status_says() {
    for (status, method, after, keeps) in [
        (301, "POST", "GET", false),
        (302, "POST", "GET", false),
        (303, "POST", "GET", false),
        (303, "PUT", "GET", false),
        (303, "HEAD", "HEAD", false),
        (301, "PUT", "PUT", true),
        (302, "HEAD", "HEAD", false),
        (307, "POST", "POST", true),
        (308, "PUT", "PUT", true),
        (308, "GET", "GET", false),
    ] {
        let server = turning(status, "/b").await;
        let content = if ["POST", "PUT"].contains(&method) { "body" } else { "" };
        let headers = vec![header("content-type", "a/b"), header("x-a", "b")];
        let request = HttpRequest { method: method.into(), headers, ..post(&server.url("/a"), content) };
        let fetched = fetched(&web(here()), request, &[grant("api.example", server.port)]).await;
        assert!(fetched.result.is_ok(), "{status} {method}: {:?}", fetched.result);
        let heard = &server.heard()[1];
        assert!(heard.starts_with(&format!("{after} /b HTTP/1.1\r\n")), "{status} {method}: {heard}");
        assert_eq!(heard.ends_with("body"), keeps, "{status} {method}: {heard}");
        assert_eq!(heard.contains("content-type"), keeps || after == method, "{status} {method}: {heard}");
        assert!(heard.contains("x-a: b"), "{heard}");
        let sent = content.len() as u64 * if keeps { 2 } else { 1 };
        assert_eq!(fetched.net_bytes, sent + if after == "HEAD" { 0 } else { 1 }, "{status} {method}");
    }
}

#[tokio::test]
async fn what_a_guest_says_to_one_server_is_not_said_to_another() {
    let other = Server::saying(ok("other")).await;
    let private = ["authorization", "cookie", "x-api-key", "x-token", "x-anything", "referer", "origin"];
    let headers = || {
        let mut headers: Vec<_> = private.iter().map(|name| header(name, "mine")).collect();
        headers.push(header("accept", "a/b"));
        headers
    };
    for same in [true, false] {
        let server = turning(302, &if same { "/b".to_owned() } else { other.url("/b") }).await;
        let grants = [grant("api.example", server.port), grant("api.example", other.port)];
        let request = HttpRequest { headers: headers(), ..get(&server.url("/a")) };
        reply(&web(here()), request, &grants).await;
        let heard = if same { server.heard().remove(1) } else { other.heard().remove(0) };
        assert!(heard.contains("accept: a/b"), "{heard}");
        for name in private {
            assert_eq!(heard.contains(&format!("{name}: mine")), same, "{name} {heard}");
        }
        assert!(!heard.contains("referer: http"), "{heard}");
    }
}

#[tokio::test]
async fn the_tightest_rule_of_all_requests_counts() {
    let other = Server::saying(ok("12345")).await;
    let server = Server::saying(redirect(302, &other.url("/"))).await;
    for (first, second, fits) in [(5, 5, true), (4, 5, false), (5, 4, false)] {
        let (mut one, mut two) = (grant("api.example", server.port), grant("api.example", other.port));
        one.limits.max_response_bytes = first;
        two.limits.max_response_bytes = second;
        let fetched = fetched(&web(here()), get(&server.url("/")), &[one, two]).await;
        assert_eq!(fetched.result.is_ok(), fits, "{first} {second}: {:?}", fetched.result);
    }
    // The time of an exchange is not given anew by a redirect.
    let endless = Server::saying(redirect(302, "/")).await;
    let mut grant = grant("api.example", endless.port);
    grant.limits.total_ms = 1;
    grant.limits.max_redirects = u32::MAX;
    let (kind, _) = failure(&web(here()), get(&endless.url("/")), &[grant]).await;
    assert_eq!(kind, FailureKind::TimedOut);
}
