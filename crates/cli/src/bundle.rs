//! `bundle`: a finished run as one folder that is signed, pushed and put on devices.
mod figures;
mod golden;

use crate::args::{BundleArgs, CommonArgs, TargetModel};
use crate::output::write_json;
use crate::progress::Progress;
use crate::{Verdict, engine, model};
use anyhow::{Context, Result, bail, ensure};
use compress::{Recipe, RunDir, dataset_digest, file_digest};
use deliver::Digest;
use deliver::bundle::{
    Bundle, DataRecord, Draft, FileRole, InputShape, Manifest, Metric, Provenance, RunRecord,
    TIMINGS, Thresholds, check_name, mlbom,
};
use figures::Evaluator;
use observe::{Engine, Splits};
use report::{Material, portable_report};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use yolo::CompiledDetector;
use yoloslim::{Model, Reading};

/// Training images on which the report compares layers, and images that it shows.
const REPORT_IMAGES: usize = 4;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    bundle: String,
    digest: Digest,
    manifest: Manifest,
}

/// Runs the verb.
pub(crate) fn run(args: &BundleArgs, common: &CommonArgs) -> Result<Verdict> {
    let run = FinishedRun::open(args, common)?;
    let gate = &run.record.gate;
    if !gate.passed {
        note!(
            "no bundle: the gate of the run in {} failed: {:.4} of the mAP is kept, and {} had to be",
            args.run_dir.display(),
            gate.ratio,
            gate.keep
        );
        return Ok(Verdict::GateFailed);
    }
    let draft = Draft::begin(&out(args))?;
    let mut roles = run.write_documents(&draft)?;
    let own = TargetModel { target: run.recipe.quantize.target, model: run.dir.file("model.onnx") };
    let mut models = BTreeMap::new();
    for TargetModel { target, model } in std::iter::once(&own).chain(&args.targets) {
        let name = format!("models/{target}.onnx");
        let bytes = fs::read(model).with_context(|| format!("cannot read {}", model.display()))?;
        draft.write(&name, &bytes)?;
        if models.insert(target.to_string(), name.clone()).is_some() {
            bail!("there are two models for {target}: a bundle has one for a target");
        }
        roles.push((name, FileRole::Model));
    }
    let opened = run.open_models(&draft, &models)?;
    let own = own.target.to_string();
    let detector = &opened[&own];
    let evaluator = Evaluator::new(&run.source, &run.recipe, &run.data.val, run.engine)?;
    let measured = evaluator.measure(&run.record, &own, &opened)?;
    if let Some(lost) = &measured.lost {
        note!("no bundle: {lost}");
        return Ok(Verdict::GateFailed);
    }
    let count = usize::from(args.golden);
    let frames = golden::choose(&measured.found, &detector.head, &run.data.val, count)?;
    roles.extend(golden::write(&draft, &frames, detector, &models[&own])?);
    for file in models.values() {
        golden::prove(&draft.folder().join(file), &draft.folder().join(golden::FILE), run.engine)?;
    }
    let manifest = run.manifest(args, detector, models, measured.metrics)?;
    // The bill of materials lists the other files by their digests.
    let unlisted = Bundle::seal(draft.folder(), manifest.clone(), roles.clone())?;
    draft.write("mlbom.json", mlbom(&unlisted).as_bytes())?;
    roles.push(("mlbom.json".to_owned(), FileRole::Document));
    Bundle::seal(draft.folder(), manifest, roles)?;
    let bundle = draft.finish()?;
    say!("{}", bundle.path.display());
    say!("{}", bundle.digest);
    let record = Record {
        bundle: bundle.path.display().to_string(),
        digest: bundle.digest,
        manifest: bundle.manifest,
    };
    write_json(common.json.as_deref(), &record)?;
    Ok(Verdict::Done)
}

/// Beside the run, where nothing else is said.
fn out(args: &BundleArgs) -> PathBuf {
    args.out.clone().unwrap_or_else(|| {
        let mut name = args.run_dir.components().as_path().to_owned().into_os_string();
        name.push(".bundle");
        PathBuf::from(name)
    })
}

/// A finished run, with the model and the images that it was made of.
struct FinishedRun {
    dir: RunDir,
    record: RunRecord,
    recipe: Recipe,
    engine: Engine,
    source: Model,
    data: Splits,
}

impl FinishedRun {
    /// What was measured must be what is bundled: a model or images that have changed since are refused.
    fn open(args: &BundleArgs, common: &CommonArgs) -> Result<Self> {
        let path = &args.run_dir;
        ensure!(
            RunDir::is_run(path) && path.join("metrics.json").is_file(),
            "{} holds no finished run of yoloslim: `compress` makes one, whose last file is metrics.json",
            path.display()
        );
        let dir = RunDir::open(path)?;
        let mut recipe = Recipe::read(&dir.file("recipe.toml"))?;
        let record = RunRecord::read(&dir.file("metrics.json"))?;
        let engine = engine::of_recipe(&mut recipe, common, "bundle")?;
        let source = &recipe.model;
        ensure!(
            file_digest(source)? == recipe.model_sha256,
            "{} has changed since the run: `compress` measures it anew",
            source.display()
        );
        let source = model::read(source, &Reading::from(&recipe))?;
        let head = source.head()?;
        ensure!(
            head.input.images() == 1,
            "{} reads {} images of a scene at once, and devices hand it one: it cannot be bundled",
            source.path.display(),
            head.input.images()
        );
        let data = source.splits(&recipe)?;
        ensure!(
            dataset_digest(&data.val, 1)? == record.val_sha256,
            "the images or labels of val in {} have changed since the run: `compress` measures it anew",
            recipe.data.display()
        );
        Ok(Self { dir, record, recipe, engine, source, data })
    }

    /// Writes what goes with the models.
    fn write_documents(&self, draft: &Draft) -> Result<Vec<(String, FileRole)>> {
        let images = self.data.calibration.sample(REPORT_IMAGES, self.recipe.seed);
        let material = Material {
            source: Some(&self.source.graph),
            val: Some(&self.data.val),
            images: &images,
            pictures: REPORT_IMAGES,
        };
        let progress = Progress::new("images by layer", images.len());
        let page = portable_report(&self.dir, &material, self.engine, &|done| progress.at(done))?;
        draft.write("report.html", page.as_bytes())?;
        // Another machine has other folders.
        let named = |path: &Path| path.file_name().map(PathBuf::from).unwrap_or_default();
        let recipe = Recipe {
            model: named(&self.recipe.model),
            data: named(&self.recipe.data),
            ..self.recipe.clone()
        };
        draft.write("recipe.toml", recipe.to_toml()?.as_bytes())?;
        let plan = self.dir.file("quant.plan.json");
        let plan = fs::read(&plan).with_context(|| format!("cannot read {}", plan.display()))?;
        draft.write("quant.plan.json", &plan)?;
        draft.write(TIMINGS, &serde_json::to_vec_pretty(&self.timings()?)?)?;
        let role = |name: &str, role| (name.to_owned(), role);
        Ok(vec![
            role("report.html", FileRole::Document),
            role("recipe.toml", FileRole::Config),
            role("quant.plan.json", FileRole::Config),
        ])
    }

    /// What was timed on this machine: latency as the run has it, and energy.
    fn timings(&self) -> Result<serde_json::Value> {
        let mut timings: serde_json::Value = self.dir.read_json("latency.json")?;
        let record: serde_json::Value = self.dir.read_json("metrics.json")?;
        for stage in ["baseline", "pruned", "quantized"] {
            timings["energy_j"][stage] = record[stage]["energy_j"].clone();
        }
        Ok(timings)
    }

    /// The models as a device opens them: from the file alone, with nothing told besides.
    fn open_models(
        &self,
        draft: &Draft,
        models: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, CompiledDetector>> {
        let source = self.source.head()?;
        let open = |(target, file): (&String, &String)| {
            let what = || format!("the model for {target}");
            let model = Model::open(draft.folder().join(file)).with_context(what)?;
            let detector = CompiledDetector::open(model.graph, None, &self.engine.options);
            let detector = detector.with_context(what)?;
            let head = &detector.head;
            let alike = head.family.name == source.family.name
                && head.names == source.names
                && head.classes == source.classes
                && head.input.size_px == source.input.size_px;
            ensure!(
                alike,
                "the model for {target} is read as {} with {} classes, and the run's model as {} with {}: devices, which are told nothing, would read it in another way",
                head.reading(),
                head.classes,
                source.reading(),
                source.classes
            );
            Ok((target.clone(), detector))
        };
        models.iter().map(open).collect()
    }

    fn manifest(
        &self,
        args: &BundleArgs,
        detector: &CompiledDetector,
        models: BTreeMap<String, String>,
        metrics: BTreeMap<String, Metric>,
    ) -> Result<Manifest> {
        let head = &detector.head;
        let [height_px, width_px] = head.input.size_px;
        // `[1, channels, height, width]`.
        let channels = detector.inputs.first().and_then(|port| port.ty.shape.get(1).copied());
        let thresholds = head.family.thresholds;
        let digest = |hex: &str| format!("sha256:{hex}").parse();
        Ok(Manifest {
            yoloslim_bundle: Manifest::format(),
            name: self.name(args)?,
            family: head.family.name.to_owned(),
            classes: figures::names(head),
            input: InputShape { channels: channels.unwrap_or(0), height_px, width_px },
            thresholds: Thresholds { conf: thresholds.conf, iou: thresholds.iou },
            models,
            metrics,
            data: DataRecord {
                digest: self.record.val_digest()?,
                images: self.record.quantized.images,
                objects: self.record.val_labelled.objects,
            },
            provenance: Provenance {
                model: digest(&self.recipe.model_sha256)?,
                commit: args.commit.clone(),
                tool: format!("yoloslim {}", env!("CARGO_PKG_VERSION")),
            },
            files: BTreeMap::new(),
        })
    }

    fn name(&self, args: &BundleArgs) -> Result<String> {
        let stem = || {
            let stem = self.recipe.model.file_stem().unwrap_or_default();
            stem.to_string_lossy().into_owned()
        };
        let name = args.name.clone().unwrap_or_else(stem);
        ensure!(
            check_name(&name).is_ok() && !name.contains('/'),
            "`{name}` is no name of a detector: letters, digits, `-`, `_` and `.` are; say one with --name"
        );
        Ok(name)
    }
}
