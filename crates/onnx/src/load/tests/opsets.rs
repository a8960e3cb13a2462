//! What is read of each opset.
use super::*;

#[test]
fn parse_unsupported_opset_names_it() {
    for (version, expected) in
        [(8, "expected 9 to 28, found 8"), (29, "expected 9 to 28, found 29")]
    {
        let mut m = model(vec![node("Relu", &["x"], &["y"])], vec![]);
        m.opset_import[0].version = Some(version);
        expect_error(&m, expected);
    }
    let mut m = model(vec![node("Relu", &["x"], &["y"])], vec![]);
    m.opset_import.clear();
    expect_error(&m, "found none");
}

#[test]
fn parse_unknown_operator_below_opset_13_is_kept_where_it_did_not_change() {
    for op in ["Einsum", "NonZero", "NonMaxSuppression", "DepthToSpace"] {
        for version in 9..13 {
            let mut m = model(vec![node(op, &["x"], &["y"])], vec![]);
            m.opset_import[0].version = Some(version);
            let graph = read_default(&m).unwrap();
            assert_eq!(graph.opset, 13, "{op}");
            let ops: Vec<String> = graph.nodes().map(|(_, n)| n.op.op_type().into()).collect();
            assert_eq!(ops, [op], "opset {version}");
        }
    }
}

#[test]
fn parse_unknown_operator_below_opset_13_that_changed_is_named() {
    let mut m = model(vec![node("Hardmax", &["x"], &["y"])], vec![]);
    m.opset_import[0].version = Some(12);
    expect_error(
        &m,
        "node `the_y` (Hardmax) of opset 12 cannot be kept as it is: Hardmax changed in opset 13",
    );
    m.opset_import[0].version = Some(13);
    assert!(read_default(&m).is_ok());
}

#[test]
fn parse_graph_of_an_old_node_that_holds_a_changed_one_names_it() {
    let body = |op| GraphProto {
        node: vec![node(op, &["x"], &["inner"])],
        output: vec![value("inner", &[])],
        ..GraphProto::default()
    };
    let branch = |name: &str, op| AttributeProto {
        name: Some(name.to_owned()),
        g: Some(body(op)),
        r#type: Some(5),
        ..AttributeProto::default()
    };
    let choice = |op| {
        let mut choice = node("If", &["c"], &["y"]);
        choice.attribute = vec![branch("then_branch", "Relu"), branch("else_branch", op)];
        let mut m = model(vec![choice], vec![ints("c", &[1])]);
        m.opset_import[0].version = Some(11);
        m
    };
    expect_error(
        &choice("Hardmax"),
        "node `the_inner` (Hardmax) of opset 11 cannot be kept as it is",
    );
    assert!(read_default(&choice("Sigmoid")).is_ok());
}

#[test]
fn parse_newer_opset_is_read_and_written_as_it_is() {
    for (version, ir_version) in [(22, 10), (23, 11), (24, 12), (25, 13), (28, 14)] {
        let mut attention = node("Attention", &["x", "x", "x"], &["a"]);
        attention.attribute = vec![];
        let nodes = vec![node("Relu", &["x"], &["r"]), attention];
        let mut m = model(nodes, vec![]);
        m.opset_import[0].version = Some(version);
        m.graph.as_mut().unwrap().output = vec![value("a", &[]), value("r", &[])];
        let graph = read_default(&m).unwrap();
        let written = ModelProto::decode(crate::encode(&graph).unwrap().as_slice()).unwrap();
        assert_eq!(written.opset_import[0].version(), version);
        assert_eq!(written.ir_version(), ir_version);
        let ops: Vec<_> =
            written.graph.unwrap().node.iter().map(|n| n.op_type().to_owned()).collect();
        assert_eq!(ops, ["Relu", "Attention"]);
    }
}

#[test]
fn parse_old_nodes_of_unknown_shape_get_their_attributes_as_inputs() {
    let with = |mut n: NodeProto, name: &str, v: &[i64]| {
        n.attribute = vec![AttributeProto {
            name: Some(name.to_owned()),
            ints: v.to_vec(),
            r#type: Some(7),
            ..AttributeProto::default()
        }];
        n
    };
    let mut topk = node("TopK", &["b"], &["t", "i"]);
    topk.attribute = vec![AttributeProto {
        name: Some("k".to_owned()),
        i: Some(5),
        r#type: Some(2),
        ..AttributeProto::default()
    }];
    let nodes = vec![
        node("NonZero", &["x"], &["n"]),
        with(node("Unsqueeze", &["n"], &["a"]), "axes", &[0]),
        with(node("Squeeze", &["a"], &["b"]), "axes", &[0]),
        topk,
        with(node("Split", &["b"], &["y", "z"]), "split", &[1, 3]),
    ];
    let mut m = model(nodes, vec![ints("a_axes", &[7])]);
    m.opset_import[0].version = Some(9);
    m.graph.as_mut().unwrap().output = ["y", "z", "t"].map(|n| value(n, &[])).to_vec();
    let graph = read_default(&m).unwrap();
    let written = ModelProto::decode(crate::encode(&graph).unwrap().as_slice()).unwrap();
    let file = written.graph.unwrap();
    let constant = |name: &str| {
        let found = file.initializer.iter().find(|t| t.name() == name).unwrap();
        let read = tensors::decode(found, &Folder::default()).unwrap();
        read.to_i64().unwrap()
    };
    let given = |op: &str| {
        let n = file.node.iter().find(|n| n.op_type() == op).unwrap();
        assert!(n.attribute.is_empty(), "{op}");
        constant(&n.input[1])
    };
    assert_eq!((given("Unsqueeze"), given("Squeeze")), (vec![0], vec![0]));
    assert_eq!((given("TopK"), given("Split")), (vec![5], vec![1, 3]));
}
