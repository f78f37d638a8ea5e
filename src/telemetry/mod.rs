//! What an administrator reads: log lines on standard output, one JSON object each, the sentence first.

mod emf;
mod format;
mod invocation;
mod line;

pub use emf::MetricSettings;
pub use format::{Format, LogSettings, init};
pub use invocation::Invocation;
pub use line::{
    check, document_problems, failed_start, mixed_addresses, not_inside_lambda, probe, result, serving_stale, stopped,
};
