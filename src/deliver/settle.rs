//! What becomes of a delivery: delivered, retried, dead-lettered, or left with its source.
//!
//! What is to be kept is written before anything is acknowledged. A crash in between makes a duplicate with the same
//! `webhook-id`, never a loss.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;

use super::{App, Deadline};
use crate::domain::attempt::Attempt;
use crate::domain::backoff::{LONGEST_LIFE, LONGEST_WAIT, Schedule, after_our_fault, whole_seconds};
use crate::domain::destination::{Destination, is_id};
use crate::domain::failure::{Code, Failure, Next};
use crate::domain::problem::printable;
use crate::domain::record::{Message, Orders, Origin, Record};
use crate::domain::report::{self, Fate, Report};
use crate::outbound::queues::{NewMessage, Queues};

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
    /// The message, if it is a delivery to one destination that already waits in the retry queue.
    fn waiting(&self) -> Option<&'a Message> {
        self.orders.and_then(|orders| orders.destination.as_deref()).and(self.record.message.as_ref())
    }

    /// It stays in the retry queue, or goes there.
    fn again(&self, wait: Duration) -> Step<'a> {
        self.waiting().map_or(Step::Write(wait), |message| Step::Hide(message, wait))
    }

    /// The wait after a fault of ours.
    fn after_our_fault(&self) -> Duration {
        after_our_fault(self.record.message.as_ref().map_or(1, |message| message.receive_count))
    }

    fn schedule(&self, app: &App) -> Schedule {
        let webhook_id = self.record.outcome.as_ref().map_or("", |outcome| &outcome.payload.webhook_id);
        Schedule::new((webhook_id, self.destination.unwrap_or_default()), app.max_attempts)
    }

    /// How long the delivery has been waiting in the retry queue.
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
    pub(super) fn facts(&self, to: Option<&'a Destination>, tried: Option<&'a Attempt>) -> report::Subject<'a> {
        let message = self.record.message.as_ref();
        report::Subject {
            about: Some(self.record.about()),
            warnings: self.record.outcome.as_ref().map(|outcome| outcome.warnings.as_slice()).unwrap_or_default(),
            message_id: message.filter(|_| self.record.outcome.is_err()).and_then(|message| message.id.as_deref()),
            destination: self.destination,
            endpoint: to.map(|to| to.endpoint.origin()),
            tried,
            since: self.waiting().and_then(|message| message.sent),
            fallback_for: self.orders.and_then(|orders| orders.fallback_for.as_deref()).filter(|id| is_id(id)),
            ..report::Subject::default()
        }
    }

    /// A write that must be over before the answer is due.
    fn in_time<T>(&self, write: impl Future<Output = Result<T, Failure>>) -> impl Future<Output = Result<T, Failure>> {
        tokio::time::timeout(self.deadline.left_for_writes(), write).map(|written| {
            written.unwrap_or_else(|_| {
                let (what, fix) = ("the retry or dead-letter queue", "lower the batch size of the queues");
                Err(Failure::of(Code::QueueFailed, what, "this function's time was over", fix))
            })
        })
    }
}

/// What is done with a delivery that failed.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    /// Its message stays in the retry queue, hidden for that long.
    Hide(&'a Message, Duration),
    /// It is written to the retry queue, as a message that is held back for that long.
    Write(Duration),
    DeadLetter,
    /// It stays with its source: an SQS message is hidden for that long.
    Return(Duration),
}

/// Beyond the schedule's end by more than this, a delivery was kept from its attempts.
const LATE: Duration = Duration::from_secs(60 * 60);

/// Decides and writes; the report says what was done. An attempt's number is in the report if there was an attempt.
pub(super) async fn settle(
    app: &App,
    case: Case<'_>,
    to: Option<&Destination>,
    result: Result<Attempt, Failure>,
) -> Report {
    let now = SystemTime::now();
    let (tried, failure) = match &result {
        Ok(attempt) => (Some(attempt), attempt.result.as_ref().err()),
        Err(failure) => (None, Some(failure)),
    };
    let mut facts = case.facts(to, tried);
    // What policy forbids is not an attempt. An attempt has the number of its beginning.
    let attempt = tried.filter(|_| !failure.is_some_and(|failure| failure.code.is_policy()));
    facts.attempt = attempt.map(|attempt| case.attempt(app, now - attempt.timings.total));
    let Some(failure) = failure else { return Report::new(&facts, &Fate::Delivered, None, now) };
    let Some(queues) = &app.queues else {
        let fate = match case.record.outcome {
            Err(_) => Fate::Rejected { queue: None },
            Ok(_) => Fate::returned(case.record, None),
        };
        return Report::new(&facts, &fate, Some(failure), now);
    };
    let (schedule, message) = (case.schedule(app), new_message(&case, failure, facts.attempt));
    // Boxed: most of a batch waits for its slot, and should take little memory meanwhile.
    Box::pin(Failed { app, queues, case, to, failure, facts, schedule, message, now }.keep()).await
}

fn new_message<'a>(case: &Case<'a>, failure: &Failure, attempt: Option<u32>) -> NewMessage<'a> {
    let destination = case.destination.filter(|id| is_id(id)).map(ToOwned::to_owned);
    NewMessage {
        body: case.record.outcome.as_ref().map_or(&case.record.received, |outcome| &outcome.payload.body),
        orders: Orders { destination, ..case.orders.cloned().unwrap_or_default() },
        code: Some(failure.row().name),
        status: failure.status,
        attempt,
        detail: Some(printable(&failure.cause(), 1024)),
    }
}

/// A delivery that failed, or a record that has none, on its way into a queue.
struct Failed<'a> {
    app: &'a App,
    queues: &'a Queues,
    case: Case<'a>,
    to: Option<&'a Destination>,
    failure: &'a Failure,
    facts: report::Subject<'a>,
    schedule: Schedule,
    /// What is written, if anything is.
    message: NewMessage<'a>,
    now: SystemTime,
}

impl<'a> Failed<'a> {
    /// Keeps what was not delivered, in a queue of ours or where it came from.
    async fn keep(mut self) -> Report {
        let step = self.plan();
        let step = match self.with_fallback(step).await {
            Ok(step) => step,
            Err(error) => return self.not_kept(error).await,
        };
        let (case, now) = (self.case, self.now);
        let (fate, written) = match step {
            Step::Hide(waiting, wait) => {
                let fate = self.retrying(now + wait, waiting.sent.unwrap_or(now));
                (fate, case.in_time(self.queues.hide(waiting, wait)).await)
            }
            Step::Write(wait) => {
                let fate = self.retrying(now + wait, now);
                (fate, case.in_time(self.queues.retry(&self.message, wait, now)).await)
            }
            Step::DeadLetter => {
                let queue = self.queues.dead_letter_name().to_owned();
                let fate = match case.record.outcome {
                    Err(_) => Fate::Rejected { queue: Some(queue) },
                    Ok(_) => Fate::DeadLettered { queue },
                };
                (fate, case.in_time(self.queues.dead_letter(&self.message)).await)
            }
            Step::Return(wait) => return self.returned(self.failure, wait).await,
        };
        if let Err(error) = written {
            return self.not_kept(error).await;
        }
        let mut report = Report::new(&self.facts, &fate, Some(self.failure), now);
        // A message that is hidden must not be deleted.
        report.acknowledged = !matches!(step, Step::Hide(..));
        report
    }

    /// What is to be done, the fallback aside. It may mark the message that takes the place of this one.
    fn plan(&mut self) -> Step<'a> {
        let (case, failure, schedule) = (self.case, self.failure, self.schedule);
        let (waiting, elapsed) = (case.waiting(), case.elapsed(self.now));
        // Nothing expires silently.
        if case.is_old(self.now) {
            return Step::DeadLetter;
        }
        match failure.row().next {
            Next::DeadLetter => Step::DeadLetter,
            Next::Wait => case.again(schedule.pause(elapsed, failure.retry_after)),
            // Before fan-out a failure that may pass leaves the outcome with its source.
            Next::Return | Next::Retry if waiting.is_none() && !case.fanned_out => match &case.record.message {
                Some(_) => Step::Return(case.after_our_fault()),
                // A source that keeps nothing: the whole outcome is routed at its next receive.
                None => Step::Write(self.first_wait()),
            },
            // A fault of ours does not end a schedule.
            Next::Return if waiting.is_some() => {
                let usual = case.after_our_fault();
                Step::Return(schedule.next_attempt(elapsed, Duration::ZERO).map_or(usual, |wait| wait.min(usual)))
            }
            Next::Return => Step::Write(self.first_wait()),
            Next::Retry => match schedule.next_attempt(elapsed, failure.retry_after) {
                Some(wait) => case.again(whole_seconds(failure.no_later.map_or(wait, |latest| wait.min(latest)))),
                // What was not even tried has its last attempt still to come.
                None if failure.code.is_untried() => case.again(case.after_our_fault()),
                // Something kept it from its attempts, such as back-pressure: it gets them once, as a message of its own.
                None if waiting.is_some() && elapsed > schedule.end() + LATE && !self.message.orders.renewed => {
                    self.message.orders.renewed = true;
                    Step::Write(self.first_wait())
                }
                None => Step::DeadLetter,
            },
        }
    }

    /// The wait of a message that begins its schedule.
    fn first_wait(&self) -> Duration {
        let asked = self.failure.retry_after;
        self.schedule.next_attempt(Duration::ZERO, asked).unwrap_or(whole_seconds(asked))
    }

    /// Writes the outcome for the fallback when its time has come. A copy is written before its mark.
    async fn with_fallback(&mut self, step: Step<'a>) -> Result<Step<'a>, Failure> {
        let Some((fallback, after)) = self.fallback() else { return Ok(step) };
        let (case, elapsed) = (self.case, self.case.elapsed(self.now));
        if !matches!(step, Step::DeadLetter) && elapsed < after {
            let left = |wait: Duration| whole_seconds(wait.min(after.saturating_sub(elapsed)));
            return Ok(match step {
                Step::Hide(waiting, wait) => Step::Hide(waiting, left(wait)),
                Step::Write(wait) => Step::Write(left(wait)),
                other => other,
            });
        }
        match case.in_time(self.write_copy(fallback)).await {
            Ok(false) => Ok(step),
            Ok(true) => {
                // From now on its messages say so: a successor takes the place of the one that waits.
                self.message.orders.fallback_sent = true;
                self.facts.fallback = Some(fallback);
                Ok(if matches!(step, Step::Hide(..)) { Step::Write(self.first_wait()) } else { step })
            }
            // Nothing final follows from a look-up that fails: the copy is written next time.
            Err(error) if error.code == Code::LookupFailed => {
                let is_final = matches!(step, Step::DeadLetter) && !case.is_old(self.now);
                Ok(if is_final { case.again(case.after_our_fault()) } else { step })
            }
            Err(error) => Err(error),
        }
    }

    /// The fallback that a delivery may still have, and when it gets the alert. A destination that is switched off or
    /// paused has none: that is meant, and must not flood the other.
    fn fallback(&self) -> Option<(&'a str, Duration)> {
        let fallback = self.to?.fallback.as_ref()?;
        let is_meant = matches!(self.failure.code, Code::DestinationPaused | Code::DestinationInactive);
        (!self.message.orders.fallback_sent && !is_meant).then_some((&*fallback.to, fallback.after))
    }

    /// Writes the outcome for the fallback, if its own options let it through; whether they did.
    async fn write_copy(&self, to: &str) -> Result<bool, Failure> {
        let Ok(outcome) = &self.case.record.outcome else { return Ok(false) };
        match self.app.registry.destination(to).await {
            Ok(destination) if destination.filter(outcome).is_some() => return Ok(false),
            Err(failure) if failure.code == Code::DestinationInactive => return Ok(false),
            // What is missing or wrong in an old copy of the registry may be right by now.
            Err(failure) if failure.code == Code::LookupFailed => return Err(failure),
            // The copy is dead-lettered with what is wrong with the fallback: no alert misses it in silence.
            Ok(_) | Err(_) => {}
        }
        let (destination, fallback_for) = (Some(to.to_owned()), self.case.destination.map(ToOwned::to_owned));
        let orders = Orders { destination, fallback_for, ..Orders::default() };
        let copy = NewMessage { body: &outcome.payload.body, orders, ..NewMessage::default() };
        self.queues.retry(&copy, Duration::ZERO, self.now).await?;
        Ok(true)
    }

    /// `since` is when the message was written to the retry queue.
    fn retrying(&self, next: SystemTime, since: SystemTime) -> Fate {
        // Back-pressure ends by age alone.
        let lasts = if self.failure.row().next == Next::Wait { LONGEST_LIFE } else { self.schedule.end() };
        Fate::Retrying { next, until: next.max(since + lasts) }
    }

    /// What could not be written stays with its source.
    async fn not_kept(&self, error: Failure) -> Report {
        let failure = error.not_kept(self.failure);
        if self.case.record.origin == Origin::Sqs && failure.code == Code::TooLargeToKeep {
            // No other try will fit: as seldom as SQS allows.
            return self.returned(&failure, LONGEST_WAIT).await;
        }
        self.left_with_source(&failure, None)
    }

    /// A fault of ours: a message stays in its queue, hidden for a while.
    async fn returned(&self, failure: &Failure, wait: Duration) -> Report {
        let next = match &self.case.record.message {
            // If it cannot be hidden, it comes again when its visibility timeout ends: later, but not lost.
            Some(message) => self.case.in_time(self.queues.hide(message, wait)).await.ok().map(|()| self.now + wait),
            None => None,
        };
        self.left_with_source(failure, next)
    }

    /// `next` is when a message that was hidden comes again.
    fn left_with_source(&self, failure: &Failure, next: Option<SystemTime>) -> Report {
        let record = self.case.record;
        let since = record.message.as_ref().and_then(|message| message.sent);
        let facts = report::Subject { since, ..self.facts };
        Report::new(&facts, &Fate::returned(record, next), Some(failure), self.now)
    }
}
