//! What is typed to train a detector: `train` and `tune`.
use super::{MemoryArgs, ModelArgs, ReadingArgs, choice, keyed, parse_share};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args as ClapArgs};
use compress::{LABEL_USES, LabelUse};
use std::path::PathBuf;
use train::optimizers::Optimizer;
use yolo::Augmentation;
use yolo::families::{self, Family};

/// Arguments of `train`.
#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("beginning").args(["model", "arch"]).required(true)))]
pub(crate) struct TrainArgs {
    /// The detector whose weights are trained: an ONNX file, or an Ultralytics training checkpoint (.pt).
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Instead of a model: the family of which a network with random weights is built, for images of --imgsz, 640 by default.
    #[arg(long, value_name = "FAMILY", value_parser = network_family())]
    pub(crate) arch: Option<&'static Family>,
    /// What the family's numbers of channels are multiplied by; 0.25 is its `n`.
    #[arg(long, default_value_t = 0.25, requires = "arch", value_name = "MULTIPLE")]
    pub(crate) width: f64,
    /// What the family's numbers of repeated layers are multiplied by; 0.33 is its `n`.
    #[arg(long, default_value_t = 0.33, requires = "arch", value_name = "MULTIPLE")]
    pub(crate) depth: f64,
    /// Ultralytics data.yaml or COCO instances JSON.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Which split of a data.yaml it learns from; never the one that judges the result.
    #[arg(long, default_value = "train")]
    pub(crate) split: String,
    /// The ONNX file to write. Beside it lies, until it is written, OUT.onnx.state, from which the same command goes on after an
    /// interruption.
    #[arg(short, long, value_name = "OUT.onnx")]
    pub(crate) out: PathBuf,
    /// How often every image is seen.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) epochs: u32,
    /// Images of a step.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: u16,
    /// The largest learning rate, relative to each weight's size at the start.
    #[arg(long, default_value_t = 0.01, value_parser = parse_rate)]
    pub(crate) rate: f64,
    /// How weights follow their gradients: adam divides each element's by its own size, sgd each layer's by its size (Nesterov's
    /// momentum).
    #[arg(long, default_value = "adam", value_parser = choice::<Optimizer>())]
    pub(crate) optimizer: &'static Optimizer,
    /// Memory that training may take, in MB, about. With less, fewer images run at a time, which changes the last bits.
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) memory_mb: Option<u32>,
    /// Train each step on inputs of 0.75, 1 or 1.25 times the model's size, in multiples of 32 pixels. Every size takes memory of
    /// its own.
    #[arg(long)]
    pub(crate) multi_scale: bool,
    /// Keep BatchNormalization and let it standardise by the images that run together (4 where --batch allows, else 2) while it
    /// learns; its own statistics are taken anew from training images. By default it is folded into the convolutions and learns
    /// with them.
    #[arg(long)]
    pub(crate) batch_statistics: bool,
    /// Make the scales (gamma) of BatchNormalization small where they matter little, before `prune --criterion bn_gamma`: how far
    /// they move towards 0 in each step, as a share of their rate (arXiv:1708.06519). The weights of the last step are kept.
    #[arg(long, value_name = "SHARE", requires = "batch_statistics", value_parser = parse_share::<f64>)]
    pub(crate) sparsify: Option<f64>,
    /// How training images are changed at random, beside what is done by default (flip_horizontal=0.5): the shares of
    /// flip_horizontal, flip_vertical and mosaic (of four images, none in the last tenth of the steps), and by how much at most
    /// scale, translation, hue, saturation and brightness are changed.
    #[arg(long, value_name = "NAME=SHARE,…")]
    pub(crate) augment: Option<Augmentation>,
}

/// Arguments of `tune`.
#[derive(Debug, ClapArgs)]
pub(crate) struct TuneArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The detector that it was made of, which it learns from.
    #[arg(long, value_name = "MODEL")]
    pub(crate) teacher: PathBuf,
    /// Ultralytics data.yaml or COCO instances JSON.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Which split of a data.yaml the images come from; never the one that judges the result.
    #[arg(long, default_value = "train")]
    pub(crate) split: String,
    /// How many images, some of which are held out; by default all.
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) images: Option<u32>,
    /// The ONNX file to write. Beside it lies, until it is written, OUT.onnx.state, from which the same command goes on after an
    /// interruption.
    #[arg(short, long, value_name = "OUT.onnx")]
    pub(crate) out: PathBuf,
    /// Steps; by default rounds of 120, 240, 480 …, at most 1800 in all, until one gains little on the held-out images.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) steps: Option<u32>,
    /// Images of a step.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: u16,
    /// The largest learning rate, relative to each weight's size; by default found by short tries on held-out images.
    #[arg(long, value_parser = parse_share::<f64>)]
    pub(crate) rate: Option<f64>,
    /// How weights follow their gradients: adam divides each element's by its own size, sgd each layer's by its size (Nesterov's
    /// momentum).
    #[arg(long, default_value = "adam", value_parser = choice::<Optimizer>())]
    pub(crate) optimizer: &'static Optimizer,
    /// How labels are used: off learns from the teacher alone, mixed from both, only from labels; auto mixes where that detects
    /// no less on held-out images after a short try. Images without boxes are learned from the teacher in any case.
    #[arg(long, default_value = "auto", value_parser = keyed(LABEL_USES))]
    pub(crate) labels: LabelUse,
    /// Train on windows of so many pixels a side, cut at random from what would be the model's input: half the side costs a
    /// quarter of the time.
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window: Option<u16>,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    /// How training images are changed at random, beside what is done by default (flip_horizontal=0.5): the shares of
    /// flip_horizontal, flip_vertical and mosaic (of four images, none in the last tenth of the steps), and by how much at most
    /// scale, translation, hue, saturation and brightness are changed. With few steps, little is best.
    #[arg(long, value_name = "NAME=SHARE,…")]
    pub(crate) augment: Option<Augmentation>,
}

/// Accepts the names of the families that are built, and gives the family.
fn network_family() -> impl TypedValueParser<Value = &'static Family> {
    let names: Vec<&'static str> = families::with_networks().map(|family| family.name).collect();
    PossibleValuesParser::new(names).try_map(|name| ir::named(&name))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|v| *v > 0.0 && *v <= 1.0);
    rate.ok_or_else(|| format!("expected a number above 0 and at most 1, found `{text}`"))
}
