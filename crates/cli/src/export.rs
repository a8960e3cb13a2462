//! `export`: a model as an ONNX file.
use crate::args::{CommonArgs, ExportArgs, Program};
use crate::format::{megabytes, shape_text};
use crate::output::{check_writable, write_json};
use crate::{frigate, model};
use anyhow::{Context, Result, bail};
use ir::{Graph, Op, rewrites};
use serde::Serialize;
use yoloslim::{Reading, is_checkpoint};

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    model: String,
    out: String,
    opset: i64,
    input: Option<Vec<usize>>,
    /// Null where an operator that is not known gives it.
    output: Option<Vec<usize>>,
    params: u64,
    macs: u64,
    file_bytes: u64,
    /// What the program named by --for must be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &ExportArgs, common: &CommonArgs) -> Result<()> {
    let path = &args.model.model;
    if args.end_to_end && !is_checkpoint(path) {
        bail!(
            "--end-to-end chooses branches of a training checkpoint (.pt), and {} is not one",
            path.display()
        );
    }
    let reading = Reading { end_to_end: args.end_to_end, ..args.model.reading.reading() };
    let mut graph = model::as_stored(path, &reading)?.graph;
    check_writable(Some(&args.out))?;
    let what = || path.display().to_string();
    if !args.keep_bn {
        rewrites::apply(&mut graph, &rewrites::FOLD_BATCH_NORMALIZATION).with_context(what)?;
    }
    for applied in rewrites::apply_on_request(&mut graph, &args.rewrite).with_context(what)? {
        say!("{}: {} places", applied.rewrite, applied.places);
        if let Some(op) = suppression(&graph).filter(|_| applied.rewrite == rewrites::CUT_NMS.name)
        {
            bail!(
                "{}: {op} cannot be cut off: its boxes and its scores come from different convolutions and were never joined in one value [1, A, B], from which they could be decoded",
                path.display()
            );
        }
    }
    if args.half {
        graph = ir::to_f16(&graph).with_context(what)?;
    }
    graph.opset = args.opset;
    let file_bytes = model::save(&graph, &args.out)?;
    let configuration = match args.program {
        Some(Program::Frigate) => Some(frigate::configuration(&graph, &args.out, &common.files)?),
        None => None,
    };
    let record = Record {
        model: what(),
        out: args.out.display().to_string(),
        opset: args.opset,
        input: shape(&graph, graph.inputs()),
        output: shape(&graph, graph.outputs()),
        params: graph.params(),
        macs: graph.macs(),
        file_bytes,
        configuration,
    };
    say!("{}", args.out.display());
    say!(
        "  {}, opset {}, {} in, {} out",
        megabytes(file_bytes),
        record.opset,
        shape_text(&record.input),
        shape_text(&record.output)
    );
    if let Some(configuration) = &record.configuration {
        say!("\n{}", configuration.trim_end());
    }
    write_json(common.json.as_deref(), &record)
}

/// The operator that suppresses boxes.
fn suppression(graph: &Graph) -> Option<String> {
    graph.nodes().find_map(|(_, node)| match &node.op {
        Op::Opaque(o) if rewrites::SUPPRESSIONS.contains(&o.op_type.as_str()) => {
            Some(o.op_type.clone())
        }
        _ => None,
    })
}

/// The shape of the first of some values.
fn shape(graph: &Graph, values: &[ir::ValueId]) -> Option<Vec<usize>> {
    Some(graph.ty(*values.first()?).ok()?.shape.clone())
}
