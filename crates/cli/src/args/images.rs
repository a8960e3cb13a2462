//! Arguments of verbs that observe a model on images.
#![allow(missing_docs, reason = "fields that gather other arguments have no help text")]
use super::keyed;
use clap::Args as ClapArgs;
use observe::{CHOICES, Choice};
use std::path::PathBuf;

/// Images on which a stage observes the detector.
#[derive(Debug, ClapArgs)]
pub(crate) struct ImagesArgs {
    /// Ultralytics data.yaml or COCO instances JSON.
    #[arg(long)]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

/// Which images of a data set, and how many.
#[derive(Debug, ClapArgs)]
pub(crate) struct SamplingArgs {
    /// Which split of a data.yaml the images come from; never the one that judges the result.
    #[arg(long, default_value = "train")]
    pub(crate) split: String,
    /// How many images.
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) images: u32,
    /// How they are chosen: those that represent the split best, by how they look and by the classes and sizes of their objects, or
    /// any.
    #[arg(long, default_value = "random", value_parser = keyed(CHOICES))]
    pub(crate) choose: Choice,
}

/// Memory that a verb may take.
#[derive(Clone, Copy, Debug, Default, ClapArgs)]
pub(crate) struct MemoryArgs {
    /// Memory that this may take, in MB, about; a quarter of the machine's by default. With less, images are run more often; training
    /// runs fewer of them at a time, which changes its last bits.
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) memory_mb: Option<u32>,
}
