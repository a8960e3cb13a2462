//! `val`: accuracy on a data set.
use crate::args::{CommonArgs, ValArgs};
use crate::format::{about, megabytes, percent};
use crate::output::{align_right, check_writable, table, write_json};
use crate::progress::Progress;
use crate::{data, engine, memory, model, ranges};
use anyhow::{Context, Result};
use observe::ImageSet;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;
use yolo::metrics::Metrics;
use yolo::{
    BadInput, Dataset, Detector, Evaluation, Thresholds, YoloError, evaluate_sessions,
    write_results,
};

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    model: String,
    /// How boxes and pixels are read.
    reading: String,
    data: String,
    split: String,
    family: &'static str,
    imgsz: [usize; 2],
    conf: f32,
    iou: f32,
    threads: usize,
    engine: &'static str,
    /// Null when ONNX Runtime chooses.
    isa: Option<String>,
    int8_macs_share: f64,
    images_per_s: f64,
    bad_images: Vec<BadInput>,
    bad_labels: Vec<BadInput>,
    /// Labels that a label file has twice, and that count once.
    duplicate_labels: usize,
    /// JPEGs that were read although they lack the marker of their end.
    repaired_images: Vec<String>,
    /// What was assumed, replaced or looks wrong.
    warnings: Vec<String>,
    #[serde(flatten)]
    metrics: Metrics,
}

/// Runs the verb.
pub(crate) fn run(args: &ValArgs, common: &CommonArgs) -> Result<()> {
    let model = model::load(&args.model)?;
    check_writable(args.dets.as_deref())?;
    let threads = engine::threads(common);
    let (head, mut sessions) = engine::detectors(&model, common, threads, 1)?;
    let assumed = model::warnings(&model, Some(&head));
    let mut dataset = data::open(&args.data, &args.split, common, Some(&head))?;
    let images = ImageSet::from(&dataset);
    let copies = data::copies(&images, &args.data, &args.split, "train");
    dataset.warnings.extend(copies);
    data::warn(&args.data, &dataset.warnings);
    let thresholds = Thresholds { conf: args.conf, iou: args.iou };
    let (evaluation, nothing) = evaluate(&mut sessions, &dataset, thresholds)
        .with_context(|| args.data.display().to_string())?;
    if let Some(path) = &args.dets {
        write_results(path, &evaluation.results)?;
    }
    let read = readable(&images, &evaluation);
    // Images may lack the marker of their end.
    let repaired_images = data::repaired(read.paths.iter().map(PathBuf::as_path));
    let repaired = data::repaired_warning(&repaired_images);
    data::warn(&args.data, repaired.as_slice());
    dataset.warnings.extend(repaired);
    let mut doubts: Vec<String> = evaluation.doubt.map(|d| d.describe(&head)).into_iter().collect();
    doubts.extend(ranges::shift_warning(&model, &head, &read, common)?);
    let record = Record {
        model: model.path.display().to_string(),
        reading: head.reading(),
        data: args.data.display().to_string(),
        split: args.split.clone(),
        family: head.family.name,
        imgsz: head.input.size_px,
        conf: args.conf,
        iou: args.iou,
        threads,
        engine: common.engine.name(),
        isa: engine::isa_name(common)?,
        int8_macs_share: quant::int8_macs_share(&model.graph),
        images_per_s: evaluation.images_per_s,
        bad_images: evaluation.bad_images,
        bad_labels: dataset.bad_labels,
        duplicate_labels: dataset.duplicate_labels,
        repaired_images,
        warnings: [assumed, doubts.clone(), dataset.warnings].concat(),
        metrics: evaluation.metrics,
    };
    print_skipped(&record);
    if nothing.is_none() {
        print(&record);
    }
    model::warn(&model, &doubts);
    write_json(common.json.as_deref(), &record)?;
    nothing.map_or(Ok(()), |error| Err(error).with_context(|| args.data.display().to_string()))
}

/// Evaluates on a data set; where nothing of it could be measured, without figures and with the error that says why.
fn evaluate(
    sessions: &mut [Detector],
    dataset: &Dataset,
    thresholds: Thresholds,
) -> Result<(Evaluation, Option<YoloError>), YoloError> {
    let (images, of_first) = (dataset.images.len(), 2 * sessions.len());
    let progress = Progress::new("images", images);
    let start = Instant::now();
    let finished = |done: usize| {
        if done == of_first && images > of_first {
            let time = start.elapsed().mul_f64(images as f64 / done as f64);
            let memory = memory::peak_rss_bytes().map(megabytes);
            let memory = memory.map_or(String::new(), |memory| format!(" and {memory} of memory"));
            note!("{images} images: about {}{memory}", about(time));
        }
        progress.at(done);
    };
    match evaluate_sessions(sessions, dataset, thresholds, &finished) {
        Ok(evaluation) => Ok((evaluation, None)),
        // There is no figure, and the record says so too.
        Err(error @ YoloError::NothingMeasured { .. }) => {
            Ok((Evaluation::nothing(&error), Some(error)))
        }
        Err(error) => Err(error),
    }
}

/// The images that were read.
fn readable(images: &ImageSet, evaluation: &Evaluation) -> ImageSet {
    let bad = evaluation.bad_images.iter().map(|b| b.file.as_path());
    let bad: BTreeSet<&Path> = bad.collect();
    let read = images.paths.iter().filter(|path| !bad.contains(path.as_path()));
    images.with(read.cloned().collect())
}

fn print_skipped(r: &Record) {
    for (what, bad) in [("image", &r.bad_images), ("label", &r.bad_labels)] {
        for b in bad {
            note!("skipped {what}: {b}");
        }
    }
}

fn print(r: &Record) {
    let coco = &r.metrics.coco;
    let mut per_class = table(&["class", "map_50_95", "map_50"]);
    for class in &coco.per_class {
        let figure = |v: Option<f64>| v.map_or("no labels".to_owned(), |v| format!("{v:.4}"));
        per_class.add_row([class.name.clone(), figure(class.map_50_95), figure(class.map_50)]);
    }
    align_right(&mut per_class, 1);
    say!("{per_class}");
    say!("{} on {} ({})", r.model, r.data, r.split);
    say!("  COCO protocol            map_50_95 {:.4}   map_50 {:.4}", coco.map_50_95, coco.map_50);
    let u = &r.metrics.ultralytics;
    say!(
        "  Ultralytics' definition  map_50_95 {:.4}   map_50 {:.4}",
        u.ultralytics_map_50_95,
        u.ultralytics_map_50
    );
    say!(
        "  {} images, {:.1} images/s on {} threads ({}), {} of the MACs in INT8",
        r.metrics.images,
        r.images_per_s,
        r.threads,
        r.isa.as_deref().unwrap_or(r.engine),
        percent(r.int8_macs_share)
    );
}
