//! `quantize` with much time, and `compress` where it needs that, on a tiny detector.
use crate::support;
use crate::support::{Tiny, accepts, json, stderr, yoloslim};
use ir::{Graph, Op};
use std::collections::BTreeMap;
use std::path::Path;

fn read(path: &Path) -> Graph {
    onnx::load(path, &onnx::LoadOptions::default()).unwrap()
}

#[test]
fn quantize_thoroughly_learns_and_tells_the_noise_of_every_layer_and_the_plan_of_its_file() {
    let tiny = Tiny::new(24, 4);
    let [float, data, out, told] =
        ["tiny.onnx", "data.yaml", "int8.onnx", "told.json"].map(|name| tiny.arg(name));
    let many = ["--budget", "thorough", "--explain", "--json", &told];
    let typed = ["quantize", &float, "--data", &data, "-n", "24", "-o", &out];
    let done = accepts(&[&typed[..], &many].concat());
    let printed = String::from_utf8_lossy(&done.stdout);
    assert!(printed.contains("signal to noise at the head's outputs"), "{printed}");
    let told = json(&told);
    let steps = told["steps"].as_array().unwrap();
    let learnt = steps.last().unwrap();
    assert!(learnt["step"].as_str().unwrap().ends_with("steps of learning"), "{learnt}");

    let graph = read(&tiny.path("int8.onnx"));
    let mut in_file = BTreeMap::new();
    for (_, node) in graph.nodes() {
        if let Op::QuantizeLinear(op) = &node.op {
            in_file.insert(graph.value(node.inputs[0]).name.clone(), op.params.clone());
        }
    }
    let plan: quant::QuantPlan = serde_json::from_value(told["plan"].clone()).unwrap();
    assert_eq!(plan.activations, in_file, "the plan is that of the file, learnt or not");

    let sites = told["sites"].as_array().unwrap();
    let kept = learnt["kept"].as_bool().unwrap();
    assert_eq!(sites.iter().any(|site| site["range_by"] == "learnt"), kept, "{learnt}");
    assert!(sites.iter().all(|site| site["range_by"] == "input" || site["clipped"].is_f64()));

    let noise = &told["noise"];
    let layers = noise["layers"].as_array().unwrap();
    assert_eq!(layers.len(), plan.weights.len());
    let all = noise["snr_db"].as_f64().unwrap();
    let alone: Vec<f64> = layers.iter().map(|l| l["alone_snr_db"].as_f64().unwrap()).collect();
    let least = alone.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(all > 0.0 && least > all - 6.0, "one layer alone is no worse than all: {noise}");
    let shares: f64 = layers.iter().map(|l| l["macs_share"].as_f64().unwrap()).sum();
    assert!((0.5..=1.0 + 1e-9).contains(&shares), "{noise}");
}

#[test]
fn quantize_explained_compares_confidences_on_images_that_were_not_calibrated_on() {
    let tiny = Tiny::new(40, 4);
    let [float, data, out, told] =
        ["tiny.onnx", "data.yaml", "int8.onnx", "told.json"].map(|name| tiny.arg(name));
    let explained = |images: &str, conf: &str| {
        let typed = ["quantize", &float, "--data", &data, "-n", images, "-o", &out];
        let done = accepts(&[&typed[..], &["--explain", "--conf", conf, "--json", &told]].concat());
        (String::from_utf8_lossy(&done.stdout).into_owned(), json(&told)["confidence"].clone())
    };
    let (said, found) = explained("12", "0.1");
    assert!(said.contains("on 28 training images not calibrated on"), "{said}");
    assert_eq!((&found["images"], &found["held_out"]), (&28.into(), &true.into()));
    assert_eq!(found["conf"], 0.1);
    assert!(found["detections"].as_u64() >= found["matched"].as_u64(), "{found}");
    let breaches = support::schema::breaches(&json(&told), "quantize.json");
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    let (said, found) = explained("40", "0.25");
    assert!(said.contains("on 40 calibration images"), "{said}");
    assert_eq!(found["held_out"], false);
    support::refuses(
        &["quantize", &float, "--data", &data, "-o", &out, "--explain", "--conf", "2"],
        &["expected a number from 0.03 to below 1"],
    );
}

#[test]
fn compress_for_tensorrt_writes_the_calibration_cache_of_its_pruned_model() {
    let tiny = Tiny::new(60, 12);
    let [float, data, run] = ["tiny.onnx", "data.yaml", "run"].map(|name| tiny.arg(name));
    let typed = ["compress", &float, "--data", &data, "-o", &run, "--macs", "0.1", "-n", "12"];
    let more = ["--holdout", "20", "--keep", "0.1", "--target", "tensorrt"];
    let done = yoloslim(&[&typed[..], &more].concat());
    let said = String::from_utf8_lossy(&done.stdout);
    let cache = tiny.path("run/pruned.calibration.cache");
    assert!(said.contains(&format!("--calib={}", cache.display())), "{said}");
    let text = std::fs::read_to_string(&cache).unwrap();
    let named: Vec<&str> =
        text.lines().skip(1).filter_map(|line| Some(line.rsplit_once(": ")?.0)).collect();
    let graph = read(&tiny.path("run/pruned.onnx"));
    let values: Vec<&str> = graph.values().map(|(_, value)| value.name.as_str()).collect();
    assert!(named.len() > 5 && named.iter().all(|name| values.contains(name)), "{named:?}");
    let confidence = &json(tiny.path("run/metrics.json"))["confidence"];
    assert!(confidence["unchanged"]["detections"].is_u64(), "{confidence}");
    let account = json(tiny.path("run/quant.account.json"));
    assert!(account["ranges"].as_array().is_some_and(|ranges| !ranges.is_empty()));
    accepts(&["report", &run]);
    let page = std::fs::read_to_string(tiny.path("run/report.html")).unwrap();
    assert!(page.contains("Quantization") && page.contains("Range by"), "the page tells why");
}

#[test]
fn compress_whose_quantization_alone_takes_too_much_tries_thoroughly() {
    let tiny = Tiny::new(60, 12);
    let [float, data, out] = ["tiny.onnx", "data.yaml", "run"].map(|name| tiny.arg(name));
    // All of the mAP: pruned by nothing it has that, quantized not quite.
    let typed = ["compress", &float, "--data", &data, "-o", &out, "--macs", "0", "-n", "24"];
    let hard = ["--holdout", "20", "--calibrator", "entropy", "--keep", "1.0"];
    let done = yoloslim(&[&typed[..], &hard].concat());
    let record = json(tiny.arg("run/metrics.json"));
    let attempt = &record["gate"]["attempts"][0];
    let told = stderr(&done);
    assert!(told.contains("quantization took too much"), "{told}");
    assert_eq!(attempt["folder"], "attempt-1-thorough", "{record}");
    let files = ["model.onnx", "pruned.onnx", "prune.plan.json", "quant.plan.json"];
    for file in files {
        let [kept, made] = [file.to_owned(), format!("attempt-1-thorough/{file}")]
            .map(|name| std::fs::read(tiny.path("run").join(name)).unwrap());
        assert_eq!(kept, made, "{file}");
    }
}
