//! Arguments of the verbs that bring a detector to devices.
use clap::{Args as ClapArgs, Subcommand};
use quant::{Target, TargetError};
use std::path::PathBuf;

/// Arguments of `bundle`.
#[derive(Debug, ClapArgs)]
pub(crate) struct BundleArgs {
    /// The folder of a finished run of `compress` whose gate passed.
    pub(crate) run_dir: PathBuf,
    /// The bundle's folder; a bundle that is there is replaced. By default RUN_DIR.bundle.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The detector's name: letters, digits, `-`, `_` and `.`; by default that of the model's file.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How many images of `val` go with it, on which devices prove that it detects as it should.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) golden: u16,
    /// The same detector quantized for another target, as `quantize --target` wrote it from the run's pruned.onnx.
    #[arg(long = "target", value_name = "TARGET=MODEL.onnx", value_parser = parse_target)]
    pub(crate) targets: Vec<TargetModel>,
    /// The git commit that the model came from.
    #[arg(long)]
    pub(crate) commit: Option<String>,
}

/// A model for a target.
#[derive(Clone, Debug)]
pub(crate) struct TargetModel {
    pub(crate) target: Target,
    pub(crate) model: PathBuf,
}

fn parse_target(text: &str) -> Result<TargetModel, String> {
    let (target, model) = text
        .split_once('=')
        .ok_or_else(|| format!("expected TARGET=MODEL.onnx, found `{text}`"))?;
    let target = target.parse().map_err(|e: TargetError| e.to_string())?;
    Ok(TargetModel { target, model: PathBuf::from(model) })
}

/// Arguments of `pipeline`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PipelineArgs {
    #[command(subcommand)]
    pub(crate) verb: PipelineVerb,
}

/// What a pipeline does.
#[derive(Debug, Subcommand)]
pub(crate) enum PipelineVerb {
    /// Fetch the model, compress, bundle, judge, sign and push it; what is unchanged is not done again. Exit code 1 where too
    /// much is lost.
    Run(PipelineFileArgs),
    /// The same at each new commit, until it is ended.
    Watch(PipelineFileArgs),
}

/// Which pipeline, and what is told of it.
#[derive(Debug, ClapArgs)]
pub(crate) struct PipelineFileArgs {
    /// The settings.
    #[arg(value_name = "pipeline.toml")]
    pub(crate) config: PathBuf,
    /// Also write the stages and the rules of the gate as JUnit XML to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

impl PipelineArgs {
    /// The file that JUnit XML goes to.
    pub(crate) fn junit(&self) -> Option<&PathBuf> {
        let (PipelineVerb::Run(args) | PipelineVerb::Watch(args)) = &self.verb;
        args.junit.as_ref()
    }
}
