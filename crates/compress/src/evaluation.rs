//! Models evaluated on labelled images, and compared with the model as it came.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use ir::{Graph, normalise};
use observe::{ConfidenceShift, Engine, SHOWN_CONF};
use serde::{Deserialize, Serialize};
use yolo::metrics::{CocoEvaluator, Matches, Metrics, RatioInterval, paired_bootstrap};
use yolo::{
    BadInput, CompiledDetector, Dataset, Doubt, evaluate_detector, read_results, read_size,
    results_json,
};

use crate::CompressError;
use crate::artifact::StoredModel;
use crate::digest::{dataset_digest, sha256};
use crate::record::ImageLoss;
use crate::run::Run;
use crate::source::Source;
use crate::thresholds::THRESHOLDS;

const BOOTSTRAP_ROUNDS: usize = 1000;

/// Images that are named on which something was lost.
const LOSSES: usize = 12;

/// Accuracy of a model on a set of images; the detections lie in a file beside.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Accuracy {
    pub(crate) metrics: Metrics,
    /// Whether the model was probably misread.
    pub(crate) doubt: Option<Doubt>,
    pub(crate) bad_images: Vec<BadInput>,
    detections: String,
    detections_sha256: String,
    /// Which detections are right; found out again from the file if an earlier process measured it.
    #[serde(skip)]
    matches: OnceCell<Matches>,
}

/// Labelled images, with the accuracy of the model as it came on them.
pub(crate) struct EvalSplit<'a> {
    pub(crate) name: &'static str,
    pub(crate) dataset: &'a Dataset,
    pub(crate) baseline: Accuracy,
    /// Digest of the images and labels.
    pub(crate) digest: String,
}

impl<'a> EvalSplit<'a> {
    /// Evaluates the model as it came.
    pub(crate) fn new(
        name: &'static str,
        dataset: &'a Dataset,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<Self, CompressError> {
        let digest = dataset_digest(dataset, source.head.input.images())?;
        Ok(Self {
            baseline: evaluate(name, dataset, &digest, &source.model, source, run)?,
            name,
            dataset,
            digest,
        })
    }

    /// Why the model is probably misread.
    pub(crate) fn doubt(&self, source: &Source) -> Option<String> {
        let doubt = self.baseline.doubt?;
        Some(format!("{}: {}", self.name, doubt.describe(&source.head)))
    }

    /// Whether the model as it came finds anything that could be kept.
    pub(crate) fn finds_something(&self) -> bool {
        self.baseline.metrics.coco.map_50_95 > 0.0
    }

    /// Accuracy of a model.
    pub(crate) fn evaluate(
        &self,
        model: &StoredModel,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<Accuracy, CompressError> {
        evaluate(self.name, self.dataset, &self.digest, model, source, run)
    }

    /// How much of the baseline's mAP a graph keeps; nothing of it is stored.
    pub(crate) fn kept(
        &self,
        graph: &Graph,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<f64, CompressError> {
        let graph = normalise(graph.clone())?;
        let Engine { options, threads, .. } = run.engine;
        let detector = CompiledDetector::compile(&graph, &source.head, &options)?;
        let found = evaluate_detector(&detector, self.dataset, THRESHOLDS, threads, &|_| ())?;
        Ok(found.metrics.coco.map_50_95 / self.baseline.metrics.coco.map_50_95)
    }

    /// How much of the baseline's mAP a model keeps.
    pub(crate) fn compare(
        &self,
        model: &StoredModel,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<RatioInterval, CompressError> {
        let accuracy = self.evaluate(model, source, run)?;
        let stage = format!("{}.{}.compare", model.name, self.name);
        let inputs = (source.seed, &self.digest, &self.baseline, &accuracy);
        run.dir.stage(&stage, &inputs, || {
            (run.log)(&format!("{}: comparing", self.name));
            let before = self.baseline.matches(self.dataset, run)?;
            let after = accuracy.matches(self.dataset, run)?;
            Ok(paired_bootstrap(before, after, source.seed, BOOTSTRAP_ROUNDS)?)
        })
    }

    /// How sure a model is of what the model as it came finds.
    pub(crate) fn confidence(
        &self,
        model: &StoredModel,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<ConfidenceShift, CompressError> {
        let accuracy = self.evaluate(model, source, run)?;
        let [before, after] =
            [&self.baseline, &accuracy].map(|of| read_results(&run.dir.file(&of.detections)));
        Ok(ConfidenceShift::new(&before?, &after?, SHOWN_CONF))
    }

    /// Images on which fewer of the labelled objects are found than by the baseline, the worst first.
    pub(crate) fn losses(
        &self,
        accuracy: &Accuracy,
        run: &Run<'_>,
    ) -> Result<Vec<ImageLoss>, CompressError> {
        let found = |of: &Accuracy| -> Result<Vec<usize>, CompressError> {
            Ok(of.matches(self.dataset, run)?.found_50(SHOWN_CONF))
        };
        let (before, after) = (found(&self.baseline)?, found(accuracy)?);
        let ids = self.baseline.matches(self.dataset, run)?.image_ids();
        let paths: BTreeMap<u64, &PathBuf> =
            self.dataset.images.iter().map(|image| (image.image_id, &image.path)).collect();
        let loss = |((id, found_before), found_after): ((&u64, usize), usize)| ImageLoss {
            image: paths.get(id).map_or_else(PathBuf::new, |path| (*path).clone()),
            found_before,
            found_after,
        };
        let mut losses: Vec<ImageLoss> = ids.iter().zip(before).zip(after).map(loss).collect();
        losses.retain(|loss| loss.found_after < loss.found_before);
        // Stable: of equal losses the one of the earlier image comes first.
        losses.sort_by_key(|loss| std::cmp::Reverse(loss.found_before - loss.found_after));
        losses.truncate(LOSSES);
        Ok(losses)
    }
}

fn evaluate(
    split: &str,
    dataset: &Dataset,
    digest: &str,
    model: &StoredModel,
    source: &Source,
    run: &Run<'_>,
) -> Result<Accuracy, CompressError> {
    let stage = format!("{}.{split}.accuracy", model.name);
    let inputs = (&source.key, model, digest);
    run.dir.stage(&stage, &inputs, || {
        (run.log)(&format!("{split}: measuring accuracy of {}", model.name));
        let graph = model.graph(run.dir)?;
        let detector = CompiledDetector::compile(graph, &source.head, &run.engine.options)?;
        let images = dataset.images.len();
        let progress = |done| (run.progress)(done, images);
        let threads = run.engine.threads;
        let evaluation = evaluate_detector(&detector, dataset, THRESHOLDS, threads, &progress)?;
        let detections = format!("dets/{split}.{}.json", model.name);
        let json = results_json(&evaluation.results);
        run.dir.write(&detections, &json)?;
        Ok(Accuracy {
            metrics: evaluation.metrics,
            doubt: evaluation.doubt,
            bad_images: evaluation.bad_images,
            detections,
            detections_sha256: sha256(&json),
            matches: OnceCell::from(evaluation.matches),
        })
    })
}

impl Accuracy {
    /// Matches of the detections with the labels of the images on which they were found.
    fn matches(&self, dataset: &Dataset, run: &Run<'_>) -> Result<&Matches, CompressError> {
        if let Some(matches) = self.matches.get() {
            return Ok(matches);
        }
        let size = |image: &yolo::ImageItem| {
            let is_bad = self.bad_images.iter().any(|b| b.file == image.path);
            if is_bad { None } else { read_size(&image.path).ok() }
        };
        let sizes: Vec<Option<(u32, u32)>> = dataset.images.iter().map(size).collect();
        let results = read_results(&run.dir.file(&self.detections))?;
        let truth = dataset.ground_truth(&sizes);
        let matches = CocoEvaluator::new(&truth).evaluate(&results)?;
        Ok(self.matches.get_or_init(|| matches))
    }
}
