//! Attacks past the gate: sockets, names, packets. No job grants a socket, so the control is the same guest speaking to
//! the same machine through the gate, as a model that it was granted.

use std::sync::Arc;

use jidoka::rules::spec::Dialect;

use super::super::seen::{got_this, no};
use super::super::{Attack, Family, Scene, row};
use crate::bench::{Bench, http};
use crate::hostile;
use crate::provider::{Behaviour, FakeProvider};

const DIALLED: &str = "dialled";

fn dial(scene: &Scene, how: &str, address: &str) -> Bench {
    scene.guest(hostile::DIAL).set("task", &format!("inputs = {{ how = {how:?}, address = {address:?} }}"))
}

/// The guest asks a model that is served on loopback.
async fn through_the_gate(scene: Arc<Scene>) -> Bench {
    let provider = FakeProvider::start(vec![Behaviour::Text("heard".into())]).await;
    let bench = dial(&scene, "model", "none").model(http(&provider, Dialect::Openai));
    scene.keep(provider);
    bench
}

/// A call past the gate. `None`: to the scene's own listener, which must not hear of it.
fn past(name: &'static str, tries: &'static str, how: &'static str, address: Option<&'static str>) -> Attack {
    row(Family::Network, name, tries)
        .attack(
            move |scene| match address {
                Some(address) => dial(scene, how, address),
                None => dial(scene, how, &scene.address().to_string()),
            },
            "no-progress",
            no(DIALLED),
        )
        .control_made(
            Arc::new(|scene| Box::pin(through_the_gate(scene))),
            "no-progress",
            got_this(DIALLED, "\"heard\""),
        )
}

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        past("tcp-loopback", "connects to a server of the host", "tcp", None),
        past("tcp-loopback-v6", "connects to the host's own sixth-version address", "tcp", Some("[::1]:80")),
        past("tcp-mapped", "connects to loopback in its mapped form", "tcp", Some("[::ffff:127.0.0.1]:80")),
        past("tcp-metadata", "connects to the cloud's metadata service", "tcp", Some("169.254.169.254:80")),
        past("tcp-private", "connects to the network behind the host", "tcp", Some("10.0.0.1:22")),
        past("tcp-any", "connects to the address that means this host", "tcp", Some("0.0.0.0:80")),
        past("listen", "listens for others", "listen", Some("127.0.0.1:0")),
        past("listen-everywhere", "listens on every address", "listen", Some("[::]:0")),
        past("udp-send", "sends a packet", "udp", None),
        past("udp-connect", "connects a packet socket, then sends", "udp connected", None),
        past("resolve-name", "carries data out in a name to resolve", "name", Some("canary.example.com:53")),
        past("resolve-localhost", "asks who this machine is", "name", Some("localhost:80")),
    ]
}
