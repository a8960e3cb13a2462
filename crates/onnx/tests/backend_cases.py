"""Writes the node tests of the `onnx` package that use only the given operators.

Usage: backend_cases.py FOLDER OP_TYPE...

For every case whose graph uses only those operators of the default domain, `cases.tsv` gets a line of the case's name,
its operators (comma-separated), rtol, atol, and why it cannot be read (empty when it can). A case that can be read has
the files NAME.model.onnx, NAME.inputs.onnx and NAME.expected.onnx; the last two only hold initializers, one for each
input and output of the model, in order.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

warnings.filterwarnings("ignore")

NEWEST = 28
OLDEST = 9
CARRIED = "an element type that is only carried"
NOT_TENSOR = "a sequence or an optional value"
TOO_OLD = "an opset below 9"
CHANGED = "a form of the operator that came after opset 28"
COMPUTED = {
    TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16,
    TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.DOUBLE,
    TensorProto.UINT32, TensorProto.UINT64, TensorProto.BFLOAT16,
}  # fmt: skip


def default_opset(model):
    return next(o for o in model.opset_import if o.domain in ("", "ai.onnx"))


def is_known_form(node, opset):
    """Whether the node means the same at the newest opset that is read."""
    now = defs.get_schema(node.op_type, opset)
    try:
        then = defs.get_schema(node.op_type, NEWEST)
    except defs.SchemaError:
        return False
    if then.since_version == now.since_version:
        return True
    used = {a.name for a in node.attribute}
    same_defaults = all(
        n in now.attributes and now.attributes[n].default_value == a.default_value
        for n, a in then.attributes.items()
    )
    same_inputs = [i.name for i in then.inputs] == [i.name for i in now.inputs][: len(then.inputs)]
    return (
        used <= set(then.attributes)
        and same_defaults
        and same_inputs
        and len(node.input) <= then.max_input
        and len(node.output) <= then.max_output
    )


def tensor(value, name):
    if isinstance(value, TensorProto):
        copy = TensorProto()
        copy.CopyFrom(value)
        copy.name = name
        return copy
    return numpy_helper.from_array(np.asarray(value), name)


def refusal(model, values):
    """Why the case cannot be read, or an empty string."""
    infos = list(model.graph.input) + list(model.graph.output)
    if not all(i.type.HasField("tensor_type") for i in infos):
        return NOT_TENSOR
    if any(v is None or isinstance(v, list) for v in values):
        return NOT_TENSOR
    if any(i.type.tensor_type.elem_type not in COMPUTED for i in infos):
        return CARRIED
    constants = [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    if any(t.data_type not in COMPUTED for t in constants):
        return CARRIED
    opset = default_opset(model)
    if opset.version < OLDEST:
        return TOO_OLD
    if opset.version > NEWEST:
        if not all(is_known_form(n, opset.version) for n in model.graph.node):
            return CHANGED
        opset.version = NEWEST
    return ""


def holder(values, infos):
    tensors = [tensor(v, i.name) for v, i in zip(values, infos, strict=True)]
    outputs = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    graph = helper.make_graph([], "values", [], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", NEWEST)])


def nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                yield from nodes(body)


def main():
    folder, known = Path(sys.argv[1]), set(sys.argv[2:])
    from onnx.backend.test.loader import load_model_tests

    lines = []
    for case in sorted(load_model_tests(kind="node"), key=lambda c: c.name):
        used = list(nodes(case.model.graph))
        names = sorted({n.op_type for n in used})
        if not set(names) <= known or any(n.domain not in ("", "ai.onnx") for n in used):
            continue
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        for index, (inputs, outputs) in enumerate(case.data_sets):
            name = case.name if index == 0 else f"{case.name}.{index}"
            reason = refusal(model, [*inputs, *outputs])
            lines.append("\t".join([name, ",".join(names), str(case.rtol), str(case.atol), reason]))
            if reason:
                continue
            onnx.save(model, folder / f"{name}.model.onnx")
            onnx.save(holder(inputs, model.graph.input), folder / f"{name}.inputs.onnx")
            onnx.save(holder(outputs, model.graph.output), folder / f"{name}.expected.onnx")
    (folder / "cases.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
