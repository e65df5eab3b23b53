//! Guests that attack, one test each, named as the guest: the macro at the end fails to compile without it.

use jidoka_tests::bench::Bench;
use jidoka_tests::{for_each_hostile_guest, hostile};

#[tokio::test(flavor = "multi_thread")]
async fn spin() {
    let end = Bench::new(hostile::SPIN).wall("200ms").run().await;
    end.expect("exhausted");
    assert_eq!(end.record.detail["line"], "wall-ms");
}

macro_rules! has_a_test {
    ($name:ident) => {
        const _: fn() = || drop($name);
    };
}
for_each_hostile_guest!(has_a_test);
