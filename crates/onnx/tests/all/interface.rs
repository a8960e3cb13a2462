//! Files that take several images at once, bytes, or channels last, are read as one f32 image, channels first.
use ir::ops::{BinaryKind, Cast, Op, Transpose};
use ir::{DataType, Edit, Graph, Tensor, TensorType, ValueId, interpreter};
use onnx::{LoadOptions, OnnxError};
use testkit::tiny;

const SIDE: usize = tiny::SIDE_PX;

fn read(graph: &Graph) -> Result<Graph, OnnxError> {
    onnx::parse(&onnx::encode(graph).unwrap(), None, &LoadOptions::default())
}

fn run(graph: &Graph) -> Tensor {
    let pixels = tiny::scene(5).rgb;
    let plane = SIDE * SIDE;
    let value = |i: usize| f32::from(pixels[i % plane * 3 + i / plane]);
    let image = Tensor::new([1, 3, SIDE, SIDE], (0..3 * plane).map(value).collect()).unwrap();
    interpreter::run(graph, &[image]).unwrap().remove(0)
}

/// The tiny detector for four images, with steps that hold on to them.
fn of_four(steps: impl Fn(&mut Edit, ValueId) -> ValueId) -> Graph {
    let mut graph = tiny::detector();
    let (image, rows) = (graph.inputs()[0], graph.outputs()[0]);
    let mut edit = graph.edit();
    let ty = TensorType::new(DataType::F32, [4, 3, SIDE, SIDE]);
    edit.set_type(image, ty);
    for (id, node) in graph.nodes() {
        if let Op::Reshape(op) = &node.op {
            let mut op = op.clone();
            op.shape[0] = 4;
            edit.set_op(id, op);
        }
    }
    let out = steps(&mut edit, rows);
    edit.set_outputs(&[out]);
    graph.metadata.insert("batch".into(), "4".into());
    graph.apply(edit).unwrap();
    graph
}

/// Adds a constant for each image: ones, or the image's number.
fn plus(edit: &mut Edit, x: ValueId, differs: bool) -> ValueId {
    let value = |i: usize| if differs { (i / (84 * 7)) as f32 } else { 1.0 };
    let ones = Tensor::new([4, 84, 7], (0..4 * 84 * 7).map(value).collect()).unwrap();
    let ones = edit.constant("ones", ones);
    edit.node("plus", BinaryKind::Add, &[x, ones], &["plus.out"])[0]
}

#[test]
fn parse_of_a_fixed_batch_takes_one_image_and_says_so() {
    let four = of_four(|e, x| {
        let x = plus(e, x, false);
        // Images in the middle, as attention has them.
        let perm = vec![1, 0, 2];
        let x = e.node("turn", Transpose { perm }, &[x], &["turned"])[0];
        let shape = vec![84, 28];
        e.node("merge", ir::ops::Reshape { shape }, &[x], &["merged"])[0]
    });
    let one = read(&four).unwrap();
    assert!(one.notes[0].contains("4 images at once"), "{:?}", one.notes);
    assert_eq!(one.metadata["batch"], "1");
    assert_eq!(one.ty(one.inputs()[0]).unwrap().shape, [1, 3, SIDE, SIDE]);
    let (found, plain) = (run(&one), run(&read(&tiny::detector()).unwrap()));
    assert_eq!(found.shape(), [84, 7]);
    let plain = plain.as_slice::<f32>().unwrap().iter().map(|x| x + 1.0);
    assert_eq!(found.as_slice::<f32>().unwrap(), plain.collect::<Vec<_>>());
    // What is written is as it is read.
    assert!(read(&one).unwrap().notes.is_empty());
}

#[test]
fn parse_of_a_batch_whose_images_are_told_apart_says_what_to_do() {
    let told = read(&of_four(|e, x| plus(e, x, true))).unwrap_err();
    let told = told.to_string();
    assert!(told.contains("batch of 4 is fixed") && told.contains("dynamic batch"), "{told}");
}

/// The tiny detector that takes its images in another form.
fn taking(dtype: DataType, shape: [usize; 4], is_last: bool) -> Graph {
    let mut graph = tiny::detector();
    let image = graph.inputs()[0];
    let (stem, _) = graph.nodes().find(|(_, n)| n.inputs.contains(&image)).unwrap();
    let mut edit = graph.edit();
    edit.set_type(image, TensorType::new(dtype, shape));
    let mut x = image;
    if dtype == DataType::U8 {
        x = edit.node("cast", Cast { to: DataType::F32 }, &[x], &["real"])[0];
    }
    let factor = edit.constant("factor", Tensor::scalar(1f32));
    x = edit.node("scale", BinaryKind::Mul, &[x, factor], &["scaled"])[0];
    if is_last {
        let perm = vec![0, 3, 1, 2];
        x = edit.node("turn", Transpose { perm }, &[x], &["turned"])[0];
    }
    edit.replace_input(stem, 0, x);
    graph.apply(edit).unwrap();
    graph
}

#[test]
fn parse_of_bytes_or_channels_last_takes_an_f32_image_and_says_so() {
    let (first, last) = ([1, 3, SIDE, SIDE], [1, SIDE, SIDE, 3]);
    let plain = run(&read(&tiny::detector()).unwrap());
    for (dtype, shape, is_last) in
        [(DataType::U8, first, false), (DataType::U8, last, true), (DataType::F32, last, true)]
    {
        let graph = read(&taking(dtype, shape, is_last)).unwrap();
        let ty = graph.ty(graph.inputs()[0]).unwrap();
        assert_eq!(*ty, TensorType::new(DataType::F32, first));
        assert!(graph.notes[0].contains("input images is"), "{:?}", graph.notes);
        assert_eq!(run(&graph), plain, "{dtype:?} {shape:?}");
    }
    assert!(read(&tiny::detector()).unwrap().notes.is_empty());
}
