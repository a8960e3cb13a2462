//! What is known of a source: its state, its counters, how fast it was of late.
use crate::Location;
use crate::message::{SourceState, Timing};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rates are those of the last seconds.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Percentiles are those of the last frames.
const TIMINGS: usize = 1024;

/// What is known of a source.
#[derive(Debug)]
pub struct SourceStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Where its pictures come from; it shows itself without secrets.
    pub location: Location,
    /// Counters since the start.
    pub counts: Counts,
    recent: Mutex<Recent>,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Frames that the decoder sent.
    pub received: AtomicU64,
    /// Frames that were looked at.
    pub detected: AtomicU64,
    /// Frames that a newer one took the place of.
    pub dropped: AtomicU64,
    /// Frames that were no live pictures: green, frozen, damaged.
    pub rejected: AtomicU64,
    /// Starts of the decoder after the first one.
    pub restarts: AtomicU64,
    /// Bytes of frames that the decoder sent.
    pub bytes: AtomicU64,
}

#[derive(Debug)]
struct Recent {
    state: SourceState,
    size_px: Option<[usize; 2]>,
    input_px: Option<[usize; 2]>,
    colours: Option<String>,
    source_fps: Option<f64>,
    received: VecDeque<Instant>,
    detected: VecDeque<Instant>,
    dropped: VecDeque<Instant>,
    timings: VecDeque<Timing>,
    decoder_pid: Option<u32>,
}

/// What is known of a source at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// Its name.
    pub name: Arc<str>,
    /// Where its pictures come from, without secrets.
    pub location: String,
    /// Its state.
    #[serde(flatten)]
    pub state: SourceState,
    /// Width and height of its frames.
    pub size_px: Option<[usize; 2]>,
    /// Height and width of the network's input, fitted to its frames where the model allows that.
    pub input_px: Option<[usize; 2]>,
    /// How its samples are read, such as `BT.709 limited`.
    pub colours: Option<String>,
    /// Frames a second that it says to send.
    pub source_fps: Option<f64>,
    /// Frames a second that came of late.
    pub camera_fps: f64,
    /// Frames a second that were looked at of late.
    pub process_fps: f64,
    /// Frames a second that a newer one took the place of.
    pub skipped_fps: f64,
    /// Frames that the decoder sent, since the start.
    pub received: u64,
    /// Frames that were looked at.
    pub detected: u64,
    /// Frames that a newer one took the place of.
    pub dropped: u64,
    /// Frames that were no live pictures.
    pub rejected: u64,
    /// Starts of the decoder after the first one.
    pub restarts: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// The decoder's process.
    pub decoder_pid: Option<u32>,
    /// Times of the last frames; none before the first.
    pub timing: Option<TimingReport>,
}

/// Times of the last frames.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TimingReport {
    /// Means of each part.
    pub mean: Timing,
    /// Half of the frames took no longer in all, in milliseconds.
    pub p50_ms: f64,
    /// 99 in 100 frames took no longer in all, in milliseconds.
    pub p99_ms: f64,
}

impl SourceStatus {
    /// Of a source that was not started yet.
    pub(crate) fn new(name: &str, location: &Location) -> Self {
        let recent = Recent {
            state: SourceState::Starting,
            size_px: None,
            input_px: None,
            colours: None,
            source_fps: None,
            received: VecDeque::new(),
            detected: VecDeque::new(),
            dropped: VecDeque::new(),
            timings: VecDeque::new(),
            decoder_pid: None,
        };
        Self {
            name: name.into(),
            location: location.clone(),
            counts: Counts::default(),
            recent: Mutex::new(recent),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its state.
    pub fn state(&self) -> SourceState {
        self.recent().state.clone()
    }

    /// Sets its state; true where it is another than before.
    pub(crate) fn set_state(&self, state: &SourceState) -> bool {
        let recent = &mut *self.recent();
        let same_reason = match (&recent.state, state) {
            // A detail that changes is no other state.
            (SourceState::Down { reason, .. }, SourceState::Down { reason: now, .. }) => {
                reason == now
            }
            (before, now) => before == now,
        };
        recent.state = state.clone();
        !same_reason
    }

    pub(crate) fn set_stream(&self, size_px: [usize; 2], colours: String, fps: Option<f64>) {
        let recent = &mut *self.recent();
        recent.size_px = Some(size_px);
        recent.colours = Some(colours);
        recent.source_fps = fps;
    }

    pub(crate) fn set_decoder(&self, pid: Option<u32>) {
        self.recent().decoder_pid = pid;
    }

    /// A frame came: its number.
    pub(crate) fn received(&self, bytes: usize, now: Instant) -> u64 {
        self.counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        mark(&mut self.recent().received, now);
        self.counts.received.fetch_add(1, Ordering::Relaxed)
    }

    /// A newer frame took the place of one.
    pub(crate) fn dropped(&self, now: Instant) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        mark(&mut self.recent().dropped, now);
    }

    /// A frame was looked at.
    pub(crate) fn detected(&self, timing: Timing, input_px: [usize; 2], now: Instant) {
        self.counts.detected.fetch_add(1, Ordering::Relaxed);
        let recent = &mut *self.recent();
        mark(&mut recent.detected, now);
        recent.input_px = Some(input_px);
        if recent.timings.len() == TIMINGS {
            recent.timings.pop_front();
        }
        recent.timings.push_back(timing);
    }

    /// Times of the last frames.
    pub(crate) fn timings(&self) -> Vec<Timing> {
        self.recent().timings.iter().copied().collect()
    }

    /// Begins the times anew.
    pub(crate) fn forget_timings(&self) {
        self.recent().timings.clear();
    }

    /// What is known of it now.
    pub fn report(&self) -> SourceReport {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = Instant::now();
        let recent = self.recent();
        SourceReport {
            name: Arc::clone(&self.name),
            location: self.location.to_string(),
            state: recent.state.clone(),
            size_px: recent.size_px,
            input_px: recent.input_px,
            colours: recent.colours.clone(),
            source_fps: recent.source_fps,
            camera_fps: rate(&recent.received, now),
            process_fps: rate(&recent.detected, now),
            skipped_fps: rate(&recent.dropped, now),
            received: count(&self.counts.received),
            detected: count(&self.counts.detected),
            dropped: count(&self.counts.dropped),
            rejected: count(&self.counts.rejected),
            restarts: count(&self.counts.restarts),
            bytes: count(&self.counts.bytes),
            decoder_pid: recent.decoder_pid,
            timing: timing(recent.timings.iter().copied()),
        }
    }
}

/// Adds a moment, and forgets those that are too old.
fn mark(moments: &mut VecDeque<Instant>, now: Instant) {
    moments.push_back(now);
    while moments.front().is_some_and(|first| now.duration_since(*first) > RATE_WINDOW) {
        moments.pop_front();
    }
}

/// Moments a second of late.
fn rate(moments: &VecDeque<Instant>, now: Instant) -> f64 {
    let recent = moments.iter().rev().take_while(|m| now.duration_since(**m) <= RATE_WINDOW);
    recent.count() as f64 / RATE_WINDOW.as_secs_f64()
}

/// Means and percentiles; none without a frame.
pub(crate) fn timing(timings: impl IntoIterator<Item = Timing>) -> Option<TimingReport> {
    let timings: Vec<Timing> = timings.into_iter().collect();
    let mut totals: Vec<f64> = timings.iter().map(|timing| timing.total_ms).collect();
    totals.sort_by(f64::total_cmp);
    let last = totals.len().checked_sub(1)?;
    let at = |share: f64| totals[(share * last as f64).round() as usize];
    let mean =
        |part: fn(&Timing) -> f64| timings.iter().map(part).sum::<f64>() / totals.len() as f64;
    let mean = Timing {
        late_ms: mean(|t| t.late_ms),
        waited_ms: mean(|t| t.waited_ms),
        preprocess_ms: mean(|t| t.preprocess_ms),
        inference_ms: mean(|t| t.inference_ms),
        postprocess_ms: mean(|t| t.postprocess_ms),
        total_ms: mean(|t| t.total_ms),
    };
    Some(TimingReport { mean, p50_ms: at(0.5), p99_ms: at(0.99) })
}
