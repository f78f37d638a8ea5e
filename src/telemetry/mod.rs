//! What an administrator reads: log lines on standard output, one JSON object each, the sentence first.

mod format;
mod line;

pub use format::{Format, LogSettings, init};
pub use line::{
    Invocation, document_problems, failed_start, mixed_addresses, oddity, result, serving_stale, stopped, unknown_shape,
};
