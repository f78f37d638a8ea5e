//! Which origins may keep idle connections open.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Origins whose connections stay open for the next request. Lambda allows 1,024 file descriptors, and an idle
/// connection of each of a thousand origins uses them up.
const KEPT: usize = 256;

/// The first origins that requests went to, at most 256 of them.
#[derive(Debug, Default)]
pub(super) struct Origins(Mutex<HashSet<String>>);

impl Origins {
    /// Whether a connection to this origin (`scheme://host[:port]`) is kept; else the request carries
    /// `Connection: close`.
    pub(super) fn keep_alive(&self, origin: &str) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.contains(origin) || (kept.len() < KEPT && kept.insert(origin.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_256_origins_keep_their_connections() {
        let origins = Origins::default();
        let origin = |n: usize| format!("https://{n}.example");
        for _ in 0..2 {
            let kept = (0..1000).filter(|n| origins.keep_alive(&origin(*n))).count();
            assert_eq!(kept, KEPT);
        }
        assert!(origins.keep_alive(&origin(0)) && !origins.keep_alive(&origin(KEPT)));
    }
}
