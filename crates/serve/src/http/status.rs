//! What is known of everything, and the machine's last hour.
use super::{App, Refusal};
use crate::model::ServedModel;
use crate::readings::Reading;
use crate::status::SourceReport;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is known of everything.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    uptime_s: f64,
    sessions: usize,
    model: Value,
    sources: Vec<Source>,
    machine: Option<Reading>,
}

#[derive(Serialize)]
struct Source {
    #[serde(flatten)]
    report: SourceReport,
    /// How many objects of each class it sees now.
    objects: BTreeMap<String, usize>,
}

/// A model in a few words.
pub(super) fn describe(model: &ServedModel) -> Value {
    json!({
        "name": model.name(),
        "path": model.path.display().to_string(),
        "digest": model.digest,
        "bundle": model.bundle.as_ref().map(|bundle| json!({
            "digest": bundle.digest,
            "version": bundle.version,
        })),
        "family": model.detector.head.family.name,
        "labels": model.labels,
    })
}

/// `GET /v1/status`.
pub(super) async fn status(State(shared): App) -> Json<Status> {
    let hub = &shared.context.hub;
    let source = |(i, source): (usize, &std::sync::Arc<crate::SourceStatus>)| Source {
        report: source.report(),
        objects: hub.objects(i),
    };
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: hub.started.elapsed().as_secs_f64(),
        sessions: shared.context.settings.session_count(),
        model: describe(&hub.model.get()),
        sources: hub.sources.iter().enumerate().map(source).collect(),
        machine: hub.machine.latest(),
    })
}

/// Which readings.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Every so many.
    step: Option<usize>,
}

/// `GET /v1/machine`.
pub(super) async fn machine(
    State(shared): App,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(wanted) = wanted.map_err(|error| Refusal::bad(error.body_text()))?;
    let readings = shared.context.hub.machine.history(wanted.step.unwrap_or(1));
    Ok(Json(json!({ "readings": readings })))
}
