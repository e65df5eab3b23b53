//! Something else is at work while runs go on: it edits, removes, moves, locks, fills and kills. What a person wrote is never
//! lost, nothing is applied that no worker did, and each run has one verdict.
//!
//! The short form. The long one: `cargo build --release`, and `cargo run --release --bin saboteur -- 2000 SEED HOSTS STATES`.

use jidoka_tests::saboteur::{Report, Session, play};

fn played(session: Session) {
    let report: Report = tokio::task::block_in_place(|| play(session));
    println!("{report:#?}");
    assert!(report.ends.get("accepted").is_some_and(|accepted| *accepted > 0), "some work is done all the same");
    assert!(report.acts.len() >= 8, "it does many different things");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saboteur_beside_one_host_loses_nobodys_work() {
    played(Session { seed: 1, runs: 40, hosts: 1, states: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saboteur_beside_two_hosts_of_one_state_directory_loses_nobodys_work() {
    played(Session { seed: 2, runs: 40, hosts: 2, states: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saboteur_beside_two_hosts_on_the_same_real_directories_loses_nobodys_work() {
    played(Session { seed: 3, runs: 40, hosts: 2, states: 2 });
}
