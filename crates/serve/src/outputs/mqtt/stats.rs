//! How fast everything is, under the names that Frigate gives it.
use crate::hub::Hub;
use crate::message::unix_s;
use crate::status::SourceReport;
use serde_json::{Value, json};
use std::time::SystemTime;

/// How fast everything is now.
pub(super) fn stats(hub: &Hub) -> Value {
    let reports: Vec<SourceReport> = hub.sources.iter().map(|source| source.report()).collect();
    let pid = std::process::id();
    let camera = |report: &SourceReport| {
        let value = json!({
            "camera_fps": hundredths(report.camera_fps),
            "process_fps": hundredths(report.process_fps),
            "skipped_fps": hundredths(report.skipped_fps),
            // Each frame that is looked at is detected on once.
            "detection_fps": hundredths(report.process_fps),
            "detection_enabled": true,
            "pid": pid,
            "capture_pid": pid,
            "ffmpeg_pid": report.decoder_pid,
        });
        (report.name.to_string(), value)
    };
    let timed = reports.iter().filter_map(|report| Some((report.timing?, report.process_fps)));
    // Of each frame, whichever source it is from; a source that stopped says nothing of now.
    let (sum, frames) = timed.fold((0.0, 0.0), |(sum, frames), (timing, fps)| {
        (sum + timing.mean.inference_ms * fps, frames + fps)
    });
    let inference_ms = if frames > 0.0 { hundredths(sum / frames) } else { 0.0 };
    let temperature_c = hub.machine.latest().and_then(|reading| reading.temperature_c);
    let temperatures = temperature_c.map_or(json!({}), |c| json!({ "hottest": hundredths(c) }));
    json!({
        "cameras": reports.iter().map(camera).collect::<serde_json::Map<_, _>>(),
        "detectors": {
            "yoloslim": { "inference_speed": inference_ms, "detection_start": 0.0, "pid": pid },
        },
        "detection_fps": hundredths(reports.iter().map(|report| report.process_fps).sum()),
        "service": {
            "uptime": hub.started.elapsed().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
            "temperatures": temperatures,
            "last_updated": unix_s(SystemTime::now()) as u64,
        },
    })
}

/// Rounded to hundredths.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
