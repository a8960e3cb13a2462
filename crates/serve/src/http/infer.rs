//! The Open Inference Protocol v2: the network as it is, tensors in and tensors out. Source: kserve's `open-inference-protocol`,
//! `inference_rest.md`.
use super::body::{self, Posted};
use super::tensor::{Elements, Flat, datatype};
use super::{App, Refusal, Shared, health};
use crate::model::ServedModel;
use crate::request::{Answer, Answered, Task};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use ir::{DataType, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use yolo::Port;

/// `GET /v2`.
pub(super) async fn server() -> Json<Value> {
    Json(json!({ "name": "yoloslim", "version": env!("CARGO_PKG_VERSION"), "extensions": [] }))
}

/// `GET /v2/health/live`.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// `GET /v2/health/ready`.
pub(super) async fn ready(State(shared): App) -> Result<Json<Value>, Refusal> {
    health::check(&shared)?;
    Ok(Json(json!({ "ready": true })))
}

/// `GET /v2/models/{model}`.
pub(super) async fn model(
    State(shared): App,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let model = named(&shared, &name)?;
    Ok(Json(json!({
        "name": name,
        "versions": [],
        "platform": "onnx_yoloslim",
        "inputs": ports(&model.detector.inputs),
        "outputs": ports(&model.detector.outputs),
    })))
}

/// `GET /v2/models/{model}/ready`. A model that is there was opened and proven.
pub(super) async fn model_ready(
    State(shared): App,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    named(&shared, &name)?;
    Ok(Json(json!({ "name": name, "ready": true })))
}

#[derive(Deserialize)]
struct Asked {
    id: Option<String>,
    inputs: Vec<Input>,
    /// Those that are wanted; all where none are named.
    #[serde(default)]
    outputs: Vec<Wanted>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Elements,
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
}

#[derive(Serialize)]
struct Inferred {
    model_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<Output>,
}

#[derive(Serialize)]
struct Output {
    name: String,
    shape: Vec<usize>,
    datatype: &'static str,
    data: Flat,
}

/// `POST /v2/models/{model}/infer`.
pub(super) async fn infer(
    State(shared): App,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let model = named(&shared, &name)?;
    let posted = Posted::receive(&shared, request).await?;
    let permit = body::permit(&shared).await?;
    // A million numbers are read in a tenth of a second: others are answered meanwhile. What was posted is freed with them.
    let read = tokio::task::spawn_blocking(move || {
        let asked: Asked = serde_json::from_slice(&posted.bytes).map_err(Refusal::bad)?;
        let ready = ready_to_run(asked, &model)?;
        Ok::<_, Refusal>((ready, permit))
    });
    let (ready, permit) = read.await.map_err(Refusal::internal)??;
    let answer = shared.in_time(shared.context.hub.ask(Task::Infer(ready.inputs))).await??;
    let written = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let outputs = outputs(answer, &ready.wanted)?;
        Ok(Json(Inferred { model_name: name, id: ready.id, outputs }).into_response())
    });
    written.await.map_err(Refusal::internal)?
}

/// The model that is used, if it has this name.
fn named(shared: &Shared, name: &str) -> Result<Arc<ServedModel>, Refusal> {
    let model = shared.context.hub.model.get();
    if model.name() == name {
        return Ok(model);
    }
    Err(Refusal::not_found(format!("there is no model {name:?}; {:?} is served", model.name())))
}

fn ports(ports: &[Port]) -> Vec<Value> {
    let port =
        |p: &Port| json!({ "name": p.name, "datatype": datatype(p.ty.dtype), "shape": p.ty.shape });
    ports.iter().map(port).collect()
}

/// What a session is asked, and what is told of its answer.
struct Ready {
    id: Option<String>,
    inputs: Vec<Vec<f32>>,
    wanted: Vec<String>,
}

/// The inputs in the model's order.
///
/// # Errors
/// 400 where one is missing, unknown, there twice, of another shape or type, or where an output is unknown.
fn ready_to_run(asked: Asked, model: &ServedModel) -> Result<Ready, Refusal> {
    let Asked { id, inputs: mut given, outputs } = asked;
    let mut inputs = Vec::new();
    for port in &model.detector.inputs {
        let at = given.iter().position(|input| input.name == port.name);
        let at = at.ok_or_else(|| Refusal::bad(format!("the input {:?} is missing", port.name)))?;
        inputs.push(elements(given.swap_remove(at), port)?);
    }
    if let Some(other) = given.first() {
        return Err(Refusal::bad(format!("the input {:?} is unknown, or there twice", other.name)));
    }
    let known = |name: &String| model.detector.outputs.iter().any(|port| port.name == *name);
    let wanted: Vec<String> = outputs.into_iter().map(|output| output.name).collect();
    match wanted.iter().find(|name| !known(name)) {
        Some(name) => Err(Refusal::bad(format!("the model has no output {name:?}"))),
        None => Ok(Ready { id, inputs, wanted }),
    }
}

fn elements(input: Input, port: &Port) -> Result<Vec<f32>, Refusal> {
    let Input { name, shape, datatype: given, data } = input;
    if port.ty.dtype != DataType::F32 || given != "FP32" {
        return Err(Refusal::bad(format!(
            "the input {name:?} is of type {given}; it must be FP32"
        )));
    }
    if shape != port.ty.shape {
        let expected = &port.ty.shape;
        return Err(Refusal::bad(format!(
            "the input {name:?} has the shape {shape:?}; it must be {expected:?}"
        )));
    }
    if !data.fit(&shape) {
        let count = data.values.len();
        return Err(Refusal::bad(format!(
            "the input {name:?} has {count} elements, which do not lie as {shape:?} says"
        )));
    }
    Ok(data.values)
}

/// The outputs that are wanted, in that order.
fn outputs(answer: Answer, wanted: &[String]) -> Result<Vec<Output>, Refusal> {
    let Answered::Outputs(tensors) = answer.result else {
        return Err(Refusal::internal("a session answered another question"));
    };
    let ports = &answer.model.detector.outputs;
    let output = |(port, tensor): (&Port, Tensor)| {
        let name = port.name.clone();
        let datatype = datatype(tensor.dtype());
        let datatype = datatype.ok_or_else(|| {
            Refusal::internal(format!("the output {name:?} is of an unknown type"))
        })?;
        Ok(Output { name, shape: tensor.shape().to_vec(), datatype, data: Flat(tensor) })
    };
    let all: Vec<(&Port, Tensor)> = ports.iter().zip(tensors).collect();
    if wanted.is_empty() {
        return all.into_iter().map(output).collect();
    }
    let named = |name: &String| {
        let found = all.iter().find(|(port, _)| port.name == *name).cloned();
        // Between question and answer the model was changed.
        found
            .ok_or_else(|| {
                Refusal::unavailable(format!("the model has no output {name:?} any more"))
            })
            .and_then(output)
    };
    wanted.iter().map(named).collect()
}
