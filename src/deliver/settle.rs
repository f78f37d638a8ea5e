//! What becomes of a delivery: delivered, retried, dead-lettered, or left with its source.
//!
//! What is to be kept is written before anything is acknowledged. A crash in between makes a duplicate with the same
//! `webhook-id`, never a loss.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{App, Deadline};
use crate::domain::attempt::Attempt;
use crate::domain::backoff::{LONGEST_LIFE, LONGEST_WAIT, Schedule, after_our_fault, whole_seconds};
use crate::domain::destination::{Destination, is_id};
use crate::domain::failure::{AwsReason, Code, Failure, Next};
use crate::domain::problem::printable;
use crate::domain::record::{Message, Orders, Origin, Record};
use crate::domain::report::{self, Fate, Report, Source};
use crate::domain::route::Delivery;
use crate::outbound::queues::{Letter, Queues};

/// What is settled: one delivery of a record, or the record as a whole.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) record: &'a Record,
    /// What the message's attributes say, if it came from the retry queue.
    pub(super) orders: Option<&'a Orders>,
    /// The destination's id, for what is kept as a delivery of its own.
    pub(super) destination: Option<&'a str>,
    /// Whether the record's deliveries have begun: its source must not keep it any more.
    pub(super) fanned_out: bool,
    pub(super) deadline: Deadline,
}

impl<'a> Case<'a> {
    /// The message, if it is a delivery that already waits in the retry queue.
    fn waiting(&self) -> Option<&'a Message> {
        self.orders.and_then(|orders| orders.destination.as_deref()).and(self.record.message.as_ref())
    }

    /// It stays in the retry queue, or goes there.
    fn again(&self, wait: Duration) -> Step {
        if self.waiting().is_some() { Step::Hide(wait) } else { Step::Write(wait) }
    }

    /// How often its message was received, from 1.
    fn receive_count(&self) -> u32 {
        self.record.message.as_ref().map_or(1, |message| message.receive_count)
    }

    fn schedule(&self, app: &App) -> Schedule {
        let webhook_id = self.record.outcome.as_ref().map_or("", |outcome| &outcome.payload.webhook_id);
        Schedule::new((webhook_id, self.destination.unwrap_or_default()), app.max_attempts)
    }

    /// How long it has been waiting in the retry queue.
    fn elapsed(&self, now: SystemTime) -> Duration {
        self.waiting().map(|message| message.elapsed(now)).unwrap_or_default()
    }

    /// Whether the message is about to expire in its queue: SQS would delete it a day later.
    fn is_old(&self, now: SystemTime) -> bool {
        self.record.message.as_ref().is_some_and(|message| message.elapsed(now) > LONGEST_LIFE)
    }

    /// Whether no attempt follows after this one, as the schedule or the message's age says.
    pub(super) fn is_last(&self, app: &App) -> bool {
        let now = SystemTime::now();
        self.is_old(now) || self.schedule(app).next_attempt(self.elapsed(now), Duration::ZERO).is_none()
    }

    /// The attempt's number over the delivery's life.
    fn attempt(&self, app: &App, now: SystemTime) -> u32 {
        match (&app.queues, &self.record.message) {
            // Without queues of ours, SQS counts.
            (None, Some(message)) => message.receive_count,
            _ => self.schedule(app).attempt(self.elapsed(now)),
        }
    }

    /// What a report says of the case.
    pub(super) fn facts<'b>(&self, to: Option<&'b Destination>, tried: Option<&'b Attempt>) -> report::Case<'b>
    where
        'a: 'b,
    {
        let message = self.record.message.as_ref();
        report::Case {
            about: Some(self.record.about()),
            warnings: self.record.outcome.as_ref().map(|outcome| outcome.warnings.as_slice()).unwrap_or_default(),
            message_id: message.filter(|_| self.record.outcome.is_err()).and_then(|message| message.id.as_deref()),
            destination: self.destination,
            endpoint: to.map(|to| to.endpoint.origin()),
            tried,
            since: self.waiting().and_then(|message| message.sent),
            fallback_for: self.orders.and_then(|orders| orders.fallback_for.as_deref()).filter(|id| is_id(id)),
            ..report::Case::default()
        }
    }

    /// A write that must be over before the answer is due.
    async fn in_time<T>(&self, write: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let written = tokio::time::timeout(self.deadline.left_for_writes(), write).await;
        written.unwrap_or_else(|_| {
            let failure = Failure::of_aws(Code::QueueFailed, "its queue", AwsReason::NoPath);
            Err(failure
                .with("problems", "this function's time was over")
                .with("fix", "lower the batch size of the queues"))
        })
    }
}

/// What is done with a delivery that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It stays in the retry queue, hidden for that long.
    Hide(Duration),
    /// It is written to the retry queue, as a message that is held back for that long.
    Write(Duration),
    DeadLetter,
    /// It stays with its source: an SQS message is hidden for that long.
    Return(Duration),
}

/// Beyond the schedule's end by more than this, a delivery was kept from its attempts by back-pressure.
const LATE: Duration = Duration::from_secs(60 * 60);

/// Decides and writes; the report says what was done. An attempt's number is in the report if there was an attempt.
pub(super) async fn settle(
    app: &App,
    case: Case<'_>,
    to: Option<&Arc<Destination>>,
    result: Result<Attempt, Failure>,
) -> Report {
    let now = SystemTime::now();
    let to = to.map(|to| &**to);
    let (tried, failure) = match &result {
        Ok(attempt) => (Some(attempt), attempt.result.as_ref().err()),
        Err(failure) => (None, Some(failure)),
    };
    let mut facts = case.facts(to, tried);
    // What policy forbids is not an attempt.
    let is_attempt = tried.is_some() && !failure.is_some_and(|failure| failure.code.is_policy());
    facts.attempt = is_attempt.then(|| case.attempt(app, now));
    let Some(failure) = failure else { return Report::new(&facts, &Fate::Delivered, None, now) };
    let Some(queues) = &app.queues else {
        let fate = match case.record.outcome {
            Err(_) => Fate::Rejected { queue: None },
            Ok(_) => Fate::Returned(Source::of(case.record.origin)),
        };
        return Report::new(&facts, &fate, Some(failure), now);
    };
    let (schedule, elapsed) = (case.schedule(app), case.elapsed(now));
    let mut step = step(&case, schedule, failure, now);
    let mut letter = letter(&case, failure, facts.attempt);

    // A delivery that back-pressure kept from its attempts gets them once, as a message of its own.
    let is_over = step == Step::DeadLetter && failure.row().next == Next::Retry;
    let is_late = case.waiting().is_some() && elapsed > schedule.end() + LATE && elapsed < LONGEST_LIFE;
    if is_over && is_late && !letter.renewed {
        letter.renewed = true;
        step = Step::Write(first_wait(schedule, failure));
    }
    if let Some((fallback, after)) = fallback(to, &letter, failure) {
        if step == Step::DeadLetter || elapsed >= after {
            match case.in_time(write_copy(app, queues, &case, fallback, now)).await {
                Ok(is_sent) => {
                    facts.fallback = is_sent.then_some(fallback);
                    // From now on its messages say so: a successor takes the place of the one that waits.
                    letter.fallback_sent = true;
                    if let Step::Hide(_) = step {
                        step = Step::Write(first_wait(schedule, failure));
                    }
                }
                // Nothing final follows from a look-up that fails: the copy is written next time.
                Err(error) if error.code == Code::LookupFailed => {
                    if step == Step::DeadLetter && !case.is_old(now) {
                        step = case.again(after_our_fault(case.receive_count()));
                    }
                }
                Err(error) => return not_kept(queues, &case, &facts, error.not_kept(Some(failure)), now).await,
            }
        } else {
            let left = after - elapsed;
            step = match step {
                Step::Hide(wait) => Step::Hide(whole_seconds(wait.min(left))),
                Step::Write(wait) => Step::Write(whole_seconds(wait.min(left))),
                other => other,
            };
        }
    }

    let (fate, written) = match step {
        Step::Hide(wait) => {
            let message = case.record.message.as_ref();
            let written = match message {
                Some(message) => case.in_time(queues.hide(message, wait)).await,
                None => Ok(()),
            };
            (retrying(schedule, failure, now + wait, message.and_then(|message| message.sent).unwrap_or(now)), written)
        }
        Step::Write(wait) => {
            let written = case.in_time(queues.retry(&letter, wait, now)).await;
            (retrying(schedule, failure, now + wait, now), written)
        }
        Step::DeadLetter => {
            let queue = queues.dead_letter_name().to_owned();
            let fate = match case.record.outcome {
                Err(_) => Fate::Rejected { queue: Some(queue) },
                Ok(_) => Fate::DeadLettered { queue },
            };
            (fate, case.in_time(queues.dead_letter(&letter)).await)
        }
        Step::Return(wait) => return returned(queues, &case, &facts, failure, wait, now).await,
    };
    match written {
        Ok(()) => {
            let mut report = Report::new(&facts, &fate, Some(failure), now);
            report.acknowledged = !matches!(step, Step::Hide(_));
            report
        }
        Err(error) => not_kept(queues, &case, &facts, error.not_kept(Some(failure)), now).await,
    }
}

fn step(case: &Case<'_>, schedule: Schedule, failure: &Failure, now: SystemTime) -> Step {
    let (waiting, elapsed) = (case.waiting(), case.elapsed(now));
    let message = case.record.message.as_ref();
    // Nothing expires silently.
    if case.is_old(now) {
        return Step::DeadLetter;
    }
    match failure.row().next {
        Next::DeadLetter => Step::DeadLetter,
        Next::Wait => case.again(schedule.pause(elapsed, failure.retry_after)),
        Next::Return => match message {
            // Before anything was begun, the message stays in its queue. It is received for each attempt of a
            // delivery, so that the count says little there, and its schedule goes on.
            Some(message) if !case.fanned_out || waiting.is_some() => {
                let wait = after_our_fault(message.receive_count);
                let next = waiting.and_then(|_| schedule.next_attempt(elapsed, Duration::ZERO));
                Step::Return(next.map_or(wait, |next| next.min(wait)))
            }
            _ => Step::Write(first_wait(schedule, failure)),
        },
        Next::Retry => match schedule.next_attempt(elapsed, failure.retry_after) {
            Some(wait) => case.again(whole_seconds(failure.no_later.map_or(wait, |latest| wait.min(latest)))),
            // What was not even tried has its last attempt still to come.
            None if failure.code.is_untried() => case.again(after_our_fault(case.receive_count())),
            None => Step::DeadLetter,
        },
    }
}

/// The wait of a message that begins its schedule.
fn first_wait(schedule: Schedule, failure: &Failure) -> Duration {
    schedule.next_attempt(Duration::ZERO, failure.retry_after).unwrap_or(whole_seconds(failure.retry_after))
}

/// The fallback that a delivery may still have, and when it gets the alert. A destination that is switched off or
/// paused has none: that is meant, and must not flood the other.
fn fallback<'a>(to: Option<&'a Destination>, letter: &Letter<'_>, failure: &Failure) -> Option<(&'a str, Duration)> {
    let fallback = to?.fallback.as_ref()?;
    let is_meant = matches!(failure.code, Code::DestinationPaused | Code::DestinationInactive);
    (!letter.fallback_sent && !is_meant).then_some((&fallback.to, fallback.after))
}

/// Writes the outcome for the fallback, if its own options let it through; whether they did.
async fn write_copy(app: &App, queues: &Queues, case: &Case<'_>, to: &str, now: SystemTime) -> Result<bool, Failure> {
    let Ok(outcome) = &case.record.outcome else { return Ok(false) };
    match app.registry.delivery(to).await.map_err(|error| error.0)? {
        Delivery::Send(destination) if destination.filter(outcome).is_none() => {}
        Delivery::Send(_) | Delivery::Filtered(..) => return Ok(false),
        Delivery::Failed { failure, .. } => match failure.code {
            Code::DestinationInactive => return Ok(false),
            // What is missing or wrong in an old copy of the registry may be right by now.
            Code::LookupFailed => return Err(failure),
            // The copy is dead-lettered with what is wrong with the fallback: no alert misses it in silence.
            _ => {}
        },
    }
    let (destination, fallback_for) = (Some(to), case.destination);
    let copy = Letter { body: &outcome.payload.body, destination, fallback_for, ..Letter::default() };
    queues.retry(&copy, Duration::ZERO, now).await?;
    Ok(true)
}

fn letter<'a>(case: &Case<'a>, failure: &Failure, attempt: Option<u32>) -> Letter<'a> {
    let orders = case.orders;
    Letter {
        body: case.record.outcome.as_ref().map_or(&case.record.received, |outcome| &outcome.payload.body),
        destination: case.destination.filter(|id| is_id(id)),
        renewed: orders.is_some_and(|orders| orders.renewed),
        fallback_sent: orders.is_some_and(|orders| orders.fallback_sent),
        fallback_for: orders.and_then(|orders| orders.fallback_for.as_deref()),
        code: Some(failure.row().name),
        status: failure.status,
        attempt,
        detail: Some(printable(&failure.cause(), 1024)),
    }
}

/// `since` is when the message was written to the retry queue.
fn retrying(schedule: Schedule, failure: &Failure, next: SystemTime, since: SystemTime) -> Fate {
    // Back-pressure ends by age alone.
    let lasts = if failure.row().next == Next::Wait { LONGEST_LIFE } else { schedule.end() };
    Fate::Retrying { next, until: next.max(since + lasts) }
}

/// A fault of ours: a message stays in its queue, hidden for a while.
async fn returned(
    queues: &Queues,
    case: &Case<'_>,
    facts: &report::Case<'_>,
    failure: &Failure,
    wait: Duration,
    now: SystemTime,
) -> Report {
    let Some(message) = &case.record.message else {
        return Report::new(facts, &Fate::Returned(Source::of(case.record.origin)), Some(failure), now);
    };
    // If it cannot be hidden, it comes again when its visibility timeout ends: later, but not lost.
    let hidden = case.in_time(queues.hide(message, wait)).await.is_ok();
    let name = message.queue.as_ref().map(|queue| queue.name.clone());
    let source = Source::Queue { name, next: hidden.then(|| now + wait) };
    let facts = report::Case { since: message.sent, ..*facts };
    Report::new(&facts, &Fate::Returned(source), Some(failure), now)
}

/// What could not be written stays with its source.
async fn not_kept(
    queues: &Queues,
    case: &Case<'_>,
    facts: &report::Case<'_>,
    failure: Failure,
    now: SystemTime,
) -> Report {
    if case.record.origin == Origin::Sqs && failure.code == Code::TooLargeToKeep {
        // No other try will fit: as seldom as SQS allows.
        return returned(queues, case, facts, &failure, LONGEST_WAIT, now).await;
    }
    let message = case.record.message.as_ref();
    let source = match message {
        Some(message) => Source::Queue { name: message.queue.as_ref().map(|queue| queue.name.clone()), next: None },
        None => Source::of(case.record.origin),
    };
    let facts = report::Case { since: message.and_then(|message| message.sent), ..*facts };
    Report::new(&facts, &Fate::Returned(source), Some(&failure), now)
}
