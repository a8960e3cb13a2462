//! Whether the process is alive, and whether it does its work.
use super::{App, Refusal, Shared};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// `GET /healthz`.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// `GET /readyz`.
pub(super) async fn ready(State(shared): App) -> Result<Json<Value>, Refusal> {
    check(&shared)?;
    Ok(Json(json!({ "status": "ready" })))
}

/// Whether work is done: a model is always there; of the sources, where there are any, one must be live.
///
/// # Errors
/// 503, with the reason.
pub(super) fn check(shared: &Shared) -> Result<(), Refusal> {
    let hub = &shared.context.hub;
    if hub.is_stopping() {
        return Err(Refusal::unavailable("the server is stopping"));
    }
    let live = hub.sources.iter().any(|source| source.state().name() == "live");
    if live || hub.sources.is_empty() {
        return Ok(());
    }
    Err(Refusal::unavailable("no source is live; /v1/status tells why"))
}
