//! The door to the web: one exchange out, one whole reply back, with the bytes that it moved.
//!
//! Never: decides what may be spent, books anything, retries, uses a proxy, decodes a body, keeps a connection, sends a
//! secret across a redirect. Invariants: every request that leaves was judged, the first and each redirect, by its method,
//! its address and every address of its name; a secret is put in after that, into the first request alone, for the servers
//! that it is for; what comes back went through the scrubber of all secrets that are held; an exchange ends by its
//! deadline; of a body no more is kept than its rule and the budget allow, and never more is counted than the budget had.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};
use tracing::instrument;
use url::{Position, Url};

use super::complaint;
use super::dial::{Dial, Duplex, told};
use super::names::Names;
use super::scrub::Scrubber;
use super::secret::HeldSecret;
use crate::rules::effect::{Denied, Failure, FailureKind, Reason, Refusal};
use crate::rules::egress::{Target, invalid_header, is_of_the_host, judged};
use crate::rules::http::{HttpBody, HttpGrant, HttpReply, HttpRequest};
use crate::rules::quote::NET_SETTING;
use crate::rules::secret::Placement;

/// Headers of a reply.
pub const MAX_REPLY_HEADERS: usize = 100;
/// Bytes of a reply's headers, names and values.
pub const MAX_REPLY_HEADERS_BYTES: usize = 32 << 10;
/// Bytes that a connection holds at once: a whole head, and what of a body came with it.
const MAX_BUFFER_BYTES: usize = 64 << 10;

/// What a request keeps when it is redirected to another server: nothing that could be a word between the guest and the
/// first one.
const KEPT_ELSEWHERE: [&str; 8] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-language",
    "content-type",
    "user-agent",
];

/// One exchange, journalled before it leaves.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The call's id.
    pub id: String,
    pub request: HttpRequest,
    /// All grants of the run: each redirect is judged by them again.
    pub grants: Vec<HttpGrant>,
    /// The most bytes of bodies, sent and received over all redirects, that the budget allows.
    pub max_net_bytes: u64,
}

/// What came back, and what it cost.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// A refusal where an address or a redirect is not granted.
    pub result: Result<HttpReply, Denied>,
    /// Bytes of bodies, sent and received, as this host counted them.
    pub net_bytes: u64,
}

/// A way to the web.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Makes the exchange. Dropping the future aborts it: the connection is closed and nothing more is read.
    async fn fetch(&self, exchange: &Exchange) -> Fetched;
}

/// The web itself, with the secrets of one run. Holds them, so it has no `Debug`.
pub struct Web {
    names: Arc<dyn Names>,
    secrets: BTreeMap<String, HeldSecret>,
    scrubber: Scrubber,
    /// `None`: servers are trusted as this machine trusts them.
    tls: Option<Arc<ClientConfig>>,
}

impl Web {
    /// The secrets by the names that the grants have for them.
    pub fn new(names: Arc<dyn Names>, secrets: BTreeMap<String, HeldSecret>) -> Self {
        let scrubber = Scrubber::new(secrets.values().map(|held| &held.secret));
        Self { names, secrets, scrubber, tls: None }
    }

    /// The same, trusting other servers.
    #[cfg(test)]
    fn trusting(self, config: ClientConfig) -> Self {
        Self { tls: Some(Arc::new(super::dial::settled(config))), ..self }
    }

    /// All of an exchange. `moved` counts also if it fails.
    async fn exchange(&self, exchange: &Exchange, moved: &mut u64) -> Result<HttpReply, Denied> {
        let mut request = exchange.request.clone();
        let mut left = Left { deadline: None, response_bytes: u64::MAX, redirects: None };
        let mut redirects = 0;
        loop {
            let hop = self.prepare(exchange, &request, redirects, *moved).map_err(|denied| after(redirects, denied))?;
            left.narrow(hop.grant);
            let deadline = left.deadline.unwrap_or_else(Instant::now);
            let made = timeout_at(deadline, self.make(&hop, exchange, &left, redirects, moved)).await;
            let came = made.unwrap_or_else(|_| Err(failed(FailureKind::TimedOut, "no whole reply came in time")));
            match came.map_err(|denied| after(redirects, denied))? {
                Came::Reply(reply) => return Ok(reply),
                Came::Redirect { status, location } => {
                    if left.redirects == Some(redirects) {
                        let message = format!("the server redirects more than {redirects} times");
                        return Err(failed(FailureKind::Broken, &message));
                    }
                    request = self.redirected(request, status, &location).map_err(|denied| after(redirects, denied))?;
                    redirects += 1;
                }
            }
        }
    }

    /// Judges a request and writes it down as it will be sent.
    fn prepare<'a>(
        &'a self,
        exchange: &'a Exchange,
        request: &HttpRequest,
        redirects: u32,
        moved: u64,
    ) -> Result<Hop<'a>, Denied> {
        let (grant, target) = judged(&exchange.grants, request).map_err(Denied::Refused)?;
        let sent = request.body.0.len() as u64;
        let left = exchange.max_net_bytes.saturating_sub(moved);
        if sent > left {
            return Err(Denied::Refused(Refusal {
                reason: Reason::TooLarge,
                asked: format!("{sent} bytes of request"),
                allowed: format!("{left} bytes that the budget has left"),
                setting: "[budget] net".to_owned(),
            }));
        }
        let held = self.held(grant, &target).map_err(Denied::Refused)?;
        let carried = if redirects == 0 { held.as_slice() } else { &[] };
        let mut url = target.url().clone();
        let mut headers = written(request)?;
        // The guest has no say in what stands where a secret does, also where none is put in.
        for held in &held {
            not_of_the_guest(request, &target, &held.placement).map_err(Denied::Refused)?;
        }
        for held in carried {
            held.put(&mut url, &mut headers);
        }
        if !carried.is_empty() {
            // In a compressed reply nobody would find a secret.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let message = message(request, &target, &url, headers)?;
        Ok(Hop { grant, target, message, sent, method: request.method.clone(), plain: !carried.is_empty() })
    }

    /// The secrets of a grant, each of which is for this server.
    fn held(&self, grant: &HttpGrant, target: &Target) -> Result<Vec<&HeldSecret>, Refusal> {
        let site = target.site();
        let held = grant.secrets.iter().map(|name| match self.secrets.get(name) {
            Some(held) if held.origins.contains(&site) => Ok(held),
            Some(_) | None => Err(Refusal {
                reason: Reason::NotGranted,
                asked: format!("the secret {name:?} for {site}"),
                allowed: "secrets that the operator has for that server".to_owned(),
                setting: format!("[secrets.{name}] origins = [\"{site}\"] in the operator's file"),
            }),
        });
        held.collect()
    }

    /// Sends one request and reads what comes.
    async fn make(
        &self,
        hop: &Hop<'_>,
        exchange: &Exchange,
        left: &Left,
        redirects: u32,
        moved: &mut u64,
    ) -> Result<Came, Denied> {
        let budget = exchange.max_net_bytes.saturating_sub(*moved).saturating_sub(hop.sent);
        let dial = Dial {
            target: &hop.target,
            grant: hop.grant,
            names: &*self.names,
            tls: self.tls.as_ref(),
            deadline: left.deadline.unwrap_or_else(Instant::now),
            max_body_bytes: left.response_bytes.min(budget),
        };
        let stream: Box<dyn Duplex> = dial.connect().await?;
        // From here on something may have been sent.
        *moved = moved.saturating_add(hop.sent);
        let mut http = http1::Builder::new();
        http.max_buf_size(MAX_BUFFER_BYTES).max_headers(MAX_REPLY_HEADERS);
        let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let reading = async {
            let response = sender.send_request(hop.message.clone()).await.map_err(|error| broken(&error))?;
            check_head(&response, hop.plain)?;
            if let Some(location) = location(&response).filter(|_| left.redirects != Some(0)) {
                return Ok(Came::Redirect { status: response.status().as_u16(), location });
            }
            read(response, hop, left.response_bytes, budget, moved, redirects).await.map(Came::Reply)
        };
        let mut reading = pin!(reading);
        tokio::select! {
            biased;
            came = &mut reading => came,
            // Whatever ended the connection, what of the reply came before is still there.
            _ = connection => reading.await,
        }
    }

    /// The request that a redirect asks for.
    fn redirected(&self, request: HttpRequest, status: u16, location: &str) -> Result<HttpRequest, Denied> {
        if self.scrubber.finds(location.as_bytes()) {
            return Err(failed(FailureKind::Rejected, "the server redirects to an address with a secret in it"));
        }
        // What a parser would drop or turn into something else is not worth guessing about.
        let plain = location.bytes().all(|byte| byte.is_ascii_graphic()) && !location.contains('\\');
        let old = Url::parse(&request.url).ok();
        let new = old.as_ref().filter(|_| plain).and_then(|old| old.join(location).ok());
        let (Some(old), Some(mut new)) = (old, new) else {
            return Err(Denied::Refused(Refusal {
                reason: Reason::Invalid,
                asked: format!("a redirect to {:?}", location.chars().take(200).collect::<String>()),
                allowed: "an address in visible ASCII without a backslash".to_owned(),
                setting: "none: the server's own answer".to_owned(),
            }));
        };
        new.set_fragment(None);
        let HttpRequest { mut method, mut headers, mut body, .. } = request;
        let becomes_get = match status {
            303 => method != "HEAD",
            301 | 302 => method == "POST",
            _ => false,
        };
        if becomes_get {
            method = "GET".to_owned();
            body = HttpBody::default();
            headers.retain(|(name, _)| !name.starts_with("content-"));
        }
        if old.origin() != new.origin() {
            headers.retain(|(name, _)| KEPT_ELSEWHERE.contains(&name.as_str()));
        }
        Ok(HttpRequest { method, url: new.into(), headers, body })
    }

    /// The same without the secrets that are held.
    fn scrubbed(&self, reply: HttpReply) -> HttpReply {
        let HttpReply { status, headers, body, redirects } = reply;
        let bytes = body.0.len();
        let body = HttpBody(self.scrubber.bytes(body.0));
        let changed = body.0.len() != bytes;
        let kept = headers.into_iter().filter(|(name, _)| {
            let lies = changed && name == header::CONTENT_LENGTH.as_str();
            !lies && !self.scrubber.finds(name.as_bytes())
        });
        let headers = kept.map(|(name, value)| (name, self.scrubber.text(value))).collect();
        HttpReply { status, headers, body, redirects }
    }

    fn scrubbed_no(&self, denied: Denied) -> Denied {
        match denied {
            Denied::Refused(Refusal { reason, asked, allowed, setting }) => {
                let [asked, allowed, setting] = [asked, allowed, setting].map(|text| self.scrubber.text(text));
                Denied::Refused(Refusal { reason, asked, allowed, setting })
            }
            // The secret first: a cut could leave a part of it.
            Denied::Failed(Failure { kind, message }) => {
                Denied::Failed(Failure { kind, message: complaint::clean(&self.scrubber.text(message)) })
            }
        }
    }
}

#[async_trait]
impl Fetch for Web {
    #[instrument(skip_all, fields(call = %exchange.id))]
    async fn fetch(&self, exchange: &Exchange) -> Fetched {
        let mut net_bytes = 0;
        let result = self.exchange(exchange, &mut net_bytes).await;
        let result = match result {
            Ok(reply) => Ok(self.scrubbed(reply)),
            Err(denied) => Err(self.scrubbed_no(denied)),
        };
        Fetched { result, net_bytes }
    }
}

/// One request of an exchange, judged and written down.
struct Hop<'a> {
    grant: &'a HttpGrant,
    target: Target,
    message: Request<Full<Bytes>>,
    method: String,
    /// Bytes of its body.
    sent: u64,
    /// Whether the reply must not be compressed.
    plain: bool,
}

/// What came for one request.
enum Came {
    Reply(HttpReply),
    /// To be followed.
    Redirect {
        status: u16,
        location: String,
    },
}

/// What the rules of all requests so far leave.
struct Left {
    deadline: Option<Instant>,
    response_bytes: u64,
    /// Said by the first rule alone.
    redirects: Option<u32>,
}

impl Left {
    fn narrow(&mut self, grant: &HttpGrant) {
        let limits = &grant.limits;
        let deadline = Instant::now() + Duration::from_millis(limits.total_ms);
        self.deadline = Some(self.deadline.map_or(deadline, |before| before.min(deadline)));
        self.response_bytes = self.response_bytes.min(limits.max_response_bytes);
        self.redirects = self.redirects.or(Some(limits.max_redirects));
    }
}

impl HeldSecret {
    /// Puts it into a request that was judged.
    fn put(&self, url: &mut Url, headers: &mut HeaderMap) {
        match &self.placement {
            Placement::Header { name, prefix } => {
                let value = zeroize::Zeroizing::new(format!("{prefix}{}", self.secret.reveal()));
                let (name, value) = (HeaderName::try_from(name), HeaderValue::from_str(&value));
                // Both were checked where they were read; one that is wrong all the same is left out, never cut.
                if let (Ok(name), Ok(mut value)) = (name, value) {
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
            }
            Placement::Query { name } => {
                url.query_pairs_mut().append_pair(name, self.secret.reveal());
            }
        }
    }
}

/// Refuses what the guest itself wrote to the place of a secret: a server could take either.
fn not_of_the_guest(request: &HttpRequest, target: &Target, placement: &Placement) -> Result<(), Refusal> {
    let (there, what) = match placement {
        Placement::Header { name, .. } => (request.headers.iter().any(|(other, _)| other == name), "header"),
        Placement::Query { name } => (target.url().query_pairs().any(|(other, _)| other == *name), "key of the query"),
    };
    match placement {
        Placement::Header { name, .. } | Placement::Query { name } if there => {
            Err(invalid_header(&format!("the {what} {name:?}"), "what the host puts there, a secret"))
        }
        Placement::Header { .. } | Placement::Query { .. } => Ok(()),
    }
}

/// The guest's headers.
fn written(request: &HttpRequest) -> Result<HeaderMap, Denied> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let pair = HeaderName::try_from(name).ok().zip(HeaderValue::from_str(value).ok());
        let Some((name, value)) = pair else {
            return Err(Denied::Refused(invalid_header(&format!("the header {name:?}"), "a name and one line")));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// The message as it goes over the wire: to the server that was judged, which is named beside the path and never in it.
fn message(
    request: &HttpRequest,
    target: &Target,
    url: &Url,
    mut headers: HeaderMap,
) -> Result<Request<Full<Bytes>>, Denied> {
    let unsendable = || Denied::Refused(invalid_header("an address that cannot be sent", "a path and a query"));
    let path = PathAndQuery::try_from(&url[Position::BeforePath..Position::AfterQuery]).map_err(|_| unsendable())?;
    let site = target.site();
    let host = match url.port() {
        Some(port) => format!("{}:{port}", site.host),
        None => site.host,
    };
    headers.insert(header::HOST, HeaderValue::try_from(host).map_err(|_| unsendable())?);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut message = Request::new(Full::new(Bytes::from(request.body.0.clone())));
    *message.method_mut() = Method::from_bytes(request.method.as_bytes()).map_err(|_| unsendable())?;
    *message.uri_mut() = Uri::from(path);
    *message.headers_mut() = headers;
    Ok(message)
}

/// Holds a reply's head against its caps.
fn check_head(response: &Response<Incoming>, plain: bool) -> Result<(), Denied> {
    let headers = response.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_REPLY_HEADERS_BYTES {
        let message = format!("the reply has {bytes} bytes of headers, and at most {MAX_REPLY_HEADERS_BYTES} are read");
        return Err(failed(FailureKind::Broken, &message));
    }
    if response.status().is_informational() {
        return Err(failed(FailureKind::Broken, "the server switches to another protocol, unasked"));
    }
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    if plain && encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let message = "the reply to a request with a secret is encoded, so that nobody could find the secret in it";
        return Err(failed(FailureKind::Broken, message));
    }
    Ok(())
}

/// Where a reply sends the one who asked.
fn location(response: &Response<Incoming>) -> Option<String> {
    match response.status().as_u16() {
        301 | 302 | 303 | 307 | 308 => response.headers().get(header::LOCATION).map(text),
        _ => None,
    }
}

/// Reads a body to its end, or to its cap.
async fn read(
    response: Response<Incoming>,
    hop: &Hop<'_>,
    most: u64,
    budget: u64,
    moved: &mut u64,
    redirects: u32,
) -> Result<HttpReply, Denied> {
    let too_long = || match most <= budget {
        true => failed(FailureKind::Broken, &format!("the reply is longer than {most} bytes")),
        // The gate knows whose budget it is.
        false => Denied::Refused(Refusal {
            reason: Reason::TooLarge,
            asked: format!("a reply of more than {budget} bytes"),
            allowed: format!("{budget} bytes, which is all that the budget has left"),
            setting: NET_SETTING.to_owned(),
        }),
    };
    let (head, mut body) = response.into_parts();
    let said = head.headers.get(header::CONTENT_LENGTH).and_then(|said| said.to_str().ok()?.parse::<u64>().ok());
    if hop.method != "HEAD" && said.is_some_and(|said| said > most.min(budget)) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            failed(FailureKind::Broken, &format!("the reply broke off after {} bytes: {}", bytes.len(), told(&error)))
        })?;
        let Some(data) = frame.data_ref() else { continue };
        // What of the last piece is beyond the budget was never taken: no server can overdraw it.
        let taken = (data.len() as u64).min(budget.saturating_sub(bytes.len() as u64));
        *moved = moved.saturating_add(taken);
        if (bytes.len() + data.len()) as u64 > most.min(budget) {
            return Err(too_long());
        }
        bytes.extend_from_slice(data);
    }
    let headers = kept(&head.headers);
    Ok(HttpReply { status: head.status.as_u16(), headers, body: HttpBody(bytes), redirects })
}

/// The headers without those of the connection, which ended here.
fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let of_connection: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| text(value).split(',').map(|name| name.trim().to_ascii_lowercase()).collect::<Vec<_>>())
        .collect();
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| {
        let length = *name == header::CONTENT_LENGTH.as_str();
        length || !(is_of_the_host(name) || of_connection.iter().any(|other| other == name))
    });
    pairs.map(|(name, value)| (name.to_owned(), text(value))).collect()
}

/// A value as text; one that is no UTF-8 as the letters that its bytes are in Latin-1, which is what HTTP once said.
fn text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// A no that came after redirects says so.
fn after(redirects: u32, denied: Denied) -> Denied {
    let times = match redirects {
        0 => return denied,
        1 => "after a redirect".to_owned(),
        _ => format!("after {redirects} redirects"),
    };
    match denied {
        Denied::Refused(refusal) => {
            Denied::Refused(Refusal { asked: format!("{times}, {}", refusal.asked), ..refusal })
        }
        Denied::Failed(Failure { kind, message }) => {
            Denied::Failed(Failure { kind, message: format!("{times}: {message}") })
        }
    }
}

fn failed(kind: FailureKind, message: &str) -> Denied {
    Denied::Failed(Failure { kind, message: message.to_owned() })
}

fn broken(error: &hyper::Error) -> Denied {
    failed(FailureKind::Broken, &format!("the exchange broke off: {}", told(error)))
}

#[cfg(test)]
mod tests;
