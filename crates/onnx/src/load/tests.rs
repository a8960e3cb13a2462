use super::*;
use crate::proto::{
    AttributeProto, Dimension, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
};
use ir::Op;
use numerics::Rng;

mod opsets;

fn node(op_type: &str, input: &[&str], output: &[&str]) -> NodeProto {
    let names = |n: &[&str]| n.iter().map(|s| (*s).to_owned()).collect();
    NodeProto {
        op_type: Some(op_type.to_owned()),
        name: Some(format!("the_{}", output[0])),
        input: names(input),
        output: names(output),
        ..NodeProto::default()
    }
}

fn value(name: &str, dims: &[&str]) -> ValueInfoProto {
    let dim = |d: &&str| match d.parse() {
        Ok(n) => Dimension { dim_value: Some(n), ..Dimension::default() },
        Err(_) => Dimension { dim_param: Some((*d).to_owned()), ..Dimension::default() },
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let ty = TypeProto {
        tensor_type: Some(TensorTypeProto { elem_type: Some(1), shape }),
        ..TypeProto::default()
    };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(ty), ..ValueInfoProto::default() }
}

fn ints(name: &str, values: &[i64]) -> TensorProto {
    tensors::encode(Some(name), &Tensor::vector(values.to_vec())).unwrap()
}

fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        node: nodes,
        initializer,
        input: vec![value("x", &["1", "3", "4", "4"])],
        output: vec![value("y", &[])],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(17) };
    ModelProto { graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() }
}

fn read(model: &ModelProto, options: &LoadOptions) -> Result<Graph, OnnxError> {
    parse(&model.encode_to_vec(), None, options)
}

fn read_default(model: &ModelProto) -> Result<Graph, OnnxError> {
    read(model, &LoadOptions::default())
}

#[track_caller]
fn expect_error(model: &ModelProto, expected: &str) {
    let found = read_default(model).map_or_else(|e| e.to_string(), |_| "no error".to_owned());
    assert!(found.contains(expected), "expected `{expected}`, found `{found}`");
}

fn with_input(mut model: ModelProto, dims: &[&str]) -> ModelProto {
    model.graph.as_mut().unwrap().input[0] = value("x", dims);
    model
}

#[test]
fn parse_truncated_file_says_so() {
    let bytes = model(vec![node("Relu", &["x"], &["y"])], vec![]).encode_to_vec();
    for cut in 0..bytes.len() {
        let found = parse(&bytes[..cut], None, &LoadOptions::default());
        assert!(found.is_err(), "cut at {cut}");
    }
    let found = parse(&bytes[..20], None, &LoadOptions::default()).unwrap_err().to_string();
    assert!(found.contains("truncated"), "{found}");
}

#[test]
fn load_broken_file_names_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.onnx");
    let absent = load(&path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(absent.contains("bad.onnx"), "{absent}");
    std::fs::write(&path, b"PK\x03\x04 no model").unwrap();
    let broken = load(&path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(broken.contains("bad.onnx: not an ONNX model"), "{broken}");
}

#[test]
fn parse_bad_wiring_names_the_place() {
    let cycle = vec![
        node("Add", &["x", "b"], &["a"]),
        node("Relu", &["a"], &["b"]),
        node("Relu", &["b"], &["y"]),
    ];
    expect_error(&model(cycle, vec![]), "node `the_a` is part of a cycle");
    expect_error(
        &model(vec![node("Relu", &["nowhere"], &["y"])], vec![]),
        "value `nowhere` is used by `the_y`",
    );
    let twice = vec![node("Relu", &["x"], &["y"]), node("Relu", &["x"], &["y"])];
    expect_error(&model(twice, vec![]), "value `y` has two producers");
    expect_error(
        &model(vec![node("Relu", &["x"], &["z"])], vec![]),
        "value `y` is used by `the model's outputs`",
    );
    expect_error(
        &model(vec![node("Add", &["x", "w"], &["y"])], vec![ints("w", &[1, 2, 3])]),
        "node `the_y` (Add)",
    );
}

#[test]
fn parse_hostile_tensor_names_it() {
    let mut huge = ints("w", &[0]);
    huge.dims = vec![1 << 40];
    expect_error(
        &model(vec![node("Add", &["x", "w"], &["y"])], vec![huge]),
        "tensor `w`: its shape [1099511627776]",
    );
}

#[test]
fn parse_dynamic_input_takes_imgsz_or_asks_for_it() {
    let m = model(vec![node("Relu", &["x"], &["y"])], vec![]);
    let dynamic = with_input(m.clone(), &["batch", "3", "height", "width"]);
    expect_error(
        &dynamic,
        "input `x` has dynamic axes [\"2 (height)\", \"3 (width)\"]: pass --imgsz",
    );
    let options = LoadOptions { imgsz: Some([8, 16]), ..LoadOptions::default() };
    let graph = read(&dynamic, &options).unwrap();
    assert_eq!(graph.ty(graph.inputs()[0]).unwrap().shape, [1, 3, 8, 16]);
    let found = read(&m, &options).unwrap_err().to_string();
    assert!(found.contains("static image size [4, 4]"), "{found}");
    expect_error(
        &with_input(m, &["batch", "channels", "4", "4"]),
        "dynamic axes [\"1 (channels)\"], which must be static",
    );
}

#[test]
fn parse_shape_computation_is_folded() {
    let mut gather = node("Gather", &["s", "i"], &["c"]);
    gather.attribute = vec![AttributeProto {
        name: Some("axis".to_owned()),
        i: Some(0),
        ..AttributeProto::default()
    }];
    let nodes = vec![
        node("Shape", &["x"], &["s"]),
        gather,
        node("Concat", &["c", "rest"], &["target"]),
        node("Identity", &["x"], &["alias"]),
        node("Reshape", &["alias", "target"], &["r"]),
        node("Identity", &["r"], &["y"]),
    ];
    let mut m = model(nodes, vec![ints("i", &[1]), ints("rest", &[-1])]);
    m.graph.as_mut().unwrap().node[2].attribute = vec![AttributeProto {
        name: Some("axis".to_owned()),
        i: Some(0),
        r#type: Some(2),
        ..AttributeProto::default()
    }];
    let graph = read_default(&m).unwrap();
    assert_eq!(graph.node_count(), 1);
    let output = graph.value(graph.outputs()[0]);
    assert_eq!(
        (output.name.as_str(), output.ty.as_ref().unwrap().shape.as_slice()),
        ("y", &[3, 16][..])
    );
}

#[test]
fn parse_output_that_is_an_alias_keeps_its_name() {
    let nodes = vec![
        node("Relu", &["x"], &["a"]),
        node("Identity", &["a"], &["y"]),
        node("Identity", &["x"], &["z"]),
    ];
    let mut m = model(nodes, vec![ints("w", &[5])]);
    let graph = m.graph.as_mut().unwrap();
    graph.output = ["y", "a", "z", "w"].map(|n| value(n, &[])).to_vec();
    let graph = read_default(&m).unwrap();
    let names: Vec<&str> = graph.outputs().iter().map(|&v| graph.value(v).name.as_str()).collect();
    assert_eq!(names, ["y", "a", "z", "w"]);
    let again = parse(&crate::encode(&graph).unwrap(), None, &LoadOptions::default()).unwrap();
    assert_eq!(again.outputs().len(), 4);
}

fn conditional() -> ModelProto {
    let body = |op: &str| GraphProto {
        node: vec![node(op, &["a"], &["inner"])],
        name: Some(op.to_owned()),
        output: vec![value("inner", &[])],
        ..GraphProto::default()
    };
    let branch = |name: &str, op| AttributeProto {
        name: Some(name.to_owned()),
        g: Some(body(op)),
        r#type: Some(5),
        ..AttributeProto::default()
    };
    let mut choose = node("If", &["flag"], &["y"]);
    choose.attribute = vec![branch("then_branch", "Relu"), branch("else_branch", "Neg")];
    let alias = node("Identity", &["r"], &["a"]);
    let flag = tensors::encode(Some("flag"), &Tensor::scalar(true)).unwrap();
    // Out of order: producers come after what reads them.
    model(vec![choose, alias, node("Sigmoid", &["x"], &["r"])], vec![flag])
}

#[test]
fn parse_unknown_node_keeps_what_its_graphs_capture() {
    let graph = read_default(&conditional()).unwrap();
    let (_, kept) = graph.nodes().find(|(_, n)| matches!(n.op, Op::Opaque(_))).unwrap();
    let inputs: Vec<&str> = kept.inputs.iter().map(|&v| graph.value(v).name.as_str()).collect();
    assert_eq!(inputs, ["flag", "r"]);
    let written = ModelProto::decode(crate::encode(&graph).unwrap().as_slice()).unwrap();
    let nodes = written.graph.unwrap().node;
    let choose = nodes.iter().find(|n| n.op_type() == "If").unwrap();
    assert_eq!(choose.input, ["flag"]);
    for branch in &choose.attribute {
        assert_eq!(branch.g.as_ref().unwrap().node[0].input, ["r"]);
    }
}

#[test]
fn encode_same_graph_gives_same_bytes() {
    let mut m = conditional();
    m.metadata_props = vec![crate::proto::StringStringEntryProto {
        key: Some("names".to_owned()),
        value: Some("{}".to_owned()),
    }];
    let graph = read_default(&m).unwrap();
    let bytes = crate::encode(&graph).unwrap();
    assert_eq!(bytes, crate::encode(&read_default(&m).unwrap()).unwrap());
    let again = parse(&bytes, None, &LoadOptions::default()).unwrap();
    assert_eq!(again.metadata, graph.metadata);
    assert_eq!(again.opset, graph.opset);
}

#[test]
fn parse_given_constants_are_no_inputs() {
    let mut m = model(vec![node("Reshape", &["x", "shape"], &["y"])], vec![]);
    m.graph.as_mut().unwrap().input.push(value("shape", &["2"]));
    let constants = BTreeMap::from([("shape".to_owned(), Tensor::vector(vec![3i64, 16]))]);
    let graph = read(&m, &LoadOptions { imgsz: None, constants }).unwrap();
    assert_eq!(graph.inputs().len(), 1);
    assert_eq!(graph.ty(graph.outputs()[0]).unwrap().shape, [3, 16]);
}

#[test]
fn parse_damaged_file_never_panics() {
    let target = tensors::encode(Some("t"), &Tensor::vector(vec![1i64, -1])).unwrap();
    let nodes = vec![
        node("Shape", &["x"], &["s"]),
        node("Expand", &["x", "s"], &["e"]),
        node("Reshape", &["e", "t"], &["y"]),
    ];
    let files = [conditional().encode_to_vec(), model(nodes, vec![target]).encode_to_vec()];
    let mut random = Rng::new(1);
    for file in &files {
        for _ in 0..20_000 {
            let mut bytes = file.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
            if let Ok(graph) = parse(&bytes, None, &LoadOptions::default()) {
                crate::encode(&graph).unwrap();
            }
        }
    }
}

#[test]
fn parse_of_open_axes_takes_the_size_that_the_metadata_states() {
    let mut file = model(vec![node("Relu", &["x"], &["y"])], vec![]);
    if let Some(graph) = &mut file.graph {
        graph.input = vec![value("x", &["batch", "3", "height", "width"])];
    }
    let shape = |file: &ModelProto, options: &LoadOptions| {
        let graph = parse(&file.encode_to_vec(), None, options).unwrap();
        graph.ty(graph.inputs()[0]).unwrap().shape.clone()
    };
    for (text, expected) in [("[320, 256]", [320, 256]), ("640", [640, 640])] {
        file.metadata_props = vec![crate::proto::StringStringEntryProto {
            key: Some("imgsz".to_owned()),
            value: Some(text.to_owned()),
        }];
        assert_eq!(shape(&file, &LoadOptions::default())[2..], expected);
        let given = LoadOptions { imgsz: Some([96, 128]), ..LoadOptions::default() };
        assert_eq!(shape(&file, &given)[2..], [96, 128]);
    }
}

#[test]
fn encode_of_nodes_with_one_name_gives_each_its_own() {
    let twice = |input: &str, output: &str| NodeProto {
        name: Some("same".to_owned()),
        ..node("Relu", &[input], &[output])
    };
    let file = model(vec![twice("x", "h"), twice("h", "y")], vec![]);
    let graph = parse(&file.encode_to_vec(), None, &LoadOptions::default()).unwrap();
    let bytes = crate::encode(&graph).unwrap();
    let written = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
    let names: Vec<&str> = written.node.iter().map(NodeProto::name).collect();
    assert_eq!(names, ["same", "same_1"]);
}

#[test]
fn load_git_lfs_pointer_says_how_to_get_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 132\n";
    std::fs::write(&path, pointer).unwrap();
    let found = load(&path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(found.contains("m.onnx: this is a Git LFS pointer"), "{found}");
    assert!(found.contains("git lfs pull"), "{found}");
}

#[test]
fn parse_model_without_outputs_is_an_error() {
    let mut m = model(vec![node("Relu", &["x"], &["y"])], vec![]);
    m.graph.as_mut().unwrap().output.clear();
    expect_error(&m, "the model has no outputs");
}

#[test]
fn parse_input_larger_than_any_image_names_its_bytes() {
    let m = model(vec![node("Relu", &["x"], &["y"])], vec![]);
    let large = with_input(m.clone(), &["1", "3", "40960", "40960"]);
    expect_error(
        &large,
        "input `x`: its shape [1, 3, 40960, 40960] holds 5033164800 elements (20132659200 bytes)",
    );
    let beyond = i64::MAX.to_string();
    let counted = with_input(m.clone(), &["1", &beyond, &beyond, &beyond]);
    expect_error(&counted, "more than the 1073741824 that are allowed");
    let mut stated = with_input(m, &["1", "3", "h", "w"]);
    stated.metadata_props = vec![crate::proto::StringStringEntryProto {
        key: Some("imgsz".to_owned()),
        value: Some("[1000000, 1000000]".to_owned()),
    }];
    expect_error(&stated, "its shape [1, 3, 1000000, 1000000]");
}

#[test]
fn parse_windows_far_larger_than_what_they_cover_ends() {
    let huge = |name: &str, v: &[i64]| AttributeProto {
        name: Some(name.to_owned()),
        ints: v.to_vec(),
        ..AttributeProto::default()
    };
    let mut pool = node("MaxPool", &["c"], &["p"]);
    pool.attribute = vec![
        huge("kernel_shape", &[65536, 65536]),
        huge("pads", &[65535; 4]),
        huge("strides", &[64, 64]),
    ];
    let mut average = pool.clone();
    average.op_type = Some("AveragePool".to_owned());
    average.output = vec!["q".to_owned()];
    let ones = Tensor::new([1, 1, 2, 2], vec![1f32; 4]).unwrap();
    let constant = tensors::encode(Some("c"), &ones).unwrap();
    let nodes =
        vec![pool, average, node("Add", &["p", "q"], &["s"]), node("Add", &["x", "x"], &["z"])];
    let mut m = model(nodes, vec![constant]);
    m.graph.as_mut().unwrap().output = vec![value("s", &[]), value("z", &[])];
    let graph = read_default(&m).unwrap();
    assert_eq!(graph.outputs().len(), 2);
}

#[test]
fn parse_and_encode_of_a_hundred_thousand_nodes_take_as_long_as_they_are_many() {
    // All nodes and most values have one name for people; each is written under its own.
    let name = |i: usize| {
        if i == 0 { "x".to_owned() } else { format!("v{i}") }
    };
    let count = 100_000;
    let nodes = (0..count).map(|i| NodeProto {
        op_type: Some(["Relu", "Neg"][i % 2].to_owned()),
        name: Some("one".to_owned()),
        input: vec![name(i)],
        output: vec![name(i + 1)],
        ..NodeProto::default()
    });
    let mut m = model(nodes.collect(), vec![]);
    m.graph.as_mut().unwrap().output = (1..=count / 2).map(|i| value(&name(2 * i), &[])).collect();
    let graph = read_default(&m).unwrap();
    assert_eq!(graph.node_count(), count);
    let written = crate::encode(&graph).unwrap();
    assert_eq!(parse(&written, None, &LoadOptions::default()).unwrap().node_count(), count);
}
