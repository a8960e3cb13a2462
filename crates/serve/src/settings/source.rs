//! Settings of one source.
use crate::{Location, ServeError};
use serde::Deserialize;
use yolo::Region;

/// Settings of one source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// Its name, as it stands in topics, paths and metrics.
    pub name: String,
    /// Where its pictures come from.
    #[serde(rename = "url")]
    pub location: Location,
    /// The most frames a second that are detected on; as many as come, by default.
    pub fps: Option<f64>,
    /// The part of the picture that is looked at; all of it by default.
    pub region: Option<RegionSettings>,
    /// Names of the classes that are reported; all by default.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Lowest confidence; the model's family's by default.
    pub conf: Option<f32>,
    /// Highest overlap of two boxes of one class; the model's family's by default.
    pub iou: Option<f32>,
    /// Whether a file begins again at its end.
    #[serde(default, rename = "loop")]
    pub looped: bool,
    /// Arguments of ffmpeg before its input, such as those of hardware decoding.
    #[serde(default)]
    pub decoder_args: Vec<String>,
    /// Without a new frame for so long the source is down, and its decoder is started anew.
    #[serde(default = "ten")]
    pub stale_after_s: f64,
    /// With frames that are equal to the bit for so long the source is down; 0 for never.
    #[serde(default = "half_a_minute")]
    pub frozen_after_s: f64,
}

/// A part of the picture, in shares of its width and height.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionSettings {
    /// Left edge, 0 to 1.
    pub left: f64,
    /// Top edge, 0 to 1.
    pub top: f64,
    /// Right edge, 0 to 1.
    pub right: f64,
    /// Bottom edge, 0 to 1.
    pub bottom: f64,
}

fn ten() -> f64 {
    10.0
}

fn half_a_minute() -> f64 {
    30.0
}

/// What names may hold: they stand in topics, paths and labels.
const NAME_CHARACTERS: &str = "letters, digits, - and _";

impl SourceSettings {
    /// The short form of a source, by its place alone, named by its number. A file begins again at its end.
    pub(crate) fn short(text: &str, index: usize) -> Result<Self, ServeError> {
        let location = Location::parse(text)?;
        Ok(Self {
            name: format!("camera{}", index + 1),
            location,
            fps: None,
            region: None,
            classes: Vec::new(),
            conf: None,
            iou: None,
            looped: true,
            decoder_args: Vec::new(),
            stale_after_s: ten(),
            frozen_after_s: half_a_minute(),
        })
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(allowed) {
            let name = self.name.clone();
            return Err(ServeError::Name { name, allowed: NAME_CHARACTERS });
        }
        self.location.check()?;
        let value = |field: &str, value: f64, range: &'static str| {
            Err(ServeError::Value { name: format!("{}: {field}", self.name), value, range })
        };
        if let Some(fps) = self.fps.filter(|fps| !(*fps > 0.0 && *fps <= 1000.0)) {
            return value("fps", fps, "above 0, at most 1000");
        }
        for (field, share) in [("conf", self.conf), ("iou", self.iou)] {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return value(field, f64::from(share), "0 to 1");
            }
        }
        if !(self.stale_after_s >= 0.5 && self.stale_after_s.is_finite()) {
            return value("stale_after_s", self.stale_after_s, "at least 0.5");
        }
        if !(self.frozen_after_s >= 0.0 && self.frozen_after_s.is_finite()) {
            return value("frozen_after_s", self.frozen_after_s, "at least 0");
        }
        match self.region {
            Some(region) if !region.is_inside() => {
                Err(ServeError::Region { name: self.name.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl RegionSettings {
    /// The region of a frame of this width and height: at least one pixel, and inside of it.
    pub(crate) fn in_pixels(&self, [width, height]: [usize; 2]) -> Region {
        let part = |from: f64, to: f64, all: usize| {
            let first = ((from * all as f64).round() as usize).min(all - 1);
            let last = ((to * all as f64).round() as usize).clamp(first + 1, all);
            (first, last - first)
        };
        let (left, width) = part(self.left, self.right, width);
        let (top, height) = part(self.top, self.bottom, height);
        Region { left, top, width, height }
    }

    /// Whether it lies in the picture and has an area.
    fn is_inside(&self) -> bool {
        let Self { left, top, right, bottom } = *self;
        0.0 <= left && left < right && right <= 1.0 && 0.0 <= top && top < bottom && bottom <= 1.0
    }
}
