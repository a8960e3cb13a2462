//! What was posted: bodies within limits, and the images in them.
use super::{Refusal, Shared};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{Extensions, HeaderMap, header};
use futures_util::StreamExt;
use image::RgbImage;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use yolo::{YoloError, decode_rgb, decode_size};

/// What an image is called in messages.
const NAME: &str = "the image";

/// A body, and the memory that it was allowed to take.
pub(super) struct Posted {
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
    extensions: Extensions,
    _memory: Option<OwnedSemaphorePermit>,
}

/// A field of a form.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

/// An image, and the right to hold one.
pub(super) struct PostedImage {
    pub(super) image: RgbImage,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Posted {
    /// Receives the body of a request.
    ///
    /// # Errors
    /// 413 where it is too large, 408 where it does not come in time, 400 where it breaks off, 503 where there is no memory for it.
    pub(super) async fn receive(shared: &Shared, request: Request) -> Result<Self, Refusal> {
        let most = shared.context.settings.http.max_body_bytes;
        let (parts, body) = request.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > most) {
            return Err(too_long(most));
        }
        let received = receive(body, most, &shared.bodies_kib);
        let (bytes, memory) = shared.in_time(received).await??;
        Ok(Self { headers: parts.headers, bytes, extensions: parts.extensions, _memory: memory })
    }

    /// Whether it is a form with files in it.
    pub(super) fn is_form(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.is_some_and(|kind| {
            kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
        })
    }

    /// The fields of a form.
    ///
    /// # Errors
    /// 400 where it is none.
    pub(super) async fn fields(&self) -> Result<Vec<Field>, Refusal> {
        let mut request = Request::new(Body::from(self.bytes.clone()));
        *request.headers_mut() = self.headers.clone();
        // With the router's word that bodies are limited elsewhere.
        *request.extensions_mut() = self.extensions.clone();
        let refuse = |error: &dyn std::fmt::Display| Refusal::bad(format!("the form: {error}"));
        let form = Multipart::from_request(request, &()).await;
        let mut form = form.map_err(|error| refuse(&error.body_text()))?;
        let mut fields = Vec::new();
        while let Some(field) =
            form.next_field().await.map_err(|error| refuse(&error.body_text()))?
        {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(|error| refuse(&error.body_text()))?;
            fields.push(Field { name, bytes });
        }
        Ok(fields)
    }

    /// The bytes of an image: the body, or the field `image` of a form.
    ///
    /// # Errors
    /// As [`Posted::fields`]; 400 where there is none.
    pub(super) async fn image_bytes(&self) -> Result<Bytes, Refusal> {
        if !self.is_form() {
            return Ok(self.bytes.clone());
        }
        let image = self.fields().await?.into_iter().find(|field| field.name == "image");
        image.map(|field| field.bytes).ok_or_else(no_image)
    }
}

/// 400: a form without an image.
pub(super) fn no_image() -> Refusal {
    Refusal::bad("the form has no field `image`")
}

/// Decodes an image, once there is room for it.
///
/// # Errors
/// 413 where its header claims too many pixels, 400 where it is no image, 408 where there was no room in time.
pub(super) async fn decode(shared: &Shared, bytes: Bytes) -> Result<PostedImage, Refusal> {
    let most = shared.context.settings.http.max_image_pixels;
    let permit = permit(shared).await?;
    // The permit goes where the work is, which goes on when the caller has gone.
    let decoded = tokio::task::spawn_blocking(move || {
        let (width_px, height_px) = decode_size(Path::new(NAME), &bytes).map_err(refused)?;
        if u64::from(width_px) * u64::from(height_px) > most {
            return Err(Refusal::too_large(format!(
                "the image claims {width_px}x{height_px} pixels; http.max_image_pixels allows {most}"
            )));
        }
        let image = decode_rgb(Path::new(NAME), &bytes).map_err(refused)?;
        Ok(PostedImage { image, permit })
    });
    decoded.await.map_err(Refusal::internal)?
}

/// The right to hold an image or tensors.
pub(super) async fn permit(shared: &Shared) -> Result<OwnedSemaphorePermit, Refusal> {
    let permit = shared.in_time(Arc::clone(&shared.decoded).acquire_owned()).await?;
    permit.map_err(Refusal::unavailable)
}

fn refused(error: YoloError) -> Refusal {
    match error {
        YoloError::ImageTooLarge { .. } => Refusal::too_large(error),
        error => Refusal::bad(error),
    }
}

fn too_long(most: usize) -> Refusal {
    Refusal::too_large(format!(
        "the body is longer than {most} bytes, which http.max_body_bytes allows"
    ))
}

/// The bytes of a body as they come, counted against what all bodies together may hold.
async fn receive(
    body: Body,
    most: usize,
    memory: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| Refusal::bad("the body broke off"))?;
        if bytes.len() + part.len() > most {
            return Err(too_long(most));
        }
        bytes.extend_from_slice(&part);
        let missing =
            bytes.len().div_ceil(1024) - held.as_ref().map_or(0, |held| held.num_permits());
        // A body is at most 1 GiB, by the settings' own limit.
        let more = Arc::clone(memory).try_acquire_many_owned(missing as u32);
        let more =
            more.map_err(|_| Refusal::unavailable("too much is being received; try again later"))?;
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
    }
    Ok((bytes.into(), held))
}
