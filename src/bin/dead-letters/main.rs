//! `dead-letters`: lists what waits for a person in the dead-letter queue, and delivers a part of it once more.
//!
//! AWS's own redrive moves all or nothing; this one filters, previews, and deletes nothing before it is sent.

mod letters;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_sdk_sqs::Client;
use clap::{Args, Parser, Subcommand};
use detection_outcome_handler::outbound::{aws, tls};

use letters::{HOLD_FOR_LIST, HOLD_FOR_REDRIVE, Letter, Queue};

/// Lists and redrives the dead letters of the detection outcome handler.
#[derive(Parser)]
#[command(name = "dead-letters", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what waits, by destination and code, with the oldest of each
    List(#[command(flatten)] Selection),
    /// Deliver once more what is selected; it is shown first, and nothing is deleted before it is sent
    Redrive {
        #[command(flatten)]
        selection: Selection,
        /// Queue that takes it from here: the stack's output RetryQueueUrl
        #[arg(long, env = "RETRY_QUEUE_URL", value_name = "URL")]
        retry_queue_url: String,
        /// Send it to this destination instead of its own
        #[arg(long, value_name = "ID", value_parser = destination_id)]
        to: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
struct Selection {
    /// Queue to look into: the stack's output DeadLetterQueueUrl
    #[arg(long, env = "DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    dead_letter_queue_url: String,
    /// Only dead letters for this destination; `-` for those of whole outcomes
    #[arg(long, value_name = "ID")]
    destination: Option<String>,
    /// Only dead letters with this code, such as `tls_expired` (docs/failures.md lists them)
    #[arg(long)]
    code: Option<String>,
    /// Only dead letters that are older than this, such as 30m, 2h or 3days
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

fn destination_id(text: &str) -> Result<String, &'static str> {
    use detection_outcome_handler::domain::destination::{ID_EXPECTED, is_id};
    if is_id(text) { Ok(text.to_owned()) } else { Err(ID_EXPECTED) }
}

impl Selection {
    fn takes(&self, letter: &Letter, now: SystemTime) -> bool {
        // As the list shows what has none.
        let is = |wanted: &Option<String>, found: &Option<String>| match wanted.as_deref() {
            None => true,
            Some("-") => found.is_none(),
            wanted => wanted == found.as_deref(),
        };
        is(&self.destination, &letter.destination)
            && is(&self.code, &letter.code)
            && self.older_than.is_none_or(|age| letter.age(now) >= age)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("dead-letters: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), String> {
    let tls = tls::config(&tls::Authorities::new()).map_err(|error| error.to_string())?;
    let http = aws::http_client(&tls).map_err(|error| error.to_string())?;
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let client = Client::new(&config);
    let (Command::List(selection) | Command::Redrive { selection, .. }) = &cli.command;
    let queue = Queue::new(client.clone(), &selection.dead_letter_queue_url);
    let is_list = matches!(cli.command, Command::List(_));
    let letters = queue.read_all(if is_list { HOLD_FOR_LIST } else { HOLD_FOR_REDRIVE }).await?;
    let now = SystemTime::now();
    let (selected, rest): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| selection.takes(letter, now));
    // Whoever comes next can see at once what is not taken.
    queue.release(&rest).await;
    if is_list {
        // Before anything is shown: whoever reads it may end this program.
        queue.release(&selected).await;
    }
    show(&table(&selected, now));
    match &cli.command {
        Command::List(_) => {}
        Command::Redrive { yes, .. } if !(*yes || selected.is_empty() || agreed(selected.len())) => {
            queue.release(&selected).await;
            show("nothing was changed\n");
        }
        Command::Redrive { retry_queue_url, to, .. } => {
            redrive(&queue, &selected, retry_queue_url, to.as_deref()).await?;
        }
    }
    Ok(())
}

/// Writes to standard output; that nobody reads it any more is no failure.
fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A table by destination and code.
fn table(letters: &[Letter], now: SystemTime) -> String {
    let mut groups: BTreeMap<(&str, &str), (usize, Duration)> = BTreeMap::new();
    for letter in letters {
        let key = (letter.destination.as_deref().unwrap_or("-"), letter.code.as_deref().unwrap_or("-"));
        let (count, oldest) = groups.entry(key).or_default();
        *count += 1;
        *oldest = (*oldest).max(letter.age(now));
    }
    let mut text = format!("{:>6}  {:<24} {:<24} oldest\n", "count", "destination", "code");
    for ((destination, code), (count, oldest)) in groups {
        let oldest = humantime::format_duration(Duration::from_secs(oldest.as_secs()));
        text += &format!("{count:>6}  {destination:<24} {code:<24} {oldest}\n");
    }
    text + &format!("{:>6}  in all\n", letters.len())
}

fn agreed(count: usize) -> bool {
    show(&format!("deliver these {count} once more? [y/N] "));
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

async fn redrive(queue: &Queue, letters: &[Letter], retry_queue_url: &str, to: Option<&str>) -> Result<(), String> {
    let mut moved = 0;
    for letter in letters {
        if let Err(reason) = queue.redrive(letter, retry_queue_url, to).await {
            queue.release(&letters[moved..]).await;
            return Err(format!("{moved} of {} are on their way, then: {reason}", letters.len()));
        }
        moved += 1;
        if moved % 100 == 0 {
            show(&format!("{moved} of {}\n", letters.len()));
        }
    }
    show(&format!("{moved} are on their way; the function's log says what becomes of them\n"));
    Ok(())
}
