//! A connection to an address that was judged.
//!
//! Never: asks for a name a second time, dials an address that was not judged, uses a proxy, reads without end. A name is
//! looked up once; all of its addresses are judged, and one that may not be dialled refuses them all: an answer that mixes
//! both is an attack, or a mistake that somebody should hear of. Invariant: with `https` the server has shown a certificate
//! for the very name that was judged.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use url::Host;

use super::names::Names;
use crate::rules::address::judge_address;
use crate::rules::effect::{Denied, Failure, FailureKind};
use crate::rules::egress::Target;
use crate::rules::http::{HttpGrant, Scheme};

/// Addresses of one name. The largest sites have some dozens; each is judged.
const MOST_ADDRESSES: usize = 64;
/// Addresses that are tried, one after the other.
const TRIED: usize = 4;
/// Bytes read beside a body: the greeting of TLS, heads of replies, and what is told between them.
const BESIDE: u64 = 512 << 10;
/// Bytes read for a byte of a body: a server may send each one in a chunk of its own.
const FOR_A_BYTE: u64 = 8;

/// Both directions of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Where to, and until when.
pub(super) struct Dial<'a> {
    pub target: &'a Target,
    pub grant: &'a HttpGrant,
    pub names: &'a dyn Names,
    /// `None`: as the machine trusts servers.
    pub tls: Option<&'a Arc<ClientConfig>>,
    pub deadline: Instant,
    /// Bytes of the body that is to be read.
    pub max_body_bytes: u64,
}

impl Dial<'_> {
    /// Connects. Nothing of a request was sent if it fails.
    ///
    /// # Errors
    /// A refusal where an address is not granted; else a failure as [`FailureKind::Unavailable`].
    pub(super) async fn connect(self) -> Result<Box<dyn Duplex>, Denied> {
        let addresses = self.addresses().await?;
        for address in &addresses {
            judge_address(self.grant, *address).map_err(Denied::Refused)?;
        }
        let stream = self.reach(&addresses).await?;
        let most = self.max_body_bytes.saturating_mul(FOR_A_BYTE).saturating_add(BESIDE);
        let stream = Bounded { inner: stream, left: most };
        match self.target.site().scheme {
            Scheme::Http => Ok(Box::new(stream)),
            Scheme::Https => {
                let config = match self.tls {
                    Some(config) => Arc::clone(config),
                    None => machine().await?,
                };
                let name = self.name().map_err(|error| unavailable("the server has no name for TLS", &error))?;
                let stream = TlsConnector::from(config).connect(name, stream).await;
                let stream = stream.map_err(|error| unavailable("the server could not be trusted", &error))?;
                Ok(Box::new(stream))
            }
        }
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, Denied> {
        let name = match self.target.url().host() {
            Some(Host::Ipv4(address)) => return Ok(vec![IpAddr::V4(address)]),
            Some(Host::Ipv6(address)) => return Ok(vec![IpAddr::V6(address)]),
            Some(Host::Domain(name)) => name,
            None => return Err(nobody("the address has no host".to_owned())),
        };
        let found = self.names.look_up(name).await;
        let found = found.map_err(|error| unavailable(&format!("{name} could not be resolved"), &error))?;
        match found.len() {
            0 => Err(nobody(format!("{name} has no address"))),
            1..=MOST_ADDRESSES => Ok(found),
            count => Err(nobody(format!("{name} has {count} addresses, and at most {MOST_ADDRESSES} are looked at"))),
        }
    }

    /// The first that answers. Each has an equal share of the time that is left.
    async fn reach(&self, addresses: &[IpAddr]) -> Result<TcpStream, Denied> {
        let tried = &addresses[..addresses.len().min(TRIED)];
        let port = self.target.site().port;
        let mut last = nobody("no address could be tried".to_owned());
        for (address, left) in tried.iter().zip((1..=tried.len()).rev()) {
            let time = self.deadline.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(1);
            last = match timeout(time, TcpStream::connect(SocketAddr::new(*address, port))).await {
                Ok(Ok(stream)) => {
                    // Requests are written whole; without this the last part may wait for an answer to the first.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => unavailable("the server could not be reached", &error),
                Err(_) => nobody("the server could not be reached in time".to_owned()),
            };
        }
        Err(last)
    }

    fn name(&self) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
        match self.target.url().host() {
            Some(Host::Ipv4(address)) => Ok(ServerName::IpAddress(IpAddr::V4(address).into())),
            Some(Host::Ipv6(address)) => Ok(ServerName::IpAddress(IpAddr::V6(address).into())),
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()),
            None => ServerName::try_from(String::new()),
        }
    }
}

/// How this machine trusts servers. Its certificates are read once in a process.
async fn machine() -> Result<Arc<ClientConfig>, Denied> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let made = tokio::task::spawn_blocking(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider))?;
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok::<_, rustls::Error>(
            config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth(),
        )
    });
    match made.await {
        Ok(Ok(config)) => Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(settled(config))))),
        Ok(Err(error)) => Err(unavailable("this machine trusts no server", &error)),
        Err(panic) => Err(unavailable("this machine's certificates could not be read", &panic)),
    }
}

/// HTTP/1.1 alone, and nothing by which a server could know a run again.
pub(super) fn settled(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

fn nobody(message: String) -> Denied {
    Denied::Failed(Failure { kind: FailureKind::Unavailable, message })
}

fn unavailable(what: &str, error: &dyn Error) -> Denied {
    nobody(format!("{what}: {}", told(error)))
}

/// An error with its causes, as one line.
pub(super) fn told(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line = format!("{line}: {cause}");
        next = cause.source();
    }
    line
}

/// A connection of which so much is read and no more.
struct Bounded<S> {
    inner: S,
    left: u64,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(context, buffer);
        let bytes = (buffer.filled().len() - before) as u64;
        match this.left.checked_sub(bytes) {
            Some(left) => {
                this.left = left;
                read
            }
            None => Poll::Ready(Err(io::Error::other("the server sends far more than its reply"))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}
