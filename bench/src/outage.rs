//! An outage: ten outcomes with fifty destinations each, and none takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::figures::Figures;
use crate::function::{Function, cpu};
use crate::servers::{self, Counts, Reply};
use crate::setup::{Setup, batch, destination};

/// Its name, the URL of each destination, and whether the function has a part of a CPU only.
type Case<'a> = (&'a str, &'a dyn Fn(usize) -> String, bool);

/// The part of a CPU that a function of 128 MB has.
const SHARE: f64 = 0.07;

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

/// Gives a process a share of a CPU, as Lambda does: in each period it runs until its part is used up, and then stops.
/// Signals need no privileges, which a control group does.
struct Throttle {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Throttle {
    fn start(pid: Pid) -> Self {
        const PERIOD: Duration = Duration::from_millis(20);
        let part = PERIOD.mul_f64(SHARE);
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let thread = std::thread::spawn(move || {
            let (begun, mut period, mut since, mut stopped) = (Instant::now(), 0, cpu(pid), false);
            while !stop.load(Ordering::Relaxed) {
                let used = cpu(pid);
                let now = begun.elapsed().as_millis() / PERIOD.as_millis();
                while period < now {
                    // What was used beyond its part is owed, what was left is lost.
                    since = used.min(since + part);
                    period += 1;
                }
                let is_over = used.saturating_sub(since) >= part;
                if is_over != stopped {
                    let _ = kill_process(pid, if is_over { Signal::STOP } else { Signal::CONT });
                    stopped = is_over;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            let _ = kill_process(pid, Signal::CONT);
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
