//! A web without a network: answers what the test says, and keeps to the bounds that the host sets as the real door does.

use std::sync::Mutex;

use async_trait::async_trait;
use jidoka::doors::fetch::{Exchange, Fetch, Fetched};
use jidoka::rules::effect::{Denied, Failure, FailureKind};
use jidoka::rules::http::{HttpBody, HttpGrant, HttpLimits, HttpReply, HttpRequest, Scheme, judge};
use tokio::sync::watch;

/// Where the fake web is.
pub const AT: &str = "http://web.test:8080";

/// Bytes of the piece in which the door sees that a reply is too long.
const OVER_BYTES: u64 = 7;

/// What is answered to a request.
pub struct Page {
    result: Result<HttpReply, Denied>,
    /// Exchanges that end before this one does.
    after: usize,
}

impl Page {
    /// A reply with status 200.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
        Self::reply(HttpReply { status: 200, headers, body: HttpBody(body.into()), redirects: 0 })
    }

    /// A reply.
    pub fn reply(reply: HttpReply) -> Self {
        Self { result: Ok(reply), after: 0 }
    }

    /// No reply.
    pub fn denied(denied: Denied) -> Self {
        Self { result: Err(denied), after: 0 }
    }

    /// No reply before so many other exchanges have ended.
    pub fn after(mut self, exchanges: usize) -> Self {
        self.after = exchanges;
        self
    }

    /// No reply ever.
    pub fn never() -> Self {
        Self::ok("").after(usize::MAX)
    }
}

type Answer = Box<dyn Fn(&HttpRequest) -> Page + Send + Sync>;

/// The web.
pub struct FakeWeb {
    answer: Answer,
    begun: Mutex<Vec<HttpRequest>>,
    ended: watch::Sender<usize>,
    /// Runs after a request is begun and before it is answered.
    before: Box<dyn Fn() + Send + Sync>,
}

impl FakeWeb {
    /// A web that answers like this.
    pub fn new(answer: impl Fn(&HttpRequest) -> Page + Send + Sync + 'static) -> Self {
        let ended = watch::Sender::new(0);
        Self { answer: Box::new(answer), begun: Mutex::default(), ended, before: Box::new(|| {}) }
    }

    /// Does this once a request was sent.
    pub fn before(mut self, before: impl Fn() + Send + Sync + 'static) -> Self {
        self.before = Box::new(before);
        self
    }

    /// Every request that was sent, in the order in which they were.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.begun.lock().expect("nobody panicked").clone()
    }

    /// The same, as `METHOD URL BODY`.
    pub fn asked(&self) -> Vec<String> {
        let shown = |request: &HttpRequest| {
            let body = String::from_utf8_lossy(&request.body.0).into_owned();
            format!("{} {} {body}", request.method, request.url).trim_end().to_owned()
        };
        self.requests().iter().map(shown).collect()
    }
}

#[async_trait]
impl Fetch for FakeWeb {
    async fn fetch(&self, exchange: &Exchange) -> Fetched {
        self.begun.lock().expect("nobody panicked").push(exchange.request.clone());
        (self.before)();
        let Page { result, after } = (self.answer)(&exchange.request);
        let mut ended = self.ended.subscribe();
        ended.wait_for(|ended| *ended >= after).await.expect("the web is there");
        let fetched = bounded(exchange, result);
        self.ended.send_modify(|ended| *ended += 1);
        fetched
    }
}

/// As much of the reply as grant and budget allow.
fn bounded(exchange: &Exchange, result: Result<HttpReply, Denied>) -> Fetched {
    let sent = exchange.request.body.0.len() as u64;
    let grant = judge(&exchange.grants, &exchange.request).expect("the gate judged it");
    let reply = match result {
        Ok(reply) => reply,
        Err(denied) => return Fetched { result: Err(denied), net_bytes: sent },
    };
    let most = grant.limits.max_response_bytes.min(exchange.max_net_bytes - sent);
    let bytes = reply.body.0.len() as u64;
    if bytes <= most {
        return Fetched { result: Ok(reply), net_bytes: sent + bytes };
    }
    let message = format!("the reply has more than {most} bytes");
    let result = Err(Denied::Failed(Failure { kind: FailureKind::Broken, message }));
    // The end of a bound is seen in the piece that is over it.
    Fetched { result, net_bytes: sent + most + OVER_BYTES }
}

/// A grant of the fake web, with these methods below this path.
pub fn grant(methods: &[&str], path: &str) -> HttpGrant {
    HttpGrant {
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        scheme: Scheme::Http,
        host: "web.test".to_owned(),
        port: 8080,
        path: path.to_owned(),
        networks: vec![],
        secrets: vec![],
        limits: HttpLimits {
            max_request_bytes: 64 << 10,
            max_response_bytes: 64 << 10,
            total_ms: 10_000,
            max_redirects: 0,
        },
    }
}
