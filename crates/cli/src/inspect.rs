//! `inspect`: what a detector is made of.
use crate::args::{CommonArgs, InspectArgs};
use crate::format::{grouped, shape_text};
use crate::output::{align_right, table, write_json};
use crate::{groups, model, ranges, sensitivity};
use anyhow::Result;
use comfy_table::Table;
use ir::{Graph, NodeId, Op};
use serde::Serialize;
use std::collections::BTreeSet;
use yolo::YoloError;
use yolo::families::{self, Head};

/// Everything `inspect` tells; the keys of `--json`.
#[derive(Debug, Serialize)]
struct Inspection {
    model: String,
    opset: i64,
    inputs: Vec<Tensor>,
    /// Types of floats in the file other than f32.
    other_floats: Vec<String>,
    outputs: Vec<Tensor>,
    params: u64,
    macs: u64,
    head: Option<HeadRecord>,
    /// Why nothing decodes the outputs.
    no_head: Option<String>,
    layers: Vec<Layer>,
    batch_norm_ranking: Vec<RankedNorm>,
    opaque: Vec<OpaqueRecord>,
}

#[derive(Debug, Serialize)]
struct Tensor {
    name: String,
    shape: Option<Vec<usize>>,
}

#[derive(Debug, Serialize)]
struct HeadRecord {
    family: &'static str,
    classes: usize,
    names: Option<Vec<String>>,
    imgsz: [usize; 2],
    output_convs: Vec<String>,
    /// How boxes and pixels are read.
    reading: String,
}

#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    op: String,
    shape: Option<Vec<usize>>,
    params: u64,
    macs: u64,
    gamma: Option<Gamma>,
}

/// Statistics of |gamma| of the BatchNorm that is, or directly follows, a layer.
#[derive(Clone, Copy, Debug, Serialize)]
struct Gamma {
    mean_abs: f64,
    min_abs: f64,
}

#[derive(Debug, Serialize)]
struct RankedNorm {
    name: String,
    channels: usize,
    gamma: Gamma,
}

#[derive(Debug, Serialize)]
struct OpaqueRecord {
    name: String,
    op: String,
    reason: String,
}

/// Runs the verb.
pub(crate) fn run(args: &InspectArgs, common: &CommonArgs) -> Result<()> {
    let model = model::load(&args.model)?;
    if args.groups {
        return write_json(common.json.as_deref(), &groups::run(&model)?);
    }
    if args.ranges {
        let record = ranges::run(&model, &args.sensitivity.images()?, common)?;
        return write_json(common.json.as_deref(), &record);
    }
    if args.sensitivity.sensitivity {
        let record = sensitivity::run(&model, &args.sensitivity, common)?;
        return write_json(common.json.as_deref(), &record);
    }
    let graph = &model.graph;
    let family = model.reading.family;
    let head = match families::identify(graph, family) {
        Err(error) if family.is_some() => return Err(error.into()),
        head => head,
    };
    model::warnings(&model, head.as_ref().ok());
    let mut inspection = inspect(&model.path.display().to_string(), graph, &head);
    inspection.other_floats = model.widened.iter().map(ToString::to_string).collect();
    print(&inspection);
    write_json(common.json.as_deref(), &inspection)
}

fn inspect(model: &str, graph: &Graph, head: &Result<Head, YoloError>) -> Inspection {
    let tensor = |v: &ir::ValueId| Tensor {
        name: graph.value(*v).name.clone(),
        shape: graph.ty(*v).ok().map(|t| t.shape.clone()),
    };
    let mut seen = BTreeSet::new();
    let layers: Vec<Layer> = graph.nodes().map(|(id, _)| layer(graph, id, &mut seen)).collect();
    let mut batch_norm_ranking: Vec<RankedNorm> =
        graph.nodes().filter_map(|(id, _)| ranked(graph, id)).collect();
    batch_norm_ranking.sort_by(|a, b| {
        a.gamma.mean_abs.total_cmp(&b.gamma.mean_abs).then_with(|| a.name.cmp(&b.name))
    });
    let opaque = graph.nodes().filter_map(|(_, n)| match &n.op {
        Op::Opaque(o) => Some(OpaqueRecord {
            name: n.name.clone(),
            op: o.op_type.clone(),
            reason: o.reason.clone(),
        }),
        _ => None,
    });
    Inspection {
        model: model.to_owned(),
        opset: graph.opset,
        other_floats: vec![],
        inputs: graph.inputs().iter().map(tensor).collect(),
        outputs: graph.outputs().iter().map(tensor).collect(),
        params: graph.params(),
        macs: graph.macs(),
        head: head.as_ref().ok().map(|h| record(graph, h)),
        no_head: head.as_ref().err().map(ToString::to_string),
        opaque: opaque.collect(),
        layers,
        batch_norm_ranking,
    }
}

fn record(graph: &Graph, head: &Head) -> HeadRecord {
    HeadRecord {
        family: head.family.name,
        classes: head.classes,
        names: head.names.clone(),
        imgsz: head.input.size_px,
        output_convs: ir::find_tail(graph)
            .output_convs
            .iter()
            .map(|id| graph.node(*id).name.clone())
            .collect(),
        reading: head.reading(),
    }
}

fn layer(graph: &Graph, id: NodeId, seen: &mut BTreeSet<ir::ValueId>) -> Layer {
    let node = graph.node(id);
    Layer {
        name: node.name.clone(),
        op: node.op.op_type().to_owned(),
        shape: graph.ty(node.outputs[0]).ok().map(|t| t.shape.clone()),
        params: graph.node_params(id, seen),
        macs: graph.node_macs(id),
        gamma: gamma(graph, id).map(|(g, _)| g),
    }
}

fn gamma(graph: &Graph, id: NodeId) -> Option<(Gamma, usize)> {
    let node = graph.node(id);
    if !matches!(node.op, Op::BatchNormalization(_)) {
        return None;
    }
    let scale = graph.constant(node.inputs[1])?.to_f64().ok()?;
    let mean_abs = scale.iter().map(|g| g.abs()).sum::<f64>() / scale.len().max(1) as f64;
    let min_abs = scale.iter().map(|g| g.abs()).fold(f64::INFINITY, f64::min);
    Some((Gamma { mean_abs, min_abs }, scale.len()))
}

fn ranked(graph: &Graph, id: NodeId) -> Option<RankedNorm> {
    let (gamma, channels) = gamma(graph, id)?;
    Some(RankedNorm { name: graph.node(id).name.clone(), channels, gamma })
}

fn print(i: &Inspection) {
    say!("{}", i.model);
    let shapes = |ts: &[Tensor]| {
        ts.iter()
            .map(|t| format!("{} {}", t.name, shape_text(&t.shape)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    say!("  opset {}   inputs {}   outputs {}", i.opset, shapes(&i.inputs), shapes(&i.outputs));
    say!(
        "  {} parameters   {} MACs   {} layers",
        grouped(i.params),
        grouped(i.macs),
        i.layers.len()
    );
    if !i.other_floats.is_empty() {
        say!("  floats in the file are {}", i.other_floats.join(", "));
    }
    match &i.head {
        Some(h) => {
            say!(
                "  family {}   {} classes   input {}x{}   {} output convolutions: {}",
                h.family,
                h.classes,
                h.imgsz[0],
                h.imgsz[1],
                h.output_convs.len(),
                h.output_convs.join(", ")
            );
            say!("  read as {}", h.reading);
        }
        None => i.no_head.iter().for_each(|why| say!("  {why}")),
    }
    for o in &i.opaque {
        say!("  kept without being understood: {} ({}): {}", o.name, o.op, o.reason);
    }
    say!("{}", layer_table(i));
    if !i.batch_norm_ranking.is_empty() {
        say!("BatchNorm layers by mean |gamma|, least important first");
        say!("{}", norm_table(i));
    }
}

fn layer_table(i: &Inspection) -> Table {
    let mut table =
        table(&["layer", "op", "output", "parameters", "MACs", "mean |gamma|", "min |gamma|"]);
    for l in &i.layers {
        let number = |v: u64| if v == 0 { String::new() } else { grouped(v) };
        let g = |f: fn(&Gamma) -> f64| {
            l.gamma.as_ref().map_or(String::new(), |g| format!("{:.4}", f(g)))
        };
        table.add_row([
            l.name.clone(),
            l.op.clone(),
            shape_text(&l.shape),
            number(l.params),
            number(l.macs),
            g(|g| g.mean_abs),
            g(|g| g.min_abs),
        ]);
    }
    align_right(&mut table, 3);
    table
}

fn norm_table(i: &Inspection) -> Table {
    let mut table = table(&["rank", "BatchNorm", "channels", "mean |gamma|", "min |gamma|"]);
    for (rank, n) in i.batch_norm_ranking.iter().enumerate() {
        table.add_row([
            (rank + 1).to_string(),
            n.name.clone(),
            n.channels.to_string(),
            format!("{:.4}", n.gamma.mean_abs),
            format!("{:.4}", n.gamma.min_abs),
        ]);
    }
    align_right(&mut table, 2);
    table
}
