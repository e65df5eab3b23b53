//! Attacks on what a guest can find out: environment, clocks, chance, network.

use std::net::{TcpListener, UdpSocket};

use jidoka_tests::hostile;

use super::*;

/// What no job grants is refused with the words of the refusal, and nothing else happens.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn ungranted() {
    let end = Bench::new(hostile::UNGRANTED).run().await;
    end.expect("no-progress");
    for step in ["tool", "tools", "child", "children", "human", "no options"] {
        let told = told(&end, step);
        assert!(told.starts_with("no, refused ") && told.contains("the job does not grant it"), "{step}: {told}");
        let setting = match step {
            "human" | "no options" => "[grants] human = true",
            "tool" | "tools" => "[grants] tools",
            _ => "[grants] children = [\"copy\"]",
        };
        assert!(told.contains(setting), "{step}: {told}");
    }
    assert!(end.notes().contains(&"catalogue 0"));
    assert!(end.record.capabilities.used.is_empty());
}

/// The environment of a guest is what its job says, and nothing of the host's.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn environment() {
    // The process that the tests run in has variables of its own, whatever starts it.
    assert!(std::env::vars().any(|(name, _)| name == "PATH"));
    let end = Bench::new(hostile::ENVIRONMENT)
        .set("worker", "env = { ONLY = \"this\" }")
        .set("worker", "args = [\"one\"]")
        .run()
        .await;
    end.expect("no-progress");
    let expected = [
        "vars [(\"ONLY\", \"this\")]",
        "args [\"one\"]",
        "cwd None",
        "stdin Ok(0) \"\"",
        "preopens [\"/work\", \"/context\"]",
    ];
    assert_eq!(end.notes(), expected);

    let end = Bench::new(hostile::ENVIRONMENT)
        .set("grants", "files = \"none\"")
        .set("done", "marks = [\"artifact\"]")
        .unset("done", "tree")
        .run()
        .await;
    assert_eq!(end.notes()[..2], ["vars []", "args []"]);
    assert_eq!(end.notes().last(), Some(&"preopens []"));
}

/// The same seed gives the same chance to every source, another seed another.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn chances() {
    let draw = async |seed: u64| {
        let end = Bench::new(hostile::CHANCES).set("", &format!("seed = {seed}")).run().await;
        end.expect("no-progress");
        end.notes().into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let (first, again, other) = (draw(7).await, draw(7).await, draw(8).await);
    assert_eq!(first.len(), 6);
    assert_eq!(first, again);
    for (first, other) in first.iter().zip(&other) {
        assert_ne!(first, other);
    }
}

/// No clock of the host shows: files have one time, directories one order, and work takes no time.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn times() {
    let look = async || {
        let end = Bench::new(hostile::TIMES).file("old", "o").run().await;
        end.expect("accepted");
        end.notes().into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let (first, again) = (look().await, look().await);
    assert_eq!(
        first[1..4],
        ["names a,b,dir,k,m,old,z", "distinct times 1", "links {1}"].map(str::to_owned)[..],
        "{first:#?}"
    );
    assert_eq!(first, again);
    assert!(first.last().unwrap().starts_with("elapsed "), "{first:#?}");
}

/// Every socket is denied with an error that a program can live with, and no packet leaves.
#[tokio::test(flavor = "multi_thread")]
pub(super) async fn network() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    tcp.set_nonblocking(true).unwrap();
    let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
    udp.set_nonblocking(true).unwrap();
    let address = tcp.local_addr().unwrap();
    let end = Bench::new(hostile::NETWORK).set("task", &input("address", address)).run().await;
    end.expect("no-progress");
    nothing_went_through(&end);
    assert!(tcp.accept().is_err());
    assert!(udp.recv(&mut [0; 16]).is_err());
}
