//! A detector of two inputs (visible light and infrared): its backbones meet by concatenation and by addition.
use ir::ops::{BinaryKind, Concat, Reshape, UnaryKind};
use ir::{DataType, Graph, QuantParams, Tensor, TensorType, ValueId, interpreter};
use prune::{PrunePlan, analyse};
use quant::{BUILTIN, Range, int8_macs_share, quantization_points};
use runtime::{Plan, PlanOptions, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use testkit::net::{Net, numbers};

const SIDE: usize = 16;

/// A convolution with SiLU.
fn block(n: &mut Net, name: &str, x: ValueId, [from, to]: [usize; 2], stride: usize) -> ValueId {
    let y = n.named_conv(name, x, [from, to, 3, stride], 1);
    n.named(&format!("{name}.silu"), UnaryKind::Silu, &[y])
}

/// Both streams are joined after the first stage, and added after the second.
fn detector() -> Graph {
    let mut graph = Graph::new(17);
    let mut n = Net::new(&graph);
    let (mut early, mut late) = (vec![], vec![]);
    for (name, channels) in [("visible", 3), ("infrared", 1)] {
        let ty = TensorType::new(DataType::F32, [1, channels, SIDE, SIDE]);
        let x = n.edit.input(name, ty);
        let a = block(&mut n, &format!("{name}.stem"), x, [channels, 8], 2);
        let b = block(&mut n, &format!("{name}.deep"), a, [8, 12], 2);
        early.push(a);
        late.push(b);
    }
    let joined = n.named("joined", Concat { axis: 1 }, &early);
    let added = n.named("added", BinaryKind::Add, &late);
    let near = block(&mut n, "near", joined, [16, 10], 1);
    let far = block(&mut n, "far", added, [12, 10], 1);
    let mut rows = vec![];
    for (name, x, cells) in [("near", near, 64), ("far", far, 16)] {
        let y = n.named_conv(&format!("{name}.head"), x, [10, 7, 3, 1], 1);
        let shape = vec![1, 7, cells];
        rows.push(n.named(&format!("{name}.rows"), Reshape { shape }, &[y]));
    }
    let out = n.named("output", Concat { axis: 2 }, &rows);
    n.edit.output(out);
    graph.apply(n.edit).expect("the net is well formed");
    graph
}

fn images(seed: u64) -> Vec<Tensor> {
    let image = |channels: usize| {
        let data = numbers(channels * SIDE * SIDE, seed + channels as u64, 1.0);
        let data = data.iter().map(|x| x + 0.5).collect();
        Tensor::new([1, channels, SIDE, SIDE], data).unwrap()
    };
    [3, 1].map(image).into()
}

/// Mean difference against the mean size of what is expected.
fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    let (found, expected) = (found.to_f64().unwrap(), expected.to_f64().unwrap());
    let wrong: f64 = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).sum();
    wrong / expected.iter().map(|e| e.abs()).sum::<f64>()
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Tensor {
    let plan = Arc::new(Plan::compile(graph, &[], &PlanOptions::default()).unwrap());
    let data: Vec<&[f32]> = inputs.iter().map(|t| t.as_slice::<f32>().unwrap()).collect();
    Session::new(&plan, 1).unwrap().run(&data).unwrap().remove(0)
}

/// Channels 0 and 2 of every group.
fn pruned(graph: &Graph) -> Graph {
    let groups = analyse(graph).unwrap();
    let chosen = groups.prunable().map(|g| (g.name.clone(), vec![0, 2])).collect();
    let plan = PrunePlan::new(graph, &groups, chosen).unwrap();
    prune::apply(graph, &groups, &plan).unwrap()
}

#[test]
fn analyse_of_two_streams_couples_what_is_added_and_not_what_is_joined() {
    let graph = detector();
    let groups = analyse(&graph).unwrap();
    let roots = |name: &str| groups.get(name).map(|g| (g.roots.len(), g.width(), g.is_prunable()));
    assert_eq!(roots("visible.stem1"), Some((1, 8, true)));
    assert_eq!(roots("infrared.stem5"), Some((1, 8, true)));
    assert_eq!(roots("visible.deep3"), Some((2, 12, true)));
    assert_eq!(roots("infrared.deep7"), None);
    // The rows of both heads are those of one output.
    assert_eq!(roots("near.head15"), Some((2, 7, false)));
}

#[test]
fn apply_to_two_streams_cuts_both_and_the_engine_runs_it() {
    let graph = detector();
    let small = pruned(&graph);
    assert!(small.params() < graph.params());
    let width = |name: &str| {
        let v = small.value_named(name).unwrap();
        small.ty(v).unwrap().shape[0]
    };
    let names = [
        "visible.stem1.weight",
        "infrared.stem5.weight",
        "visible.deep3.weight",
        "infrared.deep7.weight",
    ];
    assert_eq!(names.map(width), [6, 6, 10, 10]);
    let inputs = images(1);
    let expected = interpreter::run(&small, &inputs).unwrap().remove(0);
    assert!(relative_error(&run(&small, &inputs), &expected) < 1e-5);
}

#[test]
fn quantize_of_pruned_two_streams_stays_near_and_runs_on_integers() {
    let graph = pruned(&detector());
    let mut ranges: BTreeMap<ValueId, Range> = BTreeMap::new();
    let sites: Vec<ValueId> =
        quantization_points(&graph, BUILTIN).unwrap().iter().map(|s| s.range_of).collect();
    for seed in 0..4 {
        let inputs = images(seed);
        let mut values = interpreter::run_all(&graph, &inputs).unwrap();
        values.extend(graph.inputs().iter().copied().zip(inputs));
        for v in &sites {
            let x = values[v].to_f64().unwrap();
            let lo = x.iter().fold(0.0f64, |m, &x| m.min(x)) as f32;
            let hi = x.iter().fold(0.0f64, |m, &x| m.max(x)) as f32;
            let range = Range::new(lo, hi);
            ranges.entry(*v).and_modify(|r| *r = r.union(range)).or_insert(range);
        }
    }
    let pixels = QuantParams::per_tensor(1.0 / 255.0, 0, DataType::U8).unwrap();
    let plan = quant::plan(&graph, &ranges, &pixels, BUILTIN, &BTreeSet::new()).unwrap();
    let quantized = quant::apply(&graph, &plan).unwrap();
    assert!(int8_macs_share(&quantized) > 0.5);
    let inputs = images(9);
    let real = run(&graph, &inputs);
    let error = relative_error(&run(&quantized, &inputs), &real);
    assert!(error < 0.05, "{error}");
    // The file carries both inputs.
    let again =
        onnx::parse(&onnx::encode(&quantized).unwrap(), None, &onnx::LoadOptions::default());
    assert!(relative_error(&run(&again.unwrap(), &inputs), &real) < 0.05);
}
