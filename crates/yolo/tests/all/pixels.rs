//! What a graph does to its pixels itself is left to it: the same detector in other wrappings finds the same.
use image::RgbImage;
use ir::ops::{
    BinaryKind, Concat, DequantizeLinear, Gather, QuantizeLinear, Slice, SliceRange, Split,
};
use ir::{DataType, Edit, Graph, QuantParams, Tensor, ValueId};
use runtime::PlanOptions;
use testkit::tiny;
use yolo::families::identify;
use yolo::{CompiledDetector, Detection, Thresholds};

fn detections(graph: &Graph) -> Vec<Detection> {
    let compiled = CompiledDetector::open(graph.clone(), None, &PlanOptions::default()).unwrap();
    let mut detector = compiled.session(1).unwrap();
    let side = u32::try_from(tiny::SIDE_PX).unwrap();
    let image = RgbImage::from_raw(side, side, tiny::scene(3).rgb).unwrap();
    let thresholds = Thresholds { conf: 0.25, iou: 0.6 };
    detector.detect(&[image], thresholds).unwrap()
}

/// The tiny detector, which takes BGR from 0 to 255, behind steps of its own; its first weights times `factor`.
fn behind(steps: impl Fn(&mut Edit, ValueId) -> ValueId, factor: f32) -> Graph {
    let mut graph = tiny::detector();
    let image = graph.inputs()[0];
    let (stem, _) = graph.nodes().find(|(_, n)| n.inputs.contains(&image)).unwrap();
    let weight = graph.node(stem).inputs[1];
    let scaled = graph.constant(weight).unwrap();
    let values = scaled.as_slice::<f32>().unwrap();
    let values: Vec<f32> = values.iter().map(|w| w * factor).collect();
    let scaled = Tensor::new(scaled.shape(), values).unwrap();
    let mut edit = graph.edit();
    edit.set_constant(weight, scaled);
    let given = steps(&mut edit, image);
    edit.replace_input(stem, 0, given);
    graph.apply(edit).unwrap();
    graph
}

fn by(edit: &mut Edit, kind: BinaryKind, x: ValueId, number: f32) -> ValueId {
    let number = edit.constant("number", Tensor::scalar(number));
    edit.node("own", kind, &[x, number], &["own.out"])[0]
}

/// How pixels are read.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Expected {
    scale: f32,
    bgr: bool,
}

fn check(what: &str, graph: &Graph, expected: Expected) {
    let input = identify(graph, None).unwrap().input;
    let found =
        Expected { scale: (input.preprocess.scale * 255.0).round(), bgr: input.preprocess.bgr };
    assert_eq!(found, expected, "{what}: {input}");
    let (found, plain) = (detections(graph), detections(&tiny::detector()));
    assert!(plain.len() > 2);
    assert_eq!(found.len(), plain.len(), "{what}");
    for (a, b) in found.iter().zip(&plain) {
        let same = a.class == b.class && (a.score - b.score).abs() < 1e-3;
        assert!(same, "{what}: {a:?}, {b:?}");
    }
}

#[test]
fn identify_of_a_graph_that_scales_pixels_itself_feeds_what_it_takes() {
    let bytes = Expected { scale: 255.0, bgr: true };
    let divided = behind(|e, x| by(e, BinaryKind::Div, x, 255.0), 255.0);
    check("divided by 255", &divided, bytes);
    let normalised = behind(
        |e, x| {
            let x = by(e, BinaryKind::Sub, x, 127.5);
            let x = by(e, BinaryKind::Div, x, 127.5);
            // Back to 0 to 1, so that the network is the same.
            let x = by(e, BinaryKind::Add, x, 1.0);
            by(e, BinaryKind::Mul, x, 0.5)
        },
        255.0,
    );
    check("mean and deviation", &normalised, bytes);
    let multiplied = behind(|e, x| by(e, BinaryKind::Mul, x, 255.0), 1.0);
    check("multiplied by 255", &multiplied, Expected { scale: 1.0, bgr: true });
    let coded = behind(
        |e, x| {
            let params = QuantParams::per_tensor(1.0, 0, DataType::U8).unwrap();
            let quantize = QuantizeLinear { params: params.clone() };
            let codes = e.node("q", quantize, &[x], &["codes"]);
            let x = e.node("dq", DequantizeLinear { params }, &codes, &["real"])[0];
            by(e, BinaryKind::Div, x, 255.0)
        },
        255.0,
    );
    check("codes, divided by 255", &coded, bytes);
}

#[test]
fn identify_of_a_graph_that_turns_channels_round_feeds_them_in_its_order() {
    let rgb = Expected { scale: 255.0, bgr: false };
    let gathered = behind(
        |e, x| {
            let order = e.constant("order", Tensor::vector(vec![2i64, 1, 0]));
            e.node("own", Gather { axis: 1 }, &[x, order], &["own.out"])[0]
        },
        1.0,
    );
    check("gathered", &gathered, rgb);
    let reversed = behind(
        |e, x| {
            let range = SliceRange { axis: 1, start: 2, len: 3, step: -1 };
            let ranges = vec![range];
            e.node("own", Slice { ranges }, &[x], &["own.out"])[0]
        },
        1.0,
    );
    check("sliced backwards", &reversed, rgb);
    let split = behind(
        |e, x| {
            let sizes = vec![1, 1, 1];
            let parts = e.node("split", Split { axis: 1, sizes }, &[x], &["r", "g", "b"]);
            let parts = [parts[2], parts[1], parts[0]];
            e.node("own", Concat { axis: 1 }, &parts, &["own.out"])[0]
        },
        1.0,
    );
    check("split and joined", &split, rgb);
}

#[test]
fn identify_of_a_graph_that_mixes_channels_is_an_error() {
    let green = behind(
        |e, x| {
            let order = e.constant("order", Tensor::vector(vec![1i64, 0, 2]));
            e.node("own", Gather { axis: 1 }, &[x, order], &["own.out"])[0]
        },
        1.0,
    );
    let told = identify(&green, None).unwrap_err().to_string();
    assert!(told.contains("images") && told.contains("channels"), "{told}");
}
