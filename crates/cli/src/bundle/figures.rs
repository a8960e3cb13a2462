//! What a bundle's models find on `val`: as a device reports it, and by the protocol that judged the run.
use anyhow::Result;
use compress::{Recipe, THRESHOLDS};
use deliver::bundle::{self, Metric, RunRecord};
use observe::{Engine, Labelled};
use std::collections::BTreeMap;
use yolo::families::Head;
use yolo::metrics::{ClassRecall, paired_bootstrap};
use yolo::{CocoResult, CompiledDetector, Dataset, Evaluation, Thresholds, evaluate_detector};
use yoloslim::Model;

/// Lists of images that a ratio's interval is made of, as the run's own has it.
const BOOTSTRAP_ROUNDS: usize = 1000;

/// Labelled images, and the model as it came, which others are compared with.
pub(super) struct Evaluator<'a> {
    source: CompiledDetector,
    val: &'a Dataset,
    seed: u64,
    engine: Engine,
}

/// What was measured of a bundle's models.
pub(super) struct Measured {
    pub(super) metrics: BTreeMap<String, Metric>,
    /// What the run's own model finds as a device reports it.
    pub(super) found: Vec<CocoResult>,
    /// A model for another target that keeps too little, in a sentence.
    pub(super) lost: Option<String>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        source: &Model,
        recipe: &Recipe,
        val: &'a Dataset,
        engine: Engine,
    ) -> Result<Self> {
        let graph = source.graph.clone();
        let source = CompiledDetector::open(graph, recipe.family, &engine.options)?;
        Ok(Self { source, val, seed: recipe.seed, engine })
    }

    /// Metrics of all models. Those of the run's own stand under their names, those of others under `target.NAME.` too.
    pub(super) fn measure(
        &self,
        record: &RunRecord,
        own: &str,
        models: &BTreeMap<String, CompiledDetector>,
    ) -> Result<Measured> {
        let mut measured = Measured { metrics: record.metrics(), found: vec![], lost: None };
        let deployed = self.source.head.family.thresholds;
        let before = self.evaluate(&self.source, deployed)?.matches.recall_50();
        let others = models.len() > 1;
        let judged = others.then(|| self.evaluate(&self.source, THRESHOLDS)).transpose()?;
        let names = metric_names(&self.source.head);
        for (target, model) in models {
            let prefix = if target == own { String::new() } else { format!("target.{target}.") };
            let found = self.evaluate(model, deployed)?;
            add_recall(
                &mut measured.metrics,
                &prefix,
                &names,
                &Recalls { before: &before, after: &found.matches.recall_50() },
            );
            if target == own {
                measured.found = found.results;
            } else if let Some(judged) = &judged {
                let lost = self.add_target(&mut measured.metrics, record, target, model, judged)?;
                measured.lost = measured.lost.or(lost);
            }
        }
        Ok(measured)
    }

    /// Adds the accuracy of a model for another target; a sentence where it keeps less than the run had to.
    fn add_target(
        &self,
        metrics: &mut BTreeMap<String, Metric>,
        record: &RunRecord,
        target: &str,
        model: &CompiledDetector,
        judged: &Evaluation,
    ) -> Result<Option<String>> {
        let after = self.evaluate(model, THRESHOLDS)?;
        let kept = paired_bootstrap(&judged.matches, &after.matches, self.seed, BOOTSTRAP_ROUNDS)?;
        let is_enough = Labelled::from(self.val).is_enough();
        let interval = is_enough.then_some([kept.lower, kept.upper]);
        let (old, new) = (&judged.metrics.coco, &after.metrics.coco);
        let samples = Some(after.metrics.images as u64);
        let mut add = |name: String, before: f64, value: f64, ratio_interval, samples| {
            let metric = Metric { value, before: Some(before), ratio_interval, samples };
            metrics.insert(format!("target.{target}.{name}"), metric);
        };
        add("map_50_95".to_owned(), old.map_50_95, new.map_50_95, interval, samples);
        add("map_50".to_owned(), old.map_50, new.map_50, None, samples);
        let names = metric_names(&self.source.head);
        for ((old, new), name) in old.per_class.iter().zip(&new.per_class).zip(&names) {
            let samples = Some(new.objects as u64);
            if let (Some(old), Some(new)) = (old.map_50_95, new.map_50_95) {
                add(format!("class.{name}.map_50_95"), old, new, None, samples);
            }
            if let (Some(old), Some(new)) = (old.map_50, new.map_50) {
                add(format!("class.{name}.map_50"), old, new, None, samples);
            }
        }
        let share = if record.gate.strict { kept.lower } else { kept.ratio };
        let lost = || {
            format!(
                "the model for {target} keeps {share:.4} of the mAP, and {} had to be kept",
                record.gate.keep
            )
        };
        Ok((share < record.gate.keep).then(lost))
    }

    fn evaluate(&self, model: &CompiledDetector, thresholds: Thresholds) -> Result<Evaluation> {
        let threads = self.engine.threads;
        Ok(evaluate_detector(model, self.val, thresholds, threads, &|_| ())?)
    }
}

/// Recall of every class before and after.
struct Recalls<'a> {
    before: &'a [ClassRecall],
    after: &'a [ClassRecall],
}

/// Adds recall at the confidence from which a device reports objects, of all objects and of each class.
fn add_recall(
    metrics: &mut BTreeMap<String, Metric>,
    prefix: &str,
    names: &[String],
    recalls: &Recalls<'_>,
) {
    let sum = |recalls: &[ClassRecall]| {
        recalls.iter().fold(ClassRecall { objects: 0, found: 0 }, |sum, recall| ClassRecall {
            objects: sum.objects + recall.objects,
            found: sum.found + recall.found,
        })
    };
    let mut add = |name: String, before: ClassRecall, after: ClassRecall| {
        let share = |r: ClassRecall| r.found as f64 / r.objects as f64;
        if after.objects > 0 {
            let metric = Metric {
                value: share(after),
                before: Some(share(before)),
                ratio_interval: None,
                samples: Some(after.objects as u64),
            };
            metrics.insert(format!("{prefix}{name}"), metric);
        }
    };
    add("recall".to_owned(), sum(recalls.before), sum(recalls.after));
    for ((before, after), name) in recalls.before.iter().zip(recalls.after).zip(names) {
        add(format!("class.{name}.recall"), *before, *after);
    }
}

/// Names of a head's classes.
pub(super) fn names(head: &Head) -> Vec<String> {
    let numbered = || (0..head.classes).map(|class| format!("class {class}")).collect();
    head.names.clone().unwrap_or_else(numbered)
}

/// The same as they stand in names of metrics.
fn metric_names(head: &Head) -> Vec<String> {
    bundle::class_names(names(head).iter().map(String::as_str))
}
