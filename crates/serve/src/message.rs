//! What the server tells: of frames, of objects that come and go, of sources that go down and come back.
use serde::Serialize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use yolo::BoxXyxy;

/// One thing that the server tells its outputs.
#[derive(Clone, Debug)]
pub enum Message {
    /// A frame was looked at.
    Frame(Arc<FrameResult>),
    /// An object came, changed or went.
    Object(Arc<ObjectEvent>),
    /// A source changed its state.
    Source(Arc<SourceEvent>),
    /// The model was changed, or a change was refused.
    Model(Arc<ModelEvent>),
    /// Something about the machine changed that may need somebody's hand.
    Machine(Arc<MachineEvent>),
    /// Everything has ended: nothing follows.
    Ended,
}

/// Seconds since 1970, as events tell time.
pub fn unix_s(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// What was found in a frame.
#[derive(Clone, Debug, Serialize)]
pub struct FrameResult {
    /// The source's name.
    pub camera: Arc<str>,
    /// The frame's number at its source.
    pub frame: u64,
    /// When it came, in seconds since 1970.
    pub frame_time: f64,
    /// Width of the frame.
    pub width_px: usize,
    /// Height of the frame.
    pub height_px: usize,
    /// The objects, the most confident first; boxes in pixels of the frame.
    pub objects: Vec<TrackedObject>,
    /// Where the time went.
    pub timing: Timing,
}

/// An object in a frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrackedObject {
    /// The same for one object from frame to frame; none before it was seen often enough to be believed.
    pub id: Option<Arc<str>>,
    /// Name of its class.
    pub label: Arc<str>,
    /// Confidence in 0..1.
    pub score: f32,
    /// Where, in pixels of the frame.
    #[serde(rename = "box")]
    pub bbox: BoxXyxy,
}

/// Where a frame's time went, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timing {
    /// Later at us than by its source's own rate: decoder and pipe.
    pub late_ms: f64,
    /// In its slot, until a session was free.
    pub waited_ms: f64,
    /// Made to the model's input.
    pub preprocess_ms: f64,
    /// In the network.
    pub inference_ms: f64,
    /// Outputs to boxes, tracking.
    pub postprocess_ms: f64,
    /// All of these.
    pub total_ms: f64,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was seen often enough to be believed.
    New,
    /// It moved, or was seen more clearly than ever before.
    Update,
    /// It was not seen for some time.
    End,
}

/// An object came, changed or went.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectEvent {
    /// What became of it.
    #[serde(rename = "type")]
    pub change: Change,
    /// As it was told last; as it is, where it was not told before.
    pub before: ObjectState,
    /// As it is.
    pub after: ObjectState,
}

/// All that is known of an object, under the names that Frigate gives them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectState {
    /// The same from first to last.
    pub id: Arc<str>,
    /// The source's name.
    pub camera: Arc<str>,
    /// When it was seen last, in seconds since 1970.
    pub frame_time: f64,
    /// Name of its class.
    pub label: Arc<str>,
    /// Confidence when it was seen last.
    pub score: f32,
    /// The highest confidence so far.
    pub top_score: f32,
    /// When it was seen first, in seconds since 1970.
    pub start_time: f64,
    /// When it was seen last, once it has gone.
    pub end_time: Option<f64>,
    /// Left, top, right and bottom, in whole pixels.
    #[serde(rename = "box")]
    pub bbox: [i64; 4],
    /// Of the box, in pixels.
    pub area: i64,
    /// Width of the box over its height; 0 for one without a height.
    pub ratio: f64,
    /// Left, top, right and bottom of the part of the picture that was looked at.
    pub region: [i64; 4],
    /// Whether it moved of late: the contrary of `stationary`.
    pub active: bool,
    /// Whether it has stayed where it is for some time.
    pub stationary: bool,
    /// In how many frames it was seen since it last moved.
    pub motionless_count: u64,
    /// How often it moved after it had been stationary.
    pub position_changes: u64,
    /// What is the same for all objects.
    #[serde(flatten)]
    pub fixed: Fixed,
}

/// What Frigate tells of an object and here is the same for all: automations made for Frigate ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fixed {
    /// No object is told before it is believed.
    pub false_positive: bool,
    /// No second model looks at an object.
    pub sub_label: Option<&'static str>,
    /// A source has a region, and no zones.
    pub current_zones: [&'static str; 0],
    /// As `current_zones`.
    pub entered_zones: [&'static str; 0],
    /// No picture is kept.
    pub has_snapshot: bool,
    /// Nothing is recorded.
    pub has_clip: bool,
}

/// What a source is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum SourceState {
    /// Its decoder was started, and no frame has come yet.
    Starting,
    /// Frames come.
    Live,
    /// Nothing comes that could be looked at.
    Down {
        /// In what way.
        reason: DownReason,
        /// What is known of it, without secrets.
        detail: String,
    },
    /// The file is at its end.
    Ended,
}

impl SourceState {
    /// The state's name alone.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Down { .. } => "down",
            Self::Ended => "ended",
        }
    }
}

/// In what way a source is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DownReason {
    /// No new frame for too long.
    Stale,
    /// Frames equal to the bit for too long.
    Frozen,
    /// Frames that were never decoded.
    Green,
    /// The decoder complains about the stream.
    Damaged,
    /// The decoder ended, or could not begin.
    Decoder,
}

impl DownReason {
    /// The reason in a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Frozen => "frozen",
            Self::Green => "green",
            Self::Damaged => "damaged",
            Self::Decoder => "decoder",
        }
    }
}

/// A source changed its state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceEvent {
    /// The source's name.
    pub camera: Arc<str>,
    /// When, in seconds since 1970.
    pub time: f64,
    /// What it does now.
    #[serde(flatten)]
    pub state: SourceState,
}

/// The model was changed, or a change was refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelEvent {
    /// When, in seconds since 1970.
    pub time: f64,
    /// The model's file.
    pub model: String,
    /// SHA-256 of the file, where it could be read.
    pub digest: Option<String>,
    /// Why it was refused; the model before goes on then.
    pub refused: Option<String>,
}

/// What may become of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// It is about to throttle.
    Hot,
    /// Its clock fell under load.
    Throttled,
    /// The process grew since it was warm.
    Memory,
}

/// Something about the machine changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineEvent {
    /// When, in seconds since 1970.
    pub time: f64,
    /// What.
    pub trouble: Trouble,
    /// Whether it is over again.
    pub over: bool,
    /// The figures.
    pub detail: String,
}
