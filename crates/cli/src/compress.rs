//! `compress`: the whole way, with the gate's verdict as exit code.
use crate::args::{CommonArgs, CompressArgs};
use crate::beside::CacheFiles;
use crate::format::{grouped, joules, megabytes, percent};
use crate::memory::Room;
use crate::output::{Row, align_right, row, table, write_json};
use crate::progress::Stages;
use crate::{Verdict, data, engine, explain, memory, model, timing};
use anyhow::{Context, Result, bail};
use compress::{
    Attempt, CompressRecord, GateRecipe, PruneRecipe, QuantizeRecipe, Recipe, Run, RunDir,
    StageRecord, compress_detector, file_digest,
};
use observe::{Sampling, Splits};
use std::path::{Path, PathBuf};
use yoloslim::Reading;

/// Runs the verb.
pub(crate) fn run(args: &CompressArgs, common: &CommonArgs) -> Result<Verdict> {
    let mut recipe = match &args.recipe {
        Some(path) => of_another_run(path, &args.model.reading.reading(), common)?,
        None => settings(args, common)?,
    };
    recipe.check()?;
    let mut engine = engine::of_recipe(&mut recipe, common, "compress")?;
    let model = model::load_float(&args.model.model, &Reading::from(&recipe))?;
    let room = Room::beside(&model, &args.memory);
    engine.memory_bytes = room.bytes();
    // Wherever the next command is typed, it means the same files.
    recipe.model = std::path::absolute(&model.path)?;
    recipe.model_sha256 = file_digest(&model.path)?;
    recipe.data = std::path::absolute(&args.images.data)?;
    // What no decoder reads cannot be judged, and is refused before an earlier run's files are removed.
    let head = model.head()?;
    let val = data::open(&recipe.data, "val", common, Some(&head))?;
    let train = data::open(&recipe.data, &recipe.images.split, common, Some(&head))?;
    let mut warnings = [&val.warnings[..], &train.warnings].concat();
    let mut data = Splits::new(train, val, &recipe.images, recipe.seed, engine.threads)
        .with_context(|| recipe.data.display().to_string())?;
    let read = data.val.images.iter().map(|i| i.path.as_path());
    let read = read.chain(data.calibration.paths.iter().map(PathBuf::as_path));
    warnings.extend(data::repaired_warning(&data::repaired(read)));
    warnings.extend(model::notes(&model, Some(&head)));
    warnings.append(&mut data.warnings);
    data.warnings = warnings;
    let dir = run_dir(args, &recipe)?;
    let stages = Stages::default();
    let run = Run {
        dir: &dir,
        engine,
        log: &|line| stages.say(line),
        progress: &|done, total| stages.at(done, total),
    };
    let record =
        compress_detector(&model.graph, &recipe, &data, &run).map_err(|e| room.explained(e))?;
    drop(stages);
    print(&args.out, &record);
    if let Some(cache) = CacheFiles::of_run(recipe.quantize.target, &args.out) {
        cache.commands(&args.out.join("model.onnx")).iter().for_each(|command| say!("  {command}"));
    }
    write_json(common.json.as_deref(), &record)?;
    Ok(if record.gate.passed { Verdict::Done } else { Verdict::GateFailed })
}

/// The settings of another run. What is typed besides may repeat them, and is refused where it contradicts.
fn of_another_run(path: &Path, reading: &Reading, common: &CommonArgs) -> Result<Recipe> {
    let recipe = Recipe::read(path)?;
    let imgsz = |[height, width]: [usize; 2]| format!("{height}x{width}");
    agrees("--imgsz", reading.imgsz.map(imgsz), recipe.imgsz.map(imgsz), path)?;
    agrees(
        "--family",
        reading.family.map(|f| f.name.to_owned()),
        recipe.family.map(|f| f.name.to_owned()),
        path,
    )?;
    let list = |anchors: &Vec<f32>| format!("{anchors:?}");
    agrees(
        "--anchors",
        reading.anchors.as_ref().map(list),
        recipe.anchors.as_ref().map(list),
        path,
    )?;
    let seed = common.typed_seed().map(|seed| seed.to_string());
    agrees("--seed", seed, Some(recipe.seed.to_string()), path)?;
    Ok(recipe)
}

fn agrees(option: &str, typed: Option<String>, known: Option<String>, recipe: &Path) -> Result<()> {
    let Some(typed) = typed.filter(|typed| known.as_ref() != Some(typed)) else {
        return Ok(());
    };
    bail!(
        "{option} {typed} contradicts {}, which says {}: leave the option out, or change a copy of the recipe",
        recipe.display(),
        known.unwrap_or("nothing about it".to_owned())
    )
}

/// The folder of the run; an earlier run there is removed, or continued.
fn run_dir(args: &CompressArgs, recipe: &Recipe) -> Result<RunDir> {
    let earlier = Recipe::read(&args.out.join("recipe.toml"));
    let earlier = earlier.ok().filter(|_| RunDir::is_run(&args.out));
    let other = earlier.filter(|e| e.model_sha256 != recipe.model_sha256);
    if let Some(other) = other.filter(|_| args.resume) {
        bail!(
            "the run in {} is of another model, {}: --resume continues a run of the same model; without it that run is removed",
            args.out.display(),
            other.model.display()
        );
    }
    if !args.resume && !RunDir::own_files(&args.out).is_empty() {
        note!("removing the run that is in {} (--resume continues it instead)", args.out.display());
    }
    Ok(RunDir::create(&args.out, args.resume)?)
}

fn settings(args: &CompressArgs, common: &CommonArgs) -> Result<Recipe> {
    let options = args.limits.within(args.ranking.options()?);
    Ok(Recipe {
        model: PathBuf::new(),
        model_sha256: String::new(),
        family: args.model.reading.family,
        anchors: args.model.reading.anchors.clone(),
        imgsz: args.model.reading.imgsz,
        data: PathBuf::new(),
        seed: common.seed(),
        isa: String::new(),
        images: Sampling {
            split: args.images.sampling.split.clone(),
            calibration: args.images.sampling.images,
            holdout: args.attempts.holdout,
            choose: args.images.sampling.choose,
        },
        prune: match args.attempts.keep_contribution {
            Some(share) => PruneRecipe::keeping_contribution(options, share),
            None => PruneRecipe::removing_macs(options, args.attempts.macs),
        },
        recover: args.recovery.recipe(),
        quantize: QuantizeRecipe {
            target: args.quant.target()?,
            calibrator: args.quant.calibrator,
            head: args.quant.head.unwrap_or_default(),
            float: args.quant.float.clone(),
        },
        gate: GateRecipe { keep: args.gate.keep, strict: args.gate.strict },
    })
}

const ROWS: &[Row<StageRecord>] = &[
    row("file", |s| megabytes(s.file_bytes), |s| Some(s.file_bytes as f64)),
    row("parameters", |s| grouped(s.footprint.params), |s| Some(s.footprint.params as f64)),
    row("MACs", |s| grouped(s.footprint.macs), |s| Some(s.footprint.macs as f64)),
    row("MACs in INT8", |s| percent(s.footprint.int8_macs_share), |_| None),
    row(
        "arena",
        |s| megabytes(s.footprint.arena_bytes as u64),
        |s| Some(s.footprint.arena_bytes as f64),
    ),
    row(
        "map_50_95",
        |s| format!("{:.4}", s.metrics.coco.map_50_95),
        |s| Some(s.metrics.coco.map_50_95),
    ),
    row("map_50", |s| format!("{:.4}", s.metrics.coco.map_50), |s| Some(s.metrics.coco.map_50)),
    row("latency", latency, |s| s.footprint.latency_ms.map(|l| l.median)),
    row("energy per image", |s| joules(s.footprint.energy_j), |s| s.footprint.energy_j),
];

fn latency(stage: &StageRecord) -> String {
    let latency = stage.footprint.latency_ms;
    latency.map_or("runs in f32 here".to_owned(), |l| format!("{:.1} ms", l.median))
}

fn print(out: &Path, r: &CompressRecord) {
    let mut rows = table(&["", "before", "pruned", "after", "after / before"]);
    for row in ROWS {
        let pair = row.pair(&r.baseline, &r.quantized);
        let ratio =
            pair.map_or("–".to_owned(), |(before, after)| format!("{:.3}", after / before));
        let [before, pruned, after] = [&r.baseline, &r.pruned, &r.quantized].map(row.text);
        rows.add_row([row.name.to_owned(), before, pruned, after, ratio]);
    }
    align_right(&mut rows, 1);
    say!("{rows}");
    for attempt in &r.gate.attempts {
        say!("{}", attempt_text(attempt));
        if let Some(shortfall) = &attempt.shortfall {
            say!("  less was removed than was asked: {shortfall}");
        }
    }
    for warning in r.warnings.iter().chain(&r.without_gain()) {
        say!("note: {warning}");
    }
    let of_what = if r.gate.strict { "the lower end of the interval" } else { "the mAP" };
    let verdict = if r.gate.passed { "passed" } else { "failed" };
    say!("gate {verdict}: {of_what} had to keep {} of the mAP before", percent(r.gate.keep));
    for loss in r.val_lost.iter().filter(|_| !r.gate.passed) {
        let image = loss.image.display();
        say!(
            "  {image}: {} labelled objects were found, now {}",
            loss.found_before,
            loss.found_after
        );
    }
    if let Some(shift) = &r.confidence {
        say!("confidence, on {} held-out training images:", r.holdout_images);
        explain::shift_text(shift).iter().for_each(|line| say!("  {line}"));
    }
    let latency = r.quantized.footprint.latency_ms;
    if let Some(l) = latency.or(r.baseline.footprint.latency_ms) {
        say!(
            "latency: median of {} runs in {} rounds, the models in turn, after {} runs of warm-up; 95 % interval after: {}",
            l.runs,
            l.rounds,
            l.warmup_runs,
            timing::interval(&l)
        );
    }
    if let Some(machine) = &r.machine {
        say!("{}", timing::machine(machine));
    }
    if let Some(bytes) = memory::peak_rss_bytes() {
        say!("peak memory of this run: {}", megabytes(bytes));
    }
    say!("{}", out.join("model.onnx").display());
}

fn attempt_text(t: &Attempt) -> String {
    let asked: Vec<String> = t.asked.iter().map(ToString::to_string).collect();
    let pruned = format!(
        "{}: {:.1} % of the MACs pruned (asked: {})",
        t.folder,
        100.0 * t.macs_ratio,
        asked.join("; ")
    );
    let recovered = t.recovery.as_ref().map_or(String::new(), |r| {
        format!(", recovered in {} steps", r.curve.last().map_or(0, |point| point.step))
    });
    let held = t.holdout.map_or(String::new(), |h| {
        format!(", {:.4} kept on the hold-out ({:.4} to {:.4})", h.ratio, h.lower, h.upper)
    });
    let on_val = match (t.ratio, t.lower_bound, t.upper_bound) {
        (Some(ratio), Some(lower), Some(upper)) => {
            format!(", {ratio:.4} on val (95 % interval {lower:.4} to {upper:.4})")
        }
        (Some(ratio), ..) => format!(", {ratio:.4} on val"),
        _ => ", ruled out before val".to_owned(),
    };
    pruned + &recovered + &held + &on_val
}
