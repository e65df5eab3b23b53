//! The words of an HTTP exchange: what a guest asks, what comes back, and the grants that say to whom it may speak.
//!
//! Never: resolves a name, opens a connection. Absent means denied: no list stands for "any".

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::address::judge_address;
pub use super::egress::judge;

/// Methods that there can be a grant for. `CONNECT` would be a tunnel to anywhere, and `TRACE` says back what the host
/// put into a request.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One request, as a guest makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// In capitals.
    pub method: String,
    /// Absolute, `http` or `https`, without a user and without a fragment.
    pub url: String,
    /// In the guest's order, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: HttpBody,
}

/// What came back, after all redirects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpReply {
    pub status: u16,
    /// In the server's order, those of one name together, names in lower case; those of the connection are left out.
    pub headers: Vec<(String, String)>,
    pub body: HttpBody,
    /// Redirects that were followed.
    #[serde(default)]
    pub redirects: u32,
}

/// Bytes of a message: as text where they are text, so that a journal can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct HttpBody(pub Vec<u8>);

/// A body as the journal has it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Written {
    Text(String),
    /// Two digits a byte.
    Hex(String),
}

impl From<HttpBody> for Written {
    fn from(HttpBody(bytes): HttpBody) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Written::Text(text),
            Err(other) => Written::Hex(other.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}

impl TryFrom<Written> for HttpBody {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let hex = match written {
            Written::Text(text) => return Ok(Self(text.into_bytes())),
            Written::Hex(hex) => hex,
        };
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        bytes.map(Self).ok_or("a body is not in hexadecimal digits")
    }
}

/// To whom a guest may speak, and how much: one rule of the job that the operator's policy covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGrant {
    /// In capitals, at least one.
    pub methods: Vec<String>,
    pub scheme: Scheme,
    /// In lower case; `*.` at its start stands for any names below the rest, and not for the rest itself.
    pub host: String,
    pub port: u16,
    /// The start of the path if it ends with `/`, else the whole path.
    pub path: String,
    /// Addresses that are not public and may be dialled all the same, as `10.0.0.0/8`: the operator says so.
    pub networks: Vec<String>,
    /// Names of the secrets that the host puts into its requests.
    pub secrets: Vec<String>,
    pub limits: HttpLimits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As an address begins.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port of an address that names none.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A server as an address names it: what the web calls an origin. Two that differ in anything are two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Site {
    pub scheme: Scheme,
    /// In lower case; an IPv6 address in brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Site {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", self.scheme.name(), self.host)?;
        if self.port == self.scheme.port() { Ok(()) } else { write!(out, ":{}", self.port) }
    }
}

impl HttpGrant {
    /// Of whom it speaks; the host may begin with `*.`.
    pub fn site(&self) -> Site {
        Site { scheme: self.scheme, host: self.host.clone(), port: self.port }
    }

    /// Whether it is for a place: a server and a path, as [`Target`](super::egress::Target) has them, or as another
    /// grant has them.
    pub fn covers(&self, site: &Site, path: &str) -> bool {
        let below = if self.path.ends_with('/') { path.starts_with(&self.path) } else { path == self.path };
        self.scheme == site.scheme && self.port == site.port && host_is_within(&site.host, &self.host) && below
    }
}

/// What a person reads of a grant: its methods and its place.
impl fmt::Display for HttpGrant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}{}", self.methods.join(", "), self.site(), self.path)
    }
}

/// Whether a host is the one that a pattern names or, of `*.rest`, one below the rest. A host that is a pattern itself is
/// within another if all that it stands for is.
fn host_is_within(host: &str, pattern: &str) -> bool {
    match pattern.strip_prefix('*') {
        None => host == pattern,
        // An address of numbers has no names below it.
        Some(_) if is_address(host) => false,
        // `.rest`, with something before it.
        Some(rest) => !host.starts_with('.') && host.ends_with(rest) && rest.starts_with('.'),
    }
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Bounds on one exchange, its redirects included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpLimits {
    /// Bytes of the request's body.
    pub max_request_bytes: u64,
    /// Bytes of the reply's body.
    pub max_response_bytes: u64,
    /// From the look-up of the name to the last byte.
    pub total_ms: u64,
    /// Redirects that are followed; 0: the guest gets the redirect itself.
    pub max_redirects: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(host: &str, path: &str) -> HttpGrant {
        HttpGrant {
            methods: vec!["GET".into()],
            scheme: Scheme::Https,
            host: host.into(),
            port: 443,
            path: path.into(),
            networks: vec![],
            secrets: vec![],
            limits: HttpLimits { max_request_bytes: 0, max_response_bytes: 0, total_ms: 1, max_redirects: 0 },
        }
    }

    #[test]
    fn a_wildcard_is_for_names_below_and_for_nothing_that_only_ends_alike() {
        for (pattern, host, within) in [
            ("a.example", "a.example", true),
            ("a.example", "b.a.example", false),
            ("a.example", "xa.example", false),
            ("*.a.example", "b.a.example", true),
            ("*.a.example", "c.b.a.example", true),
            ("*.a.example", "*.b.a.example", true),
            ("*.a.example", "*.a.example", true),
            ("*.a.example", "a.example", false),
            ("*.a.example", ".a.example", false),
            ("*.a.example", "xa.example", false),
            ("*.a.example", "a.example.evil", false),
            ("*.b.a.example", "*.a.example", false),
            ("*.0.0.1", "127.0.0.1", false),
            ("*", "anything.example", false),
            ("*a.example", "xa.example", false),
            ("[::1]", "[::1]", true),
        ] {
            let site = Site { host: host.into(), ..grant("", "").site() };
            assert_eq!(grant(pattern, "/").covers(&site, "/"), within, "{pattern} {host}");
        }
    }

    #[test]
    fn a_path_is_covered_from_a_slash_on_or_whole() {
        for (granted, path, covered) in [
            ("/", "/", true),
            ("/", "/any/thing", true),
            ("/v1/", "/v1/", true),
            ("/v1/", "/v1/x", true),
            ("/v1/", "/v1", false),
            ("/v1/", "/v10", false),
            ("/v1/", "/V1/x", false),
            ("/v1", "/v1", true),
            ("/v1", "/v1/x", false),
            ("/v1", "/v1x", false),
        ] {
            let grant = grant("a.example", granted);
            assert_eq!(grant.covers(&grant.site(), path), covered, "{granted} {path}");
        }
        let base = grant("a.example", "/");
        for other in [
            Site { scheme: Scheme::Http, ..base.site() },
            Site { port: 444, ..base.site() },
            Site { host: "b.example".into(), ..base.site() },
        ] {
            assert!(!base.covers(&other, "/"), "{other}");
        }
    }

    #[test]
    fn a_site_is_shown_as_people_write_it() {
        let site = |scheme, port| Site { scheme, host: "a.example".into(), port }.to_string();
        assert_eq!(site(Scheme::Https, 443), "https://a.example");
        assert_eq!(site(Scheme::Http, 443), "http://a.example:443");
        assert_eq!(site(Scheme::Http, 80), "http://a.example");
    }

    #[test]
    fn a_body_is_written_as_text_where_it_is_text_and_comes_back_byte_for_byte() {
        for (bytes, written) in [(&b"plain"[..], r#"{"text":"plain"}"#), (&[0xff, 0x00][..], r#"{"hex":"ff00"}"#)] {
            let body = HttpBody(bytes.to_vec());
            assert_eq!(serde_json::to_string(&body).expect("plain data"), written);
            assert_eq!(serde_json::from_str::<HttpBody>(written).expect("its own words"), body);
        }
        assert!(serde_json::from_str::<HttpBody>(r#"{"hex":"f"}"#).is_err());
        assert!(serde_json::from_str::<HttpBody>(r#"{"hex":"+f"}"#).is_err());
    }
}
