//! Reading the model and the images that the user names.
use crate::args::{ImagesArgs, ModelArgs};
use anyhow::{Context, Result, bail};
use ir::{Graph, rewrites};
use std::path::{Path, PathBuf};
use yolo::{BadInput, Dataset};

/// Reads a model and recognises SiLU; BatchNorm is kept.
pub(crate) fn load(args: &ModelArgs) -> Result<Graph> {
    let options = onnx::LoadOptions {
        imgsz: args.imgsz,
        ..Default::default()
    };
    let mut graph = onnx::load(&args.model, &options)?;
    rewrites::apply(&mut graph, &rewrites::SILU)
        .with_context(|| args.model.display().to_string())?;
    Ok(graph)
}

/// Writes a model and gives the sizes of the source and of the new file, in bytes.
pub(crate) fn save(graph: &Graph, source: &Path, out: &Path) -> Result<(u64, u64)> {
    onnx::save(graph, out)?;
    let size = |p: &Path| {
        std::fs::metadata(p)
            .map(|m| m.len())
            .with_context(|| p.display().to_string())
    };
    Ok((size(source)?, size(out)?))
}

/// The sampled images of a data set.
pub(crate) fn images(args: &ImagesArgs) -> Result<Vec<PathBuf>> {
    let dataset = Dataset::open(&args.data, &args.split)?;
    let paths: Vec<PathBuf> = dataset.images.into_iter().map(|i| i.path).collect();
    Ok(compress::sample(&paths, args.images as usize, args.seed))
}

/// Reports images that could not be read; too many are an error.
pub(crate) fn report_bad(bad: &[BadInput], images: usize) -> Result<()> {
    for b in bad {
        eprintln!("skipped image: {b}");
    }
    let allowed = 3.max(images / 100);
    if bad.len() > allowed {
        bail!(
            "{} of {images} images could not be read: at most {allowed} may be bad",
            bad.len()
        );
    }
    Ok(())
}
