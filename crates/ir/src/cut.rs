//! A model cut off behind some of its values.
use crate::ops::UnaryKind;
use crate::{Graph, IrError, ValueId, subgraph};
use std::collections::BTreeSet;

/// An output of a model that is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOutput {
    /// The value of the whole model.
    pub value: ValueId,
    /// Whether a Sigmoid of its own stands behind it, which nothing else reads.
    pub sigmoid: bool,
    /// The name that it gets.
    pub name: String,
}

/// The part of a model that computes these values, with its inputs, name and metadata; what only other outputs need is left
/// out.
///
/// # Errors
/// `UnknownType` where the type of an input is not known; as [`Graph::apply`].
pub fn cut(graph: &Graph, outputs: &[CutOutput]) -> Result<Graph, IrError> {
    let from: BTreeSet<ValueId> = graph.inputs().iter().copied().collect();
    let values: Vec<ValueId> = outputs.iter().map(|output| output.value).collect();
    let (mut part, _) = subgraph(graph, &from, &values)?;
    let mut edit = part.edit();
    let mut ends = Vec::with_capacity(outputs.len());
    for (output, &value) in outputs.iter().zip(part.outputs()) {
        let end = if output.sigmoid {
            edit.node(&output.name, UnaryKind::Sigmoid, &[value], &[&output.name])[0]
        } else {
            value
        };
        edit.rename(end, &output.name);
        ends.push(end);
    }
    edit.set_outputs(&ends);
    part.apply(edit)?;
    part.name.clone_from(&graph.name);
    part.domains.clone_from(&graph.domains);
    part.metadata.clone_from(&graph.metadata);
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{BinaryKind, Concat};
    use crate::{DataType, Tensor, TensorType, interpreter};

    #[test]
    fn cut_gives_the_named_values_and_drops_what_they_do_not_need() {
        let mut graph = Graph::new(17);
        graph.metadata.insert("names".to_owned(), "['a']".to_owned());
        let mut edit = graph.edit();
        let x = edit.input("x", TensorType::new(DataType::F32, [2]));
        // One of the values has the name that the other one is to get.
        let double = edit.node("double", BinaryKind::Add, &[x, x], &["classes"])[0];
        let square = edit.node("square", BinaryKind::Mul, &[x, x], &["boxes"])[0];
        let y = edit.node("join", Concat { axis: 0 }, &[double, square], &["y"])[0];
        edit.output(y);
        graph.apply(edit).expect("valid");
        let output = |value: ValueId, sigmoid, name: &str| CutOutput {
            value,
            sigmoid,
            name: name.to_owned(),
        };
        let [double, square] =
            ["classes", "boxes"].map(|n| graph.value_named(n).expect("it is there"));
        let part = cut(&graph, &[output(double, false, "boxes"), output(square, true, "classes")]);
        let part = part.expect("it is cut");
        let names: Vec<&str> =
            part.outputs().iter().map(|v| part.value(*v).name.as_str()).collect();
        assert_eq!(names, ["boxes", "classes"]);
        assert_eq!((part.node_count(), part.metadata.len()), (3, 1));
        let x = Tensor::vector(vec![0.0f32, 3.0]);
        let found = interpreter::run(&part, &[x]).expect("it runs");
        assert_eq!(found[0], Tensor::vector(vec![0.0f32, 6.0]));
        let sigmoid = found[1].as_slice::<f32>().expect("f32");
        assert!((sigmoid[0] - 0.5).abs() < 1e-6 && (sigmoid[1] - 0.99988).abs() < 1e-4);
    }
}
