//! Attacks through `wasi:http`, with a hostile name server and a lying server on loopback behind the real door.
//!
//! The control is the same guest with the grant: its reply comes, is kept, and so the run has something to show. Secrets are
//! canaries: the server is given one where the row says so, and no file below the run's home may have it afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jidoka::doors::fetch::Web;
use jidoka::doors::secret::{HeldSecret, Secret};
use jidoka::rules::http::{HttpGrant, HttpLimits, Scheme, Site};
use jidoka::rules::secret::Placement;

use super::super::seen::{because, got, got_this, no, seen, that};
use super::super::server::{Answer, LyingNames, Server};
use super::super::{Attack, Family, Made, Scene, Seen, row};
use crate::bench::Bench;
use crate::hostile;
use crate::web::{FakeWeb, Page, grant as of_the_fake};

/// The secret that the server is given.
const CANARY: &str = "canary/K3y+012=%";

/// How it may be spelled, and pieces of it.
const SPELLED: [&str; 5] = ["canary/", "canary%2F", "canary%2f", "Y2FuYXJ5", "canary\\/"];

/// Bytes of a request's and a reply's body, from [`Try`]'s grant.
const MOST: usize = 1_000;

/// One request, and all that is around it.
#[derive(Clone)]
struct Try {
    method: &'static str,
    /// `PORT` is the server's own port, `NOBODY` one that nobody may call.
    url: &'static str,
    header: Option<(&'static str, &'static str)>,
    /// Bytes of its body.
    send: usize,
    /// The host that is granted.
    host: &'static str,
    networks: &'static [&'static str],
    redirects: u32,
    total_ms: u64,
    names: &'static [&'static [&'static str]],
    answer: Answer,
    placement: Option<Placement>,
}

/// What is granted, asked rightly, of a server that says `hello`.
fn honest() -> Try {
    Try {
        method: "GET",
        url: "http://api.test:PORT/v1/page",
        header: None,
        send: 0,
        host: "api.test",
        networks: &["127.0.0.0/8"],
        redirects: 3,
        total_ms: 20_000,
        names: &[&["127.0.0.1"]],
        answer: Answer::Hello,
        placement: None,
    }
}

fn in_header() -> Option<Placement> {
    Some(Placement::Header { name: "authorization".into(), prefix: "Bearer ".into() })
}

fn in_query() -> Option<Placement> {
    Some(Placement::Query { name: "key".into() })
}

fn canary() -> Secret {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("key");
    std::fs::write(&path, CANARY).expect("a file");
    Secret::from_file(&path).expect("a key")
}

impl Try {
    async fn bench(self, scene: Arc<Scene>) -> Bench {
        let nobody = scene.address().port().to_string();
        let put = |text: &str| text.replace("NOBODY", &nobody);
        let answer = match self.answer {
            Answer::Redirect(status, location) => Answer::Redirect(status, put(&location)),
            other => other,
        };
        let server = Server::start(answer).await;
        let port = server.port();
        let grant = HttpGrant {
            methods: vec!["GET".into(), "POST".into()],
            scheme: Scheme::Http,
            host: self.host.to_owned(),
            port,
            path: "/v1/".to_owned(),
            networks: self.networks.iter().map(|&network| network.to_owned()).collect(),
            secrets: self.placement.iter().map(|_| "key".to_owned()).collect(),
            limits: HttpLimits {
                max_request_bytes: MOST as u64,
                max_response_bytes: MOST as u64,
                total_ms: self.total_ms,
                max_redirects: self.redirects,
            },
        };
        let origins = vec![Site { scheme: Scheme::Http, host: self.host.to_owned(), port }];
        let held =
            self.placement.map(|placement| ("key".to_owned(), HeldSecret { secret: canary(), origins, placement }));
        let web = Web::new(Arc::new(LyingNames::new(self.names)), held.into_iter().collect::<BTreeMap<_, _>>());
        let url = put(self.url).replace("PORT", &port.to_string());
        let (header, value) = self.header.unwrap_or_default();
        let inputs = format!(
            "inputs = {{ method = {:?}, url = {url:?}, header = {header:?}, value = {value:?}, send = \"{}\" }}",
            self.method, self.send
        );
        scene.keep_server(server);
        scene.guest(hostile::HTTP_REACH).set("task", &inputs).web(Arc::new(web), &[grant])
    }

    fn made(self) -> Made {
        Arc::new(move |scene| Box::pin(self.clone().bench(scene)))
    }
}

/// Whether a file below `dir` has the canary.
fn leaked(dir: &Path) -> Option<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                return leaked(&path);
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            let has = |piece: &str| bytes.windows(piece.len()).any(|window| window == piece.as_bytes());
            SPELLED.iter().any(|piece| has(piece)).then(|| path.display().to_string())
        })
        .next()
}

/// No file of the run's home, no note and no entry has the canary.
fn no_canary() -> Seen {
    seen("the secret is nowhere", |end, scene| {
        if let Some(path) = leaked(scene.home.dir()) {
            return Err(format!("the secret is in {path}"));
        }
        let told = format!("{}{:?}{:?}", end.journal(), end.notes(), end.record);
        match SPELLED.iter().find(|piece| told.contains(**piece)) {
            Some(piece) => Err(format!("{piece} of the secret was told")),
            None => Ok(()),
        }
    })
}

/// So many requests came.
fn came(count: usize) -> Seen {
    seen(&format!("{count} requests came"), move |end, scene| match scene.heard() {
        heard if heard.len() == count => Ok(()),
        heard => Err(format!("{} requests came: {heard:?}; {:.400?}", heard.len(), end.notes())),
    })
}

/// The server was given the canary with its first request and with none after, so that there was something to leak.
fn canary_came() -> Seen {
    seen("the secret came to its server, once", |_, scene| {
        let has = |heard: &String| SPELLED.iter().any(|piece| heard.contains(piece));
        let count = scene.heard().iter().filter(|heard| has(heard)).count();
        if count == 1 { Ok(()) } else { Err(format!("{count} requests had the secret")) }
    })
}

/// A note has these words.
fn says(words: &'static str) -> Seen {
    that(words, move |end| end.notes().iter().any(|note| note.contains(words)))
}

fn refused(requests: usize) -> Seen {
    no("asked").and(came(requests)).and(no_canary())
}

fn fetched() -> Seen {
    got_this("asked", "200").and(no_canary())
}

/// A request that is refused after so many came, and one that is not.
fn tries(name: &'static str, what: &'static str, attack: Try, requests: usize, control: Try) -> Attack {
    row(Family::Http, name, what).attack_made(attack.made(), "no-progress", refused(requests)).control_made(
        control.made(),
        "accepted",
        fetched(),
    )
}

/// A request that never comes, beside the granted one.
fn asks(name: &'static str, what: &'static str, attack: Try) -> Attack {
    tries(name, what, attack, 0, honest())
}

/// A name whose address is not public, without the operator's word for it.
fn named(name: &'static str, what: &'static str, names: &'static [&'static [&'static str]]) -> Attack {
    asks(name, what, Try { names, networks: &[], ..honest() })
}

/// An address of the host itself, spelled so that it is not seen at once. The control has the operator's word for it.
fn spelled(name: &'static str, what: &'static str, url: &'static str) -> Attack {
    let granted = Try { url, host: "127.0.0.1", names: &[], ..honest() };
    tries(name, what, Try { networks: &[], ..granted.clone() }, 0, granted)
}

/// A server that sends the guest there. The control is sent to what is granted.
fn redirected(name: &'static str, what: &'static str, location: &'static str) -> Attack {
    let to = |location: &str| Try { answer: Answer::Redirect(302, location.to_owned()), ..honest() };
    tries(name, what, to(location), 1, to("/v1/again"))
}

/// A reply that is none. The control is one.
fn replied(name: &'static str, what: &'static str, answer: Answer) -> Attack {
    tries(name, what, Try { answer, ..honest() }, 1, honest())
}

/// A reply that does not end before its time. The control does.
fn late(name: &'static str, what: &'static str, answer: Answer) -> Attack {
    let attack = Try { answer, total_ms: 300, ..honest() };
    row(Family::Http, name, what)
        .deadline(300)
        .attack_made(attack.made(), "no-progress", refused(1).and(no("asked")))
        .control_made(honest().made(), "accepted", fetched())
}

/// A request with the secret, whose server tells it again. The control is one that does not.
fn told_again(name: &'static str, what: &'static str, answer: Answer, placement: Option<Placement>) -> Attack {
    let with = |answer| Try { answer, placement: placement.clone(), ..honest() };
    let scrubbed = got("asked").and(says("[secret]")).and(canary_came()).and(no_canary());
    row(Family::Http, name, what).attack_made(with(answer).made(), "accepted", scrubbed).control_made(
        with(Answer::Hello).made(),
        "accepted",
        canary_came().and(fetched()),
    )
}

/// A request with the secret that comes to no reply. The control has one.
fn withheld(name: &'static str, what: &'static str, answer: Answer, placement: Option<Placement>) -> Attack {
    let with = |answer| Try { answer, placement: placement.clone(), ..honest() };
    row(Family::Http, name, what)
        .attack_made(with(answer).made(), "no-progress", refused(1).and(canary_came()))
        .control_made(with(Answer::Hello).made(), "accepted", canary_came().and(fetched()))
}

/// A step of the guest that speaks `wasi:http` by hand. The control is a step of it that is allowed.
fn by_hand(name: &'static str, what: &'static str, step: &'static str) -> Attack {
    let bench = |scene: &Scene| {
        let web = FakeWeb::new(|request| Page::ok(format!("{} {}", request.method, request.url)));
        scene.guest(hostile::HTTP_RAW).web(Arc::new(web), &[of_the_fake(&["GET", "POST"], "/")])
    };
    row(Family::Http, name, what).attack(bench, "no-progress", no(step)).control(bench, "no-progress", got("in pieces"))
}

/// Fields of 100 bytes each, so many.
fn fields(scene: &Scene, count: u32) -> Bench {
    let web = FakeWeb::new(|_| Page::ok("hello"));
    let inputs = format!("inputs = {{ most = \"4096\", fields = \"{count}\" }}");
    let bench = scene.guest(hostile::HTTP_FLOOD).set("task", &inputs);
    bench.web(Arc::new(web), &[of_the_fake(&["GET", "POST"], "/")])
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut rows = addresses();
    rows.extend(requests());
    rows.extend(redirects());
    rows.extend(replies());
    rows.extend(secrets());
    rows
}

fn addresses() -> Vec<Attack> {
    let again = |names| Try { names, answer: Answer::Redirect(302, "/v1/again".to_owned()), ..honest() };
    vec![
        named("name-is-loopback", "asks a name that is the host itself", &[&["127.0.0.1"]]),
        named("name-is-private", "asks a name in the network behind the host", &[&["10.0.0.1"]]),
        named("name-is-link-local", "asks a name on the host's own wire", &[&["169.254.1.1"]]),
        named("name-is-metadata", "asks a name that is the cloud's metadata service", &[&["169.254.169.254"]]),
        named("name-is-metadata-v6", "the same in the sixth version", &[&["fd00:ec2::254"]]),
        named("name-is-loopback-v6", "asks a name that is the host in the sixth version", &[&["::1"]]),
        named("name-is-mapped", "asks a name whose address is loopback, mapped", &[&["::ffff:127.0.0.1"]]),
        named("name-is-nat64", "asks a name whose address is loopback behind NAT64", &[&["64:ff9b::7f00:1"]]),
        named("name-is-6to4", "asks a name whose address is loopback through 6to4", &[&["2002:7f00:1::"]]),
        named("name-is-unspecified", "asks a name that is any address of the host", &[&["0.0.0.0"]]),
        named("name-is-mixed", "asks a name with a public and a private address", &[&["8.8.8.8", "127.0.0.1"]]),
        tries(
            "name-turns",
            "asks a name that moves behind the host after the first look-up",
            again(&[&["127.0.0.1"], &["10.0.0.1"]]),
            1,
            again(&[&["127.0.0.1"]]),
        ),
        spelled("address-decimal", "spells loopback as one number", "http://2130706433:PORT/v1/page"),
        spelled("address-hexadecimal", "spells it with a hexadecimal number", "http://0x7f.1:PORT/v1/page"),
        spelled("address-octal", "spells it with an octal number", "http://0177.0.0.1:PORT/v1/page"),
        spelled("address-short", "spells it with two numbers", "http://127.1:PORT/v1/page"),
    ]
}

fn requests() -> Vec<Attack> {
    let url = |url| Try { url, ..honest() };
    let header = |name, value| Try { header: Some((name, value)), ..honest() };
    let sending = |send| Try { method: "POST", send, ..honest() };
    vec![
        asks("method", "uses a method that is not granted", Try { method: "DELETE", ..honest() }),
        asks("scheme", "uses a scheme that is not granted", url("https://api.test:PORT/v1/page")),
        asks("port", "asks another port", url("http://api.test:NOBODY/v1/page")),
        asks(
            "host-begins-alike",
            "asks a host whose name begins like the granted one",
            url("http://api.test.evil.test:PORT/v1/page"),
        ),
        asks("host-ends-alike", "asks a host whose name ends like it", url("http://evil-api.test:PORT/v1/page")),
        asks(
            "user-in-address",
            "puts the granted host before the real one",
            url("http://api.test:PORT@evil.test:PORT/v1/page"),
        ),
        asks("path", "asks a path that is not granted", url("http://api.test:PORT/v2/page")),
        asks("path-begins-alike", "asks a path that begins like the granted one", url("http://api.test:PORT/v1x/page")),
        asks("path-climbs", "climbs out of the granted path", url("http://api.test:PORT/v1/../v2/page")),
        asks("path-climbs-encoded", "climbs with encoded dots", url("http://api.test:PORT/v1/%2e%2e/v2/page")),
        asks("path-climbs-slash", "climbs with an encoded slash", url("http://api.test:PORT/v1/..%2fv2/page")),
        asks("header-smuggled", "ends a header's line and begins another", header("x-a", "b\r\nhost: evil.test")),
        asks(
            "request-smuggled",
            "ends the request and begins another",
            header("x-a", "b\r\n\r\nGET /v2/ HTTP/1.1\r\nhost: a"),
        ),
        asks("header-host", "names another host in the header", header("host", "evil.test")),
        asks("header-transfer-encoding", "frames the body its own way", header("transfer-encoding", "chunked")),
        tries("request-past-its-cap", "sends one byte more than it may", sending(MOST + 1), 0, sending(MOST)),
        by_hand("absolute-form", "puts another server into the request line", "an absolute path"),
        by_hand("scheme-of-its-own", "names a scheme that is no scheme of the web", "another scheme"),
        by_hand("timeout-of-zero", "asks for a timeout of nothing", "a timeout"),
        by_hand("length-too-long", "sends less than the length that it says", "shorter"),
        by_hand("length-too-short", "sends more than the length that it says", "longer"),
        by_hand("trailers", "puts headers behind the body", "trailers"),
        row(Family::Http, "fields-past-their-cap", "makes more header fields than the host holds")
            .attack(|scene| fields(scene, 330), "trapped", because("size of fields exceeds limit"))
            .control(|scene| fields(scene, 100), "no-progress", got("fields")),
    ]
}

fn redirects() -> Vec<Attack> {
    let circle = Try { answer: Answer::Circle, ..honest() };
    let once = Try { answer: Answer::Redirect(302, "/v1/again".to_owned()), redirects: 1, ..honest() };
    vec![
        redirected("redirect-to-loopback", "is sent to a port of the host", "http://127.0.0.1:NOBODY/v1/page"),
        redirected("redirect-to-origin", "is sent to another server", "http://evil.test:PORT/v1/page"),
        redirected(
            "redirect-to-metadata",
            "is sent to the metadata service",
            "http://169.254.169.254/latest/meta-data/",
        ),
        redirected("redirect-to-scheme", "is sent to another scheme", "https://api.test:PORT/v1/page"),
        redirected("redirect-to-file", "is sent to a file of the host", "file:///etc/passwd"),
        redirected(
            "redirect-with-user",
            "is sent to another server behind a name",
            "http://api.test:PORT@127.0.0.1:NOBODY/",
        ),
        redirected("redirect-to-path", "is sent to a path that is not granted", "/v2/page"),
        tries("redirect-in-circles", "is sent to the same place again and again", circle, 4, once),
    ]
}

fn replies() -> Vec<Attack> {
    let raw = |text: &str| Answer::Raw(text.to_owned());
    let bytes = |count| Try { answer: Answer::Bytes(count), ..honest() };
    let headers = |count| Try { answer: Answer::Headers(count), ..honest() };
    vec![
        tries("reply-past-its-cap", "is given one byte more than it may", bytes(MOST + 1), 1, bytes(MOST)),
        tries("reply-of-headers", "is given too many headers", headers(101), 1, headers(99)),
        replied("reply-without-end", "is given pieces for ever", Answer::Endless),
        replied("header-without-end", "is given one header for ever", Answer::EndlessHeader),
        replied("reply-is-no-http", "is given something else", raw("220 ready\r\n")),
        replied(
            "reply-breaks-off",
            "is given half of a reply",
            raw("HTTP/1.1 200 So\r\ncontent-length: 9\r\n\r\nhalf"),
        ),
        replied(
            "reply-has-two-lengths",
            "is given two lengths",
            raw("HTTP/1.1 200 So\r\ncontent-length: 1\r\ncontent-length: 5\r\n\r\nhello"),
        ),
        late("reply-trickles", "is given one byte now and then", Answer::Trickle),
        late("reply-never-comes", "is given nothing", Answer::Silence),
    ]
}

fn secrets() -> Vec<Attack> {
    let with = |placement, header, url| Try { placement, header, url, ..honest() };
    let page = honest().url;
    let sent_on = |location: &str| Answer::Redirect(307, location.to_owned());
    vec![
        told_again("secret-echoed", "asks for its request back", Answer::Echo(200), in_header()),
        told_again("secret-echoed-from-query", "the same with the secret in the query", Answer::Echo(200), in_query()),
        told_again(
            "secret-in-error",
            "asks a server that fails with the secret in its words",
            Answer::Echo(500),
            in_header(),
        ),
        withheld(
            "secret-redirected",
            "is sent elsewhere with a secret",
            sent_on("http://127.0.0.1:NOBODY/v1/"),
            in_header(),
        ),
        withheld(
            "secret-in-redirect",
            "is sent elsewhere with the secret in the address",
            sent_on("http://api.test:PORT/v1/again?stolen=canary/K3y+012=%"),
            in_header(),
        ),
        withheld(
            "secret-encoded",
            "is given a reply in which nobody could find the secret",
            Answer::Raw("HTTP/1.1 200 So\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx".to_owned()),
            in_header(),
        ),
        withheld(
            "secret-in-no-http",
            "is given no reply but the secret",
            Answer::Raw(format!("{CANARY}\r\n{CANARY}")),
            in_query(),
        ),
        row(Family::Http, "secret-kept-on-the-way", "is sent on within its server, which hears the secret once")
            .attack_made(
                Try { answer: sent_on("/v1/again"), placement: in_header(), ..honest() }.made(),
                "accepted",
                fetched().and(came(2)).and(canary_came()),
            )
            .control_made(Try { placement: in_header(), ..honest() }.made(), "accepted", fetched().and(canary_came())),
        tries(
            "secret-of-its-own",
            "writes into the header of the secret",
            with(in_header(), Some(("authorization", "Basic mine")), page),
            0,
            with(in_header(), Some(("x-authorization", "Basic mine")), page),
        ),
        tries(
            "secret-of-its-own-in-query",
            "writes into the query where the secret stands",
            with(in_query(), None, "http://api.test:PORT/v1/page?k%65y=mine"),
            0,
            with(in_query(), None, "http://api.test:PORT/v1/page?other=mine"),
        ),
    ]
}
