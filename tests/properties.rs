//! Rules that must hold for every input, tried on thousands of made-up ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it does not expect")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use detection_outcome_handler::domain::address::{AllowedNetworks, check, why};
use detection_outcome_handler::domain::attempt::retry_after;
use detection_outcome_handler::domain::breaker::{Admission, Breaker, Change, Seen};
use detection_outcome_handler::domain::document::Document;
use detection_outcome_handler::domain::endpoint::{Endpoint, EndpointTemplate, header_name, header_value};
use detection_outcome_handler::domain::outcome::Outcome;
use detection_outcome_handler::domain::problem::printable;
use detection_outcome_handler::domain::template::{Resolved, Template, trimmed};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Every way in which an IPv6 address carries an IPv4 address that a packet may end up at.
fn embeddings(ip: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = ip.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    vec![
        ip.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low), // IPv4-compatible (RFC 4291)
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low), // IPv4-translated (RFC 2765)
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low), // NAT64 (RFC 6052)
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low), // local NAT64 (RFC 8215)
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1), // 6to4 (RFC 3056)
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !high, !low), // Teredo's client, inverted (RFC 4380)
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0), // Teredo's server
    ]
}

fn some_networks() -> AllowedNetworks {
    AllowedNetworks::parse("10.20.0.0/16,192.168.0.0/16,fd12:3456::/48", "A").unwrap()
}

fn ipv4() -> impl Strategy<Value = Ipv4Addr> {
    // Half of them from the corners that matter.
    let corners = prop_oneof![
        Just(0u32),
        Just(10 << 24),
        Just(127 << 24),
        Just(169 << 24 | 254 << 16),
        Just(192 << 24 | 168 << 16),
        Just(100 << 24 | 64 << 16),
        Just(172 << 24 | 16 << 16),
        Just(0xe000_0000)
    ];
    prop_oneof![
        any::<u32>().prop_map(Ipv4Addr::from),
        (corners, any::<u32>(), 8u32..24).prop_map(|(base, rest, prefix)| Ipv4Addr::from(base | (rest >> prefix)))
    ]
}

fn config() -> ProptestConfig {
    // What fails once is kept beside this file and tried first ever after.
    let kept = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::with_cases(4096) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_allowed_embedded_is_allowed_by_itself(ip in ipv4(), plain_http: bool) {
        let mut local = some_networks();
        local.loopback = true;
        for allowed in [AllowedNetworks::default(), some_networks(), local] {
            let alone = check(IpAddr::V4(ip), plain_http, &allowed).is_ok();
            // ::1 lies in the same block as IPv4-compatible addresses, but is loopback itself.
            for embedded in embeddings(ip).into_iter().filter(|embedded| !embedded.is_loopback()) {
                prop_assert!(check(IpAddr::V6(embedded), plain_http, &allowed).is_err() || alone, "{embedded} carries {ip}");
            }
        }
    }

    #[test]
    fn plain_http_never_reaches_more_than_https(bits: u128) {
        let ip = IpAddr::V6(Ipv6Addr::from(bits));
        prop_assert!(check(ip, true, &some_networks()).is_err() || check(ip, false, &some_networks()).is_ok());
    }

    #[test]
    fn an_address_is_public_or_blocked_and_named(bits: u128, v4 in ipv4()) {
        for ip in [IpAddr::V6(Ipv6Addr::from(bits)), IpAddr::V4(v4)] {
            let is_allowed = check(ip, false, &AllowedNetworks::default()).is_ok();
            prop_assert_eq!(is_allowed, why(ip) == "a public address", "{}", ip);
        }
    }

    #[test]
    fn an_endpoint_shows_nothing_but_its_origin(user in "[a-z]{8}", password in "[ -~]{8,20}", path in "[ -~]{8,40}", host in "[a-z]{1,9}\\.example") {
        let text = format!("https://{user}:{password}@{host}/{path}");
        if let Ok(endpoint) = Endpoint::parse(&text) {
            let shown = format!("{} {endpoint:?}", endpoint.origin());
            let origin = endpoint.origin().to_owned();
            prop_assert_eq!(shown, format!("{origin} Endpoint({origin})"));
            prop_assert!(!origin.contains('@') && !origin["https://".len()..].contains('/'));
        }
    }

    #[test]
    fn a_url_that_is_accepted_has_a_host_and_no_userinfo_left(text in "\\PC{0,60}|https?://\\PC{0,40}") {
        if let Ok(endpoint) = Endpoint::parse(&text) {
            let url = endpoint.expose_url();
            prop_assert!(url.host_str().is_some_and(|host| !host.is_empty()) && url.username().is_empty() && url.password().is_none());
            prop_assert!(url.port() != Some(0) && matches!(url.scheme(), "http" | "https"));
        }
    }

    #[test]
    fn no_value_of_a_reference_moves_the_host(before in "[ -~]{0,12}", value in "[ -~]{0,20}", after in "[ -~]{0,12}") {
        let text = format!("https://h.example{before}{{{{secret:s}}}}{after}");
        if let Ok(template) = EndpointTemplate::parse(&text) {
            let mut resolved = Resolved::default();
            for reference in template.references() {
                resolved.insert(reference.clone(), &value.as_str().into());
            }
            if let Ok(endpoint) = template.resolve(&resolved) {
                prop_assert_eq!(endpoint.origin(), template.origin());
            }
        }
    }

    #[test]
    fn a_receiver_decodes_the_value_of_a_reference(value in "\\PC{1,30}") {
        let template = EndpointTemplate::parse("https://u:{{secret:s}}@h.example/x?a=1&k={{secret:s}}&b=2").unwrap();
        let mut resolved = Resolved::default();
        for reference in template.references() {
            resolved.insert(reference.clone(), &value.as_str().into());
        }
        let endpoint = template.resolve(&resolved).unwrap();
        let pairs: Vec<_> = endpoint.expose_url().query_pairs().into_owned().collect();
        let value = trimmed(&value);
        prop_assert_eq!(pairs, [("a", "1"), ("k", value), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        prop_assert_eq!(endpoint.expose_credentials(), Some(("u", value)));
    }

    #[test]
    fn a_template_without_references_is_its_own_text(text in "\\PC{0,60}") {
        if let Ok(template) = Template::parse(&text)
            && template.references().next().is_none() {
                prop_assert_eq!(template.resolve(&Resolved::default()).unwrap(), text);
            }
    }

    #[test]
    fn a_header_that_is_accepted_stays_on_its_line(name in "\\PC{0,20}", value in any::<String>()) {
        if let (Ok(name), Ok(value)) = (header_name(&name), header_value(&value)) {
            prop_assert!(value.as_bytes().iter().all(|b| (0x20..=0x7e).contains(b)));
            prop_assert!(!name.as_str().starts_with("webhook-") && name != http::header::HOST);
        }
    }

    #[test]
    fn retry_after_takes_anything(text in "\\PC{0,40}|[0-9]{1,40}", now in 0u64..10_000_000_000) {
        let wait = retry_after(&text, SystemTime::UNIX_EPOCH + Duration::from_secs(now));
        if !text.trim().is_empty() && text.trim().bytes().all(|b| b.is_ascii_digit()) {
            prop_assert!(wait.is_some());
        }
    }

    #[test]
    fn a_label_is_short_and_on_one_line(text in any::<String>(), max in 0usize..50) {
        let label = printable(&text, max);
        prop_assert!(label.len() <= max + '…'.len_utf8() && !label.contains(char::is_control));
    }

    #[test]
    fn an_outcome_of_any_bytes_is_read_or_rejected(text in any::<Vec<u8>>()) {
        if let Err(rejected) = Outcome::parse(&text.into()) {
            prop_assert!(!rejected.problems.is_empty());
        }
    }

    #[test]
    fn an_outcome_with_any_fields_is_sent_as_json_that_sqs_takes(
        name in "detection_id|outcome|severity|match_count|errors|[a-z]{1,5}|[\u{fffe}\u{ffff}\u{feff}\\\\\"]{0,3}",
        value in json(),
        around in "[ \t\r\n]{0,3}\u{feff}?[ \n]{0,2}",
    ) {
        let mut outcome = serde_json::json!({ "detection_id": 1, "outcome": "MATCHED" });
        outcome[&name] = value;
        let text = format!("{around}{outcome}\n");
        match Outcome::parse(&text.into()) {
            Ok(read) => {
                prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&read.payload.body).unwrap(), outcome);
                let is_refused = String::from_utf8_lossy(&read.payload.body).contains(['\u{fffe}', '\u{ffff}']);
                prop_assert!(!is_refused);
                prop_assert!(read.warnings.len() <= 10 && read.payload.webhook_id.len() == 32);
            }
            Err(rejected) => {
                prop_assert!(["detection_id", "outcome"].contains(&&*name), "{name}");
                prop_assert_eq!(&rejected.problems[0].path, &name);
            }
        }
    }

    #[test]
    fn a_document_of_any_text_is_read_or_refused_and_never_quoted(text in any::<String>()) {
        if let Err(problems) = Document::parse(&text) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn a_destination_of_any_json_has_problems_or_serves_and_none_shows_a_value(
        key in "url|timeout|active|outcomes|min_severity|headers|signing_secrets|fallback|description|[a-z]{1,5}",
        value in json(),
    ) {
        let document = serde_json::json!({ "destinations": { "a": { "url": "https://h.example/", key: value } } });
        let document = Document::parse(&document.to_string()).ok().unwrap();
        let shown = document.problems().iter().map(ToString::to_string).collect::<String>();
        prop_assert!(!shown.contains("SECRET"), "{shown}");
        prop_assert_eq!(document.destinations["a"].is_ok(), shown.is_empty());
    }

    #[test]
    fn a_breaker_ends_and_tries_alone(events in proptest::collection::vec(event(), 1..80)) {
        let mut breaker = Breaker::default();
        let mut now = Duration::from_secs(1_000_000);
        // Until when it is open, the attempts under way (whether each is the trial), and slow failures in a row.
        let (mut open, mut under_way, mut slow, mut lost) = (None::<Duration>, Vec::new(), 0, Duration::ZERO);
        for event in events {
            match event {
                Event::Wait(seconds) => now += Duration::from_secs(seconds),
                Event::SetBack(seconds) => now -= Duration::from_secs(seconds),
                Event::Ask => {
                    // A clock that was set back by more than that ends it.
                    open = open.map(|until| if until.saturating_sub(now) > LONGEST_OPEN { now } else { until });
                    let is_tried = under_way.contains(&true);
                    let is_over = open.is_some_and(|until| now >= until);
                    match breaker.admit(now) {
                        Admission::Pass => {
                            prop_assert_eq!(open, None);
                            under_way.push(false);
                        }
                        Admission::Trial => {
                            prop_assert!(is_over && !is_tried, "two trials, or one too early");
                            under_way.push(true);
                        }
                        Admission::Open { until, .. } => {
                            prop_assert!(open.is_some() && (!is_over || is_tried), "open past its time");
                            prop_assert!(until >= now && until.saturating_sub(now) <= LONGEST_OPEN);
                        }
                    }
                }
                Event::Drop(which) if !under_way.is_empty() => {
                    if under_way.swap_remove(which % under_way.len()) {
                        breaker.release();
                    }
                }
                Event::End(which, seen) if !under_way.is_empty() => {
                    let is_trial = under_way.swap_remove(which % under_way.len());
                    let asks = matches!(seen, Seen::Asked(wait) if wait >= Duration::from_secs(60));
                    let is_slow = if let Seen::Slow(took) = seen { Some(took).filter(|took| took.as_secs() > 0) } else { None };
                    match is_slow {
                        Some(took) => (slow, lost) = (slow + 1, lost + took),
                        None if asks => slow += 1,
                        None => (slow, lost) = (0, Duration::ZERO),
                    }
                    let is_reason = asks || is_slow.is_some() && (slow >= 3 || lost.as_secs() >= 30 || open.is_some());
                    match breaker.record(seen, "cause", is_trial, now, 0.5) {
                        Some(Change::Opened { since, until }) => {
                            prop_assert!(is_reason && (open.is_none() || is_trial));
                            prop_assert!(since <= now || open.is_some() || slow > 1, "set back");
                            prop_assert!((30..=LONGEST_OPEN.as_secs()).contains(&until.saturating_sub(now).as_secs()));
                            open = Some(until);
                        }
                        Some(Change::Closed { .. }) => {
                            prop_assert!(open.take().is_some() && is_slow.is_none() && !asks);
                        }
                        None => prop_assert!(!is_reason || (open.is_some() && !is_trial)),
                    }
                    if is_slow.is_none() && !asks {
                        prop_assert_eq!(breaker.is_idle(), !under_way.contains(&true), "it forgets everything");
                        prop_assert_eq!(open, None);
                    }
                }
                Event::Drop(_) | Event::End(..) => {}
            }
        }
    }
}

/// A quarter of an hour, and a fifth of it.
const LONGEST_OPEN: Duration = Duration::from_secs(18 * 60);

/// What happens to a circuit breaker.
#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    /// The clock is set back.
    SetBack(u64),
    Ask,
    /// One of the attempts under way ends, or is dropped without a result.
    End(usize, Seen),
    Drop(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let seen = prop_oneof![
        1 => Just(Seen::Quick),
        6 => (0u64..40).prop_map(|seconds| Seen::Slow(Duration::from_secs(seconds))),
        1 => (0u64..2000).prop_map(|seconds| Seen::Asked(Duration::from_secs(seconds))),
    ];
    prop_oneof![
        3 => (0u64..400).prop_map(Event::Wait),
        1 => (0u64..4000).prop_map(Event::SetBack),
        8 => Just(Event::Ask),
        6 => (any::<usize>(), seen).prop_map(|(which, seen)| Event::End(which, seen)),
        2 => any::<usize>().prop_map(Event::Drop),
    ]
}

/// JSON whose texts, but for the names of members, are secret.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,9}SECRET\\PC{0,9}".prop_map(Into::into),
        Just("https://SECRET@h.example/".into()),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            proptest::collection::btree_map("[A-Za-z]{1,5}", inner, 0..3)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

#[test]
fn no_block_that_iana_calls_unreachable_is_reachable() {
    let registry = include_str!("data/iana-special-purpose.csv");
    let mut blocks = 0;
    for line in registry.lines().filter(|line| !line.starts_with('#')) {
        let (block, reachable) = (line.split(',').next().unwrap(), line.ends_with(",true"));
        let network: IpNet = block.parse().unwrap();
        blocks += 1;
        let last = match network {
            IpNet::V4(network) => IpAddr::V4(network.broadcast()),
            IpNet::V6(network) => IpAddr::V6(network.broadcast()),
        };
        for ip in [network.network(), last] {
            let allowed = check(ip, false, &AllowedNetworks::default()).is_ok();
            assert!(reachable || !allowed, "{line}: {ip}");
        }
    }
    assert_eq!(blocks, 48);
}
