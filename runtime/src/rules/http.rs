//! The words of an HTTP exchange: what a guest asks, what comes back, and the grants that say to whom it may speak.
//!
//! Never: resolves a name, opens a connection. Absent means denied: no list stands for "any".

use serde::{Deserialize, Serialize};

use super::effect::{Reason, Refusal};

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
    /// In the server's order, names in lower case; those of the connection are left out.
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
    /// The start of the path, which ends at a `/` or is the whole path.
    pub path: String,
    /// Addresses that are not public and may be dialled all the same, as `10.0.0.0/8`: the operator says so.
    pub networks: Vec<String>,
    /// Names of the secrets that the host puts into its requests.
    pub secrets: Vec<String>,
    pub limits: HttpLimits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    Http,
    Https,
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

/// The grant that covers a request: method, scheme, host and port as they are written, and the start of the path.
///
/// # Errors
/// A refusal: no grant does.
pub fn judge<'a>(grants: &'a [HttpGrant], request: &HttpRequest) -> Result<&'a HttpGrant, Refusal> {
    let covers = |grant: &&HttpGrant| {
        let scheme = match grant.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let rest = request.url.strip_prefix(&format!("{scheme}://{}:{}", grant.host, grant.port));
        grant.methods.contains(&request.method) && rest.is_some_and(|rest| rest.starts_with(&grant.path))
    };
    grants.iter().find(covers).ok_or_else(|| Refusal {
        reason: Reason::NotGranted,
        asked: format!("{} {}", request.method, request.url.chars().take(200).collect::<String>()),
        allowed: if grants.is_empty() { "no requests".to_owned() } else { "other requests".to_owned() },
        setting: "[grants] http".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
