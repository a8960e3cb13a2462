//! How certain a ratio of two mAP figures is, given that the images are a sample.

use numerics::{Rng, percentile};
use serde::{Deserialize, Serialize};

use super::Matches;
use crate::YoloError;

/// A ratio with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioInterval {
    /// Candidate's `map_50_95` over the baseline's, on the images as they are.
    pub ratio: f64,
    /// 2.5th percentile over resampled lists of images.
    pub lower: f64,
    /// 97.5th percentile.
    pub upper: f64,
}

/// The ratio candidate / baseline of `map_50_95`, with its paired percentile bootstrap interval.
///
/// Every round draws as many images as there are, with replacement, and evaluates both on that same
/// list. Rounds on which the baseline is 0 say nothing and are left out. Equal seeds, equal intervals.
///
/// # Errors
/// `DifferentImages` if the two were not evaluated on the same images in the same order;
/// `BaselineIsZero` if there is nothing to compare with.
///
/// Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
pub fn paired_bootstrap(
    baseline: &Matches,
    candidate: &Matches,
    seed: u64,
    rounds: usize,
) -> Result<RatioInterval, YoloError> {
    let images = baseline.image_ids().len();
    if baseline.image_ids() != candidate.image_ids() {
        return Err(YoloError::DifferentImages {
            baseline: images,
            candidate: candidate.image_ids().len(),
        });
    }
    let ratio_of = |weights: &[u32]| {
        let (whole, kept) = (baseline.map_50_95(weights), candidate.map_50_95(weights));
        (whole > 0.0).then(|| kept / whole)
    };
    let mut weights = vec![1; images];
    let ratio = ratio_of(&weights).ok_or(YoloError::BaselineIsZero)?;
    let mut random = Rng::new(seed);
    let mut ratios = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        weights.fill(0);
        for _ in 0..images {
            weights[random.below(images)] += 1;
        }
        ratios.extend(ratio_of(&weights));
    }
    ratios.sort_by(f64::total_cmp);
    let (lower, upper) = (percentile(&ratios, 0.025), percentile(&ratios, 0.975));
    Ok(RatioInterval { ratio, lower: lower.unwrap_or(ratio), upper: upper.unwrap_or(ratio) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CocoResult;
    use crate::metrics::{Category, CocoEvaluator, GroundTruth, GroundTruthObject};

    fn truth(images: u64) -> GroundTruth {
        let mut truth = GroundTruth::new(vec![Category { id: 0, name: "part".to_owned() }]);
        for image_id in 0..images {
            let bbox = [10.0, 10.0, 50.0, 50.0];
            let object = GroundTruthObject { class: 0, bbox, area: 2500.0, crowd: false };
            truth.push(image_id, vec![object]);
        }
        truth
    }

    fn found(images: impl Iterator<Item = u64>) -> Vec<CocoResult> {
        let bbox = [10.0, 10.0, 50.0, 50.0];
        images.map(|image_id| CocoResult { image_id, category_id: 0, bbox, score: 0.9 }).collect()
    }

    #[test]
    fn paired_bootstrap_equal_detections_ratio_is_one() {
        let truth = truth(20);
        let matches = CocoEvaluator::new(&truth).evaluate(&found(0..20)).expect("known images");
        let interval = paired_bootstrap(&matches, &matches, 1, 200).expect("comparable");
        assert_eq!(interval, RatioInterval { ratio: 1.0, lower: 1.0, upper: 1.0 });
    }

    #[test]
    fn paired_bootstrap_lost_images_widen_the_interval() {
        let truth = truth(100);
        let evaluator = CocoEvaluator::new(&truth);
        let baseline = evaluator.evaluate(&found(0..100)).expect("known images");
        let candidate = evaluator.evaluate(&found(0..90)).expect("known images");
        let interval = paired_bootstrap(&baseline, &candidate, 7, 1000).expect("comparable");
        // Recall 0.90 is 91 of the 101 points; the share of 100 draws has a deviation of 0.03.
        assert!((interval.ratio - 91.0 / 101.0).abs() < 1e-12);
        assert!((0.82..0.86).contains(&interval.lower), "{interval:?}");
        assert!((0.94..0.97).contains(&interval.upper), "{interval:?}");
        let again = paired_bootstrap(&baseline, &candidate, 7, 1000).expect("comparable");
        assert_eq!(interval, again);
    }

    #[test]
    fn paired_bootstrap_incomparable_is_an_error() {
        let (few, many) = (truth(3), truth(4));
        let a = CocoEvaluator::new(&few).evaluate(&[]).expect("known images");
        let b = CocoEvaluator::new(&many).evaluate(&[]).expect("known images");
        let differ = paired_bootstrap(&a, &b, 0, 10).expect_err("3 and 4 images");
        assert_eq!(differ.to_string(), "evaluations differ in their images: 3 and 4");
        let zero = paired_bootstrap(&a, &a, 0, 10).expect_err("nothing found");
        assert!(zero.to_string().contains("the baseline's map_50_95 is 0"));
    }
}
