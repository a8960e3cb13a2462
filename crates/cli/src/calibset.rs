//! `calibset`: a data set to calibrate on, chosen from another one.
mod folder;

use crate::args::{CalibsetArgs, CommonArgs};
use crate::output::{align_right, table, write_json};
use crate::progress::Progress;
use crate::subject::report_bad;
use crate::{data, engine};
use anyhow::{Context, Result, bail, ensure};
use folder::{Entry, Folder, Manifest};
use ir::normalise;
use observe::calibset::{
    Activation, Candidate, Conditions, Coverage, Features, Looks, Objects, Source, candidates,
    plan_calibset, pooled_activations,
};
use observe::{ImageSet, Model as Observed, Observation};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use yolo::families::Head;
use yolo::{Dataset, ImageItem, Label, Thresholds, first_of_content};
use yoloslim::Model;

/// Images that are looked at, at most: of more so many are drawn.
const MOST_LOOKED_AT: usize = 10_000;
/// What a model finds counts as an object from this confidence on.
const FOUND: Thresholds = Thresholds { conf: 0.25, iou: 0.7 };

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    data: String,
    split: String,
    out: String,
    /// Images that were looked at.
    looked_at: usize,
    /// Images of the data that are in the set.
    picked: usize,
    /// Images that were made.
    synthetic: usize,
    /// Where objects are known from.
    objects: Source,
    coverage: Vec<Coverage>,
    warnings: Vec<String>,
}

/// The images that may be chosen, and what is known of them.
struct Material {
    dataset: Dataset,
    candidates: Vec<Candidate>,
    objects: Vec<Option<Objects>>,
    source: Source,
    activations: Vec<Activation>,
    warnings: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &CalibsetArgs, common: &CommonArgs) -> Result<()> {
    let folder = Folder::own(&args.out)?;
    let material = Material::gather(args, common)?;
    let Material { dataset, candidates, objects, .. } = &material;
    let looks: Vec<Looks<'_>> = candidates
        .iter()
        .zip(objects)
        .map(|(c, o)| Looks { measures: &c.appearance.measures, objects: o.as_ref() })
        .collect();
    let conditions = Conditions::of(&looks);
    let labels: Vec<&[Label]> =
        candidates.iter().map(|c| &dataset.images[c.at].labels[..]).collect();
    let features = Features::new(candidates, &material.activations, &labels);
    let (count, synthesise) = (args.images as usize, !args.no_synthetic);
    let plan =
        plan_calibset(&features, &conditions, count, args.extremes, synthesise, common.seed());
    let mut warnings = material.warnings.clone();
    let (picked, made) = (plan.picked.len(), plan.synthetic.len());
    if picked + made < count {
        warnings
            .push(format!("{} images, {count} were asked for: there are no more", picked + made));
    }
    folder.clear(dataset)?;
    let progress = Progress::new("images written", picked + made);
    let source = folder::SourceImages { dataset, candidates, conditions: &conditions };
    let entries =
        folder.fill(&source, &plan, engine::threads(common), &|done| progress.at(done))?;
    drop(progress);
    let record = Record {
        data: args.data.display().to_string(),
        split: args.split.clone(),
        out: args.out.display().to_string(),
        looked_at: candidates.len(),
        picked,
        synthetic: made,
        objects: material.source,
        coverage: plan.coverage,
        warnings,
    };
    describe(&folder, &record, args, common, &entries, dataset)?;
    print(&record);
    write_json(common.json.as_deref(), &record)
}

/// Writes what the folder holds beside its images.
fn describe(
    folder: &Folder,
    record: &Record,
    args: &CalibsetArgs,
    common: &CommonArgs,
    entries: &[Entry],
    dataset: &Dataset,
) -> Result<()> {
    let val = Dataset::images_of(&args.data, "val").unwrap_or_default();
    folder.write_description(&dataset.names, &val)?;
    folder.write_manifest(&Manifest {
        seed: common.seed(),
        extremes: args.extremes,
        objects: record.objects,
        coverage: &record.coverage,
        images: entries,
    })?;
    let shown: Vec<report::CoveredImage<'_>> = entries.iter().map(Entry::shown).collect();
    let page = report::coverage_page(&args.out, &record.coverage, &shown)?;
    folder.write("coverage.html", page.as_bytes())
}

impl Material {
    fn gather(args: &CalibsetArgs, common: &CommonArgs) -> Result<Self> {
        let model = args.model.as_deref().map(|path| open(path, args)).transpose()?;
        let head = model.as_ref().map(Model::head).transpose()?;
        let mut dataset = data::open(&args.data, &args.split, common, head.as_ref())?;
        data::warn(&args.data, &dataset.warnings);
        refuse_scenes(&dataset, &args.data, head.as_ref())?;
        let mut warnings = without_copies(&mut dataset, &args.data);
        ensure!(!dataset.images.is_empty(), "{}: no image is left", args.data.display());
        let all = ImageSet::from(&dataset);
        let drawn: BTreeSet<_> =
            all.sample(MOST_LOOKED_AT, common.seed()).paths.into_iter().collect();
        let positions: Vec<usize> =
            (0..all.len()).filter(|&i| drawn.contains(&all.paths[i])).collect();
        if positions.len() < all.len() {
            warnings.push(format!("{} of {} images were looked at", positions.len(), all.len()));
        }
        let threads = engine::threads(common);
        let progress = Progress::new("images", positions.len());
        let (mut seen, bad) = candidates(&dataset, &positions, threads, &|done| progress.at(done));
        drop(progress);
        report_bad(&bad, positions.len())?;
        let mut activations = Vec::new();
        if let (Some(model), Some(head)) = (&model, &head) {
            let images = all.with(seen.iter().map(|c| all.paths[c.at].clone()).collect());
            let graph = normalise(model.graph.clone())?;
            let progress = Progress::new("images by the model", images.len());
            let observation = Observation {
                model: Observed::new(&graph, head),
                images: &images,
                engine: engine::builtin(common, "calibset")?,
                progress: &|done| progress.at(done),
            };
            activations = pooled_activations(&observation)?.0;
            // What only the model cannot read has no activations to be compared by.
            let mut read = activations.iter().map(|a| !a.is_empty());
            seen.retain(|_| read.next().unwrap_or(false));
            activations.retain(|a| !a.is_empty());
        }
        let (objects, source) = objects(&dataset, &seen, model.as_ref(), common)?;
        if source == Source::Nothing {
            warnings.push(
                "nothing is labelled: occlusion and small objects are not measured, only made (--model finds objects)".to_owned(),
            );
        }
        data::warn(&args.data, &warnings);
        Ok(Self { dataset, candidates: seen, objects, source, activations, warnings })
    }
}

fn open(path: &Path, args: &CalibsetArgs) -> Result<Model> {
    crate::model::read(path, &args.reading.reading())
}

/// Refuses scenes of several images: the set would hold one image of each, and no such model could be calibrated on it.
fn refuse_scenes(dataset: &Dataset, data: &Path, head: Option<&Head>) -> Result<()> {
    let scene = |image: &ImageItem| dataset.streams.paths(&image.path, 2).ok();
    let partner = |image: &ImageItem| {
        scene(image)?.into_iter().find(|path| *path != image.path && path.is_file())
    };
    let per_scene = head.map(|head| head.input.images());
    ensure!(
        per_scene.is_none_or(|images| images == 1),
        "the model reads several images of a scene, of which a calibration set holds one: quantize it on the data itself"
    );
    if per_scene.is_none()
        && let Some(partner) = dataset.images.iter().find_map(partner)
    {
        bail!(
            "{}: scenes of several images, such as {}: a calibration set holds one image of each. Quantize a model that reads them all on the data itself; for one that reads one, name it with --model",
            data.display(),
            partner.display()
        );
    }
    Ok(())
}

/// Removes images that are there twice or judge the result too, whatever they are called; says how many.
fn without_copies(dataset: &mut Dataset, data: &Path) -> Vec<String> {
    let judging = Dataset::images_of(data, "val").unwrap_or_default();
    let own = ImageSet::from(&*dataset).paths;
    let all: Vec<&Path> = judging.iter().chain(&own).map(|path| path.as_path()).collect();
    let first = first_of_content(&all);
    let mut own = first.iter().enumerate().skip(judging.len());
    let before = dataset.images.len();
    dataset.images.retain(|image| {
        let is_first = own.next().is_some_and(|(at, first)| at == *first);
        is_first && !judging.contains(&image.path)
    });
    let left_out = before - dataset.images.len();
    if left_out == 0 {
        return vec![];
    }
    vec![format!(
        "{left_out} of {before} images are copies of others or images of `val`, by their content: left out"
    )]
}

/// The boxes of each candidate: those that are labelled, otherwise those that the model finds.
fn objects(
    dataset: &Dataset,
    candidates: &[Candidate],
    model: Option<&Model>,
    common: &CommonArgs,
) -> Result<(Vec<Option<Objects>>, Source)> {
    if dataset.is_labelled() {
        let labelled = candidates.iter().map(|c| {
            let objects = dataset.images[c.at].objects(c.size_px[0], c.size_px[1]);
            let boxes_px = objects.iter().filter(|o| !o.crowd).map(|o| o.bbox).collect();
            Some(Objects { boxes_px, size_px: c.size_px })
        });
        return Ok((labelled.collect(), Source::Labels));
    }
    let Some(model) = model else {
        return Ok((vec![None; candidates.len()], Source::Nothing));
    };
    let (head, mut sessions) = engine::detectors(model, common, engine::threads(common), 1)?;
    let per_scene = head.input.images();
    let found = numerics::parallel_map_with(&mut sessions, candidates, |session, candidate| {
        let path = &dataset.images[candidate.at].path;
        let images = dataset.streams.read(path, per_scene)?;
        let found = session.detect(&images, FOUND)?;
        let boxes_px = found.iter().map(|d| d.bbox.xywh()).collect();
        Ok(Some(Objects { boxes_px, size_px: candidate.size_px }))
    });
    let found: Result<Vec<_>, yolo::YoloError> = found.into_iter().collect();
    Ok((found.with_context(|| model.path.display().to_string())?, Source::Detections))
}

fn print(r: &Record) {
    let mut rows = table(&["condition", "in the data", "wanted", "picked", "synthetic"]);
    for c in &r.coverage {
        let in_data = match c.threshold {
            Some(_) => c.in_data.to_string(),
            None => "not measured".to_owned(),
        };
        let [wanted, picked, made] = [c.wanted, c.picked, c.synthetic].map(|n| n.to_string());
        rows.add_row([c.condition.to_owned(), in_data, wanted, picked, made]);
    }
    align_right(&mut rows, 1);
    say!("{rows}");
    let whole = r.picked + r.synthetic;
    say!(
        "{whole} images of {} that were looked at, {} of them synthetic: {}",
        r.looked_at,
        r.synthetic,
        Path::new(&r.out).join("data.yaml").display()
    );
    say!("what each condition shows: {}", Path::new(&r.out).join("coverage.html").display());
    say!("to quantize with it: yoloslim quantize MODEL --data {}/data.yaml -n {whole}", r.out);
}
