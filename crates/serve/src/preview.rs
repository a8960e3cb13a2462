//! A picture of what a source shows now, with its objects, for whoever looks: while nobody does, none is made.
use crate::ServeError;
use crate::frame::Picture;
use axum::body::Bytes;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use yolo::{BoxXyxy, Detection, YoloError, YuvFrame, draw_detections};

/// The longer side of a picture.
const LONGER_SIDE_PX: usize = 640;

/// Not more often than this, whatever the source's rate.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// Of pictures as JPEG: lines and letters stay sharp.
const JPEG_QUALITY: u8 = 85;

/// A picture of what a source shows now.
#[derive(Debug)]
pub struct Preview {
    /// The frame's number.
    pub frame: u64,
    /// The picture, without objects.
    pub image: RgbImage,
    /// The objects, in pixels of the picture.
    pub detections: Vec<Detection>,
    /// Names of all classes.
    pub labels: Vec<String>,
    /// With its objects drawn, once somebody asked for it.
    jpeg: OnceLock<Result<Bytes, String>>,
}

impl Preview {
    /// The picture with its objects drawn, as JPEG. It is made once, however many look.
    ///
    /// # Errors
    /// What the encoder says.
    pub(crate) fn jpeg(&self) -> Result<Bytes, String> {
        let encoded = self.jpeg.get_or_init(|| {
            let mut drawn = self.image.clone();
            draw_detections(&mut drawn, &self.detections, &self.labels);
            let mut bytes = Vec::new();
            let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
            drawn.write_with_encoder(encoder).map_err(|error| error.to_string())?;
            Ok(bytes.into())
        });
        encoded.clone()
    }
}

/// The pictures of one source.
#[derive(Debug)]
pub(crate) struct Previews {
    /// How many look.
    viewers: Arc<AtomicUsize>,
    latest: Arc<watch::Sender<Option<Arc<Preview>>>>,
    /// When the last one was made.
    made: Mutex<Option<Instant>>,
}

/// Somebody who looks at a source's pictures: they are made as long as it lives.
#[derive(Debug)]
pub(crate) struct Viewer {
    viewers: Arc<AtomicUsize>,
    latest: Arc<watch::Sender<Option<Arc<Preview>>>>,
    /// The pictures.
    pub(crate) pictures: watch::Receiver<Option<Arc<Preview>>>,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        if self.viewers.fetch_sub(1, Ordering::Relaxed) == 1 {
            // From now on it is not kept up to date, and who looks next must not take it for live.
            self.latest.send_replace(None);
        }
    }
}

impl Previews {
    pub(crate) fn new() -> Self {
        Self {
            viewers: Arc::default(),
            latest: Arc::new(watch::Sender::new(None)),
            made: Mutex::default(),
        }
    }

    /// Somebody looks.
    pub(crate) fn look(&self) -> Viewer {
        self.viewers.fetch_add(1, Ordering::Relaxed);
        Viewer {
            viewers: Arc::clone(&self.viewers),
            latest: Arc::clone(&self.latest),
            pictures: self.latest.subscribe(),
        }
    }

    /// The source shows nothing any more.
    pub(crate) fn clear(&self) {
        self.latest.send_replace(None);
    }

    /// Makes a picture, where somebody looks and the last one is old enough.
    ///
    /// # Errors
    /// `Yolo` for a frame that is not whole.
    pub(crate) fn offer(
        &self,
        number: u64,
        picture: &Picture,
        detections: &[Detection],
        labels: &[Arc<str>],
    ) -> Result<(), ServeError> {
        if self.viewers.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let now = Instant::now();
        {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            if made.is_some_and(|last| now.duration_since(last) < LEAST_INTERVAL) {
                return Ok(());
            }
            *made = Some(now);
        }
        let [width, _] = picture.size_px();
        let image = small(picture)?;
        let ratio = image.width() as f32 / width as f32;
        let scaled = |d: &Detection| {
            let BoxXyxy { left, top, right, bottom } = d.bbox;
            let edges = [left, top, right, bottom].map(|edge| edge * ratio);
            Detection { bbox: BoxXyxy::from_corners(edges), ..*d }
        };
        let preview = Preview {
            frame: number,
            image,
            detections: detections.iter().map(scaled).collect(),
            labels: labels.iter().map(|label| label.to_string()).collect(),
            jpeg: OnceLock::new(),
        };
        self.latest.send_replace(Some(Arc::new(preview)));
        Ok(())
    }
}

/// A picture of a frame, not larger than the frame.
fn small(picture: &Picture) -> Result<RgbImage, YoloError> {
    let [width, height] = picture.size_px();
    let longer = width.max(height);
    let side = |px: usize| (px * LONGER_SIDE_PX.min(longer) / longer).max(1);
    let [width, height] = [side(width), side(height)];
    match picture {
        Picture::Rgb(rgb) => Ok(resize(rgb, width as u32, height as u32, FilterType::Triangle)),
        Picture::Yuv { bytes, size_px, colours } => {
            YuvFrame::contiguous(bytes, *size_px, *colours)?.to_image([width, height])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_after_the_last_viewer_left_finds_no_old_picture() {
        let previews = Previews::new();
        let picture = Picture::Rgb(RgbImage::new(8, 6));
        previews.offer(0, &picture, &[], &[]).unwrap();
        let first = previews.look();
        assert!(first.pictures.borrow().is_none(), "nobody looked when it was offered");
        previews.offer(1, &picture, &[], &[]).unwrap();
        let second = previews.look();
        drop(first);
        assert_eq!(second.pictures.borrow().as_ref().unwrap().frame, 1);
        drop(second);
        assert!(previews.look().pictures.borrow().is_none());
    }
}
