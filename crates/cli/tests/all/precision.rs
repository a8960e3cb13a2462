//! `quantize --head` and `--float`: what stays float, and in which numbers.
use crate::support;
use crate::support::schema::breaches;
use crate::support::{Tiny, accepts, json, refuses};
use ir::{DataType, Graph};
use std::collections::BTreeSet;
use std::fs;

fn graph(path: &str) -> Graph {
    onnx::load(path.as_ref(), &onnx::LoadOptions::default()).expect("it is read")
}

/// Names of nodes whose weights are of a type.
fn layers_of(graph: &Graph, dtype: DataType) -> BTreeSet<String> {
    let has_weight = |node: &ir::Node| {
        let weight = node.inputs.get(1).and_then(|v| graph.constant(*v));
        matches!(node.op, ir::Op::Conv(_)) && weight.is_some_and(|t| t.dtype() == dtype)
    };
    graph.nodes().filter(|(_, n)| has_weight(n)).map(|(_, n)| n.name.clone()).collect()
}

#[test]
fn head_of_quantize_is_int8_f32_or_really_f16_in_the_file() {
    let tiny = Tiny::new(12, 12);
    let (model, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("out.json"));
    let head: BTreeSet<String> = {
        let float = graph(&model);
        let convs = ir::find_tail(&float).output_convs;
        convs.into_iter().map(|id| float.node(id).name.clone()).collect()
    };
    let mut sizes = Vec::new();
    let mut shares = Vec::new();
    for precision in ["int8", "fp16", "fp32"] {
        let int8 = tiny.arg(&format!("{precision}.onnx"));
        let args =
            ["quantize", &model, "--data", &data, "--budget", "fast", "-n", "8", "-o", &int8];
        accepts(&[&args[..], &["--head", precision, "--json", &out]].concat());
        let record = json(&out);
        assert_eq!(breaches(&record, "quantize.json"), Vec::<String>::new());
        assert_eq!(record["head"], precision);
        let float: BTreeSet<String> = record["float_layers"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect();
        let written = graph(&int8);
        let expected = if precision == "int8" { BTreeSet::new() } else { head.clone() };
        assert_eq!(float, expected, "{precision}");
        let [f16, f32] = [DataType::F16, DataType::F32].map(|dtype| layers_of(&written, dtype));
        let none = BTreeSet::new();
        assert_eq!(f16, if precision == "fp16" { head.clone() } else { none.clone() });
        assert_eq!(f32, if precision == "fp32" { head.clone() } else { none });
        let ends = written.inputs().iter().chain(written.outputs());
        assert!(ends.into_iter().all(|v| written.ty(*v).expect("known").dtype == DataType::F32));
        sizes.push(record["file_bytes"].as_u64().expect("a number"));
        shares.push(record["int8_macs_share"].as_f64().expect("a number"));

        // Every verb takes the file.
        accepts(&["val", &int8, "--data", &data, "--json", &out]);
        assert!(json(&out)["map_50"].as_f64().expect("a number") > 0.5, "{precision}");
        accepts(&["bench", &int8, "--runs", "1"]);
        accepts(&["compare", &model, &int8, "--data", &data]);
        accepts(&["detect", &int8, &tiny.arg("images/val")]);
    }
    let [_, fp16, fp32] = sizes[..] else { panic!("three sizes") };
    assert!(fp16 < fp32, "{sizes:?}");
    assert!(shares[0] > shares[1] && shares[1] == shares[2], "{shares:?}");
}

/// Scores and boxes of a file with f16 inside are those of ONNX Runtime, within what 11 bits tell apart.
#[test]
fn head_in_f16_detects_in_our_engine_what_it_detects_in_onnx_runtime() {
    let Some(library) = support::onnx_runtime("a head in f16") else {
        return;
    };
    let tiny = Tiny::new(12, 12);
    let (model, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("out.json"));
    let half = tiny.arg("half.onnx");
    // f32 outside, f16 inside from the first node on, as converters write that keep the types of inputs and outputs.
    let inside = tiny.arg("inside.onnx");
    let mut mixed = graph(&model);
    ir::recognise(&mut mixed).expect("valid");
    let all = mixed.nodes().map(|(id, _)| id).collect();
    ir::part_to_f16(&mut mixed, &all).expect("it fits");
    fs::write(&inside, onnx::encode(&mixed).expect("it is written")).expect("writable");
    let args = ["quantize", &model, "--data", &data, "-n", "8", "-o", &half, "--head", "fp16"];
    accepts(&args);
    for model in [&half, &inside] {
        let detect = |more: &[&str]| {
            let images = tiny.arg("images/val");
            accepts(&[&["detect", model, &images, "--json", &out], more].concat());
            support::detections(&json(&out))
        };
        let ours = detect(&[]);
        let theirs = detect(&["--engine", "onnxruntime", "--ort-library", &library]);
        assert!(ours.len() == theirs.len() && !ours.is_empty(), "{model}");
        for (a, b) in ours.iter().zip(&theirs) {
            assert_eq!(a.0, b.0);
            // Sides of up to 64 px.
            let near = a.1.iter().zip(&b.1).all(|(a, b)| (a - b).abs() <= 2e-3 * b.abs().max(1.0));
            assert!(near, "{model}: {a:?}, {b:?}");
        }
    }
}

#[test]
fn layers_that_are_named_stay_float_and_a_pattern_that_fits_nothing_is_refused() {
    let tiny = Tiny::new(12, 12);
    let (model, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("out.json"));
    let float = graph(&model);
    let convs = float.nodes().filter(|(_, n)| matches!(n.op, ir::Op::Conv(_)));
    let names: Vec<String> = convs.map(|(_, n)| n.name.clone()).collect();
    let int8 = tiny.arg("int8.onnx");
    let args = ["quantize", &model, "--data", &data, "--budget", "fast", "-n", "8", "-o", &int8];
    let shown = |patterns: &[&str]| {
        let float: Vec<&str> = patterns.iter().flat_map(|p| ["--float", p]).collect();
        accepts(&[&args[..], &float, &["--json", &out]].concat());
        let record = json(&out);
        let layers = record["float_layers"].as_array().expect("a list").iter();
        let layers: Vec<String> =
            layers.map(|name| name.as_str().expect("a name").to_owned()).collect();
        assert_eq!(layers_of(&graph(&int8), DataType::F32), layers.iter().cloned().collect());
        layers
    };
    let start: String = names[1].chars().take(3).collect();
    let begin: Vec<String> = names.iter().filter(|n| n.starts_with(&start)).cloned().collect();
    assert_eq!(shown(&["#0"]), names[..1]);
    assert_eq!(shown(&[&names[2], "#2", "#0"]), [names[0].clone(), names[2].clone()]);
    assert_eq!(shown(&[&format!("{start}*")]), begin);
    for pattern in ["no such layer", "#999", "[", "*?no"] {
        refuses(&[&args[..], &["--float", pattern]].concat(), &[pattern, "no layer fits", "#0"]);
    }

    // The same from a recipe, and from the command line of `compress`.
    let run = tiny.arg("run");
    let compress = ["compress", &model, "--data", &data, "-n", "8", "--macs", "0", "--keep", "0.5"];
    let named = ["--head", "fp16", "--float", "#0", "-o", &run];
    accepts(&[&compress[..], &named].concat());
    let recipe = tiny.arg("run/recipe.toml");
    let text = fs::read_to_string(&recipe).expect("written");
    assert!(text.contains("head = \"fp16\"") && text.contains("\"#0\""), "{text}");
    let written = graph(&tiny.arg("run/model.onnx"));
    assert!(!layers_of(&written, DataType::F16).is_empty());
    let again = ["quantize", &model, "--data", &data, "-o", &int8, "--recipe", &recipe];
    accepts(&[&again[..], &["--json", &out]].concat());
    assert_eq!(json(&out)["head"], "fp16");
    assert!(json(&out)["float_layers"][0] == names[0].as_str());
}
