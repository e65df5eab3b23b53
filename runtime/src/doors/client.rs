//! An HTTP client for one address of the operator's.
//!
//! Never: follows a redirect, uses a proxy, retries, speaks plain `http` off this machine, says an address in an error: it
//! may hold a key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, Url};
use thiserror::Error;

/// Idle connections are kept this long. Servers close theirs after 5 s or more, and a request that meets a closing
/// connection has unknown costs, which is dearer than a new connection.
const KEEP_IDLE: Duration = Duration::from_secs(4);

/// How long an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until the connection stands.
    pub connect: Duration,
    /// Between two reads of the response, the first included.
    pub idle: Duration,
    /// The whole exchange.
    pub total: Duration,
}

/// Why there is no client for an address.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("use the address at {host}: plain http is for this machine only (127.0.0.1, ::1, localhost); use https")]
    Plain { host: String },
    #[error("set up the client for an address")]
    Setup(#[source] reqwest::Error),
}

/// A client for requests to `address`.
pub fn client(address: &Url, patience: Patience) -> Result<Client, ClientError> {
    let loopback = is_loopback(address);
    // Whoever came first has installed it; there is only one kind of provider in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .https_only(address.scheme() != "http")
        .pool_idle_timeout(KEEP_IDLE)
        .connect_timeout(patience.connect)
        .read_timeout(patience.idle)
        .timeout(patience.total);
    if loopback {
        // A resolver could send the name elsewhere. Port 0 stands for the port of the address.
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        client = client.resolve_to_addrs("localhost", &here.map(|ip| SocketAddr::new(ip, 0)));
    }
    if address.scheme() == "http" {
        if !loopback {
            return Err(ClientError::Plain { host: address.host_str().unwrap_or_default().to_owned() });
        }
        // Without certificates to load, a local server can be used on a machine that has none.
        client = client.tls_certs_only([]);
    }
    client.build().map_err(ClientError::Setup)
}

/// The chain of causes as one line, without the address: the operator knows it, and nobody else need.
pub fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut line = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        line = format!("{line}: {cause}");
        next = cause.source();
    }
    line
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
