//! docs/performance.md: goals and measured figures, written between two markers; and docs/performance.svg.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::figures::Figures;
use crate::flow;
use crate::plot;
use crate::programs::NAMES;
use crate::setup::Setup;

const BEGIN: &str = "<!-- bench:begin, written by `make bench` -->\n";
const END: &str = "<!-- bench:end -->\n";
const FLOW_BEGIN: &str = "<!-- flow:begin, written by `make bench-flow` -->\n";
const FLOW_END: &str = "<!-- flow:end -->\n";

/// Figures as they are shown; `–` where one was not measured.
struct Shown<'a>(&'a Figures);

impl Shown<'_> {
    fn with(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
        value.map_or("–".to_owned(), show)
    }

    /// A figure over a unit.
    fn over(&self, name: &str, unit: f64, digits: usize) -> String {
        Self::with(self.0.get(name), |value| format!("{:.digits$}", value / unit))
    }

    fn ratio(&self, a: &str, b: &str) -> Option<f64> {
        Some(self.0.get(a)? / self.0.get(b)?)
    }

    /// A quotient, as `1/20` where it is small.
    fn share(&self, a: &str, b: &str) -> String {
        Self::with(
            self.ratio(a, b),
            |value| if value < 0.5 { format!("1/{:.1}", 1.0 / value) } else { format!("{value:.2}") },
        )
    }

    /// CPU of a warm delivery ÷ three bare exchanges: next, POST, answer.
    fn floors(&self, name: &str) -> Option<f64> {
        let cpu = |name: &str| self.0.get(&format!("warm.{name}.cpu.median"));
        Some(cpu(name)? / (2.0 * cpu("floor.http")? + cpu("floor.https")?))
    }

    fn median(&self, name: &str, unit: f64, digits: usize) -> String {
        format!(
            "{} ({})",
            self.over(&format!("{name}.median"), unit, digits),
            self.over(&format!("{name}.min"), unit, digits)
        )
    }
}

/// Writes the tables into the page, between its markers, and the plot beside it.
pub fn write(setup: &Setup, figures: &Figures) {
    replace(setup, BEGIN, END, &tables(&setup.root, figures));
    if let Some(svg) = plot::starts(figures) {
        std::fs::write(setup.root.join("docs/performance.svg"), svg).unwrap();
    }
}

/// Writes what stands between two markers of the page.
fn replace(setup: &Setup, begin: &str, end: &str, tables: &str) {
    let page = setup.root.join("docs/performance.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(begin).expect("docs/performance.md has a line that begins the tables");
    let (_, after) = rest.split_once(end).expect("docs/performance.md has a line that ends the tables");
    std::fs::write(&page, format!("{before}{begin}\n{tables}\n{end}{after}")).unwrap();
}

/// Writes the table of `flow`. Without an earlier function the ceiling stands in its place.
pub fn write_flow(setup: &Setup, figures: &Figures, before: Option<&str>) {
    let without = before.map_or("computed".to_owned(), |commit| format!("commit {commit:.7}"));
    let mut text = format!(
        "Measured on {}; the machine's load before it was {}.\n\n\
         | healthy receivers answer after | without a circuit breaker ({without}) | with | times |\n\
         |---|---:|---:|---:|\n",
        today(),
        Shown(figures).over("flow.load", 1.0, 1),
    );
    for answer in flow::ANSWERS {
        let [old, new] = ["before", "after"].map(|way| figures.get(&format!("flow.{way}.{answer}.outcomes")));
        let old = old.unwrap_or_else(flow::ceiling);
        let new = new.unwrap();
        let seconds = answer as f64 / 1e3;
        let _ = writeln!(text, "| {seconds} s | {old:.1} | {new:.0} | {:.0} |", new / old);
    }
    replace(setup, FLOW_BEGIN, FLOW_END, &text);
}

fn today() -> String {
    jiff::Timestamp::now().strftime("%-d %B %Y").to_string()
}

fn tables(root: &Path, figures: &Figures) -> String {
    let mut text = machine(root);
    goals(&mut text, figures);
    instructions(&mut text, figures);
    starts(&mut text, figures);
    warm(&mut text, figures);
    batches(&mut text, figures);
    outage(&mut text, figures);
    money(&mut text, figures);
    text
}

/// Where and when it was measured.
fn machine(root: &Path) -> String {
    let line = |command: &str, arguments: &[&str]| {
        let output = Command::new(command).args(arguments).current_dir(root).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let peers = root.join("target/bench/peers/bin");
    format!(
        "Measured on {}: {}, {} CPUs, {}; {}; {}; {}, Node.js {}.\n",
        today(),
        named.trim_start_matches([' ', '\t', ':']),
        std::thread::available_parallelism().map_or(0, usize::from),
        line("uname", &["-sm"]).unwrap_or_default(),
        line("rustc", &["--version"]).unwrap_or_default(),
        line("valgrind", &["--version"]).unwrap_or_default(),
        line(peers.join("python").to_str().unwrap(), &["--version"]).unwrap_or_default(),
        line(peers.join("node").to_str().unwrap(), &["--version"]).unwrap_or_default(),
    )
}

/// Its name, what was measured, the goal, the unit that both are divided by, its name, and the digits shown.
type Goal<'a> = (&'a str, Option<f64>, f64, f64, &'a str, usize);

fn goals(text: &mut String, figures: &Figures) {
    let shown = Shown(figures);
    let get = |name: &str| figures.get(name);
    let ideal =
        |size: u32| shown.ratio(&format!("batch.{size}.function.median"), &format!("batch.{size}.function.ideal"));
    let peer = |name: &str| shown.ratio("warm.function.https.cpu.median", &format!("warm.{name}.https.cpu.median"));
    let init = shown.ratio("start.function.file.warm.init.min", "start.hello.file.warm.init.min");
    let failing = get("ir.failing.4k").zip(get("ir.warm.direct")).map(|(failing, usual)| failing - usual);
    let together = |costs: Option<[f64; 3]>| costs.map(|costs| costs.iter().sum());
    let rows: [Goal<'_>; 23] = [
        ("init with a file ÷ hello world, instructions", shown.ratio("ir.init.file", "ir.init.hello"), 2.0, 1.0, "", 2),
        ("init with a file ÷ hello world, least time", init, 1.45, 1.0, "", 2),
        ("first HTTPS delivery, file", get("ir.first.file"), 3.0e6, 1e6, " M instructions", 2),
        ("first HTTPS delivery, secret", get("ir.first.secret"), 4.5e6, 1e6, " M instructions", 2),
        ("warm delivery, direct", get("ir.warm.direct"), 230e3, 1e3, " k instructions", 0),
        ("warm delivery, SQS batch of 10, each", get("ir.warm.sqs.10"), 245e3, 1e3, " k instructions", 0),
        ("delivery that fails with 4 KiB, beyond one that succeeds", failing, 1e6, 1e3, " k instructions", 0),
        ("warm delivery, direct ÷ three bare exchanges, CPU", shown.floors("function.https"), 1.6, 1.0, "", 2),
        ("the same, SQS batch of 10, each", shown.floors("function.https.sqs.10"), 1.1, 1.0, "", 2),
        ("warm delivery, direct ÷ Python, CPU", peer("python"), 1.0 / 7.0, 1.0, "", 3),
        ("warm delivery, direct ÷ Node.js, CPU", peer("node"), 1.0 / 25.0, 1.0, "", 3),
        ("batch of 10 ÷ ideal, time", ideal(10), 1.05, 1.0, "", 3),
        ("batch of 100 ÷ ideal, time", ideal(100), 1.1, 1.0, "", 3),
        ("batch of 1,000 ÷ ideal, time", ideal(1000), 1.1, 1.0, "", 3),
        ("archive that is deployed", get("bytes.zip"), 2.9e6, 1e6, " MB", 2),
        ("memory after the first HTTPS delivery", get("start.function.file.warm.rss.median"), 8.5e6, 1e6, " MB", 1),
        ("memory, batch of 1,000, at most", get("batch.1000.function.rss"), 22e6, 1e6, " MB", 1),
        ("line of a delivery", get("bytes.line.delivered"), 620.0, 1.0, " bytes", 0),
        ("line of a retry", get("bytes.line.retrying"), 800.0, 1.0, " bytes", 0),
        ("a million deliveries in batches of 10", together(delivered(figures, 10.0)), 0.9, 1.0, " USD", 2),
        ("a million dead letters after 12 attempts", together(dead_lettered(figures)), 12.0, 1.0, " USD", 2),
        (
            "all receivers down at 7 % of a CPU: connections to SQS",
            get("outage.down.throttled.connections"),
            100.0,
            1.0,
            "",
            0,
        ),
        (
            "all receivers down at 7 % of a CPU: deliveries returned",
            get("outage.down.throttled.returned"),
            0.0,
            1.0,
            "",
            0,
        ),
    ];
    text.push_str("\n| figure | goal, at most | measured | |\n|---|---:|---:|---|\n");
    for (what, value, goal, unit, name, digits) in rows {
        let number = |value: f64| format!("{:.digits$}{name}", value / unit);
        let verdict = value.map_or("", |value| if value <= goal { "met" } else { "missed" });
        let _ = writeln!(text, "| {what} | {} | {} | {verdict} |", number(goal), Shown::with(value, number));
    }
}

fn instructions(text: &mut String, figures: &Figures) {
    let shown = Shown(figures);
    text.push_str("\n### Instructions\n\n| | thousands |\n|---|---:|\n");
    for (what, name) in [
        ("init: hello world", "ir.init.hello"),
        ("init: destinations in a file", "ir.init.file"),
        ("init: destinations in a secret", "ir.init.secret"),
        ("look-up and first HTTPS delivery: file", "ir.first.file"),
        ("look-up and first HTTPS delivery: secret, AWS over plain HTTP", "ir.first.secret"),
        ("look-up and first HTTPS delivery: secret, AWS over TLS", "ir.first.secret.tls"),
        ("warm HTTPS delivery, direct", "ir.warm.direct"),
        ("warm HTTPS delivery, SQS batch of 1", "ir.warm.sqs.1"),
        ("warm HTTPS delivery, SQS batch of 10, each", "ir.warm.sqs.10"),
        ("503 with 16 bytes, kept in the retry queue", "ir.failing.short"),
        ("503 with 4 KiB, kept in the retry queue", "ir.failing.4k"),
    ] {
        let _ = writeln!(text, "| {what} | {} |", shown.over(name, 1e3, 0));
    }
}

fn starts(text: &mut String, figures: &Figures) {
    let shown = Shown(figures);
    text.push_str(
        "\n### Cold start\n\nInit, and with it the look-up and the first HTTPS delivery: medians (least) in milliseconds.\n\n\
         ![Cold starts until the first delivery has ended](performance.svg)\n\n\
         | | init | init, cold cache | until delivered | until delivered, cold cache | ÷ function | memory, MB |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    let row = |text: &mut String, label: &str, name: &str, registry: &str| {
        let figure = |cache: &str, what: &str| format!("start.{name}.{registry}.{cache}.{what}");
        let function = format!("start.function.{registry}.cold.total.median");
        let times = Shown::with(shown.ratio(&format!("{}.median", figure("cold", "total")), &function), |value| {
            format!("{value:.1}")
        });
        let _ = writeln!(
            text,
            "| {label} | {} | {} | {} | {} | {times} | {} |",
            shown.median(&figure("warm", "init"), 1.0, 1),
            shown.median(&figure("cold", "init"), 1.0, 1),
            shown.median(&figure("warm", "total"), 1.0, 1),
            shown.median(&figure("cold", "total"), 1.0, 1),
            shown.over(&figure("warm", "rss.median"), 1e6, 1),
        );
    };
    row(text, "hello world (delivers nothing)", "hello", "file");
    for (registry, kept) in [("file", "file"), ("secretsmanager", "secret"), ("dynamodb", "table")] {
        for name in NAMES {
            row(text, &format!("{name}, {kept}"), name, registry);
        }
    }
}

fn warm(text: &mut String, figures: &Figures) {
    let shown = Shown(figures);
    text.push_str(
        "\n### Warm deliveries\n\nPer delivery: medians (least) in microseconds. The floor is a bare POST of the same bytes on an open\n\
         connection; one direct delivery is three exchanges (next, POST, answer).\n\n\
         | | CPU | wall |\n|---|---:|---:|\n",
    );
    for (label, name) in [
        ("hello world", "hello"),
        ("function, direct, HTTP", "function.http"),
        ("function, direct, HTTPS", "function.https"),
        ("function, SQS batch of 1, HTTPS", "function.https.sqs.1"),
        ("function, SQS batch of 10, HTTP", "function.http.sqs.10"),
        ("function, SQS batch of 10, HTTPS", "function.https.sqs.10"),
        ("function, 485 destinations in a file", "registry.485"),
        ("function, 10,000 destinations in a file", "registry.10000"),
        ("Python (awslambdaric, urllib3), direct, HTTPS", "python.https"),
        ("Node.js (fetch), direct, HTTPS", "node.https"),
    ] {
        let (cpu, wall) = (format!("warm.{name}.cpu"), format!("warm.{name}.wall"));
        let _ = writeln!(text, "| {label} | {} | {} |", shown.median(&cpu, 1.0, 0), shown.median(&wall, 1.0, 0));
    }
    let _ = writeln!(text, "| floor: one exchange, HTTP | {} | |", shown.median("warm.floor.http.cpu", 1.0, 1));
    let _ = writeln!(text, "| floor: one exchange, HTTPS | {} | |", shown.median("warm.floor.https.cpu", 1.0, 1));
    let _ = writeln!(
        text,
        "\nFunction ÷ its three exchanges: {}; ÷ Python {}, ÷ Node.js {}; 10,000 destinations ÷ one: {}. Memory after {} deliveries: {} MB.",
        Shown::with(shown.floors("function.https"), |value| format!("{value:.2}")),
        shown.share("warm.function.https.cpu.median", "warm.python.https.cpu.median"),
        shown.share("warm.function.https.cpu.median", "warm.node.https.cpu.median"),
        Shown::with(shown.ratio("warm.registry.10000.cpu.median", "warm.registry.1.cpu.median"), |value| format!(
            "{value:.2}"
        )),
        200 * 10 + 9,
        shown.over("rss.warm", 1e6, 1),
    );
}

fn batches(text: &mut String, figures: &Figures) {
    let shown = Shown(figures);
    text.push_str(
        "\n### One invocation, receivers that take 50 ms\n\nThe ideal is 50 ms for every 64 deliveries; Node.js is not bound to that, because its peer opens as many connections\n\
         as there are records. The first invocation opens the connections.\n\n\
         | | ideal, ms | first, ms | then, ms | ÷ ideal | memory at most, MB |\n|---|---:|---:|---:|---:|---:|\n",
    );
    let mut row = |label: String, name: &str| {
        let _ = writeln!(
            text,
            "| {label} | {} | {} | {} | {} | {} |",
            shown.over(&format!("{name}.ideal"), 1.0, 0),
            shown.over(&format!("{name}.first"), 1.0, 0),
            shown.median(name, 1.0, 1),
            Shown::with(shown.ratio(&format!("{name}.median"), &format!("{name}.ideal")), |value| format!(
                "{value:.3}"
            )),
            shown.over(&format!("{name}.rss"), 1e6, 1),
        );
    };
    for size in [10, 100, 1000] {
        for name in NAMES {
            row(format!("batch of {size}, {name}"), &format!("batch.{size}.{name}"));
        }
    }
    for size in [1, 10, 50] {
        row(format!("one outcome, {size} destinations, function"), &format!("fanout.{size}"));
    }
}

fn outage(text: &mut String, figures: &Figures) {
    let shown = Shown(figures);
    text.push_str(
        "\n### An outage\n\nTen outcomes with fifty destinations each, none of which takes them; SQS answers after 10 ms, over TLS.\n\n\
         | | ms | of it CPU | connections to SQS | calls | retrying | returned | memory at most, MB |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (label, name) in [
        ("each answers 503", "busy"),
        ("each refuses the connection", "down"),
        ("each refuses the connection, 7 % of a CPU", "down.throttled"),
    ] {
        let one = |what: &str, unit| shown.over(&format!("outage.{name}.{what}"), unit, usize::from(unit > 1.0));
        let _ = writeln!(
            text,
            "| {label} | {} | {} | {} | {} | {} | {} | {} |",
            one("ms", 1.0),
            one("cpu", 1.0),
            one("connections", 1.0),
            one("requests", 1.0),
            one("retrying", 1.0),
            one("returned", 1.0),
            one("rss", 1e6),
        );
    }
}

/// AWS's list prices in us-east-1, x86, in USD.
mod price {
    /// When they were written down here.
    pub(super) const PRICED: &str = "25 November 2026";
    pub(super) const LOG_GIGABYTE: f64 = 0.50;
    pub(super) const SQS_MILLION: f64 = 0.40;
    pub(super) const LAMBDA_MILLION: f64 = 0.20;
    pub(super) const LAMBDA_GB_SECOND: f64 = 0.000_016_666_7;
}

/// Logs, SQS and Lambda of a million deliveries in batches: an outcome is sent once, a batch received and deleted once.
fn delivered(figures: &Figures, batch: f64) -> Option<[f64; 3]> {
    let logs = gigabytes(figures.get("bytes.line.delivered")?) * price::LOG_GIGABYTE;
    let wall = if batch > 1.0 { "batch.10.function.median" } else { "fanout.1.median" };
    Some([logs, (1.0 + 2.0 / batch) * price::SQS_MILLION, invocations(figures.get(wall)?, batch)])
}

/// The same of a million deliveries that are tried 12 times and dead-lettered, in batches of 10: each is written to the
/// retry queue, received 11 times, hidden after each of them but the last, and written to the dead-letter queue.
fn dead_lettered(figures: &Figures) -> Option<[f64; 3]> {
    let [_, sent, once] = delivered(figures, 10.0)?;
    let logs = 12.0 * gigabytes(figures.get("bytes.line.retrying")?) * price::LOG_GIGABYTE;
    let kept = 1.0 + 11.0 / 10.0 + 10.0 + 1.0 + 1.0 / 10.0;
    Some([logs, sent + kept * price::SQS_MILLION, 12.0 * once])
}

/// A million lines.
fn gigabytes(line: f64) -> f64 {
    line * 1e6 / 1e9
}

/// A million records in batches that take so long each.
fn invocations(milliseconds: f64, batch: f64) -> f64 {
    /// What the template gives the function.
    const GIGABYTES: f64 = 0.25;
    let seconds = 1e6 * milliseconds / 1e3 / batch;
    price::LAMBDA_MILLION / batch + seconds * GIGABYTES * price::LAMBDA_GB_SECOND
}

fn money(text: &mut String, figures: &Figures) {
    let _ = write!(
        text,
        "\n### Money\n\nPer million deliveries in USD, us-east-1, x86, 256 MB, receivers that take 50 ms; prices of {}: log ingestion {} a GB,\n\
         SQS {} and Lambda {} a million requests, Lambda {} a GB-second. Each outcome is sent to SQS once and has one\n\
         destination; a batch is received once and deleted once. Lambda's own log lines, empty receives and the free tier\n\
         are not in it.\n\n| | logs | SQS | Lambda | together |\n|---|---:|---:|---:|---:|\n",
        price::PRICED,
        price::LOG_GIGABYTE,
        price::SQS_MILLION,
        price::LAMBDA_MILLION,
        price::LAMBDA_GB_SECOND,
    );
    for (label, costs) in [
        ("delivered, batches of 10", delivered(figures, 10.0)),
        ("delivered, batches of 1", delivered(figures, 1.0)),
        ("dead-lettered after 12 attempts, each answered with 503, batches of 10", dead_lettered(figures)),
    ] {
        let show = |cost: Option<f64>| Shown::with(cost, |cost| format!("{cost:.2}"));
        let [logs, sqs, lambda] = [0, 1, 2].map(|term| show(costs.map(|costs| costs[term])));
        let together = show(costs.map(|costs| costs.iter().sum()));
        let _ = writeln!(text, "| {label} | {logs} | {sqs} | {lambda} | {together} |");
    }
}
