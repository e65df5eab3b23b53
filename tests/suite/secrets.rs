//! A secret goes to its server and nowhere else: after whole runs of every kind no byte that the host keeps, exports or
//! shows has it, in any spelling.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jidoka::doors::fetch::Web;
use jidoka::doors::secret::{HeldSecret, Secret};
use jidoka::rules::http::{HttpGrant, Site};
use jidoka::rules::secret::Placement;
use jidoka::rules::spec::Wall;
use jidoka_tests::attacks::server::{Answer, LyingNames, Server};
use jidoka_tests::bench::{Bench, End};
use jidoka_tests::web::grant;
use jidoka_tests::{hostile, plain};

use crate::export::exported;

const CANARY: &str = "canary/K3y+012=%";

/// As it is, as an address has it, as JSON may have it, and in base64 at each of the three places where it may begin.
const SPELLED: [&str; 8] =
    ["canary/K3y", "canary%2FK3y", "canary%2fK3y", "canary\\/K3y", "Y2FuYXJ5", "NhbmFyeS", "jYW5hcn", "63616e617279"];

fn has_secret(bytes: &[u8]) -> bool {
    SPELLED.iter().any(|piece| bytes.windows(piece.len()).any(|window| window == piece.as_bytes()))
}

/// Files below `dir`, and which of them have the secret.
fn searched(dir: &Path) -> (usize, Vec<String>) {
    let (mut files, mut leaks) = (0, Vec::new());
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            let (more, found) = searched(&path);
            files += more;
            leaks.extend(found);
        } else {
            files += 1;
            let name = path.display().to_string();
            if has_secret(&std::fs::read(&path).unwrap()) || has_secret(name.as_bytes()) {
                leaks.push(name);
            }
        }
    }
    (files, leaks)
}

/// A way to a server by the name `api.test`, with the canary in a header.
fn with_secret(port: u16) -> (Web, HttpGrant) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), CANARY).unwrap();
    let mut granted = grant(&["GET"], "/v1/");
    granted.host = "api.test".to_owned();
    granted.port = port;
    granted.networks = vec!["127.0.0.0/8".to_owned()];
    granted.secrets = vec!["key".to_owned()];
    granted.limits.max_redirects = 1;
    let held = HeldSecret {
        secret: Secret::from_file(&dir.path().join("key")).unwrap(),
        origins: vec![Site { scheme: granted.scheme, host: granted.host.clone(), port }],
        placement: Placement::Header { name: "authorization".into(), prefix: "Bearer ".into() },
    };
    (Web::new(Arc::new(LyingNames::new(&[&["127.0.0.1"]])), BTreeMap::from([("key".to_owned(), held)])), granted)
}

async fn holds(name: &str, end: &End) {
    let (files, leaks) = searched(end.home.dir());
    assert!(files > 2, "{name}: there was something to search");
    assert_eq!(leaks, [""; 0], "{name}");
    assert!(!has_secret(end.journal().as_bytes()), "{name}");
    assert!(!has_secret(format!("{:?}{:?}", end.entries, end.record).as_bytes()), "{name}");
    assert!(!has_secret(&exported(&end.home.state(), &end.record.serial).await), "{name}");
}

#[test]
fn a_secret_that_was_kept_would_be_found() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("below")).unwrap();
    for kept in [CANARY, "canary%2FK3y%2B012%3D%25", "Y2FuYXJ5L0szeSswMTI9JQ=="] {
        std::fs::write(dir.path().join("below/file"), format!("\0before {kept} after")).unwrap();
        assert_eq!(searched(dir.path()).1.len(), 1, "{kept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_nowhere_but_at_its_server() {
    let raw = |text: &str| Answer::Raw(text.to_owned());
    for (name, answer, verdict) in [
        ("granted and echoed", Answer::Echo(200), "accepted"),
        ("echoed in an error", Answer::Echo(401), "accepted"),
        ("a broken reply", raw("HTTP/1.1 200 canary/K3y+012=%\r\ncanary/K3y+012=%\r\n\r\n"), "no-progress"),
        ("a connection that ends", raw(""), "no-progress"),
        ("a refused redirect", Answer::Redirect(302, "http://evil.test/?canary/K3y+012=%".into()), "no-progress"),
    ] {
        for wall in [Wall::None, Wall::Process] {
            let server = Server::start(answer.clone()).await;
            let (web, grant) = with_secret(server.port());
            let url = format!("http://api.test:{}/v1/page", server.port());
            let inputs = format!("inputs = {{ method = \"GET\", url = {url:?}, send = \"0\" }}");
            let bench = Bench::new(hostile::HTTP_REACH).set("task", &inputs).web(Arc::new(web), &[grant]);
            let end = bench.behind(wall).run().await;
            end.expect(verdict);
            assert!(server.heard().iter().any(|heard| has_secret(heard.as_bytes())), "{name}: the server was given it");
            holds(name, &end).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_traps_or_prints_has_no_secret_to_leave_behind() {
    for (lines, verdict) in
        [(["get URL", "panic", "done never"], "trapped"), (["get URL", "attach proof", "done ready"], "accepted")]
    {
        for wall in [Wall::None, Wall::Process] {
            let server = Server::start(Answer::Echo(200)).await;
            let (web, grant) = with_secret(server.port());
            let url = format!("http://api.test:{}/v1/page", server.port());
            let text = lines.join("\\n").replace("URL", &url);
            let bench = Bench::new(plain::SCRIPT).set("task", &format!("text = \"{text}\""));
            let end = bench.web(Arc::new(web), &[grant]).behind(wall).run().await;
            end.expect(verdict);
            assert!(has_secret(server.heard()[0].as_bytes()), "the server was given it");
            assert!(end.notes().iter().any(|note| note.contains("[secret]")), "{:?}", end.notes());
            holds(verdict, &end).await;
        }
    }
}
