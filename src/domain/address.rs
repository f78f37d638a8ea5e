//! Which addresses a delivery may connect to.
//!
//! The tables follow IANA's special-purpose registries (RFC 6890 and its updates). They are applied to the address
//! that is dialled, after every spelling and every name has been resolved, so that no spelling can get past them.
//! What this does not cover: a public address that forwards to a private one is the receiver's affair.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::problem::Problem;

/// Why an address may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Loopback, link-local, metadata, multicast, reserved …: no setting opens it.
    Forbidden,
    /// A private network that the operator has not allowed.
    Private,
    /// Reachable over `https://` only: plain HTTP stays inside allowed private networks.
    PlainHttp,
}

/// The private networks that the operator opened; see [`AllowedNetworks::parse`].
#[derive(Debug, Clone, Default)]
pub struct AllowedNetworks {
    networks: Vec<IpNet>,
    loopback: bool,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(head: [u16; 4], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], head[2], head[3], 0, 0, 0, 0), prefix)
}

const LOOPBACK_V4: Ipv4Net = v4(127, 0, 0, 0, 8);

/// Never reachable, whatever is allowed.
const FORBIDDEN_V4: [Ipv4Net; 13] = [
    v4(0, 0, 0, 0, 8),          // this network; Linux takes 0.0.0.0 for loopback (RFC 791, RFC 1122)
    LOOPBACK_V4,                // Lambda's Runtime API and the extensions' ports (RFC 1122)
    v4(169, 254, 0, 0, 16),     // link-local: instance metadata, container credentials (RFC 3927)
    v4(100, 100, 100, 200, 32), // another cloud's metadata
    v4(168, 63, 129, 16, 32),   // another cloud's platform address
    v4(192, 0, 0, 0, 24),       // protocol assignments (RFC 6890)
    v4(192, 0, 2, 0, 24),       // documentation (RFC 5737)
    v4(198, 51, 100, 0, 24),    // documentation (RFC 5737)
    v4(203, 0, 113, 0, 24),     // documentation (RFC 5737)
    v4(192, 88, 99, 0, 24),     // 6to4 relay (RFC 7526)
    v4(224, 0, 0, 0, 4),        // multicast (RFC 5771)
    v4(240, 0, 0, 0, 4),        // reserved (RFC 1112), with broadcast (RFC 919)
    v4(255, 255, 255, 255, 32), // broadcast, named for the reader
];

/// AWS's metadata, DNS and time over IPv6, inside the private fc00::/7.
const AWS_V6: Ipv6Net = v6([0xfd00, 0xec2, 0, 0], 32);

/// Never reachable although inside 2000::/3; everything outside of that is refused as a whole.
const FORBIDDEN_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0, 0], 23),     // IETF protocol assignments, Teredo (RFC 2928, RFC 4380)
    v6([0x2001, 0xdb8, 0, 0], 32), // documentation (RFC 3849)
    v6([0x2002, 0, 0, 0], 16),     // 6to4 (RFC 3056)
    v6([0x3fff, 0, 0, 0], 20),     // documentation (RFC 9637)
];

/// Global unicast (IANA "IPv6 Address Space"). Loopback, IPv4-compatible and IPv4-translated addresses, local NAT64,
/// discard-only, SRv6, link-local, site-local and multicast all lie outside.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// NAT64's well-known prefix: the IPv4 address in its last 32 bits is where the packet ends up (RFC 6052).
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);

/// Closed until the operator names a network inside.
const PRIVATE_V4: [Ipv4Net; 5] = [
    v4(10, 0, 0, 0, 8),     // RFC 1918
    v4(172, 16, 0, 0, 12),  // RFC 1918
    v4(192, 168, 0, 0, 16), // RFC 1918
    v4(100, 64, 0, 0, 10),  // carrier-grade NAT (RFC 6598)
    v4(198, 18, 0, 0, 15),  // benchmarking (RFC 2544)
];

const PRIVATE_V6: Ipv6Net = v6([0xfc00, 0, 0, 0], 7); // unique local (RFC 4193)

impl AllowedNetworks {
    /// Reads a comma-separated list of CIDRs, each wholly inside a private range.
    pub fn parse(text: &str, setting: &str) -> Result<Self, Vec<Problem>> {
        let mut networks = Vec::new();
        let mut problems = Vec::new();
        for (index, item) in text.split(',').map(str::trim).enumerate() {
            let problem = |expected: String| Problem::new(format!("{setting}[{index}]"), expected);
            match item.parse::<IpNet>() {
                Err(_) => problems.push(problem("a network such as 10.20.0.0/16 or fd12:3456::/48".into())),
                Ok(network) if network != network.trunc() && is_private(network.trunc()) => {
                    problems.push(problem(format!("a network without host bits: {}", network.trunc())));
                }
                Ok(network) if !is_private(network.trunc()) => problems.push(problem(
                    "a network wholly inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, 198.18.0.0/15 \
                     or fc00::/7 (without fd00:ec2::/32, AWS's own)"
                        .into(),
                )),
                Ok(network) => networks.push(network),
            }
        }
        if problems.is_empty() { Ok(Self { networks, loopback: false }) } else { Err(problems) }
    }

    /// Adds loopback: for receivers on the developer's own machine.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    fn contain(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip)) || self.open_loopback(ip)
    }

    fn open_loopback(&self, ip: IpAddr) -> bool {
        self.loopback && ip.is_loopback()
    }
}

fn is_private(network: IpNet) -> bool {
    match network {
        IpNet::V4(network) => {
            PRIVATE_V4.iter().any(|private| private.contains(&network))
                && !FORBIDDEN_V4.iter().any(|forbidden| forbidden.contains(&network))
        }
        IpNet::V6(network) => PRIVATE_V6.contains(&network) && !network.contains(&AWS_V6) && !AWS_V6.contains(&network),
    }
}

/// Whether a delivery may connect to `ip`; `plain_http` for an `http://` destination.
pub fn judge(ip: IpAddr, plain_http: bool, allowed: &AllowedNetworks) -> Result<(), Refusal> {
    // ::ffff:a.b.c.d is the IPv4 address itself, for the kernel as well.
    let ip = match ip.to_canonical() {
        IpAddr::V6(ip) if NAT64.contains(&ip) => {
            let [.., a, b, c, d] = ip.octets();
            // An address that a gateway translates is public or refused: the operator's CIDRs name local networks.
            return judge(Ipv4Addr::new(a, b, c, d).into(), plain_http, &AllowedNetworks::default());
        }
        ip => ip,
    };
    if allowed.open_loopback(ip) {
        return Ok(());
    }
    let (forbidden, private) = match ip {
        IpAddr::V4(ip) => (
            FORBIDDEN_V4.iter().any(|network| network.contains(&ip)),
            PRIVATE_V4.iter().any(|network| network.contains(&ip)),
        ),
        IpAddr::V6(ip) => {
            let private = PRIVATE_V6.contains(&ip) && !AWS_V6.contains(&ip);
            (FORBIDDEN_V6.iter().any(|network| network.contains(&ip)) || !(private || GLOBAL_V6.contains(&ip)), private)
        }
    };
    if forbidden {
        Err(Refusal::Forbidden)
    } else if private {
        if allowed.contain(ip) { Ok(()) } else { Err(Refusal::Private) }
    } else if plain_http {
        Err(Refusal::PlainHttp)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
