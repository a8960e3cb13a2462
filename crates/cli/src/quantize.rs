//! `quantize`: an INT8 model from a float one.
use crate::args::{CommonArgs, QuantizeArgs};
use crate::beside::{CacheFiles, VendorFiles};
use crate::explain::Confidence;
use crate::format::{about, percent};
use crate::memory::Room;
use crate::model;
use crate::output::{check_writable, write_json};
use crate::subject::{Subject, report_bad};
use crate::{explain, vendor_parts};
use anyhow::Result;
use compress::{
    HeadPrecision, Noise, QuantizeBudget, QuantizeOptions, QuantizeRecipe, Quantized,
    RangeDecision, Recipe, SearchStep, VendorParts, quantize_detector, usual_runs,
};
use ir::normalise;
use observe::{Observation, Speed};
use quant::{Calibrator, Target};
use serde::Serialize;
use yoloslim::Model;

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
    head: HeadPrecision,
    /// Names of the layers that were left float.
    float_layers: Vec<String>,
    images: usize,
    file_bytes: u64,
    source_file_bytes: u64,
    int8_macs_share: f64,
    steps: Vec<SearchStep>,
    sites: Vec<RangeDecision>,
    /// Null where it was not asked for.
    noise: Option<Noise>,
    /// Null where it was not asked for, and for a model that nothing decodes.
    confidence: Option<Confidence>,
    plan: quant::QuantPlan,
    /// Null where the engine quantizes nothing itself.
    calibration_cache: Option<CacheFiles>,
    /// How the engine's own tool is started, for what is written.
    commands: Vec<String>,
    /// The list of images beside a model for a vendor's tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration_list: Option<String>,
    /// The ranges of all its tensors.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensor_ranges: Option<String>,
}

impl Record {
    /// The record of a float model for a vendor's tool: nothing of it is quantized.
    fn of_vendor(
        args: &QuantizeArgs,
        target: Target,
        model: &Model,
        subject: &Subject<'_>,
        parts: VendorParts,
        file_bytes: u64,
        beside: VendorFiles,
    ) -> Self {
        Self {
            model: model.path.display().to_string(),
            out: args.out.display().to_string(),
            family: subject.family.map(|f| f.name),
            warnings: subject.warnings.clone(),
            target,
            calibrator: parts.description.calibrator,
            budget: args.budget,
            head: HeadPrecision::Fp32,
            float_layers: vec![],
            images: parts.images.len(),
            file_bytes,
            source_file_bytes: model.file_bytes,
            int8_macs_share: 0.0,
            steps: vec![],
            sites: parts.description.sites(),
            noise: None,
            confidence: None,
            plan: quant::QuantPlan::empty(target),
            calibration_cache: None,
            commands: vec![],
            calibration_list: Some(beside.calibration.display().to_string()),
            tensor_ranges: Some(beside.ranges.display().to_string()),
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: &QuantizeArgs, common: &CommonArgs) -> Result<()> {
    let mut model = model::load_float(&args.model.model, &args.model.reading.reading())?;
    check_writable(Some(&args.out))?;
    model.graph = normalise(model.graph)?.into_graph();
    let recipe = args.recipe.as_deref().map(Recipe::read).transpose()?;
    let room = Room::beside(&model, &args.memory);
    let subject = match &recipe {
        Some(recipe) => Subject::of_run(&model, recipe, &args.images.data, common)?,
        None => Subject::open(&model, &args.images, common, "quantize")?,
    };
    let subject = subject.within(room);
    let of_run = recipe.as_ref().map(|recipe| &recipe.quantize);
    let calibrator = of_run.map_or(args.quant.calibrator, |r| r.calibrator);
    let target = args.quant.target()?;
    if let Some(beside) = VendorFiles::beside(target, &args.out) {
        let (parts, file_bytes) =
            vendor_parts::write(args, target, &beside, &model, &subject, calibrator)?;
        let record = Record::of_vendor(args, target, &model, &subject, parts, file_bytes, beside);
        return write_json(common.json.as_deref(), &record);
    }
    let images = subject.images.len();
    let options = options(args, target, of_run, calibrator);
    let observation = subject.observation();
    note!("{}", told(&observation, options.budget, room)?);
    let quantized = quantize_detector(&observation, &options, &|line| note!("{line}"))?;
    report_bad(&quantized.bad_images, images)?;
    let file_bytes = model::save(&quantized.graph, &args.out)?;
    let cache = CacheFiles::beside(target, &args.out);
    cache.as_ref().map_or(Ok(()), |cache| cache.write(&observation, calibrator))?;
    print(args, &model, &quantized, &options, file_bytes);
    let commands = cache.as_ref().map(|cache| cache.commands(&args.out)).unwrap_or_default();
    commands.iter().for_each(|command| say!("  {command}"));
    let confidence = explain::print(args, &subject, &quantized)?;
    let record = Record {
        model: model.path.display().to_string(),
        out: args.out.display().to_string(),
        family: subject.family.map(|f| f.name),
        warnings: subject.warnings,
        target,
        calibrator: calibrator.name,
        budget: args.budget,
        head: options.head,
        float_layers: quantized.float_layers,
        images: images - quantized.bad_images.len(),
        file_bytes,
        source_file_bytes: model.file_bytes,
        int8_macs_share: quantized.int8_macs_share,
        steps: quantized.steps,
        sites: quantized.ranges,
        noise: quantized.noise,
        confidence,
        plan: quantized.plan,
        calibration_cache: cache,
        commands,
        calibration_list: None,
        tensor_ranges: None,
    };
    write_json(common.json.as_deref(), &record)
}

/// What quantization will take where little is lost, as a sentence.
fn told(observation: &Observation<'_>, budget: QuantizeBudget, room: Room) -> Result<String> {
    let (images, engine) = (observation.images.len(), observation.engine);
    let speed = Speed::measure(observation.model.graph, engine)?;
    let time = speed.time * usual_runs(images, budget) as u32;
    let kept = engine.kept_bytes().min(images * speed.arena_bytes);
    let memory = room.whole_mb(2 * speed.memory_bytes + kept);
    Ok(format!(
        "{images} images: about {}, and as much again where much is lost, and {memory} MB of memory",
        about(time)
    ))
}

/// How to quantize: as typed, or else as the run did whose recipe is given.
fn options(
    args: &QuantizeArgs,
    target: Target,
    of_run: Option<&QuantizeRecipe>,
    calibrator: &'static Calibrator,
) -> QuantizeOptions<'static> {
    QuantizeOptions {
        target,
        calibrator,
        budget: args.budget,
        explain: args.explain,
        head: args.quant.head.or(of_run.map(|r| r.head)).unwrap_or_default(),
        float: match of_run {
            Some(of_run) if args.quant.float.is_empty() => of_run.float.clone(),
            _ => args.quant.float.clone(),
        },
        lessons: None,
    }
}

fn print(
    args: &QuantizeArgs,
    model: &Model,
    quantized: &Quantized,
    options: &QuantizeOptions<'_>,
    file_bytes: u64,
) {
    say!("{}", args.out.display());
    say!(
        "  {file_bytes} bytes, {:.1} % of {}",
        100.0 * file_bytes as f64 / model.file_bytes as f64,
        model.path.display()
    );
    say!(
        "  {} of the MACs in INT8, {} tensors quantized for {}, ranges by {}",
        percent(quantized.int8_macs_share),
        quantized.plan.activations.len(),
        options.target,
        options.calibrator.name
    );
    if !quantized.float_layers.is_empty() {
        let bits = if options.head == HeadPrecision::Fp16 { ", the head's in 16 bits" } else { "" };
        say!("  {} layers stay float{bits}", quantized.float_layers.len());
    }
}
