//! `report`: a finished run as one HTML file.
use crate::args::{CommonArgs, ReportArgs};
use crate::output::write_json;
use crate::progress::Progress;
use crate::{engine, model};
use anyhow::{Context, Result, ensure};
use compress::{Recipe, RunDir, file_digest};
use ir::Graph;
use observe::ImageSet;
use report::{Material, write_report};
use serde::Serialize;
use yolo::Dataset;
use yoloslim::Reading;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    report: String,
    /// What could not be shown, and why.
    missing: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &ReportArgs, common: &CommonArgs) -> Result<()> {
    ensure!(
        RunDir::is_run(&args.run_dir) && args.run_dir.join("metrics.json").is_file(),
        "{} holds no finished run of yoloslim: `compress` makes one, whose last file is metrics.json",
        args.run_dir.display()
    );
    let dir = RunDir::open(&args.run_dir)?;
    let recipe = Recipe::read(&dir.file("recipe.toml"))?;
    let mut missing = Vec::new();
    let mut found = |what: &str, error: anyhow::Error| missing.push(format!("{what}: {error:#}"));
    let source = source(&recipe).map_err(|e| found("channels kept", e)).ok();
    let val = Dataset::open(&recipe.data, "val").map_err(|e| found("pictures", e.into()));
    let images = images(&recipe, args.images as usize, common.seed());
    let images = images.map_err(|e| found("layers", e));
    let images = images.unwrap_or_default();
    let progress = Progress::new("images by layer", images.len());
    let material = Material {
        source: source.as_ref(),
        val: val.as_ref().ok(),
        images: &images,
        pictures: args.pictures as usize,
    };
    let engine = engine::builtin(common, "report")?;
    let path = write_report(&dir, &material, engine, &|done| progress.at(done))?;
    drop(progress);
    missing.iter().for_each(|m| note!("not shown: {m}"));
    say!("{}", path.display());
    let record = Record { report: path.display().to_string(), missing };
    write_json(common.json.as_deref(), &record)
}

/// The model as it came; another file under its name would tell of another model.
fn source(recipe: &Recipe) -> Result<Graph> {
    let digest = file_digest(&recipe.model)?;
    ensure!(digest == recipe.model_sha256, "{} has changed since the run", recipe.model.display());
    Ok(model::read(&recipe.model, &Reading::from(recipe))?.graph)
}

/// A few training images.
fn images(recipe: &Recipe, count: usize, seed: u64) -> Result<ImageSet> {
    let train = Dataset::open(&recipe.data, &recipe.images.split)
        .with_context(|| recipe.data.display().to_string())?;
    Ok(ImageSet::from(&train).sample(count, seed))
}
