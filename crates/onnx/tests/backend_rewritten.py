"""Runs what yoloslim wrote for the node tests in ONNX Runtime.

Usage: backend_rewritten.py FOLDER. For every NAME.rewritten.onnx there, whose inputs and outputs are those of
NAME.inputs.onnx and NAME.expected.onnx, prints a line when the file is not valid or gives other outputs. What ONNX
Runtime cannot run as the package has it (NAME.model.onnx) is left out.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

NARROW = {np.dtype(np.float16): 2**-8}


def constants(path):
    return [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]


def run(path, values):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {i.name: v for i, v in zip(session.get_inputs(), values, strict=False)}
    return session.run(None, feeds)


def same(found, expected):
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    if found.dtype.kind not in "f":
        return np.array_equal(found, expected)
    rtol = NARROW.get(found.dtype, 1e-3)
    return np.allclose(found.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=1e-5, equal_nan=True)


def main():
    checked = 0
    for path in sorted(Path(sys.argv[1]).glob("*.rewritten.onnx")):
        name = path.name.removesuffix(".rewritten.onnx")
        inputs, expected = (constants(path.with_name(f"{name}.{p}.onnx")) for p in ("inputs", "expected"))
        try:
            known = run(path.with_name(f"{name}.model.onnx"), inputs)
        except Exception:
            continue
        if not all(map(same, known, expected)):
            continue
        checked += 1
        try:
            onnx.checker.check_model(str(path))
            found = run(path, inputs)
        except Exception as error:
            print(f"{name}: {str(error)[:300]}")
            continue
        if len(found) != len(expected) or not all(map(same, found, expected)):
            print(f"{name}: other outputs")
    print(f"{checked} rewritten cases checked", file=sys.stderr)


if __name__ == "__main__":
    main()
