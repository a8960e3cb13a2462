//! Real checkpoints give what their vendors' exports give.
use checkpoint::{Checkpoint, LoadOptions};
use ir::{Graph, Op, Tensor, interpreter};
use runtime::{Plan, PlanOptions, Session};
use std::path::PathBuf;
use std::sync::Arc;

fn asset(name: &str) -> Option<PathBuf> {
    let folder = "../../../shared/assets/weights";
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), folder, name].iter().collect();
    if !path.exists() {
        println!("skipped: {name} (no ../shared/assets)");
        return None;
    }
    Some(path)
}

fn load(name: &str, imgsz: Option<usize>) -> Option<Checkpoint> {
    let options = LoadOptions { imgsz: imgsz.map(|n| [n, n]), ..LoadOptions::default() };
    Some(checkpoint::load(&asset(name)?, &options).expect("the checkpoint loads"))
}

fn run(graph: &Graph, image: &[f32]) -> Vec<f32> {
    let plan = Plan::compile(graph, &[], &PlanOptions::default()).expect("the graph compiles");
    let mut session = Session::new(&Arc::new(plan), 1).expect("the arena fits");
    let outputs = session.run(&[image]).expect("the graph runs");
    outputs[0].as_slice::<f32>().expect("boxes are f32").to_vec()
}

/// The difference of two outputs as a share of the range of the second.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let (low, high) = expected.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / (high - low)
}

/// Smooth and busy places, the same on every machine.
fn picture(side: usize) -> Vec<f32> {
    let pixel = |i: usize| {
        let (x, y, c) = (i % side, i / side % side, i / (side * side));
        let wave = ((x * (c + 2)) as f32 / 23.0).sin() * ((y * (c + 1)) as f32 / 17.0).cos();
        0.5 + 0.3 * wave + 0.2 * ((x * 7 + y * 13 + c * 29) % 31) as f32 / 31.0
    };
    (0..3 * side * side).map(pixel).collect()
}

/// The elements of a NumPy file of little-endian f32.
fn npy(name: &str) -> Option<Vec<f32>> {
    let bytes = std::fs::read(asset(name)?).expect("the file is readable");
    let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let elements = bytes[10 + header..].as_chunks::<4>().0;
    Some(elements.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

#[test]
fn checkpoints_equal_their_exports() {
    for (name, export) in [
        ("yolov5n_coco.pt", "yolov5n_coco_fused_op17.onnx"),
        ("yolov5n_coco_focus.pt", "yolov5n_coco_focus_fused_op17.onnx"),
        ("yolov8n_deeppcb.pt", "yolov8n_deeppcb_320_fused_op17.onnx"),
    ] {
        let (Some(found), Some(export)) = (load(name, None), asset(export)) else {
            return;
        };
        let expected = onnx::load(&export, &onnx::LoadOptions::default()).expect("it loads");
        let ty = |g: &Graph, v| g.ty(v).expect("types are known").clone();
        let (a, b) = (&found.graph, &expected);
        assert_eq!(ty(a, a.inputs()[0]), ty(b, b.inputs()[0]), "{name}");
        assert_eq!(ty(a, a.outputs()[0]), ty(b, b.outputs()[0]), "{name}");
        let image = picture(found.imgsz[0]);
        let off = difference(&run(a, &image), &run(b, &image));
        println!("{name}: {off:.2e} of the range");
        assert!(off <= 1e-3, "{name}: {off}");
    }
}

#[test]
fn random_checkpoints_give_the_vendors_output() {
    for name in ["yolo11n_random", "yolo26n_random"] {
        let file = format!("structural/{name}.pt");
        let (Some(found), Some(image), Some(expected)) = (
            load(&file, Some(320)),
            npy("structural/input.npy"),
            npy(&format!("structural/{name}_output.npy")),
        ) else {
            return;
        };
        let off = difference(&run(&found.graph, &image), &expected);
        println!("{name}: {off:.2e} of the range");
        assert!(off <= 1e-3, "{name}: {off}");
    }
}

#[test]
fn batch_normalization_is_kept_and_metadata_travels() {
    let Some(found) = load("yolov8n_deeppcb.pt", None) else {
        return;
    };
    let norms = found.graph.nodes().filter(|(_, n)| matches!(n.op, Op::BatchNormalization(_)));
    assert_eq!(norms.count(), 57);
    assert_eq!(found.names[4], "copper");
    assert_eq!(found.strides, [8.0, 16.0, 32.0]);
    let metadata = &found.graph.metadata;
    assert_eq!(metadata["stride"], "32");
    assert_eq!(metadata["imgsz"], "[320, 320]");
    assert!(metadata["names"].starts_with("{0: 'open', 1: 'short'"));
}

#[test]
fn an_end_to_end_head_gives_the_best_detections_once() {
    let Some(path) = asset("structural/yolo26n_random.pt") else {
        return;
    };
    let options = LoadOptions { imgsz: Some([64, 64]), end_to_end: true };
    let graph = checkpoint::load(&path, &options).expect("it loads").graph;
    assert_eq!(graph.metadata["end2end"], "True");
    let image = Tensor::new([1, 3, 64, 64], picture(64)).expect("an image");
    let values = interpreter::run_all(&graph, &[image]).expect("it runs");
    let floats = |v| values[&v].as_slice::<f32>().expect("f32").to_vec();
    // All 84 positions pass the first selection, in another order; the second takes the 84 best of all their scores.
    let reduce = graph.nodes().find(|(_, n)| n.op.op_type() == "ReduceMax");
    let all_scores = floats(reduce.expect("positions are ranked").1.inputs[0]);
    let boxes_at = graph.value_named("/model.23/Transpose_output_0");
    let all_boxes = floats(boxes_at.expect("boxes by row"));
    let rows = floats(graph.outputs()[0]);
    let rows = rows.as_chunks::<6>().0;
    let mut best = all_scores.clone();
    best.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(rows.len(), 84);
    for (row, score) in rows.iter().zip(best) {
        assert_eq!(row[4], score);
        let class = row[5] as usize;
        let fits =
            |p: usize| all_scores[p * 80 + class] == score && all_boxes[p * 4..][..4] == row[..4];
        assert!((0..84).any(fits), "{row:?}");
    }

    let Some(path) = asset("yolov8n_deeppcb.pt") else {
        return;
    };
    let error = checkpoint::load(&path, &options).expect_err("it was not trained for it");
    assert!(error.to_string().contains("without suppression"), "{error}");
}
