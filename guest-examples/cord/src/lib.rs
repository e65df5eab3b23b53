//! Finds that its task can be read in two ways, keeps the proof, and stops the line instead of guessing.

use jidoka::andon::{self, Category};
use jidoka::{Report, Result, Task, evidence};

#[jidoka::worker]
fn run(task: Task) -> Result<Report> {
    let order = task.input("order").ok_or("the input `order` is missing")?;
    if order.contains(" or ") {
        let proof = evidence::attach("input", "order.txt", order)?;
        andon::pull(Category::AmbiguousSpec, &format!("the order says {order:?}: which of them?"), &[proof]);
    }
    let order = evidence::attach("artifact", "order.txt", order)?;
    Ok(Report::done("placed the order").with_evidence(order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jidoka::testing::FakeHost;

    #[test]
    fn an_ambiguous_order_stops_the_line_with_proof() {
        let run = FakeHost::new().run(run, Task::new("order").with_input("order", "2 or 20 pallets"));
        assert_eq!(run.pull().category, Category::AmbiguousSpec);
        assert_eq!(run.pull().evidence, [run.evidence[0].id.clone()]);
    }

    #[test]
    fn a_clear_order_is_placed() {
        let run = FakeHost::new().run(run, Task::new("order").with_input("order", "2 pallets"));
        assert_eq!(run.report().summary, "placed the order");
    }
}
