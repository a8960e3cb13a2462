//! mAP by both definitions in use, and how certain a comparison of two is.

mod bootstrap;
mod coco;
mod ground_truth;
mod ultralytics;

use serde::{Deserialize, Serialize};

pub use bootstrap::{RatioInterval, paired_bootstrap};
pub use coco::{ClassMetrics, ClassRecall, CocoEvaluator, CocoMetrics, Matches};
pub use ground_truth::{Category, GroundTruth, GroundTruthObject};
pub use ultralytics::UltralyticsMetrics;

use crate::{CocoResult, YoloError};

/// Everything that `val` says about accuracy; keys as documented.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// By the COCO protocol.
    #[serde(flatten)]
    pub coco: CocoMetrics,
    /// By the definition that Ultralytics' `val` prints.
    #[serde(flatten)]
    pub ultralytics: UltralyticsMetrics,
    /// Images evaluated.
    pub images: usize,
    /// Detections evaluated.
    pub detections: usize,
}

impl Metrics {
    /// Of a data set of which nothing could be read: figures that are not there, null in JSON.
    pub fn unmeasured() -> Self {
        let none = f64::NAN;
        Self {
            coco: CocoMetrics::unmeasured(),
            ultralytics: UltralyticsMetrics {
                ultralytics_map_50_95: none,
                ultralytics_map_50: none,
                ultralytics_precision: none,
                ultralytics_recall: none,
            },
            images: 0,
            detections: 0,
        }
    }
}

/// Metrics of one set of detections by both definitions, with the matches for a paired comparison.
///
/// # Errors
/// `UnknownImageId` if a detection is on an image that the ground truth does not have.
pub fn evaluate(
    ground_truth: &GroundTruth,
    detections: &[CocoResult],
) -> Result<(Metrics, Matches), YoloError> {
    let matches = CocoEvaluator::new(ground_truth).evaluate(detections)?;
    let metrics = Metrics {
        coco: matches.accumulate(None),
        ultralytics: ultralytics::evaluate(ground_truth, detections)?,
        images: ground_truth.images(),
        detections: detections.len(),
    };
    Ok((metrics, matches))
}

/// The ten IoU thresholds .50:.05:.95, with the rounding of `numpy.linspace`, which decides ties.
fn iou_thresholds() -> [f64; THRESHOLDS] {
    let step = (0.95 - 0.5) / (THRESHOLDS - 1) as f64;
    let mut thresholds = std::array::from_fn(|i| i as f64 * step + 0.5);
    thresholds[THRESHOLDS - 1] = 0.95;
    thresholds
}

const THRESHOLDS: usize = 10;

/// Index of IoU 0.75 among the thresholds.
const AT_75: usize = 5;
