//! HTTP exchanges of a component, through `wasi:http`.
//!
//! Never: is linked into a component that does not fetch. All exchanges of a call are begun before one is waited for.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    Scheme,
};
use wasip2::io::poll::poll;
use wasip2::io::streams::StreamError;

use crate::fetch::{Error, Request, Response, Target};

/// Exchanges that the host lets a worker begin before it waits for them.
const MAX_PENDING: usize = 16;

/// Bytes that `blocking-write-and-flush` takes at once.
const WRITE_BYTES: usize = 4_096;

/// Bytes that are asked for in one read.
const READ_BYTES: u64 = 64 << 10;

pub(crate) fn exchange(requests: &[(&Request, &Target<'_>)]) -> Vec<Result<Response, Error>> {
    requests.chunks(MAX_PENDING).flat_map(batch).collect()
}

fn batch(requests: &[(&Request, &Target<'_>)]) -> Vec<Result<Response, Error>> {
    let begun: Vec<_> = requests.iter().map(|(request, target)| begin(request, target)).collect();
    let pollables: Vec<_> = begun.iter().flatten().map(FutureIncomingResponse::subscribe).collect();
    if !pollables.is_empty() {
        poll(&pollables.iter().collect::<Vec<_>>());
    }
    drop(pollables);
    let each = requests.iter().zip(begun);
    each.map(|((request, _), begun)| begun.and_then(|future| end(&future).map_err(|code| error(request, &code))))
        .collect()
}

/// Hands a request over, with its whole body.
fn begin(request: &Request, target: &Target<'_>) -> Result<FutureIncomingResponse, Error> {
    let invalid = |what: &str| Error::Invalid(format!("{what}, in a request to {}", request.url));
    let fields: Vec<(String, Vec<u8>)> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let fields = Fields::from_list(&fields).map_err(|why| invalid(&format!("a header is not allowed ({why})")))?;
    let outgoing = OutgoingRequest::new(fields);
    outgoing.set_method(&method(&request.method)).map_err(|()| invalid("no such method"))?;
    let scheme = if target.is_secure { Scheme::Https } else { Scheme::Http };
    outgoing.set_scheme(Some(&scheme)).map_err(|()| invalid("no such scheme"))?;
    outgoing.set_authority(Some(target.authority)).map_err(|()| invalid("no such host"))?;
    outgoing.set_path_with_query(Some(target.path_with_query)).map_err(|()| invalid("no such path"))?;
    if request.body.is_empty() {
        return handle(outgoing, None).map_err(|code| error(request, &code));
    }
    let body = outgoing.body().map_err(|()| invalid("no body"))?;
    let future = handle(outgoing, None).map_err(|code| error(request, &code))?;
    write(body, &request.body).map_err(|code| error(request, &code))?;
    Ok(future)
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), ErrorCode> {
    let stream = body.write().map_err(|()| ErrorCode::InternalError(None))?;
    for part in bytes.chunks(WRITE_BYTES) {
        stream.blocking_write_and_flush(part).map_err(of_stream)?;
    }
    drop(stream);
    OutgoingBody::finish(body, None)
}

fn of_stream(error: StreamError) -> ErrorCode {
    let code = match &error {
        StreamError::LastOperationFailed(error) => wasip2::http::types::http_error_code(error),
        StreamError::Closed => None,
    };
    code.unwrap_or_else(|| ErrorCode::InternalError(Some(format!("failed: {error}"))))
}

/// Waits for the reply, and reads it whole.
fn end(future: &FutureIncomingResponse) -> Result<Response, ErrorCode> {
    let response = loop {
        match future.get() {
            Some(Ok(response)) => break response?,
            Some(Err(())) => return Err(ErrorCode::InternalError(None)),
            None => future.subscribe().block(),
        }
    };
    let headers = response.headers().entries();
    let text = |(name, value): (String, Vec<u8>)| (name, String::from_utf8_lossy(&value).into_owned());
    let (status, headers) = (response.status(), headers.into_iter().map(text).collect());
    Ok(Response { status, headers, body: read(&response)? })
}

fn read(response: &IncomingResponse) -> Result<Vec<u8>, ErrorCode> {
    let gone = |()| ErrorCode::InternalError(None);
    let body: IncomingBody = response.consume().map_err(gone)?;
    let stream = body.stream().map_err(gone)?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(part) => bytes.extend(part),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(error) => return Err(of_stream(error)),
        }
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

/// The host's no in words.
fn error(request: &Request, code: &ErrorCode) -> Error {
    match code {
        ErrorCode::HttpRequestDenied => Error::NotGranted(format!("{} {}", request.method, request.url)),
        ErrorCode::ConnectionTimeout => Error::TimedOut,
        ErrorCode::InternalError(Some(text)) => match (text.strip_prefix("refused: "), text.strip_prefix("failed: ")) {
            (Some(why), _) => Error::Refused(why.to_owned()),
            (None, Some(why)) => Error::Failed(why.to_owned()),
            (None, None) => Error::Failed(text.clone()),
        },
        ErrorCode::HttpRequestUriInvalid => Error::Invalid(format!("no such address: {}", request.url)),
        ErrorCode::HttpRequestMethodInvalid => Error::Invalid(format!("no such method: {:?}", request.method)),
        ErrorCode::HttpRequestBodySize(_) => {
            Error::Refused(format!("{} bytes of request body are more than the host takes", request.body.len()))
        }
        other => Error::Failed(format!("{other:?}")),
    }
}
