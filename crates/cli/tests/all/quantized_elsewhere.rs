//! Models that ONNX Runtime's own tools quantized: they run, and are refused where a float model is wanted.
use crate::support::{Tiny, accepts, json, refuses, stderr};
use std::process::Command;

/// Quantizes a model in every form, with pictures as calibration; `dynamic12` is of an opset before 13.
const TOOLS: &str = "
import sys, glob, logging, os, cv2, numpy as np, onnx, onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
logging.disable(logging.WARNING)
model, folder = sys.argv[1:]
name = onnx.load(model).graph.input[0].name
class Reader(CalibrationDataReader):
    def __init__(self): self.left = sorted(glob.glob(folder + '/images/train/*.png'))
    def get_next(self):
        if not self.left: return None
        pixels = cv2.imread(self.left.pop())[:, :, ::-1].astype(np.float32)
        return {name: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None] / 255)}
out = lambda kind: f'{folder}/{kind}.onnx'
old = out('float12')
# Every operator of the model is at opset 12 what it is at 17.
float12 = onnx.load(model)
float12.opset_import[0].version = 12
onnx.save(float12, old)
quantize_dynamic(model, out('dynamic'), weight_type=QuantType.QUInt8)
quantize_dynamic(old, out('dynamic12'), weight_type=QuantType.QInt8)
# Boxes and scores are joined in float: one grid for both would leave nothing of the scores.
ops = ['Conv', 'Sigmoid', 'Mul', 'Add', 'MaxPool']
quantize_static(model, out('qoperator'), Reader(), op_types_to_quantize=ops, quant_format=QuantFormat.QOperator)
quantize_static(model, out('qdq'), Reader(), op_types_to_quantize=ops, quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QInt8)
quantize_static(model, out('qdq16'), Reader(), op_types_to_quantize=ops, quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt16, extra_options={'UseQDQContribOps': True})
print(glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), 'capi', 'libonnxruntime.so*'))[0])
";

const KINDS: &[&str] = &["dynamic", "dynamic12", "qoperator", "qdq", "qdq16"];

/// A tiny detector in all forms, and ONNX Runtime's library.
fn quantized() -> Option<(Tiny, String)> {
    let interpreter = std::env::var("YOLOSLIM_PYTHON").unwrap_or("python3".to_owned());
    let run = |args: &[&str]| Command::new(&interpreter).args(args).output();
    let importable = run(&["-c", "import cv2, onnx, onnxruntime.quantization"]);
    if !importable.is_ok_and(|out| out.status.success()) {
        println!("skipped: models quantized by ONNX Runtime's tools (not importable)");
        return None;
    }
    let tiny = Tiny::new(8, 20);
    let out = run(&["-c", TOOLS, &tiny.arg("tiny.onnx"), &tiny.arg(".")]).expect("it runs");
    assert!(out.status.success(), "{}", stderr(&out));
    let told = String::from_utf8_lossy(&out.stdout);
    let library = told.lines().last().expect("a path").to_owned();
    Some((tiny, library))
}

#[test]
fn models_quantized_by_other_tools_are_read_run_and_compared() {
    let Some((tiny, library)) = quantized() else {
        return;
    };
    let (float, data, out) = (tiny.arg("tiny.onnx"), tiny.arg("data.yaml"), tiny.arg("out.json"));
    accepts(&["inspect", &float, "--json", &out]);
    let params = json(&out)["params"].clone();
    let engine = ["--engine", "onnxruntime", "--ort-library", &library];
    let map = |model: &str, engine: &[&str]| {
        let args = ["val", model, "--data", &data, "--json", &out];
        accepts(&[&args[..], engine].concat());
        json(&out)["map_50"].as_f64().unwrap()
    };
    for kind in KINDS {
        let model = tiny.arg(&format!("{kind}.onnx"));
        accepts(&["inspect", &model, "--json", &out]);
        let told = json(&out);
        assert_eq!(told["params"], params, "{kind}");
        assert_eq!(told["head"]["classes"], 2, "{kind}");
        let (found, expected) = (map(&model, &[]), map(&model, &engine));
        assert!((found - expected).abs() < 0.02, "{kind}: {found}, {expected}");
        accepts(&["bench", &model, "--runs", "1", "--json", &out]);
        let bench = &json(&out)["models"][0];
        let timed = !bench["latency_ms"].is_null();
        // What our engine computes in float has no time that says something of INT8.
        assert_eq!(timed, matches!(*kind, "qoperator" | "qdq"), "{kind}: {bench}");
        accepts(&["compare", &model, &float, "--data", &data]);
        // What is written again is still the same model.
        let again = tiny.arg("again.onnx");
        accepts(&["export", &model, "-o", &again]);
        assert_eq!(map(&again, &[]), found, "{kind}, exported");
    }
}

#[test]
fn models_quantized_already_are_refused_before_any_work() {
    let Some((tiny, _)) = quantized() else {
        return;
    };
    let out = tiny.arg("out");
    // There is no such data set: the model is looked at first.
    let data = tiny.arg("absent.yaml");
    for kind in KINDS {
        let model = tiny.arg(&format!("{kind}.onnx"));
        for verb in [&["prune", "--macs", "0.1"][..], &["quantize"], &["compress"]] {
            let mut args = verb.to_vec();
            args.extend([model.as_str(), "--data", &data, "-o", &out]);
            refuses(&args, &[&model, "is quantized already", "give the float model"]);
        }
    }
    assert!(!tiny.path("out").exists());
}
