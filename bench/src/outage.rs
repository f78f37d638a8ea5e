//! An outage: ten outcomes with fifty destinations each, and none takes them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::figures::Figures;
use crate::function::Function;
use crate::servers::{self, Counts, Reply};
use crate::setup::{Setup, batch, destination};
use crate::throttle::Throttle;

/// Its name, the URL of each destination, and whether the function has a part of a CPU only.
type Case<'a> = (&'a str, &'a dyn Fn(usize) -> String, bool);

/// What SQS takes for a call inside its region, about.
pub const SQS_DELAY: Duration = Duration::from_millis(10);

pub async fn measure(setup: &Setup, figures: &mut Figures) {
    let reply = Reply { status: 503, body: "upstream is down", delay: Duration::ZERO };
    let busy = servers::receiver(Some(&setup.authority), &Counts::default(), reply).await;
    // Nobody listens at the other's addresses, one for each destination.
    let down = |index: usize| format!("https://127.0.1.{}:9", index + 1);
    let cases: [Case<'_>; 3] =
        [("busy", &|_| busy.clone(), false), ("down", &down, false), ("down.throttled", &down, true)];
    for (name, url, throttled) in cases {
        let counts = Counts::default();
        let aws = servers::aws(Some(&setup.authority), &counts, String::new(), SQS_DELAY).await;
        let destinations: Value = (0..50).map(|index| (format!("team-{index}"), destination(&url(index)))).collect();
        let ids: Vec<_> = (0..50).map(|index| format!("team-{index}")).collect();
        let document = json!({ "destinations": destinations, "routes": { "*": ids } });
        let program = setup.trusting(setup.with_document("outage", &document, &aws));
        let mut function = Function::start(&program, &setup.output()).await;
        let throttle = throttled.then(|| Throttle::start(function.pid()));
        let (started, before) = (Instant::now(), function.cpu());
        function.invoke(&batch(&setup.root, 10)).await;
        let took = started.elapsed();
        let cpu = function.cpu().saturating_sub(before);
        drop(throttle);
        let lines = function.output();
        let results = |result: &str| lines.matches(&format!("\"result\":\"{result}\"")).count() as f64;
        figures.set(format!("outage.{name}.ms"), took.as_secs_f64() * 1e3);
        figures.set(format!("outage.{name}.cpu"), cpu.as_secs_f64() * 1e3);
        figures.set(format!("outage.{name}.connections"), counts.connections() as f64);
        figures.set(format!("outage.{name}.requests"), counts.requests() as f64);
        figures.set(format!("outage.{name}.retrying"), results("retrying"));
        figures.set(format!("outage.{name}.returned"), results("returned"));
        figures.set(format!("outage.{name}.rss"), function.memory().1);
    }
}
