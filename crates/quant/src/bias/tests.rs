use super::*;
use crate::{BUILTIN, Range, apply, plan, quantization_points};
use ir::ops::Conv;
use ir::{DataType, QuantParams, TensorType, interpreter};
use std::collections::BTreeSet;

/// A 1x1 convolution, grouped, in front of another one; weights that rounding shifts.
fn network(with_bias: bool) -> Graph {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 4, 2, 2]));
    let spread = |i: usize| {
        if i.is_multiple_of(5) { 1.0 } else { 0.0039 + 0.01 * (i % 3) as f32 }
    };
    let w =
        e.constant("w", Tensor::new([4, 2, 1, 1], (0..8).map(spread).collect::<Vec<_>>()).unwrap());
    let op = |group| Conv {
        kernel_shape: [1; 2],
        strides: [1; 2],
        dilations: [1; 2],
        pads: [0; 4],
        group,
    };
    let mut inputs = vec![x, w];
    if with_bias {
        inputs.push(e.constant("b", Tensor::vector(vec![0.5f32, -0.5, 0.0, 1.0])));
    }
    let y = e.node("conv", op(2), &inputs, &["y"])[0];
    let identity = (0..16).map(|i: usize| if i.is_multiple_of(5) { 127.0 } else { 0.0 });
    let w = e.constant("i", Tensor::new([4, 4, 1, 1], identity.collect::<Vec<f32>>()).unwrap());
    let y = e.node("head", op(1), &[y, w], &["out"])[0];
    e.output(y);
    graph.apply(e).unwrap();
    graph
}

#[test]
fn correct_biases_of_rounded_weights_restores_the_mean() {
    let x: Vec<f32> = (0..16).map(|i| (i * 7 % 16) as f32 / 255.0 * 16.0).collect();
    let means: Vec<f32> = x.chunks(4).map(|c| c.iter().sum::<f32>() / 4.0).collect();
    let input = Tensor::new([1, 4, 2, 2], x).unwrap();
    for with_bias in [false, true] {
        let graph = network(with_bias);
        let ranges = quantization_points(&graph, BUILTIN).unwrap();
        let ranges = ranges.iter().map(|s| (s.range_of, Range::new(-4.0, 4.0)));
        let pixel = QuantParams::per_tensor(1.0 / 255.0, 0, DataType::U8).unwrap();
        let plan = plan(&graph, &ranges.collect(), &pixel, BUILTIN, &BTreeSet::new()).unwrap();
        let weights = QuantPlan { activations: BTreeMap::new(), ..plan };
        let means = BTreeMap::from([(graph.inputs()[0], means.clone())]);
        let corrected = correct_biases(&graph, &weights, &means).unwrap();
        let channel_means = |graph: &Graph| -> Vec<f64> {
            let y = interpreter::run(graph, std::slice::from_ref(&input)).unwrap();
            let y = y[0].to_f64().unwrap();
            y.chunks(4).map(|c| c.iter().sum::<f64>() / 4.0).collect()
        };
        let float = channel_means(&graph);
        let error =
            |found: Vec<f64>| -> f64 { float.iter().zip(found).map(|(a, b)| (a - b).abs()).sum() };
        let plain = error(channel_means(&apply(&graph, &weights).unwrap()));
        let better = error(channel_means(&apply(&corrected, &weights).unwrap()));
        assert!(plain > 0.1 && better < 1e-3, "{plain} became {better}");
    }
}
