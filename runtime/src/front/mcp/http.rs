//! The server over HTTP: connections, who may speak, and how much.
//!
//! Never: lets a request through without the token, or from a foreign `Host` or `Origin`; reads a body beyond its cap; serves
//! strangers of the network unless it was told to; keeps a connection for ever. Invariants: what a connection is refused for
//! is said before it is closed; the server ends in a bounded time, whatever its clients do.
//!
//! `Host` and `Origin` are what a page of the web cannot forge: a browser that was lured here brings the page's own
//! (<https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::handler::{Handler, Shared};
use super::sessions::Sessions;
use super::token::Token;
use super::{GOODBYE, MAX_MESSAGE_BYTES, ServeError, Served};

/// Connections at once. Each may have a body in memory, so all of them have at most 512 MiB.
pub const MOST_CONNECTIONS: usize = 128;

/// Bytes of the head of a request: twice what a long token needs.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Lines of a head.
const MOST_HEADERS: usize = 64;

/// Where the protocol is spoken.
const PATH: &str = "/mcp";

/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// How long nothing is accepted after the machine could not: it is out of descriptors, and would say so again at once. And
/// how long the ends of streams may take to be sent.
const BREATH: Duration = Duration::from_millis(100);

/// How the server is reached, and by whom.
pub struct HttpServe {
    /// Bound by whoever has that authority.
    pub listener: TcpListener,
    pub entry: Entry,
    pub reach: Reach,
    /// Names that clients may call this server by in `Host` and `Origin`, beside those of this machine.
    pub names: Vec<String>,
    pub times: Times,
}

/// Who may enter.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Whoever brings it.
    Token(Token),
    /// Every process of this machine. Not for an address that others reach.
    ThisMachine,
}

/// Whence it can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// From this machine: another address is refused.
    Loopback,
    /// From wherever the address leads.
    Anywhere,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Until a head is whole, from when the connection began or the answer before it ended.
    pub head: Duration,
    /// Until a body is whole.
    pub body: Duration,
    /// A connection, in all. A client whose answer takes longer opens another.
    pub connection: Duration,
    /// A session in which nothing is said.
    pub session: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(15),
            body: Duration::from_secs(30),
            connection: Duration::from_secs(2 * 60 * 60),
            session: Duration::from_secs(60 * 60),
        }
    }
}

/// Why nothing is served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HttpError {
    #[error("the address {0} is not of this machine alone; allow it with --listen-anywhere, or use 127.0.0.1")]
    Strangers(SocketAddr),
    #[error(
        "the address {0} is reached by others, and no token is asked for; a token may be left out on 127.0.0.1 only"
    )]
    NoToken(SocketAddr),
    #[error("the listener has no address: {0}")]
    Address(#[source] std::io::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

struct Door {
    service: StreamableHttpService<Handler, Sessions>,
    sessions: Arc<Sessions>,
    entry: Entry,
    times: Times,
}

/// Serves clients until `end` comes. What still runs then is given up, and its clients are told.
///
/// # Errors
/// [`HttpError`], before anything is served.
pub async fn http(
    served: Arc<dyn Served>,
    serve: HttpServe,
    end: impl Future<Output = ()> + Send,
) -> Result<(), HttpError> {
    let HttpServe { listener, entry, reach, names, times } = serve;
    let address = listener.local_addr().map_err(HttpError::Address)?;
    if !address.ip().is_loopback() {
        match (reach, &entry) {
            (Reach::Loopback, _) => return Err(HttpError::Strangers(address)),
            (Reach::Anywhere, Entry::ThisMachine) => return Err(HttpError::NoToken(address)),
            (Reach::Anywhere, Entry::Token(_)) => {}
        }
    }
    let shared = Shared::new(served)?;
    let sessions = Arc::new(Sessions::new(times.session));
    let config = config(address, &names, shared.closing.clone());
    let factory = {
        let shared = Arc::clone(&shared);
        move || Ok(Handler::new(Arc::clone(&shared)))
    };
    let service = StreamableHttpService::new(factory, Arc::clone(&sessions), config);
    let door = Arc::new(Door { service, sessions, entry, times });
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut end = std::pin::pin!(end);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut end => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let (door, ending) = (Arc::clone(&door), shared.ending.clone());
                connections.spawn(async move {
                    connection(stream, door, ending).await;
                    drop(place);
                });
            }
            Err(_) => turn_away(&stream),
        }
    }
    drop(listener);
    // Each call answers that it was given up; each connection ends with the answer that it is at.
    shared.ending.cancel();
    let _ = timeout(GOODBYE, async { while connections.join_next().await.is_some() {} }).await;
    // What is left listens for news, which end now, or does not read.
    shared.closing.cancel();
    shared.tasks.end();
    let _ = timeout(BREATH, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
    Ok(())
}

fn config(address: SocketAddr, names: &[String], closing: CancellationToken) -> StreamableHttpServerConfig {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).into();
    hosts.extend(names.iter().cloned());
    if !address.ip().is_unspecified() && !address.ip().is_loopback() {
        hosts.push(match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        });
    }
    let origins = hosts.iter().flat_map(|host| [format!("http://{host}:*"), format!("https://{host}:*")]);
    StreamableHttpServerConfig::default()
        .with_allowed_origins(origins.collect::<Vec<_>>())
        .enforce_origin_validation()
        .with_allowed_hosts(hosts)
        .with_max_request_body_bytes(MAX_MESSAGE_BYTES)
        .with_cancellation_token(closing)
}

/// Serves a connection to its end.
async fn connection(stream: TcpStream, door: Arc<Door>, ending: CancellationToken) {
    let total = door.times.connection;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(door.times.head)
        .max_headers(MOST_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    let service = service_fn(move |request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(door.answer(request).await) }
    });
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = timeout(total, async {
        tokio::select! {
            served = serving.as_mut() => served,
            () = ending.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.as_mut().await
            }
        }
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a connection ended: {error}"),
        Err(_) => tracing::debug!("a connection was ended after {} s", total.as_secs()),
    }
}

/// Says that there is no place. A client that does not listen has not heard it.
fn turn_away(stream: &TcpStream) {
    let words = format!("{MOST_CONNECTIONS} connections are open, which is the most\n");
    let length = words.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\
         connection: close\r\nretry-after: 1\r\n\r\n{words}"
    );
    let _ = stream.try_write(answer.as_bytes());
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() != PATH {
            return said(StatusCode::NOT_FOUND, format!("the protocol is spoken at {PATH}"));
        }
        if let Entry::Token(token) = &self.entry {
            let mut brought = request.headers().get_all(AUTHORIZATION).iter();
            let is_right = brought.next().is_some_and(|header| token.is_brought_by(header.as_bytes()));
            if !is_right || brought.next().is_some() {
                let mut refused = said(StatusCode::UNAUTHORIZED, "a bearer token is needed, and this is not it");
                refused.headers_mut().insert(WWW_AUTHENTICATE, hyper::header::HeaderValue::from_static("Bearer"));
                return refused;
            }
        }
        let (head, body) = request.into_parts();
        let body = match timeout(self.times.body, Limited::new(body, MAX_MESSAGE_BYTES).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let words = format!("the message is larger than {MAX_MESSAGE_BYTES} bytes, which is the most");
                return said(StatusCode::PAYLOAD_TOO_LARGE, words);
            }
            Ok(Err(_)) => return said(StatusCode::BAD_REQUEST, "the message did not come whole"),
            Err(_) => return said(StatusCode::REQUEST_TIMEOUT, "the message did not come in time"),
        };
        let begins = !head.headers.contains_key(SESSION);
        let mut answer = self.service.handle(Request::from_parts(head, Full::new(body))).await;
        // The library knows no other word for a session that could not be made.
        if begins && answer.status() == StatusCode::INTERNAL_SERVER_ERROR && self.sessions.are_full().await {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    }
}

fn said(status: StatusCode, words: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(words.into() + "\n")).boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain"));
    answer
}
