//! A part of a model in 16-bit floats, with casts at its borders.
use super::narrow;
use crate::ops::Cast;
use crate::{DataType, Edit, Graph, IrError, LoweredInput, Node, NodeId, OpError, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Lets these nodes compute with f16: their f32 constants become f16, and a Cast stands where a value passes into the part or
/// out of it. Inputs and outputs of the model keep their types and names.
///
/// # Errors
/// `Op` with the node, where a constant is too large for f16, or an operator is written with f32 constants of its own.
pub fn part_to_f16(graph: &mut Graph, nodes: &BTreeSet<NodeId>) -> Result<(), IrError> {
    let mut border = Border { graph, nodes, edit: graph.edit(), inside: BTreeMap::new() };
    for (id, node) in graph.nodes().filter(|(id, _)| nodes.contains(id)) {
        border.check(node)?;
        for (input, &v) in node.inputs.iter().enumerate() {
            if let Some(narrow) = border.enter(node, v)? {
                border.edit.replace_input(id, input, narrow);
            }
        }
    }
    border.leave();
    let edit = border.edit;
    graph.apply(edit)
}

struct Border<'a> {
    graph: &'a Graph,
    nodes: &'a BTreeSet<NodeId>,
    edit: Edit,
    /// What stands in the part for a value that comes from outside.
    inside: BTreeMap<ValueId, ValueId>,
}

impl Border<'_> {
    fn is_made_inside(&self, v: ValueId) -> bool {
        self.graph.producer(v).is_some_and(|id| self.nodes.contains(&id))
    }

    /// Refuses operators that are written with f32 constants: they have no other type in the file.
    fn check(&self, node: &Node) -> Result<(), IrError> {
        let lowered = node.op.lower(self.graph.opset, node.inputs.len(), node.outputs.len());
        let is_float = |input: &LoweredInput| match input {
            LoweredInput::Constant(_, tensor) => tensor.dtype() == DataType::F32,
            _ => false,
        };
        let mut inputs = lowered.iter().flatten().flat_map(|part| &part.inputs);
        if !inputs.any(is_float) {
            return Ok(());
        }
        let feature = "an operator with constants of its own in 16-bit floats";
        Err(self.graph.op_error(node, OpError::Unsupported { feature }))
    }

    /// What the part reads in place of a value; `None` where it reads the value itself.
    fn enter(&mut self, node: &Node, v: ValueId) -> Result<Option<ValueId>, IrError> {
        if !is_f32(self.graph, v) || self.is_made_inside(v) {
            return Ok(None);
        }
        if let Some(&known) = self.inside.get(&v) {
            return Ok(Some(known));
        }
        let name = format!("{}_f16", self.graph.value(v).name);
        let made = match self.graph.constant(v) {
            Some(tensor) => {
                let tensor = narrow(tensor).map_err(|cause| self.graph.op_error(node, cause))?;
                self.edit.constant(&name, tensor)
            }
            None => self.edit.node(&name, Cast { to: DataType::F16 }, &[v], &[&name])[0],
        };
        self.inside.insert(v, made);
        Ok(Some(made))
    }

    /// Gives everything outside that reads a value of the part the value in f32.
    fn leave(&mut self) {
        let consumers = self.graph.consumers();
        let mut outputs = self.graph.outputs().to_vec();
        let (graph, nodes) = (self.graph, self.nodes);
        let inside = graph.nodes().filter(|(id, _)| nodes.contains(id));
        let made: Vec<ValueId> = inside.flat_map(|(_, node)| node.outputs.clone()).collect();
        for v in made.into_iter().filter(|v| is_f32(graph, *v)) {
            let readers = consumers.get(&v).into_iter().flatten();
            let outside: Vec<_> = readers.filter(|(id, _)| !nodes.contains(id)).collect();
            let is_output = outputs.contains(&v);
            if outside.is_empty() && !is_output {
                continue;
            }
            let name = &graph.value(v).name;
            let wide = format!("{name}_f32");
            let wide = self.edit.node(&wide, Cast { to: DataType::F32 }, &[v], &[&wide])[0];
            for &&(id, input) in &outside {
                self.edit.replace_input(id, input, wide);
            }
            if is_output {
                self.edit.rename(wide, name);
                outputs.iter_mut().filter(|o| **o == v).for_each(|o| *o = wide);
            }
        }
        self.edit.set_outputs(&outputs);
    }
}

fn is_f32(graph: &Graph, v: ValueId) -> bool {
    graph.ty(v).is_ok_and(|t| t.dtype == DataType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{BinaryKind, UnaryKind};
    use crate::{Tensor, TensorType, interpreter, other_floats, to_f32};

    /// `y = sigmoid(k x) + x`, and `sigmoid(k x)` itself.
    fn graph() -> Graph {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        let x = edit.input("x", TensorType::new(DataType::F32, [2]));
        let k = edit.constant("k", Tensor::scalar(0.1f32));
        let product = edit.node("times", BinaryKind::Mul, &[x, k], &["product"])[0];
        let gate = edit.node("gate", UnaryKind::Sigmoid, &[product], &["gate"])[0];
        let y = edit.node("plus", BinaryKind::Add, &[gate, x], &["y"])[0];
        edit.output(y);
        edit.output(gate);
        graph.apply(edit).expect("valid");
        graph
    }

    fn part(graph: &Graph, names: &[&str]) -> BTreeSet<NodeId> {
        let named = graph.nodes().filter(|(_, n)| names.contains(&n.name.as_str()));
        named.map(|(id, _)| id).collect()
    }

    #[test]
    fn part_to_f16_casts_at_its_borders_alone_and_keeps_outputs() {
        let mut mixed = graph();
        let nodes = part(&mixed, &["times", "gate"]);
        part_to_f16(&mut mixed, &nodes).expect("it fits");
        let casts = mixed.nodes().filter(|(_, n)| n.op.op_type() == "Cast").count();
        assert_eq!(casts, 2, "one in, one out for both readers");
        let names: Vec<_> = mixed.outputs().iter().map(|v| mixed.value(*v).name.as_str()).collect();
        assert_eq!(names, ["y", "gate"]);
        for v in mixed.outputs() {
            assert_eq!(mixed.ty(*v).expect("known").dtype, DataType::F32);
        }
        assert!(
            mixed
                .values()
                .all(|(_, v)| v.constant.as_ref().is_none_or(|t| t.dtype() == DataType::F16))
        );

        let x = Tensor::vector(vec![3.0f32, -700.0]);
        let exact = interpreter::run(&graph(), std::slice::from_ref(&x)).expect("it runs");
        let narrow = interpreter::run(&mixed, std::slice::from_ref(&x)).expect("it runs");
        to_f32(&mut mixed).expect("it fits");
        assert!(other_floats(&mixed).is_empty());
        let wide = interpreter::run(&mixed, &[x]).expect("it runs");
        for ((exact, narrow), wide) in exact.iter().zip(&narrow).zip(&wide) {
            let [e, n, w] = [exact, narrow, wide].map(|t| t.as_slice::<f32>().expect("f32"));
            for i in 0..2 {
                assert!((e[i] - n[i]).abs() < 1e-3 && (e[i] - w[i]).abs() < 1e-3, "{e:?} {n:?}");
            }
        }
    }

    #[test]
    fn part_to_f16_of_an_operator_with_bounds_names_the_node() {
        let mut graph = graph();
        let mut edit = graph.edit();
        let clip = UnaryKind::Clip { min: 0.0, max: 6.0 };
        let y = edit.node("clip", clip, &[graph.outputs()[0]], &["clipped"])[0];
        edit.set_outputs(&[y]);
        graph.apply(edit).expect("valid");
        let nodes = part(&graph, &["clip"]);
        let error = part_to_f16(&mut graph, &nodes).expect_err("it has f32 bounds");
        assert!(error.to_string().contains("node `clip`"), "{error}");
    }
}
