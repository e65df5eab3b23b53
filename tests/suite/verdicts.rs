//! One whole run for each verdict and exit code.

use jidoka_tests::bench::Bench;
use jidoka_tests::examples;

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_a_change_is_no_progress() {
    let end = Bench::new(examples::LIAR).file("notes.txt", "x").run().await;
    end.expect("no-progress");
    assert_eq!(end.record.exit_code, 21);
    assert_eq!(end.record.report.as_ref().unwrap().status, jidoka::rules::verdict::Status::Done);
}
