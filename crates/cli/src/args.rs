//! What can be typed. The doc comments of fields are the help texts.
#![allow(missing_docs, reason = "fields that gather other arguments have no help text")]
mod agent;
mod calibset;
mod deliver;
mod demo;
mod images;
mod pruning;
mod quantization;
mod registry;
mod serve;
mod signing;
mod training;

use crate::files::{Files, MODEL};
pub(crate) use agent::{AgentArgs, AgentRunArgs, AgentStatusArgs, AgentTask, PromoteArgs};
pub(crate) use calibset::CalibsetArgs;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use compress::RecoverRecipe;
pub(crate) use deliver::{BundleArgs, PipelineArgs, PipelineVerb, TargetModel};
pub(crate) use demo::DemoArgs;
pub(crate) use images::{ImagesArgs, MemoryArgs, SamplingArgs};
use ir::Named;
use kernels::Isa;
pub(crate) use pruning::{LimitsArgs, PruneArgs, RankingArgs, SensitivityArgs};
use quantization::files_beside;
pub(crate) use quantization::{QuantArgs, QuantizeArgs};
pub(crate) use registry::{PullArgs, PushArgs};
pub(crate) use serve::ServeArgs;
pub(crate) use signing::{KeygenArgs, SignArgs, VerifyArgs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
pub(crate) use training::{TrainArgs, TuneArgs};
use yolo::families::Family;
use yoloslim::Reading;

/// Makes a trained YOLO detector several times smaller and faster, and proves that it still detects.
#[derive(Debug, Parser)]
#[command(name = "yoloslim", version, about, max_term_width = 120)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What every verb takes.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Every verb")]
pub(crate) struct CommonArgs {
    /// Also write the result as JSON to this file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Number of threads; all cores by default.
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// Seed of everything that is sampled; 0 by default.
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Instruction set to use; the best one that this CPU has by default.
    #[arg(long, global = true, value_parser = PossibleValuesParser::new(Isa::names()))]
    pub(crate) isa: Option<String>,
    /// The engine that runs the model.
    #[arg(long, global = true, value_enum, default_value_t = EngineName::Builtin)]
    pub(crate) engine: EngineName,
    /// ONNX Runtime's library, for `--engine onnxruntime`.
    #[arg(long, global = true, value_name = "LIB", env = "ORT_DYLIB_PATH")]
    pub(crate) ort_library: Option<PathBuf>,
    /// The files that the arguments read and write, filled in before a verb runs.
    #[arg(skip)]
    pub(crate) files: Files,
}

/// What runs the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// Our own engine.
    Builtin,
    /// ONNX Runtime, loaded from its shared library; for val, detect and bench.
    Onnxruntime,
}

impl EngineName {
    /// The name as it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Onnxruntime => "onnxruntime",
        }
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Draw circuit boards, compress a detector of their defects, and write the report: no downloads.
    Demo(DemoArgs),
    /// Show family and head, every layer with its parameters and MACs, and BatchNorm layers by importance.
    Inspect(InspectArgs),
    /// Measure accuracy on a data set: mAP by the COCO protocol and by Ultralytics' definition.
    Val(ValArgs),
    /// Find objects in images, print them and draw them.
    Detect(DetectArgs),
    /// Write a training checkpoint as ONNX.
    Export(ExportArgs),
    /// Remove the least important channels, without training.
    Prune(PruneArgs),
    /// Train a detector on labelled images, from given weights or from random ones.
    Train(TrainArgs),
    /// Train a pruned or quantized detector on what the detector gives that it was made of, and on labels where they help.
    Tune(TuneArgs),
    /// Choose images to calibrate on: representative ones, and extremes that a line will see, made where there are none.
    Calibset(CalibsetArgs),
    /// Quantize to INT8 with ranges calibrated on training images.
    Quantize(QuantizeArgs),
    /// Prune, quantize, and prove that the result still detects. Exit code 1 when it does not.
    Compress(CompressArgs),
    /// Make a bundle of a finished run: models, report, golden frames and digests, to be signed and brought to devices. Exit
    /// code 1 where the run's gate failed.
    Bundle(BundleArgs),
    /// From a commit in git to a signed bundle in a registry, unattended: compress, bundle, judge, sign, push.
    Pipeline(PipelineArgs),
    /// Detect on cameras and videos without end, and tell of it by JSON lines, MQTT and HTTP.
    Serve(ServeArgs),
    /// Store a bundle in a registry, or in a folder that is laid out like one.
    Push(PushArgs),
    /// Fetch a bundle from a registry, or from a folder that is laid out like one, and prove it.
    Pull(PullArgs),
    /// Bring a device to the bundle that an alias names, and back where it does not hold.
    Agent(AgentArgs),
    /// Let another alias name a bundle when enough devices report it to be healthy. Exit code 1 when too few do.
    Promote(PromoteArgs),
    /// Show a finished run as one HTML file that opens offline.
    Report(ReportArgs),
    /// Compare two models: error by layer, detections, mAP with its paired interval, the worst images drawn.
    Compare(CompareArgs),
    /// Measure size, MACs, memory and latency of models, side by side.
    Bench(BenchArgs),
    /// Make a pair of keys: one signs bundles, the other one verifies them.
    Keygen(KeygenArgs),
    /// Sign a bundle as a version, so that devices take it.
    Sign(SignArgs),
    /// Prove a bundle: its files by their digests, its signature, and with --run its detections on this machine.
    Verify(VerifyArgs),
}

impl CommonArgs {
    /// Seed of everything that is drawn.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// The seed, where it was typed.
    pub(crate) fn typed_seed(&self) -> Option<u64> {
        self.seed
    }
}

impl Verb {
    /// Files that are read, by their part.
    pub(crate) fn inputs(&self) -> Vec<(&'static str, &Path)> {
        let (models, data): (Vec<&PathBuf>, Option<&PathBuf>) = match self {
            Self::Inspect(v) => (vec![&v.model.model], v.sensitivity.data()),
            Self::Val(v) => (vec![&v.model.model], Some(&v.data)),
            Self::Detect(v) => (vec![&v.model.model], v.data.as_ref()),
            Self::Export(v) => (vec![&v.model.model], None),
            Self::Prune(v) => (vec![&v.model.model], Some(&v.images.data)),
            Self::Train(v) => (v.model.iter().collect(), Some(&v.data)),
            Self::Tune(v) => (vec![&v.model.model, &v.teacher], Some(&v.data)),
            Self::Quantize(v) => (vec![&v.model.model], Some(&v.images.data)),
            Self::Calibset(v) => (v.model.iter().collect(), Some(&v.data)),
            Self::Compare(v) => (vec![&v.first, &v.second], Some(&v.data)),
            Self::Report(_) | Self::Demo(_) | Self::Keygen(_) | Self::Pipeline(_) => (vec![], None),
            Self::Agent(_) | Self::Promote(_) => (vec![], None),
            Self::Sign(_) | Self::Verify(_) | Self::Push(_) | Self::Pull(_) => (vec![], None),
            Self::Compress(v) => (vec![&v.model.model], Some(&v.images.data)),
            Self::Bench(v) => (v.models.iter().collect(), None),
            Self::Serve(v) => (v.model.iter().collect(), None),
            Self::Bundle(v) => (v.targets.iter().map(|target| &target.model).collect(), None),
        };
        let (sources, recipe) = match self {
            Self::Detect(v) => (&v.source[..], None),
            Self::Compress(v) => (&[][..], v.recipe.as_ref()),
            Self::Quantize(v) => (&[][..], v.recipe.as_ref()),
            _ => (&[][..], None),
        };
        let models = models.into_iter().map(|p| (MODEL, p.as_path()));
        let data = data.map(|p| ("the data set's description", p.as_path()));
        let sources = sources.iter().map(|p| ("an image", p.as_path()));
        let recipe = recipe.map(|p| ("the recipe", p.as_path()));
        models.chain(data).chain(sources).chain(recipe).collect()
    }

    /// Files that are written, by the option that names them; `--json` is of every verb.
    pub(crate) fn outputs(&self) -> Vec<(&'static str, &Path)> {
        match self {
            Self::Export(v) => vec![("-o", &v.out)],
            Self::Prune(v) => vec![("-o", &v.out)],
            Self::Train(v) => vec![("-o", &v.out)],
            Self::Tune(v) => vec![("-o", &v.out)],
            Self::Quantize(v) => vec![("-o", &v.out)],
            Self::Serve(v) => v.events.iter().map(|p| ("--events", p.as_path())).collect(),
            Self::Val(v) => v.dets.iter().map(|p| ("--dets", p.as_path())).collect(),
            Self::Pipeline(v) => v.junit().map(|p| ("--junit", p.as_path())).into_iter().collect(),
            Self::Inspect(v) => {
                let plot = v.sensitivity.plot.iter();
                plot.map(|p| ("--plot", p.as_path())).collect()
            }
            _ => vec![],
        }
    }

    /// What the command reads and writes, checked for outputs that would replace an input.
    pub(crate) fn files(&self, common: &CommonArgs) -> anyhow::Result<Files> {
        let mut inputs = self.inputs();
        inputs.extend(common.ort_library.iter().map(|p| ("the library", p.as_path())));
        let beside = match self {
            Self::Quantize(v) => files_beside(v.quant.target()?, &v.out),
            _ => vec![],
        };
        let mut outputs = self.outputs();
        outputs.extend(beside.iter().map(|p| ("a file beside -o,", p.as_path())));
        Files::new(&inputs, &outputs, self.run_dir(), common.json.as_deref())
    }

    /// The folder of a run that is written to.
    pub(crate) fn run_dir(&self) -> Option<&Path> {
        match self {
            Self::Compress(v) => Some(&v.out),
            Self::Report(v) => Some(&v.run_dir),
            _ => None,
        }
    }
}

/// A model and how it is read.
#[derive(Debug, ClapArgs)]
pub(crate) struct ModelArgs {
    /// The detector: an ONNX file, an Ultralytics training checkpoint (.pt), or a bundle.
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

/// How a model is read.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReadingArgs {
    /// Input size of a checkpoint or of a model with dynamic axes, in pixels: one side, or HEIGHTxWIDTH.
    #[arg(long, value_parser = parse_imgsz)]
    pub(crate) imgsz: Option<[usize; 2]>,
    /// Detector family to assume instead of recognising it.
    #[arg(long, value_parser = choice::<Family>())]
    pub(crate) family: Option<&'static Family>,
    /// Anchors of a head whose outputs are raw maps, in pixels: width, height, width …, those of the finest scale first.
    /// By default those of the model's metadata, otherwise YOLOv5's.
    #[arg(long, value_delimiter = ',', value_name = "PX,PX,…", value_parser = parse_anchor)]
    pub(crate) anchors: Option<Vec<f32>>,
}

impl ReadingArgs {
    /// How the model is read.
    pub(crate) fn reading(&self) -> Reading {
        Reading {
            imgsz: self.imgsz,
            family: self.family,
            anchors: self.anchors.clone(),
            end_to_end: false,
        }
    }
}

/// Arguments of `inspect`.
#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("observed").args(["ranges", "sensitivity"])))]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Show which channels are coupled, the layers that write and read them, and which are frozen and why.
    #[arg(long)]
    pub(crate) groups: bool,
    /// Run a quantized model on the images of --data, and tell which tensors leave the ranges that it was calibrated for.
    #[arg(long, requires = "data", conflicts_with = "groups")]
    pub(crate) ranges: bool,
    #[command(flatten)]
    pub(crate) sensitivity: SensitivityArgs,
}

/// Arguments of `val`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ValArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Ultralytics data.yaml or COCO instances JSON.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Which split of a data.yaml.
    #[arg(long, default_value = "val")]
    pub(crate) split: String,
    /// Lowest confidence of a detection.
    #[arg(long, default_value_t = 0.001, value_parser = parse_share::<f32>)]
    pub(crate) conf: f32,
    /// Highest overlap (IoU) of two boxes of one class; of two that overlap more, the less confident is dropped.
    #[arg(long, default_value_t = 0.7, value_parser = parse_share::<f32>)]
    pub(crate) iou: f32,
    /// Also write all detections as COCO results to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) dets: Option<PathBuf>,
}

/// Arguments of `detect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DetectArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Images, or folders of images.
    #[arg(required = true)]
    pub(crate) source: Vec<PathBuf>,
    /// For a model that reads several images of a scene: the data.yaml whose `streams` names their folders, where they are not
    /// `images` and `imagesIR`.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Folder for the pictures with boxes drawn.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Lowest confidence of a detection; by default that of the family's own tools: 0.3 for yolox, otherwise 0.25.
    #[arg(long, value_parser = parse_share::<f32>)]
    pub(crate) conf: Option<f32>,
    /// Highest overlap (IoU) of two boxes of one class; by default that of the family's own tools: 0.45 for v5 and yolox,
    /// otherwise 0.7.
    #[arg(long, value_parser = parse_share::<f32>)]
    pub(crate) iou: Option<f32>,
}

/// Arguments of `bench`.
#[derive(Debug, ClapArgs)]
pub(crate) struct BenchArgs {
    /// The models; ratios are to the first.
    #[arg(required = true)]
    pub(crate) models: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Timed runs of each model.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// Fewest runs before those that are timed; more follow until the times no longer fall.
    #[arg(long, default_value_t = 5)]
    pub(crate) warmup: u32,
    /// Show the time of each step, and how near it comes to this CPU's peak.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Also run this many inferences at once, each on one thread. With --video: how many cameras are played.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) streams: Option<u16>,
    /// Instead, measure the whole path of `serve`, decoding included: these video files are played at their own rate, over and
    /// over, as --streams cameras.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) video: Vec<PathBuf>,
    /// How long the cameras are counted, after four seconds to warm up.
    #[arg(long, value_name = "S", default_value_t = 30, requires = "video", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
}

/// Arguments of `export`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The ONNX file to write.
    #[arg(short, long, value_name = "OUT.onnx")]
    pub(crate) out: PathBuf,
    /// Version of ONNX's operators.
    #[arg(long, default_value_t = 17, value_parser = clap::value_parser!(i64).range(13..=21))]
    pub(crate) opset: i64,
    /// Keep BatchNorm instead of folding it into the convolutions; the criteria that rank by gamma need it.
    #[arg(long)]
    pub(crate) keep_bn: bool,
    /// Write weights, inputs and outputs as 16-bit floats.
    #[arg(long)]
    pub(crate) half: bool,
    /// Use the branches of a YOLO26 checkpoint that give each object once, `[1, 300, 6]`, without NMS.
    #[arg(long)]
    pub(crate) end_to_end: bool,
    /// Rewrites to apply: Focus as one convolution (the same function), HardSwish for SiLU (another
    /// function), the dense output of an end-to-end tail, NMS inside the graph cut off.
    #[arg(long, value_delimiter = ',', value_parser = names(ir::rewrites::ON_REQUEST, |r| r.name))]
    pub(crate) rewrite: Vec<String>,
    /// Also write the classes beside the model, as OUT.txt, and print what this program's configuration must say to use both.
    #[arg(long = "for", value_enum, value_name = "PROGRAM")]
    pub(crate) program: Option<Program>,
}

/// Programs that take a model as it is exported, told how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// Frigate, from 0.16 on: its detector of type onnx.
    Frigate,
}

/// Arguments of `compare`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CompareArgs {
    /// The model that the other is compared with.
    pub(crate) first: PathBuf,
    /// The other model.
    pub(crate) second: PathBuf,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Ultralytics data.yaml or COCO instances JSON.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Which split of a data.yaml.
    #[arg(long, default_value = "val")]
    pub(crate) split: String,
    /// Folder for pictures of both models' detections side by side, on the images where they differ most.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How many of the worst layers and images to show.
    #[arg(long, default_value_t = 12, value_name = "N")]
    pub(crate) worst: u32,
    /// Number of images on which layers are compared.
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub(crate) layer_images: u32,
}

/// Arguments of `report`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReportArgs {
    /// The folder that `compress` wrote.
    pub(crate) run_dir: PathBuf,
    /// Number of training images on which layers are compared.
    #[arg(short = 'n', long, default_value_t = 4)]
    pub(crate) images: u32,
    /// How many images are shown with both models' detections.
    #[arg(long, default_value_t = 4)]
    pub(crate) pictures: u32,
}

/// Arguments of `compress`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CompressArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    /// Folder for the models, the plans and metrics.json.
    #[arg(short, long, value_name = "RUNDIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    #[command(flatten)]
    pub(crate) attempts: AttemptsArgs,
    #[command(flatten)]
    pub(crate) recovery: RecoveryArgs,
    /// Take all settings from the recipe.toml of another run, for this model and data.
    // Whatever is a setting belongs to one of these groups, so that no new flag is forgotten.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["GateArgs", "AttemptsArgs", "RecoveryArgs", "SamplingArgs", "RankingArgs", "LimitsArgs", "QuantArgs"])]
    pub(crate) recipe: Option<PathBuf>,
    /// Continue an interrupted run in RUNDIR; finished stages are used again. Without it the files of a run that is there are
    /// removed first.
    #[arg(long)]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    #[command(flatten)]
    pub(crate) ranking: RankingArgs,
    #[command(flatten)]
    pub(crate) limits: LimitsArgs,
    #[command(flatten)]
    pub(crate) quant: QuantArgs,
}

/// What the result must keep.
#[derive(Debug, ClapArgs)]
pub(crate) struct GateArgs {
    /// Share of the model's mAP that the result must keep.
    #[arg(long, default_value_t = 0.95, value_parser = parse_share::<f64>)]
    pub(crate) keep: f64,
    /// Require the lower end of the 95 % interval to keep that share, not only the mAP itself.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// What is tried.
#[derive(Debug, ClapArgs)]
pub(crate) struct AttemptsArgs {
    /// Share of the MACs to remove. Where that costs too much accuracy, half of it is tried, then a fifth, then nothing.
    #[arg(long, default_value_t = 0.05, value_parser = parse_ratio)]
    pub(crate) macs: f64,
    /// Instead of --macs: the share of each group's contribution to keep. Where that costs too much, more is kept.
    #[arg(long, value_name = "SHARE", conflicts_with = "macs", value_parser = parse_share::<f64>)]
    pub(crate) keep_contribution: Option<f64>,
    /// How many further images of the same split choose among these attempts, at most a third of the split. With 0, or with
    /// fewer than 20 labelled images or 50 objects, the val split alone decides.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) holdout: u32,
}

/// How a pruned model is recovered.
#[derive(Debug, ClapArgs)]
pub(crate) struct RecoveryArgs {
    /// Steps of training by which a pruned model is recovered where pruning alone takes too much; 0 for less pruning at once. By
    /// default rounds of 120, 240, 480 …, at most 1800 in all, until the hold-out says that enough is kept or one gains little.
    #[arg(long, value_name = "STEPS")]
    pub(crate) recover: Option<u32>,
}

impl RecoveryArgs {
    /// As the recipe has it.
    pub(crate) fn recipe(&self) -> Option<RecoverRecipe> {
        let steps = self.recover.map(|steps| steps as usize);
        (steps != Some(0)).then(|| RecoverRecipe { steps, ..RecoverRecipe::default() })
    }
}

/// Accepts the names of a list, shows them in `--help`, and gives what stands beside the name.
fn keyed<T: Copy + Send + Sync>(
    list: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    let value = move |name: String| {
        let (_, value) =
            list.iter().find(|(key, _)| *key == name).expect("only names of the list are accepted");
        *value
    };
    PossibleValuesParser::new(list.iter().map(|(name, _)| *name)).map(value)
}

/// Accepts the names of a list's rows, shows them in `--help`, and gives the row.
fn choice<T: Named + Sync>() -> impl TypedValueParser<Value = &'static T> {
    let names: Vec<&'static str> = T::LIST.iter().map(|row| row.name()).collect();
    PossibleValuesParser::new(names).try_map(|name| ir::named(&name))
}

/// Accepts the names of a list, and shows them in `--help`.
fn names<T>(list: &[T], name: impl Fn(&T) -> &'static str) -> PossibleValuesParser {
    PossibleValuesParser::new(list.iter().map(name).collect::<Vec<_>>())
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse::<f64>().ok().filter(|v| (0.0..1.0).contains(v));
    ratio.ok_or_else(|| format!("expected a share from 0 to below 1, found `{text}`"))
}

fn parse_share<T: FromStr + PartialOrd + From<f32>>(text: &str) -> Result<T, String> {
    let share = text.parse::<T>().ok().filter(|v| *v >= 0.0.into() && *v <= 1.0.into());
    share.ok_or_else(|| format!("expected a number from 0 to 1, found `{text}`"))
}

fn parse_anchor(text: &str) -> Result<f32, String> {
    let side = text.trim().parse::<f32>().ok();
    let side = side.filter(|v| (0.1..=1e5).contains(v));
    side.ok_or_else(|| format!("expected a number of pixels, found `{text}`"))
}

fn parse_imgsz(text: &str) -> Result<[usize; 2], String> {
    let side = |s: &str| s.parse::<usize>().ok().filter(|v| (32..=8192).contains(v));
    let size = match text.split_once(['x', ',']) {
        Some((h, w)) => side(h).zip(side(w)).map(|(h, w)| [h, w]),
        None => side(text).map(|s| [s, s]),
    };
    size.ok_or_else(|| {
        format!("expected one side or HEIGHTxWIDTH from 32 to 8192 px, found `{text}`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imgsz_one_side_or_two_is_read() {
        assert_eq!(parse_imgsz("640"), Ok([640, 640]));
        assert_eq!(parse_imgsz("480x640"), Ok([480, 640]));
        assert!(parse_imgsz("0").unwrap_err().contains("found `0`"));
        assert!(parse_imgsz("640x").is_err());
    }
}
