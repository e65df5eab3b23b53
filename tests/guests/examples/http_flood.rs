//! Begins more exchanges than it may, holds more bodies than it may, and drops what it began.

use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, tell};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{ErrorCode, Fields, FutureIncomingResponse, OutgoingBody, OutgoingRequest, Scheme};

fn request(path: &str) -> OutgoingRequest {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("is one");
    request.set_authority(Some("web.test:8080")).expect("is one");
    request.set_path_with_query(Some(path)).expect("is one");
    request
}

fn word(code: &ErrorCode) -> String {
    format!("{code:?}").chars().take(120).collect()
}

/// Writes so many bytes, or until the host takes no more. Returns how much it took.
fn fill(body: &OutgoingBody, most: u64) -> u64 {
    let stream = body.write().expect("the first");
    let chunk = vec![b'x'; 4_096];
    let mut written = 0;
    while written < most && stream.blocking_write_and_flush(&chunk).is_ok() {
        written += chunk.len() as u64;
    }
    written
}

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let mut begun: Vec<FutureIncomingResponse> = Vec::new();
    let over = loop {
        match handle(request(&format!("/{}", begun.len())), None) {
            Ok(future) => begun.push(future),
            Err(code) => break code,
        }
    };
    tell::<(), _>(&format!("exchange {}", begun.len() + 1), Err(word(&over)));
    drop(begun.split_off(1));
    let begin = handle(request("/room-again"), None);
    tell("after some were dropped", begin.map(|_| ()).map_err(|code| word(&code)));
    begun[0].subscribe().block();
    let status =
        |future: &FutureIncomingResponse| future.get().expect("is ready").expect("the first").map(|it| it.status());
    tell("the one that was kept", status(&begun[0]).map_err(|code| word(&code)));

    let most = number(&task, "most");
    let held: Vec<_> = (0..3).map(|_| request("/big")).collect();
    let bodies: Vec<_> = held.iter().map(|request| request.body().expect("the first")).collect();
    for (number, body) in bodies.iter().enumerate() {
        tell::<_, String>(&format!("body {number}"), Ok(fill(body, most)));
    }
    drop((bodies, held));
    let fresh = request("/fresh");
    tell::<_, String>("a fresh body", Ok(fill(&fresh.body().expect("the first"), u64::MAX)));

    let fields = number(&task, "fields");
    let headers = Fields::new();
    for _ in 0..fields {
        headers.append("x", &[b'y'; 100]).expect("or the host ends it");
    }
    tell::<_, String>("fields", Ok(fields));
    Ok(Report::done("flooded"))
}
