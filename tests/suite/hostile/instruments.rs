//! Guests that do one thing as they are told, for the table of attacks: each with a row of that table and its control.

use jidoka_tests::attacks::{Scene, Wall, all};

/// Fails unless the row is refused, and its control is granted.
async fn holds(name: &str) {
    let found = all().into_iter().find(|row| format!("{}/{}", row.family.name(), row.name) == name);
    let row = found.unwrap_or_else(|| panic!("no attack is called {name}"));
    let control = row.control(&Scene::new(), Wall::None).await;
    assert!(control.is_as_expected, "{}", control.got);
    let fate = row.ready(&Scene::new(), Wall::None).await.run().await;
    assert!(fate.is_as_expected, "{}", fate.got);
}

/// Busy in a way that has no host call.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn busy() {
    holds("cpu-and-time/spin").await;
}

/// No packet leaves.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn dial() {
    holds("network/udp-connect").await;
}

/// The last call that fits fits, the next one does not.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn flood() {
    holds("host-calls/one-call-more").await;
}

/// No more handles than granted.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn hold() {
    holds("handles/open-streams").await;
}

/// Memory is given out as zeroes.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn peek() {
    holds("leaks/memory-of-another").await;
}

/// A path leads where it may.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn reach() {
    holds("filesystem/read-above").await;
}

/// Work takes no time that a guest could see.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn stopwatch() {
    holds("clocks/measure-with-raw-calls").await;
}

/// The host allocates what it may, not what it is asked for.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn take() {
    holds("memory/zeroes").await;
}
