//! `compress`: the whole way, with the gate's verdict as exit code.
use crate::args::{CommonArgs, CompressArgs};
use crate::output::{align_right, grouped, megabytes, table, write_json};
use crate::{engine, model};
use anyhow::{Result, ensure};
use compress::{
    CompressData, CompressOptions, CompressRecord, StageRecord, compress_detector, sample,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use yolo::Dataset;

/// Runs the verb; a failed gate is exit code 1.
pub(crate) fn run(args: &CompressArgs, common: &CommonArgs) -> Result<ExitCode> {
    let model = model::load(&args.model)?;
    let data = &args.images.data;
    let val = Dataset::open(data, "val")?;
    let train = Dataset::open(data, &args.images.split)?;
    let judged: BTreeSet<&PathBuf> = val.images.iter().map(|i| &i.path).collect();
    let train: Vec<PathBuf> = train
        .images
        .into_iter()
        .map(|i| i.path)
        .filter(|p| !judged.contains(p))
        .collect();
    ensure!(
        !train.is_empty(),
        "{}: every image of `{}` is in `val` too: nothing is left to calibrate on",
        data.display(),
        args.images.split
    );
    let calibration = sample(&train, args.images.images as usize, common.seed);
    let options = CompressOptions {
        keep: args.keep,
        strict: args.strict,
        macs_ratios: back_off(args.macs),
        criterion: &args.criterion.criterion,
        target: quant::target(&args.quant.target)?,
        calibrator: &args.quant.calibrator,
        seed: common.seed,
        engine: engine::builtin_options(common, "compress")?,
        threads: engine::threads(common),
    };
    let data = CompressData {
        calibration: &calibration,
        val: &val,
    };
    let family = model.family.as_deref();
    let record = compress_detector(
        (&model.graph, model.file_bytes, family),
        &data,
        &options,
        &args.out,
        &|line| eprintln!("{line}"),
    )?;
    print(args, &record);
    write_json(common.json.as_deref(), &record)?;
    Ok(if record.gate.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Shares of the MACs to try: what was asked, less, and nothing.
fn back_off(macs: f64) -> Vec<f64> {
    if macs == 0.0 {
        return vec![0.0];
    }
    vec![macs, macs / 2.0, macs / 5.0, 0.0]
}

fn print(args: &CompressArgs, r: &CompressRecord) {
    let mut rows = table(&["", "before", "pruned", "after", "after / before"]);
    let (a, p, b) = (&r.baseline, &r.pruned, &r.quantized);
    let mut row = |what: &str,
                   text: &dyn Fn(&StageRecord) -> String,
                   number: &dyn Fn(&StageRecord) -> Option<f64>| {
        let ratio = number(a)
            .zip(number(b))
            .map_or("–".to_owned(), |(a, b)| format!("{:.3}", b / a));
        rows.add_row([what.to_owned(), text(a), text(p), text(b), ratio]);
    };
    row("file", &|s| megabytes(s.file_bytes), &|s| {
        Some(s.file_bytes as f64)
    });
    row("parameters", &|s| grouped(s.params), &|s| {
        Some(s.params as f64)
    });
    row("MACs", &|s| grouped(s.macs), &|s| Some(s.macs as f64));
    row(
        "MACs in INT8",
        &|s| format!("{:.1} %", 100.0 * s.int8_macs_share),
        &|_| None,
    );
    row(
        "map_50_95",
        &|s| format!("{:.4}", s.metrics.coco.map_50_95),
        &|s| Some(s.metrics.coco.map_50_95),
    );
    row(
        "map_50",
        &|s| format!("{:.4}", s.metrics.coco.map_50),
        &|s| Some(s.metrics.coco.map_50),
    );
    let ms = |s: &StageRecord| {
        s.latency_ms.map_or("no INT8 engine yet".to_owned(), |l| {
            format!("{:.1} ms", l.median)
        })
    };
    row("latency", &ms, &|s| s.latency_ms.map(|l| l.median));
    align_right(&mut rows, 1);
    println!("{rows}");
    for t in &r.gate.attempts {
        let verdict = if t.passed { "passed" } else { "failed" };
        println!(
            "gate {verdict}: {:.1} % of the MACs pruned, mAP ratio {:.4} (95 % interval {:.4} to {:.4}), {} asked{}",
            100.0 * t.macs_ratio,
            t.ratio,
            t.lower_bound,
            t.upper_bound,
            r.gate.keep,
            if r.gate.strict {
                " of the lower end"
            } else {
                ""
            }
        );
    }
    println!("{}", args.out.join("model.onnx").display());
}
