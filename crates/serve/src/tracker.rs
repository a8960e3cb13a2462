//! Which box of a frame is which object of the frame before: by overlap, class by class. It makes `new`, `update` and `end` mean
//! something; it follows nobody behind a wall.
use crate::message::{Change, Fixed, ObjectEvent, ObjectState, TrackedObject};
use std::sync::Arc;
use yolo::{BoxXyxy, iou};

/// Boxes of one class that overlap by less are two objects.
const SAME_IOU: f64 = 0.3;

/// An object is believed when it was seen in so many frames.
const BELIEVED_AFTER: u32 = 3;

/// An object that was not seen for so long has gone …
const GONE_AFTER_S: f64 = 2.0;

/// … and in so many frames: some sources send one every few seconds.
const GONE_AFTER_FRAMES: u32 = 2;

/// An object that stays is told of so often.
const UPDATE_EVERY_S: f64 = 5.0;

/// It is told of at once when its box overlaps the one that was told by less.
const MOVED_IOU: f64 = 0.6;

/// An object whose box has not moved for so long is stationary.
const STATIONARY_AFTER_S: f64 = 10.0;

/// The objects of one source.
#[derive(Debug)]
pub(crate) struct Tracker {
    camera: Arc<str>,
    tracks: Vec<Track>,
    /// Counts objects, so that no two have one id.
    count: u64,
}

#[derive(Debug)]
struct Track {
    state: ObjectState,
    bbox: BoxXyxy,
    /// As it was told last, once it was.
    told: Option<Told>,
    seen: u32,
    /// In how many frames it was not seen since.
    missed: u32,
    /// Where it was when it last moved, and when that was.
    rest: (BoxXyxy, f64),
}

#[derive(Debug)]
struct Told {
    state: ObjectState,
    bbox: BoxXyxy,
    at_s: f64,
}

/// The frame in which objects were found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// When it came, in seconds since 1970.
    pub(crate) at_s: f64,
    /// Left, top, right and bottom of what was looked at, in pixels.
    pub(crate) region: [i64; 4],
}

/// An object found in a frame.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) label: Arc<str>,
    pub(crate) score: f32,
    pub(crate) bbox: BoxXyxy,
}

impl Tracker {
    /// Of a source where nothing was seen yet.
    pub(crate) fn new(camera: Arc<str>) -> Self {
        Self { camera, tracks: Vec::new(), count: 0 }
    }

    /// Takes what was found in the next frame, the most confident first: the same with their ids, and what became of objects.
    pub(crate) fn next(
        &mut self,
        found: Vec<Found>,
        frame: Seen,
    ) -> (Vec<TrackedObject>, Vec<ObjectEvent>) {
        let now_s = frame.at_s;
        let owners = self.assign(&found);
        self.tracks.iter_mut().for_each(|track| track.missed += 1);
        let mut events = Vec::new();
        let mut objects = Vec::with_capacity(found.len());
        for (found, owner) in found.into_iter().zip(owners) {
            let index = owner.unwrap_or_else(|| self.begin(&found, frame));
            let track = &mut self.tracks[index];
            track.see(&found, frame);
            events.extend(track.tell(now_s));
            let id = track.told.is_some().then(|| Arc::clone(&track.state.id));
            let Found { label, score, bbox } = found;
            objects.push(TrackedObject { id, label, score, bbox });
        }
        events.extend(self.end(|track| {
            track.missed >= GONE_AFTER_FRAMES && track.state.frame_time < now_s - GONE_AFTER_S
        }));
        (objects, events)
    }

    /// Ends all objects: the source went down, and nobody knows where they are now.
    pub(crate) fn end_all(&mut self) -> Vec<ObjectEvent> {
        self.end(|_| true)
    }

    /// How many objects of each class are there, as far as they are believed.
    pub(crate) fn counts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tracks.iter().filter(|track| track.told.is_some()).map(|track| &track.state.label)
    }

    /// For each box the track it belongs to, by overlap, the largest first.
    fn assign(&self, found: &[Found]) -> Vec<Option<usize>> {
        let mut pairs = Vec::new();
        for (f, found) in found.iter().enumerate() {
            for (t, track) in self.tracks.iter().enumerate() {
                let overlap = iou(&found.bbox.xywh(), &track.bbox.xywh());
                if track.state.label == found.label && overlap >= SAME_IOU {
                    pairs.push((overlap, f, t));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut owners = vec![None; found.len()];
        let mut taken = vec![false; self.tracks.len()];
        for (_, f, t) in pairs {
            if owners[f].is_none() && !taken[t] {
                owners[f] = Some(t);
                taken[t] = true;
            }
        }
        owners
    }

    fn begin(&mut self, found: &Found, frame: Seen) -> usize {
        let now_s = frame.at_s;
        self.count += 1;
        let state = ObjectState {
            id: format!("{now_s:.6}-{}", self.count).into(),
            camera: Arc::clone(&self.camera),
            frame_time: now_s,
            label: Arc::clone(&found.label),
            score: found.score,
            top_score: found.score,
            start_time: now_s,
            end_time: None,
            bbox: [0; 4],
            area: 0,
            ratio: 0.0,
            region: frame.region,
            active: true,
            stationary: false,
            motionless_count: 0,
            position_changes: 0,
            fixed: Fixed::default(),
        };
        let rest = (found.bbox, now_s);
        self.tracks.push(Track { state, bbox: found.bbox, told: None, seen: 0, missed: 0, rest });
        self.tracks.len() - 1
    }

    /// Forgets objects that have gone; the end of those that were believed is told.
    fn end(&mut self, gone: impl Fn(&Track) -> bool) -> Vec<ObjectEvent> {
        let mut events = Vec::new();
        self.tracks.retain(|track| {
            let gone = gone(track);
            if let (true, Some(told)) = (gone, &track.told) {
                let end_time = Some(track.state.frame_time);
                let after = ObjectState { end_time, ..track.state.clone() };
                events.push(ObjectEvent { change: Change::End, before: told.state.clone(), after });
            }
            !gone
        });
        events
    }
}

impl Track {
    fn see(&mut self, found: &Found, frame: Seen) {
        let now_s = frame.at_s;
        let state = &mut self.state;
        self.bbox = found.bbox;
        self.seen += 1;
        self.missed = 0;
        state.motionless_count += 1;
        if overlap(&self.rest.0, &found.bbox) < MOVED_IOU {
            self.rest = (found.bbox, now_s);
            state.position_changes += u64::from(state.stationary);
            state.motionless_count = 0;
        }
        let BoxXyxy { left, top, right, bottom } = found.bbox;
        state.bbox = [left, top, right, bottom].map(|edge| edge.round() as i64);
        let [width, height] = [state.bbox[2] - state.bbox[0], state.bbox[3] - state.bbox[1]];
        state.area = width * height;
        state.ratio = if height > 0 { hundredths(width as f64 / height as f64) } else { 0.0 };
        state.region = frame.region;
        state.frame_time = now_s;
        state.score = found.score;
        state.top_score = state.top_score.max(found.score);
        state.stationary = now_s - self.rest.1 >= STATIONARY_AFTER_S;
        state.active = !state.stationary;
    }

    /// What is worth telling of it now.
    fn tell(&mut self, now_s: f64) -> Option<ObjectEvent> {
        let change = match &self.told {
            None if self.seen >= BELIEVED_AFTER => Change::New,
            Some(told)
                if overlap(&told.bbox, &self.bbox) < MOVED_IOU
                    || now_s - told.at_s >= UPDATE_EVERY_S
                    || told.state.stationary != self.state.stationary =>
            {
                Change::Update
            }
            _ => return None,
        };
        let told = Told { state: self.state.clone(), bbox: self.bbox, at_s: now_s };
        let before = self.told.replace(told).map_or_else(|| self.state.clone(), |told| told.state);
        Some(ObjectEvent { change, before, after: self.state.clone() })
    }
}

/// Rounded to hundredths.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn overlap(a: &BoxXyxy, b: &BoxXyxy) -> f64 {
    iou(&a.xywh(), &b.xywh())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(label: &str, left: f32, score: f32) -> Found {
        let bbox = BoxXyxy { left, top: 0.0, right: left + 100.0, bottom: 100.0 };
        Found { label: label.into(), score, bbox }
    }

    fn at(at_s: f64) -> Seen {
        Seen { at_s, region: [0, 0, 640, 480] }
    }

    fn changes(events: &[ObjectEvent]) -> Vec<Change> {
        events.iter().map(|event| event.change).collect()
    }

    #[test]
    fn next_with_an_object_that_walks_by_tells_new_update_and_end_once_each() {
        let mut tracker = Tracker::new("front".into());
        let mut told = Vec::new();
        for frame in 0..10 {
            let left = 6.0 * frame as f32;
            let (_, events) =
                tracker.next(vec![found("person", left, 0.5)], at(f64::from(frame) / 10.0));
            told.extend(events);
        }
        assert_eq!(changes(&told), [Change::New, Change::Update]);
        let (_, events) = tracker.next(vec![], at(2.0));
        assert_eq!(changes(&events), []);
        let (_, events) = tracker.next(vec![], at(3.0));
        assert_eq!(changes(&events), [Change::End]);
        assert_eq!(events[0].after.end_time, Some(0.9));
        assert_eq!(events[0].after.id, told[0].after.id);
        assert_eq!(tracker.counts().count(), 0);
    }

    #[test]
    fn next_with_two_classes_in_one_place_keeps_two_objects() {
        let mut tracker = Tracker::new("front".into());
        for frame in 0..5 {
            let both = vec![found("person", 0.0, 0.9), found("bicycle", 0.0, 0.8)];
            tracker.next(both, at(f64::from(frame)));
        }
        let labels: Vec<_> = tracker.counts().map(|label| label.to_string()).collect();
        assert_eq!(labels, ["person", "bicycle"]);
    }

    #[test]
    fn next_with_a_flicker_of_two_frames_tells_nothing() {
        let mut tracker = Tracker::new("front".into());
        let mut events = Vec::new();
        for frame in 0..2 {
            events.extend(tracker.next(vec![found("cat", 0.0, 0.3)], at(f64::from(frame))).1);
        }
        events.extend(tracker.next(vec![], at(10.0)).1);
        assert_eq!(changes(&events), []);
    }

    #[test]
    fn next_with_crossing_objects_gives_each_box_to_its_nearest() {
        let mut tracker = Tracker::new("front".into());
        let ids = |tracker: &mut Tracker, a: f32, b: f32, now: f64| {
            let (objects, _) =
                tracker.next(vec![found("car", a, 0.9), found("car", b, 0.8)], at(now));
            objects.into_iter().map(|object| object.id).collect::<Vec<_>>()
        };
        for frame in 0..3 {
            ids(&mut tracker, 0.0, 60.0, f64::from(frame));
        }
        let before = ids(&mut tracker, 0.0, 60.0, 3.0);
        let after = ids(&mut tracker, 62.0, 2.0, 4.0);
        assert_eq!([&before[0], &before[1]], [&after[1], &after[0]]);
    }

    #[test]
    fn next_with_an_object_that_rests_and_moves_on_counts_what_frigate_counts() {
        let mut tracker = Tracker::new("front".into());
        let mut last = None;
        for frame in 0..=12 {
            let (_, events) = tracker.next(vec![found("car", 0.0, 0.9)], at(f64::from(frame)));
            last = events.into_iter().next_back().or(last);
        }
        let rested = last.unwrap().after;
        assert!(rested.stationary && !rested.active, "{rested:?}");
        assert_eq!((rested.motionless_count, rested.position_changes), (11, 0));
        assert_eq!((rested.ratio, rested.area), (1.0, 10_000));
        let (_, events) = tracker.next(vec![found("car", 45.0, 0.9)], at(13.0));
        let moved = &events[0].after;
        assert!(moved.active && !moved.stationary, "{moved:?}");
        assert_eq!((moved.motionless_count, moved.position_changes), (0, 1));
        assert_eq!(moved.region, [0, 0, 640, 480]);
    }

    #[test]
    fn end_all_of_a_source_that_went_down_tells_the_end_of_what_was_believed() {
        let mut tracker = Tracker::new("front".into());
        for frame in 0..4 {
            tracker.next(vec![found("person", 0.0, 0.9)], at(f64::from(frame)));
        }
        tracker.next(vec![found("person", 0.0, 0.9), found("dog", 500.0, 0.9)], at(5.0));
        assert_eq!(changes(&tracker.end_all()), [Change::End]);
        assert!(tracker.end_all().is_empty());
    }
}
