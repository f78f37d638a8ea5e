use super::*;
use crate::domain::attempt::{AttemptResult, Cause, ConnectCause, Sent};
use crate::domain::endpoint::EndpointTemplate;
use crate::domain::outcome::Rejected;

fn soc() -> Destination {
    Destination::new("soc", "p", EndpointTemplate::parse("https://soc.example.com/SECRET").unwrap(), 30)
}

fn outcome() -> Outcome {
    Outcome::parse(&bytes::Bytes::from_static(include_bytes!("../../../events/matched.json"))).unwrap()
}

fn refused_connection() -> Finding {
    Finding::Attempt(AttemptResult::Failed { cause: Cause::Connect(ConnectCause::Refused), sent: Sent::Nothing })
}

#[test]
fn a_failures_sentence_names_destination_cause_detection_next_and_remedy() {
    let report = Report::of(refused_connection(), Origin::Sqs).at("soc", soc().endpoint.origin()).attempted(
        2,
        None,
        Timings::default(),
    );
    assert_eq!(
        report.sentence(Some(&outcome())),
        "soc (https://soc.example.com): connection refused, attempt 2, for detection 123 'Suspicious Login Attempts'; \
         it stays in its queue and comes again after the visibility timeout. \
         Verify the URL and the firewall rules: nothing listens there, or it is blocked."
    );
    assert!(!report.acknowledged);
}

#[test]
fn what_waits_says_when_and_what_is_dead_lettered_says_where() {
    for (seconds, words) in
        [(8, "8 s"), (119, "119 s"), (120, "2 m"), (3600, "60 m"), (7200, "2.0 h"), (21600, "6.0 h")]
    {
        let report = Report::again(Settled::Parked, refused_connection(), Duration::from_secs(seconds));
        assert_eq!(report.next.unwrap(), format!("next try in {words}"));
        assert!(report.acknowledged && report.gravity == Gravity::Warn);
    }
    assert!(!Report::again(Settled::Waiting, refused_connection(), Duration::ZERO).acknowledged);
    let dead = Report::dead_lettered(Finding::UnknownDestination);
    assert!(dead.acknowledged && dead.gravity == Gravity::Error && dead.settled == Settled::DeadLettered);
    assert_eq!(Report::dead_lettered(Finding::Refused(Rejected::default())).settled, Settled::Refused);
}

#[test]
fn gravity_tells_whether_a_person_must_act() {
    let of_status = |status| {
        Report::of(
            Finding::Attempt(AttemptResult::Response {
                status,
                retry_after: None,
                location_origin: None,
                excerpt: None,
            }),
            Origin::Sqs,
        )
    };
    for (status, gravity) in [
        (200, Gravity::Info),
        (503, Gravity::Warn),
        (401, Gravity::Error),
        (404, Gravity::Error),
        (410, Gravity::Error),
        (301, Gravity::Error),
        (429, Gravity::Warn),
    ] {
        assert_eq!(of_status(status).gravity, gravity, "{status}");
        assert_eq!(of_status(status).acknowledged, status == 200, "{status}");
    }
    assert_eq!(Report::of(refused_connection(), Origin::Direct).gravity, Gravity::Error);
    assert_eq!(Report::of(refused_connection(), Origin::Sns).gravity, Gravity::Warn);
    assert_eq!(Report::of(Finding::NotStarted, Origin::Sqs).gravity, Gravity::Warn);
    assert_eq!(Report::of(Finding::LookupFailed("x".into()), Origin::Sqs).gravity, Gravity::Error);
}

#[test]
fn what_is_held_back_on_purpose_is_acknowledged_and_says_why() {
    for (filter, reason) in
        [(Filter::Inactive, "inactive"), (Filter::Outcomes, "`outcomes`"), (Filter::MinSeverity, "`min_severity`")]
    {
        let report = Report::filtered(&soc(), filter);
        assert!(report.acknowledged && report.sentence(None).contains(reason));
    }
    assert!(Report::unrouted().acknowledged);
    assert!(!Report::of(Finding::Unrouted, Origin::Sqs).acknowledged);
}
