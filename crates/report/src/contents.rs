//! What a report shows, gathered from the files of a run, its models and its images.

use std::path::{Path, PathBuf};

use compress::{CompressRecord, QuantizeAccount, Recipe, RunDir};
use ir::{Graph, Normalised, Op, normalise};
use observe::{
    DetectionAgreement, Engine, Histogram, ImageSet, LayerError, Model, Observation, Progress,
    SHOWN_CONF, detection_agreement, histograms, layer_errors,
};
use quant::QuantPlan;
use yolo::{CocoResult, Dataset, read_results, read_rgb};

use crate::ReportError;
use crate::pictures::{drawn, jpeg_base64};

/// Layers whose values are shown.
const HISTOGRAMS: usize = 9;

/// What a report is made from, besides the run directory.
pub struct Material<'a> {
    /// The model as it came, where it is still there.
    pub source: Option<&'a Graph>,
    /// The images that judged, where they are still there.
    pub val: Option<&'a Dataset>,
    /// A few training images, on which layers are compared.
    pub images: &'a ImageSet,
    /// How many pictures are shown.
    pub pictures: usize,
}

/// Output channels of one layer, before and after pruning.
pub(crate) struct Channels {
    pub(crate) layer: String,
    pub(crate) before: usize,
    pub(crate) after: usize,
}

/// How the values of one tensor are distributed, with the range that its quantized values span.
pub(crate) struct Distribution {
    pub(crate) histogram: Histogram,
    pub(crate) range: (f32, f32),
    /// Relative error of the layer.
    pub(crate) error: f64,
}

/// One image with the detections of both models.
pub(crate) struct Pictures {
    pub(crate) name: String,
    /// JPEG, in Base64.
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) matched: usize,
    /// Found by one model alone.
    pub(crate) only_before: usize,
    pub(crate) only_after: usize,
}

/// All that a page shows.
pub(crate) struct Contents {
    pub(crate) recipe: Recipe,
    pub(crate) record: CompressRecord,
    /// Whether times and energy are shown.
    pub(crate) is_timed: bool,
    pub(crate) channels: Vec<Channels>,
    /// How the quantized model came about; `None` for a run of an earlier version.
    pub(crate) account: Option<QuantizeAccount>,
    pub(crate) errors: Vec<LayerError>,
    pub(crate) distributions: Vec<Distribution>,
    pub(crate) agreement: Option<DetectionAgreement>,
    pub(crate) pictures: Vec<Pictures>,
}

impl Contents {
    pub(crate) fn gather(
        dir: &RunDir,
        material: &Material<'_>,
        engine: Engine,
        progress: Progress<'_>,
    ) -> Result<Self, ReportError> {
        let record: CompressRecord = dir.read_json("metrics.json")?;
        let recipe = Recipe::read(&dir.file("recipe.toml"))?;
        let plan: QuantPlan = dir.read_json("quant.plan.json")?;
        let (pruned, model) = (read(dir, "pruned.onnx")?, read(dir, "model.onnx")?);
        let head = yolo::families::identify(&pruned, recipe.family)?;
        let per_scene = head.input.images();
        let readable = |p: &&PathBuf| material.images.streams.read(p, per_scene).is_ok();
        let readable = material.images.paths.iter().filter(readable).cloned();
        let observation = Observation {
            model: Model::new(&pruned, &head),
            images: &material.images.with(readable.collect()),
            engine,
            progress,
        };
        let mut errors = if observation.images.is_empty() {
            vec![]
        } else {
            layer_errors(&observation, &model)?
        };
        errors.retain(|e| e.relative_error.is_some());
        let error = |e: &LayerError| e.relative_error.unwrap_or(-1.0);
        errors.sort_by(|a, b| error(b).total_cmp(&error(a)));
        let distributions = distributions(&observation, &plan, &errors)?;
        let mut contents = Self {
            channels: material.source.map_or(vec![], |s| channels(s, &pruned)),
            account: dir.read_json("quant.account.json").ok(),
            recipe,
            record,
            is_timed: true,
            errors,
            distributions,
            agreement: None,
            pictures: vec![],
        };
        if let Some(val) = material.val {
            contents.add_pictures(dir, val, material.pictures)?;
        }
        Ok(contents)
    }

    /// Leaves out what another machine or another run would have differently: times, energy, and folders.
    pub(crate) fn without_place_and_time(mut self) -> Self {
        self.is_timed = false;
        let record = &mut self.record;
        record.machine = None;
        for stage in [&mut record.baseline, &mut record.pruned, &mut record.quantized] {
            stage.footprint.latency_ms = None;
            stage.footprint.energy_j = None;
        }
        let folders = [&self.recipe.data, &self.recipe.model].map(|path| {
            path.parent().map_or(String::new(), |folder| format!("{}/", folder.display()))
        });
        for warning in &mut record.warnings {
            for folder in folders.iter().filter(|folder| folder.len() > 1) {
                *warning = warning.replace(folder, "");
            }
        }
        for bad in record.bad_images.iter_mut().chain(&mut record.bad_labels) {
            bad.file = file_name(&bad.file);
        }
        self.recipe.model = file_name(&self.recipe.model);
        self.recipe.data = file_name(&self.recipe.data);
        self
    }

    /// Adds images with the detections of both models: the two on which they differ most, then those with most objects.
    fn add_pictures(
        &mut self,
        dir: &RunDir,
        val: &Dataset,
        count: usize,
    ) -> Result<(), ReportError> {
        let last = self.record.gate.attempts.last();
        let folder = last.map_or("", |a| a.folder.as_str());
        let detections = |model: &str| read_results(&dir.file(&format!("dets/val.{model}.json")));
        let (before, after) = (detections("baseline")?, detections(folder)?);
        let agreement = detection_agreement(&before, &after);
        let mut chosen: Vec<_> = agreement.images.iter().take(count.min(2)).collect();
        let mut typical: Vec<_> = agreement.images.iter().skip(chosen.len()).collect();
        typical.sort_by_key(|i| (usize::MAX - i.matched, i.image_id));
        chosen.extend(typical.into_iter().take(count - chosen.len()));
        for agreed in chosen {
            let id = agreed.image_id;
            let Some(image) = val.images.iter().find(|i| i.image_id == id) else {
                continue;
            };
            let pixels = read_rgb(&image.path)?;
            let only = |results: &[CocoResult]| {
                let here = results.iter().filter(|r| r.image_id == id);
                here.filter(|r| r.score >= SHOWN_CONF).count() - agreed.matched
            };
            let picture = |results: &[CocoResult]| jpeg_base64(&drawn(&pixels, results, id, val));
            let name = image.path.file_name().unwrap_or_default();
            self.pictures.push(Pictures {
                name: name.to_string_lossy().into_owned(),
                before: picture(&before)?,
                after: picture(&after)?,
                matched: agreed.matched,
                only_before: only(&before),
                only_after: only(&after),
            });
        }
        self.agreement = Some(agreement);
        Ok(())
    }
}

fn file_name(path: &Path) -> PathBuf {
    path.file_name().map_or_else(PathBuf::new, PathBuf::from)
}

fn read(dir: &RunDir, name: &str) -> Result<Normalised, ReportError> {
    let graph = onnx::load(&dir.file(name), &onnx::LoadOptions::default())?;
    Ok(normalise(graph)?)
}

/// Output channels of every convolution before and after pruning.
fn channels(source: &Graph, pruned: &Graph) -> Vec<Channels> {
    let width = |graph: &Graph, node: &ir::Node| {
        let ty = graph.ty(node.outputs[0]).ok();
        ty.and_then(|t| t.shape.get(1).copied()).unwrap_or(0)
    };
    let convs = |graph: &Graph| -> Vec<(String, usize)> {
        let convs = graph.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_)));
        convs.map(|(_, n)| (n.name.clone(), width(graph, n))).collect()
    };
    let after = convs(pruned);
    let kept = |layer: &str| after.iter().find(|(n, _)| n == layer).map(|(_, w)| *w);
    let both = convs(source)
        .into_iter()
        .filter_map(|(layer, before)| Some(Channels { after: kept(&layer)?, layer, before }));
    both.collect()
}

/// Values of the worst layers, of those whose values are quantized.
fn distributions(
    observation: &Observation<'_>,
    plan: &QuantPlan,
    errors: &[LayerError],
) -> Result<Vec<Distribution>, ReportError> {
    let is_quantized = |e: &&LayerError| quantized_range(plan, &e.value).is_some();
    let worst: Vec<&LayerError> = errors.iter().filter(is_quantized).take(HISTOGRAMS).collect();
    let names: Vec<String> = worst.iter().map(|e| e.value.clone()).collect();
    let distribution = |histogram: Histogram| {
        let layer = worst.iter().find(|e| e.value == histogram.value)?;
        Some(Distribution {
            range: quantized_range(plan, &histogram.value)?,
            error: layer.relative_error?,
            histogram,
        })
    };
    let histograms = histograms(observation, &names)?;
    Ok(histograms.into_iter().filter_map(distribution).collect())
}

/// The real numbers that the quantized values of a tensor span.
fn quantized_range(plan: &QuantPlan, value: &str) -> Option<(f32, f32)> {
    let params = plan.activations.get(value)?;
    let (scale, zero_point) = (*params.scale().first()?, *params.zero_point().first()?);
    let (low, high) = params.range();
    let real = |quantized: i64| scale * (quantized - i64::from(zero_point)) as f32;
    Some((real(low), real(high)))
}
