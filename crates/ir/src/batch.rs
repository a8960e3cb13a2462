//! The same graph for another number of images at once.
use crate::ops::Op;
use crate::{Edit, Graph, Node, TensorType, ValueId};
use std::collections::BTreeMap;

/// The graph for `images` at once, wherever an operator holds their number: inputs and outputs are `[images, ..]` then. Each
/// image is computed as it was before.
///
/// # Errors
/// In words, what holds on to the number: inputs that differ in it, a node that mixes images, a constant that differs from
/// image to image, an output that does not depend on it.
pub fn with_batch(graph: &Graph, images: usize) -> Result<Graph, String> {
    let first = |v: &ValueId| graph.ty(*v).ok().and_then(|t| t.shape.first().copied());
    let Some(from) = graph.inputs().first().and_then(first).filter(|&n| n > 0) else {
        return Err("there is no input of images".to_owned());
    };
    if graph.inputs().iter().any(|v| first(v) != Some(from)) {
        return Err("the inputs differ in their number of images".to_owned());
    }
    let batch = Batch { graph, from, to: images };
    let mut changed = graph.clone();
    changed.apply(batch.edit()?).map_err(|e| e.to_string())?;
    batch.check(&changed)?;
    Ok(changed)
}

/// A graph and the numbers of images that it takes and is to take.
struct Batch<'a> {
    graph: &'a Graph,
    from: usize,
    to: usize,
}

impl Batch<'_> {
    fn edit(&self) -> Result<Edit, String> {
        let graph = self.graph;
        let mut edit = graph.edit();
        // The axis along which a value holds the images.
        let mut axes: BTreeMap<ValueId, usize> = BTreeMap::new();
        for &input in graph.inputs() {
            let ty = graph.ty(input).map_err(|e| e.to_string())?;
            let mut shape = ty.shape.clone();
            shape[0] = self.to;
            edit.set_type(input, TensorType::new(ty.dtype, shape));
            axes.insert(input, 0);
        }
        for (id, node) in graph.nodes() {
            let batched = node.inputs.iter().find_map(|v| Some((*v, *axes.get(v)?)));
            let axis = match (&node.op, batched) {
                (Op::Expand(op), None) if self.holds(op.repeats.first()) => {
                    let mut op = op.clone();
                    op.repeats[0] = self.to;
                    edit.set_op(id, op);
                    Some(0)
                }
                (_, None) => None,
                (Op::Expand(op), Some((_, axis))) => {
                    let mut op = op.clone();
                    let ty = graph.ty(node.inputs[0]).map_err(|e| e.to_string())?;
                    let missing = op.repeats.len() - ty.rank();
                    if missing > 0 && self.holds(op.repeats.first()) {
                        op.repeats[0] = self.to;
                        edit.set_op(id, op);
                    }
                    Some(axis + missing)
                }
                (Op::Transpose(t), Some((_, axis))) => t.perm.iter().position(|&p| p == axis),
                (Op::Reshape(op), Some((value, axis))) => {
                    let mut op = op.clone();
                    let ty = graph.ty(value).map_err(|e| e.to_string())?;
                    let at = self.reshaped(&ty.shape[..axis], &op.shape);
                    let at = at.ok_or_else(|| format!("{} mixes images", node.name))?;
                    op.shape[at] = op.shape[at] / self.from * self.to;
                    edit.set_op(id, op);
                    Some(at)
                }
                (_, Some((value, axis))) => {
                    self.constants(&mut edit, node, value)?;
                    Some(axis)
                }
            };
            axes.extend(axis.into_iter().flat_map(|a| node.outputs.iter().map(move |v| (*v, a))));
        }
        Ok(edit)
    }

    /// Whether a length is that of several images: that of one needs no change, since it is broadcast.
    fn holds(&self, length: Option<&usize>) -> bool {
        self.from > 1 && length == Some(&self.from)
    }

    /// The axis of a new shape that holds the images which were behind these axes.
    fn reshaped(&self, before: &[usize], shape: &[usize]) -> Option<usize> {
        let outer: usize = before.iter().product();
        let holds_images = |at: &usize| {
            shape[..*at].iter().product::<usize>() == outer && shape[*at].is_multiple_of(self.from)
        };
        (0..shape.len()).find(holds_images)
    }

    /// Constants that repeat themselves for every image, beside a value of images.
    fn constants(&self, edit: &mut Edit, node: &Node, beside: ValueId) -> Result<(), String> {
        let is_broadcast =
            matches!(node.op, Op::Binary(_) | Op::Select(_) | Op::Predicate(_) | Op::Extremum(_));
        let joins = matches!(node.op, Op::Concat(_)) || (is_broadcast && self.from > 1);
        let rank = self.graph.ty(beside).map_or(0, TensorType::rank);
        for &v in node.inputs.iter().filter(|_| joins) {
            let Some(constant) = self.graph.constant(v) else {
                continue;
            };
            if constant.shape().len() != rank || constant.shape().first() != Some(&self.from) {
                continue;
            }
            let image = |at: usize| constant.take(0, &[at]);
            let first = image(0).map_err(|e| e.to_string())?;
            if !(1..self.from).all(|at| image(at).is_ok_and(|other| other == first)) {
                return Err(format!("{} differs from image to image", node.name));
            }
            let repeated = first.take(0, &vec![0; self.to]).map_err(|e| e.to_string())?;
            edit.set_constant(v, repeated);
        }
        Ok(())
    }

    /// Every value is as it was but for one axis, whose length changes as the number of images.
    fn check(&self, changed: &Graph) -> Result<(), String> {
        let before = self.graph;
        for (id, value) in changed.values() {
            let is_constant = value.constant.is_some();
            let types = (before.ty(id), value.ty.as_ref());
            let (false, (Ok(old), Some(new))) = (is_constant, types) else {
                continue;
            };
            let pairs = || old.shape.iter().zip(&new.shape);
            let differing = pairs().filter(|(o, n)| o != n);
            let fits = differing.clone().count() <= 1
                && differing.clone().all(|(o, n)| o * self.to == n * self.from);
            if old.rank() != new.rank() || !fits {
                return Err(format!("{} is {old}, and would be {new}", value.name));
            }
        }
        let is_changed = |v: &ValueId| before.ty(*v).ok() != changed.ty(*v).ok();
        if self.from == self.to || changed.outputs().iter().all(is_changed) {
            Ok(())
        } else {
            Err("an output does not depend on the number of images".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Binary, BinaryKind, Concat, Reshape, Transpose};
    use crate::{DataType, Tensor, interpreter};

    /// Images `[1, 2, 3]` beside a constant, reshaped and turned.
    fn graph() -> Graph {
        let mut graph = Graph::new(17);
        let mut edit = graph.edit();
        let x = edit.input("x", TensorType::new(DataType::F32, [1, 2, 3]));
        let c = edit.constant("c", Tensor::new([1, 1, 3], vec![7.0f32, 8.0, 9.0]).unwrap());
        let joined = edit.node("joined", Concat { axis: 1 }, &[x, c], &["joined"])[0];
        let shape = vec![1, 9];
        let flat = edit.node("flat", Reshape { shape }, &[joined], &["flat"])[0];
        let perm = vec![1, 0];
        let turned = edit.node("turned", Transpose { perm }, &[flat], &["turned"])[0];
        let add = Binary { kind: BinaryKind::Add };
        let y = edit.node("twice", add, &[turned, turned], &["y"])[0];
        edit.output(y);
        graph.apply(edit).unwrap();
        graph
    }

    #[test]
    fn with_batch_computes_every_image_as_before() {
        let single = graph();
        let two = with_batch(&single, 2).unwrap();
        let image = |first: f32| (0..6).map(|i| first + i as f32).collect::<Vec<f32>>();
        let both = Tensor::new([2, 2, 3], [image(0.0), image(50.0)].concat()).unwrap();
        let found = interpreter::run(&two, &[both]).unwrap().remove(0);
        assert_eq!(found.shape(), [9, 2]);
        for (at, first) in [0.0, 50.0].into_iter().enumerate() {
            let image = Tensor::new([1, 2, 3], image(first)).unwrap();
            let expected = interpreter::run(&single, &[image]).unwrap().remove(0);
            assert_eq!(found.take(1, &[at]).unwrap(), expected);
        }
    }

    #[test]
    fn with_batch_there_and_back_is_the_same_graph() {
        let single = graph();
        let back = with_batch(&with_batch(&single, 3).unwrap(), 1).unwrap();
        for (id, value) in single.values() {
            assert_eq!(back.ty(id).ok(), value.ty.as_ref());
            assert_eq!(back.constant(id), value.constant.as_ref());
        }
    }
}
