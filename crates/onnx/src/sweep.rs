//! One pass over a file's nodes in execution order: types, constants, operators.
use crate::external::Folder;
use crate::fold::{FoldBudget, Folded, fold, is_small};
use crate::opsets::{self, Upgrade};
use crate::proto::NodeProto;
use crate::{OnnxError, attributes, subgraphs, topology};
use ir::{
    DataType, InputSpec, NodeSpec, Op, OpError, Parsed, Shapes, Tensor, TensorType, UniqueNames,
    ops::Opaque,
};
use prost::Message;
use quantized::Quantized;
use std::collections::BTreeMap;

mod quantized;
mod space_to_depth;

/// What is known of one name of the file.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The name it is an alias of, or its own.
    pub(crate) name: String,
    /// Its type, where known.
    pub(crate) ty: Option<TensorType>,
    /// Its elements, where constant.
    pub(crate) constant: Option<Tensor>,
}

impl Slot {
    /// A constant of that name.
    pub(crate) fn constant(name: &str, tensor: Tensor) -> Self {
        Self { name: name.to_owned(), ty: Some(tensor.ty()), constant: Some(tensor) }
    }

    /// A computed value of that name.
    pub(crate) fn computed(name: &str, ty: Option<TensorType>) -> Self {
        Self { name: name.to_owned(), ty, constant: None }
    }
}

/// A node of the graph to be.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) op: Op,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<(String, Option<TensorType>)>,
}

/// The state of the pass.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(crate) folder: &'a Folder,
    /// Opset of the file.
    pub(crate) opset: i64,
    /// Every name seen so far.
    pub(crate) slots: BTreeMap<String, Slot>,
    /// Static types that the file declares; used only behind nodes that are not understood.
    pub(crate) declared: BTreeMap<String, TensorType>,
    pub(crate) planned: Vec<Planned>,
    pub(crate) budget: FoldBudget,
    /// Names of the file.
    pub(crate) names: UniqueNames,
    /// The dequantized values, by the names of what they are quantized as, its scale and its zero_point.
    pub(crate) dequantized: BTreeMap<Vec<String>, String>,
}

impl Sweep<'_> {
    /// Reads one node whose inputs are all in `slots`.
    ///
    /// # Errors
    /// What is wrong with it, naming it.
    pub(crate) fn node(&mut self, node: &NodeProto, index: usize) -> Result<(), OnnxError> {
        let name = topology::node_name(node, index);
        match self.quantized(node, index)? {
            Quantized::Read => return Ok(()),
            Quantized::Refused(reason) => return self.opaque(node, name, reason.to_owned()),
            Quantized::Not => {}
        }
        if !opsets::is_default(node.domain()) {
            return self.opaque(node, name, format!("its domain `{}` is not known", node.domain()));
        }
        let spec = self.spec(node)?;
        match fold(&spec).map_err(|e| self.node_error(node, &name, e))? {
            Folded::Constant(tensor)
                if node.output.len() == 1
                    && self.budget.take(&[tensor.ty()], tensor.len() as u64) =>
            {
                let output = &node.output[0];
                self.slots.insert(output.clone(), Slot::constant(output, tensor));
                return Ok(());
            }
            Folded::Alias if !node.input.is_empty() && !node.output.is_empty() => {
                if let Some(slot) = self.slots.get(&node.input[0]).cloned() {
                    self.slots.insert(node.output[0].clone(), slot);
                    return Ok(());
                }
            }
            _ => {}
        }
        if spec.op_type == "SpaceToDepth" {
            let mut attributes = spec.attributes.clone();
            let given = attributes.int("blocksize");
            let given = given.and_then(|b| Ok((b, attributes.string("mode")?)));
            let (blocksize, mode) = given.map_err(|e| self.node_error(node, &name, e))?;
            if mode.is_some_and(|m| m != "DCR") {
                return self.opaque(node, name, "its mode is not DCR".to_owned());
            }
            if self.space_to_depth(node, &name, blocksize)? {
                return Ok(());
            }
            return self.opaque(node, name, "its input has no static shape".to_owned());
        }
        match Op::parse(spec) {
            Ok(Some(parsed)) => self.known(node, name, parsed),
            Ok(None) => self.opaque(node, name, "the operator is not known".to_owned()),
            Err(reason @ (OpError::NotStatic { .. } | OpError::UnsupportedDType { .. })) => {
                self.opaque(node, name, reason.to_string())
            }
            Err(source) => Err(self.node_error(node, &name, source)),
        }
    }

    fn spec<'n>(&'n self, node: &'n NodeProto) -> Result<NodeSpec<'n>, OnnxError> {
        let input = |name: &String| {
            let slot = self.slots.get(name).filter(|_| !name.is_empty())?;
            Some(InputSpec { ty: slot.ty.as_ref(), constant: slot.constant.as_ref() })
        };
        Ok(NodeSpec {
            op_type: node.op_type(),
            opset: self.opset,
            inputs: node.input.iter().map(input).collect(),
            outputs: node.output.iter().filter(|o| !o.is_empty()).count(),
            attributes: attributes::decode(node, self.folder)?,
        })
    }

    /// Plans a node whose operator is understood, or replaces it by constants where it can be computed now.
    ///
    /// # Errors
    /// `Node` where its inputs do not fit it.
    fn known(&mut self, node: &NodeProto, name: String, parsed: Parsed) -> Result<(), OnnxError> {
        let slots = self.read_slots(node, &parsed);
        let slots = slots.map_err(|e| self.node_error(node, &name, e))?;
        let outputs = output_names(node, &name);
        let types = slots.iter().map(|s| s.ty.as_ref());
        let types: Option<Vec<&TensorType>> = types.collect();
        let mut inferred = None;
        if let Some(inputs) = types {
            let given = infer(&parsed.op, &inputs, outputs.len());
            let given = given.map_err(|e| self.node_error(node, &name, e))?;
            if is_foldable(&parsed.op, &slots, &inputs, &given)
                && let Some(tensors) = self.fold_known(&parsed.op, &slots, &given)
            {
                for (output, tensor) in outputs.into_iter().zip(tensors) {
                    let slot = Slot::constant(&output, tensor);
                    self.slots.insert(output, slot);
                }
                return Ok(());
            }
            inferred = Some(given);
        }
        let types = inferred.into_iter().flatten().map(Some);
        let types = types.chain(std::iter::repeat(None));
        let inputs = slots.iter().map(|s| s.name.clone()).collect();
        self.plan(Planned {
            name,
            op: parsed.op,
            inputs,
            outputs: outputs.into_iter().zip(types).collect(),
        });
        Ok(())
    }

    /// What is known of the inputs that an operator reads as tensors.
    fn read_slots(&self, node: &NodeProto, parsed: &Parsed) -> Result<Vec<&Slot>, OpError> {
        let slot = |&position: &usize| {
            let name = node.input.get(position);
            let slot = name.and_then(|n| self.slots.get(n));
            slot.ok_or(OpError::InputCount { expected: "more", found: position })
        };
        parsed.inputs.iter().map(slot).collect()
    }

    /// Computes a node now, where that is within the budget.
    fn fold_known(&self, op: &Op, slots: &[&Slot], outputs: &[TensorType]) -> Option<Vec<Tensor>> {
        let constants: Vec<&Tensor> =
            slots.iter().map(|s| s.constant.as_ref()).collect::<Option<_>>()?;
        let given: Vec<TensorType> = constants.iter().map(|t| t.ty()).collect();
        let shapes = Shapes { inputs: given.iter().collect(), outputs: outputs.iter().collect() };
        let within = self.budget.take(outputs, work(op, &shapes));
        within.then(|| op.forward(&constants).ok()).flatten()
    }

    /// Keeps a node as it was read.
    fn opaque(&mut self, node: &NodeProto, name: String, reason: String) -> Result<(), OnnxError> {
        let mut kept = node.clone();
        subgraphs::embed(&mut kept, self.folder)?;
        let mut upgrade = Upgrade { opset: self.opset, names: &mut self.names, reason: &reason };
        for (name, tensor) in upgrade.node(&mut kept, &name)? {
            self.slots.insert(name.clone(), Slot::constant(&name, tensor));
        }
        let op_type = kept.op_type().to_owned();
        let inputs = topology::reads(&kept)
            .iter()
            .filter_map(|n| Some(self.slots.get(n)?.name.clone()))
            .collect();
        let named = node.output.iter().filter(|o| !o.is_empty());
        let outputs = named.map(|o| (o.clone(), self.declared.get(o).cloned())).collect();
        kept.domain = kept.domain.filter(|d| !opsets::is_default(d));
        let domain = kept.domain.clone().unwrap_or_default();
        let op = Opaque { op_type, domain, reason, proto: kept.encode_to_vec() };
        self.plan(Planned { name, op: op.into(), inputs, outputs });
        Ok(())
    }

    /// Makes `output` a value of its own with the elements of `source`: a Transpose that moves nothing.
    ///
    /// # Errors
    /// As [`Sweep::node`].
    pub(crate) fn copy(&mut self, source: &Slot, output: &str) -> Result<(), OnnxError> {
        let name = format!("{output}_copy");
        let node = NodeProto {
            input: vec![source.name.clone()],
            output: vec![output.to_owned()],
            name: Some(name.clone()),
            op_type: Some("Transpose".to_owned()),
            ..NodeProto::default()
        };
        let Some(ty) = &source.ty else {
            let node = NodeProto { op_type: Some("Identity".to_owned()), ..node };
            return self.opaque(&node, name, "the type of its input is not known".to_owned());
        };
        let perm = ir::Attribute::Ints((0..ty.rank() as i64).collect());
        let attributes = ir::Attributes::new([("perm".to_owned(), perm)]);
        let inputs = vec![Some(InputSpec { ty: Some(ty), constant: None })];
        let spec =
            NodeSpec { op_type: "Transpose", opset: self.opset, inputs, outputs: 1, attributes };
        match Op::parse(spec).map_err(|e| self.node_error(&node, &name, e))? {
            Some(parsed) => self.known(&node, name, parsed),
            None => self.opaque(&node, name, "the operator is not known".to_owned()),
        }
    }

    fn plan(&mut self, planned: Planned) {
        for (output, ty) in &planned.outputs {
            self.slots.insert(output.clone(), Slot::computed(output, ty.clone()));
        }
        self.planned.push(planned);
    }

    pub(crate) fn node_error(&self, node: &NodeProto, name: &str, cause: OpError) -> OnnxError {
        let ty = |n: &String| match (n.as_str(), self.slots.get(n).and_then(|s| s.ty.as_ref())) {
            ("", _) => "none".to_owned(),
            (_, Some(ty)) => ty.to_string(),
            (_, None) => "unknown".to_owned(),
        };
        let inputs = format!("({})", node.input.iter().map(ty).collect::<Vec<_>>().join(", "));
        OnnxError::Node {
            node: name.to_owned(),
            op_type: node.op_type().to_owned(),
            inputs,
            cause: Box::new(cause),
        }
    }
}

/// Types of an operator's outputs, of which at least `outputs` are read.
fn infer(op: &Op, inputs: &[&TensorType], outputs: usize) -> Result<Vec<TensorType>, OpError> {
    let types = op.infer(inputs)?;
    if types.len() < outputs {
        return Err(OpError::OutputCount { expected: types.len(), found: outputs });
    }
    Ok(types)
}

/// Names of an operator's outputs; one that the file leaves out in the middle gets a name.
fn output_names(node: &NodeProto, name: &str) -> Vec<String> {
    let count = node.output.iter().rposition(|o| !o.is_empty()).map_or(0, |i| i + 1);
    let named = |(i, o): (usize, &String)| {
        if o.is_empty() { format!("{name}_unused_{i}") } else { o.clone() }
    };
    node.output.iter().take(count).enumerate().map(named).collect()
}

/// Whether a node is worth computing now. QuantizeLinear and DequantizeLinear stay: they carry a quantized model's
/// parameters.
fn is_foldable(op: &Op, slots: &[&Slot], inputs: &[&TensorType], outputs: &[TensorType]) -> bool {
    let is_boundary = matches!(op, Op::QuantizeLinear(_) | Op::DequantizeLinear(_));
    let carried = |t: &&TensorType| matches!(t.dtype, DataType::Other(_));
    let constant = !slots.is_empty() && slots.iter().all(|s| s.constant.is_some());
    !is_boundary && constant && is_small(inputs, outputs) && !inputs.iter().any(carried)
}

/// Operations of an operator: elements read and made, products, and taps of windows.
pub(crate) fn work(op: &Op, shapes: &Shapes<'_>) -> u64 {
    let types = shapes.inputs.iter().chain(&shapes.outputs);
    let elements = types.fold(0u64, |n, t| n.saturating_add(t.elements() as u64));
    let made = shapes.outputs.first().map_or(0, |t| t.elements() as u64);
    let taps = match op {
        Op::MaxPool(pool) => pool.kernel_shape,
        Op::AveragePool(pool) => pool.kernel_shape,
        _ => [0; 2],
    };
    let taps = (taps[0] as u64).saturating_mul(taps[1] as u64);
    elements.saturating_add(op.macs(shapes)).saturating_add(made.saturating_mul(taps))
}
