//! The address guard: the check that blocks forbidden addresses, inside the resolver whose answer is dialled.
//!
//! There is no second look-up, so a name cannot lead elsewhere between check and connection. The client asks no
//! resolver for an address that is written in a URL; [`Guard::literal`] checks those.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

use super::names::NAMES;
pub(super) use super::names::NameUnresolved;
use super::progress::{self, Steps};
use crate::domain::address::{AllowedNetworks, Blocked, check, why};
use crate::domain::attempt::Address;
use crate::domain::failure::{Code, Failure};
use crate::telemetry;

/// Checks every address that one client dials; the client for `http://` has a stricter guard of its own.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) allowed: Arc<AllowedNetworks>,
    plain_http: bool,
}

/// The failure of an address that the guard blocks; nothing for one that it allows.
pub(super) fn blocked(address: &Address) -> Option<Failure> {
    let code = match address.blocked? {
        Blocked::Forbidden => Code::AddressForbidden,
        Blocked::Private => Code::AddressPrivate,
        Blocked::PlainHttp => Code::PlainHttp,
    };
    Some(Failure::new(code).with("address", address.ip).with("why", why(address.ip)))
}

impl Guard {
    pub(super) fn new(allowed: Arc<AllowedNetworks>, plain_http: bool) -> Self {
        Self { allowed, plain_http }
    }

    /// Checks a host that is an address; nothing for a name.
    pub(super) fn literal(&self, host: Option<Host<&str>>) -> Option<Address> {
        let ip = match host? {
            Host::Ipv4(ip) => IpAddr::from(ip),
            Host::Ipv6(ip) => IpAddr::from(ip),
            Host::Domain(_) => return None,
        };
        Some(self.address(ip))
    }

    fn address(&self, ip: IpAddr) -> Address {
        Address { ip, blocked: check(ip, self.plain_http, &self.allowed).err() }
    }

    /// Keeps the addresses that may be dialled; an error if there is none.
    fn keep_allowed(&self, host: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NameUnresolved> {
        let checked: Vec<_> = addresses.into_iter().map(|dialled| (dialled, self.address(dialled.ip()))).collect();
        progress::note(|steps| steps.addresses.extend(checked.iter().map(|(_, address)| address)));
        let is_allowed = |(_, address): &&(_, Address)| address.blocked.is_none();
        let allowed: Vec<_> = checked.iter().filter(is_allowed).map(|(dialled, _)| *dialled).collect();
        if allowed.is_empty() {
            return Err(NameUnresolved);
        }
        if allowed.len() < checked.len() {
            telemetry::mixed_addresses(host, checked.len() - allowed.len());
        }
        Ok(allowed)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            progress::note(Steps::resolving);
            let addresses = NAMES.addresses(name.as_str()).await;
            progress::note(Steps::resolved);
            let allowed = shuffled(guard.keep_allowed(name.as_str(), addresses?)?);
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The client dials one address of a family after the other, and one that does not answer may cost the whole timeout:
/// the next attempt should meet another one first. The system's choice between IPv4 and IPv6 stays.
fn shuffled(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let family = addresses.first().map(SocketAddr::is_ipv4);
    fastrand::shuffle(&mut addresses);
    addresses.sort_by_key(|address| Some(address.is_ipv4()) != family);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn blocked_addresses_are_dropped_and_allowed_ones_are_used() {
        let guard = Guard::new(Arc::default(), false);
        let allowed = guard.keep_allowed("h", addresses(&["10.0.0.1", "8.8.8.8", "::1"])).unwrap();
        assert_eq!(allowed, addresses(&["8.8.8.8"]));
    }

    #[test]
    fn each_address_of_a_family_comes_first_at_times() {
        let all = addresses(&["2606::1", "2606::2", "8.8.8.8"]);
        let first: std::collections::HashSet<_> = (0..200).map(|_| shuffled(all.clone())[0]).collect();
        assert_eq!(first, all[..2].iter().copied().collect());
        assert_eq!(shuffled(all.clone())[2], all[2]);
    }

    #[test]
    fn a_host_without_an_allowed_address_is_an_error() {
        let guard = Guard::new(Arc::default(), false);
        let metadata = addresses(&["169.254.169.254"]);
        assert_eq!(blocked(&guard.address(metadata[0].ip())).unwrap().code, Code::AddressForbidden);
        assert!(guard.keep_allowed("h", metadata).is_err());
        assert!(guard.keep_allowed("h", Vec::new()).is_err());
    }
}
