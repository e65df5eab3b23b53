//! Asks for what is granted and for everything around it: another method, host, port, path, scheme, and what is no request.

use jidoka::fetch::{self, Request};
use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::tell;

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let at = task.input("at").expect("the test gives it");
    let ask = |step: &str, request: Request| tell(step, request.send().map(|reply| reply.status));
    ask("granted", Request::new("GET", format!("{at}/open/page")));
    ask("method", Request::new("DELETE", format!("{at}/open/page")));
    ask("method of another case", Request::new("get", format!("{at}/open/page")));
    ask("path", Request::new("GET", format!("{at}/shut/page")));
    ask("host", Request::new("GET", "http://other.test:8080/open/page"));
    ask("port", Request::new("GET", "http://web.test:8081/open/page"));
    ask("scheme", Request::new("GET", "https://web.test:8080/open/page"));
    ask("metadata service", Request::new("GET", "http://169.254.169.254:80/latest"));
    ask("user in the address", Request::new("GET", "http://web.test:8080@other.test:8080/open/page"));
    ask("host header", Request::new("GET", format!("{at}/open/page")).header("host", "other.test"));
    ask("connection header", Request::new("GET", format!("{at}/open/page")).header("transfer-encoding", "chunked"));
    ask("header with a line end", Request::new("GET", format!("{at}/open/page")).header("a", "b\r\nhost: other.test"));
    ask("header without end", Request::new("GET", format!("{at}/open/page")).header("a", "b".repeat(20 << 10)));
    ask("path without end", Request::new("GET", format!("{at}/open/{}", "x".repeat(9 << 10))));
    tell("again", fetch::get(format!("{at}/open/page")).map(|reply| reply.status));
    Ok(Report::done("asked around"))
}
