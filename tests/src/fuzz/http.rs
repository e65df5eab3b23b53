//! A request of a guest under grants of anybody's making, and an address to dial.
//!
//! The first 16 bytes are an address (of IPv4 if the first one is odd: the last four). Then come lines: the method, the address of
//! the request, its headers as `name: value` up to an empty line, and grants as `METHOD SCHEME HOST PORT PATH NETWORK..`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jidoka::rules::address::judge_address;
use jidoka::rules::effect::Refusal;
use jidoka::rules::egress::{Target, is_of_the_host, is_token, judged};
use jidoka::rules::http::{HttpBody, HttpGrant, HttpLimits, HttpRequest, Scheme};

/// Characters of one part of a refusal: it lists a few grants, and what a guest gave is cut.
const MOST_REFUSAL_CHARS: usize = 128 << 10;

/// The body of the target `http`.
pub fn run(bytes: &[u8]) {
    let Some((address, text)) = bytes.split_first_chunk::<16>() else { return };
    let text = String::from_utf8_lossy(text);
    let mut lines = text.split('\n');
    let (method, url) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let headers = lines.by_ref().take_while(|line| !line.is_empty());
    let headers = headers.map(|line| line.split_once(": ").unwrap_or((line, "")));
    let request = HttpRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: HttpBody(Vec::new()),
    };
    let grants: Vec<HttpGrant> = lines.filter_map(grant).collect();
    match judged(&grants, &request) {
        Ok((grant, target)) => covered(grant, &target, &request),
        Err(refusal) => hold(&refusal),
    }
    for grant in &grants {
        dialled(grant, address_of(address));
    }
    dialled(&open(&[]), address_of(address));
    assert_eq!(judge_address(&open(&["0.0.0.0/0", "::/0"]), address_of(address)), Ok(()));
}

fn grant(line: &str) -> Option<HttpGrant> {
    // What a file says was read before it becomes a grant: it has no such characters.
    let words: Vec<&str> = line.split(' ').filter(|word| !word.contains(char::is_control)).collect();
    let [method, scheme, host, port, path, networks @ ..] = &words[..] else { return None };
    Some(HttpGrant {
        methods: vec![(*method).to_owned()],
        scheme: if *scheme == "http" { Scheme::Http } else { Scheme::Https },
        host: (*host).to_owned(),
        port: port.parse().ok()?,
        path: (*path).to_owned(),
        ..open(networks)
    })
}

fn open(networks: &[&str]) -> HttpGrant {
    HttpGrant {
        methods: vec!["GET".to_owned()],
        scheme: Scheme::Https,
        host: "example.com".to_owned(),
        port: 443,
        path: "/".to_owned(),
        networks: networks.iter().map(|&network| network.to_owned()).collect(),
        secrets: Vec::new(),
        limits: HttpLimits { max_request_bytes: 1, max_response_bytes: 1, total_ms: 1, max_redirects: 0 },
    }
}

/// What was let through is what the grant says, by a second reading of the text.
fn covered(grant: &HttpGrant, target: &Target, request: &HttpRequest) {
    let (site, sent) = (target.site(), target.url().as_str());
    assert!(grant.methods.contains(&request.method), "{grant:?}");
    assert_eq!((site.scheme, site.port), (grant.scheme, grant.port));
    match grant.host.strip_prefix('*') {
        Some(below) => assert!(site.host.ends_with(below) && site.host.len() > below.len(), "{sent}"),
        None => assert_eq!(site.host, grant.host),
    }
    assert!(target.path().starts_with(&grant.path), "{sent}");
    assert!(!target.path().split('/').any(|part| matches!(part, "." | "..")), "{sent}");
    assert!(
        !sent.contains(['@', '\\', '#', ' ']) || sent.split(['/', '?']).nth(2).is_some_and(|host| !host.contains('@'))
    );
    assert_eq!(&Target::parse(sent).expect("what is sent can be read"), target);
    // A name is the text between the slashes; an address of numbers may be spelled in many ways, and is judged when it is dialled.
    if let Some(name) = target.url().domain() {
        let rest = request.url.split_once("://").expect("is absolute").1;
        let host = rest.split(['/', '?', ':']).next().expect("has a first part");
        assert_eq!(host.to_ascii_lowercase(), name);
    }
    for (name, value) in &request.headers {
        assert!(is_token(name) && !is_of_the_host(name), "{name:?}");
        assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
    }
}

fn address_of(bytes: &[u8; 16]) -> IpAddr {
    match bytes[0] % 2 {
        0 => IpAddr::V6(Ipv6Addr::from(*bytes)),
        _ => IpAddr::V4(Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15])),
    }
}

/// An address that no network was granted for is one that the standard library has nothing against either.
fn dialled(grant: &HttpGrant, address: IpAddr) {
    match (judge_address(grant, address), address) {
        (Err(refusal), _) => hold(&refusal),
        (Ok(()), _) if !grant.networks.is_empty() => {}
        (Ok(()), IpAddr::V4(address)) => public(address),
        (Ok(()), IpAddr::V6(address)) => {
            assert!(!address.is_loopback() && !address.is_unspecified() && !address.is_multicast(), "{address}");
            assert!(!address.is_unique_local() && !address.is_unicast_link_local(), "{address}");
            if let Some(inside) = address.to_ipv4() {
                public(inside);
            }
        }
    }
}

fn public(address: Ipv4Addr) {
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_unspecified();
    assert!(!special, "{address}");
}

/// A refusal is shown to people and written down.
fn hold(refusal: &Refusal) {
    for text in [&refusal.asked, &refusal.setting] {
        assert!(!text.contains(|char: char| char.is_control()), "{text:?}");
        assert!(text.chars().count() <= MOST_REFUSAL_CHARS, "{} characters", text.chars().count());
    }
}
