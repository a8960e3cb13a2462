//! Whether images stay within the ranges that a quantized model was calibrated for: `inspect --ranges`, and a word of `val` and `detect`.
use crate::args::{CommonArgs, EngineName, ImagesArgs};
use crate::engine;
use crate::format::{layer_name, percent};
use crate::output::{align_right, table};
use crate::subject::{Subject, report_bad};
use anyhow::{Result, ensure};
use ir::normalise;
use observe::{CalibrationUse, ImageSet, Observation, Shift, TensorUse, has_shifted, range_use};
use serde::Serialize;
use yolo::families::Head;
use yoloslim::Model;

/// Tensors in the table.
const SHOWN: usize = 12;
/// Calibration images of which the weakest and the worst say little.
const FEW: usize = 16;
/// Images of which `val` and `detect` say something (decision 0021), and those that they look at.
const FEWEST: usize = 8;
const LOOKED_AT: usize = 16;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    model: String,
    data: String,
    split: String,
    images: usize,
    /// Images on which the model's calibration was described; null where its file does not say.
    calibration_images: Option<usize>,
    /// Whether the images are of another kind than those of the calibration: one layer alone does not say so.
    shifted: bool,
    /// Names of layers whose values leave their calibrated range.
    clipped_layers: Vec<String>,
    /// Names of layers whose values are weaker than in any calibration image.
    weak_layers: Vec<String>,
    /// The image that is cut off most in these layers.
    worst_image: Option<String>,
    warnings: Vec<String>,
    tensors: Vec<TensorUse>,
}

/// Runs the model on the images and says what leaves its ranges.
pub(crate) fn run(model: &Model, args: &ImagesArgs, common: &CommonArgs) -> Result<Record> {
    let subject = Subject::of_any_classes(model, args, common, "inspect")?;
    let graph = normalise(model.graph.clone())?.into_graph();
    let known = CalibrationUse::of(&graph);
    let observation = subject.observation();
    let observed = observe::Model { graph: &graph, ..observation.model };
    let observation = Observation { model: observed, ..observation };
    let (mut tensors, bad) = range_use(&observation)?;
    report_bad(&bad, subject.images.len())?;
    ensure!(
        !tensors.is_empty(),
        "{}: no tensor is quantized: --ranges is for INT8 models",
        model.path.display()
    );
    tensors.sort_by(|a, b| b.seen.clipped.total_cmp(&a.seen.clipped));
    let layers = |shift: Shift| -> Vec<String> {
        let shifted = tensors.iter().filter(|t| t.shift == Some(shift));
        shifted.map(|t| t.layer.clone()).collect()
    };
    let (clipped_layers, weak_layers) = (layers(Shift::Clipped), layers(Shift::Weak));
    let worst = tensors.iter().filter(|t| t.shift == Some(Shift::Clipped));
    let worst = worst.max_by(|a, b| a.seen.most_clipped.total_cmp(&b.seen.most_clipped));
    let worst_image = worst
        .and_then(|t| subject.images.paths.get(t.worst_image))
        .map(|path| path.display().to_string());
    let mut record = Record {
        model: model.path.display().to_string(),
        data: args.data.display().to_string(),
        split: args.sampling.split.clone(),
        images: subject.images.len() - bad.len(),
        calibration_images: known.map(|k| k.images),
        shifted: has_shifted(&tensors),
        clipped_layers,
        weak_layers,
        worst_image,
        warnings: Vec::new(),
        tensors,
    };
    record.warnings = warnings(&record);
    print(&record);
    Ok(record)
}

/// What `val` and `detect` say where a model was calibrated on images of another kind: some of these, evenly spread, are looked at.
/// Nothing where the file does not describe its calibration, the images are too few to tell, or another engine runs it.
pub(crate) fn shift_warning(
    model: &Model,
    head: &Head,
    images: &ImageSet,
    common: &CommonArgs,
) -> Result<Option<String>> {
    if common.engine != EngineName::Builtin || images.len() < FEWEST {
        return Ok(None);
    }
    let graph = normalise(model.graph.clone())?.into_graph();
    if CalibrationUse::of(&graph).is_none_or(|known| known.images < FEW) {
        return Ok(None);
    }
    let count = images.len().min(LOOKED_AT);
    let paths = (0..count).map(|i| images.paths[i * images.len() / count].clone());
    let observation = Observation {
        model: observe::Model::new(&graph, head),
        images: &images.with(paths.collect()),
        engine: engine::builtin(common, "val")?,
        progress: &|_| {},
    };
    let (mut tensors, _) = range_use(&observation)?;
    if !has_shifted(&tensors) {
        return Ok(None);
    }
    tensors.retain(|t| t.shift.is_some());
    tensors.sort_by(|a, b| b.seen.clipped.total_cmp(&a.seen.clipped));
    let layers: Vec<String> = tensors.into_iter().map(|t| t.layer).collect();
    Ok(Some(format!(
        "judging by {count} of them, these images are of another kind than those that INT8 was calibrated on: values leave their range, or hardly use it, in {} (`yoloslim inspect MODEL --ranges --data …` has the figures)",
        some(&layers)
    )))
}

/// The first layers, and how many more there are.
fn some(layers: &[String]) -> String {
    let shown: Vec<&str> = layers.iter().take(5).map(String::as_str).collect();
    let more = layers.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn warnings(r: &Record) -> Vec<String> {
    let mut all = Vec::new();
    match r.calibration_images {
        None => all.push(
            "the file does not say how its ranges were used in calibration, so nothing is judged: quantize it with this version".to_owned(),
        ),
        Some(images) if images < FEW => all.push(format!(
            "the file describes {images} calibration images: with so few, others of the same kind may look different"
        )),
        Some(_) => {}
    }
    if !r.shifted {
        return all;
    }
    if !r.clipped_layers.is_empty() {
        all.push(format!(
            "these images leave the calibrated ranges in {} of {} tensors: {}; most in {}",
            r.clipped_layers.len(),
            r.tensors.len(),
            some(&r.clipped_layers),
            r.worst_image.as_deref().unwrap_or("no image"),
        ));
    }
    if !r.weak_layers.is_empty() {
        all.push(format!(
            "these images are weaker than any calibration image in {} of {} tensors, and use less of their ranges: {}",
            r.weak_layers.len(),
            r.tensors.len(),
            some(&r.weak_layers),
        ));
    }
    all.push(
        "what to do: add such images to the training split, choose among all of them with `yoloslim calibset`, quantize anew, and compare both models on labelled images of this kind".to_owned(),
    );
    all
}

fn print(r: &Record) {
    let mut rows =
        table(&["tensor", "clipped here", "worst image", "in calibration", "worst there", ""]);
    let (shifted, others): (Vec<_>, Vec<_>) = r.tensors.iter().partition(|t| t.shift.is_some());
    for t in shifted.into_iter().chain(others).take(SHOWN) {
        let known = |f: fn(&observe::Use) -> f64| {
            t.calibrated.as_ref().map_or("not known".to_owned(), |c| percent(f(c)))
        };
        let shift = t.shift.map_or("", |shift| match shift {
            Shift::Clipped => "left its range",
            Shift::Weak => "weaker than in calibration",
        });
        rows.add_row([
            layer_name(&t.layer),
            percent(t.seen.clipped),
            percent(t.seen.most_clipped),
            known(|c| c.clipped),
            known(|c| c.most_clipped),
            shift.to_owned(),
        ]);
    }
    align_right(&mut rows, 1);
    say!("{rows}");
    for warning in &r.warnings {
        say!("warning: {warning}");
    }
    if !r.shifted && r.calibration_images.is_some() {
        say!("{} images use the ranges of {} as its calibration images do", r.images, r.model);
    }
}
