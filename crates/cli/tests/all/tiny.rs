//! Every verb on a tiny detector and a tiny data set: no assets are needed.
use crate::support;
use crate::support::{Tiny, accepts, json};

#[test]
fn val_of_the_tiny_detector_finds_most_squares() {
    let tiny = Tiny::new(0, 40);
    let (model, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("val.json"));
    accepts(&["val", &model, "--data", &data, "--json", &out]);
    let found = json(&out);
    let map = found["map_50"].as_f64().unwrap();
    assert!(map > 0.9, "{map}");
    assert_eq!(found["engine"], "builtin");
    assert_eq!(found["images"], 40);
    assert_eq!(found["int8_macs_share"], 0.0);
}

#[test]
fn compare_of_a_model_with_itself_is_a_tie_without_errors() {
    let tiny = Tiny::new(0, 20);
    let (model, data, out) =
        (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("compare.json"));
    let drawn = tiny.arg("drawn");
    let shown =
        accepts(&["compare", &model, &model, "--data", &data, "--json", &out, "--out", &drawn]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("a tie"));
    let found = json(&out);
    assert_eq!(found["map_50_95_ratio"]["ratio"], 1.0);
    assert_eq!(found["detections"]["only_first"], 0);
    assert_eq!(found["detections"]["only_second"], 0);
    let layers = found["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 14);
    assert!(layers.iter().all(|l| l["relative_error"] == 0.0));
    assert!(tiny.files("drawn").is_empty());
}

#[test]
fn compare_of_a_quantized_model_tells_the_error_of_every_layer_and_draws_the_worst() {
    let tiny = Tiny::new(12, 20);
    let (model, data, out) =
        (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("compare.json"));
    let (int8, drawn) = (tiny.arg("int8.onnx"), tiny.arg("drawn"));
    accepts(&["quantize", &model, "--data", &data, "-o", &int8]);
    accepts(&["compare", &model, &int8, "--data", &data, "--json", &out, "--out", &drawn]);
    let found = json(&out);
    let errors = found["layers"].as_array().unwrap().iter();
    let errors: Vec<f64> = errors.filter_map(|l| l["relative_error"].as_f64()).collect();
    assert!(errors.len() >= 5 && errors[0] > 0.0, "{errors:?}");
    assert_eq!(found["int8_macs_share"][0], 0.0);
    assert!(found["int8_macs_share"][1].as_f64() > Some(0.9));
    assert!(errors.windows(2).all(|w| w[0] >= w[1]));
    let differing = found["detections"]["images"].as_array().unwrap().iter();
    let differing = differing.filter(|i| i["unmatched"].as_u64() > Some(0)).count();
    assert_eq!(tiny.files("drawn").len(), differing.min(12));
}

#[test]
fn report_of_a_run_is_one_file_that_asks_nobody() {
    let tiny = Tiny::new(24, 12);
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    let nothing = support::yoloslim(&["report", &run]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(support::stderr(&nothing).contains("no finished run"));
    let compress = ["compress", &model, "--data", &data, "-o", &run, "--keep", "0.1"];
    accepts(&compress);
    accepts(&["report", &run]);
    let page = std::fs::read_to_string(tiny.path("run/report.html")).unwrap();
    for word in
        ["Before and after", "压缩前后", "data:image/jpeg;base64,", "<svg", "stem", "SHA-256"]
    {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("src=\"http") && !page.contains("href=") && !page.contains("url("));
    accepts(&["report", &run]);
    assert_eq!(page, std::fs::read_to_string(tiny.path("run/report.html")).unwrap());
    // Without the data the rest is still shown, and what is not is told.
    std::fs::rename(tiny.path("data.yaml"), tiny.path("gone.yaml")).unwrap();
    let told = support::stderr(&accepts(&["report", &run]));
    assert!(told.contains("not shown: pictures"), "{told}");
}

#[test]
fn report_of_int8_that_is_no_faster_says_so() {
    let tiny = Tiny::new(24, 12);
    let (model, data, run) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("run"));
    accepts(&["compress", &model, "--data", &data, "-o", &run, "--keep", "0.1"]);
    let metrics = tiny.path("run/metrics.json");
    let says_so_where_int8_takes = |ms: f64| {
        let mut record = support::json(&metrics);
        record["pruned"]["latency_ms"]["median"] = serde_json::json!(2.0);
        record["quantized"]["latency_ms"]["median"] = serde_json::json!(ms);
        std::fs::write(&metrics, record.to_string()).unwrap();
        accepts(&["report", &run]);
        let page = std::fs::read_to_string(tiny.path("run/report.html")).unwrap();
        page.contains("INT8 is no faster")
    };
    assert!(!says_so_where_int8_takes(1.0));
    assert!(says_so_where_int8_takes(2.0));
}

/// The tiny detector with a second output of 32 maps, as segmentation models have for their masks.
fn with_prototypes(tiny: &Tiny) -> String {
    let mut graph = testkit::tiny::detector();
    let maps = graph.value_named("down1.silu.out").unwrap();
    let mut edit = graph.edit();
    edit.output(maps);
    graph.apply(edit).unwrap();
    let path = tiny.path("masks.onnx");
    std::fs::write(&path, onnx::encode(&graph).unwrap()).unwrap();
    support::text(path)
}

fn outputs(path: &str, pixels: &[f32]) -> Vec<ir::Tensor> {
    let graph = onnx::load(path.as_ref(), &onnx::LoadOptions::default()).unwrap();
    let plan = runtime::Plan::compile(&graph, &[], &runtime::PlanOptions::default()).unwrap();
    let mut session = runtime::Session::new(&plan.into(), 1).unwrap();
    session.run(&[pixels]).unwrap()
}

#[test]
fn prune_and_quantize_without_a_decoder_stay_near_the_outputs() {
    let tiny = Tiny::new(12, 2);
    let (model, data) = (with_prototypes(&tiny), tiny.arg("data.yaml"));
    let scene = testkit::tiny::scene(7);
    let side = testkit::tiny::SIDE_PX;
    let pixels: Vec<f32> = (0..3 * side * side)
        .map(|i| f32::from(scene.rgb[i % (side * side) * 3 + 2 - i / (side * side)]))
        .collect();
    let expected = outputs(&model, &pixels);
    let (pruned, int8, found) =
        (tiny.arg("pruned.onnx"), tiny.arg("int8.onnx"), tiny.arg("found.json"));
    let given = ["--data", &data, "--family", "yolox", "--json", &found, "-o"];
    for (verb, out) in
        [(&["prune", &model, "--macs", "0.2"][..], &pruned), (&["quantize", &model], &int8)]
    {
        let shown = accepts(&[verb, &given, &[out]].concat());
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("as for yolox"), "{shown}");
        assert!(json(&found)["family"].is_null());
        for (x, y) in expected.iter().zip(outputs(out, &pixels)) {
            assert_eq!(x.shape(), y.shape());
            let (x, y) = (x.to_f64().unwrap(), y.to_f64().unwrap());
            let wrong: f64 = x.iter().zip(&y).map(|(x, y)| (x - y) * (x - y)).sum();
            let whole: f64 = x.iter().map(|x| x * x).sum();
            assert!((wrong / whole).sqrt() < 0.1, "{verb:?} {}", wrong / whole);
        }
    }
}

#[test]
fn val_and_compress_of_another_task_exit_2_and_name_it() {
    let tiny = Tiny::new(4, 2);
    let (model, data, out) = (with_prototypes(&tiny), tiny.arg("data.yaml"), tiny.arg("run"));
    let words = ["segmentation masks", "masks.onnx"];
    support::refuses(&["val", &model, "--data", &data], &words);
    support::refuses(&["compress", &model, "--data", &data, "-o", &out], &words);
    assert!(!tiny.path("run").exists());
    let shown = accepts(&["inspect", &model]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("segmentation masks"));
}

#[test]
fn inspect_groups_of_the_tiny_detector_tells_who_writes_and_reads_and_what_is_frozen() {
    let tiny = Tiny::new(0, 0);
    let (model, out) = (tiny.arg("tiny.onnx"), tiny.arg("groups.json"));
    let shown = accepts(&["inspect", &model, "--groups", "--json", &out]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let found = json(&out);
    let groups = found["groups"].as_array().unwrap();
    let stem = groups.iter().find(|g| g["name"] == "stem").unwrap();
    assert!(stem["frozen"].is_null());
    assert_eq!(stem["written_by"], serde_json::json!(["stem"]));
    assert_eq!(stem["read_by"], serde_json::json!(["down1"]));
    let members = stem["members"].as_array().unwrap();
    let rows = serde_json::json!({"value": "stem.weight", "axis": 0, "constant": true});
    assert!(members.contains(&rows), "{members:?}");
    let frozen = groups.iter().filter(|g| !g["frozen"].is_null()).count() as u64;
    let counted = found["frozen"].as_array().unwrap().iter();
    assert_eq!(counted.map(|f| f["groups"].as_u64().unwrap()).sum::<u64>(), frozen);
    let reason = found["frozen"][0]["reason"].as_str().unwrap();
    assert!(frozen > 0 && shown.contains(reason), "{shown}");
}
