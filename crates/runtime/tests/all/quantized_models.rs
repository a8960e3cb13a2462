//! Quantized real models: the same bits everywhere, and ONNX Runtime as the referee of every step.
use ir::{DataType, Graph, NodeId, Op, QuantParams, TensorType, ValueId, normalise};
use kernels::Isa;
use quant::{Range, Target};
use runtime::{Plan, PlanOptions, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const DETECTOR: &str = "yolov8n_deeppcb_320_fused_op17.onnx";
const MODELS: &[&str] = &[DETECTOR, "yolov5n_coco_fused_op17.onnx", "yolox_nano_coco_416.onnx"];

/// Writes the quantized values of every value in `names`, computed by ONNX Runtime node by node.
const REFEREE: &str = "
import sys, numpy as np, onnx, onnxruntime as ort
model, folder = sys.argv[1:]
names = open(folder + '/names').read().split('\\n')
m = onnx.load(model)
have = {o.name for o in m.graph.output}
m.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in have)
options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
s = ort.InferenceSession(m.SerializeToString(), options, providers=['CPUExecutionProvider'])
i = s.get_inputs()[0]
x = np.fromfile(folder + '/x', dtype=np.float32).reshape(i.shape)
for k, y in enumerate(s.run(names, {i.name: x})):
    (y.astype(np.int32) + (128 if y.dtype == np.int8 else 0)).astype(np.uint8).tofile(f'{folder}/q{k}')
";

/// ONNX Runtime's own static quantization, everything in it, on made-up images.
const TOOLS: &str = "
import sys, numpy as np, onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
model, out, kind = sys.argv[1:]
i = ort.InferenceSession(model, providers=['CPUExecutionProvider']).get_inputs()[0]
class Reader(CalibrationDataReader):
    def __init__(self): self.left = [np.random.default_rng(k).random(i.shape, dtype=np.float32) for k in range(2)]
    def get_next(self): return {i.name: self.left.pop()} if self.left else None
quantize_static(model, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=getattr(QuantType, kind), weight_type=QuantType.QInt8)
";

fn assets() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/assets/weights");
    if !folder.is_dir() {
        println!("skipped: quantized real models (no ../shared/assets)");
    }
    folder.is_dir().then_some(folder)
}

fn python() -> Option<String> {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe =
        Command::new(&python).args(["-c", "import onnx, onnxruntime.quantization, numpy"]).output();
    let found = probe.is_ok_and(|o| o.status.success());
    if !found {
        println!("skipped: ONNX Runtime as the referee (not importable by {python})");
    }
    found.then_some(python)
}

fn load(path: &Path) -> Graph {
    let name = path.display().to_string();
    onnx::load(path, &onnx::LoadOptions::default()).expect(&name)
}

/// A made-up image in the model's range.
fn pixels(graph: &Graph, top: f32) -> Vec<f32> {
    let elements = graph.ty(graph.inputs()[0]).expect("a typed input").elements();
    let byte = |i: usize| (i as u32).wrapping_mul(2_654_435_761) >> 24;
    (0..elements).map(|i| byte(i) as f32 * (top / 255.0)).collect()
}

fn top(name: &str) -> f32 {
    if name.starts_with("yolox") { 255.0 } else { 1.0 }
}

fn options(isa: Isa, integer: bool) -> PlanOptions {
    PlanOptions { isa, integer }
}

fn session(graph: &Graph, observe: &[ValueId], options: PlanOptions, threads: usize) -> Session {
    let plan = Plan::compile(graph, observe, &options).expect("the graph compiles");
    Session::new(&Arc::new(plan), threads).expect("memory")
}

/// A model of the assets quantized with the ranges of one made-up image.
fn quantized(folder: &Path, name: &str, target: Target) -> Graph {
    let graph = normalise(load(&folder.join(name))).expect(name);
    let sites = quant::quantization_points(&graph, target).expect(name);
    let input = graph.inputs()[0];
    let observed = sites.iter().map(|s| s.range_of).filter(|&v| v != input);
    let observed: Vec<ValueId> = observed.collect();
    let mut ranges: BTreeMap<ValueId, Range> = BTreeMap::new();
    let x = pixels(&graph, top(name));
    session(&graph, &observed, options(Isa::best(), true), 2)
        .run_observed(&[&x], &mut |v, value| {
            value.for_each_run(&mut |_, run| {
                for &element in run {
                    let one = Range::new(element, element);
                    let range = ranges.entry(v).or_insert(one);
                    *range = range.union(one);
                }
            })
        })
        .expect(name);
    let pixel = QuantParams::per_tensor(top(name) / 255.0, 0, DataType::U8).expect("valid");
    let plan = quant::plan(&graph, &ranges, &pixel, target, &BTreeSet::new()).expect(name);
    quant::apply(&graph, &plan).expect(name)
}

/// The results of convolutions that are not quantized: what the float tail reads.
fn head(graph: &Graph) -> Vec<ValueId> {
    let consumers = graph.consumers();
    let is_head = |v: &ValueId| {
        let readers = consumers.get(v).into_iter().flatten();
        let ops: Vec<&Op> = readers.map(|(id, _)| &graph.node(*id).op).collect();
        ops.iter().all(|op| matches!(op, Op::Reshape(_) | Op::Concat(_) | Op::Transpose(_)))
    };
    let convs = graph
        .nodes()
        .filter(|(_, n)| matches!(n.op, Op::Conv(_)) && graph.producer(n.inputs[1]).is_some());
    convs.map(|(_, n)| n.outputs[0]).filter(is_head).collect()
}

fn observed(session: &mut Session, x: &[f32]) -> BTreeMap<ValueId, Vec<f32>> {
    let mut seen = BTreeMap::new();
    let outputs = session.run_observed(&[x], &mut |v, value| {
        let tensor = value.to_tensor()?;
        seen.insert(v, tensor.as_slice::<f32>().expect("f32").to_vec());
        Ok(())
    });
    outputs.expect("the plan runs");
    seen
}

#[test]
fn run_quantized_detector_same_bits_on_every_isa_and_thread_count() {
    let Some(folder) = assets() else { return };
    let graph = quantized(&folder, DETECTOR, quant::BUILTIN);
    let heads = head(&graph);
    assert_eq!(heads.len(), 6, "the head's output convolutions");
    let x = pixels(&graph, 1.0);
    let expected = observed(&mut session(&graph, &heads, options(Isa::scalar(), true), 2), &x);
    for isa in Isa::available() {
        for threads in [1, 2] {
            let found = observed(&mut session(&graph, &heads, options(isa, true), threads), &x);
            assert!(found == expected, "{isa}, {threads} threads");
        }
    }
}

#[test]
fn run_quantized_models_near_imitated_quantization() {
    let Some(folder) = assets() else { return };
    for name in MODELS {
        let graph = quantized(&folder, name, quant::BUILTIN);
        let x = pixels(&graph, top(name));
        let mut integer = session(&graph, &[], options(Isa::best(), true), 2);
        let steps = integer.plan().steps();
        let macs = |integer: bool| -> u64 {
            let steps = steps.iter().filter(|s| s.is_integer || !integer);
            steps.map(|s| s.macs).sum()
        };
        assert!(macs(true) * 1000 >= macs(false) * 999, "{name}: MACs on integers");
        let found = integer.run(&[&x]).expect(name);
        let mut imitated = session(&graph, &[], options(Isa::best(), false), 2);
        let expected = imitated.run(&[&x]).expect(name);
        for (a, b) in found.iter().zip(&expected) {
            let (a, b) = (a.as_slice::<f32>().expect("f32"), b.as_slice::<f32>().expect("f32"));
            let spread = b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let off: f64 = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum();
            let mean = off / a.len() as f64 / f64::from(spread);
            println!("{name}: off by {mean:.2e} of {spread} on average");
            assert!(mean < 2e-3, "{name}: off by {mean} of {spread} on average");
        }
    }
}

/// A step of a quantized graph by itself: real values on their grids in, one quantized value out.
struct Unit {
    graph: Graph,
    /// The quantized values that each input stands for.
    inputs: Vec<ValueId>,
}

impl Unit {
    fn new(graph: &Graph, quantize: NodeId) -> Option<Unit> {
        let mut alone = Graph::new(graph.opset);
        let mut edit = alone.edit();
        let mut made: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        let mut inputs = Vec::new();
        let q = graph.node(quantize);
        for id in cone(graph, q.inputs[0])? {
            let node = graph.node(id);
            let quantized = node.inputs[0];
            if matches!(node.op, Op::DequantizeLinear(_)) && graph.constant(quantized).is_none() {
                let Op::DequantizeLinear(dq) = &node.op else {
                    return None;
                };
                let grid = ir::ops::QuantizeLinear { params: dq.params.clone() };
                let shape = graph.ty(quantized).ok()?.shape.clone();
                let name = format!("x{}", inputs.len());
                let x = edit.input(&name, TensorType::new(DataType::F32, shape));
                let quantized_name = format!("{name}_quantized");
                let x = edit.node(&quantized_name, grid, &[x], &[&quantized_name])[0];
                let name = format!("{name}_real");
                made.insert(node.outputs[0], edit.node(&name, dq.clone(), &[x], &[&name])[0]);
                inputs.push(quantized);
                continue;
            }
            let mut operands = Vec::new();
            for &v in &node.inputs {
                let operand = match (made.get(&v), graph.constant(v)) {
                    (Some(&v), _) => v,
                    (None, constant) => edit.constant(&graph.value(v).name, constant?.clone()),
                };
                operands.push(operand);
                made.insert(v, operand);
            }
            let names: Vec<&str> =
                node.outputs.iter().map(|&v| graph.value(v).name.as_str()).collect();
            let outputs = edit.node(&node.name, node.op.clone(), &operands, &names);
            made.extend(node.outputs.iter().copied().zip(outputs));
        }
        let Op::QuantizeLinear(grid) = &q.op else {
            return None;
        };
        let y = *made.get(&q.inputs[0])?;
        let quantized = edit.node("y_quantized", grid.clone(), &[y], &["y_quantized"])[0];
        let dequantize = ir::ops::DequantizeLinear { params: grid.params.clone() };
        let y = edit.node("y", dequantize, &[quantized], &["y"])[0];
        edit.output(y);
        alone.apply(edit).expect("a part of a valid graph");
        Some(Unit { graph: alone, inputs })
    }
}

/// The nodes that a value is made with, in order, from the last dequantized values on; `None` if the model's input is among them.
fn cone(graph: &Graph, v: ValueId) -> Option<Vec<NodeId>> {
    let (mut needed, mut todo) = (std::collections::BTreeSet::new(), vec![v]);
    while let Some(v) = todo.pop() {
        if graph.constant(v).is_some() {
            continue;
        }
        let id = graph.producer(v)?;
        let node = graph.node(id);
        if needed.insert(id) && !matches!(node.op, Op::DequantizeLinear(_)) {
            todo.extend(&node.inputs);
        }
    }
    Some(graph.nodes().map(|(id, _)| id).filter(|id| needed.contains(id)).collect())
}

fn u8_params(params: &QuantParams) -> (f32, f32) {
    let shift = if params.dtype() == DataType::I8 { 128 } else { 0 };
    (params.scale()[0], (params.zero_point()[0] + shift) as f32)
}

/// Compares each step, fed the referee's quantized values, with the referee's result.
fn compare_steps(python: &str, model: &Path, top: f32) {
    let graph = load(model);
    let name = model.display();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nodes: Vec<(NodeId, &ir::Node)> = graph.nodes().collect();
    let activations = nodes.iter().filter(|(_, n)| matches!(n.op, Op::QuantizeLinear(_)));
    let quantizers: Vec<NodeId> = activations.map(|(id, _)| *id).collect();
    let quantized_of = |id: NodeId| graph.node(id).outputs[0];
    let names: Vec<&str> =
        quantizers.iter().map(|&id| graph.value(quantized_of(id)).name.as_str()).collect();
    std::fs::write(folder.path().join("names"), names.join("\n")).expect("a writable folder");
    let x: Vec<u8> = pixels(&graph, top).iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.path().join("x"), x).expect("a writable folder");
    let status = Command::new(python).args(["-c", REFEREE]).args([model, folder.path()]).status();
    assert!(status.expect("the interpreter was probed").success(), "{name}: the referee failed");
    let quantized: BTreeMap<ValueId, Vec<u8>> = quantizers
        .iter()
        .enumerate()
        .map(|(k, &id)| (quantized_of(id), std::fs::read(folder.path().join(format!("q{k}")))))
        .map(|(v, quantized)| (v, quantized.expect("the referee wrote its quantized values")))
        .collect();
    let params = |v: ValueId| {
        let node = graph.node(graph.producer(v).expect("quantized values have a quantizer"));
        match &node.op {
            Op::QuantizeLinear(q) => u8_params(&q.params),
            op => panic!("{} is not a quantizer", op.op_type()),
        }
    };
    let (mut steps, mut elements, mut differ) = (0, 0, 0);
    for &id in &quantizers {
        let Some(unit) = Unit::new(&graph, id) else {
            continue;
        };
        let real = |v: &ValueId| -> Vec<f32> {
            let (scale, zero) = params(*v);
            quantized[v].iter().map(|&q| (f32::from(q) - zero) * scale).collect()
        };
        let inputs: Vec<Vec<f32>> = unit.inputs.iter().map(real).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut session = session(&unit.graph, &[], options(Isa::best(), true), 2);
        let found = session.run(&inputs).expect("a step runs");
        let (scale, zero) = params(quantized_of(id));
        let found = found[0].as_slice::<f32>().expect("f32");
        let off = found
            .iter()
            .zip(&quantized[&quantized_of(id)])
            .map(|(real, &q)| ((real / scale).round() + zero - f32::from(q)).abs() as u32);
        let (mut worst, mut count) = (0, 0);
        for off in off {
            worst = worst.max(off);
            count += usize::from(off > 0);
        }
        let node = &graph.node(id).name;
        let kinds: Vec<String> = session.plan().steps().into_iter().map(|s| s.kind).collect();
        assert!(worst <= 1, "{name}, {node}: off by {worst} steps, {kinds:?}");
        assert!(
            count * 1000 <= found.len().max(1000),
            "{name}, {node}: {count} of {} values differ, {kinds:?}",
            found.len()
        );
        (steps, elements, differ) = (steps + 1, elements + found.len(), differ + count);
    }
    println!("{name}: {steps} steps, {differ} of {elements} values differ by one");
    assert!(steps > 50, "{name}: {steps} steps");
}

#[test]
fn steps_fed_by_onnx_runtime_equal_its_results() {
    let Some(folder) = assets() else { return };
    let Some(python) = python() else { return };
    let written = tempfile::tempdir().expect("a temporary folder");
    for target in quant::Target::quantizing() {
        let path = written.path().join(format!("{}.onnx", target));
        let bytes = onnx::encode(&quantized(&folder, DETECTOR, target)).expect("it is written");
        std::fs::write(&path, bytes).expect("a writable folder");
        compare_steps(&python, &path, 1.0);
    }
    for kind in ["QUInt8", "QInt8"] {
        let path = written.path().join(format!("{kind}.onnx"));
        let model = folder.join(DETECTOR);
        let done =
            Command::new(&python).args(["-c", TOOLS]).args([&model, &path]).arg(kind).output();
        assert!(
            done.expect("the interpreter was probed").status.success(),
            "{kind}: the tools failed"
        );
        compare_steps(&python, &path, 1.0);
    }
}
