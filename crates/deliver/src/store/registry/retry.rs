//! What is tried again, and when.
use super::super::Patience;
use crate::DeliverError;
use std::hash::{BuildHasher, RandomState};
use std::thread::sleep;
use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: DeliverError,
    /// Whether another attempt may succeed.
    pub(super) passing: bool,
    /// The wait that the registry asks for.
    pub(super) wait: Option<Duration>,
}

impl Failure {
    /// Nothing that passes.
    pub(super) fn last(error: DeliverError) -> Self {
        Self { error, passing: false, wait: None }
    }

    /// What another attempt may get over.
    pub(super) fn passing(error: DeliverError) -> Self {
        Self { error, passing: true, wait: None }
    }
}

/// Attempts at one thing.
pub(super) struct Attempts {
    patience: Patience,
    made: u32,
}

impl Attempts {
    /// None made yet.
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, made: 0 }
    }

    /// Waits until it is time for another attempt.
    ///
    /// # Errors
    /// The failure's, where it does not pass or there were enough attempts.
    pub(super) fn again(&mut self, failure: Failure) -> Result<(), DeliverError> {
        self.made += 1;
        if !failure.passing || self.made >= self.patience.attempts {
            return Err(failure.error);
        }
        sleep(self.wait(failure.wait, random_share()));
        Ok(())
    }

    /// Between half of the wait and all of it, so that a fleet that failed together does not come back together.
    fn wait(&self, asked: Option<Duration>, share: f64) -> Duration {
        let Patience { first_wait, longest_wait, .. } = self.patience;
        let doubled = first_wait.saturating_mul(1 << (self.made - 1).min(16));
        let own = doubled.min(longest_wait).mul_f64(0.5 + share / 2.0);
        asked.unwrap_or_default().min(longest_wait).max(own)
    }
}

/// From 0 to below 1; the standard library seeds each of its hashers anew.
fn random_share() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_up_to_the_longest_and_follows_what_the_registry_asks() {
        let seconds = Duration::from_secs;
        let patience = Patience {
            first_wait: seconds(1),
            longest_wait: seconds(10),
            attempts: 9,
            ..Patience::default()
        };
        let wait = |made, asked, share| Attempts { patience, made }.wait(asked, share);
        assert_eq!(wait(1, None, 1.0), seconds(1));
        assert_eq!(wait(3, None, 1.0), seconds(4));
        assert_eq!(wait(3, None, 0.0), seconds(2));
        assert_eq!(wait(40, None, 1.0), seconds(10));
        assert_eq!(wait(1, Some(seconds(7)), 1.0), seconds(7));
        assert_eq!(wait(1, Some(seconds(3600)), 1.0), seconds(10));
    }

    #[test]
    fn attempts_end_where_nothing_passes_or_enough_were_made() {
        let patience = Patience { attempts: 3, first_wait: Duration::ZERO, ..Patience::default() };
        let error = || DeliverError::Key { path: "x".into(), why: String::new() };
        let mut attempts = Attempts::new(patience);
        assert!(attempts.again(Failure::last(error())).is_err());
        let mut attempts = Attempts::new(patience);
        let made = (0..9).take_while(|_| attempts.again(Failure::passing(error())).is_ok());
        assert_eq!(made.count(), 2);
    }
}
