//! Cites evidence by ids that the test chooses, or a great many of them.

use jidoka::{Report, Result, Task, evidence};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    std::fs::write("/work/made.txt", "made")?;
    let mut report = Report::done("proven");
    if task.input("many").is_some() {
        for piece in 0..200 {
            report = report.with_evidence(evidence::attach("artifact", "piece", piece.to_string())?);
        }
        report.evidence.extend((0..60_000).map(|_| String::new()));
        report.evidence.push("blake3:forged".into());
    }
    report.evidence.extend(task.input("id").map(str::to_owned));
    Ok(report)
}
