use super::*;

fn checked(ip: &str, allowed: &AllowedNetworks) -> Result<(), Blocked> {
    check(ip.parse().unwrap(), false, allowed)
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
        assert_eq!(checked(ip, open.as_ref().unwrap()), Err(Blocked::Forbidden), "{ip}");
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
        assert_eq!(checked(ip, &none), Err(Blocked::Private), "{ip}");
    }
    for ip in ["10.20.0.1", "10.20.255.255", "fd12:3456::1", "::ffff:10.20.1.1"] {
        assert_eq!(checked(ip, &some), Ok(()), "{ip}");
    }
    for ip in ["10.21.0.1", "10.19.255.255", "fd12:3456:1::1", "64:ff9b::10.20.0.1"] {
        assert_eq!(checked(ip, &some), Err(Blocked::Private), "{ip}");
    }
}

#[test]
fn public_addresses_are_reachable_over_tls_alone() {
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
        assert_eq!(checked(ip, &none), Ok(()), "{ip}");
        assert_eq!(check(ip.parse().unwrap(), true, &none), Err(Blocked::PlainHttp), "{ip}");
    }
    let some = AllowedNetworks::parse("10.20.0.0/16", "A").unwrap();
    assert_eq!(check("10.20.0.1".parse().unwrap(), true, &some), Ok(()));
    assert_eq!(check("10.21.0.1".parse().unwrap(), true, &some), Err(Blocked::Private));
}

#[test]
fn loopback_opens_alone_and_on_request_alone() {
    let local = AllowedNetworks { loopback: true, ..AllowedNetworks::default() };
    for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(check(ip.parse().unwrap(), true, &local), Ok(()), "{ip}");
    }
    for ip in ["0.0.0.0", "169.254.169.254", "64:ff9b::127.0.0.1", "::127.0.0.1"] {
        assert_eq!(checked(ip, &local), Err(Blocked::Forbidden), "{ip}");
    }
    assert_eq!(checked("10.0.0.1", &local), Err(Blocked::Private));
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

#[test]
fn plain_http_reaches_public_addresses_on_request_alone() {
    let open = AllowedNetworks { plain_http: true, ..AllowedNetworks::default() };
    for ip in ["8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8"] {
        assert_eq!(check(ip.parse().unwrap(), true, &open), Ok(()), "{ip}");
    }
    for (ip, blocked) in [
        ("10.0.0.1", Blocked::Private),
        ("64:ff9b::10.0.0.1", Blocked::Private),
        ("127.0.0.1", Blocked::Forbidden),
        ("169.254.169.254", Blocked::Forbidden),
    ] {
        assert_eq!(check(ip.parse().unwrap(), true, &open), Err(blocked), "{ip}");
    }
}

#[test]
fn a_forbidden_address_stays_so_inside_an_allowed_network() {
    let open = AllowedNetworks::parse("100.64.0.0/10", "A").unwrap();
    assert_eq!(checked("100.100.100.199", &open), Ok(()));
    assert_eq!(checked("100.100.100.200", &open), Err(Blocked::Forbidden));
}

#[test]
fn every_address_is_named_for_a_sentence() {
    for (ip, what) in [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("169.254.169.254", "instance metadata"),
        ("fd00:ec2::254", "instance metadata"),
        ("169.254.170.2", "link-local"),
        ("fe80::1", "link-local"),
        ("fd00:ec2::253", "an address of AWS's local services"),
        ("203.0.113.7", "reserved for documentation"),
        ("2001:db8::1", "reserved for documentation"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("10.20.0.5", "a private network (10.0.0.0/8)"),
        ("fd12:3456::1", "a private network (fc00::/7)"),
        ("100.64.0.1", "a carrier's private network (100.64.0.0/10)"),
        ("200::1", "reserved"),
        ("4000::1", "reserved"),
        ("8.8.8.8", "a public address"),
        ("2606:4700::1111", "a public address"),
    ] {
        assert_eq!(why(ip.parse().unwrap()), what, "{ip}");
    }
}

#[test]
fn no_row_is_hidden_by_the_ones_before_it() {
    for (index, row) in BLOCKED.iter().enumerate() {
        let earlier = BLOCKED[..index].iter().find(|earlier| earlier.network.contains(&row.network));
        assert!(earlier.is_none(), "{} comes after {}", row.network, earlier.unwrap().network);
    }
}
