//! What a source shows now, with its objects: one picture, or a stream of them.
use super::{App, Refusal, Shared};
use crate::message::SourceState;
use crate::preview::{Preview, Viewer};
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a caller waits for the first picture: a source at one frame a second has shown one by then.
const FIRST_WITHIN: Duration = Duration::from_secs(3);

/// Pictures are made for so long after one was asked for, so that a page that asks again and again gets the next at once.
const LINGERS: Duration = Duration::from_secs(15);

/// A stream without a picture for so long ends: the client asks anew, and one that has gone holds nothing.
const STREAM_WITHIN: Duration = Duration::from_secs(30);

/// Between two pictures of a stream.
const BOUNDARY: &str = "yoloslim-frame";

/// `GET /v1/sources/{name}/latest.jpg`.
pub(super) async fn latest(
    State(shared): App,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let mut viewer = look(&shared, &name)?;
    let picture = timeout(FIRST_WITHIN, next(&mut viewer, None)).await.ok().flatten();
    tokio::spawn(async move {
        sleep(LINGERS).await;
        drop(viewer);
    });
    let picture =
        picture.ok_or_else(|| Refusal::unavailable(format!("{name} has shown nothing yet")))?;
    let jpeg = encoded(picture).await.map_err(Refusal::internal)?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
}

/// `GET /v1/sources/{name}/stream.mjpeg`.
pub(super) async fn stream(
    State(shared): App,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let viewer = look(&shared, &name)?;
    let start = Stream { shared, viewer, last: None };
    let parts = stream::unfold(start, |mut stream| async move {
        let part = stream.part().await?;
        Some((Ok::<Bytes, Infallible>(part), stream))
    });
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(parts)).into_response())
}

/// Somebody who watches.
struct Stream {
    shared: Arc<Shared>,
    viewer: Viewer,
    /// Number of the frame that was shown last.
    last: Option<u64>,
}

impl Stream {
    /// The next picture as a part of the stream; none at its end.
    async fn part(&mut self) -> Option<Bytes> {
        let picture = tokio::select! {
            picture = timeout(STREAM_WITHIN, next(&mut self.viewer, self.last)) => picture.ok()??,
            () = self.shared.context.hub.stopped() => return None,
        };
        self.last = Some(picture.frame);
        let jpeg = encoded(picture).await.ok()?;
        let length = jpeg.len();
        let head =
            format!("--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n");
        Some([head.as_bytes(), &jpeg, b"\r\n"].concat().into())
    }
}

/// Begins to look at a source that is not down.
fn look(shared: &Shared, name: &str) -> Result<Viewer, Refusal> {
    let hub = &shared.context.hub;
    let source = hub
        .source(name)
        .ok_or_else(|| Refusal::not_found(format!("there is no source {name:?}")))?;
    match hub.sources[source].state() {
        SourceState::Starting | SourceState::Live => Ok(hub.previews[source].look()),
        SourceState::Ended => Err(Refusal::unavailable(format!("{name} is at its end"))),
        SourceState::Down { detail, .. } => {
            Err(Refusal::unavailable(format!("{name} is down: {detail}")))
        }
    }
}

/// Waits for a picture of another frame than the last one.
async fn next(viewer: &mut Viewer, last: Option<u64>) -> Option<Arc<Preview>> {
    let other =
        |picture: &Option<Arc<Preview>>| picture.as_ref().is_some_and(|p| Some(p.frame) != last);
    viewer.pictures.wait_for(other).await.ok()?.clone()
}

/// A picture as JPEG, made where it holds up nobody.
async fn encoded(picture: Arc<Preview>) -> Result<Bytes, String> {
    let encoding = tokio::task::spawn_blocking(move || picture.jpeg());
    encoding.await.map_err(|error| error.to_string())?
}
