//! The COCO detection protocol: average precision over IoU .50:.05:.95 and 101 recall points.
//!
//! Source: cocodataset.org, "Detection Evaluation"; equal to pycocotools' bbox evaluation.

mod matching;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use self::matching::{ImageClass, match_image};
use super::{AT_75, Category, GroundTruth, GroundTruthObject, THRESHOLDS, iou_thresholds};
use crate::{CocoResult, YoloError};

const RECALL_POINTS: usize = 101;

/// Detections of one class on one image that are looked at.
const MAX_DETECTIONS: usize = 100;

/// Areas in square pixels, both ends inclusive: all, small, medium, large.
const AREAS: [RangeInclusive<f64>; 4] = [0.0..=1e10, 0.0..=1024.0, 1024.0..=9216.0, 9216.0..=1e10];

const ALL_THRESHOLDS: u16 = (1 << THRESHOLDS) - 1;

/// Average precision and recall by the COCO protocol, as fractions; absent where nothing was labelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CocoMetrics {
    /// Mean over classes and IoU thresholds .50:.05:.95; 0 where nothing was labelled.
    pub map_50_95: f64,
    /// At IoU 0.50.
    pub map_50: f64,
    /// At IoU 0.75.
    pub map_75: f64,
    /// `map_50_95` of objects below 32² square pixels.
    pub map_small: Option<f64>,
    /// `map_50_95` of objects of 32² to 96² square pixels.
    pub map_medium: Option<f64>,
    /// `map_50_95` of objects from 96² square pixels.
    pub map_large: Option<f64>,
    /// Average recall with the best detection of each class and image.
    pub ar_1: Option<f64>,
    /// Average recall with the ten best.
    pub ar_10: Option<f64>,
    /// Average recall with the hundred best.
    pub ar_100: Option<f64>,
    /// `ar_100` of small objects.
    pub ar_small: Option<f64>,
    /// `ar_100` of medium objects.
    pub ar_medium: Option<f64>,
    /// `ar_100` of large objects.
    pub ar_large: Option<f64>,
    /// Every class, in class order.
    pub per_class: Vec<ClassMetrics>,
}

impl CocoMetrics {
    /// Figures that are not there.
    pub(super) fn unmeasured() -> Self {
        Self {
            map_50_95: f64::NAN,
            map_50: f64::NAN,
            map_75: f64::NAN,
            map_small: None,
            map_medium: None,
            map_large: None,
            ar_1: None,
            ar_10: None,
            ar_100: None,
            ar_small: None,
            ar_medium: None,
            ar_large: None,
            per_class: Vec::new(),
        }
    }
}

/// Average precision of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Class index.
    pub class: usize,
    /// Category id in results files.
    pub category_id: u64,
    /// Name.
    pub name: String,
    /// Labelled objects, crowds apart.
    pub objects: usize,
    /// Mean over IoU .50:.05:.95; absent for a class without objects.
    pub map_50_95: Option<f64>,
    /// At IoU 0.50; absent for a class without objects.
    pub map_50: Option<f64>,
}

/// How many of the objects of a class are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRecall {
    /// Labelled objects, crowds apart.
    pub objects: usize,
    /// Those of them that a detection fits, at IoU 0.50.
    pub found: usize,
}

/// Ground truth, ready to match detections against.
#[derive(Clone, Copy, Debug)]
pub struct CocoEvaluator<'g> {
    ground_truth: &'g GroundTruth,
}

impl<'g> CocoEvaluator<'g> {
    /// An evaluator over all images of `ground_truth`.
    pub fn new(ground_truth: &'g GroundTruth) -> Self {
        Self { ground_truth }
    }

    /// Matches detections to objects, image by image.
    ///
    /// Equal scores rank by position within an image and by image id between images.
    ///
    /// # Errors
    /// `UnknownImageId` if a detection is on an image that the ground truth does not have.
    pub fn evaluate(&self, detections: &[CocoResult]) -> Result<Matches, YoloError> {
        let ground_truth = self.ground_truth;
        let grouped = ground_truth.grouped(detections)?;
        let mut by_id: Vec<usize> = (0..ground_truth.images()).collect();
        by_id.sort_by_key(|&image| ground_truth.image_ids()[image]);

        let classes = ground_truth.categories().len();
        let mut per_class = vec![ClassMatches::default(); classes];
        for image in by_id {
            let mut objects: BTreeMap<usize, Vec<&GroundTruthObject>> = BTreeMap::new();
            for object in ground_truth.objects(image) {
                objects.entry(object.class).or_default().push(object);
            }
            for (class, matches) in per_class.iter_mut().enumerate() {
                let objects = objects.get(&class).map_or(&[][..], Vec::as_slice);
                let detections = grouped[image].get(&class).map_or(&[][..], Vec::as_slice);
                if !objects.is_empty() || !detections.is_empty() {
                    let found = match_image(detections, objects);
                    matches.add(image, found);
                }
            }
        }
        per_class.iter_mut().for_each(ClassMatches::sort);
        Ok(Matches {
            image_ids: ground_truth.image_ids().to_vec(),
            categories: ground_truth.categories().to_vec(),
            per_class,
        })
    }
}

/// Outcome of every detection at every threshold, from which metrics of any list of the images follow.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    image_ids: Vec<u64>,
    categories: Vec<Category>,
    per_class: Vec<ClassMatches>,
}

impl Matches {
    /// Ids of the images matched, in ground truth order.
    pub fn image_ids(&self) -> &[u64] {
        &self.image_ids
    }

    /// Metrics over the images at `image_indices` (ground truth order; an image may repeat), or all.
    ///
    /// # Panics
    /// If an index is not below the number of images.
    pub fn accumulate(&self, image_indices: Option<&[usize]>) -> CocoMetrics {
        let weights = self.weights(image_indices);
        let curves = |area: usize, max_rank: usize| -> Vec<Option<Curve>> {
            let of_class = |class: &ClassMatches| class.areas[area].curve(&weights, max_rank);
            self.per_class.iter().map(of_class).collect()
        };
        let all = curves(0, MAX_DETECTIONS);
        let by_area: Vec<Vec<Option<Curve>>> =
            (1..AREAS.len()).map(|area| curves(area, MAX_DETECTIONS)).collect();
        let per_class = self.categories.iter().enumerate().map(|(class, category)| ClassMetrics {
            class,
            category_id: category.id,
            name: category.name.clone(),
            objects: self.per_class[class].areas[0].objects(&weights),
            map_50_95: all[class].as_ref().map(Curve::map_50_95),
            map_50: all[class].as_ref().map(|curve| curve.average_precision[0]),
        });
        CocoMetrics {
            map_50_95: mean(&all, Curve::map_50_95).unwrap_or(0.0),
            map_50: mean(&all, |curve| curve.average_precision[0]).unwrap_or(0.0),
            map_75: mean(&all, |curve| curve.average_precision[AT_75]).unwrap_or(0.0),
            map_small: mean(&by_area[0], Curve::map_50_95),
            map_medium: mean(&by_area[1], Curve::map_50_95),
            map_large: mean(&by_area[2], Curve::map_50_95),
            ar_1: mean(&curves(0, 1), Curve::average_recall),
            ar_10: mean(&curves(0, 10), Curve::average_recall),
            ar_100: mean(&all, Curve::average_recall),
            ar_small: mean(&by_area[0], Curve::average_recall),
            ar_medium: mean(&by_area[1], Curve::average_recall),
            ar_large: mean(&by_area[2], Curve::average_recall),
            per_class: per_class.collect(),
        }
    }

    /// How many objects of every class are found at IoU 0.50 by all detections together, in class order: of detections that
    /// were cut at a confidence, the recall at that confidence.
    pub fn recall_50(&self) -> Vec<ClassRecall> {
        let every_image = self.weights(None);
        let of_class = |class: &ClassMatches| {
            let all = &class.areas[0];
            let ranked = all.entries.iter().filter(|e| usize::from(e.rank) < MAX_DETECTIONS);
            ClassRecall {
                objects: all.objects(&every_image),
                found: ranked.filter(|entry| entry.true_positive & 1 != 0).count(),
            }
        };
        self.per_class.iter().map(of_class).collect()
    }

    /// How many objects are found at IoU 0.50 by detections from a confidence on, by image in ground truth order.
    pub fn found_50(&self, conf: f64) -> Vec<usize> {
        let mut found = vec![0; self.image_ids.len()];
        for class in &self.per_class {
            let entries = class.areas[0].entries.iter();
            let right = entries.filter(|e| e.score >= conf && e.true_positive & 1 != 0);
            right.for_each(|entry| found[entry.image as usize] += 1);
        }
        found
    }

    /// `map_50_95` alone, of images that count `weights[image]` times.
    pub(super) fn map_50_95(&self, weights: &[u32]) -> f64 {
        let of_class = |class: &ClassMatches| class.areas[0].curve(weights, MAX_DETECTIONS);
        let curves: Vec<Option<Curve>> = self.per_class.iter().map(of_class).collect();
        mean(&curves, Curve::map_50_95).unwrap_or(0.0)
    }

    fn weights(&self, image_indices: Option<&[usize]>) -> Vec<u32> {
        let Some(indices) = image_indices else {
            return vec![1; self.image_ids.len()];
        };
        let mut weights = vec![0; self.image_ids.len()];
        for &index in indices {
            weights[index] += 1;
        }
        weights
    }
}

fn mean(curves: &[Option<Curve>], figure: impl Fn(&Curve) -> f64) -> Option<f64> {
    let present: Vec<f64> = curves.iter().flatten().map(figure).collect();
    let count = present.len();
    (count > 0).then(|| present.iter().sum::<f64>() / count as f64)
}

#[derive(Clone, Debug, Default)]
struct ClassMatches {
    areas: [AreaMatches; AREAS.len()],
}

impl ClassMatches {
    fn add(&mut self, image: usize, found: ImageClass) {
        for (area, outcomes) in self.areas.iter_mut().zip(found.areas) {
            if outcomes.objects > 0 {
                area.objects.push((image, outcomes.objects));
            }
            for (rank, outcome) in outcomes.detections.into_iter().enumerate() {
                area.entries.push(Entry {
                    score: found.scores[rank],
                    image: image as u32,
                    rank: rank as u16,
                    true_positive: outcome.matched & !outcome.ignored,
                    counted: !outcome.ignored & ALL_THRESHOLDS,
                });
            }
        }
    }

    fn sort(&mut self) {
        for area in &mut self.areas {
            // Stable: entries arrive by image id and rank, which decides between equal scores.
            area.entries.sort_by(|a, b| b.score.total_cmp(&a.score));
        }
    }
}

/// Outcomes of one class in one area range, best score first.
#[derive(Clone, Debug, Default)]
struct AreaMatches {
    entries: Vec<Entry>,
    /// Images that have objects to find, with how many.
    objects: Vec<(usize, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    score: f64,
    image: u32,
    /// Position among the detections of its class and image, best first.
    rank: u16,
    /// One bit a threshold: found an object that counts.
    true_positive: u16,
    /// One bit a threshold: neither on an ignored object nor, unmatched, outside the area range.
    counted: u16,
}

impl AreaMatches {
    fn objects(&self, weights: &[u32]) -> usize {
        self.objects.iter().map(|&(image, count)| (weights[image] * count) as usize).sum()
    }

    /// The precision-recall curve, or nothing if there is nothing to find.
    ///
    /// An image of weight n stands for n copies: its detections are n equal ones in a row. Precision
    /// rises along such a row where it is right and falls where it is wrong, so the envelope only ever
    /// needs the row's end, and only rows of true positives can raise it.
    fn curve(&self, weights: &[u32], max_rank: usize) -> Option<Curve> {
        let objects = self.objects(weights) as f64;
        if objects == 0.0 {
            return None;
        }
        let mut best = [[0f64; RECALL_POINTS]; THRESHOLDS];
        let mut found = [0u64; THRESHOLDS];
        let mut wrong = [0u64; THRESHOLDS];
        let mut wrong_everywhere = 0u64;
        for entry in self.entries.iter().filter(|entry| usize::from(entry.rank) < max_rank) {
            let weight = u64::from(weights[entry.image as usize]);
            if entry.true_positive == 0 && entry.counted == ALL_THRESHOLDS {
                wrong_everywhere += weight;
                continue;
            }
            if weight == 0 {
                continue;
            }
            for threshold in 0..THRESHOLDS {
                let bit = 1 << threshold;
                if entry.true_positive & bit != 0 {
                    found[threshold] += weight;
                    let right = found[threshold] as f64;
                    let seen = (wrong[threshold] + wrong_everywhere) as f64 + right;
                    let point = &mut best[threshold][last_point_reached(right / objects)];
                    *point = point.max(right / (seen + f64::EPSILON));
                } else if entry.counted & bit != 0 {
                    wrong[threshold] += weight;
                }
            }
        }
        Some(Curve {
            average_precision: best.map(|points| envelope_mean(&points)),
            recall: found.map(|found| found as f64 / objects),
        })
    }
}

/// Index of the highest recall point that is at most `recall`.
fn last_point_reached(recall: f64) -> usize {
    let mut point = ((recall * 100.0) as usize).min(RECALL_POINTS - 1);
    // Points are i × 0.01 in f64, whose rounding the product above need not share.
    while point + 1 < RECALL_POINTS && recall_point(point + 1) <= recall {
        point += 1;
    }
    while point > 0 && recall_point(point) > recall {
        point -= 1;
    }
    point
}

fn recall_point(index: usize) -> f64 {
    if index == RECALL_POINTS - 1 { 1.0 } else { index as f64 * 0.01 }
}

/// Mean over the recall points of the best precision at that recall or a higher one.
fn envelope_mean(points: &[f64; RECALL_POINTS]) -> f64 {
    let mut best = 0f64;
    let mut sum = 0.0;
    for &precision in points.iter().rev() {
        best = best.max(precision);
        sum += best;
    }
    sum / RECALL_POINTS as f64
}

#[derive(Clone, Debug)]
struct Curve {
    average_precision: [f64; THRESHOLDS],
    recall: [f64; THRESHOLDS],
}

impl Curve {
    fn map_50_95(&self) -> f64 {
        self.average_precision.iter().sum::<f64>() / THRESHOLDS as f64
    }

    fn average_recall(&self) -> f64 {
        self.recall.iter().sum::<f64>() / THRESHOLDS as f64
    }
}

#[cfg(test)]
mod tests;
