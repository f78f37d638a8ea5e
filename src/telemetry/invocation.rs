//! What identifies an invocation, said in every line that is written on its behalf.
//!
//! Lambda Managed Instances run several invocations in one process, so it belongs to the task and not to the process.

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
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The names as fields of a line; none outside an invocation.
    pub(super) fn fields() -> Vec<(&'static str, String)> {
        let fields = |invocation: &Self| {
            let trace = invocation.xray_trace_id.iter().map(|id| ("xray_trace_id", id.clone()));
            std::iter::once(("request_id", invocation.request_id.clone())).chain(trace).collect()
        };
        CURRENT.try_with(fields).unwrap_or_default()
    }
}
