//! `compress`: the whole way, with the gate's verdict as exit code.
use crate::args::{CommonArgs, CompressArgs};
use crate::model::{self, Model};
use crate::output::{align_right, grouped, joules, megabytes, table, write_json};
use crate::progress::Stages;
use crate::{engine, memory};
use anyhow::{Context, Result, ensure};
use compress::{
    Attempt, CompressData, CompressRecord, GateRecipe, ImagesRecipe, PruneRecipe, QuantizeRecipe,
    Recipe, RunDir, Runner, StageRecord, compress_detector, file_digest, percent, sample,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use yolo::{Dataset, ImageItem, families};

/// Runs the verb; a failed gate is exit code 1.
pub(crate) fn run(args: &CompressArgs, common: &CommonArgs) -> Result<ExitCode> {
    let engine = engine::builtin_options(common, "compress")?;
    let model = model::load(&args.model)?;
    let recipe = recipe(args, common, &model, engine.isa.to_string())?;
    let val = Dataset::open(&recipe.data, "val")?;
    let (calibration, holdout) = draw(&recipe, &val)?;
    // What no decoder reads cannot be judged, and is refused before an earlier run's files are forgotten.
    families::identify(&model.graph, model.family.as_deref())
        .with_context(|| model.path.display().to_string())?;
    let dir = RunDir::open(&args.out, args.resume)?;
    let stages = Stages::default();
    let runner = Runner {
        engine,
        threads: engine::threads(common),
        say: &|line| stages.say(line),
        progress: &|done, total| stages.at(done, total),
    };
    let data = CompressData {
        calibration: &calibration,
        holdout: holdout.as_ref(),
        val: &val,
    };
    let record = compress_detector(&model.graph, &recipe, &data, &runner, &dir)?;
    drop(stages);
    print(&args.out, &record);
    write_json(common.json.as_deref(), &record)?;
    Ok(if record.gate.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// What the arguments say, or another run's recipe with this model and data.
fn recipe(args: &CompressArgs, common: &CommonArgs, model: &Model, isa: String) -> Result<Recipe> {
    let mut recipe = match &args.recipe {
        Some(path) => Recipe::read(path)?,
        None => settings(args, common)?,
    };
    // Wherever the next command is typed, it means the same files.
    recipe.model = std::path::absolute(&model.path)?;
    recipe.model_sha256 = file_digest(&model.path)?;
    recipe.family = model.family.clone();
    recipe.imgsz = args.model.reading.imgsz;
    recipe.data = std::path::absolute(&args.images.data)?;
    recipe.isa = isa;
    Ok(recipe)
}

fn settings(args: &CompressArgs, common: &CommonArgs) -> Result<Recipe> {
    let options = args.limits.within(args.ranking.options()?);
    Ok(Recipe {
        model: PathBuf::new(),
        model_sha256: String::new(),
        family: None,
        imgsz: None,
        data: PathBuf::new(),
        seed: common.seed,
        isa: String::new(),
        images: ImagesRecipe {
            split: args.images.split.clone(),
            calibration: args.images.images,
            holdout: args.holdout,
        },
        prune: match args.keep_contribution {
            Some(keep) => PruneRecipe {
                keep_contribution: back_off(1.0 - keep).iter().map(|gone| 1.0 - gone).collect(),
                ..PruneRecipe::new(options)
            },
            None => PruneRecipe {
                macs: back_off(args.macs),
                ..PruneRecipe::new(options)
            },
        },
        quantize: QuantizeRecipe {
            target: args.quant.target.clone(),
            calibrator: args.quant.calibrator.clone(),
        },
        gate: GateRecipe {
            keep: args.keep,
            strict: args.strict,
        },
    })
}

/// Images to calibrate on, and others to choose by: none of them is of `val`, none is of both.
fn draw(recipe: &Recipe, val: &Dataset) -> Result<(Vec<PathBuf>, Option<Dataset>)> {
    let mut train = Dataset::open(&recipe.data, &recipe.images.split)?;
    let judged: BTreeSet<&PathBuf> = val.images.iter().map(|i| &i.path).collect();
    train.images.retain(|i| !judged.contains(&i.path));
    ensure!(
        !train.images.is_empty(),
        "{}: every image of `{}` is in `val` too: nothing is left to calibrate on",
        recipe.data.display(),
        recipe.images.split
    );
    let paths = |images: &[ImageItem]| images.iter().map(|i| i.path.clone()).collect::<Vec<_>>();
    // At most a third is held out of a small split: calibration needs images too.
    let spare = (recipe.images.holdout as usize).min(train.images.len() / 3);
    // Another seed than that of the calibration images, which are drawn from the rest.
    let held: BTreeSet<PathBuf> = sample(&paths(&train.images), spare, !recipe.seed)
        .into_iter()
        .collect();
    let (held, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut train.images)
        .into_iter()
        .partition(|i| held.contains(&i.path));
    let calibration = sample(
        &paths(&rest),
        recipe.images.calibration as usize,
        recipe.seed,
    );
    train.images = held;
    let labelled = train.images.iter().any(|i| !i.labels.is_empty());
    Ok((calibration, labelled.then_some(train)))
}

/// Shares to remove: what was asked, less, and nothing.
fn back_off(asked: f64) -> Vec<f64> {
    if asked == 0.0 {
        return vec![0.0];
    }
    vec![asked, asked / 2.0, asked / 5.0, 0.0]
}

fn print(out: &Path, r: &CompressRecord) {
    let mut rows = table(&["", "before", "pruned", "after", "after / before"]);
    let (a, p, b) = (&r.baseline, &r.pruned, &r.quantized);
    let mut row = |what: &str,
                   text: &dyn Fn(&StageRecord) -> String,
                   number: &dyn Fn(&StageRecord) -> Option<f64>| {
        let ratio = number(a)
            .filter(|before| *before > 0.0)
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
    row("MACs in INT8", &|s| percent(s.int8_macs_share), &|_| None);
    row("arena", &|s| megabytes(s.arena_bytes as u64), &|s| {
        Some(s.arena_bytes as f64)
    });
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
        let told = s.latency_ms.map(|l| format!("{:.1} ms", l.median));
        told.unwrap_or("runs in float here".to_owned())
    };
    row("latency", &ms, &|s| s.latency_ms.map(|l| l.median));
    row("energy an image", &|s| joules(s.energy_j), &|s| s.energy_j);
    align_right(&mut rows, 1);
    say!("{rows}");
    for t in &r.gate.attempts {
        say!("{}", attempt_text(t));
    }
    let of = if r.gate.strict {
        " of the lower end"
    } else {
        ""
    };
    let verdict = if r.gate.passed { "passed" } else { "failed" };
    say!("gate {verdict}: {} of the mAP asked{of}", r.gate.keep);
    if let Some(bytes) = memory::peak_rss_bytes() {
        say!("peak memory of this run: {}", megabytes(bytes));
    }
    say!("{}", out.join("model.onnx").display());
}

fn attempt_text(t: &Attempt) -> String {
    let pruned = format!(
        "{}: {:.1} % of the MACs pruned",
        t.folder,
        100.0 * t.macs_ratio
    );
    let held = t.holdout.map_or(String::new(), |h| {
        format!(
            ", {:.4} kept on the hold-out ({:.4} to {:.4})",
            h.ratio, h.lower, h.upper
        )
    });
    let judged = match (t.ratio, t.lower_bound, t.upper_bound) {
        (Some(ratio), Some(lower), Some(upper)) => {
            format!(", {ratio:.4} on val (95 % interval {lower:.4} to {upper:.4})")
        }
        _ => ", not shown to val".to_owned(),
    };
    pruned + &held + &judged
}
