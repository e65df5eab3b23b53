//! Servers and name servers on this machine that lie, flood, stall and echo. Each refusal stands beside an exchange that
//! succeeds.

mod addresses;
mod caps;
mod redirects;
mod secrets;
mod tls;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::rules::http::{HttpLimits, Scheme};

/// What a server does after its answer.
#[derive(Clone, Debug)]
enum Then {
    Close,
    Hang,
    /// Says this until nobody listens any more.
    Repeat(Vec<u8>),
}

/// A server that reads one request of each connection, and says what its closure says.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn new(answer: impl Fn(usize, &str) -> (Vec<u8>, Then) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&heard), Arc::new(answer));
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                tokio::spawn(serve(stream, log, move |request| answer(number, request)));
            }
        });
        Self { port, heard, task }
    }

    /// Says the same to all.
    async fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::new(move |_, _| (answer.clone(), Then::Close)).await
    }

    async fn then(answer: impl Into<Vec<u8>>, then: Then) -> Self {
        let answer = answer.into();
        Self::new(move |_, _| (answer.clone(), then.clone())).await
    }

    /// Requests, in the order in which they came.
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn url(&self, path: &str) -> String {
        format!("http://api.example:{}{path}", self.port)
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    log: Arc<Mutex<Vec<String>>>,
    answer: impl FnOnce(&str) -> (Vec<u8>, Then),
) {
    let mut request = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                break;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read @ 1..) => request.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    log.lock().unwrap().push(request.clone());
    let (bytes, then) = answer(&request);
    let _ = stream.write_all(&bytes).await;
    match then {
        Then::Close => {
            let _ = stream.shutdown().await;
        }
        Then::Hang => while let Ok(1..) = stream.read(&mut chunk).await {},
        Then::Repeat(bytes) => while stream.write_all(&bytes).await.is_ok() {},
    }
}

/// A whole reply.
fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 3\r\n\r\nno!")
}

/// A name server that gives these answers for every name, one after the other, and then the last one for ever.
struct FakeNames {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Names for FakeNames {
    async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.ok_or_else(|| io::Error::other("nobody knows this name"))
    }
}

fn names(answers: &[&[&str]]) -> Arc<FakeNames> {
    let parsed = |answer: &&[&str]| answer.iter().map(|it| it.parse().expect("an address")).collect();
    Arc::new(FakeNames { answers: Mutex::new(answers.iter().map(parsed).collect()), asked: Mutex::default() })
}

/// Every name is this machine.
fn here() -> Arc<FakeNames> {
    names(&[&["127.0.0.1"]])
}

fn web(names: Arc<FakeNames>) -> Web {
    Web::new(names, BTreeMap::new())
}

/// Everything of a server on this machine, by any of its names.
fn grant(host: &str, port: u16) -> HttpGrant {
    HttpGrant {
        methods: ["GET", "POST", "HEAD", "PUT"].map(str::to_owned).into(),
        scheme: Scheme::Http,
        host: host.into(),
        port,
        path: "/".into(),
        networks: vec!["127.0.0.0/8".into()],
        secrets: vec![],
        limits: HttpLimits { max_request_bytes: 64, max_response_bytes: 1_000, total_ms: 20_000, max_redirects: 3 },
    }
}

fn get(url: &str) -> HttpRequest {
    HttpRequest { method: "GET".into(), url: url.into(), headers: vec![], body: HttpBody::default() }
}

fn post(url: &str, body: &str) -> HttpRequest {
    HttpRequest { method: "POST".into(), body: HttpBody(body.as_bytes().to_vec()), ..get(url) }
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn exchange(request: HttpRequest, grants: &[HttpGrant]) -> Exchange {
    Exchange { id: "call-1".into(), request, grants: grants.to_vec(), max_net_bytes: 1 << 20 }
}

async fn fetched(web: &Web, request: HttpRequest, grants: &[HttpGrant]) -> Fetched {
    web.fetch(&exchange(request, grants)).await
}

async fn reply(web: &Web, request: HttpRequest, grants: &[HttpGrant]) -> HttpReply {
    fetched(web, request, grants).await.result.unwrap_or_else(|denied| panic!("{denied:?}"))
}

async fn refused(web: &Web, request: HttpRequest, grants: &[HttpGrant]) -> Refusal {
    match fetched(web, request, grants).await.result {
        Err(Denied::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

async fn failure(web: &Web, request: HttpRequest, grants: &[HttpGrant]) -> (FailureKind, String) {
    match fetched(web, request, grants).await.result {
        Err(Denied::Failed(Failure { kind, message })) => (kind, message),
        other => panic!("{other:?}"),
    }
}

fn body(reply: &HttpReply) -> &str {
    std::str::from_utf8(&reply.body.0).expect("text")
}

#[tokio::test]
async fn an_exchange_is_made_as_it_was_judged() {
    let answer = "HTTP/1.1 201 Made\r\ncontent-length: 5\r\nX-One: 1\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\
        keep-alive: 5\r\nproxy-authenticate: x\r\nx-odd: \u{e4}\r\nset-cookie: a\r\nset-cookie: b\r\n\r\nhello";
    let server = Server::saying(answer).await;
    let names = here();
    let web = web(Arc::clone(&names));
    let request = HttpRequest {
        headers: vec![header("x-mine", "a b"), header("accept", "x/y")],
        ..post(&server.url("/v1/a;b=%20c/../d?q=1&r=%26"), "body")
    };
    let fetched = fetched(&web, request, &[grant("api.example", server.port)]).await;
    let reply = fetched.result.expect("a reply");
    assert_eq!((reply.status, body(&reply), reply.redirects, fetched.net_bytes), (201, "hello", 0, 9));
    let pairs = [("content-length", "5"), ("x-one", "1"), ("x-odd", "ä"), ("set-cookie", "a"), ("set-cookie", "b")];
    assert_eq!(reply.headers, pairs.map(|(name, value)| header(name, value)));
    assert_eq!(*names.asked.lock().unwrap(), ["api.example"]);
    let heard = server.heard();
    let (first, rest) = heard[0].split_once("\r\n").expect("a request");
    assert_eq!(first, "POST /v1/d?q=1&r=%26 HTTP/1.1");
    let mut lines: Vec<&str> = rest.lines().collect();
    lines.sort_unstable();
    let host = format!("host: api.example:{}", server.port);
    let mut expected = vec!["", "accept: x/y", "body", "connection: close", "content-length: 4", &host, "x-mine: a b"];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn what_is_refused_reaches_no_name_server_and_no_server() {
    let server = Server::saying(ok("x")).await;
    let (names, port) = (here(), server.port);
    let web = web(Arc::clone(&names));
    let with = |name: &str, value: &str| HttpRequest { headers: vec![header(name, value)], ..get(&server.url("/")) };
    let secretive = HttpGrant { secrets: vec!["key".into()], ..grant("api.example", port) };
    for (request, grants) in [
        (get(&server.url("/")), vec![]),
        (get(&server.url("/")), vec![grant("other.example", port)]),
        (get(&server.url("/")), vec![secretive]),
        (with("x-a", "v\r\nhost: evil.example"), vec![grant("api.example", port)]),
        (with("x-a", "v\r\n\r\nGET /admin HTTP/1.1\r\nhost: api.example"), vec![grant("api.example", port)]),
        (with("transfer-encoding", "chunked"), vec![grant("api.example", port)]),
        (with("content-length", "0"), vec![grant("api.example", port)]),
        (with("host", "evil.example"), vec![grant("api.example", port)]),
        (get(&server.url("/\r\nx: y")), vec![grant("api.example", port)]),
        (post(&server.url("/"), &"x".repeat(65)), vec![grant("api.example", port)]),
    ] {
        let fetched = fetched(&web, request.clone(), &grants).await;
        assert!(matches!(fetched.result, Err(Denied::Refused(_))), "{request:?}: {:?}", fetched.result);
        assert_eq!(fetched.net_bytes, 0);
    }
    assert!(server.heard().is_empty() && names.asked.lock().unwrap().is_empty());
    reply(&web, with("x-a", "v"), &[grant("api.example", port)]).await;
    reply(&web, post(&server.url("/"), &"x".repeat(64)), &[grant("api.example", port)]).await;
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn an_absolute_path_is_a_path_of_the_server_that_was_judged() {
    let server = Server::saying(ok("x")).await;
    let grants = [grant("api.example", server.port)];
    for path in ["/http://evil.example/", "//evil.example/", "/@evil.example/", "/?http://evil.example/"] {
        reply(&web(here()), get(&server.url(path)), &grants).await;
        let heard = server.heard().pop().expect("a request");
        assert!(heard.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{heard}");
        assert!(heard.contains(&format!("host: api.example:{}\r\n", server.port)), "{heard}");
    }
}

#[tokio::test]
async fn nothing_was_sent_if_a_server_is_unavailable() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound").port();
    let grants = [grant("api.example", closed)];
    let request = post(&format!("http://api.example:{closed}/"), "body");
    for names in [here(), names(&[])] {
        let fetched = fetched(&web(names), request.clone(), &grants).await;
        let Err(Denied::Failed(failure)) = fetched.result else { panic!("{:?}", fetched.result) };
        assert_eq!((failure.kind, fetched.net_bytes), (FailureKind::Unavailable, 0), "{}", failure.message);
    }
    // One that hangs up has heard it.
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let server = Server::saying(answer).await;
        let request = post(&server.url("/"), "body");
        let fetched = fetched(&web(here()), request, &[grant("api.example", server.port)]).await;
        let Err(Denied::Failed(failure)) = fetched.result else { panic!("{:?}", fetched.result) };
        assert_eq!((failure.kind, fetched.net_bytes), (FailureKind::Broken, 4), "{}", failure.message);
    }
}

#[tokio::test]
async fn an_exchange_that_nobody_waits_for_closes_its_connection() {
    let server = Server::then("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", Then::Hang).await;
    let (web, exchange) = (web(here()), exchange(get(&server.url("/")), &[grant("api.example", server.port)]));
    {
        let mut fetching = pin!(web.fetch(&exchange));
        while server.heard().is_empty() {
            tokio::select! {
                fetched = &mut fetching => panic!("{:?}", fetched.result),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    // The server's task ends when its connection does; a new exchange finds nothing of the old one.
    let again = web.fetch(&Exchange { max_net_bytes: 0, ..exchange.clone() }).await;
    assert!(matches!(again.result, Err(Denied::Refused(_))));
    assert_eq!(server.heard().len(), 2);
}
