//! Who is looked at next. One slot a source holds its latest frame: a newer one takes its place, and nothing is queued.
use crate::frame::{Frame, Picture};
use crate::request::Request;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests that wait at most; a caller of one more is told to come back later.
const MOST_WAITING: usize = 64;

/// What a session does next.
#[derive(Debug)]
pub(crate) enum Work {
    /// A frame of a source.
    Frame(usize, Frame),
    /// An image that was posted.
    Request(Request),
}

/// The slots of all sources, and the requests that wait.
#[derive(Debug)]
pub(crate) struct Dispatch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    requests: VecDeque<Request>,
    /// Whether the last work was a request: frames and requests take turns.
    request_was_last: bool,
    /// Counts what was handed out, so that the source that waits longest is next.
    turn: u64,
    /// The least time between two frames of a source, whatever its own rate: how heat is kept down.
    pause: Duration,
    stopped: bool,
}

/// One source's slot.
#[derive(Debug, Default)]
struct Lane {
    latest: Option<Frame>,
    /// Memory of frames that were done with.
    spare: Vec<Vec<u8>>,
    /// Whether a session looks at a frame of it: one at a time, so that results keep the order of frames.
    busy: bool,
    served: u64,
    interval: Duration,
    due: Option<Instant>,
}

impl Lane {
    fn ready(&self, now: Instant) -> bool {
        self.latest.is_some() && !self.busy && self.due.is_none_or(|due| due <= now)
    }

    fn keep(&mut self, frame: Frame) {
        // One is being filled, one waits, one is looked at.
        if let Picture::Yuv { bytes, .. } = frame.picture
            && self.spare.len() < 2
        {
            self.spare.push(bytes);
        }
    }
}

impl Dispatch {
    /// Empty slots, one for each source, by the most frames a second that are looked at.
    pub(crate) fn new(rates: impl IntoIterator<Item = Option<f64>>) -> Self {
        let lane = |fps: Option<f64>| Lane {
            interval: fps.map_or(Duration::ZERO, |fps| Duration::from_secs_f64(1.0 / fps)),
            ..Lane::default()
        };
        let state = State {
            lanes: rates.into_iter().map(lane).collect(),
            requests: VecDeque::new(),
            request_was_last: false,
            turn: 0,
            pause: Duration::ZERO,
            stopped: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for the next frame of a source.
    pub(crate) fn memory(&self, source: usize) -> Vec<u8> {
        self.lock().lanes[source].spare.pop().unwrap_or_default()
    }

    /// Offers a source's newest frame. True where an older one had not been looked at, and never will be.
    pub(crate) fn put(&self, source: usize, frame: Frame) -> bool {
        let mut state = self.lock();
        let lane = &mut state.lanes[source];
        let older = lane.latest.replace(frame);
        let dropped = older.is_some();
        older.into_iter().for_each(|frame| lane.keep(frame));
        drop(state);
        self.changed.notify_one();
        dropped
    }

    /// Forgets a source's frame and memory: a camera that is away costs nothing.
    pub(crate) fn clear(&self, source: usize) {
        let lane = &mut self.lock().lanes[source];
        lane.latest = None;
        lane.spare = Vec::new();
    }

    /// Whether a frame of a source waits, or is looked at.
    pub(crate) fn is_at_work(&self, source: usize) -> bool {
        let state = self.lock();
        let lane = &state.lanes[source];
        !state.stopped && (lane.busy || lane.latest.is_some())
    }

    /// The next work, when there is some; none once stopped.
    pub(crate) fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let now = Instant::now();
            if let Some(work) = state.take(now) {
                return Some(work);
            }
            let due = state.lanes.iter().filter(|lane| lane.latest.is_some() && !lane.busy);
            let due = due.filter_map(|lane| lane.due).min();
            // Without a due frame, only a change can give work.
            let wait =
                due.map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(now));
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Says that a frame was looked at, and gives its memory back.
    pub(crate) fn done(&self, source: usize, frame: Frame) {
        let mut state = self.lock();
        let lane = &mut state.lanes[source];
        lane.busy = false;
        lane.keep(frame);
        drop(state);
        self.changed.notify_one();
    }

    /// Adds a request, or gives it back where too many wait, or none will be answered any more.
    pub(crate) fn submit(&self, request: Request) -> Result<(), Request> {
        let mut state = self.lock();
        if state.stopped || state.requests.len() >= MOST_WAITING {
            return Err(request);
        }
        state.requests.push_back(request);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Sets the least time between two frames of any one source.
    pub(crate) fn set_pause(&self, pause: Duration) {
        self.lock().pause = pause;
    }

    /// How often work was handed out.
    pub(crate) fn turns(&self) -> u64 {
        self.lock().turn
    }

    /// Whether a session could work now, or does.
    pub(crate) fn has_work(&self) -> bool {
        let state = self.lock();
        let now = Instant::now();
        !state.requests.is_empty() || state.lanes.iter().any(|lane| lane.busy || lane.ready(now))
    }

    /// Ends the wait of all sessions.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }
}

impl State {
    fn take(&mut self, now: Instant) -> Option<Work> {
        let ready = self.lanes.iter().enumerate().filter(|(_, lane)| lane.ready(now));
        let source = ready.min_by_key(|(_, lane)| lane.served).map(|(source, _)| source);
        if (source.is_none() || !self.request_was_last)
            && let Some(request) = self.requests.pop_front()
        {
            self.request_was_last = true;
            self.turn += 1;
            return Some(Work::Request(request));
        }
        self.request_was_last = false;
        let source = source?;
        self.turn += 1;
        let pause = self.pause;
        let lane = &mut self.lanes[source];
        lane.busy = true;
        lane.served = self.turn;
        let interval = lane.interval.max(pause);
        // From when it was due, so that a wait does not lower the rate; never so far back that frames come in a burst.
        let earliest = now.checked_sub(interval).unwrap_or(now);
        let from = lane.due.map_or(now, |due| due.max(earliest));
        lane.due = (!interval.is_zero()).then(|| from + interval);
        lane.latest.take().map(|frame| Work::Frame(source, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use std::time::SystemTime;

    fn frame(number: u64) -> Frame {
        let picture = Picture::Rgb(RgbImage::new(1, 1));
        let (arrived, arrived_at) = (Instant::now(), SystemTime::now());
        Frame { picture, number, arrived, arrived_at, late_ms: 0.0 }
    }

    fn take(dispatch: &Dispatch, now: Instant) -> Option<(usize, u64)> {
        match dispatch.lock().take(now) {
            Some(Work::Frame(source, frame)) => Some((source, frame.number)),
            _ => None,
        }
    }

    #[test]
    fn put_over_a_frame_that_waits_drops_the_older_one() {
        let dispatch = Dispatch::new([None]);
        assert!(!dispatch.put(0, frame(0)));
        assert!(dispatch.put(0, frame(1)));
        assert_eq!(take(&dispatch, Instant::now()), Some((0, 1)));
        assert_eq!(take(&dispatch, Instant::now()), None);
    }

    #[test]
    fn take_of_busy_sources_waits_and_serves_the_longest_waiting_first() {
        let dispatch = Dispatch::new([None, None]);
        let now = Instant::now();
        for number in 0..3 {
            dispatch.put(0, frame(number));
            assert_eq!(take(&dispatch, now), Some((0, number)));
            // The source has a frame in flight: its next one waits, so that results keep their order.
            dispatch.put(0, frame(99));
            assert_eq!(take(&dispatch, now), None);
            dispatch.done(0, frame(number));
            dispatch.put(1, frame(number));
            assert_eq!(take(&dispatch, now), Some((1, number)));
            dispatch.done(1, frame(number));
            assert_eq!(take(&dispatch, now), Some((0, 99)));
            dispatch.done(0, frame(99));
        }
    }

    #[test]
    fn take_of_a_source_with_a_rate_keeps_to_it() {
        let dispatch = Dispatch::new([Some(10.0)]);
        let start = Instant::now();
        let mut taken = 0;
        for ms in 0..1000 {
            dispatch.put(0, frame(ms));
            if take(&dispatch, start + Duration::from_millis(ms)).is_some() {
                dispatch.done(0, frame(ms));
                taken += 1;
            }
        }
        assert_eq!(taken, 10);
        dispatch.set_pause(Duration::from_millis(500));
        let taken: Vec<u64> = (1000..3000)
            .filter(|&ms| {
                dispatch.put(0, frame(ms));
                let found = take(&dispatch, start + Duration::from_millis(ms)).is_some();
                if found {
                    dispatch.done(0, frame(ms));
                }
                found
            })
            .collect();
        assert_eq!(taken.len(), 4, "{taken:?}");
    }

    #[test]
    fn next_of_a_stopped_dispatch_is_nothing() {
        let dispatch = Dispatch::new([None]);
        dispatch.put(0, frame(0));
        dispatch.stop();
        assert!(dispatch.next().is_none());
    }
}
