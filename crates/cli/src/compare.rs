//! `compare`: two models side by side, by layer, by detection and by mAP.
use crate::args::{CommonArgs, CompareArgs};
use crate::format::percent;
use crate::model;
use crate::output::{align_right, table, write_json};
use crate::progress::Progress;
use crate::{data, engine};
use anyhow::{Context, Result, ensure};
use compress::THRESHOLDS;
use ir::normalise;
use observe::{
    DetectionAgreement, ImageSet, LayerError, Model as Observed, Observation, SHOWN_CONF,
    detection_agreement, layer_errors,
};
use serde::Serialize;
use std::path::PathBuf;
use yolo::metrics::{Metrics, RatioInterval, paired_bootstrap};
use yolo::{CocoResult, Dataset, Evaluation, evaluate_sessions, read_rgb, save_image};
use yoloslim::Model;

const BOOTSTRAP_ROUNDS: usize = 1000;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    models: [String; 2],
    /// Of each model.
    warnings: [Vec<String>; 2],
    int8_macs_share: [f64; 2],
    data: String,
    split: String,
    /// mAP of the second over that of the first, with its 95 % paired bootstrap interval.
    map_50_95_ratio: RatioInterval,
    metrics: [Metrics; 2],
    detections: DetectionAgreement,
    /// The worst first; empty for models that share no layer.
    layers: Vec<LayerError>,
    drawn: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &CompareArgs, common: &CommonArgs) -> Result<()> {
    let models = [&args.first, &args.second];
    let [first, second] = models.map(|path| model::read(path, &args.reading.reading()));
    let (first, second) = (first?, second?);
    let head = first.head()?;
    let dataset = data::open(&args.data, &args.split, common, Some(&head))?;
    data::warn(&args.data, &dataset.warnings);
    if let Some(dir) = &args.out {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot write {}", dir.display()))?;
    }
    let (a, warnings) = evaluate(&first, &dataset, common)?;
    let (b, of_second) = evaluate(&second, &dataset, common)?;
    let warnings = [warnings, of_second];
    let interval = paired_bootstrap(&a.matches, &b.matches, common.seed(), BOOTSTRAP_ROUNDS)?;
    let detections = detection_agreement(&a.results, &b.results);
    let layers = layers([&first, &second], &dataset, args, common)?;
    let results = [&a.results[..], &b.results];
    let drawn = draw(args, common, &dataset, &detections, results)?;
    let record = Record {
        models: [&first, &second].map(|m| m.path.display().to_string()),
        warnings,
        int8_macs_share: [&first, &second].map(|m| quant::int8_macs_share(&m.graph)),
        data: args.data.display().to_string(),
        split: args.split.clone(),
        map_50_95_ratio: interval,
        metrics: [a.metrics, b.metrics],
        detections,
        layers,
        drawn,
    };
    print(&record, args.worst as usize);
    write_json(common.json.as_deref(), &record)
}

fn evaluate(
    model: &Model,
    dataset: &Dataset,
    common: &CommonArgs,
) -> Result<(Evaluation, Vec<String>)> {
    let (head, mut sessions) = engine::detectors(model, common, engine::threads(common), 1)?;
    let mut warnings = model::warnings(model, Some(&head));
    let progress = Progress::new("images", dataset.images.len());
    let evaluation =
        evaluate_sessions(&mut sessions, dataset, THRESHOLDS, &|done| progress.at(done))
            .with_context(|| model.path.display().to_string())?;
    drop(progress);
    let doubt = evaluation.doubt.map(|d| d.describe(&head));
    model::warn(model, doubt.as_slice());
    warnings.extend(doubt);
    Ok((evaluation, warnings))
}

/// Errors of the layers that both models have, over a few images.
fn layers(
    models: [&Model; 2],
    dataset: &Dataset,
    args: &CompareArgs,
    common: &CommonArgs,
) -> Result<Vec<LayerError>> {
    let engine = engine::builtin(common, "compare")?;
    let [a, b] = models.map(|m| normalise(m.graph.clone()));
    let (a, b) = (a?, b?);
    let (head, other) = (models[0].head()?, models[1].head()?);
    ensure!(
        head.input.size_px == other.input.size_px,
        "the models take different inputs: {:?} and {:?} px",
        head.input.size_px,
        other.input.size_px
    );
    let sampled = ImageSet::from(dataset).sample(args.layer_images as usize, common.seed());
    let per_scene = head.input.images();
    let readable = |p: &&PathBuf| dataset.streams.read(p, per_scene).is_ok();
    let readable = sampled.paths.iter().filter(readable).cloned();
    let images = sampled.with(readable.collect());
    let progress = Progress::new("images by layer", images.len());
    let observation = Observation {
        model: Observed::new(&a, &head),
        images: &images,
        engine,
        progress: &|done| progress.at(done),
    };
    let mut layers = layer_errors(&observation, &b)?;
    let error = |l: &LayerError| l.relative_error.unwrap_or(-1.0);
    layers.sort_by(|x, y| error(y).total_cmp(&error(x)));
    Ok(layers)
}

/// Both models' detections side by side, on the images where they differ most.
fn draw(
    args: &CompareArgs,
    common: &CommonArgs,
    dataset: &Dataset,
    detections: &DetectionAgreement,
    results: [&[CocoResult]; 2],
) -> Result<Vec<String>> {
    let Some(dir) = &args.out else {
        return Ok(vec![]);
    };
    let mut drawn = Vec::new();
    let differing = detections.images.iter().filter(|i| i.unmatched > 0);
    for found in differing.take(args.worst as usize) {
        let image = dataset.images.iter().find(|i| i.image_id == found.image_id);
        let Some(image) = image else { continue };
        let pixels = read_rgb(&image.path)?;
        let halves = results.map(|r| report::drawn(&pixels, r, found.image_id, dataset));
        let stem = image.path.file_stem().unwrap_or_default().to_string_lossy();
        let path = dir.join(format!("{:04}_{stem}.jpg", drawn.len() + 1));
        common.files.draws(std::slice::from_ref(&path), dataset.files())?;
        save_image(&report::side_by_side(&halves), &path)?;
        drawn.push(path.display().to_string());
    }
    Ok(drawn)
}

fn print(r: &Record, worst: usize) {
    let mut rows = table(&["layer", "channels", "relative error"]);
    for l in r.layers.iter().take(worst) {
        let channels = if l.channels == l.other_channels {
            l.channels.to_string()
        } else {
            format!("{} to {}", l.channels, l.other_channels)
        };
        let error = l.relative_error;
        let error = error.map_or("other shape".to_owned(), |e| format!("{e:.4}"));
        rows.add_row([l.layer.clone(), channels, error]);
    }
    align_right(&mut rows, 1);
    say!("{rows}");
    if r.layers.len() > worst {
        say!("showing the worst {worst} of {} layers; --json contains all of them", r.layers.len());
    }
    let [a, b] = &r.metrics;
    say!("map_50_95     {:.4} and {:.4}", a.coco.map_50_95, b.coco.map_50_95);
    let [a, b] = r.int8_macs_share.map(percent);
    say!("MACs in INT8  {a} and {b}");
    let i = &r.map_50_95_ratio;
    let tie = i.lower <= 1.0 && 1.0 <= i.upper;
    say!(
        "ratio         {:.4} (95 % interval {:.4} to {:.4}){}",
        i.ratio,
        i.lower,
        i.upper,
        if tie { ": a tie" } else { "" }
    );
    let d = &r.detections;
    say!(
        "detections    {} found by both, {} by the first alone, {} by the second alone (confidence from {})",
        d.matched,
        d.only_first,
        d.only_second,
        SHOWN_CONF
    );
    say!(
        "              mean overlap {:.3}, mean difference of confidence {:.3}",
        d.mean_iou,
        d.mean_score_difference
    );
    r.drawn.iter().for_each(|path| say!("{path}"));
}
