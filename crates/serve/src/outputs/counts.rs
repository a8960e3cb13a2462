//! What outputs lost, and whether they reach those they tell.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What outputs lost since the start, and whether they reach those they tell. An output that could not keep up with the hub itself
/// counts all the messages that it missed, frames too.
#[derive(Debug, Default)]
pub struct OutputCounts {
    /// Messages that became no JSON line: the output was too slow, or the file could not be written.
    pub lines_dropped: AtomicU64,
    /// Whether the broker has taken us.
    pub mqtt_connected: AtomicBool,
    /// Events that the broker did not take: it was away, or too slow.
    pub mqtt_dropped: AtomicU64,
    /// Events that the webhook did not take, after all attempts, or because too many waited.
    pub webhook_dropped: AtomicU64,
    mqtt_trouble: Mutex<Option<String>>,
    webhook_trouble: Mutex<Option<String>>,
}

impl OutputCounts {
    /// Why the broker is not reached; none while it is.
    pub fn mqtt_trouble(&self) -> Option<String> {
        self.mqtt_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the webhook took no event of late; none once it took one.
    pub fn webhook_trouble(&self) -> Option<String> {
        self.webhook_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The broker is reached, or not for this reason.
    pub(super) fn set_mqtt(&self, trouble: Option<String>) {
        self.mqtt_connected.store(trouble.is_none(), Ordering::Relaxed);
        *self.mqtt_trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// The webhook takes events, or not for this reason.
    pub(super) fn set_webhook(&self, trouble: Option<String>) {
        *self.webhook_trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
