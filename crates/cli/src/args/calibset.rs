//! Arguments of `calibset`.
#![allow(missing_docs, reason = "fields that gather other arguments have no help text")]
use super::{ReadingArgs, parse_share};
use clap::Args as ClapArgs;
use std::path::PathBuf;

/// Arguments of `calibset`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CalibsetArgs {
    /// Ultralytics data.yaml, COCO instances JSON, or a folder of images, which need not be labelled.
    pub(crate) data: PathBuf,
    /// Which split of a data.yaml the images come from.
    #[arg(long, default_value = "train", value_parser = parse_split)]
    pub(crate) split: String,
    /// How many images, synthetic ones included.
    #[arg(short = 'n', long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) images: u32,
    /// Folder for the images, their labels, data.yaml, calibset.json and coverage.html.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Share of the images that shows darkness, strong light, blur, noise, occlusion, low contrast or small objects, as evenly as it
    /// can be.
    #[arg(long, default_value_t = 0.1, value_parser = parse_share::<f64>)]
    pub(crate) extremes: f64,
    /// Take such images from the data alone, and make none where there are too few.
    #[arg(long)]
    pub(crate) no_synthetic: bool,
    /// Also tell images apart by what this detector makes of them, and find their objects with it where nothing is labelled.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

/// Any split but the one that judges.
fn parse_split(text: &str) -> Result<String, String> {
    if text == "val" {
        return Err("`val` judges the result, so nothing is calibrated on it".to_owned());
    }
    Ok(text.to_owned())
}
