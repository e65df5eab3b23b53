//! The resources of `wasi:http`, which are wasmtime's own wherever nothing is sent: headers, requests, replies, bodies.
//!
//! Never: performs. Otherwise than the library's: a body that is written is a [`Draft`], `handle` only notes, timeouts are not
//! supported (the grant and the run have theirs, and a guest cannot see time pass), trailers are refused, and what a
//! guest writes into a request is capped.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::{Authority, Parts, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body_util::BodyExt as _;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, subscribe};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, Duration, ErrorCode, Headers, Method, Scheme, StatusCode, Trailers,
};
use wasmtime_wasi_http::p2::body::{
    HostFutureTrailers, HostIncomingBody, HostOutgoingBody, HyperIncomingBody, StreamContext,
};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingRequest, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
    HostResponseOutparam,
};
use wasmtime_wasi_http::p2::{HeaderError, HeaderResult, HttpError, HttpResult};
use wasmtime_wasi_http::{Error, FieldMap, RequestOptions, WasiBody, WasiHttpHooks};

use crate::rules::http::{HttpBody, HttpReply, HttpRequest};
use crate::rules::policy::MAX_URL_BYTES;

use super::drafts::{Draft, Share};
use super::{Exchange, Got, MAX_PENDING, WebView, words};

/// Characters of a method that is not one of the usual ones.
const MAX_METHOD_CHARS: usize = 32;

/// What the library asks back. The headers that it forbids stay forbidden: those of the connection, and `host`.
pub(super) struct Hooks;

impl WasiHttpHooks for Hooks {
    /// Never called: only the library's own `handle` does, and it is not linked.
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

/// A reply's body, whole in memory.
struct Whole {
    bytes: Option<Bytes>,
    _share: Share,
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Error>>> {
        Poll::Ready(self.bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

impl WebView<'_> {
    /// A reply as a resource of the guest's.
    fn reply(&mut self, reply: HttpReply) -> wasmtime::Result<Result<Resource<HostIncomingResponse>, ErrorCode>> {
        let HttpReply { status, headers, body: HttpBody(bytes), .. } = reply;
        let mut share = self.web.held.none();
        if !share.grow(bytes.len() as u64) {
            return Ok(Err(words::held_too_much()));
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            // What is no header is left out: a guest could not read it.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                map.try_append(name, value)?;
            }
        }
        let headers = FieldMap::new_immutable(&mut self.web.hooks, map);
        let body: HyperIncomingBody = Whole { bytes: Some(bytes.into()), _share: share }.boxed_unsync();
        let body = Some(HostIncomingBody::new(body));
        Ok(Ok(self.table.push(HostIncomingResponse { status, headers, body })?))
    }

    /// A request as the gate has it, its body left out.
    fn noted(&self, request: HostOutgoingRequest) -> Result<HttpRequest, ErrorCode> {
        let HostOutgoingRequest { method, scheme, authority, path_with_query, headers, body: _ } = request;
        let method = method_name(method)?;
        let scheme = match scheme {
            Some(Scheme::Http) => "http",
            Some(Scheme::Https) | None => "https",
            Some(Scheme::Other(_)) => return Err(ErrorCode::HttpProtocolError),
        };
        let invalid = |_| ErrorCode::HttpRequestUriInvalid;
        let authority: Authority = authority.unwrap_or_default().parse().map_err(invalid)?;
        if authority.as_str().contains('@') {
            return Err(ErrorCode::HttpRequestUriInvalid);
        }
        let path = path_with_query.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
        let path = if path.starts_with('?') { format!("/{path}") } else { path };
        let mut parts = Parts::default();
        parts.scheme = Some(scheme.parse().map_err(|_| ErrorCode::HttpProtocolError)?);
        parts.authority = Some(authority);
        parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(invalid)?);
        let url = Uri::from_parts(parts).map_err(|_| ErrorCode::HttpRequestUriInvalid)?.to_string();
        let text = |(name, value): (&HeaderName, &HeaderValue)| match std::str::from_utf8(value.as_bytes()) {
            Ok(value) => Ok((name.as_str().to_owned(), value.to_owned())),
            Err(_) => Err(words::no_text(name.as_str())),
        };
        // The body is sent whole, so the host knows its length.
        let headers = headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH).map(text);
        Ok(HttpRequest { method, url, headers: headers.collect::<Result<_, _>>()?, body: HttpBody::default() })
    }
}

fn method_name(method: Method) -> Result<String, ErrorCode> {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        // Methods are told apart by case, and nobody means `get`.
        Method::Other(other) => {
            let capital = |char: char| char.is_ascii_uppercase() || char == '-';
            let is_one = !other.is_empty() && other.len() <= MAX_METHOD_CHARS && other.chars().all(capital);
            return if is_one { Ok(other) } else { Err(ErrorCode::HttpRequestMethodInvalid) };
        }
    };
    Ok(name.to_owned())
}

/// What `content-length` says.
fn length(headers: &FieldMap) -> Result<Option<u64>, ErrorCode> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).map(Some).ok_or_else(words::no_length)
}

impl outgoing_handler::Host for WebView<'_> {
    /// Notes the request. Whether it may be made is judged when it is.
    fn handle(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        _: Option<Resource<RequestOptions>>,
    ) -> HttpResult<Resource<HostFutureIncomingResponse>> {
        let number = request.rep();
        let request = self.table.delete(request)?;
        let body = self.web.requests.remove(&number);
        if self.web.pending() >= MAX_PENDING {
            return Err(ErrorCode::ConnectionLimitReached.into());
        }
        if length(&request.headers)?.is_some_and(|length| length > 0) && body.is_none() {
            return Err(ErrorCode::HttpRequestBodySize(Some(0)).into());
        }
        let request = self.noted(request)?;
        // What stands in the table is the library's word for a future that it does not drive.
        let future = self.table.push(HostFutureIncomingResponse::Consumed)?;
        self.web.exchanges.insert(future.rep(), Exchange::Noted { request, body });
        Ok(future)
    }
}

impl types::HostFutureIncomingResponse for WebView<'_> {
    fn subscribe(&mut self, future: Resource<HostFutureIncomingResponse>) -> wasmtime::Result<Resource<DynPollable>> {
        let number = future.rep();
        let pollable = subscribe(self.table, future)?;
        self.web.pollables.insert(pollable.rep(), number);
        Ok(pollable)
    }

    /// What is there already: the guest's own `get` makes the exchange first.
    fn get(&mut self, future: Resource<HostFutureIncomingResponse>) -> wasmtime::Result<Got> {
        self.table.get(&future)?;
        let Some(exchange) = self.web.exchanges.get_mut(&future.rep()) else { return Ok(None) };
        match std::mem::replace(exchange, Exchange::Taken) {
            noted @ Exchange::Noted { .. } => {
                *exchange = noted;
                Ok(None)
            }
            Exchange::Taken => Ok(Some(Err(()))),
            Exchange::Made(Err(error)) => Ok(Some(Ok(Err(error)))),
            Exchange::Made(Ok(reply)) => Ok(Some(Ok(self.reply(reply)?))),
        }
    }

    fn drop(&mut self, future: Resource<HostFutureIncomingResponse>) -> wasmtime::Result<()> {
        let number = future.rep();
        self.table.delete(future)?;
        self.web.exchanges.remove(&number);
        Ok(())
    }
}

impl types::HostOutgoingRequest for WebView<'_> {
    fn new(&mut self, headers: Resource<FieldMap>) -> wasmtime::Result<Resource<HostOutgoingRequest>> {
        types::HostOutgoingRequest::new(&mut self.library(), headers)
    }

    fn body(
        &mut self,
        request: Resource<HostOutgoingRequest>,
    ) -> wasmtime::Result<Result<Resource<HostOutgoingBody>, ()>> {
        let Ok(expected) = length(&self.table.get(&request)?.headers) else { return Ok(Err(())) };
        if self.web.requests.contains_key(&request.rep()) {
            return Ok(Err(()));
        }
        let draft = Draft::new(&self.web.held, expected);
        // What stands in the table is the library's body, on which nobody writes.
        let (body, _) = HostOutgoingBody::new(StreamContext::Request, None, 1, 1);
        let body = self.table.push(body)?;
        self.web.bodies.insert(body.rep(), draft.clone());
        self.web.requests.insert(request.rep(), draft);
        Ok(Ok(body))
    }

    fn drop(&mut self, request: Resource<HostOutgoingRequest>) -> wasmtime::Result<()> {
        self.web.requests.remove(&request.rep());
        types::HostOutgoingRequest::drop(&mut self.library(), request)
    }

    fn method(&mut self, request: Resource<HostOutgoingRequest>) -> wasmtime::Result<Method> {
        types::HostOutgoingRequest::method(&mut self.library(), request)
    }

    fn set_method(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        method: Method,
    ) -> wasmtime::Result<Result<(), ()>> {
        if matches!(&method, Method::Other(other) if other.len() > MAX_METHOD_CHARS) {
            return Ok(Err(()));
        }
        types::HostOutgoingRequest::set_method(&mut self.library(), request, method)
    }

    fn path_with_query(&mut self, request: Resource<HostOutgoingRequest>) -> wasmtime::Result<Option<String>> {
        types::HostOutgoingRequest::path_with_query(&mut self.library(), request)
    }

    fn set_path_with_query(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        path: Option<String>,
    ) -> wasmtime::Result<Result<(), ()>> {
        if path.as_ref().is_some_and(|path| path.len() > MAX_URL_BYTES) {
            return Ok(Err(()));
        }
        types::HostOutgoingRequest::set_path_with_query(&mut self.library(), request, path)
    }

    fn scheme(&mut self, request: Resource<HostOutgoingRequest>) -> wasmtime::Result<Option<Scheme>> {
        types::HostOutgoingRequest::scheme(&mut self.library(), request)
    }

    fn set_scheme(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        scheme: Option<Scheme>,
    ) -> wasmtime::Result<Result<(), ()>> {
        if matches!(scheme, Some(Scheme::Other(_))) {
            return Ok(Err(()));
        }
        types::HostOutgoingRequest::set_scheme(&mut self.library(), request, scheme)
    }

    fn authority(&mut self, request: Resource<HostOutgoingRequest>) -> wasmtime::Result<Option<String>> {
        types::HostOutgoingRequest::authority(&mut self.library(), request)
    }

    fn set_authority(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        authority: Option<String>,
    ) -> wasmtime::Result<Result<(), ()>> {
        if authority.as_ref().is_some_and(|authority| authority.len() > MAX_URL_BYTES) {
            return Ok(Err(()));
        }
        types::HostOutgoingRequest::set_authority(&mut self.library(), request, authority)
    }

    fn headers(&mut self, request: Resource<HostOutgoingRequest>) -> wasmtime::Result<Resource<Headers>> {
        types::HostOutgoingRequest::headers(&mut self.library(), request)
    }
}

impl types::HostOutgoingBody for WebView<'_> {
    fn write(&mut self, body: Resource<HostOutgoingBody>) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        self.table.get(&body)?;
        match self.web.bodies.get(&body.rep()) {
            Some(draft) => match draft.stream() {
                Some(stream) => Ok(Ok(self.table.push_child(stream, &body)?)),
                None => Ok(Err(())),
            },
            None => Ok(Err(())),
        }
    }

    fn finish(&mut self, body: Resource<HostOutgoingBody>, trailers: Option<Resource<Trailers>>) -> HttpResult<()> {
        let draft = self.web.bodies.remove(&body.rep());
        self.table.delete(body)?;
        let draft = draft.ok_or_else(words::unfinished)?;
        if let Some(trailers) = trailers
            && !self.table.delete(trailers)?.is_empty()
        {
            draft.give_up(ErrorCode::HttpRequestTrailerSectionSize(Some(0)));
        }
        Ok(draft.finish()?)
    }

    /// What was not finished is not sent.
    fn drop(&mut self, body: Resource<HostOutgoingBody>) -> wasmtime::Result<()> {
        let number = body.rep();
        self.table.delete(body)?;
        if let Some(draft) = self.web.bodies.remove(&number) {
            draft.give_up(words::unfinished());
        }
        Ok(())
    }
}

/// Not supported, which the contract has a word for: only the grant and the run bound an exchange's time.
impl types::HostRequestOptions for WebView<'_> {
    fn new(&mut self) -> wasmtime::Result<Resource<RequestOptions>> {
        types::HostRequestOptions::new(&mut self.library())
    }

    fn connect_timeout(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<Option<Duration>> {
        types::HostRequestOptions::connect_timeout(&mut self.library(), options)
    }

    fn set_connect_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        duration: Option<Duration>,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.table.get(&options)?;
        Ok(if duration.is_some() { Err(()) } else { Ok(()) })
    }

    fn first_byte_timeout(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<Option<Duration>> {
        types::HostRequestOptions::first_byte_timeout(&mut self.library(), options)
    }

    fn set_first_byte_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        duration: Option<Duration>,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.set_connect_timeout(options, duration)
    }

    fn between_bytes_timeout(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<Option<Duration>> {
        types::HostRequestOptions::between_bytes_timeout(&mut self.library(), options)
    }

    fn set_between_bytes_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        duration: Option<Duration>,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.set_connect_timeout(options, duration)
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<()> {
        types::HostRequestOptions::drop(&mut self.library(), options)
    }
}

// From here on everything is the library's.

impl types::Host for WebView<'_> {
    fn convert_error_code(&mut self, error: HttpError) -> wasmtime::Result<ErrorCode> {
        types::Host::convert_error_code(&mut self.library(), error)
    }

    fn convert_header_error(&mut self, error: HeaderError) -> wasmtime::Result<types::HeaderError> {
        types::Host::convert_header_error(&mut self.library(), error)
    }

    fn http_error_code(&mut self, error: Resource<types::IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        types::Host::http_error_code(&mut self.library(), error)
    }
}

impl types::HostFields for WebView<'_> {
    fn new(&mut self) -> wasmtime::Result<Resource<FieldMap>> {
        types::HostFields::new(&mut self.library())
    }

    fn from_list(&mut self, entries: Vec<(String, Vec<u8>)>) -> HeaderResult<Resource<FieldMap>> {
        types::HostFields::from_list(&mut self.library(), entries)
    }

    fn drop(&mut self, fields: Resource<FieldMap>) -> wasmtime::Result<()> {
        types::HostFields::drop(&mut self.library(), fields)
    }

    fn get(&mut self, fields: Resource<FieldMap>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        types::HostFields::get(&mut self.library(), fields, name)
    }

    fn has(&mut self, fields: Resource<FieldMap>, name: String) -> wasmtime::Result<bool> {
        types::HostFields::has(&mut self.library(), fields, name)
    }

    fn set(&mut self, fields: Resource<FieldMap>, name: String, values: Vec<Vec<u8>>) -> HeaderResult<()> {
        types::HostFields::set(&mut self.library(), fields, name, values)
    }

    fn delete(&mut self, fields: Resource<FieldMap>, name: String) -> HeaderResult<()> {
        types::HostFields::delete(&mut self.library(), fields, name)
    }

    fn append(&mut self, fields: Resource<FieldMap>, name: String, value: Vec<u8>) -> HeaderResult<()> {
        types::HostFields::append(&mut self.library(), fields, name, value)
    }

    fn entries(&mut self, fields: Resource<FieldMap>) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        types::HostFields::entries(&mut self.library(), fields)
    }

    fn clone(&mut self, fields: Resource<FieldMap>) -> wasmtime::Result<Resource<FieldMap>> {
        types::HostFields::clone(&mut self.library(), fields)
    }
}

impl types::HostIncomingResponse for WebView<'_> {
    fn drop(&mut self, response: Resource<HostIncomingResponse>) -> wasmtime::Result<()> {
        types::HostIncomingResponse::drop(&mut self.library(), response)
    }

    fn status(&mut self, response: Resource<HostIncomingResponse>) -> wasmtime::Result<StatusCode> {
        types::HostIncomingResponse::status(&mut self.library(), response)
    }

    fn headers(&mut self, response: Resource<HostIncomingResponse>) -> wasmtime::Result<Resource<FieldMap>> {
        types::HostIncomingResponse::headers(&mut self.library(), response)
    }

    fn consume(
        &mut self,
        response: Resource<HostIncomingResponse>,
    ) -> wasmtime::Result<Result<Resource<HostIncomingBody>, ()>> {
        types::HostIncomingResponse::consume(&mut self.library(), response)
    }
}

impl types::HostIncomingBody for WebView<'_> {
    fn stream(&mut self, body: Resource<HostIncomingBody>) -> wasmtime::Result<Result<Resource<DynInputStream>, ()>> {
        types::HostIncomingBody::stream(&mut self.library(), body)
    }

    fn finish(&mut self, body: Resource<HostIncomingBody>) -> wasmtime::Result<Resource<HostFutureTrailers>> {
        types::HostIncomingBody::finish(&mut self.library(), body)
    }

    fn drop(&mut self, body: Resource<HostIncomingBody>) -> wasmtime::Result<()> {
        types::HostIncomingBody::drop(&mut self.library(), body)
    }
}

impl types::HostFutureTrailers for WebView<'_> {
    fn drop(&mut self, trailers: Resource<HostFutureTrailers>) -> wasmtime::Result<()> {
        types::HostFutureTrailers::drop(&mut self.library(), trailers)
    }

    fn subscribe(&mut self, trailers: Resource<HostFutureTrailers>) -> wasmtime::Result<Resource<DynPollable>> {
        types::HostFutureTrailers::subscribe(&mut self.library(), trailers)
    }

    fn get(
        &mut self,
        trailers: Resource<HostFutureTrailers>,
    ) -> wasmtime::Result<Option<Result<Result<Option<Resource<Trailers>>, ErrorCode>, ()>>> {
        types::HostFutureTrailers::get(&mut self.library(), trailers)
    }
}

impl types::HostIncomingRequest for WebView<'_> {
    fn method(&mut self, request: Resource<HostIncomingRequest>) -> wasmtime::Result<Method> {
        types::HostIncomingRequest::method(&mut self.library(), request)
    }

    fn path_with_query(&mut self, request: Resource<HostIncomingRequest>) -> wasmtime::Result<Option<String>> {
        types::HostIncomingRequest::path_with_query(&mut self.library(), request)
    }

    fn scheme(&mut self, request: Resource<HostIncomingRequest>) -> wasmtime::Result<Option<Scheme>> {
        types::HostIncomingRequest::scheme(&mut self.library(), request)
    }

    fn authority(&mut self, request: Resource<HostIncomingRequest>) -> wasmtime::Result<Option<String>> {
        types::HostIncomingRequest::authority(&mut self.library(), request)
    }

    fn headers(&mut self, request: Resource<HostIncomingRequest>) -> wasmtime::Result<Resource<FieldMap>> {
        types::HostIncomingRequest::headers(&mut self.library(), request)
    }

    fn consume(
        &mut self,
        request: Resource<HostIncomingRequest>,
    ) -> wasmtime::Result<Result<Resource<HostIncomingBody>, ()>> {
        types::HostIncomingRequest::consume(&mut self.library(), request)
    }

    fn drop(&mut self, request: Resource<HostIncomingRequest>) -> wasmtime::Result<()> {
        types::HostIncomingRequest::drop(&mut self.library(), request)
    }
}

impl types::HostResponseOutparam for WebView<'_> {
    fn set(
        &mut self,
        outparam: Resource<HostResponseOutparam>,
        response: Result<Resource<HostOutgoingResponse>, ErrorCode>,
    ) -> wasmtime::Result<()> {
        types::HostResponseOutparam::set(&mut self.library(), outparam, response)
    }

    fn send_informational(
        &mut self,
        outparam: Resource<HostResponseOutparam>,
        status: u16,
        headers: Resource<FieldMap>,
    ) -> HttpResult<()> {
        types::HostResponseOutparam::send_informational(&mut self.library(), outparam, status, headers)
    }

    fn drop(&mut self, outparam: Resource<HostResponseOutparam>) -> wasmtime::Result<()> {
        types::HostResponseOutparam::drop(&mut self.library(), outparam)
    }
}

impl types::HostOutgoingResponse for WebView<'_> {
    fn new(&mut self, headers: Resource<FieldMap>) -> wasmtime::Result<Resource<HostOutgoingResponse>> {
        types::HostOutgoingResponse::new(&mut self.library(), headers)
    }

    fn status_code(&mut self, response: Resource<HostOutgoingResponse>) -> wasmtime::Result<StatusCode> {
        types::HostOutgoingResponse::status_code(&mut self.library(), response)
    }

    fn set_status_code(
        &mut self,
        response: Resource<HostOutgoingResponse>,
        status: StatusCode,
    ) -> wasmtime::Result<Result<(), ()>> {
        types::HostOutgoingResponse::set_status_code(&mut self.library(), response, status)
    }

    fn headers(&mut self, response: Resource<HostOutgoingResponse>) -> wasmtime::Result<Resource<FieldMap>> {
        types::HostOutgoingResponse::headers(&mut self.library(), response)
    }

    /// None: a reply has nobody to go to, and its body would be held for nothing.
    fn body(
        &mut self,
        response: Resource<HostOutgoingResponse>,
    ) -> wasmtime::Result<Result<Resource<HostOutgoingBody>, ()>> {
        self.table.get(&response)?;
        Ok(Err(()))
    }

    fn drop(&mut self, response: Resource<HostOutgoingResponse>) -> wasmtime::Result<()> {
        types::HostOutgoingResponse::drop(&mut self.library(), response)
    }
}
