//! The whole path measured: decoding, scaling, detecting, tracking, as `serve` does it, and where the time goes.
use crate::ServeError;
use crate::engine::Engine;
use crate::hub::Hub;
use crate::machine::Sensors;
use crate::message::Timing;
use crate::model::{OpenModel, ServedModel};
use crate::settings::Settings;
use crate::status::SourceReport;
use serde::Serialize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Before anything is counted: decoders start, memory is touched, the clock rises.
const WARM_UP: Duration = Duration::from_secs(4);

/// What a run of all sources came to.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// How long was counted.
    pub seconds: f64,
    /// By source.
    pub sources: Vec<SourceMeasured>,
    /// Frames a second that were looked at, all sources together.
    pub total_fps: f64,
    /// Half of all frames took no longer, from when they were due by their source's clock until they were told of.
    pub p50_ms: f64,
    /// 99 in 100 frames took no longer.
    pub p99_ms: f64,
    /// Means over frames; waiting is no work.
    pub timing: Timing,
    /// Time of cores that the decoders took for each frame they sent, where the system tells.
    pub decode_cpu_ms: Option<f64>,
    /// Time of cores that this process took for each frame looked at, where the system tells.
    pub own_cpu_ms: Option<f64>,
    /// Cores that were busy for us on average, decoders included, where the system tells.
    pub cores_busy: Option<f64>,
    /// Resident memory of this process at the end, where the system tells.
    pub rss_bytes: Option<u64>,
}

/// What a source came to.
#[derive(Clone, Debug, Serialize)]
pub struct SourceMeasured {
    /// Its name.
    pub name: Arc<str>,
    /// Width and height of its frames.
    pub size_px: Option<[usize; 2]>,
    /// Height and width of the network's input.
    pub input_px: Option<[usize; 2]>,
    /// Frames a second that came.
    pub camera_fps: f64,
    /// Frames a second that were looked at.
    pub process_fps: f64,
    /// Frames that a newer one took the place of.
    pub dropped: u64,
    /// Frames that were no live pictures.
    pub rejected: u64,
}

/// Counters at one moment.
struct Moment {
    at: Instant,
    reports: Vec<SourceReport>,
    own_cpu_s: Option<f64>,
    decoders_cpu_s: Option<f64>,
}

/// Serves the sources of the settings for so long, without outputs.
///
/// # Errors
/// As [`ServedModel::open`]; `Yolo` where memory is short; `NoFrames` where a source sent none.
pub fn measure(
    settings: &Settings,
    open: &OpenModel,
    seconds: f64,
) -> Result<Measured, ServeError> {
    let model = ServedModel::open(&settings.model, None, settings, open)?;
    let hub = Arc::new(Hub::new(settings, model));
    let engine = Engine::start(&hub, settings)?;
    thread::sleep(WARM_UP);
    let sensors = Sensors::of_this_machine();
    hub.sources.iter().for_each(|source| source.forget_timings());
    let before = Moment::now(&hub, &sensors);
    thread::sleep(Duration::from_secs_f64(seconds));
    let after = Moment::now(&hub, &sensors);
    let timings: Vec<Timing> = hub.sources.iter().flat_map(|source| source.timings()).collect();
    hub.stop();
    engine.join();
    if let Some(silent) = after.reports.iter().find(|report| report.received == 0) {
        let state = format!("{:?}", silent.state);
        return Err(ServeError::NoFrames { name: silent.name.to_string(), state });
    }
    Ok(measured(&before, &after, &timings, sensors.rss_bytes("self")))
}

impl Moment {
    fn now(hub: &Hub, sensors: &Sensors) -> Self {
        let reports: Vec<SourceReport> = hub.sources.iter().map(|s| s.report()).collect();
        let decoders = reports.iter().map(|report| report.decoder_pid);
        let cpu_s = decoders.map(|pid| sensors.cpu_s(&pid?.to_string()));
        Self {
            at: Instant::now(),
            own_cpu_s: sensors.cpu_s("self"),
            decoders_cpu_s: cpu_s.sum(),
            reports,
        }
    }
}

fn measured(before: &Moment, after: &Moment, timings: &[Timing], rss: Option<u64>) -> Measured {
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let pairs = || before.reports.iter().zip(&after.reports);
    let sources = pairs().map(|(before, after)| SourceMeasured {
        name: Arc::clone(&after.name),
        size_px: after.size_px,
        input_px: after.input_px,
        camera_fps: (after.received - before.received) as f64 / seconds,
        process_fps: (after.detected - before.detected) as f64 / seconds,
        dropped: after.dropped - before.dropped,
        rejected: after.rejected - before.rejected,
    });
    let received: u64 = pairs().map(|(before, after)| after.received - before.received).sum();
    let detected: u64 = pairs().map(|(before, after)| after.detected - before.detected).sum();
    let between = |from: Option<f64>, to: Option<f64>| Some(to? - from?);
    let own_cpu_s = between(before.own_cpu_s, after.own_cpu_s);
    let decoders_cpu_s = between(before.decoders_cpu_s, after.decoders_cpu_s);
    let per = |cpu_s: Option<f64>, frames: u64| Some(1e3 * cpu_s? / frames.max(1) as f64);
    let report = crate::status::timing(timings.iter().copied());
    Measured {
        seconds,
        sources: sources.collect(),
        total_fps: detected as f64 / seconds,
        p50_ms: report.map_or(0.0, |report| report.p50_ms),
        p99_ms: report.map_or(0.0, |report| report.p99_ms),
        timing: report.map_or(Timing::default(), |report| report.mean),
        decode_cpu_ms: per(decoders_cpu_s, received),
        own_cpu_ms: per(own_cpu_s, detected),
        cores_busy: own_cpu_s.zip(decoders_cpu_s).map(|(own, decoders)| (own + decoders) / seconds),
        rss_bytes: rss,
    }
}
