//! What an administrator reads: log lines on standard output, one JSON object each.

mod format;
mod invocation;
mod lines;

pub use format::{Format, LogSettings, init};
pub use invocation::Invocation;
pub use lines::{
    document_problems, failed_start, last_panic, line, mixed_addresses, not_inside_lambda, report, serving_stale,
    started, stopped,
};
