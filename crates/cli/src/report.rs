//! `report`: a finished run as one HTML file.
use crate::args::{CommonArgs, ReadingArgs, ReportArgs};
use crate::output::write_json;
use crate::progress::Progress;
use crate::{engine, model};
use anyhow::{Context, Result, ensure};
use compress::{Recipe, ReportSource, RunDir, file_digest, sample, write_report};
use ir::Graph;
use serde::Serialize;
use std::path::PathBuf;
use yolo::{Dataset, Streams};

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
    let (images, streams) = images.unwrap_or_default();
    let progress = Progress::new("images by layer", images.len());
    let path = write_report(
        &dir,
        &ReportSource {
            source: source.as_ref(),
            val: val.as_ref().ok(),
            images: &images,
            streams: &streams,
            engine: engine::builtin_options(common, "report")?,
            threads: engine::threads(common),
            pictures: args.pictures as usize,
            progress: &|done| progress.at(done),
        },
    )?;
    drop(progress);
    missing.iter().for_each(|m| note!("not shown: {m}"));
    say!("{}", path.display());
    let record = Record {
        report: path.display().to_string(),
        missing,
    };
    write_json(common.json.as_deref(), &record)
}

/// The model as it came; another file under its name would tell of another model.
fn source(recipe: &Recipe) -> Result<Graph> {
    let found = file_digest(&recipe.model)?;
    ensure!(
        found == recipe.model_sha256,
        "{} has changed since the run",
        recipe.model.display()
    );
    let reading = ReadingArgs {
        imgsz: recipe.imgsz,
        family: recipe.family.clone(),
        anchors: recipe.anchors.clone(),
    };
    Ok(model::read(&recipe.model, &reading)?.graph)
}

/// A few training images, and where the others of their scenes lie.
fn images(recipe: &Recipe, count: usize, seed: u64) -> Result<(Vec<PathBuf>, Streams)> {
    let train = Dataset::open(&recipe.data, &recipe.images.split)
        .with_context(|| recipe.data.display().to_string())?;
    let paths: Vec<PathBuf> = train.images.into_iter().map(|i| i.path).collect();
    Ok((sample(&paths, count, seed), train.streams))
}
