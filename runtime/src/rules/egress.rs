//! Whether a request may leave: its address, its headers, its size, and the grant that covers it.
//!
//! Never: resolves a name, opens a connection, mends what is ambiguous. An address is read once, by the parser of the web,
//! and what was read is what is judged and what is sent: [`Target`]. Where two readers could see two addresses in a text,
//! the text is refused. Of several grants that cover a request the first one counts.

use url::{Host, Url};

use super::effect::{Reason, Refusal};
use super::http::{HttpGrant, HttpRequest, METHODS, Scheme, Site};

/// Bytes of an address. Servers take 8 KiB and less.
pub const MAX_URL_BYTES: usize = 8 << 10;
/// Headers of a request: servers refuse more than 100.
pub const MAX_HEADERS: usize = 64;
/// Bytes of one header, its name and its value.
pub const MAX_HEADER_BYTES: usize = 8 << 10;
/// Bytes of all headers.
pub const MAX_HEADERS_BYTES: usize = 32 << 10;

/// Headers that say how a message is carried, or to whom: the host writes them. With another value than the host's a
/// server could see another request in the same bytes.
const OF_THE_HOST: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// Characters of an address that a refusal shows.
const SHOWN: usize = 200;
/// Grants that a refusal lists.
const LISTED: usize = 8;
/// How often a path may be decoded before nobody can say what it means.
const DECODED: usize = 3;

/// An address of a request, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Url);

impl Target {
    /// Reads an absolute address.
    ///
    /// # Errors
    /// A [`Refusal`]: it is not one, is too long, or could be read as another one too.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_URL_BYTES {
            return Err(too_large(&format!("{} bytes of address", text.len()), MAX_URL_BYTES as u64));
        }
        Self::read(text).map_err(|problem| Refusal {
            reason: Reason::Invalid,
            asked: format!("an address that {problem}: {}", shown(text)),
            allowed: "http:// or https://, a host, a port if it is not the usual one, a path and a query, in ASCII"
                .to_owned(),
            setting: OWN.to_owned(),
        })
    }

    /// Reads an absolute address of any length.
    ///
    /// # Errors
    /// What is wrong with it, to be said after it.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        check_text(text)?;
        parsed(text).map(Self)
    }

    /// The server.
    pub fn site(&self) -> Site {
        let scheme = if self.0.scheme() == "https" { Scheme::Https } else { Scheme::Http };
        let host = self.0.host_str().unwrap_or_default().to_owned();
        Site { scheme, host, port: self.0.port().unwrap_or(scheme.port()) }
    }

    /// Begins with `/`, without `.` and `..`.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// As it is sent.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// For people, without the query: it may hold what is nobody's business.
    pub fn shown(&self) -> String {
        shown(&format!("{}{}", self.site(), self.path()))
    }
}

/// The setting where only the worker can change something.
const OWN: &str = "the worker's own request";

/// What is wrong with an address as it is written.
fn check_text(text: &str) -> Result<(), &'static str> {
    // The parser of the web drops tabs and line ends, takes \ for /, and maps other letters to ASCII.
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has a character that is not visible ASCII");
    }
    if text.contains('\\') {
        return Err("has a backslash");
    }
    if text.contains('#') {
        return Err("has a fragment");
    }
    let (scheme, rest) = text.split_once("://").ok_or("is not absolute")?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err("is neither http nor https");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    if authority.is_empty() {
        return Err("has no host");
    }
    if authority.contains('@') {
        return Err("has a user in it");
    }
    if authority.contains('%') {
        return Err("has an encoded host");
    }
    if authority.ends_with(':') {
        return Err("has a port that is not one");
    }
    Ok(())
}

fn parsed(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "cannot be read")?;
    match url.host() {
        Some(Host::Domain(name)) => check_name(name)?,
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => {}
        None => return Err("has no host"),
    }
    if url.port() == Some(0) {
        return Err("has a port that is not one");
    }
    if url.path().split('/').any(is_treacherous) {
        return Err("has a path with an encoded slash or dots in it");
    }
    Ok(url)
}

/// What is wrong with a name of a host, in lower case.
///
/// # Errors
/// To be said after it.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.ends_with('.') {
        return Err("has a host that ends with a dot");
    }
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err("has a host that is no name");
    }
    Ok(())
}

/// Whether a server that decodes once more than this host, or that cuts at `;`, could take a segment for a way up.
fn is_treacherous(segment: &str) -> bool {
    let mut bytes = segment.as_bytes().to_vec();
    for _ in 0..DECODED {
        let before = bytes.len();
        bytes = decoded(&bytes);
        if bytes.iter().any(|&byte| byte == b'/' || byte == b'\\' || byte < b' ' || byte == 0x7f) {
            return true;
        }
        let name = bytes.split(|&byte| byte == b';').next().unwrap_or_default();
        if matches!(name, b"." | b"..") {
            return true;
        }
        if bytes.len() == before {
            return false;
        }
    }
    decoded(&bytes).len() != bytes.len()
}

/// With each `%XX` as its byte.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = digit(bytes.get(at + 1)).zip(digit(bytes.get(at + 2)));
        match pair.filter(|_| byte == b'%').and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
            Some(hidden) => {
                out.push(hidden);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// The grant that covers a request.
///
/// # Errors
/// A [`Refusal`] with what was asked, what is allowed, and the line to write.
pub fn judge<'a>(grants: &'a [HttpGrant], request: &HttpRequest) -> Result<&'a HttpGrant, Refusal> {
    judged(grants, request).map(|(grant, _)| grant)
}

/// The grant that covers a request, and the address to send it to.
///
/// # Errors
/// As [`judge`].
pub fn judged<'a>(grants: &'a [HttpGrant], request: &HttpRequest) -> Result<(&'a HttpGrant, Target), Refusal> {
    let target = Target::parse(&request.url)?;
    if !METHODS.contains(&request.method.as_str()) {
        return Err(Refusal {
            reason: Reason::Invalid,
            asked: format!("the method {}", shown(&request.method)),
            allowed: METHODS.join(", "),
            setting: OWN.to_owned(),
        });
    }
    check_headers(&request.headers)?;
    let site = target.site();
    let covers = |grant: &&HttpGrant| grant.methods.contains(&request.method) && grant.covers(&site, target.path());
    let Some(grant) = grants.iter().find(covers) else {
        return Err(not_granted(grants, &request.method, &target));
    };
    let (bytes, most) = (request.body.0.len() as u64, grant.limits.max_request_bytes);
    if bytes > most {
        let setting = format!("[[grants.http]] request = \"{bytes}B\" in the rule for {}{}", grant.site(), grant.path);
        return Err(Refusal { setting, ..too_large(&format!("{bytes} bytes of request"), most) });
    }
    Ok((grant, target))
}

fn not_granted(grants: &[HttpGrant], method: &str, target: &Target) -> Refusal {
    let mut listed: Vec<String> = grants.iter().take(LISTED).map(HttpGrant::to_string).collect();
    if grants.len() > LISTED {
        listed.push(format!("and {} more", grants.len() - LISTED));
    }
    Refusal {
        reason: Reason::NotGranted,
        asked: format!("{method} {}", target.shown()),
        allowed: if listed.is_empty() { "no requests".to_owned() } else { listed.join("; ") },
        setting: format!("[[grants.http]] url = \"{}\" and methods = [{method:?}]", target.shown()),
    }
}

/// Refuses headers that are too many or too large, that the host writes itself, or that are more than one line.
fn check_headers(headers: &[(String, String)]) -> Result<(), Refusal> {
    if headers.len() > MAX_HEADERS {
        return Err(too_large(&format!("{} headers", headers.len()), MAX_HEADERS as u64));
    }
    let mut all = 0;
    for (name, value) in headers {
        let bytes = name.len() + value.len();
        if bytes > MAX_HEADER_BYTES {
            return Err(too_large(&format!("{bytes} bytes of one header"), MAX_HEADER_BYTES as u64));
        }
        all += bytes;
        if !is_token(name) {
            let allowed = "lower-case letters, digits and !#$%&'*+-.^_`|~";
            return Err(invalid_header(&format!("the header name {}", shown(name)), allowed));
        }
        if is_of_the_host(name) {
            return Err(invalid_header(&format!("the header {}", shown(name)), "what the host writes there"));
        }
        if !value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            let asked = format!("a value of the header {} with a control character or outside of ASCII", shown(name));
            return Err(invalid_header(&asked, "one line of visible ASCII, spaces and tabs"));
        }
    }
    if all > MAX_HEADERS_BYTES {
        return Err(too_large(&format!("{all} bytes of headers"), MAX_HEADERS_BYTES as u64));
    }
    Ok(())
}

/// Whether a text can be the name of a header, in lower case.
pub fn is_token(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// Whether a header is the host's to write.
pub fn is_of_the_host(name: &str) -> bool {
    OF_THE_HOST.contains(&name) || name.starts_with("proxy-")
}

/// A header of a worker's request that it may not have.
pub fn invalid_header(asked: &str, allowed: &str) -> Refusal {
    let (asked, allowed) = (asked.to_owned(), allowed.to_owned());
    Refusal { reason: Reason::Invalid, asked, allowed, setting: OWN.to_owned() }
}

fn too_large(asked: &str, most: u64) -> Refusal {
    Refusal {
        reason: Reason::TooLarge,
        asked: asked.to_owned(),
        allowed: format!("at most {most}"),
        setting: "none: a fixed cap of the host".to_owned(),
    }
}

/// What a guest gave, cut and with nothing that a terminal obeys.
fn shown(text: &str) -> String {
    let head: String = text.chars().take(SHOWN).collect();
    let cut = if head.len() == text.len() { "" } else { "…" };
    format!("{}{cut}", head.escape_debug())
}

#[cfg(test)]
mod tests;
