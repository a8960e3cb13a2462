//! Heads are recognised from structure.
use ir::ops::{
    Cast, Concat, Conv, DequantizeLinear, Gather, QuantizeLinear, Reduce, ReduceKind, Reshape,
    Softmax, TopK, Transpose, UnaryKind,
};
use ir::{DataType, Edit, Graph, QuantParams, Tensor, TensorType, ValueId};
use yolo::families::{Family, identify};

fn conv(e: &mut Edit, name: &str, x: ValueId, channels: [usize; 2]) -> ValueId {
    conv_in_groups(e, name, x, channels, 1)
}

fn conv_in_groups(
    e: &mut Edit,
    name: &str,
    x: ValueId,
    channels: [usize; 2],
    group: usize,
) -> ValueId {
    let w = Tensor::new(
        vec![channels[1], channels[0] / group, 1, 1],
        vec![0.1f32; channels[0] / group * channels[1]],
    )
    .unwrap();
    let w = e.constant("w", w);
    let op = Conv { kernel_shape: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0; 4], group };
    e.node(name, op, &[x, w], &["y"])[0]
}

fn reshape(e: &mut Edit, x: ValueId, shape: &[usize]) -> ValueId {
    let shape = shape.to_vec();
    e.node("reshape", Reshape { shape }, &[x], &["r"])[0]
}

/// A head of plain distances on one scale of 8x8 cells, its branches as wide as `widths` says, joined to columns.
fn plain_head(widths: &[usize], depthwise: bool) -> (Graph, Edit, ValueId) {
    let graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("images", TensorType::new(DataType::F32, [1, 3, 8, 8]));
    let mut x = conv(&mut e, "stem", x, [3, 8]);
    if depthwise {
        x = conv_in_groups(&mut e, "depthwise", x, [8, 8], 8);
        x = conv(&mut e, "pointwise", x, [8, 8]);
    }
    let mut parts = vec![];
    for &width in widths {
        let y = conv(&mut e, "branch", x, [8, width]);
        parts.push(reshape(&mut e, y, &[1, width, 64]));
    }
    let columns = e.node("join", Concat { axis: 1 }, &parts, &["output0"])[0];
    (graph, e, columns)
}

fn identified(
    mut graph: Graph,
    edit: Edit,
    family: Option<&str>,
) -> Result<(&'static str, usize), String> {
    graph.apply(edit).unwrap();
    let family = family.map(|name| ir::named(name).expect("listed"));
    let head = identify(&graph, family).map_err(|e| e.to_string())?;
    Ok((head.family.name, head.classes))
}

#[test]
fn identify_of_plain_distances_is_v26() {
    for depthwise in [false, true] {
        let (graph, mut e, columns) = plain_head(&[4, 12], depthwise);
        e.output(columns);
        assert_eq!(identified(graph, e, None), Ok(("v26", 12)));
    }
}

#[test]
fn identify_of_other_tasks_names_what_they_predict() {
    let cases: [(&[usize], &str); 2] =
        [(&[4, 12, 1], "oriented boxes"), (&[4, 12, 51], "keypoints")];
    for (widths, expected) in cases {
        let (graph, mut e, columns) = plain_head(widths, false);
        e.output(columns);
        let text = identified(graph, e, None).unwrap_err();
        assert!(text.contains(expected) && text.contains("mAP"), "{text}");
    }
    let (graph, mut e, columns) = plain_head(&[4, 12, 32], false);
    let image = e.input("more", TensorType::new(DataType::F32, [1, 3, 8, 8]));
    let prototypes = conv(&mut e, "prototypes", image, [3, 32]);
    e.output(columns);
    e.output(prototypes);
    let text = identified(graph, e, None).unwrap_err();
    assert!(text.contains("segmentation masks"), "{text}");
}

#[test]
fn identify_with_a_forced_family_asks_only_for_its_output() {
    // Three branches fit no family's structure, and their sum is nothing known.
    let (graph, mut e, columns) = plain_head(&[5, 12, 7], false);
    e.output(columns);
    assert_eq!(identified(graph, e, Some("v8")), Ok(("v8", 20)));
    let (graph, mut e, columns) = plain_head(&[5, 12, 7], false);
    e.output(columns);
    assert!(identified(graph, e, Some("end2end")).is_err());
}

#[test]
fn identify_of_an_end_to_end_tail_finds_the_classes_in_its_branches() {
    let (graph, mut e, columns) = plain_head(&[4, 12], false);
    let rows = e.node("rows", Transpose { perm: vec![0, 2, 1] }, &[columns], &["rows"])[0];
    let best = Reduce { kind: ReduceKind::Max, axes: vec![2], keepdims: false };
    let best = e.node("best", best, &[rows], &["best"])[0];
    let first = TopK { k: 10, axis: 1, largest: true, sorted: true };
    let top = e.node("top", first, &[best], &["scores", "positions"]);
    let positions = reshape(&mut e, top[1], &[10]);
    let boxes = e.node("boxes", Gather { axis: 1 }, &[rows, positions], &["boxes"])[0];
    let boxes = e.node(
        "four",
        ir::ops::Slice { ranges: vec![ir::ops::SliceRange { axis: 2, start: 0, len: 4, step: 1 }] },
        &[boxes],
        &["four"],
    )[0];
    let class = e.node("class", Cast { to: DataType::F32 }, &[top[1]], &["class"])[0];
    let parts = [boxes, reshape(&mut e, top[0], &[1, 10, 1]), reshape(&mut e, class, &[1, 10, 1])];
    let out = e.node("join", Concat { axis: 2 }, &parts, &["output0"])[0];
    e.output(out);
    assert_eq!(identified(graph, e, None), Ok(("end2end", 12)));
}

/// A head of 12 classes on one scale of 8x8 cells, DFL of 4 bins, without the box arithmetic;
/// perhaps with codes between the bins and their projection, as quantizers of whole models write them.
fn dfl_head(quantized_bins: bool) -> Graph {
    let mut graph = Graph::new(17);
    let mut e = graph.edit();
    let x = e.input("images", TensorType::new(DataType::F32, [1, 3, 8, 8]));
    let stem = conv(&mut e, "stem", x, [3, 8]);
    let stem = e.node("act", UnaryKind::Silu, &[stem], &["s"])[0];
    let boxes = conv(&mut e, "box", stem, [8, 16]);
    let classes = conv(&mut e, "cls", stem, [8, 12]);
    let boxes = e.node("r0", Reshape { shape: vec![1, 4, 4, 64] }, &[boxes], &["r"])[0];
    let boxes = e.node("t", Transpose { perm: vec![0, 2, 1, 3] }, &[boxes], &["t"])[0];
    let boxes = e.node("bins", Softmax { axis: 1, coerced: vec![] }, &[boxes], &["p"])[0];
    let params = QuantParams::per_tensor(1.0 / 255.0, 0, DataType::U8).unwrap();
    let boxes = if quantized_bins {
        let quantize = QuantizeLinear { params: params.clone() };
        let quantized = e.node("q", quantize, &[boxes], &["quantized"]);
        let dequantize = DequantizeLinear { params };
        e.node("dq", dequantize, &quantized, &["dequantized"])[0]
    } else {
        boxes
    };
    let boxes = conv(&mut e, "dfl", boxes, [4, 1]);
    let boxes = e.node("r1", Reshape { shape: vec![1, 4, 64] }, &[boxes], &["b"])[0];
    let classes = e.node("r2", Reshape { shape: vec![1, 12, 64] }, &[classes], &["c"])[0];
    let classes = e.node("scores", UnaryKind::Sigmoid, &[classes], &["c"])[0];
    let out = e.node("join", Concat { axis: 1 }, &[boxes, classes], &["output0"])[0];
    e.output(out);
    graph.apply(e).unwrap();
    graph
}

#[test]
fn identify_of_a_dfl_head_finds_its_output_convolutions_but_not_the_projection() {
    for quantized_bins in [false, true] {
        let graph = dfl_head(quantized_bins);
        let head = identify(&graph, None).unwrap();
        assert_eq!((head.family.name, head.classes, head.input.size_px), ("v8", 12, [8, 8]));
        let convs: Vec<&str> = ir::find_tail(&graph)
            .output_convs
            .iter()
            .map(|id| graph.node(*id).name.as_str())
            .collect();
        assert_eq!(convs, ["box", "cls"]);
    }
}

#[test]
fn identify_with_a_family_that_does_not_fit_tells_what_it_saw() {
    let yolox = ir::named("yolox").expect("listed");
    let text = identify(&dfl_head(false), Some(yolox)).unwrap_err().to_string();
    assert!(text.contains("[1, 16, 64]") && text.contains("--family"), "{text}");
    let text = ir::named::<Family>("v99").unwrap_err().to_string();
    assert!(text.contains("v8, v26, v5, yolox"), "{text}");
}
