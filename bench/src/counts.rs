//! What has no noise: instructions in user space, bytes of lines and of the build.

use std::time::Duration;

use bytes::Bytes;

use crate::figures::{Figures, median};
use crate::function::{Function, Program};
use crate::servers::{self, Counts, OK, Reply};
use crate::setup::{Setup, batch, direct, document};

/// Counts instructions, and the bytes of the lines that are written on the way.
pub async fn measure(setup: &Setup, figures: &mut Figures) {
    let (https, refusing) =
        (Some(&setup.authority), Reply { status: 503, body: "upstream is down", delay: Duration::ZERO });
    let receiver = servers::receiver(https, &Counts::default(), OK).await;
    let document = document(&receiver);
    let aws = servers::aws(https, &Counts::default(), document.to_string(), Duration::ZERO).await;
    let (file, direct) = (setup.with_file(&document, &aws), direct(&setup.root));
    let count = Count { setup };

    let init = count.run(&file, &direct, 0).await;
    figures.set("ir.init.hello", count.run(&setup.hello(), &direct, 0).await);
    figures.set("ir.init.file", init);
    figures.set("ir.first.file", count.run(&file, &direct, 1).await - init);
    let secret = setup.function("secretsmanager:destinations", &aws);
    let init = count.run(&secret, &direct, 0).await;
    figures.set("ir.init.secret", init);
    figures.set("ir.first.secret", count.run(&secret, &direct, 1).await - init);

    let warm = count.each(&file, &direct).await;
    figures.set("ir.warm.direct", warm);
    figures.set("bytes.line.delivered", line(setup, "delivered"));
    figures.set("ir.warm.sqs.1", count.each(&file, &batch(&setup.root, 1)).await);
    figures.set("ir.warm.sqs.10", count.each(&file, &batch(&setup.root, 10)).await / 10.0);

    for (name, body) in [("short", refusing.body), ("4k", long_body())] {
        let receiver = servers::receiver(https, &Counts::default(), Reply { body, ..refusing.clone() }).await;
        let failing = setup.with_file(&crate::setup::document(&receiver), &aws);
        figures.set(format!("ir.failing.{name}"), count.each(&failing, &direct).await);
        if name == "short" {
            figures.set("bytes.line.retrying", line(setup, "retrying"));
        }
    }
}

struct Count<'a> {
    setup: &'a Setup,
}

impl Count<'_> {
    /// Instructions of a program from its start until it has handled an event so many times.
    async fn run(&self, program: &Program, event: &Bytes, times: usize) -> f64 {
        let counts = self.setup.work.join("callgrind.out");
        let valgrind = [
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            format!("--callgrind-out-file={}", counts.display()),
        ];
        let command = valgrind.into_iter().chain(program.command.clone()).collect();
        let mut function = Function::start(&Program { command, ..program.clone() }, &self.setup.output()).await;
        for _ in 0..times {
            function.deliver(event).await;
        }
        function.end().await;
        let text = std::fs::read_to_string(&counts).unwrap();
        text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap().trim().parse().unwrap()
    }

    /// Instructions for one event after many: the difference between two runs. The median of three, because timers and
    /// the sizes in which data arrives move it by a few thousand.
    async fn each(&self, program: &Program, event: &Bytes) -> f64 {
        const BEFORE: usize = 10;
        const MORE: usize = 50;
        let mut samples = Vec::new();
        for _ in 0..3 {
            let few = self.run(program, event, BEFORE).await;
            samples.push((self.run(program, event, BEFORE + MORE).await - few) / MORE as f64);
        }
        median(&samples)
    }
}

/// The length of the last line with that result, with its line feed.
fn line(setup: &Setup, result: &str) -> f64 {
    let text = std::fs::read_to_string(setup.output()).unwrap();
    let result = format!("\"result\":\"{result}\"");
    let line = text.lines().rev().find(|line| line.contains(&result)).unwrap();
    (line.len() + 1) as f64
}

/// An error page of 4 KiB.
fn long_body() -> &'static str {
    const PARAGRAPH: &str = "<p>The server is temporarily unable to service your request due to maintenance downtime or \
        capacity problems. Please try again later, or call the administrator: reference id=7f3a-11.</p>\n";
    let body = format!("<html><head><title>503</title></head><body>\n{}", PARAGRAPH.repeat(30));
    String::leak(body.chars().take(4096).collect())
}
