//! Fetches a page that its task names, and attaches it as evidence: the host judges the address, sends, meters and journals.

use jidoka::{Report, Result, Task, evidence, fetch};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let url = task.input("url").ok_or("the task has no input `url`")?;
    let reply = fetch::get(url)?;
    if reply.status != 200 {
        return Ok(Report::unable(format!("{url} answered with status {}", reply.status)));
    }
    let page = evidence::attach("artifact", "page", &reply.body)?;
    Ok(Report::done(format!("fetched {} bytes from {url}", reply.body.len())).with_evidence(page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jidoka::testing::FakeHost;

    const URL: &str = "https://example.com/";

    fn task() -> Task {
        Task::new("fetch it").with_input("url", URL)
    }

    #[test]
    fn it_attaches_what_it_fetched() {
        let run = FakeHost::new().page(URL, "<h1>A page</h1>").run(run, task());
        assert_eq!(run.report().summary, "fetched 15 bytes from https://example.com/");
        assert_eq!(run.evidence[0].bytes, b"<h1>A page</h1>");
    }

    #[test]
    fn without_a_grant_it_says_which_line_is_missing() {
        let run = FakeHost::new().run(run, task());
        let jidoka::testing::Outcome::Failed(why) = run.outcome else { panic!("{:?}", run.outcome) };
        assert!(why.to_string().contains("[[grants.http]]"), "{why}");
    }
}
