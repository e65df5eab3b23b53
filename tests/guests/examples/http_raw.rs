//! `wasi:http` by hand: what the contract allows, and what it does not.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::tell;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest, OutgoingResponse,
    RequestOptions, Scheme,
};
use wasip2::io::poll::poll;
use wasip2::io::streams::StreamError;

fn post(path: &str, headers: &[(&str, &str)]) -> OutgoingRequest {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let request = OutgoingRequest::new(Fields::from_list(&headers).expect("allowed"));
    request.set_method(&Method::Post).expect("is one");
    request.set_scheme(Some(&Scheme::Http)).expect("is one");
    request.set_authority(Some("web.test:8080")).expect("is one");
    request.set_path_with_query(Some(path)).expect("is one");
    request
}

fn get(path: &str) -> OutgoingRequest {
    let request = post(path, &[]);
    request.set_method(&Method::Get).expect("is one");
    request
}

fn word(code: ErrorCode) -> String {
    format!("{code:?}")
}

fn write(body: &OutgoingBody, parts: &[&[u8]]) -> Result<(), StreamError> {
    let stream = body.write().expect("the first");
    parts.iter().try_for_each(|part| stream.blocking_write_and_flush(part))
}

/// What a future that is ready holds: the status, and the body read in small pieces.
fn taken(future: &FutureIncomingResponse) -> Result<String, String> {
    let response = future.get().ok_or("not ready")?.map_err(|()| "taken before")?.map_err(word)?;
    let body = response.consume().expect("the first");
    let stream = body.stream().expect("the first");
    let mut bytes = Vec::new();
    while let Ok(part) = stream.blocking_read(3) {
        bytes.extend(part);
    }
    drop(stream);
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let trailers = trailers.get().expect("is ready").expect("the first").map_err(word)?;
    assert!(trailers.is_none() && response.consume().is_err());
    Ok(format!("{} {}", response.status(), String::from_utf8_lossy(&bytes)))
}

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    // In pieces, after it was handed over.
    let request = post("/pieces", &[("x-name", "value")]);
    let body = request.body().expect("the first");
    assert!(request.body().is_err(), "once");
    let future = handle(request, None).expect("is noted");
    let pollable = future.subscribe();
    tell::<_, String>("ready before it is finished", Ok((pollable.ready(), future.get().is_some())));
    write(&body, &[b"one ", b"two ", b"three"]).expect("fits");
    assert!(body.write().is_err(), "once");
    OutgoingBody::finish(body, None).expect("is whole");
    tell::<_, String>("ready when it is", Ok(pollable.ready()));
    drop(pollable);
    tell("in pieces", taken(&future));
    tell("a second time", taken(&future));

    // Without a pollable.
    let future = handle(get("/get"), None).expect("is noted");
    tell("by get alone", taken(&future));

    // Several at once, waited for in another order than begun.
    let futures: Vec<_> = ["/a", "/b", "/c"].iter().map(|path| handle(get(path), None).expect("is noted")).collect();
    let pollables: Vec<_> = [2, 0, 1].map(|at: usize| futures[at].subscribe()).into();
    let ready = poll(&pollables.iter().collect::<Vec<_>>());
    tell::<_, String>("ready at once", Ok(ready));
    drop(pollables);
    tell::<_, String>("at once", Ok(futures.iter().map(|future| taken(future).expect("a reply")).collect::<Vec<_>>()));

    // What it says of its length.
    for (step, length, written) in [("as long as it says", "5", 5), ("shorter", "5", 4), ("longer", "5", 6)] {
        let request = post("/length", &[("content-length", length)]);
        let body = request.body().expect("the first");
        let future = handle(request, None).expect("is noted");
        let wrote = write(&body, &[&b"xxxxxx"[..written]]).is_ok();
        let finished = OutgoingBody::finish(body, None).map_err(word);
        tell(step, finished.and_then(|()| if wrote { taken(&future) } else { Err("not written".into()) }));
        tell(&format!("{step}, after all"), taken(&future));
    }
    let nothing = post("/length", &[("content-length", "5")]);
    tell("a length and no body", handle(nothing, None).map(|_| ()).map_err(word));

    // Given up.
    let request = post("/dropped", &[]);
    let body = request.body().expect("the first");
    let future = handle(request, None).expect("is noted");
    write(&body, &[b"half"]).expect("fits");
    drop(body);
    future.subscribe().block();
    tell("a body that was dropped", taken(&future));
    let request = post("/waited", &[]);
    let _body = request.body().expect("the first");
    let future = handle(request, None).expect("is noted");
    future.subscribe().block();
    tell("waited for and never finished", taken(&future));

    // Trailers, timeouts, addresses, methods, replies of its own.
    let request = post("/trailers", &[]);
    let body = request.body().expect("the first");
    let future = handle(request, None).expect("is noted");
    let trailers = Fields::from_list(&[("x-late".to_owned(), b"1".to_vec())]).expect("allowed");
    tell("trailers", OutgoingBody::finish(body, Some(trailers)).map_err(word));
    tell("after trailers", taken(&future));
    let options = RequestOptions::new();
    tell("a timeout", options.set_connect_timeout(Some(0)).map_err(|()| "not supported"));
    let strange = get("/");
    tell("another scheme", strange.set_scheme(Some(&Scheme::Other("ftp".into()))).map_err(|()| "no"));
    tell("an absolute path", strange.set_path_with_query(Some("http://other.test/")).map_err(|()| "no"));
    tell("a long host", strange.set_authority(Some(&"x".repeat(9 << 10))).map_err(|()| "no"));
    strange.set_method(&Method::Other("get".into())).expect("may be one");
    tell("a method in small letters", handle(strange, None).map(|_| ()).map_err(word));
    tell("a reply of its own", OutgoingResponse::new(Fields::new()).body().map(|_| ()).map_err(|()| "no"));
    Ok(Report::done("by hand"))
}
