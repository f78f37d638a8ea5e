//! What has no noise: instructions in user space, bytes of lines and of the build.

use std::time::Duration;

use bytes::Bytes;

use crate::figures::Figures;
use crate::function::{Function, Program};
use crate::servers::{self, Counts, OK, Reply};
use crate::setup::{Setup, batch, direct, document};

/// Counts instructions, and the bytes of the lines that are written on the way.
pub async fn measure(setup: &Setup, figures: &mut Figures, wanted: &dyn Fn(&str) -> bool) {
    let (https, plain) = (Some(&setup.authority), None);
    let receiver = servers::receiver(https, &Counts::default(), OK).await;
    let document = document(&receiver);
    let aws = async |authority| servers::aws(authority, &Counts::default(), document.to_string(), Duration::ZERO).await;
    let (aws, tls_aws) = (aws(plain).await, aws(https).await);
    let (file, direct) = (setup.with_file(&document, &aws), direct(&setup.root));
    let [secret, tls_secret] = [&aws, &tls_aws].map(|aws| setup.function("secretsmanager:destinations", aws));
    let count = Count { setup };

    for (name, program) in [("hello", &setup.hello()), ("file", &file), ("secret", &secret)] {
        if wanted(&format!("ir.init.{name}")) {
            figures.set(format!("ir.init.{name}"), count.run(&format!("init.{name}"), program, &direct, 0).await);
        }
    }
    let [file, secret, tls_secret] = [file, secret, tls_secret].map(|program| setup.trusting(program));
    for (name, program) in [("file", &file), ("secret", &secret), ("secret.tls", &tls_secret)] {
        let name = format!("first.{name}");
        if wanted(&format!("ir.{name}")) {
            let init = count.run(&name, program, &direct, 0).await;
            figures.set(format!("ir.{name}"), count.run(&name, program, &direct, 1).await - init);
        }
    }
    if wanted("ir.warm.direct") || wanted("bytes.line.delivered") {
        figures.set("ir.warm.direct", count.each("warm.direct", &file, &direct).await);
        figures.set("bytes.line.delivered", line(setup, "delivered"));
    }
    for size in [1, 10] {
        let name = format!("warm.sqs.{size}");
        if wanted(&format!("ir.{name}")) {
            let batch = batch(&setup.root, size);
            figures.set(format!("ir.{name}"), count.each(&name, &file, &batch).await / size as f64);
        }
    }
    for (name, body) in [("short", "upstream is down"), ("4k", long_body())] {
        let name = format!("failing.{name}");
        if wanted(&format!("ir.{name}")) || name == "failing.short" && wanted("bytes.line.retrying") {
            let reply = Reply { status: 503, body, delay: Duration::ZERO };
            let receiver = servers::receiver(https, &Counts::default(), reply).await;
            let failing = setup.trusting(setup.with_document("failing", &crate::setup::document(&receiver), &aws));
            figures.set(format!("ir.{name}"), count.each(&name, &failing, &direct).await);
            if name == "failing.short" {
                figures.set("bytes.line.retrying", line(setup, "retrying"));
            }
        }
    }
}

struct Count<'a> {
    setup: &'a Setup,
}

impl Count<'_> {
    /// Instructions of a program from its start until it has handled an event so many times.
    /// What each function took stays in `target/bench/callgrind.NAME.out`, for `callgrind_annotate`.
    async fn run(&self, name: &str, program: &Program, event: &Bytes, times: usize) -> f64 {
        let counts = self.setup.work.join(format!("callgrind.{name}.out"));
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

    /// Instructions for one event after many: the difference between two runs.
    async fn each(&self, name: &str, program: &Program, event: &Bytes) -> f64 {
        const BEFORE: usize = 10;
        const MORE: usize = 50;
        let few = self.run(name, program, event, BEFORE).await;
        (self.run(name, program, event, BEFORE + MORE).await - few) / MORE as f64
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
