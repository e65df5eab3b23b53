//! Attacks on what the host knows and a guest must not: its environment, its processes, its keys.

use std::sync::Arc;

use jidoka::doors::provider::HttpModel;
use jidoka::doors::secret::Secret;
use jidoka::rules::spec::{Dialect, Provider};

use super::super::scene::SECRET;
use super::super::seen::{got, no, noted, seen, that};
use super::super::{Attack, Family, Scene, Seen, row};
use super::filesystem::reach;
use crate::bench::Bench;
use crate::hostile;
use crate::provider::{Behaviour, FakeProvider};

/// What the guest noted of its surroundings.
fn surroundings(
    name: &'static str,
    tries: &'static str,
    nothing: &'static str,
    granted: (&'static str, &'static str),
) -> Attack {
    let (line, something) = granted;
    row(Family::Secrets, name, tries)
        .attack(|scene| scene.guest(hostile::ENVIRONMENT), "no-progress", noted(nothing))
        .control(move |scene| scene.guest(hostile::ENVIRONMENT).set("worker", line), "no-progress", noted(something))
}

/// A file of the host's that tells something of it.
fn reads(name: &'static str, tries: &'static str, path: &'static str) -> Attack {
    row(Family::Secrets, name, tries)
        .attack(move |scene| reach(scene, "read", path).no_apply(), "no-progress", no("reached"))
        .control(|scene| reach(scene, "read", "a.txt"), "no-progress", got("reached"))
}

/// Asks a provider that has the operator's key, and does this with it.
fn with_key(does: Behaviour) -> super::super::Made {
    Arc::new(move |scene: Arc<Scene>| {
        let does = does.clone();
        Box::pin(async move {
            let elsewhere = format!("http://{}/v1", scene.address());
            let does = if let Behaviour::Redirect(_) = does { Behaviour::Redirect(elsewhere) } else { does };
            let provider = FakeProvider::start(vec![does]).await;
            let at = Provider::new(Dialect::Openai, provider.url(), "fake");
            let key = Secret::from_file(&scene.outside().join("secret")).expect("a key");
            let model = HttpModel::new(&at, Some(key)).expect("loopback is allowed");
            let task = "inputs = { how = \"model\", address = \"none\" }";
            let bench: Bench = scene.guest(hostile::DIAL).set("task", task).model(Arc::new(model));
            scene.keep(provider);
            bench
        })
    })
}

/// The provider was given the key, so that there was something to leak; that nothing of it is kept is looked at always.
fn key_was_sent() -> Seen {
    seen("the key was sent, and is nowhere else", |end, scene| {
        let sent = scene.asked().iter().any(|seen| seen.headers.iter().any(|(_, value)| value.contains(SECRET)));
        let heard = end.notes().iter().any(|note| note.contains(SECRET));
        match (sent, heard) {
            (true, false) => Ok(()),
            (false, _) => Err("the provider was given no key".to_owned()),
            (_, true) => Err("the guest heard the key".to_owned()),
        }
    })
}

fn key(name: &'static str, tries: &'static str, does: Behaviour, met: Seen) -> Attack {
    row(Family::Secrets, name, tries).attack_made(with_key(does), "no-progress", key_was_sent().and(met)).control_made(
        with_key(Behaviour::Text("heard".into())),
        "no-progress",
        key_was_sent().and(super::super::seen::got_this("dialled", "\"heard\"")),
    )
}

pub(super) fn attacks() -> Vec<Attack> {
    let heard = || that("it heard something", |end| end.notes().iter().any(|note| note.starts_with("dialled")));
    vec![
        surroundings(
            "variables",
            "reads the variables of the host",
            "vars []",
            ("env = { ONLY = \"this\" }", "vars [(\"ONLY\", \"this\")]"),
        ),
        surroundings(
            "arguments",
            "reads the command line of the host",
            "args []",
            ("args = [\"one\"]", "args [\"one\"]"),
        ),
        surroundings(
            "input",
            "reads what is typed on the host's terminal",
            "stdin Ok(0) \"\"",
            ("args = [\"one\"]", "preopens [\"/work\", \"/context\"]"),
        ),
        surroundings(
            "directory",
            "asks where the host was started",
            "cwd None",
            ("args = [\"one\"]", "preopens [\"/work\", \"/context\"]"),
        ),
        reads("proc-environ", "reads the host's variables as a file", "/proc/self/environ"),
        reads("proc-environ-by-dots", "reads them by climbing", "../../../../../../../../../proc/self/environ"),
        reads("proc-memory", "reads the host's memory", "/proc/self/mem"),
        reads("proc-maps", "reads where things lie in the host's memory", "/proc/self/maps"),
        reads("proc-descriptors", "reads through the host's open files", "/proc/self/fd/0"),
        reads("proc-root", "climbs by a link of the kernel", "/proc/self/root/etc/passwd"),
        reads("password-file", "reads the host's users", "/etc/shadow"),
        reads("home", "reads a key of the one who started the host", "/root/.ssh/id_ed25519"),
        reads("device", "reads a device", "/dev/kmsg"),
        key("key-echoed", "asks a model that answers with the key it was given", Behaviour::EchoKey, heard()),
        key(
            "key-in-error",
            "asks a model that fails with the key in its words",
            Behaviour::EchoKeyInError(400),
            no("dialled"),
        ),
        key(
            "key-redirected",
            "asks a model that sends its caller elsewhere",
            Behaviour::Redirect(String::new()),
            no("dialled"),
        ),
    ]
}
