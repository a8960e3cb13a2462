//! Runs whenever there is a new commit, until it is told to end.
use super::{Outcome, Pipeline};
use crate::DeliverError;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait after failures that may pass.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// How often a commit is tried at which a program crashes: perhaps memory was short.
const CRASHES: u32 = 3;
/// How soon an end is noticed.
const LOOK: Duration = Duration::from_millis(50);

impl Pipeline {
    /// Runs at once, and then at each new commit. A run that failed for good is not tried again before there is another commit, or
    /// the watch begins anew; one that failed for a reason that may pass is, after longer and longer waits. `done` hears of each run.
    ///
    /// # Errors
    /// `Interrupted`, when it is told to end; nothing else ends it.
    pub fn watch(
        &self,
        tell: &(dyn Fn(&str) + Sync),
        done: &mut dyn FnMut(&Outcome),
    ) -> Result<(), DeliverError> {
        let mut finished: Option<String> = None;
        let (mut failures, mut crashes) = (0_u32, 0_u32);
        loop {
            let tip = match self.tip(tell) {
                Ok(tip) => tip,
                Err(DeliverError::Interrupted) => return Err(DeliverError::Interrupted),
                Err(error) => {
                    failures += 1;
                    tell(&format!("watch: {error}"));
                    self.wait(self.pause(failures))?;
                    continue;
                }
            };
            if finished.as_ref() == Some(&tip) {
                failures = 0;
                self.wait(self.settings.poll())?;
                continue;
            }
            let outcome = self.run(tell);
            if matches!(outcome.error, Some(DeliverError::Interrupted)) {
                return Err(DeliverError::Interrupted);
            }
            done(&outcome);
            let may_pass = outcome.error.as_ref().is_some_and(DeliverError::may_pass);
            let crashed = matches!(outcome.error, Some(DeliverError::Child { .. }));
            crashes = if crashed { crashes + 1 } else { 0 };
            if may_pass && crashes < CRASHES {
                failures += 1;
                self.wait(self.pause(failures))?;
                continue;
            }
            (failures, crashes) = (0, 0);
            finished = Some(outcome.tip.unwrap_or(tip));
        }
    }

    /// Twice as long after each failure, up to a limit, and not the same for two pipelines that failed together.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = self.settings.poll() * 2_u32.saturating_pow(failures.min(16) - 1);
        let share = RandomState::new().build_hasher().finish() % 1000;
        doubled.min(LONGEST_WAIT).mul_f64(0.75 + share as f64 / 2000.0)
    }

    fn wait(&self, how_long: Duration) -> Result<(), DeliverError> {
        let begun = Instant::now();
        while begun.elapsed() < how_long {
            if self.stop.load(Ordering::Relaxed) {
                return Err(DeliverError::Interrupted);
            }
            thread::sleep(LOOK.min(how_long));
        }
        Ok(())
    }
}
