//! A device's metrics, as Prometheus' textfile collector reads them.
use crate::status::Status;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

type Labels = Vec<(&'static str, String)>;
type Sample = (Labels, f64);
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// The metrics of a device. Facts are gauges of 1 with labels: the collector does not know OpenMetrics' type for them.
pub(crate) fn text(status: &Status) -> String {
    let mut registry = Registry::default();
    let alone = |value: f64| (Labels::new(), value);
    let flag = |value: bool| f64::from(u8::from(value));
    let running = status.running.as_ref();
    let digest =
        |digest: Option<&crate::Digest>| digest.map(ToString::to_string).unwrap_or_default();
    let info = vec![
        ("device", status.device.clone()),
        ("alias", status.alias.clone()),
        ("program", status.program.clone()),
    ];
    let model = running.map(|running| {
        let labels = vec![
            ("name", running.name.clone()),
            ("version", running.version.to_string()),
            ("manifest", digest(running.manifest.as_ref())),
            ("bundle", digest(Some(&running.bundle))),
        ];
        (labels, 1.0)
    });
    let failed = status.failed.as_ref().map(|failed| {
        let stage = serde_json::to_value(failed.stage).ok();
        let stage = stage.and_then(|stage| Some(stage.as_str()?.to_owned())).unwrap_or_default();
        (vec![("manifest", digest(Some(&failed.manifest))), ("stage", stage)], 1.0)
    });
    let on_alias = status.wanted.is_some() && running.and_then(|r| r.manifest) == status.wanted;
    let seconds = status.last_success_s.map(|s| alone(s as f64));
    let rows: [(&str, &str, Option<Sample>); 10] = [
        ("info", "The agent", Some((info, 1.0))),
        ("model_info", "The bundle that is in use", model),
        ("model_version", "Version of the bundle in use", running.map(|r| alone(r.version as f64))),
        ("failed_info", "What the device does not take, and where it failed", failed),
        ("healthy", "Whether the bundle in use has held", Some(alone(flag(status.healthy)))),
        ("probation", "Whether it is in its probation", Some(alone(flag(status.probation)))),
        ("on_alias", "Whether it is what the alias names", Some(alone(flag(on_alias)))),
        (
            "error",
            "Whether the last look came to nothing",
            Some(alone(flag(status.error.is_some()))),
        ),
        ("free_bytes", "Bytes free for bundles", status.free_bytes.map(|b| alone(b as f64))),
        ("last_success_timestamp_seconds", "When it was last found to be on its alias", seconds),
    ];
    for (name, help, row) in rows {
        // What is not known is left out rather than 0.
        if let Some((labels, value)) = row {
            let gauges = Gauges::default();
            gauges.get_or_create(&labels).set(value);
            registry.register(format!("yoloslim_agent_{name}"), help, gauges);
        }
    }
    let rollbacks: Counter = Counter::default();
    rollbacks.inc_by(status.rollbacks);
    registry.register("yoloslim_agent_rollbacks", "Bundles taken back", rollbacks);
    let mut text = String::new();
    // A String takes everything.
    let _ = encode(&mut text, &registry);
    text
}
