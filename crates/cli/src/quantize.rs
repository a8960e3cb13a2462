//! `quantize`: an INT8 model from a float one.
use crate::args::QuantizeArgs;
use crate::output::write_json;
use crate::progress::Progress;
use crate::{engine, model};
use anyhow::{Context, Result};
use compress::{Observation, quantize_detector};
use ir::rewrites;
use serde::Serialize;
use yolo::families;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    model: String,
    out: String,
    target: String,
    calibrator: String,
    images: usize,
    file_bytes: u64,
    source_file_bytes: u64,
    int8_macs_share: f64,
    plan: quant::QuantPlan,
}

/// Runs the verb.
pub(crate) fn run(args: &QuantizeArgs) -> Result<()> {
    let mut graph = model::load(&args.model)?;
    rewrites::apply(&mut graph, &rewrites::FOLD_BATCH_NORMALIZATION)?;
    let head = families::identify(&graph, args.model.family.as_deref())
        .with_context(|| args.model.model.display().to_string())?;
    let target = quant::target(&args.target)?;
    let images = model::images(&args.images)?;
    let progress = Progress::new("images", images.len());
    let observation = Observation {
        graph: &graph,
        head: &head,
        images: &images,
        options: engine::options(&args.engine)?,
        threads: engine::threads(&args.engine),
        progress: &|done| progress.at(done),
    };
    let quantized = quantize_detector(&observation, &target, &args.calibrator)?;
    model::report_bad(&quantized.bad_images, images.len())?;
    let (source_file_bytes, file_bytes) =
        model::save(&quantized.graph, &args.model.model, &args.out)?;
    println!("{}", args.out.display());
    println!(
        "  {file_bytes} bytes, {:.1} % of {}",
        100.0 * file_bytes as f64 / source_file_bytes as f64,
        args.model.model.display()
    );
    println!(
        "  {:.2} % of the MACs in INT8, {} tensors quantized for {}, ranges by {}",
        100.0 * quantized.int8_macs_share,
        quantized.plan.activations.len(),
        args.target,
        args.calibrator
    );
    let record = Record {
        model: args.model.model.display().to_string(),
        out: args.out.display().to_string(),
        target: args.target.clone(),
        calibrator: args.calibrator.clone(),
        images: images.len() - quantized.bad_images.len(),
        file_bytes,
        source_file_bytes,
        int8_macs_share: quantized.int8_macs_share,
        plan: quantized.plan,
    };
    write_json(args.json.as_deref(), &record)
}
