//! Arguments of pruning.
#![allow(missing_docs, reason = "fields that gather other arguments have no help text")]
use super::{ImagesArgs, MemoryArgs, ModelArgs, SamplingArgs, choice, parse_ratio, parse_share};
use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use compress::{PruneBudget, PruneOptions, REPAIR_STEPS, RepairStep};
use observe::Choice;
use prune::Criterion;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The word for no repair.
const NONE: &str = "none";

/// How channels are ranked and what is left is repaired.
#[derive(Debug, ClapArgs)]
pub(crate) struct RankingArgs {
    /// How channels are ranked.
    #[arg(long, default_value = "reconstruction", value_parser = choice::<Criterion>())]
    pub(crate) criterion: &'static Criterion,
    /// How the remaining channels are repaired, a list that is applied in this order: add the removed channels' means to the
    /// next biases (absorb), fit layers to the dense ones by least squares (reconstruct), restore the mean and deviation of
    /// the outputs (match); or none.
    #[arg(long, default_value = "reconstruct", value_delimiter = ',', value_parser = repairs())]
    pub(crate) repair: Vec<Option<RepairStep>>,
    /// Repair nothing; the same as --repair none.
    #[arg(long, conflicts_with = "repair")]
    pub(crate) no_repair: bool,
}

/// How far groups may shrink.
#[derive(Debug, ClapArgs)]
pub(crate) struct LimitsArgs {
    /// Keep a multiple of this many channels.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) round_to: u16,
    /// Keep at least this many channels of each group.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) floor: u16,
    /// Largest share of the channels that the first group may lose; it grows with depth.
    #[arg(long, default_value_t = 0.2, value_name = "SHARE", value_parser = parse_share::<f64>)]
    pub(crate) shallow_ratio: f64,
    /// Largest share of the channels that the deepest group may lose.
    #[arg(long, default_value_t = 0.875, value_name = "SHARE", value_parser = parse_share::<f64>)]
    pub(crate) deep_ratio: f64,
}

/// How much goes.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct BudgetArgs {
    /// Share of the prunable channels to remove.
    #[arg(long, value_parser = parse_ratio)]
    pub(crate) ratio: Option<f64>,
    /// Share of the MACs to remove.
    #[arg(long, value_parser = parse_ratio)]
    pub(crate) macs: Option<f64>,
    /// Share of each group's contribution to keep: the criterion's scores of the channels that stay.
    #[arg(long, value_name = "SHARE", value_parser = parse_share::<f64>)]
    pub(crate) keep_contribution: Option<f64>,
}

/// Arguments of `prune`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    /// The ONNX file to write.
    #[arg(short, long, value_name = "OUT.onnx")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    #[command(flatten)]
    pub(crate) ranking: RankingArgs,
    #[command(flatten)]
    pub(crate) limits: LimitsArgs,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
}

/// Arguments of `inspect --sensitivity`.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "With --sensitivity")]
pub(crate) struct SensitivityArgs {
    /// Prune each group alone, step by step, and measure the output error on held-out images.
    #[arg(long, requires = "data", conflicts_with = "groups")]
    pub(crate) sensitivity: bool,
    /// Also for --ranges: Ultralytics data.yaml, COCO instances JSON, or a folder of images.
    #[arg(long, requires = "observed")]
    data: Option<PathBuf>,
    /// Also for --ranges: which split of a data.yaml the images come from.
    #[arg(long, default_value = "train", requires = "data")]
    split: String,
    /// Also for --ranges: number of images.
    #[arg(short = 'n', long, default_value_t = 100, requires = "data", value_parser = clap::value_parser!(u32).range(1..))]
    images: u32,
    /// Shares of the group's channels to remove.
    #[arg(long, value_delimiter = ',', default_values_t = [0.125, 0.25, 0.5, 0.75], requires = "sensitivity", value_parser = parse_ratio)]
    pub(crate) steps: Vec<f64>,
    /// Also draw the result as an SVG file.
    #[arg(long, value_name = "FILE.svg", requires = "sensitivity")]
    pub(crate) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) ranking: RankingArgs,
}

impl RankingArgs {
    /// What was typed, within default limits.
    pub(crate) fn options(&self) -> Result<PruneOptions> {
        let steps: BTreeSet<RepairStep> = self.repair.iter().flatten().copied().collect();
        ensure!(
            steps.is_empty() || !self.repair.contains(&None),
            "--repair {NONE} cannot be combined with other steps"
        );
        let repair = if self.no_repair { BTreeSet::new() } else { steps };
        Ok(PruneOptions { criterion: self.criterion, repair, ..PruneOptions::default() })
    }
}

impl LimitsArgs {
    /// The options with these limits.
    pub(crate) fn within(&self, options: PruneOptions) -> PruneOptions {
        let limits = prune::Limits {
            round_to: self.round_to.into(),
            floor: self.floor.into(),
            shallow_ratio: self.shallow_ratio,
            deep_ratio: self.deep_ratio,
        };
        PruneOptions { limits, ..options }
    }
}

impl BudgetArgs {
    /// The one that was typed.
    pub(crate) fn budget(&self) -> Result<PruneBudget> {
        let typed = [
            self.ratio.map(PruneBudget::Channels),
            self.macs.map(PruneBudget::Macs),
            self.keep_contribution.map(PruneBudget::Contribution),
        ];
        let budget = typed.into_iter().flatten().next();
        budget.context("--ratio, --macs or --keep-contribution is needed")
    }
}

impl SensitivityArgs {
    /// The data set's description.
    pub(crate) fn data(&self) -> Option<&PathBuf> {
        self.data.as_ref()
    }

    /// The images.
    pub(crate) fn images(&self) -> Result<ImagesArgs> {
        Ok(ImagesArgs {
            data: self.data.clone().context("--data is needed")?,
            sampling: SamplingArgs {
                split: self.split.clone(),
                images: self.images,
                choose: Choice::Random,
            },
        })
    }
}

/// Accepts the names of repair steps, and the word for none.
fn repairs() -> impl TypedValueParser<Value = Option<RepairStep>> {
    let steps = REPAIR_STEPS.iter().map(|(name, _)| *name);
    let names: Vec<&str> = std::iter::once(NONE).chain(steps).collect();
    let step = |name: String| REPAIR_STEPS.iter().find(|(key, _)| *key == name);
    PossibleValuesParser::new(names).map(move |name| step(name).map(|(_, step)| *step))
}
