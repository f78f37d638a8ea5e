use super::*;

fn verdict(ip: &str, allowed: &AllowedNetworks) -> Result<(), Refusal> {
    judge(ip.parse().unwrap(), false, allowed)
}

#[test]
fn forbidden_addresses_stay_forbidden_whatever_is_allowed() {
    let open =
        AllowedNetworks::parse("10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,198.18.0.0/15,fc00::/8", "A");
    for ip in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.1",
        "192.0.0.170",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "192.88.99.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:8.8.8.8",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "100:0:0:1::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "3fff:fff::1",
        "5f00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "fd00:ec2::254",
        "fd00:ec2:ffff::1",
        "4000::1",
        "e000::1",
        "200::1",
    ] {
        assert_eq!(verdict(ip, open.as_ref().unwrap()), Err(Refusal::Forbidden), "{ip}");
    }
}

#[test]
fn private_networks_open_by_cidr_and_no_further() {
    let none = AllowedNetworks::default();
    let some = AllowedNetworks::parse(" 10.20.0.0/16 , fd12:3456::/48", "A").unwrap();
    for ip in [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "fc00::1",
        "fd12:3456::1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.20.0.1",
    ] {
        assert_eq!(verdict(ip, &none), Err(Refusal::Private), "{ip}");
    }
    for ip in ["10.20.0.1", "10.20.255.255", "fd12:3456::1", "::ffff:10.20.1.1"] {
        assert_eq!(verdict(ip, &some), Ok(()), "{ip}");
    }
    for ip in ["10.21.0.1", "10.19.255.255", "fd12:3456:1::1", "64:ff9b::10.20.0.1"] {
        assert_eq!(verdict(ip, &some), Err(Refusal::Private), "{ip}");
    }
}

#[test]
fn public_addresses_are_reachable_over_tls_only() {
    let none = AllowedNetworks::default();
    for ip in [
        "8.8.8.8",
        "1.1.1.1",
        "172.32.0.1",
        "172.15.255.255",
        "100.63.255.255",
        "100.128.0.1",
        "198.20.0.1",
        "192.0.1.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:200::1",
        "2a00::1",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
    ] {
        assert_eq!(verdict(ip, &none), Ok(()), "{ip}");
        assert_eq!(judge(ip.parse().unwrap(), true, &none), Err(Refusal::PlainHttp), "{ip}");
    }
    let some = AllowedNetworks::parse("10.20.0.0/16", "A").unwrap();
    assert_eq!(judge("10.20.0.1".parse().unwrap(), true, &some), Ok(()));
    assert_eq!(judge("10.21.0.1".parse().unwrap(), true, &some), Err(Refusal::Private));
}

#[test]
fn loopback_opens_alone_and_on_request_alone() {
    let local = AllowedNetworks::default().with_loopback();
    for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(judge(ip.parse().unwrap(), true, &local), Ok(()), "{ip}");
    }
    for ip in ["0.0.0.0", "169.254.169.254", "64:ff9b::127.0.0.1", "::127.0.0.1"] {
        assert_eq!(verdict(ip, &local), Err(Refusal::Forbidden), "{ip}");
    }
    assert_eq!(verdict("10.0.0.1", &local), Err(Refusal::Private));
}

#[test]
fn a_cidr_that_is_not_wholly_private_is_refused_by_its_position() {
    for text in [
        "0.0.0.0/0",
        "10.0.0.0/7",
        "8.8.8.0/24",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "::/0",
        "2000::/3",
        "fe80::/10",
        "fc00::/7",
        "fd00::/8",
        "fd00:ec2::/32",
        "fd00:ec2::/64",
        "::ffff:10.0.0.0/104",
        "10.0.0.1/8",
        "10.0.0.1",
        "",
        "text",
        "10.0.0.0/8;10.1.0.0/16",
    ] {
        let problems = AllowedNetworks::parse(&format!("10.1.0.0/16,{text}"), "ALLOW_PRIVATE_CIDRS").unwrap_err();
        assert_eq!(problems.len(), 1, "{text}");
        assert_eq!(problems[0].path, "ALLOW_PRIVATE_CIDRS[1]", "{text}");
    }
}
