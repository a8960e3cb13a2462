//! Objects in posted images: in our own words, and in those of DeepStack, which Frigate and many others speak.
use super::body::{self, Field, Posted, PostedImage};
use super::{App, Refusal, Shared};
use crate::request::{Answer, Answered, Task};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use yolo::{BoxXyxy, Detection, Thresholds};

/// What counts as an object, where it is not the family's usual.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Wanted {
    conf: Option<f32>,
    iou: Option<f32>,
}

/// What was found, and where.
struct Found {
    answer: Answer,
    size_px: [u32; 2],
    /// The most confident first.
    objects: Vec<(String, Detection)>,
}

#[derive(Serialize)]
struct Object {
    label: String,
    score: f32,
    class: usize,
    #[serde(rename = "box")]
    bbox: BoxXyxy,
}

/// `POST /v1/detect`.
pub(super) async fn detect(
    State(shared): App,
    wanted: Result<Query<Wanted>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let Query(wanted) = wanted.map_err(|error| Refusal::bad(error.body_text()))?;
    wanted.check()?;
    let posted = Posted::receive(&shared, request).await?;
    let bytes = posted.image_bytes().await?;
    let image = body::decode(&shared, bytes).await?;
    let Found { answer, size_px: [width_px, height_px], objects } =
        find(&shared, image, wanted).await?;
    let object = |(label, d): (String, Detection)| Object {
        label,
        score: d.score,
        class: d.class,
        bbox: d.bbox,
    };
    let objects: Vec<Object> = objects.into_iter().map(object).collect();
    Ok(Json(json!({
        "model": answer.model.digest,
        "width_px": width_px,
        "height_px": height_px,
        "took_ms": answer.took_ms,
        "detections": objects,
    }))
    .into_response())
}

#[derive(Serialize)]
struct Prediction {
    label: String,
    confidence: f32,
    x_min: i64,
    y_min: i64,
    x_max: i64,
    y_max: i64,
}

/// `POST /v1/vision/detection`. Source: DeepStack's object detection API, as Frigate's client of it and CodeProject.AI have it.
pub(super) async fn deepstack(State(shared): App, request: Request) -> Response {
    match predictions(&shared, request).await {
        Ok(answer) => answer,
        Err(refusal) => {
            let status = refusal.status;
            let told = json!({ "success": false, "error": refusal.error, "duration": 0 });
            (status, Json(told)).into_response()
        }
    }
}

async fn predictions(shared: &Shared, request: Request) -> Result<Response, Refusal> {
    let posted = Posted::receive(shared, request).await?;
    let fields = posted.fields().await?;
    let wanted = Wanted { conf: least_confidence(&fields)?, iou: None };
    wanted.check()?;
    let image =
        fields.into_iter().find(|field| field.name == "image").ok_or_else(body::no_image)?;
    let image = body::decode(shared, image.bytes).await?;
    let found = find(shared, image, wanted).await?;
    let [width, height] = found.size_px.map(i64::from);
    let pixel = |edge: f32, most: i64| (edge.round() as i64).clamp(0, most);
    let prediction = |(label, Detection { bbox, score, .. }): (String, Detection)| Prediction {
        label,
        confidence: score,
        x_min: pixel(bbox.left, width),
        y_min: pixel(bbox.top, height),
        x_max: pixel(bbox.right, width),
        y_max: pixel(bbox.bottom, height),
    };
    let predictions: Vec<Prediction> = found.objects.into_iter().map(prediction).collect();
    let duration = found.answer.took_ms.round() as u64;
    Ok(Json(json!({ "success": true, "predictions": predictions, "duration": duration }))
        .into_response())
}

/// `min_confidence` of a form.
fn least_confidence(fields: &[Field]) -> Result<Option<f32>, Refusal> {
    let Some(field) = fields.iter().find(|field| field.name == "min_confidence") else {
        return Ok(None);
    };
    let number = std::str::from_utf8(&field.bytes).ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| Refusal::bad("min_confidence is no number"))
}

impl Wanted {
    fn check(self) -> Result<(), Refusal> {
        for (name, share) in [("confidence", self.conf), ("iou", self.iou)] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                return Err(Refusal::bad(format!("the {name} must be 0 to 1")));
            }
        }
        Ok(())
    }
}

/// Asks a session for the objects of an image.
async fn find(shared: &Shared, posted: PostedImage, wanted: Wanted) -> Result<Found, Refusal> {
    let hub = &shared.context.hub;
    let usual = hub.model.get().detector.head.family.thresholds;
    let PostedImage { image, permit } = posted;
    let size_px = [image.width(), image.height()];
    let thresholds = (wanted.conf.is_some() || wanted.iou.is_some()).then(|| Thresholds {
        conf: wanted.conf.unwrap_or(usual.conf),
        iou: wanted.iou.unwrap_or(usual.iou),
    });
    let mut answer = shared.in_time(hub.ask(Task::Detect { image, thresholds })).await??;
    drop(permit);
    match &mut answer.result {
        Answered::Objects(objects) => {
            let mut objects = std::mem::take(objects);
            objects.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
            Ok(Found { objects, answer, size_px })
        }
        Answered::Outputs(_) => Err(Refusal::internal("a session answered another question")),
    }
}
