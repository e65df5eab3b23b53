//! Each special range at its first address, its last, and one beyond.

use super::*;
use crate::rules::http::{HttpLimits, Scheme};

fn grant(networks: &[&str]) -> HttpGrant {
    HttpGrant {
        methods: vec!["GET".into()],
        scheme: Scheme::Https,
        host: "api.example".into(),
        port: 443,
        path: "/".into(),
        networks: networks.iter().map(|&network| network.to_owned()).collect(),
        secrets: vec![],
        limits: HttpLimits { max_request_bytes: 0, max_response_bytes: 0, total_ms: 1, max_redirects: 0 },
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn refused(networks: &[&str], address: &str) -> Option<String> {
    judge_address(&grant(networks), ip(address)).err().map(|refusal| refusal.asked)
}

/// The first address, the last, what it is, and what lies before and after.
type Row = (&'static str, &'static str, &'static str, Option<&'static str>, Option<&'static str>);

#[test]
fn every_special_range_is_refused_from_its_first_address_to_its_last_and_not_beyond() {
    // `None` where another special range or nothing lies.
    let rows: [Row; 34] = [
        ("0.0.0.0", "0.255.255.255", "this network", None, Some("1.0.0.0")),
        ("10.0.0.0", "10.255.255.255", "private", Some("9.255.255.255"), Some("11.0.0.0")),
        ("100.64.0.0", "100.127.255.255", "carrier", Some("100.63.255.255"), Some("100.128.0.0")),
        ("127.0.0.0", "127.255.255.255", "loopback", Some("126.255.255.255"), Some("128.0.0.0")),
        ("168.63.129.16", "168.63.129.16", "metadata", Some("168.63.129.15"), Some("168.63.129.17")),
        ("169.254.0.0", "169.254.255.255", "link-local", Some("169.253.255.255"), Some("169.255.0.0")),
        ("172.16.0.0", "172.31.255.255", "private", Some("172.15.255.255"), Some("172.32.0.0")),
        ("192.0.0.0", "192.0.0.255", "protocols", Some("191.255.255.255"), Some("192.0.1.0")),
        ("192.0.2.0", "192.0.2.255", "documentation", Some("192.0.1.255"), Some("192.0.3.0")),
        ("192.88.99.0", "192.88.99.255", "6to4", Some("192.88.98.255"), Some("192.88.100.0")),
        ("192.168.0.0", "192.168.255.255", "private", Some("192.167.255.255"), Some("192.169.0.0")),
        ("198.18.0.0", "198.19.255.255", "benchmarking", Some("198.17.255.255"), Some("198.20.0.0")),
        ("198.51.100.0", "198.51.100.255", "documentation", Some("198.51.99.255"), Some("198.51.101.0")),
        ("203.0.113.0", "203.0.113.255", "documentation", Some("203.0.112.255"), Some("203.0.114.0")),
        ("224.0.0.0", "239.255.255.255", "multicast", Some("223.255.255.255"), None),
        ("240.0.0.0", "255.255.255.254", "reserved", None, None),
        ("255.255.255.255", "255.255.255.255", "broadcast", None, None),
        ("::", "::", "unspecified", None, None),
        ("::1", "::1", "loopback", None, None),
        ("::2", "::ffff:ffff", "old form", None, None),
        ("::ffff:0.0.0.0", "::ffff:255.255.255.255", "mapped", None, None),
        ("::ffff:0:0.0.0.0", "::ffff:0:255.255.255.255", "translated", None, None),
        ("64:ff9b::", "64:ff9b::ffff:ffff", "NAT64", None, None),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "NAT64", None, None),
        ("100::", "100::ffff:ffff:ffff:ffff", "discarded", None, None),
        ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo", Some("2000:ffff::"), None),
        ("2001:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "protocols", None, Some("2001:200::")),
        (
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "documentation",
            Some("2001:db7::"),
            Some("2001:db9::"),
        ),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4", Some("2001:ffff::"), Some("2003::")),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation", Some("3ffe:ffff::"), Some("3fff:1000::")),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private", None, None),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local", None, None),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local", None, None),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast", None, None),
    ];
    for (first, last, what, before, after) in rows {
        for address in [first, last] {
            let asked = refused(&[], address).unwrap_or_else(|| panic!("{address} is refused"));
            let named = asked.contains(what) || (address == "0.0.0.0" && asked.contains("unspecified"));
            assert!(named, "{address}: {asked}");
        }
        for address in [before, after].into_iter().flatten() {
            assert_eq!(refused(&[], address), None, "{address}");
        }
    }
}

#[test]
fn what_of_ipv6_is_not_given_out_is_refused() {
    for address in ["1fff:ffff::1", "4000::", "5f00::1", "100:0:0:1::", "64:ff9a::1", "::1:0:0:0", "f000::1"] {
        assert!(refused(&[], address).is_some_and(|asked| asked.contains("not given out")), "{address}");
    }
    for address in ["2000::", "2606:2800:220:1:248:1893:25c8:1946", "3fff:1000::", "2620:4f:8000::1"] {
        assert_eq!(refused(&[], address), None, "{address}");
    }
}

#[test]
fn metadata_of_clouds_is_named() {
    for address in ["169.254.169.254", "168.63.129.16", "fd00:ec2::254"] {
        assert!(refused(&[], address).is_some_and(|asked| asked.contains("metadata")), "{address}");
    }
    for address in ["100.100.100.200", "192.0.0.192", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"] {
        assert!(refused(&[], address).is_some(), "{address}");
    }
}

#[test]
fn an_ipv4_address_in_another_form_is_judged_by_both() {
    for (form, network, inside) in [
        ("::ffff:127.0.0.1", "::ffff:0:0/96", "127.0.0.0/8"),
        ("::127.0.0.1", "::/96", "127.0.0.0/8"),
        ("::ffff:0:127.0.0.1", "::ffff:0:0:0/96", "127.0.0.0/8"),
        ("64:ff9b::7f00:1", "64:ff9b::/96", "127.0.0.0/8"),
        ("64:ff9b:1::7f00:1", "64:ff9b:1::/48", "127.0.0.0/8"),
        ("2002:7f00:1::", "2002::/16", "127.0.0.0/8"),
        // Teredo: a public server, and a client whose bits are turned.
        ("2001:0:808:808:0:0:80ff:fffe", "2001::/32", "127.0.0.0/8"),
        ("2001:0:7f00:1:0:0:f7f7:f7f7", "2001::/32", "127.0.0.0/8"),
    ] {
        assert!(refused(&[], form).is_some(), "{form}");
        assert!(refused(&[inside], form).is_some(), "{form}: its form is not granted");
        let asked = refused(&[network], form).unwrap_or_else(|| panic!("{form}: what is inside is not granted"));
        assert!(asked.contains("127.0.0.1") && asked.contains("leads to"), "{asked}");
        assert_eq!(refused(&[network, inside], form), None, "{form}");
    }
    for (form, network) in [
        ("::ffff:8.8.8.8", "::ffff:0:0/96"),
        ("64:ff9b::808:808", "64:ff9b::/96"),
        ("2002:808:808::", "2002::/16"),
        ("2001:0:808:808:0:0:f7f7:f7f7", "2001::/32"),
    ] {
        assert!(refused(&[], form).is_some(), "{form}: a public address in another form");
        assert_eq!(refused(&[network], form), None, "{form}");
    }
}

#[test]
fn a_granted_network_is_open_from_its_first_address_to_its_last() {
    let networks = ["10.1.0.0/16", "fd00:1::/32"];
    for address in ["10.1.0.0", "10.1.255.255", "fd00:1::", "fd00:1:ffff:ffff:ffff:ffff:ffff:ffff", "8.8.8.8"] {
        assert_eq!(refused(&networks, address), None, "{address}");
    }
    for address in ["10.0.255.255", "10.2.0.0", "fd00:0:ffff::", "fd00:2::", "::ffff:10.1.0.1"] {
        assert!(refused(&networks, address).is_some(), "{address}");
    }
    assert_eq!(refused(&["0.0.0.0/0"], "127.0.0.1"), None);
    assert_eq!(refused(&["::/0"], "::1"), None);
    assert!(refused(&["::/0"], "127.0.0.1").is_some());
    assert!(refused(&["nonsense", "127.0.0.1"], "127.0.0.1").is_some());
}

#[test]
fn a_refusal_says_the_network_to_write() {
    let refusal = judge_address(&grant(&["10.0.0.0/8"]), ip("127.0.0.1")).expect_err("refused");
    assert_eq!(refusal.reason, Reason::NotGranted);
    assert_eq!(refusal.asked, "a connection to 127.0.0.1: loopback");
    assert_eq!(refusal.allowed, "public addresses and 10.0.0.0/8");
    assert_eq!(
        refusal.setting,
        "[[policy.http]] networks = [\"127.0.0.1/32\"] in the operator's file, in the rule for https://api.example"
    );
}

#[test]
fn a_network_is_written_in_one_way() {
    for text in ["10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32", "::/0", "fd00::/8", "::1/128"] {
        assert!(Network::parse(text).is_ok(), "{text}");
    }
    for text in [
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10/8",
        "::/129",
        "fe80::%1/10",
        "",
        "/8",
        "a/8",
        "10.0.0.0/8 ",
        "010.0.0.0/8",
    ] {
        assert!(Network::parse(text).is_err(), "{text}");
    }
}
