//! Whole networks of the blocks that detectors are made of, in f32 and in INT8, on one thread.
//!
//!     cargo bench -p yoloslim-runtime

use divan::{Bencher, Divan};
use ir::{Graph, ValueId};
use runtime::{Plan, PlanOptions, Session};
use std::sync::Arc;
use testkit::net::{Net, image};

fn main() {
    Divan::from_args().main();
}

fn graph(build: fn(&mut Net) -> ValueId) -> Graph {
    let mut graph = Graph::new(17);
    let mut net = Net::new(&graph);
    let output = build(&mut net);
    net.edit.output(output);
    graph.apply(net.edit).expect("the network is valid");
    graph
}

/// A stem and three stages of bottlenecks, each half as large and twice as wide as the one before.
fn float(net: &mut Net) -> ValueId {
    let mut x = net.input(&[1, 3, 160, 160]);
    let mut width = 16;
    x = net.conv_silu(x, [3, width, 3, 2]);
    for _ in 0..3 {
        x = net.conv_silu(x, [width, 2 * width, 3, 2]);
        width *= 2;
        x = net.bottleneck(x, width);
    }
    x
}

/// The same convolutions on quantized values.
fn int8(net: &mut Net) -> ValueId {
    let x = net.input(&[1, 3, 160, 160]);
    let mut x = net.qdq(x, 4.0 / 255.0, 128);
    let mut width = 16;
    x = net.block(x, [3, width, 3, 2], 0.01, 28);
    for _ in 0..3 {
        x = net.block(x, [width, 2 * width, 3, 2], 0.01, 28);
        width *= 2;
        let y = net.block(x, [width, width, 3, 1], 0.01, 28);
        let y = net.block(y, [width, width, 3, 1], 0.01, 28);
        let sum = net.add(x, y);
        x = net.qdq(sum, 0.02, 40);
    }
    x
}

#[divan::bench(args = ["float", "int8"])]
fn session(bencher: Bencher, network: &str) {
    let graph = graph(if network == "float" { float } else { int8 });
    let plan = Plan::compile(&graph, &[], &PlanOptions::default()).expect("it compiles");
    let mut session = Session::new(&Arc::new(plan), 1).expect("it starts");
    let image = image(&graph);
    let pixels = image.as_slice::<f32>().expect("images are f32");
    bencher.bench_local(|| {
        session.infer(&[pixels]).expect("it runs");
    });
}
