use super::*;
use crate::{BUILTIN, ONNXRUNTIME, Target};
use ir::{DataType, TensorType, interpreter};

/// conv, activation, depthwise conv.
fn block(kind: UnaryKind) -> Graph {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 2, 4, 4]));
    let spread = |i: usize| ((i * 37 % 17) as f32 - 8.0) * 0.1;
    let conv = |e: &mut Edit, name: &str, x, shape: [usize; 4], group| {
        let n = shape.iter().product();
        let w = Tensor::new(shape, (0..n).map(spread).collect::<Vec<_>>()).unwrap();
        let w = e.constant(&format!("{name}.w"), w);
        let b = e.constant(
            &format!("{name}.b"),
            Tensor::vector((0..shape[0]).map(spread).collect::<Vec<_>>()),
        );
        let op = Conv {
            kernel_shape: [shape[2], shape[3]],
            strides: [1; 2],
            dilations: [1; 2],
            pads: [shape[2] / 2; 4],
            group,
        };
        e.node(name, op, &[x, w, b], &[&format!("{name}.y")])[0]
    };
    let z = conv(&mut e, "first", x, [3, 2, 1, 1], 1);
    let y = e.node("act", kind, &[z], &["act.y"])[0];
    let y = conv(&mut e, "depthwise", y, [6, 1, 3, 3], 3);
    let y = conv(&mut e, "head", y, [2, 6, 1, 1], 1);
    e.output(y);
    graph.apply(e).unwrap();
    graph
}

#[test]
fn equalize_of_any_activation_and_target_computes_the_same() {
    let x = Tensor::new([1, 2, 4, 4], (0..32).map(|i| i as f32 / 8.0 - 2.0).collect::<Vec<_>>());
    let x = x.unwrap();
    let kinds =
        [UnaryKind::Silu, UnaryKind::Relu, UnaryKind::LeakyRelu { alpha: 0.1 }, UnaryKind::Sigmoid];
    for kind in kinds {
        let graph = block(kind);
        let value = graph.value_named("act.y").unwrap();
        assert_eq!(depthwise_inputs(&graph).unwrap(), [value]);
        let expected = interpreter::run(&graph, std::slice::from_ref(&x)).unwrap();
        for target in Target::quantizing() {
            let scales = BTreeMap::from([(value, vec![1.0, 64.0, 7.0])]);
            let scaled = equalize(&graph, &scales, target).unwrap();
            let found = interpreter::run(&scaled, std::slice::from_ref(&x)).unwrap();
            let (e, f) = (expected[0].to_f64().unwrap(), found[0].to_f64().unwrap());
            for (e, f) in e.iter().zip(&f) {
                assert!((e - f).abs() < 1e-4, "{kind:?} {}: {e} {f}", target);
            }
        }
    }
}

#[test]
fn equalize_with_wrong_values_or_counts_is_an_error() {
    let graph = block(UnaryKind::Silu);
    let [x, y] = ["x", "act.y"].map(|n| graph.value_named(n).unwrap());
    let of_input = equalize(&graph, &BTreeMap::from([(x, vec![1.0, 1.0])]), BUILTIN);
    assert!(matches!(of_input, Err(QuantError::UnknownValue { .. })));
    let too_few = equalize(&graph, &BTreeMap::from([(y, vec![1.0])]), ONNXRUNTIME);
    assert!(matches!(too_few, Err(QuantError::Params { .. })));
}

#[test]
fn channel_scales_of_unequal_channels_make_noise_relative_to_each_small() {
    let unequal = [Range::new(-0.27, 70.0), Range::new(-0.27, 0.5), Range::new(0.0, 0.0)];
    let found = channel_scales(&unequal);
    assert!(found.gain > 50.0, "{found:?}");
    assert_eq!(found.scale[0], 1.0);
    assert!(found.scale[1] > 4.0, "{found:?}");
    assert!(found.scale.iter().all(|s| s.is_finite() && *s > 0.0));
    let equal = channel_scales(&[Range::new(-0.27, 5.0); 4]);
    assert_eq!((equal.scale, equal.gain), (vec![1.0; 4], 1.0));
}
