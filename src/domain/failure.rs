//! Why a delivery did not succeed in this invocation.
//!
//! Everything that follows from a failure stands in one table: what happens next, how grave it is, who must act, the
//! cause and the remedy. `deliver::settle` adds what depends on the message, such as its age. `docs/failures.md` is
//! generated from the table.

use std::fmt::Display;
use std::time::Duration;

/// What happens to a delivery that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt may succeed: it waits in the retry queue, as long as the schedule lasts.
    Retry,
    /// The endpoint or the operator asked for a pause (back-pressure): it waits, and no schedule ends it.
    Wait,
    /// The same request would fail again: a person must act.
    DeadLetter,
    /// A fault of ours before any attempt, or of our queues: the outcome stays with its source.
    Return,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    /// Time alone may mend it.
    Warn,
    /// A person must act, also while it is retried.
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    EndpointOwner,
    /// Whoever runs this function and its destinations.
    Operator,
    Network,
    Producer,
}

impl Owner {
    pub fn name(self) -> &'static str {
        match self {
            Self::EndpointOwner => "endpoint owner",
            Self::Operator => "operator",
            Self::Network => "network",
            Self::Producer => "producer",
        }
    }
}

/// One row of the table. Texts name the facts of a case as `{place}`, which [`Failure::with`] fills, or as `{place|text}`
/// where the text stands if there is no such fact.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub next: Next,
    /// While it is retried; whatever is dead-lettered is an ERROR.
    pub level: Level,
    pub owner: Owner,
    /// A clause without full stop.
    pub cause: &'static str,
    /// An instruction to the owner, without full stop.
    pub remedy: &'static str,
}

macro_rules! failures {
    ($($group:literal { $($code:ident $name:literal $next:ident $level:ident $owner:ident: $cause:literal => $remedy:literal)* })*) => {
        /// A failure's public name. Its row says the rest.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[doc = $cause] $code),*),* }

        impl Code {
            pub const ALL: &[Self] = &[$($(Self::$code),*),*];

            /// The codes by the heading they have in the documentation.
            pub const GROUPS: &[(&str, &[Self])] = &[$(($group, &[$(Self::$code),*])),*];

            pub fn row(self) -> &'static Row {
                match self {
                    $($(Self::$code => &Row {
                        name: $name, next: Next::$next, level: Level::$level, owner: Owner::$owner, cause: $cause, remedy: $remedy,
                    }),*),*
                }
            }
        }
    };
}

failures! {
    "The endpoint answered" {
        Redirect "redirect" DeadLetter Error Operator:
            "{endpoint} answered HTTP {status}, a redirect {location}; redirects are never followed"
            => "{advice}"
        Unauthorized "unauthorized" Retry Error Operator:
            "{endpoint} answered HTTP {status}: it rejects the credentials{fresh|}"
            => "check the destination's API key, header or signing secret, and that the endpoint lets this caller in"
        NotFound "not_found" Retry Error Operator:
            "{endpoint} answered HTTP 404: it has nothing at this path"
            => "check the path in the destination's `url`, and that the webhook is deployed"
        Gone "gone" DeadLetter Error Operator:
            "{endpoint} answered HTTP 410: it asks never to be called again"
            => "give the destination another `url`"
        RateLimited "rate_limited" Wait Warn EndpointOwner:
            "{endpoint} answered HTTP 429: it takes no more for now{asks|}"
            => "raise the rate limit, or have the operator send less (`outcomes`, `min_severity`)"
        Busy "busy" Retry Warn EndpointOwner:
            "{endpoint} answered HTTP {status}: it cannot take the alert now{asks|}"
            => "look in the endpoint's log"
        Conflict "conflict" Retry Warn EndpointOwner:
            "{endpoint} answered HTTP 409: it may have this alert already{asks|}"
            => "look for webhook-id {webhook_id} at the endpoint, and answer 2xx to duplicates"
        RefusedByEndpoint "refused_by_endpoint" DeadLetter Error EndpointOwner:
            "{endpoint} answered HTTP {status}: it refuses this request for good{reason|}"
            => "make the endpoint accept the request (its log may tell why it does not)"
        ServerError "server_error" Retry Warn EndpointOwner:
            "{endpoint} answered HTTP {status}: an error on its side{asks|}"
            => "look in the endpoint's log for the error"
        Unsupported "unsupported" DeadLetter Error Operator:
            "{endpoint} answered HTTP {status}: it does not support such a request"
            => "check that the destination's `url` is a webhook that takes a POST with JSON"
        UnexpectedStatus "unexpected_status" Retry Warn Operator:
            "{endpoint} answered HTTP {status}, {meaning}"
            => "check that the destination's `url` is a webhook that takes a POST"
    }
    "Before a connection" {
        Dns "dns" Retry Error Operator:
            "the host name {host} does not resolve"
            => "check its spelling in the destination's `url`, then the DNS of the function's VPC"
        DnsTimeout "dns_timeout" Retry Warn Network:
            "the host name {host} did not resolve within {limit}"
            => "check the DNS of the function's VPC"
        AddressForbidden "address_forbidden" DeadLetter Error Operator:
            "{leads}{address}, which is {why} and can never be allowed"
            => "give the destination a `url` with another address"
        AddressPrivate "address_private" DeadLetter Error Operator:
            "{leads}{address}, which is in {why} and not allowed"
            => "if that is meant, add its network to AllowPrivateCidrs (ALLOW_PRIVATE_CIDRS), else correct the `url`"
        PlainHttp "plain_http" DeadLetter Error Operator:
            "{endpoint} is plain HTTP, and {address} is outside the private networks where that is allowed"
            => "use https:// in the destination's `url`, or allow plain HTTP to public addresses (AllowPlainHttp, ALLOW_PLAIN_HTTP)"
    }
    "The connection" {
        ConnectRefused "connect_refused" Retry Warn EndpointOwner:
            "{endpoint}{at} refused the connection"
            => "start the service, or open its port {port}"
        ConnectReset "connect_reset" Retry Warn EndpointOwner:
            "{endpoint}{at} reset the connection before anything was sent"
            => "check that the service is up, and its firewall and load balancer"
        ConnectUnreachable "connect_unreachable" Retry Warn Network:
            "no network path leads to {endpoint}{at}"
            => "check the VPC's route tables, and that the address is the right one"
        ConnectTimeout "connect_timeout" Retry Warn Network:
            "{endpoint}{at} accepted no connection within {limit}"
            => "check the firewalls in between and, in a VPC, the NAT gateway"
        ConnectFailed "connect_failed" Retry Warn Network:
            "no connection to {endpoint}{at} came about ({kind})"
            => "check the security groups and the firewalls in between"
        OutOfDescriptors "out_of_descriptors" Retry Warn Operator:
            "this function had no file descriptor left for a connection to {endpoint} (Lambda's limit: 1,024)"
            => "lower the batch size of the queues"
    }
    "TLS" {
        TlsExpired "tls_expired" Retry Error EndpointOwner:
            "the {which|}certificate of {endpoint} expired on {date}"
            => "renew it ({openssl} shows the whole chain)"
        TlsNotYetValid "tls_not_yet_valid" Retry Error EndpointOwner:
            "the {which|}certificate of {endpoint} is valid only from {date}"
            => "use a certificate that is valid now, and check the clock where it was issued"
        TlsUnknownIssuer "tls_unknown_issuer" Retry Error EndpointOwner:
            "no authority that this function trusts issued the certificate of {endpoint}{issuer|}"
            => "install a public authority's certificate with its intermediates and, if its key is RSA, of 2048 bits or more \
                ({openssl} shows the chain), or have the operator trust your authority (ExtraCaLayerArn, EXTRA_CA_BUNDLE)"
        TlsCaAsServer "tls_ca_as_server" Retry Error EndpointOwner:
            "{endpoint} presents a certificate authority's certificate instead of a server's"
            => "issue a server's certificate with CA:FALSE (`openssl req -x509` alone makes an authority's)"
        TlsWrongName "tls_wrong_name" Retry Error Operator:
            "the certificate of {endpoint} {names}"
            => "{advice}"
        TlsCertificate "tls_certificate" Retry Error EndpointOwner:
            "the certificate of {endpoint} cannot be used: {detail}"
            => "reissue it for a server ({openssl} shows it)"
        TlsUnsupported "tls_unsupported" Retry Error EndpointOwner:
            "the certificate chain of {endpoint} has a key or signature algorithm that is not supported"
            => "use RSA of 2048 bits or more, P-256, P-384 or Ed25519, with SHA-256 or better"
        TlsProtocol "tls_protocol" Retry Error EndpointOwner:
            "{endpoint} shares no TLS version, cipher suite or signature algorithm with this function"
            => "enable TLS 1.2 or 1.3 with current cipher suites, and use a key of RSA 2048 or more, P-256, P-384 or Ed25519"
        TlsPlainHttp "tls_plain_http" Retry Error Operator:
            "{endpoint} answers without TLS"
            => "use the endpoint's TLS port in the destination's `url`"
        TlsClientCertificate "tls_client_certificate" Retry Error EndpointOwner:
            "{endpoint} demands a client certificate, which this function does not have"
            => "accept an API key, a header, Basic authentication or the signature instead"
        TlsCut "tls_cut" Retry Warn EndpointOwner:
            "{endpoint} closed the connection during the TLS handshake"
            => "check its TLS configuration, and any firewall that inspects TLS ({openssl})"
        TlsTimeout "tls_timeout" Retry Warn EndpointOwner:
            "the TLS handshake with {endpoint} did not end within {limit}"
            => "check the endpoint's load, and that its port speaks TLS ({openssl})"
        TlsFailed "tls_failed" Retry Error EndpointOwner:
            "the TLS handshake with {endpoint} failed: {detail}"
            => "check the endpoint's TLS configuration ({openssl})"
    }
    "After the request was sent" {
        Timeout "timeout" Retry Warn EndpointOwner:
            "{endpoint} did not answer within {limit}, the destination's `timeout`"
            => "answer before the work is done, or have the operator raise the `timeout` (at most 300 s)"
        ConnectionLost "connection_lost" Retry Warn EndpointOwner:
            "the connection to {endpoint} broke before an answer came"
            => "look in the log of the endpoint and of any proxy in front of it"
        MalformedResponse "malformed_response" DeadLetter Error EndpointOwner:
            "the answer of {endpoint} is not valid HTTP"
            => "correct the HTTP response (a redrive keeps the webhook-id {webhook_id})"
    }
    "This function's own limits" {
        Deadline "deadline" Retry Warn Operator:
            "{endpoint} did not answer within {limit}, which was all that this function had left (the destination's `timeout` is {timeout})"
            => "raise the function's timeout (LongestTimeout) above the destination's, or lower that"
        NotStarted "not_started" Retry Warn Operator:
            "this function's time was over before an attempt could begin"
            => "raise the function's timeout, or lower the batch size"
        CircuitOpen "circuit_open" Retry Warn EndpointOwner:
            "no attempt, because those since {since} failed ({cause})"
            => "bring the endpoint back; deliveries then go on by themselves"
        Panic "panic" Retry Error Operator:
            "a bug in this function ended the attempt ({place}, version {version})"
            => "send this line to the maintainers of this function"
    }
    "No attempt: the destination or its route" {
        DestinationInvalid "destination_invalid" DeadLetter Error Operator:
            "the destination is configured wrongly: {problems}"
            => "correct it"
        DestinationUnknown "destination_unknown" DeadLetter Error Operator:
            "the route names this destination, which does not exist"
            => "add the destination, or take it out of the route"
        DestinationInactive "destination_inactive" DeadLetter Error Operator:
            "the destination was switched off (`active`: false) while the alert waited for it"
            => "set `active` to true if the alert shall go there"
        DestinationPaused "destination_paused" Wait Info Operator:
            "the destination is paused"
            => "set `paused` to false when the maintenance is over"
        SecretUnresolved "secret_unresolved" Retry Error Operator:
            "{what}, which the destination refers to, cannot be used: {problems}"
            => "{fix}"
        RouteInvalid "route_invalid" DeadLetter Error Operator:
            "a part of this detection's route is wrong: {problems}; the rest of the route gets the alert"
            => "correct that part (the rest of the route gets the alert again at a redrive)"
        Unrouted "unrouted" DeadLetter Error Operator:
            "detection {detection} has no route"
            => "add a route for it, or a `*` route for all that have none"
    }
    "No attempt: what came in" {
        InvalidOutcome "invalid_outcome" DeadLetter Error Producer:
            "this is not an outcome: {problems}"
            => "{fix|correct what is named, and send the outcome again}"
        UnknownEvent "unknown_event" DeadLetter Error Producer:
            "this event is not one that the function accepts: {problems}"
            => "{fix|send an outcome alone, or through SQS, SNS or EventBridge}"
    }
    "No attempt: look-up and queues" {
        LookupFailed "lookup_failed" Return Error Operator:
            "the destinations cannot be read from {what}: {problems}"
            => "{fix}"
        TooLargeToKeep "too_large_to_keep" Return Error Operator:
            "{before}; and the alert is too large for another queue ({size} with its attributes; the limit is 1048576 bytes)"
            => "have the first failure mended ({mend})"
        QueueFailed "queue_failed" Return Error Operator:
            "{before}; then the alert could not be written to {what}: {problems}"
            => "{fix}"
        InvalidSettings "invalid_settings" Return Error Operator:
            "the settings are wrong, so the function does not start and all events wait with their sources: {problems}"
            => "correct the function's environment variables (the template's parameters)"
    }
}

impl Code {
    /// What the address guard forbids is not an attempt.
    pub fn is_policy(self) -> bool {
        matches!(self, Self::AddressForbidden | Self::AddressPrivate | Self::PlainHttp)
    }

    /// Whether an attempt was due and not made, for a reason that the next receive may not meet.
    pub fn is_untried(self) -> bool {
        matches!(self, Self::NotStarted | Self::CircuitOpen)
    }
}

macro_rules! reasons {
    ($($reason:ident $name:literal $level:ident: $cause:literal => $remedy:literal)*) => {
        /// Why AWS did not do what it was asked. The text may name the resource as `{what}`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum AwsReason { $(#[doc = $cause] $reason),* }

        impl AwsReason {
            pub const ALL: &[Self] = &[$(Self::$reason),*];

            pub fn name(self) -> &'static str { match self { $(Self::$reason => $name),* } }

            pub fn level(self) -> Level { match self { $(Self::$reason => Level::$level),* } }

            pub fn cause(self) -> &'static str { match self { $(Self::$reason => $cause),* } }

            pub fn remedy(self) -> &'static str { match self { $(Self::$reason => $remedy),* } }
        }
    };
}

reasons! {
    AccessDenied "access_denied" Error: "AWS denies the function's role access (AccessDenied)"
        => "allow the function's role to use {what}"
    KmsDenied "kms_denied" Error: "AWS does not let the function's role use the KMS key that encrypts it (AccessDenied)"
        => "allow the role kms:Decrypt for that key, in the template (SecretsKeyArns) and in the key's own policy"
    NotFound "not_found" Error: "it does not exist in this account and region"
        => "create {what}, or correct its name where it is used"
    Deleted "deleted" Error: "it is marked for deletion" => "restore {what}, or use another"
    NoVersion "no_version" Error: "it has no AWSCURRENT version" => "give {what} a value"
    NoText "no_text" Error: "it has no text value" => "give {what} a text value (SecretString)"
    Throttled "throttled" Warn: "AWS throttles the calls" => "raise the account's quota for these calls"
    NoCredentials "no_credentials" Error: "AWS does not accept the function's credentials"
        => "check that the function's role exists and that the region is right"
    NoPath "no_path" Error: "AWS does not answer" => "check the VPC's NAT gateway or interface endpoint; without a VPC, wait for AWS"
    Internal "internal" Warn: "AWS has an error of its own ({error})" => "open a case with AWS Support"
    Other "other" Error: "AWS answers with the error {error}" => "look {error} up in AWS's API reference (it is about {what})"
}

/// Fills the places of a text with facts, of which the last one of a name counts. A fact is not looked into, so it may
/// hold braces.
fn fill(text: &str, facts: &[(&'static str, String)]) -> String {
    let mut filled = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (place, after) = after.split_once('}').unwrap_or((after, ""));
        let (place, default) = place.split_once('|').map_or((place, None), |(place, text)| (place, Some(text)));
        match facts.iter().rev().find(|(name, _)| *name == place).map(|(_, fact)| &**fact).or(default) {
            Some(text) => filled.push_str(text),
            None => filled.extend(["{", place, "}"]),
        }
        rest = after;
    }
    filled + rest
}

/// Why a delivery did not succeed in this invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    /// Its row's, or less where AWS's reason is one that time may mend.
    pub level: Level,
    /// What is known of the case, by the name of the place in the row's texts.
    pub facts: Vec<(&'static str, String)>,
    /// Of the endpoint's answer, if there was one.
    pub status: Option<u16>,
    /// The least wait before the next attempt: what the endpoint asked for (`Retry-After`).
    pub retry_after: Duration,
    /// The wait before the next attempt is no longer than this, whatever the schedule says.
    pub no_later: Option<Duration>,
    /// What the endpoint said, as far as it may be shown.
    pub excerpt: Option<String>,
    /// Whether the endpoint may have received the outcome although it did not answer.
    pub maybe_received: bool,
}

/// 429 without a usable `Retry-After`, or with a shorter one.
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);

impl Failure {
    pub fn new(code: Code) -> Self {
        let (facts, retry_after) = (Vec::new(), Duration::ZERO);
        let level = code.row().level;
        Self { code, level, facts, status: None, retry_after, no_later: None, excerpt: None, maybe_received: false }
    }

    /// The failure that an answer's status means; nothing for 200 to 299.
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Option<Self> {
        let code = code_of(status)?;
        let least = if code == Code::RateLimited { RATE_LIMIT_WAIT } else { Duration::ZERO };
        let meaning = match status {
            101 => "which switches to another protocol, such as WebSocket",
            100..=199 => "which is an interim answer in place of a final one",
            _ => "a number that HTTP does not define",
        };
        let asks = retry_after.filter(|wait| !wait.is_zero());
        let asks = asks.map(|wait| format!("; it asks to wait {}", in_words(wait)));
        let failure = Self::new(code).with("status", status).with("meaning", meaning).with_some("asks", asks);
        Some(Self { status: Some(status), retry_after: retry_after.unwrap_or_default().max(least), ..failure })
    }

    /// A fault of something that is ours or AWS's: what it is of, what is wrong with it, and what to do about it.
    pub fn of(code: Code, what: impl Display, problems: impl Display, fix: impl Display) -> Self {
        Self::new(code).with("what", what).with("problems", problems).with("fix", fix)
    }

    /// A fault of AWS's, or of the way to it, with what was asked for ("the secret soc in eu-west-1") and AWS's code.
    pub fn of_aws(code: Code, what: &str, reason: AwsReason, error: &str) -> Self {
        let facts = [("what", what.to_owned()), ("error", error.to_owned())];
        let failure = Self::of(code, what, fill(reason.cause(), &facts), fill(reason.remedy(), &facts));
        // What waits in the retry queue may be mended by time; what nobody could keep may not wait for that.
        let level = if failure.row().next == Next::Retry { reason.level() } else { failure.level };
        Self { level, ..failure }
    }

    /// What was to be kept could not be written: this failure stands in the place of the one before.
    #[must_use]
    pub fn not_kept(self, before: &Self) -> Self {
        let mend = format!("{}: {}", before.row().owner.name(), before.remedy());
        let (status, maybe_received) = (before.status, before.maybe_received);
        let failure = Self { status, maybe_received, ..self };
        failure.with("before", before.cause()).with("mend", mend)
    }

    #[must_use]
    pub fn with(mut self, place: &'static str, value: impl Display) -> Self {
        self.facts.push((place, value.to_string()));
        self
    }

    /// The same, if there is such a fact.
    #[must_use]
    pub fn with_some(self, place: &'static str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(place, value),
            None => self,
        }
    }

    pub fn row(&self) -> &'static Row {
        self.code.row()
    }

    /// What happened, with the facts of this case.
    pub fn cause(&self) -> String {
        let mut cause = fill(self.row().cause, &self.facts);
        if let Some(excerpt) = &self.excerpt {
            cause.push_str("; it says ");
            cause.push_str(&super::problem::quoted(excerpt));
        }
        if self.maybe_received {
            cause.push_str("; the endpoint may have received the alert");
        }
        cause
    }

    pub fn remedy(&self) -> String {
        fill(self.row().remedy, &self.facts)
    }
}

/// The one place that judges a status.
fn code_of(status: u16) -> Option<Code> {
    Some(match status {
        200..=299 => return None,
        // Never followed: most clients turn the POST into a GET and take the login page's 200 for a delivery.
        300..=399 => Code::Redirect,
        401 | 403 | 407 => Code::Unauthorized,
        404 => Code::NotFound,
        409 => Code::Conflict,
        410 => Code::Gone,
        429 => Code::RateLimited,
        408 | 421 | 423 | 424 | 425 => Code::Busy,
        400..=499 => Code::RefusedByEndpoint,
        501 | 505 | 506 | 508 | 510 | 511 => Code::Unsupported,
        500..=599 => Code::ServerError,
        // 1xx as the final status, or a number that HTTP does not define: unknown, so not lost.
        _ => Code::UnexpectedStatus,
    })
}

/// A time span as a person says it.
pub fn in_words(time: Duration) -> String {
    match time.as_secs() {
        0 if !time.is_zero() => format!("{} ms", time.as_millis()),
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} minutes", (seconds + 30) / 60),
        seconds @ 7200..=172_799 => format!("{} hours", (seconds + 1800) / 3600),
        seconds => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_row() {
        for status in 0..=1000 {
            let expected = match status {
                200..=299 => None,
                401 | 403 | 407 | 404 | 408 | 409 | 421 | 423 | 424 | 425 => Some(Next::Retry),
                429 => Some(Next::Wait),
                501 | 505 | 506 | 508 | 510 | 511 => Some(Next::DeadLetter),
                500..=599 => Some(Next::Retry),
                300..=499 => Some(Next::DeadLetter),
                _ => Some(Next::Retry),
            };
            let failure = Failure::of_status(status, None);
            assert_eq!(failure.as_ref().map(|failure| failure.row().next), expected, "{status}");
            assert_eq!(failure.and_then(|failure| failure.status), expected.map(|_| status));
        }
        let name = |status| Failure::of_status(status, None).unwrap().row().name;
        assert_eq!([302, 401, 404].map(name), ["redirect", "unauthorized", "not_found"]);
        assert_eq!([409, 410, 429, 425].map(name), ["conflict", "gone", "rate_limited", "busy"]);
        assert_eq!([400, 501, 503].map(name), ["refused_by_endpoint", "unsupported", "server_error"]);
        assert_eq!([101, 999].map(name), ["unexpected_status"; 2]);
    }

    #[test]
    fn a_429_waits_a_minute_and_others_as_long_as_they_ask() {
        let wait = |status, asked: Option<u64>| {
            Failure::of_status(status, asked.map(Duration::from_secs)).unwrap().retry_after.as_secs()
        };
        assert_eq!([wait(429, None), wait(429, Some(5)), wait(429, Some(500))], [60, 60, 500]);
        assert_eq!([wait(503, None), wait(503, Some(90)), wait(401, Some(90))], [0, 90, 90]);
    }

    #[test]
    fn every_row_has_a_name_of_its_own_and_two_clauses() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.row().name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for row in Code::ALL.iter().map(|code| code.row()) {
            assert!(row.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", row.name);
            assert!(!row.cause.is_empty() && !row.cause.ends_with('.'), "{}", row.name);
            assert!(!row.remedy.is_empty() && !row.remedy.ends_with('.'), "{}", row.name);
            assert!(row.next != Next::DeadLetter || row.level == Level::Error, "{}", row.name);
        }
    }

    #[test]
    fn facts_fill_places_and_are_not_looked_into() {
        let failure = Failure::new(Code::Dns).with("host", "{limit}").with("limit", "x");
        assert_eq!(failure.cause(), "the host name {limit} does not resolve");
        let unknown = Failure::new(Code::UnknownEvent);
        assert_eq!(unknown.remedy(), "send an outcome alone, or through SQS, SNS or EventBridge");
        assert_eq!(unknown.with("fix", "a|b").remedy(), "a|b");
    }

    #[test]
    fn only_what_waits_is_less_grave_where_time_may_mend_it() {
        let level = |code, reason| Failure::of_aws(code, "the secret s", reason, "X").level;
        for reason in AwsReason::ALL.iter().copied() {
            let is_passing = matches!(reason, AwsReason::Throttled | AwsReason::Internal);
            assert_eq!(level(Code::SecretUnresolved, reason) == Level::Warn, is_passing, "{reason:?}");
            assert_eq!([Code::LookupFailed, Code::QueueFailed].map(|code| level(code, reason)), [Level::Error; 2]);
        }
    }

    #[test]
    fn spans_are_said_as_a_person_says_them() {
        for (seconds, words) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 minutes"),
            (3600, "60 minutes"),
            (7200, "2 hours"),
            (72_010, "20 hours"),
            (518_400, "6 days"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
        assert_eq!(in_words(Duration::from_millis(250)), "250 ms");
    }

    #[test]
    fn an_odd_status_and_a_wait_that_is_asked_for_are_explained() {
        let cause = |status, wait| Failure::of_status(status, Some(Duration::from_secs(wait))).unwrap().cause();
        assert!(cause(101, 0).ends_with("HTTP 101, which switches to another protocol, such as WebSocket"));
        assert!(cause(103, 0).ends_with("HTTP 103, which is an interim answer in place of a final one"));
        assert!(cause(600, 0).ends_with("HTTP 600, a number that HTTP does not define"));
        assert!(cause(503, 0).ends_with("an error on its side"));
        assert!(cause(503, 90).ends_with("an error on its side; it asks to wait 90 s"));
    }

    #[test]
    fn owners_and_the_two_lists_of_codes_are_as_named() {
        use Owner::{EndpointOwner, Network, Operator, Producer};
        let names = [EndpointOwner, Operator, Network, Producer].map(Owner::name);
        assert_eq!(names, ["endpoint owner", "operator", "network", "producer"]);
        let all = |is: fn(Code) -> bool| Code::ALL.iter().copied().filter(|code| is(*code)).collect::<Vec<_>>();
        assert_eq!(all(Code::is_policy), [Code::AddressForbidden, Code::AddressPrivate, Code::PlainHttp]);
        assert_eq!(all(Code::is_untried), [Code::NotStarted, Code::CircuitOpen]);
    }

    #[test]
    fn what_is_not_kept_tells_of_the_failure_before() {
        let before = Failure { maybe_received: true, ..Failure::of_status(503, None).unwrap() };
        let failure = Failure::new(Code::TooLargeToKeep).not_kept(&before);
        assert_eq!((failure.status, failure.maybe_received), (Some(503), true));
        assert!(failure.cause().starts_with(&before.cause()), "{}", failure.cause());
        let remedy = "have the first failure mended (endpoint owner: look in the endpoint's log for the error)";
        assert_eq!(failure.remedy(), remedy);
    }
}
