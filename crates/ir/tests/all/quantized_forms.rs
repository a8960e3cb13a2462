//! One form for what quantized models spell in several ways, with the same numbers.
use ir::ops::DequantizeLinear;
use ir::ops::{
    BinaryKind, Cast, Concat, Conv, ConvInteger, DynamicQuantizeLinear, MaxPool, QuantizeLinear,
};
use ir::{DataType, Graph, Op, QuantParams, Tensor, TensorType, interpreter, rewrites};

fn ramp(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let at = |i: usize| ((i * 37) % 101) as f32 / 50.0 - 1.0;
    Tensor::new(shape.to_vec(), (0..n).map(at).collect::<Vec<f32>>()).unwrap()
}

fn run(graph: &Graph, x: &Tensor) -> Vec<f64> {
    let outputs = interpreter::run(graph, std::slice::from_ref(x)).unwrap();
    outputs[0].to_f64().unwrap()
}

#[test]
fn moved_quantized_values_become_moved_f32_with_the_same_numbers() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 2, 4, 4]));
    let params = QuantParams::per_tensor(0.01, 100, DataType::U8).unwrap();
    let quantize = QuantizeLinear { params: params.clone() };
    let codes = e.node("quantize", quantize, &[x], &["codes"])[0];
    let pool = MaxPool {
        kernel_shape: [3, 3],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [1; 4],
        ceil_mode: false,
    };
    let pooled = e.node("pool", pool, &[codes], &["pooled"])[0];
    let joined = e.node("join", Concat { axis: 1 }, &[codes, pooled], &["joined"])[0];
    let real = e.node("dequantize", DequantizeLinear { params }, &[joined], &["y"])[0];
    e.output(real);
    graph.apply(e).unwrap();
    let input = ramp(&[1, 2, 4, 4]);
    let expected = run(&graph, &input);
    assert_eq!(rewrites::apply(&mut graph, &rewrites::MOVE_QUANTIZED).unwrap(), 2);
    assert_eq!(run(&graph, &input), expected);
    let on_codes = |(_, n): &(_, &ir::Node)| {
        let moves = matches!(n.op, Op::MaxPool(_) | Op::Concat(_));
        moves && graph.ty(n.inputs[0]).unwrap().dtype != DataType::F32
    };
    assert!(!graph.nodes().any(|n| on_codes(&n)));
}

/// As ONNX Runtime writes a convolution with a bias; the weight's scales differ by channel or do not.
#[test]
fn dynamic_convolutions_become_convolutions_of_f32_with_the_same_numbers() {
    for (scales, zeros) in [(vec![0.02f32], vec![3u8]), (vec![0.02, 0.01, 0.03], vec![128, 0, 200])]
    {
        let mut graph = Graph::new(17);
        let mut e = graph.edit();
        let x = e.input("x", TensorType::new(DataType::F32, [1, 2, 5, 4]));
        let q = e.node("quantize", DynamicQuantizeLinear, &[x], &["q", "scale", "zero"]);
        let w = Tensor::new([3, 2, 3, 3], (0..54).map(|i| (i * 29 % 256) as u8).collect()).unwrap();
        let w = e.constant("w", w);
        let zero = e.constant("w_zero", Tensor::vector(zeros));
        let conv = Conv {
            kernel_shape: [3, 3],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [1; 4],
            group: 1,
        };
        let sums = e.node("conv", ConvInteger { conv }, &[q[0], w, q[2], zero], &["sums"])[0];
        let real = e.node("cast", Cast { to: DataType::F32 }, &[sums], &["real"])[0];
        let shape = if scales.len() == 1 { vec![] } else { vec![1, 3, 1, 1] };
        let w_scale = e.constant("w_scale", Tensor::new(shape, scales).unwrap());
        let scale = e.node("scales", BinaryKind::Mul, &[q[1], w_scale], &["scales"])[0];
        let scaled = e.node("mul", BinaryKind::Mul, &[real, scale], &["scaled"])[0];
        let bias = Tensor::new([1, 3, 1, 1], vec![0.5f32, -1.0, 0.25]).unwrap();
        let bias = e.constant("bias", bias);
        let y = e.node("add", BinaryKind::Add, &[scaled, bias], &["y"])[0];
        e.output(y);
        graph.apply(e).unwrap();
        let input = ramp(&[1, 2, 5, 4]);
        let expected = run(&graph, &input);
        let rewrite = &rewrites::DYNAMIC_PRODUCTS;
        assert_eq!(rewrites::apply(&mut graph, rewrite).unwrap(), 1);
        let node = graph.node(graph.producer(graph.outputs()[0]).unwrap());
        assert!(matches!(node.op, Op::Conv(_)) && node.inputs.len() == 3);
        assert_eq!(graph.params(), 57);
        let found = run(&graph, &input);
        let near = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near, "{found:?} instead of {expected:?}");
    }
}

/// One reader of the integers is no dequantizer of the same parameters, so the quantizer stays for it.
#[test]
fn quantizer_and_dequantizer_become_fake_quantize_with_the_same_numbers() {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("x", TensorType::new(DataType::F32, [1, 2, 4, 4]));
    let params = |scale| QuantParams::per_tensor(scale, 100, DataType::U8).unwrap();
    let quantize = QuantizeLinear { params: params(0.01) };
    let quantized = e.node("quantize", quantize, &[x], &["quantized"])[0];
    let mut dequantize = |name: &str, scale| {
        let params = params(scale);
        e.node(name, DequantizeLinear { params }, &[quantized], &[name])[0]
    };
    let (first, second, other) =
        (dequantize("first", 0.01), dequantize("second", 0.01), dequantize("other", 0.02));
    let sum = e.node("sum", BinaryKind::Add, &[first, second], &["sum"])[0];
    let y = e.node("y", BinaryKind::Mul, &[sum, other], &["y"])[0];
    e.output(y);
    graph.apply(e).unwrap();
    let input = ramp(&[1, 2, 4, 4]);
    let expected = run(&graph, &input);
    ir::fake_quantize(&mut graph).unwrap();
    assert_eq!(run(&graph, &input), expected);
    let count = |op_type: &str| graph.nodes().filter(|(_, n)| n.op.op_type() == op_type).count();
    assert_eq!(["FakeQuantize", "QuantizeLinear", "DequantizeLinear"].map(count), [2, 1, 1]);
}
