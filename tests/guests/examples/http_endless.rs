//! Looks again and again at an exchange whose request it never finishes.

use jidoka::{Report, Result, Task};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, Method, OutgoingRequest, Scheme};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Post).expect("is one");
    request.set_scheme(Some(&Scheme::Http)).expect("is one");
    request.set_authority(Some("web.test:8080")).expect("is one");
    request.set_path_with_query(Some("/endless")).expect("is one");
    let _body = request.body().expect("the first");
    let future = handle(request, None).expect("is noted");
    let pollable = future.subscribe();
    while !pollable.ready() && future.get().is_none() {}
    Ok(Report::done("it became ready"))
}
