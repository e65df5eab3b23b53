//! A language model behind HTTP: one request, one response, read only as far as the caps allow.
//!
//! Never: follows a redirect, uses a proxy, waits and retries, speaks plain `http` off this machine, shows the key. Invariants:
//! an exchange ends within its timeouts and its byte cap; a request is sent once, and a second time only if the server refused
//! a part of it, free of charge, that can be said otherwise (the name of its cap, the asking for reasoning); [`Metered::Exact`]
//! of zero is said only where no model can have run; what leaves here as text went through the key's scrubber. A count of a
//! request's input obeys the same rules.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use thiserror::Error;
use tokio::time::Instant;
use tracing::instrument;

use super::client::{self, ClientError, Patience, reason};
use super::clock::Clock;
use super::complaint::{self, Complaint};
use super::encode::{self, EncodeError};
use super::fold::{Fold, Folded};
use super::model::{COUNT_RESPONSE_BYTES, Call, Counted, Model, Received};
use super::rates::RateNews;
use super::secret::Secret;
use super::{anthropic, openai, responses};
use crate::rules::effect::{Failure, FailureKind};
use crate::rules::model::{Metered, Request, Usage};
use crate::rules::spec::{Auth, CapField, Dialect, Provider};

/// Bytes read of an error reply: enough for any reason, too few to be a flood.
const ERROR_BYTES: u64 = 64 << 10;

/// A provider and its client. Holds the key, so it has no `Debug`.
pub struct HttpModel {
    client: Client,
    endpoint: Url,
    /// Only the Anthropic dialect has one.
    count_endpoint: Option<Url>,
    provider: Provider,
    key: Option<Secret>,
    clock: Option<Clock>,
    /// Whether the server asked for the other field of the cap.
    other_cap: AtomicBool,
    /// Whether the server refused to be asked for reasoning.
    is_plain: AtomicBool,
    /// Which provider it is, to those who must not know its address: what came from it goes back to it alone.
    name: String,
}

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HttpModelError {
    #[error("use the provider's url: it is not an absolute http or https address")]
    NotAnAddress,
    #[error("use the provider's url: it has a user, a query or a fragment, which a base address cannot have")]
    NotABase,
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl HttpModel {
    pub fn new(provider: &Provider, key: Option<Secret>) -> Result<Self, HttpModelError> {
        let (path, count_path) = match provider.dialect {
            Dialect::Openai => (openai::PATH, None),
            Dialect::Anthropic => (anthropic::PATH, Some(anthropic::COUNT_PATH)),
            Dialect::Responses => (responses::PATH, None),
        };
        let endpoint = endpoint(provider, path)?;
        let count_endpoint = count_path.map(|path| self::endpoint(provider, path)).transpose()?;
        let limits = provider.limits;
        let patience = Patience {
            connect: Duration::from_millis(limits.connect_ms),
            idle: Duration::from_millis(limits.idle_ms),
            total: Duration::from_millis(limits.total_ms),
        };
        let client = client::client(&endpoint, patience)?;
        let (other_cap, is_plain) = (AtomicBool::new(false), AtomicBool::new(!responses::reasons(&provider.model)));
        let name = blake3::hash(format!("{endpoint} {}", provider.model).as_bytes()).to_hex()[..16].to_owned();
        let provider = provider.clone();
        Ok(Self { client, endpoint, count_endpoint, provider, key, other_cap, is_plain, name, clock: None })
    }

    /// The same with the host's clock, for times that a server names without its own.
    #[must_use]
    pub fn at(self, clock: Clock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    fn encode(&self, request: &Request, field: CapField) -> Result<Vec<u8>, EncodeError> {
        let Provider { model, stream, .. } = &self.provider;
        let mut body = match self.provider.dialect {
            Dialect::Openai => openai::encode(request, model, &self.name, field, *stream)?,
            Dialect::Anthropic => anthropic::encode(request, model, &self.name, *stream)?,
            Dialect::Responses => {
                let way = responses::Way { stream: *stream, reasoning: !self.is_plain.load(Ordering::Relaxed) };
                responses::encode(request, model, &self.name, way)?
            }
        };
        encode::put_sampling(&mut body, &self.provider);
        Ok(body.to_string().into_bytes())
    }

    /// What the cap is called: as the operator says, or by the model's name until the server asks for the other.
    fn cap_field(&self) -> CapField {
        let named = openai::cap_field(&self.provider.model);
        match self.provider.cap_field {
            Some(field) => field,
            None if self.other_cap.load(Ordering::Relaxed) => named.other(),
            None => named,
        }
    }

    fn encode_count(&self, request: &Request) -> Result<Vec<u8>, EncodeError> {
        Ok(anthropic::encode_count(request, &self.provider.model, &self.name)?.to_string().into_bytes())
    }

    fn request(&self, endpoint: &Url, id: &str, body: Vec<u8>) -> RequestBuilder {
        let mut request = self
            .client
            .post(endpoint.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .header("x-client-request-id", id)
            .body(body);
        if self.provider.dialect == Dialect::Anthropic {
            request = request.header("anthropic-version", anthropic::VERSION);
        }
        for (name, value) in &self.provider.headers {
            request = request.header(name, value);
        }
        let Some(key) = &self.key else { return request };
        for auth in self.auth() {
            let (name, value) = match auth {
                Auth::Bearer => (AUTHORIZATION.as_str(), format!("Bearer {}", key.reveal())),
                Auth::XApiKey => ("x-api-key", key.reveal().to_owned()),
                Auth::ApiKey => ("api-key", key.reveal().to_owned()),
            };
            let mut value = HeaderValue::try_from(value).expect("a secret is made of visible ASCII characters");
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        request
    }

    /// How the key is sent: as the operator says, or as whoever has this address wants it. Servers that speak Anthropic's
    /// dialect and are not Anthropic's want one of two.
    fn auth(&self) -> &'static [Auth] {
        let host = self.endpoint.host_str().unwrap_or_default();
        match (self.provider.auth, self.provider.dialect) {
            (Some(Auth::Bearer), _) => &[Auth::Bearer],
            (Some(Auth::XApiKey), _) => &[Auth::XApiKey],
            (Some(Auth::ApiKey), _) => &[Auth::ApiKey],
            (None, Dialect::Openai | Dialect::Responses) if host.ends_with(".azure.com") => &[Auth::ApiKey],
            (None, Dialect::Openai | Dialect::Responses) => &[Auth::Bearer],
            (None, Dialect::Anthropic) if host.ends_with(".anthropic.com") => &[Auth::XApiKey],
            (None, Dialect::Anthropic) => &[Auth::XApiKey, Auth::Bearer],
        }
    }

    async fn exchange(&self, call: &Call) -> Exchange {
        let field = self.cap_field();
        // As this request is sent: another one may hear of it meanwhile.
        let is_plain = self.is_plain.load(Ordering::Relaxed);
        let first = self.exchange_once(call, field).await;
        let left = call.max_response_bytes.saturating_sub(first.net_bytes);
        let other = match self.provider.dialect {
            Dialect::Openai if self.provider.cap_field.is_none() && first.wants(field) => field.other(),
            Dialect::Responses if !is_plain && first.wants_no_reasoning() => field,
            Dialect::Openai | Dialect::Anthropic | Dialect::Responses => return first,
        };
        // What was sent for nothing is paid for with what the answer may have.
        if left < first.net_bytes {
            return first;
        }
        match self.provider.dialect {
            Dialect::Responses => self.is_plain.store(true, Ordering::Relaxed),
            Dialect::Openai | Dialect::Anthropic => {
                self.other_cap.store(other != openai::cap_field(&self.provider.model), Ordering::Relaxed);
            }
        }
        let second = self.exchange_once(&Call { max_response_bytes: left, ..call.clone() }, other).await;
        Exchange { net_bytes: first.net_bytes.saturating_add(second.net_bytes), ..second }
    }

    async fn exchange_once(&self, call: &Call, field: CapField) -> Exchange {
        let body = match self.encode(&call.request, field) {
            Ok(body) => body,
            Err(error) => return Exchange::nothing_sent(unencodable(error)),
        };
        let sent = body.len() as u64;
        let mut response = match self.request(&self.endpoint, &call.id, body).send().await {
            Ok(response) => response,
            Err(error) => match Unanswered::from(error) {
                Unanswered::NothingSent(failure) => return Exchange::nothing_sent(failure),
                Unanswered::Interrupted(failure) => {
                    return Exchange { folded: unknown(failure), net_bytes: sent, rates: RateNews::default() };
                }
            },
        };
        let (rates, said) = (self.rates(&response), Instant::now());
        let (folded, received) = match response.status() {
            StatusCode::OK => self.read_reply(&mut response, call).await,
            status => self.read_complaint(&mut response, call, status).await,
        };
        Exchange { folded, net_bytes: sent.saturating_add(received), rates: RateNews { age: said.elapsed(), ..rates } }
    }

    /// A count at its endpoint. Not scrubbed yet.
    async fn counted(&self, endpoint: &Url, call: &Call) -> Counted {
        let body = match self.encode_count(&call.request) {
            Ok(body) => body,
            Err(error) => return Counted { result: Err(unencodable(error)), net_bytes: 0 },
        };
        let sent = body.len() as u64;
        let mut response = match self.request(endpoint, &call.id, body).send().await {
            Ok(response) => response,
            Err(error) => {
                return match Unanswered::from(error) {
                    Unanswered::NothingSent(failure) => Counted { result: Err(failure), net_bytes: 0 },
                    Unanswered::Interrupted(failure) => Counted { result: Err(failure), net_bytes: sent },
                };
            }
        };
        let mut meter = self.meter(call, COUNT_RESPONSE_BYTES);
        let result = match response.status() {
            StatusCode::OK => meter.read_all(&mut response).await.and_then(|body| anthropic::counted(&body)),
            status => Err(meter.complaint(&mut response, status).await.failure),
        };
        Counted { result, net_bytes: sent.saturating_add(meter.bytes) }
    }

    fn rates(&self, response: &Response) -> RateNews {
        let names = match self.provider.dialect {
            Dialect::Openai | Dialect::Responses => &openai::RATE_HEADERS,
            Dialect::Anthropic => &anthropic::RATE_HEADERS,
        };
        let now = self.clock.map(|clock| Duration::from_millis(clock.unix_ms()));
        RateNews::read(response.headers(), names, now)
    }

    /// Also the bytes of the body that were read.
    async fn read_reply(&self, response: &mut Response, call: &Call) -> (Folded, u64) {
        let fold = Fold::new(self.provider.dialect, &self.name, call.request.max_output);
        let mut fold = fold.with_headers(response.headers());
        let mut meter = self.meter(call, u64::MAX);
        let folded = loop {
            match meter.read(response).await {
                Ok(Some(bytes)) => match fold.push(bytes.as_ref()) {
                    ControlFlow::Continue(()) => {}
                    ControlFlow::Break(()) => break fold.finish(),
                },
                Ok(None) => break fold.finish(),
                Err(failure) => break fold.cut(failure),
            }
        };
        (folded, meter.bytes)
    }

    /// A status other than 200, and the bytes of the body that were read.
    async fn read_complaint(&self, response: &mut Response, call: &Call, status: StatusCode) -> (Folded, u64) {
        let mut meter = self.meter(call, ERROR_BYTES);
        let Complaint { failure, is_free } = meter.complaint(response, status).await;
        let folded = match is_free {
            true => Folded { metered: Metered::Exact(Usage::default()), ..unknown(failure) },
            false => unknown(failure),
        };
        (folded, meter.bytes)
    }

    fn meter(&self, call: &Call, cap: u64) -> Meter {
        Meter { bytes: 0, cap: cap.min(self.provider.limits.max_response_bytes).min(call.max_response_bytes) }
    }

    fn scrub(&self, text: String) -> String {
        match &self.key {
            Some(key) => key.scrub(text),
            None => text,
        }
    }

    fn scrub_failure(&self, Failure { kind, message }: Failure) -> Failure {
        // The key first: a cut could leave a part of it.
        Failure { kind, message: complaint::clean(&self.scrub(message)) }
    }
}

#[async_trait]
impl Model for HttpModel {
    fn request_bytes(&self, request: &Request) -> u64 {
        // What cannot be encoded is refused by `ask` and sends nothing.
        self.encode(request, self.cap_field()).map_or(0, |body| body.len() as u64)
    }

    fn uses_network(&self) -> bool {
        true
    }

    #[instrument(skip_all, fields(call = %call.id, model = %self.provider.model))]
    async fn ask(&self, call: &Call) -> Received {
        let Exchange { folded, net_bytes, rates } = self.exchange(call).await;
        let result = match folded.result {
            Ok(mut reply) => {
                reply.text = self.scrub(reply.text);
                reply.refusal = reply.refusal.map(|words| self.scrub(words));
                reply.provider_state = reply.provider_state.map(|state| self.scrub(state));
                for call in &mut reply.tool_calls {
                    for text in [&mut call.id, &mut call.name, &mut call.arguments] {
                        *text = self.scrub(std::mem::take(text));
                    }
                }
                Ok(reply)
            }
            Err(failure) => Err(self.scrub_failure(failure)),
        };
        let raw_usage = folded.raw_usage.map(|usage| self.scrub(usage));
        Received { result, metered: folded.metered, net_bytes, raw_usage, rates }
    }

    fn count_request_bytes(&self, request: &Request) -> Option<u64> {
        self.count_endpoint.as_ref()?;
        // What cannot be encoded is refused by `count` and sends nothing.
        Some(self.encode_count(request).map_or(0, |body| body.len() as u64))
    }

    #[instrument(skip_all, fields(call = %call.id, model = %self.provider.model))]
    async fn count(&self, call: &Call) -> Option<Counted> {
        let Counted { result, net_bytes } = self.counted(self.count_endpoint.as_ref()?, call).await;
        Some(Counted { result: result.map_err(|failure| self.scrub_failure(failure)), net_bytes })
    }
}

/// What came of one exchange.
struct Exchange {
    folded: Folded,
    /// Bodies only.
    net_bytes: u64,
    rates: RateNews,
}

impl Exchange {
    /// Whether a server that ran nothing refused this field of the cap, and named the other.
    fn wants(&self, field: CapField) -> bool {
        self.was_refused(|words| [field, field.other()].iter().all(|field| words.contains(field.name())))
    }

    /// Whether a server that ran nothing refused to be asked for reasoning.
    fn wants_no_reasoning(&self) -> bool {
        self.was_refused(responses::refuses_reasoning)
    }

    fn was_refused(&self, with: impl Fn(&str) -> bool) -> bool {
        let ran_nothing = self.folded.metered == Metered::Exact(Usage::default());
        let is_one = |failure: &Failure| failure.kind == FailureKind::Rejected && with(&failure.message);
        ran_nothing && self.folded.result.as_ref().is_err_and(is_one)
    }

    fn nothing_sent(failure: Failure) -> Self {
        let folded = Folded { metered: Metered::Exact(Usage::default()), ..unknown(failure) };
        Self { folded, net_bytes: 0, rates: RateNews::default() }
    }
}

/// Why there is no response.
enum Unanswered {
    NothingSent(Failure),
    /// The exchange broke off after the request may have left.
    Interrupted(Failure),
}

impl From<reqwest::Error> for Unanswered {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() {
            return Self::NothingSent(Failure { kind: FailureKind::Unavailable, message: reason(error) });
        }
        if error.is_builder() {
            return Self::NothingSent(Failure { kind: FailureKind::Rejected, message: reason(error) });
        }
        Self::Interrupted(interrupted(error))
    }
}

/// Counts what is read of one response, up to a cap.
struct Meter {
    bytes: u64,
    cap: u64,
}

impl Meter {
    async fn read(&mut self, response: &mut Response) -> Result<Option<impl AsRef<[u8]> + use<>>, Failure> {
        let Some(bytes) = response.chunk().await.map_err(interrupted)? else { return Ok(None) };
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > self.cap {
            let message = format!("the response is longer than {} bytes", self.cap);
            return Err(Failure { kind: FailureKind::Broken, message });
        }
        Ok(Some(bytes))
    }

    /// The whole body.
    async fn read_all(&mut self, response: &mut Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(bytes) = self.read(response).await? {
            body.extend_from_slice(bytes.as_ref());
        }
        Ok(body)
    }

    /// What a status other than 200 means, in the server's words.
    async fn complaint(&mut self, response: &mut Response, status: StatusCode) -> Complaint {
        let mut body = Vec::new();
        // What cannot be read of a complaint changes nothing of the answer, which is the status.
        while let Ok(Some(bytes)) = self.read(response).await {
            body.extend_from_slice(bytes.as_ref());
        }
        Complaint::of_status(status.as_u16(), &body)
    }
}

fn unencodable(error: EncodeError) -> Failure {
    Failure { kind: FailureKind::Rejected, message: error.to_string() }
}

fn unknown(failure: Failure) -> Folded {
    Folded { result: Err(failure), metered: Metered::Unknown, raw_usage: None }
}

fn interrupted(error: reqwest::Error) -> Failure {
    let kind = match error.is_timeout() {
        true => FailureKind::TimedOut,
        // The server may have processed the request.
        false if client::is_closed(&error) => FailureKind::Overloaded,
        false => FailureKind::Broken,
    };
    Failure { kind, message: reason(error) }
}

fn endpoint(provider: &Provider, path: &str) -> Result<Url, HttpModelError> {
    let mut url = Url::parse(provider.url.trim()).map_err(|_| HttpModelError::NotAnAddress)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(HttpModelError::NotAnAddress);
    }
    let plain = url.username().is_empty() && url.password().is_none();
    if !plain || url.query().is_some() || url.fragment().is_some() {
        return Err(HttpModelError::NotABase);
    }
    url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
    if !provider.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&provider.query);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(dialect: Dialect, url: &str) -> Provider {
        Provider::new(dialect, url, "m")
    }

    fn refused(url: &str) -> String {
        HttpModel::new(&provider(Dialect::Openai, url), None).err().unwrap().to_string()
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for url in ["http://127.0.0.1:9/v1", "http://127.9.9.9", "http://[::1]:9/v1", "http://localhost:9/v1"] {
            assert!(HttpModel::new(&provider(Dialect::Openai, url), None).is_ok(), "{url}");
        }
        for url in [
            "http://example.com/v1",
            "http://localhost.example.com",
            "http://notlocalhost",
            "http://127.0.0.1.example.com",
            "http://0.0.0.0:9",
            "http://192.168.0.1",
            "http://[::ffff:127.0.0.1]:9",
        ] {
            assert!(refused(url).contains("plain http"), "{url}");
        }
        assert!(HttpModel::new(&provider(Dialect::Openai, "https://example.com/v1"), None).is_ok());
    }

    #[test]
    fn an_address_that_is_no_base_is_refused_without_repeating_what_may_be_a_password() {
        for url in
            ["https://user:hunter2@example.com", "https://example.com?key=hunter2", "https://example.com#hunter2"]
        {
            let message = refused(url);
            assert!(message.contains("cannot have") && !message.contains("hunter2"), "{message}");
        }
        for url in ["example.com/v1", "file:///v1", "unix:/v1", ""] {
            assert!(refused(url).contains("not an absolute"), "{url}");
        }
    }

    #[test]
    fn a_request_that_is_printed_does_not_show_the_key() {
        for dialect in [Dialect::Openai, Dialect::Anthropic, Dialect::Responses] {
            let key = Secret::parse("sk-secret-0123456789", "a test".into()).unwrap();
            let model = HttpModel::new(&provider(dialect, "https://example.com/v1"), Some(key)).unwrap();
            let request = model.request(&model.endpoint, "call-7", Vec::new()).build().unwrap();
            let shown = format!("{request:?}");
            assert!(shown.contains("Sensitive") && !shown.contains("0123456789"), "{shown}");
        }
    }

    #[test]
    fn azure_wants_the_key_in_a_header_of_its_own_in_both_dialects_of_openais() {
        for dialect in [Dialect::Openai, Dialect::Responses] {
            let auth = |url: &str| HttpModel::new(&provider(dialect, url), None).unwrap().auth();
            assert_eq!(auth("https://mine.openai.azure.com/openai/v1"), [Auth::ApiKey]);
            assert_eq!(auth("https://example.com/v1"), [Auth::Bearer]);
        }
    }

    #[test]
    fn the_dialects_path_is_put_below_the_base() {
        for base in ["https://example.com/v1", "https://example.com/v1/", " https://example.com/v1 "] {
            let openai = HttpModel::new(&provider(Dialect::Openai, base), None).unwrap();
            assert_eq!(openai.endpoint.as_str(), "https://example.com/v1/chat/completions");
            assert_eq!(openai.count_endpoint, None);
            let responses = HttpModel::new(&provider(Dialect::Responses, base), None).unwrap();
            assert_eq!(responses.endpoint.as_str(), "https://example.com/v1/responses");
            assert_eq!(responses.count_endpoint, None);
            let anthropic = HttpModel::new(&provider(Dialect::Anthropic, base), None).unwrap();
            assert_eq!(anthropic.endpoint.as_str(), "https://example.com/v1/messages");
            let count_endpoint = anthropic.count_endpoint.unwrap();
            assert_eq!(count_endpoint.as_str(), "https://example.com/v1/messages/count_tokens");
        }
    }
}
