//! How late frames are by their source's own clock: what the decoder and the pipe held them back.
use std::time::{Duration, Instant};

/// Frames further behind than this were not held back: the source sent none.
const GAP: Duration = Duration::from_secs(2);

/// So many frames in a row that come early are a new beat. Fewer are what a decoder held back until its file's end, where it gives all
/// at once.
const NEW_BEAT_FRAMES: u32 = 8;

/// Compares the arrival of frames with when they were due, counted from the one that was fastest.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Option<Duration>,
    /// When the frame after the last one is due at the earliest.
    due: Option<Instant>,
    /// Frames in a row that came early by more than half of the interval.
    early: u32,
}

impl Pace {
    /// Of a source of so many frames a second; where that is not known, no frame is late.
    pub(crate) fn new(fps: Option<f64>) -> Self {
        // Rates of thousands a second are time bases, not rates.
        let interval =
            fps.filter(|fps| *fps <= 240.0).map(|fps| Duration::from_secs_f64(1.0 / fps));
        Self { interval, due: None, early: 0 }
    }

    /// How late the next frame is, in milliseconds.
    pub(crate) fn late_ms(&mut self, now: Instant) -> f64 {
        let Some(interval) = self.interval else { return 0.0 };
        let due = self.due.unwrap_or(now);
        let late = now.saturating_duration_since(due);
        self.early = if now + interval / 2 < due { self.early + 1 } else { 0 };
        if (1..NEW_BEAT_FRAMES).contains(&self.early) {
            self.due = Some(due + interval);
            return 0.0;
        }
        // A frame that comes early shows that those before were late; after a gap the count begins anew.
        let from = if now < due || late > GAP { now } else { due };
        self.due = Some(from + interval);
        if late > GAP { 0.0 } else { late.as_secs_f64() * 1e3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_ms_counts_from_the_fastest_frame_and_anew_after_a_gap() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(10.0));
        let mut late = |ms: u64| pace.late_ms(start + Duration::from_millis(ms)).round();
        assert_eq!([late(0), late(100), late(230), late(300)], [0.0, 0.0, 30.0, 0.0]);
        // 20 ms earlier than the fastest before.
        assert_eq!([late(380), late(500)], [0.0, 20.0]);
        assert_eq!([late(5000), late(5100)], [0.0, 0.0]);
        // One that was held back until the end of a file comes with the one before; the next ones come as ever.
        assert_eq!([late(5200), late(5201), late(5410)], [0.0, 0.0, 10.0]);
        // A new beat, half a second earlier.
        let early: Vec<f64> = (0..8).map(|i| late(5500 + 100 * i - 450)).collect();
        assert_eq!(early, [0.0; 8]);
        assert_eq!([late(5850), late(5970)], [0.0, 20.0]);
        assert_eq!(Pace::new(None).late_ms(start), 0.0);
    }
}
