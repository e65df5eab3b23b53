//! Makes one request of any kind, and keeps all that came back in a file, in evidence and in a note.

use jidoka::fetch::Request;
use jidoka::{Report, Result, Task, evidence};
use jidoka_hostile_guests::{number, tell};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let input = |name: &str| task.input(name).unwrap_or_default();
    let mut request = Request::new(input("method"), input("url")).body(vec![b'x'; number(&task, "send") as usize]);
    if !input("header").is_empty() {
        request = request.header(input("header"), input("value"));
    }
    let reply = request.send();
    if let Ok(reply) = &reply {
        let text = format!("{:?} {}", reply.headers, String::from_utf8_lossy(&reply.body));
        std::fs::write("/work/reply.txt", &text)?;
        evidence::attach("reply", "reply.txt", text.clone())?;
        tell::<_, String>("heard", Ok(text.chars().take(1_000).collect::<String>()));
    }
    tell("asked", reply.map(|reply| reply.status));
    Ok(Report::done("asked"))
}
