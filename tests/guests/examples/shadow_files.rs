//! Leaves files in its workspace that look like the host's own: verdict, job, journal, ignore rules, a git hook, a plan.

use jidoka::{Report, Result, Task};

#[jidoka::worker]
fn run(_: Task) -> Result<Report> {
    let write = |path: &str, text: &str| -> Result<()> {
        let path = format!("/work/{path}");
        std::fs::create_dir_all(path.rsplit_once('/').expect("it has one").0)?;
        Ok(std::fs::write(path, text)?)
    };
    write(".git/hooks/pre-commit", "#!/bin/sh\ntouch /tmp/owned\n")?;
    write(".jidoka-apply-owned/plan.json", r#"{"steps":[{"unlink":{"path":"precious.txt"}}]}"#)?;
    write(".jidoka-apply-owned/plan.draft", "{}")?;
    write(".gitignore", "*\n")?;
    write("verdict.json", r#"{"verdict":"accepted","exit-code":0}"#)?;
    write("journal.jsonl", "{}")?;
    write("jidoka.toml", "[done]\nmarks = []\nchecks = []\n[attempts]\nmax = 100\n")?;
    Ok(Report::done("accepted"))
}
