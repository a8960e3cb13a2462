//! Cameras in, detections and events out: sources that are kept running, a slot for each one's latest frame, sessions that look at
//! them, and what is told of it by JSON lines, MQTT and HTTP.
//!
//! Rank 5: knows detectors and frames, no model file.
#![forbid(unsafe_code)]

mod context;
mod dispatch;
mod engine;
mod error;
mod frame;
mod http;
mod hub;
mod location;
mod machine;
mod measure;
mod message;
mod model;
mod outputs;
mod preview;
mod readings;
mod request;
mod server;
mod settings;
mod source;
mod status;
mod tracker;
mod worker;

pub use error::ServeError;
pub use hub::{Hub, Unanswered};
pub use location::{Kind, Location};
pub use measure::{Measured, SourceMeasured, measure};
pub use message::{
    Change, DownReason, Fixed, FrameResult, MachineEvent, Message, ModelEvent, ObjectEvent,
    ObjectState, SourceEvent, SourceState, Timing, TrackedObject, Trouble, unix_s,
};
pub use model::{
    Golden, GoldenResult, ModelSlot, OpenModel, OpenedModel, ServedBundle, ServedModel, Tolerance,
    labels,
};
pub use outputs::OutputCounts;
pub use preview::Preview;
pub use readings::{Machine, Reading};
pub use request::{Answer, Answered};
pub use server::Server;
pub use settings::{
    EventsSettings, HttpSettings, MqttSettings, RegionSettings, Secret, Settings, SourceSettings,
    WatchdogSettings, WebhookSettings,
};
pub use status::{Counts, SourceReport, SourceStatus, TimingReport};
