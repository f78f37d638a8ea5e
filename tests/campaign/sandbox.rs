//! A process of the function, and what happens to it.

use std::collections::HashMap;
use std::time::Duration;

use crate::ledger::{Handed, Ledger};
use crate::support::runtime::{OwnRuntime, Told};

/// What happens to the process during an invocation.
pub(crate) enum Harm {
    None,
    KillAfter(Duration),
    /// Between a receiver's 2xx and the answer.
    KillWhenTaken,
    Freeze(Duration, Duration),
    /// Frozen until Lambda's patience is over.
    FreezeForGood(Duration),
}

/// One process of the function.
pub(crate) struct Sandbox {
    pub(crate) runtime: OwnRuntime,
    pub(crate) answered: HashMap<String, Vec<Handed>>,
    /// It cannot start a thread, so that looking a name up panics.
    pub(crate) cramped: bool,
}

/// Invokes, and does the process the harm; the error is the fault that ended it.
pub(crate) async fn suffer(
    runtime: &OwnRuntime,
    event: &str,
    left: Duration,
    harm: &Harm,
    ledger: &Ledger,
    outcomes: &[usize],
) -> Result<Told, &'static str> {
    let invocation = runtime.invoke(event, left);
    tokio::pin!(invocation);
    let gone = async {
        while !runtime.is_gone() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match harm {
        Harm::None => {}
        Harm::KillAfter(wait) => {
            return tokio::select! {
                told = &mut invocation => Ok(told),
                () = tokio::time::sleep(*wait) => { runtime.signal("-KILL").await; Err("SIGKILL") }
            };
        }
        Harm::KillWhenTaken => {
            let taken = ledger.watch(outcomes);
            return tokio::select! {
                told = &mut invocation => Ok(told),
                () = taken.notified() => { runtime.signal("-KILL").await; Err("SIGKILL after a 2xx") }
            };
        }
        Harm::Freeze(wait, length) => {
            tokio::select! {
                biased;
                told = &mut invocation => return Ok(told),
                () = tokio::time::sleep(*wait) => {}
            }
            runtime.signal("-STOP").await;
            tokio::time::sleep(*length).await;
            runtime.signal("-CONT").await;
            ledger.count("freeze");
            ledger.excuse(outcomes);
        }
        Harm::FreezeForGood(wait) => {
            tokio::select! {
                biased;
                told = &mut invocation => return Ok(told),
                () = tokio::time::sleep(*wait) => {}
            }
            runtime.signal("-STOP").await;
            tokio::time::sleep(left).await;
            runtime.signal("-KILL").await;
            return Err("frozen past the deadline");
        }
    }
    tokio::select! {
        told = &mut invocation => Ok(told),
        () = gone => Err("went away"),
    }
}
