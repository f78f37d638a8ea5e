//! The closed list of failures: what each is called, what caused it and what to do about it.
//!
//! A log line, a queue attribute and the documentation take their words from here. A new failure is one entry in
//! this list and one in `failure`; the build shows where else it matters.

macro_rules! codes {
    ($($code:ident $name:literal: $cause:literal => $remedy:literal)*) => {
        /// A failure's public name, with its cause and remedy.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $(#[doc = $cause] $code),* }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$code),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name),* }
            }

            pub fn cause(self) -> &'static str {
                match self { $(Self::$code => $cause),* }
            }

            pub fn remedy(self) -> &'static str {
                match self { $(Self::$code => $remedy),* }
            }
        }
    };
}

codes! {
    // What the receiver answered.
    Redirect "redirect": "the endpoint redirects, and redirects are never followed" => "Configure the URL it redirects to."
    Unauthorized "unauthorized": "the endpoint refuses the credentials" => "Check API keys, verify credentials, and that the endpoint lets this caller in."
    NotFound "not_found": "the endpoint knows no such path" => "Verify the webhook URL's path, and that the endpoint is deployed."
    Gone "gone": "the endpoint is gone for good" => "Remove or replace the destination."
    RateLimited "rate_limited": "the endpoint is rate limiting" => "Lower the rate of outcomes or raise the endpoint's limit."
    Busy "busy": "the endpoint cannot take it at the moment" => "If it stays so, check the endpoint's logs."
    Rejected "rejected": "the endpoint rejects this payload" => "Look into the endpoint's logs for what it dislikes; the same payload would be rejected again."
    ServerError "server_error": "the endpoint failed" => "Check the endpoint's logs, fix the error there."
    Unsupported "unsupported": "the endpoint does not support this request" => "Check that the URL is a webhook that takes an HTTP POST."
    UnexpectedStatus "unexpected_status": "the endpoint does not answer like a webhook" => "Check that the URL is a webhook that takes a plain HTTP POST."
    // Before a connection.
    Dns "dns": "the host name does not resolve" => "Check the host's spelling and the VPC's DNS."
    DnsTimeout "dns_timeout": "the host name did not resolve in time" => "Check the VPC's DNS and the function's route to it."
    AddressForbidden "address_forbidden": "the host points at an address that is never allowed" => "Point the destination at a public address, or at a private network and allow its CIDR."
    AddressPrivate "address_private": "the host points at a private network that is not allowed" => "If it is private on purpose, add its CIDR to ALLOW_PRIVATE_CIDRS (the template's AllowPrivateCidrs)."
    PlainHttp "plain_http": "http:// outside an allowed private network" => "Use https:// in the destination's URL."
    // The connection.
    ConnectRefused "connect_refused": "connection refused" => "Verify the URL and the firewall rules: nothing listens there, or it is blocked."
    ConnectReset "connect_reset": "connection reset before anything was sent" => "Verify the URL and the firewall rules, and that the endpoint is up."
    ConnectUnreachable "connect_unreachable": "no route to the endpoint" => "Check the VPC's routes, security groups and the endpoint's address."
    ConnectTimeout "connect_timeout": "no connection within the timeout" => "Check firewalls and, in a VPC, the route to the internet (NAT gateway)."
    ConnectFailed "connect_failed": "no connection" => "Verify the URL and the firewall rules."
    // TLS.
    TlsExpired "tls_expired": "the endpoint's certificate has expired" => "Renew the endpoint's certificate."
    TlsNotYetValid "tls_not_yet_valid": "the endpoint's certificate is not valid yet" => "Correct the certificate's start date or the clock of the machine that issued it."
    TlsUnknownIssuer "tls_unknown_issuer": "no trusted authority issued the endpoint's certificate" => "Install a certificate of a public authority with its intermediates, or put your private authority's current certificate into EXTRA_CA_BUNDLE (the template's ExtraCaLayerArn); a self-signed certificate is not trusted."
    TlsCaAsServer "tls_ca_as_server": "the endpoint presents a certificate authority's own certificate" => "Issue a server certificate for it (with CA:FALSE): `openssl req -x509` makes an authority's."
    TlsWrongName "tls_wrong_name": "the endpoint's certificate is for another name" => "Use a name that the certificate covers, or add this host to the certificate."
    TlsCertificate "tls_certificate": "the endpoint's certificate is invalid" => "Verify that the endpoint's certificate and chain are well-formed and meant for a server."
    TlsProtocol "tls_protocol": "the endpoint shares no TLS version or cipher suite with this function" => "Enable TLS 1.2 or 1.3 with current cipher suites on the endpoint."
    TlsPlainHttp "tls_plain_http": "the port answers without TLS" => "Use the endpoint's TLS port in the https:// URL."
    TlsClientCertificate "tls_client_certificate": "the endpoint demands a client certificate" => "Client certificates are not supported: let the endpoint authenticate by header, URL key or Basic."
    TlsCut "tls_cut": "the endpoint ended the connection during the TLS handshake" => "Check the endpoint's TLS configuration and any firewall that inspects TLS."
    TlsTimeout "tls_timeout": "the TLS handshake did not end within the timeout" => "Check the endpoint's load, and that the port speaks TLS."
    TlsFailed "tls_failed": "the TLS handshake failed" => "Check the endpoint's TLS configuration."
    // After the request was begun.
    Timeout "timeout": "no response within the timeout" => "Raise the destination's `timeout`, or make the endpoint answer first and work later."
    ConnectionLost "connection_lost": "the connection ended before a response" => "Check the endpoint's logs and any proxy before it."
    MalformedResponse "malformed_response": "the answer is no valid HTTP response" => "Check that the URL is an HTTP endpoint."
    // Our own limits.
    Deadline "deadline": "cut short by this function's own time limit" => "Lower the destination's `timeout`, or raise the function's to 30 seconds more than it."
    NotStarted "not_started": "this function's time was over before the attempt could begin" => "Raise the function's timeout, or lower the batch size."
    // Without an attempt.
    DestinationInvalid "destination_invalid": "the destination is configured wrongly" => "Correct what is named; nothing was sent."
    DestinationUnknown "destination_unknown": "there is no such destination" => "Add the destination, or take its id out of the route."
    DestinationInactive "destination_inactive": "the destination is inactive" => "Set `active` to true, then redrive what waited for it, or delete its dead letters."
    DestinationPaused "destination_paused": "the destination is paused" => "Set `paused` to false when its maintenance is over: what waits is then sent; what was dead-lettered meanwhile has to be redriven."
    SecretUnresolved "secret_unresolved": "a secret that the destination refers to cannot be used" => "Correct what is named; the function's role must be allowed to read the secret."
    RouteInvalid "route_invalid": "the route is configured wrongly" => "Correct what is named; nothing else in the route is affected by it."
    Unrouted "unrouted": "no route for this detection" => "Add a route for the detection, or a `*` route for all that have none."
    UnknownEvent "unknown_event": "the event has no known shape" => "Correct who invokes the function: it accepts outcomes, alone or by SQS, SNS and EventBridge."
    InvalidOutcome "invalid_outcome": "this is no detection outcome" => "Correct the producer: what is named must be as expected."
    LookupFailed "lookup_failed": "the destinations could not be looked up" => "Correct what is named; outcomes wait meanwhile, none is lost."
    TooLargeToPark "too_large_to_park": "the payload is too large for a queue, so it can wait nowhere" => "Correct what made the delivery fail; until then the source tries again, or has lost it."
    QueueFailed "queue_failed": "an undelivered outcome could not be written to the retry or dead-letter queue" => "Check the queues, and that the function's role may send to them."
    InvalidSettings "invalid_settings": "the function's settings are wrong, so it does not start" => "Correct its environment variables and deploy again."
    Panic "panic": "an error inside this function" => "Report it with this line to the function's maintainers."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_own_name_a_cause_and_a_remedy() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", code.name());
            assert!(!code.cause().ends_with('.') && code.remedy().ends_with('.'), "{}", code.name());
        }
    }
}
