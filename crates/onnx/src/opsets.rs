//! Opsets of the default domain: which are read, and which operators changed on the way to the one that is written.
//!
//! Source: the operator changelog of ONNX 1.23 (onnx/docs/Changelog.md); the test below asks the `onnx` package.
use crate::proto::NodeProto;
use crate::{OnnxError, subgraphs, tensors, topology};
use ir::{Tensor, UniqueNames};

/// Lowest opset that is read.
pub(crate) const FIRST: i64 = 9;
/// Highest opset that is read: what came after it is not known here, so that no operator's meaning is.
pub(crate) const LAST: i64 = 28;
/// Lowest opset that is written.
pub(crate) const MIN_WRITTEN: i64 = 13;

/// What became of an operator's older nodes.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    /// These attributes are inputs now, behind the first, in this order.
    Moved(&'static [&'static str]),
    /// The same operator has another name.
    Renamed(&'static str),
    /// This attribute has no meaning for inference and is gone.
    Dropped(&'static str),
    /// They mean something else, or are no longer allowed.
    Meaning,
}

/// Operators whose nodes of an earlier opset are other ones from this one on; of opsets up to the lowest that is written. All
/// other changes add element types, or attributes and inputs that may be left out.
pub(crate) const CHANGED: &[(&str, i64, Change)] = &[
    ("Clip", 11, Change::Moved(&["min", "max"])),
    ("Dropout", 12, Change::Dropped("ratio")),
    ("Hardmax", 13, Change::Meaning),
    ("LogSoftmax", 13, Change::Meaning),
    // Negative indices count from the end.
    ("OneHot", 11, Change::Meaning),
    ("Pad", 11, Change::Moved(&["pads", "value"])),
    ("ReduceSum", 13, Change::Moved(&["axes"])),
    ("Resize", 11, Change::Meaning),
    ("Scatter", 11, Change::Renamed("ScatterElements")),
    ("Slice", 10, Change::Moved(&["starts", "ends", "axes"])),
    ("Softmax", 13, Change::Meaning),
    ("Split", 13, Change::Moved(&["split"])),
    ("Squeeze", 13, Change::Moved(&["axes"])),
    ("TopK", 10, Change::Moved(&["k"])),
    ("Unsqueeze", 13, Change::Moved(&["axes"])),
    ("Upsample", 10, Change::Meaning),
];

/// Brings nodes that are kept without being understood to the lowest opset that is written, where their change says how.
pub(crate) struct Upgrade<'a> {
    /// Opset of the file.
    pub(crate) opset: i64,
    /// Names of the file; the constants of inputs that were attributes get others.
    pub(crate) names: &'a mut UniqueNames,
    /// Why the node is not understood.
    pub(crate) reason: &'a str,
}

impl Upgrade<'_> {
    /// Upgrades a node and those of its graphs; gives the constants that it reads now.
    ///
    /// # Errors
    /// `CannotUpgrade`, which names the node that means something else.
    pub(crate) fn node(
        &mut self,
        node: &mut NodeProto,
        name: &str,
    ) -> Result<Vec<(String, Tensor)>, OnnxError> {
        let made = self.own(node, name)?;
        // Graphs nest no deeper than protobuf messages are read.
        for body in subgraphs::bodies_mut(node) {
            for (index, inner) in body.node.iter_mut().enumerate() {
                let name = topology::node_name(inner, index);
                for (name, tensor) in self.node(inner, &name)? {
                    body.initializer.push(tensors::encode(Some(&name), &tensor)?);
                }
            }
        }
        Ok(made)
    }

    fn own(
        &mut self,
        node: &mut NodeProto,
        name: &str,
    ) -> Result<Vec<(String, Tensor)>, OnnxError> {
        let found = CHANGED.iter().find(|(op, ..)| *op == node.op_type());
        let changed =
            found.filter(|(_, since, _)| self.opset < *since && is_default(node.domain()));
        let Some((_, since, change)) = changed else {
            return Ok(vec![]);
        };
        match change {
            Change::Moved(attributes) => return Ok(self.moved(node, attributes)),
            Change::Renamed(now) => node.op_type = Some((*now).to_owned()),
            Change::Dropped(attribute) => node.attribute.retain(|a| a.name() != *attribute),
            Change::Meaning => {
                return Err(OnnxError::CannotUpgrade {
                    node: name.to_owned(),
                    op_type: node.op_type().to_owned(),
                    found: self.opset,
                    since: *since,
                    expected: MIN_WRITTEN,
                    reason: self.reason.to_owned(),
                });
            }
        }
        Ok(vec![])
    }

    fn moved(&mut self, node: &mut NodeProto, attributes: &[&str]) -> Vec<(String, Tensor)> {
        let mut made = Vec::new();
        node.input.truncate(1);
        for &attribute in attributes {
            let at = node.attribute.iter().position(|a| a.name() == attribute);
            let Some(given) = at.map(|at| node.attribute.remove(at)) else {
                node.input.push(String::new());
                continue;
            };
            let tensor = match (given.f, given.i) {
                (Some(value), _) => Tensor::scalar(value),
                (None, Some(value)) => Tensor::vector(vec![value]),
                (None, None) => Tensor::vector(given.ints),
            };
            let output = node.output.first().map_or("", String::as_str);
            let name = self.names.unique(&format!("{output}_{attribute}"));
            node.input.push(name.clone());
            made.push((name, tensor));
        }
        while node.input.last().is_some_and(String::is_empty) {
            node.input.pop();
        }
        made
    }
}

/// Whether a domain is that of ONNX's own operators.
pub(crate) fn is_default(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The version of the file format that came with an opset (onnx/docs/Versioning.md).
pub(crate) fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=17 => 8,
        18..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        _ => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Prints `OP VERSION` for every version from 10 to 13 of an operator from which on a node of the version before is
    /// not the same: something was taken away, became required, or means something else where it is left out.
    const SCRIPT: &str = "
from collections import defaultdict
from onnx import defs
versions = defaultdict(dict)
for s in defs.get_all_schemas_with_history():
    if s.domain == '':
        versions[s.name][s.since_version] = s
for name, found in sorted(versions.items()):
    for then, now in zip(sorted(found), sorted(found)[1:]):
        a, b = found[then], found[now]
        if not 10 <= now <= 13:
            continue
        kept = all(k in b.attributes and b.attributes[k].default_value == v.default_value for k, v in a.attributes.items())
        required = any(v.required and not (k in a.attributes and a.attributes[k].required) for k, v in b.attributes.items())
        inputs = [i.name for i in a.inputs] == [i.name for i in b.inputs][: len(a.inputs)] and b.min_input <= a.min_input
        if b.deprecated or not kept or required or not inputs or len(a.outputs) > len(b.outputs):
            print(name, now)
";

    /// Operators whose change only the text of the specification shows.
    const BY_TEXT: &str = "OneHot";

    #[test]
    fn changed_operators_are_those_of_the_onnx_package() {
        let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let run = Command::new(&python).args(["-c", SCRIPT]).output();
        let Some(run) = run.ok().filter(|run| run.status.success()) else {
            println!("skipped: operators that changed (onnx is not importable by {python})");
            return;
        };
        let listed = CHANGED.iter().filter(|(op, ..)| *op != BY_TEXT);
        let listed: Vec<String> = listed.map(|(op, since, _)| format!("{op} {since}")).collect();
        let found = String::from_utf8_lossy(&run.stdout).into_owned();
        assert_eq!(listed, found.lines().collect::<Vec<_>>());
    }
}
