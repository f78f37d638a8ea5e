//! One thing that Lambda handed over: an outcome, or what should have been one.

use super::outcome::{Outcome, Refused};

/// A record of an event. What is wrong with it is its own affair, not its neighbours'.
#[derive(Debug, Clone)]
pub struct Record {
    pub origin: Origin,
    /// The SQS message id, by which a failure is reported. Records cut from one message share it.
    pub message_id: Option<String>,
    /// How often the source has handed this record over, from 1.
    pub receive_count: u32,
    pub outcome: Result<Outcome, Refused>,
}

/// Who handed the outcome over, which decides what happens to an undelivered one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Direct,
    Sqs,
    Sns,
    EventBridge,
}

impl Origin {
    /// What happens next to an outcome that is neither delivered nor in a queue of ours.
    pub fn next(self) -> &'static str {
        match self {
            Self::Direct => "the invocation fails, its caller has to try again",
            Self::Sqs => "it stays in its queue and comes again after the visibility timeout",
            Self::Sns | Self::EventBridge => "the invocation fails, Lambda tries it again",
        }
    }
}
