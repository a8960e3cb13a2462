//! Metrics for Prometheus, under Frigate's names where it has them.
use super::{App, Refusal, Shared};
use crate::message::SourceState;
use crate::status::SourceReport;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicU64, Ordering};

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Counters = Family<Labels, Counter>;
type Value<V> = fn(&SourceReport) -> V;

/// OpenMetrics, which Prometheus reads since version 2.5.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers so far, by route and status.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Counters);

impl Requests {
    pub(super) fn count(&self, route: &str, status: StatusCode) {
        let labels = vec![("route", route.to_owned()), ("code", status.as_str().to_owned())];
        self.0.get_or_create(&labels).inc();
    }
}

/// `GET /metrics`. All of them are made of what is known now; only answers are counted here.
pub(super) async fn metrics(State(shared): App) -> Result<Response, Refusal> {
    let mut registry = Registry::default();
    let reports: Vec<SourceReport> =
        shared.context.hub.sources.iter().map(|s| s.report()).collect();
    rates(&mut registry, &reports);
    counts(&mut registry, &reports);
    states(&mut registry, &reports);
    times(&mut registry, &reports, &shared);
    outputs(&mut registry, &shared);
    machine(&mut registry, &shared);
    server(&mut registry, &shared);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(Refusal::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

fn camera(report: &SourceReport) -> Labels {
    vec![("camera_name", report.name.to_string())]
}

fn gauge(
    registry: &mut Registry,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels, f64)>,
) {
    let gauges = Gauges::default();
    for (labels, value) in values {
        gauges.get_or_create(&labels).set(value);
    }
    registry.register(name, help, gauges);
}

fn rates(registry: &mut Registry, reports: &[SourceReport]) {
    let rows: [(&str, &str, Value<f64>); 4] = [
        ("camera_fps", "Frames a second that came from the source", |r| r.camera_fps),
        ("process_fps", "Frames a second that were looked at", |r| r.process_fps),
        ("detection_fps", "Detections run a second, one for each frame that was looked at", |r| {
            r.process_fps
        }),
        ("skipped_fps", "Frames a second that a newer one took the place of", |r| r.skipped_fps),
    ];
    for (name, help, value) in rows {
        gauge(registry, name, help, reports.iter().map(|r| (camera(r), value(r))));
    }
}

fn counts(registry: &mut Registry, reports: &[SourceReport]) {
    let rows: [(&str, &str, Value<u64>); 6] = [
        ("yoloslim_frames_received", "Frames that the decoder sent", |r| r.received),
        ("yoloslim_frames_detected", "Frames that were looked at", |r| r.detected),
        ("yoloslim_frames_dropped", "Frames that a newer one took the place of", |r| r.dropped),
        ("yoloslim_frames_rejected", "Frames that were no live pictures", |r| r.rejected),
        ("yoloslim_frames_bytes", "Bytes of frames that the decoder sent", |r| r.bytes),
        ("yoloslim_decoder_restarts", "Starts of the decoder after the first one", |r| r.restarts),
    ];
    for (name, help, value) in rows {
        let counters = Counters::default();
        for report in reports {
            counters.get_or_create(&camera(report)).inc_by(value(report));
        }
        registry.register(name, help, counters);
    }
}

fn states(registry: &mut Registry, reports: &[SourceReport]) {
    let states = ["starting", "live", "down", "ended"];
    let of_source = |report: &SourceReport| {
        let now = report.state.name();
        let labels = camera(report);
        states.map(|state| {
            let labels = [labels.clone(), vec![("state", state.to_owned())]].concat();
            (labels, f64::from(u8::from(state == now)))
        })
    };
    let help = "1 for the state that the source is in";
    gauge(registry, "yoloslim_source_state", help, reports.iter().flat_map(of_source));
    let live = |report: &SourceReport| f64::from(u8::from(report.state == SourceState::Live));
    let help = "Whether frames come from the source";
    gauge(registry, "yoloslim_source_live", help, reports.iter().map(|r| (camera(r), live(r))));
}

fn times(registry: &mut Registry, reports: &[SourceReport], shared: &Shared) {
    let timed = || reports.iter().filter_map(|report| Some((report, report.timing?)));
    let latency = timed().flat_map(|(report, timing)| {
        [("0.5", timing.p50_ms), ("0.99", timing.p99_ms)].map(|(quantile, ms)| {
            let labels = [camera(report), vec![("quantile", quantile.to_owned())]].concat();
            (labels, ms / 1e3)
        })
    });
    let help = "From the camera's frame to its objects, of the last 1024 frames";
    gauge(registry, "yoloslim_latency_seconds", help, latency);
    let inference: Vec<f64> = timed().map(|(_, timing)| timing.mean.inference_ms / 1e3).collect();
    let name = vec![("name", shared.context.hub.model.get().name())];
    let mean =
        (!inference.is_empty()).then(|| inference.iter().sum::<f64>() / inference.len() as f64);
    let help = "In the network, the mean of all sources' last frames";
    gauge(registry, "detector_inference_speed_seconds", help, mean.map(|mean| (name, mean)));
}

fn outputs(registry: &mut Registry, shared: &Shared) {
    let outputs = &shared.context.hub.outputs;
    let counters = Counters::default();
    let rows = [
        ("lines", &outputs.lines_dropped),
        ("mqtt", &outputs.mqtt_dropped),
        ("webhook", &outputs.webhook_dropped),
    ];
    for (output, dropped) in rows {
        let labels = vec![("output", output.to_owned())];
        counters.get_or_create(&labels).inc_by(dropped.load(Ordering::Relaxed));
    }
    registry.register("yoloslim_messages_dropped", "Messages that an output lost", counters);
    if shared.context.settings.mqtt.is_some() {
        let connected = f64::from(u8::from(outputs.mqtt_connected.load(Ordering::Relaxed)));
        let help = "Whether the broker has taken us";
        gauge(registry, "yoloslim_mqtt_connected", help, [(Labels::new(), connected)]);
    }
}

fn machine(registry: &mut Registry, shared: &Shared) {
    let Some(reading) = shared.context.hub.machine.latest() else { return };
    let bytes = |bytes: u64| bytes as f64;
    let rows = [
        (
            "process_resident_memory_bytes",
            "Resident memory of the server",
            reading.rss_bytes.map(bytes),
        ),
        (
            "yoloslim_decoders_resident_memory_bytes",
            "Resident memory of all decoders",
            Some(bytes(reading.decoders_rss_bytes)),
        ),
        ("cpu_temperature_celsius", "The hottest part of the machine", reading.temperature_c),
        ("cpu_clock_hertz", "The mean clock of the cores", reading.clock_mhz.map(|mhz| mhz * 1e6)),
        (
            "yoloslim_pause_seconds",
            "The least time between two frames of a source, by which heat is kept down",
            Some(reading.pause_ms / 1e3),
        ),
    ];
    // What the machine does not tell is left out rather than 0.
    for (name, help, value) in rows {
        if let Some(value) = value {
            gauge(registry, name, help, [(Labels::new(), value)]);
        }
    }
}

fn server(registry: &mut Registry, shared: &Shared) {
    let hub = &shared.context.hub;
    let uptime_s = hub.started.elapsed().as_secs_f64();
    gauge(registry, "yoloslim_uptime_seconds", "Time since the start", [(Labels::new(), uptime_s)]);
    let model = hub.model.get();
    let bundle = model.bundle.as_ref().map(|bundle| bundle.digest.clone());
    let labels = vec![
        ("name", model.name()),
        ("digest", model.digest.clone()),
        ("bundle", bundle.unwrap_or_default()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    registry.register(
        "yoloslim_model",
        "The model that is used, and the server's version",
        Info::new(labels),
    );
    registry.register(
        "yoloslim_http_requests",
        "Answers by route and status",
        shared.requests.0.clone(),
    );
}
