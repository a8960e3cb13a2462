//! Reading the model that the user names.
use crate::args::{ModelArgs, ReadingArgs};
use anyhow::{Context, Result, bail};
use ir::{DataType, Graph};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use yolo::families::{ANCHORS, Family, Head};

/// A model as it was read.
pub(crate) struct Model {
    /// Where it came from.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) graph: Graph,
    /// The family the user named.
    pub(crate) family: Option<&'static Family>,
    /// Size of the file.
    pub(crate) file_bytes: u64,
    /// Types of floats in the file that are computed in f32 here.
    pub(crate) widened: BTreeSet<DataType>,
}

impl Model {
    /// What becomes of the file's floats where they are not f32, as a sentence; `what` is what is f32 now.
    pub(crate) fn told_floats(&self, what: &str) -> Option<String> {
        let names: Vec<String> = self.widened.iter().map(ToString::to_string).collect();
        let (path, names) = (self.path.display(), names.join(", "));
        (!names.is_empty()).then(|| format!("{path}: its floats are {names}; {what} f32"))
    }
}

/// Reads a model and recognises SiLU; BatchNorm is kept.
pub(crate) fn load(args: &ModelArgs) -> Result<Model> {
    read(&args.model, &args.reading)
}

/// As [`load`], of a model that is to be pruned or quantized: one that is quantized already is refused.
pub(crate) fn load_float(path: &Path, args: &ReadingArgs) -> Result<Model> {
    let model = read(path, args)?;
    quant::check_float(&model.graph).with_context(|| model.path.display().to_string())?;
    if let Some(told) = model.told_floats("what is written is") {
        note!("{told}");
    }
    Ok(model)
}

/// As [`load`], with all floats as f32, which is what everything here computes in.
pub(crate) fn read(path: &Path, args: &ReadingArgs) -> Result<Model> {
    let mut model = as_stored(path, args)?;
    model.widened = ir::other_floats(&model.graph);
    ir::to_f32(&mut model.graph).with_context(|| path.display().to_string())?;
    Ok(model)
}

/// As [`load`], with the types of the file: the one place where a file becomes a graph.
pub(crate) fn as_stored(path: &Path, args: &ReadingArgs) -> Result<Model> {
    let kind = std::fs::metadata(path).map(|found| found.file_type());
    if kind.is_ok_and(|kind| !kind.is_file() && !kind.is_dir()) {
        // A device may have no end.
        bail!(
            "{}: not a regular file: pipes and devices are not read",
            path.display()
        );
    }
    let mut graph = if is_checkpoint(path) {
        checkpoint(path, args, false)?
    } else {
        onnx_file(path, args)?
    };
    if let Some(anchors) = &args.anchors {
        let list = anchors.iter().map(f32::to_string).collect::<Vec<_>>();
        graph.metadata.insert(ANCHORS.to_owned(), list.join(", "));
    }
    let model = Model {
        path: path.to_owned(),
        graph,
        family: args.family,
        file_bytes: file_bytes(path)?,
        widened: BTreeSet::new(),
    };
    warn(&model, &model.graph.notes);
    Ok(model)
}

fn onnx_file(path: &Path, args: &ReadingArgs) -> Result<Graph> {
    let options = onnx::LoadOptions {
        imgsz: args.imgsz,
        ..Default::default()
    };
    let mut graph = onnx::load(path, &options)?;
    ir::recognise(&mut graph).with_context(|| path.display().to_string())?;
    Ok(graph)
}

/// Whether a file is a training checkpoint, by its name.
pub(crate) fn is_checkpoint(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "pt" || e == "pth")
}

/// Rebuilds the model of a training checkpoint.
pub(crate) fn checkpoint(path: &Path, args: &ReadingArgs, end_to_end: bool) -> Result<Graph> {
    let options = checkpoint::LoadOptions {
        imgsz: args.imgsz,
        end_to_end,
    };
    Ok(checkpoint::load(path, &options)?.graph)
}

/// Writes a model and gives the size of the file.
pub(crate) fn save(graph: &Graph, out: &Path) -> Result<u64> {
    let bytes = onnx::encode(graph)?;
    yolo::write_file(out, &bytes).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(bytes.len() as u64)
}

fn file_bytes(path: &Path) -> Result<u64> {
    let found = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(found.len())
}

/// What was assumed of a model and its head; what was assumed of the head is printed too.
pub(crate) fn warnings(model: &Model, head: Option<&Head>) -> Vec<String> {
    warn(model, head.map_or(&[], |h| &h.notes));
    notes(model, head)
}

/// What was assumed of a model and its head.
pub(crate) fn notes(model: &Model, head: Option<&Head>) -> Vec<String> {
    let notes = head.map(|h| h.notes.as_slice()).unwrap_or_default();
    model.graph.notes.iter().chain(notes).cloned().collect()
}

/// Warns of a model, on stderr.
pub(crate) fn warn(model: &Model, warnings: &[String]) {
    for warning in warnings {
        note!("warning: {}: {warning}", model.path.display());
    }
}
