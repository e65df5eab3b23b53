//! Secrets go where they belong, and come back from nowhere.

use super::*;
use crate::doors::secret::Secret;
use crate::rules::http::Site;

const KEY: &str = "canary/K3y+012=%";

fn held(port: u16, placement: Placement) -> HeldSecret {
    let origins = vec![Site { scheme: Scheme::Http, host: "api.example".into(), port }];
    HeldSecret { secret: Secret::parse(KEY, "a test".into()).expect("a key"), origins, placement }
}

fn in_header() -> Placement {
    Placement::Header { name: "authorization".into(), prefix: "Bearer ".into() }
}

fn in_query() -> Placement {
    Placement::Query { name: "key".into() }
}

fn web_with(port: u16, placement: Placement) -> Web {
    Web::new(here(), BTreeMap::from([("api-key".to_owned(), held(port, placement))]))
}

fn secretive(port: u16) -> HttpGrant {
    HttpGrant { secrets: vec!["api-key".into()], ..grant("api.example", port) }
}

fn has_secret(text: &str) -> bool {
    let lower = text.to_lowercase();
    ["canary", "k3y", "Y2FuYX", "NhbmFye", "jYW5hcn"].iter().any(|piece| lower.contains(&piece.to_lowercase()))
}

#[tokio::test]
async fn a_secret_is_put_where_the_operator_says() {
    let server = Server::saying(ok("x")).await;
    let grants = [secretive(server.port)];
    reply(&web_with(server.port, in_header()), get(&server.url("/a?b")), &grants).await;
    let heard = server.heard().remove(0);
    assert!(heard.starts_with("GET /a?b HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains(&format!("authorization: Bearer {KEY}\r\n")), "{heard}");
    assert!(heard.contains("accept-encoding: identity\r\n"), "{heard}");
    for (path, sent) in [("/a", "/a?key="), ("/a?b=c", "/a?b=c&key=")] {
        reply(&web_with(server.port, in_query()), get(&server.url(path)), &grants).await;
        let heard = server.heard().pop().expect("a request");
        assert!(heard.starts_with(&format!("GET {sent}canary%2FK3y%2B012%3D%25 HTTP/1.1\r\n")), "{heard}");
    }
    // A rule that names no secret gets none.
    reply(&web_with(server.port, in_header()), get(&server.url("/")), &[grant("api.example", server.port)]).await;
    assert!(!has_secret(&server.heard().pop().expect("a request")));
}

#[tokio::test]
async fn a_secret_goes_to_its_servers_alone() {
    let (server, other) = (Server::saying(ok("x")).await, Server::saying(ok("x")).await);
    let web = web_with(server.port, in_header());
    let refusal = refused(&web, get(&other.url("/")), &[secretive(other.port)]).await;
    assert_eq!(refusal.reason, Reason::NotGranted);
    assert!(refusal.setting.starts_with("[secrets.api-key] origins = "), "{}", refusal.setting);
    let same_port = HttpGrant { host: "*.example".into(), ..secretive(server.port) };
    let request = get(&format!("http://evil.example:{}/", server.port));
    refused(&web, request, &[same_port]).await;
    let unknown = HttpGrant { secrets: vec!["other".into()], ..grant("api.example", server.port) };
    refused(&web, get(&server.url("/")), &[unknown]).await;
    assert!(server.heard().is_empty() && other.heard().is_empty());
    reply(&web, get(&server.url("/")), &[secretive(server.port)]).await;
    assert!(has_secret(&server.heard()[0]));
}

#[tokio::test]
async fn a_secret_never_crosses_a_redirect() {
    for placement in [in_header(), in_query()] {
        let other = Server::saying(ok("x")).await;
        for same in [true, false] {
            let location = if same { "/b".to_owned() } else { other.url("/b") };
            let server = Server::new(move |number, _| match number {
                0 => (redirect(307, &location).into(), Then::Close),
                _ => (ok("x").into(), Then::Close),
            })
            .await;
            let mut secret = held(server.port, placement.clone());
            // Not even where it might go by itself.
            secret.origins.push(Site { port: other.port, ..secret.origins[0].clone() });
            let web = Web::new(here(), BTreeMap::from([("api-key".to_owned(), secret)]));
            reply(&web, get(&server.url("/a")), &[secretive(server.port), secretive(other.port)]).await;
            let second = if same { server.heard().remove(1) } else { other.heard().remove(0) };
            assert!(has_secret(&server.heard()[0]) && !has_secret(&second), "{second}");
        }
    }
}

#[tokio::test]
async fn a_redirect_that_carries_a_secret_is_not_followed() {
    let other = Server::saying(ok("x")).await;
    for spelled in [KEY.to_owned(), "canary%2FK3y%2B012%3D%25".to_owned(), "Y2FuYXJ5L0szeSswMTI9JQ==".to_owned()] {
        let server = Server::saying(redirect(302, &other.url(&format!("/?stolen={spelled}")))).await;
        let grants = [secretive(server.port), grant("api.example", other.port)];
        let (kind, message) = failure(&web_with(server.port, in_query()), get(&server.url("/")), &grants).await;
        assert_eq!(kind, FailureKind::Rejected);
        assert!(!has_secret(&message), "{message}");
        // Where none is followed it comes without the secret.
        let mut alone = secretive(server.port);
        alone.limits.max_redirects = 0;
        let reply = reply(&web_with(server.port, in_query()), get(&server.url("/")), &[alone]).await;
        assert!(!has_secret(&format!("{reply:?}")), "{reply:?}");
        assert!(reply.headers[0].1.contains("stolen=[secret]"), "{reply:?}");
    }
    assert!(other.heard().is_empty());
}

#[tokio::test]
async fn an_echo_has_no_secret_whatever_it_says() {
    // The whole request comes back, in the head and in the body, plain and in base64.
    let server = Server::new(|_, request| {
        let line = request.lines().next().unwrap_or_default();
        let echo = format!(
            "{request} {KEY} Y2FuYXJ5L0szeSswMTI9JQ== Bearer {} {{\"k\":\"canary\\/K3y\\u002b012=%\"}}",
            KEY.to_uppercase()
        );
        let head = format!("x-echo: {KEY}\r\nx-line: {line}\r\ncanary{}: name\r\n", "x".repeat(3));
        (format!("HTTP/1.1 200 OK\r\n{head}content-length: {}\r\n\r\n{echo}", echo.len()).into(), Then::Close)
    })
    .await;
    for placement in [in_header(), in_query()] {
        let web = web_with(server.port, placement);
        let reply = reply(&web, get(&server.url("/a")), &[secretive(server.port)]).await;
        let text = body(&reply);
        assert!(text.matches("[secret]").count() >= 5, "{text}");
        assert!(!has_secret(text), "{text}");
        let told: Vec<_> = reply.headers.iter().filter(|(name, _)| name != "canaryxxx").collect();
        assert!(!has_secret(&format!("{told:?}")), "{told:?}");
        assert!(!reply.headers.iter().any(|(name, _)| name == "content-length"), "it would lie now");
    }
    // Also to a request that carried none: the server may have kept it.
    let web = web_with(server.port, in_header());
    let reply = reply(&web, get(&server.url("/a")), &[grant("api.example", server.port)]).await;
    assert!(!has_secret(body(&reply)), "{}", body(&reply));
}

#[tokio::test]
async fn a_header_that_is_named_like_a_secret_is_dropped() {
    let answer = "HTTP/1.1 200 OK\r\nabcdefgh1: x\r\ny: 1\r\ncontent-length: 0\r\n\r\n";
    let server = Server::saying(answer).await;
    let mut secret = held(server.port, in_header());
    secret.secret = Secret::parse("ABCDEFGH1", "a test".into()).expect("a key");
    let web = Web::new(here(), BTreeMap::from([("api-key".to_owned(), secret)]));
    let reply = reply(&web, get(&server.url("/")), &[grant("api.example", server.port)]).await;
    assert_eq!(reply.headers, [header("y", "1"), header("content-length", "0")]);
}

#[tokio::test]
async fn a_reply_in_which_nobody_could_find_a_secret_is_none() {
    let packed = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx";
    let server = Server::saying(packed).await;
    let request = HttpRequest { headers: vec![header("accept-encoding", "gzip")], ..get(&server.url("/")) };
    let web = web_with(server.port, in_header());
    let (kind, message) = failure(&web, request.clone(), &[secretive(server.port)]).await;
    assert_eq!(kind, FailureKind::Broken);
    assert!(message.contains("is encoded"), "{message}");
    assert!(!server.heard()[0].contains("gzip"), "{}", server.heard()[0]);
    reply(&web, request, &[grant("api.example", server.port)]).await;
    assert!(server.heard()[1].contains("accept-encoding: gzip"));
}

#[tokio::test]
async fn a_guest_has_no_word_where_a_secret_stands() {
    let server = Server::saying(ok("x")).await;
    let grants = [secretive(server.port)];
    let own = HttpRequest { headers: vec![header("authorization", "Basic x")], ..get(&server.url("/")) };
    let refusal = refused(&web_with(server.port, in_header()), own.clone(), &grants).await;
    assert_eq!((refusal.reason, refusal.asked.as_str()), (Reason::Invalid, "the header \"authorization\""));
    for query in ["/?key=mine", "/?key", "/?a=b&k%65y=mine"] {
        let refusal = refused(&web_with(server.port, in_query()), get(&server.url(query)), &grants).await;
        assert_eq!(refusal.asked, "the key of the query \"key\"", "{query}");
    }
    assert!(server.heard().is_empty());
    reply(&web_with(server.port, in_query()), own, &grants).await;
    reply(&web_with(server.port, in_header()), get(&server.url("/?key=mine")), &grants).await;
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn no_failure_shows_a_secret() {
    for (answer, then) in [
        ("", Then::Close),
        (KEY, Then::Close),
        ("HTTP/1.1 canary/K3y+012=% x\r\n\r\n", Then::Close),
        ("HTTP/1.1 200 OK\r\ncanary/K3y+012=%\r\n\r\n", Then::Close),
        ("HTTP/1.1 200 OK\r\ncontent-length: canary/K3y+012=%\r\n\r\n", Then::Close),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncanary/", Then::Close),
        ("HTTP/1.1 302 x\r\nlocation: http://evil.example/canary/K3y+012=%\r\n\r\n", Then::Close),
        ("HTTP/1.1 200 OK\r\n", Then::Hang),
    ] {
        let server = Server::then(answer, then).await;
        let mut grant = secretive(server.port);
        grant.limits.total_ms = 300;
        let fetched = fetched(&web_with(server.port, in_query()), get(&server.url("/?q")), &[grant]).await;
        let denied = format!("{:?}", fetched.result.expect_err("no reply"));
        assert!(!has_secret(&denied) && !denied.contains("key="), "{denied}");
        assert!(has_secret(&server.heard()[0]));
    }
}
