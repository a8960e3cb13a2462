"""Checks models that add a constant to their input: what ONNX Runtime adds must be the bits in the file beside the model.

Usage: grids_in_onnxruntime.py FOLDER
The folder holds NN.onnx and NN.raw. Prints how many there were. ONNX Runtime, which computes the constants while it loads the
model, must be left with the addition alone.
"""
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort

models = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
for path in models:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    for level in (ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_BASIC):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        optimized = path.with_suffix(".optimized")
        options.optimized_model_filepath = str(optimized)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16}[given.type]
        # Adding -0.0 changes no bit, but for those of NaN.
        found = session.run(None, {given.name: np.full(given.shape, -0.0, dtype)})[0]
        expected = path.with_suffix(".raw").read_bytes()
        assert found.tobytes() == expected, f"{path}: other bits"
    left = [node.op_type for node in onnx.load(optimized).graph.node if node.op_type != "Cast"]
    assert left == ["Add"], f"{path}: {left} are computed in every run"
print(len(models), "grids")
