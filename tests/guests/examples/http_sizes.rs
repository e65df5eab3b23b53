//! Sends as many bytes as it is told, and asks for as many.

use jidoka::fetch::Request;
use jidoka::{Report, Result, Task};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let at = task.input("at").expect("the test gives it");
    let send = usize::try_from(number(&task, "send")).expect("the test gives a size");
    let times = number(&task, "times");
    let method = if send == 0 { "GET" } else { "POST" };
    let mut sent = 0;
    for time in 1..=times {
        let request = Request::new(method, format!("{at}/{time}")).body(vec![b'x'; send]);
        let reply = request.send().map(|reply| reply.body.len());
        sent += u64::from(reply.is_ok());
        tell(&format!("exchange {time}"), reply);
    }
    if sent < times {
        return Ok(Report::unable("not all were sent"));
    }
    Ok(Report::done("sent"))
}
