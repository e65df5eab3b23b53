//! An HTTP client for one address of the operator's.
//!
//! Never: follows a redirect, uses a proxy, retries, speaks plain `http` off this machine, says an address in an error: it
//! may hold a key.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, Url};
use thiserror::Error;

/// Connections that are kept for a later request: none. Servers close theirs when they like, some at once, and a request that
/// goes into a closed one fails before a byte of an answer, at unknown cost. A new one costs a handshake, and a model's answer
/// takes far longer.
const KEPT: usize = 0;

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
        // With a connection for each request the other version saves nothing, and hides why a connection ended.
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        // Some servers refuse who says nothing of itself.
        .user_agent(concat!("jidoka/", env!("CARGO_PKG_VERSION")))
        .https_only(address.scheme() != "http")
        .pool_max_idle_per_host(KEPT)
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

/// Whether the other side closed or reset the connection before its answer was whole.
pub fn is_closed(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let is_incomplete = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let is_reset = cause.downcast_ref::<std::io::Error>().is_some_and(|error| match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => true,
            // TLS says so, where the connection ends without a goodbye.
            ErrorKind::UnexpectedEof => true,
            _ => false,
        });
        if is_incomplete || is_reset {
            return true;
        }
        next = cause.source();
    }
    false
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
