//! What became of a delivery in this invocation. Built once; the log line, the direct answer and a probe's answer are
//! this same report.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_with::skip_serializing_none;

use super::attempt::{Attempt, Timings};
use super::backoff::LONGEST_LIFE;
use super::destination::Filter;
use super::failure::{Code, Failure, Level, Next, Owner, in_words};
use super::outcome::{About, Kind, Severity};
use super::problem::{plain_or_quoted, printable, quoted};
use super::record::{Origin, Record};

/// What became of a delivery, or of a record that has none, and where the outcome is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Delivered,
    /// In the retry queue, whether just written or still there.
    Retrying {
        next: SystemTime,
        until: SystemTime,
    },
    DeadLettered {
        queue: String,
    },
    /// The destination's options leave it out.
    Filtered(Filter),
    /// No route, and nobody has to hear of it.
    Ignored,
    /// Neither delivered nor in a queue of ours. Who handed it over has it: the queue, Lambda, which invokes the function
    /// again for SNS and EventBridge, or the caller, who waits for the answer.
    Returned {
        to: Origin,
        queue: Option<String>,
        /// When the message, if it is one, comes again.
        next: Option<SystemTime>,
    },
    /// Not an outcome; with queues it is in the dead-letter queue, without it is left with its source.
    Rejected {
        queue: Option<String>,
    },
}

impl Fate {
    /// The fate of a record that stays with its source.
    pub fn returned(record: &Record, next: Option<SystemTime>) -> Self {
        let queue = record.message.as_ref().and_then(|message| message.queue.as_ref());
        Self::Returned { to: record.origin, queue: queue.map(|queue| queue.name.clone()), next }
    }

    pub fn result(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying { .. } => "retrying",
            Self::DeadLettered { .. } => "dead_lettered",
            Self::Filtered(_) => "filtered",
            Self::Ignored => "ignored",
            Self::Returned { .. } => "returned",
            Self::Rejected { .. } => "rejected",
        }
    }
}

/// What a report is about, and what is known of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    pub about: Option<&'a About>,
    /// Documented fields of the outcome that are missing or odd.
    pub warnings: &'a [&'static str],
    /// By which a record is found that is not an outcome.
    pub message_id: Option<&'a str>,
    pub destination: Option<&'a str>,
    /// `scheme://host[:port]`.
    pub endpoint: Option<&'a str>,
    /// Number of the attempt over the delivery's life, if there was one.
    pub attempt: Option<u32>,
    pub tried: Option<&'a Attempt>,
    /// Since when the delivery, or its outcome, waits.
    pub since: Option<SystemTime>,
    /// The destination that this delivery stands in for.
    pub fallback_for: Option<&'a str>,
    /// The destination that gets it in place of this one from now on.
    pub fallback: Option<&'a str>,
}

#[skip_serializing_none]
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    #[serde(skip)]
    pub level: Level,
    /// One sentence that is enough by itself: fate, cause, owner and remedy, and which alert.
    #[serde(skip)]
    pub message: String,
    /// Whether the source may forget the record, as far as this delivery is concerned.
    #[serde(skip)]
    pub acknowledged: bool,
    pub result: Option<&'static str>,
    pub code: Option<&'static str>,
    pub owner: Option<&'static str>,
    pub destination: Option<String>,
    pub endpoint: Option<String>,
    severity: Option<&'static str>,
    outcome: Option<Kind>,
    #[serde(serialize_with = "number_or_text")]
    detection_id: Option<String>,
    detection_name: Option<String>,
    run_id: Option<String>,
    message_id: Option<String>,
    attempt: Option<u32>,
    next_attempt_at: Option<String>,
    gives_up_at: Option<String>,
    status: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    dns_ms: Option<u64>,
    connect_ms: Option<u64>,
    first_byte_ms: Option<u64>,
    total_ms: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    maybe_received: bool,
    waiting_seconds: Option<u64>,
    fallback: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'static str>,
    trace_id: Option<String>,
    search_id: Option<String>,
}

/// A report as an answer has it: with its sentence.
#[derive(Debug, Serialize)]
pub struct Told {
    message: String,
    #[serde(flatten)]
    pub report: Report,
}

impl From<Report> for Told {
    fn from(mut report: Report) -> Self {
        Self { message: std::mem::take(&mut report.message), report }
    }
}

impl Report {
    /// `failure` is why it is not delivered; `now` is when the report is made.
    pub fn new(subject: &Subject<'_>, fate: &Fate, failure: Option<&Failure>, now: SystemTime) -> Self {
        let level = level(subject, fate, failure);
        let (waits, next, until) = match fate {
            Fate::Retrying { next, until } => (true, Some(*next), Some(*until)),
            Fate::Returned { to: Origin::Sqs, next, .. } => (true, *next, None),
            _ => (false, None, None),
        };
        Self {
            message: sentence(subject, fate, failure, level, now),
            acknowledged: !matches!(fate, Fate::Returned { .. } | Fate::Rejected { queue: None }),
            next_attempt_at: next.map(rfc3339),
            gives_up_at: until.map(rfc3339),
            waiting_seconds: subject.since.filter(|_| waits).map(|since| span(since, now).as_secs()),
            ..Self::facts(subject, Some(fate.result()), failure, level)
        }
    }

    /// A test of one destination. It is not a delivery, so it has no result.
    pub fn probe(subject: &Subject<'_>, failure: Option<&Failure>, now: SystemTime) -> Self {
        let expires = subject.tried.and_then(|tried| tried.certificate_expires);
        let ends_in = expires.map(|expires| span(now, expires)).filter(|left| *left < SOON);
        let level = match failure {
            Some(failure) => failure.level.max(Level::Warn),
            None if ends_in.is_some() => Level::Warn,
            None => Level::Info,
        };
        let id = subject.destination.unwrap_or_default();
        let mut message = format!("probe of {id}: ");
        match failure {
            None => {
                message.push_str("the endpoint took the test message, ");
                push_answer(&mut message, subject);
                message.push('.');
            }
            Some(failure) => {
                let _ = write!(message, "{}. ", failure.cause());
                push_remedy(&mut message, failure, level, None);
            }
        }
        if let Some(expires) = expires {
            let _ = write!(message, " Its certificate is valid until {}.", day(expires));
        }
        if let Some(left) = ends_in {
            let _ = write!(message, " Endpoint owner: renew it, it ends in {}.", in_words(left));
        }
        Self { message, ..Self::facts(subject, None, failure, level) }
    }

    fn facts(subject: &Subject<'_>, result: Option<&'static str>, failure: Option<&Failure>, level: Level) -> Self {
        let about = subject.about.cloned().unwrap_or_default();
        // It is no attempt of a delivery, but has timings and addresses all the same.
        let is_probe = result.is_none();
        let timings = subject.tried.filter(|_| is_probe || subject.attempt.is_some()).map(|tried| tried.timings);
        let no_answer = failure.is_some_and(|failure| failure.status.is_none());
        let addresses = subject.tried.filter(|_| is_probe || no_answer).map(|tried| tried.addresses.as_slice());
        Self {
            level,
            message: String::new(),
            acknowledged: true,
            result,
            code: failure.map(|failure| failure.row().name),
            owner: failure.map(|failure| if level == Level::Error { failure.row().owner.name() } else { "nobody yet" }),
            destination: subject.destination.map(ToOwned::to_owned),
            endpoint: subject.endpoint.map(ToOwned::to_owned),
            severity: about.severity.map(Severity::name),
            outcome: about.kind,
            detection_id: about.detection_id,
            detection_name: about.detection_name,
            run_id: about.run_id,
            message_id: subject.message_id.map(|id| printable(id, 128)),
            attempt: subject.attempt,
            next_attempt_at: None,
            gives_up_at: None,
            status: match failure {
                Some(failure) => failure.status,
                None => subject.tried.and_then(|tried| tried.result.as_ref().ok().copied()),
            },
            addresses: addresses.unwrap_or_default().iter().map(|address| address.ip.to_string()).collect(),
            dns_ms: timings.and_then(|timings: Timings| timings.dns).map(milliseconds),
            connect_ms: timings.and_then(|timings| timings.connect).map(milliseconds),
            first_byte_ms: timings.and_then(|timings| timings.first_byte).map(milliseconds),
            total_ms: timings.map(|timings| milliseconds(timings.total)),
            maybe_received: failure.is_some_and(|failure| failure.maybe_received),
            waiting_seconds: None,
            fallback: subject.fallback_for.map(ToOwned::to_owned),
            warnings: subject.warnings.to_vec(),
            trace_id: about.trace_id,
            search_id: about.search_id,
        }
    }
}

/// A certificate that ends sooner is one to renew. They live 47 days at most from 2029.
const SOON: Duration = Duration::from_secs(21 * 24 * 60 * 60);

/// ERROR as soon as a person must act, WARN where time alone may mend it, INFO for the rest.
fn level(subject: &Subject<'_>, fate: &Fate, failure: Option<&Failure>) -> Level {
    let Some(failure) = failure else { return Level::Info };
    let is_grave = subject.about.and_then(|about| about.severity).is_some_and(|severity| severity >= Severity::High);
    match fate {
        Fate::DeadLettered { .. } | Fate::Rejected { .. } => Level::Error,
        Fate::Returned { to: Origin::Direct | Origin::Sns | Origin::EventBridge, .. } => Level::Error,
        // A HIGH alert that nobody hears of is worth a warning, even if the pause is meant.
        Fate::Retrying { .. } if failure.code == Code::DestinationPaused && is_grave => Level::Warn,
        _ => failure.level,
    }
}

/// `<destination> <FATE>: <cause>. <owner>: <remedy>. <which alert>.`
fn sentence(subject: &Subject<'_>, fate: &Fate, failure: Option<&Failure>, level: Level, now: SystemTime) -> String {
    let mut text = String::with_capacity(256);
    if let Some(id) = subject.destination {
        let _ = write!(text, "{id} ");
    }
    push_fate(&mut text, subject, fate, failure, now);
    text.push_str(": ");
    match failure {
        Some(failure) => {
            if let (Fate::Rejected { .. } | Fate::Returned { .. }, Some(id)) = (fate, subject.message_id) {
                let _ = write!(text, "message {}: ", plain_or_quoted(&printable(id, 128)));
            }
            text.push_str(&failure.cause());
        }
        None => push_success(&mut text, subject, fate),
    }
    if let Some(to) = subject.fallback {
        let _ = write!(text, "; a copy of the alert goes to its fallback {to}");
    }
    if let Some(of) = subject.fallback_for {
        let _ = write!(text, " (as the fallback of {of})");
    }
    text.push_str(". ");
    if let Some(failure) = failure {
        let is_dead_letter = matches!(fate, Fate::DeadLettered { .. } | Fate::Rejected { .. });
        let redrive = is_dead_letter.then(|| redrive(subject, failure)).flatten();
        push_remedy(&mut text, failure, level, redrive.as_deref());
        text.push(' ');
    }
    if matches!(fate, Fate::Returned { to: Origin::Direct, .. }) {
        text.push_str("Caller (who invoked the function): after that, send the outcome again. ");
    }
    push_alert(&mut text, subject.about);
    text.truncate(text.trim_end().len());
    text
}

fn push_fate(text: &mut String, subject: &Subject<'_>, fate: &Fate, failure: Option<&Failure>, now: SystemTime) {
    let since = subject.since.filter(|since| span(*since, now).as_secs() > 0);
    let maybe_tried = subject.attempt.is_some() || failure.is_some_and(|failure| failure.maybe_received);
    let tried = if maybe_tried { "NOT DELIVERED" } else { "NOT TRIED" };
    let _ = match fate {
        Fate::Delivered => write!(text, "DELIVERED"),
        Fate::Filtered(_) | Fate::Ignored => write!(text, "NOT SENT"),
        Fate::Retrying { next, until } => {
            let waits = failure.is_some_and(|failure| failure.row().next == Next::Wait);
            let _ = write!(text, "{tried}, in the retry queue (");
            if let Some(since) = since {
                let word = if waits { "waiting" } else { "failing" };
                let _ = write!(text, "{word} since {}, ", clock(since, now));
            }
            write!(text, "next try {}, dead-lettered after {} UTC)", clock(*next, now), clock(*until, now))
        }
        Fate::DeadLettered { queue } => {
            let _ = write!(text, "DEAD-LETTERED in queue {queue}");
            let is_over = failure.is_some_and(|failure| failure.row().next == Next::Retry);
            match since {
                Some(since) if span(since, now) > LONGEST_LIFE => {
                    write!(text, " (after {} in the retry queue, the longest time possible)", in_words(LONGEST_LIFE))
                }
                Some(since) if is_over => {
                    write!(text, " (failing since {} UTC, no attempt is left)", clock(since, now))
                }
                Some(since) => write!(text, " (waiting since {} UTC)", clock(since, now)),
                None => Ok(()),
            }
        }
        Fate::Rejected { queue: Some(queue) } => write!(text, "REJECTED, dead-lettered in queue {queue}"),
        Fate::Rejected { queue: None } => write!(text, "REJECTED, left with its source"),
        Fate::Returned { to: Origin::Direct, .. } => write!(text, "NOT DELIVERED AND NOT KEPT"),
        Fate::Returned { to: Origin::Sns | Origin::EventBridge, .. } => {
            write!(text, "NOT DELIVERED, returned to Lambda (it tries twice more at most, then gives the outcome up)")
        }
        Fate::Returned { to: Origin::Sqs, queue, next } => {
            let _ = match queue {
                Some(name) => write!(text, "{tried}, still in queue {name}"),
                None => write!(text, "{tried}, still in the queue it came from"),
            };
            match next {
                Some(next) => write!(text, " (next receive at {} UTC)", clock(*next, now)),
                None => write!(text, " (next receive after its visibility timeout)"),
            }
        }
    };
}

fn push_success(text: &mut String, subject: &Subject<'_>, fate: &Fate) {
    match fate {
        Fate::Filtered(Filter::Outcomes) => text.push_str("the destination's `outcomes` leave this one out"),
        Fate::Filtered(Filter::MinSeverity) => text.push_str("the severity is below the destination's `min_severity`"),
        Fate::Filtered(Filter::Inactive) => text.push_str("the destination is not `active`"),
        Fate::Ignored if subject.about.and_then(|about| about.kind) == Some(Kind::NotMatched) => {
            text.push_str("the detection has no route, and needs none, as its run found nothing");
        }
        Fate::Ignored => text.push_str("the detection has no route, and UNROUTED=ignore says that this is meant"),
        _ => push_answer(text, subject),
    }
}

fn push_answer(text: &mut String, subject: &Subject<'_>) {
    if let Some(tried) = subject.tried
        && let Ok(status) = tried.result
    {
        let _ = write!(text, "HTTP {status} after {} ms", tried.timings.total.as_millis());
    }
    if !subject.warnings.is_empty() {
        text.push_str(" (the alert went out as it came; `warnings` names documented fields that are missing or odd)");
    }
}

fn push_remedy(text: &mut String, failure: &Failure, level: Level, then: Option<&str>) {
    let (owner, remedy) = (failure.row().owner.name(), failure.remedy());
    if level == Level::Error {
        push_capital(text, owner);
        let _ = write!(text, ": {remedy}");
    } else {
        let _ = write!(text, "Nobody yet; if it goes on, {owner}: {remedy}");
    }
    if let Some(then) = then {
        text.push_str(then);
    }
    text.push('.');
}

/// Begins a sentence.
fn push_capital(text: &mut String, words: &str) {
    let mut letters = words.chars();
    text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
    text.push_str(letters.as_str());
}

/// How a dead letter is delivered once more; nothing for what is not an outcome, which would be rejected again.
fn redrive(subject: &Subject<'_>, failure: &Failure) -> Option<String> {
    if matches!(failure.code, Code::InvalidOutcome | Code::UnknownEvent) {
        return None;
    }
    let to = subject.destination.map(|id| format!("\"destination\":\"{id}\",")).unwrap_or_default();
    let code = failure.row().name;
    let who = if failure.row().owner == Owner::Operator { ", then redrive" } else { "; the operator then redrives" };
    Some(format!("{who}: invoke the function with {{\"redrive\":{{{to}\"code\":\"{code}\"}}}}"))
}

/// Which alert it is about. Texts of the payload are quoted, so that none can pass for a part of the sentence.
fn push_alert(text: &mut String, about: Option<&About>) {
    let Some(about) = about else { return };
    if about.detection_id.is_none() && about.detection_name.is_none() && about.run_id.is_none() {
        return;
    }
    let severity = about.severity.filter(|severity| *severity != Severity::Unknown);
    let what = match about.kind {
        Some(Kind::NotMatched) => "outcome NOT_MATCHED",
        Some(Kind::Error) => "alert (the run ended in ERROR)",
        _ => "alert",
    };
    match severity {
        Some(severity) => text.extend([severity.name(), " ", what]),
        None => push_capital(text, what),
    }
    if about.detection_id.is_some() || about.detection_name.is_some() {
        text.push_str(" of detection");
    }
    if let Some(id) = &about.detection_id {
        let _ = write!(text, " {}", plain_or_quoted(id));
    }
    if let Some(name) = &about.detection_name {
        let _ = write!(text, " {}", quoted(name));
    }
    if let Some(run) = &about.run_id {
        let _ = write!(text, ", run {}", plain_or_quoted(run));
    }
    text.push('.');
}

/// A number stays a number in the log, as queries expect of it. "007" is another id than 7.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn number_or_text<S: Serializer>(id: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let id = id.as_deref().unwrap_or_default();
    match id.parse::<i64>() {
        Ok(number) if number.to_string() == id => serializer.serialize_i64(number),
        _ => serializer.serialize_str(id),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn span(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

fn timestamp(time: SystemTime) -> jiff::Timestamp {
    // No clock of ours is out of its range.
    jiff::Timestamp::try_from(time).unwrap_or_default()
}

/// A time for queries: RFC 3339 in UTC, in whole seconds.
pub fn rfc3339(time: SystemTime) -> String {
    timestamp(time).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time for people, in UTC: with its day where that is another one than today.
pub fn clock(time: SystemTime, now: SystemTime) -> String {
    let (time, now) = (timestamp(time), timestamp(now));
    let is_today = time.strftime("%F").to_string() == now.strftime("%F").to_string();
    time.strftime(if is_today { "%H:%M:%S" } else { "%d %b %H:%M" }).to_string()
}

/// A certificate's limit.
pub fn day(time: SystemTime) -> String {
    timestamp(time).strftime("%d %b %Y %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::Address;

    const DAY: u64 = 24 * 60 * 60;

    /// 15 January 2025 at 10:00 and as many seconds.
    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_736_935_200 + seconds)
    }

    fn ago(seconds: u64) -> SystemTime {
        at(0) - Duration::from_secs(seconds)
    }

    fn retrying() -> Fate {
        Fate::Retrying { next: at(60), until: at(DAY) }
    }

    fn dead_lettered() -> Fate {
        Fate::DeadLettered { queue: "dead".into() }
    }

    fn in_queue(name: Option<&str>, next: Option<SystemTime>) -> Fate {
        Fate::Returned { to: Origin::Sqs, queue: name.map(Into::into), next }
    }

    fn returned(to: Origin) -> Fate {
        Fate::Returned { to, queue: None, next: None }
    }

    fn delivered(certificate_expires: Option<SystemTime>) -> Attempt {
        let timings = Timings { total: Duration::from_millis(12), ..Timings::default() };
        Attempt { result: Ok(202), timings, addresses: Vec::new(), certificate_expires }
    }

    fn of_alert(about: &About, fate: &Fate, failure: Option<Code>) -> Report {
        let subject = Subject { about: Some(about), ..Subject::default() };
        Report::new(&subject, fate, failure.map(Failure::new).as_ref(), at(0))
    }

    #[test]
    fn each_fate_without_a_failure_says_why() {
        let (tried, filtered) = (delivered(None), Fate::Filtered);
        let subject = Subject { tried: Some(&tried), attempt: Some(1), ..Subject::default() };
        for (fate, result, said) in [
            (Fate::Delivered, "delivered", "DELIVERED: HTTP 202 after 12 ms."),
            (filtered(Filter::Inactive), "filtered", "the destination is not `active`."),
            (filtered(Filter::Outcomes), "filtered", "the destination's `outcomes` leave this one out."),
            (filtered(Filter::MinSeverity), "filtered", "the severity is below the destination's `min_severity`."),
            (Fate::Ignored, "ignored", "the detection has no route, and UNROUTED=ignore says that this is meant."),
        ] {
            let report = Report::new(&subject, &fate, None, at(0));
            assert_eq!((report.result, report.level, report.total_ms), (Some(result), Level::Info, Some(12)));
            assert!(report.acknowledged && report.message.ends_with(said), "{}", report.message);
        }
        let report = of_alert(&About { kind: Some(Kind::NotMatched), ..About::default() }, &Fate::Ignored, None);
        assert_eq!(report.message, "NOT SENT: the detection has no route, and needs none, as its run found nothing.");
    }

    #[test]
    fn addresses_are_told_where_no_answer_came_and_to_a_probe() {
        let addresses = vec![Address { ip: [203, 0, 113, 7].into(), blocked: None }];
        let tried = Attempt { addresses, ..delivered(None) };
        let subject = Subject { tried: Some(&tried), attempt: Some(1), ..Subject::default() };
        let [no_answer, answer] = [Failure::new(Code::Timeout), Failure::of_status(500, None).unwrap()];
        let told = |failure| Report::new(&subject, &retrying(), Some(failure), at(0)).addresses;
        assert_eq!((told(&no_answer).len(), told(&answer).len()), (1, 0));
        assert_eq!(Report::probe(&subject, Some(&answer), at(0)).addresses, ["203.0.113.7"]);
    }

    #[test]
    fn each_fate_of_a_failure_says_who_has_the_outcome() {
        const RETRY: &str = "in the retry queue (";
        const TIMES: &str = "next try 10:01:00, dead-lettered after 16 Jan 10:00 UTC)";
        const DEAD: &str = "DEAD-LETTERED in queue dead";
        let told = |fate, code, since, attempt| {
            let subject = Subject { attempt, since, ..Subject::default() };
            let message = Report::new(&subject, &fate, Some(&Failure::new(code)), at(0)).message;
            message.split(": ").next().unwrap().to_owned()
        };
        let waits = |code, since, attempt| told(retrying(), code, since, attempt);
        let (gone, paused) = (Code::Gone, Code::DestinationPaused);
        assert_eq!(
            waits(gone, Some(ago(9)), Some(1)),
            format!("NOT DELIVERED, {RETRY}failing since 09:59:51, {TIMES}")
        );
        assert_eq!(waits(paused, Some(ago(1)), None), format!("NOT TRIED, {RETRY}waiting since 09:59:59, {TIMES}"));
        assert_eq!(waits(gone, Some(at(0)), None), format!("NOT TRIED, {RETRY}{TIMES}"));
        let dead = |since| told(dead_lettered(), gone, since, None);
        let longest = format!("{DEAD} (after 6 days in the retry queue, the longest time possible)");
        assert_eq!([dead(None), dead(Some(ago(6 * DAY + 1)))], [DEAD, &longest]);
        assert_eq!(dead(Some(ago(6 * DAY))), format!("{DEAD} (waiting since 09 Jan 10:00 UTC)"));
        let busy = told(dead_lettered(), Code::Busy, Some(ago(9)), Some(4));
        assert_eq!(busy, format!("{DEAD} (failing since 09:59:51 UTC, no attempt is left)"));
        let lambda = "NOT DELIVERED, returned to Lambda (it tries twice more at most, then gives the outcome up)";
        let somewhere = "NOT DELIVERED, still in the queue it came from (next receive after its visibility timeout)";
        for (fate, attempt, said) in [
            (Fate::Rejected { queue: Some("dead".into()) }, None, "REJECTED, dead-lettered in queue dead"),
            (returned(Origin::Direct), None, "NOT DELIVERED AND NOT KEPT"),
            (returned(Origin::Sns), None, lambda),
            (in_queue(Some("in"), Some(at(0))), None, "NOT TRIED, still in queue in (next receive at 10:00:00 UTC)"),
            (in_queue(None, None), Some(2), somewhere),
        ] {
            assert_eq!(told(fate, gone, None, attempt), said);
        }
    }

    #[test]
    fn each_failure_has_a_result_and_a_wait_where_it_waits() {
        let failure = Failure { maybe_received: true, ..Failure::new(Code::Gone) };
        let subject = Subject { since: Some(ago(9)), message_id: Some("m1"), ..Subject::default() };
        let reports = [retrying(), in_queue(None, None), dead_lettered(), Fate::Rejected { queue: None }]
            .map(|fate| Report::new(&subject, &fate, Some(&failure), at(0)));
        let results = reports.each_ref().map(|report| report.result.unwrap());
        assert_eq!(results, ["retrying", "returned", "dead_lettered", "rejected"]);
        assert_eq!(reports.each_ref().map(|report| report.waiting_seconds), [Some(9), Some(9), None, None]);
        assert_eq!(reports.each_ref().map(|report| report.acknowledged), [true, false, true, false]);
        let [waits, .., rejected] = reports.map(|report| report.message);
        assert!(waits.starts_with("NOT DELIVERED, in the retry queue"), "it may have been received: {waits}");
        assert!(rejected.starts_with("REJECTED, left with its source: message m1: "), "{rejected}");
    }

    #[test]
    fn an_error_has_an_owner_and_what_time_may_mend_has_none() {
        let (high, medium) = (Some(Severity::High), Some(Severity::Medium));
        for (fate, code, severity, level, owner) in [
            (retrying(), Code::Dns, high, Level::Error, "operator"),
            (retrying(), Code::Busy, high, Level::Warn, "nobody yet"),
            (retrying(), Code::DestinationPaused, high, Level::Warn, "nobody yet"),
            (retrying(), Code::DestinationPaused, medium, Level::Info, "nobody yet"),
            (in_queue(None, None), Code::Busy, None, Level::Warn, "nobody yet"),
            (dead_lettered(), Code::Busy, None, Level::Error, "endpoint owner"),
            (returned(Origin::Direct), Code::Busy, None, Level::Error, "endpoint owner"),
            (returned(Origin::EventBridge), Code::Busy, None, Level::Error, "endpoint owner"),
        ] {
            let report = of_alert(&About { severity, ..About::default() }, &fate, Some(code));
            assert_eq!((report.level, report.owner), (level, Some(owner)), "{code:?} {severity:?}");
        }
    }

    #[test]
    fn a_sentence_ends_with_the_remedy_and_how_to_redrive() {
        let message = |fate, code| {
            let subject = Subject { destination: Some("soc"), ..Subject::default() };
            Report::new(&subject, &fate, Some(&Failure::new(code)), at(0)).message
        };
        let redrive =
            |code| format!(r#"invoke the function with {{"redrive":{{"destination":"soc","code":"{code}"}}}}."#);
        let (another, gone, busy) = ("give the destination another `url`", redrive("gone"), redrive("busy"));
        for (fate, code, said) in [
            (dead_lettered(), Code::Gone, &*format!(". Operator: {another}, then redrive: {gone}")),
            (dead_lettered(), Code::Busy, &format!("look in the endpoint's log; the operator then redrives: {busy}")),
            (dead_lettered(), Code::InvalidOutcome, ". Producer: correct what is named, and send the outcome again."),
            (retrying(), Code::Busy, ". Nobody yet; if it goes on, endpoint owner: look in the endpoint's log."),
        ] {
            assert!(message(fate.clone(), code).ends_with(said), "{}", message(fate, code));
        }
    }

    #[test]
    fn an_alert_is_named_by_what_is_known_of_it() {
        let (high, unknown) = (Some(Severity::High), Some(Severity::Unknown));
        for (severity, kind, [id, name, run], said) in [
            (high, Kind::Matched, [Some("7"), Some("N"), Some("r")], r#" HIGH alert of detection 7 "N", run r."#),
            (high, Kind::NotMatched, [Some("7"), None, None], " HIGH outcome NOT_MATCHED of detection 7."),
            (unknown, Kind::Error, [None, Some("N"), None], r#" Alert (the run ended in ERROR) of detection "N"."#),
            (None, Kind::Matched, [None, None, Some("r r")], r#" Alert, run "r r"."#),
            (high, Kind::Matched, [None; 3], ""),
        ] {
            let [detection_id, detection_name, run_id] = [id, name, run].map(|text| text.map(ToOwned::to_owned));
            let about = About { severity, kind: Some(kind), detection_id, detection_name, run_id, ..About::default() };
            assert_eq!(of_alert(&about, &Fate::Delivered, None).message, format!("DELIVERED: .{said}"));
        }
    }

    #[test]
    fn a_detection_id_in_a_numbers_own_digits_is_a_number() {
        let written = |id: &str| {
            let about = About { detection_id: Some(id.into()), ..About::default() };
            serde_json::to_value(of_alert(&about, &Fate::Ignored, None)).unwrap()["detection_id"].is_number()
        };
        assert_eq!(["7", "-7", "007", "+7", "9223372036854775808"].map(written), [true, true, false, false, false]);
    }

    #[test]
    fn a_probe_warns_of_a_certificate_in_its_last_21_days() {
        let until = "HTTP 202 after 12 ms. Its certificate is valid until 05 Feb 2025";
        for (expires, level, said) in [
            (21 * DAY, Level::Info, format!("{until} 10:00 UTC.")),
            (21 * DAY - 1, Level::Warn, format!("{until} 09:59 UTC. Endpoint owner: renew it, it ends in 21 days.")),
        ] {
            let tried = delivered(Some(at(expires)));
            let report = Report::probe(&Subject { tried: Some(&tried), ..Subject::default() }, None, at(0));
            assert_eq!((report.level, report.total_ms), (level, Some(12)));
            assert!(report.message.ends_with(&said), "{}", report.message);
        }
    }
}
