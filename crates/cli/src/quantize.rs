//! `quantize`: an INT8 model from a float one.
use crate::args::{CommonArgs, QuantizeArgs};
use crate::cache_files::CacheFiles;
use crate::format::percent;
use crate::model;
use crate::output::{align_right, check_writable, table, write_json};
use crate::subject::{Subject, report_bad};
use anyhow::Result;
use compress::{
    Noise, QuantizeBudget, QuantizeOptions, Quantized, RangeDecision, Recipe, SearchStep,
    quantize_detector,
};
use ir::normalise;
use quant::Target;
use serde::Serialize;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    model: String,
    out: String,
    /// Null where outputs were compared as they are.
    family: Option<&'static str>,
    warnings: Vec<String>,
    target: Target,
    calibrator: &'static str,
    budget: QuantizeBudget,
    images: usize,
    file_bytes: u64,
    source_file_bytes: u64,
    int8_macs_share: f64,
    steps: Vec<SearchStep>,
    sites: Vec<RangeDecision>,
    /// Null where it was not asked for.
    noise: Option<Noise>,
    plan: quant::QuantPlan,
    /// Null where the engine quantizes nothing itself.
    calibration_cache: Option<CacheFiles>,
    /// How the engine's own tool is started, for what is written.
    commands: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &QuantizeArgs, common: &CommonArgs) -> Result<()> {
    let mut model = model::load_float(&args.model.model, &args.model.reading.reading())?;
    check_writable(Some(&args.out))?;
    model.graph = normalise(model.graph)?.into_graph();
    let recipe = args.recipe.as_deref().map(Recipe::read).transpose()?;
    let subject = match &recipe {
        Some(recipe) => Subject::of_run(&model, recipe, &args.images.data, common)?,
        None => Subject::open(&model, &args.images, common, "quantize")?,
    };
    let of_run = recipe.as_ref().map(|recipe| recipe.quantize.calibrator);
    let calibrator = of_run.unwrap_or(args.quant.calibrator);
    let images = subject.images.len();
    let target = args.quant.target()?;
    let options =
        QuantizeOptions { target, calibrator, budget: args.budget, explain: args.explain };
    let quantized = quantize_detector(&subject.observation(), &options, &|line| note!("{line}"))?;
    report_bad(&quantized.bad_images, images)?;
    let file_bytes = model::save(&quantized.graph, &args.out)?;
    let cache = CacheFiles::beside(target, &args.out);
    if let Some(cache) = &cache {
        cache.write(&subject.observation(), calibrator)?;
    }
    let source_file_bytes = model.file_bytes;
    say!("{}", args.out.display());
    say!(
        "  {file_bytes} bytes, {:.1} % of {}",
        100.0 * file_bytes as f64 / source_file_bytes as f64,
        model.path.display()
    );
    say!(
        "  {} of the MACs in INT8, {} tensors quantized for {}, ranges by {}",
        percent(quantized.int8_macs_share),
        quantized.plan.activations.len(),
        target,
        calibrator.name
    );
    let commands = cache.as_ref().map(|cache| cache.commands(&args.out)).unwrap_or_default();
    commands.iter().for_each(|command| say!("  {command}"));
    if args.explain {
        explain(&quantized);
    }
    let record = Record {
        model: model.path.display().to_string(),
        out: args.out.display().to_string(),
        family: subject.family.map(|f| f.name),
        warnings: subject.warnings,
        target,
        calibrator: calibrator.name,
        budget: args.budget,
        images: images - quantized.bad_images.len(),
        file_bytes,
        source_file_bytes,
        int8_macs_share: quantized.int8_macs_share,
        steps: quantized.steps,
        sites: quantized.ranges,
        noise: quantized.noise,
        plan: quantized.plan,
        calibration_cache: cache,
        commands,
    };
    write_json(common.json.as_deref(), &record)
}

/// What was tried and what was decided, as tables.
fn explain(quantized: &Quantized) {
    let mut steps = table(&["step", "precision lost", ""]);
    for s in &quantized.steps {
        let error =
            s.detection_error.map_or("not evaluated".to_owned(), |e| format!("{:.2} %", 100.0 * e));
        steps.add_row([s.step.as_str(), &error, if s.kept { "kept" } else { "" }]);
    }
    say!("{steps}");
    if let Some(noise) = &quantized.noise {
        say!("signal to noise at the head's outputs: {:.1} dB", noise.snr_db);
        let mut layers = table(&["layer", "MACs", "alone", "all but it"]);
        for l in &noise.layers {
            let ratios = [l.alone_snr_db, l.without_snr_db].map(|db| format!("{db:.1} dB"));
            let names = [l.layer.clone(), percent(l.macs_share)];
            layers.add_row(names.into_iter().chain(ratios));
        }
        align_right(&mut layers, 1);
        say!("{layers}");
    }
    let mut sites = table(&["tensor", "range by", "min", "max", "observed min", "observed max"]);
    for s in &quantized.ranges {
        let ends = [s.min, s.max, s.observed_min, s.observed_max].map(|x| format!("{x:.4}"));
        let names = [s.value.clone(), s.range_by.clone()];
        sites.add_row(names.into_iter().chain(ends));
    }
    align_right(&mut sites, 2);
    say!("{sites}");
}
