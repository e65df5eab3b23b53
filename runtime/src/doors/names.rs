//! From a name to its addresses.
//!
//! Never: judges an address, remembers one. A name server is anybody's: what it says is judged before it is used.

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Whoever knows addresses.
#[async_trait]
pub trait Names: Send + Sync {
    /// All addresses of a name, in the order in which they should be tried.
    ///
    /// # Errors
    /// Nobody could be asked, or nobody knows the name.
    async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own way, with its file of hosts. One look-up takes a thread until the machine gives up.
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
