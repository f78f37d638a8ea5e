//! What a probe of one destination found, step by step: the answer to whoever asked.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::address::Blocked;
use super::attempt::{Address, Attempt, AttemptResult, Cause, Phase};
use super::code::Code;
use super::endpoint::Endpoint;
use super::failure::Finding;

/// The message that the platform documents for testing an endpoint.
pub const MESSAGE: &str = r#"{"test":"message","detection_name":"Test Detection"}"#;

/// The answer to a probe.
#[derive(Debug, Serialize)]
pub struct ProbeReport {
    /// The destination's id.
    pub probe: String,
    /// Whether the endpoint took the message.
    pub ok: bool,
    /// `scheme://host[:port]`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// In the order in which they were taken; the last one is the one that failed, if one did.
    pub steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u128>,
}

/// One step on the way to the endpoint.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Step {
    pub step: Stage,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u128>,
    /// What the host led to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Addresses that may not be connected to, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// The steps, in their order.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The destination, with the secrets that it refers to.
    Lookup,
    Dns,
    Guard,
    /// TCP
    Connect,
    Tls,
    Http,
}

impl ProbeReport {
    /// A probe that ended before an attempt.
    pub fn without_attempt(id: String, host: Option<String>, finding: &Finding) -> Self {
        Self::new(id, host, vec![Step::new(Stage::Lookup, matches!(finding, Finding::NotStarted), None)], finding)
    }

    pub fn of(id: String, endpoint: &Endpoint, attempt: &Attempt) -> Self {
        let mut report =
            Self::new(id, Some(endpoint.origin().to_owned()), steps(endpoint, attempt), &attempt.finding());
        report.total_ms = Some(attempt.timings.total.as_millis());
        report
    }

    fn new(probe: String, host: Option<String>, steps: Vec<Step>, finding: &Finding) -> Self {
        let code = finding.code();
        Self {
            probe,
            ok: code.is_none(),
            host,
            steps,
            status: finding.status(),
            code: code.map(Code::name),
            cause: finding.cause(),
            remedy: code.map(Code::remedy),
            excerpt: finding.excerpt().map(ToOwned::to_owned),
            total_ms: None,
        }
    }
}

impl Step {
    fn new(step: Stage, ok: bool, took: Option<Duration>) -> Self {
        Self { step, ok, ms: took.map(|took| took.as_millis()), addresses: Vec::new(), refused: Vec::new() }
    }
}

/// The steps that an attempt took, the failed one last.
fn steps(endpoint: &Endpoint, attempt: &Attempt) -> Vec<Step> {
    let failed = failed_at(&attempt.result);
    let timings = &attempt.timings;
    let is_name = matches!(endpoint.host(), Some(url::Host::Domain(_)));
    let tls = timings.connect.zip(timings.tcp).map(|(both, tcp)| both.saturating_sub(tcp));
    let mut steps = vec![Step::new(Stage::Lookup, true, None)];
    for (stage, is_taken, took) in [
        (Stage::Dns, is_name, timings.dns),
        (Stage::Guard, true, None),
        (Stage::Connect, true, timings.tcp.or(timings.connect)),
        (Stage::Tls, !endpoint.is_plain_http(), tls),
        (Stage::Http, true, timings.first_byte),
    ] {
        if !is_taken || failed.is_some_and(|failed| stage > failed) {
            continue;
        }
        let mut step = Step::new(stage, failed != Some(stage), took);
        match stage {
            Stage::Dns => step.addresses = attempt.addresses.iter().map(|address| address.ip).collect(),
            Stage::Guard => step.refused = attempt.addresses.iter().filter_map(refused).collect(),
            _ => {}
        }
        steps.push(step);
    }
    steps
}

fn refused(address: &Address) -> Option<String> {
    let reason = match address.blocked? {
        Blocked::Forbidden => "never allowed",
        Blocked::Private => "a private network that ALLOW_PRIVATE_CIDRS does not name",
        Blocked::PlainHttp => "http:// is for allowed private networks alone",
    };
    Some(format!("{}: {reason}", address.ip))
}

fn failed_at(result: &AttemptResult) -> Option<Stage> {
    Some(match result {
        AttemptResult::Response { status: 200..=299, .. } => return None,
        AttemptResult::Response { .. } => Stage::Http,
        AttemptResult::Failed { cause, .. } => match cause {
            Cause::Dns | Cause::Timeout(Phase::Dns) | Cause::Deadline(Phase::Dns) => Stage::Dns,
            Cause::Refused(_) => Stage::Guard,
            Cause::Connect(_) | Cause::Timeout(Phase::Connect) | Cause::Deadline(Phase::Connect) => Stage::Connect,
            Cause::Tls(_) | Cause::Timeout(Phase::Handshake) | Cause::Deadline(Phase::Handshake) => Stage::Tls,
            Cause::Timeout(Phase::Response) | Cause::Deadline(Phase::Response) | Cause::Lost | Cause::Malformed => {
                Stage::Http
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::attempt::{Sent, TlsCause};
    use super::*;

    fn attempt(result: AttemptResult) -> Attempt {
        let ip = |text: &str, blocked| Address { ip: text.parse().unwrap(), blocked };
        let addresses = vec![ip("93.184.216.34", None), ip("10.0.0.1", Some(Blocked::Private))];
        Attempt { result, timings: super::super::attempt::Timings::default(), addresses }
    }

    fn walk(url: &str, result: AttemptResult) -> Vec<(Stage, bool)> {
        let report = ProbeReport::of("soc".into(), &Endpoint::parse(url).unwrap(), &attempt(result));
        report.steps.iter().map(|step| (step.step, step.ok)).collect()
    }

    #[test]
    fn the_steps_end_at_the_one_that_failed() {
        use Stage::{Connect, Dns, Guard, Http, Lookup, Tls};
        let tls = AttemptResult::Failed { cause: Cause::Tls(TlsCause::UnknownIssuer), sent: Sent::Nothing };
        let walked = walk("https://h.example/", tls);
        assert_eq!(walked, [(Lookup, true), (Dns, true), (Guard, true), (Connect, true), (Tls, false)]);
        let ok = AttemptResult::Response { status: 204, retry_after: None, location_origin: None, excerpt: None };
        let walked = walk("http://10.0.0.1/", ok);
        assert_eq!(walked, [(Lookup, true), (Guard, true), (Connect, true), (Http, true)]);
        let dns = AttemptResult::Failed { cause: Cause::Dns, sent: Sent::Nothing };
        assert_eq!(walk("https://h.example/", dns), [(Lookup, true), (Dns, false)]);
    }

    #[test]
    fn addresses_are_named_and_so_is_why_one_is_refused() {
        let refused = AttemptResult::Failed { cause: Cause::Refused(Blocked::Private), sent: Sent::Nothing };
        let steps = steps(&Endpoint::parse("https://h.example/SECRET").unwrap(), &attempt(refused));
        assert_eq!(steps[1].addresses.len(), 2);
        assert_eq!(steps[2].refused, ["10.0.0.1: a private network that ALLOW_PRIVATE_CIDRS does not name"]);
    }
}
