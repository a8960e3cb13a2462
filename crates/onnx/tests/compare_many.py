"""Runs what yoloslim wrote for random models in ONNX Runtime, against the models as they were made.

Usage: compare_many.py FOLDER. For every NAME.before.onnx and NAME.after.onnx there, prints a line when the second file is
not valid, gives other outputs, or declares other shapes than it gives; at last `compared N`. A model that ONNX Runtime
cannot run as it was made, or that gives NaN, is left out.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def same(a, b):
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return np.array_equal(a, b)
    return np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def difference(before, path, feed, names):
    try:
        onnx.checker.check_model(str(path))
        after = session(path)
        found = after.run(names, feed)
    except Exception as error:
        return str(error)[:300]
    declared = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in onnx.load(path).graph.output}
    for name, a, b in zip(names, before, found):
        if not same(a, b):
            return f"output {name} is another: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
        if list(b.shape) != declared[name]:
            return f"output {name} is declared {declared[name]} and is {b.shape}"
    return None


compared = 0
for path in sorted(Path(sys.argv[1]).glob("*.before.onnx")):
    try:
        before = session(path)
        rng = np.random.default_rng(0)
        feed = {i.name: rng.random(i.shape, dtype=np.float32) * 2 - 1 for i in before.get_inputs()}
        names = [o.name for o in before.get_outputs()]
        outputs = before.run(names, feed)
        assert not any(np.isnan(o).any() for o in outputs if o.dtype.kind == "f"), "NaN"
    except Exception as error:
        print(path.name, str(error)[:200], file=sys.stderr)
        continue
    compared += 1
    wrong = difference(outputs, path.with_name(path.name.replace("before", "after")), feed, names)
    if wrong:
        print(f"{path.name}: {wrong}")
print(f"compared {compared}")
