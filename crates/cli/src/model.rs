//! Reading the model that the user names, and what is said of it.
use crate::args::ModelArgs;
use anyhow::{Context, Result};
use ir::Graph;
use std::path::Path;
use yolo::families::Head;
use yoloslim::{Model, Reading};

/// Reads a model with all floats as f32, which is what everything here computes in; BatchNorm is kept.
pub(crate) fn load(args: &ModelArgs) -> Result<Model> {
    read(&args.model, &args.reading.reading())
}

/// As [`load`], of a model that is to be pruned or quantized: one that is quantized already is refused.
pub(crate) fn load_float(path: &Path, reading: &Reading) -> Result<Model> {
    let model = load_widened(path, reading)?;
    quant::check_float(&model.graph).with_context(|| model.path.display().to_string())?;
    Ok(model)
}

/// As [`load`], of a model that is changed and written again: says what becomes of floats that are no f32.
pub(crate) fn load_widened(path: &Path, reading: &Reading) -> Result<Model> {
    let model = read(path, reading)?;
    if let Some(note) = floats_note(&model, "what is written is") {
        note!("{note}");
    }
    Ok(model)
}

/// As [`load`], with a reading of the caller's choice.
pub(crate) fn read(path: &Path, reading: &Reading) -> Result<Model> {
    let model = Model::open_as(path, reading)?;
    warn(&model, &model.graph.notes);
    Ok(model)
}

/// As [`read`], with the types of the file.
pub(crate) fn as_stored(path: &Path, reading: &Reading) -> Result<Model> {
    let model = Model::open_as_stored(path, reading)?;
    warn(&model, &model.graph.notes);
    Ok(model)
}

/// What becomes of the file's floats where they are not f32, as a sentence; `what` is what is f32 now.
pub(crate) fn floats_note(model: &Model, what: &str) -> Option<String> {
    let names: Vec<String> = model.widened.iter().map(ToString::to_string).collect();
    let (path, names) = (model.path.display(), names.join(", "));
    (!names.is_empty()).then(|| format!("{path}: its floats are {names}; {what} f32"))
}

/// Writes a model and gives the size of the file.
pub(crate) fn save(graph: &Graph, out: &Path) -> Result<u64> {
    let bytes = onnx::encode(graph)?;
    yolo::write_file(out, &bytes).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(bytes.len() as u64)
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
