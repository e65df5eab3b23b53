//! Name servers that lie.

use super::*;

#[tokio::test]
async fn every_address_of_a_name_is_judged_before_one_is_dialled() {
    let server = Server::saying(ok("x")).await;
    let granted = grant("api.example", server.port);
    let open = HttpGrant { networks: vec![], ..granted.clone() };
    let many: Vec<&str> = vec!["127.0.0.1"; 64];
    for (answer, grant) in [
        (&["127.0.0.1"][..], &granted),
        (&["127.0.0.1", "127.0.0.1"], &granted),
        // Public ones beside it are not refused, and not needed.
        (&["127.0.0.1", "8.8.8.8"], &granted),
        (&many, &granted),
    ] {
        assert_eq!(body(&reply(&web(names(&[answer])), get(&server.url("/")), std::slice::from_ref(grant)).await), "x");
    }
    let before = server.heard().len();
    for (answer, grant) in [
        (&["127.0.0.1"][..], &open),
        (&["8.8.8.8", "127.0.0.1"], &open),
        (&["127.0.0.1", "10.0.0.1"], &granted),
        (&["127.0.0.1", "169.254.169.254"], &granted),
        (&["127.0.0.1", "fd00:ec2::254"], &granted),
        (&["::1"], &granted),
        (&["::ffff:127.0.0.1"], &granted),
        (&["64:ff9b::7f00:1"], &granted),
        (&["::127.0.0.1"], &granted),
        (&["2002:7f00:1::"], &granted),
        (&["0.0.0.0"], &granted),
    ] {
        let refusal = refused(&web(names(&[answer])), get(&server.url("/")), std::slice::from_ref(grant)).await;
        assert_eq!(refusal.reason, Reason::NotGranted, "{answer:?}");
        assert!(refusal.asked.starts_with("a connection to "), "{}", refusal.asked);
        assert!(refusal.setting.contains("networks = ["), "{}", refusal.setting);
    }
    assert_eq!(server.heard().len(), before);
}

#[tokio::test]
async fn a_name_with_no_address_or_with_thousands_is_nobody() {
    let server = Server::saying(ok("x")).await;
    let grants = [grant("api.example", server.port)];
    for (count, why) in [(0, "has no address"), (65, "has 65 addresses"), (5_000, "has 5000 addresses")] {
        let (kind, message) = failure(&web(names(&[&vec!["127.0.0.1"; count]])), get(&server.url("/")), &grants).await;
        assert_eq!(kind, FailureKind::Unavailable);
        assert!(message.contains(why), "{message}");
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_each_request_and_judged_each_time() {
    let server = Server::new(|number, _| match number {
        0 => (redirect(302, "/again").into(), Then::Close),
        _ => (ok("x").into(), Then::Close),
    })
    .await;
    let grants = [grant("api.example", server.port)];
    // The second answer would be dialled if a client asked again for itself.
    let turning = names(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let refusal = refused(&web(Arc::clone(&turning)), get(&server.url("/")), &grants).await;
    assert_eq!(refusal.asked, "after a redirect, a connection to 10.0.0.1: private");
    assert_eq!(*turning.asked.lock().unwrap(), ["api.example", "api.example"]);
    assert_eq!(server.heard().len(), 1);
    let turning = names(&[&["127.0.0.1"], &["10.0.0.1"]]);
    assert_eq!(body(&reply(&web(Arc::clone(&turning)), get(&server.url("/")), &grants).await), "x");
    assert_eq!(turning.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_address_of_numbers_is_judged_as_it_will_be_dialled() {
    let server = Server::saying(ok("x")).await;
    let port = server.port;
    let granted = grant("127.0.0.1", port);
    for host in ["127.0.0.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.1"] {
        let request = get(&format!("http://{host}:{port}/"));
        let names = names(&[&["8.8.8.8"]]);
        let web = web(Arc::clone(&names));
        assert_eq!(body(&reply(&web, request.clone(), std::slice::from_ref(&granted)).await), "x", "{host}");
        let closed = HttpGrant { networks: vec![], ..granted.clone() };
        assert_eq!(refused(&web, request, &[closed]).await.asked, "a connection to 127.0.0.1: loopback", "{host}");
        assert!(names.asked.lock().unwrap().is_empty(), "numbers are nobody's name");
    }
    for (host, what) in [
        ("[::ffff:127.0.0.1]", "IPv4 mapped"),
        ("[64:ff9b::7f00:1]", "IPv4 behind NAT64"),
        ("[::1]", "loopback"),
        ("169.254.169.254", "metadata of a cloud"),
        ("0.0.0.0", "unspecified"),
    ] {
        let granted = Target::parse(&format!("http://{host}/")).expect("an address").site().host;
        let request = get(&format!("http://{host}:{port}/"));
        let refusal = refused(&web(here()), request, &[grant(&granted, port)]).await;
        assert!(refusal.asked.contains(what), "{host}: {}", refusal.asked);
    }
}

#[tokio::test]
async fn the_next_address_is_tried_if_one_does_not_answer() {
    let server = Server::saying(ok("x")).await;
    // Nobody listens at the first.
    let names = names(&[&["127.0.0.9", "127.0.0.1"]]);
    assert_eq!(body(&reply(&web(names), get(&server.url("/")), &[grant("api.example", server.port)]).await), "x");
}

#[tokio::test]
async fn the_machine_knows_its_own_name() {
    let found = crate::doors::names::SystemNames.look_up("localhost").await.expect("it is in every file of hosts");
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    assert!(crate::doors::names::SystemNames.look_up("no such name").await.is_err());
}
