//! Which addresses a delivery may connect to.
//!
//! The table follows IANA's special-purpose registries (RFC 6890 and its updates). It is applied to the address
//! that is dialled, after every spelling and every name has been resolved, so that no spelling can get past them.
//! What this does not cover: a public address that forwards to a private one is the receiver's affair.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::problem::Problem;

/// Why the address guard blocks an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// Loopback, link-local, metadata, multicast, reserved …: no setting allows it.
    Forbidden,
    /// A private network that `ALLOW_PRIVATE_CIDRS` does not name.
    Private,
    /// A public address, which `http://` reaches with `ALLOW_PLAIN_HTTP` alone.
    PlainHttp,
}

/// What the operator allows beside public addresses over `https://`.
#[derive(Debug, Clone, Default)]
pub struct AllowedNetworks {
    /// Private networks; see [`AllowedNetworks::parse`].
    networks: Vec<IpNet>,
    /// For receivers on the developer's own machine.
    pub loopback: bool,
    /// `http://` to public addresses, where anybody on the way reads payload and secrets.
    pub plain_http: bool,
}

/// A network whose addresses are blocked, and what they are: it ends the sentence "the address is …".
struct Row {
    network: IpNet,
    blocked: Blocked,
    what: &'static str,
}

/// No setting allows the addresses of this network.
const fn never(network: IpNet, what: &'static str) -> Row {
    Row { network, blocked: Blocked::Forbidden, what }
}

/// The operator may allow this network, or a part of it.
const fn private(network: IpNet, what: &'static str) -> Row {
    Row { network, blocked: Blocked::Private, what }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(start: [u16; 4], prefix: u8) -> IpNet {
    let [a, b, c, d] = start;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix))
}

/// AWS's own addresses inside the private fc00::/7.
const AWS_V6: IpNet = v6([0xfd00, 0xec2, 0, 0], 32);

/// Blocked networks. The first row that contains an address decides; an address in no row is public.
const BLOCKED: [Row; 39] = [
    never(v4(0, 0, 0, 0, 8), "an address of this network"), // RFC 791; Linux takes 0.0.0.0 for loopback (RFC 1122)
    never(v4(127, 0, 0, 0, 8), "loopback"),                 // RFC 1122; Lambda's Runtime API and the extensions' ports
    never(v4(169, 254, 169, 254, 32), "instance metadata"), // EC2 and most other clouds
    never(v4(169, 254, 0, 0, 16), "link-local"),            // RFC 3927; among them container credentials and DNS
    never(v4(100, 100, 100, 200, 32), "instance metadata"), // Alibaba Cloud
    never(v4(168, 63, 129, 16, 32), "another cloud's platform address"), // Azure
    never(v4(192, 0, 0, 0, 24), "reserved for protocols"),  // RFC 6890
    never(v4(192, 0, 2, 0, 24), "reserved for documentation"), // RFC 5737
    never(v4(198, 51, 100, 0, 24), "reserved for documentation"), // RFC 5737
    never(v4(203, 0, 113, 0, 24), "reserved for documentation"), // RFC 5737
    never(v4(192, 88, 99, 0, 24), "a 6to4 relay"),          // RFC 7526
    never(v4(224, 0, 0, 0, 4), "multicast"),                // RFC 5771
    never(v4(255, 255, 255, 255, 32), "broadcast"),         // RFC 919
    never(v4(240, 0, 0, 0, 4), "reserved"),                 // RFC 1112
    private(v4(10, 0, 0, 0, 8), "a private network (10.0.0.0/8)"), // RFC 1918
    private(v4(172, 16, 0, 0, 12), "a private network (172.16.0.0/12)"), // RFC 1918
    private(v4(192, 168, 0, 0, 16), "a private network (192.168.0.0/16)"), // RFC 1918
    private(v4(100, 64, 0, 0, 10), "a carrier's private network (100.64.0.0/10)"), // RFC 6598
    private(v4(198, 18, 0, 0, 15), "a network for benchmarks (198.18.0.0/15)"), // RFC 2544
    never(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)), "loopback"), // RFC 4291
    never(v6([0; 4], 128), "the unspecified address"),      // RFC 4291
    never(v6([0; 4], 96), "an IPv4-compatible address"),    // RFC 4291
    never(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96)), "an IPv4-translated address"), // RFC 2765
    never(v6([0x64, 0xff9b, 1, 0], 48), "a local NAT64 address"), // RFC 8215
    never(v6([0x100, 0, 0, 0], 64), "discard-only"),              // RFC 6666
    never(v6([0x2001, 0, 0, 0], 23), "reserved for protocols"),   // RFC 2928; Teredo (RFC 4380)
    never(v6([0x2001, 0xdb8, 0, 0], 32), "reserved for documentation"), // RFC 3849
    never(v6([0x2002, 0, 0, 0], 16), "a 6to4 address"),           // RFC 3056
    never(v6([0x3fff, 0, 0, 0], 20), "reserved for documentation"), // RFC 9637
    never(v6([0x5f00, 0, 0, 0], 16), "a segment routing address"), // RFC 9602
    never(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128)), "instance metadata"), // EC2
    never(AWS_V6, "an address of AWS's local services"), // EC2: metadata, DNS, time
    private(v6([0xfc00, 0, 0, 0], 7), "a private network (fc00::/7)"), // RFC 4193
    never(v6([0xfe80, 0, 0, 0], 10), "link-local"),      // RFC 4291
    never(v6([0xfec0, 0, 0, 0], 10), "site-local"),      // RFC 3879
    never(v6([0xff00, 0, 0, 0], 8), "multicast"),        // RFC 4291
    // All that is left outside of 2000::/3, global unicast (IANA, "IPv6 Address Space").
    never(v6([0; 4], 3), "reserved"),
    never(v6([0x4000, 0, 0, 0], 2), "reserved"),
    never(v6([0x8000, 0, 0, 0], 1), "reserved"),
];

/// NAT64's well-known prefix: the IPv4 address in its last 32 bits is where the packet ends up (RFC 6052).
const NAT64: IpNet = v6([0x64, 0xff9b, 0, 0], 96);

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
        if problems.is_empty() { Ok(Self { networks, ..Self::default() }) } else { Err(problems) }
    }

    fn contain(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }
}

fn is_private(network: IpNet) -> bool {
    let row = BLOCKED.iter().find(|row| row.network.contains(&network));
    row.is_some_and(|row| row.blocked == Blocked::Private) && !network.contains(&AWS_V6)
}

/// Whether a delivery may connect to `ip`; `plain_http` for an `http://` destination.
pub fn check(ip: IpAddr, plain_http: bool, allowed: &AllowedNetworks) -> Result<(), Blocked> {
    let (ip, is_translated) = reached(ip);
    // The operator's CIDRs name local networks, which a gateway that translates addresses does not lead to.
    let is_allowed = |inside: bool| inside && !is_translated;
    match row(ip).map(|row| row.blocked) {
        _ if is_allowed(allowed.loopback && ip.is_loopback()) => Ok(()),
        Some(Blocked::Private) if is_allowed(allowed.contain(ip)) => Ok(()),
        Some(blocked) => Err(blocked),
        None if plain_http && !allowed.plain_http => Err(Blocked::PlainHttp),
        None => Ok(()),
    }
}

/// What an address is, as a noun phrase that ends the sentence "the address is …".
pub fn why(ip: IpAddr) -> &'static str {
    row(reached(ip).0).map_or("a public address", |row| row.what)
}

/// The address that a packet to `ip` ends up at, and whether a NAT64 gateway translates it on the way.
fn reached(ip: IpAddr) -> (IpAddr, bool) {
    // ::ffff:a.b.c.d is the IPv4 address itself, for the kernel as well.
    match ip.to_canonical() {
        IpAddr::V6(ip) if NAT64.contains(&IpAddr::V6(ip)) => {
            let [.., a, b, c, d] = ip.octets();
            (Ipv4Addr::new(a, b, c, d).into(), true)
        }
        ip => (ip, false),
    }
}

fn row(ip: IpAddr) -> Option<&'static Row> {
    BLOCKED.iter().find(|row| row.network.contains(&ip))
}

#[cfg(test)]
mod tests;
