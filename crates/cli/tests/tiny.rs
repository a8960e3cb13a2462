//! Every verb on a tiny detector and a tiny data set: no assets are needed.
mod support;
use support::{Tiny, accepts, json};

#[test]
fn val_of_the_tiny_detector_finds_most_squares() {
    let tiny = Tiny::new(0, 40);
    let (model, data, out) = (
        tiny.arg("tiny.onnx"),
        tiny.arg("data.yaml"),
        tiny.arg("val.json"),
    );
    accepts(&["val", &model, "--data", &data, "--json", &out]);
    let found = json(&out);
    let map = found["map_50"].as_f64().unwrap();
    assert!(map > 0.9, "{map}");
    assert_eq!(found["engine"], "builtin");
    assert_eq!(found["images"], 40);
}
