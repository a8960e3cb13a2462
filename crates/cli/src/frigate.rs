//! What Frigate must be told to use an exported model.
use crate::files::Files;
use anyhow::{Context, Result, bail};
use ir::Graph;
use std::fmt::Write;
use std::path::Path;
use yolo::families::identify;

/// Writes the model's classes beside it, and gives the lines of Frigate's configuration that name both.
///
/// Source: Frigate's documentation of object detectors (0.16 and later), `yolo-generic` and `yolox`: one output of boxes by their
/// centre and size and a score for each class, `[1, 4 + C, N]`, or YOLOX's own.
pub(crate) fn configuration(graph: &Graph, out: &Path, files: &Files) -> Result<String> {
    let head = identify(graph, None).with_context(|| out.display().to_string())?;
    let shapes: Vec<_> = graph.outputs().iter().filter_map(|&v| graph.ty(v).ok()).collect();
    let model_type = match (head.family.name, shapes.as_slice()) {
        ("yolox", _) => "yolox",
        (_, [output]) if matches!(output.shape[..], [1, c, _] if c == 4 + head.classes) => {
            "yolo-generic"
        }
        (family, _) => bail!(
            "Frigate reads one output [1, 4 + classes, boxes], or YOLOX's; this one is of family {family} and has {}. \
             Let `yoloslim serve` run it instead, as Frigate's detector of type deepstack: \
             api_url: http://HOST:8484/v1/vision/detection (end-to-end models: export with --rewrite dense_output)",
            shapes.iter().map(|ty| format!("{:?}", ty.shape)).collect::<Vec<_>>().join(" and ")
        ),
    };
    let numbered = || (0..head.classes).map(|class| format!("class {class}")).collect();
    let names = head.names.clone().unwrap_or_else(numbered);
    let labels = out.with_extension("txt");
    files.draws(std::slice::from_ref(&labels), std::iter::empty())?;
    yolo::write_file(&labels, (names.join("\n") + "\n").as_bytes())
        .with_context(|| format!("cannot write {}", labels.display()))?;
    let file = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let [height, width] = head.input.size_px;
    let pixels = if head.input.preprocess.bgr { "bgr" } else { "rgb" };
    // Frigate either divides by 255 (float) or does not (float_denorm).
    let dtype = if head.input.preprocess.scale == 1.0 { "float_denorm" } else { "float" };
    let mut text = String::new();
    let mut line = |words: &str| {
        // A string takes all that is written to it.
        let _ = writeln!(text, "{words}");
    };
    line("detectors:");
    line("  onnx:");
    line("    type: onnx");
    line("model:");
    line(&format!("  model_type: {model_type}"));
    line(&format!("  width: {width}"));
    line(&format!("  height: {height}"));
    line("  input_tensor: nchw");
    line(&format!("  input_pixel_format: {pixels}"));
    line(&format!("  input_dtype: {dtype}"));
    line(&format!("  path: /config/model_cache/{}", file(out).unwrap_or_default()));
    line(&format!("  labelmap_path: /config/model_cache/{}", file(&labels).unwrap_or_default()));
    Ok(text)
}
