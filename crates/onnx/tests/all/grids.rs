//! Grids of anchors and strides: written as what computes them, read back as the constants that they were.
use ir::ops::BinaryKind;
use ir::{DataType, Graph, Tensor, TensorData, TensorType};
use onnx::{LoadOptions, encode, parse};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rows and columns of cells on each scale of an image, and the distance of their centres.
fn scales([height, width]: [usize; 2]) -> Vec<[usize; 3]> {
    [8, 16, 32].map(|stride| [height / stride, width / stride, stride]).to_vec()
}

/// A number for each cell of all scales, row by row, given the scale, y and x.
fn cells(size: [usize; 2], number: impl Fn([usize; 3], usize, usize) -> f32) -> Vec<f32> {
    let mut all = Vec::new();
    for scale in scales(size) {
        for y in 0..scale[0] {
            all.extend((0..scale[1]).map(|x| number(scale, y, x)));
        }
    }
    all
}

fn tensor(shape: &[usize], elements: Vec<f32>) -> Tensor {
    Tensor::new(shape, elements).unwrap()
}

/// YOLOv5's grid of one scale, `[1, 3, H, W, 2]`: the same for all anchors.
fn v5_grid([height, width]: [usize; 2]) -> Tensor {
    let at = |y: usize| (0..width).flat_map(move |x| [x as f32 - 0.5, y as f32 - 0.5]);
    let plane: Vec<f32> = (0..height).flat_map(at).collect();
    tensor(&[1, 3, height, width, 2], [&plane[..], &plane, &plane].concat())
}

/// YOLOv5's anchors of one scale, `[1, 3, H, W, 2]`: the same in all cells.
fn v5_anchors([height, width]: [usize; 2]) -> Tensor {
    let anchors = [[10f32, 13.0], [16.0, 30.0], [33.0, 23.0]];
    let plane = |wh: &[f32; 2]| std::iter::repeat_n(*wh, height * width).flatten();
    tensor(&[1, 3, height, width, 2], anchors.iter().flat_map(plane).collect())
}

/// YOLOv5's grid of all scales, `[1, 25200, 2]`.
fn v5_grids_joined(size: [usize; 2]) -> Tensor {
    let scales = scales(size).into_iter().map(|[h, w, _]| v5_grid([h, w]));
    let all: Vec<f32> = scales.flat_map(|grid| grid.as_slice::<f32>().unwrap().to_vec()).collect();
    tensor(&[1, all.len() / 2, 2], all)
}

/// YOLOv8's anchor points, `[1, 2, 8400]`.
fn v8_points(size: [usize; 2]) -> Tensor {
    let x = cells(size, |_, _, x| x as f32 + 0.5);
    let y = cells(size, |_, y, _| y as f32 + 0.5);
    tensor(&[1, 2, x.len()], [x, y].concat())
}

fn strides(size: [usize; 2]) -> Vec<f32> {
    cells(size, |[.., stride], _, _| stride as f32)
}

/// YOLOX's grid in pixels, `[1, 3549, 2]`.
fn yolox_grid(size: [usize; 2]) -> Tensor {
    let x = cells(size, |[.., s], _, x| (x * s) as f32);
    let y = cells(size, |[.., s], y, _| (y * s) as f32);
    let pairs: Vec<f32> = x.into_iter().zip(y).flat_map(|(x, y)| [x, y]).collect();
    tensor(&[1, pairs.len() / 2, 2], pairs)
}

fn halves(tensor: &Tensor) -> Tensor {
    Tensor::from_f64(DataType::F16, tensor.shape(), &tensor.to_f64().unwrap()).unwrap()
}

/// Every kind that exporters fold, by name.
fn grids() -> Vec<(&'static str, Tensor)> {
    let (square, wide) = ([640, 640], [384, 640]);
    let column = |size| {
        let strides = strides(size);
        tensor(&[1, strides.len(), 1], strides)
    };
    vec![
        ("v5 grid", v5_grid([80, 80])),
        ("v5 grid, wide", v5_grid([48, 80])),
        ("v5 anchors", v5_anchors([80, 80])),
        ("v5 grids joined", v5_grids_joined(square)),
        ("v5 grids joined, wide", v5_grids_joined(wide)),
        ("v8 points", v8_points(square)),
        ("v8 points, wide", v8_points(wide)),
        ("v8 points, 320", v8_points([320, 320])),
        ("v8 strides", tensor(&[1, 8400], strides(square))),
        ("YOLOX grid", yolox_grid([416, 416])),
        ("YOLOX strides", column([416, 416])),
        ("v5 grid in 16 bits", halves(&v5_grid([80, 80]))),
        ("v8 points in 16 bits", halves(&v8_points(square))),
    ]
}

/// A graph that adds a constant to its input of the same shape.
fn adding(constant: &Tensor) -> Graph {
    let mut graph = Graph::new(17);
    let mut edit = graph.edit();
    let x = edit.input("x", TensorType::new(constant.dtype(), constant.shape()));
    let grid = edit.constant("grid", constant.clone());
    let y = edit.node("add", BinaryKind::Add, &[x, grid], &["y"])[0];
    edit.output(y);
    graph.apply(edit).unwrap();
    graph
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    match tensor.data() {
        TensorData::F32(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
        TensorData::F16(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
        other => panic!("{other:?}"),
    }
}

/// Bytes of a graph's file, which reads back as the graph.
#[track_caller]
fn round_trip(name: &str, constant: &Tensor) -> usize {
    let graph = adding(constant);
    let bytes = encode(&graph).unwrap();
    let read = parse(&bytes, None, &LoadOptions::default()).unwrap();
    assert_eq!(read.node_count(), 1, "{name}");
    let (_, node) = read.nodes().next().unwrap();
    let grid = read.value(node.inputs[1]);
    let found = grid.constant.as_ref().unwrap();
    assert_eq!((grid.name.as_str(), found.ty()), ("grid", constant.ty()), "{name}");
    assert!(bits(found) == bits(constant), "{name}");
    assert_eq!(encode(&read).unwrap(), bytes, "{name}");
    bytes.len()
}

fn constant_bytes(tensor: &Tensor) -> usize {
    tensor.len() * tensor.dtype().size_bytes().unwrap()
}

#[test]
fn grid_of_any_kind_is_written_small_and_reads_back_the_same() {
    for (name, grid) in grids() {
        let (written, whole) = (round_trip(name, &grid), constant_bytes(&grid));
        println!("{name}: {written} of {whole} bytes");
        assert!(written * 4 < whole, "{name}: {written} of {whole} bytes");
    }
}

#[test]
fn grid_with_one_other_element_reads_back_the_same() {
    for (name, grid) in grids().into_iter().filter(|(_, g)| g.dtype() == DataType::F32) {
        for at in [0, grid.len() / 3, grid.len() - 1] {
            for other in [-0.0, f32::NAN, 1e9] {
                let mut elements = grid.as_slice::<f32>().unwrap().to_vec();
                elements[at] = other;
                round_trip(name, &tensor(grid.shape(), elements));
            }
        }
    }
}

#[test]
fn zero_and_negative_zero_stay_apart() {
    let zeros = [0.0f32, -0.0].iter().cycle().take(8192).copied().collect();
    let written = round_trip("zeros", &tensor(&[1, 8192], zeros));
    assert!(written < 1024, "{written} bytes");
}

#[test]
fn constant_without_a_pattern_is_kept_whole() {
    let constant = testkit::net::tensor(&[1, 2, 8400], 0, 1.0);
    assert!(round_trip("numbers", &constant) > constant_bytes(&constant));
    let small = tensor(&[1, 500], vec![1.0; 500]);
    assert!(round_trip("small", &small) > constant_bytes(&small), "not worth a node");
}

#[test]
fn constant_that_is_a_weight_is_kept_whole() {
    let mut graph = Graph::new(17);
    let mut edit = graph.edit();
    let x = edit.input("x", TensorType::new(DataType::F32, [1, 64, 4, 4]));
    let weight = edit.constant("w", tensor(&[64, 64, 1, 1], vec![0.5; 4096]));
    let conv = ir::ops::Conv {
        kernel_shape: [1; 2],
        strides: [1; 2],
        dilations: [1; 2],
        pads: [0; 4],
        group: 1,
    };
    let y = edit.node("conv", conv, &[x, weight], &["y"])[0];
    edit.output(y);
    graph.apply(edit).unwrap();
    assert!(encode(&graph).unwrap().len() > 4096 * 4);
}

#[test]
fn grids_of_more_than_a_reader_folds_are_kept_whole() {
    let mut graph = Graph::new(17);
    let mut edit = graph.edit();
    // 400 KB each: more in all than a reader's budget.
    let mut y = edit.input("x", TensorType::new(DataType::F32, [1, 2, 50_000]));
    for i in 0..64 {
        let numbers = (0..100_000).map(|at| (at / 100 + i) as f32).collect();
        let grid = edit.constant(&format!("grid{i}"), tensor(&[1, 2, 50_000], numbers));
        y = edit.node(&format!("add{i}"), BinaryKind::Add, &[y, grid], &[&format!("y{i}")])[0];
    }
    edit.output(y);
    graph.apply(edit).unwrap();
    let bytes = encode(&graph).unwrap();
    let read = parse(&bytes, None, &LoadOptions::default()).unwrap();
    assert_eq!(read.node_count(), 64);
    assert!(bytes.len() > 400_000, "some are whole");
}

/// The interpreter that has ONNX Runtime and `onnx`, if one has.
fn python() -> Option<PathBuf> {
    let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let present = Command::new(&python).args(["-c", "import onnx, onnxruntime"]).output();
    if !present.is_ok_and(|o| o.status.success()) {
        println!("skipped: grids in ONNX Runtime (not importable by {python})");
        return None;
    }
    Some(python.into())
}

#[test]
fn grid_of_any_kind_is_the_same_bits_in_onnx_runtime() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (i, (_, grid)) in grids().iter().enumerate() {
        let path = |kind: &str| folder.path().join(format!("{i:02}.{kind}"));
        std::fs::write(path("onnx"), encode(&adding(grid)).unwrap()).unwrap();
        let raw: Vec<u8> = match grid.data() {
            TensorData::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            other => panic!("{other:?}"),
        };
        std::fs::write(path("raw"), raw).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grids_in_onnxruntime.py");
    let run = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{errors}");
    let out = String::from_utf8_lossy(&run.stdout);
    assert_eq!(out.trim(), format!("{} grids", grids().len()));
}
