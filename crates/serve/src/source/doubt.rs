//! Frames that are no live pictures: green ones, and the same one over and over.
use crate::frame::Picture;
use std::hash::Hasher;
use std::time::{Duration, Instant};
use twox_hash::XxHash3_64;

/// Every so many chroma samples one is looked at, along both axes.
const CHROMA_STEP: usize = 8;

/// No legal colour has both chroma samples this low: a decoder that has nothing to show leaves zeros, which are green.
const NO_COLOUR: u8 = 8;

/// A frame with more of its samples without colour is no picture: one in this many.
const GREEN_SHARE: usize = 100;

/// Every so many rows of luma one is compared with the frame before.
const LUMA_STEP: usize = 4;

/// What is wrong with a frame that was decoded without complaint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Doubt {
    /// A part of it was never decoded.
    Green,
    /// It has been the same to the bit for so long.
    Frozen(Duration),
}

/// Looks at the frames of a source one after another.
#[derive(Debug)]
pub(crate) struct Doubts {
    /// For how long frames may be equal; none where that is never looked at.
    frozen_after: Option<Duration>,
    last: u64,
    since: Option<Instant>,
}

impl Doubts {
    /// With no frame seen; `frozen_after_s` of 0 allows equal frames for ever.
    pub(crate) fn new(frozen_after_s: f64) -> Self {
        let frozen_after = (frozen_after_s > 0.0).then(|| Duration::from_secs_f64(frozen_after_s));
        Self { frozen_after, last: 0, since: None }
    }

    /// What is wrong with the next frame, if anything is.
    pub(crate) fn look(&mut self, picture: &Picture, now: Instant) -> Option<Doubt> {
        // Images of a folder come from files: nothing was lost on their way, and they may well be equal.
        let Picture::Yuv { bytes, size_px, .. } = picture else { return None };
        if is_green(bytes, *size_px) {
            return Some(Doubt::Green);
        }
        let frozen_after = self.frozen_after?;
        let hash = hash(bytes, *size_px);
        match self.since {
            Some(since) if hash == self.last => {
                let frozen = now.duration_since(since);
                (frozen >= frozen_after).then_some(Doubt::Frozen(frozen))
            }
            _ => {
                self.last = hash;
                self.since = Some(now);
                None
            }
        }
    }
}

fn is_green(bytes: &[u8], [width, height]: [usize; 2]) -> bool {
    let [chroma_width, chroma_height] = [width.div_ceil(2), height.div_ceil(2)];
    let (_, chroma) = bytes.split_at(width * height);
    let (u, v) = chroma.split_at(chroma_width * chroma_height);
    let rows = u.chunks_exact(chroma_width).zip(v.chunks_exact(chroma_width));
    let (mut green, mut seen) = (0, 0);
    for (u, v) in rows.step_by(CHROMA_STEP) {
        for (u, v) in u.iter().zip(v).step_by(CHROMA_STEP) {
            seen += 1;
            green += usize::from(*u <= NO_COLOUR && *v <= NO_COLOUR);
        }
    }
    green * GREEN_SHARE > seen
}

/// A digest of some rows, so that no frame is kept for comparison.
fn hash(bytes: &[u8], [width, height]: [usize; 2]) -> u64 {
    let mut hasher = XxHash3_64::with_seed(0);
    for row in bytes[..width * height].chunks_exact(width).step_by(LUMA_STEP) {
        hasher.write(row);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yolo::{YuvColours, YuvMatrix, YuvRange};

    const SIZE_PX: [usize; 2] = [64, 48];

    fn picture(luma: u8, chroma: [u8; 2], green_rows: usize) -> Picture {
        let [width, height] = SIZE_PX;
        let mut bytes = vec![luma; width * height];
        for value in chroma {
            let mut plane = vec![value; width / 2 * (height / 2)];
            let decoded = plane.len() - green_rows * width / 2;
            plane[decoded..].fill(0);
            bytes.extend(plane);
        }
        let colours = YuvColours { matrix: YuvMatrix::Bt601, range: YuvRange::Limited };
        Picture::Yuv { bytes, size_px: SIZE_PX, colours }
    }

    #[test]
    fn look_at_a_frame_whose_end_was_never_decoded_is_green() {
        let mut doubts = Doubts::new(10.0);
        let now = Instant::now();
        assert_eq!(doubts.look(&picture(0, [0, 0], 0), now), Some(Doubt::Green));
        assert_eq!(doubts.look(&picture(90, [128, 120], 12), now), Some(Doubt::Green));
        // The purest green that a camera can send.
        assert_eq!(doubts.look(&picture(145, [54, 34], 0), now), None);
    }

    #[test]
    fn look_at_equal_frames_is_frozen_only_after_the_time_given() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut doubts = Doubts::new(10.0);
        assert_eq!(doubts.look(&picture(90, [128, 128], 0), at(0)), None);
        assert_eq!(doubts.look(&picture(90, [128, 128], 0), at(9)), None);
        let frozen = doubts.look(&picture(90, [128, 128], 0), at(10));
        assert_eq!(frozen, Some(Doubt::Frozen(Duration::from_secs(10))));
        assert_eq!(doubts.look(&picture(91, [128, 128], 0), at(11)), None);
        let mut never = Doubts::new(0.0);
        assert_eq!(never.look(&picture(90, [128, 128], 0), at(0)), None);
        assert_eq!(never.look(&picture(90, [128, 128], 0), at(1000)), None);
    }
}
