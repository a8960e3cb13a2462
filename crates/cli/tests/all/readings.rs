//! Detectors as other exporters write them give what the plain one gives, through the verbs; what is misread is told.
use crate::support::{Tiny, accepts, json, refuses, stderr};
use ir::Graph;
use ir::ops::{BinaryKind, Concat, Slice, SliceRange, UnaryKind};
use testkit::tiny;

fn save(tiny: &Tiny, name: &str, graph: &Graph) -> String {
    std::fs::write(tiny.path(name), onnx::encode(graph).unwrap()).expect("written");
    tiny.arg(name)
}

/// The convolutions' maps as outputs, nine of them, as Rockchip's tools cut heads.
fn maps() -> Graph {
    let mut graph = tiny::detector();
    let mut edit = graph.edit();
    let parts = ["box", "objectness.sigmoid", "classes.sigmoid"];
    let names = (0..3).flat_map(|s| parts.iter().map(move |p| format!("head{s}.{p}.out")));
    let outputs: Vec<_> =
        names.map(|name| graph.value_named(&name).expect("it is there")).collect();
    edit.set_outputs(&outputs);
    graph.apply(edit).expect("the maps are there");
    graph
}

/// Boxes finished inside, as `--decode_in_inference` writes them.
fn finished() -> Graph {
    let mut graph = tiny::detector();
    let rows = graph.outputs()[0];
    let mut e = graph.edit();
    let mut cells = (vec![], vec![]);
    for stride in [8usize, 16, 32] {
        let side = tiny::SIDE_PX / stride;
        for cell in 0..side * side {
            cells.0.extend([(cell % side) as f32, (cell / side) as f32]);
            cells.1.push(stride as f32);
        }
    }
    let n = cells.1.len();
    let grid = ir::Tensor::new([1, n, 2], cells.0).expect("two for each cell");
    let strides = ir::Tensor::new([1, n, 1], cells.1).expect("one for each cell");
    let (grid, strides) = (e.constant("grid", grid), e.constant("strides", strides));
    let part = |e: &mut ir::Edit, start: usize, len: usize| {
        let ranges = vec![SliceRange { axis: 2, start, len, step: 1 }];
        e.node("part", Slice { ranges }, &[rows], &["part"])[0]
    };
    let (xy, wh, rest) = (part(&mut e, 0, 2), part(&mut e, 2, 2), part(&mut e, 4, 3));
    let xy = e.node("xy", BinaryKind::Add, &[xy, grid], &["xy"])[0];
    let xy = e.node("xy_px", BinaryKind::Mul, &[xy, strides], &["xy_px"])[0];
    let wh = e.node("wh", UnaryKind::Exp, &[wh], &["wh"])[0];
    let wh = e.node("wh_px", BinaryKind::Mul, &[wh, strides], &["wh_px"])[0];
    let all = e.node("all", Concat { axis: 2 }, &[xy, wh, rest], &["all"])[0];
    e.set_outputs(&[all]);
    graph.apply(e).expect("the tail is valid");
    graph
}

#[test]
fn val_of_a_detector_in_other_forms_is_that_of_the_plain_one() {
    let tiny = Tiny::new(0, 12);
    let (data, out) = (tiny.arg("data.yaml"), tiny.arg("val.json"));
    let of = |model: &str| {
        accepts(&["val", model, "--data", &data, "--json", &out]);
        json(&out)
    };
    let plain = of(&tiny.arg("tiny.onnx"));
    assert_eq!(plain["warnings"].as_array().map(Vec::len), Some(0));
    for (name, graph, reading) in [
        ("maps.onnx", maps(), "on a grid"),
        ("finished.onnx", finished(), "centre and size in pixels"),
    ] {
        let found = of(&save(&tiny, name, &graph));
        assert_eq!(found["map_50_95"], plain["map_50_95"], "{name}");
        let told = found["reading"].as_str().expect("it is there");
        assert!(told.contains(reading) && told.contains("BGR from 0 to 255"), "{told}");
    }
}

/// The detector for pixels that it divides by 255 itself.
fn divided() -> Graph {
    let mut graph = tiny::detector();
    let image = graph.inputs()[0];
    let stem = graph.nodes().find(|(_, n)| n.inputs.contains(&image));
    let stem = stem.expect("something reads the image").0;
    let weight = graph.node(stem).inputs[1];
    let tensor = graph.constant(weight).expect("weights are constant");
    let values = tensor.as_slice::<f32>().expect("weights are f32");
    let larger = values.iter().map(|w| w * 255.0).collect();
    let larger = ir::Tensor::new(tensor.shape(), larger).expect("as many weights");
    let mut e = graph.edit();
    e.set_constant(weight, larger);
    let number = e.constant("255", ir::Tensor::scalar(255f32));
    let x = e.node("divide", BinaryKind::Div, &[image, number], &["shares"])[0];
    e.replace_input(stem, 0, x);
    graph.apply(e).expect("a valid graph");
    graph
}

#[test]
fn quantize_of_a_graph_that_divides_by_255_itself_calibrates_on_what_it_takes() {
    let tiny = Tiny::new(12, 12);
    let model = save(&tiny, "divided.onnx", &divided());
    let (data, int8, out) = (tiny.arg("data.yaml"), tiny.arg("int8.onnx"), tiny.arg("val.json"));
    accepts(&["quantize", &model, "--data", &data, "-o", &int8]);
    accepts(&["val", &int8, "--data", &data, "--json", &out]);
    let found = json(&out);
    assert!(found["map_50"].as_f64() > Some(0.8), "{}", found["map_50"]);
    let reading = found["reading"].to_string();
    assert!(reading.contains("from 0 to 255"), "{reading}");
}

#[test]
fn compress_of_nine_maps_keeps_them_and_their_accuracy() {
    let tiny = Tiny::new(24, 12);
    let model = save(&tiny, "maps.onnx", &maps());
    let (data, run) = (tiny.arg("data.yaml"), tiny.arg("run"));
    accepts(&["compress", &model, "--data", &data, "-o", &run, "--macs", "0.2", "--keep", "0.5"]);
    let out = tiny.arg("val.json");
    let result = tiny.arg("run/model.onnx");
    accepts(&["val", &result, "--data", &data, "--json", &out]);
    assert!(json(&out)["map_50"].as_f64() > Some(0.5));
}

#[test]
fn val_of_a_misread_model_says_so_and_compress_refuses_it() {
    let tiny = Tiny::new(24, 12);
    let (model, data) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"));
    let out = tiny.arg("val.json");
    // Boxes on a grid taken for pixels.
    let misread = ["--data", &data, "--family", "v5"];
    let shown = accepts(&[&["val", &model, "--json", &out], &misread[..]].concat());
    let told = stderr(&shown);
    assert!(told.contains("probably misread") && told.contains("family v5"), "{told}");
    let warnings = json(&out)["warnings"].to_string();
    assert!(warnings.contains("probably misread"), "{warnings}");
    let run = tiny.arg("run");
    let compress = [&["compress", &model, "-o", &run], &misread[..]].concat();
    refuses(&compress, &["probably misread"]);
}

#[test]
fn detect_uses_the_thresholds_of_the_family_unless_others_are_named() {
    let tiny = Tiny::new(0, 1);
    let (model, images, out) =
        (tiny.arg("tiny.onnx"), tiny.arg("images/val"), tiny.arg("detect.json"));
    let of = |more: &[&str]| {
        accepts(&[&["detect", &model, &images, "--json", &out], more].concat());
        let found = json(&out);
        ["conf", "iou"].map(|key| found[key].as_f64().map(|v| (v * 100.0).round()))
    };
    assert_eq!(of(&[]), [Some(30.0), Some(45.0)]);
    assert_eq!(of(&["--conf", "0.1", "--iou", "0.7"]), [Some(10.0), Some(70.0)]);
}
