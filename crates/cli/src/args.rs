//! What can be typed.
use clap::{Args as ClapArgs, Parser, Subcommand};
use std::path::PathBuf;

/// Makes a trained YOLO detector several times smaller and faster, and proves that it still detects.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 120)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show family and head, every layer with its parameters and MACs, and BatchNorm layers by importance.
    Inspect(InspectArgs),
}

/// A model and how it is read.
#[derive(Debug, ClapArgs)]
pub(crate) struct ModelArgs {
    /// The detector: an ONNX file.
    pub(crate) model: PathBuf,
    /// Input size that dynamic axes are bound to: one side, or HEIGHTxWIDTH.
    #[arg(long, value_parser = parse_imgsz)]
    pub(crate) imgsz: Option<[usize; 2]>,
    /// Detector family to assume instead of recognising it.
    #[arg(long)]
    pub(crate) family: Option<String>,
}

/// Arguments of `inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct InspectArgs {
    /// The model.
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Also write everything as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

fn parse_imgsz(text: &str) -> Result<[usize; 2], String> {
    let side = |s: &str| s.parse::<usize>().ok().filter(|v| (32..=8192).contains(v));
    let size = match text.split_once('x') {
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
