//! The destinations, each with its own way to fail.

use serde_json::{Value, json};

pub(crate) struct Kind {
    /// Its id as a destination, and its path at the receiver.
    pub(crate) name: String,
    pub(crate) fault: Fault,
    /// Its fallback, and after how many minutes it is used.
    pub(crate) fallback: Option<(&'static str, u64)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// A definite answer that is no success.
    Status(u16),
    /// Something odd after the request was read.
    Odd(Odd),
    /// Something odd before a request can be sent.
    Connection(Connection),
    Tls(Tls),
    Name(Name),
    /// It takes requests and never answers any.
    Dead,
    Waits(Waits),
    /// Nothing is wrong with it, and no route leads to it: it is a fallback, for outcomes of these severities.
    Pager(&'static [&'static str]),
    /// The destination's configuration is what is wrong with it; none at all for one that only routes know.
    Configured(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Odd {
    // Taken with a 200, whatever comes after it.
    EndlessBody,
    CutBody,
    StalledBody,
    SilentClose,
    // Nobody can know whether it was taken.
    NoHead,
    HalfHeadThenSilence,
    SlowHead,
    HalfHead,
    Garbage,
    ManyHeaders,
    Close,
    Reset,
    // Refused with a 500.
    EndlessError,
    CutError,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Connection {
    Refused,
    FullBacklog,
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tls {
    None,
    Expired,
    NotYetValid,
    WrongName,
    UnknownIssuer,
    ClientCertificate,
    PlainHttp,
    Cut,
    Stalled,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Name {
    Unknown,
    ServerFailure,
    Silent,
    Private,
    Mixed,
    Flipping,
}

/// Back-pressure, for longer than the schedule lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Waits {
    /// The receiver answers 429.
    Crowded,
    /// The same, and when it is over it fails once: only a renewed delivery has an attempt left.
    CrowdedThenFailing,
    /// The operator has paused it, and ends the pause.
    Paused,
    /// The pause never ends.
    Resting,
}

impl Odd {
    pub(crate) fn is_taken(self) -> bool {
        matches!(self, Self::EndlessBody | Self::CutBody | Self::StalledBody | Self::SilentClose)
    }

    pub(crate) fn is_refused(self) -> bool {
        matches!(self, Self::EndlessError | Self::CutError)
    }
}

impl Kind {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Whether an attempt ends only by its timeout, which is therefore short.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(
            self.fault,
            Fault::Dead
                | Fault::Odd(Odd::NoHead | Odd::HalfHeadThenSilence | Odd::SlowHead)
                | Fault::Connection(Connection::FullBacklog)
                | Fault::Tls(Tls::Stalled)
                | Fault::Name(Name::Silent)
        )
    }
}

/// From the gravest to the least.
pub(crate) const SEVERITIES: [&str; 4] = ["CRITICAL", "HIGH", "MEDIUM", "LOW"];

/// The fallback of a destination that is switched off on purpose.
pub(crate) const NEVER_CALLED: &str = "calm-pager";

/// Every status of which a verdict is known by its number, and some of those that are not.
const STATUSES: [u16; 44] = [
    101, 301, 302, 307, 308, 400, 401, 403, 404, 407, 408, 409, 410, 421, 422, 423, 424, 425, 429, 451, 500, 501, 502,
    503, 504, 505, 506, 507, 508, 509, 510, 511, 520, 521, 522, 523, 524, 525, 526, 527, 529, 530, 555, 999,
];

pub(crate) fn kinds() -> Vec<Kind> {
    let with = |name: &str, fault, fallback| Kind { name: name.to_owned(), fault, fallback };
    let kind = |name: &str, fault| with(name, fault, None);
    let mut kinds = vec![kind("well", Fault::None), kind("good", Fault::None), kind("tls-well", Fault::Tls(Tls::None))];
    kinds.extend(STATUSES.iter().map(|status| kind(&format!("http-{status}"), Fault::Status(*status))));
    let odd = [
        ("endless-body", Odd::EndlessBody),
        ("cut-body", Odd::CutBody),
        ("stalled-body", Odd::StalledBody),
        ("silent-close", Odd::SilentClose),
        ("no-head", Odd::NoHead),
        ("stalled-head", Odd::HalfHeadThenSilence),
        ("slow-head", Odd::SlowHead),
        ("half-head", Odd::HalfHead),
        ("garbage", Odd::Garbage),
        ("many-headers", Odd::ManyHeaders),
        ("close", Odd::Close),
        ("reset", Odd::Reset),
        ("endless-error", Odd::EndlessError),
        ("cut-error", Odd::CutError),
    ];
    kinds.extend(odd.map(|(name, odd)| kind(name, Fault::Odd(odd))));
    let connections = [
        ("refused", Connection::Refused),
        ("full-backlog", Connection::FullBacklog),
        ("reset-before-request", Connection::Reset),
    ];
    kinds.extend(connections.map(|(name, how)| kind(name, Fault::Connection(how))));
    let tls = [
        ("tls-expired", Tls::Expired),
        ("tls-not-yet-valid", Tls::NotYetValid),
        ("tls-wrong-name", Tls::WrongName),
        ("tls-unknown-issuer", Tls::UnknownIssuer),
        ("tls-client-certificate", Tls::ClientCertificate),
        ("tls-plain-http", Tls::PlainHttp),
        ("tls-cut", Tls::Cut),
        ("tls-stalled", Tls::Stalled),
    ];
    kinds.extend(tls.map(|(name, how)| kind(name, Fault::Tls(how))));
    let names = [
        ("dns-unknown", Name::Unknown),
        ("dns-servfail", Name::ServerFailure),
        ("dns-silent", Name::Silent),
        ("dns-private", Name::Private),
        ("dns-mixed", Name::Mixed),
        ("dns-flipping", Name::Flipping),
    ];
    kinds.extend(names.map(|(name, how)| kind(name, Fault::Name(how))));
    let configured = [
        ("absent", Value::Null),
        ("invalid", json!({ "url": "https://", "timeout": 0 })),
        ("forbidden", json!({ "url": "http://169.254.169.254/latest" })),
        ("inactive", json!({ "url": "https://inactive.test/", "active": false })),
        ("no-secret", json!({ "url": "https://h.test/{{secret:missing}}" })),
    ];
    kinds.extend(configured.map(|(name, options)| kind(name, Fault::Configured(options))));
    let waits = [
        ("crowded", Waits::Crowded, Some(("pager", 10))),
        ("crowded-then-failing", Waits::CrowdedThenFailing, None),
        ("paused", Waits::Paused, None),
        ("resting", Waits::Resting, Some((NEVER_CALLED, 0))),
    ];
    kinds.extend(waits.map(|(name, how, fallback)| with(name, Fault::Waits(how), fallback)));
    kinds.extend([
        with("dead", Fault::Dead, Some(("pager", 10))),
        with("unsteady", Fault::Status(500), Some(("pager", 0))),
        with("closed", Fault::Status(410), Some(("pager", 1200))),
        with("choosy", Fault::Status(502), Some(("urgent-pager", 0))),
        kind("pager", Fault::Pager(&SEVERITIES)),
        kind("urgent-pager", Fault::Pager(&SEVERITIES[..2])),
        kind(NEVER_CALLED, Fault::Pager(&SEVERITIES)),
    ]);
    // Ends only with the invocation.
    kinds.push(kind("deadline", Fault::Odd(Odd::NoHead)));
    kinds
}
