//! HTTP exchanges. Grant: `[[grants.http]]`.
//!
//! The host judges each request by the job's rules, sends it, follows the redirects that the rules allow, and hands back the
//! whole reply. It is metered in bytes of bodies (`[budget] net`). A component imports `wasi:http` only if it uses this.

use std::fmt;

use crate::host;

/// A request, made by builder methods: `Request::new("POST", url).header("accept", "text/plain").body("hi").send()?`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing happens until `send`"]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// Absolute, `http` or `https`.
    pub url: String,
    /// Names and values, in the order in which they are sent.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
}

/// A reply, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// For example 200. A status of 400 or more is a reply too, not an error.
    pub status: u16,
    /// Names in lower case, values in the server's order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// It is no request that could be sent: the address, the method or a header.
    Invalid(String),
    /// No rule of the job's covers it, or where it was redirected to. Nothing was sent there.
    NotGranted(String),
    /// The host said no for another reason, in its own sentence: the budget, a cap, a guard.
    Refused(String),
    /// No answer in time.
    TimedOut,
    /// The world said no, in the host's sentence.
    Failed(String),
}

/// Makes a `GET` and waits for the whole reply.
///
/// # Errors
/// As [`Request::send`].
pub fn get(url: impl Into<String>) -> Result<Response, Error> {
    Request::new("GET", url).send()
}

/// Makes several exchanges at once; the replies come in the order of the requests, each with its own error.
pub fn all(requests: &[Request]) -> Vec<Result<Response, Error>> {
    let parsed: Vec<_> =
        requests.iter().map(|request| Target::of(&request.url).map(|target| (request, target))).collect();
    let valid: Vec<(&Request, &Target<'_>)> =
        parsed.iter().flatten().map(|(request, target)| (*request, target)).collect();
    let mut made = host::fetch::exchange(&valid).into_iter();
    let each = parsed.iter().map(|parsed| match parsed {
        Ok(_) => made.next().unwrap_or_else(|| Err(Error::Failed("the host gave no answer".to_owned()))),
        Err(error) => Err(error.clone()),
    });
    each.collect()
}

impl Request {
    /// A request without headers and without a body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Request { method: method.into(), url: url.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header. Those of the connection, `host` and `content-length` are the host's.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Makes the exchange and waits for the whole reply.
    ///
    /// # Errors
    /// [`Error`]. After `Refused` and `NotGranted` a request may have been sent that was then redirected or cut short; what
    /// it moved is booked.
    pub fn send(&self) -> Result<Response, Error> {
        let mut made = all(std::slice::from_ref(self));
        made.pop().unwrap_or_else(|| Err(Error::Failed("the host gave no answer".to_owned())))
    }
}

impl Response {
    /// The body, if it is text in UTF-8.
    ///
    /// # Errors
    /// Where it is not.
    pub fn text(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.body)
    }

    /// The first value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(why) => write!(f, "no such request: {why}"),
            Error::NotGranted(asked) => {
                write!(f, "refused {asked}: the job does not grant it; to change it: [[grants.http]]")
            }
            Error::Refused(why) => write!(f, "refused: {why}"),
            Error::TimedOut => f.write_str("no answer in time"),
            Error::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// Where a request goes.
#[cfg_attr(
    not(any(test, target_family = "wasm")),
    expect(dead_code, reason = "the fake host takes the address as it is")
)]
pub(crate) struct Target<'a> {
    pub is_secure: bool,
    pub authority: &'a str,
    /// Begins with `/` or `?`, or is empty.
    pub path_with_query: &'a str,
}

impl<'a> Target<'a> {
    fn of(url: &'a str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::Invalid(format!("{why}: {url:?}"));
        let (is_secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(invalid("an address begins with http:// or https://")),
        };
        // A fragment is the reader's, and is never sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path_with_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(invalid("an address names a host"));
        }
        Ok(Target { is_secure, authority, path_with_query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_where_its_parts_meet() {
        for (url, expected) in [
            ("http://a", (false, "a", "")),
            ("https://a.b:1/c?d#e", (true, "a.b:1", "/c?d")),
            ("http://a?b/c", (false, "a", "?b/c")),
            ("http://[::1]:8/", (false, "[::1]:8", "/")),
        ] {
            let Ok(target) = Target::of(url) else { panic!("{url}") };
            assert_eq!((target.is_secure, target.authority, target.path_with_query), expected, "{url}");
        }
        for url in ["", "a", "ftp://a", "http://", "https:///a", "HTTP://a"] {
            assert!(matches!(Target::of(url), Err(Error::Invalid(_))), "{url}");
        }
    }
}
