//! What Lambda hands over, and what it is answered.

mod answer;
mod envelope;
mod failed_start;
mod handler;

pub use failed_start::report_failed_start;
pub use handler::handle;
