//! From a graph to the bytes of a file.
use crate::fold::FoldBudget;
use crate::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
};
use crate::{OnnxError, attributes, grids, opsets, subgraphs, tensors, types};
use ir::ops::Opaque;
use ir::{Graph, LoweredInput, LoweredNode, LoweredOutput, Node, Op, Tensor, UniqueNames, ValueId};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Largest protobuf message.
const MAX_FILE_BYTES: usize = i32::MAX as usize;

/// Encodes a model; the same graph gives the same bytes.
///
/// # Errors
/// `TooLarge` for more than a protobuf message may hold, `Decode` when an opaque node's bytes are none.
pub fn encode(graph: &Graph) -> Result<Vec<u8>, OnnxError> {
    let constants =
        graph.values().filter_map(|(_, v)| v.ty.as_ref().filter(|_| v.elements().is_some()));
    let found = constants.fold(0usize, |n, t| {
        let size = t.dtype.size_bytes().unwrap_or(0);
        n.saturating_add(t.elements().saturating_mul(size))
    });
    if found > MAX_FILE_BYTES {
        let expected = MAX_FILE_BYTES;
        return Err(OnnxError::TooLarge { expected, found });
    }
    let mut writer = Writer::new(graph)?;
    let grids = grids::candidates(graph);
    // A reader has at least this budget.
    let budget = FoldBudget::of_file(0);
    let initializers = graph.values().filter_map(|(id, v)| Some((id, v.elements()?)));
    for (id, tensor) in initializers {
        let grid = grids.contains(&id).then(|| grids::lowered(tensor, graph.opset, &budget));
        match grid.flatten() {
            Some(nodes) => writer.grid(id, &nodes)?,
            None => {
                let proto = tensors::encode(Some(&writer.names[&id]), tensor)?;
                writer.initializers.push(proto);
            }
        }
    }
    for (_, node) in graph.nodes() {
        writer.node(node)?;
    }
    let info = |v: &ValueId| types::declare(&writer.names[v], graph.value(*v).ty.as_ref());
    let file = GraphProto {
        name: Some(if graph.name.is_empty() { "model".to_owned() } else { graph.name.clone() }),
        input: graph.inputs().iter().map(info).collect(),
        output: graph.outputs().iter().map(info).collect(),
        node: writer.nodes,
        initializer: writer.initializers,
        ..GraphProto::default()
    };
    let model = envelope(graph, file);
    let found = model.encoded_len();
    if found > MAX_FILE_BYTES {
        return Err(OnnxError::TooLarge { expected: MAX_FILE_BYTES, found });
    }
    Ok(model.encode_to_vec())
}

/// What a file says around its graph: opsets, who wrote it, metadata.
fn envelope(graph: &Graph, file: GraphProto) -> ModelProto {
    let entry = |(k, v): (&String, &String)| StringStringEntryProto {
        key: Some(k.clone()),
        value: Some(v.clone()),
    };
    let domain =
        |(d, v): (&str, i64)| OperatorSetIdProto { domain: Some(d.to_owned()), version: Some(v) };
    let others = graph.domains.iter().map(|(d, &v)| (d.as_str(), v));
    ModelProto {
        ir_version: Some(opsets::ir_version(graph.opset)),
        opset_import: std::iter::once(("", graph.opset)).chain(others).map(domain).collect(),
        producer_name: Some("yoloslim".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(file),
        metadata_props: graph.metadata.iter().map(entry).collect(),
        ..ModelProto::default()
    }
}

/// The growing file.
struct Writer {
    opset: i64,
    names: BTreeMap<ValueId, String>,
    used: UniqueNames,
    /// Names of nodes so far; ONNX Runtime refuses a name that two nodes have.
    node_names: UniqueNames,
    /// Number of values between the nodes of lowerings so far.
    temporaries: usize,
    /// Constants of lowerings by type, shape and bytes: equal ones are written once.
    shared: BTreeMap<(i32, Vec<usize>, Vec<u8>), String>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Writer {
    /// Settles every value's name; names inside opaque nodes' graphs are not used a second time.
    fn new(graph: &Graph) -> Result<Self, OnnxError> {
        let mut inner = BTreeSet::new();
        for (_, node) in graph.nodes() {
            if let Op::Opaque(op) = &node.op {
                inner.extend(subgraphs::inner_names(&NodeProto::decode(op.proto.as_slice())?));
            }
        }
        let own = graph.values().map(|(_, v)| v.name.clone());
        let mut used = UniqueNames::new(own.chain(inner.iter().cloned()));
        let boundary: BTreeSet<ValueId> =
            graph.inputs().iter().chain(graph.outputs()).copied().collect();
        let mut names = BTreeMap::new();
        for (id, value) in graph.values() {
            let clashes = inner.contains(&value.name) && !boundary.contains(&id);
            let name = if clashes { used.unique(&value.name) } else { value.name.clone() };
            names.insert(id, name);
        }
        let opset = graph.opset;
        Ok(Self {
            opset,
            names,
            used,
            node_names: UniqueNames::default(),
            temporaries: 0,
            shared: BTreeMap::new(),
            nodes: Vec::new(),
            initializers: Vec::new(),
        })
    }

    fn node(&mut self, node: &Node) -> Result<(), OnnxError> {
        if let Op::Opaque(op) = &node.op {
            return self.opaque(node, op);
        }
        let lowered =
            node.op.lower(self.opset, node.inputs.len(), node.outputs.len()).unwrap_or_default();
        if lowered.is_empty() {
            return Err(OnnxError::Unsupported {
                feature: "writing the operator",
                name: node.op.op_type().to_owned(),
            });
        }
        let base =
            node.outputs.first().map_or_else(|| node.name.clone(), |v| self.names[v].clone());
        let mut temporaries = BTreeMap::new();
        let last = lowered.len().saturating_sub(1);
        for (i, part) in lowered.iter().enumerate() {
            let proto = self.part(part, &base, [&node.inputs, &node.outputs], &mut temporaries)?;
            // Names of nodes are optional; the node that the others lead to has the name.
            let name = (i == last).then(|| self.node_names.unique(&node.name));
            self.nodes.push(NodeProto { name, ..proto });
        }
        Ok(())
    }

    /// Writes what gives a constant.
    fn grid(&mut self, constant: ValueId, nodes: &[LoweredNode]) -> Result<(), OnnxError> {
        let mut temporaries = BTreeMap::new();
        for part in nodes {
            let proto = self.part(part, "grid", [&[], &[constant]], &mut temporaries)?;
            self.nodes.push(proto);
        }
        Ok(())
    }

    /// One node of a lowering of what has these inputs and outputs.
    fn part(
        &mut self,
        part: &LoweredNode,
        base: &str,
        [inputs, outputs]: [&[ValueId]; 2],
        temporaries: &mut BTreeMap<usize, String>,
    ) -> Result<NodeProto, OnnxError> {
        let mut input = Vec::with_capacity(part.inputs.len());
        for source in &part.inputs {
            input.push(match source {
                LoweredInput::Input(i) => self.names[&inputs[*i]].clone(),
                LoweredInput::Constant(suffix, tensor) => self.constant(base, suffix, tensor)?,
                LoweredInput::Temp(n) => self.temporary(*n, temporaries),
                LoweredInput::Absent => String::new(),
            });
        }
        while input.last().is_some_and(String::is_empty) {
            input.pop();
        }
        let mut output = Vec::with_capacity(part.outputs.len());
        for target in &part.outputs {
            output.push(match target {
                LoweredOutput::Output(i) => self.names[&outputs[*i]].clone(),
                LoweredOutput::Temp(n) => self.temporary(*n, temporaries),
            });
        }
        let attribute = part
            .attributes
            .iter()
            .map(|(n, a)| attributes::encode(n, a))
            .collect::<Result<_, _>>()?;
        Ok(NodeProto {
            input,
            output,
            op_type: Some(part.op_type.to_owned()),
            attribute,
            ..NodeProto::default()
        })
    }

    /// Names between the nodes of one lowering are short: there are as many as activations.
    fn temporary(&mut self, n: usize, temporaries: &mut BTreeMap<usize, String>) -> String {
        let (used, count) = (&mut self.used, &mut self.temporaries);
        let name = temporaries.entry(n).or_insert_with(|| {
            *count += 1;
            used.unique(&format!("t{count}"))
        });
        name.clone()
    }

    fn constant(&mut self, base: &str, suffix: &str, tensor: &Tensor) -> Result<String, OnnxError> {
        let key =
            (tensor.dtype().to_onnx(), tensor.shape().to_vec(), tensors::to_raw(tensor.data()));
        if let Some(name) = self.shared.get(&key) {
            return Ok(name.clone());
        }
        let name = self.used.unique(&format!("{base}_{suffix}"));
        self.initializers.push(tensors::encode(Some(&name), tensor)?);
        self.shared.insert(key, name.clone());
        Ok(name)
    }

    /// Writes a node as it was read, under the names that its values have now.
    fn opaque(&mut self, node: &Node, op: &Opaque) -> Result<(), OnnxError> {
        let mut proto = NodeProto::decode(op.proto.as_slice())?;
        let mut now = node.inputs.iter().map(|v| self.names[v].clone());
        let captured = subgraphs::captures(&proto);
        for slot in proto.input.iter_mut().filter(|n| !n.is_empty()) {
            *slot = now.next().unwrap_or_default();
        }
        let renames = captured.into_iter().zip(now).collect();
        subgraphs::rename_captures(&mut proto, &renames);
        let mut now = node.outputs.iter().map(|v| self.names[v].clone());
        for slot in proto.output.iter_mut().filter(|n| !n.is_empty()) {
            *slot = now.next().unwrap_or_default();
        }
        proto.name = Some(self.node_names.unique(&node.name));
        self.nodes.push(proto);
        Ok(())
    }
}
