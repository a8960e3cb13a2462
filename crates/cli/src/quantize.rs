//! `quantize`: an INT8 model from a float one.
use crate::args::{CommonArgs, QuantizeArgs};
use crate::model::{self, Subject};
use crate::output::{check_writable, write_json};
use anyhow::Result;
use compress::quantize_detector;
use ir::rewrites;
use serde::Serialize;

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
pub(crate) fn run(args: &QuantizeArgs, common: &CommonArgs) -> Result<()> {
    let mut model = model::load(&args.model)?;
    check_writable(Some(&args.out))?;
    rewrites::apply(&mut model.graph, &rewrites::FOLD_BATCH_NORMALIZATION)?;
    let target = quant::target(&args.quant.target)?;
    let calibrator = &args.quant.calibrator;
    let subject = Subject::open(&model, &args.images, common, "quantize")?;
    let images = subject.images.len();
    let quantized = quantize_detector(&subject.observation(), &target, calibrator)?;
    model::report_bad(&quantized.bad_images, images)?;
    let file_bytes = model::save(&quantized.graph, &args.out)?;
    let source_file_bytes = model.file_bytes;
    println!("{}", args.out.display());
    println!(
        "  {file_bytes} bytes, {:.1} % of {}",
        100.0 * file_bytes as f64 / source_file_bytes as f64,
        model.path.display()
    );
    println!(
        "  {:.2} % of the MACs in INT8, {} tensors quantized for {}, ranges by {}",
        100.0 * quantized.int8_macs_share,
        quantized.plan.activations.len(),
        args.quant.target,
        calibrator
    );
    let record = Record {
        model: model.path.display().to_string(),
        out: args.out.display().to_string(),
        target: args.quant.target.clone(),
        calibrator: calibrator.clone(),
        images: images - quantized.bad_images.len(),
        file_bytes,
        source_file_bytes,
        int8_macs_share: quantized.int8_macs_share,
        plan: quantized.plan,
    };
    write_json(common.json.as_deref(), &record)
}
