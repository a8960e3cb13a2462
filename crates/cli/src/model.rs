//! Reading the model that the user names.
use crate::args::ModelArgs;
use anyhow::{Context, Result};
use ir::{Graph, rewrites};

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
