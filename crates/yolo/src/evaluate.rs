//! Accuracy of a detector on a data set, several images in flight.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use numerics::parallel_map_with;

use crate::metrics::{self, Matches, Metrics};
use crate::{
    BadInput, CocoResult, CompiledDetector, Dataset, Detection, Detector, Doubt, Thresholds,
    YoloError,
};

/// What an evaluation gives.
#[derive(Debug)]
pub struct Evaluation {
    /// mAP by both definitions.
    pub metrics: Metrics,
    /// Matches by image, for paired comparisons.
    pub matches: Matches,
    /// All detections.
    pub results: Vec<CocoResult>,
    /// Whether the model was probably misread.
    pub doubt: Option<Doubt>,
    /// Images that could not be read; they are left out of the ground truth too.
    pub bad_images: Vec<BadInput>,
    /// Images a second, reading, preprocessing, inference and NMS included.
    pub images_per_s: f64,
}

impl Evaluation {
    /// Of a data set of which nothing could be read: no figures, and what an error tells of the images.
    pub fn nothing(error: &YoloError) -> Self {
        let bad_images = match error {
            YoloError::NothingMeasured { bad, .. } => bad.clone(),
            _ => Vec::new(),
        };
        Self {
            metrics: Metrics::unmeasured(),
            matches: Matches::default(),
            results: Vec::new(),
            doubt: None,
            bad_images,
            images_per_s: 0.0,
        }
    }
}

type Outcome = Result<((u32, u32), Vec<Detection>), YoloError>;

/// Runs the detector on every image, one single-threaded session on each of `threads` threads, and scores it.
///
/// `progress` is told the number of finished images.
///
/// # Errors
/// `HeadClasses` when head and data set disagree, `NoNames`, `NoLabels`, `NothingMeasured`, `TooManyBadInputs`; `Runtime` when the plan complains.
pub fn evaluate_detector(
    detector: &CompiledDetector,
    dataset: &Dataset,
    thresholds: Thresholds,
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Evaluation, YoloError> {
    let mut sessions =
        (0..threads.max(1)).map(|_| detector.session(1)).collect::<Result<Vec<_>, _>>()?;
    evaluate_sessions(&mut sessions, dataset, thresholds, progress)
}

/// As [`evaluate_detector`], with one thread for each of the sessions (at least one), which share a head.
///
/// # Errors
/// As [`evaluate_detector`]; `Engine` when the sessions' engine complains.
pub fn evaluate_sessions(
    sessions: &mut [Detector],
    dataset: &Dataset,
    thresholds: Thresholds,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Evaluation, YoloError> {
    dataset.check_labelled()?;
    for session in &*sessions {
        check_classes(session, dataset)?;
    }
    let start = Instant::now();
    let outcomes = run_all(sessions, dataset, thresholds, progress);
    let seconds = start.elapsed().as_secs_f64();
    let mut sizes = Vec::with_capacity(outcomes.len());
    let (mut results, mut bad_images) = (Vec::new(), Vec::new());
    for (image, outcome) in dataset.images.iter().zip(outcomes) {
        match outcome {
            Ok((size, detections)) => {
                sizes.push(Some(size));
                let result = |d| CocoResult::new(d, image.image_id, &dataset.category_ids);
                results.extend(detections.iter().map(result));
            }
            Err(error) if !error.is_of_an_image() => return Err(error),
            Err(error) => {
                sizes.push(None);
                bad_images.push(BadInput::image(&image.path, &error));
            }
        }
    }
    check_measurable(dataset, &sizes, &bad_images)?;
    dataset.check_bad_images(&bad_images)?;
    let truth = dataset.ground_truth(&sizes);
    let (metrics, matches) = metrics::evaluate(&truth, &results)?;
    let doubt = Doubt::from_results(&truth, &results)?;
    bad_images.splice(0..0, dataset.bad_images.iter().cloned());
    Ok(Evaluation {
        metrics,
        matches,
        results,
        doubt,
        bad_images,
        images_per_s: dataset.images.len() as f64 / seconds.max(1e-9),
    })
}

/// Refuses a data set of which nothing labelled could be read: without an object there is no mAP, not one of 0.
fn check_measurable(
    dataset: &Dataset,
    sizes: &[Option<(u32, u32)>],
    bad_images: &[BadInput],
) -> Result<(), YoloError> {
    let read = dataset.images.iter().zip(sizes).filter(|(_, size)| size.is_some());
    let mut labels = read.flat_map(|(image, _)| &image.labels);
    if labels.any(|label| !label.crowd) {
        return Ok(());
    }
    Err(YoloError::NothingMeasured {
        images: dataset.images.len() + dataset.bad_images.len(),
        bad: [&dataset.bad_images[..], bad_images].concat(),
    })
}

fn check_classes(detector: &Detector, dataset: &Dataset) -> Result<(), YoloError> {
    let (head, names) = (detector.head().classes, dataset.names.len());
    if head == names {
        return Ok(());
    }
    Err(YoloError::HeadClasses { head, names })
}

fn run_all(
    sessions: &mut [Detector],
    dataset: &Dataset,
    thresholds: Thresholds,
    progress: &(dyn Fn(usize) + Sync),
) -> Vec<Outcome> {
    let finished = AtomicUsize::new(0);
    parallel_map_with(sessions, &dataset.images, |session, image| {
        let count = session.head().input.images();
        let scene = dataset.streams.read(&image.path, count);
        let outcome = scene.and_then(|images| {
            let found = session.detect(&images, thresholds)?;
            Ok((images[0].dimensions(), found))
        });
        progress(finished.fetch_add(1, Ordering::Relaxed) + 1);
        outcome
    })
}
