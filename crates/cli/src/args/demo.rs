//! What is typed for the demo.
use clap::Args as ClapArgs;
use std::path::PathBuf;

/// Arguments of `demo`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Folder for the boards, the detector, the run and its report.
    #[arg(short, long, value_name = "FOLDER", default_value = "yoloslim-demo")]
    pub(crate) out: PathBuf,
    /// How many boards are drawn to learn from; half as many judge.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(20..=10_000))]
    pub(crate) boards: u32,
}
