//! A share of a CPU.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The part of a CPU that a function of 128 MB has.
const SHARE: f64 = 0.07;

/// CPU time of a process's threads, in nanoseconds of the scheduler.
pub(crate) fn cpu(pid: Pid) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let time = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(time).sum())
}

/// Gives a process a share of a CPU, as Lambda does: in each period it runs until its part is used up, and then stops.
/// Signals need no privileges, which a control group does.
pub(crate) struct Throttle {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Throttle {
    pub(crate) fn start(pid: Pid) -> Self {
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
