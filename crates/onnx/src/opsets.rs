//! Opsets of the default domain: which are read, and which operators changed on the way to the one that is written.
//!
//! Source: the operator changelog of ONNX 1.23 (onnx/docs/Changelog.md); the test below asks the `onnx` package.
use crate::proto::NodeProto;
use crate::{OnnxError, subgraphs, topology};

/// Lowest opset that is read.
pub(crate) const FIRST: i64 = 9;
/// Highest opset that is read: what came after it is not known here, so that no operator's meaning is.
pub(crate) const LAST: i64 = 28;
/// Lowest opset that is written.
pub(crate) const MIN_WRITTEN: i64 = 13;

/// Operators whose nodes of an earlier opset mean something else from this one on, or are no longer allowed; of opsets up to
/// the lowest that is written. All other changes add element types, or attributes and inputs that may be left out.
pub(crate) const CHANGED: &[(&str, i64)] = &[
    ("Clip", 11),
    ("Dropout", 12),
    ("Hardmax", 13),
    ("LogSoftmax", 13),
    // Negative indices count from the end.
    ("OneHot", 11),
    ("Pad", 11),
    ("ReduceSum", 13),
    ("Resize", 11),
    ("Scatter", 11),
    ("Slice", 10),
    ("Softmax", 13),
    ("Split", 13),
    ("Squeeze", 13),
    ("TopK", 10),
    ("Unsqueeze", 13),
    ("Upsample", 10),
];

/// Checks that a node, and those of its graphs, can be written at the lowest opset as they are.
///
/// # Errors
/// `CannotUpgrade`, which names the node that changed.
pub(crate) fn check_unchanged(
    node: &NodeProto,
    name: &str,
    opset: i64,
    reason: &str,
) -> Result<(), OnnxError> {
    let changed = |n: &NodeProto| {
        let own = CHANGED.iter().find(|(op, _)| *op == n.op_type())?;
        (is_default(n.domain()) && opset < own.1).then_some(own.1)
    };
    let all = std::iter::once(node).chain(subgraphs::inner_nodes(node));
    for (index, inner) in all.enumerate() {
        let Some(since) = changed(inner) else {
            continue;
        };
        let reason = match index {
            0 => reason.to_owned(),
            _ => format!("it lies in a graph of the node `{name}`"),
        };
        return Err(OnnxError::CannotUpgrade {
            node: match index {
                0 => name.to_owned(),
                _ => topology::node_name(inner, index),
            },
            op_type: inner.op_type().to_owned(),
            found: opset,
            since,
            expected: MIN_WRITTEN,
            reason,
        });
    }
    Ok(())
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

    /// Whose change only the text of the specification tells.
    const BY_TEXT: &str = "OneHot";

    #[test]
    fn changed_operators_are_those_of_the_onnx_package() {
        let python = std::env::var("YOLOSLIM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let run = Command::new(&python).args(["-c", SCRIPT]).output();
        let Some(run) = run.ok().filter(|run| run.status.success()) else {
            println!("skipped: operators that changed (onnx is not importable by {python})");
            return;
        };
        let told = CHANGED.iter().filter(|(op, _)| *op != BY_TEXT);
        let told: Vec<String> = told.map(|(op, since)| format!("{op} {since}")).collect();
        let found = String::from_utf8_lossy(&run.stdout).into_owned();
        assert_eq!(told, found.lines().collect::<Vec<_>>());
    }
}
