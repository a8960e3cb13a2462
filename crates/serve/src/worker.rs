//! A session that looks at what comes next, on a thread of its own.
use crate::ServeError;
use crate::dispatch::Work;
use crate::frame::{Frame, Picture};
use crate::hub::Hub;
use crate::message::{FrameResult, Message, Timing, unix_s};
use crate::model::{SIZES, ServedModel};
use crate::request::{Answer, Answered, Request, Task};
use crate::settings::{RegionSettings, SourceSettings};
use crate::tracker::{Found, Seen};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use yolo::{Detection, DetectionTimes, Detector, Region, Thresholds, YuvFrame};

/// A session and what it works for.
pub(crate) struct Worker {
    hub: Arc<Hub>,
    sources: Arc<[SourceSettings]>,
    model: Arc<ServedModel>,
    generation: u64,
    /// Of the model as its file has it, for images that are posted.
    detector: Detector,
    /// By width and height of what is looked at, of the model fitted to it.
    fitted: BTreeMap<[usize; 2], Detector>,
}

impl Worker {
    /// With a session of the model that is used now.
    ///
    /// # Errors
    /// `Yolo` where there is not enough memory.
    pub(crate) fn new(hub: &Arc<Hub>, sources: &Arc<[SourceSettings]>) -> Result<Self, ServeError> {
        let generation = hub.model.generation();
        let model = hub.model.get();
        let detector = model.detector.session(1)?;
        Ok(Self {
            hub: Arc::clone(hub),
            sources: Arc::clone(sources),
            model,
            generation,
            detector,
            fitted: BTreeMap::new(),
        })
    }

    /// Works until everything ends.
    pub(crate) fn run(mut self) {
        let hub = Arc::clone(&self.hub);
        while let Some(work) = hub.dispatch.next() {
            self.follow_model();
            match work {
                Work::Request(request) => self.answer(request),
                Work::Frame(source, frame) => {
                    if let Err(error) = self.look(source, &frame) {
                        hub.set_failed(source, &error);
                    }
                    hub.dispatch.done(source, frame);
                }
            }
        }
    }

    /// Takes a session of the model that is used now, where it is another one.
    fn follow_model(&mut self) {
        let generation = self.hub.model.generation();
        if generation == self.generation {
            return;
        }
        let model = self.hub.model.get();
        // Without memory for it the session goes on with the one before, and tries again.
        match model.detector.session(1) {
            Ok(detector) => {
                (self.detector, self.model, self.generation) = (detector, model, generation)
            }
            Err(error) => {
                let refused = self.hub.swap(&model.path, Err(error.into()));
                debug_assert!(refused.is_err());
                self.generation = generation;
            }
        }
    }

    fn answer(&mut self, Request { task, reply }: Request) {
        // Who asked may have gone while it waited: then nobody else is to wait for it.
        if reply.is_closed() {
            return;
        }
        let started = Instant::now();
        let result = match task {
            Task::Detect { image, thresholds } => {
                let thresholds = thresholds.unwrap_or(self.detector.head().family.thresholds);
                let found = self.detector.detect(&[image], thresholds);
                found.map(|found| {
                    let named = |d: Detection| (self.model.label(d.class).to_string(), d);
                    Answered::Objects(found.into_iter().map(named).collect())
                })
            }
            Task::Infer(inputs) => {
                let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
                self.detector.infer(&inputs).map(Answered::Outputs)
            }
        };
        let took_ms = started.elapsed().as_secs_f64() * 1e3;
        let answer =
            result.map(|result| Answer { result, model: Arc::clone(&self.model), took_ms });
        // Who asked may have gone.
        let _ = reply.send(answer.map_err(|error| error.to_string()));
    }

    /// Finds the objects of a frame and tells of them.
    fn look(&mut self, source: usize, frame: &Frame) -> Result<(), ServeError> {
        let started = Instant::now();
        let Detected { detections, times, input_px } = self.detect(source, &frame.picture)?;
        let region = self.sources[source].region;
        let tracked = Instant::now();
        let found = detections.iter().map(|d| Found {
            label: self.model.label(d.class),
            score: d.score,
            bbox: d.bbox,
        });
        let frame_time = unix_s(frame.arrived_at);
        let size_px = frame.picture.size_px();
        let seen = Seen { at_s: frame_time, region: looked_at(region, size_px) };
        let tracker = self.hub.trackers[source].lock();
        let (objects, events) =
            tracker.unwrap_or_else(PoisonError::into_inner).next(found.collect(), seen);
        let now = Instant::now();
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let waited_ms = ms(frame.arrived, started);
        let timing = Timing {
            late_ms: frame.late_ms,
            waited_ms,
            preprocess_ms: times.preprocess_ms,
            inference_ms: times.inference_ms,
            postprocess_ms: times.postprocess_ms + ms(tracked, now),
            total_ms: frame.late_ms + waited_ms + ms(started, now),
        };
        let labels = &self.model.labels;
        self.hub.previews[source].offer(frame.number, &frame.picture, &detections, labels)?;
        let status = &self.hub.sources[source];
        status.detected(timing, input_px, now);
        let [width_px, height_px] = size_px;
        let camera = Arc::clone(&status.name);
        let result = FrameResult {
            camera,
            frame: frame.number,
            frame_time,
            width_px,
            height_px,
            objects,
            timing,
        };
        self.hub.tell(Message::Frame(Arc::new(result)));
        events.into_iter().for_each(|event| self.hub.tell(Message::Object(Arc::new(event))));
        Ok(())
    }

    /// Finds the objects of a picture, or of the part that is looked at; boxes are in pixels of the whole picture.
    fn detect(&mut self, source: usize, picture: &Picture) -> Result<Detected, ServeError> {
        let settings = &self.sources[source];
        let size_px = picture.size_px();
        let whole = Region { left: 0, top: 0, width: size_px[0], height: size_px[1] };
        let region = settings.region.map_or(whole, |region| region.in_pixels(size_px));
        let image_px = [region.width, region.height];
        let detector = match picture {
            // Files may be of any size, and each size costs a plan.
            Picture::Rgb(_) => &mut self.detector,
            Picture::Yuv { .. } => {
                if self.fitted.len() == SIZES && !self.fitted.contains_key(&image_px) {
                    self.fitted.clear();
                }
                match self.fitted.entry(image_px) {
                    Entry::Occupied(kept) => kept.into_mut(),
                    Entry::Vacant(entry) => entry.insert(self.model.fitted(image_px).session(1)?),
                }
            }
        };
        let usual = detector.head().family.thresholds;
        let thresholds = Thresholds {
            conf: settings.conf.unwrap_or(usual.conf),
            iou: settings.iou.unwrap_or(usual.iou),
        };
        let mut detections = match picture {
            Picture::Yuv { bytes, size_px, colours } => {
                let frame = YuvFrame::contiguous(bytes, *size_px, *colours)?.crop(region)?;
                detector.detect_yuv(&frame, thresholds)?
            }
            Picture::Rgb(image) if region == whole => {
                detector.detect(std::slice::from_ref(image), thresholds)?
            }
            Picture::Rgb(image) => {
                let Region { left, top, width, height } = region;
                let [x, y, w, h] = [left, top, width, height].map(|px| px as u32);
                let part = image::imageops::crop_imm(image, x, y, w, h).to_image();
                let mut found = detector.detect(&[part], thresholds)?;
                found.iter_mut().for_each(|d| d.bbox = d.bbox.shifted(left as f32, top as f32));
                found
            }
        };
        if let Some(classes) = &self.model.classes[source] {
            detections.retain(|d| classes.contains(&d.class));
        }
        let input_px = detector.head().input.size_px;
        Ok(Detected { detections, times: detector.times(), input_px })
    }
}

/// What was found in a picture.
struct Detected {
    detections: Vec<Detection>,
    times: DetectionTimes,
    /// Height and width of the network's input.
    input_px: [usize; 2],
}

/// Left, top, right and bottom of what is looked at, in pixels of the frame.
fn looked_at(region: Option<RegionSettings>, size_px: [usize; 2]) -> [i64; 4] {
    let whole = Region { left: 0, top: 0, width: size_px[0], height: size_px[1] };
    let Region { left, top, width, height } = region.map_or(whole, |r| r.in_pixels(size_px));
    [left, top, left + width, top + height].map(|edge| edge as i64)
}
