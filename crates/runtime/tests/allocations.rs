//! Inference allocates nothing once it is warm.
use ir::ops::{Reshape, Softmax, Split, Transpose, UnaryKind};
use ir::{DataType, Graph, QuantParams};
use quant::{BUILTIN, Range, apply, int8_macs_share, plan, quantization_points};
use runtime::{Plan, PlanOptions, Session};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::collections::BTreeSet;
use std::sync::Arc;
use testkit::net::{Net, image};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A detector in small: blocks of every kind.
fn detector() -> Graph {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let x = net.input(&[1, 3, 16, 16]);
    let y = net.conv_silu(x, [3, 32, 3, 2]);
    let sizes = vec![16, 16];
    let halves = net.many(Split { axis: 1, sizes }, &[y], 2);
    let a = net.bottleneck(halves[1], 16);
    let pooled = net.pool(a, 5);
    let y = net.concat(1, &[halves[0], a, pooled]);
    let y = net.conv_silu(y, [48, 24, 1, 1]);
    let y = net.conv(y, [24, 24, 3, 1], 24);
    let y = net.conv(y, [24, 64, 1, 1], 1);
    let shape = vec![1, 64, 64];
    let y = net.op(Reshape { shape }, &[y]);
    let shape = vec![1, 4, 16, 64];
    let y = net.op(Reshape { shape }, &[y]);
    let y = net.op(Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
    let softmax = Softmax { axis: 1, coerced: vec![] };
    let y = net.op(softmax, &[y]);
    let y = net.op(UnaryKind::Sigmoid, &[y]);
    net.edit.output(y);
    graph.apply(net.edit).expect("a valid graph");
    graph
}

/// The same with quantized values wherever our engine wants them, and a head in f32.
fn quantized(graph: &Graph) -> Graph {
    let ranges = quantization_points(graph, BUILTIN).expect("a float graph");
    let ranges = ranges.iter().map(|s| (s.range_of, Range::new(-2.0, 4.0)));
    let input = QuantParams::per_tensor(0.02, 100, DataType::U8).expect("valid parameters");
    let plan = plan(graph, &ranges.collect(), &input, BUILTIN, &BTreeSet::new())
        .expect("ranges for all sites");
    let quantized = apply(graph, &plan).expect("the graph of the plan");
    assert!(int8_macs_share(&quantized) > 0.9, "INT8 convolutions");
    quantized
}

/// The allocations of ten runs of a warm session.
fn allocations(graph: &Graph, threads: usize) -> usize {
    let plan = Plan::compile(graph, &[], &PlanOptions::default()).expect("compiles");
    let mut session = Session::new(&Arc::new(plan), threads).expect("memory");
    let x = image(graph);
    let x = x.as_slice::<f32>().expect("f32");
    let bytes = vec![7; x.len()];
    let infer = |session: &mut Session| {
        for outputs in [
            session.infer(&[x]).expect("runs").iter().count(),
            session.infer_u8(&[&bytes], 1.0).expect("runs").iter().count(),
        ] {
            assert_eq!(outputs, 1);
        }
    };
    infer(&mut session);
    let region = Region::new(ALLOCATOR);
    for _ in 0..10 {
        infer(&mut session);
    }
    let change = region.change();
    change.allocations + change.reallocations
}

fn infer_warm_session_allocates_nothing() {
    let float = detector();
    for (kind, graph) in [("int8", quantized(&float)), ("f32", float)] {
        for threads in [1, 2] {
            let found = allocations(&graph, threads);
            assert_eq!(found, 0, "{kind}, {threads} threads");
        }
    }
}

fn main() {
    infer_warm_session_allocates_nothing();
    println!("test infer_warm_session_allocates_nothing ... ok");
}
