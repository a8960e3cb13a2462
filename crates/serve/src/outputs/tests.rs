//! Outputs of a hub without sources, against those they tell: a real broker, and an HTTP server of a few lines.
mod broker;
mod lines;
mod mqtt;
mod webhook;

use crate::hub::Hub;
use crate::message::{Message, SourceState};
use crate::model::{OpenModel, OpenedModel, ServedModel};
use crate::settings::Settings;
use crate::tracker::{Found, Seen};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use yolo::BoxXyxy;

/// How long anything may take: far longer than it does, for machines that are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// Settings with a source `front`, which has all classes, and `back`, which asks for `red`; and what the tables say.
fn settings(tables: &str) -> Settings {
    let sources = "[[source]]\nname = 'front'\nurl = 'rtsp://h/1'\n[[source]]\nname = 'back'\nurl = 'rtsp://h/2'\nclasses = ['red']\n";
    toml::from_str(&format!("model = 'm'\n{sources}{tables}")).unwrap()
}

/// Opens the tiny detector, whatever the file.
fn open() -> Box<OpenModel> {
    Box::new(|_| {
        let options = runtime::PlanOptions::default();
        Ok(OpenedModel { graph: testkit::tiny::detector(), family: None, options, bundle: None })
    })
}

/// A hub whose model is the tiny detector, and whose sources nobody reads.
fn hub(settings: &Settings) -> Arc<Hub> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let model = ServedModel::open(file.path(), None, settings, &*open()).unwrap();
    let hub = Arc::new(Hub::new(settings, model));
    (0..2).for_each(|source| hub.set_state(source, SourceState::Live));
    hub
}

/// A source sees objects of these classes side by side, in one frame.
fn see(hub: &Hub, source: usize, labels: &[&str], at_s: f64) {
    let found = labels.iter().enumerate().map(|(i, label)| {
        let left = 200.0 * i as f32;
        let bbox = BoxXyxy { left, top: 0.0, right: left + 100.0, bottom: 50.0 };
        Found { label: (*label).into(), score: 0.9, bbox }
    });
    let frame = Seen { at_s, region: [0, 0, 640, 480] };
    let (_, events) = hub.trackers[source].lock().unwrap().next(found.collect(), frame);
    events.into_iter().for_each(|event| hub.tell(Message::Object(Arc::new(event))));
}

/// A source sees objects until they are believed.
fn believe(hub: &Hub, source: usize, labels: &[&str], from_s: f64) {
    (0..3).for_each(|frame| see(hub, source, labels, from_s + f64::from(frame) / 10.0));
}
