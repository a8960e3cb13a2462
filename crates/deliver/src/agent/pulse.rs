//! How the agent waits, is told to stop, and tells systemd that it lives.
use crate::{DeliverError, Digest};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait after polls that failed.
const LONGEST: Duration = Duration::from_secs(900);

/// Ends waits, and tells systemd of them.
#[derive(Debug)]
pub struct Pulse {
    stopped: Mutex<bool>,
    changed: Condvar,
    /// How often systemd wants to hear, where it does.
    watchdog: Option<Duration>,
}

impl Default for Pulse {
    fn default() -> Self {
        // Twice as often as it must be, as systemd's documentation advises.
        let watchdog = sd_notify::watchdog_enabled().map(|period| period / 2);
        Self { stopped: Mutex::new(false), changed: Condvar::new(), watchdog }
    }
}

impl Pulse {
    /// Ends the wait that is going on, and every later one.
    pub fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Refuses to go on once all is to stop; what takes long asks now and then.
    ///
    /// # Errors
    /// `Stopped`.
    pub(crate) fn beat(&self) -> Result<(), DeliverError> {
        if self.watchdog.is_some() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        self.wait(Duration::ZERO)
    }

    /// Waits.
    ///
    /// # Errors
    /// `Stopped`, as soon as all is to stop.
    pub(crate) fn wait(&self, time: Duration) -> Result<(), DeliverError> {
        let end = Instant::now() + time;
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if *stopped {
                return Err(DeliverError::Stopped);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if self.watchdog.is_some() {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
            let part = self.watchdog.map_or(left, |period| period.min(left));
            let waited = self.changed.wait_timeout(stopped, part);
            stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells systemd that the agent is at work.
    pub(crate) fn ready(&self) {
        // Without systemd nobody listens, which is no error.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Tells systemd what the agent does.
    pub(crate) fn status(&self, text: &str) {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(text)]);
    }
}

/// Waits between polls, each a little different, so that a fleet does not ask all at once.
#[derive(Debug)]
pub(crate) struct Pauses {
    device: String,
    count: u64,
}

impl Pauses {
    /// Of a device: others have others.
    pub(crate) fn new(device: &str) -> Self {
        Self { device: device.to_owned(), count: 0 }
    }

    /// The next wait, from 0.8 to 1.2 of the period, which is doubled for each poll in turn that failed.
    pub(crate) fn next(&mut self, period: Duration, failures: u32) -> Duration {
        self.count += 1;
        let drawn = Digest::of(format!("{} {}", self.device, self.count).as_bytes()).hex();
        let share =
            u32::from_str_radix(&drawn[..6], 16).map_or(0.5, |n| f64::from(n) / 16_777_215.0);
        let doubled = period.saturating_mul(1 << failures.min(20));
        doubled.min(LONGEST.max(period)).mul_f64(0.8 + 0.4 * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_cap_and_differ_between_devices() {
        let period = Duration::from_secs(60);
        let (mut a, mut b) = (Pauses::new("a"), Pauses::new("b"));
        assert_ne!(a.next(period, 0), b.next(period, 0));
        for (failures, expected_s) in [(0, 60.0), (1, 120.0), (3, 480.0), (5, 900.0), (90, 900.0)] {
            let share = a.next(period, failures).as_secs_f64() / expected_s;
            assert!((0.8..=1.2).contains(&share), "{failures}: {share}");
        }
        let day = Duration::from_secs(86_400);
        assert!(a.next(day, 9) >= day.mul_f64(0.8), "never sooner than was asked for");
    }

    #[test]
    fn wait_ends_when_all_is_to_stop() {
        let pulse = std::sync::Arc::new(Pulse::default());
        assert!(pulse.wait(Duration::from_millis(1)).is_ok());
        let waiting = {
            let pulse = std::sync::Arc::clone(&pulse);
            std::thread::spawn(move || pulse.wait(Duration::from_secs(3600)))
        };
        pulse.stop();
        let ended = waiting.join().expect("it ends");
        assert!(matches!(ended, Err(DeliverError::Stopped)));
    }
}
