//! What identifies an invocation, said in every line that is written on its behalf.
//!
//! Lambda Managed Instances run several invocations in one process, so it belongs to the task and not to the process.

use super::format::add;

tokio::task_local! {
    static CURRENT: Invocation;
}

/// The names by which an invocation is found again, in CloudWatch and in X-Ray.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub request_id: String,
    /// The trace's root id alone, which is what X-Ray is searched by.
    pub xray_trace_id: Option<String>,
}

impl Invocation {
    /// Does an invocation's work so that its lines carry its names.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Adds the names to a line's fields, the inside of a JSON object; none outside an invocation.
    pub(super) fn add_to(fields: &mut String) {
        let _ = CURRENT.try_with(|invocation| {
            add(fields, "request_id", &invocation.request_id);
            if let Some(id) = &invocation.xray_trace_id {
                add(fields, "xray_trace_id", id);
            }
        });
    }
}
