//! To which addresses a connection may be made: to those that the whole internet can reach, and to no others.
//!
//! Never: resolves a name. Absent means refused: an address is dialled because it is public, or because the operator named
//! its network. Where a form carries an IPv4 address inside, both are judged. Invariant: the tables are those of IANA's
//! special-purpose registries (<https://www.iana.org/assignments/iana-ipv4-special-registry>, `-ipv6-`); of IPv6 only
//! 2000::/3 is given out, so all else is refused without a table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::effect::{Reason, Refusal};
use super::http::HttpGrant;

/// A network as `10.0.0.0/8` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address.
    first: IpAddr,
    /// Leading bits that its addresses share.
    bits: u8,
}

impl Network {
    /// Reads an address, a slash and the number of bits.
    ///
    /// # Errors
    /// What is wrong with it, to be said after it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (first, bits) = text.split_once('/').ok_or("has no / with the number of its bits")?;
        let first: IpAddr = first.parse().map_err(|_| "does not begin with an address")?;
        let digits = bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        let bits = bits.parse::<u8>().ok().filter(|bits| digits && *bits <= width(first));
        let network = Self { first, bits: bits.ok_or("has a number of bits that it cannot have")? };
        if network.prefix(first) != network.number(first) {
            return Err("has bits beyond its length");
        }
        Ok(network)
    }

    /// Whether an address is in it. An IPv4 address is in no network of IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && self.prefix(address) == self.number(self.first)
    }

    /// The address without what follows the prefix.
    fn prefix(&self, address: IpAddr) -> u128 {
        let rest = u32::from(width(address) - self.bits);
        self.number(address).checked_shr(rest).and_then(|kept| kept.checked_shl(rest)).unwrap_or(0)
    }

    fn number(&self, address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        }
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// A network that is not public, and what it is.
struct Special {
    network: Network,
    what: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8, what: &'static str) -> Special {
    Special { network: Network { first: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits }, what }
}

const fn v6(head: [u16; 6], tail: u16, bits: u8, what: &'static str) -> Special {
    let [a, b, c, d, e, f] = head;
    Special { network: Network { first: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, 0, tail)), bits }, what }
}

/// The narrower one of two that overlap comes first: it says more.
const SPECIAL: [Special; 37] = [
    v4(0, 0, 0, 0, 32, "unspecified"),
    v4(0, 0, 0, 0, 8, "this network"),
    v4(10, 0, 0, 0, 8, "private"),
    v4(100, 64, 0, 0, 10, "shared with a carrier"),
    v4(127, 0, 0, 0, 8, "loopback"),
    // Public by its number, and the metadata of a large cloud:
    // <https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>.
    v4(168, 63, 129, 16, 32, "metadata of a cloud"),
    v4(169, 254, 169, 254, 32, "metadata of a cloud"),
    v4(169, 254, 0, 0, 16, "link-local"),
    v4(172, 16, 0, 0, 12, "private"),
    v4(192, 0, 0, 0, 24, "for protocols"),
    v4(192, 0, 2, 0, 24, "documentation"),
    v4(192, 88, 99, 0, 24, "a relay for 6to4"),
    v4(192, 168, 0, 0, 16, "private"),
    v4(198, 18, 0, 0, 15, "benchmarking"),
    v4(198, 51, 100, 0, 24, "documentation"),
    v4(203, 0, 113, 0, 24, "documentation"),
    v4(224, 0, 0, 0, 4, "multicast"),
    v4(255, 255, 255, 255, 32, "broadcast"),
    v4(240, 0, 0, 0, 4, "reserved"),
    v6([0; 6], 0, 128, "unspecified"),
    v6([0; 6], 1, 128, "loopback"),
    v6([0; 6], 0, 96, "IPv4 in its old form"),
    v6([0, 0, 0, 0, 0, 0xffff], 0, 96, "IPv4 mapped"),
    v6([0, 0, 0, 0, 0xffff, 0], 0, 96, "IPv4 translated"),
    v6([0x64, 0xff9b, 0, 0, 0, 0], 0, 96, "IPv4 behind NAT64"),
    v6([0x64, 0xff9b, 1, 0, 0, 0], 0, 48, "IPv4 behind NAT64"),
    v6([0x100, 0, 0, 0, 0, 0], 0, 64, "discarded"),
    v6([0x2001, 0, 0, 0, 0, 0], 0, 32, "IPv4 behind Teredo"),
    v6([0x2001, 0, 0, 0, 0, 0], 0, 23, "for protocols"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0], 0, 32, "documentation"),
    v6([0x2002, 0, 0, 0, 0, 0], 0, 16, "IPv4 behind 6to4"),
    v6([0x3fff, 0, 0, 0, 0, 0], 0, 20, "documentation"),
    v6([0xfd00, 0xec2, 0, 0, 0, 0], 0x254, 128, "metadata of a cloud"),
    v6([0xfc00, 0, 0, 0, 0, 0], 0, 7, "private"),
    v6([0xfe80, 0, 0, 0, 0, 0], 0, 10, "link-local"),
    v6([0xfec0, 0, 0, 0, 0, 0], 0, 10, "site-local"),
    v6([0xff00, 0, 0, 0, 0, 0], 0, 8, "multicast"),
];

/// What of IPv6 is given out.
const GIVEN_OUT: Network = Network { first: IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), bits: 3 };

/// What an address is, if it is not public.
fn special(address: IpAddr) -> Option<&'static str> {
    let found = SPECIAL.iter().find(|special| special.network.contains(address)).map(|special| special.what);
    found.or((address.is_ipv6() && !GIVEN_OUT.contains(address)).then_some("not given out"))
}

/// The IPv4 addresses that a form of IPv6 may lead to. Of 64:ff9b:1::/48 only the last 32 bits are taken for one: where
/// else it may stand is up to each network (RFC 6052), and its form is refused in any case unless it is granted.
fn embedded(address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return Vec::new() };
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] if address.is_unspecified() || address.is_loopback() => Vec::new(),
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => vec![of(g, h)],
        [0x64, 0xff9b, 1, ..] => vec![of(g, h)],
        [0x2002, ..] => vec![of(b, c)],
        // The server, and the client with its bits turned: RFC 4380.
        [0x2001, 0, ..] => vec![of(c, d), of(!g, !h)],
        _ => Vec::new(),
    }
}

/// Whether a grant lets a connection be made to an address.
///
/// # Errors
/// A [`Refusal`] that names the address, what it is, and the network to write.
pub fn judge_address(grant: &HttpGrant, address: IpAddr) -> Result<(), Refusal> {
    let granted = |address: IpAddr| {
        // A journal may say anything: what is no network lets nothing through.
        grant.networks.iter().filter_map(|text| Network::parse(text).ok()).any(|network| network.contains(address))
    };
    let inside = embedded(address).into_iter().map(IpAddr::V4);
    for judged in [address].into_iter().chain(inside) {
        let Some(what) = special(judged) else { continue };
        if granted(judged) {
            continue;
        }
        let within = if judged == address { String::new() } else { format!(", which {address} leads to") };
        let networks = match grant.networks.as_slice() {
            [] => "public addresses".to_owned(),
            networks => format!("public addresses and {}", networks.join(", ")),
        };
        return Err(Refusal {
            reason: Reason::NotGranted,
            asked: format!("a connection to {judged}{within}: {what}"),
            allowed: networks,
            setting: format!(
                "[[policy.http]] networks = [\"{judged}/{}\"] in the operator's file, in the rule for {}",
                width(judged),
                grant.site()
            ),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
