//! The guard on addresses, placed where it cannot be bypassed: inside the resolver whose answer is dialled.
//!
//! There is no second look-up, so a name cannot change its mind between check and connection. Addresses written in
//! a URL never reach a resolver; [`Guard::literal`] judges those.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

use super::trace;
use crate::domain::address::{AllowedNetworks, Refusal, judge};
use crate::domain::attempt::Address;
use crate::telemetry;

/// Judges every address of one client; the client for `http://` has a stricter one of its own.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) allowed: Arc<AllowedNetworks>,
    plain_http: bool,
}

/// All addresses of a host are refused.
#[derive(Debug, thiserror::Error)]
#[error("every address of the host is refused")]
pub(super) struct AddressRefused(pub(super) Refusal);

/// The host's name led to no address.
#[derive(Debug, thiserror::Error)]
#[error("the host name does not resolve")]
pub(super) struct NameUnresolved;

impl Guard {
    pub(super) fn new(allowed: Arc<AllowedNetworks>, plain_http: bool) -> Self {
        Self { allowed, plain_http }
    }

    /// Judges a host that is an address already; nothing for a name.
    pub(super) fn literal(&self, host: Option<Host<&str>>) -> Option<Address> {
        let ip = match host? {
            Host::Ipv4(ip) => IpAddr::from(ip),
            Host::Ipv6(ip) => IpAddr::from(ip),
            Host::Domain(_) => return None,
        };
        Some(self.address(ip))
    }

    fn address(&self, ip: IpAddr) -> Address {
        Address { ip, refused: judge(ip, self.plain_http, &self.allowed).err() }
    }

    /// The addresses that may be dialled; an error if there is none.
    fn admit(
        &self,
        host: &str,
        addresses: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let judged: Vec<_> = addresses.iter().map(|address| self.address(address.ip())).collect();
        trace::led_to(judged.iter().copied());
        let refusal = judged.iter().rev().find_map(|address| address.refused);
        let admitted: Vec<_> =
            addresses.into_iter().zip(&judged).filter(|(_, judged)| judged.refused.is_none()).map(|(a, _)| a).collect();
        match refusal {
            Some(refusal) if admitted.is_empty() => Err(AddressRefused(refusal).into()),
            Some(_) => {
                telemetry::mixed_addresses(host, judged.len() - admitted.len());
                Ok(admitted)
            }
            None if admitted.is_empty() => Err(NameUnresolved.into()),
            None => Ok(admitted),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            trace::resolving();
            // The system's resolver (getaddrinfo) gives its reason as text only, so one cause covers them all.
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await;
            trace::resolved();
            let addresses = addresses.map_err(|_| NameUnresolved)?.collect();
            let admitted = shuffled(guard.admit(name.as_str(), addresses)?);
            Ok(Box::new(admitted.into_iter()) as Addrs)
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
    fn refused_addresses_are_dropped_and_allowed_ones_are_used() {
        let guard = Guard::new(Arc::default(), false);
        let admitted = guard.admit("h", addresses(&["10.0.0.1", "8.8.8.8", "::1"])).unwrap();
        assert_eq!(admitted, addresses(&["8.8.8.8"]));
    }

    #[test]
    fn each_address_of_a_family_comes_first_at_times_and_the_family_stays() {
        let all = addresses(&["2606::1", "2606::2", "8.8.8.8"]);
        let first: std::collections::HashSet<_> = (0..200).map(|_| shuffled(all.clone())[0]).collect();
        assert_eq!(first, all[..2].iter().copied().collect());
        assert_eq!(shuffled(all.clone())[2], all[2]);
    }

    #[test]
    fn a_host_with_refused_addresses_alone_or_none_is_an_error_of_its_own() {
        let guard = Guard::new(Arc::default(), false);
        let error = guard.admit("h", addresses(&["169.254.169.254"])).unwrap_err();
        assert_eq!(error.downcast_ref::<AddressRefused>().unwrap().0, Refusal::Forbidden);
        assert!(guard.admit("h", Vec::new()).unwrap_err().is::<NameUnresolved>());
    }
}
